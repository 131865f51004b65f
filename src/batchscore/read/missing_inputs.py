"""What does a message say of an INPUT that is missing, or that gives no file?"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from batchscore.errors import InputError
from batchscore.read.dataset_folders import is_hidden
from batchscore.read.formats import IMAGE, formats_text
from batchscore.read.trees import Tree
from batchscore.stores.address import path_text

#: What makes a path a glob.
GLOB_MAGIC = re.compile(r"[*?[]")
_SHOWN = 5


@dataclass(frozen=True)
class SkippedFile:
    """A file or folder (its name ends with `/`) that was found but is not read, and why."""

    name: str
    reason: str


def images_together(skipped: Iterable[SkippedFile]) -> tuple[SkippedFile, ...]:
    """Return what was skipped, with the images of a folder as one entry for each suffix."""
    found: dict[str, list[SkippedFile]] = {}
    for each in skipped:
        folder, slash, name = each.name.rpartition("/")
        key = f"{folder}{slash}*{name[name.rfind('.') :].lower()}" if each.reason == IMAGE else each.name
        found.setdefault(key, []).append(each)
    return tuple(
        SkippedFile(key, IMAGE.replace("an image", f"{len(each):,} images").replace(" it ", " them "))
        if len(each) > 1
        else each[0]
        for key, each in found.items()
    )


def error_of_no_files(
    text: str, kind: str, problems: Sequence[SkippedFile], skipped: Sequence[SkippedFile]
) -> InputError:
    """Return the error of an INPUT (a "file", "folder" or "glob") that gives no file."""
    if len(problems) == 1 and problems[0].name == "./":
        return InputError(f"{path_text(text)}: {problems[0].reason}")
    skipped = [*problems, *skipped]
    if kind == "glob" and not skipped:
        return InputError(
            f"{path_text(text)} matches no file (hidden files are matched only by a pattern that "
            "starts with a dot)"
        )
    what = "matches no file" if kind == "glob" else "holds no file"
    left = _first_of([f"{skip.name}: {skip.reason}" for skip in skipped], "; ")
    left = f". Skipped: {left}" if skipped else ""
    return InputError(f"{path_text(text)} {what} that batchscore reads: {formats_text()}{left}")


def missing_text(tree: Tree, text: str, base: str, parts: Sequence[str]) -> str:
    """Return a message with the nearest names in `base`, the part of the missing path that exists."""
    if not parts:
        return "an INPUT is empty: name a file, a folder or a glob"
    message = f"{path_text(text)} {'matches no file' if GLOB_MAGIC.search(text) else 'does not exist'}"
    if tree.kind(base) != "folder":
        return f"{message}: {tree.shown(base)} is a file, not a folder"
    try:
        names = sorted(entry.name for entry in tree.scan(base) if not is_hidden(entry.name))
    except OSError as error:
        return f"{message}, or is not accessible: {tree.shown(base)}: {error.strerror}"
    by_folded = {name.casefold(): name for name in names}
    near = [by_folded[name] for name in difflib.get_close_matches(parts[0].casefold(), by_folded, _SHOWN)]
    if near:
        return f"{message}. In {tree.shown(base)} there is {_first_of([*map(path_text, near)], ', ')}"
    return f"{message}. {tree.shown(base)} holds {_first_of([*map(path_text, names)], ', ') or 'nothing'}"


def _first_of(texts: Sequence[str], separator: str) -> str:
    more = [f"and {len(texts) - _SHOWN} more"] if len(texts) > _SHOWN else []
    return separator.join([*texts[:_SHOWN], *more])
