"""Standard input becomes a file whose suffix says what its bytes are."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from batchscore.errors import InputError, OutputError
from batchscore.read.input_file import ReadOptions
from batchscore.run.standard_input import with_standard_input


def named(data: bytes, chosen: str = "auto", column: str | None = None, **options: Any) -> str:
    """Return the name of the file that holds standard input; it is gone afterwards."""
    with with_standard_input(["-"], io.BytesIO(data), chosen, column, ReadOptions(**options)) as files:
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
    ],
)
def test_the_format_is_found_from_the_first_bytes(data: bytes, suffix: str) -> None:
    assert named(data) == f"stdin.{suffix}"


def test_what_the_user_says_decides() -> None:
    assert named(b"text\none, two\nthree\n", column="text") == "stdin.csv"
    assert named(b"text\none\n", "csv") == "stdin.csv"
    assert named(gzip.compress(b"{}"), "txt") == "stdin.txt.gz"
    assert named(b"a|b\n", delimiter="|") == "stdin.csv"
    assert named("id;text\n1;é\n".encode("latin-1"), encoding="latin-1") == "stdin.csv"


def test_other_inputs_are_given_as_they_are_and_refused_beside_it() -> None:
    with with_standard_input(["a", "b"], io.BytesIO(), "auto", None, ReadOptions()) as files:
        assert files == ["a", "b"]
    for inputs, data, words in ((["-", "a"], b"x", "only INPUT"), (["-"], b"", "standard input is empty")):
        with (
            pytest.raises(InputError, match=words),
            with_standard_input(inputs, io.BytesIO(data), "auto", None, ReadOptions()),
        ):
            pass


def test_what_cannot_be_read_or_copied_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Failing(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise OSError(5, "Input/output error")

    def copied(stream: io.BytesIO | None) -> None:
        with with_standard_input(["-"], stream, "auto", None, ReadOptions()):
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
