"""Fashion-MNIST: 70,000 photographs of clothes, 28 x 28 pixels, ten classes, in the split that everybody uses.

The files come from Debian's package where it is installed (`apt install dataset-fashion-mnist`), else through torchvision from
the network, once.  Source: Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747 (MIT licence).
"""

import gzip
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from vil_lite.data.digits import Examples

CLASSES = (
    "T-shirt",
    "trousers",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
REMEDY = (
    "install Debian's package (apt install dataset-fashion-mnist), or call load() once with a network, or name a folder that "
    "holds the four files train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz and "
    "t10k-labels-idx1-ubyte.gz"
)


class FashionSplit(NamedTuple):
    """60,000 training and 10,000 test photographs: images (N, 1, 28, 28) float32 in [0, 1], labels (N,) int64 in 0..9."""

    train: Examples
    test: Examples


def load(folder: str | Path | None = None) -> FashionSplit:
    """Return Fashion-MNIST, split as published.

    folder: where the four files lie, packed or unpacked; None looks for Debian's, then for those that torchvision downloaded,
    then downloads them (31 MB) into the folder of torch.hub.
    Raises OSError that names the ways to get the files when there are none, ValueError for a file that is not what it should be.
    """
    folder = Path(folder) if folder is not None else DEBIAN if DEBIAN.is_dir() else _downloaded()
    split = FashionSplit(*(Examples(_images(folder, part), _labels(folder, part)) for part in ("train", "t10k")))
    if wrong := [
        f"{len(part.images)} images, {len(part.labels)} labels" for part in split if len(set(map(len, part))) > 1
    ]:
        raise ValueError(f"{folder}: {wrong[0]}, one for each is wanted; {REMEDY}")
    return split


def _downloaded():
    from torchvision.datasets import FashionMNIST

    root = Path(torch.hub.get_dir()) / "datasets"
    try:
        FashionMNIST(root, download=True)  # does nothing when the files are there
    except Exception as error:
        raise OSError(
            f"Fashion-MNIST is not on this machine and could not be downloaded ({error}): {REMEDY}"
        ) from error
    return root / "FashionMNIST" / "raw"


def _images(folder, part):
    pixels = _read(folder, f"{part}-images-idx3-ubyte", 3)
    if pixels.shape[1:] != (28, 28):
        raise ValueError(f"{folder}: images of {pixels.shape[1:]} pixels, 28 x 28 are wanted; {REMEDY}")
    return torch.from_numpy(pixels)[:, None].float() / 255


def _labels(folder, part):
    labels = torch.from_numpy(_read(folder, f"{part}-labels-idx1-ubyte", 1)).long()
    if labels.max() >= len(CLASSES):
        raise ValueError(f"{folder}: a label of {int(labels.max())} in {part}, 0 to 9 are wanted; {REMEDY}")
    return labels


def _read(folder, name, dimensions):
    """An array from a file in MNIST's format: two zeros, the type (8: bytes), the number of dimensions, their sizes, the data."""
    packed, plain = folder / f"{name}.gz", folder / name
    if not (packed.is_file() or plain.is_file()):
        raise OSError(f"{packed} is missing: {REMEDY}")
    path = packed if packed.is_file() else plain
    try:
        content = gzip.decompress(path.read_bytes()) if path is packed else path.read_bytes()
        head, start = np.frombuffer(content[:4], np.uint8), 4 + 4 * dimensions
        shape = np.frombuffer(content[4:start], ">u4").astype(int)
        data = np.frombuffer(content[start:], np.uint8).copy()
        if (
            list(head) != [0, 0, 8, dimensions]
            or len(shape) != dimensions
            or len(data) != shape.prod()
            or not len(data)
        ):
            raise ValueError(f"{len(data)} bytes of data")
        return data.reshape(shape)
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise ValueError(f"{path} is damaged or no file of this kind ({error}): {REMEDY}") from error
