"""What do the models of chapter 15 cost?  One image, a training step, memory: alternating, and with nothing else running.

    python experiments/ch15_cost.py        about six minutes on two quiet CPU cores

The comparison of chapter 15 trains on whatever machine is free, so its own clocks cannot be compared.  Here the models, built
for 27 classes and 320 pixels (one of them for 352), take turns: latency of the fused model on one image, time of a training
step (forward, loss and backward of BATCH drawn scenes, in float32), both the best of several, as the median ratio to plain
YOLOv8n over PROCESSES processes; and the peak by which memory grows in a step, in a fresh process for each model.  Writes
book/results/ch15_cost.json.
"""

import statistics

import torch
import torch.nn.functional as F
from _record import GIVE_BACK, best_times, forward, in_fresh_process, peak_memory_mb, record, serve, step
from ch15_compare import BATCH, LARGER, LARGER_SIZE, MODELS, PLAIN, SIZE
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import DetectionModel

from vil_lite.complexity import flops, parameters
from vil_lite.data import airfield
from vil_lite.yolo.compare import yaml_of

PROCESSES = 3


def size_of(name):
    return LARGER_SIZE if name == LARGER else SIZE


def detector(name):
    torch.manual_seed(0)
    model = DetectionModel(yaml_of(PLAIN if name == LARGER else name), nc=len(airfield.CLASSES), verbose=False)
    model.args = get_cfg(overrides={"task": "detect"})
    return model


def batch(size):
    """Drawn scenes with their boxes, as ultralytics' loader gives them, resized as it does."""
    scenes = [airfield.scene(seed=0, index=k, image_size=SIZE) for k in range(BATCH)]
    images = torch.stack([torch.from_numpy(s.image).permute(2, 0, 1).float() / 255 for s in scenes])
    images = F.interpolate(images, size=(size, size), mode="bilinear")
    boxes = torch.cat([torch.from_numpy(s.boxes).float() for s in scenes]) / SIZE
    low, high = boxes.split(2, dim=1)
    number = torch.cat([torch.full((len(s.labels),), float(k)) for k, s in enumerate(scenes)])
    classes = torch.cat([torch.from_numpy(s.labels) for s in scenes]).float()[:, None]
    return {"img": images, "bboxes": torch.cat([(low + high) / 2, high - low], 1), "cls": classes, "batch_idx": number}


def image(size):
    return torch.rand(1, 3, size, size)


def total(losses):
    """Of what a detector in training returns for a batch."""
    return losses[0].sum()


def times():
    data, x = ({size: make(size) for size in (SIZE, LARGER_SIZE)} for make in (batch, image))
    models = {name: detector(name) for name in MODELS}
    slow = best_times({name: step(m.train(), data[size_of(name)], total) for name, m in models.items()}, 5)
    fused = {name: m.fuse(verbose=False).eval() for name, m in models.items()}
    fast = best_times({name: forward(m, x[size_of(name)]) for name, m in fused.items()}, 25, warmup=3)
    return {"latency": fast, "step": slow}


def memory(name):
    model, data = detector(name).train(), batch(size_of(name))
    small = {**data, "img": data["img"][:, :, :64, :64].contiguous()}
    step(model, small, total)()  # loads what PyTorch loads once
    return peak_memory_mb(step(model, data, total))


def main():
    runs = [in_fresh_process("times") for _ in range(PROCESSES)]
    figures = {}
    base = {kind: statistics.median(run[kind][PLAIN] for run in runs) for kind in ("latency", "step")}
    for name in MODELS:
        ratio = {kind: statistics.median(run[kind][name] / run[kind][PLAIN] for run in runs) for kind in base}
        model = detector(name)
        row = {"parameters": parameters(model)}
        row["gflops"] = 2 * flops(model.eval(), image(size_of(name)), counting="torch") / 1e9
        row["latency_ms"], row["step_s"] = 1000 * base["latency"] * ratio["latency"], base["step"] * ratio["step"]
        row["latency_ratio"], row["step_ratio"] = ratio["latency"], ratio["step"]
        row["memory_mb"] = in_fresh_process("memory", name, **GIVE_BACK)
        figures[name] = row
        print(name, row, flush=True)
    figures = {"models": figures, "size": SIZE, "batch": BATCH, "processes": PROCESSES}
    record("ch15_cost", figures, seeds=[0], packages=("torch", "ultralytics"))


if __name__ == "__main__" and not serve(times=times, memory=memory):
    main()
