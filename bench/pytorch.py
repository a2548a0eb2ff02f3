"""PyTorch's side of the benchmark: times steps on request, in lines of JSON.

First it says {"version", "threads", "device"}. Then each request {"net", "batch", "steps", "kind", "precision",
"modes"} gets an answer {"seconds": {mode: …}, "failed": {mode: first line of the error}}. The kind is "train",
"evaluate" or, with "attack" in the request, "synthesise"; the precision "float32", "tf32" or "bfloat16", a mode "eager"
or one of torch.compile's. Compiling and three steps come first, once, untimed. The images live on the device as bytes,
and what the steps yield is read once, after the last.

An attack is {"name": "dafl", "student": a net, "settings": …} or {"name": "deepInversion", "settings": …}, the settings
those of src/attacks: weights, rates, optimisers.
"""

import gc
import json
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "test", "models"))

import torch
import torch.nn.functional as F
from generator import Generator
from reference import LeNet, MobileNetV2, PlainCnn, PreResNet, ResNet, ResNeXt, ShuffleNetV2
from torch import nn

NETS = {
    "resNet18": lambda: ResNet(classes=10, depth=18),
    "resNet34": lambda: ResNet(classes=10, depth=34),
    "preResNet20": lambda: PreResNet(classes=10, depth=20),
    "resNeXt29": lambda: ResNeXt(classes=10),
    "mobileNetV2": lambda: MobileNetV2(classes=10),
    "shuffleNetV2": lambda: ShuffleNetV2(classes=10),
    "plainCnn": lambda: PlainCnn(classes=10),
    "plainCnn4": lambda: PlainCnn(classes=10, channels=1, width=4),
    "leNet5": lambda: LeNet(classes=10, sizes=(6, 16, 120, 84)),
    "leNet5Half": lambda: LeNet(classes=10, sizes=(3, 8, 60, 42)),
}
SIDE = 32
BORDER = 4  # of zeros, into which a random crop may reach
BATCHES = 4  # in the data

cuda = torch.cuda.is_available()
device = torch.device("cuda" if cuda else "cpu")
synchronise = torch.cuda.synchronize if cuda else lambda: None
torch.set_num_threads(int(os.environ["BENCH_THREADS"]))
torch.backends.cudnn.benchmark = True
# All nets and modes are compilations of the same few functions; beyond the limit, PyTorch would silently stay eager.
torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = 1024


def set_precision(precision):
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def normalise(images):
    """(pixel / 255 - 0.5) / 0.25"""
    return images.float().mul_(1 / 63.75).sub_(2)


class Training(nn.Module):
    """Loss, and loss and hits to be summed, of the images at an index."""

    def __init__(self, net, images, labels, autocast, augmented=True):
        super().__init__()
        self.net, self.autocast = net, autocast
        self.augmented = augmented and images.shape[1] == 3
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


def watched(modules):
    """A list that each of the modules appends what reaches it to."""
    seen = []
    for module in modules:
        module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    return seen


class Dafl(nn.Module):
    """The losses of a generator and of the student, added up: their graphs do not touch, so one backward pass does."""

    def __init__(self, teacher, student, generator, batch, settings, autocast):
        super().__init__()
        self.teacher, self.student, self.generator = teacher, student, generator
        self.features = watched([teacher.fc1 if isinstance(teacher, LeNet) else teacher.linear])
        self.batch, self.latent, self.autocast = batch, settings["latent"], autocast
        self.weights = [settings[name] for name in ("oneHot", "activation", "entropy")]

    def forward(self):
        images = self.generator(torch.randn(self.batch, self.latent, device=device))
        logits = self.teacher(images)
        mean = logits.softmax(1).mean(0)
        terms = [
            F.cross_entropy(logits, logits.argmax(1)),
            -self.features.pop().abs().mean(),
            (mean * mean.clamp_min(torch.finfo(mean.dtype).tiny).log10()).sum(),
        ]
        loss = sum(weight * term for weight, term in zip(self.weights, terms))
        with self.autocast:
            learnt = self.student(images.detach())
        answers = logits.detach().log_softmax(1)
        kl = F.kl_div(learnt.log_softmax(1), answers, reduction="batchmean", log_target=True)
        return loss + kl, torch.stack([loss.detach(), *(term.detach() for term in terms), kl.detach()])


def norm_of_all(tensor):
    return torch.linalg.vector_norm(tensor)


def variation(images):
    """Of neighbours →, ↓, ↘ and ↙, the norm of all differences."""
    upper, lower = images[:, :, :-1], images[:, :, 1:]
    return (
        norm_of_all(images[:, :, :, :-1] - images[:, :, :, 1:])
        + norm_of_all(upper - lower)
        + norm_of_all(upper[..., :-1] - lower[..., 1:])
        + norm_of_all(upper[..., 1:] - lower[..., :-1])
    )


class DeepInversion(nn.Module):
    """The loss of images, which keeps those of the lowest."""

    def __init__(self, net, images, labels, settings):
        super().__init__()
        self.net, self.settings = net, settings
        self.norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
        self.inputs = watched(self.norms)
        self.register_buffer("labels", labels)
        self.register_buffer("best", images.detach().clone())
        self.register_buffer("lowest", torch.tensor(torch.finfo(torch.float32).max, device=device))

    def forward(self, moved, images):
        """The images, and the same moved, through which gradients reach them."""
        cross_entropy = F.cross_entropy(self.net(moved), self.labels)
        distance = 0
        for norm, inputs in zip(self.norms, self.inputs):
            variance, mean = torch.var_mean(inputs, (0, 2, 3), correction=0)
            distance = distance + norm_of_all(norm.running_var - variance) + norm_of_all(norm.running_mean - mean)
        self.inputs.clear()
        rough = variation(moved)
        loss = cross_entropy + self.settings["batchNorm"] * distance + self.settings["tv"] * rough
        numbers = torch.stack([loss, cross_entropy, distance, rough]).detach()
        with torch.no_grad():
            self.best.copy_(torch.where(loss < self.lowest, images, self.best))
            self.lowest.copy_(torch.minimum(loss, self.lowest))
        return loss, numbers


def made(net):
    torch.manual_seed(0)
    model = NETS[net]()
    with torch.no_grad():
        model.eval()(torch.zeros(1, channels_of(net), SIDE, SIDE))  # lazy layers take their shapes
    return model.to(device, memory_format=torch.channels_last)


def channels_of(net):
    return 1 if net in ("leNet5", "leNet5Half", "plainCnn4") else 3


def frozen(net):
    return made(net).eval().requires_grad_(False)


def data(net, count):
    images = torch.randint(256, (count, channels_of(net), SIDE, SIDE), dtype=torch.uint8, device=device)
    return images.contiguous(memory_format=torch.channels_last), torch.randint(10, (count,), device=device)


# Fused is the fastest; compiling the step as well (fused or not) gains nothing.
def sgd(parameters, rate, momentum, weightDecay, **_):
    return torch.optim.SGD(parameters, lr=rate, momentum=momentum, weight_decay=weightDecay, fused=True)


def adam(parameters, rate, beta1=0.9, beta2=0.999, **_):
    return torch.optim.Adam(parameters, lr=rate, betas=(beta1, beta2), fused=True)


OPTIMIZERS = {"sgd": sgd, "adam": adam}


def descent(task, inputs, optimizers, count):
    """A function that takes so many steps and returns the sums of their `count` numbers; `inputs` gives a step's."""

    def descend(steps):
        sums = torch.zeros(count, device=device)
        for i in range(steps):
            torch.compiler.cudagraph_mark_step_begin()
            loss, numbers = task(*inputs(i))
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            sums += numbers
        return sums.tolist()

    return descend


def training(compiled, net, batch, autocast):
    model = made(net).train()
    images, labels = data(net, BATCHES * batch)
    order = torch.randperm(BATCHES * batch, device=device).split(batch)
    task = compiled(Training(model, images, labels, autocast))
    optimizer = sgd(model.parameters(), rate=0.01, momentum=0.9, weightDecay=5e-4)
    return descent(task, lambda i: (order[i % BATCHES],), [optimizer], 2)


def evaluation(compiled, net, batch, autocast):
    images, labels = data(net, BATCHES * batch)
    batches = list(zip(images.split(batch), labels.split(batch)))
    task = compiled(Evaluation(made(net).eval(), autocast))

    @torch.inference_mode()
    def evaluate(steps):
        hits = torch.zeros((), dtype=torch.long, device=device)
        for i in range(steps):
            torch.compiler.cudagraph_mark_step_begin()
            hits += task(*batches[i % BATCHES])
        return hits.item()

    return evaluate


def dafl(compiled, net, batch, autocast, attack):
    settings = attack["settings"]
    learner = made(attack["student"]).train()
    generator = Generator(settings["latent"], settings["width"], SIDE, SIDE, channels_of(net))
    generator = generator.to(device, memory_format=torch.channels_last).train()
    task = compiled(Dafl(frozen(net), learner, generator, batch, settings, autocast))
    optimizer, rate = settings["optimizer"], settings["schedule"]["params"]["rate"]
    optimizers = [
        adam(generator.parameters(), rate=settings["generatorRate"]),
        OPTIMIZERS[optimizer["name"]](learner.parameters(), rate=rate, **optimizer["params"]),
    ]
    return descent(task, lambda _: (), optimizers, 5)


def deep_inversion(compiled, net, batch, autocast, attack):
    settings = attack["settings"]
    images = torch.randn(batch, channels_of(net), SIDE, SIDE, device=device)
    images = images.contiguous(memory_format=torch.channels_last).requires_grad_()
    labels = torch.arange(batch, device=device) % 10
    task = compiled(DeepInversion(frozen(net), images, labels, settings))
    (beta1, beta2), reach = settings["betas"], settings["jitter"]

    def moved(_):
        # Outside of what is compiled, which would be compiled anew for each place. Some rolls leave channels_last.
        places = [random.randint(-reach, reach) for _ in range(2)]
        return torch.roll(images, places, (2, 3)).contiguous(memory_format=torch.channels_last), images.detach()

    return descent(task, moved, [adam([images], settings["rate"], beta1, beta2)], 4)


ATTACKS = {"dafl": dafl, "deepInversion": deep_inversion}


def synthesis(attack, **what):
    return ATTACKS[attack["name"]](attack=attack, **what)


KINDS = {"train": training, "evaluate": evaluation, "synthesise": synthesis}


def runner(kind, precision, mode, **what):
    """A function that does so many steps and returns their sums."""
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")

    def compiled(module):
        if mode != "eager":
            module.compile(mode=mode, dynamic=False)
        return module

    return KINDS[kind](compiled=compiled, autocast=autocast, **what)


ready = {}
failures = {}
row = {}


def make_room(what):
    """Forgets what was made for another row: its memory would be missed."""
    if what == row:
        return
    row.clear()
    row.update(what)
    ready.clear()
    torch._dynamo.reset()
    gc.collect()
    if cuda:
        torch.cuda.empty_cache()


def timed(key, steps):
    if key not in ready:
        ready[key] = runner(**json.loads(key))
        ready[key](3)
    # What rested while others were timed may have lost its memory and its threads' places.
    ready[key](min(steps, 4))
    synchronise()
    started = time.perf_counter()
    ready[key](steps)
    synchronise()
    return time.perf_counter() - started


def answer(steps, modes, **what):
    make_room(what)
    set_precision(what["precision"])
    seconds, failed = {}, {}
    for mode in modes:
        key = json.dumps({**what, "mode": mode})
        try:
            if key not in failures:
                seconds[mode] = timed(key, steps)
        except Exception as error:
            ready.pop(key, None)
            failures[key] = f"{type(error).__name__}: {error}".splitlines()[0]
        if key in failures:
            failed[mode] = failures[key]
    return {"seconds": seconds, "failed": failed}


def serve(answer):
    """Says what this is, and then gives `answer` each request, in lines of JSON."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what compilers print is no answer
    name = torch.cuda.get_device_name() if cuda else "cpu"
    first = {"version": torch.__version__, "threads": torch.get_num_threads(), "device": name}
    print(json.dumps(first), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    serve(answer)
