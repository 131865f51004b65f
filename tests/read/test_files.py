"""Which files a run reads, in which order and under which names."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from batchscore.errors import InputError, UnreadableFile
from batchscore.read.files import digest, find_files


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for name in (
        "b.csv",
        "a/z.jsonl",
        "a/b/c.parquet",
        "a.csv",
        "a b/[1] 100%.txt",
        "ä/日本.tsv",
        "x/n.CSV.GZ",
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text\n")
    return root


def test_a_path_is_made_for_a_file_that_needs_one(tree: Path) -> None:
    """For thousands of files that takes longer than to read them."""
    files = find_files([str(tree)]).files
    assert not any("path" in vars(file) for file in files)
    assert [file.local for file in files] == [str(tree / file.name) for file in files]
    for file in files:
        assert file == replace(file)
        assert file.path == tree / file.name
        with pytest.raises(AttributeError):
            _ = file.other


def names(*inputs: object, output: Path | None = None) -> list[str]:
    return [file.name for file in find_files([str(path) for path in inputs], output=output).files]


def skipped(*inputs: object, output: Path | None = None) -> dict[str, str]:
    found = find_files([str(path) for path in inputs], output=output)
    return {skip.name: skip.reason for skip in found.skipped}


def problems(*inputs: object) -> dict[str, str]:
    return {each.name: each.reason for each in find_files([str(path) for path in inputs]).problems}


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_a_folder_is_walked_in_bytewise_order_of_the_whole_names(tree: Path) -> None:
    found = names(tree)
    assert found == [
        "a b/[1] 100%.txt",
        "a.csv",
        "a/b/c.parquet",
        "a/z.jsonl",
        "b.csv",
        "x/n.CSV.GZ",
        "ä/日本.tsv",
    ]
    assert found == sorted(found, key=str.encode)


def test_a_file_knows_its_format_compression_size_and_path(tree: Path) -> None:
    file = find_files([str(tree / "x" / "n.CSV.GZ")]).files[0]
    assert (file.name, file.suffix, file.compression, file.size) == ("n.CSV.GZ", ".csv", "gz", 5)
    assert file.path == tree / "x" / "n.CSV.GZ"


def test_every_suffix_in_any_case_is_known(tmp_path: Path) -> None:
    text = [f"t{suffix}" for suffix in (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".txt")]
    known = [name + more for name in text for more in ("", ".gz", ".zst", ".bz2", ".xz")]
    known += ["b.parquet", "b.arrow", "b.feather", "b.ipc"]
    known += [name.upper() for name in known]
    for name in known:
        touch(tmp_path / name)
    assert sorted(names(tmp_path)) == sorted(known)


def test_a_path_that_exists_is_taken_literally_with_any_characters(tmp_path: Path) -> None:
    for name in ("a[1].csv", "a1.csv", "what?.csv", "whats.csv", "*/x.csv", "y/x.csv"):
        touch(tmp_path / name)
    assert names(tmp_path / "a[1].csv") == ["a[1].csv"]
    assert names(tmp_path / "what?.csv") == ["what?.csv"]
    assert names(tmp_path / "*") == ["x.csv"]
    assert names(tmp_path / "*" / "*.csv") == ["x.csv"]


def test_a_glob_names_files_below_its_leading_folder(tree: Path) -> None:
    assert names(tree / "*.csv") == ["a.csv", "b.csv"]
    assert names(tree / "a" / "*.jsonl") == ["z.jsonl"]
    assert names(tree / "*" / "*.jsonl") == ["a/z.jsonl"]
    assert names(tree / "[ab].csv") == ["a.csv", "b.csv"]


def test_two_stars_match_any_number_of_folders(tree: Path) -> None:
    touch(tree / "a/b/d/e.csv")
    assert names(tree / "**" / "*.csv") == ["a.csv", "a/b/d/e.csv", "b.csv"]
    assert names(tree / "a" / "**") == ["b/c.parquet", "b/d/e.csv", "z.jsonl"]
    assert names(tree / "**" / "b" / "**" / "*.csv") == ["a/b/d/e.csv"]
    assert names(tree / "**") == names(tree)


def test_a_folder_that_a_glob_matches_is_walked(tmp_path: Path) -> None:
    touch(tmp_path / "out.csv" / "part-0.csv")
    touch(tmp_path / "one.csv")
    assert names(tmp_path / "*.csv") == ["one.csv", "out.csv/part-0.csv"]


def test_a_relative_input_is_taken_from_the_current_folder(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)
    assert names("a") == ["b/c.parquet", "z.jsonl"]
    assert names("*.csv") == ["a.csv", "b.csv"]
    assert names(".") == names(tree)
    assert names("./a/../a/z.jsonl") == ["z.jsonl"]


def test_several_inputs_are_named_below_their_deepest_common_parent(tree: Path) -> None:
    assert names(tree / "x", tree / "a") == ["x/n.CSV.GZ", "a/b/c.parquet", "a/z.jsonl"]
    assert names(tree / "a.csv", tree / "b.csv") == ["a.csv", "b.csv"]
    assert names(tree / "a" / "b", tree / "b.csv") == ["a/b/c.parquet", "b.csv"]
    assert names(tree, tree / "a") == [f"data/{name}" for name in names(tree)]
    assert names(tree / "a", tree / "a") == names(tree / "a")


def test_names_are_unique_though_base_names_are_not(tmp_path: Path) -> None:
    for name in ("x/a.csv", "y/a.csv"):
        touch(tmp_path / name)
    assert names(tmp_path / "x" / "a.csv", tmp_path / "y" / "a.csv") == ["x/a.csv", "y/a.csv"]


def test_a_file_of_several_inputs_is_found_once(tree: Path) -> None:
    (tree / "zz").symlink_to(tree / "a")
    (tree / "again.csv").symlink_to(tree / "b.csv")
    found = names(tree)
    assert "again.csv" in found
    assert "b.csv" not in found
    assert not any(name.startswith("zz/") for name in found)
    assert names(tree / "a.csv", tree / "*.csv") == ["a.csv", "again.csv"]


def test_links_out_of_the_input_are_followed_on_request_only(tree: Path, tmp_path: Path) -> None:
    touch(tmp_path / "else" / "far.csv")
    (tree / "linked").symlink_to(tmp_path / "else")
    (tree / "near.csv").symlink_to(tree / ".." / "else" / "far.csv")
    (tree / "within.csv").symlink_to(tree / "b.csv")
    (tree / "README").symlink_to(tmp_path / "else" / "README")
    reason = skipped(tree)["near.csv"]
    assert "a link out of the input" in reason
    assert skipped(tree)["linked/"] == reason
    assert {"linked/far.csv", "near.csv"}.isdisjoint(names(tree))
    assert {"linked/far.csv", "near.csv"}.isdisjoint(names(tree / "**" / "*.csv"))
    found = find_files([str(tree)])
    assert [(link.name, link.target) for link in found.followed] == []  # `b.csv` comes first
    # With another INPUT or base folder that holds the target, or if the link itself is named.
    assert "data/linked/far.csv" in names(tree, tmp_path / "else")
    based = find_files([str(tree)], root=str(tmp_path))
    assert "data/linked/far.csv" in [file.name for file in based.files]
    assert names(tree / "near.csv") == ["near.csv"]
    assert names(tree / "linked") == ["far.csv"]
    for named in ("near.csv", "linked"):
        (link,) = find_files([str(tree / named)]).followed
        assert link.target.startswith(str(tmp_path / "else"))
    found = find_files([str(tree)], follow_links=True)
    assert "linked/far.csv" in [file.name for file in found.files]
    links = [(link.name, link.target) for link in found.followed]
    assert links == [("linked/", str(tmp_path / "else"))]
    assert "near.csv" not in [file.name for file in found.files]  # the same file


def test_a_link_to_the_whole_disk_is_not_walked(tree: Path) -> None:
    (tree / "root").symlink_to("/")
    (tree / "a" / "up").symlink_to("..")
    assert "root/" in skipped(tree)
    assert not any(name.startswith(("root/", "a/up/")) for name in names(tree, tree / "**" / "*.csv"))


def test_loops_of_links_end(tree: Path) -> None:
    before = names(tree)
    (tree / "a" / "loop").symlink_to(tree)
    (tree / "self").symlink_to(tree / "self")
    assert names(tree) == before
    assert names(tree / "**" / "*.jsonl") == ["a/z.jsonl"]
    assert "self" in problems(tree)


def test_hidden_files_and_folders_are_skipped_silently_unless_named(tmp_path: Path) -> None:
    for name in ("a.csv", ".b.csv", ".git/c.csv", "d/.e/f.csv", "d/g.csv"):
        touch(tmp_path / name)
    assert names(tmp_path) == ["a.csv", "d/g.csv"]
    assert names(tmp_path / "**" / "*.csv") == ["a.csv", "d/g.csv"]
    assert skipped(tmp_path) == {}
    assert names(tmp_path / ".b.csv") == [".b.csv"]
    assert names(tmp_path / ".git") == ["c.csv"]
    assert names(tmp_path / ".*.csv") == [".b.csv"]


def test_what_editors_and_file_managers_leave_is_skipped_as_hidden_files_are(tmp_path: Path) -> None:
    debris = ["~$a.xlsx", ".~lock.a.ods#", "Thumbs.db", "desktop.ini", ".DS_Store", "d/~$b.docx", "d/~$c.csv"]
    for name in ("a.xlsx", "~tilde.csv", "d/c.csv", *debris):
        touch(tmp_path / name)
    for glob in ([], ["**", "*"], ["*"]):
        assert names(tmp_path.joinpath(*glob)) == ["a.xlsx", "d/c.csv", "~tilde.csv"]
        assert (skipped(tmp_path.joinpath(*glob)), problems(tmp_path.joinpath(*glob))) == ({}, {})
    assert names(tmp_path / "~$a.xlsx") == ["~$a.xlsx"], "it was named"
    assert names(tmp_path / "~*") == ["~$a.xlsx", "~tilde.csv"]


def test_the_output_of_this_run_is_skipped(tmp_path: Path) -> None:
    touch(tmp_path / "a.csv")
    touch(tmp_path / "scores" / "embeddings" / "part.jsonl")
    assert names(tmp_path, output=tmp_path / "scores") == ["a.csv"]
    assert skipped(tmp_path, output=tmp_path / "scores") == {"scores/": "the output of this run"}


def test_outputs_of_other_runs_are_skipped(tmp_path: Path) -> None:
    touch(tmp_path / "a.csv")
    touch(tmp_path / "old" / "embeddings" / "part.jsonl")
    (tmp_path / "old" / ".batchscore").mkdir()
    touch(tmp_path / "one.jsonl")
    touch(tmp_path / "one.jsonl.batchscore" / "ledger.jsonl")
    assert names(tmp_path) == ["a.csv"]
    assert names(tmp_path / "*") == ["a.csv"]
    assert set(skipped(tmp_path)) == {"old/", "one.jsonl", "one.jsonl.batchscore/"}
    assert names(tmp_path / "old" / "embeddings") == ["part.jsonl"]


def test_an_output_as_input_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "a.csv")
    with pytest.raises(InputError, match="also the output"):
        find_files([str(tmp_path)], output=tmp_path)
    (tmp_path / ".batchscore").mkdir()
    with pytest.raises(InputError, match="is an output folder of batchscore"):
        find_files([str(tmp_path)])


def test_unknown_suffixes_in_a_folder_are_skipped_by_name(tmp_path: Path) -> None:
    for name in ("a.csv", "b.pdf", "README", "c.parquet.gz", "d.gz"):
        touch(tmp_path / name)
    assert names(tmp_path) == ["a.csv"]
    assert skipped(tmp_path) == {
        "README": "it has no suffix",
        "b.pdf": "suffix .pdf is not one that batchscore reads",
        "c.parquet.gz": "suffix .parquet.gz is not one that batchscore reads",
        "d.gz": "suffix .gz is not one that batchscore reads",
    }


def test_an_unknown_suffix_named_explicitly_is_an_error_that_lists_the_formats(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.pdf is not one .* \.csv .* \.parquet"):
        find_files([str(touch(tmp_path / "b.pdf"))])


def test_a_missing_input_is_reported_with_similar_names(tree: Path) -> None:
    with pytest.raises(InputError, match=r"B\.cvs does not exist\. In .*data there is b\.csv"):
        find_files([str(tree / "B.cvs")])
    with pytest.raises(InputError, match=r"does not exist\. .*data holds a, a b, a\.csv"):
        find_files([str(tree / "nowhere" / "at" / "all")])
    with pytest.raises(InputError, match="is a file, not a folder"):
        find_files([str(tree / "a.csv" / "x")])
    (tree / "broken.csv").symlink_to("gone.csv")
    with pytest.raises(InputError, match="is a link to a file that does not exist"):
        find_files([str(tree / "broken.csv")])


@pytest.mark.parametrize("text", ["", "a\0b", "\ud800"])
def test_an_input_that_is_not_a_path_is_an_error(text: str) -> None:
    with pytest.raises(InputError):
        find_files([text])


def test_no_input_is_an_error() -> None:
    with pytest.raises(InputError, match="no INPUT"):
        find_files([])


def test_a_glob_without_matches_is_an_error(tree: Path) -> None:
    with pytest.raises(InputError, match=r"\*\.nothing matches no file \(hidden"):
        find_files([str(tree / "*.nothing")])


def test_a_folder_without_a_readable_file_names_what_was_skipped(tmp_path: Path) -> None:
    touch(tmp_path / "b.pdf")
    with pytest.raises(InputError, match=r"holds no file .* Skipped: b\.pdf"):
        find_files([str(tmp_path)])
    with pytest.raises(InputError, match=r"matches no file .* Skipped: b\.pdf"):
        find_files([str(tmp_path / "*.pdf")])


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    touch(tmp_path / "a.csv")
    (tmp_path / "gone.csv").symlink_to("nowhere")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    assert skipped(tmp_path) == dict.fromkeys(("pipe.csv", "zero.csv"), "not a regular file")
    assert problems(tmp_path) == {"gone.csv": "a link to a file that does not exist"}
    with pytest.raises(InputError, match="not a regular file"):
        find_files([str(tmp_path / "pipe.csv")])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_without_permission_is_a_problem_with_its_reason(tmp_path: Path) -> None:
    touch(tmp_path / "a.csv")
    (tmp_path / "closed").mkdir(mode=0)
    try:
        assert problems(tmp_path) == {"closed/": "folder cannot be listed: Permission denied"}
    finally:
        (tmp_path / "closed").chmod(0o700)


def test_a_name_that_is_not_utf8_becomes_text(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.csv")).write_bytes(b"text\n")
    found = find_files([str(tmp_path)]).files[0]
    assert found.name == "\\xff.csv"
    assert digest(found.path)


def test_the_digest_is_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"x" * 3_000_000)
    first = digest(path)
    assert first.startswith("xxh3:")
    assert len(first) == len("xxh3:") + 32
    path.write_bytes(b"x" * 2_999_999 + b"y")
    assert digest(path) != first
    with pytest.raises(UnreadableFile, match="No such file"):
        digest(tmp_path / "gone")


@pytest.mark.parametrize("absolute", [True, False])
def test_a_working_folder_that_was_removed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, absolute: bool
) -> None:
    text = str(touch(tmp_path / "a.csv")) if absolute else "a.csv"
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(InputError, match="the working folder does not exist any more"):
        find_files([text], output=Path("out"))


def test_a_leading_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(touch(tmp_path / "home" / "a.csv").parent))
    monkeypatch.chdir(tmp_path)
    assert names("~/a.csv") == names("~/*.csv") == ["a.csv"]
    touch(tmp_path / "~" / "b.csv")
    assert names("./~") == names("~/b.csv") == ["b.csv"]
