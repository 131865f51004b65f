"""How do the records of a part get to disk and back?

It joins layout, formats and digests, and compares files with their commit records. Parts that were exchanged
together with their digests fit their manifests, so `RecordCheck` also compares each record's file and row. It
knows no journals, and no files beyond their parts; it repairs nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

import orjson
import xxhash

from batchscore.errors import TRANSIENT, ErrorCode, OutputError
from batchscore.output.layout import Layout, stem_of
from batchscore.output.manifest import Commit, Manifest, PartFile, part_files_of
from batchscore.output.parts import Part
from batchscore.output.records.formats import Format, format_of
from batchscore.output.records.schema import RecordSchema, all_damage, schema_of
from batchscore.output.row_digests import encode_digests
from batchscore.rows import RowError, Score, Settled
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.stores.errors import explain_errors
from batchscore.stores.links import require_file

#: What is said of a file that has scores, and no manifest.
NO_MANIFEST = "its manifest is missing, though scores are there. Its rows are scored, and paid for, again"

#: How a file of the right size may differ from its commit record.
CHANGED = "was changed: its digest is not the same"


@dataclass(frozen=True, slots=True)
class EncodedPart:
    """A part that only has to be written, with its `commit` record but for the files.

    The content of a file is `None` if there must be none.
    """

    part: Part
    commit: Commit
    dimensions: int | None
    scores: bytes | Iterable[bytes] | None
    errors: bytes | Iterable[bytes] | None
    digests: bytes


@dataclass(slots=True)
class PartFiles:
    """The part files of one task; each folder is listed once, unless others `share` it and may change it.

    `sync`: each file is on the device before the manifest names it.
    """

    layout: Layout
    format: Format
    schema: RecordSchema
    shared: bool = False
    sync: bool = False
    sizes: dict[Place, dict[str, int]] = field(default_factory=dict)

    def size_of(self, folder: Place, name: str) -> int | None:
        """Return the bytes of a file, `None` if there is none."""
        if self.shared:
            return storage.size_of(folder / name)
        if folder not in self.sizes:
            self.sizes[folder] = storage.sizes(folder)
        return self.sizes[folder].get(name)

    def are_there(self, commit: Commit) -> bool:
        """Whether the files of a commit record are there, in the size that it says."""
        for folder, part in part_files_of(self.layout, commit):
            if part is not None and self.size_of(folder, part.name) != part.bytes:
                return False
        return True

    def lost(self, manifest: Manifest) -> dict[int, Commit]:
        """Return what is left of the parts of which a file is missing or cut."""
        left: dict[int, Commit] = {}
        for number, commit in manifest.parts.items():
            if not self.are_there(commit):
                scores = self.are_there(replace(commit, error_records=None))
                errors = self.are_there(replace(commit, scores=None))
                rest = commit if errors else replace(commit, errors=0, transient=0, empty=0)
                left[number] = rest if scores else replace(rest, ok=0)
        return left

    def without_manifest(self, files: Iterable[str], known: Container[str]) -> dict[str, str]:
        """Return the files that have scores here but no manifest, with what is said of them.

        A manifest is written before the first part, so somebody has removed it.
        """
        unknown = [file for file in files if file not in known]
        names = storage.sizes(self.layout.scores) if unknown else {}
        stems = {name.removeprefix("part-").rpartition("-")[0] for name in names if name.startswith("part-")}
        return {file: NO_MANIFEST for file in unknown if stem_of(file) in stems}

    def load(self, commit: Commit) -> dict[int, Settled]:
        """Return the records of a published part by row; a damaged file counts as missing."""
        files = read_part(self.layout, commit, self.schema, skip_damaged=True)
        return {settled.row: settled for file in files for settled in file}

    def encode(self, part: Part) -> EncodedPart | None:
        """Return the content of a part's files, as far as that needs no disk; `None` if the part is empty."""
        settled = part.in_order()
        if not settled:
            return None
        scores = [row for row in settled if isinstance(row.result, Score)]
        errors = [row for row in settled if isinstance(row.result, RowError)]
        codes = [row.result.code for row in errors if isinstance(row.result, RowError)]
        schema = self.schema
        if scores and schema.is_vector:
            schema = replace(schema, dimensions=int(scores[0].result.value.size))  # type: ignore[union-attr]
        return EncodedPart(
            part=part,
            commit=Commit(
                part=part.number,
                rows=part.read,
                ok=len(scores),
                errors=len(errors),
                transient=sum(code in TRANSIENT for code in codes),
                empty=codes.count(ErrorCode.EMPTY_INPUT),
                whole=part.fully_read,
                inputs=part.inputs,
                attempts=part.cost.attempts,
                tokens_billed=part.cost.billed,
                tokens_kept=part.cost.kept,
            ),
            dimensions=schema.dimensions,
            scores=self.format.encode_scores(scores, schema) if scores else None,
            errors=self.format.encode_errors(errors, schema) if errors else None,
            digests=encode_digests(settled, part.prompt_digests, part.kept_digests, with_id=schema.with_id),
        )

    def write(self, encoded: EncodedPart) -> Commit:
        """Write a part's files and return its commit record, which goes into the manifest afterwards."""
        part = encoded.part
        name = self.layout.part_name(part.file, part.number)
        digests = self.layout.digests(part.file, part.number)
        row_digests = ""
        if isinstance(digests, Path):  # only an output on a disk needs them
            row_digests = storage.write_whole(digests, encoded.digests, sync=self.sync).digest
        return replace(
            encoded.commit,
            row_digests=row_digests,
            scores=self.write_file(self.layout.scores, name, encoded.scores),
            error_records=self.write_file(self.layout.errors, name, encoded.errors),
        )

    def write_file(
        self, folder: Place, name: str, content: bytes | Iterable[bytes] | None
    ) -> PartFile | None:
        """Write one file of a part, or remove an older one if it would be empty."""
        if content is None:
            storage.remove(folder / name)
            return None
        written = storage.write_whole(folder / name, content, sync=self.sync)
        if folder in self.sizes:
            self.sizes[folder][name] = written.bytes
        return PartFile(name, written.bytes, written.digest)


def damage_of(path: Place, part: PartFile) -> str | None:
    """Return how a part's file differs from its commit record; raises `OutputError` if it cannot be read."""
    if part.name != path.name:
        return f"is not the file that its manifest names: {part.name}"
    try:
        if isinstance(path, Path) and path.is_symlink():
            return "is a link, not a file"
        with explain_errors(path, "read"):
            if isinstance(path, Path):
                require_file(path)
            size = storage.size_of(path)
        if size is None:
            return "is missing"
        if size != part.bytes:
            return f"has {size:,} bytes instead of {part.bytes:,}"
        return None if storage.digest_file(path) == part.digest else CHANGED
    except OutputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return "is missing"
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in {errno.EISDIR, errno.ESPIPE}:
            return "is not a file"
        raise


def refuse_damaged(path: Place, part: PartFile | None) -> None:
    """Raise `OutputError` if a part's file is not as its commit record says, to the byte."""
    what = None if part is None else damage_of(path, part)
    if what is not None:
        raise OutputError(f"{path} {what}.{all_damage(path)}")


def intact(layout: Layout, commit: Commit) -> bool:
    """Whether a part's files are as its commit record says, to the byte, and it has no other file."""
    named = commit.scores or commit.error_records
    return named is None or all(
        not storage.exists(folder / named.name)
        if part is None
        else damage_of(folder / part.name, part) is None
        for folder, part in part_files_of(layout, commit)
    )


def read_error_records(layout: Layout, part: PartFile) -> Iterator[Settled]:
    """Yield the records of a part's error file; raises `BatchscoreError` if it cannot be read."""
    path = layout.errors / part.name
    return format_of(path).decode_errors(path, schema_of(path, layout.task, errors=True))


def read_part(
    layout: Layout, commit: Commit, schema: RecordSchema | None = None, *, skip_damaged: bool = False
) -> Iterator[Iterator[Settled]]:
    """Yield the records of a part's error file, then those of its score file, each in the file's order.

    Without a `schema` each file's first record shows it. Raises `BatchscoreError` if a file cannot be read.
    """
    if commit.error_records is not None:
        path = layout.errors / commit.error_records.name
        if not (skip_damaged and damage_of(path, commit.error_records)):
            yield format_of(path).decode_errors(path, schema or schema_of(path, layout.task, errors=True))
    if commit.scores is not None:
        path = layout.scores / commit.scores.name
        if not (skip_damaged and damage_of(path, commit.scores)):
            yield format_of(path).decode_scores(path, schema or schema_of(path, layout.task))


@dataclass(frozen=True, slots=True)
class StatedScores:
    """What a manifest states of a score file: the `written` bytes, and `count` scores of an `input` file.

    `rows` are the numbers that the rows of this part may have.
    """

    written: PartFile
    input: str
    rows: range
    count: int


def stated_in(manifest: Manifest, commit: Commit, written: PartFile, count: int) -> StatedScores:
    """Return what a manifest states of `count` records of one of its parts."""
    most = manifest.fingerprint["rows_per_part"]
    rows = range(commit.part * most, (commit.part + 1) * most)
    return StatedScores(written, manifest.file, rows, count)


class RecordCheck:
    """Compares the records of a score file, in their order, with what is stated; `None`: nothing is known.

    Its methods raise `OutputError` at the first record that does not belong to this file.
    """

    def __init__(self, path: Place, stated: StatedScores | None) -> None:
        self.path = path
        self.stated = stated
        self.count = 0
        self.last = -1 if stated is None else stated.rows.start - 1

    def add(self, files: Iterable[object], rows: Iterable[object]) -> None:
        """Compare the next records."""
        if self.stated is not None:
            for file in files:
                self._add_file(file)
            self._add_rows(rows)

    def add_lines(self, data: bytes, start: int, stop: int) -> None:
        """Compare the next records, which are lines in `data[start:stop]`."""
        if self.stated is None:
            return
        # Lines as runs write them are not read as JSON, which would take ten times as long.
        head = b'{"file":' + orjson.dumps(self.stated.input) + b',"row":'
        rows: list[object] = []
        try:
            while start < stop:
                end, number = data.index(b"\n", start), start + len(head)
                if data.startswith(head, start):
                    rows.append(int(data[number : data.index(b",", number)]))
                else:
                    record = orjson.loads(data[start:end])
                    self._add_file(record["file"])
                    rows.append(record["row"])
                start = end + 1
        except (ValueError, TypeError, KeyError):
            self._refuse("holds a line that is not a record")
        self._add_rows(rows)

    def _add_file(self, file: object) -> None:
        if self.stated is not None and file != self.stated.input:
            self._refuse(f"holds a record of {file}")

    def _add_rows(self, rows: Iterable[object]) -> None:
        assert self.stated is not None
        last, stop = self.last, self.stated.rows.stop
        for row in rows:
            if type(row) is not int or not last < row < stop:
                known = type(row) is int and row in self.stated.rows
                what = "twice or out of order" if known else "which belongs to another part"
                self._refuse(f"holds row {row}, {what}")
            last = row
            self.count += 1
        self.last = last

    def end(self) -> None:
        """Compare the number of records."""
        if self.stated is not None and self.count != self.stated.count:
            self._refuse(f"holds {self.count:,} records; its manifest says {self.stated.count:,}")

    def _refuse(self, what: str) -> NoReturn:
        raise OutputError(f"{self.path} {what}.{all_damage(self.path)}")


def refuse_changed(path: Place, stated: StatedScores | None) -> None:
    """Raise `OutputError` if a score file is not as its manifest says, to the byte."""
    refuse_damaged(path, None if stated is None else stated.written)


def checked_chunks(path: Place, stated: StatedScores | None) -> Iterator[bytes]:
    """Yield the bytes of a file of JSON Lines; raises `OutputError`, also at the end, if it was changed."""
    if stated is not None and storage.size_of(path) != stated.written.bytes:
        refuse_changed(path, stated)
    digest, check = xxhash.xxh3_128(), RecordCheck(path, stated)
    pieces: list[bytes] = []
    for chunk in storage.chunks(path):
        digest.update(chunk)
        yield chunk
        start, stop = chunk.find(b"\n") + 1, chunk.rfind(b"\n") + 1
        if stop:
            # The line that began in an earlier chunk.
            line = b"".join((*pieces, chunk[:start]))
            check.add_lines(line, 0, len(line))
            check.add_lines(chunk, start, stop)
            pieces.clear()
        pieces.append(chunk[stop:])
    if stated is not None and f"xxh3:{digest.hexdigest()}" != stated.written.digest:
        raise OutputError(f"{path} {CHANGED}.{all_damage(path)}")
    check.end()
