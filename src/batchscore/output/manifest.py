"""What is known for sure about the output of one input file?

A manifest names every part that counts, by size and digest; a part that it does not name is not trusted. It
is plain JSON, written atomically. It holds no cell of the input.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields
from functools import lru_cache
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

import orjson

from batchscore.errors import OutputError, name_settings, note_name, setting_name
from batchscore.output.cost import Cost, share
from batchscore.output.fingerprint import shown_fingerprint
from batchscore.output.layout import Layout, copy_of, verify_command
from batchscore.output.manifest_check import (
    COSTS,
    MOST,
    VERSION,
    are_manifests,
    contradictions,
    refuse_odd,
)
from batchscore.settings.declare import as_flag, mark_flags
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.stores.links import read_own

#: Manifests that are read and checked together.
_AT_ONCE = 256

#: Where a manifest holds the settings of its run.
_FINGERPRINT, _AFTER_FINGERPRINT = b'\n  "fingerprint": ', b',\n  "parts": '

#: `reported` as earlier manifests have it.
_REPORTED: Mapping[Any, str] = {True: "yes", False: "no", None: "off"}


@dataclass(slots=True, unsafe_hash=True)
class PartFile:
    """One published file: its name in its folder, bytes and digest. Nobody changes one."""

    name: str
    bytes: int
    digest: str


@dataclass(slots=True, unsafe_hash=True)
class Commit:
    """The commit record of one part: rows `[part x rows_per_part, ...)`, as far as they were read.

    Nobody changes one: it is not frozen since that takes four times as long to make.

    `rows` is the number of rows read, `ok` and `errors` are settled ones; `transient` errors are worth a
    retry, `empty` ones are rows without a text. `whole`: the input was read to the part's end. `inputs` is a
    digest of the rows' prompts, in order. `row_digests` is the digest of the file of the rows' digests, empty
    if there is none. `attempts` are the requests that were sent for it, `tokens_billed` the tokens that the
    service reported for them, `tokens_kept` the share of these whose answers are in records. A request with
    rows of several parts is split by rows.
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
    row_digests: str = ""

    def cost_of(self, scored: int) -> Cost:
        """Return the cost of this part if `scored` of its scores stay in records."""
        return Cost(self.attempts, self.tokens_billed, share(self.tokens_kept, scored, self.ok))

    def retried(self, *, retry_errors: bool) -> int:
        """Return the number of errors that a run retries: transient ones, or all but empty rows."""
        return self.errors - self.empty if retry_errors else self.transient

    def is_done(self, *, retry_errors: bool) -> bool:
        """Whether no row of this part is left to score."""
        settled = self.whole and self.ok + self.errors == self.rows
        return settled and not self.retried(retry_errors=retry_errors)


#: The fields of a part in their order, and the values of those that earlier versions lack.
_FIELDS_OF = itemgetter(*[each.name for each in fields(Commit)])
_DEFAULTS = {each.name: each.default for each in fields(Commit) if each.default is not MISSING}
_TOTALS = ("rows", "ok", "errors", "empty", *COSTS)
_TOTALS_OF, _COUNTS_OF = attrgetter(*_TOTALS), attrgetter("rows", "ok", "errors")
_NONE = Commit(0, 0, 0, 0, 0, whole=False, inputs="")


@dataclass(slots=True)
class Manifest:
    """The results of one input file: `rows = ok + errors + not_reached`.

    `state` is `complete`, `partial` (a limit or a stop left rows unread or unanswered) or `unreadable`, with
    the `problem` in words. `input` is the digest of the file's bytes. `place`: where a worker found the file,
    if its name does not include its folder.

    `simulated`: the simulator has answered, `None` if that is not known.

    `reported` is about `changes/`, which `--incremental` writes. `yes`: all changes together describe these
    records. `no`: no changes file mentions them. `off`: the changes describe earlier records of this file; a
    run without `--incremental` has changed them since.
    """

    file: str
    task: str
    fingerprint: Mapping[str, Any]
    input: str = ""
    state: str = "partial"
    problem: str = ""
    dimensions: int | None = None
    simulated: bool | None = None
    reported: str = "no"
    place: str = ""
    parts: dict[int, Commit] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Note a name that messages cannot hold as it is."""
        note_name(self.file)

    @property
    def rows(self) -> int:
        """Rows read so far."""
        return sum([commit.rows for commit in self.parts.values()])

    @property
    def ok(self) -> int:
        """Rows with a score."""
        return sum([commit.ok for commit in self.parts.values()])

    @property
    def errors(self) -> int:
        """Rows with an error record."""
        return sum([commit.errors for commit in self.parts.values()])

    @property
    def empty(self) -> int:
        """Errors of rows without a text."""
        return sum([commit.empty for commit in self.parts.values()])

    @property
    def costs(self) -> dict[str, int]:
        """Requests sent, tokens billed and tokens kept, of all runs."""
        return {name: sum([getattr(commit, name) for commit in self.parts.values()]) for name in COSTS}

    @property
    def records_digest(self) -> str:
        """A digest of the records of all parts: an older or newer version of the file has another one."""
        commits = [self.parts[number] for number in sorted(self.parts)]
        text = " ".join(
            [file.digest if file else "-" for part in commits for file in (part.scores, part.error_records)]
        )
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def totals(self) -> dict[str, Any]:
        """Return the fields of `FileTotals`."""
        totals = {"file": self.file, "state": self.state, "problem": self.problem}
        return totals | dict(zip(_TOTALS, self._sums(_TOTALS_OF), strict=True))

    @property
    def counts(self) -> tuple[int, int, int]:
        """Rows read, rows with a score and rows with an error record."""
        rows, ok, errors = self._sums(_COUNTS_OF)
        return rows, ok, errors

    def _sums(self, figures: Callable[[Commit], tuple[int, ...]]) -> tuple[int, ...]:
        """Return the sums of these figures of all parts; most of thousands of files have one part."""
        found = [figures(commit) for commit in self.parts.values()] or [figures(_NONE)]
        return found[0] if len(found) == 1 else tuple(map(sum, zip(*found, strict=True)))

    @property
    def is_read(self) -> bool:
        """Whether its parts show that the input was read to its end: the last one is whole, but not full."""
        last = self.parts.get(max(self.parts, default=0))
        size = self.fingerprint.get("rows_per_part", 0)
        return last is not None and last.whole and last.rows < size

    def final_rows(self, *, retry_errors: bool) -> int:
        """Return the number of rows whose record is final, so that no run scores them again."""
        return sum(
            [
                commit.ok + commit.errors - commit.retried(retry_errors=retry_errors)
                for commit in self.parts.values()
            ]
        )

    def is_done(self, *, retry_errors: bool) -> bool:
        """Whether the same run would have nothing to score in this file."""
        return self.state == "complete" and all(
            commit.is_done(retry_errors=retry_errors) for commit in self.parts.values()
        )

    def to_json(self) -> bytes:
        """Return the manifest as it is written."""
        commits = [self.parts[number] for number in sorted(self.parts)]
        return orjson.dumps(
            {
                "version": VERSION,
                "file": self.file,
                "task": self.task,
                "state": self.state,
                "problem": name_settings(self.problem, as_flag),
                "rows": self.rows,
                "ok": self.ok,
                "errors": self.errors,
                "not_reached": self.rows - self.ok - self.errors,
                **self.costs,
                "dimensions": self.dimensions,
                **({} if self.simulated is None else {"simulated": self.simulated}),
                "reported": self.reported,
                "input": self.input,
                **({"place": self.place} if self.place else {}),
                "fingerprint": self.fingerprint,
                "parts": commits,
            },
            option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE,
        )


def part_files_of(layout: Layout, commit: Commit) -> tuple[tuple[Place, PartFile | None], ...]:
    """Return the two folders of a part's files, each with the file that the commit record names there."""
    return (layout.scores, commit.scores), (layout.errors, commit.error_records)


def manifest_names(layout: Layout) -> list[str]:
    """Return the names of all manifests, sorted, also of those that exist as a copy only."""
    folders = (layout.manifests, copy_of(layout.manifests / "x").parent)
    return sorted(
        {name for folder in folders for name in storage.visible_names(folder) if name.endswith(".json")}
    )


def manifest_paths(layout: Layout) -> list[Place]:
    """Return the places of all manifests."""
    return [layout.manifests / name for name in manifest_names(layout)]


def remove_manifest(path: Place) -> None:
    """Remove a manifest and its copy."""
    storage.remove(path)
    if isinstance(path, Path):
        storage.remove(copy_of(path))


def write_manifest(path: Place, manifest: Manifest, *, sync: bool = False) -> None:
    """Write a manifest, with `sync` to the device; raises `OutputError`."""
    text = manifest.to_json()
    if isinstance(path, Path) and path.parent.is_dir() and storage.is_in_place(path.parent):
        storage.write_whole(copy_of(path), text, sync=sync)
    storage.write_whole(path, text, sync=sync)


def read_manifest(path: Place, *, restore: bool = False) -> Manifest:
    """Read a manifest, or its copy; raises `OutputError` if it is damaged or of another version.

    With `restore`, a manifest that was torn while it was written in place is written again from its copy.
    """
    try:
        return _fitting_manifest(path, path)
    except ValueError as error:
        reason = str(error)
    with suppress(ValueError):
        manifest = _fitting_manifest(copy_of(path), path)
        if restore:
            storage.write_whole(path, manifest.to_json())
        return manifest
    raise OutputError(
        f"{path} is not a manifest that batchscore can read ({reason}). To score that file again, remove the "
        f"manifest, or run: {verify_command(path.parent.parent.parent, path.parent.name, repair=True)}"
    )


def _fitting_manifest(place: Place, path: Place) -> Manifest:
    """Return the manifest of `path` that is stored at `place`; raises like `read_fields`."""
    fields = read_fields(place, path)
    for contradiction in contradictions(fields):
        raise ValueError(contradiction)
    return manifest_from_json(fields)


def read_manifests(layout: Layout, *, restore: bool = False) -> list[Manifest]:
    """Return all manifests of a task; raises like `read_manifest`."""
    names, sound = manifest_names(layout), dict[str, Manifest]()
    for start in range(0, len(names), _AT_ONCE) if isinstance(layout.root, Path) else ():
        sound |= _sound_manifests(layout, names[start : start + _AT_ONCE])
    return [sound.get(name) or read_manifest(layout.manifests / name, restore=restore) for name in names]


def _sound_manifests(layout: Layout, names: Iterable[str]) -> dict[str, Manifest]:
    """Return the manifests on disk with nothing wrong; of any other one, `read_manifest` says what it is.

    Of thousands of files a `Path` for each takes longer than to read it, as do the same settings in each.
    """
    folder, found = str(layout.manifests), dict[str, Any]()
    settings, known = b"", None
    for name in names:
        try:
            text = read_own(f"{folder}/{name}")
            place = text.find(settings) if settings and text.count(b'"fingerprint"') == 1 else -1
            if place >= 0:
                text = text[:place] + _FINGERPRINT + b"null" + text[place + len(settings) :]
            found[name] = fields = orjson.loads(text)
            if place >= 0:
                fields["fingerprint"] = known
            elif place < 0 <= (start := text.find(_FINGERPRINT)) < (end := text.find(_AFTER_FINGERPRINT)):
                settings = text[start:end]
                known = orjson.loads(settings.removeprefix(_FINGERPRINT))
        except (OSError, ValueError, KeyError, TypeError):
            found.pop(name, None)
    if not are_manifests(found, layout.task):
        found = {name: each for name, each in found.items() if are_manifests({name: each}, layout.task)}
    return {name: manifest_from_json(each) for name, each in found.items() if not any(contradictions(each))}


def readable_manifests(layout: Layout) -> Iterator[Manifest]:
    """Yield the manifests of a task, except damaged ones."""
    for path in manifest_paths(layout):
        with suppress(OutputError):
            yield read_manifest(path)


def read_fields(place: Place, path: Place) -> dict[str, Any]:
    """Return the JSON of the manifest of `path` that is stored at `place`, with the right types.

    Raises `ValueError` if it is missing or not a manifest, `OutputError` if it cannot be read for now or is
    of another version.
    """
    try:
        text = storage.whole(place)
    except OutputError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        raise ValueError("it is missing") from None
    fields = orjson.loads(text)
    version = fields.get("version") if isinstance(fields, dict) else None
    if type(version) is int and version != VERSION:
        raise OutputError(
            f"{place} was written by another version of batchscore. Use that version, another folder, or "
            f"{setting_name('overwrite', True)}."
        )
    if type(version) is not int:
        raise ValueError("version is not a whole number")
    refuse_odd(fields, path.name, path.parent.name)
    return dict(fields)


@lru_cache(maxsize=4)
def _shown(fingerprint: bytes) -> dict[str, Any]:
    """Return a fingerprint without secrets. Thousands of manifests share one, and nobody changes it."""
    return shown_fingerprint(orjson.loads(fingerprint))


def _file_of(fields: Mapping[str, Any] | None) -> PartFile | None:
    return None if fields is None else PartFile(fields["name"], fields["bytes"], fields["digest"])


def manifest_from_json(fields: Mapping[str, Any]) -> Manifest:
    """Return a manifest from its JSON, whose types are right."""
    commits = []
    for part in fields["parts"]:
        *counts, attempts, billed, kept, scores, errors, row_digests = _FIELDS_OF(_DEFAULTS | part)
        costs = min(attempts, MOST), min(billed, MOST), min(kept, MOST)
        values: list[Any] = [*counts, *costs, _file_of(scores), _file_of(errors), row_digests]
        commits.append(Commit(*values))
    reported = fields.get("reported", "no")
    return Manifest(
        file=fields["file"],
        task=fields["task"],
        fingerprint=_shown(orjson.dumps(fields["fingerprint"])),
        input=fields["input"],
        state=fields["state"],
        problem=mark_flags(fields["problem"]),
        dimensions=fields["dimensions"],
        simulated=fields.get("simulated"),
        reported=_REPORTED.get(reported, reported),
        place=fields.get("place", ""),
        parts={commit.part: commit for commit in commits},
    )
