"""accelerate: training in bfloat16, and what it saves (safetensors) read back.  vil_lite.training is tested elsewhere."""

import pytest
import torch

from vil_lite import VisionLSTM, load_official_state_dict
from vil_lite.checkpoints import read_state_dict

accelerate = pytest.importorskip("accelerate", reason="pip install 'vil-lite[train]'")
SMALL = {"dim": 32, "depth": 2, "image_size": 32, "patch_size": 8, "num_classes": 3}


@pytest.fixture(autouse=True)
def one_precision_for_this_test():
    """A process has one precision, the first that is asked for: forget it before and after, or other tests fail."""
    accelerate.state.AcceleratorState._reset_state(True)
    yield
    accelerate.state.AcceleratorState._reset_state(True)


@pytest.mark.parametrize("version", [1, 2])
def test_a_step_and_a_saved_model(version, tmp_path):
    torch.manual_seed(0)
    accelerator = accelerate.Accelerator(cpu=True, mixed_precision="bf16")
    model = VisionLSTM(version=version, **SMALL)
    model, optimiser = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), 1e-3))
    loss = torch.nn.functional.cross_entropy(model(torch.randn(4, 3, 32, 32)), torch.tensor([0, 1, 2, 0]))
    accelerator.backward(loss)
    optimiser.step()
    accelerator.save_model(model, tmp_path)
    fresh = load_official_state_dict(
        VisionLSTM(version=version, **SMALL), read_state_dict(tmp_path / "model.safetensors")
    )
    trained = accelerator.unwrap_model(model).state_dict()
    assert all(torch.equal(value, trained[key]) for key, value in fresh.state_dict().items())


def test_an_empty_model_is_filled_from_a_file(tmp_path):
    trained = VisionLSTM(**SMALL).eval()
    torch.save(trained.state_dict(), tmp_path / "vil.pt")
    with accelerate.init_empty_weights():
        empty = VisionLSTM(**SMALL).eval()
    assert all(p.is_meta for p in empty.parameters())
    filled = accelerate.load_checkpoint_and_dispatch(empty, str(tmp_path / "vil.pt"), device_map={"": "cpu"})
    images = torch.randn(1, 3, 48, 32)
    with torch.no_grad():
        assert torch.equal(filled(images), trained(images))
