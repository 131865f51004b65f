"""On which thread and event loop does a run work, and what do signals and garbage collection do meanwhile?"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TypeVar

from batchscore.rows import Listen, Notice
from batchscore.run.stop import REQUESTS, Stop

#: A signal that follows the first this quickly is the same request, delivered twice.
SAME_SIGNAL_SECONDS = 0.2

#: New objects before the garbage collector runs: those of some thousand rows.
COLLECT_AFTER_OBJECTS = 20_000

T = TypeVar("T")

_collecting = threading.Lock()
_thresholds: list[tuple[int, int, int]] = []


def run_on_fast_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop if this system has it; that takes 10 % less CPU per request.

    Raises `KeyboardInterrupt` if a second signal cancelled it.
    """
    with rare_garbage_collection(), signals_kept_back():
        try:
            if sys.platform == "win32":
                return asyncio.run(main)
            import uvloop  # noqa: PLC0415 - there is none for Windows

            return uvloop.run(main)
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


def start_in_thread(work: Callable[[], T]) -> Future[T]:
    """Start a call on a new thread, on which no event loop runs and no signals arrive."""
    done: Future[T] = Future()

    def do() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=do, name="batchscore", daemon=True).start()
    return done


@contextmanager
def rare_garbage_collection(objects: int = COLLECT_AFTER_OBJECTS) -> Iterator[None]:
    """Collect garbage in cycles after this many objects: none of a row, a request or a file is in a cycle.

    What there is before is not looked through. If several runs of one process overlap, the last one to end
    restores what the first one found.
    """
    with _collecting:
        gc.freeze()
        _thresholds.append(gc.get_threshold())
        gc.set_threshold(objects, *_thresholds[0][1:])
    try:
        yield
    finally:
        with _collecting:
            gc.set_threshold(*_thresholds.pop())
            if not _thresholds:
                gc.unfreeze()


class KeptBack:
    """Keeps a signal back while an event loop starts and closes, as an exception would leave it half-made.

    A second signal goes to the `handler` that was there before: closing may hang.
    """

    def __init__(self, handler: Callable[[int, FrameType | None], Any] | int | None) -> None:
        self.handler = handler
        self.first: float | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle one signal."""
        if self.first is None:
            self.first = time.monotonic()
        elif callable(self.handler) and time.monotonic() - self.first > SAME_SIGNAL_SECONDS:
            self.handler(number, frame)


@contextmanager
def signals_kept_back() -> Iterator[None]:
    """Deliver a SIGINT or SIGTERM that `stop_on_signals` does not handle after the block."""
    kept: dict[signal.Signals, KeptBack] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(number)
        # Off the main thread, a run may not handle signals.
        with suppress(ValueError):
            if handler is not signal.SIG_IGN:
                own = KeptBack(handler)
                signal.signal(number, own)
                kept[number] = own
    try:
        yield
    finally:
        for number, each in kept.items():
            signal.signal(number, each.handler or signal.SIG_DFL)
        for number, each in kept.items():
            if each.first is not None:
                signal.raise_signal(number)


@contextmanager
def stop_on_signals(stop: Stop, listen: Listen) -> Iterator[None]:
    """Let SIGINT and SIGTERM request a stop, and a second one cancel; only if this thread may.

    A signal within `SAME_SIGNAL_SECONDS` of the first is ignored: `timeout`, a shell and a process group
    may each deliver one.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    signals = {signal.SIGINT: "press Ctrl-C", signal.SIGTERM: "send SIGTERM"}
    first: float | None = None

    def on_signal(act: str) -> None:
        nonlocal first
        if first is None:
            first = loop.time()
            listen(Notice(f"Stopping: waiting for {stop.waits_for}; {act} again to quit now."))
            stop.request()
        elif loop.time() - first > SAME_SIGNAL_SECONDS and task is not None:
            if stop.waits_for == REQUESTS:
                listen(Notice("Quitting. The next run sends the rows of requests in flight again."))
            task.cancel()

    before = {}
    for number, act in signals.items():
        # Off the main thread, and on some hosts, a run may not handle signals.
        with suppress(ValueError, RuntimeError, NotImplementedError):
            handler = signal.getsignal(number)
            if handler is signal.SIG_IGN:
                continue  # as a shell has it for a command in the background
            loop.add_signal_handler(number, on_signal, act)
            before[number] = handler
            if isinstance(handler, KeptBack) and handler.first is not None:
                handler.first = None
                on_signal(act)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            # The loop would leave Python's own: SIGTERM would end the process while it writes the record.
            signal.signal(number, handler or signal.SIG_DFL)
