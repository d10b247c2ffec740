"""Chapter 11: train a classifier on folders of photographs, and use it.

python -m vil_lite DATA --model vil_tiny                          train on DATA/train/CLASS/*.jpg, DATA/val/CLASS/*.jpg
python -m vil_lite predict runs/vil_lite/checkpoint.pt a.jpg dir  what is in these pictures
python -m vil_lite export runs/vil_lite/checkpoint.pt model.onnx  for other programs

On all GPUs of a machine, or of many: accelerate launch -m vil_lite DATA --model vil_tiny
"""

import argparse
import csv
import io
import re
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path

from vil_lite._files import claim, write
from vil_lite._names import did_you_mean


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    commands = {"train": train, "predict": predict, "export": export}
    command, rest = (
        (commands[arguments[0]], arguments[1:]) if arguments[:1] and arguments[0] in commands else (train, arguments)
    )
    try:
        command(rest)
    except (OSError, ValueError, FloatingPointError, ModuleNotFoundError) as error:
        raise SystemExit(f"error: {reason(error)}") from None


def reason(error):
    """What an error says.  From a process that loads data it comes with a traceback, the last line of which is the error."""
    told = str(error).strip()
    return re.sub(r"^[\w.]+: ", "", told.splitlines()[-1]) if told.startswith("Caught ") else told


def train(arguments):
    parser = training_options()
    options = parser.parse_args(arguments)
    folders = {part: options.data / part for part in ("train", "val")}
    for part, folder in folders.items():
        if not folder.is_dir():
            parser.error(f"{folder} is missing: put one folder of images per class into {options.data}/{part}")

    if options.image_size is not None and options.image_size < 1:
        parser.error(f"--image-size must be at least 1, got {options.image_size}; leave it out for the paper's")

    from vil_lite.memory import keep_freed_memory
    from vil_lite.pictures import Photographs, try_pictures
    from vil_lite.recipes import MEAN, STD, augment, preprocess, recipe
    from vil_lite.training import fit, is_main_process

    keep_freed_memory()
    changes = {} if options.lr is None else {"lr": options.lr, "min_lr": options.lr * 1e-3}
    settings = recipe(options.model, options.batch_size, epochs=options.epochs, warmup=None, **changes)
    size = settings.image_size if options.image_size is None else options.image_size
    checkpoint = options.out / "checkpoint.pt"
    with ExitStack() as stack:
        if is_main_process():
            stack.enter_context(claim(options.out))  # before anything that takes long
        if checkpoint.exists() and not options.resume:
            parser.error(f"{checkpoint} holds a run already: go on with --resume, or choose another --out")
        pictures = Photographs(folders["train"], augment(size), options.skip_bad)
        tests = Photographs(folders["val"], preprocess(size), options.skip_bad)
        if pictures.classes != tests.classes:
            different = sorted(set(pictures.classes) ^ set(tests.classes))
            parser.error(f"classes differ: {different} are in only one of train and val")
        if len(pictures.classes) < 2:
            parser.error(
                f"{folders['train']} has one class only, {pictures.classes[0]!r}: there is nothing to tell apart"
            )
        try_pictures(pictures, tests)
        about = {"model": options.model, "classes": pictures.classes, "image_size": size, "mean": MEAN, "std": STD}
        about["options"] = {"num_classes": len(pictures.classes), "image_size": size, **settings.model}
        names = ("accumulate", "precision", "workers", "seed", "resume", "layer_decay", "freeze", "save_every")
        given = {name: getattr(options, name) for name in names}
        try:
            model = start_model(options, about)
            done = fit(model, pictures, tests, folder=options.out, about=about, **settings.fit, **given)
        except KeyboardInterrupt as stopped:
            saved = f"saved in {checkpoint}" if checkpoint.exists() else "nothing is saved yet"
            print(f"\n{stopped or 'stopped'}; {saved}", file=sys.stderr)
            if checkpoint.exists():
                again = [a for a in arguments if a != "--resume"]
                print(f"go on: python -m vil_lite {shlex.join(again)} --resume", file=sys.stderr)
            raise SystemExit(130) from None
    last = done.log[-1]
    result = f"after {last['epoch'] + 1} epochs accuracy {last['test_accuracy']:.4f}, loss {last['test_loss']:.4f}"
    if is_main_process():
        print(f"{options.out}: {result}")


def start_model(options, about):
    """The model as it is before the first step: fresh, or pretrained."""
    import torch

    from vil_lite.trained import build_classifier

    torch.manual_seed(options.seed)
    resumed = options.resume and (options.out / "checkpoint.pt").exists()  # then it brings its weights along
    return build_classifier(about["model"], pretrained=options.pretrained and not resumed, **about["options"])


def training_options():
    from vil_lite.loading import PRECISIONS
    from vil_lite.model import SIZES
    from vil_lite.recipes import RECIPES

    models = [name for name in RECIPES if name in {*SIZES, "deit3_tiny"}]

    def model(name):
        if name in models:
            return name
        raise argparse.ArgumentTypeError(
            f"no model {name!r}{did_you_mean(name, models)}; there are {', '.join(models)}"
        )

    parser = argparse.ArgumentParser(
        prog="python -m vil_lite",
        description="Train a classifier on folders of photographs.",
        epilog="then: python -m vil_lite predict CHECKPOINT IMAGES...; python -m vil_lite export CHECKPOINT FILE.onnx",
    )
    add = parser.add_argument
    add("data", type=Path, help="folder with train/CLASS/*.jpg and val/CLASS/*.jpg")
    add("--model", default="vil_tiny", type=model, help=", ".join(models))
    add("--out", type=Path, default=Path("runs/vil_lite"), help="for log.csv and checkpoint.pt")
    add("--epochs", type=int, default=100)
    add("--batch-size", type=int, default=128, help="over all processes; the learning rate follows")
    add("--lr", type=float, help="instead of the paper's 1e-3 * batch size / 1024")
    add("--image-size", type=int, help="pixels; else the paper's")
    add("--pretrained", action="store_true", help="start from the published weights (downloaded once)")
    add("--layer-decay", type=float, help="fine-tuning: factor of the learning rate from layer to layer, such as 0.65")
    add("--freeze", type=int, default=0, help="fine-tuning: for so many epochs only the head learns")
    add("--skip-bad", action="store_true", help="report images that cannot be read and go on without them")
    add("--accumulate", type=int, default=1, help="work through a batch in parts, for less memory")
    add("--precision", default="auto", choices=PRECISIONS)
    add("--workers", type=int, default=4, help="processes that load images")
    add("--seed", type=int, default=0)
    add("--save-every", type=int, help="save after so many steps, too; else after each epoch")
    add("--resume", action="store_true", help="go on where --out stopped")
    return parser


def predict(arguments):
    parser = argparse.ArgumentParser(prog="python -m vil_lite predict", description="Name what is in pictures.")
    parser.add_argument("checkpoint", type=Path, help="checkpoint.pt of a training run")
    parser.add_argument("images", type=Path, nargs="+", help="files, and folders to search for images")
    parser.add_argument("--top", type=int, default=5, help="classes for each image")
    parser.add_argument("--csv", type=new_file, help="write the table to this file, too")
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args(arguments)
    for name in ("top", "batch_size"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {getattr(options, name)}")

    import torch

    from vil_lite.pictures import BadImage, images_in, read
    from vil_lite.trained import load

    classifier, files = load(options.checkpoint), images_in(options.images)
    classifier.model.to("cuda" if torch.cuda.is_available() else "cpu")
    rows, bad, width = [], 0, max(len(str(file)) for file in files)
    for start in range(0, len(files), options.batch_size):
        good = []
        for file in files[start : start + options.batch_size]:
            try:
                good.append((file, read(file)))
            except (BadImage, FileNotFoundError) as error:  # or it is gone by now
                bad += 1
                print(f"skipped: {error}", file=sys.stderr)
        answers = classifier.predict([image for _, image in good], options.top)
        for (file, _), found in zip(good, answers):
            print(f"{str(file):{width}}  " + ", ".join(f"{name} {share:.1%}" for name, share in found), flush=True)
            rows.append([str(file), *(value for name, share in found for value in (name, f"{share:.6f}"))])
    if options.csv:
        text, columns = io.StringIO(newline=""), range(1, min(options.top, len(classifier.classes)) + 1)
        header = ["file", *(f"{what}_{n}" for n in columns for what in ("class", "probability"))]
        csv.writer(text).writerows([header, *rows])
        write(options.csv, text.getvalue().encode())
    if bad:
        raise SystemExit(f"{bad} of {len(files)} images could not be read")


def new_file(path):
    """The Path of a file to write; a folder is refused before the work."""
    if Path(path).is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder; name a file in it")
    return Path(path)


def export(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m vil_lite export", description="Write a trained classifier as ONNX."
    )
    parser.add_argument("checkpoint", type=Path, help="checkpoint.pt of a training run")
    parser.add_argument("file", type=new_file, help="to write, such as model.onnx")
    options = parser.parse_args(arguments)

    from vil_lite.trained import load

    print(f"wrote {load(options.checkpoint).export(options.file)}")


if __name__ == "__main__":
    main()
