"""Two processes, ultralytics' own launcher: a C2fViL is trained in both.  On a CPU, so with gloo in place of NCCL."""

import json
import os
from pathlib import Path

import torch
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer

import vil_lite.yolo


def two_processes():
    """What stands in for two GPUs: ultralytics counts devices, pins them and names them to DDP; a CPU has none.

    The launcher, the file that it writes, the workers, the samplers, the gradients and the gathered validation are
    ultralytics' own.  The class is made here so that it travels to the workers whole: they need not find this file.
    """

    class TwoProcesses(DetectionTrainer):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            self.world_size, self.ddp = 2, "LOCAL_RANK" not in os.environ

        def _setup_ddp(self):
            whole = torch.nn.parallel.DistributedDataParallel
            torch.nn.parallel.DistributedDataParallel = lambda model, device_ids, **options: whole(model, **options)
            torch.distributed.init_process_group("gloo")

        def final_eval(self):
            network = self.model.module
            note = {
                "block": type(network.model[3]).__module__,
                "wrapped": type(self.model).__name__,
                "sum": float(sum(p.double().abs().sum() for p in network.parameters())),
                "moved": float(network.model[3].m[0].layer.proj_down.weight.double().abs().sum()),
                "images": len(self.train_loader.sampler),
            }
            Path(self.args.project, f"rank{os.environ['RANK']}.json").write_text(json.dumps(note))

    return TwoProcesses


def test_two_processes_train_one_model(small, toy_data, tmp_path, monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    model = YOLO(small)
    before = float(model.model.model[3].m[0].layer.proj_down.weight.double().abs().sum())
    settings = vil_lite.yolo.train_settings(8, imgsz=64, epochs=1, device="cpu", verbose=False, mosaic=0.0)
    model.train(trainer=two_processes(), data=str(toy_data), project=str(tmp_path), name="run", **settings)
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert first == second, "after the same gradients both processes hold the same weights"
    assert first["moved"] != before
    assert first["block"] == "vil_lite.yolo.block" and first["wrapped"] == "DistributedDataParallel"
    assert first["images"] == 12, "each process sees half of the 24 images"
    assert (tmp_path / "run" / "weights" / "last.pt").is_file()
    assert len((tmp_path / "run" / "results.csv").read_text().splitlines()) == 2
