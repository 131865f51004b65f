"""What is known of one input file's output, for sure?

A manifest names every part that counts, by size and digest; what it does not name is not trusted. It
is plain JSON, written whole. It holds no cell of the input.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from batchscore.errors import OutputError
from batchscore.output.layout import MARKER, Layout
from batchscore.stores import storage
from batchscore.stores.address import Place

VERSION = 1


@dataclass(frozen=True, slots=True)
class PartFile:
    """One published file: its name in its folder, bytes and digest."""

    name: str
    bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class Commit:
    """The commit record of one part: rows `[part x rows_per_part, ...)`, as far as they were read.

    `rows` is how many of them were read, `ok` and `errors` how many are settled; `transient` of the
    errors may succeed when asked again. `whole`: the input was read to the part's end. `inputs` is a
    digest of what the rows asked, in order. `attempts` are the requests that were sent for it,
    `tokens_billed` what the service reported for them, `tokens_kept` of these the tokens of answers that
    stand in records; those of a request that held rows of several parts are shared out by rows.
    """

    part: int
    rows: int
    ok: int
    errors: int
    transient: int
    whole: bool
    inputs: str
    empty: int = 0
    attempts: int = 0
    tokens_billed: int = 0
    tokens_kept: int = 0
    scores: PartFile | None = None
    error_records: PartFile | None = None

    def asked_again(self, *, retry_errors: bool) -> int:
        """Return how many errors don't stand: those that may have passed, or all but those of empty rows."""
        return self.errors - self.empty if retry_errors else self.transient

    def nothing_left(self, *, retry_errors: bool) -> bool:
        """Whether nothing of this part is left to ask."""
        settled = self.whole and self.ok + self.errors == self.rows
        return settled and not self.asked_again(retry_errors=retry_errors)


@dataclass(slots=True)
class Manifest:
    """One input file's account: `rows = ok + errors + not_reached`.

    `state` is `complete`, `partial` (a limit or a stop left rows unread or unanswered) or
    `unreadable`, with the `problem` in words. `input` is the digest of the file's bytes. `reported`: what
    stands is what all `changes` together tell; `None`: what stood before is. `place`: where a worker
    found the file, while its name tells nothing of its folder.
    """

    file: str
    task: str
    fingerprint: Mapping[str, Any]
    input: str = ""
    state: str = "partial"
    problem: str = ""
    dimensions: int | None = None
    reported: bool | None = False
    place: str = ""
    parts: dict[int, Commit] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows read so far."""
        return sum(commit.rows for commit in self.parts.values())

    @property
    def ok(self) -> int:
        """Rows with a score."""
        return sum(commit.ok for commit in self.parts.values())

    @property
    def errors(self) -> int:
        """Rows with an error record."""
        return sum(commit.errors for commit in self.parts.values())

    @property
    def empty(self) -> int:
        """Of the errors, the rows that had nothing to ask."""
        return sum(commit.empty for commit in self.parts.values())

    @property
    def costs(self) -> dict[str, int]:
        """Requests sent, tokens billed and tokens kept, of all runs."""
        names = ("attempts", "tokens_billed", "tokens_kept")
        return {name: sum(getattr(commit, name) for commit in self.parts.values()) for name in names}

    def standing(self, *, retry_errors: bool) -> int:
        """Return the rows whose record stands: it would not be asked for again."""
        again = sum(commit.asked_again(retry_errors=retry_errors) for commit in self.parts.values())
        return self.ok + self.errors - again

    def nothing_left(self, *, retry_errors: bool) -> bool:
        """Whether the same run would have nothing to ask of this file."""
        return self.state == "complete" and all(
            commit.nothing_left(retry_errors=retry_errors) for commit in self.parts.values()
        )

    def to_json(self) -> bytes:
        """Return the manifest as it stands on disk."""
        commits = [self.parts[number] for number in sorted(self.parts)]
        return orjson.dumps(
            {
                "version": VERSION,
                "file": self.file,
                "task": self.task,
                "state": self.state,
                "problem": self.problem,
                "rows": self.rows,
                "ok": self.ok,
                "errors": self.errors,
                "not_reached": self.rows - self.ok - self.errors,
                **self.costs,
                "dimensions": self.dimensions,
                "reported": self.reported,
                "input": self.input,
                **({"place": self.place} if self.place else {}),
                "fingerprint": self.fingerprint,
                "parts": [asdict(commit) for commit in commits],
            },
            option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE,
        )


def copy_of(path: Place) -> Place:
    """Return where a manifest stands a second time, should its file system write in place.

    There a process that is killed leaves a torn file, and without the manifest all that it names is lost; so
    the copy is written before, to its end.
    """
    task = path.parent
    return task.parent.parent / MARKER / f"manifest-{task.name}" / path.name


def places_of_manifests(layout: Layout) -> list[Place]:
    """Return where manifests stand, also those of which only the copy is there."""
    folders = (layout.manifests, copy_of(layout.manifests / "x").parent)
    names = {name for folder in folders for name in shown_names(folder) if name.endswith(".json")}
    return [layout.manifests / name for name in sorted(names)]


def shown_names(folder: Place) -> list[str]:
    """Return the visible names of a folder; none where there is no folder. Raises `OutputError`."""
    try:
        return [name for name in storage.names(folder) if not name.startswith(".")]
    except OSError as error:
        raise OutputError(f"{folder} cannot be used for output: {error.strerror}.") from None


def remove_manifest(path: Place) -> None:
    """Remove a manifest and its copy."""
    storage.remove(path)
    if isinstance(path, Path):
        storage.remove(copy_of(path))


def write_manifest(path: Place, manifest: Manifest) -> None:
    """Write a manifest as it stands; raises `OutputError`."""
    text = manifest.to_json()
    if isinstance(path, Path) and path.parent.is_dir() and storage.is_in_place(path.parent):
        storage.write_whole(copy_of(path), text)
    storage.write_whole(path, text)


def read_manifest(path: Place) -> Manifest:
    """Read a manifest, or its copy; raises `OutputError` where it is damaged or of another version."""
    try:
        return parsed(path)
    except (OutputError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, OutputError) and not isinstance(error.__cause__, FileNotFoundError):
            raise
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            if storage.exists(copy_of(path)):
                return parsed(copy_of(path))
        raise OutputError(
            f"{path} is not a manifest that batchscore can read. To score that file anew, remove it, or let "
            "`batchscore verify --repair` do so."
        ) from None


def restored(path: Place) -> Manifest:
    """Read a manifest; one that was torn while it was written in place is written again from its copy."""
    found = read_manifest(path)
    if isinstance(path, Path) and storage.exists(copy_of(path)):
        try:
            parsed(path)
        except (OutputError, ValueError, KeyError, TypeError, AttributeError):
            storage.write_whole(path, found.to_json())
    return found


def parsed(path: Place) -> Manifest:
    """Return what stands in a file; raises `ValueError` and the like where that is no manifest."""
    found = orjson.loads(b"".join(storage.chunks(path)))
    if found["version"] != VERSION:
        raise OutputError(
            f"{path} was written by another version of batchscore; use another folder or --overwrite."
        )
    return manifest_from(found)


def manifest_from(found: Mapping[str, Any]) -> Manifest:
    """Return a manifest from its JSON; raises `ValueError`, `KeyError` or `TypeError`."""
    commits = [commit_from(part) for part in found["parts"]]
    return Manifest(
        file=found["file"],
        task=found["task"],
        fingerprint=found["fingerprint"],
        input=found["input"],
        state=found["state"],
        problem=found["problem"],
        dimensions=found["dimensions"],
        reported=found.get("reported", False),
        place=found.get("place", ""),
        parts={commit.part: commit for commit in commits},
    )


def commit_from(found: Mapping[str, Any]) -> Commit:
    """Return a commit record from its JSON."""
    fields = dict(found)
    for name in ("scores", "error_records"):
        fields[name] = PartFile(**fields[name]) if fields[name] is not None else None
    return Commit(**fields)
