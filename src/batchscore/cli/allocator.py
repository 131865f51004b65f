"""How does the C library hold the memory of a run's replies and parts?

It knows Arrow's and glibc's allocators and the kernel's huge pages, and nothing of a run but the format of
its parts. On macOS and Alpine only Arrow's is chosen.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from batchscore.settings.fields import Settings

#: The memory that is kept, used or not: mostly that of replies and lines on their way.
KEPT_BYTES = 64 * 2**20

#: A block of this size or more would go back to the system at once; glibc knows no higher limit.
LARGE_BYTES = 32 * 2**20

#: Options of glibc's `mallopt` (malloc.h), and of `madvise` (asm-generic/mman-common.h).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8
MADV_HUGEPAGE = 14
HUGE_PAGE_BYTES = 2 * 2**20


def choose_allocator(settings: Settings) -> None:
    """Let Arrow use the system's allocator if it writes the parts, before it is loaded; that keeps memory.

    Arrow's own one keeps 15 MiB more. The system's would return the memory of each large reply.
    """
    if settings.format == "parquet" or settings.output.lower().endswith((".parquet", ".arrow")):
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    if sys.platform == "linux":
        with suppress(AttributeError):  # only glibc has them
            keep_memory()


def keep_memory() -> None:
    """Keep what is freed, in one arena: what one thread frees another can use.

    The first 64 MiB are huge pages. Each ordinary page of 4 KiB costs a page fault, and these faults take 5 %
    of a run of embeddings. Raises `AttributeError` if the C library lacks a function.
    """
    import ctypes  # noqa: PLC0415 - numpy loads it, too

    libc = ctypes.CDLL(None)
    libc.sbrk.restype, libc.malloc.restype = ctypes.c_size_t, ctypes.c_void_p
    begin = libc.sbrk(0)
    options = {
        M_TRIM_THRESHOLD: KEPT_BYTES,
        M_TOP_PAD: KEPT_BYTES,
        M_MMAP_THRESHOLD: LARGE_BYTES,
        M_ARENA_MAX: 1,
    }
    for option, value in options.items():
        libc.mallopt(option, value)
    # The kernel takes advice only for memory that the process has, which is not yet used.
    libc.free(ctypes.c_void_p(libc.malloc(ctypes.c_size_t(LARGE_BYTES // 2))))
    begin = -(-begin // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
    libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(max(0, libc.sbrk(0) - begin)), MADV_HUGEPAGE)
