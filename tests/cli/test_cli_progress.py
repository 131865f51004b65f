"""Progress on a real terminal and without one."""

from __future__ import annotations

import fcntl
import io
import os
import re
import shlex
import signal
import struct
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import pytest

from batchscore.cli.progress import PLAIN_SECONDS, Progress
from batchscore.rows import DeploymentState, Heartbeat, Notice, RowsSettled
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Files

WIDTH, HEIGHT = 60, 12

#: Everything that a terminal takes for an order and not for text.
ORDERS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """Both ends of a terminal: `stream` is what a command writes to."""

    def __init__(self) -> None:
        self.ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
        self.stream: TextIO = os.fdopen(theirs, "w")
        os.set_blocking(self.ours, False)
        self.seen = ""

    def read(self) -> str:
        """Give what has come since the last time."""
        pieces = []
        try:
            while piece := os.read(self.ours, 65536):
                pieces.append(piece)
        except OSError:
            pass
        new = b"".join(pieces).decode()
        self.seen += new
        return new

    def until(self, text: str) -> str:
        """Wait for a text; give everything since the last reading."""
        new = self.read()
        while text not in new:
            time.sleep(0.02)
            new += self.read()
        return new

    def close(self) -> None:
        """Close our end, as a window is closed."""
        os.close(self.ours)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    opened = Terminal()
    yield opened
    opened.stream.close()


def asked(deployment: Deployment, *more: str) -> list[str]:
    return ["score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text", *more]


@pytest.mark.slow
def test_the_progress_of_a_run_leaves_a_clean_terminal(
    batchscore: Cli, files: Files, deployment: Deployment, terminal: Terminal
) -> None:
    files.texts("a.csv", [f"the secret {row}" for row in range(400)])
    deployment.will_be_slow(0.3, times=None)
    with batchscore.start(
        *asked(deployment, "--verbose", "--rpm", "600", "--price-in", "1", "--price-out", "1"),
        env={"TERM": "xterm", "NO_COLOR": None},
        stderr=terminal.stream,
    ) as process:
        shown = terminal.until("in flight") + terminal.until("requests/min") + terminal.until("cost")
        assert "\x1b[1m" in shown, "styles"

        process.interrupt(signal.SIGSTOP)
        time.sleep(1.6)
        terminal.read()
        process.interrupt(signal.SIGCONT)
        first = terminal.until("in flight")
        assert not re.match(r"\r?\x1b\[\d+A", first), "what a shell has written would be overwritten"

        deployment.reset()
        deployment.will_be_slow(30, times=None)
        deployment.wait_for(2)
        process.interrupt()
        terminal.until("Stopping: ")
        time.sleep(1.1)
        process.interrupt()
        code = process.popen.wait(300)
        terminal.read()
        assert code == 4, terminal.seen[-3000:]
    terminal.read()
    *_, last = terminal.seen.partition("Aborted. Completed rows are saved.\r\nTo resume, run: ")
    assert shlex.split(last)[-2:] == ["--price-out", "1"]
    assert "Traceback" not in terminal.seen
    assert "secret" not in terminal.seen
    assert "\x1b[?25l" not in terminal.seen, "the cursor is never hidden"
    drawn = [ORDERS.sub("", line) for line in terminal.seen.split("\n")]
    # What stays, and wraps, is longer.
    assert not [line for line in drawn if "·" in line and len(line.strip()) > WIDTH]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["closed", "dumb"])
def test_a_terminal_that_cannot_be_drawn_on_changes_nothing_for_the_run(
    batchscore: Cli, files: Files, deployment: Deployment, terminal: Terminal, how: str
) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(12)])
    deployment.will_be_slow(0.3, times=None)
    environ = {"TERM": "dumb" if how == "dumb" else "xterm"}
    with batchscore.start(
        *asked(deployment, "--max-concurrency", "2"), env=environ, stderr=terminal.stream
    ) as process:
        deployment.wait_for(2)
        if how == "closed":
            terminal.close()
        stdout, _ = process.popen.communicate(timeout=300)
    assert process.popen.returncode == 0
    assert "12 scored" in stdout
    if how == "dumb":
        terminal.read()
        assert "\x1b" not in terminal.seen


def test_the_log_of_a_long_run_is_short() -> None:
    """Each line has the facts, and messages come at once."""
    stream = io.StringIO()
    progress = Progress(stream, verbose=True)
    began = progress.watch.started
    progress(RowsSettled(5))
    progress(Heartbeat((DeploymentState("east", "up", 3, 0, 0, None, None, 0.0, for_quota=False),)))
    progress(Notice("east waits 20 s."))
    for second in range(10 * 3600):
        progress.step(began + second)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "east waits 20 s."
    assert "0 rows" in lines[1] or "5 rows" in lines[1]
    assert lines[1].split(" · ")[-2] == f"elapsed {PLAIN_SECONDS:.0f} s"
    assert 100 < len(lines) < 250


def test_quiet_prints_nothing_if_nothing_went_wrong(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", ["one"])
    done = batchscore(*asked(deployment, "--quiet"))
    assert (done.exit_code, done.said) == (0, "")
    both = batchscore(*asked(deployment, "--quiet", "--verbose"))
    assert both.exit_code == 2
    assert Path("out").exists()
