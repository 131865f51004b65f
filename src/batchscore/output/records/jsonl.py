"""How does a record look as a line of JSON, and how is it read back?

It must not know files' names, parts or who wants the records. Vectors never become Python floats on the
way out: orjson writes the fewest digits that give the same float32 straight from the array (39 µs for
1,536 dimensions; 4 µs for all else).
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any, TypeAlias

import numpy as np
import orjson

from batchscore.errors import BrokenInvariant, ErrorCode, OutputError
from batchscore.output.records.schema import RecordSchema
from batchscore.rows import RowError, Score, Settled, replace_surrogates
from batchscore.stores import storage
from batchscore.stores.address import Place

Vector: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"

_CHUNK_BYTES = 1 << 20
_LONG_LINE = 8192
_LINE = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
_DEEPEST = 200  # orjson's own bound is 254 levels

# Of all finite float32, this one alone (and its negative; all were tried) has a shortest text that comes
# back as its neighbour through a reader that goes by way of float64, as Python's and most others do.
_TREACHEROUS = np.float32(7.0385307e-26)
_SHORTEST, _SAFE = b"7.038531e-26", b"7.0385307e-26"


def encode_scores(settled: Sequence[Settled], schema: RecordSchema) -> Iterator[bytes]:
    """Yield the score records of those rows that have one, in chunks of whole lines.

    A chunk is about a megabyte of them, or a single long one.
    """
    blocks = _Blocks()
    return _chunked(
        _line(_score_record(row, row.result, schema, blocks))
        for row in settled
        if isinstance(row.result, Score)
    )


def encode_errors(settled: Sequence[Settled], schema: RecordSchema) -> Iterator[bytes]:
    """Yield the error records of those rows that have one, chunked likewise."""
    return _chunked(
        _line(_error_record(row, row.result, schema)) for row in settled if isinstance(row.result, RowError)
    )


def decode_scores(source: Place | bytes, schema: RecordSchema) -> Iterator[Settled]:
    """Yield the rows of a score file, one line in memory at a time; vectors are equal bit by bit.

    Raises `OutputError` at a line that is no score record of this schema.
    """
    return _decoded(source, "score", lambda record: _settled(record, _score(record, schema), schema))


def decode_errors(source: Place | bytes, schema: RecordSchema) -> Iterator[Settled]:
    """Yield the rows of an error file; raises `OutputError` at a line that is no error record."""
    return _decoded(source, "error", lambda record: _settled(record, error_from(record["error"]), schema))


def json_text(value: Any) -> str:
    """Any cell or reply as JSON text, by the same rules as in a record."""
    return json_bytes(value).decode()


def json_bytes(value: Any) -> bytes:
    """Any cell or reply as JSON in UTF-8, by the same rules as in a record."""
    return _dumps(value, orjson.OPT_SERIALIZE_NUMPY)


def checked_vector(value: Any, row: Settled, dimensions: int | None) -> Vector:
    """Return the vector of a score; `BrokenInvariant` where it is one that no record may hold."""
    vector = _shaped(value, row, dimensions)
    # JSON has no NaN: orjson would write null, and the vector would be none.
    if not _is_finite(vector):
        raise BrokenInvariant(f"{_of(row)}: the embedding holds NaN or infinity; please report this")
    return np.ascontiguousarray(vector)


def error_from(value: Mapping[str, Any]) -> RowError:
    """Return a record's `error` as a `RowError`; raises `ValueError`, `KeyError` or `TypeError`."""
    return RowError(
        code=ErrorCode(value["code"]),
        message=_kind(value["message"], str, "error.message"),
        status=_kind(value["status"], (int, type(None)), "error.status"),
        attempts=_kind(value["attempts"], int, "error.attempts"),
    )


def error_fields(error: RowError) -> dict[str, Any]:
    """Return a `RowError` as a record's `error`."""
    return {
        "code": error.code.value,
        "message": replace_surrogates(error.message),
        "status": error.status,
        "attempts": error.attempts,
    }


# --- out


class _Blocks:
    """Looks at vectors that lie in one array together: one by one, looking takes half of all else."""

    def __init__(self) -> None:
        # Held, so that no other array gets the id of one.
        self._plain: dict[int, Any] = {}

    def written(self, value: Any, row: Settled, dimensions: int | None) -> Vector | orjson.Fragment:
        """Return what orjson is given for a vector; `BrokenInvariant` where no record may hold it."""
        vector = _shaped(value, row, dimensions)
        if vector.flags.c_contiguous and self._is_plain(vector.base):
            return vector
        vector = checked_vector(value, row, dimensions)
        return _safe(vector) if _is_treacherous(vector) else vector

    def _is_plain(self, block: Any) -> bool:
        if id(block) in self._plain:
            return True
        if not isinstance(block, np.ndarray) or block.dtype != np.float32:
            return False
        plain = _is_finite(block) and not _is_treacherous(block)
        if plain:
            self._plain[id(block)] = block
        return plain


def _shaped(value: Any, row: Settled, dimensions: int | None) -> Vector:
    if not isinstance(value, np.ndarray) or value.dtype != np.float32 or value.ndim != 1:
        raise BrokenInvariant(f"{_of(row)}: the embedding is no (d,) float32 array; please report this")
    if dimensions is not None and len(value) != dimensions:
        raise BrokenInvariant(
            f"{_of(row)}: {len(value)} dimensions instead of {dimensions}; please report this"
        )
    return value


def _score_record(row: Settled, score: Score, schema: RecordSchema, blocks: _Blocks) -> dict[str, Any]:
    record = _head(row, schema)
    if schema.is_vector:
        record[schema.task] = blocks.written(score.value, row, schema.dimensions)
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
    return bool(np.count_nonzero(np.isfinite(vector)) == vector.size)


def _is_treacherous(vector: Vector) -> bool:
    # Counting costs a third of `any`, which goes by way of Python.
    return bool(np.count_nonzero(np.abs(vector) == _TREACHEROUS))


def _error_record(row: Settled, error: RowError, schema: RecordSchema) -> dict[str, Any]:
    return _head(row, schema) | {"error": error_fields(error)}


def _head(row: Settled, schema: RecordSchema) -> dict[str, Any]:
    record: dict[str, Any] = {"file": row.file, "row": row.row}
    if schema.with_id:
        record["id"] = row.id
    if schema.keep != ():
        record |= schema.kept(row.kept)
    return record


def _safe(vector: Vector) -> orjson.Fragment:
    text = orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY)
    return orjson.Fragment(text.replace(_SHORTEST, _SAFE))


def _line(record: dict[str, Any]) -> bytes:
    return _dumps(record, _LINE)


def _dumps(value: Any, option: int) -> bytes:
    try:
        return orjson.dumps(value, default=_unusual, option=option)
    except orjson.JSONEncodeError:
        # Lone surrogates, integers beyond 64 bit, keys that are no text, deep nests: rare, and slow.
        return orjson.dumps(_plain(value), default=_unusual, option=option | orjson.OPT_NON_STR_KEYS)


def _unusual(value: Any) -> Any:
    """Return what stands in JSON for a cell of a type that orjson does not know."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    return replace_surrogates(str(value))


def _plain(value: Any, depth: int = 0) -> Any:
    """Copy a cell so that nothing is left in it that orjson refuses."""
    if isinstance(value, str):
        return replace_surrogates(value)
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, (datetime, time)):  # a time with a zone is more than orjson knows
        return value.isoformat()
    if isinstance(value, (Mapping, list, tuple)) and depth >= _DEEPEST:
        return _deep_text(value)
    if isinstance(value, Mapping):
        return {
            _plain(key) if isinstance(key, (str, int)) else key: _plain(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    return value


def _deep_text(value: Any) -> str:
    try:
        return replace_surrogates(json.dumps(value, default=_unusual, ensure_ascii=False))
    except RecursionError:  # from about 900 levels on; one such cell must not end the run
        return "(nested too deeply)"


def _chunked(lines: Iterator[bytes]) -> Iterator[bytes]:
    pending: list[bytes] = []
    size = 0
    for line in lines:
        if len(line) >= _LONG_LINE and not pending:
            # Copying it into a chunk would take as long as writing it.
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


def _decoded(
    source: Place | bytes, what: str, settled: Callable[[Mapping[str, Any]], Settled]
) -> Iterator[Settled]:
    line = 1
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else storage.open_file(source) as lines:
            for text in lines:
                yield settled(orjson.loads(text))
                line += 1
    except OSError as error:
        raise OutputError(f"cannot read {_name(source)}: {error.strerror}") from error
    except (KeyError, ValueError, TypeError) as error:
        raise OutputError(
            f"{_name(source)}, line {line}: no {what} record of this run ({error}); the file was changed "
            "or cut after it was written: `batchscore verify --repair` scores its missing rows again"
        ) from error


def _settled(record: Mapping[str, Any], result: Score | RowError, schema: RecordSchema) -> Settled:
    return Settled(
        file=_kind(record["file"], str, "file"),
        row=_kind(record["row"], int, "row"),
        result=result,
        id=_kind(record["id"], (str, type(None)), "id") if schema.with_id else None,
        kept=schema.kept(record),
        truncated=schema.with_truncated and record.get("truncated") is True,
    )


def _score(record: Mapping[str, Any], schema: RecordSchema) -> Score:
    value: Any = record[schema.task]
    if schema.is_vector:
        value = np.array(_kind(value, list, schema.task), dtype=np.float32)
        if value.ndim != 1 or not np.isfinite(value).all():
            raise ValueError("the vector is not one of finite numbers")
        if schema.dimensions is not None and len(value) != schema.dimensions:
            raise ValueError(f"{len(value)} dimensions instead of {schema.dimensions}")
    else:
        _kind(value, list if schema.many else (str, type(None)), schema.task)
    return Score(
        value=value,
        finish_reason=None if schema.is_vector else record["finish_reason"],
        usage=record["usage"] if schema.with_usage else None,
        raw=record["raw"] if schema.with_raw else None,
    )


def _kind(value: Any, kind: type | tuple[type, ...], name: str) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {type(value).__name__}")
    return value


def _name(source: Place | bytes) -> str:
    return "these records" if isinstance(source, bytes) else str(source)


def _of(row: Settled) -> str:
    return f"{row.file}, row {row.row}"
