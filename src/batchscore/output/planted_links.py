"""Is a folder of an output a link, which somebody may have planted?

The user may name a link as the output. Below it nothing of ours is one: what is written or removed through a
link is outside the output. Files are opened with `stores.links.open_own`, which follows no link either.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from batchscore.errors import OutputError
from batchscore.output.layout import MARKER
from batchscore.stores.address import Place
from batchscore.task import TASKS

#: What is ours in an output folder, and the folders of which everything is.
OURS = frozenset({*TASKS, "errors", "manifest", "runs", "changes", MARKER})
FOLDERS = ("errors", "manifest", MARKER, *(f"{MARKER}/next-{task}" for task in TASKS))


def refuse_links(output: Place) -> None:
    """Raise `OutputError` if a folder of ours in this output is a link; lists a few small folders."""
    if not isinstance(output, Path):
        return
    if output.name.endswith(MARKER):
        # The folder beside a single file is ours, too.
        _refuse(output)
    for folder in ("", *FOLDERS):
        with suppress(OSError), os.scandir(output / folder) as entries:
            for entry in entries:
                if folder or entry.name in OURS:
                    _refuse(entry)


def _refuse(found: Path | os.DirEntry[str]) -> None:
    if found.is_symlink():
        raise OutputError(
            f"{os.fspath(found)} is a link. batchscore follows no links within an output, since what they "
            "point to is not part of it. Remove the link, or put the real file or folder in its place."
        )
