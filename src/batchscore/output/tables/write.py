"""How do inputs and their results become one table? At the end of a run, or later by `merge`.

Every row of every input is in it, in order, also failed ones; rows without a record yet have no answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from batchscore.errors import UnreadableFile, count_text, setting_name
from batchscore.output.answer_columns import STATUS, AnswerColumns, answer_columns, free_names
from batchscore.output.fingerprint import recorded_schema
from batchscore.output.layout import Layout
from batchscore.output.one_file import replace_one_file
from batchscore.output.records.formats import TABLE_SUFFIXES
from batchscore.output.tables.files import check_fits, write_delimited, write_workbook
from batchscore.output.tables.sources import TableSource, joined_rows, table_inputs
from batchscore.prompts.cells import id_cell
from batchscore.prompts.columns import shorten_names
from batchscore.read.dialect import begin
from batchscore.read.formats import open_table
from batchscore.rows import Row, RowError, Settled
from batchscore.stores.address import Place


@dataclass(frozen=True, slots=True)
class TableStyle:
    """How csv and tsv are written: with a byte order mark, with texts that begin like a formula as they are.

    `limited`: only the rows that the run has read, since the user wanted no others. `name_files`: a column
    says which file a row is from.
    """

    csv_bom: bool = False
    allow_formulas: bool = False
    limited: bool = False
    name_files: bool = False


#: Inputs whose delimiter is compared with that of the table.
_MOST_LOOKED_AT = 10


@dataclass(frozen=True, slots=True)
class WrittenTable:
    """A table that was written: its number of rows, and the columns of bytes that it could not hold.

    `unanswered` rows have no record yet. `others` are the delimiters of csv inputs if this table is csv, too,
    and has another one. `guarded` cells got an apostrophe.
    """

    rows: int
    unanswered: int
    left_out: tuple[str, ...]
    others: tuple[str, ...] = ()
    guarded: int = 0

    @property
    def note(self) -> str:
        """What is said of columns that are not there, of the delimiter and of cells; empty for nothing."""
        said = [f"without {shorten_names(self.left_out)} (bytes that are not text)"] if self.left_out else []
        if self.others:
            names = ", ".join({"\t": "tab"}.get(each, each) for each in self.others)
            said.append(f"separated by commas, unlike the input ({names})")
        if self.guarded:
            said.append(
                f"written with an apostrophe in {count_text(self.guarded, 'cell')}, so that no spreadsheet "
                f"runs them as formulas ({setting_name('allow_formulas', True)} leaves it out)"
            )
        return ", ".join(said)


def is_table(file: Place | None) -> bool:
    """Whether the one file of an output is a table of the input with its answers, not of records alone."""
    return file is not None and file.suffix.lower() in TABLE_SUFFIXES


def write_table(
    layout: Layout,
    sources: Sequence[TableSource],
    destination: Place,
    style: TableStyle,
    *,
    sync: bool = False,
) -> WrittenTable:
    """Write the inputs with their results to one file, completely or not at all.

    Raises `OutputError` if a part is damaged or the file cannot be written, `InputError` if an input is not
    as it was scored.
    """
    fingerprint = next((source.manifest.fingerprint for source in sources), {})
    inputs = table_inputs(sources)
    columns = columns_of(inputs.columns, fingerprint, name_files=style.name_files)
    count = unanswered = guarded = 0

    def rows() -> Iterator[list[Any]]:
        nonlocal count, unanswered
        for source in inputs.sources:
            most = source.manifest.rows if style.limited else None
            for row, settled in joined_rows(layout, source, most=most):
                count += 1
                unanswered += settled is None
                yield columns.cells(row.file, row.values if isinstance(row, Row) else {}, settled)

    table: Iterable[list[Any]] = chain([columns.header], rows())
    suffix = destination.suffix.lower()
    with replace_one_file(layout.root, destination, sync=sync) as sink:
        if suffix == ".xlsx":
            write_workbook(sink, table, destination)
        else:
            guarded = write_delimited(
                sink,
                table,
                delimiter="\t" if suffix == ".tsv" else ",",
                bom=style.csv_bom,
                allow_formulas=style.allow_formulas,
            )
    others = _other_delimiters(inputs.sources[:_MOST_LOOKED_AT]) if suffix == ".csv" else ()
    return WrittenTable(count, unanswered, inputs.left_out, others, guarded)


def _other_delimiters(sources: Sequence[TableSource]) -> tuple[str, ...]:
    """Return the delimiters of csv inputs, if none has that of our own csv."""
    found: set[str] = set()
    for source in sources:
        if source.file.suffix == ".csv":
            with suppress(UnreadableFile):
                found.add(begin(source.file, source.options, ",")[0].delimiter)
    return () if "," in found else tuple(sorted(found))


def check_table(
    file: Place, sources: Sequence[TableSource], limit: int | None, *, name_files: bool = False
) -> None:
    """Raise `InputError` if a table cannot hold the first `limit` rows of these inputs.

    Only xlsx has limits of its own, and then the rows are read.
    """
    if file.suffix.lower() != ".xlsx":
        return
    fingerprint = sources[0].manifest.fingerprint if sources else {}
    inputs = table_inputs(sources)
    columns = columns_of(inputs.columns, fingerprint, name_files=name_files)
    # A sheet with a header fits into a sheet.
    fits_already = (
        len(sources) == 1 and sources[0].file.suffix == ".xlsx" and not sources[0].options.no_header
    )
    check_fits(file, columns.header, () if fits_already else islice(_cells(inputs.sources), limit))


def _cells(sources: Iterable[TableSource]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    for source in sources:
        with suppress(UnreadableFile):  # the run says why
            for row in open_table(source.file, source.options).rows:
                yield row.file, row.number, dict(row.values) if isinstance(row, Row) else {}


@dataclass(frozen=True, slots=True)
class TableColumns:
    """The columns of the input in its order, those of the answer, its status, and what else was recorded.

    `more` are fields of records that only some settings ask for. With `name_files` the first column names the
    file of each row. The column `id` shows the ids as records have them.
    """

    inputs: tuple[str, ...]
    answer: AnswerColumns
    more: tuple[str, ...] = ()
    name_files: bool = False
    id: str | None = None

    @property
    def header(self) -> list[str]:
        """The names, each different in any case: the input's stay, then those of the status."""
        inputs = free_names(self.inputs, ())
        first = ["file"] * self.name_files
        status = free_names((*first, *STATUS, *self.more), inputs)
        file, status = status[: len(first)], status[len(first) :]
        return [*file, *inputs, *free_names(self.answer.names, (*file, *inputs, *status)), *status]

    def cells(self, file: str, values: Mapping[str, Any], settled: Settled | None) -> list[Any]:
        """Return a row's cells: those of the input, and those of its result; without one they are empty."""
        cells = [file] * self.name_files + [values.get(name) for name in self.inputs]
        if self.id in self.inputs:
            cells[self.name_files + self.inputs.index(self.id)] = id_cell(values.get(self.id))
        if settled is None:
            return [*cells, *self.answer.cells(None), None, None, None, *([None] * len(self.more))]
        result = settled.result
        if isinstance(result, RowError):
            own = [*self.answer.cells(None), None, result.code.value, result.message]
        else:
            own = [*self.answer.cells(result.value), result.finish_reason, None, None]
        more = [
            settled.truncated if name == "truncated" else getattr(result, name, None) for name in self.more
        ]
        return [*cells, *own, *more]


def columns_of(
    inputs: Iterable[str], fingerprint: Mapping[str, Any], *, name_files: bool = False
) -> TableColumns:
    """Return the columns of a table whose records were made with these settings."""
    many = fingerprint.get("params", {}).get("n", 1) != 1
    asked = {
        "truncated": fingerprint.get("on_long_input") == "truncate",
        "usage": fingerprint.get("usage"),
        "raw": fingerprint.get("raw"),
    }
    return TableColumns(
        tuple(dict.fromkeys(inputs)),
        answer_columns(recorded_schema(fingerprint), many=many),
        tuple(name for name, wanted in asked.items() if wanted),
        name_files,
        fingerprint.get("id"),
    )
