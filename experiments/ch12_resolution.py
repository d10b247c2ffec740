"""Time and memory of ViL-T and ViT-T from 224 to 1536 pixels, batch 1: the question of Table 4, on a CPU.

    python experiments/ch12_resolution.py          about eight minutes on two quiet CPU cores
    python experiments/ch12_resolution.py 224      only one size; the record is written when all are there

vil2_tiny beside timm's vit_tiny_patch16_224, which uses PyTorch's fused attention; float32, one image, random weights.
Each size is timed in a process of its own, the models in turn, the best of a few repeats; the peak of the memory that
grows in one training step is taken in one fresh process for each model.  Every measured point is kept in
_build/ch12_resolution as soon as it is done, so an interrupted command goes on where it stopped.
Writes book/results/ch12_resolution.json.
"""

import sys
from functools import partial
from pathlib import Path

import torch
from _record import GIVE_BACK, best_times, forward, in_fresh_process, kept, peak_memory_mb, record, serve, step
from speed_models import vil

KEPT = Path(__file__).resolve().parents[1] / "_build" / "ch12_resolution"
PIXELS = {224: 9, 384: 7, 512: 5, 768: 3, 1024: 2, 1280: 2, 1536: 2}  # size: repeats
NAMES = ("vit", "vil")


def model_for(name, size):
    """The model for size x size pixels.  ViL takes any size; the ViT has a position for each token."""
    import timm

    return timm.create_model("vit_tiny_patch16_224", img_size=size) if name == "vit" else vil(image_size=size)


def times(size):
    """Seconds of one image, forward and training step: {"forward": {"vit": ..., "vil": ...}, "step": ...}."""
    torch.manual_seed(0)
    x = torch.randn(1, 3, size, size)
    models = {name: model_for(name, size) for name in NAMES}
    fast = best_times({n: forward(m.eval(), x) for n, m in models.items()}, PIXELS[size])
    slow = best_times({n: step(m.train(), x) for n, m in models.items()}, max(1, PIXELS[size] // 2))
    return {"forward": fast, "step": slow}


def memory(name, size):
    """MB by which this process grows at the peak of a training step."""
    torch.manual_seed(0)
    model = model_for(name, size)
    small = model_for(name, 64)
    step(small, torch.randn(1, 3, 64, 64))()  # loads what PyTorch loads once
    return peak_memory_mb(step(model.train(), torch.randn(1, 3, size, size)))


def main(sizes):
    points = {}
    for size in sizes:
        measured = kept(KEPT / f"times-{size}.json", partial(in_fresh_process, "times", size))
        points[size] = {"tokens": (size // 16) ** 2, **measured}
        points[size]["peak_step_mb"] = {
            name: kept(
                KEPT / f"memory-{name}-{size}.json", partial(in_fresh_process, "memory", name, size, **GIVE_BACK)
            )
            for name in NAMES
        }
    if set(sizes) == set(PIXELS):
        record("ch12_resolution", {"batch": 1, "pixels": points}, seeds=[0], packages=("torch", "timm"))


if __name__ == "__main__" and not serve(times=times, memory=memory):
    main([int(size) for size in sys.argv[1:]] or list(PIXELS))
