"""Chapter 11: use what `python -m vil_lite` has trained: in Python, on a list of files, as ONNX.

classifier = vil_lite.load("runs/vil_lite/checkpoint.pt")
classifier.predict(["a.jpg", "b.png"])          # [[("cat", 0.93), ("dog", 0.05), ...], ...]
classifier.export("cats-and-dogs.onnx")
"""

import copy
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vil_lite._files import write
from vil_lite.checkpoints import TRAINING
from vil_lite.model import create_model

#: What a checkpoint says about its model (`about` of training.fit): all that is needed to build and use it.
ABOUT = ("model", "options", "classes", "image_size", "mean", "std")


def build_classifier(name: str, pretrained: bool | str = False, **options: Any) -> nn.Module:
    """The model of the command line: a name of vil_lite.model.SIZES, or deit3_tiny."""
    if name != "deit3_tiny":
        return create_model(name, pretrained, **options)
    if pretrained:
        raise ValueError("pretrained weights are published for Vision-LSTM alone, not for 'deit3_tiny'")
    from vil_lite.recipes import deit3_tiny

    return deit3_tiny(**options)


def load(path: str | Path) -> "Classifier":
    """The Classifier in a checkpoint.pt of `python -m vil_lite`, on the processor and ready to predict.

    Raises ValueError for a damaged file and for a checkpoint that does not say what its model is.
    """
    saved = read_checkpoint(path)
    about = saved.get("about")
    if not about or any(key not in about for key in ABOUT):
        raise ValueError(
            f"{path} holds weights, but not of what: build the model yourself, then "
            f"model.load_state_dict(torch.load({str(path)!r}, weights_only=True)['model'])"
        )
    model = build_classifier(about["model"], **about["options"])
    model.load_state_dict(saved["model"])
    return Classifier(model.eval(), *(about[key] for key in ABOUT[2:]))


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The dict in a checkpoint.pt of training.fit; nothing in the file is executed."""
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise OSError(f"{path}: {error.strerror}; pass the checkpoint.pt in the --out folder of the training") from None
    except OSError:
        raise
    except Exception as error:  # whatever torch.load meets in bytes that are none of its own
        raise ValueError(f"{path} is damaged, or no checkpoint of training ({type(error).__name__})") from None
    if isinstance(saved, dict) and TRAINING <= set(saved):
        return saved
    raise ValueError(
        f"{path} is a state dict, not a checkpoint of training: vil_lite.load_official_state_dict takes it"
    )


class Classifier(NamedTuple):
    """A trained model with what it takes and what its outputs mean.

    model: images (B, 3, image_size, image_size), normalised, to logits (B, len(classes)).   image_size: pixels.
    mean, std: of the normalisation, for red, green and blue in 0..1.
    """

    model: nn.Module
    classes: list[str]
    image_size: int
    mean: list[float]
    std: list[float]

    def prepare(self, image: Any) -> Tensor:
        """A file, or an RGB image of Pillow, as the model takes it: (3, image_size, image_size)."""
        from vil_lite.pictures import read
        from vil_lite.recipes import preprocess

        image = read(image) if isinstance(image, (str, Path)) else image
        return preprocess(self.image_size, self.mean, self.std)(image)

    @torch.no_grad()
    def predict(self, images: Sequence[Any], top: int = 5, batch_size: int = 32) -> list[list[tuple[str, float]]]:
        """For each of the images (files, or RGB images of Pillow) the `top` classes with their probabilities, best first."""
        if isinstance(images, (str, Path)) or not hasattr(images, "__len__"):
            raise ValueError(f"images must be a list of files or images, got {images!r}")
        weight, found = next(self.model.parameters()), []
        for start in range(0, len(images), batch_size):
            batch = torch.stack([self.prepare(image) for image in images[start : start + batch_size]])
            best = self.model(batch.to(weight)).float().softmax(1).topk(min(top, len(self.classes)), dim=1)
            for shares, labels in zip(best.values.tolist(), best.indices.tolist()):
                found.append([(self.classes[label], share) for label, share in zip(labels, shares)])
        return found

    def export(self, path: str | Path) -> Path:
        """Write the model as ONNX; returns path.  The file takes any number of images at once and appears whole or not at all.

        Input `images`: float32 (B, 3, image_size, image_size), RGB in 0..1; the normalisation is inside.   Output `logits`:
        (B, classes).   Metadata: `classes` (a JSON list) and `image_size`.   It is float32 whatever the model is in.
        """
        import onnx

        model, example = self._portable(), torch.rand(2, 3, self.image_size, self.image_size)
        options: dict[str, Any] = {
            "input_names": ["images"],
            "output_names": ["logits"],
            "verbose": False,
            "dynamo": True,
        }
        options["dynamic_shapes"] = ({0: "batch"},)
        options["custom_translation_table"] = {torch.ops.aten.softplus.default: _softplus}
        with tempfile.TemporaryDirectory() as folder:
            aside = Path(folder) / "model.onnx"
            torch.onnx.export(model, (example,), aside, **options)
            graph = onnx.load(aside)
        onnx.helper.set_model_props(graph, {"classes": json.dumps(self.classes), "image_size": str(self.image_size)})
        return write(path, graph.SerializeToString())

    def _portable(self) -> nn.Module:
        """A copy of the model for images in 0..1, with the normalisation inside: float32, on the processor, in evaluation."""
        model = copy.deepcopy(self.model).to("cpu", torch.float32)
        return nn.Sequential(Normalise(self.mean, self.std), model).eval()


def _softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + exp(x)) of operators that ONNX Runtime has for float64, in which the gates are: it has no Softplus for it."""
    from onnxscript import opset18

    op: Any = opset18

    one = op.CastLike(op.Constant(value_float=1.0), x)
    return op.Add(op.Relu(x), op.Log(op.Add(one, op.Exp(op.Neg(op.Abs(x))))))


class Normalise(nn.Module):
    """RGB in 0..1 -> (RGB - mean) / std"""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std
