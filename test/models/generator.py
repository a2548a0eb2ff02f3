"""DAFL's generator in PyTorch, written after the paper with the released code's variable names.

The independent reference for generator.json, which the generator is tested against without PyTorch:

    python3 test/models/generator.py > test/models/generator.json      (PyTorch 2.11.0 on a CPU, in float64)

Weights and vectors are those of reference.py: hashes of their index. The loss is a projection of the images on such numbers,
since that of a square would be constant behind a batch norm.
"""

import json
import sys

import torch
import torch.nn.functional as F
from torch import nn

from reference import formula, rounded, wave


class Generator(nn.Module):
    def __init__(self, latent, width, height, across, channels):
        super().__init__()
        self.small = (height // 4, across // 4, width)
        self.l1 = nn.Sequential(nn.Linear(latent, height // 4 * (across // 4) * width))
        self.conv_blocks0 = nn.Sequential(nn.BatchNorm2d(width))
        self.conv_blocks1 = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width, 0.8), nn.LeakyReLU(0.2)
        )
        self.conv_blocks2 = nn.Sequential(
            nn.Conv2d(width, width // 2, 3, padding=1),
            nn.BatchNorm2d(width // 2, 0.8),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width // 2, channels, 3, padding=1),
            nn.Tanh(),
            nn.BatchNorm2d(channels, affine=False),
        )

    def forward(self, z):
        # The released code has view(n, width, height / 4, …): the dense layer's outputs in another order.
        x = self.l1(z).view(-1, *self.small).permute(0, 3, 1, 2)
        x = F.interpolate(self.conv_blocks0(x), scale_factor=2)
        x = F.interpolate(self.conv_blocks1(x), scale_factor=2)
        return self.conv_blocks2(x)


def golden(latent, width, height, across, channels, batch):
    model = Generator(latent, width, height, across, channels).double()
    state = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    fresh = {k: formula(k, tuple(v.shape), i).float().double() for i, (k, v) in enumerate(state.items(), 1)}
    model.load_state_dict({**model.state_dict(), **fresh})
    z = wave(batch * latent, 9999).reshape(batch, latent).float().double()
    channels_last = lambda images: images.permute(0, 2, 3, 1)
    with torch.no_grad():
        evaluated = channels_last(model.eval()(z))
    model.train()
    trained = channels_last(model(z))
    loss = (trained.flatten() * wave(trained.numel(), 7777)).sum()
    loss.backward()
    stats = {k: v for k, v in model.state_dict().items() if "running" in k}
    return {
        "latent": latent,
        "width": width,
        "image": {"height": height, "width": across, "channels": channels},
        "batch": batch,
        "names": list(state),
        "evalImage": rounded(evaluated[0]),
        "trainImage": rounded(trained[0]),
        "loss": rounded(loss),
        "gradients": {
            name: {
                "norm": rounded(param.grad.norm()),
                "projection": rounded((param.grad.flatten() * wave(param.numel(), 0)).sum()),
            }
            for name, param in model.named_parameters()
        },
        "stats": {name: rounded(value) for name, value in stats.items()},
    }


if __name__ == "__main__":
    found = golden(latent=5, width=8, height=8, across=12, channels=2, batch=6)
    json.dump({"torch": torch.__version__, **found}, sys.stdout)
    print()
