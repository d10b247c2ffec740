"""Chapter 14: C2fViL: ultralytics' C2f block with ViL blocks where C2f has bottlenecks.

Nothing else changes: cv1 splits, the repeats follow one another, cv2 fuses all of them.  `forward` is C2f's own, and has to
be: the exporter replaces it on every C2f by `forward_split`, so that a subclass with a forward of its own would be exported
as another network.
"""

from typing import Any

import torch
from torch import nn
from ultralytics.nn.modules.block import C2f

from vil_lite._names import did_you_mean
from vil_lite.block import DESIGNS, FORMS, ViLBlock
from vil_lite.yolo.registration import allow_in_checkpoints

NUM_HEADS, QKV_BLOCK, EXPANSION = 4, 4, 2  # of a ViL block, in both versions


class ViLBlock2d(ViLBlock):
    """A ViL block on a feature map: each place is a token, read row by row.  x: (B, C, H, W) -> (B, C, H, W)

    A subclass, not a wrapper: the module tree and the names of the weights stay those of the block.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        H, W = x.shape[2:]  # whatever arrives: rectangles in validation, 256 x 256 to measure the strides
        tokens = super().forward(x.flatten(2).transpose(1, 2), (H, W))
        return tokens.transpose(1, 2).unflatten(2, (H, W))


class C2fViL(C2f):
    """C2f whose n repeats are ViL blocks of width c = e * c2.  x: (B, c1, H, W) -> (B, c2, H, W)

    In a YAML:  `- [-1, 6, C2fViL, [512]]`  or, with options,  `- [-1, 6, C2fViL, [512, {version: 1, chunk_size: 128}]]`
    options: version 1 or 2 (default 2) · design, a name from vil_lite.block.DESIGNS: which way repeat 0, 1, ... reads
    (default: one that looks both ways, alternating_bidirectional, and bidirectional where n is 1) · form "auto",
    "chunkwise", "parallel" or "recurrent" · chunk_size in tokens (default: fits the width of a head).

    Raises TypeError when options is no mapping, ValueError for unknown options and for widths that do not divide into heads.
    """

    def __init__(self, c1: int, c2: int, n: int = 1, options: dict[str, Any] | None = None, e: float = 0.5) -> None:
        options = check_options(options)
        width = int(c2 * e)
        step = NUM_HEADS * QKV_BLOCK // EXPANSION
        if width % step:
            raise ValueError(
                f"C2fViL: {c2} output channels give ViL blocks of width {width} (e = {e}), which must be a multiple of {step} "
                f"({NUM_HEADS} heads of whole {QKV_BLOCK}-channel blocks); use a multiple of {round(step / e)} channels, or "
                "change width_multiple in the YAML's scales"
            )
        super().__init__(c1, c2, n, e=e)
        directions, shared = DESIGNS[
            options.pop("design") or ("alternating_bidirectional" if n > 1 else "bidirectional")
        ]
        self.m = nn.ModuleList(
            ViLBlock2d(width, directions[j % len(directions)], shared=shared, **options) for j in range(n)
        )


def check_options(options: dict[str, Any] | None = None) -> dict[str, Any]:
    """Options of C2fViL with the defaults filled in, as a new dict.  Raises TypeError or ValueError as C2fViL does."""
    if options is not None and not isinstance(options, dict):
        raise TypeError(
            f"C2fViL takes a mapping of options after the channels, got {options!r}; write [512] or [512, {{version: 2}}] "
            "(C2f's True for a shortcut has no place here: a ViL block always adds its input)"
        )
    chosen: dict[str, Any] = {"version": 2, "design": None, "form": "auto", "chunk_size": None}
    for name, value in (options or {}).items():
        if name not in chosen:
            raise ValueError(f"C2fViL has no option {name!r}{did_you_mean(name, chosen)}; options: {', '.join(chosen)}")
        chosen[name] = value
    for name, allowed in (("version", (1, 2)), ("design", tuple(DESIGNS)), ("form", ("auto", *FORMS))):
        value = chosen[name]
        if name == "design" and value is None:
            continue
        if isinstance(value, bool) or value not in allowed:
            hint = did_you_mean(value, allowed) if isinstance(value, str) else ""
            raise ValueError(f"C2fViL: {name} must be one of {', '.join(map(str, allowed))}, got {value!r}{hint}")
    size = chosen["chunk_size"]
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise ValueError(f"C2fViL: chunk_size must be a positive number of tokens, got {size!r}")
    return chosen


with torch.device("meta"):  # draws no random numbers
    for _version in (1, 2):
        allow_in_checkpoints(C2fViL(16, 16, 1, {"version": _version}))
