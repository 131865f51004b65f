"""Which documents are relevant to which query, and how much?

It reads TREC's files (query, iteration, document, relevance, without a head), those of BEIR and MTEB
(`query-id`, `corpus-id`, `score`), and tables with such columns. It knows no rankings.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Collection, Iterable, Iterator

from batchscore.errors import InputError, count_text
from batchscore.evaluate.fold import number_of, text_of
from batchscore.evaluate.labels import LabelFile, is_named_as_file, with_first_row
from batchscore.read.files import find_files
from batchscore.read.formats import open_rows
from batchscore.read.input_file import ReadOptions
from batchscore.rows import Row
from batchscore.stores import storage
from batchscore.stores.address import place_of

#: Names of the columns, in any case and with `-` or `_`.
_QUERY = frozenset({"query_id", "query", "qid", "topic", "topic_id", "q_id"})
_DOCUMENT = frozenset(
    {"corpus_id", "doc_id", "docid", "document_id", "document", "docno", "passage_id", "pid"}
)
_RELEVANCE = frozenset({"score", "relevance", "rel", "label", "relevance_score"})

#: How much of a file is read to find out whether it is one of TREC.
_HEAD_BYTES = 1 << 16

_Triple = tuple[object, object, object]


def read_qrels(named: str, on: str, options: ReadOptions | None = None) -> LabelFile:
    """Read relevances; the label of a query is an object of documents and relevances. `on`: column of ids.

    Raises `InputError` if columns are missing or a relevance is not a whole number.
    """
    by_query: dict[str, dict[str, int]] = {}
    duplicates, conflicts = 0, dict[str, str]()
    for place, (query, document, relevance) in _triples(named, options or ReadOptions()):
        name, other, value = text_of(query), text_of(document), number_of(text_of(relevance))
        if name is None or other is None:
            what = "query" if name is None else "document"
            raise InputError(f"{with_first_row(place)}: the {what} is missing.")
        if value is None or value != int(value):
            raise InputError(f"{with_first_row(place)}: the relevance is not a whole number, such as 0 or 1.")
        judged = by_query.setdefault(name, {})
        if other in judged:
            duplicates += 1
            if judged[other] != value:
                conflicts.setdefault(name, place)
            continue
        judged[other] = int(value)
    if not by_query:
        raise InputError(f"{named} has no rows of relevances.")
    labels: dict[str, object] = dict(by_query)
    labels.update(dict.fromkeys(conflicts))
    return LabelFile(named, on, labels, duplicates, conflicts)


def _triples(named: str, options: ReadOptions) -> Iterator[tuple[str, _Triple]]:
    """Yield queries, documents and relevances, each with its place in words."""
    if _is_of_trec(named):
        data = _unpacked(named, b"".join(storage.chunks(place_of(named))), is_whole=True)
        text = data.decode("utf-8-sig", "replace")
        for number, line in enumerate(text.split("\n"), 1):
            fields, place = line.split(), f"{named}, line {number:,}"
            if len(fields) == 4:
                yield place, (fields[0], fields[2], fields[3])
            elif fields:
                raise InputError(
                    f"{place} has {count_text(len(fields), 'field')}. The lines of TREC have four, separated "
                    "by blanks: query, 0, document, relevance."
                )
        return
    for file in find_files([named]).files:
        with open_rows(file, options) as table:
            query, document, relevance = (
                _column(table.columns, names) for names in (_QUERY, _DOCUMENT, _RELEVANCE)
            )
            if not table.columns:
                raise InputError(f"{file.name} is empty.")
            if query is None or document is None:
                raise InputError(
                    f"{named} has the columns {', '.join(table.columns) or '(none)'}. Name them query-id, "
                    "corpus-id and score, or write lines of TREC: query, 0, document, relevance."
                )
            for row in table.rows:
                place = f"{file.name}, row {row.number:,}"
                if not isinstance(row, Row):
                    raise InputError(f"{with_first_row(place)} cannot be read: {row.error.message}")
                judged = 1 if relevance is None else row.values.get(relevance)
                yield place, (row.values.get(query), row.values.get(document), judged)


def _unpacked(named: str, data: bytes, *, is_whole: bool) -> bytes:
    """Return data, decompressed if it is of gzip."""
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        return gzip.decompress(data) if is_whole else zlib.decompressobj(31).decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{named} is damaged, or breaks off. Compress it with gzip again.") from error


def _column(columns: Iterable[str], names: Collection[str]) -> str | None:
    return next((each for each in columns if each.strip().lower().replace("-", "_") in names), None)


def _is_of_trec(named: str) -> bool:
    """Whether the first line has four fields, the last a whole number, or the suffix is of no table."""
    place = place_of(named)
    if not storage.exists(place) or storage.is_folder(place):
        return False
    if not is_named_as_file(named):
        return True
    head = b""
    for chunk in storage.chunks(place):
        head += chunk
        if len(head) >= _HEAD_BYTES:
            break
    head = _unpacked(named, head, is_whole=False)
    fields = next((found for line in head.splitlines() if (found := line.split())), [])
    return len(fields) == 4 and fields[3].lstrip(b"-").isdigit()
