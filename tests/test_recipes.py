"""The ingredients of Tables 5 and 6: what is decayed, how the rate goes, what is mixed, averaged and augmented."""

import re

import pytest
import timm.optim
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from vil_lite import create_model
from vil_lite.complexity import parameters
from vil_lite.model import SIZES
from vil_lite.recipes import (
    RECIPES,
    augment,
    average,
    decay_groups,
    deit3_tiny,
    is_head,
    learning_rate,
    mixer,
    preprocess,
    recipe,
)

SMALL = {"image_size": 8, "patch_size": 2, "channels": 1, "num_classes": 10}


@pytest.mark.parametrize(
    "model",
    [
        create_model("vil_tiny", dim=16, depth=2, pooling="middle_cls", **SMALL),
        create_model("vil2_tiny", dim=16, depth=2, **SMALL),
        deit3_tiny(dim=24, depth=2, **SMALL),
    ],
    ids=["v1", "v2", "deit3"],
)
def test_decay_is_on_matrices_and_kernels(model):
    free = re.compile(r"bias$|norm\d?\.weight$|learnable_skip$|pos_embed|cls_token|ls\d\.gamma$")
    names = {id(p): name for name, p in model.named_parameters()}
    decayed, not_decayed = ({names[id(p)] for p in group["params"]} for group in decay_groups(model, 0.05))
    assert not_decayed == {name for name in names.values() if free.search(name)}
    assert decayed == set(names.values()) - not_decayed
    assert [group["weight_decay"] for group in decay_groups(model, 0.05)] == [0.05, 0.0]


@pytest.mark.parametrize("name", ["vil_tiny", "vil2_tiny", "deit3_tiny"])
def test_layers_learn_slower_the_deeper_they_lie(name):
    depth = 3
    model = (
        deit3_tiny(dim=24, depth=depth, **SMALL)
        if name == "deit3_tiny"
        else create_model(name, dim=16, depth=depth, **SMALL)
    )
    groups = decay_groups(model, 0.05, layer_decay=0.65)
    assert len(groups) == 2 * (depth + 2)
    theirs = timm.optim.param_groups_layer_decay(model, 0.05, model.no_weight_decay(), layer_decay=0.65)
    found, wanted = (
        {id(p): (round(group["lr_scale"], 9), group["weight_decay"]) for group in those for p in group["params"]}
        for those in (groups, theirs)
    )
    assert found == wanted and len(found) == len(list(model.parameters()))
    for wrapped in (nn.DataParallel(model), torch.compile(model), nn.DataParallel(torch.compile(model))):
        again = decay_groups(wrapped, 0.05, layer_decay=0.65)
        assert [[id(p) for p in g["params"]] for g in again] == [[id(p) for p in g["params"]] for g in groups]
        heads = {"head", "pooled_norm", "fc_norm"}
        assert {n for n, _ in wrapped.named_parameters() if is_head(n)} == {
            n for n, _ in wrapped.named_parameters() if heads & set(n.split("."))
        }
    with pytest.raises(ValueError, match="layer_decay must be above 0"):
        decay_groups(model, 0.05, layer_decay=0)
    with pytest.raises(ValueError, match="list of blocks called `blocks`"):
        decay_groups(nn.Linear(2, 2), 0.05, layer_decay=0.65)


def test_learning_rate_goes_up_in_a_line_and_down_as_torchs_cosine():
    rates = [learning_rate(step, 50, 10, lr=1.0, min_lr=0.1) for step in range(50)]
    assert rates[:11] == pytest.approx([(i + 1) / 11 for i in range(11)])
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40, eta_min=0.1)
    for rate in rates[10:]:
        assert rate == pytest.approx(cosine.get_last_lr()[0])
        optimizer.step()
        cosine.step()


def test_mixer():
    assert mixer(0, 0, 10) is None
    images, labels = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 1, 4, 4), torch.arange(8)
    kinds = set()
    for seed in range(20):
        torch.manual_seed(seed)
        mixed, targets = mixer(0.8, 1.0, 8)(images, labels)
        assert targets.shape == (8, 8)
        torch.testing.assert_close((targets * torch.arange(8.0)).sum(1), mixed.mean((1, 2, 3)), atol=1e-4, rtol=0)
        kinds.add("mixup" if (mixed == mixed[:, :, :1, :1]).all() else "cutmix")
    assert kinds == {"mixup", "cutmix"}


def test_average_is_short_at_first_then_has_its_decay():
    model = nn.Linear(1, 1, bias=False)
    averaged = AveragedModel(model, multi_avg_fn=average(0.6))
    values, wanted = [3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0, 6.0, 5.0, 3.0, 5.0], None
    for count, value in enumerate(values):
        nn.init.constant_(model.weight, value)
        averaged.update_parameters(model)
        decay = min(0.6, (1 + count) / (10 + count))
        wanted = value if wanted is None else decay * wanted + (1 - decay) * value
        assert averaged.module.weight.item() == pytest.approx(wanted, rel=1e-5)


def test_recipes_are_the_papers():
    half = recipe("vil_base", batch_size=512, epochs=3)
    assert (half.fit["lr"], half.fit["epochs"], half.fit["batch_size"]) == (5e-4, 3, 512)
    with pytest.raises(ValueError, match="no recipe is called 'vil_huge'.*; there are: vil_tiny"):
        recipe("vil_huge")
    with pytest.raises(ValueError, match=r"did you mean 'vil2_tiny'\?"):
        recipe("vil2_tinny")
    assert recipe("vil_tiny", batch_size=0).fit["batch_size"] == 0  # for fit to refuse
    assert {name for name in RECIPES if name.startswith("vil_")} <= set(SIZES)


SHARED = {"min_lr": 1e-6, "warmup": 5, "weight_decay": 0.05, "mixup": 0.8, "cutmix": 1.0}


@pytest.mark.parametrize(
    ("name", "drop_path", "epochs", "batch_size"),
    [
        ("vil_tiny", 0.0, 800, 2048),
        ("vil_tinyplus", 0.0, 800, 2048),
        ("vil_small", 0.05, 400, 1024),
        ("vil_smallplus", 0.05, 400, 1024),
        ("vil_base", 0.2, 400, 2048),
    ],
)
def test_every_value_of_table_5(name, drop_path, epochs, batch_size):
    found = recipe(name)
    share = batch_size / 1024
    wanted = {
        **SHARED,
        "min_lr": 1e-6 * share,
        "lr": 1e-3 * share,
        "clip": 1.0,
        "epochs": epochs,
        "batch_size": batch_size,
    }
    assert (found.image_size, found.model, found.fit) == (224, {"drop_path": drop_path}, wanted)
    long = recipe("long_sequence").fit
    assert long == {
        **wanted,
        "epochs": 30,
        "batch_size": 1024,
        "lr": 1e-5,
        "min_lr": 1e-5,
        "warmup": 0,
        "weight_decay": 1e-8,
    }


def test_every_value_of_table_6():
    first, second = recipe("deit3_tiny"), recipe("deit3_tiny_224")
    wanted = {**SHARED, "lr": 1e-3, "clip": None, "epochs": 800, "batch_size": 1024}
    assert (first.image_size, first.model, first.fit) == (192, {"drop_path": 0.0}, wanted)
    assert (second.image_size, second.fit) == (224, {**wanted, "epochs": 20, "lr": 1e-5})


def test_augmentation_of_table_5():
    crop, flip, *_, three, jitter, normalise = augment(224).transforms
    assert (crop.size, tuple(crop.scale), crop.interpolation.value) == ((224, 224), (0.08, 1.0), "bicubic")
    assert flip.p == 0.5
    assert [type(one).__name__ for one in three.transforms] == ["Grayscale", "RandomSolarize", "GaussianBlur"]
    assert (three.transforms[1].p, tuple(three.transforms[2].sigma)) == (1.0, (0.1, 2.0))
    assert (
        tuple(jitter.brightness) == tuple(jitter.contrast) == tuple(jitter.saturation) == (0.7, 1.3)
        and jitter.hue is None
    )
    assert (tuple(normalise.mean), tuple(normalise.std)) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_every_recipe_is_taken_by_fit():
    import inspect

    from vil_lite.training import fit

    for name in RECIPES:
        inspect.signature(fit).bind(None, None, **recipe(name).fit)


def test_photographs_become_tensors():
    from PIL import Image

    wide = Image.effect_noise((60, 40), 80).convert("RGB")
    for transform in (augment(32), preprocess(32)):
        x = transform(wide)
        assert (x.shape, x.dtype) == ((3, 32, 32), torch.float32)
    torch.manual_seed(0)
    first = augment(32)(wide)
    assert not torch.equal(first, augment(32)(wide))
    torch.manual_seed(0)
    assert torch.equal(first, augment(32)(wide))
    assert torch.equal(preprocess(32)(wide), preprocess(32)(wide))
    white = preprocess(32)(Image.new("RGB", (60, 40), "white"))
    wanted = [(1 - m) / s for m, s in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    torch.testing.assert_close(white.mean((1, 2)), torch.tensor(wanted))


def test_deit3_tiny_is_the_plain_transformer():
    model = deit3_tiny(image_size=224)
    block = (
        2 * 2 * 192 + (192 * 3 * 192 + 3 * 192) + (192 * 192 + 192) + (2 * 4 * 192 * 192 + 5 * 192) + 2 * 192
    )  # last: LayerScale
    rest = (3 * 16 * 16 + 1) * 192 + 192 + 196 * 192 + 2 * 192 + 193 * 1000  # patches, [CLS], positions, norm, head
    assert parameters(model) == 12 * block + rest
    assert model.blocks[0].ls1.gamma.unique().item() == pytest.approx(1e-4)
    assert model.blocks[0].attn.num_heads == 3
    assert deit3_tiny(dim=24, depth=2, **SMALL)(torch.rand(2, 1, 8, 8)).shape == (2, 10)
