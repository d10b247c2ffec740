"""Values as JSON, and back: plain values, tensors as dtype, shape and bytes, and stand-ins for what stays where it is.

`decode` is what the grader accepts of a worker: it builds plain values, tensors and stand-ins, and nothing else.
This file is also mounted into the sandbox, so it imports torch and numpy only when a message needs them.
"""

import base64
import collections
import math
import sys
import types
from pathlib import Path, PurePath

FLOATS = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
LONGEST_RANGE = 100_000  # three numbers on the wire can be millions to compare
DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", *FLOATS)


class Stand:
    """Stands for an object of the other side; `type(x).__name__` is its type's name over there."""

    def __init__(self, peer, number, name: str):
        self._peer, self._number, self.__name__ = peer, number, name


class Handle(Stand):
    """Stands for a function of the other side; calling it calls that function."""

    def __call__(self, *arguments, **options):
        return self._peer.call(self._number, arguments, options)


# ---------------------------------------------------------------- values to JSON


def encode(x, peer, tensors: list):
    """The JSON form of x; every tensor met is appended to `tensors`."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")

    def many(values):
        return [encode(value, peer, tensors) for value in values]

    if x is None or type(x) in (bool, int, float, str):
        return x
    if torch and isinstance(x, torch.Tensor):
        tensors.append(x)
        plain = x.detach().cpu().contiguous()
        data = plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""
        kind = {"$": "tensor", "dtype": str(x.dtype).removeprefix("torch."), "shape": list(x.shape)}
        return kind | {"data": base64.b64encode(data).decode(), "grad": bool(x.requires_grad)}
    if torch and isinstance(x, torch.dtype):
        return {"$": "dtype", "name": str(x).removeprefix("torch.")}
    if numpy and isinstance(x, (numpy.ndarray, numpy.generic)):
        if x.dtype.kind not in "biufc":
            return encode(x.tolist(), peer, tensors)
        kind = {"$": "array", "dtype": x.dtype.name, "shape": list(x.shape), "scalar": isinstance(x, numpy.generic)}
        return kind | {"data": base64.b64encode(numpy.ascontiguousarray(x).tobytes()).decode()}
    if isinstance(x, list):
        return many(x)
    if isinstance(x, tuple):
        names = {"name": type(x).__name__, "fields": list(x._fields)} if hasattr(x, "_fields") else {}
        return {"$": "tuple", "of": many(x)} | names
    if isinstance(x, dict):
        return {"$": "dict", "of": [many(pair) for pair in x.items()]}
    if isinstance(x, (set, frozenset)):
        return {"$": "set", "of": many(x)}
    if isinstance(x, types.SimpleNamespace):
        return {"$": "namespace", "of": [[name, encode(value, peer, tensors)] for name, value in vars(x).items()]}
    if isinstance(x, range) and not x[LONGEST_RANGE:]:
        return {"$": "range", "of": [x.start, x.stop, x.step]}
    if isinstance(x, complex):
        return {"$": "complex", "of": [x.real, x.imag]}
    if isinstance(x, bytes):
        return {"$": "bytes", "data": base64.b64encode(x).decode()}
    if isinstance(x, PurePath):
        return {"$": "path", "path": str(x), "files": peer.files(x)}
    for plain in (bool, int, float, str):  # a subclass may compare as it likes; the number in it cannot
        if isinstance(x, plain):
            return plain(x)
    if isinstance(x, Stand) and x._peer is peer:
        return {"$": "yours", "number": x._number}
    return {"$": "object", "number": peer.keep(x), "name": type(x).__name__, "callable": callable(x)}


# ---------------------------------------------------------------- JSON to values


def decode(x, peer, tensors: list):
    """The value of a JSON form.  Builds plain values, tensors and handles, and nothing else; Broken for anything odd."""
    if x is None or isinstance(x, (bool, int, float, str)):
        return x
    if isinstance(x, list):
        return [decode(value, peer, tensors) for value in x]
    kind = x.get("$")
    if kind in ("tensor", "array"):
        return _decode_numbers(x, kind, tensors)
    if kind == "dtype" and x["name"] in DTYPES:
        import torch

        return getattr(torch, x["name"])
    if kind == "yours" and isinstance(x["number"], int) and 0 <= x["number"]:
        return peer.kept[x["number"]]
    if kind == "object" and isinstance(x["number"], int):
        name = x["name"] if str(x["name"]).isidentifier() and len(x["name"]) < 60 else "object"
        return peer.stand(x["number"], name, x["callable"] is True)
    if kind == "path":
        return peer.place(x["path"], x["files"])
    if kind == "bytes":
        return base64.b64decode(x["data"])
    if kind not in ("tuple", "dict", "set", "namespace", "range", "complex"):
        raise ValueError(f"a value of the unknown kind {kind!r:.40}")
    of = [decode(value, peer, tensors) for value in x["of"]]
    if kind == "tuple" and "fields" in x and peer.trusting:
        return collections.namedtuple(x["name"], x["fields"])(*of)
    if kind == "namespace":
        return types.SimpleNamespace(**dict(of))
    if kind == "dict":
        return dict(of)
    if kind == "range" and range(*of)[LONGEST_RANGE:]:
        raise ValueError("a range that is too long")
    return {"tuple": tuple, "set": set, "range": lambda of: range(*of), "complex": lambda of: complex(*of)}[kind](of)


def _decode_numbers(x, kind: str, tensors: list):
    """A tensor or array from dtype, shape and bytes."""
    if x["dtype"] not in (*DTYPES, "uint16", "uint32", "uint64"):
        raise ValueError(f"the number type {x['dtype']!r:.40}")
    shape, data = tuple(x["shape"]), bytearray(base64.b64decode(x["data"]))
    if not all(isinstance(size, int) and 0 <= size < 2**31 for size in shape) or len(shape) > 16:
        raise ValueError("a shape that is none")
    if kind == "array":
        import numpy

        array = numpy.frombuffer(data, dtype=x["dtype"]).reshape(shape)
        return array[()] if x["scalar"] is True else array
    import torch

    dtype = getattr(torch, x["dtype"])
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError("a tensor whose bytes do not fit its shape")
    tensor = torch.frombuffer(data, dtype=dtype).reshape(shape) if data else torch.empty(shape, dtype=dtype)
    if x["grad"] is True and (dtype.is_floating_point or dtype.is_complex):
        tensor.requires_grad_()
    tensors.append(tensor)
    return tensor


def folder_files(path: PurePath) -> dict | None:
    """{relative path: base64} of all files below a folder, None for anything else."""
    if not Path(path).is_dir():
        return None
    found = sorted(p for p in Path(path).rglob("*") if p.is_file())
    return {str(p.relative_to(path)): base64.b64encode(p.read_bytes()).decode() for p in found}
