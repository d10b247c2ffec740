"""The text of every notebook's set-up cell: it installs what the chapter needs and does not find, and nothing else.

A torch that is there stays (on Colab a reinstalled one no longer fits the machine), so the library comes with --no-deps.
VIL_LITE_SOURCE may name a local wheel or folder.
"""

REPOSITORY = "https://github.com/vision-lstm-step-by-step/book"  # the same as repository.url in _config.yml
REVISION = "main"  # a release writes its tag here, and only once the tag exists: see CONTRIBUTING.md

# {module: package}, and from which chapter on
_ALWAYS = {
    "torch": "torch",
    "torchvision": "torchvision",
    "matplotlib": "matplotlib",
    "ipywidgets": "ipywidgets",
    "sklearn": "scikit-learn",
}
_TRAINING = {"accelerate": "accelerate", "tqdm": "tqdm", "timm": "timm"}
_YOLO = {"ultralytics": "ultralytics"}
_EXPORT = {name: name for name in ("onnx", "onnxruntime", "onnxscript", "onnxslim")}

_CELL = """\
# What this chapter needs and does not find is installed; torch stays.
import importlib.util, os, subprocess, sys

for up in ("..", "../.."):  # a checkout of the book around this notebook
    if os.path.isfile(up + "/vil_lite/__init__.py"):
        sys.path.insert(0, os.path.abspath(up))
book = "{repository}"
source = os.environ.get("VIL_LITE_SOURCE", book + "/archive/{revision}.zip")
needs = {{
{needs}
}}
missing = [needs[name] for name in needs if not importlib.util.find_spec(name)]
own = importlib.util.find_spec("vil_lite") is None
for wanted in filter(None, (missing, own and ["--no-deps", source])):
    print("Installing", *wanted)
    pip = [sys.executable, "-m", "pip", "install", "-q", *wanted]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode:
        gone = "404" in done.stderr or "does not exist" in done.stderr
        why = "There is no such version" if gone else "Is the network there?"
        raise SystemExit(f"{{why}}: cannot install {{wanted[-1]}}\\n{{done.stderr}}")
importlib.invalidate_caches()"""


def setup_cell(chapter: int | str) -> str:
    """The set-up cell of a chapter: a number, or "P3" for the project of Part 3."""
    needs = dict(_ALWAYS)
    if chapter == "P2" or isinstance(chapter, int) and chapter > 5:
        needs |= _TRAINING
    if chapter in {*range(13, 18), "P3"}:
        needs |= _YOLO
    if chapter == 17:
        needs |= _EXPORT
    lines: list[str] = []
    for pair in (f'"{module}": "{package}",' for module, package in needs.items()):
        if lines and len(lines[-1]) + len(pair) < 79:
            lines[-1] += f" {pair}"
        else:
            lines.append(f"    {pair}")
    return _CELL.format(repository=REPOSITORY, revision=REVISION, needs="\n".join(lines))
