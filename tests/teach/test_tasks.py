"""The three tasks of Part 1: a slow and obvious solver agrees with every target."""

import pytest
import torch
from torch import nn

from vil_lite.teach.tasks import answer_error, nearest_neighbour, parity, recall, squared_error, train


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_nearest_neighbour_gives_the_value_of_the_smallest_distance_so_far():
    inputs, targets = nearest_neighbour(4, 9, generator())
    assert inputs.shape == (4, 9, 2) and targets.shape == (4, 9)
    for tokens, wanted in zip(inputs.tolist(), targets.tolist()):
        for t in range(9):
            assert min(tokens[: t + 1])[1] == pytest.approx(wanted[t])


def test_recall_asks_for_each_key_once_and_hides_the_value():
    inputs, targets = recall(5, 6, keys=7, values=3, generator=generator())
    assert inputs.shape == (5, 12, 10) and targets.shape == (5, 6)
    assert (inputs[:, :6].sum(-1) == 2).all() and (inputs[:, 6:].sum(-1) == 1).all() and not inputs[:, 6:, 7:].any()
    for tokens, wanted in zip(inputs, targets.tolist()):
        stored = {int(token[:7].argmax()): int(token[7:].argmax()) for token in tokens[:6]}
        assert len(stored) == 6
        assert [stored.pop(int(token[:7].argmax())) for token in tokens[6:]] == wanted


def test_parity_counts_the_ones():
    inputs, targets = parity(3, 8, generator())
    assert inputs.shape == (3, 8, 2) and (inputs.sum(-1) == 1).all()
    for bits, wanted in zip(inputs.argmax(-1).tolist(), targets.tolist()):
        assert wanted == [sum(bits[: t + 1]) % 2 for t in range(8)]


@pytest.mark.parametrize("task", [nearest_neighbour, recall, parity])
def test_the_generator_decides_and_sizes_are_checked(task):
    first, again, other = (
        task(2, 5, generator=generator(1)),
        task(2, 5, generator=generator(1)),
        task(2, 5, generator=generator(2)),
    )
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1]) and not torch.equal(first[0], other[0])
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        task(0, 5)


def test_more_pairs_than_keys_are_refused():
    with pytest.raises(ValueError, match="pairs is 5, but only 4 different keys exist"):
        recall(2, 5, keys=4)


def test_errors_look_at_the_right_outputs():
    targets = torch.tensor([[1, 0]])
    outputs = torch.tensor([[[9.0, 0], [0, 90], [90, 0]]])  # the first output has no target
    assert answer_error(outputs, targets) == 0
    assert squared_error(torch.tensor([[[1.0], [3.0]]]), torch.tensor([[1.0, 1.0]])) == 2


def test_train_learns():
    torch.manual_seed(0)
    model = nn.Linear(2, 1)

    def draw():
        inputs = torch.randn(32, 4, 2)
        return inputs, inputs.sum(-1)

    before = squared_error(model(draw()[0]), draw()[1]).item()
    assert train(model, draw, squared_error, steps=200, lr=0.05) is model
    inputs, targets = draw()
    assert squared_error(model(inputs), targets) < 1e-3 < before


def test_training_moves_the_model_and_each_batch_to_the_device_and_tries_to_bring_the_model_back():
    """Nothing can be copied back from the device "meta", and PyTorch says so: by then the training is over."""
    seen = []

    def error(outputs, targets):
        seen.append((outputs.device.type, targets.device.type))
        return squared_error(outputs, targets)

    model = nn.Linear(2, 1)
    with pytest.raises(NotImplementedError, match="meta"):
        train(model, lambda: nearest_neighbour(2, 3), error, steps=2, lr=0.1, device="meta")
    assert seen == [("meta", "meta")] * 2


class Masked(nn.Linear):
    """Makes a mask and does not say where, as a reader's answer may."""

    def forward(self, x):
        return super().forward(x) * torch.ones(*x.shape[:-1], 1).tril()


def test_what_a_model_makes_for_itself_is_made_on_the_device():
    with pytest.raises(RuntimeError, match="device"):
        Masked(2, 1).to("meta")(torch.zeros(2, 3, 2, device="meta"))
    with pytest.raises(NotImplementedError, match="copy out of meta"):  # as above: the training is over
        train(Masked(2, 1), lambda: nearest_neighbour(2, 3), squared_error, steps=2, lr=0.1, device="meta")
