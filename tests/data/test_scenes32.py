"""Scenes: shapes, range, what the labels say, and that neither pixels nor patches alone give them away."""

import pytest
import torch

from vil_lite.data import scenes32


def centre(mask):
    """Middle of the lit pixels, (x, y)."""
    y, x = torch.nonzero(mask, as_tuple=True)
    return (x.min() + x.max() + 1) / 2, (y.min() + y.max() + 1) / 2


def test_shapes_types_range_and_classes_in_turn():
    images, labels = scenes32.draw(25)
    assert images.shape == (25, 1, 32, 32) and images.dtype == torch.float32
    assert labels.dtype == torch.int64 and labels.tolist() == [n % 10 for n in range(25)]
    assert images.min() >= 0 and images.max() <= 1
    assert len(scenes32.CLASSES) == 10


def test_the_seed_fixes_the_scenes():
    assert torch.equal(scenes32.draw(20, seed=3).images, scenes32.draw(20, seed=3).images)
    assert not torch.equal(scenes32.draw(20, seed=3).images, scenes32.draw(20, seed=4).images)


@pytest.mark.parametrize("place", scenes32.PLACES)
def test_nothing_is_cut_off(place):
    images = scenes32.draw(300, place=place, noise=0).images[:, 0]
    rim = torch.ones(32, 32, dtype=torch.bool)
    rim[1:-1, 1:-1] = False
    assert images[:, rim].max() < 0.8  # the soft side of a line may touch the rim, its middle may not


@pytest.mark.parametrize(("label", "dx", "dy"), [(0, 1, 0), (2, 0, -1), (4, -1, 0), (6, 0, 1)])
def test_the_ring_lies_where_the_label_says(label, dx, dy):
    """A ring has no corners: of the two shapes it is the one whose bounding box has empty corners."""
    images, labels = scenes32.draw(200, place="centre", noise=0)
    rings, squares = [], []
    for image in images[labels == label, 0]:
        halves = image.split(16, dim=1 if dx else 0)
        ring, square = halves if (dx or dy) < 0 else halves[::-1]
        rings.append(corners(ring))
        squares.append(corners(square))
    assert sum(rings) < 0.7 * sum(squares)


def corners(image):
    """Light in the four corner pixels of the shape's bounding box, in units of its brightest pixel."""
    y, x = torch.nonzero(image > 0.5 * image.max(), as_tuple=True)
    box = image[y.min() : y.max() + 1, x.min() : x.max() + 1]
    return (box[0, 0] + box[0, -1] + box[-1, 0] + box[-1, -1]) / image.max()


def test_places():
    off = {}
    for place in scenes32.PLACES:
        images = scenes32.draw(200, place=place, noise=0).images[:, 0]
        middle = torch.tensor([centre(image > 0.3) for image in images])
        off[place] = (middle - 16).abs().amax(1)
    assert off["centre"].max() < 3
    assert off["border"].median() > 2 * off["centre"].max()
    assert off["centre"].median() < off["anywhere"].median() < off["border"].median()


def test_a_linear_model_does_poorly():
    """Least squares on pixels, with ridge: near chance, which is 10 %."""
    train, test = scenes32.draw(4000, seed=1), scenes32.draw(1000, seed=2)
    x, y = train.images.flatten(1).double(), torch.nn.functional.one_hot(train.labels).double()
    weights = torch.linalg.solve(x.T @ x + 30 * torch.eye(1024), x.T @ y)
    assert (test.images.flatten(1).double() @ weights).argmax(1).eq(test.labels).double().mean() < 0.35


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"count": 0}, "count"), ({"count": 5, "place": "left"}, "place"), ({"count": 5, "noise": -1}, "noise")],
)
def test_errors_name_the_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        scenes32.draw(**arguments)
