"""Small files are read once, and their content counts as long as they are the version that was read."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

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
