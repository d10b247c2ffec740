"""A class for every pixel of airfields: ViL and a ViT with the light decoder, and a U-Net, of equal size, at two resolutions.

    python experiments/ch18_segmentation.py        some fifty minutes of one core; see _runs.py for --only, --seeds

Scenes of `airfield`, 64 x 64 pixels of 3.2 m, with the map of what covers each pixel; vehicles and trees, a pixel or two
wide at this scale, are neither learned nor judged.  The models see each scene at 64 pixels, or at 32 (means of 2 x 2), and are
judged on the mask of 64 either way: resolution changes what goes in, never the question.  500 updates of 8 scenes, AdamW, one
cycle, scenes mirrored and turned by quarters.

parts   rate      three learning rates for each model and resolution, judged on scenes of their own, with two seeds of their own
        size      each model at each resolution with its best rate of these, eight seeds
        change    ViL at 32 pixels: its last block alone, and patches of 8
Kept of each run: confusion matrices of the test scenes, of all pixels and of those near a border; of seed 0 three masks.
Writes book/results/ch18_segmentation.json.
"""

from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from _record import packed
from _runs import Runs, best_rate
from _small import minimise, shuffled

from vil_lite import VisionLSTM, keep_freed_memory
from vil_lite._files import whole
from vil_lite.complexity import parameters
from vil_lite.data import airfield
from vil_lite.segmentation import IGNORE, Segmenter, UNet, confusion, iou

CLASSES = ("ground", "runway", "pavement", "building", "aircraft")
SIDE, METRES, SIZES = 64, 3.2, (32, 64)
TRAIN, HELD, TEST, BATCH, UPDATES = 320, 80, 160, 8, 500
RATES, TUNED = (1e-3, 3e-3, 1e-2), (100, 101)
NEAR = 2  # pixels from a border
DRAWN = Path(__file__).resolve().parents[1] / "_build" / "ch18_segmentation"


def vil(patch=4, blocks=(0, 1, 2, 3)):
    """Four blocks of width 56; positions for 32 pixels, resized at other sizes."""
    backbone = VisionLSTM(56, 4, version=2, patch_size=patch, image_size=32, num_classes=0)
    return Segmenter(backbone, len(CLASSES), blocks, width=40)


def vit():
    """A plain transformer of as many parameters and blocks, positions likewise."""
    from timm.models import VisionTransformer

    size = {"img_size": 32, "patch_size": 4, "embed_dim": 46, "depth": 4, "num_heads": 2, "dynamic_img_size": True}
    backbone = VisionTransformer(num_classes=0, class_token=False, global_pool="avg", fc_norm=False, **size)
    return Segmenter(backbone, len(CLASSES), (0, 1, 2, 3), width=40)


MODELS = {"ViL": vil, "ViT": vit, "U-Net": partial(UNet, len(CLASSES), width=8)}
CHANGES = {
    "last block": partial(vil, blocks=(3,)),
    "patches of 8": partial(vil, patch=8),
}


@cache
def scenes(split, first, count):
    """images (count, 3, 64, 64) float32 in [0, 1] and masks (count, 64, 64) uint8: positions in CLASSES, or IGNORE.

    Drawn once, and kept in _build/ch18_segmentation.
    """
    path = DRAWN / f"{split}-{first}-{count}.npz"
    if not path.is_file():
        drawn = [airfield.scene(0, first + n, SIDE, split=split, metres_per_pixel=METRES) for n in range(count)]
        with whole(path, "wb") as file:
            np.savez(file, images=np.stack([s.image for s in drawn]), surfaces=np.stack([s.surfaces for s in drawn]))
    kept = np.load(path)
    number = [CLASSES.index(name) if name in CLASSES else IGNORE for name in airfield.SURFACES]
    images = torch.from_numpy(kept["images"]).permute(0, 3, 1, 2).float() / 255
    return images, torch.from_numpy(np.array(number, dtype=np.uint8)[kept["surfaces"]])


def borders(masks):
    """True for pixels with another class (or an ignored pixel) no farther than NEAR away, by columns and by rows."""
    x, window = masks.float()[:, None], 2 * NEAR + 1
    same = -F.max_pool2d(-x, window, 1, NEAR) == F.max_pool2d(x, window, 1, NEAR)
    return ~same[:, 0]


def seen_at(images, size):
    return images if size == images.shape[-1] else F.interpolate(images, (size, size), mode="area")


def turned(number, *tensors):
    """Each tensor turned by number % 4 quarters, and mirrored from 4 on."""
    return [torch.rot90(x.flip(-1) if number >= 4 else x, number % 4, (-2, -1)) for x in tensors]


def trained(model, images, masks, size, updates, rate, seed):
    images, masks = seen_at(images, size), masks.long()
    batches, generator = shuffled(len(images), seed, BATCH), torch.Generator().manual_seed(seed)

    def loss():
        batch = next(batches)
        x, y = turned(int(torch.randint(8, (), generator=generator)), images[batch], masks[batch])
        return F.cross_entropy(at_full_size(model(x)), y, ignore_index=IGNORE)

    minimise(model, loss, updates, rate)
    return model


def at_full_size(logits):
    return F.interpolate(logits, (SIDE, SIDE), mode="bilinear", align_corners=False)


@torch.no_grad()
def guessed(model, images, size):
    """(N, 64, 64) uint8"""
    parts = seen_at(images, size).split(20)
    return torch.cat([at_full_size(model.eval()(part)).argmax(1).to(torch.uint8) for part in parts])


def learn(make, size, seed, updates, rate, judged=("val", 0, TEST)):
    """Train on the scenes for training, and judge: confusion matrices, and three masks of seed 0."""
    torch.manual_seed(seed)
    model = trained(make(), *scenes("train", 0, TRAIN), size, updates, rate, seed)
    images, masks = scenes(*judged)
    guess, near = guessed(model, images, size), borders(masks)
    found = {"confusion": confusion(guess, masks, len(CLASSES)).tolist()}
    found["near"] = confusion(guess[near], masks[near], len(CLASSES)).tolist()
    if seed == 0:
        found["masks"] = [packed(mask) for mask in guess[:3]]
    return found


def mean_iou(found):
    return iou(torch.tensor(found["confusion"])).nanmean().item()


def collect(runs, finish, parts):
    """{"rates": ..., "best": ..., "size": {model: {size: [of each seed]}}, "change": {change: [of each seed]}}"""
    updates, sizes = (2, (32,)) if runs.tiny else (UPDATES, SIZES)
    held = ("train", TRAIN, HELD)
    jobs = {
        f"rate {name} {size} {rate} {seed}": partial(learn, make, size, seed, updates, rate, held)
        for name, make in MODELS.items()
        for size in sizes
        for rate in RATES
        for seed in TUNED
    }
    tried = finish(jobs)
    if tried is None:
        return None
    reached = {job: mean_iou(found) for job, found in tried.items()}
    best = {name: {size: best_rate(reached, f"{name} {size}", RATES, TUNED) for size in sizes} for name in MODELS}
    found = {
        "classes": CLASSES,
        "plan": {"side": SIDE, "metres": METRES, "train": TRAIN, "held": HELD, "test": TEST, "batch": BATCH},
        "updates": updates,
        "near": NEAR,
        "parameters": {name: parameters(make()) for name, make in (MODELS | CHANGES).items()},
        "rates": {
            n: {z: {r: [reached[f"rate {n} {z} {r} {s}"] for s in TUNED] for r in RATES} for z in sizes} for n in MODELS
        },
        "best": best,
    }
    jobs = {}
    if "size" in parts:
        for size in sizes:
            for seed in runs.seeds:
                for name, make in MODELS.items():
                    jobs[f"size {name} {size} {seed}"] = partial(learn, make, size, seed, updates, best[name][size])
    if "change" in parts:
        for seed in runs.seeds:
            for change, make in CHANGES.items():
                jobs[f"change {change} {seed}"] = partial(learn, make, 32, seed, updates, best["ViL"][32])
    done = finish(jobs)
    if done is None:
        return None

    def of(name):
        return [done[f"{name} {seed}"] for seed in runs.seeds]

    if "size" in parts:
        found["size"] = {n: {size: of(f"size {n} {size}") for size in sorted(sizes)} for n in MODELS}
    if "change" in parts:
        found["change"] = {change: of(f"change {change}") for change in CHANGES}
    return found


if __name__ == "__main__":
    keep_freed_memory()
    runs = Runs("ch18_segmentation", __doc__, ("rate", "size", "change"), range(8))
    runs.record(partial(collect, runs))
