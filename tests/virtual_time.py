"""An event loop whose clock jumps to the next timer when nothing is ready: hours pass in milliseconds."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

T = TypeVar("T")


class JumpingSelector(selectors.SelectSelector):
    """Never waits: what would have been waited for is added to the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise AssertionError("every task waits for something that cannot happen")
            self.passed += max(timeout, 0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """`loop.time()` is virtual; threads and sockets are not for this loop."""

    def __init__(self) -> None:
        self.jumping = JumpingSelector()
        super().__init__(self.jumping)

    def time(self) -> float:
        # A little more each call, as on a real clock: a timer is never due a hair too early.
        self.jumping.passed += 1e-9
        return 1000.0 + self.jumping.passed


def run_virtual(main: Coroutine[Any, Any, T], monkeypatch: pytest.MonkeyPatch) -> tuple[T, float]:
    """Run `main` to its end; gives its result and the virtual seconds it took.

    The system's monotonic clock follows the loop, so that code which asks the clock agrees with it.
    """
    loop = VirtualLoop()
    with monkeypatch.context() as patched:
        patched.setattr(time, "monotonic", loop.time)
        patched.setattr(time, "perf_counter", loop.time)
        started = loop.time()
        try:
            asyncio.set_event_loop(loop)
            result = loop.run_until_complete(asyncio.wait_for(main, 100_000))
        finally:
            asyncio.set_event_loop(None)
            loop.close()
        return result, loop.time() - started
