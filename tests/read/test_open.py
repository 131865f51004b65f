"""The contract of every table, beyond the odd files: messages, types, open files."""

from __future__ import annotations

import bz2
import csv
import datetime as dt
import gzip
import json
import lzma
import math
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.feather as pf
import pyarrow.parquet as pq
import pytest
from read_samples import input_file, opened, outcome, written, zstd

from batchscore.errors import UnreadableFile, name_settings
from batchscore.read.delimited import _AFTER_QUOTE
from batchscore.read.formats import FORMATS, open_table
from batchscore.read.input_file import InputFile, ReadOptions
from batchscore.read.json_rows import HALF_CHARACTER
from batchscore.read.stream import explain_read_errors
from batchscore.rows import Row, UnreadableRow

SECRET = "the customer's words"


def every_format(folder: Path, count: int) -> Iterator[Path]:
    """The same texts in a file of each suffix."""
    texts = [f"text {number}" for number in range(count)]
    table = pa.table({"text": texts})
    objects = [{"text": text} for text in texts]
    jsonl = "".join(json.dumps(row) + "\n" for row in objects)
    plain = {
        "a.csv": "text\n" + "\n".join(texts),
        "a.tsv": "text\n" + "\n".join(texts),
        "a.jsonl": jsonl,
        "a.ndjson": jsonl,
        "a.json": json.dumps(objects),
        "columns.json": json.dumps({"text": texts}),
        "a.txt": "\n".join(texts),
    }
    for name, data in plain.items():
        yield written(folder, name, data)
        yield written(folder, f"{name}.gz", gzip.compress(data.encode()))
        yield written(folder, f"{name}.zst", zstd(data.encode()))
        yield written(folder, f"{name}.bz2", bz2.compress(data.encode()))
        yield written(folder, f"{name}.xz", lzma.compress(data.encode()))
    pq.write_table(table, folder / "a.parquet")
    pf.write_feather(table, str(folder / "a.feather"))
    pf.write_feather(table, str(folder / "a.ipc"), compression="uncompressed")
    with pa.ipc.new_stream(str(folder / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    table.to_pandas().to_excel(folder / "a.xlsx", index=False)
    yield from (folder / name for name in ("a.parquet", "a.feather", "a.ipc", "a.arrow", "a.xlsx"))


def open_files() -> int:
    descriptors = Path("/proc/self/fd")
    return len(list(descriptors.iterdir())) if descriptors.is_dir() else 0


def test_every_format_and_compression_gives_the_same_rows(tmp_path: Path) -> None:
    paths = list(every_format(tmp_path, 200))
    for path in paths:
        found = outcome(path)
        assert found.problem is None, path.name
        assert found.columns == found.text_columns == ("text",), path.name
        assert found.rows == [(number, {"text": f"text {number}"}) for number in range(200)], path.name
        assert found.headerless is path.name.startswith("a.txt"), path.name
    suffixes = {input_file(path).suffix for path in paths}
    assert suffixes == set(FORMATS)


def test_no_file_is_left_open_by_a_table_that_is_unread_partly_read_or_read(tmp_path: Path) -> None:
    paths = list(every_format(tmp_path, 120))
    for path in paths:  # pyarrow may open files of its own the first time
        outcome(path)
    for path in paths:
        before = open_files()
        table = opened(path)
        assert open_files() == before, path.name
        next(table.rows)
        table.rows.close()  # type: ignore[attr-defined]
        assert open_files() == before, path.name
        assert len(list(opened(path).rows)) == 120
        assert open_files() == before, path.name


def test_a_missing_file_is_reported_on_opening_and_on_reading(tmp_path: Path) -> None:
    for path in every_format(tmp_path, 3):
        file = input_file(path)
        table = open_table(file, ReadOptions())
        path.unlink()
        with pytest.raises(UnreadableFile, match="it is not there any more"):
            open_table(file, ReadOptions())
        if not path.name.startswith("columns"):  # it is in memory
            with pytest.raises(UnreadableFile, match="it is not there any more"):
                next(table.rows)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_reported(tmp_path: Path) -> None:
    for path in every_format(tmp_path, 3):
        path.chmod(0)
        with pytest.raises(UnreadableFile, match="no permission"):
            opened(path)


def test_a_folder_in_place_of_a_file_is_reported(tmp_path: Path) -> None:
    for suffix in FORMATS:
        with pytest.raises(UnreadableFile, match="it is a folder now"):
            open_table(InputFile(tmp_path, "folder", suffix, None, 0), ReadOptions())


def test_a_name_that_is_not_utf8_is_read_in_every_format(tmp_path: Path) -> None:
    for path in every_format(tmp_path, 3):
        strange = path.rename(path.with_name(os.fsdecode(b"\xff ") + path.name))
        assert len(list(opened(strange).rows)) == 3


def test_no_message_quotes_the_input(tmp_path: Path) -> None:
    broken = {
        "ragged.csv": f"id,text\n{SECRET}\n",
        "quote.csv": f'id,text\n1,"{SECRET}\n',
        "bad.jsonl": f'{{"text": {SECRET}}}\n"x"\n',
        "bad.json": f'[{{"text": {SECRET}}}]',
        "cut.json": f'{{"text": "{SECRET}',
        "large.txt": SECRET,
        "latin.txt": SECRET.encode() + b"\xe9",
    }
    for name, data in broken.items():
        found = outcome(
            written(tmp_path, name, data), max_row_bytes=len(SECRET) - 1 if "large" in name else 999
        )
        told = [*found.messages, found.problem or ""]
        assert any(told), name
        assert not any(word in text for text in told for word in ("customer", "words")), name


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(13, "Permission denied"), "no permission"),
        (OSError(5, "Input/output error"), "the system reports: Input/output error"),
        (EOFError(), "breaks off"),
        (OSError("ZSTD decompress failed"), "its name says zstd"),
    ],
)
def test_every_failure_of_the_system_becomes_an_unreadable_file(error: Exception, told: str) -> None:
    with pytest.raises(UnreadableFile, match=told), explain_read_errors("a.csv"):
        raise error


def test_the_error_of_a_ragged_record_has_both_counts(tmp_path: Path) -> None:
    """And its line, which is another number than that of its row."""
    found = outcome(written(tmp_path, "a.csv", '# note\nid,text\n1\n\n2,"a\nb"\n"x" y\n1,2,3\n'))
    assert found.messages == [
        "The row cannot be read (line 3): it has 1 cell, the header has 2 cells.",
        f"The row cannot be read (line 7): {name_settings(_AFTER_QUOTE)}.",
        "The row cannot be read (line 8): it has 3 cells, the header has 2 cells.",
    ]


@pytest.mark.parametrize(
    ("lines", "lost"),
    [
        (["a,b", "1,a", "a,b", "--,--"], {1: (3, "repeats the header"), 2: (4, "is a line of dashes")}),
        (["id|text", "--|----", "1|a", "--|--"], {0: (2, "is a line of dashes")}),
        (["| id | text |", "|----|:---:|", "| 1 | a |"], {0: (2, "is a line of dashes")}),
        (["| text |", "| :--- |", "| --- |"], {0: (2, "is a line of dashes")}),
        (["id,text", "-,-", "id,Text", ",--"], {}),
        (["a,text", ",--"], {}),
        (["text,text", "text,a", "text,text"], {1: (3, "repeats the header")}),
        (['"a""b",c', '"a""b",c', "1,2"], {0: (2, "repeats the header")}),
        ([r'"a\"b",c', r'"a\"b",c', "1,2"], {0: (2, "repeats the header")}),
    ],
)  # fmt: skip
def test_a_line_of_the_header_is_no_row(
    tmp_path: Path, lines: list[str], lost: dict[int, tuple[int, str]]
) -> None:
    found = outcome(written(tmp_path, "a.csv", "\n".join(lines)))
    assert [number for number, _ in found.unreadable] == [*lost]
    for message, (line, what) in zip(found.messages, lost.values(), strict=True):
        assert message.startswith(f"The row cannot be read (line {line}): it {what}")
    assert len(found.rows) == len(lines) - 1 - len(lost)
    assert outcome(tmp_path / "a.csv", no_header=True).unreadable == []


def test_a_row_in_another_encoding_has_its_line(tmp_path: Path) -> None:
    table = b'id,text\n1,"a\nb"\n\n2,\xff\n3,c\n'
    (message,) = outcome(written(tmp_path, "a.csv", table), encoding="utf-8").messages
    assert message.startswith("The row cannot be read (line 5): it holds bytes that are not UTF-8")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_error_of_a_line_of_json_has_its_line(tmp_path: Path, end: str) -> None:
    """Blank lines are no rows, several objects on a line are several, and lines may be in several blocks."""
    table = ['{"a": 1}', "", '{"a": 2} {"a": 3}', '{"a":', "[1]", '{"a": "\\ud800"}', '{"a": 4}']
    long = [f'{{"a": "{"x" * 90}"}}'] * 3000
    found = outcome(written(tmp_path, "a.jsonl", end.join([*table, *long, "{"])))
    assert found.messages == [
        "The row cannot be read (line 4): it is not JSON.",
        "The row cannot be read (line 5): it is neither an object nor a string.",
        f"The row cannot be read (line 6): it holds {HALF_CHARACTER}.",
        "The row cannot be read (line 3008): it is not JSON.",
    ]


@pytest.mark.parametrize("before", ["  \n", "\n   \n\n"])
def test_lines_of_blanks_before_the_header_are_not_read(tmp_path: Path, before: str) -> None:
    assert opened(written(tmp_path, "a.csv", before)).columns == ()
    found = outcome(written(tmp_path, "b.csv", f"{before}id;text\n1;a\n"))
    assert (found.rows, found.messages) == ([(0, {"id": "1", "text": "a"})], [])


def test_the_error_of_an_oversized_row_has_the_limit_and_the_setting(tmp_path: Path) -> None:
    found = outcome(written(tmp_path, "a.txt", "x" * 11), max_row_bytes=10)
    assert found.messages == ["The row is larger than 10 bytes (max_row_bytes)."]


@pytest.mark.slow
def test_a_cell_may_be_larger_than_the_limit_of_the_csv_module(tmp_path: Path) -> None:
    cell = "x" * 3_000_000
    path = written(tmp_path, "a.csv", f'id,text\n1,{cell}\n2,"{cell}\n{cell}"\n')
    assert outcome(path).cells == [{"id": "1", "text": cell}, {"id": "2", "text": f"{cell}\n{cell}"}]
    assert outcome(path, max_row_bytes=5_000_000).unreadable == [(1, "row_too_large")]


def test_rows_continue_after_oversized_ones_of_many_blocks(tmp_path: Path) -> None:
    line = "y" * 700_000
    for name, data in {
        "a.csv": f'text\na\n{line}\n"{line}\n"",\n{line}"\nb\n',
        "a.txt": f"a\n{line}\n{line}\r\nb",
        "a.jsonl": f'"a"\n"{line}"\n{line}\r\n"b"',
        "a.json": f'["a", "{line}", {{"{line}": ["{line}]\\"]"]}}, "b"]',
    }.items():
        found = outcome(written(tmp_path, name, data), max_row_bytes=300_000)
        assert found.problem is None
        assert found.rows == [(0, {"text": "a"}), (3, {"text": "b"})], name
        assert found.unreadable == [(1, "row_too_large"), (2, "row_too_large")], name


def test_the_rows_before_damage_in_a_compressed_file_are_read(tmp_path: Path) -> None:
    lines = [f"line {number} {os.urandom(20).hex()}" for number in range(6_000)]
    data = "\n".join(lines).encode()
    for name, packed in {
        "a.txt.gz": gzip.compress(data),
        "a.txt.zst": zstd(data),
        "a.txt.bz2": bz2.compress(data, 1),
        "a.txt.xz": lzma.compress(data, preset=0),
    }.items():
        found = outcome(written(tmp_path, name, packed[: len(packed) // 2]))
        texts = [values["text"] for values in found.cells]
        assert 1_200 < len(texts) < 4_800, name
        assert texts[:-1] == lines[: len(texts) - 1], name
        assert lines[len(texts) - 1].startswith(texts[-1]), name
        assert "breaks off" in (found.problem or ""), name


def xz_with_dictionary(size: int) -> bytes:
    """Return xz data whose header asks for a dictionary of this size, a power of two."""
    packed = bytearray(lzma.compress(b"a\n"))
    packed[16] = 2 * (size.bit_length() - 1 - 12)  # https://tukaani.org/xz/xz-file-format.txt, 5.3.1
    packed[20:24] = zlib.crc32(packed[12:20]).to_bytes(4, "little")
    return bytes(packed)


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("plain.txt.gz", b"a\n", "its name says gzip, but it is not, or is damaged: compress it again"),
        ("plain.txt.bz2", b"a\n", "its name says bzip2, but it is not"),
        ("plain.txt.xz", b"a\n" * 20, "its name says xz, but it is not"),
        ("empty.txt.xz", b"", None),
        ("pointer.txt.bz2", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        ("true.txt", bz2.compress(b"a\n"), "add .bz2 to its name"),
        ("true.csv", lzma.compress(b"a\n"), "add .xz to its name"),
        ("large.txt.xz", xz_with_dictionary(1 << 31), "needs too much memory"),
    ],
)
def test_a_file_that_is_not_compressed_as_its_name_says_is_reported(
    tmp_path: Path, name: str, data: bytes, problem: str | None
) -> None:
    found = outcome(written(tmp_path, name, data))
    assert found.rows == []
    assert (problem or "") in (found.problem or "")
    assert bool(problem) == bool(found.problem)


def test_several_streams_in_one_compressed_file_are_read(tmp_path: Path) -> None:
    for name, pack in {"a.txt.bz2": bz2.compress, "a.txt.xz": lzma.compress}.items():
        found = outcome(written(tmp_path, name, pack(b"a\nb") + pack(b"c\nd\n") + b"\0" * 8))
        assert [values["text"] for values in found.cells] == ["a", "bc", "d"], name


@pytest.mark.slow
def test_columns_of_json_are_found_after_a_megabyte_of_bad_rows(tmp_path: Path) -> None:
    bad = "[" + "1," * 1000 + "1]"
    for name, data in {
        "a.jsonl": f"{bad}\n" * 700 + '{"text": "a"}\n',
        "a.json": "[" + f"{bad},\n" * 700 + '{"text": "a"}]',
    }.items():
        table = opened(written(tmp_path, name, data))
        assert table.columns == ("text",)
        *others, last = table.rows
        assert all(isinstance(row, UnreadableRow) for row in others)
        assert isinstance(last, Row)
        assert last.number == 700


def test_a_json_array_with_a_first_element_over_a_megabyte_has_its_columns(tmp_path: Path) -> None:
    rows = [{"text": "x" * 1_100_000}, {"text": "y", "more": 1}]
    table = opened(written(tmp_path, "a.json", json.dumps(rows)))
    assert table.columns == ("text",)
    assert [row.values for row in table.rows if isinstance(row, Row)] == rows  # noqa: PD011


def test_a_json_object_over_the_limit_is_refused_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchscore.read.document.MAX_OBJECT_BYTES", 1 << 20)
    path = written(tmp_path, "a.json", json.dumps({"text": ["x" * (1 << 20)]}))
    with pytest.raises(UnreadableFile, match=r"larger than 1 MB.*jsonl"):
        opened(path)


def test_the_names_offered_instead_of_wrong_records_can_be_copied(tmp_path: Path) -> None:
    path = written(tmp_path, "a.json", json.dumps({"result": {"items": [{"text": "x"}]}}))
    with pytest.raises(UnreadableFile, match=r"no 'result.itemz'.*it has result\.items"):
        opened(path, records="result.itemz")


@pytest.mark.parametrize("orient", ["columns", "index", "records"])
def test_what_pandas_writes_as_json_is_read(tmp_path: Path, orient: Any) -> None:
    frame = pd.DataFrame({"id": ["a", "b"], "text": ["one", None], "n": [1, 2]})
    path = tmp_path / "a.json"
    frame[frame.n > 0].to_json(path, orient=orient)
    assert outcome(path).cells == [{"id": "a", "text": "one", "n": 1}, {"id": "b", "text": None, "n": 2}]


def test_what_pandas_writes_as_csv_is_read_with_its_index(tmp_path: Path) -> None:
    pd.DataFrame({"text": ["a,b", 'c "d"', "e\nf"]}).to_csv(tmp_path / "a.csv")
    found = outcome(tmp_path / "a.csv")
    assert found.columns == ("column_0", "text")
    assert [values["text"] for values in found.cells] == ["a,b", 'c "d"', "e\nf"]


def test_the_types_of_arrow_become_python_values_in_parquet_and_arrow(tmp_path: Path) -> None:
    moment = dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.timezone.utc)
    columns = {
        "plain": pa.array(["a", None]),
        "large": pa.array(["b", "c"], pa.large_string()),
        # pyarrow 15 knows no views.
        "view": pa.array(["d" * 20, None], getattr(pa, "string_view", pa.string)()),
        "coded": pa.array(["e", "e"]).dictionary_encode(),
        "bytes": pa.array([b"\xff", None]),
        "whole": pa.array([2**63 - 1, None]),
        "share": pa.array([0.5, None]),
        "yes": pa.array([True, None]),
        "when": pa.array([moment, None], pa.timestamp("us", "UTC")),
        "nano": pa.array([1, None], pa.timestamp("ns")),
        "day": pa.array([moment.date(), None]),
        "list": pa.array([["x", None], None]),
        "struct": pa.array([{"k": [1]}, None]),
        "nothing": pa.array([None, None]),
    }
    table = pa.table(columns)
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    for name in ("a.parquet", "a.arrow"):
        found = outcome(tmp_path / name)
        assert found.columns == tuple(columns)
        assert found.text_columns == ("plain", "large", "view", "coded")
        first, second = found.cells
        assert first | {"nano": None} == {
            "plain": "a",
            "large": "b",
            "view": "d" * 20,
            "coded": "e",
            "bytes": b"\xff",
            "whole": 2**63 - 1,
            "share": 0.5,
            "yes": True,
            "when": moment,
            "nano": None,
            "day": moment.date(),
            "list": ["x", None],
            "struct": {"k": [1]},
            "nothing": None,
        }
        assert first["nano"].isoformat() == "1970-01-01T00:00:00.000000001"
        filled = {"large": "c", "coded": "e"}
        assert second == {column: filled.get(column) for column in columns}


def test_a_cell_that_python_cannot_hold_costs_its_row(tmp_path: Path) -> None:
    table = pa.table({"when": pa.array([0, 2**62, 1], pa.timestamp("s")), "text": ["a", "b", "c"]})
    with pa.ipc.new_stream(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    found = outcome(tmp_path / "a.arrow")
    assert [values["text"] for values in found.cells] == ["a", "c"]
    assert found.unreadable == [(1, "unreadable_row")]
    assert "column 'when'" in found.messages[0]


def written_twice(folder: Path, table: pa.Table, *, parquet: bool = True) -> list[Path]:
    """The table as an Arrow file and, if the format has its types, as Parquet."""
    with pa.ipc.new_file(str(folder / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    if parquet:
        pq.write_table(table, folder / "a.parquet")
    return [folder / "a.arrow", *([folder / "a.parquet"] if parquet else [])]


def test_arrow_cells_are_plain_on_all_levels(tmp_path: Path) -> None:
    maps = pa.map_(pa.string(), pa.float32())
    columns = {
        "short": pa.array([0.1, None], pa.float32()),
        "short not finite": pa.array([math.inf, 1e20], pa.float32()),
        "vector": pa.array([[0.1, 2.0], [None, 0.3]], pa.list_(pa.float32())),
        "map": pa.array([[("a", 0.1), ("b", None)], None], maps),
        "maps": pa.array([[[("a", 0.1)]], []], pa.list_(maps)),
        "struct": pa.array([{"m": [("k", 2.5)], "n": 1}, None], pa.struct([("m", maps), ("n", pa.int64())])),
        "late": pa.array([253402300800000000, 0], pa.timestamp("us")),
        "late day": pa.array([2932897, None], pa.int32()).view(pa.date32()),
        "late days": pa.array([[2932897], []], pa.list_(pa.int32())).cast(pa.list_(pa.date32())),
    }
    expected = {
        "short": [0.1, None],
        "short not finite": [math.inf, 1e20],
        "vector": [[0.1, 2.0], [None, 0.3]],
        "map": [{"a": 0.1, "b": None}, None],
        "maps": [[{"a": 0.1}], []],
        "struct": [{"m": {"k": 2.5}, "n": 1}, None],
        "late": ["10000-01-01T00:00:00", dt.datetime(1970, 1, 1)],  # noqa: DTZ001
        "late day": ["10000-01-01", None],
        "late days": [["10000-01-01"], []],
    }
    for path in written_twice(tmp_path, pa.table(columns)):
        found = outcome(path)
        assert not found.messages
        assert {name: [cells[name] for cells in found.cells] for name in columns} == expected


def test_a_time_zone_that_is_not_known_costs_the_rows_that_need_it_with_the_reason(tmp_path: Path) -> None:
    at = pa.array([1, None], pa.int64()).cast(pa.timestamp("us", "Nowhere/City"))
    for path in written_twice(tmp_path, pa.table({"at": at})):
        (message,) = outcome(path).messages
        assert "the time zone of its column 'at' is not known here" in message
        assert "tzdata" in message


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        ((1, 0, 0), "1 month"),
        ((14, 2, 0), "1 year 2 months 2 days"),
        ((-14, -1, -1_500_000_000), "-1 year -2 months -1 day -00:00:01.5"),
        ((0, 0, 0), "00:00:00"),
        ((0, 7, 90_061_000_000_001), "7 days 25:01:01.000000001"),
    ],
)
def test_an_interval_is_a_text(tmp_path: Path, interval: tuple[int, int, int], text: str) -> None:
    table = pa.table({"every": pa.array([interval, None], pa.month_day_nano_interval())})
    (path,) = written_twice(tmp_path, table, parquet=False)
    assert [cells["every"] for cells in outcome(path).cells] == [text, None]


@pytest.mark.skipif(not hasattr(pa, "string_view"), reason="this pyarrow knows no views")
def test_categories_of_views_are_read(tmp_path: Path) -> None:
    views = pa.array(["de", "en"], pa.string_view())
    column = pa.DictionaryArray.from_arrays(pa.array([1, None, 0], pa.uint32()), views)
    (path,) = written_twice(tmp_path, pa.table({"lang": column}), parquet=False)
    found = outcome(path)
    assert found.text_columns == ("lang",)
    assert [cells["lang"] for cells in found.cells] == ["en", None, "de"]


def test_only_the_named_columns_are_read(tmp_path: Path) -> None:
    """A cell that nobody wants costs neither its row nor memory."""
    images = [os.urandom(300_000), b"small"]
    table = pa.table(
        {
            "text": ["a", "b"],
            "image": images,
            "broken": pa.array([2**62, 0], pa.timestamp("us")),
            "text.en": ["x", "y"],
            "nested": [{"a": 1}, {"a": 2}],
        }
    )
    for path in written_twice(tmp_path, table):
        assert len(outcome(path, max_row_bytes=100_000).unreadable) == 1
        for columns in ({"text"}, {"nested", "text"}, {"text.en"}):
            found = outcome(path, max_row_bytes=100_000, columns=frozenset(columns))
            assert found.columns == tuple(table.column_names)
            assert not found.unreadable
            assert [set(cells) for cells in found.cells] == [columns, columns]


def test_arrow_offsets_that_point_outside_cost_their_rows_not_the_process(tmp_path: Path) -> None:
    offsets = pa.array([0, 3, 2**30, 7], pa.int32()).buffers()[1]
    column = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"onetwox")])
    table = pa.table({"text": column})
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    found = outcome(tmp_path / "a.arrow")
    assert found.rows == [(0, {"text": "one"})]
    assert found.unreadable == [(1, "unreadable_row"), (2, "unreadable_row")]


@pytest.mark.parametrize("size", [3, 2000])
@pytest.mark.parametrize("indexed", [False, True])
def test_several_parquet_files_in_one_are_refused(tmp_path: Path, size: int, indexed: bool) -> None:  # noqa: FBT001
    """The last footer would mean the pages of the first file, which has as many rows."""
    for place, data in enumerate((["one"] * size, ["two"] * size, ["PAR1PAR1"] * size)):
        pq.write_table(pa.table({"text": data}), tmp_path / f"{place}.parquet", write_page_index=indexed)
    assert outcome(tmp_path / "2.parquet").problem is None
    parts = [(tmp_path / f"{place}.parquet").read_bytes() for place in range(3)]
    for together in ([0, 1], [1, 0, 2], [2, 2]):
        found = outcome(written(tmp_path, "a.parquet", b"".join(parts[place] for place in together)))
        assert found.rows == []
        assert (found.problem or "").startswith("several Parquet files are in it. If files were put together")


def test_several_arrow_files_or_streams_in_one_are_named(tmp_path: Path) -> None:
    table = pa.table({"text": ["one", "ARROW1ARROW1"], "kind": pa.array(["x", "y"]).dictionary_encode()})
    data = {}
    for name, new in (("file", pa.ipc.new_file), ("stream", pa.ipc.new_stream)):
        with new(str(tmp_path / "a.arrow"), table.schema) as writer:
            writer.write_table(table, max_chunksize=1)
        data[name] = (tmp_path / "a.arrow").read_bytes()
        assert outcome(tmp_path / "a.arrow").problem is None
    files = outcome(written(tmp_path, "b.arrow", data["file"] * 2))
    assert files.rows == []
    assert (files.problem or "").startswith("several Arrow files are in it. If files were put together")
    for rest in (data["stream"], data["file"]):
        streams = outcome(written(tmp_path, "b.arrow", data["stream"] + rest))
        assert len(streams.rows) == 2
        assert (streams.problem or "").startswith(
            "something follows the end of its Arrow stream (row 1 was the"
        )
    assert outcome(written(tmp_path, "b.arrow", data["stream"] + bytes(100))).problem is None


def test_row_numbers_continue_over_batches_and_row_groups(tmp_path: Path) -> None:
    table = pa.table({"n": list(range(5000))})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=700)
    with pa.ipc.new_stream(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=900)
    for name in ("a.parquet", "a.arrow"):
        assert outcome(tmp_path / name).rows == [(number, {"n": number}) for number in range(5000)]


def test_a_parquet_file_without_columns_still_has_its_rows(tmp_path: Path) -> None:
    table = pa.table({"a": [1, 2, 3]})
    with pa.ipc.new_stream(str(tmp_path / "a.arrow"), pa.schema([])) as writer:
        writer.write_batch(table.select([]).to_batches()[0])
    assert outcome(tmp_path / "a.arrow").rows == [(0, {}), (1, {}), (2, {})]


def test_a_damaged_page_leaves_the_rows_before_it(tmp_path: Path) -> None:
    texts = [os.urandom(50).hex() for _ in range(20_000)]
    pq.write_table(
        pa.table({"text": texts}), tmp_path / "a.parquet", row_group_size=5_000, compression="zstd"
    )
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    middle = len(data) * 6 // 10
    data[middle : middle + 2000] = b"\0" * 2000
    found = outcome(written(tmp_path, "b.parquet", bytes(data)))
    assert "damaged" in (found.problem or "")
    assert [values["text"] for values in found.cells] == texts[: len(found.rows)]
    assert len(found.rows) > 10_000 - 256  # the batch that meets the damage is lost with it


def test_reading_csv_never_lowers_the_field_limit_of_the_process(tmp_path: Path) -> None:
    before = csv.field_size_limit(2**31)
    try:
        outcome(written(tmp_path, "a.csv", "text\na\n"))
        assert csv.field_size_limit() == 2**31
    finally:
        csv.field_size_limit(before)


@pytest.mark.parametrize(
    ("name", "start", "options"),
    [
        ("a.tsv", '{"role": "user"}\tlabel\n', {"no_header": True}),
        ("a.tsv", '{"role": "user"}\tlabel\n', {}),
        ("a.csv", '[{"role": "user"}],label\n', {"no_header": True}),
        ("a.csv", '{"role": "user"}\n', {"no_header": True}),
        ("a.csv", '{"source": "export"}\nid,text\n', {"skip_lines": 1}),
        ("a.tsv", '<?xml version="1.0"?><a/>\tlabel\n', {"no_header": True}),
        ("a.tsv", '<?xml version="1.0"?><a/>\tlabel\n', {}),
        ("a.tsv", "<!DOCTYPE html><p>a</p>\tlabel\n", {"no_header": True}),
        ("a.csv", "<!DOCTYPE html><p>a</p>\n", {"no_header": True}),
    ],
)
def test_a_first_cell_may_be_json_or_a_page(
    tmp_path: Path, name: str, start: str, options: dict[str, Any]
) -> None:
    row = ("x\t1\n" if name.endswith(".tsv") else "x,1\n") if "label" in start or "id," in start else "x\n"
    found = outcome(written(tmp_path, name, start + row), **options)
    assert found.problem is None
    assert len(found.rows) == (2 if "no_header" in options else 1)


@pytest.mark.parametrize("start", ["not JSON\n" * 20, "// a comment\n" * 2000, "[INFO] started\n", "{\n"])
def test_bad_lines_before_json_cost_their_rows_only(tmp_path: Path, start: str) -> None:
    found = outcome(written(tmp_path, "a.jsonl", start + '{"text": "a"}\n' * 30))
    assert found.problem is None
    assert (len(found.rows), len(found.unreadable)) == (30, start.count("\n"))


def test_a_document_over_several_lines_is_not_json_lines(tmp_path: Path) -> None:
    for data in ('[{"a": 1},\n{"a": 2},\n{"a": 3}]\n', '{\n"a": 1\n}\n', '[\n{"a": 1},\n{"a": 2}\n]'):
        assert "one JSON document" in (outcome(written(tmp_path, "a.jsonl", data)).problem or "")


def test_texts_with_raw_tabs_are_json(tmp_path: Path) -> None:
    assert len(outcome(written(tmp_path, "a.jsonl", '"a\tb"\n"c\td"\n')).rows) == 2


@pytest.mark.parametrize(
    "data",
    [b"<!-- x -->" * 6500, b"<!--" * 16_000, b"<!-- x --> " * 300 + b"text\n", b"../" * 21_000 + b" x"],
    ids=("comments", "open comments", "comments and a text", "a long path"),
)
@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "jsonl", "json"])
def test_no_start_of_a_file_takes_long_to_recognize(tmp_path: Path, data: bytes, suffix: str) -> None:
    begun = time.process_time()
    outcome(written(tmp_path, f"a.{suffix}", data))
    # An expression that tries each way to divide the text takes minutes.
    assert time.process_time() - begun < 2


def test_a_page_after_comments_is_a_page(tmp_path: Path) -> None:
    data = "<!-- a -->\n<!---->" * 100 + "<!doctype html>\n<p>a</p>\n"
    assert "an HTML page" in (outcome(written(tmp_path, "a.csv", data)).problem or "")
