"""Write the odd files beside this script, each with its expectation: `NAME` and `NAME.expected.json`.

    python tests/odd/make_odd.py

The files are committed; a file made by hand, say from a bug report, needs no entry here. Expected are the
`columns`, the `rows` as `[number, values]`, the `unreadable` rows as `[number, code]`, and a part of
the file's `problem`. Optional: `headerless`, `text_columns`, and `options` of `ReadOptions`.
"""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import feather

HERE = Path(__file__).parent
BAD, LARGE = "unreadable_row", "row_too_large"


def texts(*cells: str | None) -> list[list[Any]]:
    return [[number, {"text": cell}] for number, cell in enumerate(cells)]


def two(*rows: tuple[str, str]) -> list[list[Any]]:
    return [[number, {"id": one, "text": other}] for number, (one, other) in enumerate(rows)]


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


def parquet(table: pa.Table, **how: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **how)
    return sink.getvalue()


def stream(table: pa.Table, **how: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, **how) as writer:
        writer.write_table(table, max_chunksize=2)
    return sink.getvalue()


def arrow(table: pa.Table, compression: str) -> bytes:
    sink = io.BytesIO()
    feather.write_feather(table, sink, compression=compression)
    return sink.getvalue()


def not_utf8() -> pa.Table:
    """A string column with a cell that no checked writer would let through."""
    good = pa.array([b"one", b"tw\xff", b"three"], pa.binary())
    return pa.table({"text": pa.Array.from_buffers(pa.string(), 3, good.buffers())})


TABLE = pa.table({"id": ["1", "2", "3"], "text": ["one", None, "three"]})
TABLE_ROWS = [
    [0, {"id": "1", "text": "one"}],
    [1, {"id": "2", "text": None}],
    [2, {"id": "3", "text": "three"}],
]
ID_TEXT = ["id", "text"]

#: name → (bytes, columns, rows, unreadable, problem, and what else is expected)
ODD: dict[str, tuple[bytes, list[str], list[Any], list[Any], str | None, dict[str, Any]]] = {}


def odd(
    name: str,
    data: bytes,
    columns: list[str],
    rows: list[Any] | None = None,
    unreadable: list[Any] | None = None,
    problem: str | None = None,
    **more: Any,
) -> None:
    ODD[name] = (data, columns, rows or [], unreadable or [], problem, more)


# --- csv and tsv
odd("empty.csv", b"", [])
odd("blank-lines.csv", b"\n\r\n\ntext\n\n\none\n\ntwo\n\n\n", ["text"], texts("one", "two"))
odd("blank-line-of-spaces.csv", b"id,text\n1,a\n   \n2,b\n", ID_TEXT, two(("1", "a"), ("2", "b")))
odd("header-only.csv", b"id,text\n", ID_TEXT)
odd("header-without-newline.csv", b"id,text", ID_TEXT)
odd(
    "cells-stay-text.csv",
    b"id,text\n007,NA\n1e5,null\ntrue,\n 1 ,  a \n",
    ID_TEXT,
    two(("007", "NA"), ("1e5", "null"), ("true", ""), (" 1 ", "  a ")),
)
odd("bom.csv", b"\xef\xbb\xbfid,text\n1,a\n", ID_TEXT, two(("1", "a")))
odd("bom-and-quotes.csv", b'\xef\xbb\xbf"id","text"\n"1","a"\n', ID_TEXT, two(("1", "a")))
odd("crlf.csv", b"id,text\r\n1,a\r\n2,b\r\n", ID_TEXT, two(("1", "a"), ("2", "b")))
odd("lone-cr.csv", b"id,text\r1,a\r\r2,b", ID_TEXT, two(("1", "a"), ("2", "b")))
odd(
    "mixed-newlines.csv",
    b"id,text\r\n1,a\r2,b\n3,c\n\r4,d",
    ID_TEXT,
    two(("1", "a"), ("2", "b"), ("3", "c"), ("4", "d")),
)
odd(
    "quoted.csv",
    b'id,text\n1,"two\nlines"\n2,"a ""quote"""\n3,"tab\tcomma, end"\r\n4,"cr\rcrlf\r\n"\n5,""\n',
    ID_TEXT,
    two(("1", "two\nlines"), ("2", 'a "quote"'), ("3", "tab\tcomma, end"), ("4", "cr\rcrlf\r\n"), ("5", "")),
)
odd("quote-inside-a-cell.csv", b'id,text\n1,5" pipe\n2,"a"b\n', ID_TEXT, two(("1", '5" pipe'), ("2", "ab")))
odd(
    "unicode-separators.csv",
    "text\na\u2028b\u0085c\x0bd\x0ce\x1cf\n".encode(),
    ["text"],
    texts("a\u2028b\u0085c\x0bd\x0ce\x1cf"),
)
odd(
    "ragged.csv",
    b"id,text\n1\n2,b\n3,c,d\n4,e\n",
    ID_TEXT,
    [[1, {"id": "2", "text": "b"}], [3, {"id": "4", "text": "e"}]],
    [[0, BAD], [2, BAD]],
)
odd(
    "windows-1252.csv",
    "id,text\n1,caf\xe9\n2,tea\n3,\xfcber\n".encode("latin-1"),
    ID_TEXT,
    [[1, {"id": "2", "text": "tea"}]],
    [[0, BAD], [2, BAD]],
)
odd("windows-1252-header.csv", "id,\xfcber\n1,a\n".encode("latin-1"), [], problem="its header is not UTF-8")
odd(
    "zero-bytes.csv",
    b"id,text\n1,a\x00b\n2,\x00\n3,c\n",
    ID_TEXT,
    two(("1", "a\x00b"), ("2", "\x00"), ("3", "c")),
)
odd("encoded-surrogate.csv", b"text\na\xed\xa0\x80b\nc\n", ["text"], [[1, {"text": "c"}]], [[0, BAD]])
odd(
    "oversized.csv",
    b"id,text\n1," + b"x" * 40 + b'\n2,"' + b'y"",\n' * 20 + b'"\n3,c\n',
    ID_TEXT,
    [[2, {"id": "3", "text": "c"}]],
    [[0, LARGE], [1, LARGE]],
    options={"max_row_bytes": 20},
)
odd(
    "exactly-the-limit.csv",
    b"text\n12345678\r\n123456789\r\n12345678",
    ["text"],
    [[0, {"text": "12345678"}], [2, {"text": "12345678"}]],
    [[1, LARGE]],
    options={"max_row_bytes": 8},
)
odd(
    "open-quote.csv",
    b'id,text\n1,a\n2,"b\n3,c\n4,d\n',
    ID_TEXT,
    two(("1", "a")),
    problem="a quote opened in row 1 is never closed",
)
odd(
    "open-quote-oversized.csv",
    b'text\na\n"b\n' + b"c\n" * 100,
    ["text"],
    texts("a"),
    problem="a quote opened in row 1 is never closed",
    options={"max_row_bytes": 20},
)
odd("open-quote-in-header.csv", b'id,"text\n1,a\n', [], problem="a quote opened in its header")
odd("same-name-twice.csv", b"text,id,text\na,1,b\n", [], problem="same name: 'text'")
odd("name-missing.csv", b",text\n0,a\n", ["column_0", "text"], [[0, {"column_0": "0", "text": "a"}]])
odd("tabs.csv", b"id\ttext\n1\ta,b\n2\tc;d\n", ID_TEXT, two(("1", "a,b"), ("2", "c;d")))
odd("sep-line.csv", b"sep=;\r\nid;text\r\n1;a,b\r\n2;\r\n", ID_TEXT, two(("1", "a,b"), ("2", "")))
odd("quoted-sep-line.csv", b'\xef\xbb\xbf"sep=,"\n\nid,text\n1,a;b\n', ID_TEXT, two(("1", "a;b")))
odd("sep-line-only.csv", b"sep=;\n", [])
odd("semicolons.csv", b'"id";text\n1;a,b\n2;"c;d"\n', ID_TEXT, two(("1", "a,b"), ("2", "c;d")))
odd("one-column-with-commas-in-cells.csv", b'text\n"a;b"\n"c,d"\n', ["text"], texts("a;b", "c,d"))
odd("utf-16.csv", "\ufeffid,text\n1,a\n".encode("utf-16-le"), [], problem="UTF-16 text: convert it")
odd("utf-16-without-a-mark.csv", "id,text\n1,a\n".encode("utf-16-le"), [], problem="UTF-16 text: convert it")
odd("utf-32.csv", "\ufeffid,text\n1,a\n".encode("utf-32-le"), [], problem="UTF-32 text: convert it")
odd("parquet-in-truth.csv", parquet(TABLE), [], problem="a Parquet file: give it the suffix .parquet")
odd("gzip-in-truth.csv", gzip.compress(b"id,text\n1,a\n", mtime=0), [], problem="add .gz to its name")
odd("zstd-in-truth.csv", zstd(b"id,text\n1,a\n"), [], problem="add .zst to its name")
odd(
    "excel-in-truth.csv",
    b"PK\x03\x04\x14\x00\x06\x00\x08\x00\x00\x00!\x00[Content_Types].xml",
    [],
    problem="an Excel workbook",
)
odd("arrow-in-truth.csv", arrow(TABLE, "lz4"), [], problem="an Arrow file")
odd(
    "text-that-starts-with-PAR1.csv", b"PAR1,text\n1,a\n", ["PAR1", "text"], [[0, {"PAR1": "1", "text": "a"}]]
)
odd("quoted-tabs.tsv", b'id\ttext\n1\t"a\tb"\n2\tc,d\n', ID_TEXT, two(("1", "a\tb"), ("2", "c,d")))
odd("comma-cells.tsv", b"a;b\ttext\n1\tx\n", ["a;b", "text"], [[0, {"a;b": "1", "text": "x"}]])

# --- compression
odd(
    "members.csv.gz",
    gzip.compress(b"id,te", mtime=0) + gzip.compress(b"xt\n1,a\n", mtime=0) + b"\0" * 512,
    ID_TEXT,
    two(("1", "a")),
)
odd("members.csv.zst", zstd(b"id,te") + zstd(b"xt\n1,a\n"), ID_TEXT, two(("1", "a")))
odd("empty.csv.gz", b"", [])
odd("plain.csv.gz", b"id,text\n1,a\n", [], problem="its name says gzip, but it is not")
odd("plain.csv.zst", b"id,text\n1,a\n", [], problem="its name says zstd, but it is not")
odd(
    "cut.txt.gz",
    gzip.compress(b"one\ntwo\nthree\n", mtime=0)[:-6],
    ["text"],
    texts("one", "two", "three"),
    problem="breaks off",
    headerless=True,
)
odd(
    "garbage-behind.txt.gz",
    gzip.compress(b"one\ntwo\n", mtime=0) + b"garbage",
    ["text"],
    texts("one", "two"),
    problem="is damaged",
    headerless=True,
)
odd(
    "garbage-behind.jsonl.zst",
    zstd(b'"one"\n"two"\n') + b"garbage",
    ["text"],
    texts("one", "two"),
    problem="is damaged",
    headerless=True,
)

# --- jsonl
odd("empty.jsonl", b"", [])
odd("blank.jsonl", b"\n \n\r\n", [])
odd(
    "objects.jsonl",
    b'{"id":"1","text":"a"}\n\n  \n{"id":"2","text":"b"}',
    ID_TEXT,
    two(("1", "a"), ("2", "b")),
)
odd("strings.jsonl", b'"a"\nnull\n"b"\n', ["text"], texts("a", None, "b"), headerless=True)
odd("bom.jsonl", b'\xef\xbb\xbf{"text":"a"}\r\n{"text":"b"}\r\n', ["text"], texts("a", "b"))
odd(
    "bad-lines.jsonl",
    b'{"text":"a"}\nnope\n{"text":\n[1]\n7\n{"text":"b\xff"}\n{"text":"c"}\n',
    ["text"],
    [[0, {"text": "a"}], [6, {"text": "c"}]],
    [[1, BAD], [2, BAD], [3, BAD], [4, BAD], [5, BAD]],
)
odd(
    "oversized.jsonl",
    b'{"text":"a"}\n{"text":"' + b"x" * 99 + b'"}\n{"text":"b"}\n',
    ["text"],
    [[0, {"text": "a"}], [2, {"text": "b"}]],
    [[1, LARGE]],
    options={"max_row_bytes": 30},
)
odd(
    "exactly-the-limit.jsonl",
    b'"1234"\r\n"12345"\n"1234"',
    ["text"],
    [[0, {"text": "1234"}], [2, {"text": "1234"}]],
    [[1, LARGE]],
    options={"max_row_bytes": 6},
    headerless=True,
)
odd(
    "numbers.jsonl",
    b'{"n":12345678901234567890123,"x":-9223372036854775809,"f":0.0012345678901234567}\n'
    b'{"n":18446744073709551615,"x":1.5e3,"f":1}\n',
    ["n", "x", "f"],
    [
        [0, {"n": 12345678901234567890123, "x": -9223372036854775809, "f": 0.0012345678901234567}],
        [1, {"n": 18446744073709551615, "x": 1500.0, "f": 1}],
    ],
    text_columns=[],
)
odd(
    "infinite.jsonl",
    b'{"text":"a","x":Infinity,"y":-Infinity}\n',
    ["text", "x", "y"],
    [[0, {"text": "a", "x": float("inf"), "y": float("-inf")}]],
    text_columns=["text"],
)
odd("deep.jsonl", b'{"text":"a"}\n' + b"[" * 100_00 + b"\n", ["text"], texts("a"), [[1, BAD]])
odd(
    "half-characters.jsonl",
    b'{"text":"\\ud83d"}\n{"text":"\\ud83d\\ude00"}\n',
    ["text"],
    [[1, {"text": "\U0001f600"}]],
    [[0, BAD]],
)
odd("same-key-twice.jsonl", b'{"text":"a","text":"b"}\n', ["text"], texts("b"))
odd("raw-tab.jsonl", b'{"text":"a\tb"}\n', ["text"], texts("a\tb"))
odd(
    "later-columns.jsonl",
    b'{"a":null}\n{"a":"x","b":1}\n{"c":"y"}\n',
    ["a", "b", "c"],
    [[0, {"a": None}], [1, {"a": "x", "b": 1}], [2, {"c": "y"}]],
    text_columns=["a", "c"],
)
odd("pretty-object.jsonl", b'\n{\n  "text": "a"\n}\n', [], problem="looks like one JSON document")
odd("pretty-array.jsonl", b'[\n  {"text": "a"}\n]\n', [], problem="looks like one JSON document")
odd("array.jsonl", b'[{"text": "a"}, {"text": "b"}]\n', [], problem="looks like one JSON document")
odd("png-in-truth.jsonl", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", [], problem="a PNG image")
odd("lines.ndjson", b'{"text":"a"}\n', ["text"], texts("a"))

# --- json
odd("empty.json", b"", [])
odd("blank.json", b" \n\n", [])
odd(
    "array.json",
    b' [ {"id":"1","text":"a"} ,\n{"id":"2","text":"b"} ] \n',
    ID_TEXT,
    two(("1", "a"), ("2", "b")),
)
odd("empty-array.json", b"[]", [])
odd("strings.json", b'["a", null, "b"]', ["text"], texts("a", None, "b"), headerless=True)
odd(
    "bad-elements.json",
    b'[{"text":"a"}, 7, [1], {"text" "b"}, nope, {"text":"c\xff"}, {"text":"d"} {"text":"e"}, "\\ud83d", '
    b'{"text":"f"}]',
    ["text"],
    [[0, {"text": "a"}], [8, {"text": "f"}]],
    [[number, BAD] for number in range(1, 8)],
)
odd("last-comma.json", b'["a","b",]', ["text"], texts("a", "b"), headerless=True)
odd("last-comma-of-objects.json", b'[{"text":"a"},{"text":"b"}, ]', ["text"], texts("a", "b"))
odd(
    "cut-array.json",
    b'["a", "b", "c',
    ["text"],
    texts("a", "b"),
    problem="breaks off in row 2",
    headerless=True,
)
odd("cut-between.json", b'["a", "b"', ["text"], texts("a"), problem="breaks off in row 1", headerless=True)
odd("after-the-end.json", b'["a"] ["b"]', ["text"], texts("a"), problem="follows the end", headerless=True)
odd(
    "infinite-array.json",
    b'[{"x":Infinity,"n":12345678901234567890123,"f":0.1}]',
    ["x", "n", "f"],
    [[0, {"x": float("inf"), "n": 12345678901234567890123, "f": 0.1}]],
    text_columns=[],
)
odd(
    "oversized-array.json",
    b'["a", {"text":"' + b'x\\"]}' * 20 + b'"} , "b", [' + b"[1]," * 20 + b'2], "c"]',
    ["text"],
    [[0, {"text": "a"}], [2, {"text": "b"}], [4, {"text": "c"}]],
    [[1, LARGE], [3, LARGE]],
    options={"max_row_bytes": 20},
    headerless=True,
)
odd(
    "deep-array.json",
    b'["a",' + b"[" * 10_000 + b"]" * 10_000 + b',"b"]',
    ["text"],
    [[0, {"text": "a"}], [2, {"text": "b"}]],
    [[1, BAD]],
    headerless=True,
)
odd(
    "columns.json",
    b'{"id":["1","2"],"text":["a",null]}',
    ID_TEXT,
    [[0, {"id": "1", "text": "a"}], [1, {"id": "2", "text": None}]],
)
odd(
    "uneven-columns.json",
    b'{"id":["1","2"],"text":["a"]}',
    [],
    problem="differ in length ('id': 2, 'text': 1)",
)
odd("empty-columns.json", b'{"id":[],"text":[]}', ID_TEXT, text_columns=[])
odd(
    "pandas-columns.json",
    b'{"id":{"0":"1","3":"2"},"text":{"0":"a","3":"b"}}',
    ID_TEXT,
    two(("1", "a"), ("2", "b")),
)
odd(
    "pandas-index.json",
    b'{"0":{"id":"1","text":"a"},"1":{"id":"2","text":"b"}}',
    ID_TEXT,
    two(("1", "a"), ("2", "b")),
)
odd("one-object.json", b'{\n"id":"1",\n"text":"a"}', ID_TEXT, two(("1", "a")))
odd(
    "one-chat.json",
    b'{"messages":[{"role":"user","content":"hi"}]}',
    ["messages"],
    [[0, {"messages": [{"role": "user", "content": "hi"}]}]],
    text_columns=[],
)
odd("half-characters.json", b'{"text":["a","\\udc00"]}', ["text"], texts("a"), [[1, BAD]])
odd(
    "lines-in-truth.json",
    b'{"text":"a"}\nnope\n{"text":"b"}\n',
    ["text"],
    [[0, {"text": "a"}], [2, {"text": "b"}]],
    [[1, BAD]],
)
odd("several-documents.json", b'{\n"text":"a"\n}\n{\n"text":"b"\n}\n', [], problem="write one per line")
odd("cut-object.json", b'{"text":["a","b"', [], problem="not valid JSON at line 1, or it breaks off")
odd("a-number.json", b"7", [], problem="neither a JSON array nor an object")
odd(
    "oversized-object.json",
    b'{"text":"' + b"x" * 99 + b'"}',
    ["text"],
    [],
    [[0, LARGE]],
    options={"max_row_bytes": 50},
    text_columns=[],
)

# --- txt
LINES: dict[str, Any] = {"headerless": True}
odd("empty.txt", b"", ["text"], **LINES)
odd(
    "newlines.txt",
    b"a\r\n\r\nb\rc\n \t \n  d  \n\ne",
    ["text"],
    [[0, {"text": "a"}], [2, {"text": "b"}], [3, {"text": "c"}], [5, {"text": "  d  "}], [7, {"text": "e"}]],
    **LINES,
)
odd(
    "no-newlines.txt",
    "a\x0bb\x0cc\u2028d\u2029e\x85f\x1cg".encode(),
    ["text"],
    texts("a\x0bb\x0cc\u2028d\u2029e\x85f\x1cg"),
    **LINES,
)
odd("bom.txt", b"\xef\xbb\xbfa\n", ["text"], texts("a"), **LINES)
odd(
    "latin-1.txt", b"a\ncaf\xe9\nb\n", ["text"], [[0, {"text": "a"}], [2, {"text": "b"}]], [[1, BAD]], **LINES
)
odd(
    "oversized.txt",
    b"a\n" + b"x" * 50 + b"\r\nb\n" + b"y" * 50,
    ["text"],
    [[0, {"text": "a"}], [2, {"text": "b"}]],
    [[1, LARGE], [3, LARGE]],
    options={"max_row_bytes": 10},
    **LINES,
)
odd(
    "exactly-the-limit.txt",
    b"1234\r\n12345\r1234",
    ["text"],
    [[0, {"text": "1234"}], [2, {"text": "1234"}]],
    [[1, LARGE]],
    options={"max_row_bytes": 4},
    **LINES,
)
odd(
    "document.txt",
    b"\xef\xbb\xbfa\r\n\r\n b \n",
    ["text"],
    texts("a\r\n\r\n b \n"),
    options={"txt": "document"},
    **LINES,
)
odd("blank-document.txt", b" \n\n", ["text"], options={"txt": "document"}, **LINES)
odd(
    "oversized-document.txt",
    b"a\nb\nc",
    ["text"],
    [],
    [[0, LARGE]],
    options={"txt": "document", "max_row_bytes": 4},
    **LINES,
)
odd("latin-1-document.txt", b"a\ncaf\xe9\n", ["text"], [], [[0, BAD]], options={"txt": "document"}, **LINES)
odd("pdf-in-truth.txt", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", [], problem="a PDF document")

# --- Parquet and Arrow
odd("empty.parquet", b"", [], problem="it is empty, not a Parquet file")
odd("csv-in-truth.parquet", b"id,text\n1,a\n", [], problem="its first bytes are not those of a Parquet file")
odd("arrow-in-truth.parquet", arrow(TABLE, "lz4"), [], problem="but an Arrow file")
odd("cut.parquet", parquet(TABLE)[:-20], [], problem="damaged or not complete")
odd("plain.parquet", parquet(TABLE), ID_TEXT, TABLE_ROWS)
odd("no-rows.parquet", parquet(TABLE.slice(0, 0)), ID_TEXT)
odd("encrypted.parquet", b"PARE" + b"\0" * 60 + b"PARE", [], problem="encrypted")
odd(
    "same-name-twice.parquet",
    parquet(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])),
    [],
    problem="same name: 'text'",
)
odd(
    "not-utf8.parquet",
    parquet(not_utf8()),
    ["text"],
    [[0, {"text": "one"}], [2, {"text": "three"}]],
    [[1, BAD]],
)
odd(
    "oversized.parquet",
    parquet(pa.table({"text": ["a", "x" * 99, "b"]})),
    ["text"],
    [[0, {"text": "a"}], [2, {"text": "b"}]],
    [[1, LARGE]],
    options={"max_row_bytes": 50},
)
odd("empty.arrow", b"", [], problem="it is empty, not an Arrow file")
odd("stream.arrow", stream(TABLE), ID_TEXT, TABLE_ROWS)
odd("cut-stream.arrow", stream(TABLE)[:-40], ID_TEXT, TABLE_ROWS[:2], problem="damaged or not complete")
odd("csv-in-truth.arrow", b"id,text\n1,a\n2,b\n", [], problem="damaged or not complete")
odd("parquet-in-truth.arrow", parquet(TABLE), [], problem="but a Parquet file")
odd(
    "not-utf8.arrow", stream(not_utf8()), ["text"], [[0, {"text": "one"}], [2, {"text": "three"}]], [[1, BAD]]
)
odd("lz4.feather", arrow(TABLE, "lz4"), ID_TEXT, TABLE_ROWS)
odd("zstd.ipc", arrow(TABLE, "zstd"), ID_TEXT, TABLE_ROWS)
odd("cut.feather", arrow(TABLE, "uncompressed")[:-10], [], problem="damaged or not complete")
odd("version-1.feather", b"FEA1" + b"\0" * 32 + b"FEA1", [], problem="Feather file of version 1")


def main() -> None:
    for name, (data, columns, rows, unreadable, problem, more) in ODD.items():
        (HERE / name).write_bytes(data)
        expected = {"columns": columns, "rows": rows, "unreadable": unreadable, "problem": problem, **more}
        path = HERE / f"{name}.expected.json"
        path.write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
