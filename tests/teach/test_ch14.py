"""Chapter 14: its references are the library."""

import pytest
import torch

from vil_lite.block import ViLBlock
from vil_lite.teach.checks import ch14


def test_the_references_are_the_library():
    for d in (16, 64, 256):
        assert ch14.block_parameters(d) == sum(p.numel() for p in ViLBlock(d, version=1).parameters())
    block, x = ViLBlock(16), torch.rand(2, 16, 3, 5)
    from vil_lite.yolo import ViLBlock2d

    on_map = ViLBlock2d(16)
    on_map.load_state_dict(block.state_dict())
    torch.testing.assert_close(ch14.on_map(block, x), on_map(x))


def _restored_after(*kinds):
    """14.2 with `except` in place of `finally`."""

    def answer(names, donor, block, call):
        original, names[donor] = names[donor], block
        try:
            result = call()
        except kinds:
            names[donor] = original
            raise
        names[donor] = original
        return result

    return answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (_restored_after(Exception), "an interruption"),
        (_restored_after(BaseException), ""),
        (_restored_after(ConnectionError, KeyboardInterrupt), ""),
    ],
)
def test_whatever_happens_includes_an_interruption(answer, message):
    outcome = ch14.check_donor.outcome(answer, 0)
    assert message in outcome.message and (outcome.status == "right") == (not message), outcome
