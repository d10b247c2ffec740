"""What cutting heads and blocks saves: the shipped model of chapter 20 and smaller ones made of it, taking turns.

    python experiments/ch20_latency.py        under a minute on two quiet CPU cores

One image and 64, two threads, the best of several repeats in turn, with nothing else running.  Heads go in the order of seed 0
in book/results/ch20_open.json, blocks from the last but one down.  Writes book/results/ch20_latency.json.
"""

import json

import torch
from _record import RESULTS, best_times, forward, keep_heap, record
from ch20_open import without

from vil_lite import VisionLSTM
from vil_lite.complexity import parameters
from vil_lite.inspection import cut_blocks

REPEATS = {1: 150, 64: 25}  # images: repeats
HEADS, BLOCKS = (4, 8, 12), (1, 2, 3)


def models():
    shipped = torch.load(RESULTS / "ch20_model.pth", weights_only=True)
    order = json.loads((RESULTS / "ch20_open.json").read_text())["figures"]["cut"][0]["order"]
    whole = VisionLSTM(**shipped["options"]).eval()
    whole.load_state_dict(shipped["model"])
    found = {"whole": whole}
    found |= {f"{n} heads": without(whole, [tuple(one) for one in order[:n]]) for n in HEADS}
    return found | {f"{n} blocks": cut_blocks(whole, range(5 - n, 5)) for n in BLOCKS}


def main():
    found, batch = models(), {}
    for size, repeats in REPEATS.items():
        images = torch.rand(size, 1, 28, 28)
        batch[size] = best_times({name: forward(model, images) for name, model in found.items()}, repeats, warmup=3)
    record("ch20_latency", {"batch": batch, "parameters": {name: parameters(model) for name, model in found.items()}})


if __name__ == "__main__":
    keep_heap()
    torch.set_num_threads(2)
    main()
