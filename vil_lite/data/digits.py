"""scikit-learn's 1797 handwritten digits as tensors, always split in the same way.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (its test part), UCI Machine Learning
Repository.
"""

from typing import NamedTuple

import torch


class Examples(NamedTuple):
    """images: (N, 1, 8, 8) float32 in [0, 1].  labels: (N,) int64 in 0..9."""

    images: torch.Tensor
    labels: torch.Tensor


class DigitsSplit(NamedTuple):
    """1437 training and 360 test digits, each class in both in the same proportion."""

    train: Examples
    test: Examples


def load() -> DigitsSplit:
    """Return the digits, split.  Needs no network.  Raises ModuleNotFoundError when scikit-learn is missing.

    The examples are ordered by class, and every fifth is for testing: no random generator, so the split is the same with
    every version of every package.  (Both parts hold digits of the same writers, so this says nothing about new writers.)
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the digits come with scikit-learn: pip install scikit-learn") from error
    bunch = load_digits()
    images = torch.tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16  # grey levels 0..16
    labels = torch.tensor(bunch.target, dtype=torch.int64)

    by_class = torch.argsort(labels, stable=True)
    is_test = torch.zeros(len(labels), dtype=torch.bool)
    is_test[by_class[::5]] = True
    return DigitsSplit(
        train=Examples(images[~is_test], labels[~is_test]),
        test=Examples(images[is_test], labels[is_test]),
    )
