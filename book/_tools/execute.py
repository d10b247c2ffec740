"""Execute the book's notebooks once, on all cores, into a cache that knows the library.

    python book/_tools/execute.py [NOTEBOOK...]      all notebooks of _toc.yml by default

The cache lies in _build/executed/KEY.  KEY is a hash of everything a notebook's output depends on besides its own cells:
the library with its weights, the recorded results, the versions of the packages and Python.  jupyter-cache itself compares
the cells only, so without the key a book built from a broken library would stay green.  A change of prose changes neither.
"""

import hashlib
import os
import re
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nbformat
import yaml
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import single_nb_execution
from nb import tags

ROOT = Path(__file__).resolve().parents[2]
INPUTS = ("vil_lite/**/*.py", "vil_lite/**/*.pth", "book/results/*.*", "constraints.txt")

# One thread a kernel: two notebooks run side by side, and sums come in the same order on every machine.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "VIL_STATIC": "1",  # sliders as frames in the page
    "VIL_FULL": "0",
    "YOLO_OFFLINE": "1",
    "YOLO_AUTOINSTALL": "0",
    "YOLO_VERBOSE": "0",
}


def key(root: Path = ROOT) -> str:
    """The hash that names the cache."""
    digest = hashlib.sha256(sys.version.encode())
    for pattern in INPUTS:
        for path in sorted(root.glob(pattern)):
            digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def cache_folder(root: Path = ROOT) -> Path:
    return root / "_build" / "executed" / key(root)


def notebooks(root: Path = ROOT) -> list[Path]:
    """The notebooks that _toc.yml names, in the book's order."""

    def files(node):
        if isinstance(node, dict):
            for name, value in node.items():
                yield from [value] if name in {"file", "root"} else files(value)
        elif isinstance(node, list):
            for item in node:
                yield from files(item)

    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    pages = [root / f"{name.removesuffix('.ipynb')}.ipynb" for name in files(toc)]
    return [page for page in pages if page.is_file()]


def executed(path: Path, root: Path = ROOT):
    """The notebook with its outputs, from the cache, or None when these cells have not been executed."""
    cache = get_cache(cache_folder(root))
    try:
        return cache.merge_match_into_notebook(nbformat.read(path, nbformat.NO_CONVERT))[1]
    except KeyError:
        return None


def exercise_faults(notebook) -> list[str]:
    """What is wrong with the outputs of an executed notebook: an error, a stub that is attempted, a solution that fails."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        found += [f"{cell.id}: {o.ename}: {o.evalue}" for o in cell.outputs if o.output_type == "error"]
        printed = "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stdout")
        checks = len(re.findall(r"\bcheck_\w+\(", cell.source))
        for tag, line in (("exercise", "Not attempted yet: "), ("solution", "✓ ")):
            if tag in tags(cell) and not printed.count(line) == checks > 0:
                found.append(f"{cell.id}: {checks} checks in this {tag} printed {printed!r}")
    return found


def execute(paths: list[Path] | None = None, root: Path = ROOT, workers: int | None = None) -> dict[Path, str]:
    """Execute what the cache lacks; return {notebook: traceback} of those that failed."""
    for name, value in ENVIRONMENT.items():
        os.environ[name] = value
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")]))
    folder = cache_folder(root)
    if folder.parent.is_dir():
        for old in folder.parent.iterdir():
            if old != folder:
                shutil.rmtree(old, ignore_errors=True)
    cache = get_cache(folder)
    todo = [path for path in (notebooks(root) if paths is None else paths) if executed(path, root) is None]
    if not todo:
        print("== Every notebook is already executed with this library")
        return {}
    timeout = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))["execute"]["timeout"]
    workers = workers or min(
        len(todo), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    )
    print(f"== Executing {len(todo)} notebook{'s' * (len(todo) > 1)}, {workers} at a time", flush=True)

    def run(path: Path):
        notebook = nbformat.read(path, nbformat.NO_CONVERT)
        quiet = ["--IPKernelApp.log_level=40"]  # each kernel would warn that it talks over TCP
        cwd = str(path.parent)
        return single_nb_execution(notebook, cwd=cwd, timeout=timeout, allow_errors=False, extra_arguments=quiet)

    failures, start = {}, time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        # The last chapters train the largest models: they begin first.
        futures = {pool.submit(run, path): path for path in reversed(todo)}
        for future in as_completed(futures):
            path = futures[future]
            try:
                result = future.result()
            except Exception as error:  # a kernel that died: as much a failure as a cell that raised
                failures[path] = f"{type(error).__name__}: {error}"
                print(f"   failed  {path.relative_to(root)}", flush=True)
                continue
            if result.err is not None:
                failures[path] = result.exc_string
                print(f"   failed  {path.relative_to(root)}", flush=True)
                continue
            bundle = CacheBundleIn(result.nb, str(path), data={"execution_seconds": result.time})
            cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
            print(f"   {result.time:5.0f} s  {path.relative_to(root)}", flush=True)
    print(f"== Executed in {time.perf_counter() - start:.0f} s", flush=True)
    return failures


def main(arguments: list[str]) -> int:
    failures = execute([Path(name).resolve() for name in arguments] or None)
    for path, traceback in failures.items():
        print(f"\n{path}\n{traceback}", file=sys.stderr)
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
