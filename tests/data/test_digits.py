"""The real digits: shapes, range, and a split that never moves."""

import builtins
import hashlib

import pytest
import torch

from vil_lite.data import digits


def test_shapes_types_and_range():
    train, test = digits.load()
    assert train.images.shape == (1437, 1, 8, 8) and test.images.shape == (360, 1, 8, 8)
    for images, labels in (train, test):
        assert images.dtype == torch.float32 and labels.dtype == torch.int64
        assert float(images.min()) == 0.0 and float(images.max()) == 1.0
        assert labels.shape == (len(images),) and set(labels.tolist()) == set(range(10))


def test_every_class_has_a_fifth_in_the_test_part():
    train, test = digits.load()
    for label in range(10):
        in_test, in_train = int((test.labels == label).sum()), int((train.labels == label).sum())
        assert abs(in_test - (in_test + in_train) / 5) < 1


def test_no_digit_is_lost_or_in_both_parts():
    from sklearn.datasets import load_digits

    split = digits.load()
    rows = torch.cat([split.train.images, split.test.images]).flatten(1)
    original = torch.tensor(load_digits().data, dtype=torch.float32) / 16
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, original.tolist()))


def test_the_split_is_the_recorded_one():
    images, labels = digits.load().test
    levels = (images * 16).to(torch.uint8).flatten().tolist()
    digest = hashlib.sha256(bytes(levels + labels.tolist())).hexdigest()
    assert digest == "5ccada37b7bb7f1f6c82ce692240cdd85316d88108a076b814838b16b5a691e5"


def test_without_scikit_learn_the_error_says_what_to_do(monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **options):
        if name.startswith("sklearn"):
            raise ModuleNotFoundError("No module named 'sklearn'")
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match="pip install scikit-learn"):
        digits.load()
