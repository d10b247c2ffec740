"""How an exercise is checked: random cases against a reference, and a message that names the likely mistake.

A chapter's module reads like this:

    @exercise("one step of the memory")
    def check_step(student, rng):
        d = rng.size(2, 6)
        compare(
            student, step,                                           # step is the reference
            {"C": rng.normal(d, d), "k": rng.normal(d), "v": rng.normal(d), "f": rng.uniform(0, 1)},
            diagnose={"the key and the value are exchanged": lambda C, k, v, f: f * C + torch.outer(v, k)},
        )

and a notebook calls `check_step(my_function)`.  The body sees one random case and is run several times.
A check never uses the network, the metadata of cells or the state of the notebook's random generators.
"""

import functools
import linecache
import secrets
import sys
import traceback

import numpy as np
import torch


class CheckFailed(AssertionError):
    """The answer is wrong; the message says how, in one or two lines."""

    def _render_traceback_(self):
        """IPython shows this in place of a traceback: a student learns nothing from our stack."""
        return [f"✗ {self}"]


class Random:
    """Random sizes and tensors for one case, from a generator of its own."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)

    def size(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def choice(self, options):
        """One of the options."""
        return options[self.size(0, len(options) - 1)]

    def normal(self, *shape: int, dtype=torch.float32) -> torch.Tensor:
        """Standard normal values of the given shape."""
        return torch.randn(shape, generator=self.generator, dtype=dtype)

    def uniform(self, low: float, high: float, *shape: int, dtype=torch.float32) -> torch.Tensor:
        """Uniform values in [low, high) of the given shape."""
        return low + (high - low) * torch.rand(shape, generator=self.generator, dtype=dtype)


def exercise(title: str, cases: int = 5):
    """Make `check(student, seed=None)` of a body `(student, rng)` that looks at one random case.

    check prints "✓ title" when all cases pass, "Not attempted yet: title" for a stub (NotImplementedError, None
    or ...), and raises CheckFailed otherwise.  seed: None takes fresh cases each time; a teacher may name one.
    `check.title` holds the title; `check.passes(student, seed)` prints nothing and gives True, or False for a stub.
    """

    def decorate(body):
        def passes(student, seed=None) -> bool:
            if student is None or student is ...:
                return False
            seed = secrets.randbits(31) if seed is None else seed
            with torch.random.fork_rng(devices=[]):  # the student's own draws must not move the notebook's generator
                for case in range(cases):
                    torch.manual_seed(seed + case)
                    try:
                        body(student, Random(seed + case))
                    except NotImplementedError:
                        return False
                    except CheckFailed as failure:
                        raise CheckFailed(f"{title}: {failure} (this case again: seed={seed})") from None
            return True

        @functools.wraps(body)
        def check(student, seed=None) -> None:
            attempted = passes(student, seed)
            print(f"✓ {title}" if attempted else f"Not attempted yet: {title}")

        del check.__wrapped__  # help() should show (student, seed=None), not the body's signature
        check.title, check.passes = title, passes
        return check

    return decorate


def expect(condition, message: str) -> None:
    """Raise CheckFailed with `message` unless `condition` holds."""
    if not condition:
        raise CheckFailed(message)


def compare(student, reference, inputs: dict, *, diagnose=None, outputs=None, rtol=1e-4, atol=1e-5) -> None:
    """Call student and reference with the same inputs (by position, each a copy) and compare what they return.

    inputs: {name: value}, tensors or anything else.      outputs: names of the returned values, where there are several.
    diagnose: {mistake: wrong implementation or value}; an answer equal to one of them is reported as that mistake.
    Raises CheckFailed for: an exception, nothing returned, inputs changed in place, wrong number, type, shape or
    dtype of the results, values that are not finite where the reference's are, and wrong values.
    """
    wanted = _flat(reference(*_copy(list(inputs.values()))))
    given = _copy(list(inputs.values()))
    got = attempt(student, *given, told=f"; inputs: {_shapes(inputs)}")
    for (name, before), after in zip(inputs.items(), given):
        expect(_same(_flat(before), _flat(after)), f"the argument `{name}` is changed in place; work on a new tensor")
    expect(got is not None, "nothing is returned: is the `return` missing?")
    got = _flat(got)
    if len(got) == len(wanted) and all(_close(g, w, rtol, atol) for g, w in zip(got, wanted)):
        for g, w, name in zip(got, wanted, _names(outputs, wanted)):
            _check_dtype(g, w, name)
        return
    for mistake, wrong in (diagnose or {}).items():
        if _matches(got, wrong, inputs, rtol, atol):
            raise CheckFailed(mistake if mistake[-1] in ".?!" else f"{mistake}.")
    expect(len(got) == len(wanted), f"{_count(len(got))} returned; {len(wanted)} wanted")
    for g, w, name in zip(got, wanted, _names(outputs, wanted)):
        _explain(g, w, name, inputs, rtol, atol)


def compare_value(answer, wanted, *, diagnose=None, rtol=1e-4, atol=1e-8) -> None:
    """Compare an answer that is a number, a text or a list, not a function.  diagnose: {mistake: wrong value}."""
    compare(lambda: answer, lambda: wanted, {}, diagnose=diagnose, outputs=("the answer",), rtol=rtol, atol=atol)



def attempt(student, *arguments, told="", **options):
    """Call the student's code; an exception in it becomes a CheckFailed that names the line.  told: added to the message."""
    try:
        return student(*arguments, **options)
    except (NotImplementedError, CheckFailed):
        raise
    except Exception as error:
        raise CheckFailed(f"{type(error).__name__}: {error}{_place(error)}{told}".replace("\n", " ")) from None


def _place(error: Exception) -> str:
    """The line of the student's own code where it went wrong: the last frame that is neither ours nor a package's."""
    frames = traceback.extract_tb(error.__traceback__)
    frames = [f for f in frames if f.filename != __file__ and "site-packages" not in f.filename]
    if not frames:
        return ""
    line = linecache.getline(frames[-1].filename, frames[-1].lineno).strip()
    return f", in line {frames[-1].lineno} `{line}`" if line else f", in line {frames[-1].lineno}"


def _matches(got: list, wrong, inputs: dict, rtol, atol) -> bool:
    if callable(wrong):
        try:
            wrong = wrong(*_copy(list(inputs.values())))
        except Exception:  # a wrong implementation may not work for every size; then it is not what the student wrote
            return False
    wrong = _flat(wrong)
    return len(got) == len(wrong) and all(_close(g, w, rtol, atol) for g, w in zip(got, wrong))


# ---------------------------------------------------------------- comparing


def _is_sequence(x) -> bool:
    return isinstance(x, (tuple, list)) and not all(isinstance(e, (int, float, str)) for e in x)


def _flat(x) -> list:
    """The leaves of nested tuples and lists, in order; a list of plain numbers is one leaf."""
    return [leaf for part in x for leaf in _flat(part)] if _is_sequence(x) else [x]


def _copy(x):
    if isinstance(x, torch.Tensor):
        return x.detach().clone().requires_grad_(x.requires_grad)
    if isinstance(x, np.ndarray):
        return x.copy()
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*map(_copy, x))
    return type(x)(map(_copy, x)) if isinstance(x, (tuple, list)) else x


def _tensor(x) -> torch.Tensor | None:
    """A tensor of a number, an array or a list of numbers; None for anything else."""
    if isinstance(x, torch.Tensor):
        return x.detach().cpu()
    if isinstance(x, np.ndarray):
        x = x.copy()  # in one piece: an array that is read backwards, x[::-1], cannot become a tensor
    try:
        return torch.as_tensor(x)
    except (TypeError, ValueError, RuntimeError):
        return None


def _close(got, wanted, rtol, atol) -> bool:
    if isinstance(wanted, str) or wanted is None:
        return got.strip() == wanted.strip() if isinstance(got, str) and wanted is not None else got is wanted
    g, w = _tensor(got), _tensor(wanted)
    if w is None:
        return got == wanted
    if g is None or g.shape != w.shape:
        return False
    return torch.allclose(g.to(torch.complex128), w.to(torch.complex128), rtol=rtol, atol=atol, equal_nan=True)


def _same(before: list, after: list) -> bool:
    return all(not isinstance(b, (torch.Tensor, np.ndarray)) or _close(a, b, 0, 0) for b, a in zip(before, after))


def _check_dtype(got, wanted, name: str) -> None:
    if isinstance(wanted, torch.Tensor) and isinstance(got, torch.Tensor):
        expect(got.dtype == wanted.dtype, f"{name} has the right values but is {got.dtype}; {wanted.dtype} is wanted")


def _explain(got, wanted, name: str, inputs: dict, rtol, atol) -> None:
    """Raise CheckFailed with what is wrong about this one result, the most telling thing first; return if nothing is."""
    if _close(got, wanted, rtol, atol):
        return
    expect(got is not None, f"{name} is None")
    w, g = _tensor(wanted), _tensor(got)
    if isinstance(wanted, str) or w is None:
        raise CheckFailed(f"{name} is {got!r}, which is not right")
    expect(g is not None and not isinstance(got, str), f"{name} is a {type(got).__name__}; a {_kind(wanted)} is wanted")
    if g.shape != w.shape:
        twist = ": is it transposed?" if g.dim() == w.dim() > 1 and g.shape == w.transpose(-1, -2).shape else ""
        case = f" for {_shapes(inputs)}" if inputs else ""
        raise CheckFailed(f"{name} has shape {tuple(g.shape)}; {tuple(w.shape)} is wanted{case}{twist}")
    g, w = g.double(), w.double()
    if w.isfinite().all() and not g.isfinite().all():
        bad = "NaN" if g.isnan().any() else "infinite"
        raise CheckFailed(f"{name} holds {bad} values: is there a division by zero, or an exp of a large number?")
    _draw(g, w)
    hint = _pattern(g, w, rtol, atol)
    if w.numel() == 1:
        raise CheckFailed(f"{name} is {float(g):.6g}, which is not right{hint}")
    difference = (g - w).abs().nan_to_num(0)
    place = tuple(int(i) for i in torch.unravel_index(difference.argmax(), w.shape))
    raise CheckFailed(f"{name} is off by up to {float(difference.max()):.3g} (at index {place}){hint}")


def _pattern(g: torch.Tensor, w: torch.Tensor, rtol, atol) -> str:
    """What the difference looks like, where it has a simple form."""
    if torch.allclose(g, torch.zeros_like(w), atol=atol):
        return ": it is zero everywhere"
    if w.dim() > 1 and w.shape[-1] == w.shape[-2] and torch.allclose(g, w.transpose(-1, -2), rtol, atol):
        return ": it is transposed"
    if torch.allclose(g, -w, rtol, atol):
        return ": the sign is wrong"
    scale = float((g * w).sum() / (w * w).sum()) if w.isfinite().all() and w.any() else 0.0
    if w.numel() > 1 and scale and torch.allclose(g, scale * w, rtol, atol):
        return f": it is {scale:.4g} times what it should be, everywhere"
    if w.numel() > 1 and w.dim() and torch.allclose(g - w, (g - w).mean().expand_as(w), rtol, atol):
        return f": it is what it should be plus {float((g - w).mean()):.4g}, everywhere"
    return ""


# ---------------------------------------------------------------- words and pictures


def _names(outputs, wanted: list) -> list[str]:
    if outputs is None:
        return ["the result"] if len(wanted) == 1 else [f"result {n}" for n in range(1, len(wanted) + 1)]
    if len(outputs) != len(wanted):
        raise ValueError(f"outputs names {len(outputs)} results, the reference returns {len(wanted)}: {outputs}")
    return [f"`{name}`" if name.isidentifier() else name for name in outputs]


def _count(n: int) -> str:
    return "one value is" if n == 1 else f"{n} values are"


def _kind(x) -> str:
    return "tensor" if isinstance(x, torch.Tensor) else type(x).__name__


def _shapes(inputs: dict) -> str:
    """The inputs in words: `q` (2, 3), `d` = 4."""
    def say(name, x):
        if isinstance(x, torch.Tensor):
            return f"`{name}` {tuple(x.shape)}" if x.dim() else f"`{name}` = {x.item():.4g}"
        return f"`{name}` = {x!r}" if isinstance(x, (int, float, str, bool)) else f"`{name}`"

    return ", ".join(say(name, x) for name, x in inputs.items()) or "none"


def _draw(g: torch.Tensor, w: torch.Tensor) -> None:
    """In a notebook, show the first matrix of the student's result beside the reference's and their difference."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None or not hasattr(shell, "kernel") or w.dim() < 2 or max(w.shape[-2:]) > 64:
        return
    import matplotlib.pyplot as plt
    from IPython.display import display

    from ..figures import heatmaps

    g, w = g.reshape(-1, *g.shape[-2:])[0], w.reshape(-1, *w.shape[-2:])[0]
    figure = heatmaps({"yours": g, "reference": w, "difference": g - w}, signed=True, values=False)
    display(figure, metadata={"image/png": {"alt": "Heat maps of your result, the reference and their difference"}})
    plt.close(figure)
