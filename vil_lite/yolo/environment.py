"""Keep ultralytics off the network, and say where this package may write."""

import os
import shutil
import sys
import tempfile
from pathlib import Path


def wanted_offline():
    """Whether YOLO_OFFLINE asks for it, read as ultralytics reads it."""
    return os.environ.get("YOLO_OFFLINE", "").strip().lower() in {"1", "true", "yes", "on", "y", "t"}


def cache_dir():
    """The folder for generated files: VIL_LITE_CACHE, else vil_lite/ in the user's cache, else one below the temporary folder."""
    if "VIL_LITE_CACHE" in os.environ:
        candidates = [Path(os.environ["VIL_LITE_CACHE"])]  # named by the user: no silent second choice
    else:
        home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "vil_lite"
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


def offline():
    """Let ultralytics make no network attempt in this process and those it starts.  Call it before or after the import.

    No look-up whether the network is there, no usage statistics, no installation of packages, no download of fonts for
    plots (matplotlib's DejaVu Sans stands in for Arial).  Before the import nothing at all is attempted; after it, the one
    look-up that ultralytics makes while it is imported has already happened.  Two attempts cannot be stopped from here:
    amp=True downloads a model for a self-test (`train_settings` has amp=False), and so does naming a file that is not there.
    """
    os.environ["YOLO_OFFLINE"] = "1"
    os.environ["YOLO_AUTOINSTALL"] = "0"
    imported = sys.modules.get("ultralytics.utils")
    if imported is None:
        os.environ.setdefault("YOLO_CONFIG_DIR", str(cache_dir() / "ultralytics-offline"))
        config = Path(os.environ["YOLO_CONFIG_DIR"]).expanduser() / "Ultralytics"
    else:
        config = imported.USER_CONFIG_DIR
    _provide_fonts(config)
    if imported is not None:
        _switch_off()


def _provide_fonts(config):
    """Put a TrueType font where ultralytics looks for Arial before it downloads it."""
    import matplotlib

    config.mkdir(parents=True, exist_ok=True)
    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    for name in ("Arial.ttf", "Arial.Unicode.ttf"):
        if not (config / name).exists():
            partial = config / f".{name}.{os.getpid()}"  # written aside, so that no other process reads half a font
            shutil.copyfile(font, partial)
            partial.replace(config / name)


def _switch_off():
    """Set in imported modules what the environment would have set, had it been there at their import."""
    modules = [m for name, m in list(sys.modules.items()) if name.startswith("ultralytics.") and m is not None]
    for module in modules:
        # Each module holds its own copy of these constants (`from ultralytics.utils import ONLINE`).
        for constant in ("ONLINE", "AUTOINSTALL"):
            if constant in vars(module):
                setattr(module, constant, False)
    events = sys.modules.get("ultralytics.utils.events")
    if events is not None and hasattr(events, "events"):
        events.events.enabled = False
    # In memory only: SETTINGS["sync"] = False would also rewrite the user's settings file.
    dict.__setitem__(sys.modules["ultralytics.utils"].SETTINGS, "sync", False)
