"""What timm's train.py, validate.py and benchmark.py do with a model, on a folder of pictures.

The scripts are in no package of timm, and so not run here; their parts and their calls are.
"""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.models import load_checkpoint, model_parameters
from timm.optim import create_optimizer_v2
from timm.utils import CheckpointSaver, ModelEmaV3, NativeScaler

import vil_lite.zoo
from vil_lite.checkpoints import read_state_dict

# as train.py passes them: those that are None are left out by timm.create_model
ARGUMENTS = {"drop_rate": 0.1, "drop_path_rate": 0.1, "drop_block_rate": None, "global_pool": None, "scriptable": False}


@pytest.mark.parametrize("name", ["vil_tiny", "vil2_tiny"])
def test_train_save_and_validate(name, tmp_path):
    torch.manual_seed(0)
    pixels = np.random.default_rng(0)
    for place in ("a", "b"):
        (tmp_path / "train" / place).mkdir(parents=True)
        for n in range(4):
            picture = Image.fromarray(pixels.integers(0, 255, (40, 48, 3), dtype=np.uint8))
            picture.save(tmp_path / "train" / place / f"{n}.png")
    options = {"depth": 2, "num_classes": 2, "img_size": 32}
    model = timm.create_model(name, in_chans=3, **ARGUMENTS, **options)
    model.set_grad_checkpointing(True)
    config = resolve_data_config({"img_size": 32}, model=model)
    assert config["input_size"] == (3, 32, 32) and config["crop_pct"] == 1.0
    data = create_dataset("", root=str(tmp_path / "train"), split="train", is_training=True)
    wanted = ("input_size", "interpolation", "mean", "std")
    loader = create_loader(
        data,
        batch_size=4,
        is_training=True,
        use_prefetcher=False,
        num_workers=0,
        **{key: config[key] for key in wanted},
    )
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05, layer_decay=0.65)
    scaler, average = NativeScaler(device="cpu"), ModelEmaV3(model, decay=0.9)
    saver = CheckpointSaver(
        model, optimizer, model_ema=average, amp_scaler=scaler, checkpoint_dir=str(tmp_path), recovery_dir=str(tmp_path)
    )
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    model.train()
    for images, labels in loader:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        scaler(loss, optimizer, clip_grad=1.0, parameters=model_parameters(model))
        average.update(model)
    assert torch.isfinite(loss) and all((p != before[key]).any() for key, p in model.named_parameters() if p.ndim > 1)
    saver.save_checkpoint(0, metric=1.0)

    images = next(iter(loader))[0]
    again = timm.create_model(name, **options)
    load_checkpoint(again, str(tmp_path / "last.pth.tar"), use_ema=True)
    with torch.no_grad():
        assert torch.equal(again.eval()(images), average.module.eval()(images))
    ours = vil_lite.create_model(name, depth=2, num_classes=2, image_size=32)
    vil_lite.load_official_state_dict(ours, read_state_dict(tmp_path / "last.pth.tar", key="state_dict_ema"))
    with torch.no_grad():
        assert torch.equal(ours.eval()(images), again(images))


@pytest.mark.parametrize("name", ["vil_tiny", "vil2_tiny"])
def test_benchmark_in_each_precision_and_layout(name):
    """As benchmark.py builds, infers and trains; validate.py wants inference_mode, and autocast for --amp."""
    torch.manual_seed(0)
    images = torch.randn(2, 3, 64, 32)
    models = {}
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        torch.manual_seed(1)
        model = timm.create_model(name, num_classes=None, in_chans=3, depth=2, **{**ARGUMENTS, "drop_rate": 0.0})
        torch.nn.init.normal_(model.get_classifier().weight)
        models[dtype] = model.to(dtype=dtype, memory_format=torch.channels_last).eval()
        assert model.num_classes == 1000
    with torch.inference_mode():
        wanted = models[torch.float32](images)
        assert torch.equal(models[torch.float32](images.contiguous(memory_format=torch.channels_last)), wanted)
        with torch.autocast("cpu", torch.bfloat16):
            found = {"amp": models[torch.float32](images)}
        found |= {dtype: model(images.to(dtype)) for dtype, model in models.items()}
    for precision, logits in found.items():
        assert (logits.float() - wanted).abs().max() < 0.05 * wanted.abs().max(), precision
    for dtype in (torch.float32, torch.bfloat16):
        model = models[dtype].train()
        before = {key: p.detach().clone() for key, p in model.named_parameters()}
        optimizer = create_optimizer_v2(model, opt="sgd", lr=0.1)
        torch.nn.functional.cross_entropy(model(images.to(dtype)), torch.tensor([3, 999])).backward()
        optimizer.step()
        assert all(torch.isfinite(p).all() for p in model.parameters())
        assert any((p != before[key]).any() for key, p in model.named_parameters() if "blocks.0" in key)
