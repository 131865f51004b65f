"""Which formats may records have, and which functions write and read them?

pyarrow is loaded only for a format that needs it: JSON Lines starts faster without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from batchscore.errors import UsageError
from batchscore.output.records import jsonl
from batchscore.output.records.schema import RecordSchema
from batchscore.rows import Settled
from batchscore.stores.address import Place
from batchscore.task import TASKS

Encode = Callable[[Sequence[Settled], RecordSchema], bytes | Iterable[bytes]]
Decode = Callable[[Place, RecordSchema], Iterator[Settled]]

#: The suffixes of one file of score records, of one table of inputs with their answers, and of both.
RECORD_SUFFIXES = (".jsonl", ".parquet", ".arrow")
TABLE_SUFFIXES = (".csv", ".tsv", ".xlsx")
FILE_SUFFIXES = (*RECORD_SUFFIXES, *TABLE_SUFFIXES)


def suffixes_text(suffixes: Sequence[str] = FILE_SUFFIXES) -> str:
    """Return suffixes for a message."""
    return f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"


def refuse_vectors(task: str, file: Place) -> None:
    """Raise `UsageError` if the scores of a task are vectors, and the file is a table."""
    suffix = file.suffix.lower()
    if TASKS[task].answer == "vector" and suffix in TABLE_SUFFIXES:
        raise UsageError(
            f"{file}: {suffix} cannot hold the vectors of {task}. Give the name of a folder, or of one file "
            f"ending in {suffixes_text(RECORD_SUFFIXES)}."
        )


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
