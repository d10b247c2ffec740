"""Table 3 of the Vision-LSTM paper in small: five poolings, objects in the centre, at the border, and photographs.

    python experiments/ch09_pooling.py               hours; see _runs.py for --only, --seconds, --again, --try

Four blocks of width 32.  Scenes of 32 x 32 pixels in 8 x 8 patches, one every 6 pixels, so 5 x 5 tokens and a true middle;
Fashion-MNIST in patches of 4, 7 x 7 tokens, with a true middle, too.  Batches of 64, AdamW, one cycle, as many
updates for all; the learning rate is chosen for each pooling on scenes and photographs that judge nothing (_tables.py).
A seed fixes the scenes to learn from, the order of the images, and the initial weights of those models that have the same
parameters.  A model trained on scenes is tested on 4000 scenes of both kinds.
Writes book/results/ch09_pooling.json.
"""

from functools import partial

from _runs import Runs
from _tables import tables

PARTS = ("centre", "border", "fashion")
SEEDS = range(8)
POOLINGS = ("avg", "middle_patch", "middle_cls", "bilateral_avg", "bilateral_concat")


def collect(runs, finish, parts):
    """The figures: accuracy[trained on][pooling][tested on], one number a seed."""
    found = tables(finish, runs.tiny, parts, {p: {"pooling": p} for p in POOLINGS}, ("avg", "middle_cls"))
    figures = {
        key: {name: one[key] for name, one in found.items()}
        for key in ("accuracy", "updates", "images", "rates", "longer")
    }
    return figures if set(parts) == set(found) else None


if __name__ == "__main__":
    experiment = Runs("ch09_pooling", __doc__, PARTS, SEEDS)
    experiment.record(partial(collect, experiment))
