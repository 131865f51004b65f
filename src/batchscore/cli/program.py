"""How did the user start this program, so that a command that is offered works when it is copied?

Messages call it `batchscore`. A program in a virtual environment that is not active, or a module of Python,
has another name in the user's shell.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache

from batchscore.stores.address import shell_command

#: The commands. A test compares them with those that there are.
COMMANDS = (
    "score",
    "plan",
    "batches",
    "merge",
    "verify",
    "report",
    "check",
    "model",
    "simulate",
    "evaluate",
    "finetune",
)

_OFFERED = re.compile(rf"(?<![\w./-])(?<!-m )batchscore(?= (?:{'|'.join(COMMANDS)})\b)")


def as_called(text: str) -> str:
    """Return a message whose commands begin as the user began this one."""
    return _OFFERED.sub(lambda _: _program(), text)


@cache
def _program() -> str:
    return program(sys.argv[0], sys.orig_argv)


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
