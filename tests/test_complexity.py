"""Costs against the paper's tables, and against counting by hand."""

from types import SimpleNamespace

import pytest
import timm
import torch
from torch import nn

from vil_lite import ViLEncoder, VisionLSTM, create_model
from vil_lite.complexity import activation_memory, flops, latency, operations, parameters
from vil_lite.model import SIZES


def gflops(build, images, blocks, depth=24, half=False):
    """GFLOPs of build(depth) from `blocks` and twice as many: the others cost what these do, and counting takes long."""
    with torch.device("meta"):
        few, more = (flops(build(some), images, half=half) for some in (blocks, 2 * blocks))
    return (few + (depth / blocks - 1) * (more - few)) / 1e9


@pytest.mark.parametrize(
    ("name", "full", "half", "stride"),
    [
        ("vil_tiny", 1.864, 1.510, 16),
        ("vil_tinyplus", 2.246, 1.818, 16),
        ("vil_small", 5.808, 5.100, 16),
        ("vil_smallplus", 6.287, 5.520, 16),
        ("vil_base", 19.940, 18.524, 16),
        ("vil2_tiny", 1.873, 1.519, 16),
        ("vil2_small", 5.827, 5.119, 16),
        ("vil2_base", 19.977, 18.561, 16),
        ("vil_tinyplus", 17.01, 11.09, 8),
        ("vil_smallplus", 38.90, 28.29, 8),
        ("vil_base", 102.81, 83.22, 8),
    ],
)
def test_gflops_of_the_published_sizes(name, full, half, stride):
    def build(depth):
        return create_model(name, depth=depth, form="parallel", stride=stride)

    images, depth = torch.empty(1, 3, 224, 224, device="meta"), SIZES[name][1]
    counted = gflops(build, images, 2, depth)
    assert counted == pytest.approx(full, rel=0.01)
    assert gflops(build, images, 2, depth, half=True) == pytest.approx(half, rel=0.01)
    if name == "vil_tinyplus" and stride == 16:
        with torch.device("meta"):
            whole = create_model(name, form="parallel", stride=stride)
        assert flops(whole, images) == pytest.approx(1e9 * counted, rel=1e-9)


@pytest.mark.parametrize(
    ("design", "params_m", "full", "half"),
    [
        ("unidirectional", 5.889, 0.453, 0.415),
        ("alternating_bidirectional", 5.889, 0.453, 0.415),
        ("alternating_quaddirectional", 5.889, 0.453, 0.415),
        ("bidirectional", 6.286, 0.555, 0.480),
        ("bidirectional_shared", 5.889, 0.555, 0.480),
        ("quaddirectional", 7.079, 0.759, 0.608),
        ("quaddirectional_shared", 5.889, 0.759, 0.608),
    ],
)
def test_parameters_and_gflops_of_the_designs(design, params_m, full, half):
    def build(depth=24):
        return VisionLSTM(depth=depth, image_size=128, num_classes=100, design=design, form="parallel")

    with torch.device("meta"):
        assert round(parameters(build()) / 1e6, 3) == params_m
    images = torch.empty(1, 3, 128, 128, device="meta")
    assert gflops(build, images, 4) == pytest.approx(full, rel=0.01)
    assert gflops(build, images, 4, half=True) == pytest.approx(half, rel=0.01)


def test_torch_counting_sees_what_runs():
    linear = nn.Linear(8, 16)
    assert flops(linear, torch.randn(3, 8), counting="torch") == 3 * 8 * 16 == flops(linear, torch.randn(3, 8))
    long = create_model("vil_tiny", depth=1)
    images = torch.randn(1, 3, 896, 896)
    assert flops(long, images, counting="torch") < flops(long, images, half=True)  # chunks against S x S
    with pytest.raises(ValueError, match="counting must be"):
        flops(linear, torch.randn(3, 8), counting="fvcore")


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_attention_of_timm_is_counted(device):
    vit, images = timm.create_model("deit_tiny_patch16_224", depth=1).to(device), torch.zeros(1, 3, 224, 224).to(device)
    S, d = 197, 192
    block = S * 12 * d * d + 2 * S * S * d  # qkv, projection and MLP; scores, and scores times values
    products = 196 * 768 * d + block + 1000 * d
    assert flops(vit, images, counting="torch") == products
    assert flops(vit, images) == products + 5 * (2 * S * d + S * d)  # two norms of the block, one at the end


class Above(nn.Module):
    """What stands on the tokens of a small Vision-LSTM (16 of 16 numbers)."""

    def __init__(self, kind):
        super().__init__()
        self.vil = VisionLSTM(16, 1, patch_size=4, image_size=16, num_classes=0)
        self.top = nn.MultiheadAttention(16, 2, batch_first=True) if kind == "attention" else nn.Identity()
        self.top = nn.ConvTranspose2d(16, 16, 2, 2) if kind == "upsampling" else self.top
        self.kind = kind

    def forward(self, images):
        tokens = self.vil.forward_features(images)
        if self.kind == "product":
            return tokens @ tokens.mT
        if self.kind == "attention":
            return self.top(tokens, tokens, tokens, need_weights=False)[0]
        return self.top(tokens.mT.unflatten(2, (4, 4)))


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [("upsampling", 16**3 * 4), ("attention", 4 * 16**3 + 2 * 16**3), ("product", 16**3)],
)
def test_what_stands_beside_the_cells_is_counted(kind, wanted):
    images = torch.zeros(1, 3, 16, 16)
    for counting in ("paper", "torch"):
        tokens, whole = (flops(Above(what).eval(), images, counting=counting) for what in ("nothing", kind))
        assert whole - tokens == wanted
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize(
    "measure",
    [flops, operations, activation_memory, latency, lambda *x: latency(*x, backward=True)],
    ids=["flops", "operations", "memory", "latency", "latency with backward"],
)
def test_what_is_measured_stays_as_it_is(measure):
    model, x = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4)), torch.randn(10, 8)
    model(x).square().sum().backward()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [p.grad.clone() for p in model.parameters()]
    measure(model, x)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_memory_kept_for_the_backward_pass(device):
    model = nn.Sequential(nn.Linear(8, 16), nn.Sigmoid(), nn.Linear(16, 4))
    model, x = model.to(device), torch.randn(10, 8, device=device)
    assert activation_memory(model, x) == 4 * (10 * 8 + 10 * 16)  # the input of each layer; sigmoid keeps its output


def test_latency_is_the_best_turn_after_the_one_for_warming_up(monkeypatch):
    clock = iter([0, 10, 15, 20, 23])
    monkeypatch.setattr("vil_lite.complexity.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert latency(nn.Linear(4, 4), torch.randn(2, 4), repeats=2, backward=True) == 3


def test_operations_are_counted_and_views_are_not():
    assert operations(lambda x: x.exp().transpose(0, 1)[0].unsqueeze(0) + x, torch.zeros(2, 2)) == 2


def test_a_block_starts_as_many_operations_for_any_number_of_images():
    block = ViLEncoder(64, 1, version=2).blocks[0]
    counts = {operations(block, torch.randn(B, 64, 64), (8, 8)) for B in (1, 2)}
    assert len(counts) == 1 and counts.pop() > 100
