"""What do ViL blocks cost inside YOLOv8n?  Forward and training step at 640 pixels against plain YOLOv8n, in one run.

    python experiments/speed_yolo.py        about 3 minutes on two quiet CPU cores

Writes book/results/speed_yolo.json.
"""

import torch
from _record import best_times, record
from ultralytics.nn.tasks import DetectionModel

import vil_lite.yolo
from vil_lite.yolo import model_yaml

NAMES = {"plain": "yolov8n.yaml", "P5": "yolov8n-vil-p5", "P4 + P5": "yolov8n-vil", "P3 + P4 + P5": "yolov8n-vil-p345"}


def build(name):
    torch.manual_seed(0)
    return DetectionModel(name if name.endswith(".yaml") else model_yaml(name), verbose=False)


def outputs(y):
    """All tensors of a YOLO output, whatever its nesting."""
    if isinstance(y, torch.Tensor):
        return [y]
    return [t for part in (y.values() if isinstance(y, dict) else y) for t in outputs(part)]


def forward(model, x):
    def run():
        with torch.no_grad():
            model(x)

    return run


def step(model, x):
    def run():
        model.zero_grad()
        sum(t.square().mean() for t in outputs(model(x))).backward()

    return run


def main():
    models = {place: build(name) for place, name in NAMES.items()}
    x = torch.randn(1, 3, 640, 640)
    fast = best_times({place: forward(m.eval(), x) for place, m in models.items()}, 40, warmup=3)
    x = torch.randn(4, 3, 640, 640)
    slow = best_times({place: step(m.train(), x) for place, m in models.items()}, 6)
    figures = {}
    for place, model in models.items():
        figures[place] = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "forward_s": fast[place],
            "forward_ratio": fast[place] / fast["plain"],
            "step_batch4_s": slow[place],
            "step_ratio": slow[place] / slow["plain"],
        }
        print(place, figures[place], flush=True)
    record("speed_yolo", {"pixels": 640, "places": figures}, seeds=[0], packages=("torch", "ultralytics"))


if __name__ == "__main__":
    torch.set_num_threads(2)
    vil_lite.yolo.offline()
    main()
