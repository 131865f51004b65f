"""Which formats may records have, and which functions write and read them?

pyarrow is loaded only for a format that needs it: JSON Lines starts faster without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from batchscore.output.records import jsonl
from batchscore.output.records.schema import RecordSchema
from batchscore.rows import Settled
from batchscore.stores.address import Place

Encode = Callable[[Sequence[Settled], RecordSchema], bytes | Iterable[bytes]]
Decode = Callable[[Place, RecordSchema], Iterator[Settled]]

#: The suffixes that a single file of scores may have.
FILE_SUFFIXES = (".jsonl", ".parquet", ".arrow")
SUFFIXES_TEXT = f"{', '.join(FILE_SUFFIXES[:-1])} or {FILE_SUFFIXES[-1]}"


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
    module: Any = jsonl
    if name != "jsonl":
        from batchscore.output.records import columnar as module  # noqa: PLC0415 - pyarrow loads slowly
    return Format(
        f".{name}", module.encode_scores, module.encode_errors, module.decode_scores, module.decode_errors
    )


def format_of(part: Place) -> Format:
    """Return the format of a part, by its suffix."""
    return format_named(part.suffix.lower().removeprefix("."))
