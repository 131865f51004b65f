"""A process of a batch host: loads the scoring script and calls it, on a thread that is not the main one.

It is started by `host`, which says over a connection what to call. Its arguments are those that the host's
own program has; what is printed goes into a file of its own.
"""

from __future__ import annotations

import inspect
import logging
import multiprocessing
import os
import sys
import threading
import traceback
from importlib.util import module_from_spec, spec_from_file_location
from multiprocessing.connection import Client, Connection
from types import ModuleType
from typing import Any

#: Where the host listens, which script it calls, who this process is, and where its words go.
ADDRESS, SCRIPT, NAME, WORDS = (f"BATCH_HOST_{name}" for name in ("ADDRESS", "SCRIPT", "NAME", "WORDS"))


def script_at(path: str) -> ModuleType:
    """Load the scoring script, as a module of its own name."""
    spec = spec_from_file_location("batch_driver", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(script: ModuleType, connection: Connection) -> None:
    """Call what the host says, and tell it what came of that, until it says no more."""
    # A host looks at what `run` takes: the mini-batch, and its context where there is room for it.
    assert len(inspect.signature(script.run).parameters) in {1, 2}
    while True:
        name, mini_batch = connection.recv()
        try:
            returned: Any = None
            if name == "init":
                script.init()
            elif name == "run":
                returned = script.run(mini_batch)
            elif hasattr(script, "shutdown"):
                script.shutdown()
        except BaseException:
            connection.send(("raised", traceback.format_exc()))
        else:
            connection.send(("returned", returned))
        if name == "shutdown":
            return


def main() -> None:
    """Serve the host until it says no more, or is gone."""
    words = os.open(os.environ.pop(WORDS), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(words, 1)
    os.dup2(words, 2)
    multiprocessing.current_process().name = os.environ.pop(NAME)
    logging.basicConfig(level=logging.INFO)
    port = int(os.environ.pop(ADDRESS))
    script = script_at(os.environ.pop(SCRIPT))
    connection = Client(("127.0.0.1", port))
    thread = threading.Thread(target=call, args=(script, connection), daemon=True)
    thread.start()
    thread.join()
    sys.exit(0)


if __name__ == "__main__":
    main()
