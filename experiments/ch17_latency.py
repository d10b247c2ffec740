"""What does a detector gain from export and from fewer bits?  YOLOv8n, plain and with ViL at P4 and P5, in eight formats.

    python experiments/ch17_latency.py        about five minutes on two quiet CPU cores

Each model has random weights (time does not depend on them) and 80 classes; it is fused, exported at 320 and at 640
pixels, and quantised; then all formats take turns on one image.  The best of REPEATS turns counts, as the median over
PROCESSES processes of the ratio to plain YOLOv8n in torch.  Writes book/results/ch17_latency.json.
"""

import json
import statistics
import tempfile
import warnings
from pathlib import Path

import onnxruntime
import torch
from _record import best_times, in_fresh_process, record, serve
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from ultralytics import YOLO
from ultralytics.utils import LOGGER

from vil_lite.data import airfield
from vil_lite.yolo.compare import yaml_of

MODELS, SIZES, THREADS, PROCESSES, REPEATS = ("yolov8n", "yolov8n-vil"), (320, 640), 2, 3, 9
FORMATS = {
    "ONNX": "",
    "ONNX int8 dynamic": "-dynamic",
    "ONNX int8 static": "-static",
    "ONNX int8 static, signed": "-signed",
}


class Calibration(CalibrationDataReader):
    """Four drawn scenes."""

    def __init__(self, size):
        scenes = (airfield.scene(seed=0, index=k, image_size=size).image for k in range(4))
        self.images = ({"images": (torch.from_numpy(s).permute(2, 0, 1)[None] / 255).numpy()} for s in scenes)

    def get_next(self):
        return next(self.images, None)


def export(folder):
    """Write all files of all models and sizes under folder."""
    for name in MODELS:
        for size in SIZES:
            stem = f"{name}-{size}"
            torch.manual_seed(0)
            YOLO(yaml_of(name), task="detect").save(folder / f"{stem}.pt")
            for kind in ("torchscript", "onnx"):
                YOLO(folder / f"{stem}.pt").export(format=kind, imgsz=size)
            prepared = folder / "prepared.onnx"
            quant_pre_process(folder / f"{stem}.onnx", prepared)
            quantize_dynamic(
                prepared,
                folder / f"{stem}-dynamic.onnx",
                weight_type=QuantType.QUInt8,
                op_types_to_quantize=["Conv", "MatMul"],
            )
            for suffix, activations in {"static": QuantType.QUInt8, "signed": QuantType.QInt8}.items():
                quantize_static(
                    prepared,
                    folder / f"{stem}-{suffix}.onnx",
                    Calibration(size),
                    quant_format=QuantFormat.QDQ,
                    per_channel=True,
                    weight_type=QuantType.QInt8,
                    activation_type=activations,
                    op_types_to_quantize=["Conv"],
                )


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    # Else its threads go on spinning after their work, in the time of whoever comes next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    run = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run
    return lambda x: run(None, {"images": x.numpy()})


def on(x, network):
    return lambda: network(x)


def times(folder, size):
    """{model: {format: seconds}} for one image, all in turn."""
    candidates, x = {}, torch.rand(1, 3, size, size)
    for name in MODELS:
        stem = Path(folder, f"{name}-{size}")
        for kind in (torch.float32, torch.bfloat16):
            network = YOLO(f"{stem}.pt").model.fuse(verbose=False).to(kind).eval()
            candidates[name, f"torch {str(kind)[6:]}"] = on(x.to(kind), network)
        candidates[name, "TorchScript"] = on(x, torch.jit.load(f"{stem}.torchscript"))
        for kind, suffix in FORMATS.items():
            candidates[name, kind] = on(x, session(f"{stem}{suffix}.onnx"))
    assert torch.get_num_threads() == THREADS
    with torch.no_grad():
        best = best_times(candidates, REPEATS, warmup=2)
        for name in MODELS:  # slow where a processor has no 16-bit products: two turns are enough
            network = YOLO(Path(folder, f"{name}-{size}.pt")).model.fuse(verbose=False).half().eval()
            best |= best_times({(name, "torch float16"): on(x.half(), network)}, 2)
    return {name: {kind: best[name, kind] for of, kind in best if of == name} for name in MODELS}


def main():
    milliseconds = {}
    with tempfile.TemporaryDirectory() as folder:
        export(Path(folder))
        torch.set_num_threads(THREADS)  # ultralytics has set it otherwise
        for size in SIZES:
            runs = [in_fresh_process("times", folder, size) for _ in range(PROCESSES)]
            base = [run[MODELS[0]]["torch float32"] for run in runs]
            ratio = {
                n: {k: statistics.median(r[n][k] / b for r, b in zip(runs, base)) for k in runs[0][n]} for n in MODELS
            }
            milliseconds[size] = {
                n: {k: 1e3 * statistics.median(base) * r for k, r in of.items()} for n, of in ratio.items()
            }
            print(size, json.dumps(milliseconds[size], indent=1), flush=True)
    figures = {"milliseconds": milliseconds, "threads": THREADS, "processes": PROCESSES}
    record("ch17_latency", figures, seeds=[0], packages=("torch", "ultralytics", "onnxruntime"))


if __name__ == "__main__":
    LOGGER.setLevel("ERROR")
    warnings.filterwarnings("ignore")
    if not serve(times=times):
        main()
