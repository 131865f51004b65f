"""How is a simulator started, found and ended, here or in a process of its own?

It must not import aiohttp: the process that starts one shall stay light.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from batchscore.simulator.remote import Deployment, call
from batchscore.simulator.settings import SimulatorSettings, to_arguments

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing only from Python 3.11 on


def run(settings: SimulatorSettings) -> None:
    """Serve in this process until SIGINT or SIGTERM; OSError if the port is taken.

    The first line on stdout is JSON with `endpoint` and `key`; hints for people go to stderr.
    """
    # Vectors are small: threads of BLAS would only wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from batchscore.simulator.server import serve  # noqa: PLC0415 - aiohttp and numpy, wanted only here

    asyncio.run(serve(settings))


class Running:
    """A simulator in a process of its own; it ends with `stop`, with the block, and with its parent."""

    def __init__(self, endpoint: str, key: str, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        self.endpoint = endpoint
        self.key = key
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """The process, for tests that look from outside."""
        return self._process.pid

    def deployment(self, name: str) -> Deployment:
        """Give the controls of one deployment."""
        return Deployment(self.endpoint, name)

    def reset(self) -> None:
        """Reset every deployment."""
        call("DELETE", self.endpoint + "/_simulator")

    def stop(self) -> None:
        """End it and wait until it has ended; a second call does nothing."""
        _end(self._process)
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(settings: SimulatorSettings | None = None, /, **options: Any) -> Running:
    """Start a simulator and wait until it serves; options are the fields of `SimulatorSettings`.

    It listens on a free port unless one is given. RuntimeError, with what it said, if it doesn't start.
    """
    if settings is None:
        settings = SimulatorSettings(**options)
    elif options:
        raise TypeError("start() takes settings or options, not both")
    settings = replace(settings, exit_with_parent=True)
    log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by Running.stop
    process = subprocess.Popen(  # noqa: S603 - our own module, arguments as a list
        [sys.executable, "-m", "batchscore.simulator", *to_arguments(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        # Ctrl-C in a terminal goes to the whole group; answers on their way must still come home.
        start_new_session=True,
        env=_environment(),
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        _end(process)
        log.seek(0)
        said = log.read().decode("utf-8", "replace").strip()
        log.close()
        raise RuntimeError(f"the simulator did not start: {said}")
    announced = json.loads(line)
    return Running(announced["endpoint"], announced["key"], process, log)


def _environment() -> dict[str, str]:
    """Give an environment in which the child finds the same batchscore as we did."""
    home = str(Path(__file__).resolve().parents[2])
    known = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": home if not known else home + os.pathsep + known}


def _end(process: subprocess.Popen[bytes]) -> None:
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
