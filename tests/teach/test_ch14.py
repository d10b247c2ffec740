"""Chapter 14: its references are the library."""

import pytest
import torch

from vil_lite.block import ViLBlock
from vil_lite.complexity import parameters
from vil_lite.teach.checks import ch14


def test_the_references_are_the_library():
    for d in (16, 64, 256):
        assert ch14.block_parameters(d) == parameters(ViLBlock(d, version=1))
    block, x = ViLBlock(16), torch.rand(2, 16, 3, 5)
    from vil_lite.yolo import ViLBlock2d

    on_map = ViLBlock2d(16)
    on_map.load_state_dict(block.state_dict())
    torch.testing.assert_close(ch14.on_map(block, x), on_map(x))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (ch14._after(Exception), "an interruption"),
        (ch14._after(BaseException), ""),
        (ch14._after(ConnectionError, KeyboardInterrupt), ""),
    ],
)
def test_whatever_happens_includes_an_interruption(answer, message):
    outcome = ch14.check_donor.outcome(answer, 0)
    assert message in outcome.message and (outcome.status == "right") == (not message), outcome
