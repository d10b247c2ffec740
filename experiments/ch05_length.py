"""Time and memory of the mLSTM's three forms and of PyTorch's attention, 128 to 16384 tokens; and the best chunk length.

    python experiments/ch05_length.py        under 4 minutes on one quiet CPU core

One sequence, 4 heads of width 96, float32, forward pass.  Three seeds draw three inputs; of each the best of several runs
counts, the candidates in turn.  Time is the processor time of one thread: on a quiet machine the same as the time on the
wall, and less disturbed when another program takes its turn.  Memory is the peak of what PyTorch's allocator holds for
tensors, read from torch.profiler's record of every allocation: exact, and blind to what the system keeps in reserve.
Writes book/results/ch05_length.json.
"""

import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from _record import best_times, record, slope

from vil_lite.mlstm import mlstm_chunkwise, mlstm_parallel, mlstm_recurrent

SEEDS = [0, 1, 2]
HEADS, WIDTH = 4, 96
LENGTHS = [128, 256, 512, 1024, 2048, 4096, 8192, 16384]
CLOCK = time.process_time
CHUNKS = [16, 32, 64, 128, 256, 512]
SLOPE_FROM = 1024  # shorter sequences are ruled by the cost of starting operations; the loop's slope is taken over all
FORMS = {
    "recurrent": lambda q, k, v, i, f: mlstm_recurrent(q, k, v, i, f)[0],
    "parallel": lambda q, k, v, i, f: mlstm_parallel(q, k, v, i, f)[0],
    "chunkwise": lambda q, k, v, i, f: mlstm_chunkwise(q, k, v, i, f)[0],
    "attention": lambda q, k, v, i, f: F.scaled_dot_product_attention(q, k, v, is_causal=True),
}
LONGEST = {"recurrent": 2048, "parallel": 4096}


def inputs(S, seed, d=WIDTH):
    """q, k, v (1, heads, S, d) and gates (1, heads, S) with memories of 10 to 100 tokens, as in a trained model."""
    g = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, 1, HEADS, S, d, generator=g)
    i, f = torch.randn(2, 1, HEADS, S, generator=g)
    return q, k, v, i, f + 4


def peak_mb(function):
    """Peak of the tensors that live during function(), in MB (1e6 bytes), over those that lived before."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        function()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(path))
        events = [e for e in json.loads(path.read_text())["traceEvents"] if e.get("name") == "[memory]"]
    events.sort(key=lambda e: e["ts"])
    return float(np.cumsum([e["args"]["Bytes"] for e in events]).max()) / 1e6


@torch.no_grad()
def against_length():
    """{form: {"tokens", "ms" [one a seed], "mb", "slope_time", "slope_memory"}}"""
    found = {form: {"tokens": [], "ms": [], "mb": []} for form in FORMS}
    for S in LENGTHS:
        forms = [form for form in FORMS if S <= LONGEST.get(form, S)]
        repeats = 12 if S <= 512 else 4 if S <= 2048 else 2
        runs = []
        for seed in SEEDS:
            x = inputs(S, seed)
            runs.append(
                best_times({form: lambda form=form, x=x: FORMS[form](*x) for form in forms}, repeats, clock=CLOCK)
            )
        for form in forms:
            found[form]["tokens"].append(S)
            found[form]["ms"].append([1e3 * run[form] for run in runs])
            found[form]["mb"].append(peak_mb(lambda form=form, x=x: FORMS[form](*x)))
        print(
            S,
            {form: f"{np.mean(found[form]['ms'][-1]):.1f} ms, {found[form]['mb'][-1]:.1f} MB" for form in forms},
            flush=True,
        )
    for form, figures in found.items():
        long = [n for n, S in enumerate(figures["tokens"]) if S >= SLOPE_FROM or form == "recurrent"]
        tokens = [figures["tokens"][n] for n in long]
        figures["slope_time"] = slope(tokens, [np.mean(figures["ms"][n]) for n in long])
        figures["slope_memory"] = slope(tokens, [figures["mb"][n] for n in long])
    return found


@torch.no_grad()
def against_chunk_length(S=4096, d=WIDTH):
    """Milliseconds of the chunkwise form for each chunk length, one a seed."""
    runs = []
    for seed in SEEDS:
        x = inputs(S, seed, d)
        runs.append(best_times({L: lambda L=L, x=x: mlstm_chunkwise(*x, chunk_size=L) for L in CHUNKS}, 5, clock=CLOCK))
    return {"tokens": S, "width": d, "chunk": CHUNKS, "ms": [[1e3 * run[L] for run in runs] for L in CHUNKS]}


@torch.no_grad()
def prices(S=4096, d=WIDTH):
    """Nanoseconds of: a multiply-add of a batched product, a number in a pass over blocks, a number in a pass over memories.

    Blocks (64 x 64) stay in the processor's caches; the memories of all chunks of 16 tokens do not.
    """
    q, k = torch.randn(2, HEADS, S // 64, 64, d)
    D, C = torch.randn(HEADS, S // 64, 64, 64), torch.randn(HEADS, S // 16, d, d)
    work = {"product": lambda: q @ k.mT, "multiply": lambda: D * D, "exp": lambda: D.exp(), "memories": lambda: C * C}
    best = best_times(work, 30, clock=CLOCK)
    return {
        "multiply_add_ns": 1e9 * best["product"] / (q.numel() * 64),
        "block_ns": 1e9 * (best["multiply"] + best["exp"]) / 2 / D.numel(),
        "memory_ns": 1e9 * best["memories"] / C.numel(),
    }


def main():
    figures = {"heads": HEADS, "width": WIDTH, "slope_from": SLOPE_FROM, "prices": prices()}
    print(figures["prices"], flush=True)
    figures["chunk"] = [against_chunk_length(d=d) for d in (32, WIDTH, 192)]
    for row in figures["chunk"]:
        print(row["width"], {L: round(float(np.mean(ms)), 1) for L, ms in zip(row["chunk"], row["ms"])}, flush=True)
    figures["forms"] = against_length()
    print({form: (f["slope_time"], f["slope_memory"]) for form, f in figures["forms"].items()})
    record("ch05_length", figures, seeds=SEEDS, packages=("torch",))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
