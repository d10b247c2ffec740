"""How fast is ViL-T beside ViT-T?  Forward and training step at 224, 896 and 1344 pixels, compiled, and in bfloat16.

    python experiments/speed_models.py        about 10 minutes on two quiet CPU cores

vil2_tiny against timm's vit_tiny_patch16_224 (which uses PyTorch's fused attention), float32 unless said, in one run.
Gate weights are moved off their zeros, so that no part of the cell is trivial.  Also: peak memory of a ViL layer and of
ViL-T with and without checkpointing, and 224 pixels with glibc's memory management as it comes (else: freed memory is kept).
Writes book/results/speed_models.json.
"""

import json
import sys

import timm
import torch
from _record import AS_IT_COMES, GIVE_BACK, best_times, in_fresh_process, keep_heap, peak_memory_mb, record

from vil_lite import ViLBlock, create_model

CASES = [(224, 8, 9), (448, 2, 7), (896, 1, 4), (1344, 1, 2)]  # pixels, batch, repeats


def vil(**options):
    torch.manual_seed(0)
    model = create_model("vil2_tiny", **options)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "gate.weight" in name or name.endswith("head.weight"):
                p.normal_(std=0.02)
    return model


def forward(model, x):
    def run():
        with torch.no_grad():
            model(x)

    return run


def step(model, x):
    def run():
        model.zero_grad()
        model(x).square().mean().backward()

    return run


def compare(size, batch, repeats):
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
    t = best_times({name: forward(m, x) for name, m in models.items()}, 9, warmup=2)
    return {"vit_s": t["vit"], "vil_s": t["vil"], "ratio": t["vil"] / t["vit"]}


def bfloat16():
    x, model = torch.randn(8, 3, 224, 224), vil().eval()

    def half():
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            return model(x)

    t = best_times({"float32": forward(model, x), "bfloat16": half}, 7)
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


def main():
    figures = {"float32": {size: compare(size, batch, repeats) for size, batch, repeats in CASES}}
    figures["float32_heap_as_it_comes"] = {224: in_fresh_process("case", 224, **AS_IT_COMES)}
    print("heap as it comes", figures["float32_heap_as_it_comes"], flush=True)
    figures["compiled_224"] = compiled()
    print("compiled", figures["compiled_224"], flush=True)
    figures["bfloat16_224"] = bfloat16()
    print("bfloat16", figures["bfloat16_224"], flush=True)
    figures["peak_step_mb"] = {}
    for name in MEMORY:
        figures["peak_step_mb"][name] = in_fresh_process("memory", name, **GIVE_BACK)
    print("peak MB", figures["peak_step_mb"], flush=True)
    record("speed_models", figures, seeds=[0], packages=("torch", "timm"))


if __name__ == "__main__":
    if len(sys.argv) == 1:
        keep_heap()
    torch.set_num_threads(2)
    if sys.argv[1:2] == ["memory"]:
        print(peak_memory_mb(MEMORY[sys.argv[2]]()))
    elif sys.argv[1:2] == ["case"]:
        print(json.dumps(compare(*next(case for case in CASES if case[0] == int(sys.argv[2])))))
    else:
        main()
