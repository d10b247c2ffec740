"""The first line of every notebook: one seed, one device, one budget, one look."""

import os
import platform
import random
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

import numpy as np
import torch

from vil_lite.memory import keep_freed_memory

from .figures import apply_style

Value = TypeVar("Value")


@dataclass(frozen=True)
class Run:
    """What a notebook may spend.  full: the long budget (GPU); device: where tensors go; seed: what was seeded."""

    full: bool
    device: torch.device
    seed: int

    def pick(self, fast: Value, full: Value) -> Value:
        """Return `full` in a FULL run and `fast` otherwise: `epochs = run.pick(3, 100)`."""
        return full if self.full else fast


def setup(seed: int = 0, full: bool | None = None) -> Run:
    """Seed everything, apply the figure style, print versions and budget; return the budget as a `Run`.

    seed: for `random`, numpy and torch.
    full: True for the long budget, False for the short one; None reads the environment variable VIL_FULL (1 is long).
    Ultralytics is told to stay off the network, unless YOLO_OFFLINE or YOLO_AUTOINSTALL already say something.
    """
    if full is None:
        full = _full_from_environment()
    os.environ.setdefault("YOLO_OFFLINE", "1")
    os.environ.setdefault("YOLO_AUTOINSTALL", "0")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    keep_freed_memory()
    apply_style()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    versions = f"vil_lite {_version()} · torch {torch.__version__} · Python {platform.python_version()}"
    print(f"{versions} · {_name(device)}")
    if full:
        print("FULL: the long budget (the short one: VIL_FULL=0 or teach.setup(full=False))")
    else:
        print("FAST: sized for a CPU (for a GPU: VIL_FULL=1 or teach.setup(full=True))")
    return Run(full=full, device=device, seed=seed)


def _full_from_environment() -> bool:
    value = os.environ.get("VIL_FULL", "0").strip().lower()
    if value in {"1", "true", "yes"}:
        return True
    if value in {"", "0", "false", "no"}:
        return False
    raise ValueError(f"VIL_FULL is {value!r}; set it to 1 for the long budget or 0 for the short one")


def _version() -> str:
    try:
        return version("vil-lite")
    except PackageNotFoundError:  # found on the path, not installed
        return "of the checkout around this notebook"


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
