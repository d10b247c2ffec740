"""Part 3: keep ultralytics off the network, and say where this package may write."""

import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from vil_lite._files import write


def wanted_offline():
    """Whether YOLO_OFFLINE asks for it, read as ultralytics reads it."""
    return os.environ.get("YOLO_OFFLINE", "").strip().lower() in {"1", "true", "yes", "on", "y", "t"}


def cache_dir():
    """The folder for generated files: VIL_LITE_CACHE, else vil_lite/ in the user's cache, else one below the temporary folder."""
    if named := os.environ.get("VIL_LITE_CACHE"):
        candidates = [Path(named).expanduser()]  # by the user: no silent second choice
    else:
        home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "vil_lite"
        candidates = [home, Path(tempfile.gettempdir()) / f"vil_lite-{os.environ.get('USER', 'user')}"]
    for folder in candidates:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder.resolve()
    raise OSError(
        f"cannot write to {' or '.join(map(str, candidates))}; set VIL_LITE_CACHE to a folder that can be written to"
    )


def offline() -> None:
    """Let ultralytics make no network attempt in this process and those it starts.

    No look-up whether the network is there, no usage statistics, no installation of packages, no download of fonts for
    plots (matplotlib's DejaVu Sans stands in for Arial, from now on, in the folder of ultralytics' settings).  Ultralytics
    decides this while it is imported: importing vil_lite.yolo with YOLO_OFFLINE=1 in the environment calls this function
    first.  Three attempts cannot be stopped from here: amp=True on a GPU downloads a model for a self-test (not for a model
    with a block of ours, which is tried itself), naming a file that is not there may download that, and services that the
    user's settings of ultralytics turn on (wandb, ...) are called.
    Raises RuntimeError when ultralytics was imported without YOLO_OFFLINE=1: then it is too late.
    """
    utils = sys.modules.get("ultralytics.utils")
    if utils is not None and utils.ONLINE:
        raise RuntimeError(
            "ultralytics is imported already, with its network: set os.environ['YOLO_OFFLINE'] = '1' before the first import "
            "of ultralytics or vil_lite.yolo (teach.setup() does), or start Python with YOLO_OFFLINE=1"
        )
    os.environ["YOLO_OFFLINE"] = "1"
    os.environ["YOLO_AUTOINSTALL"] = "0"
    _provide_fonts(import_module("ultralytics.utils").USER_CONFIG_DIR)


def _provide_fonts(config):
    """Put a TrueType font where ultralytics looks for Arial before it downloads it."""
    import matplotlib

    config.mkdir(parents=True, exist_ok=True)
    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    for name in ("Arial.ttf", "Arial.Unicode.ttf"):
        if not (config / name).exists():
            write(config / name, font.read_bytes())
