"""Designs against the authors' reference; directions, errors, drop path."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vil_lite.block import DESIGNS, ViLBlock, ViLEncoder, ViLLayer
from vil_lite.checkpoints import official_name
from vil_lite.layers import LayerNorm
from vil_lite.traversal import restore, traverse

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("design", DESIGNS)
def test_design_equals_the_authors_reference(design):
    z = np.load(GOLDEN / f"design_{design}.npz")
    config = json.loads(str(z["config"]))
    # the reference rounds the inner width up to a multiple of 64
    encoder = ViLEncoder(config["dim"], config["depth"], design, expansion=64 / config["dim"])
    stack = torch.nn.ModuleDict({"encoder": encoder, "token_norm": LayerNorm(config["dim"])}).double()
    weights = {key[3:]: torch.from_numpy(z[key]) for key in z if key.startswith("sd/")}
    stack.load_state_dict({official_name("xlstm." + key, version=1): value for key, value in weights.items()})
    x, wanted = torch.from_numpy(z["x"]).double(), torch.from_numpy(z["y"])
    y = stack["token_norm"](stack["encoder"](x, tuple(config["grid"])))
    assert (y - wanted).abs().max() < 1e-6 * wanted.abs().max()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("grid", [(3, 5), (1, 7), (4, 4)])
def test_every_design_takes_every_grid(version, design, grid):
    encoder = ViLEncoder(16, 4, design, version)
    x = torch.randn(2, grid[0] * grid[1], 16, requires_grad=True)
    y = encoder(x, grid)
    assert y.shape == x.shape
    y.sum().backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("direction", ["row_reversed", "column", "column_reversed"])
def test_a_direction_is_a_relabelling_of_tokens(direction):
    """A version-1 layer in any direction = the row layer between traverse and restore."""
    layer = ViLLayer(16, ["row"]).double()
    turned = ViLLayer(16, [direction]).double()
    turned.load_state_dict(layer.state_dict())
    x, grid = torch.randn(2, 12, 16, dtype=torch.float64), (3, 4)
    wanted = restore(layer(traverse(x, grid, direction), grid), grid, direction)
    assert torch.allclose(turned(x, grid), wanted, atol=1e-12)


@pytest.mark.parametrize("form", ["recurrent", "parallel", "chunkwise", "auto"])
def test_forms_of_the_layer_agree(form):
    torch.manual_seed(0)
    layer = ViLLayer(16, form=form, chunk_size=8).double()
    reference = ViLLayer(16, form="recurrent").double()
    for p in layer.parameters():
        torch.nn.init.normal_(p, std=0.3)
    reference.load_state_dict(layer.state_dict())
    x = torch.randn(2, 35, 16, dtype=torch.float64)
    assert torch.allclose(layer(x, (5, 7)), reference(x, (5, 7)), atol=1e-10)


def test_gates_start_where_the_authors_start_them():
    cell = ViLLayer(64).paths[0].mlstm_cell
    assert cell.fgate.bias.tolist() == [3, 4, 5, 6]
    assert cell.fgate.weight.abs().sum() == 0 == cell.igate.weight.abs().sum()


def test_drop_path_drops_samples_and_only_in_training():
    block = ViLBlock(16, drop_path=0.5)
    x = torch.randn(64, 4, 16)
    dropped = (block(x, (2, 2)) == x).flatten(1).all(1)
    assert 0 < dropped.sum() < 64
    block.eval()
    assert not (block(x, (2, 2)) == x).flatten(1).all(1).any()


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="design must be one of unidirectional"):
        ViLEncoder(16, 2, "spiral")
    with pytest.raises(ValueError, match=r"design must be one of .*, got \[\['row'\]\]"):
        ViLEncoder(16, 2, [["row"]])
    with pytest.raises(ValueError, match="version must be 1"):
        ViLBlock(16, version=3)
    with pytest.raises(ValueError, match="directions must be a list from row"):
        ViLBlock(16, "diagonal")
    with pytest.raises(ValueError, match="form must be auto"):
        ViLBlock(16, form="fast")
    with pytest.raises(ValueError, match="must be a multiple of num_heads"):
        ViLBlock(10)
    with pytest.raises(ValueError, match=r"grid = \(H, W\)"):
        ViLBlock(16)(torch.randn(1, 12, 16), (3, 3))
