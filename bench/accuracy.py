"""PyTorch's side of whole trainings: trains a net by a recipe and evaluates it, on request, in lines of JSON.

First it says {"version", "threads", "device"}. Then each request gets an answer {"accuracy", "views", "seconds"}:

{"net": a name of NETS, "seed", "data": a file, "images", "tests", "side", "channels", "mean", "std",
 "precision": "float32", or "bfloat16" of convolutions and products,
 "recipe": {"batch", "rates": a learning rate for each step, "optimizer": src/train/optimizers.ts' parameters,
            "augmentation", "lookahead", "smoothing"},
 "partial": a file that keeps what the training has come to after each epoch, or null, "training": its name there}

A training that was broken off is taken up from that file; another's is left alone. "data" holds the training images as
bytes, row by row and channels last, the test images, and a byte for each label of both. Seconds are of the training's steps, after a step of each size of batch was compiled.
"""

import copy
import fnmatch
import math
import os
import time

import numpy as np
import torch
import torch.nn.functional as F
from pytorch import device, serve, synchronise
from reference import Airbench, FastGroup, PreResNet, ResNet
from torch import nn

NETS = {
    "airbench": lambda: Airbench(10),
    "resNet18": lambda: ResNet(10, 18),
    "preResNet20": lambda: PreResNet(10, 20),
}
TOGETHER = 500  # images of an evaluation


class Data:
    """Images and labels on the device, images normalised as they are taken."""

    def __init__(self, data, images, tests, side, channels, mean, std, **_):
        raw = torch.from_numpy(np.fromfile(data, np.uint8)).to(device)
        size = side * side * channels
        pixels = raw[: (images + tests) * size].view(-1, side, side, channels).permute(0, 3, 1, 2)
        labels = raw[(images + tests) * size :].long()
        self.train, self.test = (pixels[:images], labels[:images]), (pixels[images:], labels[images:])
        self.mean = torch.tensor(mean, device=device).view(1, -1, 1, 1)
        self.std = torch.tensor(std, device=device).view(1, -1, 1, 1)

    def seen(self, pixels):
        images = (pixels.float() / 255 - self.mean) / self.std
        return images.contiguous(memory_format=torch.channels_last)


def bordered(pixels, width, border):
    """Bytes with a border of zeros, or a mirrored one."""
    if border == "reflect":
        return F.pad(pixels.float(), (width,) * 4, mode="reflect").byte()
    return F.pad(pixels, (width,) * 4)


class Augmented:
    """Training images, cropped out of a border and mirrored at random, or in turn: drawn once, and turned about epoch by epoch."""

    def __init__(self, pixels, crop=0, flip=False, border="zeros", **_):
        self.side, self.crop, self.flip = pixels.shape[2], crop, flip
        self.pixels = bordered(pixels, crop, border) if crop > 0 else pixels
        self.first = torch.rand(len(pixels), device=device) < 0.5

    def at(self, index, epoch):
        images = self.pixels[index]
        if self.crop > 0:
            top, left = torch.randint(2 * self.crop + 1, (2, len(index), 1), device=device)
            along = torch.arange(self.side, device=device)
            rows, columns = (top + along)[:, None, :, None], (left + along)[:, None, None, :]
            each = torch.arange(len(index), device=device)[:, None, None, None]
            channel = torch.arange(images.shape[1], device=device)[None, :, None, None]
            images = images[each, channel, rows, columns]
        if not self.flip:
            return images
        mirrored = self.first[index] ^ (epoch % 2 == 1) if self.flip == "alternating" else self.drawn(index)
        return torch.where(mirrored[:, None, None, None], images.flip(3), images)

    @staticmethod
    def drawn(index):
        return torch.rand(len(index), device=device) < 0.5


def whiten(layer, images, epsilon=5e-4):
    """Kernels that whiten the patches of some images: eigenvectors over the roots of their eigenvalues, and their negatives."""
    patches = F.unfold(images, layer.kernel_size).transpose(1, 2).reshape(-1, layer.weight[0].numel()).double()
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    scaled = (vectors / torch.sqrt(values + epsilon)).T.flip(0).float().view(-1, *layer.weight.shape[1:])
    layer.weight.data.copy_(torch.cat([scaled, -scaled]))


def made(net, data):
    model = NETS[net]()
    with torch.no_grad():
        model.eval()(data.seen(data.train[0][:1]).cpu())  # lazy layers take their shapes
        if isinstance(model, Airbench):
            # Not the first ones: images of a folder come class by class.
            some = torch.randperm(len(data.train[0]))[:5000].to(device)
            whiten(model.whiten, data.seen(data.train[0][some]).cpu())
        for module in model.modules():
            if isinstance(module, FastGroup):
                for convolution in (module.conv1, module.conv2):
                    nn.init.dirac_(convolution.weight[: convolution.in_channels])
            if isinstance(model, PreResNet) and isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model.to(device, memory_format=torch.channels_last)


def optimizer_of(model, name, momentum=0, nesterov=False, weightDecay=0, beta1=0.9, beta2=0.999, groups=(), **_):
    """PyTorch's of the same arithmetic; a group's rate is times the others'."""
    named = [(path, each) for path, each in model.named_parameters() if each.requires_grad]
    chosen = [next((g for g in groups if fnmatch.fnmatchcase(path, g["names"])), {}) for path, _ in named]
    parameters = [
        {"params": [each], "factor": group.get("rate", 1), "weight_decay": group.get("weightDecay", weightDecay)}
        for (_, each), group in zip(named, chosen)
    ]
    if name == "adam":
        return torch.optim.Adam(parameters, lr=0.1, betas=(beta1, beta2))
    return torch.optim.SGD(parameters, lr=0.1, momentum=momentum, nesterov=nesterov)


class Averaged:
    """Slow weights and statistics after fast ones, as in src/train/recipe.ts."""

    def __init__(self, model, every, decay):
        self.fast, self.every, self.decay = model, every, decay
        self.slow = {name: each.clone() for name, each in model.state_dict().items()}

    @torch.no_grad()
    def step(self, done, total):
        if done % self.every == 0:
            share = self.decay**self.every * (done / total) ** 3
            for name, each in self.fast.state_dict().items():
                if each.is_floating_point():
                    self.slow[name].lerp_(each, 1 - share)
                    each.copy_(self.slow[name])
        elif done == total:
            self.fast.load_state_dict(self.slow)


class Partial:
    """What a training has come to, in a file, if there is to be one."""

    def __init__(self, path, training, model, descent, slow):
        self.path, self.training = path, training
        self.parts = {"model": model, "descent": descent}
        self.slow = slow.slow if slow else {}

    def keep(self, step, seconds):
        if self.path is None:
            return
        state = {name: part.state_dict() for name, part in self.parts.items()}
        random = {"random": torch.get_rng_state(), "device": torch.cuda.get_rng_state_all()}
        come_to = {**state, **random, "slow": self.slow, "step": step, "seconds": seconds}
        torch.save({"training": self.training, **come_to}, f"{self.path}.new")
        os.replace(f"{self.path}.new", self.path)

    def taken_up(self):
        """How many steps were taken in how many seconds; all else is as it was then."""
        kept = torch.load(self.path, map_location=device) if self.path and os.path.exists(self.path) else {}
        if kept.get("training") != self.training:
            return 0, 0.0
        for name, part in self.parts.items():
            part.load_state_dict(kept[name])
        self.slow.update(kept["slow"])
        torch.set_rng_state(kept["random"].cpu())
        torch.cuda.set_rng_state_all([each.cpu() for each in kept["device"]])
        return kept["step"], kept["seconds"]


def trained(model, data, precision, kept_in, batch, rates, optimizer, augmentation, lookahead=None, smoothing=0, **_):
    pixels, labels = data.train
    images = Augmented(pixels, **augmentation)
    descent = optimizer_of(model, **optimizer)
    slow = Averaged(model, **lookahead) if lookahead else None
    per_epoch = math.ceil(len(labels) / batch)
    low = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")

    def loss_of(x, y):
        with low:
            logits = model(x)
        return F.cross_entropy(logits.float(), y, label_smoothing=smoothing)

    forward = torch.compile(loss_of, dynamic=False)
    model.train()

    def take(index, epoch, rate):
        for group in descent.param_groups:
            group["lr"] = rate * group["factor"]
        loss = forward(data.seen(images.at(index, epoch)), labels[index])
        loss.backward()
        descent.step()
        descent.zero_grad()

    # Both sizes of a batch are compiled; then all is as it was.
    before = copy.deepcopy((model.state_dict(), descent.state_dict()))
    for size in {batch, len(labels) % batch or batch}:
        take(torch.arange(size, device=device), 0, 0.0)
    model.load_state_dict(before[0])
    descent.load_state_dict(before[1])
    partial = Partial(*kept_in, model, descent, slow)
    taken, seconds = partial.taken_up()
    started = time.perf_counter()
    for step in range(taken, len(rates)):
        epoch, place = divmod(step, per_epoch)
        if place == 0:
            order = torch.randperm(len(labels), device=device)
        take(order[place * batch : (place + 1) * batch], epoch, rates[step])
        if slow is not None:
            slow.step(step + 1, len(rates))
        if place == per_epoch - 1:
            synchronise()
            seconds += time.perf_counter() - started
            partial.keep(step + 1, seconds)
            started = time.perf_counter()
    return seconds


def views(model, images):
    """The mean over an image and two moved by a pixel, each mirrored too; the image counts for a half."""

    def both(seen):
        return (model(seen) + model(seen.flip(3))) / 2

    wide, side = F.pad(images, (1,) * 4, mode="reflect"), images.shape[2]
    moved = [both(wide[:, :, at : at + side, at : at + side]) for at in (0, 2)]
    return both(images) / 2 + (moved[0] + moved[1]) / 4


@torch.inference_mode()
def accuracies(model, data):
    model.eval()
    pixels, labels = data.test
    hits = [0, 0]
    for at in range(0, len(labels), TOGETHER):
        images, own = data.seen(pixels[at : at + TOGETHER]), labels[at : at + TOGETHER]
        for i, logits in enumerate((model(images), views(model, images))):
            hits[i] += (logits.argmax(1) == own).sum().item()
    return [each / len(labels) for each in hits]


def answer(net, seed, precision, recipe, partial, training, **about):
    torch.manual_seed(seed)
    data = Data(**about)
    model = made(net, data)
    seconds = trained(model, data, precision, (partial, training), **recipe)
    plain, over_views = accuracies(model, data)
    torch._dynamo.reset()
    return {"accuracy": plain, "views": over_views, "seconds": seconds}


if __name__ == "__main__":
    serve(answer)
