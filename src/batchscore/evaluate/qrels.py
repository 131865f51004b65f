"""Which documents are relevant to which query, and how much?

It reads TREC's files (query, iteration, document, relevance, without a head), those of BEIR and MTEB
(`query-id`, `corpus-id`, `score`), and tables with such columns. It knows no rankings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice

from batchscore.errors import InputError
from batchscore.evaluate.fold import number_of, text_of
from batchscore.evaluate.labels import LabelFile
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
    for number, (query, document, relevance) in enumerate(_triples(named, options or ReadOptions()), 1):
        name, other, value = text_of(query), text_of(document), number_of(text_of(relevance))
        if name is None or other is None or value is None or value != int(value):
            raise InputError(
                f"{named}, entry {number:,}: a query, a document and a whole number as relevance are needed."
            )
        judged = by_query.setdefault(name, {})
        if other in judged:
            duplicates += 1
            if judged[other] != value:
                conflicts.setdefault(name, f"{named}, entry {number:,}")
            continue
        judged[other] = int(value)
    if not by_query:
        raise InputError(f"{named} has no relevances.")
    labels: dict[str, object] = dict(by_query)
    labels.update(dict.fromkeys(conflicts))
    return LabelFile(named, on, labels, duplicates, conflicts)


def _triples(named: str, options: ReadOptions) -> Iterator[_Triple]:
    if _is_of_trec(named):
        text = b"".join(storage.chunks(place_of(named))).decode("utf-8", "replace")
        for line in text.splitlines():
            fields = line.split()
            if fields:
                yield (fields[0], fields[2], fields[3]) if len(fields) == 4 else (None, None, None)
        return
    for file in find_files([named]).files:
        with open_rows(file, options) as table:
            query, document, relevance = (
                _column(table.columns, names) for names in (_QUERY, _DOCUMENT, _RELEVANCE)
            )
            if query is None or document is None:
                raise InputError(
                    f"{named} has the columns {', '.join(table.columns) or '(none)'}. Name them query-id, "
                    "corpus-id and score, or write lines of TREC: query, 0, document, relevance."
                )
            for row in table.rows:
                values = row.values if isinstance(row, Row) else {}
                judged = 1 if relevance is None else values.get(relevance)
                yield values.get(query), values.get(document), judged


def _column(columns: Iterable[str], names: Collection[str]) -> str | None:
    return next((each for each in columns if each.strip().lower().replace("-", "_") in names), None)


def _is_of_trec(named: str) -> bool:
    """Whether the first lines have four fields without a head, the last of them a whole number."""
    place = place_of(named)
    if not storage.exists(place) or storage.is_folder(place):
        return False
    head = b""
    for chunk in storage.chunks(place):
        head += chunk
        if len(head) >= _HEAD_BYTES:
            break
    lines = [line.split() for line in head.splitlines() if line.strip()]
    return bool(lines) and all(
        len(fields) == 4 and fields[3].lstrip(b"-").isdigit() for fields in islice(lines, 5)
    )
