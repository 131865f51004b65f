"""What `-o` means: a folder, or one file of a format that is written, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchscore.errors import OutputError, UsageError
from batchscore.output.spec import Output, output_of
from batchscore.settings.fields import Settings
from batchscore.settings.slices import OutputSettings, cut


def meant(output: str, task: str = "chat") -> Output:
    return output_of(cut(OutputSettings, Settings(task=task, model="m", output=output)))


@pytest.mark.parametrize(
    "name",
    [
        "out.json",
        "out.cvs",
        "out.excel",
        "out.TXT",
        "out.csv.gz",
        "out.jsonl.zst",
        ".csv",
        "out.xls",
        "out.feather",
        "a/b.html",
    ],
)
def test_a_file_of_another_format_is_refused_with_the_formats(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"ending in \.jsonl, \.parquet, \.arrow, \.csv, \.tsv or \.xlsx"):
        meant(name)
    assert not list(tmp_path.iterdir())
    # A folder that is there may have any name.
    (tmp_path / name).mkdir(parents=True)
    assert meant(name) == Output(Path(name))


@pytest.mark.parametrize("name", ["-", "out.parquet/", "out.jsonl//"])
def test_standard_output_and_a_folder_with_the_name_of_a_file_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"ending in \.jsonl, \.parquet, \.arrow, \.csv, \.tsv or \.xlsx"):
        meant(name)


@pytest.mark.parametrize("name", ["out", "out/", "scores.v2", "run-2024.11.28", "a.b/", "my.data/", ".out"])
def test_other_names_are_folders(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert meant(name) == Output(Path(name))


@pytest.mark.parametrize("name", ["/", "//", "/tmp/..", "/."])
def test_the_root_of_the_file_system_is_not_an_output(name: str) -> None:
    with pytest.raises(UsageError, match="the root of the file system is not a place for scores"):
        meant(name)


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "in.json").touch()
    with pytest.raises(OutputError, match="is a file"):
        meant(str(tmp_path / "in.json"))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".XLSX"])
def test_a_table_is_one_file_and_holds_no_vectors(suffix: str) -> None:
    assert meant(f"a/out{suffix}") == Output(Path(f"a/out{suffix}.batchscore"), Path(f"a/out{suffix}"))
    with pytest.raises(
        UsageError, match=r"cannot hold the vectors .* ending in \.jsonl, \.parquet or \.arrow"
    ):
        meant(f"out{suffix}", task="embeddings")


def test_a_leading_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert meant("~/x.jsonl") == Output(tmp_path / "x.jsonl.batchscore", tmp_path / "x.jsonl")
