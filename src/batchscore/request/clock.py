"""What time is it? All code here and in `engine` takes the clock as an argument, so that tests can set it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """Two ways to read the time, in seconds: from an arbitrary start without jumps, and since 1970."""

    monotonic: Callable[[], float]
    wall: Callable[[], float]


REAL_CLOCK = Clock(time.monotonic, time.time)
