"""How an exercise is checked: random cases against a reference, and a message that names the likely mistake."""

import hashlib
import inspect
import linecache
import secrets
import traceback
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from .. import watch as _watch
from ..lending import settle
from ._compare import case_of, changed, close, copied, explain, flat, kinds, results


class CheckFailed(AssertionError):
    """The answer is wrong; the message says how, in one or two lines.  mistake: its name, where it has one."""

    def __init__(self, message: str, mistake: str | None = None):
        super().__init__(message)
        self.mistake = mistake

    def _render_traceback_(self):
        """IPython shows this in place of a traceback: a student learns nothing from our stack."""
        return [f"✗ {self}"]


class Died(Exception):
    """The process in which the student's function runs is gone, or gave no answer in time."""


@dataclass(frozen=True)
class Outcome:
    """status: "right", "near miss" (a named mistake), "wrong", "not attempted" or "died"."""

    status: str
    mistake: str | None = None
    message: str = ""


class Random:
    """Random sizes and tensors for one case, from a generator of its own.  case: its number, from 0."""

    def __init__(self, seed: int, case: int = 0):
        self.generator, self.case = torch.Generator().manual_seed(seed), case

    def size(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def choice(self, options):
        """One of the options."""
        return options[self.size(0, len(options) - 1)]

    def turn(self, options):
        """One of the options, each in its turn from case to case."""
        return options[self.case % len(options)]

    def normal(self, *shape: int, dtype=torch.float32) -> torch.Tensor:
        """Standard normal values of the given shape."""
        return torch.randn(shape, generator=self.generator, dtype=dtype)

    def uniform(self, low: float, high: float, *shape: int, dtype=torch.float32) -> torch.Tensor:
        """Uniform values in [low, high) of the given shape."""
        return low + (high - low) * torch.rand(shape, generator=self.generator, dtype=dtype)


@dataclass
class _Answer:
    """One comparison: what was asked, what is right, and what came: values, or the exception as a CheckFailed."""

    inputs: dict
    wanted: list
    got: list | None = None
    failure: CheckFailed | None = None
    right: bool = False


class Exercise:
    """A check: `check(student, seed=None)`.  See the package's docstring."""

    def __init__(
        self,
        body,
        number: str,
        title: str,
        reference,
        *,
        mistakes: dict,
        function: str | None = None,
        outputs: tuple | None = None,
        cases: int = 5,
        rtol: float = 1e-4,
        atol: float = 1e-5,
        through=None,
    ):
        self.chapter, self.name, self.__doc__ = body.__module__.rsplit(".", 1)[-1], body.__name__, title
        self.number, self.title, self.reference = number, title, reference
        self.function = function or reference.__name__
        self.mistakes = {
            name: partial(reference, **wrong) if isinstance(wrong, dict) else wrong for name, wrong in mistakes.items()
        }
        self.outputs, self.cases, self.rtol, self.atol = outputs, cases, rtol, atol
        self._body, self._through = body, through
        self._asks = len(inspect.signature(body).parameters) > 1

    def __call__(self, student, seed=None):
        """Say what came of it; return what the page goes on with, see teach.lending."""
        return settle(self, student, seed, CheckFailed)

    def passes(self, student, seed=None) -> bool:
        """True, or False for a stub or the book's own function; raises CheckFailed for a wrong answer."""
        if student is None or student is ... or self._lent(student):
            return False
        seed = secrets.randbits(31) if seed is None else seed
        with torch.random.fork_rng(devices=[]):  # the student's own draws must not move the notebook's generator
            try:
                self._examine(student, seed)
            except NotImplementedError:
                return False
            except CheckFailed as failure:
                again = f"{self.chapter}.{self.name}({self.function}, seed={seed})"
                message = f"{self.title}: {failure} (this case again: {again})"
                raise CheckFailed(message, failure.mistake) from None
        return True

    def outcome(self, student, seed=None) -> Outcome:
        """What came of it, for a program that grades."""
        try:
            return Outcome("right" if self.passes(student, seed) else "not attempted")
        except CheckFailed as failure:
            return Outcome("near miss" if failure.mistake else "wrong", failure.mistake, str(failure))
        except Died as death:
            return Outcome("died", None, str(death))

    def seed_of(self, seed: int, case: int) -> int:
        """Of one case; a hash, so that neighbouring seeds and other exercises share none."""
        text = f"{self.chapter} {self.name} {seed} {case}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=6).digest(), "big")

    def _lent(self, student) -> bool:
        """Is this the book's own function, or one that only calls it?"""
        names = getattr(getattr(student, "__code__", None), "co_names", ())
        return student is self.reference or {self.chapter, self.reference.__name__} <= set(names)

    def _examine(self, student, seed) -> None:
        """Look at all cases; raise CheckFailed for the mistake that explains every answer, or for the first wrong one."""
        answers, late = [], None
        for case in range(self.cases):
            torch.default_generator.manual_seed(self.seed_of(seed, case))  # what the student draws comes again, too
            rng = Random(self.seed_of(seed, case), case)
            try:
                given = self._body(rng, student) if self._asks else self._body(rng)
                for inputs in [given] if isinstance(given, dict) else given or ():
                    answers.append(self._ask(student, inputs))
                    if self._asks and not answers[-1].right:
                        break  # what comes after it takes right values for granted
            except CheckFailed as failure:
                late = late or failure
        wrong = [answer for answer in answers if not answer.right]
        self._name(wrong, [answer for answer in answers if answer.right])
        if late:
            raise late
        if wrong and wrong[0].failure:
            raise wrong[0].failure
        if wrong:
            assert wrong[0].got is not None  # an answer without a failure has results
            explain(wrong[0].got, wrong[0].wanted, self.outputs, wrong[0].inputs, self.rtol, self.atol, CheckFailed)

    def _call(self, function, inputs):
        """The function's results, and the arguments as it left them."""
        given = copied(list(inputs.values()))
        return (self._through(function, *given) if self._through else function(*given)), given

    def _ask(self, student, inputs) -> _Answer:
        answer = _Answer(inputs, flat(self._call(self.reference, inputs)[0]))

        def asked(*arguments):
            result = student(*arguments)
            if result is None:
                raise CheckFailed("nothing is returned: is the `return` missing?")
            return result

        try:
            got, after = attempt(self._call, asked, inputs, told=f"; inputs: {case_of(inputs)}")
        except CheckFailed as failure:
            answer.failure = failure
            return answer
        for (name, before), now in zip(inputs.items(), after):
            if changed(before, now):
                raise CheckFailed(f"the argument `{name}` is changed in place; work on a new one")
        answer.got = results(got, answer.wanted)
        answer.right = self._equal(answer.got, answer.wanted)
        if answer.right:
            kinds(answer.got, answer.wanted, self.outputs, CheckFailed)
        return answer

    def _equal(self, got: list, wanted: list) -> bool:
        return len(got) == len(wanted) and all(close(g, w, self.rtol, self.atol) for g, w in zip(got, wanted))

    def _agrees(self, wrong, answer: _Answer) -> bool:
        """Does this mistake give what the student gave?  A wrong implementation may fail where the student's failed."""
        try:
            result = flat(self._call(wrong, answer.inputs)[0], len(answer.wanted))
        except Exception:
            return answer.got is None
        return answer.got is not None and self._equal(answer.got, result)

    def _name(self, wrong: list, right: list) -> None:
        """Raise CheckFailed for the mistake that gives all these answers, the right ones too, if there is one."""
        told = [answer for answer in wrong if answer.got is not None]
        for name, mistake in self.mistakes.items():
            if told and all(self._agrees(mistake, answer) for answer in told + wrong + right):
                raise CheckFailed(name if name[-1] in ".?!" else f"{name}.", name)


def exercise(number: str, title: str, reference, **options):
    """Make a check of a body that draws inputs.  See the package's docstring.

    mistakes: {name: keywords of the reference, or a function of the inputs}.   function: the student's, if named otherwise.
    outputs: names of the returned values, where there are several.   through: called with the function and its inputs.
    cases: how many random cases a call makes.   rtol, atol: how far a number may be from the reference's.
    """
    return lambda body: Exercise(body, number, title, reference, **options)


def expect(condition, mistake: str, details: str = "") -> None:
    """Raise CheckFailed for this named mistake unless `condition` holds."""
    if not condition:
        raise CheckFailed(mistake + details, mistake)


def attempt(student, *arguments, told="", **options):
    """Call the student's code; an exception in it becomes a CheckFailed that names the line.  told: added to the message."""
    try:
        return student(*arguments, **options)
    except (CheckFailed, Died):
        raise
    except Exception as error:
        if isinstance(error, NotImplementedError) and error.args in ((), ("",), ("your turn",)):
            raise  # a stub; with other words it is torch that has no such operation
        place = getattr(error, "place", None) or _place(error)
        raise CheckFailed(f"{type(error).__name__}: {error}{place}{told}".replace("\n", " ")) from None


def watched(student, *arguments) -> _watch.Watched:
    """What the student's function does when called so: result, operations, largest, names."""
    there = getattr(student, "watched", None)
    return attempt(there, *arguments) if there else attempt(_watch.watch, student, *arguments)


_NUMPY = ": NumPy computes none; write it with torch"
_NUMBER = ": a bare number has none; is there a .item() or a float(...) on the way?"


def expect_gradients(student, reference, inputs: dict, rtol=1e-3, atol=1e-5) -> None:
    """The first result of both must have the same gradient with respect to every floating-point tensor."""
    names = [name for name, x in inputs.items() if isinstance(x, torch.Tensor) and x.is_floating_point()]
    lost = "the values are right, but no gradient comes back"

    def gradients(function):
        given = {name: x.detach().clone().requires_grad_() if name in names else x for name, x in inputs.items()}
        try:
            result = flat(function(*given.values()))[0]
        except RuntimeError as error:
            expect("call numpy()" not in str(error), lost, _NUMPY)
            raise
        expect(isinstance(result, torch.Tensor), lost, _NUMBER if type(result) is float else _NUMPY)
        if not result.requires_grad:
            return [None] * len(names)
        weights = torch.arange(1.0, result.numel() + 1).cos().view(result.shape)
        return torch.autograd.grad((result * weights).sum(), [given[name] for name in names], allow_unused=True)

    with torch.enable_grad():
        for name, got, wanted in zip(names, attempt(gradients, student), gradients(reference)):
            if wanted is None:
                continue
            expect(
                got is not None or not wanted.any(),
                lost,
                f" to `{name}`: is there a .item(), a .detach() or a new torch.tensor(...) on the way?",
            )
            got = torch.zeros_like(wanted) if got is None else got
            expect(got.isfinite().all(), "the values are right, but their gradient is NaN or infinite", f" (`{name}`)")
            right = torch.allclose(got, wanted, rtol, atol * (1 + float(wanted.abs().max())))
            expect(right, "the values are right, but their gradient is wrong", f" (`{name}`)")


def _place(error: Exception) -> str:
    """The line of the student's own code where it went wrong: the last frame that is neither ours nor a package's."""
    ours = str(Path(__file__).parents[1]), "site-packages"  # this package and whatever is installed
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not any(part in f.filename for part in ours)]
    if not frames:
        return ""
    where, number = frames[-1].filename, frames[-1].lineno or 0
    line = linecache.getline(where, number).strip()
    return f", in line {number} `{line}`" if line else f", in line {number}"
