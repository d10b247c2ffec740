"""The model against the authors' reference; sizes; any image; pooling; errors."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vil_lite import VisionLSTM, create_model, load_official_state_dict
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
    assert sum(p.numel() for p in model.parameters()) == wanted
    if name == "vil2_tiny":
        assert wanted - sum(p.numel() for p in model.pooled_norm.parameters()) == 6_390_760


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
        assert torch.allclose(model(images), model(images))  # the second call uses the kept positions


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling_trains(pooling):
    model = VisionLSTM(dim=16, depth=2, image_size=32, patch_size=8, num_classes=3, pooling=pooling)
    with torch.no_grad():  # the head starts at almost nothing
        model.head.weight.normal_()
    logits = model(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 3)
    logits.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_without_head_the_pooled_vector_comes_back():
    model = VisionLSTM(dim=16, depth=2, image_size=32, num_classes=0, version=2).eval()
    images = torch.randn(2, 3, 32, 32)
    tokens = model.forward_features(images)
    assert torch.equal(model(images), torch.cat([tokens[:, 0], tokens[:, -1]], -1))
    assert torch.equal(model.feature_map(images).flatten(2).mT, tokens)
    assert not any(key.startswith(("head", "pooled_norm")) for key in model.state_dict())


def test_long_sequences_by_stride():
    with torch.device("meta"):
        model = create_model("vil_tiny", stride=8)
        assert model.forward_features(torch.empty(1, 3, 224, 224)).shape == (1, 729, 192)


def test_wrong_names_are_answered_with_the_right_ones():
    with pytest.raises(ValueError, match="did you mean 'vil_tiny'.*vil2_base"):
        create_model("vil_tin")
    with pytest.raises(ValueError, match="pooling must be one of bilateral_avg"):
        VisionLSTM(pooling="max")
    with pytest.raises(ValueError, match="version must be 1"):
        VisionLSTM(version=3)
    assert set(SIZES) >= {"vil_tiny", "vil2_tiny"}
