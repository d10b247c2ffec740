"""What do ViL blocks cost inside YOLOv8n?  Forward and training step at 640 pixels against plain YOLOv8n.

    python experiments/speed_yolo.py        about 6 minutes on two quiet CPU cores

Within a process the models take turns.  Still, the ratio of two of them moves by up to a tenth from process to process (each
has its weights and buffers elsewhere in memory), so five processes are run and the median ratio is given, with its range.
A last process compares the forward passes under torch.compile.  Freed memory is kept, as in speed_models.py.
Writes book/results/speed_yolo.json.
"""

import statistics

import torch
from _record import best_times, forward, in_fresh_process, record, serve, step
from ultralytics.nn.tasks import DetectionModel

from vil_lite.complexity import parameters
from vil_lite.yolo import model_yaml

NAMES = {"plain": "yolov8n.yaml", "P5": "yolov8n-vil-p5", "P4 + P5": "yolov8n-vil", "P3 + P4 + P5": "yolov8n-vil-p345"}
PROCESSES = 5


def detector(name):
    torch.manual_seed(0)
    return DetectionModel(name if name.endswith(".yaml") else model_yaml(name), verbose=False)


def outputs(y):
    """All tensors of a YOLO output, whatever its nesting."""
    if isinstance(y, torch.Tensor):
        return [y]
    return [t for part in (y.values() if isinstance(y, dict) else y) for t in outputs(part)]


def mean_square(y):
    return sum(t.square().mean() for t in outputs(y))


def eager():
    models = {place: detector(name) for place, name in NAMES.items()}
    x = torch.randn(1, 3, 640, 640)
    fast = best_times({place: forward(m.eval(), x) for place, m in models.items()}, 15, warmup=2)
    x = torch.randn(4, 3, 640, 640)
    slow = best_times({place: step(m.train(), x, mean_square) for place, m in models.items()}, 2)
    return {"forward": fast, "step": slow}


def compiled():
    torch._dynamo.config.cache_size_limit = torch._dynamo.config.accumulated_cache_size_limit = (
        4096  # four models, one class
    )
    models = {place: torch.compile(detector(name).eval()) for place, name in NAMES.items()}
    x = torch.randn(1, 3, 640, 640)
    return best_times({place: forward(m, x) for place, m in models.items()}, 15, warmup=3)


def main():
    runs = []
    for n in range(PROCESSES):
        runs.append(in_fresh_process("eager"))
        print(n, {kind: {p: round(t[p] / t["plain"], 3) for p in NAMES} for kind, t in runs[-1].items()}, flush=True)
    compiled_s = in_fresh_process("compiled")
    figures = {"pixels": 640, "processes": PROCESSES, "places": {}}
    for place in NAMES:
        row = {"parameters": parameters(detector(NAMES[place]))}
        for kind in ("forward", "step"):
            ratios = [run[kind][place] / run[kind]["plain"] for run in runs]
            row[f"{kind}_s"] = statistics.median(run[kind][place] for run in runs)
            row[f"{kind}_ratio"], row[f"{kind}_range"] = statistics.median(ratios), [min(ratios), max(ratios)]
        row["compiled_ratio"] = compiled_s[place] / compiled_s["plain"]
        figures["places"][place] = row
        print(place, row, flush=True)
    record("speed_yolo", figures, seeds=[0], packages=("torch", "ultralytics"))


if __name__ == "__main__" and not serve(eager=eager, compiled=compiled):
    main()
