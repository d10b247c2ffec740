"""The model against the authors' reference; sizes; any image; pooling; errors."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vil_lite import VisionLSTM, checkpoints, create_model, layers, load_official_state_dict
from vil_lite.block import DESIGNS
from vil_lite.checkpoints import read_state_dict
from vil_lite.complexity import parameters
from vil_lite.layers import resize_positions
from vil_lite.model import POOLINGS, SIZES

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(path.name for path in GOLDEN.glob("vil_*.npz"))


def golden_model(name):
    z = np.load(GOLDEN / name)
    config = json.loads(str(z["config"]))
    model = VisionLSTM(
        dim=config["dim"],
        depth=config["depth"] * config["version"],  # version 2 counts pairs
        version=config["version"],
        patch_size=config["patch_size"],
        stride=config["stride"],
        image_size=tuple(config["image_size"]),
        num_classes=config["num_classes"] or 0,
    )
    weights = {key[3:]: torch.from_numpy(z[key]) for key in z if key.startswith("sd/")}
    return model.double().eval(), weights, torch.from_numpy(z["x"]).double(), torch.from_numpy(z["y"]), config


@pytest.mark.parametrize("name", FILES)
def test_equals_the_authors_reference(name):
    model, weights, x, wanted, config = golden_model(name)
    load_official_state_dict(model, weights)
    y = model.feature_map(x) if config.get("mode") == "features" else model(x)
    assert (y - wanted).abs().max() < 1e-6 * wanted.abs().max()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("vil_tiny", 6_088_360),
        ("vil_tinyplus", 7_277_840),
        ("vil_small", 22_792_360),
        ("vil_smallplus", 24_628_664),
        ("vil_base", 88_050_856),
        ("vil2_tiny", 6_391_528),  # 6,390,760 without the norm of the pooled vector
        ("vil2_small", 23_398_696),
        ("vil2_base", 89_263_528),
    ],
)
def test_parameters_of_the_published_sizes(name, wanted):
    with torch.device("meta"):
        model = create_model(name)
    assert parameters(model) == wanted
    if name == "vil2_tiny":
        assert wanted - parameters(model.pooled_norm) == 6_390_760


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("size", [(64, 128), (96, 96), (128, 64)])
def test_other_images_give_what_a_model_built_for_them_gives(version, size):
    torch.manual_seed(0)
    options = {"dim": 16, "depth": 3, "version": version, "num_classes": 5}
    model = VisionLSTM(image_size=64, **options).eval()
    built = VisionLSTM(image_size=size, **options).eval()
    weights = model.state_dict()
    weights["pos_embed.embed"] = resize_positions(weights["pos_embed.embed"], built.patch_embed.grid(*size))
    built.load_state_dict(weights)
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        assert torch.allclose(model(images), built(images), atol=1e-6)


CONFIGURATIONS = st.fixed_dictionaries(
    {
        "version": st.sampled_from([1, 2]),
        "design": st.sampled_from(list(DESIGNS)),
        "pooling": st.sampled_from(list(POOLINGS)),
        "layer_scale": st.sampled_from([None, 0.5]),
        "form": st.sampled_from(["auto", "recurrent", "parallel", "chunkwise"]),
        "stride": st.sampled_from([8, 4]),  # at 4 patches overlap
        "channels": st.sampled_from([3, 1, 4]),
        "num_classes": st.sampled_from([3, 0]),
    }
)


MIDDLE_CLS = {"version": 1, "design": "bidirectional", "pooling": "middle_cls", "layer_scale": 0.5, "form": "chunkwise"}


@given(CONFIGURATIONS, st.sampled_from([(16, 32), (24, 24), (32, 16)]))
@example(MIDDLE_CLS | {"stride": 4, "channels": 1, "num_classes": 3}, (16, 32))
@settings(max_examples=8, deadline=None, derandomize=True)
def test_every_configuration(options, size):
    """An image alone and in a batch, of another size, taken from a block, checkpointed, saved: always the same."""
    if options["pooling"] == "middle_cls" and (options["version"] == 2 or "quad" in options["design"]):
        return  # refused, see below
    torch.manual_seed(0)
    options = {"dim": 16, "depth": 2, "patch_size": 8, "qkv_block_size": 2, "chunk_size": 4, **options}
    model, built = VisionLSTM(image_size=32, **options).eval(), VisionLSTM(image_size=size, **options).eval()
    images = torch.randn(2, options["channels"], *size, requires_grad=True)
    for p in model.parameters():
        p.data += 0.05 * torch.randn_like(p)  # nothing is left at a value that hides it
    out = model(images)
    torch.testing.assert_close(model(images[1:]), out[1:])
    torch.testing.assert_close(model.forward_head(model.forward_features(images)), out)
    weights = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.testing.assert_close(load_official_state_dict(built, weights)(images), out, rtol=1e-4, atol=1e-5)
    (last,) = model.forward_intermediates(images, 1, norm=True, intermediates_only=True)
    torch.testing.assert_close(last, model.feature_map(images))
    assert last.shape == (2, 16, *model.patch_embed.grid(*size))
    out.square().sum().backward()
    gradient, images.grad = images.grad, None
    model.set_grad_checkpointing()
    model(images).square().sum().backward()
    torch.testing.assert_close(images.grad, gradient)


def test_full_width_in_eager_mode():
    """Wide heads take another way through the chunks than the small models of these tests."""
    model = create_model("vil_tiny", depth=2, num_classes=3).train()
    model(torch.randn(1, 3, 224, 224)).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize(
    ("pooling", "wanted"),
    [
        ("avg", 6.078),
        ("middle_patch", 6.078),
        ("middle_cls", 6.079),
        ("bilateral_avg", 6.078),
        ("bilateral_concat", 6.271),
    ],
)
def test_parameters_of_the_classification_designs(pooling, wanted):
    with torch.device("meta"):
        model = VisionLSTM(image_size=192, pooling=pooling)
    assert round(parameters(model) / 1e6, 3) == wanted


SMALL = {"dim": 16, "depth": 2, "image_size": 32, "patch_size": 8, "num_classes": 3}
GRID_POOLINGS = [name for name in POOLINGS if name != "middle_cls"]  # a token between the patches: version 1 alone


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("pooling", GRID_POOLINGS)
def test_every_pooling_trains(pooling, version):
    trains(VisionLSTM(version=version, pooling=pooling, **SMALL))


@pytest.mark.parametrize("options", [{"pooling": "middle_cls"}, {"layer_scale": 1e-4, "drop_path": 0.1}])
def test_a_cls_token_layer_scale_and_drop_path_train(options):
    torch.manual_seed(0)
    model = VisionLSTM(**SMALL, **options)
    trains(model)
    if "layer_scale" in options:
        assert all(torch.equal(block.scale, torch.full((16,), 1e-4)) for block in model.encoder.blocks)


def trains(model):
    with torch.no_grad():  # the head starts at almost nothing
        model.head.weight.normal_()
    logits = model(torch.randn(8, 3, 32, 32))
    assert logits.shape == (8, 3)
    logits.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize(
    ("pooling", "version"), [*[(name, 1) for name in POOLINGS], *[(name, 2) for name in GRID_POOLINGS]]
)
def test_every_pooling_takes_the_tokens_that_its_name_says(pooling, version):
    model = VisionLSTM(version=version, pooling=pooling, **{**SMALL, "num_classes": 0, "image_size": 40}).eval()
    images = torch.randn(2, 3, 40, 40)  # 5 x 5 tokens: the middle of the sequence is the middle of the image
    with torch.no_grad():
        tokens, pooled = model.forward_features(images), model(images)
        if pooling == "middle_cls":
            assert tokens.shape == (2, 26, 16)
            assert torch.equal(model.embed(images)[0][:, 12], model.cls_token.expand(2, -1))
    first, last = tokens[:, 0], tokens[:, -1]
    wanted = {
        "avg": tokens.sum(1) / 25,
        "middle_patch": tokens[:, 12],
        "middle_cls": tokens[:, 12],
        "bilateral_avg": (first + last) / 2,
        "bilateral_concat": torch.cat([first, last], dim=1),
        "first": first,
        "last": last,
    }
    torch.testing.assert_close(pooled, wanted[pooling])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"version": 2}, "3 x 3 convolution of version=2 needs a grid"),
        ({"design": "quaddirectional"}, "reading columns, as in design='quaddirectional', needs a grid"),
        ({"design": "alternating_quaddirectional"}, "reading columns"),
    ],
)
def test_middle_cls_is_refused_where_a_grid_is_needed(options, reason):
    with pytest.raises(ValueError, match=f"pooling='middle_cls'.*{reason}.*use pooling='middle_patch', or version=1"):
        VisionLSTM(pooling="middle_cls", **SMALL, **options)


def test_middle_cls_asks_a_design_how_it_reads_not_what_it_is_called(monkeypatch):
    monkeypatch.setitem(DESIGNS, "mine", ([["row", "column"]], False))
    with pytest.raises(ValueError, match="pooling='middle_cls'.*reading columns, as in design='mine'"):
        VisionLSTM(pooling="middle_cls", design="mine", **SMALL)


def test_without_head_the_pooled_vector_comes_back():
    model = VisionLSTM(dim=16, depth=2, image_size=32, num_classes=0, version=2).eval()
    images = torch.randn(2, 3, 32, 32)
    tokens = model.forward_features(images)
    assert torch.equal(model(images), torch.cat([tokens[:, 0], tokens[:, -1]], -1))
    assert torch.equal(model.feature_map(images).flatten(2).mT, tokens)
    assert not any(key.startswith(("head", "pooled_norm")) for key in model.state_dict())


@pytest.mark.parametrize("version", [1, 2])
def test_a_saved_stride_16_checkpoint_in_a_stride_8_model(version, tmp_path, monkeypatch):
    options = {"dim": 16, "depth": 2, "version": version, "image_size": 224, "num_classes": 5}
    short, long = VisionLSTM(stride=16, **options), VisionLSTM(stride=8, **options).eval()
    torch.save(published_names(short), tmp_path / "stride16.th")
    weights = read_state_dict(tmp_path / "stride16.th")
    resizes = []
    for module in (layers, checkpoints):
        original = module.resize_positions
        monkeypatch.setattr(module, "resize_positions", lambda *args, f=original: resizes.append(args) or f(*args))
    load_official_state_dict(long, weights)

    own, saved = long.state_dict(), short.state_dict()
    positions = "pos_embed.embed"
    assert all(torch.equal(own[key], saved[key]) for key in saved if key != positions)
    assert saved[positions].shape == (1, 14, 14, 16) and own[positions].shape == (1, 27, 27, 16)
    bicubic = F.interpolate(saved[positions].permute(0, 3, 1, 2), size=(27, 27), mode="bicubic")
    assert torch.equal(own[positions], bicubic.permute(0, 2, 3, 1))

    images = torch.randn(1, 3, 224, 224)
    first = long.forward_features(images)
    assert first.shape == (1, 729, 16) and torch.equal(first, long.forward_features(images))
    load_official_state_dict(long, weights)  # from the saved 14 x 14 again
    assert torch.equal(long.pos_embed.embed, own[positions]) and len(resizes) == 2  # one in each load, none in a call
    torch.save(published_names(long), tmp_path / "stride8.th")
    load_official_state_dict(long, read_state_dict(tmp_path / "stride8.th"))  # has its own 27 x 27
    assert torch.equal(long.pos_embed.embed, own[positions]) and torch.equal(first, long.forward_features(images))


def published_names(model):
    """The model's weights under the names of the authors' stand-alone files: what load_official_state_dict undoes."""
    token_norm, pooled_norm = ("legacy_norm", "norm") if model.version == 1 else ("norm", "legacy_norm")
    names = {"token_norm.": f"{token_norm}.", "pooled_norm.": f"{pooled_norm}.", "layer.paths.0.": "layer."}
    names["conv."] = "conv1d.conv." if model.version == 1 else "conv."
    saved = {}
    for key, value in model.state_dict().items():
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        key = key.removeprefix("encoder.")
        if model.version == 2 and key.startswith("blocks."):
            _, number, rest = key.split(".", 2)
            corner = ("top_left", "bot_right")[int(number) % 2]
            key = f"blocks.{int(number) // 2}.rowwise_from_{corner}.{rest}"
        saved[key] = value
    return saved


def test_wrong_names_are_answered_with_the_right_ones():
    with pytest.raises(ValueError, match="did you mean 'vil_tiny'.*vil2_base"):
        create_model("vil_tin")
    with pytest.raises(ValueError, match="pooling must be one of avg"):
        VisionLSTM(pooling="max")
    with pytest.raises(ValueError, match="version must be 1"):
        VisionLSTM(version=3)
    assert set(SIZES) >= {"vil_tiny", "vil2_tiny"}
