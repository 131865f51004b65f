"""How do many parts become one file, in constant memory?

It does not know which parts belong together, nor their order: the caller gives them in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from batchscore.errors import OutputError, UsageError
from batchscore.output.records.formats import FILE_SUFFIXES, format_of
from batchscore.output.records.jsonl import DAMAGED, encode_scores
from batchscore.output.records.schema import RecordSchema
from batchscore.rows import Score, Settled
from batchscore.stores import storage
from batchscore.stores.address import Place

_BATCH_ROWS = 1024


def merge_parts(parts: Iterable[Place], destination: Place, schema: RecordSchema) -> int:
    """Write the records of score parts, in the given order, to one file; return their number.

    The suffix of `destination` decides the format. JSON Lines parts are copied byte by byte into JSON Lines;
    all else is converted. The file is written completely or not at all. If the destination has columns and
    `schema` lacks the vectors' length or the kept columns' names, the parts are read once before.
    """
    paths = list(parts)
    suffix = refuse_other_suffix(destination)
    if suffix == ".jsonl":
        return _merge_lines(paths, destination, schema)
    return _merge_columns(paths, destination, schema, suffix)


def refuse_other_suffix(file: Place) -> str:
    """Return the suffix of a single file of scores; raises `UsageError` if it is not a format."""
    suffix = file.suffix.lower()
    if suffix not in FILE_SUFFIXES:
        raise UsageError(f"{file}: the name of a file of scores must end in {', '.join(FILE_SUFFIXES)}.")
    return suffix


def _merge_lines(parts: Sequence[Place], destination: Place, schema: RecordSchema) -> int:
    rows = 0

    def count_rows() -> Iterator[bytes]:
        nonlocal rows
        for part in parts:
            for chunk in _copy(part) if part.suffix.lower() == ".jsonl" else _convert(part, schema):
                rows += chunk.count(b"\n")
                yield chunk

    storage.write_whole(destination, count_rows())
    return rows


def _copy(part: Place) -> Iterator[bytes]:
    chunk = b"\n"
    for chunk in storage.chunks(part):
        yield chunk
    if not chunk.endswith(b"\n"):
        raise OutputError(f"{part}: its last line is incomplete; {DAMAGED}.")


def _convert(part: Place, schema: RecordSchema) -> Iterator[bytes]:
    for batch in _batches(part, schema):
        yield from encode_scores(batch, schema)


def _merge_columns(parts: Sequence[Place], destination: Place, schema: RecordSchema, suffix: str) -> int:
    from batchscore.output.records import columnar  # noqa: PLC0415 - pyarrow takes a while to load

    schema = _complete_schema(parts, schema)
    with storage.replace_file(destination) as sink, columnar.open_writer(sink, schema, suffix) as writer:
        for part in parts:
            if part.suffix.lower() == ".parquet":
                for table in columnar.score_tables(part, schema):
                    writer.append_table(table)
            else:
                for batch in _batches(part, schema):
                    writer.append(batch)
    return writer.rows


def _batches(part: Place, schema: RecordSchema) -> Iterator[list[Settled]]:
    rows = format_of(part).decode_scores(part, schema)
    while batch := list(islice(rows, _BATCH_ROWS)):
        yield batch


def _complete_schema(parts: Sequence[Place], schema: RecordSchema) -> RecordSchema:
    """Return the schema with what a columnar file must know before its first row."""
    if schema.keep is None:
        names: dict[str, None] = {}
        for part in parts:
            for row in format_of(part).decode_scores(part, schema):
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
