"""`batchscore merge`: one file from many parts, with a warning if some are missing."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_records import answers, lines

import batchscore as library
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Files


def score(batchscore: Cli, deployment: Deployment, *more: str, task: str = "embeddings") -> list[str]:
    command = ["score", "in", "-o", "out", "--task", task, "-m", deployment.name, "--column", "text"]
    command += ["--rows-per-part", "3", *more]
    assert batchscore(*command).exit_code == 0
    return command


@pytest.mark.parametrize("form", ["jsonl", pytest.param("parquet", marks=pytest.mark.slow)])
def test_every_format_holds_every_row_once_in_input_order(
    batchscore: Cli, files: Files, deployment: Deployment, form: str
) -> None:
    """The walk's order: names are compared folder by folder, and `a-b` comes before `a/b`."""
    files.texts("in/a/z.csv", [f"z {row}" for row in range(7)])
    files.texts("in/a-b.csv", [f"ab {row}" for row in range(4)])
    files.texts("in/c.csv", ["c 0"])
    score(batchscore, deployment, "--format", form, "--id", "id", "--keep", "text")
    runs = batchscore.together(
        *(["merge", "out", f"all{suffix}"] for suffix in (".jsonl", ".parquet", ".arrow"))
    )
    assert [(run.exit_code, run.stderr) for run in runs] == [(0, "")] * 3, runs
    assert runs[0].stdout == "embeddings: 12 scores in all.jsonl\n"
    expected = library.read_scores("out")
    for suffix in (".jsonl", ".parquet", ".arrow"):
        found = library.read_scores(f"all{suffix}")
        assert list(found.columns) == list(expected.columns)
        assert found.drop(columns="embeddings").equals(expected.drop(columns="embeddings"))
        for one, other in zip(found["embeddings"], expected["embeddings"], strict=True):
            assert (one == other).all()
    order = [record["file"] for record in lines(Path("all.jsonl"))]
    assert order == ["a/z.csv"] * 7 + ["a-b.csv"] * 4 + ["c.csv"]
    # The parts alone, as a scheduler hands them out: nested, and without manifests.
    Path("copy").mkdir()
    shutil.copytree("out/embeddings", "copy/score/embeddings")
    bare, named = batchscore.together(
        ["merge", "copy", "bare.jsonl"], ["merge", "copy/score/embeddings", "named.jsonl"]
    )
    assert (bare.exit_code, named.exit_code) == (0, 0), (bare, named)
    assert Path("bare.jsonl").read_bytes() == Path("named.jsonl").read_bytes()
    assert Path("bare.jsonl").read_bytes() == Path("all.jsonl").read_bytes()


def test_an_output_that_is_not_complete_is_merged_with_a_warning(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("in/a.csv", ["one", "", "three", "four", "five"])
    files.texts("in/b.csv", ["six"])
    command = score(batchscore, deployment, "--limit", "4", task="chat")
    run = batchscore("merge", "out", "all.jsonl")
    assert run.exit_code == 4
    assert run.stdout == "chat: 3 scores in all.jsonl (without a score: 1 empty)\n"
    assert run.stderr.startswith("all.jsonl is not complete:\n  a.csv: not read completely\n")
    assert "not started" in run.said
    assert len(lines(Path("all.jsonl"))) == 3
    table = batchscore("merge", "out", "all.csv")
    left_out = "(of these: 1 empty, 1 not scored yet), without the rows of 1 of 2 files"
    assert (table.exit_code, table.stdout) == (4, f"chat: 5 rows in all.csv {left_out}\n")
    assert batchscore(*command[:-2]).exit_code == 0
    again = batchscore("merge", "out", "all.jsonl", "--overwrite")
    assert (again.exit_code, again.stderr) == (0, "")
    assert len(lines(Path("all.jsonl"))) == 5


@pytest.mark.slow
def test_several_tasks_and_a_single_files_own_folder(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("in/a.csv", ["one", "two"])
    score(batchscore, deployment)
    score(batchscore, deployment, task="chat")
    command = ["score", "in", "-o", "one.jsonl", "--task", "chat", "-m", deployment.name, "--column", "text"]
    assert batchscore(*command).exit_code == 0
    unclear, chosen, absent, single = batchscore.together(
        ["merge", "out", "all.jsonl"],
        ["merge", "out", "chat.parquet", "--task", "chat"],
        ["merge", "out", "none.jsonl", "--task", "completions"],
        ["merge", "one.jsonl", "one.arrow"],
    )
    assert unclear.exit_code == absent.exit_code == 1
    assert "out holds embeddings and chat. Choose one with --task." in unclear.said
    assert "out holds no completions, only embeddings and chat." in absent.said
    assert (chosen.exit_code, single.exit_code) == (0, 0), (chosen, single)
    assert list(library.read_scores("chat.parquet")["chat"]) == answers("out", "chat")
    assert list(library.read_scores("one.arrow")["chat"]) == answers("out", "chat")
    for part in Path("out/chat").iterdir():
        part.unlink()
    both, only, as_json = batchscore.together(
        ["verify", "out"], ["verify", "out", "--task", "embeddings"], ["verify", "out", "--json"]
    )
    assert (both.exit_code, only.exit_code, as_json.exit_code) == (1, 0, 1), "the worst of both"
    assert re.search(
        r"(?s)^embeddings: .* Correct and complete.*^chat: .* Damaged: ", both.stdout, re.MULTILINE
    )
    found = json.loads(as_json.stdout)
    assert (found["exit_code"], [each["exit_code"] for each in found["tasks"]]) == (1, [0, 1])


def test_files_that_must_not_be_written_or_do_not_exist(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.lines("in/a.jsonl", [{"text": "one"}, {"text": "two"}])
    files.text("mine.jsonl", "my own\n")
    score(batchscore, deployment, task="chat")
    Path("empty").mkdir()
    Path("cut").mkdir()
    shutil.copytree("out", "cut/out")
    (part,) = Path("cut/out/chat").iterdir()
    part.write_bytes(part.read_bytes()[:-9])
    expected = {
        ("out", "mine.jsonl"): "mine.jsonl exists already",
        ("out", "out/all.jsonl"): "is in the output folder out itself",
        ("out", "out/chat/all.jsonl"): "is in the output folder out itself",
        ("out", "in/a.jsonl", "--overwrite"): "in/a.jsonl is the input a.jsonl of these scores",
        ("empty", "all.jsonl"): "empty is not an output of batchscore",
        ("nowhere", "all.jsonl"): "nowhere: there is no such output folder",
        ("mine.jsonl", "all.jsonl"): "the folder mine.jsonl.batchscore must be beside it",
        (
            "cut",
            "all.jsonl",
        ): "To see all damage, run: batchscore verify cut/out --task chat\n",
    }
    runs = batchscore.together(*(["merge", *words] for words in expected), ["merge", "out", "all.json"])
    assert runs.pop().exit_code == 2
    for run, (words, said) in zip(runs, expected.items(), strict=True):
        assert (run.exit_code, said in run.said) == (1, True), (words, run)
    assert Path("mine.jsonl").read_text("utf-8") == "my own\n"
    assert json.loads(Path("in/a.jsonl").read_text("utf-8").splitlines()[0]) == {"text": "one"}
    assert not Path("all.jsonl").exists()


def test_columns_that_differ_by_row_go_into_one_column(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """With `--keep '*'` each row keeps its own columns; one column of the file holds them."""
    files.lines("in/a.jsonl", [{"text": "one"}, {"text": "two", "lang": "en"}])
    score(batchscore, deployment, "--keep", "*", task="chat")
    run = batchscore("merge", "out", "all.parquet")
    assert run.exit_code == 0, run
    assert list(library.read_scores("all.parquet")["lang"]) == [None, "en"]
