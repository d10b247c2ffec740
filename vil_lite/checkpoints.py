"""Official Vision-LSTM checkpoints: their files, and from their key names to ours, strictly.

Two layouts are published, and both exist for version 1 and 2:
    raw          as the authors' training wrote it: `xlstm.blocks.3.xlstm.q_proj.weight`, `head.0.weight`, ...
    stand-alone  of their one-file model: `blocks.3.layer.q_proj.weight` (version 2 in pairs:
                 `blocks.1.rowwise_from_bot_right.layer.q_proj.weight` is block 3)
The name `legacy_norm` changes sides: in version 1 it is the norm of the tokens, in version 2 that of the pooled vector.
"""

import os
import pickle
import re
from pathlib import Path

import torch
from torch import nn

from vil_lite.download import cache_folder, download
from vil_lite.layers import resize_positions

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


def official_state_dict(name, file=None, sha256=None):
    """The published weights of a model, downloaded once into the folder of torch.hub: {key: tensor}, in the authors' names.

    name: a key of FILES.   file: one of its files, None for the first.   sha256: what the file must hash to, if known.
    The environment variable VIL_LITE_CHECKPOINTS names another source than URL: a mirror in the classroom, say.
    Raises ValueError for unknown names and for a file that is not a checkpoint; OSError without a network.
    """
    if name not in FILES:
        raise ValueError(f"no weights are published for {name!r}; there are some for: {', '.join(FILES)}")
    file = file or FILES[name][0]
    if file not in FILES[name]:
        raise ValueError(f"{name} has no file {file!r}; there are: {', '.join(FILES[name])}")
    source = os.environ.get("VIL_LITE_CHECKPOINTS") or URL
    return read_state_dict(download(source.rstrip("/") + "/" + file, cache_folder() / file, sha256))


def read_state_dict(path):
    """Read {key: tensor} from a file of torch.save, raw ({"state_dict": ...}) or plain; nothing in the file is executed.

    Raises ValueError for a damaged file, and for one that holds anything but tensors and plain values.
    """
    path = Path(path)
    remedy = f"delete {path} and download it again"
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} was refused: to read it, Python would have to run code from it, and weights need none. "
            f"Do not load it in any other way; {remedy} from {URL}  ({_first_line(error)})"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError) as error:
        raise ValueError(f"{path} is damaged or no checkpoint; {remedy}  ({_first_line(error)})") from None
    weights = saved.get("state_dict", saved) if isinstance(saved, dict) else None
    if not weights or not isinstance(weights, dict) or not all(isinstance(v, torch.Tensor) for v in weights.values()):
        raise ValueError(f"{path} holds no state dict of tensors; {remedy}")
    return weights


def _first_line(error):
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'end of file'}"


def load_official_state_dict(model, state_dict, reset_head=False):
    """Load an official state dict (raw or stand-alone layout, version 1 or 2) into a VisionLSTM; returns the model.

    The argument is not changed.  Position embeddings of another grid are resized (bicubic).  A model with num_classes=0
    leaves the head's keys aside.  reset_head=True keeps the model's own head, for another number of classes.
    Raises ValueError that names missing, unexpected and misshapen keys; the model is then unchanged.
    """
    own = model.state_dict()
    new = {official_name(key, model.version): value for key, value in state_dict.items()}
    has_head = isinstance(model.head, nn.Linear)
    if not has_head:
        new = {key: value for key, value in new.items() if not key.startswith(("head.", "pooled_norm."))}
    elif reset_head:
        new.update({key: value for key, value in own.items() if key.startswith("head.")})
    positions = "pos_embed.embed"
    if positions in new and new[positions].ndim == 4:
        new[positions] = resize_positions(new[positions].to(own[positions].dtype), own[positions].shape[1:3])

    problems = [f"missing: {key}" for key in own if key not in new]
    problems += [f"not part of this model: {key}" for key in new if key not in own]
    for key in own.keys() & new.keys():
        if own[key].shape != new[key].shape:
            problems.append(f"{key} has shape {tuple(new[key].shape)}, the model wants {tuple(own[key].shape)}")
    if problems:
        remedy = "check dim, depth, version and design of the model"
        if all("head" in problem for problem in problems):
            remedy = "pass reset_head=True to keep the model's own head"
        shown = "\n  ".join(problems[:8] + [f"... and {len(problems) - 8} more"] * (len(problems) > 8))
        raise ValueError(f"this state dict does not fit the model ({remedy}):\n  {shown}")
    model.load_state_dict(new)
    return model


def official_name(key, version):
    """Our name of one official parameter: `xlstm.blocks.3.xlstm_norm.weight` -> `encoder.blocks.3.norm.weight`."""
    raw = key.startswith(("xlstm.", "head.0.", "head.1."))
    if raw:
        key = key.removeprefix("xlstm.").replace(".xlstm_norm.", ".norm.").replace(".xlstm.", ".layer.")
        key = key.replace("post_blocks_norm.", "token_norm.").replace("head.0.", "pooled_norm.").replace("head.1.", "head.")
    elif version == 1:
        key = re.sub(r"^norm\.", "pooled_norm.", key).replace("legacy_norm.", "token_norm.")
    else:
        key = re.sub(r"^norm\.", "token_norm.", key).replace("legacy_norm.", "pooled_norm.")
        key = re.sub(r"^blocks\.(\d+)\.rowwise_from_top_left\.", lambda m: f"blocks.{2 * int(m[1])}.", key)
        key = re.sub(r"^blocks\.(\d+)\.rowwise_from_bot_right\.", lambda m: f"blocks.{2 * int(m[1]) + 1}.", key)
    key = re.sub(r"^blocks\.", "encoder.blocks.", key)
    key = re.sub(
        rf"\.layer\.{PATH_PARTS}(_rev|_du|_ud|)(?=\.|$)", lambda m: f".layer.paths.{PATHS[m[2]]}.{m[1]}", key
    )
    return re.sub(r"\.conv1d(\.conv)?\.", ".conv.", key)
