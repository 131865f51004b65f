"""How does a simulator start and stop, in this process or in its own?

It must not import aiohttp: the process that starts a simulator stays light.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from batchscore.simulator.remote import Deployment
from batchscore.simulator.settings import SimulatorSettings

if TYPE_CHECKING:
    from typing_extensions import Self  # part of typing from Python 3.11


def run(settings: SimulatorSettings) -> None:
    """Serve in this process until SIGINT or SIGTERM; OSError if the port is taken.

    The first line on stdout is JSON with `endpoint` and `key`; hints for people go to stderr.
    """
    # The vectors are small, so BLAS threads would only wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from batchscore.simulator.server import serve  # noqa: PLC0415 - imports aiohttp and numpy, needed only here

    asyncio.run(serve(settings))


class Running:
    """A simulator in its own process. It ends with `stop`, with the `with` block or with its parent."""

    def __init__(self, endpoint: str, key: str, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        self.endpoint = endpoint
        self.key = key
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """The process ID, for tests that check it from outside."""
        return self._process.pid

    def deployment(self, name: str) -> Deployment:
        """Return the controls of one deployment."""
        return Deployment(self.endpoint, name)

    def stop(self) -> None:
        """Stop the process and wait for its end. A second call does nothing."""
        _terminate(self._process)
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(settings: SimulatorSettings | None = None, /, **options: Any) -> Running:
    """Start a simulator and wait until it serves. Options are the fields of `SimulatorSettings`.

    It listens on a free port unless one is given. Raise RuntimeError, with its output, if it does not start.
    """
    if settings is None:
        settings = SimulatorSettings(**options)
    elif options:
        raise TypeError("start() takes settings or options, not both")
    argument = json.dumps(asdict(settings) | {"exit_with_parent": True})
    log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by Running.stop
    process = subprocess.Popen(  # noqa: S603 - our own module, arguments as a list
        [sys.executable, "-m", "batchscore.simulator", argument],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        # Ctrl-C in a terminal goes to the whole group; requests in flight must still get their responses.
        start_new_session=True,
        env=_child_environment(),
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        _terminate(process)
        with log:
            log.seek(0)
            output = log.read().decode("utf-8", "replace").strip()
        raise RuntimeError(f"the simulator did not start: {output}")
    return Running(**json.loads(line), process=process, log=log)


def _child_environment() -> dict[str, str]:
    """Return an environment in which the child imports the same batchscore."""
    home = str(Path(__file__).resolve().parents[2])
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": home if not path else home + os.pathsep + path}


def _terminate(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
