"""Teach ultralytics' YAML parser new C2f-like blocks, without a fork and without changing any block it knows.

`parse_model` looks a block's name up in the globals of its module, and decides by membership in two sets which blocks get
(input channels, output channels, repeats): sets of classes that it builds anew, from those globals, at every call.  Adding a
name to the globals is therefore not enough: the block would be found, but get neither channels nor repeats.

So for the length of one call a *donor*, a name that stands in both sets, has no case of its own and is not used by the model
at hand, points at our class.  The sets then hold our class, our class is treated as C2f is, and afterwards the donor is
itself again.  A lock keeps other threads from parsing in between.
"""

import functools
import threading

import torch
from torch import nn
from ultralytics.nn import tasks
from ultralytics.utils import callbacks

#: Names of ultralytics blocks that are treated like C2f: in base_modules and repeat_modules, with no case of their own.
DONORS = ("C3TR", "C3x", "RepC3", "BottleneckCSP", "C1")

_LOCK = threading.RLock()
_BLOCKS = {}  # name in a YAML -> class


def register(block):
    """Make a C2f-like class known to ultralytics' model YAMLs by its name, and return it (so it can decorate a class).

    block: an nn.Module class called as block(channels_in, channels_out, repeats, *arguments of the YAML row).  Registering
    the same class again changes nothing.  A class that is to be trained must live in an importable module: a checkpoint
    stores its address, and `__main__` of a notebook is none.
    Raises TypeError for anything else, ValueError for a name that ultralytics itself uses.
    """
    if not (isinstance(block, type) and issubclass(block, nn.Module)):
        raise TypeError(f"register() takes a subclass of torch.nn.Module, got {block!r}")
    name = block.__name__
    with _LOCK:
        if hasattr(tasks, name) and name not in _BLOCKS:
            raise ValueError(f"ultralytics has a block named {name} already; give your class another name")
        if not hasattr(tasks.parse_model, "stock"):
            _wrap_parse_model()
        _BLOCKS[name] = block
        setattr(tasks, name, block)  # where the parser looks the name up
    torch.serialization.add_safe_globals([block])  # for ULTRALYTICS_SAFE_LOAD=1
    return block


def allow_in_checkpoints(module):
    """Let restricted loading (ULTRALYTICS_SAFE_LOAD=1) rebuild the classes that `module`, an nn.Module, consists of."""
    theirs = ("torch.nn.", "ultralytics.")  # ultralytics allows these itself
    parts = {type(m) for m in module.modules()}
    torch.serialization.add_safe_globals([p for p in parts if not p.__module__.startswith(theirs)])


def import_in_workers(trainer):
    """Do nothing, from this module: ultralytics pickles its callbacks for each DDP worker, and unpickling imports us there."""


def _wrap_parse_model():
    stock = tasks.parse_model

    @functools.wraps(stock)
    def parse_model(d, ch, verbose=True):
        used = {row[2] for row in d["backbone"] + d["head"]}
        ours = [block for name, block in _BLOCKS.items() if name in used]
        with _LOCK:  # also for plain models: another thread's donor must not be parsed as something else
            swapped = dict(zip(_donors(ours, used), ours, strict=True))
            originals = {donor: getattr(tasks, donor) for donor in swapped}
            vars(tasks).update(swapped)
            try:
                return stock(d, ch, verbose)
            finally:
                vars(tasks).update(originals)

    parse_model.stock = stock
    tasks.parse_model = parse_model
    callbacks.default_callbacks["on_pretrain_routine_start"].append(import_in_workers)


def _donors(ours, used):
    """One free donor name for each of our blocks.  Raises ValueError when there are too few."""
    free = [name for name in DONORS if name not in used and hasattr(tasks, name)]
    if len(ours) > len(free):
        taken = sorted(used.intersection(DONORS))
        raise ValueError(
            f"this model uses {len(ours)} custom blocks ({', '.join(b.__name__ for b in ours)}), but only {len(free)} can be "
            f"registered beside {', '.join(taken) if taken else 'its other blocks'}; use fewer kinds of custom block in one "
            f"YAML (one class with options serves for several){', or do without ' + ', '.join(taken) if taken else ''}"
        )
    return free[: len(ours)]
