"""Which rows failed, by error code? It reads a limited number of error records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from batchscore.report.page.gather import TimeLimit
from batchscore.report.page.model import FailedRow, Failures, FileAccount, PartAccount
from batchscore.report.page.read_parts import some_records
from batchscore.report.page.runs import is_number, mapping, text
from batchscore.stores.address import Place

#: Greatest numbers of error records, and of bytes of parts, that are read.
MOST_RECORDS = 50_000
MOST_BYTES = 64 * 2**20

#: Greatest number of rows that are shown for each code.
MOST_EXAMPLES = 30

LONGEST_MESSAGE = 400


def read_failures(folder: Place, task: str, files: Sequence[FileAccount], until: TimeLimit) -> Failures:
    """Return error records by code; parts that cannot be read are skipped."""
    total = sum(each.errors for each in files)
    by_code: Counter[str] = Counter()
    examples: dict[str, list[FailedRow]] = {}
    read = size = 0
    # The first part with errors of every file, then the second, and so on.
    parts = zip_longest(*([part for part in each.parts if part.errors] for each in files))
    for part in (part for turn in parts for part in turn if part is not None):
        if read >= MOST_RECORDS or size + part.error_bytes > MOST_BYTES or until.over:
            break
        size += part.error_bytes
        for record in error_records(folder / "errors" / task / part.name, part):
            code = text(mapping(record.get("error")).get("code")) or "unknown"
            read += 1
            by_code[code] += 1
            shown = examples.setdefault(code, [])
            if len(shown) < MOST_EXAMPLES:
                shown.append(failed_row(record))
    return Failures(read, total, dict(by_code.most_common()), examples)


def error_records(place: Place, part: PartAccount) -> list[Mapping[str, Any]]:
    """Return the error records of a part; none if it cannot be read."""
    columns = ("file", "row", "id", "error")
    try:
        return list(some_records(place, part.error_bytes, part.errors, part.errors, columns))
    except Exception:
        # A part may be missing or damaged in any way; `verify` reports that.
        return []


def failed_row(record: Mapping[str, Any]) -> FailedRow:
    """Return the fields of an error record that a page shows."""
    error = mapping(record.get("error"))
    row, file = record.get("row"), record.get("file")
    status, attempts, message = error.get("status"), error.get("attempts"), error.get("message")
    return FailedRow(
        file=file if isinstance(file, str) else "",
        row=int(row) if is_number(row) else -1,
        id=text(record.get("id")) or None,
        message=message[:LONGEST_MESSAGE] if isinstance(message, str) else "",
        status=int(status) if is_number(status) else None,
        attempts=int(attempts) if is_number(attempts) else 0,
    )
