"""Which formats may parts have, and which functions write and read them?

It must not load pyarrow before a format needs it: JSON Lines does without, and starts faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from batchscore.errors import BrokenInvariant
from batchscore.output.records import jsonl
from batchscore.output.records.schema import RecordSchema
from batchscore.rows import Settled
from batchscore.stores.address import Place

Encode = Callable[[Sequence[Settled], RecordSchema], bytes | Iterable[bytes]]
Decode = Callable[[Place | bytes, RecordSchema], Iterator[Settled]]


@dataclass(frozen=True, slots=True)
class Format:
    """One format of parts: `suffix` with its dot; what `encode_*` give goes to `storage.write_whole`."""

    suffix: str
    encode_scores: Encode
    encode_errors: Encode
    decode_scores: Decode
    decode_errors: Decode


def _jsonl() -> Format:
    return Format(
        ".jsonl", jsonl.encode_scores, jsonl.encode_errors, jsonl.decode_scores, jsonl.decode_errors
    )


def _parquet() -> Format:
    from batchscore.output.records import columnar  # noqa: PLC0415 - pyarrow takes a while to load

    return Format(
        ".parquet",
        columnar.encode_scores,
        columnar.encode_errors,
        columnar.decode_scores,
        columnar.decode_errors,
    )


#: The formats that `--format` may name.
FORMATS: dict[str, Callable[[], Format]] = {"jsonl": _jsonl, "parquet": _parquet}


def format_named(name: str) -> Format:
    """Return the format that `--format` names."""
    if name not in FORMATS:
        raise BrokenInvariant(f"no format {name!r}; please report this")
    return FORMATS[name]()


def format_of(part: Place) -> Format:
    """Return the format of a part, by its suffix."""
    return format_named(part.suffix.lower().removeprefix("."))
