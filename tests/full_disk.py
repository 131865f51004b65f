"""How does a test fill a disk? No file of this process may grow beyond a size, in one block of code.

A write is then done in part, and the next one fails, as the system does it.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond this size; Python ignores the signal, so that a write raises `OSError`."""
    before, highest = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, highest))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, highest))
