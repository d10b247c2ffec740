"""Chapter 15: train several models under one budget and compare them; every finished run is a file of its own.

    python -m vil_lite.yolo compare models=yolov8n,yolov8n-vil data=data.yaml epochs=40 seeds=0,1,2 folder=comparison

    folder/plan.json                    the budget: data (a digest of its labels), epochs, image size, batch, threads, settings,
                                        a digest of each YAML file
    folder/runs/MODEL-seedN/, .log      ultralytics' own files; a run that was cut goes on from weights/last.pt
    folder/MODEL-seedN.json, .npz, .pt  one finished run: metrics, curves, cost; detections on each image; the weights
    folder/comparison.json              everything together, with intervals of the differences

Each run is a process of its own with a fixed number of threads, so that its memory can be measured and its result repeats.
The weights that are compared are those after the last epoch: choosing an epoch by the images it is reported on would flatter
every model.  Call the same command again to go on after a kill, also on another machine to which folder was copied, or with
more models or seeds to add them.  A run that went on after a kill saw other random augmentations than one in one piece: its
result names the epochs at which it went on.
"""

import csv
import hashlib
import json
import os
import pickle
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from ultralytics import YOLO
from ultralytics.cfg import get_cfg
from ultralytics.data.utils import check_det_dataset, img2label_paths
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.nn import tasks
from ultralytics.utils import YAML, torch_utils
from ultralytics.utils.checks import check_imgsz

from vil_lite._files import claim, whole, write
from vil_lite._names import did_you_mean
from vil_lite.complexity import flops, latency, parameters
from vil_lite.memory import keep_freed_memory
from vil_lite.statistics import pooled_variance
from vil_lite.yolo.auditing import images_of
from vil_lite.yolo.controls import control_names, control_yaml
from vil_lite.yolo.models import FAMILIES, available, model_yaml, name_of
from vil_lite.yolo.statistics import average_precisions, paired_difference, resampled_maps
from vil_lite.yolo.training import train_in_bfloat16, train_settings

if sys.platform != "win32":
    import resource

STOCK = [name_of(family, scale, "").rstrip("-") for family, scales in FAMILIES.items() for scale in scales]
KEEP = 0.01  # detections with a lower score are not kept for the bootstrap: they hardly move the area under the curve
# Set for each run:
RESERVED = {"model", "data", "seed", "project", "name", "exist_ok", "save_dir", "resume", "mode", "task"}
VALIDATED = ("single_cls", "classes", "agnostic_nms", "max_det", "iou", "nms")  # settings that change what is counted


def yaml_of(name: str) -> str:
    """The model YAML of a name: a plain YOLO, a ViL variant, a control of equal parameters, or a YAML file."""
    if str(name).endswith(".yaml") and Path(name).is_file():
        return str(Path(name).resolve())
    known = [*STOCK, *available(), *control_names()]
    if name not in known:
        weights = "; for a start from trained weights name the model here and add pretrained=FILE.pt"
        raise ValueError(
            f"models: no model {name!r}{did_you_mean(name, known)}; there are the YOLOs of {', '.join(FAMILIES)} (yolov8n), the "
            f"same with ViL (yolov8n-vil), controls (yolov8n-c2f-equal) and YAML files{weights * str(name).endswith('.pt')}"
        )
    return f"{name}.yaml" if name in STOCK else control_yaml(name) if name in control_names() else model_yaml(name)


def compare(
    models: Iterable[str],
    data: str | Path,
    folder: str | Path,
    epochs: int,
    seeds: Iterable[int] = (0, 1, 2),
    imgsz: int = 320,
    batch: int = 16,
    threads: int = 1,
    resamples: int = 300,
    own: Mapping[str, Mapping[str, Any]] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Train every model with every seed, as far as that is not done yet, and return the comparison (also in its JSON file).

    models: names (see `yaml_of`), the first is the one that others are compared with.   data: path of a data.yaml, or a name
    that ultralytics finds, such as coco8.yaml.   folder: where everything is kept; two commands may fill it together, with
    other models or seeds.   epochs, seeds, imgsz, batch, threads: the budget, the same for all.
    resamples: of the bootstrap, at least 2.   own: {model: {argument: value}}, what one model has for itself, such as the
    learning rate that suits it, lr0, or larger images, imgsz; it precedes the budget.   settings: more arguments for
    ultralytics' train: pretrained="yolov8n.pt", from which every model takes what fits, device=0, or amp="bf16", which also
    works on a CPU (see training.train_in_bfloat16).
    Raises ValueError for unknown models and arguments and when folder holds runs of another budget, RuntimeError (with the
    end of its log) when a run fails or another process is at it.
    """
    for key, value in {"models": models, "seeds": seeds}.items():
        if isinstance(value, (str, os.PathLike, int)):
            raise ValueError(f"{key}: {value!r} is no list; write [{value!r}]")
    models, seeds = [str(name) for name in models], [int(seed) for seed in seeds]
    names = [_stem(name) for name in models]  # runs are filed under them
    if not models or not seeds or len(set(names)) < len(names) or len(set(seeds)) < len(seeds):
        raise ValueError(
            f"models and seeds must name something, and nothing twice (a YAML file counts by its name, without the folder); "
            f"got {models} and {seeds}"
        )
    for name in models:
        yaml_of(name)
    own = {_stem(name): dict(changes) for name, changes in (own or {}).items()}
    if strangers := set(own) - set(names):
        raise ValueError(f"own: {', '.join(sorted(strangers))} not among the models {', '.join(names)}")
    if resamples < 2:
        raise ValueError(f"resamples: an interval needs at least 2, better 300; got {resamples}")
    common = {"epochs": epochs, "imgsz": imgsz, "batch": batch, "threads": threads}
    _check_arguments("arguments", {**common, **settings})
    for name, changes in own.items():
        _check_arguments(f"own of {name}", changes)
    place, folder = Path(data).expanduser(), Path(folder).expanduser().resolve()
    data = str(place.resolve() if place.exists() else data)
    budget = {"labels": _digest(data), **common, "settings": settings, "own": own, "yamls": _yamls(models)}
    _claim(folder, budget, names)
    for seed in seeds:  # seed by seed: after each round all models have had the same
        for name in models:
            if not _result(folder, name, seed).is_file():
                _start(folder, name, seed, data, threads)
    return summarise(folder, models, seeds, data, resamples)


def _digest(data):
    """What identifies a data set wherever it lies: a digest of its label files with their names, for train and val."""
    splits, digest = images_of(check_det_dataset(str(data), autodownload=False)), hashlib.sha256()
    for split in ("train", "val"):
        if split not in splits:
            raise ValueError(
                f"data: {data} names no images for {split}, neither a folder with images nor a list of them"
            )
        objects = False
        for label in map(Path, img2label_paths([str(p) for p in splits[split]])):
            lines = label.read_bytes() if label.is_file() else b""
            objects |= bool(lines.strip())
            digest.update(f"{split} {label.name}\n".encode() + lines)
        if not objects:
            raise ValueError(
                f"data: no image of {split} in {data} has an object in a label file: all would be background"
            )
    return digest.hexdigest()[:16]


def _yamls(models):
    """{name: digest of its content} of those models that are YAML files."""
    files = {
        _stem(name): json.dumps(YAML.load(yaml_of(name)), default=str) for name in models if name.endswith(".yaml")
    }
    return {name: hashlib.sha256(content.encode()).hexdigest()[:16] for name, content in files.items()}


def _check_arguments(place, changes):
    """Refuse at once what would stop the first training, or send all to one place or seed."""
    if ours := RESERVED & set(changes):
        raise ValueError(
            f"{place}: {', '.join(sorted(ours))} differ from run to run and are set here; use models, data, seeds and folder"
        )
    try:
        get_cfg(overrides={key: value for key, value in changes.items() if key != "threads"})
    except (SyntaxError, TypeError, ValueError) as error:  # ultralytics' words
        raise ValueError(f"{place}: {error}".strip()) from error


def _claim(folder, budget, names):
    """Record the budget in folder, or compare it with the one that is there; what nothing was trained under may change."""
    try:  # as it will be read: (0, 1) as [0, 1], a Path as its text
        budget = json.loads(json.dumps(budget, default=os.fspath))
    except TypeError as error:
        raise ValueError(f"settings: {error}; they are kept as JSON, give numbers, texts and lists") from error
    plan = folder / "plan.json"
    there = json.loads(plan.read_text()) if plan.is_file() else budget
    each = {key: (there.get(key, {}), budget.pop(key)) for key in ("own", "yamls")}  # what a model has for itself
    changes = [("*", f"{k}: {there.get(k)!r} there, {v!r} asked for") for k, v in budget.items() if there.get(k) != v]
    for name in names:
        was, asked = (of.get(name, {}) for of in each["own"])
        if was != asked:
            changes.append((name, f"own of {name}: {was!r} there, {asked!r} asked for"))
        was, asked = (of.get(name) for of in each["yamls"])
        if was not in (None, asked):
            changes.append((name, f"the YAML file of {name} has changed"))
    if other := [change for name, change in changes if _trained(folder, name)]:
        raise ValueError(f"folder {folder} holds runs of another budget ({'; '.join(other)}): choose another folder")
    for name, _ in changes:
        for place in filter(Path.is_dir, folder.glob(f"runs/{name}-seed*")):
            with claim(place):  # not while a run is in its first epoch
                pass
    for key, (was, asked) in each.items():
        if both := {**{name: value for name, value in was.items() if name not in names}, **asked}:
            budget[key] = both
    if not plan.is_file() or budget != there:
        _write(plan, budget)


def _trained(folder, name):
    """Is there a run of the model, or of any ("*"), finished or with an epoch behind it?"""
    return any(folder.glob(f"{name}-seed*.json")) or any(folder.glob(f"runs/{name}-seed*/weights/last.pt"))


def _stem(name):
    return Path(name).name.removesuffix(".yaml")


def _label(name, seed):
    return f"{_stem(name)}-seed{seed}"


def _result(folder, name, seed):
    return folder / f"{_label(name, seed)}.json"


def _start(folder, name, seed, data, threads):
    """One run in a process of its own; its output goes to a log beside the result."""
    log = folder / "runs" / f"{_label(name, seed)}.log"
    log.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "vil_lite.yolo", "compare", "--run", str(folder), str(name), str(seed), data]
    print(f"{_label(name, seed)} ...", end=" ", flush=True)
    with log.open("a") as output:
        done = subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": str(threads)}
        )
    if done.returncode or not _result(folder, name, seed).is_file():
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise RuntimeError(f"{_label(name, seed)} failed; call again to go on.  The end of {log}:\n{tail}")
    run = json.loads(_result(folder, name, seed).read_text())
    print(f"mAP50-95 {run['metrics']['mAP50-95']:.3f}, {run['cost']['train_s']:.0f} s", flush=True)


def run(folder: str | Path, name: str, seed: int, data: str) -> None:
    """Train one model with one seed, or go on where that stopped, then validate and measure it.  Called in a fresh process.

    Raises BlockingIOError while another process is at the same run.
    """
    folder = Path(folder)
    with claim(folder / "runs" / _label(name, seed)) as place:
        _run(folder, place, name, seed, data)


def _run(folder, place, name, seed, data):
    plan = {"data": data, **_plan_of(json.loads((folder / "plan.json").read_text()), name)}
    keep_freed_memory()
    torch_utils.NUM_THREADS = plan["threads"]  # ultralytics sets this many whenever it selects the CPU
    torch.set_num_threads(plan["threads"])
    notes = folder / "runs" / f"{_label(name, seed)}.json"
    last = place / "weights" / "last.pt"
    epoch = _epochs_of(last) if last.is_file() else None
    if epoch is None:  # nothing usable yet: from the beginning
        if last.is_file():
            last.parent.rename(place / f"weights-torn-{time.strftime('%Y%m%d-%H%M%S')}")
        if not plan.get("yamls", {}).items() >= _yamls([name]).items():
            raise ValueError(
                f"models: the YAML file of {name} was changed while its comparison ran; choose another folder"
            )
        notes.unlink(missing_ok=True)
    state = (
        json.loads(notes.read_text()) if notes.is_file() else {"train_s": 0.0, "memory_mb": 0.0, "resumed_after": []}
    )
    if epoch is None or epoch < plan["epochs"]:
        _train(plan, place, name, seed, epoch, state, notes)
        # On several GPUs, processes of ultralytics' own have trained, and the first has written its time and memory.
        state = json.loads(notes.read_text())
    found = _validate(last, plan)
    with whole(folder / f"{_label(name, seed)}.npz", "wb") as file:
        np.savez_compressed(file, **found.pop("detections"))
    shutil.copyfile(last, folder / f"{_label(name, seed)}.pt")
    cost = {**_cost(last, plan["imgsz"]), "train_s": state["train_s"], "memory_mb": state["memory_mb"]}
    where = {
        "model": name,
        "seed": seed,
        "resumed_after": state["resumed_after"],
        "device": _device(),
        "versions": _versions(),
    }
    _write(_result(folder, name, seed), {**where, **found, "cost": cost, "curves": _curves(place / "results.csv")})


def _plan_of(plan, name):
    """The budget of one model: what all have, and what it has for itself."""
    own = plan.pop("own", {}).get(_stem(name), {})
    settings = {**plan["settings"], **{k: v for k, v in own.items() if k not in plan}}
    return {**plan, **{k: v for k, v in own.items() if k in plan}, "settings": settings}


def _train(plan, place, name, seed, epoch, state, notes):
    """ultralytics' training, from the beginning (epoch None) or from last.pt; `notes` is kept up to date after each epoch."""
    spent, start = state["train_s"], time.perf_counter()

    def note(_):
        state["train_s"] = spent + time.perf_counter() - start
        state["memory_mb"] = max(state["memory_mb"], _peak_memory_mb())  # of training; before a kill, too
        _write(notes, state)

    model = YOLO(place / "weights" / "last.pt" if epoch else yaml_of(name))
    model.add_callback("on_model_save", note)
    if _bfloat16_on_cpu(plan):
        train_in_bfloat16(model)
    if epoch:
        state["resumed_after"].append(epoch)
        model.train(resume=True, data=plan["data"], save_dir=str(place))
    else:
        model.train(**_arguments(plan, place, seed))


def _bfloat16_on_cpu(plan):
    return plan["settings"].get("amp") == "bf16" and str(plan["settings"].get("device", "cpu")) == "cpu"


def _arguments(plan, place, seed):
    chosen = {
        "data": plan["data"],
        "epochs": plan["epochs"],
        "imgsz": plan["imgsz"],
        "seed": seed,
        "project": str(place.parent),
        "name": place.name,
        "exist_ok": True,
        "patience": 0,
        "verbose": False,
    }
    chosen |= {"device": "cpu", **plan["settings"], **({"amp": False} if _bfloat16_on_cpu(plan) else {})}
    return train_settings(plan["batch"], **chosen)


def _epochs_of(checkpoint):
    """How many epochs a last.pt has behind it; None when it is torn (the process died while writing it)."""
    try:
        epoch = tasks.torch_safe_load(checkpoint)[0]["epoch"]
    except Exception as error:
        cause = error.__cause__ or error  # of ultralytics' message
        if isinstance(cause, (EOFError, KeyError, pickle.UnpicklingError)) or "PytorchStreamReader" in str(cause):
            return None
        raise  # a disk that does not answer, a module that is missing here: the file may be whole
    return np.inf if epoch == -1 else epoch + 1  # ultralytics writes -1 into the checkpoint of a finished training


class _Keeping(DetectionValidator):
    """ultralytics' validator, which keeps what it found on each image before its statistics are cleared."""

    def get_stats(self):
        self.found = {key: list(values) for key, values in self.metrics.stats.items()}
        return super().get_stats()


def _validate(checkpoint, plan):
    """Metrics and the per-class table in ultralytics' layout, and what was found on each image, of a checkpoint."""
    arguments = {"data": plan["data"], "imgsz": plan["imgsz"], "batch": plan["batch"], "workers": 0}
    arguments |= {
        "device": plan["settings"].get("device", "cpu"),
        "plots": False,
        "rect": False,
        "mode": "val",
        "model": str(checkpoint),
        **{key: value for key, value in plan["settings"].items() if key in VALIDATED},
    }
    validator = _Keeping(args=arguments, save_dir=checkpoint.parents[1] / "validation")
    validator(model=YOLO(checkpoint).model.float())
    metrics: Any = validator.metrics
    every = dict(zip(("precision", "recall", "mAP50", "mAP50-95"), map(float, metrics.mean_results()), strict=True))
    images, instances = len(validator.found["target_cls"]), int(metrics.nt_per_class.sum())
    rows = [{"class": "all", "images": images, "instances": instances, **every}]
    for k, index in enumerate(metrics.ap_class_index):
        counts = {"images": int(metrics.nt_per_image[index]), "instances": int(metrics.nt_per_class[index])}
        scores = dict(zip(every, map(float, metrics.class_result(k)), strict=True))
        rows.append({"class": metrics.names[index], **counts, **scores})
    return {"metrics": every, "classes": rows, "detections": _flat(validator.found)}


def _flat(found):
    """Lists of one array an image -> arrays of all detections and all true boxes, with the number of their image."""
    image = np.repeat(np.arange(len(found["conf"])), [len(c) for c in found["conf"]])
    flat = {key: np.concatenate(found[key]) for key in ("tp", "conf", "pred_cls", "target_cls")}
    sure = flat["conf"] >= KEEP
    true = np.repeat(np.arange(len(found["target_cls"])), [len(c) for c in found["target_cls"]])
    detections = {
        "tp": flat["tp"][sure].astype(bool),
        "conf": flat["conf"][sure],
        "pred_cls": flat["pred_cls"][sure],
        "image": image[sure],
    }
    return {**detections, "target_cls": flat["target_cls"], "target_image": true, "images": len(found["conf"])}


def _cost(checkpoint, imgsz):
    """Parameters as trained; GFLOPs (matrix products and convolutions, counted as they run) and latency of the fused model."""
    model = YOLO(checkpoint).model.float()
    trained = parameters(model)
    model = model.fuse(verbose=False).eval()
    size = check_imgsz(imgsz, stride=max(int(model.stride.max()), 32), max_dim=1)  # as it was trained
    x = torch.rand(1, model.yaml.get("channels", 3), size, size)
    with torch.no_grad():
        seconds = latency(model, x, repeats=9)
    return {"parameters": trained, "gflops": 2 * flops(model, x, counting="torch") / 1e9, "latency_ms": 1000 * seconds}


def _peak_memory_mb():
    """The most memory that this process ever held."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 1024**2
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


def _curves(path):
    """Columns of ultralytics' results.csv; of an epoch that was written twice, around a kill, the second counts."""
    with path.open() as lines:
        rows = {int(row["epoch"]): row for row in csv.DictReader(lines, skipinitialspace=True)}
    last = [rows[epoch] for epoch in sorted(rows)]
    return {name.strip(): [float(row[name]) for row in last] for name in last[0]}


def summarise(
    folder: str | Path, models: Sequence[str], seeds: Sequence[int], data: str, resamples: int = 300
) -> dict[str, Any]:
    """Put finished runs together, write folder/comparison.json and return its content."""
    folder, together = Path(folder), {}
    for name in models:
        runs = [json.loads(_result(folder, name, seed).read_text()) for seed in seeds]
        spread = {key: _spread([run["metrics"][key] for run in runs]) for key in runs[0]["metrics"]}
        together[name] = {"metrics": spread, "runs": runs}
    budget = json.loads((folder / "plan.json").read_text())
    result = {
        "command": _command(models, seeds, data, folder, resamples, **budget),
        "device": _device(),
        "versions": _versions(),
        "budget": budget,
        "seeds": list(seeds),
        "models": together,
        **_differences(folder, models, seeds, resamples),
    }
    _write(folder / "comparison.json", result)
    return result


def _command(models, seeds, data, folder, resamples, labels, settings, yamls=None, **budget):
    """The line that does the same in a shell."""
    lists = {"models": ",".join(map(str, models)), "seeds": ",".join(map(str, seeds))}
    given = {**lists, "data": data, "folder": folder, "resamples": resamples, **budget, **settings}
    given = {key: json.dumps(value) if isinstance(value, dict) else value for key, value in given.items()}
    return shlex.join(["python", "-m", "vil_lite.yolo", "compare", *(f"{key}={value}" for key, value in given.items())])


def _spread(values):
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else None}


def _differences(folder, models, seeds, resamples):
    """Every model against the first: the difference of mean mAP50-95, with intervals that hold for all of them together."""
    detections = {name: [dict(np.load(folder / f"{_label(name, seed)}.npz")) for seed in seeds] for name in models}
    images = int(detections[models[0]][0]["images"])
    maps = resampled_maps(detections, images, resamples)
    whole = {name: [average_precisions(run).mean() for run in runs] for name, runs in detections.items()}
    together: dict[str, Any] = {"comparisons": len(models) - 1}
    if len(seeds) > 1:
        together["spread"] = pooled_variance(whole.values())
    first = models[0]
    gaps = {
        name: paired_difference(maps[first], maps[name], whole[first], whole[name], **together) for name in models[1:]
    }
    return {"images": images, "resamples": resamples, "compared_with": first, "differences_mAP50-95": gaps}


def _device():
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


def _versions():
    return {"python": platform.python_version(), **{p: version(p) for p in ("torch", "ultralytics", "numpy")}}


def _write(path, content):
    write(path, json.dumps(content, indent=1) + "\n")


def main(arguments):
    """The command line: KEY=VALUE as ultralytics writes it; lists with commas."""
    if arguments[:1] == ["--run"]:
        return run(arguments[1], arguments[2], int(arguments[3]), arguments[4])
    given = dict(argument.partition("=")[::2] for argument in arguments)
    needed = [key for key in ("models", "data", "folder", "epochs") if not given.get(key)]
    if needed or any("=" not in argument for argument in arguments):
        raise ValueError(
            f"compare takes KEY=VALUE and needs {', '.join(needed) or 'a value behind each key'}; for example "
            "models=yolov8n,yolov8n-vil data=data.yaml epochs=40 seeds=0,1,2 folder=comparison"
        )
    values = {key: _value(value) for key, value in given.items()}
    for key, default, item, what in (
        ("models", "", "[^,]+", "names"),
        ("seeds", "0,1,2", " *[0-9]+ *", "whole numbers"),
    ):
        text = given.get(key, default)
        if not re.fullmatch(f"{item}(,{item})*", text):
            raise ValueError(f"{key}: {text!r} are not {what} with one comma between two of them")
        values[key] = text.split(",")
    result = compare(**{**values, "data": given["data"], "folder": given["folder"]})
    for name, model in result["models"].items():
        score, cost = model["metrics"]["mAP50-95"], model["runs"][0]["cost"]
        spread = "" if score["std"] is None else f" ± {score['std']:.3f}"
        print(
            f"{name:20} mAP50-95 {score['mean']:.3f}{spread}  {cost['parameters'] / 1e6:.2f} M  {cost['gflops']:.2f} GFLOPs"
        )
    for name, gap in result["differences_mAP50-95"].items():
        print(f"{name} - {result['compared_with']}: {gap['difference']:+.3f}  [{gap['low']:+.3f}, {gap['high']:+.3f}]")


def _value(text):
    try:
        return json.loads(text.lower() if text in ("True", "False") else text)
    except ValueError:
        return text
