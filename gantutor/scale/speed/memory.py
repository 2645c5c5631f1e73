"""Memory that a step gives back stays with the process, for the next step."""

import ctypes
import functools
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


@functools.cache
def keep_memory() -> bool:
    """Let glibc keep up to 1 GiB of freed memory; True if it does, False where there is no glibc.

    By default it returns a step's large tensors to the kernel, which has to clear every page anew when the next step
    asks for them. Afterwards blocks of up to 32 MiB come from the heap, and up to 1 GiB that is free at the heap's end
    stays with the process until it ends. That holds for the whole process, and glibc has no way back to its default.
    No number changes.
    Source: mallopt(3).
    """
    if "CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", ()):
        return False
    try:
        os.confstr("CS_GNU_LIBC_VERSION")
    except (OSError, ValueError):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_TRIM_THRESHOLD, 2**30) and mallopt(M_MMAP_THRESHOLD, 2**25))
