"""What does a folder contain, and what is at a path, on this machine or in a bucket?

Both trees use paths as strings with `/`, so one walk serves both. `files` decides what is read and what is
skipped.
"""

# Paths are strings: a Path for each entry would take longer than the walk.
# ruff: noqa: PTH100, PTH111, PTH116

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from batchscore.errors import InputError
from batchscore.stores.address import Place, StoredPath, is_uri, path_text, stored_path
from batchscore.stores.errors import StoreFailure
from batchscore.stores.objects import StoredEntry, find_entry, list_entries

Kind = Literal["file", "folder", "other"]


FolderEntry = os.DirEntry[str] | StoredEntry


class LocalTree:
    """The folders of this machine. Failures raise `OSError`, with the reason as its `strerror`.

    `size` is in bytes, `place` is what opens a file, `shown` is a path as text that UTF-8 can encode.
    """

    is_link = staticmethod(os.path.islink)
    size = staticmethod(os.path.getsize)
    place = Path
    shown = staticmethod(path_text)

    def absolute(self, text: str) -> str:
        """Return the path of an INPUT."""
        if text.startswith("~") and not os.path.lexists(text):
            text = os.path.expanduser(text)
        return os.path.abspath(text) if text else ""

    def kind(self, path: str) -> Kind | None:
        """Return what is at a path, `None` if there is nothing or it is not accessible."""
        try:
            mode = os.stat(path).st_mode
        except (OSError, ValueError):
            # A path that is not accessible is reported as missing, with the system's reason.
            return None
        return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"

    def real(self, path: str) -> str:
        """Return the path with links resolved."""
        return os.path.realpath(path)

    def within(self, place: Place | None) -> str | None:
        """Return the real path of a place in this tree, `None` for another tree's."""
        return os.path.realpath(place) if isinstance(place, Path) else None

    def scan(self, folder: str) -> Sequence[os.DirEntry[str]]:
        """List a folder, unsorted."""
        with os.scandir(folder) as scan:
            return list(scan)


@dataclass(frozen=True, slots=True)
class StoredTree:
    """A bucket with the same methods; its path is `/`. Listings give `sizes`, kept until `size` is called."""

    bucket: StoredPath
    sizes: dict[str, int] = field(default_factory=dict, compare=False)

    def absolute(self, text: str) -> str:  # noqa: D102
        return f"/{stored_path(text).key}"

    def kind(self, path: str) -> Kind | None:
        """Return what is at a path; raises `StoreFailure` if the bucket does not exist."""
        entry = find_entry(self.bucket.at(path))
        if entry is None:
            if path == "/":
                raise StoreFailure(
                    f"{self.bucket} does not exist, or the credentials may not list it",
                    "check its name and the credentials",
                )
            return None
        if entry.kind == "file":
            self.sizes[path] = entry.size
        return entry.kind

    def is_link(self, path: str) -> bool:  # noqa: ARG002, D102 - stores have no links
        return False

    def real(self, path: str) -> str:  # noqa: D102
        return path

    def within(self, place: Place | None) -> str | None:  # noqa: D102
        same = isinstance(place, StoredPath) and place.at("") == self.bucket
        return f"/{place.key}" if same and isinstance(place, StoredPath) else None

    def scan(self, folder: str) -> Sequence[StoredEntry]:  # noqa: D102
        entries = list_entries(self.bucket.at(folder))
        self.sizes.update({entry.path: entry.size for entry in entries if entry.is_file()})
        return entries

    def size(self, path: str) -> int:  # noqa: D102
        return self.sizes.pop(path, 0)

    def place(self, path: str) -> StoredPath:  # noqa: D102
        return self.bucket.at(path)

    def shown(self, path: str) -> str:  # noqa: D102
        return str(self.bucket.at(path))


Tree = LocalTree | StoredTree


def tree_of(inputs: Iterable[str]) -> Tree:
    """Return the tree that holds all INPUTs; raises `InputError` if there are several."""
    found = (StoredTree(stored_path(text).at("")) if is_uri(text) else LOCAL for text in inputs)
    trees: list[Tree] = list(dict.fromkeys(found))
    if len(trees) > 1:
        names = [str(tree.bucket) if isinstance(tree, StoredTree) else "this machine" for tree in trees]
        raise InputError(
            f"the INPUTs are in {' and '.join(names)}, so their files have no common folder: "
            "score them in separate runs, each with its own output"
        )
    return trees[0]


LOCAL = LocalTree()
