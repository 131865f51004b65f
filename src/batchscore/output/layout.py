"""What is the name of each thing in the output folder?

Pure. The names depend on the work alone, so that any retry, on any machine, writes the same ones. Folders
are flat, and no name starts with `_` or `.` or contains `=`: Spark and pyarrow ignore the former and read
the latter as a partition.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import PurePosixPath

from batchscore.settings.declare import as_flag
from batchscore.stores.address import Place, command_word, shell_command

#: Marks a folder as an output of ours, so that a walk over inputs skips it.
MARKER = ".batchscore"

#: The suffix of the digests of a part's rows.
DIGESTS = ".rows"

_MAX_STEM = 80
_COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")
#: Most names need no change, which takes longer than all else that is done with them.
_USUAL = re.compile(rf"(?:[^/]+/)*(\w[\w-]{{0,{_MAX_STEM - 2}}}\w)\.([a-z]+)", re.ASCII)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@lru_cache(maxsize=2**15)
def stem_of(file: str) -> str:
    """Return an input file's name in ours: its stem in safe ASCII and eight hex digits of its path."""
    usual = _USUAL.fullmatch(file)
    if usual and f".{usual[2]}" not in _COMPRESSIONS:
        safe = usual[1]
    else:
        name = PurePosixPath(file).name
        for suffix in _COMPRESSIONS:
            if name.lower().endswith(suffix):
                name = name[: -len(suffix)]
        stem = unicodedata.normalize("NFKD", PurePosixPath(name).stem).encode("ascii", "ignore").decode()
        safe = _UNSAFE.sub("-", stem).strip("-.")[:_MAX_STEM] or "file"
    digest = hashlib.blake2b(file.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{safe}-{digest}"


def journal_name(file: str, number: int) -> str:
    """Return the name of a part's journal."""
    return f"{stem_of(file)}-{number:05d}"


def verify_command(output: Place, task: str = "", *, repair: bool = False) -> str:
    """Return the command that shows or removes an output's damage. Several tasks in it need `task`."""
    words = ["batchscore", "verify", command_word(output), *([as_flag("task"), task] if task else [])]
    return shell_command([*words, "--repair"] if repair else words)


@dataclass(frozen=True)
class Layout:
    """The places of one task in one output folder; `suffix` is that of its parts, with the dot.

    The folders are made once: an output of many files asks for them several times a file.
    """

    root: Place
    task: str
    suffix: str

    @cached_property
    def scores(self) -> Place:
        """The flat folder of score records, which other tools read."""
        return self.root / self.task

    @cached_property
    def errors(self) -> Place:
        """The flat folder of error records."""
        return self.root / "errors" / self.task

    @cached_property
    def manifests(self) -> Place:
        """The folder with one manifest per input file."""
        return self.root / "manifest" / self.task

    @property
    def runs(self) -> Place:
        """The folder with one record per run."""
        return self.root / "runs"

    @property
    def marker(self) -> Place:
        """The hidden folder that marks an output of ours."""
        return self.root / MARKER

    @property
    def journals(self) -> Place:
        """The hidden folder of unpublished answers, if the output can hold journals."""
        return self.marker / f"journal-{self.task}"

    @property
    def discarding(self) -> Place:
        """The file that is there while the scores of the task are being discarded."""
        return self.marker / f"discard-{self.task}"

    def turns(self, what: str) -> Place:
        """Return the file that workers with shares of the same files lock for what they do in turn."""
        return self.marker / f"turns-{what}-{self.task}.lock"

    @property
    def readme(self) -> Place:
        """The file in the hidden folder that every output has."""
        return self.marker / "README"

    def part_name(self, file: str, number: int) -> str:
        """Return the name of a part's score file, and of its error file."""
        return f"part-{journal_name(file, number)}{self.suffix}"

    def digests(self, file: str, number: int) -> Place:
        """Return the place of the digests of a part's rows, beside the manifest."""
        return self.manifests / f"part-{journal_name(file, number)}{DIGESTS}"

    def manifest(self, file: str) -> Place:
        """Return the place of an input file's manifest."""
        return self.manifests / f"{stem_of(file)}.json"


def copy_of(path: Place) -> Place:
    """Return the place of a manifest's copy, which exists if the file system cannot rename.

    There a manifest is written in place, and a process that is killed leaves it torn. Without the manifest
    all that it names is lost, so the copy is written first.
    """
    task = path.parent
    return task.parent.parent / MARKER / f"manifest-{task.name}" / path.name
