"""The first line of every notebook, and the set-up cell before it."""

import os
import random
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import archive
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from pdf import served

from vil_lite import teach
from vil_lite.teach.setup_cell import REPOSITORY, REVISION, setup_cell

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """Leave the environment, the matplotlib style and torch's generator as they were."""
    for name in ("VIL_FULL", "YOLO_OFFLINE", "YOLO_AUTOINSTALL"):
        monkeypatch.setenv(name, "")  # so that monkeypatch restores what setup() writes
        monkeypatch.delenv(name)
    with plt.rc_context(), torch.random.fork_rng(devices=[]):
        yield


def draw():
    return random.random(), float(np.random.rand()), float(torch.rand(1))


def test_one_seed_for_all_generators():
    teach.setup(seed=5)
    first = draw()
    teach.setup(seed=5)
    assert draw() == first
    teach.setup(seed=6)
    assert draw() != first


def test_fast_by_default_and_full_by_argument_or_environment(monkeypatch, capsys):
    run = teach.setup()
    assert run.full is False and run.pick(3, 100) == 3
    assert "FAST" in (said := capsys.readouterr().out)
    for part in ("VIL_FULL=1", "teach.setup(full=True)", f"torch {torch.__version__}", "Python 3", "vil_lite 0"):
        assert part in said
    assert teach.setup(full=True).pick(3, 100) == 100
    assert "FULL" in capsys.readouterr().out
    monkeypatch.setenv("VIL_FULL", "1")
    assert teach.setup().full is True
    assert teach.setup(full=False).full is False
    monkeypatch.setenv("VIL_FULL", "perhaps")
    with pytest.raises(ValueError, match="VIL_FULL is 'perhaps'; set it to 1"):
        teach.setup()


def test_device_is_a_torch_device():
    assert teach.setup().device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_ultralytics_is_kept_offline_unless_told_otherwise(monkeypatch):
    monkeypatch.setenv("YOLO_OFFLINE", "0")
    teach.setup()
    assert os.environ["YOLO_OFFLINE"] == "0" and os.environ["YOLO_AUTOINSTALL"] == "0"


def test_figures_are_white_cards_in_safe_colours():
    teach.setup()
    assert plt.rcParams["figure.facecolor"] == plt.rcParams["savefig.facecolor"] == "white"
    assert plt.rcParams["axes.prop_cycle"].by_key()["color"] == teach.colors.cycle


def contrast_with_white(colour: str) -> float:
    channels = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 1.05 / (0.05 + sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear)))


def test_the_first_colours_contrast_with_the_card():
    assert all(contrast_with_white(c) >= 3 for c in teach.colors.cycle[:3])  # WCAG 2.1, 1.4.11
    assert contrast_with_white(teach.colors.grey) >= 4.5


def test_heatmap_writes_its_numbers_and_refuses_other_shapes():
    ax = teach.heatmap(torch.tensor([[1.0, 2.5], [3.25, float("nan")]]), xlabel="key", ylabel="value")
    assert [t.get_text() for t in ax.texts] == ["1", "2.50", "3.25", "nan"]
    assert ax.get_xlabel() == "key"
    plt.close(ax.figure)
    ax = teach.heatmap(np.zeros((20, 20)))
    assert not ax.texts
    plt.close(ax.figure)
    with pytest.raises(ValueError, match=r"\(1, 2, 3\).*select one"):
        teach.heatmap(torch.zeros(1, 2, 3))


def test_heatmaps_share_one_scale():
    fig = teach.heatmaps({"a": torch.eye(2), "b": -4 * torch.eye(2)}, signed=True)
    assert {ax.images[0].get_clim() for ax in fig.axes if ax.images} == {(-4.0, 4.0)}
    plt.close(fig)


def test_curves_are_labelled_and_told_apart_without_colour():
    ax = teach.curves([1, 2], {"one": [1, 2], "two": torch.tensor([2.0, 3.0])}, xlabel="x", ylabel="y", log="y")
    assert [line.get_linestyle() for line in ax.lines] == ["-", "--"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["one", "two"]
    assert ax.get_yscale() == "log"
    plt.close(ax.figure)


# ---------------------------------------------------------------- the set-up cell


def test_the_cell_is_short_and_runs_where_the_library_is_installed():
    for chapter in (1, 11, 17, "P1"):
        lines = setup_cell(chapter).splitlines()
        assert len(lines) <= 26 and max(map(len, lines)) <= 80
    exec(compile(setup_cell(17), "set-up", "exec"), {})


def test_the_cell_names_the_books_repository_and_a_version_that_exists():
    """The branch, or the tag of this version, and then only if the tag is there; see "A release" in CONTRIBUTING.md."""
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)[1]
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"/archive/{REVISION}.zip" in setup_cell(1)
    if REVISION != "main":
        assert REVISION == f"v{version}"
        tags = subprocess.run(["git", "tag"], cwd=ROOT, capture_output=True, text=True).stdout.split()
        assert REVISION in tags
    assert f"url: {REPOSITORY}\n" in (ROOT / "_config.yml").read_text(encoding="utf-8")


def test_every_chapter_gets_what_it_imports():
    """Of what the set-up cell can install, nothing that the code of a chapter names is missing from its cell."""
    import nb

    known = set(re.findall(r'"(\w+)": "', setup_cell(17)))
    assert {"timm", "ultralytics", "sklearn"} <= known
    for path in nb.chapters():
        code = "\n".join(c.source for c in nb.read(path).cells if c.cell_type == "code" and "setup" not in nb.tags(c))
        named = set(re.findall(r"^\s*(?:import|from) (\w+)", code, re.M)) & known
        if "vil_lite.yolo" in code:
            named.add("ultralytics")
        cell = setup_cell(nb.chapter_number(path))
        assert not [name for name in named if f'"{name}": ' not in cell], path.name


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """An environment that sees torch and all else that is installed here, but not vil_lite; and a wheel of vil_lite."""
    root = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / "venv"], check=True)
    python = root / "venv" / "bin" / "python"
    inside = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    )
    # A plain path in a .pth file makes our packages importable without running *their* .pth files, one of which is
    # the editable install of vil_lite.
    Path(inside.strip(), "torch_from_outside.pth").write_text(sysconfig.get_path("purelib") + "\n")
    archive.wheel(ROOT, root)
    (wheel,) = root.glob("*.whl")
    return python, wheel


def run_bare(python, code, source=None, folder=None):
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIL_LITE_SOURCE"}}
    environment |= {"VIL_LITE_SOURCE": str(source)} if source else {}
    environment |= {"PIP_RETRIES": "0", "PIP_NO_INDEX": "1"}
    folder = folder or Path(python).parent
    return subprocess.run([python, "-c", code], capture_output=True, text=True, cwd=folder, env=environment)


def test_the_cell_installs_the_library_beside_the_torch_that_is_there(bare):
    python, wheel = bare
    missing = run_bare(python, "import vil_lite", wheel)
    assert "No module named 'vil_lite'" in missing.stderr
    code = (
        setup_cell(3)
        + """
import torch, vil_lite
from vil_lite import teach
print(torch.__file__, vil_lite.__file__)
print(teach.data_file("10_table1.csv"), len(teach.result("ch03_recall")["seeds"]))
"""
    )
    done = run_bare(python, code, wheel)
    assert done.returncode == 0, done.stderr
    where_torch, where_library, table, seeds = done.stdout.split()[-4:]
    assert where_torch == torch.__file__
    assert Path(where_library).is_relative_to(Path(python).parents[1])
    site = Path(where_library).parents[1]
    assert not (site / "torch").exists() and not (site / "numpy").exists()
    assert Path(table).is_relative_to(site) and int(seeds) > 0
    carried = {path.name for path in (site / "vil_lite" / "teach" / "results").iterdir()}
    assert carried == {path.name for path in (ROOT / "book" / "results").iterdir()}
    assert wheel.stat().st_size < 10 * 2**20


def test_the_wheel_carries_every_file_of_the_library(bare):
    """The weights that chapters 15 to 17 load, the assignments, the types: all that the checkout has."""
    with zipfile.ZipFile(bare[1]) as packed:
        names = set(packed.namelist())
    kept = [path for path in (ROOT / "vil_lite").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {path.relative_to(ROOT).as_posix() for path in kept} - names == set()


def test_a_missing_network_and_a_missing_version_are_told_apart(bare):
    """The cell's own lines, in a process where vil_lite is not to be found; a server that has nothing, and none at all."""
    python, _ = bare
    code = "import sys; sys.path = [p for p in sys.path if p]\n" + setup_cell(3).replace(
        'importlib.util.find_spec("vil_lite") is None', "True"
    )
    with served(Path(python).parent) as address:
        failed = run_bare(python, code, f"{address}/main.zip")
        assert failed.returncode == 1 and "There is no such version: cannot install" in failed.stderr
    failed = run_bare(python, code, f"{address}/main.zip")
    assert failed.returncode == 1 and "Is the network there?: cannot install" in failed.stderr


def test_on_a_plain_laptop_all_that_the_chapter_needs_is_installed(tmp_path):
    """Nothing is there, and `pip` writes down what it is asked for: torch and the rest, then the library and it alone."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (tmp_path / "pip.py").write_text("import sys; print(*sys.argv[1:], file=open('asked.txt', 'a'))\n")
    run_bare(tmp_path / "venv" / "bin" / "python", setup_cell(17), folder=tmp_path).check_returncode()
    packages, library = (tmp_path / "asked.txt").read_text().splitlines()
    wanted = "torch torchvision matplotlib ipywidgets scikit-learn accelerate tqdm timm ultralytics"
    assert packages == f"install -q {wanted} onnx onnxruntime onnxscript onnxslim"
    assert library == f"install -q --no-deps {REPOSITORY}/archive/{REVISION}.zip"


def test_a_checkout_around_the_notebook_is_used(bare, tmp_path):
    python, _ = bare
    (tmp_path / "student").mkdir()
    (tmp_path / "vil_lite").mkdir()
    (tmp_path / "vil_lite" / "__init__.py").write_text("here = True\n")
    code = setup_cell(3) + "\nimport vil_lite\nprint(vil_lite.here)"
    done = run_bare(python, code, folder=tmp_path / "student")
    assert done.stdout == "True\n", done.stderr
