"""What a notebook sends to `run.device` trains there, and nothing stays behind: tried on PyTorch's device "meta".

Tensors there have shapes and no numbers, and as on a GPU they refuse to be mixed with those of the CPU; unlike the fake
tensors of tests/test_devices.py they know the way back, too.  No notebook is run: each statement that leads to
`tasks.train(..., device=run.device)` is, with the statements that set what it asks for, for one seed and two steps.
"""

import ast
import copy
from types import SimpleNamespace

import matplotlib
import nb
import pytest
import torch
from torch.nn import functional as F

from vil_lite import VisionLSTM
from vil_lite.data import digits
from vil_lite.teach import tasks

ELSEWHERE = torch.device("meta")
BY_TASKS = [path for path in nb.chapters() if "tasks.train(" in nb.code(path) and "device=run.device" in nb.code(path)]


def defined(node) -> set[str]:
    """The names that a statement sets, or changes an entry of."""
    found = set()
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef | ast.ClassDef):
            found.add(part.name)
        elif isinstance(part, ast.Import | ast.ImportFrom):
            found |= {(name.asname or name.name).partition(".")[0] for name in part.names}
        elif isinstance(part, ast.Name | ast.Subscript | ast.Attribute) and isinstance(part.ctx, ast.Store):
            while not isinstance(part, ast.Name | ast.Call):
                part = part.value
            found |= {part.id} if isinstance(part, ast.Name) else set()
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


class FirstSeed(ast.NodeTransformer):
    """`for seed in ...` sees the first alone: another seed goes the same way."""

    def visit(self, node):
        if isinstance(node, ast.For | ast.comprehension) and ast.unparse(node.target) == "seed":
            node.iter = ast.parse(f"[*{ast.unparse(node.iter)}][:1]", mode="eval").body
        return self.generic_visit(node)


class Page(dict):
    """The names of a notebook, which runs no further than it is asked: the last statement that sets a missing name."""

    def __init__(self, path, statements: list, **given):
        super().__init__(given, run=SimpleNamespace(full=False, device=ELSEWHERE, seed=0, pick=lambda fast, full: fast))
        self.path, self.statements, self.now = path, statements, 0

    def execute(self, n: int):
        before, self.now = self.now, n
        module = ast.fix_missing_locations(ast.Module([FirstSeed().visit(copy.deepcopy(self.statements[n]))], []))
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


@pytest.mark.parametrize(
    ("path", "call"),
    [
        ("part2_vision/07_vil_block", "fit(build, 1e-3, 1, 0)"),
        ("part2_vision/11_training", "train(build().to(run.device), *there, 1, 8, 1e-3, 0.5)"),
    ],
)
def test_a_loop_that_a_notebook_writes_itself_stays_on_the_device(path, call):
    statements = ast.parse(nb.code(nb.ROOT / f"book/{path}.ipynb")).body + ast.parse(call).body
    images, labels = torch.zeros(128, 1, 8, 8), torch.zeros(128, dtype=torch.long)
    page = Page(
        path,
        statements,
        data=digits.DigitsSplit(*2 * [digits.Examples(images, labels)]),
        there=[images[:16].to(ELSEWHERE), labels[:16].to(ELSEWHERE)],
        build=lambda: VisionLSTM(32, 2, image_size=8, patch_size=2, channels=1, num_classes=10),
    )
    try:
        page.execute(len(statements) - 1)
    except RuntimeError as error:  # an accuracy is asked for: the training before it has passed
        assert "accuracy" in page and "item() cannot be called on meta tensors" in str(error)


def test_a_batch_left_on_the_cpu_would_be_seen():
    model = torch.nn.Linear(2, 2)
    train = one_step([], real=lambda model, draw, error, steps, lr, device: error(model(draw()[0]), draw()[1]))
    with pytest.raises(RuntimeError, match="device"):
        train(model, lambda: (torch.zeros(3, 2), torch.zeros(3, dtype=torch.long)), F.cross_entropy, 1, 1e-3, ELSEWHERE)
