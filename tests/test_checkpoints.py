"""Official layouts, strictly: raw and stand-alone, version 1 and 2, and what must be refused."""

import copy

import pytest
import torch
from test_model import golden_model

from vil_lite import VisionLSTM, load_official_state_dict

PAIR = {"rowwise_from_top_left": 0, "rowwise_from_bot_right": 1}


def to_raw(weights, version):
    """The raw layout of a stand-alone state dict, as the authors' training writes it."""
    raw = {}
    for key, value in weights.items():
        part = key.split(".")
        if part[0] == "blocks":
            block, rest = int(part[1]), part[2:]
            if version == 2:
                block, rest = 2 * block + PAIR[rest[0]], rest[1:]
                rest = ["conv1d" if name == "conv" else name for name in rest]
            rest[0] = {"norm": "xlstm_norm", "layer": "xlstm"}[rest[0]]
            raw[f"xlstm.blocks.{block}.{'.'.join(rest)}"] = value
            continue
        tokens = "legacy_norm" if version == 1 else "norm"
        name = {tokens: "xlstm.post_blocks_norm", "head": "head.1"}.get(part[0], f"xlstm.{part[0]}")
        if part[0] in ("norm", "legacy_norm") and part[0] != tokens:
            name = "head.0"
        raw[".".join([name, *part[1:]])] = value
    return raw


@pytest.mark.parametrize("name", ["vil_v1.npz", "vil_v2.npz"])
def test_raw_and_stand_alone_layouts_load_alike(name):
    model, weights, x, wanted, config = golden_model(name)
    raw = to_raw(weights, config["version"])
    assert {"head.0.weight", "head.1.weight", "xlstm.post_blocks_norm.weight"} <= raw.keys()
    load_official_state_dict(model, raw)
    assert (model(x) - wanted).abs().max() < 1e-6 * wanted.abs().max()


@pytest.mark.parametrize("name", ["vil_v1_stride.npz", "vil_v2.npz"])
def test_the_argument_is_not_changed(name):
    model, weights, *_ = golden_model(name)
    before = copy.deepcopy(weights)
    load_official_state_dict(model, weights)
    assert weights.keys() == before.keys()
    assert all(torch.equal(weights[key], before[key]) for key in before)


def test_missing_unexpected_and_misshapen_keys_are_named_and_nothing_is_loaded():
    model, weights, *_ = golden_model("vil_v1.npz")
    before = copy.deepcopy(model.state_dict())
    for change, message in [
        (lambda w: w.pop("blocks.2.norm.weight"), "missing: encoder.blocks.2.norm.weight"),
        (lambda w: w.update({"blocks.9.norm.weight": torch.zeros(32)}), "not part of this model: encoder.blocks.9"),
        (lambda w: w.update({"norm.weight": torch.zeros(3)}), r"pooled_norm.weight has shape \(3,\)"),
    ]:
        broken = dict(weights)
        change(broken)
        with pytest.raises(ValueError, match=message):
            load_official_state_dict(model, broken)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_the_other_version_is_refused():
    model, _, *_ = golden_model("vil_v1.npz")
    _, weights, *_ = golden_model("vil_v2.npz")
    with pytest.raises(ValueError, match="check dim, depth, version and design"):
        load_official_state_dict(model, weights)


def test_another_number_of_classes():
    _, weights, *_ = golden_model("vil_v1.npz")
    options = {"dim": 32, "depth": 4, "patch_size": 4, "image_size": 32}
    with pytest.raises(ValueError, match="reset_head=True"):
        load_official_state_dict(VisionLSTM(num_classes=7, **options), weights)
    model = VisionLSTM(num_classes=7, **options)
    head = model.head.weight.clone()
    load_official_state_dict(model, weights, reset_head=True)
    assert torch.equal(model.head.weight, head)
    assert torch.equal(model.token_norm.weight, weights["legacy_norm.weight"])
    load_official_state_dict(VisionLSTM(num_classes=0, **options), weights)


def test_positions_of_another_grid_are_resized():
    _, weights, *_ = golden_model("vil_v1.npz")
    model = VisionLSTM(dim=32, depth=4, patch_size=4, image_size=(48, 32), num_classes=10)
    load_official_state_dict(model, weights)
    assert model.pos_embed.embed.shape == (1, 12, 8, 32)
