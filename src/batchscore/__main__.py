"""The command `batchscore`, also as `python -m batchscore`: what do signals do before a run handles them?

It imports nothing heavy itself, so that Ctrl-C during loading gives a single line as well.
"""

from __future__ import annotations

import _thread
import atexit
import gc
import os
import signal
import sys
import time

TYPE_CHECKING = False  # as in `typing`, which takes a while to load
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

ABORTED = "Aborted. Run the same command again."
ABORTED_RUN = "Aborted. Completed rows are saved. Run the same command again."

#: A signal that follows the first this quickly is the same request, delivered twice.
SAME_SIGNAL_SECONDS = 0.2
#: An import must end before a signal can be raised; it is tried again after this.
RETRY_SECONDS = 0.01


class EarlySignals:
    """Handles SIGINT and SIGTERM while no run does: one line and exit code 4, whatever the process was doing.

    While the commands load, nothing has begun, so the process ends at once. Later `KeyboardInterrupt` is
    raised, but not within an import: there Python may lose it, or forget the exit code. A second signal
    ends the process at once.
    """

    def __init__(self) -> None:
        self.exit_code: int | None = 4
        self.first: float | None = None
        self.raised = self.retried = False
        for number in (signal.SIGINT, signal.SIGTERM):
            # A shell lets a command in the background ignore Ctrl-C.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self)
                # Runs last, when all threads have ended: Python would restore the default, which kills.
                atexit.register(signal.signal, number, signal.SIG_IGN)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle one signal."""
        now, retried, self.retried = time.monotonic(), self.retried, False
        if self.exit_code is not None:
            quit_now(self.exit_code)
        if self.first is None:
            self.first = now
        elif not retried and now - self.first > SAME_SIGNAL_SECONDS:
            quit_now(4)
        if self.raised:
            return
        if is_importing(frame):
            # A thread of `threading` would need locks that the interrupted code may hold.
            _thread.start_new_thread(self.retry, (number,))
            return
        self.raised = True
        raise KeyboardInterrupt

    def retry(self, number: int) -> None:
        """Send the signal once more; if a run handles signals by then, it gets it."""
        time.sleep(RETRY_SECONDS)
        self.retried = True
        signal.raise_signal(number)


def is_importing(frame: FrameType | None) -> bool:
    """Return whether an import is under way."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def quit_now(code: int) -> NoReturn:
    """End the process without cleaning up; not through `sys.stderr`, which may be in use."""
    if code == 4:
        os.write(2, f"{ABORTED_RUN if sys.argv[1:2] == ['score'] else ABORTED}\n".encode())
    os._exit(code)


def open_standard_error() -> None:
    """Open a standard error that was closed (`2>&-`) to nothing: else the next file would get its number."""
    while sys.stderr is None:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor >= 2:
            sys.stderr = open(descriptor, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - for the process's life


def main() -> None:
    """Load the command line and run it."""
    open_standard_error()
    signals = EarlySignals()
    # The loaded modules stay: the garbage collector would scan them repeatedly, a tenth of the time.
    gc.disable()
    # The only matrix product, for the map of a report, is small: idle threads would cost ten times as much.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from batchscore.cli.main import main as run  # noqa: PLC0415 - signals are handled before this loads

    gc.enable()
    signals.exit_code = None
    try:
        run()
    except SystemExit as end:
        # What was to be done is done: a signal now only ends the process sooner.
        signals.exit_code = end.code if isinstance(end.code, int) else 1
        raise
    finally:
        # The interpreter would search all loaded modules for cycles: a fifth of a second without effect.
        gc.freeze()


if __name__ == "__main__":
    main()
