"""PyTorch's side of the benchmark: runs training steps on request.

Reads lines of JSON, {"net": …, "batch": …, "steps": …}, and answers each with {"seconds": …}; first of all with its
version. Each net is built once, in both memory formats, and the faster one counts ("PyTorch's best, eager").
"""

import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "test", "models"))

import torch
import torch.nn.functional as F
from reference import LeNet, PlainCnn, PreResNet, ResNet

torch.set_num_threads(int(os.environ["BENCH_THREADS"]))
torch.manual_seed(0)

MAKE = {
    "resNet18": lambda: ResNet(18, 10),
    "preResNet20": lambda: PreResNet(20, 10),
    "plainCnn": lambda: PlainCnn(10),
    "leNet5": lambda: LeNet(10, (6, 16, 120, 84)),
}
FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
built = {}


def trainer(net, batch, memory_format):
    """One step: forward, cross-entropy, backward, SGD with momentum and weight decay, accuracy, both numbers read."""
    channels = 1 if net == "leNet5" else 3
    model = MAKE[net]()
    images = torch.rand(batch, channels, 32, 32).contiguous(memory_format=memory_format)
    labels = torch.arange(batch) % 10
    model(images[:2])  # lazy layers take their shapes
    model = model.train().to(memory_format=memory_format)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def step():
        optimizer.zero_grad(set_to_none=True)
        logits = model(images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        return loss.item(), (logits.argmax(1) == labels).float().mean().item()

    return step


print(json.dumps({"version": torch.__version__, "threads": torch.get_num_threads()}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    seconds = {}
    for name, memory_format in FORMATS.items():
        key = (request["net"], request["batch"], name)
        fresh = key not in built
        step = built.setdefault(key, None) or trainer(*key[:2], memory_format)
        built[key] = step
        if fresh:
            for _ in range(3):
                step()
        started = time.perf_counter()
        for _ in range(request["steps"]):
            step()
        seconds[name] = time.perf_counter() - started
    print(json.dumps(seconds), flush=True)
