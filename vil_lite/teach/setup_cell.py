"""The text of every notebook's set-up cell: it installs `vil_lite` where it is missing and touches nothing else.

Part 3 also needs ultralytics, so its set-up cell is SETUP_CELL_YOLO.  `--no-deps` keeps the torch that is there: on Colab
a reinstalled torch no longer fits the machine.  VIL_LITE_SOURCE may name a local wheel or folder.
"""

REPOSITORY = "https://github.com/vision-lstm-step-by-step/book"  # the same as repository.url in _config.yml
TAG = "v0.1.0"  # the release that these notebooks were written for

SETUP_CELL = f"""\
try:
    import vil_lite
except ModuleNotFoundError:  # on Colab, say: fetch the book's library, keep the torch that is there
    import importlib, os, subprocess, sys
    source = os.environ.get("VIL_LITE_SOURCE", "git+{REPOSITORY}@{TAG}")
    pip = [sys.executable, "-m", "pip", "install", "-q"]
    if subprocess.run([*pip, "--no-deps", source]).returncode:
        raise SystemExit(f"Could not install vil_lite from {{source}}. Check the network, or set VIL_LITE_SOURCE.")
    importlib.invalidate_caches()"""

SETUP_CELL_YOLO = f"""{SETUP_CELL}
    if importlib.util.find_spec("ultralytics") is None and subprocess.run([*pip, "ultralytics"]).returncode:
        raise SystemExit("Could not install ultralytics: pip install ultralytics")"""
