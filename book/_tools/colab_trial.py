"""Run the student notebooks as a stranger does: outside this checkout, in an environment like Colab's.

    python book/_tools/colab_trial.py [NAME...] [--form stubs] [--python 3.12]      (`make colab-trial NAME=03`)

NAME: how the names of notebooks begin, as in 03, 05_ or project; all of them by default.
--form: "stubs", as a reader opens them, or "solved", with the solutions of the chapters put in; both by default.  With the
    stubs the first notebook also goes through `jupyter nbconvert --to notebook --execute`, as without any front end.
--python: the Python of the environment.  The default is Colab's, 3.12, if it is found here, else the one that this runs
    in; "here" is the latter in any case.  Torch is linked from the book's environment if its Python is the same, and
    installed (some gigabytes) if not.
--folder: where the environment, the executed notebooks and log.txt lie; ~/.cache/vil_lite/colab-trial by default.

The environment holds what Colab preinstalls, in Colab's versions as far as they install, and neither vil_lite nor the
book's tools.  Each notebook gets a layer of its own above it, as each gets a machine of its own on Colab, and an empty
folder; its set-up cell installs what it lacks, vil_lite from a wheel of this checkout.  Exit status 1 if a cell fails, a
stub is not called "not attempted", a solution does not pass, or the set-up cell has touched torch.  What has passed is
kept: after an interruption the same command goes on; a change of notebook or library runs it again (--again: everything).
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from importlib import metadata
from pathlib import Path

import nbformat
from archive import wheel
from execute import exercise_faults, key
from nb import ROOT, chapters, read, tags
from nbclient import NotebookClient
from packaging.requirements import Requirement

FOLDER = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vil_lite" / "colab-trial"
FORMS = ("stubs", "solved")
CONVERTED = "nbconvert"  # the stubs of one notebook, by the command line
PYTHON = "3.12"
COLAB = [  # what Colab preinstalls of what the notebooks import, and its kernel
    "ipykernel==6.17.1",
    "ipython==7.34.0",
    "ipywidgets==7.7.1",
    "traitlets==5.7.1",
    "numpy==2.0.2",
    "scipy==1.16.3",
    "pandas==2.2.2",
    "matplotlib==3.10.0",
    "pillow==11.3.0",
    "scikit-learn==1.6.1",
    "PyYAML==6.0.3",
    "requests==2.32.4",
    "tqdm==4.67.1",
    "psutil==5.9.5",
    "accelerate==1.11.0",
    "timm==1.0.22",
    "nbconvert==7.16.6",
]
ABSENT = ("vil_lite", "myst_nb", "jupyter_book", "ultralytics", "onnx")
WHERE = """\
import json, sys, ipywidgets, torch, vil_lite
print(json.dumps([ipywidgets.__version__, torch.__file__, vil_lite.__file__]))"""


# ---------------------------------------------------------------- the environment


def find_python(version: str) -> str:
    """A Python of that version: on the path, of pyenv, or, if there is none, the one that this runs in."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python{version}"))]
    for python in filter(None, found):
        said = subprocess.run([python, "-c", "import sys; print(sys.version)"], capture_output=True, text=True)
        if said.stdout.startswith(f"{version}."):
            return str(python)
    return sys.executable


def outside() -> dict[str, str]:
    """The environment variables of a shell that knows nothing of this checkout."""
    ours = ("VIL_", "YOLO_", "PYTHON", "VIRTUAL_ENV", "JPY_", "MPLBACKEND", "JUPYTER")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def quietly(*command) -> bool:
    """Did the command succeed?"""
    return subprocess.run(command, env=outside(), capture_output=True).returncode == 0


def version_of(python) -> str:
    return subprocess.check_output(
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], text=True
    ).strip()


def site(environment: Path) -> Path:
    return next((environment / "lib").glob("python3*/site-packages"))


def base_environment(folder: Path, python: str) -> Path:
    """What Colab preinstalls, without the library and the book's tools; made once, and kept."""
    version = version_of(python)
    torch = [
        line
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line.startswith(("torch==", "torchvision=="))
    ]
    linked = sysconfig.get_path("purelib") if version == version_of(sys.executable) else None
    digest = hashlib.sha256(json.dumps([version, COLAB, torch, str(folder), linked]).encode()).hexdigest()[:8]
    base = folder / f"colab-{version}-{digest}"
    if (base / "ready").exists():
        return base
    shutil.rmtree(base, ignore_errors=True)
    print(f"== An environment like Colab's, Python {version}, in {base}", flush=True)
    subprocess.run([python, "-m", "venv", base], check=True)
    pip = [base / "bin" / "python", "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    bare, chosen = [*pip, "--only-binary=:all:", "--no-deps"], COLAB
    if not quietly(*bare, *COLAB):
        chosen = [pin if quietly(*bare, pin) else pin.partition("==")[0] for pin in COLAB]
        print("   not in Colab's version:", *(name for name in chosen if "==" not in name), flush=True)
    if linked:
        link(["torch", "torchvision"], Path(linked), site(base), leave=COLAB)
    subprocess.run([*pip, *chosen, *torch], env=outside(), check=True)
    if there := [name for name in ABSENT if quietly(base / "bin" / "python", "-I", "-c", f"import {name}")]:
        raise SystemExit(f"{', '.join(there)} is in {base}: nothing would be tried")
    (base / "ready").touch()
    return base


def link(names: list[str], there: Path, here: Path, leave: list[str]) -> None:
    """Packages and what they need, by links: gigabytes of torch are neither downloaded nor copied a second time."""
    todo, done = list(names), {pin.partition("==")[0].lower() for pin in leave}
    while todo:
        name = todo.pop()
        if name.lower() in done:
            continue
        done.add(name.lower())
        package = metadata.distribution(name)
        for entry in {file.parts[0] for file in package.files or () if file.parts[0] not in {"..", "__pycache__"}}:
            if not (here / entry).exists():
                (here / entry).symlink_to(there / entry)
        for requirement in map(Requirement, package.requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(requirement.name)


def layer(base: Path, folder: Path) -> Path:
    """An empty environment above `base`: what is installed goes here, what is there already is not touched."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([base / "bin" / "python", "-m", "venv", "--without-pip", folder], check=True)
    (site(folder) / "colab.pth").write_text(f"{site(base)}\n")
    kernel = folder / "kernels" / "colab"
    kernel.mkdir(parents=True)
    command = [str(folder / "bin" / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "Colab", "language": "python"}))
    return folder


# ---------------------------------------------------------------- one notebook


def solved(notebook, master):
    """The student's notebook with the solutions of its master in the place of the stubs."""
    solutions = iter([cell.source for cell in master.cells if "solution" in tags(cell)])
    for cell in notebook.cells:
        if "exercise" in tags(cell):
            cell.source, cell.metadata.tags = next(solutions), ["solution"]
    if next(solutions, None) is not None:
        raise ValueError("more solutions than exercises")
    return notebook


def surroundings(environment: Path, source: Path) -> dict[str, str]:
    """The environment variables of a notebook: those of a stranger's shell, the wheel, a fresh machine's settings."""
    env = outside()
    env |= {"VIL_LITE_SOURCE": str(source), "PATH": f"{environment / 'bin'}{os.pathsep}{env.get('PATH', '')}"}
    env |= {"YOLO_CONFIG_DIR": str(environment)}  # as on a fresh machine
    env["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # or the kernel warns that it cannot be debugged
    return env


def execute(notebook, environment: Path, folder: Path, source: Path, timeout: int = 1800) -> list[str]:
    """Run all cells in `environment` with `folder` as the working folder; return what went wrong."""
    client = NotebookClient(
        notebook, kernel_name="colab", timeout=timeout, allow_errors=True, resources={"metadata": {"path": str(folder)}}
    )
    client.create_kernel_manager().kernel_spec_manager.kernel_dirs = [str(environment / "kernels")]
    try:
        client.execute(env=surroundings(environment, source))
    except Exception as error:  # a kernel that died, or hung
        return [f"{type(error).__name__}: {error}"]
    return exercise_faults(notebook)


def convert(notebook, environment: Path, folder: Path, source: Path) -> list[str]:
    """The same by `jupyter nbconvert` of the environment below, which stops at the first error."""
    below = Path((site(environment) / "colab.pth").read_text().strip()).parents[2] / "bin"
    env = surroundings(environment, source) | {"JUPYTER_PATH": str(environment)}  # there is its kernel
    env["PATH"] += f"{os.pathsep}{below}"
    nbformat.write(notebook, folder / "given.ipynb")
    command = ["nbconvert", "--to", "notebook", "--execute", "--ExecutePreprocessor.kernel_name=colab", "given.ipynb"]
    done = subprocess.run(
        [below / "jupyter", *command, "--output", "made.ipynb"], cwd=folder, env=env, capture_output=True, text=True
    )
    if done.returncode:
        return [f"jupyter nbconvert: {done.stderr[-1000:].strip()}"]
    notebook.cells = nbformat.read(folder / "made.ipynb", nbformat.NO_CONVERT).cells
    return exercise_faults(notebook)


def trial(path: Path, form: str, base: Path, environment: Path, folder: Path, source: Path) -> dict:
    """One student notebook in one form: {"seconds": ..., "faults": [...]}."""
    notebook = nbformat.read(ROOT / "student" / path.name, nbformat.NO_CONVERT)
    if form == "solved":
        notebook = solved(notebook, read(path))
    notebook.cells.append(nbformat.v4.new_code_cell(WHERE))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    start = time.perf_counter()
    faults = (convert if form == CONVERTED else execute)(notebook, environment, folder, source)
    seconds = time.perf_counter() - start
    where = notebook.cells.pop().get("outputs", [])
    if where and where[0].output_type == "stream":
        widgets, torch, library = json.loads(where[0].text)
        if f"ipywidgets=={widgets}" not in COLAB:
            faults.append(f"ipywidgets became {widgets}")
        if not Path(torch).is_relative_to(base):
            faults.append(f"torch was installed again: {torch}")
        if not Path(library).is_relative_to(environment):
            faults.append(f"vil_lite did not come from the wheel: {library}")
    kept = environment.parent / "executed" / form / path.name
    kept.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, kept)
    return {"seconds": round(seconds), "faults": faults}


# ---------------------------------------------------------------- all of them


def choose(names: list[str]) -> list[Path]:
    """The chapters whose file names begin so, in the book's order.  Raises SystemExit for a name that nothing has."""
    paths = chapters()
    for name in names:
        if not any(path.name.startswith(name) for path in paths):
            raise SystemExit(f"no notebook begins with {name!r}: {', '.join(path.stem for path in paths)}")
    return [path for path in paths if not names or path.name.startswith(tuple(names))]


def table(results: dict) -> str:
    """Markdown: a line for each notebook, a column for each form."""
    names = list(dict.fromkeys(name for name, _ in results))
    forms = [form for form in (*FORMS, CONVERTED) if any(form == f for _, f in results)]
    rows = ["| notebook | " + " | ".join(forms) + " |", "|---" * (1 + len(forms)) + "|"]
    for name in names:
        cells = []
        for form in forms:
            if not (done := results.get((name, form))):
                cells.append("")
                continue
            number = len(done["faults"])
            said = f"{number} error{'s' * (number > 1)}" if number else "passes"
            cells.append(f"{said}, {done['seconds']} s")
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def state(path: Path, form: str, base: Path) -> str:
    """A hash of what a result depends on."""
    text = (ROOT / "student" / path.name).read_bytes() + path.read_bytes()
    return hashlib.sha256(f"{form} {base.name} {key()} ".encode() + text).hexdigest()[:16]


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--form", choices=FORMS, action="append")
    parser.add_argument("--python", default=PYTHON)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--again", action="store_true")
    given = parser.parse_args(arguments)
    folder, paths = given.folder.resolve(), choose(given.names)
    if folder.is_relative_to(ROOT):
        parser.error(f"--folder {folder} is inside the checkout, whose files the notebooks would find")
    folder.mkdir(parents=True, exist_ok=True)
    base = base_environment(folder, sys.executable if given.python == "here" else find_python(given.python))
    shutil.rmtree(folder / "wheel", ignore_errors=True)
    wheel(ROOT, folder / "wheel")
    (source,) = (folder / "wheel").glob("*.whl")
    kept, results = folder / "passed.json", {}
    passed = json.loads(kept.read_text()) if kept.exists() and not given.again else {}
    with open(folder / "log.txt", "w", encoding="utf-8") as log:
        for path in paths:
            environment = None
            forms = given.form or FORMS
            for form in [*forms, CONVERTED] if path == paths[0] and "stubs" in forms else forms:
                state_now = state(path, form, base)
                if done := passed.get(state_now):
                    results[path.stem, form] = done
                    continue
                environment = environment or layer(base, folder / "layer")
                done = results[path.stem, form] = trial(path, form, base, environment, folder / "empty", source)
                told = [f"{path.stem}, {form}: {done['seconds']} s", *(f"   {fault}" for fault in done["faults"])]
                print(*told, sep="\n", file=log, flush=True)
                print(*told, sep="\n", flush=True)
                if not done["faults"]:
                    passed[state_now] = done
                    kept.write_text(json.dumps(passed))
    print(table(results))
    failed = sum(bool(done["faults"]) for done in results.values())
    print(f"== {len(results)} runs, {failed} with errors; executed notebooks and log.txt are in {folder}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
