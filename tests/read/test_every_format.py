"""Any table is the same in every format, cut anywhere or not."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as pf
import pyarrow.parquet as pq
from hypothesis import example, given, settings
from hypothesis import strategies as st
from read_samples import outcome, written

from hypothesis_profiles import examples

CELLS = st.one_of(
    st.text(max_size=12),
    st.text(st.sampled_from(',;"\t\n\r \0\u2028\x0bé😀[]{}\\x'), max_size=12),
)
#: Without it, random cells would be taken for other dialects.
PLAIN = {"delimiter": ",", "quote": '"', "escape": "none", "skip_lines": 0}
NEWLINES = st.sampled_from(["\n", "\r\n", "\r"])
JSON_BYTES = st.text(st.sampled_from('[]{},:" \\ud8e1nul\n'), max_size=60)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    names = draw(
        st.lists(st.text(min_size=1, max_size=5).filter(str.strip), min_size=1, max_size=4, unique=True)
    )
    row = st.lists(CELLS, min_size=len(names), max_size=len(names))
    # What repeats the header, or divides it from the rows, is no row.
    return names, draw(
        st.lists(row.filter(lambda cells: cells != names and "--" not in "".join(cells)), max_size=8)
    )


def as_csv(names: list[str], rows: list[list[str]], newline: str, delimiter: str, quoting: Any) -> str:
    text = io.StringIO(newline="")
    # The `csv` of some Pythons leaves a "\r" unquoted that it reads as a line end; and a header of one
    # column with ";" would be taken for two.
    strange = any("\r" in cell or "\n" in cell or cell.isspace() for row in [names, *rows] for cell in row)
    if any("\0" in cell for row in [names, *rows] for cell in row):
        # Before Python 3.11 `csv` reads no NUL and writes none; we do.
        quoted = [[f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row] for row in [names, *rows]]
        return "".join(delimiter.join(row) + newline for row in quoted)
    quoting = csv.QUOTE_ALL if strange else quoting
    csv.writer(text, delimiter=delimiter, lineterminator=newline, quoting=quoting).writerows([names, *rows])
    return text.getvalue()


@given(
    table=tables(),
    newline=NEWLINES,
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    ascii_only=st.booleans(),
    bom=st.booleans(),
)
def test_a_table_is_the_same_in_every_format(
    *, table: tuple[list[str], list[list[str]]], newline: str, quoting: Any, ascii_only: bool, bom: bool
) -> None:
    names, cells = table
    rows = [dict(zip(names, row, strict=True)) for row in cells]
    lines = [json.dumps(row, ensure_ascii=ascii_only) for row in rows]
    mark = "\ufeff" if bom else ""
    columns = pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in names})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written(folder, "a.csv", mark + as_csv(names, cells, newline, ",", quoting))
        written(folder, "a.tsv", mark + as_csv(names, cells, newline, "\t", quoting))
        written(folder, "a.jsonl", mark + newline.join(lines))
        written(folder, "a.json", f"{mark}[{f',{newline}'.join(lines)}]")
        written(folder, "columns.json", json.dumps({key: [row[key] for row in rows] for key in names}))
        pq.write_table(columns, folder / "a.parquet")
        pf.write_feather(columns, str(folder / "a.feather"))
        with pa.ipc.new_stream(str(folder / "a.arrow"), columns.schema) as writer:
            writer.write_table(columns)
        for path in folder.iterdir():
            # Other delimiters and quotes in cells can be meant in two ways.
            found = outcome(path, **PLAIN | {"delimiter": "," if path.suffix == ".csv" else "\t"})
            assert found.problem is None, path.name
            assert found.unreadable == [], path.name
            assert found.rows == list(enumerate(rows)), path.name
            if rows:
                assert found.columns == tuple(names), path.name
                assert found.text_columns == tuple(names), path.name


@settings(max_examples=examples(8))
@given(table=tables(), newline=NEWLINES, limit=st.sampled_from([40, 2**24]))
def test_a_file_cut_at_any_byte_gives_a_prefix_of_its_rows(
    table: tuple[list[str], list[list[str]]], newline: str, limit: int
) -> None:
    names, cells = table
    rows = [dict(zip(names, row, strict=True)) for row in cells]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    files = {
        "a.csv": as_csv(names, cells, newline, ",", csv.QUOTE_ALL),
        "a.jsonl": newline.join(lines),
        "a.json": f"[{', '.join(lines)}]",
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            data = text.encode()
            how = {**PLAIN, "max_row_bytes": limit, "encoding": "utf-8"}
            whole = outcome(written(Path(folder), name, data), **how)
            for cut in range(0, len(data), max(1, len(data) // 60)):
                found = outcome(written(Path(folder), name, data[:cut]), **how)
                if found.columns != whole.columns:
                    continue  # the header itself is cut, or no row is left
                last = max([number for number, _ in found.rows + found.unreadable], default=-1)
                before = [row for row in found.rows if row[0] < last]
                assert before == [row for row in whole.rows if row[0] < last], (name, cut)
                assert [bad for bad in found.unreadable if bad[0] < last] == [
                    bad for bad in whole.unreadable if bad[0] < last
                ], (name, cut)
                assert last < len(whole.rows) + len(whole.unreadable)


def as_reference(data: bytes) -> list[list[str]]:
    """Return the records that `csv` finds in the whole file, without blank lines; errors are empty."""
    reader = csv.reader(io.StringIO(data.decode(), newline=""), strict=True)
    found: list[list[str]] = []
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return found
        except csv.Error:
            found.append([])
        else:
            found += [cells] if cells else []


@settings(max_examples=examples(200))
@given(
    body=st.text(st.sampled_from('ab,,"""\n\r\né'), max_size=40),
    limit=st.sampled_from([3, 6, 17]),
)
@example(body="a,,", limit=3)
@example(body='""a,"', limit=3)
@example(body='\n"\r\r\n\n\n"\n,\n"\r"\r,b,\n"b,\n"\r"é\n\n"","a\r\n,', limit=6)
def test_any_csv_has_the_same_rows_for_every_limit_and_block_size(body: str, limit: int) -> None:
    data = f"x,y\n{body}".encode()
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), "a.csv", data)
        whole, small = outcome(path, **PLAIN), outcome(path, **PLAIN, max_row_bytes=limit)
    expected = as_reference(data)[1:]
    if whole.problem is None:
        assert len(whole.rows) + len(whole.unreadable) == len(expected)
    # A delimiter at the end of every row is left out.
    filled = [row for row in expected if any(row)]
    width = max(map(len, filled), default=2)
    all_end_so = all(len(row) == width and not any(row[2:]) for row in filled)
    fit = {2, width} if all_end_so and width > 2 else {2}
    wanted = [dict(zip("xy", row[:2], strict=True)) for row in expected if len(row) in fit]
    assert whole.cells == wanted[: len(whole.rows)]
    too_large = {number for number, code in small.unreadable if code == "row_too_large"}
    assert small.problem == whole.problem
    assert small.rows == [row for row in whole.rows if row[0] not in too_large]
    assert {number for number, _ in small.unreadable} - too_large == {
        number for number, _ in whole.unreadable
    } - too_large


@settings(max_examples=examples(200))
@given(
    parts=st.lists(
        st.one_of(
            st.text(max_size=6).map(json.dumps),
            st.dictionaries(st.text(max_size=3), st.text(max_size=9), max_size=2).map(json.dumps),
            st.sampled_from(
                ["7", "null", "[[1],{}]", "nope", '{"a" 1}', "NaN", '"\\ud800"', "", "[" * 9 + "]" * 9]
            ),
        ),
        max_size=6,
    ),
    between=st.sampled_from([",", " , ", ",\n"]),
    limit=st.sampled_from([2, 5, 9, 30]),
)
def test_a_json_array_has_one_row_per_element_for_every_limit(
    parts: list[str], between: str, limit: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), "a.json", f"[{between.join(parts)}]")
        whole, small = outcome(path), outcome(path, max_row_bytes=limit)
    count = len(parts) - (parts[-1:] == [""])
    assert whole.problem is small.problem is None
    for found in (whole, small):
        numbers = [number for number, _ in found.rows + found.unreadable]
        assert sorted(numbers) == list(range(count))
    sizes = [len(part.encode()) for part in parts]
    assert {number for number, code in small.unreadable if code == "row_too_large"} == {
        number for number in range(count) if sizes[number] > limit
    }
    assert small.rows == [row for row in whole.rows if sizes[row[0]] <= limit]


@settings(max_examples=examples(200))
@given(
    data=st.one_of(st.binary(max_size=60), JSON_BYTES.map(str.encode), CELLS.map(str.encode)),
    name=st.sampled_from(
        ["a.csv", "a.tsv", "a.json", "a.jsonl", "a.txt", "a.txt.gz", "a.csv.zst", "a.parquet", "a.arrow"]
    ),
    start=st.sampled_from(
        [b"", b"{", b"[", b"PAR1", b"ARROW1\0\0", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"x,y\n"]
    ),
    limit=st.sampled_from([1, 7, 2**24]),
)
def test_no_bytes_raise_anything_but_an_unreadable_file(
    data: bytes, name: str, start: bytes, limit: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        outcome(written(Path(folder), name, start + data), max_row_bytes=limit)
