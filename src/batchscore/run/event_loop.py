"""How does a run sit in its process: on which event loop, and what do signals do?"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from batchscore.rows import Listen, Notice

#: A signal so soon after the first is not a second wish, but the same one delivered twice.
SAME_SIGNAL_SECONDS = 1.0

#: So many new objects are made before the collector looks at them: those of some thousand rows.
MANY_OBJECTS = 20_000

T = TypeVar("T")

_collecting = threading.Lock()
_thresholds: list[tuple[int, int, int]] = []


def on_the_fastest_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end on uvloop, where there is one for this system: a tenth less CPU a request."""
    with collecting_seldom():
        if sys.platform == "win32":
            return asyncio.run(main)
        import uvloop  # noqa: PLC0415 - there is none for Windows

        return uvloop.run(main)


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Look for garbage in cycles seldom: nothing that is made for a row or a request is in one.

    Of several runs at once in one process the last one to end puts back what the first one found.
    """
    with _collecting:
        if not _thresholds:
            gc.freeze()
        _thresholds.append(gc.get_threshold())
        gc.set_threshold(MANY_OBJECTS, *_thresholds[0][1:])
    try:
        yield
    finally:
        with _collecting:
            if len(_thresholds) == 1:
                gc.set_threshold(*_thresholds[0])
                gc.unfreeze()
            # The first of them is what was there before any run.
            _thresholds.pop()


@contextmanager
def stopping(stop: asyncio.Event, listen: Listen) -> Iterator[None]:
    """Let SIGINT and SIGTERM set `stop`, and a second one cancel; only where this thread may.

    What comes within `SAME_SIGNAL_SECONDS` of the first is the first once more: `timeout`, a shell and a
    process group may each deliver one.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    signals = {signal.SIGINT: "press Ctrl-C again", signal.SIGTERM: "send SIGTERM again"}
    first: float | None = None

    def received(again: str) -> None:
        nonlocal first
        if first is None:
            first = loop.time()
            listen(Notice(f"Stopping: waiting for answers that are on their way; {again} to leave at once."))
            stop.set()
        elif loop.time() - first > SAME_SIGNAL_SECONDS and task is not None:
            task.cancel()

    installed = []
    for number, again in signals.items():
        # Off the main thread, and on some hosts, signals are not ours to take.
        with suppress(ValueError, RuntimeError, NotImplementedError):
            loop.add_signal_handler(number, received, again)
            installed.append(number)
    try:
        yield
    finally:
        for number in installed:
            loop.remove_signal_handler(number)
