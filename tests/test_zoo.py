"""The models in timm: what its programs and its own tests call, for both versions, and pretrained weights from a server."""

import io
import subprocess
import sys

import pytest
import timm
import torch
from test_checkpoints import to_raw
from test_download import folder, server  # noqa: F401  (fixtures)
from test_model import published_names
from timm.models import FeatureInfo, get_notrace_modules
from timm.optim import param_groups_layer_decay, param_groups_weight_decay

import vil_lite.zoo
from vil_lite.checkpoints import FILES
from vil_lite.model import SIZES

VERSIONS = pytest.mark.parametrize("name", ["vil_tiny", "vil2_tiny"])


def test_registration_is_explicit_and_draws_no_random_numbers():
    code = """
import random, sys, numpy, torch
finders = list(sys.meta_path)
import vil_lite
assert "timm" not in sys.modules and sys.meta_path == finders
import timm
assert not timm.list_models("vil*")
states = random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
import vil_lite.zoo
assert states == (random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
assert sys.meta_path == finders and timm.is_model("vil_tiny")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_names_and_configurations_are_listed():
    assert set(timm.list_models("vil*")) == set(SIZES)
    published = {f"{name}.{file.split('16_')[1][:-3]}" for name, files in FILES.items() for file in files}
    assert set(timm.list_models("vil*", pretrained=True)) == published
    assert timm.get_pretrained_cfg("vil_tiny").url.endswith("/vil_tiny16_e800_in1k.th")
    assert timm.get_pretrained_cfg("vil_tiny.e400_in1k").url.endswith("/vil_tiny16_e400_in1k.th")
    config = timm.data.resolve_model_data_config(timm.create_model("vil_tiny", depth=1, in_chans=1))
    assert config["interpolation"] == "bicubic" and config["mean"] == (0.485, 0.456, 0.406)


def test_options_of_timm():
    options = {"depth": 2, "num_classes": 5, "in_chans": 1, "img_size": (64, 96), "global_pool": "avg"}
    model = timm.create_model("vil_tiny", drop_path_rate=0.1, drop_rate=0.2, dtype=torch.float64, **options)
    assert model.pos_embed.embed.shape == (1, 4, 6, 192)
    assert model.global_pool == "avg" and model.encoder.blocks[0].drop_path.p == 0.1 and model.head_drop.p == 0.2
    assert model(torch.randn(1, 1, 64, 96, dtype=torch.float64)).shape == (1, 5)
    assert all(p.is_meta for p in timm.create_model("vil_tiny", depth=1, device="meta").parameters())
    with pytest.raises(TypeError, match="not_an_option"):
        timm.create_model("vil_tiny", not_an_option=1)


@VERSIONS
def test_the_head(name):
    model = timm.create_model(name, depth=2, num_classes=7, drop_rate=0.5)
    with torch.no_grad():
        model.head.weight.normal_()  # it starts at almost nothing
    model.eval()
    images, width = torch.randn(2, 3, 32, 48), 192 * (2 if name == "vil2_tiny" else 1)
    assert (model.num_classes, model.num_features, model.head_hidden_size, model.in_chans) == (7, 192, width, 3)
    tokens = model.forward_features(images)
    pooled = model.forward_head(tokens, pre_logits=True)
    assert tokens.shape == (2, 6, 192) and pooled.shape == (2, width)
    assert torch.equal(model.get_classifier()(pooled), model(images))
    model.train()
    assert not torch.equal(model.forward_head(tokens), model.forward_head(tokens))  # drop_rate
    model.eval().reset_classifier(0)
    assert torch.equal(model(images), pooled) and model.num_classes == 0  # the norm before the head stays
    model.reset_classifier(0, "")
    assert torch.equal(model(images), tokens) and model.global_pool == ""
    with pytest.raises(ValueError, match="global_pool='' needs num_classes=0"):
        model.reset_classifier(5)
    model.double().reset_classifier(5, "avg")
    assert model.head.weight.dtype == torch.float64 and not model.head.training
    assert model(images.double()).shape == (2, 5)
    with pytest.raises(ValueError, match="built without a .CLS. token" if name == "vil_tiny" else "version=2"):
        model.reset_classifier(5, "middle_cls")
    with pytest.raises(ValueError, match="global_pool='' needs num_classes=0"):
        model.reset_classifier(7, "")
    assert model(images.double()).shape == (2, 5)  # as it was before what was refused
    bare = timm.create_model(name, depth=2, num_classes=0)
    assert bare(images).shape == pooled.shape and isinstance(bare.pooled_norm, torch.nn.LayerNorm)
    assert timm.create_model(name, depth=2, num_classes=0, global_pool="")(images).shape == tokens.shape


@VERSIONS
def test_intermediates(name):
    model, images = timm.create_model(name, depth=4, num_classes=3).eval(), torch.randn(2, 3, 32, 80)
    with torch.no_grad():
        final, maps = model.forward_intermediates(images)
        assert torch.equal(final, model.forward_features(images)) and len(maps) == 4
        assert [m.shape for m in maps] == [(2, 192, 2, 5)] * 4
        (normed,) = model.forward_intermediates(images, 1, norm=True, intermediates_only=True)
        assert torch.equal(normed.flatten(2).mT, final) and torch.equal(normed, model.feature_map(images))
        stopped, chosen = model.forward_intermediates(images, [2, 0], stop_early=True, output_fmt="NLC")
        assert torch.equal(chosen[0].mT.unflatten(2, (2, 5)), maps[2])
        assert torch.equal(chosen[1].mT.unflatten(2, (2, 5)), maps[0])
        assert torch.equal(stopped, model.token_norm(chosen[0]))
        assert model.prune_intermediate_layers([1, -2], prune_norm=True) == [1, 2]
        assert torch.equal(model(images).mT.unflatten(2, (2, 5)), maps[2])  # features end where they were tapped
    with pytest.raises(ValueError, match="output_fmt must be 'NCHW' or 'NLC', got 'NHWC'"):
        model.forward_intermediates(images, output_fmt="NHWC")
    for wrong in ([3], [-4], 4, 0, []):
        with pytest.raises(ValueError, match="blocks must lie in 0 .. 2, got|there are 3 blocks, cannot take the last"):
            model.forward_intermediates(images, wrong)


@VERSIONS
@pytest.mark.parametrize("out_indices", [(0, 2, -1), 3, (1,)])
def test_feature_maps_of_a_non_square_image(name, out_indices):
    net = timm.create_model(name, features_only=True, out_indices=out_indices, depth=4)
    maps = net(torch.randn(2, 3, 64, 160))
    count = out_indices if isinstance(out_indices, int) else len(out_indices)
    assert [tuple(m.shape) for m in maps] == [(2, 192, 4, 10)] * count
    assert net.feature_info.channels() == [192] * count and net.feature_info.reduction() == [16] * count
    sum(m.sum() for m in maps).backward()
    assert all(p.grad is not None for p in net.parameters())  # nothing unused is kept, as DDP wants it


def test_feature_info_names_modules():
    model = timm.create_model("vil_tiny", depth=4)
    info = FeatureInfo(model.feature_info, (1, 3))
    assert info.module_name() == ["encoder.blocks.1", "encoder.blocks.3"]
    assert all(model.get_submodule(name) is not None for name in info.module_name())


@VERSIONS
def test_a_symbolic_trace_gives_the_same(name):
    from torchvision.models.feature_extraction import create_feature_extractor

    model, images = timm.create_model(name, depth=2, num_classes=3).eval(), torch.randn(1, 3, 64, 32)
    leaves = {"leaf_modules": get_notrace_modules()}
    net = create_feature_extractor(model, {"encoder.blocks.1": "tokens", "head": "logits"}, tracer_kwargs=leaves)
    with torch.no_grad():
        out = net(images)
        assert torch.equal(out["logits"], model(images))
        assert torch.equal(model.token_norm(out["tokens"]), model.forward_features(images))


@VERSIONS
def test_weight_decay_and_layer_decay(name):
    model = timm.create_model(name)
    free, decayed = param_groups_weight_decay(model, 0.05, no_weight_decay_list=model.no_weight_decay())
    assert any(p is model.pos_embed.embed for p in free["params"]) and free["weight_decay"] == 0.0
    assert all(p.ndim == 1 or p is model.pos_embed.embed for p in free["params"])
    assert {p.ndim for p in decayed["params"]} == ({2, 3, 4})
    groups = param_groups_layer_decay(model, 0.05, no_weight_decay_list=model.no_weight_decay(), layer_decay=0.65)
    assert len(groups) == 52  # embedding, 24 blocks, head; with and without decay
    rates = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    assert rates[id(model.head.weight)] == rates[id(model.pooled_norm.weight)] == 1.0
    first, last = (model.encoder.blocks[b].layer.proj_up.weight for b in (0, 23))
    assert (
        rates[id(model.patch_embed.proj.weight)]
        < rates[id(first)]
        < rates[id(last)]
        == rates[id(model.token_norm.weight)]
        < 1.0
    )


@VERSIONS
def test_another_input_size(name):
    model, images = timm.create_model(name, depth=2, img_size=64, num_classes=3).eval(), torch.randn(1, 3, 96, 64)
    model.pos_embed.embed.requires_grad_(False)
    with torch.no_grad():
        before = model(images)
        model.set_input_size(img_size=(96, 64))
        assert model.pos_embed.embed.shape == (1, 6, 4, 192) and not model.pos_embed.embed.requires_grad
        assert torch.allclose(model(images), before)
    with pytest.raises(ValueError, match="patch_size=8: this model has patches of 16"):
        model.set_input_size(patch_size=8)


@pytest.fixture
def mirror(server):  # noqa: F811
    """A file of each version under a published name, raw layout, with blocks of one model: {name: weights}."""
    saved = {}
    for name, file in (("vil_tiny", 0), ("vil2_tiny", 0), ("vil_smallplus", 1)):
        dim, _, version = SIZES[name]
        torch.manual_seed(0)
        stride = 8 if "stride8" in FILES[name][file] else 16
        saved[name] = vil_lite.VisionLSTM(dim, 2, version, stride=stride)
        content = io.BytesIO()
        torch.save({"state_dict": to_raw(published_names(saved[name]), version), "epoch": 800}, content)
        server.files[FILES[name][file]] = content.getvalue()
    return saved


@VERSIONS
def test_pretrained_through_timm(mirror, folder, name):  # noqa: F811
    images = torch.randn(1, 3, 64, 64)
    model = timm.create_model(name, pretrained=True, depth=2)
    with torch.no_grad():
        assert torch.equal(model.eval()(images), mirror[name].eval()(images))
    assert [p.name for p in folder.iterdir()] == [FILES[name][0]]  # where create_model keeps it too
    grey = timm.create_model(name, pretrained=True, depth=2, in_chans=1, num_classes=5)
    torch.testing.assert_close(grey.patch_embed.proj.weight, mirror[name].patch_embed.proj.weight.sum(1, keepdim=True))
    assert torch.equal(grey.pooled_norm.weight, mirror[name].pooled_norm.weight) and grey(images[:, :1]).shape == (1, 5)
    maps = timm.create_model(name, pretrained=True, depth=2, features_only=True, out_indices=(1,))
    torch.testing.assert_close(maps(images)[0], mirror[name].feature_maps(images, [1])[0])


def test_pretrained_is_strict_and_knows_the_stride(mirror, server):  # noqa: F811
    with pytest.raises(ValueError, match="(?s)does not fit the model .*missing: encoder.blocks.2.norm.weight"):
        timm.create_model("vil_tiny", pretrained=True, depth=3, num_classes=5)  # timm alone would go on without
    server.files[FILES["vil2_tiny"][0]] = server.files[FILES["vil_tiny"][0]]
    with pytest.raises(ValueError, match="weights of version 1, the model is of version 2"):
        timm.create_model("vil2_tiny", pretrained=True, depth=2)
    long = timm.create_model("vil_smallplus.e400_in1k_stride8", pretrained=True, depth=2)
    assert long.patch_embed.stride == 8
    assert torch.equal(long.pos_embed.embed, mirror["vil_smallplus"].pos_embed.embed)
    ours = vil_lite.create_model("vil_smallplus", pretrained=FILES["vil_smallplus"][1], depth=2)
    assert torch.equal(ours.pos_embed.embed, long.pos_embed.embed)
