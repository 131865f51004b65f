"""How did the user start this program, so that a command that is offered works when it is copied?

Messages call it `batchscore`, and its Python `python`. A program in a virtual environment that is not
active, or a module of Python, has another name in the user's shell.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from batchscore.stores.address import shell_command

#: The commands, each with its module in this room.
COMMANDS = {
    **{name: name for name in ("score", "plan", "batches", "evaluate", "check", "model")},
    "finetune": "finetune.data",
    "merge": "outputs",
    "verify": "outputs",
    "report": "outputs",
    "simulate": "simulate",
}

_OFFERED = re.compile(rf"(?<![\w./-])(?<!-m )batchscore(?= (?:{'|'.join(COMMANDS)})\b)")
_PYTHON = re.compile(r"(?<=run: )python(?= -c )")


def as_called(text: str) -> str:
    """Return a message whose commands begin as the user began this one."""
    return _PYTHON.sub(lambda _: python(), _OFFERED.sub(lambda _: _program(), text))


@cache
def _program() -> str:
    return program(sys.argv[0], sys.orig_argv)


def python(find: Callable[[str], str | None] = shutil.which) -> str:
    """Return what starts this Python in a shell: another one may lack our packages."""
    found, this = find("python"), Path(sys.executable)
    # The links of a virtual environment lead to a Python that has none of its packages.
    is_this = found and Path(found).absolute().parent == this.parent and this.samefile(found)
    return "python" if is_this or not sys.executable else shell_command([sys.executable])


def program(script: str, words: Sequence[str], find: Callable[[str], str | None] = shutil.which) -> str:
    """Return what starts this program in a shell; `script` and `words` are as the system gave them."""
    name = os.path.basename(script)  # noqa: PTH119 - only the name
    if name == "__main__.py" and "-m" in words[:-1]:
        module = words.index("-m") + 1
        return shell_command(words[: module + 1]) if words[module] == "batchscore" else "batchscore"
    if name.removesuffix(".exe") != "batchscore":
        return "batchscore"
    found = find("batchscore")
    with suppress(OSError):
        if found is not None and os.path.samefile(found, script):  # noqa: PTH121
            return "batchscore"
    return shell_command([script])
