"""Write a recorded result: book/results/NAME.json with figures, command, device, versions, seeds, date; and time fairly."""

import json
import os
import platform
import resource
import sys
import time
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

RESULTS = Path(__file__).resolve().parents[1] / "book" / "results"


def record(name, figures, seeds=(), packages=("torch", "torchvision")):
    """Write figures (JSON values) under book/results/, atomically; returns the path."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    result = {
        "command": "python " + " ".join([f"experiments/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "device": device(),
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in packages}},
        "seeds": list(seeds),
        "date": date.today().isoformat(),
        "figures": figures,
    }
    path = RESULTS / f"{name}.json"
    part = path.with_suffix(".json.part")
    part.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(part, path)
    print(f"wrote {path}")
    return path


def device():
    """What the figures were measured on, in words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else platform.processor() or model
    return f"{model}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


def best_times(candidates, repeats=7, warmup=1):
    """Seconds of each candidate {name: function}: the best of `repeats`, taken in turn so that all meet the same machine."""
    best = dict.fromkeys(candidates, float("inf"))
    for turn in range(warmup + repeats):
        for name, function in candidates.items():
            start = time.perf_counter()
            function()
            if turn >= warmup:
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def peak_memory_mb(function):
    """By how many MB the peak of this process grows while function runs: call it once per fresh process."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    function()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None
