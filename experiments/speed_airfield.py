"""How long does it take to draw a data set of airfields?

    python experiments/speed_airfield.py        1000 images of 320 pixels, one process for each core

Writes book/results/speed_airfield.json.
"""

import os
import tempfile
from functools import partial

from _record import best_times, record

from vil_lite.data import airfield


def main():
    with tempfile.TemporaryDirectory() as root:
        draw = partial(airfield.build, root, 900, 100, image_size=320, workers=os.cpu_count(), progress=False)
        seconds = best_times({"draw": draw}, repeats=1, warmup=0)["draw"]
    figures = {"images": 1000, "pixels": 320, "workers": os.cpu_count(), "seconds": seconds}
    print(figures)
    record("speed_airfield", figures, seeds=[0], packages=("numpy", "pillow"))


if __name__ == "__main__":
    main()
