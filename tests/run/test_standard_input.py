"""Standard input becomes a file whose suffix says what its bytes are."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from batchscore.errors import InputError, OutputError
from batchscore.read.input_file import ReadOptions
from batchscore.run.standard_input import with_standard_input


def named(data: bytes, chosen: str = "auto", columns: Sequence[str] = (), **options: Any) -> str:
    """Return the name of the file that holds standard input; it is gone afterwards."""
    with with_standard_input(["-"], io.BytesIO(data), chosen, columns, ReadOptions(**options)) as files:
        (path,) = map(Path, files)
        assert path.read_bytes() == data
    assert not path.parent.exists()
    return path.name


@pytest.mark.parametrize(
    ("data", "suffix"),
    [
        (b'{"text": "a"}\n{"text": "b"}\n', "jsonl"),
        (b'\xef\xbb\xbf{"text": "a"}\n', "jsonl"),
        (b'{\n "text": "a"\n}\n', "json"),
        (b'[\n{"text": "a"}]', "json"),
        (b"id,text\n1,a\n2,b\n", "csv"),
        (b'id;text\r\n1;"a\r\nb"\r\n', "csv"),
        (b"id\ttext\n1\ta\n", "tsv"),
        (b"One line, with a comma.\nAnother one.\nAnd this, too, has some.\n", "txt"),
        (b"one\ntwo\n", "txt"),
        (b"PAR1....", "parquet"),
        (b"ARROW1..", "arrow"),
        (b"PK\x03\x04..", "xlsx"),
        (gzip.compress(b"id,text\n1,a\n", mtime=0), "csv.gz"),
        (bz2.compress(b'{"text": "a"}\n'), "jsonl.bz2"),
        (lzma.compress(b"one\ntwo\n"), "txt.xz"),
        # One ragged row costs that row, and long cells and quoted line breaks nothing.
        (b"id,text\n1,a\n2,b,c\n3,d\n", "csv"),
        (b"id,text\n1,a\n2,b,c\n3,d,e,f\n", "csv"),
        (b"id,text\n" + b"".join(b'%d,"%s"\n' % (n, b"a line\n" * 60) for n in range(400)), "csv"),
        (b"id,text\n1," + b"long " * 20_000 + b"\n2,b\n", "csv"),
        (b"id," + b"a" * 70_000 + b"\n1,b\n2,c\n", "csv"),
        (b"id,text\n", "csv"),
        (b"id\ttext", "tsv"),
        (b"text\none\n", "csv"),
        (b"id,text\n1,'a,b'\n2,'c\nd'\n", "csv"),
        (b'id,text\n1,"a', "csv"),
        (b"id,text\nx,y".decode().encode("utf-16"), "csv"),
        (b"A report\nid,text\n1,a\n2,b\n3,c\n", "csv"),
        (b"# from the shop\nid,text\n1,a\n", "csv"),
        (b'"Great", he said.\nNo, "never".\nA third one, and that, too, is odd.\n', "txt"),
        (b"Hello, you\n", "txt"),
        # A broken line of JSON Lines costs that line, and a log is no JSON.
        (b'{"text": "a"\n{"text": "b"}\n{"text": "c"}\n', "jsonl"),
        (b'{"text": "a\n{"text": "b"}\n{"text": "c"}\n', "jsonl"),
        (b'xt": "a"}\n{"text": "b"}\n', "jsonl"),
        (b'Loading\n{"text": "b"}\n{"text": "c"}\n', "jsonl"),
        (b'["a"]\n{"text": "b"}\n{"text": "c"}\n', "jsonl"),
        ('{"text": "a\u2028b"}\n{"text": "b"}\n'.encode(), "jsonl"),
        (b'{"text": NaN}\n{"text": "b"}\n', "json"),
        (b'{"data": [\n{"text": "b"},\n{"text": "c"}\n]}\n', "json"),
        (b'{"data": [\n' + b'{"text": "b"},\n' * 9_000 + b'{"text": "c"}]}\n', "json"),
        (b'{"data": [\n{"text": "' + b"long " * 30_000 + b'"}]}\n', "json"),
        (b"[\n" + b'{"text": "b"},\n' * 9_000 + b"{}]\n", "json"),
        (b"{'text': 'a'}\n{'text': 'b'}\n", "json"),
        (b'{"text": "' + b"long " * 20_000 + b'\n{"text": "b"}\n{"text": "c"}\n', "jsonl"),
        (b"[INFO] it begins\n[INFO] it ends\n", "txt"),
        (b"[2026-01-01 10:00:00] a, b\n[2026-01-01] c\n", "txt"),
    ],
)
def test_the_format_is_found_from_the_first_bytes(data: bytes, suffix: str) -> None:
    assert named(data) == f"stdin.{suffix}"


def test_what_the_user_says_decides() -> None:
    assert named(b"text\none, two\nthree\n", columns=["text"]) == "stdin.csv"
    assert named(b"text\none\n", "csv") == "stdin.csv"
    assert named(gzip.compress(b"{}"), "txt") == "stdin.txt.gz"
    assert named(b"a|b\n", delimiter="|") == "stdin.csv"
    assert named("id;text\n1;é\n".encode("latin-1"), encoding="latin-1") == "stdin.csv"
    assert named(b"id,text\n1,'a,b'\n2,'c,d,e'\n3,\"f\n", quote="'") == "stdin.csv"


@pytest.mark.parametrize(
    ("data", "columns", "suffix"),
    [
        (b"text\none, two\nthree\n", ["text"], "csv"),
        (b"text\n", ["text"], "csv"),
        (b"id;text\n1\n2\n3;a;b\n", ["text", "id"], "csv"),
        (b"text\none, two\nthree\n", ["text", "id"], "csv"),
        (b"texts\none\ntwo\n", ["text"], "txt"),
        (b"photo\na.png\n", ["photo"], "csv"),
    ],
)
def test_a_header_with_all_the_columns_that_are_named_makes_a_table(
    data: bytes, columns: Sequence[str], suffix: str
) -> None:
    assert named(data, columns=columns) == f"stdin.{suffix}"


def test_a_first_line_that_may_be_the_header_of_one_column_is_refused() -> None:
    with pytest.raises(InputError, match="may be the header of a column: if it is, give "):
        named(b"review\nIt is good.\nIt is bad.\n")
    assert named(b"review\nIt is good.\nIt is bad.\n", "txt") == "stdin.txt"
    assert named(b"ok\nno\n") == "stdin.txt"


def test_other_inputs_are_given_as_they_are_and_refused_beside_it() -> None:
    with with_standard_input(["a", "b"], io.BytesIO(), "auto", (), ReadOptions()) as files:
        assert files == ["a", "b"]
    with (
        pytest.raises(InputError, match="only INPUT"),
        with_standard_input(["-", "a"], io.BytesIO(b"x"), "auto", (), ReadOptions()),
    ):
        pass


def test_an_empty_one_is_a_file_without_rows_like_any_other() -> None:
    assert named(b"") == named(b"\n \n", columns=["text"]) == "stdin.csv"
    assert named(b"", "csv") == "stdin.csv"


def test_what_cannot_be_read_or_copied_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Failing(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise OSError(5, "Input/output error")

    def copied(stream: io.BytesIO | None) -> None:
        with with_standard_input(["-"], stream, "auto", (), ReadOptions()):
            pass

    with pytest.raises(InputError, match="cannot be read: Input/output error"):
        copied(Failing())
    with pytest.raises(InputError, match="that is closed"):
        copied(None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(OutputError, match="cannot be copied to the temporary folder: No such"):
        copied(io.BytesIO(b"one"))


def test_a_workbook_is_read_from_standard_input(tmp_path: Path) -> None:
    pd.DataFrame({"text": ["a"]}).to_excel(tmp_path / "a.xlsx", index=False)
    assert named((tmp_path / "a.xlsx").read_bytes()) == "stdin.xlsx"
