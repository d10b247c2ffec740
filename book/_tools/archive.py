"""One file for a classroom without a network: the built book, a wheel of the library, the student notebooks.

    python book/_tools/archive.py [FOLDER]       of the built book, _build/html by default (`make archive`)

The recorded runs that notebooks read are in the wheel.  Torch and the other packages are not: they differ from system to system.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import student
from library import whole

ROOT = Path(__file__).resolve().parents[2]
NAME = "vision-lstm-step-by-step"
READ_FIRST = """\
Vision-LSTM, step by step: everything for a room without a network.

Read      open html/index.html in a browser.
Run       in an environment with Python 3.10 or newer, torch, torchvision, matplotlib, ipywidgets, scikit-learn and JupyterLab,
          and with ultralytics, accelerate, tqdm, timm, onnx, onnxruntime, onnxscript and onnxslim for the later chapters:

              pip install --no-index --no-deps --find-links wheels vil_lite
              jupyter lab student

Data      the recorded results are inside the wheel, the digits inside scikit-learn; scenes are drawn by the notebooks.
"""


def wheel(root: Path, folder: Path) -> None:
    """The library as a wheel, made of a copy so that nothing is written into the checkout."""
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    with tempfile.TemporaryDirectory() as copy:
        for name in ("vil_lite", "book/results"):
            shutil.copytree(root / name, Path(copy) / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
            shutil.copy(root / name, copy)
        done = subprocess.run([*pip, copy], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"the library cannot be packed:\n{done.stdout}{done.stderr}")


def make(folder: Path, path: Path, root: Path = ROOT) -> Path:
    """Pack the built book in `folder` and the rest into the zip file `path`; it is there whole or not at all."""
    if not (folder / "index.html").is_file():
        raise SystemExit(f"{folder} holds no built book: make book")
    with tempfile.TemporaryDirectory() as made:
        wheel(root, Path(made))
        parts = {"html": folder, "wheels": Path(made)}
        with whole(path, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{NAME}/READ-FIRST.txt", READ_FIRST)
            for name, text in student.files(root).items():  # not the folder: somebody may have worked in it
                archive.writestr(f"{NAME}/student/{name}", text)
            for name, source in parts.items():
                for file in sorted(source.rglob("*")):
                    if file.is_file():
                        archive.write(file, f"{NAME}/{name}/{file.relative_to(source).as_posix()}")
    return path


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "_build" / "html")
    given = parser.parse_args(arguments)
    path = make(given.folder.resolve(), ROOT / "_build" / f"{NAME}.zip")
    print(f"== {path}: {path.stat().st_size / 2**20:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
