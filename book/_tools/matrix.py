"""Run the library's tests on each Python that is found here, with the newest and with the oldest declared versions.

    python book/_tools/matrix.py [3.13 ...]      all of PYTHONS by default; prints the table that the README shows
    python book/_tools/matrix.py yolo            tests/yolo alone, on the lower bounds of the extra `yolo`

Each environment is built with uv in _build/matrix and deleted after its tests; that of the oldest versions is made by
`--resolution lowest-direct`, so the lower bounds in pyproject.toml are what is tested.  A Python that is not installed here
is reported as such, not fetched.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
NEEDS = [".[data,train]", "timm>=1.0.12", "safetensors>=0.4", "pytest>=8", "hypothesis>=6.100"]
NEEDS += ["onnx>=1.23", "onnxruntime>=1.20", "onnxscript>=0.7.2"]  # tests/test_compile.py
NEEDS += ["setuptools>=77", "matplotlib>=3.9"]  # torch.compile asks for the first; tests/test_training.py draws a log
#: The core; what needs ultralytics, a browser or the book's own tools has one environment, that of constraints.txt.
TESTS = [
    str(p) for p in sorted((ROOT / "tests").glob("test_*.py")) if "vil_lite.yolo" not in p.read_text(encoding="utf-8")
]
SHOWN = ("torch", "torchvision", "timm", "accelerate", "numpy")
HEAD = "| Python | versions | " + " | ".join(SHOWN) + " | tests |\n|" + "---|" * (len(SHOWN) + 3)


def row(python, oldest):
    """One line of the table."""
    folder = ROOT / "_build" / "matrix" / f"{python}-{'oldest' if oldest else 'newest'}"
    try:
        return tried(python, oldest, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # some gigabytes


def tried(python, oldest, folder):
    """The cells of a line, from the environment that this builds in folder."""
    cells = [python, "oldest" if oldest else "newest"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    uv, there = [sys.executable, "-m", "uv"], ["--python", str(folder)]  # else uv works on the Python that it runs in
    made = subprocess.run([*uv, "venv", "-q", "--no-python-downloads", "--clear", "-p", python, str(folder)], cwd=ROOT)
    if made.returncode:
        return [*cells, *["–"] * len(SHOWN), "not installed here"]
    resolution = ["--resolution", "lowest-direct"] if oldest else []
    if subprocess.run([*uv, "pip", "install", "-q", *there, *resolution, *NEEDS], cwd=ROOT).returncode:
        return [*cells, *["–"] * len(SHOWN), "does not install"]
    listed = subprocess.run([*uv, "pip", "list", "-q", *there, "--format", "json"], stdout=subprocess.PIPE, text=True)
    versions = {entry["name"]: entry["version"].split("+")[0] for entry in json.loads(listed.stdout)}
    pytest = [folder / "bin" / "python", "-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", "-W", "ignore"]
    done = subprocess.run([*pytest, *TESTS], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print(done.stdout[-3000:], file=sys.stderr)
    summary = re.search(r"=+ (.*) in [\d.]+s", done.stdout.splitlines()[-1] if done.stdout else "")
    return [
        *cells,
        *(versions[name] for name in SHOWN),
        summary[1] if summary else f"pytest ended with {done.returncode}",
    ]


def yolo_at_its_bounds():
    """tests/yolo with the oldest packages that the extra `yolo` admits, all else as in the book's environment."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    oldest = [need.replace(">=", "==") for need in extras["yolo"]]
    folder = ROOT / "_build" / "matrix" / "yolo"
    try:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "zz_book.pth").write_text(sysconfig.get_path("purelib"))  # searched after its own packages
        pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "-q", "--no-deps"]
        subprocess.run([*pip, *oldest], check=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        environment["PATH"] = f"{folder / 'bin'}{os.pathsep}{environment['PATH']}"
        python, imported = folder / "bin" / "python", "import ultralytics; print(ultralytics.__version__)"
        found = subprocess.run([python, "-c", imported], env=environment, stdout=subprocess.PIPE, text=True).stdout
        if f"ultralytics=={found.split()[-1]}" not in oldest:
            raise RuntimeError(f"{folder} imports ultralytics {found}, not the oldest one: {oldest}")
        pytest = [python, "-m", "pytest", "-p", "no:cacheprovider", "-W", "ignore", "-n", "2", "--dist", "loadfile"]
        done = subprocess.run([*pytest, "tests/yolo"], cwd=ROOT, env=environment)
        print("with", *oldest, "tests/yolo", "failed" if done.returncode else "passed")
        return done.returncode
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(pythons):
    if pythons == ["yolo"]:
        return yolo_at_its_bounds()
    print(HEAD, flush=True)
    for python in pythons or PYTHONS:
        for oldest in (True, False) if python == PYTHONS[0] else (False,):
            print("| " + " | ".join(row(python, oldest)) + " |", flush=True)
    return yolo_at_its_bounds()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
