"""What does a folder show, and what stands at a path: on this machine, or in a bucket?

Both trees speak of paths as strings with `/`, so that one walk serves them. It judges nothing: what is
read and what is passed by is `files`' business.
"""

# Paths stay strings: a Path for each entry of a walk would cost more than the walk.
# ruff: noqa: PTH100, PTH114, PTH116

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from batchscore.errors import InputError
from batchscore.stores.address import Place, StoredPath, is_uri, stored_path
from batchscore.stores.failures import StoreFailure
from batchscore.stores.objects import entries, look

Kind = Literal["file", "folder", "other"]


class Entry(Protocol):
    """What a folder shows; `os.DirEntry` is one."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def path(self) -> str: ...  # noqa: D102
    def is_dir(self) -> bool: ...  # noqa: D102
    def is_file(self) -> bool: ...  # noqa: D102
    def is_symlink(self) -> bool: ...  # noqa: D102


class Tree(Protocol):
    """Where a walk goes. What fails raises `OSError`, with the reason as its `strerror`."""

    def absolute(self, text: str) -> str:
        """Return the path that an INPUT means."""

    def kind(self, path: str) -> Kind | None:
        """Return what stands at a path, `None` where nothing does or may be seen."""

    def is_link(self, path: str) -> bool:
        """Whether a link stands there, wherever it leads."""

    def real(self, path: str) -> str:
        """Return the path without links."""

    def within(self, place: Place | None) -> str | None:
        """Return the real path of a place in this tree, `None` of one in another."""

    def scan(self, folder: str) -> Sequence[Entry]:
        """List a folder, in no order."""

    def size(self, path: str) -> int:
        """Return a file's bytes."""

    def place(self, path: str) -> Place:
        """Return what opens the file."""

    def shown(self, path: str) -> str:
        """Write a path as text that every encoder takes."""


class LocalTree:
    """The folders of this machine."""

    def absolute(self, text: str) -> str:  # noqa: D102
        return os.path.abspath(text) if text else ""

    def kind(self, path: str) -> Kind | None:  # noqa: D102
        try:
            mode = os.stat(path).st_mode
        except (OSError, ValueError):
            # It may exist; what can't be seen is told as missing, with the system's reason.
            return None
        return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"

    def is_link(self, path: str) -> bool:  # noqa: D102
        return os.path.islink(path)

    def real(self, path: str) -> str:  # noqa: D102
        return os.path.realpath(path)

    def within(self, place: Place | None) -> str | None:  # noqa: D102
        return os.path.realpath(place) if isinstance(place, Path) else None

    def scan(self, folder: str) -> Sequence[os.DirEntry[str]]:  # noqa: D102
        with os.scandir(folder) as scan:
            return list(scan)

    def size(self, path: str) -> int:  # noqa: D102
        return os.stat(path).st_size

    def place(self, path: str) -> Path:  # noqa: D102
        return Path(path)

    def shown(self, path: str) -> str:
        """Write a path; Linux allows names that are not UTF-8."""
        return os.fsencode(path).decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """What a folder of a bucket shows."""

    name: str
    path: str
    folder: bool

    def is_dir(self) -> bool:  # noqa: D102
        return self.folder

    def is_file(self) -> bool:  # noqa: D102
        return not self.folder

    def is_symlink(self) -> bool:  # noqa: D102
        return False


@dataclass(frozen=True, slots=True)
class StoredTree:
    """A bucket, whose own path is `/`. Listings tell sizes, which are kept until they are asked for."""

    bucket: StoredPath
    sizes: dict[str, int] = field(default_factory=dict, compare=False)

    def absolute(self, text: str) -> str:  # noqa: D102
        return f"/{stored_path(text).key}"

    def kind(self, path: str) -> Kind | None:
        """Return what stands at a path; raises `StoreFailure` where the bucket is not there."""
        found = look(self.bucket.at(path))
        if found is None:
            if path == "/":
                raise StoreFailure(
                    f"there is no {self.bucket}, or it may not be seen",
                    "see that its name is right and that the credentials belong to it",
                )
            return None
        if found.kind == "file":
            self.sizes[path] = found.size
        return found.kind

    def is_link(self, path: str) -> bool:  # noqa: ARG002, D102 - stores know no links
        return False

    def real(self, path: str) -> str:  # noqa: D102
        return path

    def within(self, place: Place | None) -> str | None:  # noqa: D102
        same = isinstance(place, StoredPath) and place.at("") == self.bucket
        return f"/{place.key}" if same and isinstance(place, StoredPath) else None

    def scan(self, folder: str) -> Sequence[StoredEntry]:  # noqa: D102
        found = []
        for entry in entries(self.bucket.at(folder)):
            path = f"{folder.rstrip('/')}/{entry.name}"
            if entry.kind == "file":
                self.sizes[path] = entry.size
            found.append(StoredEntry(entry.name, path, entry.kind == "folder"))
        return found

    def size(self, path: str) -> int:  # noqa: D102
        return self.sizes.pop(path, 0)

    def place(self, path: str) -> StoredPath:  # noqa: D102
        return self.bucket.at(path)

    def shown(self, path: str) -> str:  # noqa: D102
        return str(self.bucket.at(path))


def tree_of(inputs: Iterable[str]) -> Tree:
    """Return the tree that all INPUTs are in; raises `InputError` where they are not in one."""
    trees: list[LocalTree | StoredTree] = []
    for text in inputs:
        tree = StoredTree(stored_path(text).at("")) if is_uri(text) else LOCAL
        if tree not in trees:
            trees.append(tree)
    if len(trees) > 1:
        names = [str(tree.bucket) if isinstance(tree, StoredTree) else "this machine" for tree in trees]
        raise InputError(
            f"the INPUTs lie in {' and '.join(names)}, so that their files have no common folder: "
            "score them one after another, each into its own output"
        )
    return trees[0] if trees else LOCAL


LOCAL = LocalTree()
