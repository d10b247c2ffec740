"""Table 2 of the Vision-LSTM paper in small: seven block designs, direction and pooling taken apart.

    python experiments/ch08_designs.py               hours; see _runs.py for --only, --seconds, --again, --try
    python experiments/ch08_designs.py short         the record of 2026-11-23: three seeds, 138 and 300 updates, one rate

Four blocks of width 32; digits (16 tokens), scenes (16) and Fashion-MNIST (patches of 4: 49).  Batches of 64, AdamW, one
cycle.  The designs of the paper are pooled at both ends, the uni-directional one at its last token; beside them stand
unidirectional pooled at both ends and alternating_bidirectional pooled at the last token, so that two models can be
compared that differ in direction alone, or in pooling alone.  The learning rate is chosen for each (see _tables.py).
A seed fixes the order of the images, and the initial weights of those designs that have the same parameters.
Writes book/results/ch08_designs.json,
and with --only fashion ch08_designs_fashion.json.
"""

import sys
from functools import partial
from pathlib import Path

import torch
from _record import kept, record
from _runs import Runs
from _small import correct
from _tables import fitted, load, small, tables

from vil_lite.block import DESIGNS

PARTS = ("digits", "scenes", "fashion")
SEEDS = range(8)
KEPT = Path(__file__).resolve().parents[1] / "_build" / "ch08_designs"  # of `short` alone
ENDS, LAST = {"pooling": "bilateral_avg"}, {"pooling": "last"}
SETTINGS = {
    **{design: {"design": design, **(LAST if design == "unidirectional" else ENDS)} for design in DESIGNS},
    "unidirectional-both-ends": {"design": "unidirectional", **ENDS},
    "alternating_bidirectional-last": {"design": "alternating_bidirectional", **LAST},
}


def collect(runs, finish, parts):
    """The figures of these data sets; the designs as in the paper under their name, {design: {"all": accuracies}}."""
    figures = {"updates": {}, "rates": {}, "longer": {}, "direction and pooling": {}}
    compared = "unidirectional", "alternating_bidirectional"
    for name, found in tables(finish, runs.tiny, parts, SETTINGS, compared).items():
        rows = {setting: {"all": tests[name]} for setting, tests in found["accuracy"].items()}
        figures[name] = {design: rows[design] for design in DESIGNS}
        figures["direction and pooling"][name] = {s: row for s, row in rows.items() if s not in DESIGNS}
        for key in ("updates", "rates", "longer"):
            figures[key][name] = found[key]
    return figures if set(parts) <= set(figures) else None


def short():
    """The runs that chapter 8 shows until the long ones are made; 15 minutes."""
    torch.set_num_threads(1)
    updates, figures = {"digits": 138, "scenes": 300}, {}
    for name in updates:
        data = load(name)
        (test,) = data.tests.values()
        figures[name] = {design: {"all": [], "by class": []} for design in DESIGNS}
        for seed in range(3):
            for design in DESIGNS:

                def one(seed=seed, design=design, data=data, test=test, name=name):
                    build = partial(small, **SETTINGS[design], **data.model)
                    return correct(fitted(build, data.train, updates[name], 1e-2, seed), *test)

                right = torch.tensor(kept(KEPT / f"{name}-{design}-{seed}.json", one), dtype=torch.float64)
                figures[name][design]["all"].append(right.mean().item())
                by_class = [right[test.labels == c].mean().item() for c in range(10)]
                figures[name][design]["by class"].append(by_class)
    record("ch08_designs", {**figures, "updates": updates}, seeds=range(3))


if __name__ == "__main__":
    if sys.argv[1:] == ["short"]:
        short()
    else:
        experiment = Runs("ch08_designs", __doc__, PARTS, SEEDS, alone={"fashion": range(5)})
        experiment.record(partial(collect, experiment))
