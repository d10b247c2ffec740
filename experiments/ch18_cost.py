"""What the models of chapter 18 cost as scenes grow: one image, a training step, its memory, taking turns.

    python experiments/ch18_cost.py        under two minutes on two quiet CPU cores

ViL and the ViT with the light decoder and the U-Net of ch18_segmentation.py, from 64 to 384 pixels, one image, two threads,
random weights, with nothing else running.  Times are the best of a few repeats, in turn, in one process; the peak by which
memory grows in a step is taken in a fresh process for each model and size.  Writes book/results/ch18_cost.json.
"""

import torch
from _record import GIVE_BACK, best_times, forward, in_fresh_process, peak_memory_mb, record, serve, step
from ch18_segmentation import MODELS

from vil_lite.complexity import flops, parameters

REPEATS = {64: 15, 128: 7, 256: 3, 384: 2}  # pixels: repeats
MEMORY = (128, 384)


def built():
    torch.manual_seed(0)
    return {name: make() for name, make in MODELS.items()}


def times():
    """{pixels: {"forward": {model: seconds}, "step": ..., "gflops": ...}}"""
    models, found = built(), {}
    for size, repeats in REPEATS.items():
        x = torch.randn(1, 3, size, size)
        fast = best_times({n: forward(m.eval(), x) for n, m in models.items()}, repeats)
        counted = {n: 2 * flops(m, x, counting="torch") / 1e9 for n, m in models.items()}
        slow = best_times({n: step(m.train(), x) for n, m in models.items()}, repeats)
        found[size] = {"forward": fast, "step": slow, "gflops": counted}
    return found


def memory(name, size):
    """MB by which this process grows at the peak of a training step."""
    model = built()[name].train()
    step(model, torch.randn(1, 3, 64, 64))()  # loads what PyTorch loads once
    return peak_memory_mb(step(model, torch.randn(1, 3, size, size)))


def main():
    points = in_fresh_process("times")
    for size in MEMORY:
        peaks = {name: in_fresh_process("memory", name, size, **GIVE_BACK) for name in MODELS}
        points[str(size)]["peak_step_mb"] = peaks
    sizes = {name: parameters(model) for name, model in built().items()}
    record("ch18_cost", {"batch": 1, "parameters": sizes, "pixels": points}, seeds=[0], packages=("torch", "timm"))


if __name__ == "__main__" and not serve(times=times, memory=memory):
    main()
