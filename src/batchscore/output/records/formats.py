"""Which formats may records have, and which functions write and read them?

pyarrow is loaded only for a format that needs it: JSON Lines starts faster without it.
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

#: The suffixes that a single file of scores may have.
FILE_SUFFIXES = (".jsonl", ".parquet", ".arrow")


@dataclass(frozen=True, slots=True)
class Format:
    """One format of parts: `suffix` with its dot; `storage.write_whole` takes what `encode_*` return."""

    suffix: str
    encode_scores: Encode
    encode_errors: Encode
    decode_scores: Decode
    decode_errors: Decode


def format_named(name: str) -> Format:
    """Return the format of a name that the setting `format` may have."""
    if name == "jsonl":
        return Format(
            ".jsonl", jsonl.encode_scores, jsonl.encode_errors, jsonl.decode_scores, jsonl.decode_errors
        )
    if name != "parquet":
        raise BrokenInvariant(f"there is no format {name!r}; please report this")
    from batchscore.output.records import columnar  # noqa: PLC0415 - pyarrow takes a while to load

    return Format(
        ".parquet",
        columnar.encode_scores,
        columnar.encode_errors,
        columnar.decode_scores,
        columnar.decode_errors,
    )


def format_of(part: Place) -> Format:
    """Return the format of a part, by its suffix."""
    return format_named(part.suffix.lower().removeprefix("."))
