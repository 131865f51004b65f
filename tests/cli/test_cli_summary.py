"""The summary of a run: the results of the rows, and in its last line the next command."""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from batchscore.report.advice import RunState, next_step
from batchscore.simulator.words import CONTENT_FILTER_TRIGGER
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Files


def next_command(text: str) -> list[str]:
    """Return the words of the command in the last line."""
    return shlex.split(text.splitlines()[-1].partition(": ")[2])


def test_the_last_line_is_the_next_command_and_it_works(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a b.csv", ["one", "two", "", f"the {CONTENT_FILTER_TRIGGER} row"])
    command = ["score", "a b.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    limited = batchscore(*command, "--limit", "2")
    assert next_command(limited.stdout) == ["batchscore", *command]

    whole = batchscore(*next_command(limited.stdout)[1:])
    assert whole.exit_code == 3
    lines = whole.stderr.splitlines()
    assert lines[0] == "chat: 4 rows of 1 file: 2 scored, 1 failed, 1 empty, 2 done by earlier runs"
    assert lines[1] == "  failed: 1 content filter: reword the text: the service refuses it"
    assert lines[2].startswith("  took:   ")
    assert lines[3] == "          1 request retried or failed: 1 content filter"
    assert lines[4].startswith("  used:   ")
    assert all(len(line) <= 80 for line in lines[:-1])
    assert next_command(whole.stderr) == ["batchscore", *command, "--retry-errors"]

    again = batchscore(*next_command(whole.stderr)[1:])
    assert next_command(again.stderr) == ["batchscore", *command, "--retry-errors"]
    assert "the row" not in limited.said + whole.said + again.said

    fine = batchscore(*command, "--error-threshold", "1")
    assert next_command(fine.stdout)[-1] == "--retry-errors"


def test_the_next_command_works_after_the_input_is_fixed(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """With `--incremental`; an output that cannot have it needs another way."""
    broken, fixed = "id,text\n1,one\n2,two,more\n3,four\n", "id,text\n1,one\n2,two\n3,four\n"
    Path("a.csv").write_text(broken)
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    first = batchscore(*command)
    assert next_command(first.stderr) == ["batchscore", *command, "--incremental"]
    limited = [word.replace("out", "few") for word in command] + ["--limit", "3"]
    few = batchscore(*limited)
    assert few.stderr.splitlines()[-1] == (
        "Score changed input files into a new output, or replace this one with --overwrite."
    )

    Path("a.csv").write_text(fixed)
    refused = batchscore(*command)
    assert (refused.exit_code, next_command(refused.stderr)) == (1, ["batchscore", *command, "--incremental"])
    assert "Fix this" not in refused.stderr
    done = batchscore(*next_command(refused.stderr)[1:])
    assert (done.exit_code, done.stdout.splitlines()[0]) == (
        0,
        "chat: 3 rows of 1 file: 3 scored, 0 failed, 2 done by earlier runs",
    )


def test_after_edits_the_next_command_is_incremental_also_beside_unreadable_files() -> None:
    state = RunState(task="chat", output="out", command=["batchscore", "score"], unreadable=True)
    assert next_step(state).command == "batchscore score"
    edited = replace(state, failed=1, codes=["unreadable_row"])
    assert next_step(edited).command == "batchscore score --incremental"
    assert next_step(replace(edited, takes_incremental=False)).command == ""


def test_names_of_files_do_not_act_as_names_of_settings(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a\x02task\x03.csv", ["one"])
    command = ["score", "a\x02task\x03.csv", "-o", "out", "--task", "chat", "-m", deployment.name]
    run = batchscore(*command, "--column", "none")
    assert r"a\x02task\x03.csv: no column 'none'" in run.stderr


def test_after_a_successful_run_the_next_command_shows_the_scores(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", ["one", "two"])
    command = ["score", "a.csv", "--task", "chat", "-m", deployment.name, "--column", "text", "-o"]
    folder, one_file = batchscore.together([*command, "out put"], [*command, "out.jsonl"])
    merged = batchscore(*next_command(folder.stdout)[1:])
    assert merged.stdout == "chat: 2 scores in out put-chat.jsonl\n"
    words = next_command(one_file.stdout)
    assert words[0] == "python"
    shown = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, check=True)
    assert "a.csv" in shown.stdout

    files.texts("empty.csv", [""])
    nothing = batchscore("score", "empty.csv", *command[2:], "nothing")
    assert next_command(nothing.stdout)[:3] == ["batchscore", "score", "empty.csv"]
