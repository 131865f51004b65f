"""A table of the input and its answers: its columns, and cells that no program runs or changes."""

# Cells have no time zone.
# ruff: noqa: DTZ001

from __future__ import annotations

import csv
import datetime as dt
import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.errors import ErrorCode, InputError, OutputError
from batchscore.output.answer_columns import STATUS, answer_columns
from batchscore.output.fingerprint import shown_fingerprint
from batchscore.output.layout import Layout
from batchscore.output.manifest import Manifest
from batchscore.output.tables.files import (
    MOST_COLUMNS,
    MOST_ROWS,
    check_fits,
    without_formula,
    write_delimited,
    write_workbook,
)
from batchscore.output.tables.sources import TableSource, sources_of, table_inputs
from batchscore.output.tables.write import check_table, columns_of
from batchscore.prompts.cells import id_text
from batchscore.read.files import find_files
from batchscore.read.formats import open_table
from batchscore.read.input_file import ReadOptions
from batchscore.rows import RowError, Score, Settled
from batchscore.stores.storage import replace_file
from tickets import closed


def written_csv(path: Path, rows: Sequence[Sequence[Any]], **style: Any) -> list[list[str]]:
    options = {"delimiter": ",", "bom": False, "allow_formulas": False} | style
    with replace_file(path) as sink:
        write_delimited(sink, rows, **options)
    with path.open(encoding="utf-8-sig" if options["bom"] else "utf-8", newline="") as file:
        return [*csv.reader(file, delimiter=options["delimiter"], strict=True)]


def written_xlsx(path: Path, rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    with replace_file(path) as sink:
        write_workbook(sink, rows, path)
    return [list(cells) for cells in openpyxl.load_workbook(path).active.iter_rows()]


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t1", "\r1", "\n1", "\uff1d1", "-", "+", "-2 apples", "- item",
     "+49 170 1", "=", "-1e", "--1"],
)  # fmt: skip
def test_a_text_that_begins_like_a_formula_gets_an_apostrophe(text: str) -> None:
    assert without_formula(text) == f"'{text}"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("a;=1", "a;'=1"),
        ("a\t@b", "a\t'@b"),
        ('a;"=1;-b', "a;\"'=1;'-b"),
        ("a\n=1", "a\n'=1"),
        ("a\n+cmd|x", "a\n'+cmd|x"),
        ("\n=1", "'\n'=1"),
        ("=a;=b", "'=a;'=b"),
        ("a;-2+cmd", "a;'-2+cmd"),
        ("a;- cmd", "a;'- cmd"),
    ],
)
def test_a_formula_after_a_split_gets_an_apostrophe(text: str, safe: str) -> None:
    assert without_formula(text) == safe


@pytest.mark.parametrize("text", ["1;-2;+3.5", "list:\n- one\n- two\n---\n-5\n", "a; =b", "a,=b", "a|-b"])
def test_lists_and_numbers_stay_as_they_are(text: str) -> None:
    assert without_formula(text) == text


@pytest.mark.parametrize(
    "text", ["", "a", "-1", "+1", "-1.5", "-.5", "1e-5", "-2.5E+10", "+491701", "'=1", " =1"]
)
def test_numbers_and_other_texts_stay_as_they_are(text: str) -> None:
    assert without_formula(text) == text


def test_cells_with_an_apostrophe_are_counted(tmp_path: Path) -> None:
    rows = [["a", "=b"], ["=1", "-5"], [None, "x;=1;@2"], ["=1", "a\n- item"]]
    for allow, count in ((False, 4), (True, 0)):
        with replace_file(tmp_path / "a.csv") as sink:
            assert write_delimited(sink, rows, delimiter=",", bom=False, allow_formulas=allow) == count


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8")), min_size=2, max_size=2), max_size=5))
def test_every_text_is_read_back_from_csv_and_tsv(
    tmp_path_factory: pytest.TempPathFactory, rows: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    for style in ({}, {"delimiter": "\t", "bom": True}):
        assert written_csv(path, rows, allow_formulas=True, **style) == rows
        assert written_csv(path, rows, **style) == [[without_formula(cell) for cell in row] for row in rows]


def test_csv_is_as_the_rfc_says_and_cells_that_are_no_text_are_json(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    cells = [
        None,
        1,
        2.5,
        True,
        float("nan"),
        {"a": [1, None]},
        dt.date(2026, 1, 5),
        Decimal("1.50"),
        "\ud800",
    ]
    rows = [["a", 'b "c"', "d,e", "f\ng", " h ", "i;j", "k\tl", "m|n", "o p"], cells]
    assert written_csv(path, rows)[1] == [
        "",
        "1",
        "2.5",
        "true",
        "",
        '{"a":[1,null]}',
        "2026-01-05",
        "1.50",
        "�",
    ]
    assert path.read_bytes().startswith(
        b'a,"b ""c""","d,e","f\ng"," h ","i;j","k\tl","m|n",o p\r\n,1,2.5,true'
    )
    written_csv(path, [["ä", "\ud800"]], bom=True)
    assert path.read_bytes() == b"\xef\xbb\xbf\xc3\xa4,\xef\xbf\xbd\r\n"


def test_xlsx_keeps_numbers_dates_and_texts_and_has_no_formula_and_no_link(tmp_path: Path) -> None:
    cells = [
        *("=1+1", "http://a.example", "007", "1e5", "TRUE", "\x00\x0b", "_x0041_", " a ", "a\r\nb"),
        *(None, "", 7, -2.5, True, 10**17, float("inf"), Decimal("1.5"), {"a": 1}),
        *(dt.date(2026, 1, 5), dt.datetime(2026, 1, 5, 10, 30), dt.time(9, 5), dt.date(1850, 1, 1)),
        dt.datetime(2026, 1, 5, tzinfo=dt.timezone.utc),
    ]
    (found,) = written_xlsx(tmp_path / "a.xlsx", [cells])
    assert not [cell for cell in found if cell.data_type == "f" or cell.hyperlink]
    assert [cell.value for cell in found] == [
        *("=1+1", "http://a.example", "007", "1e5", "TRUE", "_x0000__x000B_", "_x005F_x0041_", " a ", "a\nb"),
        *(None, None, 7, -2.5, True, "100000000000000000", None, 1.5, '{"a":1}'),
        *(dt.datetime(2026, 1, 5), dt.datetime(2026, 1, 5, 10, 30), dt.time(9, 5), "1850-01-01"),
        "2026-01-05T00:00:00+00:00",
    ]


def test_a_cell_holds_as_many_utf_16_units_as_excel_takes(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    for text in ("x" * 32_767, "🚋" * 16_383):
        assert written_xlsx(path, [[text]])[0][0].value == text
    before = path.read_bytes()
    for text in ("x" * 32_768, "🚋" * 16_384):
        with pytest.raises(OutputError, match="in row 2 the cell of column 1 has more than 32,767"):
            written_xlsx(path, [["a"], [text]])
        with pytest.raises(InputError, match=r"a.csv, row 3: its cell in column 'body' has more than 32,767"):
            check_fits(Path("out.xlsx"), ["body"], [("a.csv", 3, {"body": text})])
        with pytest.raises(
            InputError, match=r"the name of its column 2, '.{20,40}' …, would have more than 32,767"
        ):
            check_fits(Path("out.xlsx"), ["id", text], [])
    # A line ends with LF alone in a cell.
    check_fits(Path("out.xlsx"), ["a\r\n" * 12_000], [("a.csv", 3, {"body": "a\r\n" * 12_000})])
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["a.xlsx"]


def test_the_latest_run_that_was_to_read_a_file_says_where_it_is(tmp_path: Path) -> None:
    def run(name: str, base: str, files: list[str], earlier: list[str]) -> None:
        (tmp_path / base).mkdir()
        (tmp_path / base / "a.jsonl").write_text("{}")
        entries = [[{"file": file, "state": "partial"} for file in names] for names in (files, earlier)]
        record = {"settings": {"task": "chat"}, "base": str(tmp_path / base), "files": entries[0]}
        (tmp_path / "out" / "runs" / f"{name}.json").write_text(json.dumps({**record, "earlier": entries[1]}))

    (tmp_path / "out" / "runs").mkdir(parents=True)
    run("20260105T103000Z", "first", ["a.jsonl"], [])
    run("20260105T103000Z-0001", "second", ["a.jsonl"], [])
    run("20260105T103000Z-0002", "other", [], ["a.jsonl"])
    (tmp_path / "out" / "runs" / "20260105T103000Z-0003.json").write_text("{")
    (source,) = sources_of(Layout(tmp_path / "out", "chat", ""), [Manifest("a.jsonl", "chat", {})], None)
    assert source.file.path == tmp_path / "second" / "a.jsonl"


def test_only_the_rows_that_are_written_must_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"id,text\n1,short\n2,{'x' * 32_768}\n")
    file, options = find_files([str(path)]).files[0], ReadOptions()
    source = TableSource(file, options, Manifest("a.csv", "chat", {}))
    check_table(tmp_path / "out.xlsx", [source], 1)
    for limit in (2, None):
        with pytest.raises(InputError, match="row 1: its cell in column 'text'"):
            check_table(tmp_path / "out.xlsx", [source], limit)


def test_a_machine_without_a_temporary_folder_is_an_error_of_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", missing)
    with pytest.raises(OutputError, match="no folder for temporary files: set TMPDIR"):
        written_xlsx(tmp_path / "a.xlsx", [["a"]])


@pytest.mark.slow
def test_rows_and_columns_that_no_sheet_holds_are_refused() -> None:
    def rows(count: int) -> Iterator[tuple[str, int, dict[str, Any]]]:
        return (("a.csv", number, {"n": 1}) for number in range(count))

    check_fits(Path("out.xlsx"), ["n"], rows(MOST_ROWS - 1))
    with pytest.raises(InputError, match="holds 1,048,575 rows below its header, and the input has more"):
        check_fits(Path("out.xlsx"), ["n"], rows(MOST_ROWS))
    with pytest.raises(InputError, match="holds 16,384 columns, and the table would have 16,385"):
        check_fits(Path("out.xlsx"), ["n"] * (MOST_COLUMNS + 1), [])


def test_the_answer_is_one_column_or_one_for_each_field_of_the_schema() -> None:
    scored = Settled("a", 0, Score("yes", "stop"))
    failed = Settled("a", 1, RowError(ErrorCode.EMPTY_INPUT, "why"))
    plain = columns_of(["id", "text"], {"on_long_input": "error"})
    assert plain.header == ["id", "text", "answer", "finish_reason", "error_code", "error_message"]
    assert plain.cells("a.csv", {"id": "1", "text": "a"}, scored) == ["1", "a", "yes", "stop", None, None]
    assert plain.cells("a.csv", {"id": "2"}, failed) == ["2", None, None, None, "empty_input", "why"]
    assert plain.cells("a.csv", {"id": "3"}, None) == ["3", None, None, None, None, None]
    schema = closed(topic={}, id={})
    typed = columns_of(["id"], {"schema": schema, "usage": True, "on_long_input": "truncate"})
    assert typed.header == [
        *("id", "topic", "id_1", "finish_reason", "error_code", "error_message", "truncated", "usage")
    ]
    answered = Settled(
        "a", 0, Score({"topic": "x", "id": 5}, "stop", usage={"total_tokens": 3}), truncated=True
    )
    assert typed.cells("a.csv", {"id": "1"}, answered) == [
        "1",
        "x",
        5,
        "stop",
        None,
        None,
        True,
        {"total_tokens": 3},
    ]
    assert typed.cells("a.csv", {"id": "1"}, failed)[1:5] == [None, None, None, "empty_input"]
    several = columns_of(["id"], {"schema": schema, "params": {"n": 2}})
    assert several.header[1] == "answer"
    refused = Settled("a", 0, Score(None, "refusal"))
    assert typed.cells("a.csv", {"id": "1"}, refused)[1:4] == [None, None, "refusal"]


CLOSED = closed(a={}, b={})


@pytest.mark.parametrize(
    ("schema", "names"),
    [
        (CLOSED, ["a", "b"]),
        ({"$ref": "#/$defs/N", "$defs": {"N": {"$ref": "#/$defs/M"}, "M": CLOSED}}, ["a", "b"]),
        ({**CLOSED, "type": ["object", "null"]}, ["a", "b", "answer"]),
        ({**CLOSED, "additionalProperties": True}, ["a", "b", "answer"]),
        ({**CLOSED, "patternProperties": {"^x": {}}}, ["a", "b", "answer"]),
        ({"properties": CLOSED["properties"], "additionalProperties": False}, ["a", "b", "answer"]),
        ({"type": "object", "properties": {"answer": {}}}, ["answer", "answer"]),
        ({"$ref": "#/$defs/N", **CLOSED, "$defs": {"N": {"type": "object"}}}, ["a", "b", "answer"]),
        ({"$ref": "#"}, ["answer"]),
        (
            {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}},
            ["answer"],
        ),
        ({"$ref": "#/$defs/nowhere"}, ["answer"]),
        ({"$ref": ["#"]}, ["answer"]),
        *(({"type": kind}, ["answer"]) for kind in ("object", "array", "string")),
        ({"anyOf": [CLOSED, {"type": "string"}]}, ["answer"]),
        ({"enum": ["a", "b"]}, ["answer"]),
        ({"type": "object", "properties": {}}, ["answer"]),
        (None, ["answer"]),
    ],
)
def test_every_answer_has_a_place_whatever_the_schema_is(schema: Any, names: list[str]) -> None:
    columns = answer_columns(schema, many=False)
    assert columns.names == names
    whole: Any
    for whole in ({"a": 1, "b": None, "c": 2}, [1], "text", 5, False):
        if names[-1] == "answer":
            assert columns.cells(whole)[-1] == whole
    assert columns.cells(None) == [None] * len(names)
    if len(names) == 3:
        assert columns.cells({"a": 1}) == [1, None, None]
        assert columns.cells({"a": 1, "c": 2}) == [1, None, {"a": 1, "c": 2}]
        assert columns.cells([1]) == [None, None, [1]]


def test_a_column_of_the_input_keeps_its_name_then_the_status_then_the_fields() -> None:
    plain = columns_of(("Answer", "answer_1", "error_code"), {})
    assert plain.header == [
        *("Answer", "answer_1", "error_code", "answer_2", "finish_reason", "error_code_1", "error_message")
    ]
    schema = {"properties": dict.fromkeys(["finish_reason", "answer", "Usage", "a", "A", "text_1", "text"])}
    found = columns_of(("text",), {"schema": schema, "usage": True})
    assert found.header == [
        *("text", "finish_reason_1", "answer", "Usage_1", "a", "A_1", "text_1", "text_2", "answer_1"),
        *("finish_reason", "error_code", "error_message", "usage"),
    ]


def test_the_first_column_names_the_file_of_each_row_if_there_are_several() -> None:
    columns = columns_of(("id",), {}, name_files=True)
    assert columns.header == ["file", "id", "answer", *STATUS]
    assert columns.cells("in/a.csv", {"id": "1"}, None) == ["in/a.csv", "1", None, None, None, None]
    schema = closed(file={}, x={})
    taken = columns_of(("File", "file_1"), {"schema": schema}, name_files=True)
    assert taken.header == ["file_2", "File", "file_1", "file_3", "x", *STATUS]


@pytest.mark.parametrize("name_files", [False, True])
def test_the_ids_in_a_table_are_those_of_the_records(tmp_path: Path, *, name_files: bool) -> None:
    columns = columns_of(("size", "number"), {"id": "number"}, name_files=name_files)
    ids = [60.0, 2.0**53, 60.5, None, float("nan"), "007", 8]
    rows = [columns.cells("a.parquet", {"size": 60.0, "number": each}, None) for each in ids]
    place = columns.header.index("number")
    found = written_csv(tmp_path / "a.csv", [columns.header, *rows])[1:]
    assert [each[place] for each in found] == [id_text(each) or "" for each in ids]
    assert {each[place - 1] for each in found} == {"60.0"}, "only ids change"


def test_columns_of_bytes_are_left_out_unless_they_are_text(tmp_path: Path) -> None:
    picture = b"\x89PNG\r\n"
    rows = [
        {"id": b"first", "photo": None, "nested": {"bytes": None}, "late": None, "list": [b"a"]},
        {"id": b"second", "photo": picture, "nested": {"bytes": picture}, "late": b"x", "list": [picture]},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (tmp_path / "b.csv").write_text("id,photo\n3,c.png\n")
    files = find_files([str(tmp_path)]).files
    sources = [TableSource(each, ReadOptions(), Manifest(each.name, "chat", {})) for each in files]
    both, alone = table_inputs(sources), table_inputs(sources[:1])
    assert (alone.columns, alone.left_out) == (("id", "late"), ("photo", "nested", "list"))
    assert (both.columns, both.left_out) == (("id", "late", "photo"), ("nested", "list"))
    found = [row.values for row in open_table(both.sources[0].file, both.sources[0].options).rows]
    assert found == [{"id": b"first", "late": None}, {"id": b"second", "late": b"x"}]


def test_answers_are_found_if_a_record_of_the_settings_hides_the_name_of_a_field() -> None:
    key = "sk-proj-1234567890abcdef"
    for schema, names in (
        (closed(api_key={"type": "string"}, token={"format": "uuid"}), ["api_key", "token"]),
        (closed(x={"type": "object", "properties": {key: {}}}), ["answer"]),
        (closed(**{key: {}}), ["answer"]),
    ):
        fingerprint = shown_fingerprint({"schema": schema})
        assert key not in str(fingerprint)
        assert columns_of((), fingerprint).answer.names == names
