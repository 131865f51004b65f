"""Files are written completely or not at all, also on disks that refuse."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.errors import BrokenInvariant, OutputError
from batchscore.stores.errors import explain_errors
from batchscore.stores.sink import Sink, unwritten
from batchscore.stores.storage import digest_file, remove, replace_file, sizes, write_whole
from full_disk import largest_file


def everything_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_writing_creates_the_folders_and_returns_length_and_digest(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "part.jsonl"
    written = write_whole(path, [b"one\n", memoryview(b"two\n")])
    assert path.read_bytes() == b"one\ntwo\n"
    assert written.bytes == 8
    assert len(written.digest) == len("xxh3:") + 32
    assert written.digest == digest_file(path)
    assert everything_below(tmp_path) == ["a", "a/b", "a/b/part.jsonl"]


def test_a_bare_name_is_written_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never by way of the root folder."""
    monkeypatch.chdir(tmp_path)
    opened: list[str] = []
    sys.addaudithook(lambda event, given: opened.append(str(given[0])) if event == "open" else None)
    write_whole(Path("page.html"), b"new")
    assert not [name for name in opened if name.startswith("/.")]
    assert everything_below(tmp_path) == ["page.html"]


def test_a_file_is_replaced_and_readable_as_the_umask_says(tmp_path: Path) -> None:
    path = tmp_path / "x"
    before = os.umask(0o022)
    try:
        write_whole(path, b"old")
        write_whole(path, b"new")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644


def test_while_it_is_written_the_file_has_a_name_that_readers_ignore(tmp_path: Path) -> None:
    with replace_file(tmp_path / "part.parquet") as sink:
        sink.write(b"half")
        (name,) = everything_below(tmp_path)
    assert name.startswith(".")
    assert not name.endswith(".parquet")
    assert everything_below(tmp_path) == ["part.parquet"]


def test_a_failing_source_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_whole(path, b"old")

    def breaking() -> Iterator[bytes]:
        yield b"new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, breaking())
    assert path.read_bytes() == b"old"
    assert everything_below(tmp_path) == ["x"]


def test_a_sources_own_system_error_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    def breaking() -> Iterator[bytes]:
        yield b"new"
        raise OSError(28, "of somebody else")

    with pytest.raises(OSError, match="of somebody else"):
        write_whole(tmp_path / "x", breaking())
    assert everything_below(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_named() -> None:
    sink = Sink(os.open("/dev/full", os.O_WRONLY), Path("scores/x.jsonl"))
    with pytest.raises(OutputError, match=r"cannot write scores/x\.jsonl: the disk is full; free some space"):
        sink.write(bytes(2_000_000))
    sink.write(b"x")
    with pytest.raises(OutputError, match="the disk is full"):
        sink.close()
    assert sink.closed


@given(st.lists(st.binary(max_size=9), max_size=9), st.integers(0, 90))
def test_the_bytes_that_a_call_did_not_write_are_left(pieces: list[bytes], written: int) -> None:
    assert b"".join(unwritten(pieces, written)) == b"".join(pieces)[written:]


@given(st.lists(st.sampled_from([b"", b"x", bytes(1500), bytes(700_000)]), max_size=12))
def test_pieces_of_any_size_come_in_order(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("pieces") / "x"
    written = write_whole(path, pieces)
    assert path.read_bytes() == b"".join(pieces)
    assert (written.bytes, written.digest) == (path.stat().st_size, digest_file(path))


def test_a_write_that_stops_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """The second chunk is written in part, then refused: a real short write, then an error."""
    path = tmp_path / "x.jsonl"
    write_whole(path, b"old")
    with largest_file(100_000), pytest.raises(OutputError) as refused:
        write_whole(path, [b"x" * 60_000, b"y" * 60_000])
    assert str(refused.value).startswith(f"cannot write {path}: the file is larger than this system allows")
    assert path.read_bytes() == b"old"
    assert everything_below(tmp_path) == ["x.jsonl"]


@pytest.mark.parametrize("below", ["file/x", "file/deeper/x"])
def test_an_output_below_a_file_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="is a file, not a folder; choose another output folder"):
        write_whole(tmp_path / below, b"x")
    assert everything_below(tmp_path) == ["file"]


def test_a_name_too_long_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="the name is too long; choose a shorter output path"):
        write_whole(tmp_path / ("x" * 300), b"x")
    assert everything_below(tmp_path) == []


def test_a_name_as_long_as_the_system_allows_is_written(tmp_path: Path) -> None:
    write_whole(tmp_path / ("x" * 255), b"x")
    assert everything_below(tmp_path) == ["x" * 255]


def test_a_folder_in_the_files_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(OutputError, match="a folder has that name"):
        write_whole(tmp_path / "x", b"x")
    assert everything_below(tmp_path) == ["x"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="no permission to write there"):
            write_whole(tmp_path / "x", b"x")
    finally:
        tmp_path.chmod(0o700)
    assert everything_below(tmp_path) == []


def test_a_sink_that_was_closed_never_writes_into_another_file(tmp_path: Path) -> None:
    with replace_file(tmp_path / "x") as sink:
        sink.write(b"x")
    with (tmp_path / "other").open("wb"), pytest.raises(BrokenInvariant):
        sink.write(b"y")
    assert (tmp_path / "other").read_bytes() == b""


def test_removing_returns_whether_there_was_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    assert remove(tmp_path / "x")
    assert not remove(tmp_path / "x")
    with pytest.raises(OutputError, match="cannot remove"):
        remove(tmp_path)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
@pytest.mark.parametrize("action", ["read", "find", "list"])
def test_a_file_that_cannot_be_read_is_not_reported_as_one_that_cannot_be_written(
    tmp_path: Path, number: int, action: str
) -> None:
    with (
        pytest.raises(OutputError, match=f"cannot {action} .*check its owner and mode") as found,
        explain_errors(tmp_path, action),
    ):
        raise OSError(number, os.strerror(number))
    assert "write" not in found.value.text
    assert "output folder" not in found.value.text


def test_the_digest_of_a_file_that_is_not_there_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot read"):
        digest_file(tmp_path / "x")


def test_a_folder_is_listed_whole_while_its_files_are_written(tmp_path: Path) -> None:
    """A half-written file that gets its name meanwhile must not hide others, which would be paid again."""
    kept = [tmp_path / f"kept-{number}" for number in range(20)]
    for path in kept:
        path.write_bytes(b"abc")

    def write() -> None:
        for _ in range(150):
            write_whole(tmp_path / "new", b"de")

    with ThreadPoolExecutor(2) as pool:
        writing = [pool.submit(write) for _ in range(2)]
        while not all(each.done() for each in writing):
            found = sizes(tmp_path)
            assert {path.name: 3 for path in kept}.items() <= found.items()
        for each in writing:
            each.result()
    assert sizes(tmp_path)["new"] == 2
