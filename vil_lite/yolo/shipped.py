"""Chapters 15 and 17: a trained detector: aircraft on drawn airfields seen from above, 27 classes, 320 pixels.

    from vil_lite.yolo.shipped import airfield_detector
    airfield_detector().predict("scene.png")[0].show()

weights/airfield27.md is its card: how it was trained, how good it is, what it is not for.
"""

from pathlib import Path

import torch
from ultralytics import YOLO

from vil_lite._files import whole
from vil_lite.yolo.models import model_yaml, write_yaml

#: Of files that do not hold their model's YAML: there a single block read forwards only.
OLD = {"design": "alternating_bidirectional"}
WEIGHTS = Path(__file__).parent / "weights" / "airfield27.pth"


def airfield_detector(weights: str | Path = WEIGHTS) -> YOLO:
    """The detector as an ultralytics YOLO: predict, val, export, or train on from its weights.  Needs no network.

    weights: a file that `pack` wrote.  It is read with restricted loading, which runs no code from it.
    Raises FileNotFoundError when the file is not there, and ValueError when it is not one of `pack`'s.
    """
    if not Path(weights).is_file():
        raise FileNotFoundError(f"no weights at {weights}: install the package again, or name a file that pack() wrote")
    try:
        saved = torch.load(weights, map_location="cpu", weights_only=True)
        name, names, size, state = saved["model"], saved["names"], saved["imgsz"], saved["state"]
    except Exception as error:
        raise ValueError(f"{weights} is damaged or not a file that pack() wrote ({type(error).__name__})") from error
    if "yaml" in saved:
        yaml = write_yaml(name, {**saved["yaml"], "nc": len(names)}, "of packed weights")
    else:
        yaml = model_yaml(name, nc=len(names), **OLD)
    detector = YOLO(yaml, task="detect")
    detector.model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    detector.model.names = names
    detector.model.eval()
    detector.ckpt = {"model": detector.model}  # tells YOLO.train() that these weights count
    detector.overrides["imgsz"] = size
    return detector


def pack(checkpoint: str | Path, weights: str | Path, name: str, imgsz: int) -> None:
    """Write the weights of an ultralytics checkpoint to a file of half the size: matrices and kernels in half precision.

    checkpoint: path of a .pt file of one's own training.   weights: path to write.   name: what to call the model.
    imgsz: pixels of a side that it was trained for.
    """
    network = YOLO(checkpoint).model
    state = {k: v.half() if v.is_floating_point() and v.ndim > 1 else v for k, v in network.state_dict().items()}
    yaml = {key: value for key, value in network.yaml.items() if key not in ("yaml_file", "scale", "channels")}
    if scale := network.yaml.get("scale"):
        yaml["scales"] = {scale: yaml["scales"][scale]}
    packed = {"model": name, "yaml": yaml, "names": dict(network.names), "imgsz": imgsz, "state": state}
    with whole(weights, "wb") as file:
        torch.save(packed, file)
