"""The names in timm, whichever is imported first, and feature maps for dense work."""

import subprocess
import sys

import pytest
import timm
import torch

import vil_lite
from vil_lite.model import SIZES


@pytest.mark.parametrize("first", ["vil_lite", "timm"])
def test_either_order_of_imports_registers_and_the_core_import_leaves_timm_alone(first):
    second = {"vil_lite": "timm", "timm": "vil_lite"}[first]
    code = f"""
import sys, warnings
warnings.simplefilter("error", UserWarning)
import {first}
assert ("timm" in sys.modules) == ({first!r} == "timm")
import {second}
assert "vil_tiny" in timm.list_models("vil*"), timm.list_models("vil*")
assert timm.create_model("vil_tiny", depth=1, num_classes=10).head.out_features == 10
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_name_is_listed():
    assert set(timm.list_models("vil*")) >= set(SIZES)


def test_options_of_timm():
    options = {"depth": 2, "num_classes": 5, "in_chans": 1, "img_size": (64, 96), "drop_path_rate": 0.1, "global_pool": "avg"}
    model = timm.create_model("vil_tiny", **options)
    assert model.pos_embed.embed.shape == (1, 4, 6, 192)
    assert model.pooling == "avg" and model.encoder.blocks[0].drop_path.p == 0.1
    assert model(torch.randn(1, 1, 64, 96)).shape == (1, 5)
    config = timm.data.resolve_model_data_config(model)
    assert config["interpolation"] == "bicubic" and config["mean"] == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("version", ["vil_tiny", "vil2_tiny"])
def test_feature_maps_of_a_non_square_image(version):
    torch.manual_seed(0)
    net = timm.create_model(version, features_only=True, out_indices=(0, 2, -1), depth=4).eval()
    images = torch.randn(2, 3, 64, 160)
    with torch.no_grad():
        maps = net(images)
        last = net.model.token_norm(maps[-1].flatten(2).mT).mT.unflatten(2, (4, 10))
        assert torch.allclose(last, net.model.feature_map(images), atol=1e-6)
    assert [tuple(m.shape) for m in maps] == [(2, 192, 4, 10)] * 3
    assert net.feature_info.channels() == [192] * 3 and net.feature_info.reduction() == [16] * 3
    assert net.feature_info.module_name() == ["encoder.blocks.0", "encoder.blocks.2", "encoder.blocks.3"]
    sum(m.sum() for m in net(images)).backward()
    assert net.model.patch_embed.proj.weight.grad.abs().sum() > 0


def test_feature_maps_leave_the_cls_token_out():
    model = vil_lite.VisionLSTM(dim=16, depth=2, image_size=(48, 80), num_classes=0, pooling="middle_cls").eval()
    images = torch.randn(1, 3, 48, 80)  # 15 tokens, the learned one is inserted at 7
    tokens = model.forward_features(images)
    assert tokens.shape == (1, 16, 16)
    assert torch.equal(model(images), tokens[:, 7])
    assert torch.equal(model.feature_map(images).flatten(2).mT, torch.cat([tokens[:, :7], tokens[:, 8:]], 1))
    assert model.feature_maps(images, [1])[0].shape == (1, 16, 3, 5)


def test_wrong_blocks_are_named():
    with pytest.raises(ValueError, match="out_indices must lie in 0 .. 1, got"):
        timm.create_model("vil_tiny", depth=2, features_only=True)
    with pytest.raises(ValueError, match="blocks must lie in 0 .. 0, got"):
        vil_lite.VisionLSTM(dim=16, depth=1).feature_maps(torch.randn(1, 3, 32, 32), [4])
