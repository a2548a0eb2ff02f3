"""PyTorch's side of exchange.ts, which starts it: weights both ways, by the definitions of ../models/reference.py.

    python exchange.py FOLDER < jobs.json        jobs: [{"net": a name in reference.NETWORKS, "images": a file's name}]

For each job, FOLDER/NET.safetensors (of `undistill export`) is loaded by a strict load_state_dict, and the net's logits
on the images are written to NET.there. Then the net with PyTorch's own random weights, and random statistics in its
batch norms, is written to NET.torch.safetensors as a user would, and its logits to NET.back. Says the versions as JSON.

The images are bytes, "images" of [count, height, width, channels] in a safetensors file whose metadata has the
normalisation; the exported file's must be the same.
"""

import json
import pathlib
import platform
import sys

import torch
from safetensors import __version__ as safetensors_version
from safetensors import safe_open
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "models"))

from reference import NETWORKS


def metadata(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def normalised(path):
    """float32 [count, channels, height, width]"""
    constants = json.loads(metadata(path)["normalisation"])
    mean, std = (torch.tensor(constants[name]) for name in ("mean", "std"))
    return ((load_file(path)["images"].float() / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()


def built(net, images):
    model = NETWORKS[net]()
    model(images[:2])  # makes a lazy layer
    return model


def randomise_norms(model):
    """As training might leave them; fresh ones are the identity, and would hide a mistake."""
    for module in model.modules():
        if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.num_batches_tracked.fill_(1000)


def logits(model, images):
    with torch.no_grad():
        return model.eval()(images)


def exchange(folder, net, images_file):
    images = normalised(folder / images_file)
    exported = folder / f"{net}.safetensors"
    said = metadata(exported)["normalisation"]
    assert json.loads(said) == json.loads(metadata(folder / images_file)["normalisation"]), said
    model = built(net, images)
    model.load_state_dict(load_file(exported), strict=True)
    save_file({"logits": logits(model, images)}, folder / f"{net}.there")

    torch.manual_seed(0)
    model = built(net, images)
    randomise_norms(model)
    save_file(model.state_dict(), folder / f"{net}.torch.safetensors")
    save_file({"logits": logits(model, images)}, folder / f"{net}.back")


if __name__ == "__main__":
    for job in json.load(sys.stdin):
        exchange(pathlib.Path(sys.argv[1]), job["net"], job["images"])
    versions = {"torch": torch.__version__, "safetensors": safetensors_version, "python": platform.python_version()}
    print(json.dumps(versions))
