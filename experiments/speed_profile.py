"""Where does the time of a ViL block go, how near is each part to what the machine can do, and what did each change gain?

    python experiments/speed_profile.py        about 3 minutes on two quiet CPU cores

Parts: one block of ViL-T (version 2) on 8 images of 224 x 224, forward, float32; for each part its multiply-adds, the bytes
that it must at least read and write, and its time; beside two measured limits of the machine: a large matrix product and a
large copy.  The same for what stands at stride 16 of YOLOv8n at 640 pixels: a bottleneck of C2f, and the ViL block in its
place.  bfloat16: each part again, under autocast.  Powers: exp and exp2 of a chunk's exponents.
Changes: six blocks with one arrangement undone, against the library, in turn.
Writes book/results/speed_profile.json.
"""

from contextlib import contextmanager
from unittest.mock import patch

import torch
import torch.nn.functional as F
from _record import best_times, forward, record
from ultralytics.nn.modules import Bottleneck

from vil_lite import ViLEncoder
from vil_lite.block import MLSTMCell, MLSTMPath
from vil_lite.layers import LinearBlockDiagonal, MultiHeadNorm
from vil_lite.mlstm import mlstm_chunkwise
from vil_lite.mlstm_state import gate_precision

B, GRID, DIM, HEADS = 8, (14, 14), 192, 4
S, INNER = GRID[0] * GRID[1], 2 * DIM
L_OF_196 = 49  # the chunk length that the library takes for 196 tokens


def machine():
    """Two limits: multiply-adds per second of a large product, bytes per second of a large copy."""
    squares = {n: torch.randn(n, n) for n in (512, 1024, 2048)}
    x, y = torch.randn(2**26), torch.empty(2**26)
    times = best_times({n: lambda a=a: a @ a for n, a in squares.items()} | {"copy": lambda: y.copy_(x)}, 9, warmup=2)
    madds_per_s = max(n**3 / times[n] for n in squares)
    return {"madds_per_s": madds_per_s, "bytes_per_s": 2 * 4 * 2**26 / times["copy"]}


def encoder(depth, **options):
    torch.manual_seed(0)
    model = ViLEncoder(DIM, depth, version=2, **options)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.02 * torch.randn_like(p))
    return model


def parts(dtype=torch.float32):
    """name -> (function, multiply-adds, floats that must be read or written at least).  dtype: of what lies between products."""
    block = encoder(1).blocks[0]
    layer, path = block.layer, block.layer.paths[0]
    cell, tokens, inner, d = path.mlstm_cell, B * S * DIM, B * S * INNER, INNER // HEADS
    x, c = torch.randn(B, S, DIM), torch.randn(B, S, INNER)
    x_m, z = layer.proj_up(x).detach().split(INNER, dim=-1)
    q, k, v = (p(c).detach() for p in (path.q_proj, path.k_proj, path.v_proj))
    i, f = (g.detach() for g in cell.gates(q, k, v))
    c, x_m, z, q, k, v = (t.to(dtype) for t in (c, x_m, z, q, k, v))
    chunk = 2 * L_OF_196 * d + 2 * d * d  # multiply-adds a token and head: inside the chunk, to and from the memory
    return {
        "norm": (lambda: block.norm(x), 5 * tokens, 2 * tokens),
        "proj_up": (lambda: layer.proj_up(x), tokens * 2 * INNER, tokens + 2 * inner),
        "conv, silu": (lambda: F.silu(path.conv(x_m, GRID)), 9 * inner, 4 * inner),
        "q, k, v": (lambda: (path.q_proj(c), path.k_proj(c), path.v_proj(x_m)), 3 * 4 * inner, 5 * inner),
        "gates": (lambda: cell.gates(q, k, v), 3 * inner * 2 * HEADS, 3 * inner),
        "mLSTM": (lambda: mlstm_chunkwise(q, k, v, i, f), B * S * HEADS * chunk, 4 * inner),
        "norm of heads": (lambda: cell.outnorm(q), 5 * inner, 2 * inner),
        "skip, gate": (lambda: torch.addcmul(c, path.learnable_skip.to(c.dtype), c) * F.silu(z), 4 * inner, 4 * inner),
        "proj_down": (lambda: layer.proj_down(c), inner * DIM, inner + tokens),
        "whole block": (lambda: block(x, GRID), None, None),
    }


def in_bfloat16(function):
    def run():
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            return function()

    return run


def inside_yolo():
    """At stride 16 of YOLOv8n, 640 pixels: 1600 tokens of width 64.  What C2f has there, and what C2fViL puts in its place."""
    torch.manual_seed(0)
    c, side = 64, 40
    image = torch.randn(1, c, side, side)
    bottleneck = Bottleneck(c, c, k=((3, 3), (3, 3)), e=1.0).eval()  # as C2f makes it; a norm behind each convolution
    block = ViLEncoder(c, 1, version=2).blocks[0]
    with torch.no_grad():
        for p in block.parameters():
            p.add_(0.02 * torch.randn_like(p))
    tokens, few = image.flatten(2).mT.contiguous(), torch.randn(1, 64, c)
    n, d = side * side, 2 * c // HEADS
    L = block.layer.paths[0].mlstm_cell.chunk_size
    madds = {
        "bottleneck": 2 * 9 * c * c * n,
        "ViL block": n * (6 * c * c + 2 * c * (9 + 3 * 4 + 3 * 2 * HEADS) + HEADS * (2 * L * d + 2 * d * d)),
    }
    runs = {
        "bottleneck": lambda: bottleneck(image),
        "ViL block": lambda: block(tokens, (side, side)),
        "ViL block, 64 tokens": lambda: block(few, (8, 8)),
    }
    times = best_times({name: forward(run) for name, run in runs.items()}, 60, warmup=5)
    return {"ms": {name: 1e3 * t for name, t in times.items()}, "madds": madds}


def powers():
    """Milliseconds of exp and exp2 of the exponents of 128 chunks of 49 tokens: as they are, and with a mask far below."""
    exponents, masked = (
        -torch.randint(0, 9, (128, L_OF_196, L_OF_196)).float(),
        torch.ones(L_OF_196, L_OF_196).triu(1).bool(),
    )
    times = {}
    for name, fill in (("-inf", -torch.inf), ("-95", -95.0)):
        x = exponents.masked_fill(masked, fill)
        pair = best_times({"exp": lambda x=x: x.exp(), "exp2": lambda x=x: x.exp2()}, 60, warmup=5)
        times[name] = {function: 1e3 * t for function, t in pair.items()}
    return times


# ------------------------------------------------------------------ arrangements undone, one at a time


def small_blocks(self, x):
    """Products of 4 x 4 blocks, as published."""
    y = torch.einsum("bsni,noi->bsno", x.unflatten(-1, (-1, self.block_size)), self.weight).flatten(2) + self.bias
    return y.unflatten(-1, (self.num_heads, -1)).permute(2, 0, 1, 3)


def written_concatenation(self, q, k, v):
    """The gates as published: one linear map of cat(q, k, v)."""
    joined = torch.cat([x.permute(1, 2, 0, 3).flatten(2) for x in (q, k, v)], dim=-1)
    return tuple(gate_precision(gate(joined).permute(2, 0, 1)) for gate in (self.igate, self.fgate))


def norm_by_norm(self, h):
    """A norm for each head, then a concatenation."""
    weight, bias = (1 + self.weight).chunk(self.num_heads), self.bias.chunk(self.num_heads)
    heads = zip(h.split(1), weight, bias, strict=True)
    return torch.cat([F.layer_norm(x, (self.head_dim,), w, b, self.eps) for x, w, b in heads], dim=-1).squeeze(0)


def folded(self, x_m, grid):
    """Gates straight from c and x_m: their weights multiplied by those of q, k and v first."""
    c, cell = F.silu(self.conv(x_m, grid)), self.mlstm_cell
    weights = torch.cat([cell.igate.weight, cell.fgate.weight]).chunk(3, dim=-1)
    bias, maps = torch.cat([cell.igate.bias, cell.fgate.bias]), []
    for proj, weight in zip((self.q_proj, self.k_proj, self.v_proj), weights, strict=True):
        merged = proj.merged_weight()
        maps.append((merged @ weight.T.reshape(len(merged), merged.shape[2], -1)).flatten(0, 1))
        bias = bias + weight @ proj.bias
    gates = gate_precision(c @ (maps[0] + maps[1]) + x_m @ maps[2] + bias).permute(2, 0, 1).chunk(2)
    with patch.object(cell, "gates", lambda *_: gates):
        h = cell(self.q_proj(c), self.k_proj(c), self.v_proj(x_m))
    return torch.addcmul(h, self.learnable_skip, c)


CHANGES = {
    "4 x 4 blocks one by one": (LinearBlockDiagonal, "forward", small_blocks),
    "gates of a written concatenation": (MLSTMCell, "gates", written_concatenation),
    "a norm for each head": (MultiHeadNorm, "forward", norm_by_norm),
    "gate weights folded into q, k, v": (MLSTMPath, "forward", folded),
}
OPTIONS = {
    "parallel form": {"form": "parallel"},
    "chunks of 28 tokens": {"chunk_size": 28},
    "chunks of 98 tokens": {"chunk_size": 98},
}


@contextmanager
def undone(name):
    with patch.object(*CHANGES[name]) if name in CHANGES else patch.dict({}):
        yield


def changes():
    """Times of six blocks, forward and with the backward pass, relative to the library's arrangement."""
    x = torch.randn(B, S, DIM, requires_grad=True)
    names = ["library", *CHANGES, *OPTIONS]
    models = {name: encoder(6, **OPTIONS.get(name, {})) for name in names}
    with torch.no_grad():
        wanted = models["library"](x, GRID)

    def run(name, backward):
        def go():
            with undone(name), torch.set_grad_enabled(backward):
                y = models[name](x, GRID)
                return y.square().mean().backward() if backward else y

        return go

    for name in names:
        torch.testing.assert_close(run(name, False)(), wanted, rtol=1e-3, atol=1e-4)  # the same function
    fast = best_times({name: run(name, False) for name in names}, 15, warmup=2)
    slow = best_times({name: run(name, True) for name in names}, 8)
    figures = {"library": {"forward_s": fast["library"], "step_s": slow["library"]}}
    for name in names[1:]:
        figures[name] = {"forward": fast[name] / fast["library"], "step": slow[name] / slow["library"]}
        print(name, figures[name], flush=True)
    return figures


def main():
    limits, pieces = machine(), parts()
    times = best_times({name: forward(function) for name, (function, _, _) in pieces.items()}, 30, warmup=3)
    half = parts(torch.bfloat16)
    half = best_times({name: in_bfloat16(function) for name, (function, _, _) in half.items()}, 30, warmup=3)
    figures = {"machine": limits, "parts": {}}
    for name, (_, madds, floats) in pieces.items():
        row = {"ms": 1e3 * times[name], "bfloat16_ms": 1e3 * half[name]}
        if madds:
            floor = max(madds / limits["madds_per_s"], 4 * floats / limits["bytes_per_s"])
            row |= {"madds": madds, "bytes": 4 * floats, "roofline_ms": 1e3 * floor}
        figures["parts"][name] = row
        print(name, row, flush=True)
    figures["yolo"] = inside_yolo()
    figures["powers"] = powers()
    print(figures["yolo"], figures["powers"], flush=True)
    figures["changes"] = changes()
    record("speed_profile", figures, seeds=[0], packages=("torch", "ultralytics"))


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
