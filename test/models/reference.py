"""The networks of src/models in PyTorch, written after the papers with the released repositories' variable names.

They are the independent reference for golden.json, which networks are tested against without PyTorch:

    python3 test/models/reference.py > test/models/golden.json      (PyTorch 2.11.0 on a CPU, in float64)

Weights and images are hashes of their index, so that no file of numbers is needed to repeat them, bit for bit.
"""

import json
import math
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class PlainCnn(nn.Module):
    def __init__(self, classes, channels=3, width=32):
        super().__init__()
        sizes = [channels, width, 2 * width, 4 * width]
        for i in (1, 2, 3):
            setattr(self, f"conv{i}", nn.Conv2d(sizes[i - 1], sizes[i], 3, padding=1))
            setattr(self, f"bn{i}", nn.BatchNorm2d(sizes[i]))
        self.fc1 = nn.LazyLinear(4 * width)
        self.fcbn1 = nn.BatchNorm1d(4 * width)
        self.fc2 = nn.Linear(4 * width, classes)

    def forward(self, x):
        for i in (1, 2, 3):
            x = F.relu(F.max_pool2d(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)), 2))
        return self.fc2(F.relu(self.fcbn1(self.fc1(x.flatten(1)))))


class LeNet(nn.Module):
    def __init__(self, classes, sizes):
        super().__init__()
        a, b, c, d = sizes
        self.conv1 = nn.Conv2d(1, a, 5)
        self.conv2 = nn.Conv2d(a, b, 5)
        self.conv3 = nn.Conv2d(b, c, 5)
        self.fc1 = nn.Linear(c, d)
        self.fc2 = nn.Linear(d, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(F.relu(self.conv3(x)).flatten(1))))


def convolution(inputs, outputs, kernel, stride=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


class PreBlock(nn.Module):
    """kernels: one BN-ReLU-convolution per entry (kernel, outputs, stride)."""

    def __init__(self, inputs, kernels, stride):
        super().__init__()
        self.count = len(kernels)
        here = inputs
        for i, (kernel, outputs, step) in enumerate(kernels, 1):
            setattr(self, f"bn{i}", nn.BatchNorm2d(here))
            setattr(self, f"conv{i}", convolution(here, outputs, kernel, step))
            here = outputs
        if stride != 1 or inputs != here:
            self.downsample = nn.Sequential(convolution(inputs, here, 1, stride))

    def forward(self, x):
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"conv{i}")(F.relu(getattr(self, f"bn{i}")(y)))
        return y + (self.downsample(x) if hasattr(self, "downsample") else x)


class PreResNet(nn.Module):
    def __init__(self, classes, depth):
        super().__init__()
        bottleneck = depth >= 44
        self.conv1 = convolution(3, 16, 3)
        here = 16
        for stage, width in enumerate((16, 32, 64), 1):
            blocks = []
            for i in range((depth - 2) // 6):
                stride = 2 if stage > 1 and i == 0 else 1
                basic = [(3, width, stride), (3, width, 1)]
                deep = [(1, width, 1), (3, width, stride), (1, 4 * width, 1)]
                blocks.append(PreBlock(here, deep if bottleneck else basic, stride))
                here = 4 * width if bottleneck else width
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.bn = nn.BatchNorm2d(here)
        self.fc = nn.Linear(here, classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.fc(F.relu(self.bn(x)).mean((2, 3)))


class Block(nn.Module):
    def __init__(self, inputs, kernels, stride):
        super().__init__()
        self.count = len(kernels)
        here = inputs
        for i, (kernel, outputs, step) in enumerate(kernels, 1):
            setattr(self, f"conv{i}", convolution(here, outputs, kernel, step))
            setattr(self, f"bn{i}", nn.BatchNorm2d(outputs))
            here = outputs
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != here:
            self.shortcut = nn.Sequential(convolution(inputs, here, 1, stride), nn.BatchNorm2d(here))

    def forward(self, x):
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = F.relu(y) if i < self.count else y
        return F.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, classes, depth):
        super().__init__()
        bottleneck = depth >= 50
        self.conv1 = convolution(3, 64, 3)
        self.bn1 = nn.BatchNorm2d(64)
        here = 64
        for stage, count in enumerate([2, 2, 2, 2] if depth == 18 else [3, 4, 6, 3], 1):
            width = 32 * 2**stage
            blocks = []
            for i in range(count):
                stride = 2 if stage > 1 and i == 0 else 1
                basic = [(3, width, stride), (3, width, 1)]
                deep = [(1, width, 1), (3, width, stride), (1, 4 * width, 1)]
                blocks.append(Block(here, deep if bottleneck else basic, stride))
                here = 4 * width if bottleneck else width
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.linear = nn.Linear(here, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.linear(x.mean((2, 3)))


def biased(inputs, outputs, kernel, stride=1, padding=0, groups=1):
    """A convolution with bias and its batch norm."""
    return [nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups), nn.BatchNorm2d(outputs)]


class NextBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        wide = 2 * outputs
        self.conv_reduce = convolution(inputs, wide, 1)
        self.bn_reduce = nn.BatchNorm2d(wide)
        self.conv_conv = nn.Conv2d(wide, wide, 3, stride, padding=1, groups=8, bias=False)
        self.bn = nn.BatchNorm2d(wide)
        self.conv_expand = convolution(wide, outputs, 1)
        self.bn_expand = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if inputs != outputs:
            self.shortcut.shortcut_conv = convolution(inputs, outputs, 1, stride)
            self.shortcut.shortcut_bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        y = F.relu(self.bn_reduce(self.conv_reduce(x)))
        y = F.relu(self.bn(self.conv_conv(y)))
        return F.relu(self.bn_expand(self.conv_expand(y)) + self.shortcut(x))


class ResNeXt(nn.Module):
    """ResNeXt-29 8x64d."""

    def __init__(self, classes):
        super().__init__()
        self.conv_1_3x3 = convolution(3, 64, 3)
        self.bn_1 = nn.BatchNorm2d(64)
        here = 64
        for stage, width in enumerate([256, 512, 1024], 1):
            blocks = nn.Sequential()
            for i in range(3):
                block = NextBlock(here, width, 2 if stage > 1 and i == 0 else 1)
                blocks.add_module(f"stage_{stage}_bottleneck_{i}", block)
                here = width
            setattr(self, f"stage_{stage}", blocks)
        self.classifier = nn.Linear(here, classes)

    def forward(self, x):
        x = F.relu(self.bn_1(self.conv_1_3x3(x)))
        return self.classifier(self.stage_3(self.stage_2(self.stage_1(x))).mean((2, 3)))


class InvertedBlock(nn.Module):
    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        wide = expansion * inputs
        self.residual = nn.Sequential(
            *biased(inputs, wide, 1),
            nn.ReLU6(),
            *biased(wide, wide, 3, stride, padding=1, groups=wide),
            nn.ReLU6(),
            *biased(wide, outputs, 1),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x):
        y = self.residual(x)
        return x + y if self.adds else y


class MobileNetV2(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.pre = nn.Sequential(*biased(3, 32, 1, padding=1), nn.ReLU6())
        self.stage1 = InvertedBlock(32, 16, 1, 1)
        here = 16
        stages = [(2, 24, 2), (3, 32, 2), (4, 64, 2), (3, 96, 1), (3, 160, 1)]
        for stage, (count, width, stride) in enumerate(stages, 2):
            blocks = []
            for i in range(count):
                blocks.append(InvertedBlock(here, width, stride if i == 0 else 1, 6))
                here = width
            setattr(self, f"stage{stage}", nn.Sequential(*blocks))
        self.stage7 = InvertedBlock(here, 320, 1, 6)
        self.conv1 = nn.Sequential(*biased(320, 1280, 1), nn.ReLU6())
        self.conv2 = nn.Conv2d(1280, classes, 1)

    def forward(self, x):
        x = self.stage1(self.pre(x))
        x = self.stage7(self.stage6(self.stage5(self.stage4(self.stage3(self.stage2(x))))))
        return self.conv2(self.conv1(x).mean((2, 3), keepdim=True)).flatten(1)


class ShuffleUnit(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.halves = stride == 1
        here, half = inputs // 2 if self.halves else inputs, outputs // 2
        self.shortcut = nn.Sequential()
        if not self.halves:
            self.shortcut = nn.Sequential(
                *biased(here, here, 3, stride, padding=1, groups=here), *biased(here, half, 1), nn.ReLU()
            )
        self.residual = nn.Sequential(
            *biased(here, here, 1),
            nn.ReLU(),
            *biased(here, here, 3, stride, padding=1, groups=here),
            *biased(here, half, 1),
            nn.ReLU(),
        )

    def forward(self, x):
        first, second = x.chunk(2, 1) if self.halves else (x, x)
        both = torch.stack([self.shortcut(first), self.residual(second)], 2)
        return both.flatten(1, 2)


class ShuffleNetV2(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.pre = nn.Sequential(*biased(3, 24, 3, padding=1))
        here = 24
        for stage, (width, units) in enumerate([(116, 3), (232, 7), (464, 3)], 2):
            rest = [ShuffleUnit(width, width, 1) for _ in range(units)]
            setattr(self, f"stage{stage}", nn.Sequential(ShuffleUnit(here, width, 2), *rest))
            here = width
        self.conv5 = nn.Sequential(*biased(here, 1024, 1), nn.ReLU())
        self.fc = nn.Linear(1024, classes)

    def forward(self, x):
        x = self.stage4(self.stage3(self.stage2(self.pre(x))))
        return self.fc(self.conv5(x).mean((2, 3)))


class BiasNorm(nn.Module):
    """A batch norm with a bias alone."""

    def __init__(self, width):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x):
        return F.batch_norm(x, self.running_mean, self.running_var, None, self.bias, self.training, 0.4, 1e-12)


class FastGroup(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1 = convolution(inputs, outputs, 3)
        self.norm1 = BiasNorm(outputs)
        self.conv2 = convolution(outputs, outputs, 3)
        self.norm2 = BiasNorm(outputs)

    def forward(self, x):
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.norm2(self.conv2(x)))


class Airbench(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.whiten.weight.requires_grad_(False)
        self.group1 = FastGroup(24, 64)
        self.group2 = FastGroup(64, 256)
        self.group3 = FastGroup(256, 256)
        self.fc = nn.Linear(256, classes, bias=False)

    def forward(self, x):
        x = self.group3(self.group2(self.group1(F.gelu(self.whiten(x)))))
        return self.fc(F.max_pool2d(x, 3).flatten(1)) / 9


NETWORKS = {
    "plainCnn": lambda: PlainCnn(10),
    "preResNet-20": lambda: PreResNet(10, 20),
    "preResNet-32": lambda: PreResNet(10, 32),
    "preResNet-44": lambda: PreResNet(10, 44),
    "preResNet-56": lambda: PreResNet(10, 56),
    "preResNet-110": lambda: PreResNet(10, 110),
    "resNet-18": lambda: ResNet(10, 18),
    "resNet-34": lambda: ResNet(10, 34),
    "resNet-50": lambda: ResNet(10, 50),
    "resNeXt29": lambda: ResNeXt(10),
    "mobileNetV2": lambda: MobileNetV2(10),
    "shuffleNetV2": lambda: ShuffleNetV2(10),
    "leNet5": lambda: LeNet(10, (6, 16, 120, 84)),
    "leNet5Half": lambda: LeNet(10, (3, 8, 60, 42)),
    "airbench": lambda: Airbench(10),
}


def wave(count, seed):
    """Numbers in [-1, 1) that look random, exactly the same in any language: a 32-bit hash of index and seed."""
    h = np.arange(count, dtype=np.uint32) + np.uint32(seed * 0x9E3779B9 & 0xFFFFFFFF)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = (h ^ (h >> np.uint32(shift))) * np.uint32(factor)
    return torch.from_numpy((h ^ (h >> np.uint32(16))).astype(np.float64) / 2**31 - 1)


def formula(name, shape, seed):
    """The weights of the golden networks; state_dict layouts."""
    values = wave(math.prod(shape), seed).reshape(shape)
    if name.endswith("running_var"):
        return 1 + 0.2 * values
    if len(shape) > 1:
        return values * math.sqrt(3 / math.prod(shape[1:]))
    is_scale = name.endswith("weight")
    return (1 if is_scale else 0) + 0.1 * values


def rounded(tensor):
    """Nine significant digits, more than float32 holds."""
    numbers = [float(f"{x:.9g}") for x in tensor.flatten().tolist()]
    return numbers if tensor.dim() > 0 else numbers[0]


def golden(make, side, batch):
    model = make()
    channels = 1 if isinstance(model, LeNet) else 3
    images = wave(batch * channels * side * side, 9999).reshape(batch, channels, side, side)
    model(images.float())  # makes the lazy layer
    model = model.double()
    state = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    fresh = {k: formula(k, tuple(v.shape), i).float().double() for i, (k, v) in enumerate(state.items(), 1)}
    model.load_state_dict({**model.state_dict(), **fresh})
    images = images.float().double()
    labels = torch.arange(batch) % 10
    with torch.no_grad():
        eval_logits = model.eval()(images)
    model.train()
    logits = model(images)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    params = {name: param for name, param in model.named_parameters() if param.requires_grad}
    chosen = [name for i, name in enumerate(params) if i % max(1, len(params) // 6) == 0 or i >= len(params) - 2]
    stats = {k: v for k, v in model.state_dict().items() if "running" in k}
    # A projection on a wave tells a permuted gradient from the right one; the norm gives its scale.
    return {
        "side": side,
        "batch": batch,
        "evalLogits": rounded(eval_logits[0]),
        "trainLogits": rounded(logits[0]),
        "loss": rounded(loss),
        "gradients": {
            name: {
                "norm": rounded(params[name].grad.norm()),
                "projection": rounded((params[name].grad.flatten() * wave(params[name].numel(), 0)).sum()),
            }
            for name in chosen
        },
        "stats": {name: rounded(stats[name].norm()) for name in list(stats)[:2] + list(stats)[-2:]},
    }


if __name__ == "__main__":
    torch.manual_seed(0)
    # Of the large nets so few images that in float32 hardly a ReLU decides otherwise.
    sizes = {
        "plainCnn": (16, 8),
        "resNeXt29": (4, 8),
        "mobileNetV2": (8, 4),
        "shuffleNetV2": (16, 4),
        "leNet5": (32, 8),
        "leNet5Half": (32, 8),
        "airbench": (32, 4),
    }
    skipped = ("preResNet-32", "preResNet-56", "preResNet-110", "resNet-34")
    found = {name: golden(make, *sizes.get(name, (8, 8))) for name, make in NETWORKS.items() if name not in skipped}
    json.dump({"torch": torch.__version__, "networks": found}, sys.stdout, indent=1)
    print()
