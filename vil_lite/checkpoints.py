"""Chapter 10: official Vision-LSTM checkpoints: their files, and from their key names to ours, strictly.

Two layouts are published, and both exist for version 1 and 2:
    raw          as the authors' training wrote it: `xlstm.blocks.3.xlstm.q_proj.weight`, `head.0.weight`, ...
    stand-alone  of their one-file model: `blocks.3.layer.q_proj.weight` (version 2 in pairs:
                 `blocks.1.rowwise_from_bot_right.layer.q_proj.weight` is block 3)
The name `legacy_norm` changes sides: in version 1 it is the norm of the tokens, in version 2 that of the pooled vector.
"""

import os
import pickle
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vil_lite._names import did_you_mean
from vil_lite.download import cache_folder, download
from vil_lite.layers import resize_positions

StateDict = dict[str, Tensor]
Model = TypeVar("Model", bound=nn.Module)

URL = "https://ml.jku.at/research/vision_lstm/download/"

#: name of a model -> its published files, the best for 224 x 224 first.  "_stride8" goes with stride=8.
FILES = {
    "vil_tiny": ("vil_tiny16_e800_in1k.th", "vil_tiny16_e400_in1k.th"),
    "vil_tinyplus": ("vil_tinyplus16_e800_in1k.th", "vil_tinyplus16_e400_in1k.th"),
    "vil_small": ("vil_small16_e400_in1k.th",),
    "vil_smallplus": ("vil_smallplus16_e400_in1k.th", "vil_smallplus16_e400_in1k_stride8.th"),
    "vil_base": ("vil_base16_e400_in1k.th", "vil_base16_e400_in1k_stride8.th"),
    "vil2_tiny": ("vil2_tiny16_e800_in1k.th", "vil2_tiny16_e400_in1k.th"),
    "vil2_small": ("vil2_small16_e400_in1k.th",),
    "vil2_base": ("vil2_base16_e400_in1k.th",),
}

#: suffix of the authors' parameters -> which path of the block it belongs to (row, reversed, column, column reversed)
PATHS = {"": 0, "_rev": 1, "_du": 2, "_ud": 3}
PATH_PARTS = r"(q_proj|k_proj|v_proj|conv1d|conv|mlstm_cell|learnable_skip)"

#: What a checkpoint of training.fit holds, and a file of weights does not.
TRAINING = {"model", "optimizer", "settings"}

#: What torch.load says of a file that would call or make something else than tensors.  149 begins what Python's pickle wrote.
FOREIGN = ("GLOBAL", "unrecognized function", "allowlisted", "operand 149")


def official_state_dict(name: str, file: str | None = None, sha256: str | None = None) -> StateDict:
    """The published weights of a model, downloaded once into the folder of torch.hub: {key: tensor}, in the authors' names.

    name: a key of FILES.   file: one of its files, None for the first.   sha256: what the file must hash to, if known.
    The environment variable VIL_LITE_CHECKPOINTS names another source than URL, an address or a folder: a mirror in the
    classroom, say.
    Raises ValueError for unknown names, a source that is neither, and a file that is not a checkpoint; OSError without a network.
    """
    if name not in FILES:
        raise ValueError(
            f"no weights are published for {name!r}{did_you_mean(name, FILES)}; there are some for: {', '.join(FILES)}"
        )
    file = file or FILES[name][0]
    if file not in FILES[name]:
        raise ValueError(
            f"{name} has no file {file!r}{did_you_mean(file, FILES[name])}; there are: {', '.join(FILES[name])}"
        )
    path = download(source_of(file), cache_folder() / file, sha256)
    return read_state_dict(path, remedy=f"delete {path} and download it again from {URL}")


def source_of(file: str) -> str:
    """The address of a published file: at URL, or where VIL_LITE_CHECKPOINTS says."""
    source = os.environ.get("VIL_LITE_CHECKPOINTS") or URL
    if os.path.isdir(source):
        source = Path(source).absolute().as_uri()
    elif "://" not in source:
        raise ValueError(
            f"VIL_LITE_CHECKPOINTS must be an address (https://...) or a folder that exists, got {source!r}"
        )
    return source.rstrip("/") + "/" + file


def read_state_dict(
    path: str | Path, key: str | None = None, remedy: str = "make it again with torch.save(model.state_dict(), path)"
) -> StateDict:
    """Read {key: tensor} from a file of torch.save or safetensors; nothing in the file is executed.

    key: which state dict, in a file that holds several under names ({"model": ..., "ema": ...}).
    Raises ValueError for a damaged file, for one that holds anything but tensors and plain values, and where key is needed.
    """
    path = Path(path)
    try:
        saved = _read_safetensors(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (OSError, ModuleNotFoundError, MemoryError):
        raise
    except Exception as error:  # whatever is met in bytes that are none of a checkpoint's
        if isinstance(error, pickle.UnpicklingError) and any(sign in str(error) for sign in FOREIGN):
            raise ValueError(
                f"{path} was refused: to read it, Python would have to run code from it, and weights need none. "
                f"Do not load it in any other way; {remedy}  ({_first_line(error)})"
            ) from None
        raise ValueError(f"{path} is damaged or no checkpoint; {remedy}  ({_first_line(error)})") from None
    if key is None and isinstance(saved, dict) and TRAINING <= set(saved):
        raise ValueError(f"{path} is a checkpoint of vil_lite's training, not a state dict: vil_lite.load takes it")
    try:
        return state_dict_in(saved, key, remedy)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None


def state_dict_in(saved: Any, key: str | None = None, remedy: str = "pass another file") -> StateDict:
    """The state dict {key: tensor} in what a training program saved: the whole of it, or what it holds under a name.

    remedy: the advice where it holds none.
    Raises ValueError when there is none, or there are several and `key` names none of them.
    """
    inside = {name: value for name, value in saved.items() if _is_state_dict(value)} if isinstance(saved, dict) else {}
    if _is_state_dict(saved) and key is None:
        return saved
    if not inside:
        raise ValueError(f"holds no state dict of tensors; {remedy}")
    key = "state_dict" if key is None and "state_dict" in inside else key  # so named by timm, Lightning and the authors
    if key not in inside and (key is not None or len(inside) > 1):
        raise ValueError(f"holds state dicts under {', '.join(map(repr, inside))}, got key={key!r}: name one of them")
    return inside[key] if key else next(iter(inside.values()))


def _is_state_dict(value: object) -> bool:
    return isinstance(value, dict) and len(value) > 0 and all(isinstance(v, torch.Tensor) for v in value.values())


def _read_safetensors(path: Path) -> StateDict:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"to read {path}: pip install safetensors") from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from None


def _first_line(error: Exception) -> str:
    said = str(error).rpartition("WeightsUnpickler error:")[2].strip()  # before it, torch gives advice not to be taken
    return f"{type(error).__name__}: {said.splitlines()[0] if said else 'end of file'}"


def load_official_state_dict(model: Model, state_dict: Mapping[str, Tensor], reset_head: bool = False) -> Model:
    """Load a state dict into a VisionLSTM: official (raw or stand-alone layout, version 1 or 2) or of this library.

    model: also compiled, or wrapped for data parallelism.  Returned as it came.
    state_dict: of a wrapped model too (keys "module. ...", "_orig_mod. ...", of an average of weights); not changed.
    Position embeddings of another grid are resized (bicubic).  A model with num_classes=0
    leaves the head's keys aside.  reset_head=True keeps the model's own head, for another number of classes.
    Raises ValueError that names missing, unexpected and misshapen keys; the model is then unchanged.
    """
    inner = model
    while (wrapped := getattr(inner, "_orig_mod", None) or getattr(inner, "module", None)) is not None:
        inner = wrapped
    own = inner.state_dict()
    head = {key for key in own if key.startswith("head.")} if reset_head else set()
    inner.load_state_dict({**converted_state_dict(inner, state_dict, head), **{key: own[key] for key in head}})
    return model


def converted_state_dict(
    model: nn.Module, state_dict: Mapping[str, Tensor], unchecked: Collection[str] = ()
) -> StateDict:
    """The state dict in the names of this library, complete and of the model's shapes (see load_official_state_dict).

    unchecked: names whose presence and shape do not matter.
    """
    own = model.state_dict()
    state_dict = _unwrapped(state_dict)
    version = 2 if any("rowwise_from" in k or k.endswith("q_proj.bias") for k in state_dict) else 1
    if version != model.version:
        raise ValueError(
            f"these are weights of version {version}, the model is of version {model.version}: take a model "
            f"{'vil2_...' if version == 2 else 'vil_...'} or VisionLSTM(version={version})"
        )
    new = {official_name(key, version): value for key, value in state_dict.items()}
    if not isinstance(model.head, nn.Linear):
        new = {key: value for key, value in new.items() if key in own or not key.startswith(("head.", "pooled_norm."))}
    positions = "pos_embed.embed"
    if positions in new and new[positions].ndim == 4:
        new[positions] = resize_positions(new[positions].to(own[positions].dtype), own[positions].shape[1:3])

    problems = [f"missing: {key}" for key in own if key not in new and key not in unchecked]
    problems += [f"not part of this model: {key}" for key in new if key not in own]
    for key in (own.keys() & new.keys()).difference(unchecked):
        if own[key].shape != new[key].shape:
            problems.append(f"{key} has shape {tuple(new[key].shape)}, the model wants {tuple(own[key].shape)}")
    if problems:
        remedy = "check dim, depth, version and design of the model"
        if all("head" in problem for problem in problems):
            remedy = "pass reset_head=True to keep the model's own head"
        shown = "\n  ".join(problems[:8] + [f"... and {len(problems) - 8} more"] * (len(problems) > 8))
        raise ValueError(f"this state dict does not fit the model ({remedy}):\n  {shown}")
    return new


def _unwrapped(state_dict: Mapping[str, Tensor]) -> StateDict:
    """Without what wrappers put before every key: "module." (data parallelism, averages), "_orig_mod." (torch.compile), ..."""
    patches = "patch_embed.proj.weight"
    prefixes = {k.removesuffix(patches).removesuffix("xlstm.") for k in state_dict if k.endswith(patches)}
    if len(prefixes) > 1:
        raise ValueError(
            f"this state dict holds several models, under {', '.join(map(repr, sorted(prefixes)))}; pass one of them: "
            '{k.removeprefix("..."): v for k, v in state_dict.items() if k.startswith("...")}'
        )
    prefix = prefixes.pop() if prefixes else ""
    counts = {"n_averaged"} if prefix else set()  # AveragedModel counts its updates there
    return {k.removeprefix(prefix): v for k, v in state_dict.items() if k not in counts}


def official_name(key: str, version: int) -> str:
    """Our name of one official parameter: `xlstm.blocks.3.xlstm_norm.weight` -> `encoder.blocks.3.norm.weight`."""
    raw = key.startswith(("xlstm.", "head.0.", "head.1."))
    if raw:
        key = key.removeprefix("xlstm.").replace(".xlstm_norm.", ".norm.").replace(".xlstm.", ".layer.")
        key = (
            key.replace("post_blocks_norm.", "token_norm.")
            .replace("head.0.", "pooled_norm.")
            .replace("head.1.", "head.")
        )
    elif version == 1:
        key = re.sub(r"^norm\.", "pooled_norm.", key).replace("legacy_norm.", "token_norm.")
    else:
        key = re.sub(r"^norm\.", "token_norm.", key).replace("legacy_norm.", "pooled_norm.")
        key = re.sub(r"^blocks\.(\d+)\.rowwise_from_top_left\.", lambda m: f"blocks.{2 * int(m[1])}.", key)
        key = re.sub(r"^blocks\.(\d+)\.rowwise_from_bot_right\.", lambda m: f"blocks.{2 * int(m[1]) + 1}.", key)
    key = re.sub(r"^blocks\.", "encoder.blocks.", key)
    key = re.sub(rf"\.layer\.{PATH_PARTS}(_rev|_du|_ud|)(?=\.|$)", lambda m: f".layer.paths.{PATHS[m[2]]}.{m[1]}", key)
    return re.sub(r"\.conv1d(\.conv)?\.", ".conv.", key)
