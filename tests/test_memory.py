"""keep_freed_memory in a process of its own: large tensors stop being mapped anew, and a bare import changes nothing."""

import platform
import subprocess
import sys

import pytest

CODE = """
import resource, sys
import torch, vil_lite
if sys.argv[1] == "keep":
    print(vil_lite.keep_freed_memory())
for _ in range(5):
    torch.empty(16_000_000).fill_(1.0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(6):
    torch.empty(16_000_000).fill_(1.0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_freed_memory_is_kept_only_when_asked():
    """64 MB a tensor are 15,625 pages of 4 kB to fault in (31 of 2 MB, where the system hands out large ones)."""
    said, faults = {}, {}
    for mode in ("plain", "keep"):
        done = subprocess.run([sys.executable, "-c", CODE, mode], capture_output=True, text=True, check=True)
        *said[mode], faults[mode] = done.stdout.split("\n")[:-1]
    assert said["plain"] == [] and said["keep"][0].startswith("freed memory: kept ")
    assert int(faults["keep"]) < 20 < 60 < int(faults["plain"])


def test_elsewhere_nothing_is_done(monkeypatch):
    import vil_lite

    monkeypatch.setattr(sys, "platform", "darwin")
    assert vil_lite.keep_freed_memory() == "freed memory: nothing done, darwin is not Linux"
