"""How do many parts become one file, in constant memory?

It must not know which parts belong together, nor in what order: they are given so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Literal

from batchscore.errors import OutputError, UsageError
from batchscore.output.records.formats import format_of
from batchscore.output.records.jsonl import encode_scores
from batchscore.output.records.schema import RecordSchema
from batchscore.rows import Score, Settled
from batchscore.stores import storage
from batchscore.stores.address import Place

#: The suffixes that one file of scores may have.
MERGED_SUFFIXES = (".jsonl", ".parquet", ".arrow")

_BATCH_ROWS = 1024


def merge_parts(parts: Iterable[Place], destination: Place, schema: RecordSchema) -> int:
    """Write the records of score parts, in the order given, to one file; gives their number.

    The suffix of `destination` says its format; JSON Lines from JSON Lines is copied byte by byte, other
    pairs are converted. The file appears whole or not at all. Where `schema` leaves open the vectors'
    length or the kept columns' names and the destination has columns, the parts are read once before.
    """
    paths = list(parts)
    suffix = destination.suffix.lower()
    if suffix == ".jsonl":
        return _to_lines(paths, destination, schema)
    if suffix == ".parquet":
        return _to_columns(paths, destination, schema, "parquet")
    if suffix == ".arrow":
        return _to_columns(paths, destination, schema, "arrow")
    raise UsageError(f"{destination}: one file of scores ends in {', '.join(MERGED_SUFFIXES)}")


def _to_lines(parts: Sequence[Place], destination: Place, schema: RecordSchema) -> int:
    rows = 0

    def counted() -> Iterator[bytes]:
        nonlocal rows
        for part in parts:
            for chunk in _copied(part) if part.suffix.lower() == ".jsonl" else _converted(part, schema):
                rows += chunk.count(b"\n")
                yield chunk

    storage.write_whole(destination, counted())
    return rows


def _copied(part: Place) -> Iterator[bytes]:
    chunk = b"\n"
    for chunk in storage.chunks(part):
        yield chunk
    if not chunk.endswith(b"\n"):
        raise OutputError(f"{part}: its last line is cut; `batchscore verify --repair` scores it again")


def _converted(part: Place, schema: RecordSchema) -> Iterator[bytes]:
    for batch in _batches(part, schema):
        yield from encode_scores(batch, schema)


def _to_columns(
    parts: Sequence[Place], destination: Place, schema: RecordSchema, kind: Literal["parquet", "arrow"]
) -> int:
    from batchscore.output.records import columnar  # noqa: PLC0415 - pyarrow takes a while to load

    schema = _completed(parts, schema)
    with storage.replace_file(destination) as sink, columnar.streaming(sink, schema, kind) as stream:
        for part in parts:
            if part.suffix.lower() == ".parquet":
                for table in columnar.score_tables(part, schema):
                    stream.append_table(table)
            else:
                for batch in _batches(part, schema):
                    stream.append(batch)
    return stream.rows


def _batches(part: Place, schema: RecordSchema) -> Iterator[list[Settled]]:
    rows = format_of(part).decode_scores(part, schema)
    while batch := list(islice(rows, _BATCH_ROWS)):
        yield batch


def _completed(parts: Sequence[Place], schema: RecordSchema) -> RecordSchema:
    """Return the schema with what columns need to know beforehand."""
    if schema.keep is None:
        names: dict[str, None] = {}
        for part in parts:
            for batch in _batches(part, schema):
                for row in batch:
                    names.update(dict.fromkeys(row.kept))
        schema = replace(schema, keep=tuple(names))
    if schema.is_vector and schema.dimensions is None:
        first = next(
            (row.result for part in parts for row in format_of(part).decode_scores(part, schema)), None
        )
        if not isinstance(first, Score):
            raise OutputError("there are no scores to merge")
        schema = replace(schema, dimensions=len(first.value))
    return schema
