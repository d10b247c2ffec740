"""Chapter 10: its names are the library's."""

from vil_lite.checkpoints import official_name
from vil_lite.teach.checks import ch10


def test_the_names_are_the_library():
    for raw, wanted in ch10.RAW:
        assert official_name(raw.format(i=3), version=1) == wanted.format(i=3) == ch10.library_name(raw.format(i=3))
