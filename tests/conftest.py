"""What all tests share: the tools of the book, and the built book."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # One thread a worker, and for what it starts; set before torch is imported: more would wait for each other.
    os.environ["OMP_NUM_THREADS"] = "1"

ROOT = Path(__file__).resolve().parents[1]
# The files that take longest, in this order: begun last, one of them would keep a single core busy.
FIRST = ("test_accessibility", "test_compare", "test_exercises", "test_class", "test_main", "test_yolo_training")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: FIRST.index(item.path.stem) if item.path.stem in FIRST else len(FIRST))


@pytest.fixture(scope="session")
def book() -> Path:
    """The folder of the built pages; the book is built first when it is stale (`make test` has done so already)."""
    command = [sys.executable, str(ROOT / "book" / "_tools" / "build.py"), "--if-stale"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (
        f"the book cannot be built (`make book`):\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    )
    return ROOT / "_build" / "html"
