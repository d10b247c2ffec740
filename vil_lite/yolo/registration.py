"""Chapter 14: teach ultralytics' YAML parser new C2f-like blocks, without a fork and without changing any it knows.

`parse_model` decides by two sets, written out inside the function, which blocks get (input channels, output channels,
repeats); from outside a name cannot be added to them.  So a row that names one of our blocks is parsed as a C2f, and the
block is then built with what the parser made of the row and put in the C2f's place.  The C2f that is thrown away has no
hidden channels (e = 0): it holds next to nothing and draws no random numbers, so the weights of all other layers do not
depend on it.
"""

import inspect
import re
import warnings
from contextlib import suppress
from functools import wraps
from importlib import import_module

import torch
from torch import nn
from ultralytics.engine import trainer
from ultralytics.nn import tasks
from ultralytics.nn.modules.conv import Conv
from ultralytics.utils import LOGGER, callbacks

from vil_lite.block import MLSTMCell
from vil_lite.complexity import parameters
from vil_lite.layers import LinearBlockDiagonal
from vil_lite.yolo.training import survives_float16

INSTALL = 'pip install "vil-lite[yolo] @ git+https://github.com/vision-lstm-step-by-step/book"'
_BLOCKS: dict[str, type[nn.Module]] = {}  # name in a YAML -> class


def register(block: type[nn.Module]) -> type[nn.Module]:
    """Make a C2f-like class known to ultralytics' model YAMLs by its name, and return it (so it can decorate a class).

    block: an nn.Module class called as block(channels_in, channels_out, repeats, *arguments of the YAML row after the first,
    which is the output channels).  Registering a name again replaces it.
    Restricted loading (load_weights, ULTRALYTICS_SAFE_LOAD=1) rebuilds the block, and from the first model with it on the
    modules in it, too; a process that opens its checkpoint before hands their classes to torch.serialization.add_safe_globals.
    Raises TypeError for anything else, ValueError for a name that ultralytics itself uses.  Warns when the class stands in
    `__main__`: a checkpoint stores its address there, and no other process finds it.
    """
    if not (isinstance(block, type) and issubclass(block, nn.Module)):
        raise TypeError(f"register() takes a subclass of torch.nn.Module, got {block!r}")
    name = block.__name__
    try:
        inspect.signature(block).bind("channels in", "channels out", "repeats")
    except TypeError as error:
        raise TypeError(
            f"register() needs a block that is called as {name}(channels_in, channels_out, repeats, *arguments of its YAML "
            f"row), and {name}{inspect.signature(block)} cannot be: {error}"
        ) from None
    if hasattr(tasks, name):
        raise ValueError(f"ultralytics has a block named {name} already; give your class another name")
    if block.__module__ == "__main__":
        warnings.warn(
            f"{name} is defined in __main__: training works, but no other process can open its checkpoint, which names "
            f"__main__.{name}; move the class into a module and import it from there",
            stacklevel=2,
        )
    if not _BLOCKS:  # the first: ultralytics learns of us
        tasks.parse_model = _with_our_blocks(tasks.parse_model)
        trainer.check_amp = _with_our_test(trainer.check_amp)
        call_at("on_train_end", say_what_it_needs)
        with suppress(ModuleNotFoundError):  # without it ultralytics prints no GFLOPs
            rules = import_module("thop.profile").register_hooks
            rules.update({MLSTMCell: count_cell, LinearBlockDiagonal: count_tiles})
    _BLOCKS[name] = block
    torch.serialization.add_safe_globals([block])  # for ULTRALYTICS_SAFE_LOAD=1
    return block


def allow_in_checkpoints(module):
    """Let restricted loading (ULTRALYTICS_SAFE_LOAD=1) rebuild the classes that `module`, an nn.Module, consists of."""
    theirs = ("torch.nn.", "ultralytics.")  # ultralytics allows these itself
    parts = {type(m) for m in module.modules()}
    torch.serialization.add_safe_globals([p for p in parts if not p.__module__.startswith(theirs)])


def call_at(event, ours):
    """Let ultralytics call `ours` at one of its events, for every model.

    YOLO("best.pt") copies the callbacks before it opens the file, and only that imports this package: so what trains or
    exports such a model asks for ours once more, with the callbacks of ultralytics' integrations.
    """
    if ours in callbacks.default_callbacks[event]:
        return
    stock = callbacks.add_integration_callbacks
    callbacks.default_callbacks[event].append(ours)

    @wraps(stock)
    def add_integration_callbacks(instance):
        stock(instance)
        if ours not in instance.callbacks[event]:
            instance.callbacks[event].append(ours)

    callbacks.add_integration_callbacks = add_integration_callbacks


def count_cell(cell, inputs, output):
    """What an mLSTM cell multiplies, as a rule for ultralytics' counter of FLOPs.

    The counter runs images of a few tokens, for which the cell takes its quadratic form, and extrapolates.  The rule counts
    what each token of a long sequence costs: two products with the others of its chunk, and two with the memory.
    """
    heads, B, S, d = inputs[0].shape
    chunk = {"parallel": S, "recurrent": 0}.get(cell.form, cell.chunk_size)
    memory = d if cell.form == "parallel" else 2 * d  # it is written, and read but by the parallel form
    cell.total_ops += heads * B * S * d * (2 * chunk + memory)


def count_tiles(projection, inputs, output):
    """The same for a block-diagonal projection, whose blocks are computed as tiles."""
    projection.total_ops += output.numel() * projection.blocks_per_tile * projection.block_size


def say_what_it_needs(training):
    """At the end of a training say what else a machine needs to open the weights.

    It also makes DDP workers import this package: ultralytics pickles its callbacks for them, and unpickling imports us.
    """
    model = getattr(training.model, "module", training.model)
    packages = {type(m).__module__.partition(".")[0] for m in model.modules() if type(m).__name__ in _BLOCKS}
    if "vil_lite" in packages:
        LOGGER.info(
            f"These weights need vil-lite: {INSTALL}\nWithout it ultralytics would install whatever goes by the name of the "
            "missing module on PyPI; YOLO_AUTOINSTALL=0 stops that."
        )


def _with_our_test(stock):
    @wraps(stock)
    def check_amp(model):
        """amp=True, before training: ultralytics' test downloads a model of its own; one with our blocks is tried itself."""
        ours = any(type(m).__name__ in _BLOCKS for m in model.modules())
        if not ours or next(model.parameters()).device.type in ("cpu", "mps"):
            return stock(model)  # on these it answers False at once
        good = survives_float16(model)
        LOGGER.info(f"AMP: float16 {'agrees with' if good else 'differs from float32, so training stays in'} float32")
        return good

    return check_amp


def _with_our_blocks(stock):
    @wraps(stock)
    def parse_model(d, ch, verbose=True):
        rows = [*d["backbone"], *d["head"]]
        ours = [i for i, row in enumerate(rows) if row[2] in _BLOCKS]
        if not ours:
            return stock(d, ch, verbose)
        like = "C3k2" if _has_newer_head(d) else "C2f"  # a C2f too, and the sign by which the parser builds that head
        parsed = [
            (f, n, like, [args[0], False, *_NO_HIDDEN[like]]) if i in ours else (f, n, m, args)
            for i, (f, n, m, args) in enumerate(rows)
        ]
        split = len(d["backbone"])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")
            layers, save = stock(
                {**d, "scale": _scale(d), "backbone": parsed[:split], "head": parsed[split:]}, ch, False
            )
        for i in ours:
            layers[i] = _built(_BLOCKS[rows[i][2]], layers[i], rows[i][3][1:])
        if verbose:
            _print(rows, layers)
        return layers, save

    return parse_model


#: Arguments of a C2f and of a C3k2, after (channels in, channels out, repeats, a flag), that leave no hidden channels.
_NO_HIDDEN = {"C2f": (1, 0), "C3k2": (0,)}


def _built(block, stand_in, arguments):
    """Our block with the channels and repeats of the C2f that stands for it, and the parser's notes on it."""
    default = Conv.default_act
    Conv.default_act = stand_in.cv1.act  # a YAML may choose the activation; the parser has put the usual one back
    try:
        layer = block(
            stand_in.cv1.conv.in_channels, stand_in.cv2.conv.out_channels, len(stand_in.m), *map(_null, arguments)
        )
    finally:
        Conv.default_act = default
    allow_in_checkpoints(layer)
    layer.i, layer.f, layer.type = stand_in.i, stand_in.f, f"{block.__module__}.{block.__name__}"
    layer.np = parameters(layer)
    return layer


def _null(argument):
    """An argument of a row, in which ultralytics' YAMLs write None for YAML's null."""
    if isinstance(argument, dict):
        return {key: _null(value) for key, value in argument.items()}
    return None if argument == "None" else argument


def _scale(d):
    """The scale of a model YAML; where it holds one alone, that one, whatever the file is called."""
    scales = d.get("scales") or {}
    return next(iter(scales)) if len(scales) == 1 else d.get("scale")


def _has_newer_head(d):
    """Whether the model's family has the classification head of YOLO11 and later, in place of YOLOv8's.

    The parser sees it by the blocks C3k2, A2C2f or C2fCIB, which ours may have replaced one and all.  So a YAML may say it
    (`legacy: false`, as `model_yaml` writes); else the number in the file's name or the block C2PSA tells.
    """
    if "legacy" in d:
        return not d["legacy"]
    family = re.search(r"yolo(?:e-)?v?(\d+)", str(d.get("yaml_file", "")).rpartition("/")[2])
    return bool(family and int(family[1]) >= 11) or any(row[2] == "C2PSA" for row in d["backbone"])


def _print(rows, layers):
    """The parser's table of a model, with our blocks in it; arguments as the YAML has them."""
    LOGGER.info(f"\n{'':>3}{'from':>20}{'n':>3}{'params':>10}  {'module':<45}{'arguments':<30}")
    for (source, _, _, arguments), layer in zip(rows, layers, strict=True):
        repeats = len(layer.m) if isinstance(getattr(layer, "m", None), nn.ModuleList) else 1
        LOGGER.info(f"{layer.i:>3}{source!s:>20}{repeats:>3}{layer.np:10.0f}  {layer.type:<45}{arguments!s:<30}")
