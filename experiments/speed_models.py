"""How fast is ViL-T beside ViT-T?  Forward and training step at 224, 896 and 1344 pixels, compiled, and in bfloat16.

    python experiments/speed_models.py                  about 8 minutes on two quiet CPU cores
    python experiments/speed_models.py bfloat16_224     one of PARTS alone; the rest of the record stays

vil2_tiny against timm's vit_tiny_patch16_224 (which uses PyTorch's fused attention), float32 unless said, in one run.
Gate weights are moved off their zeros, so that no part of the cell is trivial.  Freed memory is kept (without: speed_memory.py).
Also: peak memory of a ViL layer and of ViL-T with and without checkpointing.
What is compiled, in bfloat16, or about memory is measured in a process of its own.
Writes book/results/speed_models.json.
"""

import json
import sys

import timm
import torch
from _record import GIVE_BACK, RESULTS, best_times, forward, in_fresh_process, peak_memory_mb, record, serve, step

from vil_lite import ViLBlock, create_model

CASES = [(224, 8, 20), (448, 2, 9), (896, 1, 4), (1344, 1, 2)]  # pixels, batch, repeats


def vil(**options):
    torch.manual_seed(0)
    model = create_model("vil2_tiny", **options)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "gate.weight" in name or name.endswith("head.weight"):
                p.normal_(std=0.02)
    return model


def vit_and_vil(size, batch, repeats):
    torch.manual_seed(0)
    x = torch.randn(batch, 3, size, size)
    models = {"vit": timm.create_model("vit_tiny_patch16_224", img_size=size), "vil": vil()}
    fast = best_times({name: forward(m.eval(), x) for name, m in models.items()}, repeats)
    slow = best_times({name: step(m.train(), x) for name, m in models.items()}, max(2, repeats // 2))
    row = {"batch": batch}
    for kind, t in (("forward", fast), ("step", slow)):
        row[kind] = {"vit_s": t["vit"], "vil_s": t["vil"], "ratio": t["vil"] / t["vit"]}
    print(size, row, flush=True)
    return row


def compiled():
    x = torch.randn(8, 3, 224, 224)
    models = {
        "vit": torch.compile(timm.create_model("vit_tiny_patch16_224").eval(), fullgraph=True),
        "vil": torch.compile(vil().eval(), fullgraph=True),
    }
    t = best_times({name: forward(m, x) for name, m in models.items()}, 20, warmup=2)
    return {"vit_s": t["vit"], "vil_s": t["vil"], "ratio": t["vil"] / t["vit"]}


def bfloat16():
    x, model = torch.randn(8, 3, 224, 224), vil().eval()

    def half():
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            return model(x)

    t = best_times({"float32": forward(model, x), "bfloat16": half}, 20)
    with torch.no_grad():
        wanted = model(x)
    difference = ((half().float() - wanted).abs().max() / wanted.abs().max()).item()
    return {**t, "gain": t["float32"] / t["bfloat16"], "largest_difference_of_logits": difference}


def layer_step():
    block, x = ViLBlock(128, version=2), torch.randn(1, 6400, 128, requires_grad=True)
    block(x[:, :64], (8, 8)).sum().backward()
    return lambda: block(x, (80, 80)).sum().backward()


def model_step(checkpointing):
    model, x = vil(checkpointing=checkpointing), torch.randn(1, 3, 896, 896)
    step(model, x[:, :, :64, :64])()
    return step(model, x)


MEMORY = {
    "layer_dim128_80x80": layer_step,
    "vil_tiny_896": lambda: model_step(False),
    "vil_tiny_896_checkpointing": lambda: model_step(True),
}


def memory(name):
    """MB by which this process grows at the peak of a training step."""
    return peak_memory_mb(MEMORY[name]())


def middle_of_five():
    """From process to process the gain of bfloat16 moves by a fifth: the one in the middle of five, and all gains."""
    runs = sorted((in_fresh_process("bfloat16") for _ in range(5)), key=lambda run: run["gain"])
    return {**runs[2], "gains": [run["gain"] for run in runs]}


PARTS = {
    "float32": lambda: {size: vit_and_vil(size, batch, repeats) for size, batch, repeats in CASES},
    "compiled_224": lambda: in_fresh_process("compiled"),
    "bfloat16_224": middle_of_five,
    "peak_step_mb": lambda: {name: in_fresh_process("memory", name, **GIVE_BACK) for name in MEMORY},
}


def main(parts):
    figures = json.loads((RESULTS / "speed_models.json").read_text())["figures"] if parts else {}
    for name in parts or PARTS:
        figures[name] = PARTS[name]()
        print(name, figures[name], flush=True)
    sys.argv[1:] = []  # the command that makes the whole record
    record("speed_models", figures, seeds=[0], packages=("torch", "timm"))


if __name__ == "__main__" and not serve(compiled=compiled, bfloat16=bfloat16, memory=memory):
    main(sys.argv[1:])
