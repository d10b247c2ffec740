"""Exam variant of chapter 12: rounding up."""

from vil_lite.teach.checks._base import exercise


def padded_tokens(height, width, P, stride, *, one=1):
    """How many patches of side P at this stride, if the image is padded until none of its pixels is left over."""
    rows, columns = ((-(-(size - P) // stride)) + one for size in (height, width))
    return rows * columns


@exercise(
    "exam 12",
    "tokens of an image that is padded",
    padded_tokens,
    mistakes={
        "pixels that are left over need a padded patch: round up": lambda h, w, P, s: (
            ((h - P) // s + 1) * ((w - P) // s + 1)
        ),
        "the first patch stands at pixel 0, before any step": {"one": 0},
        "the stride is ignored: these patches do not overlap": lambda h, w, P, s: -(-h // P) * -(-w // P),
    },
)
def check_padded_tokens(rng):
    stride = rng.size(3, 6)
    P, rest = 2 * stride, rng.turn([0, 1, stride - 1])
    return {
        "height": P + stride * rng.size(4, 8) + rest,
        "width": P + stride * rng.size(9, 12) + rest,
        "P": P,
        "stride": stride,
    }
