"""Real disks that are full and real folders that take nothing."""

import os
import signal
import subprocess
from contextlib import contextmanager

import pytest

ROOT = os.geteuid() == 0


@contextmanager
def small_disk(folder, kilobytes):
    """A disk of so many kilobytes at folder; where it cannot be mounted, the limit is one for each file."""
    folder.mkdir(exist_ok=True)
    mounted = (
        ROOT
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", folder], stderr=subprocess.DEVNULL
        ).returncode
    )
    if mounted:
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
    else:
        import resource

        before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * kilobytes, before[1]))
        try:
            yield folder
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)


@contextmanager
def read_only(folder):
    """A folder in which nobody may write, root included."""
    if ROOT:  # permissions do not bind root, a mount does
        if subprocess.run(["mount", "--bind", folder, folder], stderr=subprocess.DEVNULL).returncode:
            pytest.skip("root may write everywhere, and here it may not mount")
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
    else:
        folder.chmod(0o555)
    try:
        yield folder
    finally:
        if ROOT:
            subprocess.run(["umount", folder], check=True)
        else:
            folder.chmod(0o755)
