"""Train on folders of images:  python -m vil_lite DATA --model vil_tiny     (DATA/train/CLASS/*.jpg, DATA/val/CLASS/*.jpg)

On all GPUs of a machine, or of many: accelerate launch -m vil_lite DATA --model vil_tiny
"""

import argparse
from pathlib import Path


def main(arguments=None):
    from vil_lite.model import SIZES, create_model
    from vil_lite.recipes import RECIPES, augment, deit3_tiny, preprocess, recipe

    parser = argparse.ArgumentParser(prog="python -m vil_lite", description="Train a classifier on folders of images.")
    parser.add_argument("data", type=Path, help="folder with train/CLASS/*.jpg and val/CLASS/*.jpg")
    parser.add_argument("--model", default="vil_tiny", choices=[name for name in RECIPES if name in {*SIZES, "deit3_tiny"}])
    parser.add_argument("--out", type=Path, default=Path("runs/vil_lite"), help="for log.csv and checkpoint.pt")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=128, help="over all processes; the learning rate follows")
    parser.add_argument("--lr", type=float, help="instead of the paper's 1e-3 * batch size / 1024")
    parser.add_argument("--image-size", type=int, help="pixels; else the paper's")
    parser.add_argument("--accumulate", type=int, default=1, help="work through a batch in parts, for less memory")
    parser.add_argument("--precision", default="auto", choices=("auto", "bf16", "no"))
    parser.add_argument("--workers", type=int, default=4, help="processes that load images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on where --out stopped")
    options = parser.parse_args(arguments)

    folders = {part: options.data / part for part in ("train", "val")}
    for part, folder in folders.items():
        if not folder.is_dir():
            parser.error(f"{folder} is missing: put one folder of images per class into {options.data}/{part}")

    import torch
    from torchvision.datasets import ImageFolder

    from vil_lite.training import fit

    changes = {"lr": options.lr, "min_lr": options.lr * 1e-3} if options.lr else {}
    settings = recipe(options.model, options.batch_size, epochs=options.epochs, warmup=None, **changes)
    size = options.image_size or settings.image_size
    train, val = ImageFolder(folders["train"], augment(size)), ImageFolder(folders["val"], preprocess(size))
    if train.classes != val.classes:
        parser.error(f"classes differ: {sorted(set(train.classes) ^ set(val.classes))} are in only one of train and val")
    torch.manual_seed(options.seed)
    parts = {"num_classes": len(train.classes), "image_size": size}
    model = deit3_tiny(**parts) if options.model == "deit3_tiny" else create_model(options.model, **parts, **settings.model)
    names = ("accumulate", "precision", "workers", "seed", "resume")
    done = fit(model, train, val, folder=options.out, **settings.fit, **{name: getattr(options, name) for name in names})
    last = done.log[-1]
    result = f"after {last['epoch'] + 1} epochs accuracy {last['test_accuracy']:.4f}, loss {last['test_loss']:.4f}"

    from accelerate import PartialState

    PartialState().print(f"{options.out}: {result}")  # one process says it


if __name__ == "__main__":
    main()
