"""Chapter 10: its names and shapes are the library's."""

import pytest

from vil_lite import VisionLSTM
from vil_lite.checkpoints import official_name
from vil_lite.teach.checks import ch10


def test_the_names_are_the_library():
    for raw, wanted in ch10.RAW:
        assert official_name(raw.format(i=3), version=1) == wanted.format(i=3) == ch10.library_name(raw.format(i=3))


@pytest.mark.parametrize(("version", "classes"), [(1, 10), (2, 0), (2, 10)])
def test_the_shapes_are_those_of_a_model(version, classes):
    model = VisionLSTM(16, 3, version, image_size=(48, 80), num_classes=classes)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert ch10.shapes_of(16, 3, (3, 5), classes, version) == shapes
    assert ch10.what_model(shapes) == (16, 3, 15, classes, version)
