"""What passes between grader and worker: one line of JSON a message; nothing is unpickled, nothing is evaluated.

Both ends are a `Peer`.  A peer calls functions of the other (`call`), serves the other's calls while it waits, and
differentiates through them: a call whose arguments require gradients becomes one node of autograd's graph, and the
backward pass asks the other side for the vector-Jacobian product.  Functions and other objects that cannot be written
as JSON stay where they are; the other side gets a `Handle`.  This file is also mounted into the sandbox.
"""

import builtins
import collections
import json
import sys
from pathlib import PurePath

if __package__:
    from .values import Handle, Stand, decode, encode
else:  # in the sandbox
    from values import Handle, Stand, decode, encode

KEPT = 64  # calls that can still be differentiated


class Broken(BaseException):
    """The other side died, spoke nonsense or was too slow.  No check may mistake this for the student's exception."""

    def __init__(self, status: str, message: str):
        super().__init__(message)
        self.status = status


# ---------------------------------------------------------------- the two ends


class Peer:
    """One end of the wire.  read() -> bytes of one line; write(bytes).  `find(name)` gives what the other may call by name."""

    trusting = False  # does it believe the other end?

    def __init__(self, read, write, find=lambda name: None):
        self.read, self.write, self.find = read, write, find
        self.kept, self.raised, self.stands = [], [], {}
        self.serving, self.asking = [], []  # arguments of the calls in progress, the innermost last
        self.calls = collections.OrderedDict()  # number: (tensors that came, tensors that went), for the vjp
        self.number = 0

    # what the two ends do differently

    def files(self, path: PurePath):
        """The files below a path that travels, {relative path: bytes in base64}; None sends the bare path."""
        return None

    def place(self, path: str, files):
        """The path on this side."""
        return PurePath(path)

    def where(self, error: BaseException) -> dict:
        """Where an error of this side happened, in words for the message."""
        return {}

    # objects that stay on one side

    def keep(self, x) -> int:
        for number, other in enumerate(self.kept):
            if other is x:
                return number
        self.kept.append(x)
        return len(self.kept) - 1

    def stand(self, number: int, name: str, callable: bool):
        """The one object here that stands for object `number` over there."""
        if number not in self.stands:
            self.stands[number] = (
                Handle(self, number, name) if callable else type(name, (Stand,), {})(self, number, name)
            )
        return self.stands[number]

    # calling the other side

    def call(self, what, arguments, options):
        """Call the function `what` of the other side: a name, or the number of an object it has kept."""
        tensors: list = []
        sent = encode([list(arguments), options], self, tensors)
        torch = sys.modules.get("torch")
        message = {"do": "call", "what": what, "with": sent, "grad": not torch or torch.is_grad_enabled()}
        if message["grad"] and any(tensor.requires_grad for tensor in tensors):
            from_call = {}
            made = _node().apply(self, message, from_call, (arguments, options, tensors), *tensors)
            return _put(from_call["value"], from_call["tensors"], made)
        value, _, _ = self._call(message, (arguments, options, tensors))
        return value

    def _call(self, message: dict, given):
        arguments, options, _ = given
        number, reply = self.exchange(message, [*arguments, *options.values()])
        came: list = []
        try:
            return decode(reply["value"], self, came), came, number
        except Exception as error:
            raise nonsense(error) from None

    def vjp(self, number: int, gradients, tensors):
        """The gradients of call `number` with respect to its tensors, from those with respect to its results."""
        sent = [encode(gradient, self, []) for gradient in gradients]
        _, reply = self.exchange({"do": "vjp", "of": number, "with": sent})
        try:
            found = decode(reply["value"], self, [])
            assert len(found) == len(tensors)
            assert all(g is None or (g.shape, g.dtype) == (t.shape, t.dtype) for g, t in zip(found, tensors))
        except Exception as error:
            raise nonsense(error) from None
        return found

    def exchange(self, message: dict, given=()):
        """Send a request; serve the other side's requests until its reply is there.  given: the arguments of a call."""
        self.number += 1
        number = self.number
        self.send(message | {"id": number})
        self.asking.append(given)
        known = len(self.raised)
        try:
            while True:
                reply = self.receive()
                if reply["do"] in ("call", "vjp", "define"):
                    self.serve(reply)
                elif reply["id"] != number:
                    raise nonsense("a reply to another question")
                elif reply["do"] == "reply":
                    return number, reply
                else:
                    raise self._error(reply)
        finally:
            self.asking.pop()
            del self.raised[known:]  # only an exception of this call can come back through it

    # serving the other side

    def serve(self, request: dict) -> None:
        """Do what the other side asks for, and send the result or the exception."""
        self.serving.append([])
        try:
            reply = {"call": self._serve_call, "vjp": self._serve_vjp, "define": self._serve_define}[request["do"]](
                request
            )
        except Broken:
            raise
        except BaseException as error:
            self.raised.append(error)
            reply = {"do": "error", "raised": len(self.raised) - 1} | _describe(error) | self.where(error)
            if isinstance(getattr(error, "came_from_you", None), int):
                reply["yours"] = error.came_from_you
        self.send(reply | {"id": request["id"]})
        self.serving.pop()

    def _serve_call(self, request):
        came: list = []
        arguments, options = decode(request["with"], self, came)
        self.serving[-1] = [[a, json.dumps(encode(a, self, []))] for a in [*arguments, *options.values()]]
        what = request["what"]
        function = self.find(what) if isinstance(what, str) else self.kept[what]
        if torch := sys.modules.get("torch"):
            with torch.set_grad_enabled(request["grad"]):
                result = function(*arguments, **options)
        else:
            result = function(*arguments, **options)
        went: list = []
        value = encode(result, self, went)
        if any(tensor.requires_grad for tensor in went):
            self.calls[request["id"]] = (came, went)
            if len(self.calls) > KEPT:
                self.calls.popitem(last=False)
        return {"do": "reply", "value": value}

    def _changes(self) -> list:
        """[index, value] of each argument of the call that is being served that has changed since this was last told."""
        found = []
        for index, pair in enumerate(self.serving[-1] if self.serving else []):
            new = encode(pair[0], self, [])
            if (text := json.dumps(new)) != pair[1]:
                found.append([index, new])
                pair[1] = text
        return found

    def _serve_vjp(self, request):
        import torch

        came, went = self.calls[request["of"]]
        pairs = [(out, decode(g, self, [])) for out, g in zip(went, request["with"]) if out.requires_grad]
        wanted = [tensor for tensor in came if tensor.requires_grad]
        outs, gradients = zip(*pairs)
        found = iter(torch.autograd.grad(outs, wanted, gradients, retain_graph=True, allow_unused=True))
        value = [next(found) if tensor.requires_grad else None for tensor in came]
        return {"do": "reply", "value": encode(value, self, [])}

    def _serve_define(self, request):
        raise ValueError("only the worker defines")

    # bytes

    def send(self, message: dict) -> None:
        """Send a message, and with it what has happened in place to the arguments of the call that is being served."""
        if changed := self._changes():
            message["changed"] = changed
        self.write(json.dumps(message).encode() + b"\n")

    def receive(self) -> dict:
        try:
            message = json.loads(self.read())
            assert isinstance(message["id"], int)
            assert message["do"] in ("call", "vjp", "define", "reply", "error")
            for index, new in message.get("changed", []) if self.asking else []:
                _change(self.asking[-1][index], decode(new, self, []))
        except Exception as error:  # not JSON, nested too deep, a number too long, another form
            raise nonsense(error) from None
        return message

    def _error(self, reply: dict) -> BaseException:
        """The exception to raise here for one that was raised over there."""
        yours, place = reply.get("yours"), str(reply.get("place") or ", in what it returns")[:300]
        if isinstance(yours, int) and 0 <= yours < len(self.raised):
            error = self.raised[yours]  # it began here, passed through the other side, and is itself again
            error.place = getattr(error, "place", "") or place
            return error
        name, text = str(reply.get("type"))[:60], str(reply.get("text"))[:2000]
        kind = getattr(builtins, name, None)
        if not (isinstance(kind, type) and issubclass(kind, BaseException if self.trusting else Exception)):
            kind, text = RuntimeError, f"{name}: {text}"
        try:
            error = kind(text.strip("'") if kind is KeyError else text)  # a KeyError puts its text in quotes
        except TypeError:  # UnicodeDecodeError and its like want five arguments
            error = RuntimeError(f"{name}: {text}")
        error.came_from_you, error.place = reply.get("raised"), place
        return error


def nonsense(why) -> Broken:
    return Broken("look by hand", f"the worker sent what our own code never sends ({type(why).__name__}: {why!s:.100})")


def _describe(error: BaseException) -> dict:
    """The name of the error's type, the nearest type that every Python has, and its text."""
    known = next(base.__name__ for base in type(error).__mro__ if getattr(builtins, base.__name__, None) is base)
    try:
        text = str(error)
    except Exception:
        text = ""
    if isinstance(error, Exception) and known in ("Exception", "BaseException"):
        text = f"{type(error).__name__}: {text}"
    return {"type": known, "text": text[:2000]}


def _change(old, new) -> None:
    """Do to an argument here, in place, what happened to it on the other side."""
    torch = sys.modules.get("torch")
    if torch and isinstance(old, torch.Tensor) and isinstance(new, torch.Tensor):
        old.data = new.detach().clone()
    elif isinstance(old, dict) and isinstance(new, dict):
        old.clear()
        old.update(new)
    elif isinstance(old, list) and isinstance(new, list):
        old[:] = new
    elif hasattr(old, "dtype") and getattr(new, "shape", None) == old.shape:
        old[...] = new


def _put(value, before: list, after):
    """value with the tensors `before` exchanged for the nodes of the graph, in nested lists, tuples and dicts."""
    if isinstance(value, (list, tuple)):
        inside = [_put(part, before, after) for part in value]
        return type(value)(*inside) if hasattr(value, "_fields") else type(value)(inside)
    if isinstance(value, dict):
        return {key: _put(part, before, after) for key, part in value.items()}
    return next((new for old, new in zip(before, after) if old is value), value)


def _node():
    """The autograd function that stands for a call of the other side."""
    import torch

    class Remote(torch.autograd.Function):
        @staticmethod
        def forward(ctx, peer, message, out, given, *tensors):
            value, came, number = peer._call(message, given)
            out["value"], out["tensors"] = value, came
            ctx.peer, ctx.number, ctx.tensors = peer, number, tensors
            made = tuple(tensor.detach().clone() for tensor in came)
            ctx.mark_non_differentiable(*[new for old, new in zip(came, made) if not old.requires_grad])
            return made

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, *gradients):
            return None, None, None, None, *ctx.peer.vjp(ctx.number, gradients, ctx.tensors)

    return Remote
