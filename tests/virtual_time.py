"""An event loop whose clock jumps to the next timer if nothing is ready: hours pass in milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from batchscore.request.timeouts import Clock

T = TypeVar("T")


def loop_time() -> float:
    """Return the time of the running loop, which may be virtual."""
    return asyncio.get_running_loop().time()


#: Pass this clock to code that runs on a virtual loop.
LOOP_CLOCK = Clock(loop_time, lambda: 1_800_000_000 + loop_time())


class JumpingSelector(selectors.SelectSelector):
    """Never waits: adds the time that it should have waited to the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return that no socket is ready: there are none."""
        if timeout is None:
            raise AssertionError("every task waits for something that cannot happen")
        self.passed += max(timeout, 0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """`loop.time()` is virtual; threads and sockets do not work on this loop."""

    def __init__(self) -> None:
        self.jumping = JumpingSelector()
        super().__init__(self.jumping)

    def time(self) -> float:
        # A little more each call, as on a real clock: a timer is never due a hair too early.
        self.jumping.passed += 1e-9
        return 1000.0 + self.jumping.passed


def run_virtual(main: Coroutine[Any, Any, T]) -> tuple[T, float]:
    """Run `main` to its end; return its result and the virtual seconds it took."""
    loop = VirtualLoop()
    started = loop.time()
    try:
        asyncio.set_event_loop(loop)
        result = loop.run_until_complete(asyncio.wait_for(main, 100_000))
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    return result, loop.time() - started
