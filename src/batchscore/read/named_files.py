"""Which files may the rows of an input file name, and how are they read?"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from batchscore.read.input_file import STANDARD_INPUT_FOLDER, InputFile
from batchscore.stores.address import place_of
from batchscore.stores.below import FolderReader


def reader_beside(
    file: InputFile, base_dir: str | None, most_bytes: int, *, follow_links: bool
) -> Callable[[str | os.PathLike[str]], bytes]:
    """Return what reads the files that a file's rows name: beside it, and below its INPUT or the base.

    Those that standard input names are below the current folder. None may have more than `most_bytes`.
    """
    folder, root = file.path.parent, file.root
    if folder.name.startswith(STANDARD_INPUT_FOLDER):
        folder = root = Path.cwd()
    elif base_dir is not None:
        root = place_of(base_dir)
    reader = FolderReader(folder, root or folder, most_bytes, follow_links)
    return lambda name: reader.read(os.fspath(name))
