"""Which files does a run read, in which order, and what is each file's name in records?

It opens no file (but for the log of a table) and knows a format only by its suffix, so a folder of a million
files costs one walk.
"""

# Paths are strings: a Path for each entry would take longer than the walk.
# ruff: noqa: PTH118, PTH120, PTH122

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import dropwhile
from typing import NamedTuple

from batchscore.errors import InputError, UnreadableFile, setting_name
from batchscore.read import dataset_folders as foreign
from batchscore.read.formats import formats_text, suffix_of, unknown_suffix
from batchscore.read.input_file import InputFile
from batchscore.read.missing_inputs import GLOB_MAGIC, SkippedFile, error_of_no_files, missing_text
from batchscore.read.trees import FolderEntry, LocalTree, Tree, tree_of
from batchscore.stores.address import Place, path_text
from batchscore.stores.errors import StoreFailure
from batchscore.stores.storage import digest_of

#: A folder with an entry of this name is an output of ours; so is `X` beside `X.batchscore`.
OUTPUT_MARK = ".batchscore"

_ANY_FOLDERS = "**"


@dataclass(frozen=True)
class FollowedLink:
    """A link to a file or folder (its name ends with `/`) that was followed, and its real path."""

    name: str
    target: str


@dataclass(frozen=True)
class FoundFiles:
    """The files of a run in the order of the INPUTs, and within each INPUT in bytewise order of names.

    `problems` are those that may hold rows and cannot be read, so the run is not complete without them.
    """

    files: tuple[InputFile, ...]
    skipped: tuple[SkippedFile, ...]
    followed: tuple[FollowedLink, ...] = ()
    problems: tuple[SkippedFile, ...] = ()


def find_files(
    inputs: Sequence[str], *, output: Place | None = None, root: str | None = None, follow_links: bool = False
) -> FoundFiles:
    """Find the files of INPUTs (files, folders, globs); a file that several INPUTs reach is found once.

    Names begin below `root`, by default below the common folder of all INPUTs. A path that exists is taken
    literally, even if it has glob characters. An INPUT may be a link; below one, only links to places within
    the INPUTs or a given `root` are followed, or all with `follow_links`. Raises `InputError` if an INPUT is
    missing, a named file has no supported format, or no readable file is found, and `SettingsError` for an
    invalid URI.
    """
    texts = list(dict.fromkeys(inputs))
    if not texts:
        raise InputError("no INPUT: name a file, a folder or a glob")
    tree = tree_of(texts)
    sources = [_source(tree, text, output) for text in texts]
    prefix = _root(sources) if root is None else _named_root(tree, root, sources)
    within = [source.base for source in sources if source.kind != "file"] + ([] if root is None else [prefix])
    search = _Search(tree, prefix, output, None if follow_links else [tree.real(each) for each in within])
    files: list[InputFile] = []
    for source in sources:
        before, skipped, problems = len(search.seen_files), len(search.skipped), len(search.problems)
        files.extend(search.run(source))
        if len(search.seen_files) == before and not search.known_again:
            of_source = [*search.problems.values()][problems:], [*search.skipped.values()][skipped:]
            raise error_of_no_files(source.text, source.kind, *of_source)
    return FoundFiles(
        tuple(files),
        tuple(search.skipped.values()),
        tuple(search.followed.values()),
        tuple(search.problems.values()),
    )


def digest(place: Place) -> str:
    """Return the digest `xxh3:<32 hex digits>` of the file's bytes as stored; raises `UnreadableFile`."""
    try:
        return digest_of(place)
    except OSError as error:
        raise UnreadableFile(path_text(str(place)), error.strerror or "cannot be read") from error


@dataclass(frozen=True)
class _Source:
    """A resolved INPUT: `parts` are those of a glob below `base`; none for a file or folder."""

    text: str
    base: str
    kind: str  # "file", "folder" or "glob"
    parts: tuple[str, ...] = ()


def _source(tree: Tree, text: str, output: Place | None) -> _Source:
    """Return what one INPUT means. The longest leading path that exists is taken literally."""
    try:
        return _resolve(tree, text, output)
    except StoreFailure as failure:
        raise InputError(f"{path_text(text)}: {failure.strerror}") from None
    except FileNotFoundError:  # from `abspath`
        raise InputError("the working folder does not exist any more: change to another folder") from None


def _resolve(tree: Tree, text: str, output: Place | None) -> _Source:
    path = tree.absolute(text)
    kind = tree.kind(path)
    if kind is not None and tree.real(path) == tree.within(output):
        raise InputError(f"{path_text(text)} is also the output: choose another output")
    if kind == "folder":
        mark = os.path.join(path, OUTPUT_MARK)
        if tree.kind(mark) is not None or tree.is_link(mark):
            raise InputError(
                f"{path_text(text)} is an output folder of batchscore. To score its records, name a "
                "folder of score records below it, or that folder's files. To score other files in it, "
                "name them"
            )
        return _Source(text, path, "folder")
    if kind == "file":
        return _Source(text, path, "file")
    if kind is not None:
        raise InputError(f"{path_text(text)} is not a regular file: write its data to a file first")
    if text and tree.is_link(path):
        raise InputError(f"{path_text(text)} is a link to a file that does not exist")
    base = path
    parts: list[str] = []
    while base != os.path.dirname(base) and tree.kind(base) is None:
        base, part = os.path.split(base)
        parts.insert(0, part)
    if parts and GLOB_MAGIC.search(parts[0]) and tree.kind(base) == "folder":
        return _Source(text, base, "glob", tuple(parts))
    raise InputError(missing_text(tree, text, base, parts))


def _root(sources: Sequence[_Source]) -> str:
    if len(sources) == 1:
        only = sources[0]
        return os.path.dirname(only.base) if only.kind == "file" else only.base
    return os.path.commonpath(
        [source.base if source.kind == "glob" else os.path.dirname(source.base) for source in sources]
    )


def _named_root(tree: Tree, text: str, sources: Sequence[_Source]) -> str:
    root = tree.absolute(text)
    if tree.kind(root) != "folder":
        raise InputError(f"{path_text(text)} is not a folder, so no INPUT can be below it")
    for source in sources:
        if not os.path.join(source.base, "").startswith(os.path.join(root, "")):
            raise InputError(f"{path_text(source.text)} is not below the folder {path_text(text)}")
    return root


class _Search:
    """One walk over all INPUTs; it remembers real paths, so links and overlaps give a file only once."""

    def __init__(self, tree: Tree, root: str, output: Place | None, within: Sequence[str] | None) -> None:
        self._tree = tree
        self._prefix = os.path.join(root, "")
        #: The real folders that links may lead to; `None`: any.
        self._within = within
        self.skipped: dict[str, SkippedFile] = {}
        self.problems: dict[str, SkippedFile] = {}
        self.followed: dict[str, FollowedLink] = {}
        self.seen_files: set[str] = set()
        self.known_again = False  # the last INPUT reached a file of an earlier INPUT
        self._seen_folders: set[str] = set()
        self._seen_globs: set[tuple[str, tuple[str, ...]]] = set()
        #: The tables that were met, each with the paths in it that count.
        self._tables: dict[str, frozenset[str]] = {}
        self._output = tree.within(output)
        self._root = tree.place(root)  # the folder of the INPUT that is searched

    def run(self, source: _Source) -> Iterator[InputFile]:
        self.known_again = False
        self._root = self._tree.place(os.path.dirname(source.base) if source.kind == "file" else source.base)
        if source.kind == "file":
            if suffix_of(source.base) is None:
                why = unknown_suffix(source.base)
                raise InputError(f"{path_text(source.text)}: {why}; batchscore reads {formats_text()}")
            yield from self._named(source, self._file)
            return
        try:
            table = foreign.table_above(source.base, self._names_in)
        except OSError as error:
            self._skip(source.base, foreign.UNLISTED.format(error.strerror), folder=True, lost=True)
            return
        if table is not None and not self._open_table(*table):
            return
        if source.kind == "folder":
            yield from self._named(source, self._walk)
        else:
            found = self._glob(source.base, self._tree.real(source.base), source.parts)
            yield from sorted(found, key=lambda file: os.fsencode(file.local or str(file.path)))

    def _named(
        self, source: _Source, search: Callable[[str, str], Iterator[InputFile]]
    ) -> Iterator[InputFile]:
        """Yield the files of a named path, which may be a link."""
        real = self._tree.real(source.base)
        entry = _WalkEntry("", source.base, real, folder=source.kind == "folder", link=False)
        found = search(source.base, real)
        return self._noted(entry, found) if self._tree.is_link(source.base) else found

    def _file(self, path: str, real: str) -> Iterator[InputFile]:
        kind = suffix_of(path)
        if kind is None:
            self._skip(path, unknown_suffix(path))
        elif real in self.seen_files:
            self.known_again = True
        else:
            try:
                size = self._tree.size(path)
            except OSError as error:
                self._skip(path, error.strerror or "cannot be read", lost=True)
                return
            self.seen_files.add(real)
            partitions = foreign.partitions_of(path, self._prefix)
            place = path if isinstance(self._tree, LocalTree) else self._tree.place(path)
            yield InputFile.found(place, self._name(path), kind, size, partitions, self._root)

    def _walk(self, path: str, real: str) -> Iterator[InputFile]:
        """Yield all files below a folder; nothing if a link leads to it a second time."""
        if real in self._seen_folders:
            self.known_again = True
            return
        self._seen_folders.add(real)
        for entry in self._entries(path, real):
            yield from self._entry(entry)

    def _entry(self, entry: _WalkEntry) -> Iterator[InputFile]:
        found = self._walk(entry.path, entry.real) if entry.folder else self._file(entry.path, entry.real)
        return self._noted(entry, found) if entry.link else found

    def _noted(self, entry: _WalkEntry, found: Iterator[InputFile]) -> Iterator[InputFile]:
        """Yield the files behind a link, and note it with the first."""
        for file in found:
            name = self._name(entry.path) + ("/" if entry.folder else "")
            self.followed.setdefault(name, FollowedLink(name, path_text(entry.real)))
            yield file

    def _glob(self, path: str, real: str, patterns: tuple[str, ...]) -> Iterator[InputFile]:
        """Yield the matching files below `path`, and all files below a folder that matches completely."""
        if (real, patterns) in self._seen_globs:
            return
        self._seen_globs.add((real, patterns))
        # `**` is any number of folders: also none, so the pattern behind it is tried, too.
        ahead = tuple(dropwhile(_ANY_FOLDERS.__eq__, patterns))
        for entry in self._entries(path, real, pattern="".join(ahead[:1])):
            # `rests`: what may remain to match below this entry; `**` gives two possibilities.
            rests = {ahead[1:]} if ahead and _matches(ahead[0], entry.name) else set()
            if patterns[0] == _ANY_FOLDERS and not foreign.is_hidden(entry.name):
                rests.add(patterns)
            if any(set(rest) <= {_ANY_FOLDERS} for rest in rests):
                yield from self._entry(entry)
            elif entry.folder:
                for rest in sorted(rests, key=len):
                    below = self._glob(entry.path, entry.real, rest)
                    yield from self._noted(entry, below) if entry.link else below

    def _entries(self, folder: str, real: str, *, pattern: str = "") -> list[_WalkEntry]:
        """Return a folder's entries that may hold data, in the order of the files' names in records.

        `pattern` is the next part of a glob; without one all entries are wanted.
        """
        try:
            found = self._tree.scan(folder)
        except OSError as error:
            self._skip(folder, f"folder cannot be listed: {error.strerror}", folder=True, lost=True)
            return []
        names = {entry.name for entry in found}
        if OUTPUT_MARK in names:
            self._skip(folder, "an output folder of batchscore", folder=True)
            return []
        try:
            kind = foreign.table_kind(names, lambda below: self._names_in(os.path.join(folder, below)))
        except OSError as error:
            self._skip(folder, foreign.UNLISTED.format(error.strerror), folder=True, lost=True)
            return []
        if kind is not None and not self._open_table(folder, kind):
            return []
        tables = self._tables.items()
        current = next((paths for table, paths in tables if foreign.is_below(folder, table)), None)
        others = foreign.not_data(
            names, lambda below: self._tree.kind(os.path.join(folder, below)) is not None
        )
        entries = []
        for entry in found:
            if foreign.is_hidden(entry.name, pattern):
                continue
            if current is not None and os.path.join(folder, entry.name) not in current:
                continue
            if entry.name in others:
                self._skip(entry.path, others[entry.name])
                continue
            try:
                shown = self._judge(entry, real, names)
            except OSError as error:
                self._skip(entry.path, error.strerror or "cannot be read", lost=True)
                continue
            if shown is None:
                continue
            # A pattern that a file's name matches means the file.
            by_pattern = pattern.startswith("_") or (pattern and not shown.folder)
            if foreign.is_marked(entry.name) and not by_pattern:
                reason = "a leading _ marks what is not data, as in Spark; to score it, name it as INPUT"
                self._skip(entry.path, reason, folder=shown.folder)
                continue
            entries.append(shown)
        return sorted(entries, key=_WalkEntry.order)

    def _open_table(self, folder: str, kind: str) -> bool:
        """Find out which files of a table are current; report a table for which that is not known."""
        if folder not in self._tables:
            current = foreign.current_paths(folder, kind, on_disk=isinstance(self._tree, LocalTree))
            if isinstance(current, str):
                self._skip(folder, current, folder=True, lost=True)
                return False
            self._tables[folder] = current
        return True

    def _judge(self, entry: FolderEntry, real_folder: str, names: set[str]) -> _WalkEntry | None:
        link = entry.is_symlink()
        real = self._tree.real(entry.path) if link else os.path.join(real_folder, entry.name)
        folder = entry.is_dir()
        broken = link and self._tree.kind(entry.path) is None
        reason = None
        if real == self._output:
            reason = "the output of this run"
        elif f"{entry.name}{OUTPUT_MARK}" in names or (folder and entry.name.endswith(OUTPUT_MARK)):
            reason = "an output of batchscore"
        elif not folder and not entry.is_file():
            reason = "a link to a file that does not exist" if broken else "not a regular file"
        elif link and (folder or suffix_of(entry.path) is not None) and not self._may_follow(real):
            reason = f"a link out of the input; {setting_name('follow_links', True)} follows it"
        if reason is not None:
            _, suffix = os.path.splitext(entry.name)
            # What a broken link led to may have been a folder of data.
            lost = broken and (not suffix or suffix_of(entry.path))
            self._skip(entry.path, reason, folder=folder, lost=bool(lost))
            return None
        return _WalkEntry(entry.name, entry.path, real, folder, link)

    def _may_follow(self, real: str) -> bool:
        return self._within is None or any(
            f"{real}/".startswith(os.path.join(folder, "")) for folder in self._within
        )

    def _names_in(self, folder: str) -> list[str]:
        """Return the names in a folder, none if there is no such folder; raises `OSError`."""
        try:
            return [entry.name for entry in self._tree.scan(folder)]
        except (FileNotFoundError, NotADirectoryError):
            if self._tree.is_link(folder):
                raise
            return []

    def _skip(self, path: str, reason: str, *, folder: bool = False, lost: bool = False) -> None:
        """Note a file or folder that is not read; a `lost` one may hold rows."""
        name = self._name(path) + ("/" if folder else "")
        (self.problems if lost else self.skipped).setdefault(name, SkippedFile(name, reason))

    def _name(self, path: str) -> str:
        return path_text(path[len(self._prefix) :] or ".")


class _WalkEntry(NamedTuple):
    name: str
    path: str
    real: str
    folder: bool
    link: bool

    def order(self) -> bytes:
        """Return the sort key: with the `/` of a folder, `a.csv` is before `a/b.csv`, as in full names."""
        return os.fsencode(self.name) + (b"/" if self.folder else b"")


def _matches(pattern: str, name: str) -> bool:
    """Whether one part of a glob matches a name; only a pattern that begins like it matches a hidden file."""
    return name == pattern or (not foreign.is_hidden(name, pattern) and fnmatchcase(name, pattern))
