"""PyTorch's side of the benchmark of whole matrices: trains what the field's scripts train, in lines of JSON.

First it says {"version", "threads", "device"}. A request {"prepare": [part, …]} makes every part ready, compiled by
torch.compile and not, tries both for a few steps in turn, and is answered {"modes": [the faster one of each part]}. A request
{"train": [part, …]} trains them one after the other, and is answered {"seconds": [of each part]}: nothing but steps, a few of
which come before, untimed.

A part is {"net", "batch", "steps", "optimizer", "loss"}; the loss is "labels", or, with {"beside"} another net that
answers the same batch without gradients, "distil", "distilPool" or "nasty"; with {"pool": count} the images are so many and
are not augmented. With {"settings"} of DeepInversion instead of a loss, images are inverted out of the net.
"""

import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from pytorch import OPTIMIZERS, Training, cuda, data, deep_inversion, descent, device, frozen, made, normalise
from pytorch import serve, set_precision, synchronise

AUTOCAST = torch.autocast(device.type, enabled=False)
MODES = "eager", "default"
TRIALS, TRIED = 3, 4  # of so many steps
RATES = {"sgd": {"rate": 0.01, "momentum": 0.9, "weightDecay": 5e-4}, "adam": {"rate": 1e-3}}


def divergence(logits, answers, temperature):
    """τ² KL(answers ‖ logits), both softened."""
    soft, wanted = ((each / temperature).log_softmax(1) for each in (logits, answers))
    return temperature**2 * F.kl_div(soft, wanted, reduction="batchmean", log_target=True)


def distil(logits, answers, labels):
    return 0.9 * divergence(logits, answers, 4) + 0.1 * F.cross_entropy(logits, labels)


def nasty(logits, answers, labels):
    return F.cross_entropy(logits, labels) - 0.04 * divergence(answers, logits, 4)


def distil_pool(logits, answers, _):
    return divergence(logits, answers, 3)


LOSSES = {"distil": distil, "distilPool": distil_pool, "nasty": nasty}


class Beside(Training):
    """The loss of a net beside another one's answers to the same images."""

    def __init__(self, net, beside, loss, images, labels, augmented):
        super().__init__(net, images, labels, AUTOCAST, augmented)
        self.beside, self.loss = beside, loss

    def forward(self, index):
        images, labels = normalise(self.batch(index)), self.labels[index]
        with torch.no_grad():
            answers = self.beside(images)
        logits = self.net(images)
        loss = self.loss(logits, answers, labels)
        return loss, torch.stack([loss.detach(), (logits.argmax(1) == labels).sum()])


def learning(compiled, net, batch, optimizer, loss, beside=None, pool=None):
    model = made(net).train()
    count = pool or 4 * batch
    images, labels = data(net, count)
    if beside is None:
        task = Training(model, images, labels, AUTOCAST)
    else:
        task = Beside(model, frozen(beside), LOSSES[loss], images, labels, pool is None)
    order = torch.randperm(count, device=device).split(min(batch, count))
    optimizer = OPTIMIZERS[optimizer](model.parameters(), **RATES[optimizer])
    return descent(compiled(task), lambda i: (order[i % len(order)],), [optimizer], 2)


def runner(mode, settings=None, **what):
    """A function that takes so many steps."""

    def compiled(module):
        if mode != "eager":
            module.compile(mode=mode, dynamic=False)
        return module

    if settings is None:
        return learning(compiled, **what)
    return deep_inversion(compiled, autocast=AUTOCAST, attack={"settings": settings}, **what)


def timed(run, steps):
    synchronise()
    started = time.perf_counter()
    run(steps)
    synchronise()
    return time.perf_counter() - started


ready = {}


def key_of(part):
    return json.dumps({name: value for name, value in part.items() if name != "steps"}, sort_keys=True)


def fastest(key):
    """The mode that is faster, and its runner; both meet the same machine."""
    runs = {}
    for mode in MODES:
        try:
            run = runner(mode, **json.loads(key))
            run(3)
            runs[mode] = run
        except Exception as error:
            print(f"{mode} fails: {key}: {error}", file=sys.stderr)
    tries = [{mode: timed(run, TRIED) for mode, run in runs.items()} for _ in range(TRIALS)]
    best = min(runs, key=lambda mode: statistics.median(each[mode] for each in tries))
    return best, runs[best]


def prepare(parts):
    for key in dict.fromkeys(map(key_of, parts)):
        if key not in ready:
            ready[key] = fastest(key)
    return {"modes": [ready[key_of(part)][0] for part in parts]}


def train(parts):
    seconds = []
    for part in parts:
        _, run = ready[key_of(part)]
        run(2)  # what rested while others ran may have lost its memory
        seconds.append(timed(run, part["steps"]))
    return {"seconds": seconds}


ANSWERS = {"prepare": prepare, "train": train}


def answer(**request):
    [(ask, parts)] = request.items()
    return ANSWERS[ask](parts)


if __name__ == "__main__":
    set_precision("tf32" if cuda else "float32")
    serve(answer)
