"""Table 2 of the Vision-LSTM paper in small: seven block designs, direction and pooling taken apart.

    python experiments/ch08_designs.py               hours; see _runs.py for --only, --seconds, --again, --try

Four blocks of width 32; digits (16 tokens), scenes (16) and Fashion-MNIST (patches of 4: 49).  Batches of 64, AdamW, one
cycle.  The designs of the paper are pooled at both ends, the uni-directional one at its last token; beside them stand
unidirectional pooled at both ends and alternating_bidirectional pooled at the last token, so that two models can be
compared that differ in direction alone, or in pooling alone.  Digits and scenes train these two and their partners, no other
design.  The learning rate is chosen for each (see _tables.py).
A seed fixes the order of the images, and the initial weights of those designs that have the same parameters.
Writes book/results/ch08_designs.json.
"""

from functools import partial

from _runs import Runs
from _tables import load, table

from vil_lite.block import DESIGNS

PARTS = ("digits", "scenes", "fashion")
COMPARED = "unidirectional", "alternating_bidirectional"
ENDS, LAST = {"pooling": "bilateral_avg"}, {"pooling": "last"}
PAPER = {design: {"design": design, **(LAST if design == "unidirectional" else ENDS)} for design in DESIGNS}
SWAPPED = {
    "unidirectional-both-ends": {"design": "unidirectional", **ENDS},
    "alternating_bidirectional-last": {"design": "alternating_bidirectional", **LAST},
}


def collect(tiny, finish, parts):
    """{data set: table} with the tables of _tables.py; None while runs are missing."""
    found = {}
    for name in parts:
        settings = (PAPER if name == "fashion" else {design: PAPER[design] for design in COMPARED}) | SWAPPED
        longer = COMPARED if name == "fashion" else settings
        found[name] = table(finish, name, load(name, tiny), settings, longer)
    return None if None in found.values() else found


if __name__ == "__main__":
    experiment = Runs("ch08_designs", __doc__, PARTS, range(8))
    experiment.record(partial(collect, experiment.tiny))
