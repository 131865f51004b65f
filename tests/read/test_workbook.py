"""An xlsx sheet is read as people see it."""

# Cells have no time zone.
# ruff: noqa: DTZ001

from __future__ import annotations

import datetime as dt
import io
import re
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import xlsxwriter
from hypothesis import given
from hypothesis import strategies as st
from openpyxl.xml.constants import SHEET_MAIN_NS
from read_samples import input_file, outcome, written

from batchscore.output.tables.files import write_workbook
from batchscore.read.formats import stated_rows
from batchscore.read.input_file import ReadOptions
from batchscore.stores import storage


def workbook(path: Path, rows: Sequence[Sequence[Any]], *, merged: str = "", formats: Any = ()) -> Path:
    """Write the first sheet, Tickets, and a second one, Other."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Tickets"
    for row in rows:
        sheet.append(row)
    for cell, number_format in formats:
        sheet[cell].number_format = number_format
    if merged:
        sheet.merge_cells(merged)
    book.create_sheet("Other").append(["text"])
    book["Other"].append(["there"])
    book.save(path)
    return path


def test_dates_numbers_and_texts_are_as_people_see_them(tmp_path: Path) -> None:
    header = ["id", "text", "price", "day", "at", "time", "zip", "ok"]
    day, point = dt.date(2026, 1, 5), dt.datetime(2026, 1, 5, 10, 30)
    midnight = dt.datetime(2026, 1, 5)
    row = ["007", "a\nb", 0.1 + 0.2, day, point, dt.time(9, 5), 1234, True]
    other = ["8", "b", 3.0, None, midnight, None, 7, False]
    codes = [("G2", "00000"), ("G3", "00000")]
    found = outcome(workbook(tmp_path / "a.xlsx", [header, row, other], formats=codes))
    assert found.problem is None
    assert found.columns == tuple(header)
    assert found.text_columns == ("id", "text", "zip")
    assert found.cells == [
        dict(zip(header, [*row[:2], 0.3, *row[3:6], "01234", True], strict=True)),
        dict(zip(header, ["8", "b", 3, None, midnight, None, "00007", False], strict=True)),
    ]
    assert type(found.cells[1]["price"]) is int
    assert found.notes == ("sheet 'Tickets', the first one",)
    assert stated_rows(input_file(tmp_path / "a.xlsx"), ReadOptions()) == 2


@pytest.mark.parametrize(
    ("value", "form", "shown"),
    [
        (dt.timedelta(days=1, hours=6, minutes=5), "[h]:mm:ss", "30:05:00"),
        (dt.timedelta(hours=6, minutes=5), "[HH]:MM", "06:05"),
        (dt.timedelta(minutes=90, seconds=3, milliseconds=460), "[mm]:ss.0", "90:03.5"),
        (dt.timedelta(minutes=2), '[s]" s";@', "120 s"),
        (dt.timedelta(hours=-30), "[h]:mm:ss", "-30:00:00"),
        (1.0, "[h]:mm:ss", "24:00:00"),
        (dt.datetime(2026, 1, 5, 10, 30), "DD.MM.YYYY", dt.date(2026, 1, 5)),
        (dt.datetime(2026, 1, 5), "mmmm", dt.date(2026, 1, 5)),
        (dt.datetime(2026, 1, 5, 10, 30), '[Red]hh:mm" today"', dt.time(10, 30)),
        (dt.datetime(2026, 1, 5, 10, 30), "[$-409]m/d/yy h:mm AM/PM;@", dt.datetime(2026, 1, 5, 10, 30)),
        (dt.datetime(2026, 1, 5, 9, 8, 0, 600_000), "d.m.yy h:mm:ss", dt.datetime(2026, 1, 5, 9, 8, 1)),
        (dt.time(9, 5, 0, 1000), "h:mm:ss", dt.time(9, 5)),
        (dt.time(9, 5, 0, 1000), "mm:ss.000", dt.time(9, 5, 0, 1000)),
        (0, "yyyy-mm-dd", "1900-01-00"),
        (0.5, "yyyy-mm-dd hh:mm", "1900-01-00T12:00:00"),
        (1.25, "h:mm", dt.time(6)),
        (1, "yyyy-mm-dd", dt.date(1900, 1, 1)),
        (59, "yyyy-mm-dd", dt.date(1900, 2, 28)),
        (60, "yyyy-mm-dd", "1900-02-29"),
        (60.5, "yyyy-mm-dd hh:mm", "1900-02-29T12:00:00"),
        (60.5, "hh:mm", dt.time(12)),
        (59.999999, "yyyy-mm-dd hh:mm:ss", "1900-02-29T00:00:00"),
        (61, "yyyy-mm-dd", dt.date(1900, 3, 1)),
        (dt.datetime(9999, 12, 31, 23, 59, 59, 900_000), "yyyy-mm-dd", dt.date(9999, 12, 31)),
        (1e9, "yyyy-mm-dd", "#VALUE!"),
        (12345678, r"000\-00\-0000", "012-34-5678"),
        (1234567890, '00000"-"0000', "123456-7890"),
        (-7, "000", "-007"),
        (7, "0.00", 7),
        (0.25, "0%", 0.25),
        (12.5, '#,##0.00 "€"', 12.5),
        (True, "General", True),
    ],
)  # fmt: skip
def test_a_format_says_what_people_see(tmp_path: Path, value: Any, form: str, shown: Any) -> None:
    path = workbook(tmp_path / "a.xlsx", [["a"], [value]], formats=[("A2", form)])
    (found,) = outcome(path).cells
    assert (type(found["a"]), found["a"]) == (type(shown), shown)


def test_dates_that_are_counted_from_1904(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.epoch = openpyxl.utils.datetime.MAC_EPOCH
    for row, value in enumerate(("a", 0, 0.5, 60, 366), 1):
        book.active.cell(row, 1, value).number_format = "yyyy-mm-dd"
    book.save(tmp_path / "a.xlsx")
    days = [dt.date(1904, 1, 1), dt.date(1904, 1, 1), dt.date(1904, 3, 1), dt.date(1905, 1, 1)]
    assert [row["a"] for row in outcome(tmp_path / "a.xlsx").cells] == days


def test_errors_and_texts_in_several_fonts_are_as_people_see_them(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", [["a", "b", "c"], ["#N/A", "x", "#DIV/0!"]])
    sheet = zipfile.ZipFile(path).read("xl/worksheets/sheet1.xml")
    rich = b'<c r="B2" t="inlineStr"><is><r><t>two </t></r><r><rPr><b/></rPr><t>fonts</t></r></is></c>'
    formula = b'<c r="C2" t="str"><f>A1</f><v>saved</v></c>'
    sheet = re.sub(rb'<c r="B2".*?</c>', rich, sheet)
    sheet = re.sub(rb'<c r="C2".*?</c>', formula, sheet)
    path.write_bytes(broken(path.read_bytes(), sheet1=sheet))
    assert outcome(path).cells == [{"a": "#N/A", "b": "two fonts", "c": "saved"}]


@pytest.mark.parametrize(
    ("written", "form", "shown"),
    [
        (b"501.0", "00000", "00501"),
        (b"5.02E2", "00000", "00502"),
        (b"-7.0", "000", "-007"),
        (b"123456789.0", r"000\-00\-0000", "123-45-6789"),
        (b"501.5", "00000", 501.5),
        (b"501.0", "0.00", 501),
        (b"45000.0", "yyyy-mm-dd", dt.date(2023, 3, 15)),
        (b"1.0", "0%", 1),
    ],
)
def test_a_number_is_the_same_whether_it_is_written_whole_or_not(
    tmp_path: Path, written: bytes, form: str, shown: Any
) -> None:
    path = workbook(tmp_path / "a.xlsx", [["a"], [8]], formats=[("A2", form)])
    sheet = zipfile.ZipFile(path).read("xl/worksheets/sheet1.xml")
    path.write_bytes(broken(path.read_bytes(), sheet1=sheet.replace(b"<v>8</v>", b"<v>%s</v>" % written)))
    (found,) = outcome(path).cells
    assert (type(found["a"]), found["a"]) == (type(shown), shown)


def shared(path: Path, texts: Sequence[str], *, raw: bytes = b"") -> Path:
    """Write a column of texts that cells share; `raw` is the XML of one more, in the last cell."""
    book = xlsxwriter.Workbook(path)
    sheet = book.add_worksheet()
    for row, text in enumerate(["text", *texts, *(["RAW"] if raw else [])]):
        sheet.write_string(row, 0, text)
    book.close()
    part = zipfile.ZipFile(path).read("xl/sharedStrings.xml").replace(b"<si><t>RAW</t></si>", raw)
    path.write_bytes(broken(path.read_bytes(), sharedStrings=part))
    return path


ODD_TEXTS = ["_x0041_bc", "a\x0bb", "file_x005F_y", "x005F_ literal", "_", " a ", "🚋"]


def test_texts_are_unescaped_once(tmp_path: Path) -> None:
    path = shared(tmp_path / "a.xlsx", ODD_TEXTS, raw=b"<si><t>_x0041_bc_xD83D__xDE8B_</t></si>")
    assert [row["text"] for row in outcome(path).cells] == [*ODD_TEXTS, "Abc🚋"]


def test_each_text_of_a_table_is_read_back(tmp_path: Path) -> None:
    texts = [
        *ODD_TEXTS,
        "_x005F_x005F_",
        "_x0041_x0042_",
        "<r>a & b</r>",
        "<r><t>a</t></r>",
        "<r>\x01</r>",
        "\ufffe",
    ]
    with storage.replace_file(tmp_path / "b.xlsx") as sink:
        write_workbook(sink, [[text] for text in ["text", *texts]], tmp_path / "b.xlsx")
    assert [row["text"] for row in outcome(tmp_path / "b.xlsx").cells] == texts


def test_a_shared_text_in_several_fonts_has_no_reading_aid(tmp_path: Path) -> None:
    raw = b"<si><r><t>two </t></r><r><rPr><b/></rPr><t>fonts</t></r><rPh sb='0' eb='1'><t>aid</t></rPh></si>"
    assert outcome(shared(tmp_path / "a.xlsx", ["a"], raw=raw)).cells == [
        {"text": "a"},
        {"text": "two fonts"},
    ]


def moved(path: Path, old: str, new: str) -> Path:
    """Give a part of a workbook another name, wherever that is."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith(".rels") or name == "[Content_Types].xml":
                content = content.replace(old.encode(), new.encode())
            target.writestr(name.replace(old, new), content)
    path.write_bytes(out.getvalue())
    return path


@pytest.mark.parametrize(
    ("old", "new"),
    [("workbook", "workbook22"), ("worksheets/", "ws/"), ("sharedStrings.xml", "texts.xml")],
)
def test_parts_may_have_any_name(tmp_path: Path, old: str, new: str) -> None:
    path = moved(shared(tmp_path / "a.xlsx", ["one"]), old, new)
    assert outcome(path).cells == [{"text": "one"}]


def test_empty_rows_are_none_and_a_merged_cell_counts_in_each_of_its_rows(tmp_path: Path) -> None:
    rows = [
        [],
        ["kind", "text", None, "more"],
        [],
        ["a", "one", None, 1],
        [None, "two"],
        [None] * 4,
        [None, "three"],
    ]
    found = outcome(workbook(tmp_path / "a.xlsx", rows, merged="A4:A6"))
    assert found.columns == ("kind", "text", "column_2", "more")
    assert [(number, values["kind"], values["text"]) for number, values in found.rows] == [
        (0, "a", "one"),
        (1, "a", "two"),
        (2, None, "three"),
    ]


def test_a_sheet_is_chosen_by_name_or_number_and_the_first_is_a_visible_one(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", [["text"], ["here"]])
    for sheet in ("Other", "other ", "2"):
        assert outcome(path, sheet=sheet).cells == [{"text": "there"}]
    for sheet in ("None", "0", "3"):
        problem = outcome(path, sheet=sheet).problem
        assert problem == f"it has no sheet '{sheet}'; its sheets are 'Tickets', 'Other'"
    book = openpyxl.load_workbook(path)
    book["Tickets"].sheet_state = "hidden"
    book.save(path)
    found = outcome(path)
    assert (found.cells, found.notes) == ([{"text": "there"}], ())


def test_lines_before_the_header_and_no_header(tmp_path: Path) -> None:
    path = workbook(
        tmp_path / "a.xlsx", [["Sales of the week"], [], ["id", "text"], [1, "one"]], merged="A1:B1"
    )
    assert outcome(path, skip_lines=1).cells == [{"id": 1, "text": "one"}]
    assert outcome(path, skip_lines=3, no_header=True).cells == [{"column_0": 1, "column_1": "one"}]
    table = outcome(path)
    assert table.columns == ("Sales of the week", "column_1")


def test_a_header_that_is_repeated_is_no_row(tmp_path: Path) -> None:
    rows = [["id", "text"], [1, "a"], ["id", "text"], ["id"], [None, "text"]]
    found = outcome(workbook(tmp_path / "a.xlsx", rows))
    assert [values["text"] for _, values in found.rows] == ["a", None, "text"]
    assert found.messages == [
        "The row cannot be read: it repeats the header, as in files that were put together: remove it."
    ]


def test_a_cell_beside_the_table_costs_its_row_only(tmp_path: Path) -> None:
    rows = [["text"], *([f"row {number}"] for number in range(120)), ["far", "note"], ["end"]]
    found = outcome(workbook(tmp_path / "a.xlsx", rows))
    assert (found.columns, len(found.rows)) == (("text",), 121)
    assert found.unreadable == [(120, "unreadable_row")]


@pytest.mark.parametrize(
    ("stray", "lost"), [(2_000, 1_000), pytest.param(16_383, 9_000, marks=pytest.mark.slow)]
)
def test_a_stray_cell_far_from_the_table_makes_one_column(tmp_path: Path, stray: int, lost: int) -> None:
    path = tmp_path / "a.xlsx"
    book = xlsxwriter.Workbook(path)
    sheet = book.add_worksheet()
    sheet.write_row(0, 0, ["id", "", "text"])
    for row in range(1, 121):
        sheet.write_row(row, 0, [row, "", f"text {row}"])
    sheet.write(2, stray, "stray")
    sheet.write(120, lost, "lost")
    book.close()
    found = outcome(path)
    assert found.columns == ("id", "column_1", "text", f"column_{stray}")
    assert [values["text"] for _, values in found.rows] == [f"text {row}" for row in range(1, 120)]
    assert found.rows[1][1][f"column_{stray}"] == "stray"
    assert found.messages == ["The row cannot be read: it has a cell between the table and a stray one."]


def test_formulas_without_a_value_are_reported_and_repeated_columns_are_numbered(tmp_path: Path) -> None:
    found = outcome(workbook(tmp_path / "a.xlsx", [["text", "text"], ["=A9", "b"]]))
    assert found.columns == ("text", "text_1")
    assert found.cells == [{"text": None, "text_1": "b"}]
    assert "formulas without a stored value are empty" in found.notes[1]
    assert "several columns named 'text'" in found.notes[2]


def broken(data: bytes, **files: bytes | None) -> bytes:
    """Return a zip archive with some files replaced, or left out."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = files.get(Path(name).stem, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return out.getvalue()


def row_xml(number: int, *places: str) -> str:
    """Return a row with cells in this order; the text of each is its place."""
    cells = "".join(f'<c r="{place}" t="inlineStr"><is><t>{place}</t></is></c>' for place in places)
    return f'<row r="{number}">{cells}</row>'


def sheet_of(path: Path, xml: str, *, namespace: str = SHEET_MAIN_NS) -> Path:
    """Write a workbook whose sheet has this XML below sheetData."""
    data = workbook(path, [["text"]]).read_bytes()
    sheet = f'<worksheet xmlns="{namespace}"><sheetData>{xml}</sheetData></worksheet>'
    path.write_bytes(broken(data, sheet1=sheet.encode()))
    return path


def test_cells_may_be_written_in_any_order(tmp_path: Path) -> None:
    path = sheet_of(tmp_path / "a.xlsx", row_xml(1, "C1", "A1", "B1") + row_xml(3, "C3", "B3"))
    assert outcome(path).cells == [{"A1": None, "B1": "B3", "C1": "C3"}]


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        (row_xml(3, "A3") + row_xml(2, "A2"), "row 2 after row 3"),
        (row_xml(2, "A2") + row_xml(2, "B2"), "row 2 twice"),
        (row_xml(2, "A2") + row_xml(0), "row 0 after row 2"),
        (row_xml(2, "A2", "B2", "A2"), "two cells at one place of row 2"),
    ],
)
def test_what_would_be_lost_is_refused(tmp_path: Path, rows: str, what: str) -> None:
    problem = outcome(sheet_of(tmp_path / "a.xlsx", row_xml(1, "A1") + rows)).problem or ""
    assert problem.startswith(f"its sheet has {what}: open it in a spreadsheet program")


ROWS = st.tuples(st.integers(1, 5), st.lists(st.integers(0, 3), max_size=4))


@given(st.lists(ROWS, max_size=5))
def test_each_cell_is_read_at_its_place_or_the_sheet_is_refused(rows: list[tuple[int, list[int]]]) -> None:
    filled = {number: [f"{'ABCD'[place]}{number}" for place in places] for number, places in rows}
    xml = "".join(
        row_xml(number, *(f"{'ABCD'[place]}{number}" for place in places)) for number, places in rows
    )
    with tempfile.TemporaryDirectory() as folder:
        found = outcome(sheet_of(Path(folder) / "a.xlsx", xml), no_header=True)
    numbers = [number for number, _ in rows]
    in_order = numbers == sorted({*numbers}) and all(len({*places}) == len(places) for _, places in rows)
    assert (found.problem is None) == in_order
    if in_order:
        kept = [[text for text in row.values() if text] for row in found.cells]
        assert kept == [sorted(places) for places in filled.values() if places]


def test_a_workbook_in_strict_form_is_named(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", [["text"], ["one"]])
    data, strict = path.read_bytes(), b"http://purl.oclc.org/ooxml/"
    parts = {
        part: re.sub(
            rb"http://schemas.openxmlformats.org/(\w+)/2006/",
            rb"%s\1/" % strict,
            zipfile.ZipFile(path).read(name),
        )
        for part, name in (("workbook", "xl/workbook.xml"), ("workbook.xml", "xl/_rels/workbook.xml.rels"))
    }
    path.write_bytes(broken(data, **parts))
    assert (outcome(path).problem or "").startswith(
        "it is saved as Strict Open XML, which cannot be read: open"
    )


def test_a_sheet_whose_rows_have_unknown_names_is_not_empty(tmp_path: Path) -> None:
    path = sheet_of(tmp_path / "a.xlsx", row_xml(1, "A1"), namespace="urn:other")
    assert "damaged" in (outcome(path).problem or "")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda _: b"", "it is not an Excel workbook"),
        (lambda _: b"id,text\n1,a\n", "it is not an Excel workbook"),
        (lambda _: b"\xd0\xcf\x11\xe0" + bytes(600), "a workbook with a password"),
        (lambda _: b"<!doctype html><title>Sign in</title>", "an HTML page"),
        (lambda data: data[: len(data) // 2], "damaged or not complete"),
        (lambda data: broken(data, workbook=None), "damaged or not complete"),
        (lambda data: broken(data, sheet1=b"<worksheet><sheetData><row"), "damaged or not complete"),
        (lambda data: broken(data, sheet1=None), "damaged or not complete"),
    ],
)
def test_what_is_no_workbook_is_named(tmp_path: Path, change: Any, problem: str) -> None:
    data = workbook(tmp_path / "good.xlsx", [["text"], ["one"]]).read_bytes()
    path = tmp_path / "a.xlsx"
    path.write_bytes(change(data))
    found = outcome(path)
    assert found.rows == []
    assert problem in (found.problem or "")


def test_a_workbook_with_another_suffix_is_named(tmp_path: Path) -> None:
    data = workbook(tmp_path / "good.xlsx", [["text"], ["one"]]).read_bytes()
    assert "add .xlsx to its name" in (outcome(written(tmp_path, "a.csv", data)).problem or "")


def inflated(path: Path, unit: bytes, megabytes: int) -> Path:
    """Write a small workbook whose only sheet has these bytes after its first row, again and again."""
    small = io.BytesIO()
    openpyxl.Workbook().save(small)
    start = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
    with zipfile.ZipFile(small) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for each in source.infolist():
            if each.filename != "xl/worksheets/sheet1.xml":
                out.writestr(each, source.read(each))
        with out.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as sheet:
            sheet.write(start + b'<row r="1"><c t="inlineStr"><is><t>text</t></is></c></row>')
            for _ in range(megabytes):
                sheet.write(unit * (2**20 // len(unit)))
            sheet.write(b"</sheetData></worksheet>")
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("unit", "megabytes"),
    [
        (b"<c/>", 5),
        (b"<row/>", 8),
        (b'<row r="99999999999"/>' + b" " * 100_000, 1),
        (b" ", 100),
        (b"<!--" + b" <row>" * 174_762, 100),
    ],
    ids=["cells", "rows", "far row", "blanks", "comment"],
)
def test_a_sheet_that_would_fill_memory_is_refused(tmp_path: Path, unit: bytes, megabytes: int) -> None:
    path = moved(inflated(tmp_path / "a.xlsx", unit, megabytes), "worksheets/", "ws/")
    assert "than a spreadsheet program can hold" in (outcome(path).problem or "")


@pytest.mark.parametrize(
    ("part", "content", "problem"),
    [
        pytest.param("styles", b"<a>" + b"<b/>" * 600_000 + b"</a>", "damaged", marks=pytest.mark.slow),
        pytest.param("theme1", b"<a " + b'b=""' * 2_100_000 + b"/>", "damaged", marks=pytest.mark.slow),
        ("workbook", b'<!DOCTYPE a [<!ENTITY b "b">]><a/>', "damaged"),
        ("sharedStrings", '<!DOCTYPE a [<!ENTITY b "b">]><a/>'.encode("utf-16"), "damaged"),
        pytest.param(
            "sharedStrings",
            b"<sst><si>" + b"<r/>" * 900_000 + b"</si></sst>",
            "its texts take more than 512 MB",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["tags", "attributes", "entities", "entities in UTF-16", "runs"],
)
def test_a_part_that_would_fill_memory_is_refused(
    tmp_path: Path, part: str, content: bytes, problem: str
) -> None:
    path = shared(tmp_path / "a.xlsx", ["one"])
    path.write_bytes(broken(path.read_bytes(), **{part: content}))
    assert problem in (outcome(moved(path, "sharedStrings.xml", "texts.xml")).problem or "")


def test_a_part_is_not_larger_than_the_archive_states(tmp_path: Path) -> None:
    path = shared(tmp_path / "a.xlsx", ["one"])
    archive = bytearray(broken(path.read_bytes(), theme1=b"<a>" + b" " * 2**20 + b"</a>"))
    entry = archive.rfind(b"PK\x01\x02", 0, archive.rfind(b"theme1.xml"))
    archive[entry + 24 : entry + 28] = (100).to_bytes(4, "little")
    path.write_bytes(archive)
    assert "damaged" in (outcome(path).problem or "")
