"""Write a recorded result: book/results/NAME.json with figures, command, device, versions, seeds, date; and time fairly."""

import base64
import json
import os
import platform
import subprocess
import sys
import time
import zlib
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from vil_lite._files import write

# Ultralytics reads it while it is imported, which every script does after this module.
os.environ.setdefault("YOLO_OFFLINE", "1")

RESULTS = Path(__file__).resolve().parents[1] / "book" / "results"


def record(name, figures, seeds=(), packages=("torch", "torchvision")):
    """Write figures (JSON values) under book/results/, atomically; returns the path."""
    result = {
        "command": "python " + " ".join([f"experiments/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "device": device(),
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in packages}},
        "seeds": list(seeds),
        "date": date.today().isoformat(),
        "figures": figures,
    }
    path = RESULTS / f"{name}.json"
    write(path, json.dumps(result, indent=1) + "\n")
    print(f"wrote {path}")
    return path


def kept(path, compute):
    """What compute() returns, as JSON: computed once, written to path atomically, and read from there from then on."""
    if not path.is_file():
        write(path, json.dumps(compute()))
        print(f"{path.stem} is done", flush=True)
    return json.loads(path.read_text())


def packed(tensor):
    """The bytes of a tensor as text: compressed, base64."""
    return base64.b64encode(zlib.compress(tensor.contiguous().numpy().tobytes(), 9)).decode()


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


def best_times(candidates, repeats=7, warmup=1, clock=time.perf_counter):
    """Seconds of each candidate {name: function}: the best of `repeats`, taken in turn so that all meet the same machine."""
    best = dict.fromkeys(candidates, float("inf"))
    for turn in range(warmup + repeats):
        for name, function in candidates.items():
            start = clock()
            function()
            if turn >= warmup:
                best[name] = min(best[name], clock() - start)
    return best


def forward(model, *inputs):
    """The forward pass as a function to be timed."""

    def run():
        with torch.no_grad():
            return model(*inputs)

    return run


def step(model, x, loss=lambda y: y.square().mean()):
    """Forward pass, loss and backward pass as a function to be timed."""

    def run():
        model.zero_grad()
        loss(model(x)).backward()

    return run


def slope(lengths, values):
    """Exponent of the power law: the slope of log value against log length."""
    return float(np.polyfit(np.log(lengths), np.log(values), 1)[0])


#: For a child whose memory is measured: glibc shall give back what is freed at once, or the peak counts it too.
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
#: For times, the opposite: keep what is freed.  Else each large temporary is fetched from the system, page by page, again
#: and again, which costs more than the operation, and on a virtual machine a different amount every minute.
KEEP = {"MALLOC_MMAP_THRESHOLD_": "2000000000", "MALLOC_TRIM_THRESHOLD_": "2000000000"}
AS_IT_COMES = dict.fromkeys(KEEP)


def keep_heap():
    """Start this script again with KEEP in its environment, unless something is said there already: glibc reads it once."""
    if not set(KEEP) & set(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEP})


def in_fresh_process(*arguments, **environment):
    """Run the calling script with `arguments` in a process of its own; returns the JSON on the last line that it prints.

    environment: variables to set, or to take out where the value is None.
    """
    command = [sys.executable, sys.argv[0], *map(str, arguments)]
    variables = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=variables)
    return json.loads(done.stdout.splitlines()[-1])


def serve(**parts):
    """Print the part that the command line names, as JSON for `in_fresh_process`; says whether it named one.

    parts: functions by name, called with the rest of the command line, numbers as int, on two threads.  All but "memory",
    which measures it, keep the memory that is freed.
    """
    name, *rest = sys.argv[1:] or [None]
    if name != "memory":
        keep_heap()
    torch.set_num_threads(2)
    if name in parts:
        print(json.dumps(parts[name](*(int(word) if word.isdigit() else word for word in rest))))
    return name in parts


def peak_memory_mb(function):
    """By how many MB the resident memory of this process grows, at its peak, while function runs.  Linux alone.

    Best once per fresh process: what was freed before may be used again without growing anything.
    """
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far: a child begins with that of its parent
    before = _memory_kb("VmRSS")
    function()
    return (_memory_kb("VmHWM") - before) / 1024


def _memory_kb(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None
