"""Official layouts, strictly: raw and stand-alone, version 1 and 2; what training programs save; what must be refused."""

import copy

import pytest
import torch
from test_model import golden_model
from torch.optim.swa_utils import AveragedModel

from vil_lite import VisionLSTM, load_official_state_dict
from vil_lite.checkpoints import read_state_dict

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
    with pytest.raises(ValueError, match="weights of version 2, the model is of version 1: take a model vil2_"):
        load_official_state_dict(model, weights)
    with pytest.raises(ValueError, match="check dim, depth, version and design"):
        load_official_state_dict(VisionLSTM(dim=32, depth=6, version=2, patch_size=4, image_size=32), weights)


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


SMALL = {"dim": 16, "depth": 2, "image_size": 32, "patch_size": 8, "num_classes": 3}
WRAPPERS = {
    "compiled": torch.compile,
    "data parallel": torch.nn.DataParallel,
    "averaged": AveragedModel,
    "both": lambda model: torch.nn.DataParallel(torch.compile(model)),
    "inside another module": lambda model: torch.nn.ModuleDict({"model": model}),
}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_weights_of_a_wrapped_model_load(wrapper, version):
    trained, other = VisionLSTM(version=version, **SMALL), VisionLSTM(version=version, **SMALL)
    wrapped = WRAPPERS[wrapper](trained)
    load_official_state_dict(other, wrapped.state_dict())
    same(other, trained)
    if wrapper != "inside another module":  # and into one
        fresh = VisionLSTM(version=version, **SMALL)
        wrapped = WRAPPERS[wrapper](fresh)
        assert load_official_state_dict(wrapped, trained.state_dict()) is wrapped
        same(wrapped.module if wrapper == "averaged" else fresh, trained)


def same(model, wanted):
    wanted = wanted.state_dict()
    assert model.state_dict().keys() == wanted.keys()
    assert all(torch.equal(value, wanted[key].to(value.dtype)) for key, value in model.state_dict().items())


def test_half_precision_loads_into_single_and_back():
    half, single = VisionLSTM(**SMALL).half(), VisionLSTM(**{**SMALL, "image_size": (48, 32)})
    with torch.no_grad():
        half.pos_embed.embed.normal_()
    load_official_state_dict(single, half.state_dict())  # positions are resized in float32
    assert all(p.dtype == torch.float32 for p in single.parameters())
    assert torch.equal(single.head.weight, half.head.weight.float())
    load_official_state_dict(half, single.state_dict())
    assert all(p.dtype == torch.float16 for p in half.parameters())


def test_what_training_programs_save(tmp_path):
    trained, other = VisionLSTM(**SMALL), VisionLSTM(**SMALL)
    weights = trained.state_dict()
    ema = AveragedModel(trained).state_dict()
    path = tmp_path / "checkpoint.pt"
    for saved in (weights, {"state_dict": weights, "state_dict_ema": ema, "epoch": 3}, {"model": weights, "step": 1}):
        torch.save(saved, path)
        same(load_official_state_dict(other, read_state_dict(path)), trained)
    torch.save({"model": weights, "ema": ema, "optimizer": {"state": {}}}, path)
    with pytest.raises(
        ValueError, match="checkpoint.pt holds state dicts under 'model', 'ema', got key=None: name one of them$"
    ):
        read_state_dict(path)
    same(load_official_state_dict(other, read_state_dict(path, key="ema")), trained)
    torch.save({"epoch": 3}, path)
    with pytest.raises(ValueError, match="checkpoint.pt holds no state dict of tensors; make it again with torch.save"):
        read_state_dict(path)
    with pytest.raises(ValueError, match="several models, under 'ema.', 'online.'; pass one of them"):
        load_official_state_dict(other, {f"{name}.{k}": v for name in ("ema", "online") for k, v in weights.items()})


def test_safetensors(tmp_path):
    from safetensors.torch import save_file

    trained, other = VisionLSTM(version=2, **SMALL), VisionLSTM(version=2, **SMALL)
    save_file(trained.state_dict(), tmp_path / "vil.safetensors")
    same(load_official_state_dict(other, read_state_dict(tmp_path / "vil.safetensors")), trained)
    (tmp_path / "vil.safetensors").write_bytes(b"no such thing")
    with pytest.raises(ValueError, match="vil.safetensors is damaged or no checkpoint; make it again with torch.save"):
        read_state_dict(tmp_path / "vil.safetensors")
