"""Training in bfloat16 by lightning, and its checkpoint read back."""

import pytest
import torch

from vil_lite import VisionLSTM, load_official_state_dict
from vil_lite.checkpoints import read_state_dict

lightning = pytest.importorskip("lightning", reason="pip install 'vil-lite[clients]'")
SMALL = {"dim": 32, "depth": 2, "image_size": 32, "patch_size": 8, "num_classes": 3}


class Classifier(lightning.LightningModule):
    def __init__(self, version):
        super().__init__()
        self.model = VisionLSTM(version=version, **SMALL)

    def training_step(self, batch, _):
        images, labels = batch
        return torch.nn.functional.cross_entropy(self.model(images), labels)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 1e-3)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_bfloat16(version, precision, tmp_path):
    torch.manual_seed(0)
    examples = torch.utils.data.TensorDataset(torch.randn(16, 3, 32, 32), torch.arange(16) % 3)
    module = Classifier(version)
    before = {name: p.detach().clone() for name, p in module.model.named_parameters()}
    trainer = lightning.Trainer(
        accelerator="cpu",
        precision=precision,
        max_steps=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, torch.utils.data.DataLoader(examples, batch_size=8))
    assert trainer.global_step == 3
    for p in module.model.parameters():
        assert torch.isfinite(p).all() and p.dtype == (torch.bfloat16 if precision == "bf16-true" else torch.float32)
    assert any((p.float() != before[name]).any() for name, p in module.model.named_parameters())
    trainer.save_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    fresh = load_official_state_dict(VisionLSTM(version=version, **SMALL), read_state_dict(tmp_path / "last.ckpt"))
    assert torch.equal(fresh.head.weight, module.model.head.weight.float())
