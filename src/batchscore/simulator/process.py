"""How does a simulator start and stop, in this process or in its own?

It must not import aiohttp: the process that starts a simulator stays light.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from batchscore.simulator.settings import SimulatorSettings

#: What the child runs. It imports from where this process does; alone, Python would look into the working
#: folder first (`-m`, `-c`), which may hold anybody's files.
COMMAND = (
    "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); import runpy; "
    "runpy.run_module('batchscore.simulator', run_name='__main__', alter_sys=True)"
)


def run(settings: SimulatorSettings) -> None:
    """Serve in this process until SIGINT or SIGTERM; OSError if the port is taken.

    The first line on stdout is JSON with `endpoint` and `key`; hints for people go to stderr.
    """
    import asyncio  # noqa: PLC0415 - slow to load, needed only here

    # The vectors are small, so BLAS threads would only wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from batchscore.simulator.server import serve  # noqa: PLC0415 - imports aiohttp and numpy, needed only here

    asyncio.run(serve(settings))


@dataclass(frozen=True)
class Running:
    """A simulator in its own process."""

    endpoint: str
    key: str
    pid: int


@contextmanager
def start(**options: Any) -> Iterator[Running]:
    """Run a simulator while the block runs. Options are the fields of `SimulatorSettings`.

    It listens on a free port unless one is given, and ends with its parent at the latest. Raise RuntimeError,
    with its output, if it does not start.
    """
    argument = json.dumps(asdict(SimulatorSettings(**options, exit_with_parent=True)))
    home = str(Path(__file__).resolve().parents[2])
    paths = sys.path if home in sys.path else [home, *sys.path]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(  # noqa: S603 - our own module, arguments as a list
            [sys.executable, "-I", "-c", COMMAND, json.dumps([*map(str, paths)]), argument],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            # Ctrl-C in a terminal goes to the whole group; requests in flight must still get their responses.
            start_new_session=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                process.wait(5)
                log.seek(0)
                output = log.read().decode("utf-8", "replace").strip()
                raise RuntimeError(f"the simulator did not start: {output}")
            yield Running(**json.loads(line), pid=process.pid)
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
