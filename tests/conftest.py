"""What all tests share: the tools of the book, and the built book."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_tools"))


@pytest.fixture(scope="session")
def book() -> Path:
    """The folder of the built pages; the book is built first when it is stale (`make test` has done so already)."""
    command = [sys.executable, str(ROOT / "book" / "_tools" / "build.py"), "--if-stale"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"the book cannot be built (`make book`):\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return ROOT / "_build" / "html"
