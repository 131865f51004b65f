"""A file that data names is read only if it is really below a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batchscore.stores.address import stored_path
from batchscore.stores.below import FolderReader
from buckets import Bucket

OUTSIDE = "it is outside the folder of the input"
GONE = "there is no such file"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return the folder that names may not leave."""
    root = tmp_path / "data"
    for folder in (root / "in" / "pics", tmp_path / "data2"):
        folder.mkdir(parents=True)
        (folder / "a").write_bytes(b"own")
    (root / "b").write_bytes(b"above")
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "in" / "out").symlink_to(tmp_path / "secret")
    (root / "in" / "up").symlink_to(tmp_path)
    (root / "in" / "within").symlink_to(root / "b")
    (root / "in" / "loop").symlink_to("loop")
    os.mkfifo(root / "in" / "pipe")
    return root


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("pics/a", b"own"),
        ("./pics/../pics//a", b"own"),
        ("../b", b"above"),
        ("within", b"above"),
        ("{root}/b", b"above"),
        ("../../secret", OUTSIDE),
        ("{root}/../secret", OUTSIDE),
        ("../../data2/a", OUTSIDE),
        ("/etc/passwd", OUTSIDE),
        ("out", OUTSIDE),
        ("up/secret", OUTSIDE),
        ("up/data/b", b"above"),
        ("none", GONE),
        ("pics/a/b", "Not a directory"),
        ("a\0b", GONE),
        ("a\udcff\ud800", GONE),
        ("x" * 5000, "File name too long"),
        ("pics", "Is a directory"),
        ("..", OUTSIDE),
        ("loop", "symbolic links"),
        ("pipe", "it is a pipe or a device, not a file"),
    ],
)
def test_a_name_from_data_cannot_leave_the_folder(tree: Path, name: str, found: bytes | str) -> None:
    reader = FolderReader(tree / "in", tree, 100)
    name = name.replace("{root}", str(tree))
    if isinstance(found, bytes):
        assert reader.read(name) == found
        return
    with pytest.raises(OSError) as caught:
        reader.read(name)
    assert found in str(caught.value.strerror)


def test_links_lead_out_only_if_that_is_wanted(tree: Path) -> None:
    reader = FolderReader(tree / "in", tree, 100, follow_links=True)
    assert reader.read("out") == b"secret"
    with pytest.raises(OSError, match="outside"):
        reader.read("../../secret")


def test_the_folder_itself_may_be_reached_through_a_link(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tree)
    assert FolderReader(tmp_path / "link" / "in", tmp_path / "link", 100).read("pics/a") == b"own"


def test_a_large_file_is_not_read(tree: Path) -> None:
    with (tree / "big").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(OSError, match="larger than 20 MB"):
        FolderReader(tree, tree, 20 * 10**6).read("big")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("pics/a", b"own"),
        pytest.param("../in/pics/a", b"own", marks=pytest.mark.slow),
        pytest.param("../b", b"above", marks=pytest.mark.slow),
        ("../../secret", OUTSIDE),
        pytest.param("/secret", OUTSIDE, marks=pytest.mark.slow),
        pytest.param("../../root2/a", OUTSIDE, marks=pytest.mark.slow),
        pytest.param("none", GONE, marks=pytest.mark.slow),
        ("big", "it is larger than 0 MB"),
    ],
)
def test_a_name_cannot_leave_a_folder_of_a_bucket(s3: Bucket, name: str, found: bytes | str) -> None:
    root = stored_path(s3.put("root/b", "above")).parent
    contents = {"root/in/pics/a": "own", "root2/a": "secret", "secret": "secret", "root/in/big": "x" * 101}
    for key, text in contents.items():
        s3.put(key, text)
    reader = FolderReader(root / "in", root, 100)
    if isinstance(found, bytes):
        assert reader.read(name) == found
        return
    with pytest.raises(OSError) as caught:
        reader.read(name)
    assert found in str(caught.value.strerror)
