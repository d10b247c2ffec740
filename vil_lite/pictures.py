"""Chapter 11: folders of photographs: each file read as a viewer would show it, or refused by name.

from vil_lite.pictures import Photographs
train = Photographs("photographs/train", augment(224))      # photographs/train/CLASS/*.jpg
"""

import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS


class BadImage(ValueError):
    """An image file that cannot be read; the message begins with its path."""


def read(path: str | Path) -> Image.Image:
    """An image file as 8-bit RGB: the right way up (EXIF), 16 bits scaled to 8.

    Raises BadImage that names the file when it is damaged, cut off, empty, no image, a link to nothing, or when its numbers
    have no known range (32-bit TIFF); FileNotFoundError when it is not there.
    """
    try:
        with open(path, "rb") as file, Image.open(file) as image:
            image.load()
            image = ImageOps.exif_transpose(image)
            if image.mode == "F" or image.mode == "I" and image.format != "PNG":
                raise ValueError("32-bit pixels, of which nobody knows what is white; save it with 8 or 16 bits")
            if image.mode.startswith("I"):  # Pillow would cut off at 255
                image = Image.fromarray((np.asarray(image).astype(np.uint32) * 255 // 65535).astype(np.uint8))
            return image.convert("RGB")
    except Exception as error:  # decoders raise whatever they meet: OSError, SyntaxError, ValueError, struct.error, ...
        if isinstance(error, FileNotFoundError) and not os.path.islink(path):
            raise
        raise BadImage(f"{path}: cannot be read ({_reason(error, path)})") from None


def _listed(path: str | Path) -> Image.Image:
    """`read` for a file that was there when its folder was searched."""
    try:
        return read(path)
    except FileNotFoundError:
        raise BadImage(f"{path}: cannot be read (it is gone)") from None


def _empty(path: str | Path) -> bool:
    with suppress(OSError):  # a link to nothing, a file that is gone: for `read` to tell
        return os.path.getsize(path) == 0
    return False


def _reason(error: Exception, path: str | Path) -> str:
    if isinstance(error, FileNotFoundError):
        return "it is a link to a file that is not there"
    if _empty(path):
        return "the file is empty"
    unknown = isinstance(
        error, (Image.UnidentifiedImageError, ModuleNotFoundError)
    )  # ultralytics asks for pi_heif then
    return "it is no image that Pillow knows" if unknown else str(error).strip()


def is_image(path: str | Path) -> bool:
    """True for the name of an image file; not for what systems hide beside it (._x.jpg)."""
    name = Path(path).name
    return not name.startswith(".") and name.lower().endswith(IMG_EXTENSIONS)


class Photographs(ImageFolder):
    """root/CLASS/**/*.jpg as a Dataset of (transformed image, label); `classes` are the folders' names in order.

    skip_bad: report a file that cannot be read, once, and give the next one in its place, so that the number of examples
    stays.   Raises FileNotFoundError where there are no classes or a class has no images.
    """

    samples: list[tuple[str, int]]

    def __init__(self, root: str | Path, transform: Callable[..., Any], skip_bad: bool = False) -> None:
        super().__init__(root, transform, loader=_listed, is_valid_file=is_image)
        self.skip_bad = skip_bad
        self._told: set[str] = set()

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        names = sorted(e.name for e in os.scandir(directory) if e.is_dir() and not e.name.startswith("."))
        if not names:
            raise FileNotFoundError(f"{directory} has no folders: put the images of each class into one of its own")
        return names, {name: label for label, name in enumerate(names)}

    def __getitem__(self, index: int) -> tuple[Any, int]:
        for further in range(len(self)):
            try:
                return super().__getitem__((index + further) % len(self))
            except BadImage as error:
                if not self.skip_bad:
                    raise BadImage(
                        f"{error}; mend it, or go on without it: skip_bad=True, --skip-bad --resume"
                    ) from None
                self.tell(error)
        raise BadImage(f"{self.root}: not one image can be read")

    def tell(self, error: BadImage) -> None:
        if str(error) not in self._told:
            self._told.add(str(error))
            print(f"skipped: {error}", file=sys.stderr, flush=True)

    def bad(self, most: int | None = None, threads: int = 8) -> list[tuple[int, BadImage]]:
        """[(index, BadImage)] of the files that cannot be read; `most`: try so many, evenly chosen, and all empty ones."""
        every = range(len(self))
        chosen = set(every if most is None else every[:: max(1, -(-len(self) // most))])
        chosen |= {index for index in every if _empty(self.samples[index][0])}

        def failure(index: int) -> tuple[int, BadImage] | None:
            try:
                _listed(self.samples[index][0])
            except BadImage as error:
                return index, error
            return None

        with ThreadPoolExecutor(threads) as pool:
            return [found for found in pool.map(failure, sorted(chosen)) if found]

    def leave_out(self, indices: Iterable[int]) -> None:
        """Forget these files: for test data, which must not count anything twice."""
        gone = set(indices)
        self.samples = [sample for index, sample in enumerate(self.samples) if index not in gone]
        self.imgs, self.targets = self.samples, [label for _, label in self.samples]


def try_pictures(train: Photographs, val: Photographs, most: int = 2000) -> None:
    """Read all pictures of val and up to `most` of train before the first step, so that no bad one costs an epoch.

    With skip_bad, bad ones of val are left out; else BadImage lists them.
    """
    found = [(data, data.bad(limit)) for data, limit in ((train, most), (val, None))]
    refused = [str(error) for data, bad in found if not data.skip_bad for _, error in bad]
    if refused:
        shown = refused[:8] + [f"... and {len(refused) - 8} more"] * (len(refused) > 8)
        files = "\n  ".join(shown)
        raise BadImage(f"images cannot be read; mend or remove them, or pass --skip-bad:\n  {files}")
    for data, bad in found:
        for _, error in bad:
            data.tell(error)
    val.leave_out(index for index, _ in found[1][1])


def images_in(places: Iterable[str | Path]) -> list[Path]:
    """The files among `places`, and the images in the folders among them, in order; FileNotFoundError if there are none."""
    files = []
    for place in map(Path, places):
        if not os.path.lexists(place):
            raise FileNotFoundError(f"{place} does not exist")
        files += sorted(f for f in place.rglob("*") if is_image(f) and not f.is_dir()) if place.is_dir() else [place]
    if not files:
        raise FileNotFoundError(f"no images ({', '.join(IMG_EXTENSIONS)}) in {', '.join(map(str, places))}")
    return files
