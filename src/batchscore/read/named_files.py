"""How are the files read that the rows of an input file name?"""

from __future__ import annotations

import os
from collections.abc import Callable

from batchscore.stores.address import Place
from batchscore.stores.below import FolderReader


def reader_below(
    folder: Place, root: Place | None, most_bytes: int, *, follow_links: bool
) -> Callable[[str | os.PathLike[str]], bytes]:
    """Return what reads files by names relative to `folder`; they must be below `root`, by default it.

    None may have more than `most_bytes`.
    """
    reader = FolderReader(folder, root or folder, most_bytes, follow_links)
    return lambda name: reader.read(os.fspath(name))
