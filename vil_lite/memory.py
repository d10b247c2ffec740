"""Chapter 12, speed on CPUs: let the C library keep freed memory instead of fetching it anew, page by page, for each tensor."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # from glibc's malloc.h
KEPT = 2_000_000_000  # bytes; the largest that an int holds, rounded


def keep_freed_memory() -> str:
    """Tell glibc to keep the memory of freed tensors for the next ones; returns what was done, as a sentence.

    By default each large tensor is mapped from the system and given back when freed, and the system clears every page of
    the next one. Kept, the process holds on to its peak of memory until it ends. Linux with glibc only; elsewhere nothing
    is done. Call it once, before the work; importing vil_lite never does.
    """
    if not sys.platform.startswith("linux"):
        return f"freed memory: nothing done, {sys.platform} is not Linux"
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return "freed memory: nothing done, the C library is not glibc"
    done = [library.mallopt(option, KEPT) for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD)]
    if not all(done):
        return "freed memory: glibc refused to keep it"
    return f"freed memory: kept for the next tensors (glibc's mmap and trim thresholds at {KEPT / 1e9:g} GB)"
