"""The exercises of the book and their checks, one module a chapter: `from vil_lite.teach.checks import ch03`.

An exercise is data: its number and title, a reference, the inputs of a random case, and its named mistakes.

    def step(C, k, v, f, *, outer=torch.outer):
        return f * C + outer(k, v)

    @exercise(
        "99.1",
        "one step of a memory",
        step,
        mistakes={
            "key and value are exchanged": {"outer": lambda k, v: torch.outer(v, k)},      # keywords of the reference
            "the old memory is lost": lambda C, k, v, f: torch.outer(k, v),                # or a function of the inputs
        },
    )
    def check_step(rng):
        d = rng.size(2, 6)
        return {"C": rng.normal(d, d), "k": rng.normal(d), "v": rng.normal(d), "f": rng.uniform(0, 1)}

The notebook calls `ch03.check_step(step)`.  The body makes the inputs of one case (a dict, or several one after the
other) and is called `cases` times; `rng.case` counts from 0, so that a case that decides comes in every call and is not
left to chance.  A body `(rng, student)` is a generator: it yields inputs, and goes on while the answers are right, for
what equality cannot see (`expect`, `expect_gradients`, `watched`).  `through(function, *inputs)` calls the function
where its bare result cannot be compared.  A mistake is named where it gives the student's answers in every case.
`tests/teach/test_exercises.py` hands in every named mistake, at many seeds, and wants to hear its name.

    check(student, seed=None)             prints "✓ title" or "Not attempted yet: title", or raises CheckFailed
    check.passes(student, seed=None)      True, or False for a stub; raises CheckFailed; prints nothing
    check.outcome(student, seed=None)     an Outcome: status (right, near miss, wrong, not attempted, died), mistake, message
    check.chapter, .number, .function     "ch03", "3.4", "step" (the student's function, by name and in the notebook)
    check.name, .title, .reference        "check_step", ...
    check.mistakes                        {name: function that makes this mistake}
    exercises()                           all of them, in the order of the book

A student may live in another process; then `student` is a proxy, and this is all that a check asks of it:

- it takes and returns numbers, texts, None, tensors, arrays, dtypes, and lists, tuples, dicts and SimpleNamespaces of
  them; further inputs are functions of such values (7.5 and 8.2 have them inside) and a `Path` of a small folder (15.5);
- after a call, and before each call back, arguments that the student changed in place are changed here, too (14.2);
- an exception arrives as the builtin of its name (else RuntimeError), with the place in the student's code, as
  ", in line 3 `x = 1 / 0`", in its attribute `place`; a stub is a NotImplementedError that says "your turn" or nothing;
- `expect_gradients` calls torch.autograd.grad on results; `model` of 6.6 is differentiated by the student;
- `watched(student, *arguments)` calls `student.watched(*arguments)` where there is one: a `teach.watch.Watched`;
- when the process has died or hangs, the proxy raises `Died`.
"""

import importlib
import pkgutil

from ._base import CheckFailed, Died, Exercise, Outcome

__all__ = ["CheckFailed", "Died", "Exercise", "Outcome", "exercises"]


def exercises() -> list[Exercise]:
    """Every exercise of the book, in order."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    modules = [importlib.import_module(f"{__name__}.{name}") for name in sorted(names)]
    return [one for module in modules for one in vars(module).values() if isinstance(one, Exercise)]
