"""Chapters 15 to 17: two trained detectors: aircraft on drawn airfields seen from above, 27 classes, 320 pixels of 0.55 m.

    from vil_lite.yolo.shipped import PLAIN, airfield_detector
    airfield_detector().predict("scene.png")[0].show()
    airfield_detector(PLAIN).predict("scene.png")[0].show()  # the same without ViL

weights/airfield27.md and airfield27-plain.md are their cards: how they were trained, how good they are, what they are not for.
"""

from pathlib import Path

import torch
from ultralytics import YOLO
from ultralytics.nn import tasks

from vil_lite._files import whole
from vil_lite.yolo import registration
from vil_lite.yolo.models import write_yaml

#: Metres of a pixel of the scenes that the detectors know: `airfield.build(..., metres_per_pixel=METRES_PER_PIXEL)`.
METRES_PER_PIXEL = 0.55
WEIGHTS = Path(__file__).parent / "weights" / "airfield27.pth"
PLAIN = WEIGHTS.with_name("airfield27-plain.pth")
LARGE = 4096  # matrices and kernels with at least so many numbers are packed in 8 bits; they are nearly all there is


def airfield_detector(weights: str | Path = WEIGHTS) -> YOLO:
    """A detector as an ultralytics YOLO: predict, val, export, or train on from its weights.  Needs no network.

    weights: a file that `pack` wrote; WEIGHTS is the detector with ViL, PLAIN the one without.  It is read, and its network
    built, under ultralytics' restricted loading, which runs no code from it.
    Raises FileNotFoundError when the file is not there, and ValueError when it is not one of `pack`'s.
    """
    if not Path(weights).is_file():
        raise FileNotFoundError(f"no weights at {weights}: install the package again, or name a file that pack() wrote")
    try:
        saved = torch.load(weights, map_location="cpu", weights_only=True)
        name, names, size, yaml = saved["model"], saved["names"], saved["imgsz"], saved["yaml"]
        state = {key: _unpacked(x) for key, x in saved["state"].items()}
        path = write_yaml(_file_name(name), {**yaml, "nc": len(names)}, "of packed weights")
        # Of a YAML, ultralytics otherwise evaluates the activation and calls what a row names.
        with tasks._SafeLoad.loading(weights):
            detector = YOLO(path, task="detect")
        detector.model.load_state_dict(state)
    except OSError:  # of the cache: it says what to do
        raise
    except Exception as error:
        raise ValueError(f"{weights} is damaged or not a file that pack() wrote ({type(error).__name__})") from error
    detector.model.names = names
    detector.model.eval()
    detector.ckpt = {"model": detector.model}  # tells YOLO.train() that these weights count
    detector.overrides["imgsz"] = size
    return detector


def pack(checkpoint: str | Path, weights: str | Path, name: str, imgsz: int) -> None:
    """Write the weights of an ultralytics checkpoint to a file of about one byte a parameter.

    checkpoint: path of a .pt file of one's own training.   weights: path to write.   name: what to call the model.
    imgsz: pixels of a side that it was trained for.
    Raises ValueError for a checkpoint of another task, of other than 3 channels or of a fused network, and for a name that is
    no file's or that ultralytics reads as another scale.
    Matrices and kernels become 8-bit integers, with one scale for each output channel: no weight moves by more than half of a
    127th of the largest in its channel.  What is small stays as it is.
    """
    network = YOLO(checkpoint).model
    if (channels := network.yaml.get("channels", 3)) != 3:
        raise ValueError(f"checkpoint: {checkpoint} takes images of {channels} channels; pack() takes detectors of 3")
    if network.task != "detect":
        raise ValueError(f"checkpoint: {checkpoint} is for the task {network.task!r}; pack() takes detectors")
    if not any(".bn." in key for key in network.state_dict()):
        raise ValueError(f"checkpoint: {checkpoint} is fused; name one that was saved before fuse()")
    yaml = {key: value for key, value in network.yaml.items() if key not in ("yaml_file", "scale", "channels")}
    letter = tasks.guess_model_scale(_file_name(name))
    if scales := yaml.get("scales"):
        scale = registration._scale(network.yaml) or next(iter(scales))
        if letter not in ("", scale):
            raise ValueError(f"name: ultralytics reads {name!r} as scale {letter}, and {checkpoint} has scale {scale}")
        yaml["scales"] = {scale: scales[scale]}
    state = {key: _packed(x) for key, x in network.state_dict().items()}
    packed = {"model": name, "yaml": yaml, "names": dict(network.names), "imgsz": imgsz, "state": state}
    with whole(weights, "wb") as file:
        torch.save(packed, file)


def _file_name(name):
    if Path(name).name != name:
        raise ValueError(f"name: {name!r} must be the name of a file, without folders")
    return name


def _packed(x):
    if not x.is_floating_point() or x.ndim < 2 or x.numel() < LARGE:
        return x
    x = x.float()
    scale = x.flatten(1).abs().amax(dim=1).clamp(min=torch.finfo().tiny) / 127
    return {"scale": scale, "integers": (x / _along(scale, x)).round().to(torch.int8)}


def _unpacked(x):
    if isinstance(x, dict):
        return _along(x["scale"], x["integers"]) * x["integers"]
    return x.float() if x.is_floating_point() else x


def _along(scale, x):
    """One number for each output channel, shaped to multiply x: (channels,) -> (channels, 1, ...)."""
    return scale.view(-1, *[1] * (x.ndim - 1))
