"""PyTorch's side of the benchmark: times steps on request, in lines of JSON.

First it says {"version", "threads", "device"}. Then each request {"net", "batch", "steps", "kind", "precision",
"modes"} gets an answer {"seconds": {mode: …}, "failed": {mode: first line of the error}}. The kind is "train" or
"evaluate", the precision "float32", "tf32" or "bfloat16", a mode "eager" or one of torch.compile's. Compiling and three
steps come first, once, untimed. The images live on the device as bytes, and what the steps yield is read once, after
the last.
"""

import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "test", "models"))

import torch
import torch.nn.functional as F
from reference import LeNet, PlainCnn, PreResNet, ResNet
from torch import nn

NETS = {
    "resNet18": lambda: ResNet(classes=10, depth=18),
    "preResNet20": lambda: PreResNet(classes=10, depth=20),
    "plainCnn": lambda: PlainCnn(classes=10),
    "leNet5": lambda: LeNet(classes=10, sizes=(6, 16, 120, 84)),
}
SIDE = 32
BORDER = 4  # of zeros, into which a random crop may reach
BATCHES = 4  # in the data

cuda = torch.cuda.is_available()
device = torch.device("cuda" if cuda else "cpu")
synchronise = torch.cuda.synchronize if cuda else lambda: None
torch.set_num_threads(int(os.environ["BENCH_THREADS"]))
torch.backends.cudnn.benchmark = True
# All nets and modes are compilations of the same two functions; beyond the limit, PyTorch would silently stay eager.
torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = 1024


def set_precision(precision):
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def normalise(images):
    """(pixel / 255 - 0.5) / 0.25"""
    return images.float().mul_(1 / 63.75).sub_(2)


class Training(nn.Module):
    """Loss, and loss and hits to be summed, of the images at an index."""

    def __init__(self, net, images, labels, autocast):
        super().__init__()
        self.net, self.autocast = net, autocast
        self.augmented = images.shape[1] == 3
        if self.augmented:
            images = F.pad(images, (BORDER,) * 4)
        # As buffers the data have addresses that CUDA graphs rely on; else each step would copy them.
        self.register_buffer("images", images.permute(0, 2, 3, 1).contiguous())
        self.register_buffer("labels", labels)
        self.register_buffer("range", torch.arange(SIDE, device=device))

    def batch(self, index):
        """One gather crops and flips: of whole pixels, since eager PyTorch is fast at selecting rows."""
        if not self.augmented:
            return self.images.index_select(0, index).permute(0, 3, 1, 2)
        width = SIDE + 2 * BORDER
        draws = torch.rand(3, len(index), 1, device=device)
        top, left = (draws[:2] * (2 * BORDER + 1)).long()
        rows = index[:, None] * width + top + self.range
        columns = left + torch.where(draws[2] < 0.5, self.range.flip(0), self.range)
        pixels = rows[:, :, None] * width + columns[:, None, :]
        return self.images.view(-1, 3).index_select(0, pixels.flatten()).view(*pixels.shape, 3).permute(0, 3, 1, 2)

    def forward(self, index):
        images, labels = normalise(self.batch(index)), self.labels[index]
        with self.autocast:
            logits = self.net(images)
            loss = F.cross_entropy(logits, labels)
        return loss, torch.stack([loss.detach(), (logits.argmax(1) == labels).sum()])


class Evaluation(nn.Module):
    """Hits on a batch."""

    def __init__(self, net, autocast):
        super().__init__()
        self.net, self.autocast = net, autocast

    def forward(self, images, labels):
        with self.autocast:
            logits = self.net(normalise(images))
        return (logits.argmax(1) == labels).sum()


def made(net, channels):
    torch.manual_seed(0)
    model = NETS[net]()
    with torch.no_grad():
        model.eval()(torch.zeros(1, channels, SIDE, SIDE))  # lazy layers take their shapes
    return model.to(device, memory_format=torch.channels_last)


def runner(net, batch, kind, precision, mode):
    """A function that does so many steps and returns their sums."""
    channels = 1 if net == "leNet5" else 3
    model = made(net, channels)
    count = BATCHES * batch
    images = torch.randint(256, (count, channels, SIDE, SIDE), dtype=torch.uint8, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(10, (count,), device=device)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")

    def compiled(module):
        if mode != "eager":
            module.compile(mode=mode, dynamic=False)
        return module

    if kind == "train":
        order = torch.randperm(count, device=device).split(batch)
        task = compiled(Training(model.train(), images, labels, autocast))
        # Fused is the fastest; compiling the step as well (fused or not) gains nothing.
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)

        def train(steps):
            sums = torch.zeros(2, device=device)
            for i in range(steps):
                torch.compiler.cudagraph_mark_step_begin()
                loss, numbers = task(order[i % BATCHES])
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                sums += numbers
            return sums.tolist()

        return train

    if kind == "evaluate":
        batches = list(zip(images.split(batch), labels.split(batch)))
        task = compiled(Evaluation(model.eval(), autocast))

        @torch.inference_mode()
        def evaluate(steps):
            hits = torch.zeros((), dtype=torch.long, device=device)
            for i in range(steps):
                torch.compiler.cudagraph_mark_step_begin()
                hits += task(*batches[i % BATCHES])
            return hits.item()

        return evaluate

    raise ValueError(f"no kind {kind}")


ready = {}
failures = {}


def timed(key, steps):
    if key not in ready:
        ready[key] = runner(*key)
        ready[key](3)
    synchronise()
    started = time.perf_counter()
    ready[key](steps)
    synchronise()
    return time.perf_counter() - started


def answer(net, batch, steps, kind, precision, modes):
    set_precision(precision)
    seconds, failed = {}, {}
    for mode in modes:
        key = (net, batch, kind, precision, mode)
        try:
            if key not in failures:
                seconds[mode] = timed(key, steps)
        except Exception as error:
            ready.pop(key, None)
            failures[key] = f"{type(error).__name__}: {error}".splitlines()[0]
        if key in failures:
            failed[mode] = failures[key]
    return {"seconds": seconds, "failed": failed}


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what compilers print is no answer
    name = torch.cuda.get_device_name() if cuda else "cpu"
    first = {"version": torch.__version__, "threads": torch.get_num_threads(), "device": name}
    print(json.dumps(first), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), file=answers, flush=True)


main()
