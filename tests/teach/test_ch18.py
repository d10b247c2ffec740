"""Chapter 18: its references are right on paper, and are what torch and the library compute."""

import torch
import torch.nn.functional as F

from vil_lite.segmentation import confusion, iou
from vil_lite.teach.checks import ch18


def test_the_references_on_paper():
    truth, guess = torch.tensor([[0, 0, 1], [1, 1, 255]]), torch.tensor([[0, 1, 1], [1, 0, 0]])
    matrix = ch18.count_pixels(guess, truth, 2)
    assert matrix.tolist() == [[1, 1], [1, 2]] and abs(ch18.mean_iou(matrix) - 5 / 12) < 1e-9
    assert ch18.enlarging(2, 2).tolist() == [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    assert ch18.ceiling(torch.tensor([[0, 0], [1, 255]]), 2) == 2 / 3
    assert ch18.ceiling(torch.tensor([[0, 0], [1, 255]]), 1) == 1


def test_the_references_are_the_library():
    torch.manual_seed(0)
    guess, truth = torch.randint(4, (2, 3, 12, 12))
    truth[torch.rand(truth.shape) < 0.1] = 255
    matrix = confusion(guess, truth, 4)
    assert torch.equal(matrix, ch18.count_pixels(guess, truth, 4))
    assert abs(iou(matrix).nanmean().item() - ch18.mean_iou(matrix)) < 1e-9
    x = torch.randn(2, 5, 7)
    enlarged = ch18.enlarging(5, 3) @ x @ ch18.enlarging(7, 3).T
    torch.testing.assert_close(enlarged, F.interpolate(x[None], scale_factor=3, mode="bilinear")[0])


def test_a_table_without_minlength_is_no_answer():
    def count(guess, truth, classes):
        judged = truth != 255
        return torch.bincount(truth[judged] * classes + guess[judged]).view(classes, classes)

    assert all("invalid for input of size" in ch18.check_count_pixels.outcome(count, s).message for s in range(20))
