"""How fast is the mLSTM cell?  Chunkwise form against PyTorch's attention, mlstm_kernels and our other forms.

    pip install -e ".[bench]" && python experiments/speed_cell.py        about 5 minutes on two quiet CPU cores

4 heads of width 96, float32, forward and forward + backward, 196 to 16384 tokens, freed memory kept; peak memory in a
process of its own.
Writes book/results/speed_cell.json.
"""

import torch
import torch.nn.functional as F
from _record import GIVE_BACK, best_times, forward, in_fresh_process, peak_memory_mb, record, serve, slope
from mlstm_kernels.torch.chunkwise.native import mlstm_chunkwise__native_autograd as kernels

from vil_lite.mlstm import mlstm_chunkwise, mlstm_parallel

LENGTHS = [196, 256, 512, 784, 1024, 2048, 4096, 8192, 16384]
SLOPE_FROM = 1024
FORMS = {
    "chunkwise": lambda q, k, v, i, f: mlstm_chunkwise(q, k, v, i, f)[0],
    "parallel": lambda q, k, v, i, f: mlstm_parallel(q, k, v, i, f)[0],
    "attention": lambda q, k, v, i, f: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    "mlstm_kernels": lambda q, k, v, i, f: kernels(q, k, v, i, f, chunk_size=64),
}
LONGEST = {"parallel": 1024, "attention": 8192}
SHORTEST = {"mlstm_kernels": 256}  # its length must be a multiple of the chunk


def inputs(S):
    torch.manual_seed(0)
    B = 2 if S < 1024 else 1
    q, k, v = (torch.randn(B, 4, S, 96, requires_grad=True) for _ in range(3))
    i = torch.randn(B, 4, S, requires_grad=True)
    f = (torch.randn(B, 4, S) + 4).requires_grad_()  # forget gates as in a trained model: memories of 10 to 100 tokens
    return q, k, v, i, f


def step(form, x):
    used = x[:3] if form == "attention" else x
    return lambda: torch.autograd.grad(FORMS[form](*x).sum(), used)


def takes(form, S):
    multiple = form != "mlstm_kernels" or S % 64 == 0
    return SHORTEST.get(form, 0) <= S <= LONGEST.get(form, 10**9) and multiple


def main():
    times = {}
    for S in LENGTHS:
        x, forms = inputs(S), [form for form in FORMS if takes(form, S)]
        repeats = 60 if S <= 1024 else 15 if S <= 4096 else 5
        fast, slow = {}, {}
        # The parallel form by itself: its large matrices would leave the others a heap to clean up.
        for together in ([form for form in forms if form != "parallel"], ["parallel"] * ("parallel" in forms)):
            turns = repeats if "parallel" not in together else min(repeats, 15)
            fast |= best_times({form: forward(FORMS[form], *x) for form in together}, turns, warmup=2)
            slow |= best_times({form: step(form, x) for form in together}, turns, warmup=1)
        times[S] = {form: {"forward_ms": 1e3 * fast[form], "step_ms": 1e3 * slow[form]} for form in forms}
        print(S, {form: f"{t['forward_ms']:.1f} / {t['step_ms']:.1f}" for form, t in times[S].items()}, flush=True)
    long = [S for S in LENGTHS if S >= SLOPE_FROM]
    peaks = {}
    for S in long:
        peaks[S] = in_fresh_process("memory", S, **GIVE_BACK)
        print(S, "peak MB of a training step", peaks[S], flush=True)
    ours = {kind: [times[S]["chunkwise"][kind] for S in long] for kind in ("forward_ms", "step_ms")}
    slopes = {kind: slope(long, values) for kind, values in ours.items()}
    slopes["memory"] = slope(long, [peaks[S] for S in long])
    print("log-log slopes from", SLOPE_FROM, slopes)
    figures = {"heads": 4, "head_dim": 96, "times": times, "peak_step_mb": peaks, "slopes_chunkwise": slopes}
    record("speed_cell", figures, seeds=[0], packages=("torch", "mlstm_kernels"))


def memory(S):
    """MB by which this process grows at the peak of a training step."""
    small, large = inputs(64), inputs(S)
    step("chunkwise", small)()
    return peak_memory_mb(step("chunkwise", large))


if __name__ == "__main__" and not serve(memory=memory):
    main()
