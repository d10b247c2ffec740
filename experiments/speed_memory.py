"""What does vil_lite.keep_freed_memory() bring?  The cell beside attention at 2048 tokens, ViL-T beside ViT-T at 224 and 896.

    python experiments/speed_memory.py        about 6 minutes on two quiet CPU cores

Three processes for each case with glibc as it comes and three after the call, in turn; medians of their ratios, and the
least and the greatest.  float32, forward and training step; within a process the two candidates take turns.
Writes book/results/speed_memory.json.
"""

import json
import statistics
import sys

import torch
import torch.nn.functional as F
from _record import AS_IT_COMES, best_times, forward, in_fresh_process, record
from speed_models import CASES, vit_and_vil

from vil_lite import keep_freed_memory, mlstm_chunkwise

PROCESSES = 3
TOKENS = 2048


def cell():
    """Attention's time as a multiple of the chunkwise form's: 4 heads of width 96, forget gates as after training."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 4, TOKENS, 96, requires_grad=True) for _ in range(3))
    i, f = (x.requires_grad_() for x in (torch.randn(1, 4, TOKENS), torch.randn(1, 4, TOKENS) + 4))
    runs = {
        "cell": (lambda: mlstm_chunkwise(q, k, v, i, f)[0], (q, k, v, i, f)),
        "attention": (lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True), (q, k, v)),
    }
    fast = best_times({name: forward(run) for name, (run, _) in runs.items()}, 15, warmup=2)
    steps = {name: lambda run=run, x=x: torch.autograd.grad(run().sum(), x) for name, (run, x) in runs.items()}
    slow = best_times(steps, 15)
    return {
        kind: {"cell_s": t["cell"], "attention_s": t["attention"], "ratio": t["attention"] / t["cell"]}
        for kind, t in (("forward", fast), ("step", slow))
    }


def model(size):
    row = vit_and_vil(*next(case for case in CASES if case[0] == size))
    return {kind: row[kind] for kind in ("forward", "step")}


WORK = {"cell_2048": cell, "model_224": lambda: model(224), "model_896": lambda: model(896)}


def middle(runs):
    """The median of each time and ratio over the processes, and the range of the ratios."""
    row = {}
    for kind in ("forward", "step"):
        row[kind] = {name: statistics.median(run[kind][name] for run in runs) for name in runs[0][kind]}
        row[kind]["range"] = [pick(run[kind]["ratio"] for run in runs) for pick in (min, max)]
    return row


def main():
    figures = {"tokens": TOKENS, "processes": PROCESSES}
    for case in WORK:
        runs = {"as_it_comes": [], "kept": []}
        for _ in range(PROCESSES):
            for memory, done in runs.items():
                done.append(in_fresh_process(case, memory, **AS_IT_COMES))
        figures[case] = {memory: middle(done) for memory, done in runs.items()}
        print(case, figures[case], flush=True)
    record("speed_memory", figures, seeds=[0], packages=("torch", "timm"))


if __name__ == "__main__":
    torch.set_num_threads(2)
    if len(sys.argv) > 1:
        case, memory = sys.argv[1:]
        if memory == "kept" and "kept" not in (said := keep_freed_memory()):
            raise SystemExit(said)
        print(json.dumps(WORK[case]()))
    else:
        main()
