"""A long experiment as a list of short runs: each is kept as it comes, so it goes on elsewhere, and can be made a second time.

    python experiments/NAME.py                       every run that is still missing, then the record
    python experiments/NAME.py --only scenes --seeds 0 1 --seconds 3000      part of the work; processes may share it
    python experiments/NAME.py --threads 2 --again threads2                  all runs once more, kept apart
    python experiments/NAME.py --try                 all kinds of runs in seconds, in a folder that is thrown away

A run is a name and a function that returns JSON.  Finished runs lie in experiments/runs/NAME, those of `--again LABEL` in
experiments/runs/NAME@LABEL: small files, to be committed.  A second series takes the learning rates ("rate ...") that the
first one chose.  The record holds the first series as its figures, and every part of a second series that is complete under
figures["again"][LABEL][PART], so that a page can say what turned round.
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _record import device, kept, record

RUNS = Path(__file__).resolve().parent / "runs"


class Runs:
    """What the command line asks for, and the folder of the runs.

    parts: the names that --only may choose from.   alone: {part: its seeds}, what makes a record of its own, NAME_PART, while
    others are missing.
    """

    def __init__(self, name, description, parts, seeds, arguments=None, alone=None):
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--only", nargs="+", choices=parts, default=list(parts), help="parts of the experiment")
        parser.add_argument("--seeds", type=int, nargs="+", help="judge these seeds only")
        parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no run later than this")
        parser.add_argument("--threads", type=int, default=1)
        parser.add_argument("--again", metavar="LABEL", help="a second series, kept beside the first")
        parser.add_argument("--try", dest="tiny", action="store_true", help="a few updates each; records nothing")
        asked = parser.parse_args(arguments)
        torch.set_num_threads(asked.threads)
        self.name, self.parts, self.only, self.tiny, self.again = name, list(parts), asked.only, asked.tiny, asked.again
        self.alone = alone or {}
        self.seeds = range(2) if asked.tiny else seeds
        self.asked = asked.seeds
        self.until = time.monotonic() + asked.seconds
        self.root = Path(tempfile.mkdtemp(prefix=name)) if asked.tiny else RUNS
        self.folder = self.root / (f"{name}@{asked.again}" if asked.again else name)

    def finish(self, jobs):
        return finish(self.folder, jobs, self.until, self.asked, self.root / self.name)

    def record(self, collect):
        """Make the runs, and write the record when all is there.

        collect(finish, parts) -> figures of these parts, or None while runs are missing.
        """
        figures = collect(self.finish, self.only)
        if self.tiny and figures is not None:
            print(f"all kinds of runs work in {self.root}; nothing is recorded")
        elif figures is not None and not self.again and len(self.only) == 1 and self.only[0] in self.alone:
            record(f"{self.name}_{self.only[0]}", figures, seeds=self.alone[self.only[0]])
        elif figures is None or set(self.only) != set(self.parts):
            print(f"kept in {self.folder}; the record waits for the rest")
        elif self.again:
            print(f"{self.again} is complete; the command without --again puts it into the record")
        else:
            figures["again"] = {
                folder.name.split("@")[1]: self._parts_of(folder, collect)
                for folder in sorted(self.root.glob(f"{self.name}@*"))
            }
            figures["cpu_seconds"] = cpu_seconds(self.folder)
            record(self.name, figures, seeds=self.seeds)
        return figures

    def _parts_of(self, folder, collect):
        """{part: its figures} of a second series, as far as it is complete."""
        read = partial(finish, folder, until=0, first=self.root / self.name)
        found = {part: collect(read, [part]) for part in self.parts}
        return {part: figures for part, figures in found.items() if figures is not None}


def finish(folder, jobs, until=float("inf"), seeds=None, first=None):
    """{name: result} of the jobs {name: function}, each read from the folder or computed and kept; None while one is missing.

    until: compute nothing after this time.monotonic().   seeds: compute these alone; a name ends with its seed.
    first: the folder of the jobs "rate ...", if it is another one.
    """
    done = {}
    for name, work in jobs.items():
        path = (first if first and name.startswith("rate ") else folder) / f"{name}.json"
        mine = seeds is None or int(name.rsplit(" ", 1)[1]) in seeds
        if path.is_file() or (mine and time.monotonic() < until):
            done[name] = kept(path, partial(timed, work))["result"]
    return done if len(done) == len(jobs) else None


def cpu_seconds(folder):
    """Of all runs in a folder."""
    return sum(kept(path, None)["cpu_seconds"] for path in folder.glob("*.json"))


def timed(work):
    start, result = time.process_time(), work()
    where = {"device": device(), "torch": torch.__version__}
    return {"result": result, "cpu_seconds": round(time.process_time() - start, 1), **where}


def best_rate(tuned, setting, rates, seeds):
    """The rate with the best mean of the runs "rate SETTING RATE SEED"."""
    means = [np.mean([tuned[f"rate {setting} {rate} {seed}"] for seed in seeds]) for rate in rates]
    return rates[int(np.argmax(means))]
