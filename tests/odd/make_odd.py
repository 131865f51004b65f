"""Write the odd files beside this script, each with its expectation: `NAME` and `NAME.expected.json`.

    python tests/odd/make_odd.py

The files are committed; a file made by hand, say from a bug report, needs no entry here. Expected are the
`columns`, the `rows` as `[number, values]`, the `unreadable` rows as `[number, code]`, and a part of
the file's `problem`. Optional: `headerless`, `text_columns`, `notes` and `options` of `ReadOptions`.
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
odd(
    "two-files-put-together.csv",
    b"\xef\xbb\xbfid,text\n1,a\n\xef\xbb\xbfid,text\n2,b\n\nid,text\ntext,id\n",
    ID_TEXT,
    [[0, {"id": "1", "text": "a"}], [2, {"id": "2", "text": "b"}], [4, {"id": "text", "text": "id"}]],
    [[1, BAD], [3, BAD]],
)
odd(
    "dashes-below-the-header.csv",
    b"id         ,text\n-----------,----\n1,a\n--,--\n",
    ["id         ", "text"],
    [[1, {"id         ": "1", "text": "a"}], [2, {"id         ": "--", "text": "--"}]],
    [[0, BAD]],
)
odd("texts-like-their-column.csv", b"text\n----\ntext\n", ["text"], texts("----", "text"))
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
odd(
    "quote-inside-a-cell.csv",
    b'id,text\n1,5" pipe\n2,"a"b\n3,"c"\n',
    ID_TEXT,
    [[0, {"id": "1", "text": '5" pipe'}], [2, {"id": "3", "text": "c"}]],
    [[1, BAD]],
)
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
    options={"encoding": "utf-8"},
)
odd(
    "windows-1252-header.csv",
    "id,\xfcber\n1,a\n".encode("latin-1"),
    [],
    problem="its header is not UTF-8",
    options={"encoding": "utf-8"},
)
odd(
    "zero-bytes.csv",
    b"id,text\n1,a\x00b\n2,\x00\n3,c\n",
    ID_TEXT,
    two(("1", "a\x00b"), ("2", "\x00"), ("3", "c")),
)
odd(
    "encoded-surrogate.csv",
    b"text\na\xed\xa0\x80b\nc\n",
    ["text"],
    [[1, {"text": "c"}]],
    [[0, BAD]],
    options={"encoding": "utf-8"},
)
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
odd(
    "same-name-twice.csv",
    b"text,id,text\na,1,b\n",
    ["text", "id", "text_1"],
    [[0, {"text": "a", "id": "1", "text_1": "b"}]],
    notes=["several columns named 'text', the later ones numbered"],
)
odd("name-missing.csv", b",text\n0,a\n", ["column_0", "text"], [[0, {"column_0": "0", "text": "a"}]])
odd("tabs.csv", b"id\ttext\n1\ta,b\n2\tc;d\n", ID_TEXT, two(("1", "a,b"), ("2", "c;d")))
odd("sep-line.csv", b"sep=;\r\nid;text\r\n1;a,b\r\n2;\r\n", ID_TEXT, two(("1", "a,b"), ("2", "")))
odd("quoted-sep-line.csv", b'\xef\xbb\xbf"sep=,"\n\nid,text\n1,a;b\n', ID_TEXT, two(("1", "a;b")))
odd("sep-line-only.csv", b"sep=;\n", [])
odd("semicolons.csv", b'"id";text\n1;a,b\n2;"c;d"\n', ID_TEXT, two(("1", "a,b"), ("2", "c;d")))
odd("one-column-with-commas-in-cells.csv", b'text\n"a;b"\n"c,d"\n', ["text"], texts("a;b", "c,d"))
for name, text, encoding in [
    ("utf-16.csv", "\ufeffid,text\n1,\u00fc\n", "utf-16-le"),
    ("utf-16-big.csv", "\ufeffid,text\r\n1,\u00fc\r\n", "utf-16-be"),
    ("utf-16-without-a-mark.csv", "id,text\n1,\u00fc\n", "utf-16-le"),
    ("utf-32.csv", "\ufeffid,text\n1,\u00fc\n", "utf-32-le"),
]:
    found = encoding if "without" in name else encoding[:6]
    odd(name, text.encode(encoding), ID_TEXT, two(("1", "\u00fc")), notes=[f"encoding {found}"])
odd("utf-32-without-a-mark.csv", "id,text\n1,a\n".encode("utf-32-le"), [], problem="but UTF-32 text")
odd("zero-bytes-after-a-crash.jsonl", b'{"text":"a"}\n' + bytes(500), [], problem="not completely written")
odd(
    "cut-utf-16.csv",
    "\ufeffid,text\n1,a\n2,b\n".encode("utf-16-le")[:-1],
    ID_TEXT,
    two(("1", "a")),
    problem="it is not utf-16, or breaks off",
)
odd(
    "half-a-character.jsonl.gz",
    gzip.compress('{"text":"a\ud800"}\n{"text":"b"}\n'.encode("utf-16", "surrogatepass"), mtime=0),
    ["text"],
    [[1, {"text": "b"}]],
    [[0, BAD]],
)
odd(
    "named-encoding.csv",
    "id,text\n1,caf\xe9\n".encode("latin-1"),
    ID_TEXT,
    two(("1", "caf\xe9")),
    options={"encoding": "windows-1252"},
    notes=["encoding windows-1252"],
)
for suffix, data in {
    "csv": b"id,text\n1,tea\n2,caf\xe9\n",
    "tsv": b"id\ttext\n1\ttea\n2\tcaf\xe9\n",
    "jsonl": b'{"text":"tea"}\n\n{"text":"caf\xe9"}\n',
    "json": b'[{"text":"tea"},\n\n{"text":"caf\xe9"}]',
    "txt": b"tea\n\ncaf\xe9",
}.items():
    odd(f"unnamed-encoding.{suffix}", data, [], problem="line 3 is not UTF-8")
odd("orcid-latin-1.csv", b"ORCID,text\n0000-1,caf\xe9\n", [], problem="line 2 is not UTF-8")
odd(
    "letters-in-ascii.csv",
    "id,text\n1,今日\n".encode("iso2022_jp"),
    [],
    problem="line 2 is not UTF-8: its letters",
)
odd(
    "korean-in-ascii.csv",
    "id,text\n1,안녕\n".encode("iso2022_kr"),
    [],
    problem="line 2 is not UTF-8: its letters",
)
for encoding, letters in {"hz": "今日", "utf-7": "今日は世界", "utf-7-western": "café déjà"}.items():
    odd(
        f"letters-in-{encoding}.csv",
        f"id,text\n1,tea\n2,{letters}\n".encode(encoding.removesuffix("-western")),
        [],
        problem="line 3 is not UTF-8: its letters",
    )
odd(
    "plus-signs-and-tildes.csv",
    b"id,text\n1,1+1 REST+API Python+API was+API C++ +49 170 (format nil ~{~a~} x) ~{ab~}\n",
    ["id", "text"],
    two(("1", "1+1 REST+API Python+API was+API C++ +49 170 (format nil ~{~a~} x) ~{ab~}")),
)
odd(
    "words-joined-by-plus-signs.csv",
    b"id,text\n1,who+was+API+API put+see+are+who\n",
    ["id", "text"],
    two(("1", "who+was+API+API put+see+are+who")),
)
odd(
    "named-letters-in-ascii.csv",
    "id,text\n1,今日\n".encode("iso2022_jp"),
    ["id", "text"],
    two(("1", "今日")),
    options={"encoding": "iso2022_jp"},
    notes=["encoding iso2022_jp"],
)
odd(
    "encoding-that-takes-no-damage.csv",
    b"id,text\n1,tea\n",
    ["id", "text"],
    two(("1", "tea")),
    options={"encoding": "idna"},
)
odd(
    "escape-before-a-price.csv",
    b"id,text\n1,\x1b$ 5\n",
    ["id", "text"],
    two(("1", "\x1b$ 5")),
)
odd(
    "colours-of-a-terminal.csv",
    b"id,text\n1,\x1b[31mred\x1b[0m $5\n",
    ["id", "text"],
    two(("1", "\x1b[31mred\x1b[0m $5")),
)
odd(
    "characters-in-halves.jsonl",
    b'{"text":"a"}\n{"text":"\xed\xa0\xbd\xed\xb8\x80"}\n',
    [],
    problem="line 2 is not UTF-8: it has characters in halves",
)
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

# --- csv and tsv in other dialects
TWO = two(("1", "The tide, turning"), ("2", "A loaf"))
SEMICOLONS, PIPES, TABS = ([f"delimiter {name}"] for name in (";", "|", "tab"))
odd(
    "comma-in-a-quoted-name.csv",
    b'id;"Name, first";text\r\n1;"Sea, Ann";a\r\n2;"Hill, Otto";b\r\n',
    ["id", "Name, first", "text"],
    [
        [0, {"id": "1", "Name, first": "Sea, Ann", "text": "a"}],
        [1, {"id": "2", "Name, first": "Hill, Otto", "text": "b"}],
    ],
    notes=SEMICOLONS,
)
odd(
    "comma-in-a-name.csv",
    b"id;Name, first;text\n1;Sea, Ann;a\n",
    ["id", "Name, first", "text"],
    [[0, {"id": "1", "Name, first": "Sea, Ann", "text": "a"}]],
    notes=SEMICOLONS,
)
odd("pipes.csv", b"id|text\n1|The tide, turning\n2|A loaf\n", ID_TEXT, TWO, notes=PIPES)
odd("pipes.tsv", b"id|text\n1|The tide, turning\n2|A loaf\n", ID_TEXT, TWO, notes=PIPES)
odd("commas.tsv", b'id,text\n1,"The tide, turning"\n2,A loaf\n', ID_TEXT, TWO, notes=["delimiter ,"])
odd(
    "named-delimiter.csv",
    b"id:text\n1:The tide, turning\n2:A loaf\n",
    ID_TEXT,
    TWO,
    options={"delimiter": ":"},
    notes=["delimiter :"],
)
odd(
    "blanks-before-quotes.csv",
    b'id, text\n1, "The tide, turning"\n2, A loaf\n3,   "say ""hi"", Ann"\n4, "x, ""y"""\n',
    ID_TEXT,
    two(("1", "The tide, turning"), ("2", " A loaf"), ("3", 'say "hi", Ann'), ("4", 'x, "y"')),
    notes=["blanks before quotes left out"],
)
odd(
    "delimiter-at-the-end-of-rows.csv",
    b"id,text\n1,a,\n2,b,\n",
    ID_TEXT,
    two(("1", "a"), ("2", "b")),
    notes=["the delimiter at the end of each row left out"],
)
odd(
    "delimiters-at-the-end-of-rows.csv",
    b"id,text\n1,a,,\n2,,,\n",
    ID_TEXT,
    two(("1", "a"), ("2", "")),
    notes=["the delimiter at the end of each row left out"],
)
odd(
    "delimiter-at-the-end-of-the-header.csv",
    b"id,text,\n1,a\n2,b\n",
    ID_TEXT,
    two(("1", "a"), ("2", "b")),
    notes=["the delimiter at the end of the header left out"],
)
odd(
    "decimal-commas.csv",
    b"id;text\n1;3,5\n2;4,5\n",
    ID_TEXT,
    two(("1", "3,5"), ("2", "4,5")),
    notes=SEMICOLONS,
)
odd(
    "quotes-at-the-start-of-texts.tsv",
    b'id\ttext\n1\t"quoted" start\n2\t"unclosed\n',
    ID_TEXT,
    two(("1", '"quoted" start'), ("2", '"unclosed')),
    notes=["quote none"],
)
SEP = ["delimiter ;, 1 line before the header left out"]
odd("sep-line-saved-again.csv", b"sep=;;\r\nid;text\r\n1;a\r\n", ID_TEXT, two(("1", "a")), notes=SEP)
odd("sep-line-saved-with-commas.csv", b'"sep=;",\r\nid;text\r\n1;a\r\n', ID_TEXT, two(("1", "a")), notes=SEP)
odd("two-boms.csv", b"\xef\xbb\xbf\xef\xbb\xbfid,text\n1,a\n", ID_TEXT, two(("1", "a")))
odd(
    "comments-before-the-header.csv",
    b"# exported 2024-01-01, by me\n#\n\n# rows: 2\nid,text\n1,a\n2,b\n",
    ID_TEXT,
    two(("1", "a"), ("2", "b")),
    notes=["4 lines before the header left out"],
)
odd("header-with-a-hash.csv", b"#id,text\n1,a\n", ["#id", "text"], [[0, {"#id": "1", "text": "a"}]])
odd("title-before-the-header.csv", b"Report\n\nid;text\n1;a\n2;b\n", [], problem="its first line has 1 cell")
odd(
    "skipped-lines.csv",
    b"Report\n\nid;text\n1;a\n2;b\n",
    ID_TEXT,
    two(("1", "a"), ("2", "b")),
    options={"skip_lines": 2},
    notes=["delimiter ;, 2 lines before the header left out"],
)
odd("all-lines-skipped.csv", b"id;text\n1;a\n", [], problem="it has only 2 lines", options={"skip_lines": 3})
odd("all-but-a-blank-line-skipped.csv", b"Report\n\n", [], options={"skip_lines": 1})
odd(
    "no-header.csv",
    b"1,a\n2,b\n",
    ["column_0", "column_1"],
    [[0, {"column_0": "1", "column_1": "a"}], [1, {"column_0": "2", "column_1": "b"}]],
    options={"no_header": True},
    notes=["no header"],
)
odd(
    "single-quotes.csv",
    b"id,text\n1,'a, b'\n2,'it''s'\n",
    ID_TEXT,
    two(("1", "a, b"), ("2", "it's")),
    notes=["quote '"],
)
odd(
    "apostrophes.csv",
    b"id,text\n1,'tis late\n2,the cats'\n",
    ID_TEXT,
    two(("1", "'tis late"), ("2", "the cats'")),
)
ESCAPED = [
    b'1,"He said \\"hi\\" to us"',
    b'2,"She said \\"no, never\\" twice"',
    b"3,C:\\new\\\\share",
    b'4,"ends with a path, C:\\\\"',
    b'5,"C:\\new"',
]
odd(
    "escaped-quotes.csv",
    b"id,text\n" + b"\n".join(ESCAPED),
    ID_TEXT,
    two(
        ("1", 'He said "hi" to us'),
        ("2", 'She said "no, never" twice'),
        ("3", "C:\\new\\\\share"),
        ("4", "ends with a path, C:\\"),
        ("5", "C:\\new"),
    ),
    notes=["escape \\"],
)
odd("path-at-the-end-of-a-quote.csv", b'id,text\n1,"a, C:\\"\n', ID_TEXT, two(("1", "a, C:\\")))
BARE = b'id\ttext\n1\t"Hamlet is set in\n2\tDenmark\n3\tnot in Sweden"\n4\tnext\n'
odd("quotes-in-texts.tsv", BARE, [], problem="in row 0 a quote spans lines that look like rows")
odd("quotes-in-texts.csv", BARE.replace(b"\t", b","), [], problem="in row 0 a quote spans lines")
odd("line-end-in-a-cell.csv", b'id,text\n1,"a\n"\n2,"b\n\n"\n', ID_TEXT, two(("1", "a\n"), ("2", "b\n\n")))
odd(
    "quotes-none.tsv",
    BARE,
    ID_TEXT,
    two(("1", '"Hamlet is set in'), ("2", "Denmark"), ("3", 'not in Sweden"'), ("4", "next")),
    options={"quote": "none"},
    notes=["quote none"],
)
odd(
    "quotes-meant.tsv",
    BARE,
    ID_TEXT,
    two(("1", "Hamlet is set in\n2\tDenmark\n3\tnot in Sweden"), ("4", "next")),
    options={"quote": '"'},
)
odd(
    "late-quotes-in-texts.tsv",
    b"id\ttext\n" + b"".join(b"%d\tx\n" % number for number in range(300)) + BARE.partition(b"\n")[2],
    ID_TEXT,
    [*two(*((str(number), "x") for number in range(300))), [301, {"id": "4", "text": "next"}]],
    [[300, BAD]],
)
odd(
    "letters-over-several-lines.csv",
    b'id,text\n1,"Dear Ann\nThanks, Bob"\n',
    ID_TEXT,
    two(("1", "Dear Ann\nThanks, Bob")),
)

# --- pointers in place of files
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
for suffix in ("csv", "tsv", "json", "jsonl", "txt", "parquet", "arrow", "csv.gz", "txt.zst"):
    odd(f"lfs-pointer.{suffix}", POINTER, [], problem="a Git LFS pointer: fetch the file with git lfs pull")

odd("pointer-of-an-old-lfs.txt", POINTER.replace(b"git-lfs", b"hawser"), [], problem="a Git LFS pointer")
odd("xet-pointer.txt", b"# xet version 0\nfilesize = 12\nhash = 'ab'\n", [], problem="a Git Xet pointer")
for name, data in (
    ("link-target.csv", b"../../data/a.csv"),
    ("annex-link.csv", b"../.git/annex/objects/ab/cd/SHA256E-s12--0.csv/SHA256E-s12--0.csv"),
    ("annex-pointer.jsonl", b"/annex/objects/SHA256E-s12--0.jsonl\n"),
):
    kind = "the target of a link: fetch" if name == "link-target.csv" else "git annex get"
    odd(name, data, [], problem=kind)

# --- files of another format than their name says
PAGE = b'<!DOCTYPE html>\n<html lang="en">\n<head><title>Sign in, caf\xe9</title></head>\n</html>\n'
for suffix in ("csv", "tsv", "json", "jsonl", "parquet", "arrow"):
    odd(f"html-page.{suffix}", PAGE, [], problem="an HTML page, perhaps")
odd(
    "html-page.csv.gz", gzip.compress(PAGE, mtime=0), [], problem="decompressed, it is not what its name says"
)
odd("html-page-named.jsonl.gz", PAGE, [], problem="it is an HTML page")
odd("html-page-named.jsonl.zst", PAGE, [], problem="it is an HTML page")
odd("html-page.txt", b"<html>\n<p>one</p>\n", ["text"], texts("<html>", "<p>one</p>"), headerless=True)
for number, start in enumerate((b"\n\n  <HTML><body>", b"<!-- x --> <html lang=en>\n<head>")):
    odd(f"html-page-{number}.csv", start + b"<p>a, b</p>", [], problem="an HTML page, perhaps")
odd("store-error.csv", b'\xef\xbb\xbf<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', [],
    problem="an XML document, perhaps")  # fmt: skip
odd("html-in-the-header.csv", b"<html>,text\n1,a\n", ["<html>", "text"], [[0, {"<html>": "1", "text": "a"}]])
odd(
    "json-lines.csv",
    b'{"id":"1","text":"a, b"}\n{"id":"2","text":"c"}\n',
    [],
    problem="JSON: give it the suffix .jsonl",
)
odd("json-array.tsv", b'[\n {"id":"1","text":"a"}]\n', [], problem="but JSON: give it the suffix .json")
odd("cells.jsonl", b"id,text\n1,a\n2,b\n", [], problem="its lines are not JSON: give it the suffix")
odd("quoted-cells.ndjson", b'"id","text"\n"1","a"\n', [], problem="its lines are not JSON")

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
    options={"encoding": "utf-8"},
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

odd(
    "several-on-a-line.jsonl",
    b'{"text":"a"}{"text":"b"}\n{"text":"c"} , {"text":"d"}\n{"text":"e"}7\n',
    ["text"],
    texts("a", "b", "c", "d"),
    [[4, BAD]],
)
odd(
    "commas-between-lines.jsonl",
    b'{"text":"a"},\n{"text":"b"} ,\n,{"text":"c"}\n',
    ["text"],
    texts("a", "b", "c"),
)
odd("joined-files.jsonl", b'\xef\xbb\xbf{"text":"a"}\n\xef\xbb\xbf{"text":"b"}\n', ["text"], texts("a", "b"))
odd("text-sequence.jsonl", b'\x1e{"text":"a"}\n\x1e{"text":"b"}\n', ["text"], texts("a", "b"))

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
    options={"encoding": "utf-8"},
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
SEVERAL = ["several JSON documents, each a row"]
odd(
    "several-documents.json",
    b'{\n"text":"a"\n}\n{\n"text":"b"\n}\n',
    ["text"],
    texts("a", "b"),
    notes=SEVERAL,
)
odd("glued-documents.json", b'{"text":"a"}{"text":"b"}', ["text"], texts("a", "b"), notes=SEVERAL)
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
    "latin-1.txt",
    b"a\ncaf\xe9\nb\n",
    ["text"],
    [[0, {"text": "a"}], [2, {"text": "b"}]],
    [[1, BAD]],
    options={"encoding": "utf-8"},
    **LINES,
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
odd(
    "latin-1-document.txt",
    b"a\ncaf\xe9\n",
    ["text"],
    [],
    [[0, BAD]],
    options={"txt": "document", "encoding": "utf-8"},
    **LINES,
)
PDF, WESTERN = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", {"encoding": "windows-1252"}
odd("pdf-in-truth.txt", PDF, [], problem="a PDF document")
odd("pdf-in-truth-western.csv", PDF, [], problem="a PDF document", options=WESTERN)
odd("pdf-of-ascii.txt", b"%PDF-1.4\n1 0 obj\nstream\n%%EOF\n", [], problem="a PDF document")
odd("postscript-in-truth.txt", b"%!PS-Adobe-3.0\n%%Pages: 1\n", [], problem="a PostScript document")
odd("rtf-in-truth.txt", b"{\\rtf1\\ansi caf\\'e9}", [], problem="an RTF document", options=WESTERN)
odd("png-in-truth.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xe9", [], problem="a PNG image", options=WESTERN)
odd("tiff-in-truth.csv", b"II*\0\x08\0\0\0caf\xe9", [], problem="a TIFF image", options=WESTERN)
odd(
    "text-of-pdf.txt",
    b"%PDF-1.4 is how it begins\n",
    ["text"],
    [[0, {"text": "%PDF-1.4 is how it begins"}]],
    **LINES,
)
odd(
    "text-of-rtf.txt",
    b"{\\rtf1 is how it begins\n",
    ["text"],
    [[0, {"text": "{\\rtf1 is how it begins"}]],
    **LINES,
)

# --- records within a JSON object
INNER = two(("a", "one"), ("b", "two"))
RECORDS = [{"id": "a", "text": "one"}, {"id": "b", "text": "two"}]
TABLE_OF = {"columns": ID_TEXT, "index": [0, 1], "data": [["a", "one"], ["b", "two"]]}


def wrapped(name: str, value: Any, *notes: str, problem: str | None = None, **more: Any) -> None:
    columns, rows = ([], []) if problem else (ID_TEXT, INNER)
    more = {"columns": columns, "rows": rows} | more
    odd(name, json.dumps(value).encode(), problem=problem, notes=list(notes), **more)


wrapped("wrapped-data.json", {"version": "1.0", "data": RECORDS}, "records in 'data'")
wrapped("wrapped-deep.json", {"took": 1, "hits": {"total": 2, "hits": RECORDS}}, "records in 'hits.hits'")
wrapped("wrapped-beside-nothing.json", {"data": RECORDS, "errors": []}, "records in 'data'")
wrapped("wrapped-alone.json", {"people": RECORDS}, "records in 'people'")
wrapped("wrapped-nothing.json", {"count": "0", "data": []}, "records in 'data'", columns=[], rows=[])
wrapped("wrapped-twice.json", {"train": RECORDS, "test": RECORDS}, problem="lists of records: name the list")
wrapped("wrapped-or-a-row.json", {"id": "1", "text": "a", "authors": RECORDS}, problem="if the object itself")
wrapped(
    "wrapped-texts.json",
    {"version": "1", "data": ["a", "b"]},
    "records in 'data'",
    columns=["text"],
    rows=texts("a", "b"),
    headerless=True,
)
wrapped(
    "wrapped-arrays.json", {"version": "1", "data": [["a", "one"]]}, problem="'data' have no names of columns"
)
wrapped(
    "named-records.json",
    {"v": "1", "x": {"y": RECORDS}, "data": RECORDS},
    "records in 'x.y'",
    options={"records": "x.y"},
)
wrapped("named-nothing.json", {"data": RECORDS}, problem="it has no 'rows'", options={"records": "rows"})
wrapped(
    "named-itself.json",
    {"id": "a", "text": "one", "authors": RECORDS},
    columns=["id", "text", "authors"],
    rows=[[0, {"id": "a", "text": "one", "authors": RECORDS}]],
    text_columns=ID_TEXT,
    options={"records": "."},
)
wrapped("split.json", TABLE_OF, "a table in 'data'")
wrapped("split-of-three.json", TABLE_OF | {"index": [0, 1, 2]}, "a table in 'data'")
wrapped("header-and-rows.json", {"header": ID_TEXT, "rows": TABLE_OF["data"]}, "a table in 'rows'")
wrapped(
    "table-schema.json",
    {"schema": {"fields": [{"name": "id"}, {"name": "text"}]}, "data": RECORDS},
    "records in 'data'",
)
wrapped(
    "wrapped-columns.json",
    {"v": "1", "data": {"id": ["a", "b"], "text": ["one", "two"]}},
    "records in 'data'",
)
wrapped("list-of-more-text.json", {"v": "1", "texts": ["one", "two"]}, problem="name the list with")
KEYED = "an object of records, whose keys are the column 'key'"
wrapped(
    "map-of-records.json",
    {"x": RECORDS[0], "y": RECORDS[1]},
    KEYED,
    columns=["key", *ID_TEXT],
    text_columns=ID_TEXT,
    rows=[[0, {"key": "x", **RECORDS[0]}], [1, {"key": "y", **RECORDS[1]}]],
)
wrapped(
    "map-of-uneven-records.json",
    {"x": {"text": "one"}, "y": {"text": "two", "n": 1}},
    KEYED,
    columns=["key", "text", "n"],
    text_columns=["text"],
    rows=[[0, {"key": "x", "text": "one"}], [1, {"key": "y", "text": "two", "n": 1}]],
)
wrapped(
    "columns-by-a-named-index.json",
    {"text": {"x": "one", "y": "two"}, "n": {"x": 1, "y": 2}},
    columns=["text", "n"],
    text_columns=["text"],
    rows=[[0, {"text": "one", "n": 1}], [1, {"text": "two", "n": 2}]],
)

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
