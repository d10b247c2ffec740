"""What a notebook sends to `run.device` trains there, and nothing stays behind: tried on PyTorch's device "meta".

Tensors there have shapes and no numbers, and as on a GPU they refuse to be mixed with those of the CPU; unlike the fake
tensors of tests/test_devices.py they know the way back, too.  No notebook is run: each statement that leads to
`tasks.train(..., device=run.device)` is, with the statements that set what it asks for, for one seed and two steps.
So are loops that a page writes itself, what calls `fit` of chapter 11, what the detector of chapter 15 is asked for, and
what ultralytics is told in chapters 14 and 15; its trainer itself is not.
"""

import ast
import copy
from contextlib import nullcontext
from types import SimpleNamespace

import matplotlib
import nb
import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, PartialState
from PIL import Image
from torch.nn import functional as F
from ultralytics import YOLO
from ultralytics.engine.results import Results

from vil_lite import VisionLSTM, _run, masked
from vil_lite.data import digits
from vil_lite.teach import tasks
from vil_lite.training import fit

ELSEWHERE = torch.device("meta")
BY_TASKS = [path for path in nb.chapters() if "tasks.train(" in nb.code(path) and "device=run.device" in nb.code(path)]


def defined(node) -> set[str]:
    """The names that a statement sets, or changes an entry of; not those that a function sets for itself."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Lambda):
        return set()
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(name.asname or name.name).partition(".")[0] for name in node.names}
    found = set().union(*(defined(part) for part in ast.iter_child_nodes(node)))
    filled = isinstance(node, ast.Attribute) and node.attr == "setdefault"
    if filled or isinstance(node, ast.Name | ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
        while not isinstance(node, ast.Name | ast.Call):
            node = node.value
        found |= {node.id} if isinstance(node, ast.Name) else set()
    return found


def used(node) -> set[str]:
    """The names that a statement needs: of a function, those that are not its own."""
    found = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    if isinstance(node, ast.FunctionDef):
        arguments = node.args
        found -= {one.arg for one in arguments.posonlyargs + arguments.args + arguments.kwonlyargs}
        found -= {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
    return found


def leading_to_the_device(statements: list) -> list[int]:
    """The statements that train on `run.device`, or call a function that does."""
    trains, found = set(), []
    for n, node in enumerate(statements):
        here = "run.device" in ast.unparse(node)
        later = {name for part in ast.walk(node) if isinstance(part, ast.Lambda) for name in used(part)}
        if isinstance(node, ast.FunctionDef) and (here or used(node) & trains):
            trains.add(node.name)
        elif here or used(node) & trains - later:
            found.append(n)
        elif used(node) & trains:
            trains |= defined(node)
    return found


class InShort(ast.NodeTransformer):
    """`for seed in ...` sees the first alone and a loop `for _ in ...` two: others go the same way.  Nothing is asserted."""

    def visit(self, node):
        if isinstance(node, ast.Assert):
            return ast.copy_location(ast.Pass(), node)
        if isinstance(node, ast.For | ast.comprehension):
            name = ast.unparse(node.target)
            most = 1 if name == "seed" else 2 if name == "_" and isinstance(node, ast.For) else None
            node.iter = ast.parse(f"[*{ast.unparse(node.iter)}][:{most}]", mode="eval").body
        return self.generic_visit(node)


class Page(dict):
    """The names of a notebook, which runs no further than it is asked: the last statement that sets a missing name."""

    def __init__(self, path, statements: list = (), **given):
        statements = statements or ast.parse(nb.code(path)).body
        super().__init__(given, run=SimpleNamespace(full=False, device=ELSEWHERE, seed=0, pick=lambda fast, full: fast))
        self.path, self.statements, self.now = path, statements, 0

    def execute(self, n: int):
        before, self.now = self.now, n
        module = ast.fix_missing_locations(ast.Module([InShort().visit(copy.deepcopy(self.statements[n]))], []))
        with torch.device("cpu"):  # as before the training that asks
            exec(compile(module, str(self.path), "exec"), self)
        self.now = before

    def __missing__(self, name):
        for n in reversed(range(self.now)):
            if name in defined(self.statements[n]):
                self.execute(n)
                return super().__getitem__(name)
        raise KeyError(name)


def one_step(seen, real=tasks.train):
    """In place of `tasks.train`: two steps of a copy on `device`; the model comes back untrained."""

    def train(model, draw, error, steps, lr, device="cpu"):
        there = copy.deepcopy(model).to(device)
        there.to = lambda _: there  # nothing comes back from there
        seen.append(torch.device(device).type)
        real(there, draw, error, 2, lr, device)
        return model

    return train


@pytest.mark.parametrize("path", BY_TASKS, ids=lambda path: path.stem)
def test_what_a_notebook_trains_goes_to_the_device_with_all_it_has(path, monkeypatch):
    matplotlib.use("Agg")
    seen = []
    monkeypatch.setattr(tasks, "train", one_step(seen))
    statements = ast.parse(nb.code(path)).body
    targets = leading_to_the_device(statements)
    assert targets
    for target in targets:
        before = len(seen)
        Page(path, statements).execute(target)
        assert seen[before:] and set(seen[before:]) == {"meta"}, ast.unparse(statements[target])


@pytest.fixture
def readable(monkeypatch):
    """What is read from the device, or comes back, is zeros: "meta" itself refuses."""

    def home(x):
        return torch.zeros(x.shape, dtype=x.dtype, requires_grad=x.requires_grad and x.is_leaf) if x.is_meta else x

    def of_zeros(real):
        return lambda x, *more: real(home(x), *more)

    for name in ("item", "tolist", "__float__", "__int__", "__bool__", "__index__"):
        monkeypatch.setattr(torch.Tensor, name, of_zeros(getattr(torch.Tensor, name)))
    monkeypatch.setattr(torch.Tensor, "cpu", home)


def images_and_labels(count: int, size: int):
    return torch.zeros(count, 1, size, size), torch.zeros(count, dtype=torch.long)


def vil():
    return VisionLSTM(32, 2, image_size=8, patch_size=2, channels=1, num_classes=10)


@pytest.mark.parametrize(
    ("path", "call"),
    [
        ("part2_vision/07_vil_block", "fit(build, 1e-3, 1, 0)"),
        ("part2_vision/08_block_designs", "accuracy(fit(linear(), *scenes, 2, 0), *scenes)"),
        ("part2_vision/11_training", "train(build().to(run.device), *there, 1, 8, 1e-3, 0.5)"),
    ],
)
def test_a_loop_that_a_notebook_writes_itself_stays_on_the_device(path, call, readable, monkeypatch):
    path = nb.ROOT / f"book/{path}.ipynb"
    statements = [*ast.parse(nb.code(path)).body, *ast.parse(f"result = {call}").body]
    given = {
        "data": digits.DigitsSplit(*2 * [digits.Examples(*images_and_labels(128, 8))]),
        "there": [x.to(ELSEWHERE) for x in images_and_labels(16, 8)],
        "scenes": images_and_labels(70, 32),
        "build": vil,
    }
    seen, real, adamw = set(), F.cross_entropy, torch.optim.AdamW

    def unfused(parameters, fused=None, **settings):
        return adamw(parameters, **settings)

    def look(logits, *more, **options):
        seen.add(logits.device.type)
        return real(logits, *more, **options)

    monkeypatch.setattr(F, "cross_entropy", look)
    monkeypatch.setattr(torch.optim, "AdamW", unfused)  # "meta" has no fused step
    Page(path, statements, **given).execute(len(statements) - 1)
    assert seen == {"meta"}


@pytest.mark.parametrize(("name", "after"), [("18_segmentation", "score(net)"), ("19_self_supervision", "losses[0]")])
def test_what_a_page_trains_without_a_function_does_so_on_the_device(name, after, readable, monkeypatch):
    # Which patches are hidden is a question that "meta" does not answer: the loss takes all of them.
    monkeypatch.setattr(
        masked, "masked_loss", lambda guess, target, mask: (guess * mask[..., None] - target).square().mean()
    )
    path = nb.ROOT / f"book/part4_beyond/{name}.ipynb"
    statements = ast.parse(nb.code(path)).body
    (loop,) = (n for n, node in enumerate(statements) if isinstance(node, ast.For) and _calls(node, "backward"))
    page = Page(path, [*statements[: loop + 1], *ast.parse(after).body])
    page.execute(loop)
    assert page["loss"].is_meta
    page.execute(loop + 1)


def test_what_the_library_trains_for_chapter_11_goes_on_where_it_stayed(readable, monkeypatch):
    """`fit` itself, with accelerate told that its GPU is "meta", and what the page does with all that it returns."""
    matplotlib.use("Agg")
    monkeypatch.setattr(PartialState, "default_device", ELSEWHERE)
    monkeypatch.setattr(_run, "autocast", lambda device, precision: nullcontext())  # "meta" has none
    AcceleratorState._reset_state(reset_partial_state=True)
    seen = []

    def briefly(model, *data, **settings):
        data = [[x[:64] for x in getattr(part, "tensors", part)] for part in data]
        done = fit(model, *data, **{**settings, "epochs": 1})
        seen.append(next(done.model.parameters()).device.type)
        return done

    def same(a, b, **_):
        assert a.device == b.device

    page = Page(nb.ROOT / "book/part2_vision/11_training.ipynb", fit=briefly, same=same)
    trains = [
        n for n, node in enumerate(page.statements) if _calls(node, "fit") and "subprocess" not in ast.unparse(node)
    ]
    try:
        for n in trains:
            page.execute(n)
            models = {name for name in defined(page.statements[n]) if _holds_a_model(page.get(name))}
            for later in range(n + 1, len(page.statements)):
                if (
                    models & used(page.statements[later])
                    and later not in trains
                    and "resumed" not in used(page.statements[later])
                ):
                    page.execute(later)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    assert len(seen) >= 6 and set(seen) == {"meta"}


def _holds_a_model(value) -> bool:
    parts = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(part, torch.nn.Module) for part in parts)


def test_what_a_detector_finds_comes_back_from_the_device(readable, tmp_path):
    """Chapter 15 predicts there; all that it does with the boxes is done here."""
    path = nb.ROOT / "book/part3_detection/15_train_detector.ipynb"
    size, asked = 320, []

    def predict(picture, device, **_):
        asked.append(device)
        return [
            Results(np.zeros((size, size, 3), np.uint8), "", {0: "plane"}, boxes=torch.zeros(3, 6, device=ELSEWHERE))
        ]

    scene = tmp_path / "0.png"
    Image.new("RGB", (size, size)).save(scene)
    found = SimpleNamespace(box=SimpleNamespace(f1_curve=np.ones((1, 9)), px=np.linspace(-1, 0, 9)))
    page = Page(
        path,
        SIZE=size,
        detector=SimpleNamespace(predict=predict, names={0: "plane"}),
        found=found,
        names=["plane"],
        truth=[(scene, np.array([[0, 0.5, 0.5, 0.1, 0.1]]))] * 4,
        confusion=lambda *_: np.ones((2, 2), int),
        LOW=0.0,
    )
    wanted = {"results", "CUT", "scenes", "matrix", "wrong"}
    last = max(n for n, node in enumerate(page.statements) if _calls(node, "tiled") and isinstance(node, ast.For))
    for n, node in enumerate(page.statements[: last + 1]):
        if wanted & defined(node) or n == last or ("show" in defined(node)):
            page.execute(n)
    page.now = last
    page["show"](0.1)
    assert len(asked) > 10 and set(asked) == {ELSEWHERE}


def test_ultralytics_is_told_of_the_device(tmp_path, monkeypatch):
    """Chapter 14 leaves the choice to it, a GPU if there is one; the script of chapter 15 names it.  Both in 16 bits there."""
    told = []
    monkeypatch.setattr(YOLO, "train", lambda model, **settings: told.append(settings))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)  # a T4
    part = nb.ROOT / "book/part3_detection"
    page = Page(part / "14_vil_in_yolov8.ipynb", data="data.yaml", folder=tmp_path, models={"plain": "yolov8n.yaml"})
    page["operated"] = YOLO("yolov8n.yaml")
    page["teach"] = SimpleNamespace(glue=lambda *_: None)
    trains = [
        n for n, node in enumerate(page.statements) if "**settings" in ast.unparse(node) and _calls(node, "train")
    ]
    for n in trains:
        page.execute(n)
    page = Page(part / "15_train_detector.ipynb", small="data.yaml", folder=tmp_path)
    (script,) = (
        n for n, node in enumerate(page.statements) if _calls(node, "write_text") and "imgsz=160" in ast.unparse(node)
    )
    page.execute(script)
    exec((tmp_path / "train.py").read_text(), {})
    assert len(told) == 3 and all(settings["amp"] is True for settings in told)
    assert [str(settings.get("device")) for settings in told] == ["None", "None", "meta"]


def _calls(node, name: str) -> bool:
    calls = (part.func for part in ast.walk(node) if isinstance(part, ast.Call))
    return any(name in (getattr(call, "id", ""), getattr(call, "attr", "")) for call in calls)


def test_a_batch_left_on_the_cpu_would_be_seen():
    model = torch.nn.Linear(2, 2)
    train = one_step([], real=lambda model, draw, error, steps, lr, device: error(model(draw()[0]), draw()[1]))
    with pytest.raises(RuntimeError, match="device"):
        train(model, lambda: (torch.zeros(3, 2), torch.zeros(3, dtype=torch.long)), F.cross_entropy, 1, 1e-3, ELSEWHERE)
