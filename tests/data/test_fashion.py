"""Fashion-MNIST from files in its format, packed and unpacked; what is missing or damaged is named."""

import gzip

import numpy as np
import pytest
import torch
import torchvision

from vil_lite.data import fashion


def idx(array):
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return head + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("t10k", 5)):
        files = {"images-idx3": rng.integers(0, 256, (count, 28, 28)), "labels-idx1": np.arange(count) % 10}
        for kind, array in files.items():
            (tmp_path / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(idx(array)))
    return tmp_path


def test_files_packed_or_not_give_the_same_photographs(folder, tmp_path_factory):
    train, test = fashion.load(folder)
    assert train.images.shape == (12, 1, 28, 28) and test.labels.tolist() == [0, 1, 2, 3, 4]
    assert train.images.dtype == torch.float32 and 0.99 < train.images.max() <= 1 and train.images.min() == 0
    other = tmp_path_factory.mktemp("raw")
    for path in folder.glob("*.gz"):
        (other / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    assert torch.equal(fashion.load(other).train.images, train.images)


@pytest.mark.skipif(not fashion.DEBIAN.is_dir(), reason="apt install dataset-fashion-mnist")
def test_the_published_split():
    train, test = fashion.load()
    assert train.images.shape == (60000, 1, 28, 28) and test.images.shape == (10000, 1, 28, 28)
    assert train.labels.bincount().tolist() == [6000] * 10 and test.labels.bincount().tolist() == [1000] * 10
    assert train.labels[:4].tolist() == [9, 0, 0, 3]  # an ankle boot, two T-shirts, a dress


def test_without_files_and_network_both_ways_are_named(monkeypatch, tmp_path):
    """torchvision asks a port of this machine at which nobody listens."""
    monkeypatch.setattr(fashion, "DEBIAN", tmp_path / "none")
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(OSError, match=r"(?s)Connection refused.*apt install dataset-fashion-mnist.*network"):
        fashion.load()


@pytest.mark.parametrize(
    "fault", ["cut", "bits", "empty", "another shape", "a label too many", "too few labels", "gone"]
)
def test_a_damaged_file_is_named(folder, fault):
    path = folder / f"train-{'labels-idx1' if 'label' in fault else 'images-idx3'}-ubyte.gz"
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif fault == "bits":
        content = path.read_bytes()
        path.write_bytes(content[:10] + b"\xff" * 30 + content[40:])
    elif fault == "too few labels":
        path.write_bytes(gzip.compress(idx(np.zeros(11))))
    elif fault == "empty":
        path.write_bytes(b"")
    elif fault == "another shape":
        path.write_bytes(gzip.compress(idx(np.zeros((12, 32, 32)))))
    elif fault == "a label too many":
        path.write_bytes(gzip.compress(idx(np.full(12, 10))))
    else:
        path.unlink()
    with pytest.raises(OSError if fault == "gone" else ValueError, match=f"{folder}.*apt install"):
        fashion.load(folder)
