"""Small files are read once, and their content counts as long as they are the version that was read."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchscore.errors import InputError, UnreadableFile
from batchscore.read.formats import open_rows
from batchscore.read.input_file import MOST_KEPT, InputFile, ReadOptions


def listed(path: Path) -> InputFile:
    """Return a file that was saved an hour ago."""
    hour_ago = time.time() - 3600
    os.utime(path, (hour_ago, hour_ago))
    return InputFile(path, path.name, path.suffix, None, path.stat().st_size)


def texts(file: InputFile) -> list[str]:
    with open_rows(file, ReadOptions()) as table:
        return [row.values["text"] for row in table.rows]  # type: ignore[union-attr]


def test_a_table_opens_again_from_the_content_that_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text;n\na;1\n\nb;2\n")
    file = listed(path).with_content(MOST_KEPT)
    with open_rows(file, ReadOptions()) as table:
        again = replace(file, again=table.again)
    assert again.as_it_is() == again
    path.unlink()
    assert texts(again) == texts(again) == ["a", "b"]


@pytest.mark.parametrize("what", ["changed", "replaced", "removed", "a folder", "same size and time"])
def test_content_of_another_version_does_not_count(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\na\n")
    kept = listed(path).with_content(MOST_KEPT)
    before = path.stat()
    if what == "same size and time":
        path.write_text("text\nb\n")
        while (now := path.stat()).st_mtime_ns != before.st_mtime_ns or now.st_ctime_ns == before.st_ctime_ns:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        path.unlink()
    if what == "changed":
        path.write_text("text\nb\nc\n")
    elif what == "replaced":
        (tmp_path / "new").write_text("text\nb\n")
        (tmp_path / "new").rename(path)
    elif what == "a folder":
        path.mkdir()
    assert kept.content is not None
    assert kept.as_it_is().content is None


def test_large_files_and_files_that_grow_are_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\n" + "a\n" * MOST_KEPT)
    assert listed(path).with_content(2**30).content is None
    path.write_text("text\na\n")
    file = listed(path)
    assert file.with_content(3).content is None
    path.write_text("text\na\nb\n")
    assert file.with_content(MOST_KEPT).content is None


def test_a_file_that_was_saved_a_moment_ago_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\na\n")
    file = listed(path)
    assert file.with_content(MOST_KEPT).content == b"text\na\n"
    os.utime(path)
    assert file.with_content(MOST_KEPT).content is None


def table_of(file: InputFile) -> object:
    """Return all that is known of a file's table and its rows, or why it cannot be read."""
    try:
        with open_rows(file, ReadOptions()) as table:
            shown = table.columns, table.notes, table.repeated, table.doubt, table.hidden, table.text_columns
            return shown, list(table.rows)
    except (InputError, UnreadableFile) as error:
        return str(error)


@given(
    st.lists(st.text("ab,1 \t\"'\\\\#;=\r\n\0é{}<:/.v", max_size=8), min_size=1, max_size=5),
    st.sampled_from([".csv", ".tsv", ".txt", ".jsonl", ".json"]),
)
@example(["id,text", "1,some words"], ".csv")
@example(["id,", ",x"], ".csv")
@example(["a,a,b", "1,2,3"], ".csv")
@example([" ", "a\tb", "1\t2"], ".tsv")
@example(["../other.csv"], ".csv")
@example(["\ufeffa,b", "1,2"], ".csv")
def test_a_file_in_memory_is_read_as_one_on_the_disk(lines: list[str], suffix: str) -> None:
    content = "\n".join(lines).encode()
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        path.write_bytes(content)
        file = InputFile(path, path.name, suffix, None, len(content))
        assert table_of(file.but(content=content)) == table_of(file)
