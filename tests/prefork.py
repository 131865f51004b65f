"""Commands that start without imports: a process that has imported everything forks for each.

`python -m batchscore`, or a script, runs in its own process with its own arguments, variables, folder and
pipes. This saves the second that Python needs to start and import, hundreds of times.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import IO, Any, NoReturn

#: The maximum size of a request. It is one message with all variables.
MOST_BYTES = 1 << 17

#: Modules that the command line imports only on demand.
LATER = (
    *("batchscore.run.score_files", "batchscore.output.merge", "batchscore.output.verify"),
    "batchscore.simulator.process",
    *("batchscore.cli.json_events", "batchscore.cli.progress", "batchscore.cli.summary"),
    *(
        "batchscore.report.page.make",
        "batchscore.cli.plan",
        "batchscore.cli.plan_table",
        "batchscore.plan.make",
        "batchscore.run.expected",
    ),
    *("batchscore.output.records.columnar", "encodings.idna", "numpy.ma", "numpy.random"),
    "anyio._backends._asyncio",
    *("batchscore.request.wire", "pyarrow.parquet", "uvloop"),
    *("batchscore.batch.open", "batchscore.batch.commands", "batchscore.run.batches"),
    *("openpyxl", "pandas", "xlsxwriter"),  # pyarrow imports pandas when it writes
)

#: What a command calls first, and every other then finds done: patterns are compiled, commands are looked up.
REHEARSED = "score in.csv -o out --task embeddings -m m --column text"


class Forked:
    """A running command, with the interface of `subprocess.Popen`."""

    def __init__(self, pid: int, ended: socket.socket, stdout: IO[str], stderr: IO[str]) -> None:
        self.pid = pid
        self.stdout, self.stderr = stdout, stderr
        self.returncode: int | None = None
        self._ended = ended

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raise `subprocess.TimeoutExpired` if it takes longer."""
        if self.returncode is None:
            self._ended.settimeout(timeout)
            try:
                code = self._ended.recv(64)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired("batchscore", timeout or 0) from None
            self.returncode = int(code)
            self._ended.close()
        return self.returncode

    def poll(self) -> int | None:
        """Return the exit code if the command has ended."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Read the open pipes to their ends, and wait. Raise `subprocess.TimeoutExpired` on timeout."""
        until = time.monotonic() + timeout
        texts = {self.stdout: "", self.stderr: ""}

        def read(pipe: IO[str]) -> None:
            texts[pipe] = pipe.read()

        readers = [Thread(target=read, args=(pipe,), daemon=True) for pipe in texts if not pipe.closed]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(max(0.0, until - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired("batchscore", timeout)
        self.wait(max(0.1, until - time.monotonic()))
        return texts[self.stdout], texts[self.stderr]

    def end(self) -> int:
        """Wait for its end, for ten minutes at most, and return its exit code."""
        with self.stdout, self.stderr:
            self.communicate(600)
        return self.wait()

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the command has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Server:
    """The process that has imported everything. It ends with the test process."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MOST_BYTES)
        command = [sys.executable, __file__, str(theirs.fileno())]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        self.requests = ours

    def start(
        self,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        folder: str | Path,
        script: Path | None = None,
    ) -> Forked:
        """Start `python -m batchscore`, or a script, with these arguments and variables in a folder."""
        read_out, write_out = os.pipe()
        read_err, write_err = os.pipe()
        ended, reports = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = {"arguments": list(arguments), "environ": dict(environ), "folder": str(folder)}
        message = json.dumps({**request, "script": None if script is None else str(script)})
        socket.send_fds(self.requests, [message.encode()], [write_out, write_err, reports.fileno()])
        os.close(write_out)
        os.close(write_err)
        reports.close()
        pid = int(ended.recv(64))
        return Forked(
            pid,
            ended,
            os.fdopen(read_out, encoding="utf-8"),
            os.fdopen(read_err, encoding="utf-8"),
        )

    def close(self) -> None:
        """End the process."""
        self.requests.close()
        self.process.wait(60)


def serve(requests: socket.socket) -> tuple[list[str], str | None]:
    """Fork for each request, and report how each command ends.

    Return only in a command's process, with its arguments and its script.
    """
    ended, woken = socket.socketpair()
    for end in (ended, woken):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken.fileno())
    running: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([requests, ended], [], [])
        if ended in ready:
            ended.recv(4096)
            report_ends(running)
        if requests not in ready:
            continue
        message, pipes, _, _ = socket.recv_fds(requests, MOST_BYTES, 3)
        if not message:
            os._exit(0)
        out, err, reports = pipes
        if pid := os.fork():
            os.close(out)
            os.close(err)
            os.write(reports, str(pid).encode())
            running[pid] = reports
            continue
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for opened in (requests, ended, woken):
            opened.close()
        for other in (reports, *running.values()):
            os.close(other)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.close(out)
        os.close(err)
        request = json.loads(message)
        os.environ.clear()
        os.environ.update(request["environ"])
        os.chdir(request["folder"])
        tempfile.tempdir = None  # found again, from these variables
        time.tzset()
        return request["arguments"], request["script"]


def report_ends(running: dict[int, int]) -> None:
    """Send the exit codes of the commands that have ended, and forget those commands."""
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        reports = running.pop(pid)
        with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
            os.write(reports, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(reports)


def rehearse() -> None:
    """Score a table without rows, which asks no service."""
    command_line = importlib.import_module("batchscore.cli.main").cli
    os.environ.update(OPENAI_API_KEY="none", OPENAI_BASE_URL="http://127.0.0.1:9/v1")
    nothing = io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in.csv").write_text("text\n")
        os.chdir(folder)
        with (
            contextlib.suppress(SystemExit),
            contextlib.redirect_stdout(nothing),
            contextlib.redirect_stderr(nothing),
        ):
            command_line.main(REHEARSED.split(), "batchscore", standalone_mode=False)
        os.chdir("/")


def kill_at(moment: int, is_change: Callable[[str, tuple[Any, ...]], bool]) -> None:
    """Kill this process just before the change of this number, counted from 1; 0: never."""
    changes = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal changes
        if is_change(event, arguments):
            changes += 1
            if changes == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    if moment:
        sys.addaudithook(hook)


def run_to_its_end(code: Callable[[], object]) -> NoReturn:
    """Run code and end as Python does, except that the modules are not taken apart.

    That writes to all their memory, which is then no longer shared with the process that forks: most of the
    time of a short command. After an exception, Python ends as always.
    """
    status: str | int | None = 0
    try:
        code()
    except SystemExit as end:
        status = end.code
    if isinstance(status, str):
        print(status, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status & 0xFF if isinstance(status, int) else status is not None)


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command does before its imports
    for name in ("batchscore.cli.main", *LATER):
        importlib.import_module(name)
    # The first client loads the transport, and the kinds of calls their forms.
    with importlib.import_module("openai").OpenAI(api_key="none") as client:
        assert client.files
        assert client.batches
    rehearse()
    gc.collect()
    gc.freeze()
    given, script = serve(socket.socket(fileno=int(sys.argv[1])))
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.argv[1:] = given
    if script is None:
        run_to_its_end(lambda: runpy.run_module("batchscore", run_name="__main__", alter_sys=True))
    run_to_its_end(lambda: runpy.run_path(str(script), run_name="__main__"))
