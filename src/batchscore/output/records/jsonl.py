"""How is a record written as a line of JSON, and how is it read back?

It knows no file names and no parts. Vectors never become Python floats on the way out: orjson writes the
fewest digits that give the same float32 directly from the array (39 µs for 1,536 dimensions; 4 µs for the
rest of a record).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import orjson

from batchscore.errors import BrokenInvariant, ErrorCode, OutputError
from batchscore.output.records.json_value import dumps, json_bytes
from batchscore.output.records.schema import ROW_FIELDS, RecordSchema, damage_text
from batchscore.prompts.kept_cells import KeptCells, unpacked
from batchscore.rows import RowError, Score, Settled, replace_surrogates
from batchscore.stores import storage
from batchscore.stores.address import Place

Vector: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"

_CHUNK_BYTES = 1 << 20
_LONG_LINE = 8192
#: What an answer that matches a JSON Schema may be, besides a text or null.
_VALUES = (dict, list, int, float)
_FLOAT32 = np.dtype(np.float32)
_LINE = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE

# Among all finite float32 values (all were tested) only this one and its negative have a shortest text that
# a reader by way of float64, as Python's and most others are, turns into the neighbouring float32.
_UNSAFE = np.float32(7.0385307e-26)
_SHORTEST_TEXT, _SAFE_TEXT = b"7.038531e-26", b"7.0385307e-26"


def encode_scores(settled: Sequence[Settled], schema: RecordSchema) -> Iterator[bytes]:
    """Yield the score records of the rows with a score, in chunks of lines.

    A chunk has about a megabyte, or a single long line.
    """
    vectors = _VectorEncoder()
    return _join_lines(
        dumps(_score_record(row, row.result, schema, vectors), _LINE)
        for row in settled
        if isinstance(row.result, Score)
    )


def encode_errors(settled: Sequence[Settled], schema: RecordSchema) -> Iterator[bytes]:
    """Yield the error records of the rows with an error, in the same chunks."""
    return _join_lines(
        dumps(_head_fields(row, schema) | {"error": error_fields(row.result)}, _LINE)
        for row in settled
        if isinstance(row.result, RowError)
    )


def decode_scores(source: Place, schema: RecordSchema) -> Iterator[Settled]:
    """Yield the rows of a score file, line by line; vectors are equal to those written, bit by bit.

    Raises `OutputError` at a line that is not a score record of this schema.
    """
    return _decode_lines(
        source, "a score", lambda record: _settled_row(record, _score(record, schema), schema)
    )


def decode_errors(source: Place, schema: RecordSchema) -> Iterator[Settled]:
    """Yield the rows of an error file; raises `OutputError` at a line that is not an error record."""
    return _decode_lines(
        source, "an error", lambda record: _settled_row(record, error_from(record["error"]), schema)
    )


def check_vector(value: Any, row: Settled, dimensions: int | None) -> Vector:
    """Return the vector of a score; raises `BrokenInvariant` if a record cannot hold it."""
    vector = _check_shape(value, row, dimensions)
    # JSON has no NaN: orjson would write null, and the record would have no vector.
    if not _is_finite(vector):
        raise BrokenInvariant(f"{_of(row)}: the embedding holds NaN or infinity; please report this")
    return np.ascontiguousarray(vector)


def error_from(value: Mapping[str, Any]) -> RowError:
    """Return a record's `error` as a `RowError`; raises `ValueError`, `KeyError` or `TypeError`."""
    return RowError(
        code=ErrorCode(value["code"]),
        message=_check_type(value["message"], str, "error.message"),
        status=None if value["status"] is None else _check_number(value["status"], "error.status"),
        attempts=_check_number(value["attempts"], "error.attempts"),
    )


def error_fields(error: RowError) -> dict[str, Any]:
    """Return a `RowError` as a record's `error`."""
    return {
        "code": error.code.value,
        "message": replace_surrogates(error.message),
        "status": error.status,
        "attempts": error.attempts,
    }


def row_to_json(settled: Settled) -> dict[str, Any]:
    """Return a row's result as a journal stores it: JSON without its vector."""
    row: dict[str, Any] = {"file": settled.file, "row": settled.row}
    if settled.id is not None:
        row["id"] = settled.id
    if settled.kept:
        # Of many cells, those of one row at a time are unpacked.
        is_packed = isinstance(settled.kept, KeptCells)
        row["kept"] = orjson.Fragment(json_bytes(unpacked(settled.kept))) if is_packed else settled.kept
    if settled.truncated:
        row["truncated"] = True
    result = settled.result
    if isinstance(result, RowError):
        row["error"] = error_fields(result)
    else:
        if result.finish_reason is not None:
            row["finish_reason"] = result.finish_reason
        if result.usage is not None:
            row["usage"] = result.usage
        if result.raw is not None:
            row["raw"] = result.raw
        if not isinstance(result.value, np.ndarray):
            row["text"] = result.value
    return row


def settled_from_json(row: Mapping[str, Any], vectors: Iterator[Any]) -> Settled:
    """Return a result from its JSON and, if that has no text, the next vector.

    Raises `ValueError`, `KeyError`, `TypeError` or `StopIteration` if it is not the JSON of a result.
    """
    result: Score | RowError
    if "error" in row:
        result = error_from(row["error"])
    else:
        result = Score(
            value=row["text"] if "text" in row else next(vectors),
            finish_reason=_check_text(row.get("finish_reason"), "finish_reason"),
            usage=_check_type(row.get("usage"), (dict, type(None)), "usage"),
            raw=row.get("raw"),
        )
    return Settled(
        **_row_fields(row, [name for name in ROW_FIELDS if name in row]),
        result=result,
        kept=_check_type(row.get("kept", {}), dict, "kept"),
        truncated=row.get("truncated") is True,
    )


# --- out


class _VectorEncoder:
    """Checks the vectors of one array together: one by one, checks take half as long as all the rest."""

    def __init__(self) -> None:
        # The arrays are kept, so no other array gets the id of one of them.
        self._checked: dict[int, Any] = {}

    def encode(self, value: Any, row: Settled, dimensions: int | None) -> Vector | orjson.Fragment:
        """Return a vector in a form for orjson; raises `BrokenInvariant` if a record cannot hold it."""
        vector = _check_shape(value, row, dimensions)
        block = vector.base
        if vector.flags.c_contiguous and (id(block) in self._checked or self._needs_no_check(block)):
            return vector
        vector = check_vector(value, row, dimensions)
        return _safe_text(vector) if _has_unsafe(vector) else vector

    def _needs_no_check(self, block: Any) -> bool:
        if not isinstance(block, np.ndarray) or block.dtype != np.float32:
            return False
        if not _is_finite(block) or _has_unsafe(block):
            return False
        self._checked[id(block)] = block
        return True


def _check_shape(value: Any, row: Settled, dimensions: int | None) -> Vector:
    if not isinstance(value, np.ndarray) or value.dtype != _FLOAT32 or value.ndim != 1:
        raise BrokenInvariant(f"{_of(row)}: the embedding is not a (d,) float32 array; please report this")
    if dimensions is not None and len(value) != dimensions:
        raise BrokenInvariant(
            f"{_of(row)}: {len(value)} dimensions instead of {dimensions}; please report this"
        )
    return value


def _score_record(
    row: Settled, score: Score, schema: RecordSchema, vectors: _VectorEncoder
) -> dict[str, Any]:
    record = _head_fields(row, schema)
    if schema.is_vector:
        record[schema.task] = vectors.encode(score.value, row, schema.dimensions)
    else:
        record[schema.task] = score.value
        record["finish_reason"] = score.finish_reason
    if schema.with_truncated:
        record["truncated"] = row.truncated
    if schema.with_usage:
        record["usage"] = score.usage
    if schema.with_raw:
        record["raw"] = score.raw
    return record


def _is_finite(vector: Vector) -> bool:
    # The largest number is NaN if one is. No array of the block's size is made.
    return not vector.size or bool(np.isfinite(vector.max()) and np.isfinite(vector.min()))


def _has_unsafe(vector: Vector) -> bool:
    # Counting costs a third of `any`, which is partly Python.
    return bool(np.count_nonzero(vector == _UNSAFE) or np.count_nonzero(vector == -_UNSAFE))


def _head_fields(row: Settled, schema: RecordSchema) -> dict[str, Any]:
    record: dict[str, Any] = {name: getattr(row, name) for name in schema.row_fields}
    if schema.keep != ():
        record |= schema.kept(unpacked(row.kept))
    return record


def _safe_text(vector: Vector) -> orjson.Fragment:
    text = orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY)
    return orjson.Fragment(text.replace(_SHORTEST_TEXT, _SAFE_TEXT))


def _join_lines(lines: Iterator[bytes]) -> Iterator[bytes]:
    pending: list[bytes] = []
    size = 0
    for line in lines:
        if len(line) >= _LONG_LINE and not pending:
            # Copying a long line into a chunk would take as long as writing it.
            yield line
            continue
        pending.append(line)
        size += len(line)
        if size >= _CHUNK_BYTES:
            yield b"".join(pending)
            pending, size = [], 0
    if pending:
        yield b"".join(pending)


# --- and back


def _decode_lines(
    source: Place, kind: str, decode: Callable[[Mapping[str, Any]], Settled]
) -> Iterator[Settled]:
    line = 1
    try:
        with storage.open_file(source) as lines:
            for text in lines:
                yield decode(orjson.loads(text))
                line += 1
    except OSError as error:
        raise OutputError(f"cannot read {source}: {error.strerror}") from error
    except (KeyError, ValueError, TypeError) as error:
        raise OutputError(
            f"{source}, line {line} is not {kind} record of this run ({error}); {damage_text(source)}"
        ) from error


def _settled_row(record: Mapping[str, Any], result: Score | RowError, schema: RecordSchema) -> Settled:
    return Settled(
        **_row_fields(record, schema.row_fields),
        result=result,
        kept=schema.kept(record),
        truncated=schema.with_truncated and record.get("truncated") is True,
    )


def _row_fields(record: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    # Files without a column for the id may have been scored before others with one.
    found = {name: _check_type(record.get(name), ROW_FIELDS[name], name) for name in names}
    _check_number(found["row"], "row")
    return found


def _score(record: Mapping[str, Any], schema: RecordSchema) -> Score:
    value: Any = record[schema.task]
    if schema.is_vector:
        value = np.array(_check_type(value, list, schema.task), dtype=np.float32)
        if value.ndim != 1 or not np.isfinite(value).all():
            raise ValueError("the vector has other elements than finite numbers")
        if schema.dimensions is not None and len(value) != schema.dimensions:
            raise ValueError(f"{len(value)} dimensions instead of {schema.dimensions}")
    elif schema.many or schema.answer is None:
        _check_type(value, list if schema.many else (str, type(None), *_VALUES), schema.task)
    return Score(
        value=value,
        finish_reason=None if schema.is_vector else record["finish_reason"],
        usage=record["usage"] if schema.with_usage else None,
        raw=record["raw"] if schema.with_raw else None,
    )


def _check_type(value: Any, kind: type | tuple[type, ...], name: str) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {type(value).__name__}")
    return value


def _check_number(value: Any, name: str) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{name} is not a number of a record")
    return value


def _check_text(value: Any, name: str) -> Any:
    for each in value if isinstance(value, list) else [value]:
        _check_type(each, (str, type(None)), name)
    return value


def _of(row: Settled) -> str:
    return f"{row.file}, row {row.row}"
