"""The summary of a run: the results of the rows, and in its last line the next command."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from batchscore.cli.summary import headline
from batchscore.report.run_end import RunEnd
from batchscore.rows import FileFinished
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
    lines = whole.stdout.splitlines()
    assert lines[0] == "chat: 4 rows of 1 file: 2 scored, 1 failed, 1 empty, 2 done by earlier runs"
    assert lines[1] == "  read: a b.csv: column 'text'"
    assert lines[2] == "  failed: 1 content filter: reword the text: the service refuses it"
    assert lines[3].startswith("  took:   ")
    assert lines[4] == "          1 request retried or failed: 1 content filter"
    assert lines[5].startswith("  used:   ")
    assert all(len(line) <= 80 for line in lines[:-1])
    assert next_command(whole.stdout) == ["batchscore", *command, "--retry-errors", "--incremental"]

    again = batchscore(*next_command(whole.stdout)[1:])
    assert next_command(again.stdout) == ["batchscore", *command, "--retry-errors", "--incremental"]
    assert "the row" not in limited.said + whole.said + again.said
    fine = batchscore(*command, "--error-threshold", "1")
    assert next_command(fine.stdout)[-3:] == ["1", "--retry-errors", "--incremental"]

    files.texts("a b.csv", ["one", "two", "", "the reworded row"])
    assert batchscore(*next_command(again.stdout)[1:]).exit_code == 0


def test_the_next_command_works_after_the_input_is_fixed(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """With `--incremental`; an output that cannot have it needs another way."""
    broken, fixed = "id,text\n1,one\n2,two,more\n3,four\n", "id,text\n1,one\n2,two\n3,four\n"
    Path("a.csv").write_text(broken)
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    first = batchscore(*command)
    assert next_command(first.stdout) == ["batchscore", *command, "--incremental"]
    limited = [word.replace("out", "few") for word in command] + ["--limit", "3"]
    few = batchscore(*limited)
    assert few.stdout.splitlines()[-1] == (
        "Fix the causes. To score these rows again, name a new output, or replace this one with --overwrite."
    )

    Path("empty.csv").write_text("")
    empty = ["score", "empty.csv", "-o", "none", *command[4:], "--limit", "3"]
    assert next_command(batchscore(*empty).stdout) == ["batchscore", *empty, "--overwrite"]
    Path("empty.csv").write_text(fixed)
    assert batchscore(*empty, "--overwrite").exit_code == 0

    Path("a.csv").write_text(fixed)
    refused = batchscore(*command)
    assert (refused.exit_code, next_command(refused.stdout)) == (1, ["batchscore", *command, "--incremental"])
    assert "Fix this" not in refused.stdout
    done = batchscore(*next_command(refused.stdout)[1:])
    assert (done.exit_code, done.stdout.splitlines()[0]) == (
        0,
        "chat: 3 rows of 1 file: 3 scored, 0 failed, 2 done by earlier runs",
    )


def test_names_of_files_do_not_act_as_names_of_settings(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a\x02task\x03.csv", ["one"])
    command = ["score", "a\x02task\x03.csv", "-o", "out", "--task", "chat", "-m", deployment.name]
    run = batchscore(*command, "--column", "none")
    assert r"a\x02task\x03.csv: no column 'none'" in run.said


@pytest.mark.slow
def test_after_a_successful_run_the_next_command_shows_the_scores(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", ["one", "two"])
    command = ["score", "a.csv", "--task", "chat", "-m", deployment.name, "--column", "text", "-o"]
    folder, one_file = batchscore.together([*command, "out put"], [*command, "out.jsonl"])
    merged = batchscore(*next_command(folder.stdout)[1:])
    assert merged.stdout == "chat: 2 scores in out put-chat.jsonl\n"
    words = next_command(one_file.stdout)
    shown = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "a.csv" in shown.stdout

    files.texts("empty.csv", [""])
    nothing = batchscore("score", "empty.csv", *command[2:], "nothing")
    assert next_command(nothing.stdout)[:3] == ["batchscore", "score", "empty.csv"]


def test_a_rehearsal_in_which_all_rows_fail_does_not_propose_the_whole_run(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", [f"the {CONTENT_FILTER_TRIGGER} row"] * 2 + ["fine"])
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    run = batchscore(*command, "--limit", "2")
    assert next_command(run.stdout) == ["batchscore", *command, "--limit", "2", "--retry-errors"]


def test_errors_of_earlier_runs_are_fixed_by_the_command_that_fits_all(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """The second run reads why rows failed in the first one, and says so."""
    Path("a.jsonl").write_text('{"text": "one"}\n{broken\n')
    command = ["score", "a.jsonl", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    batchscore(*command)
    again = batchscore(*command)
    assert "  failed: 1 unreadable row: fix these rows of the input; see the error records" in again.stdout
    assert json.loads(batchscore(*command, "--json").stdout.splitlines()[-1])["errors_by_code"] == {
        "unreadable_row": 1
    }
    assert next_command(again.stdout) == ["batchscore", *command, "--incremental"]
    Path("a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    fixed = batchscore(*next_command(again.stdout)[1:])
    assert (fixed.exit_code, fixed.stdout.splitlines()[0]) == (
        0,
        "chat: 2 rows of 1 file: 2 scored, 0 failed, 1 done by earlier runs",
    )


def test_the_summary_is_on_standard_output_whether_rows_fail_or_not(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    for rows, code in (([{"text": "a"}], 0), ([{"text": "a"}, {"words": "b"}], 3)):
        files.lines("a.jsonl", rows)
        command = ["score", "a.jsonl", "-o", f"out{code}", "--task", "chat", "-m", deployment.name]
        run = batchscore(*command, "--column", "text")
        assert (run.exit_code, run.stdout.splitlines()[0][:6]) == (code, "chat: ")
        assert "scored" not in run.stderr


def test_what_remains_is_counted_also_in_files_that_were_not_read(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", ["one", "two"])
    files.texts("b.csv", ["three", "four", "five"])
    run = batchscore(
        *("score", "a.csv", "b.csv", "-o", "out", "--task", "chat", "-m", deployment.name),
        *("--column", "text", "--max-total-tokens", "1", "--max-concurrency", "1"),
    )
    assert run.stdout.splitlines()[0].startswith("chat: 1 row done, 0 failed, 4 remaining")


@pytest.mark.slow
def test_the_table_of_an_earlier_run_is_not_named_as_the_scores(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", ["one", "two", "three", "four"])
    command = ["score", "a.csv", "-o", "st.csv", "--task", "chat", "-m", deployment.name, "--column", "text"]
    limited = batchscore(*command, "--limit", "1")
    assert "  scores: st.csv\n" in limited.stdout
    stopped = batchscore(*command, "--max-total-tokens", "1", "--max-concurrency", "1")
    assert stopped.exit_code == 4, stopped
    named = "  scores: st.csv.batchscore/chat\n          st.csv still holds the scores of an earlier run. "
    offered = "To write the rows so far, run: batchscore merge st.csv st-so-far-2.csv --task chat\n"
    assert named + offered in stopped.stdout
    assert batchscore(*shlex.split(offered)[8:]).exit_code == 4
    assert Path("st-so-far-2.csv").read_text().count("\n") == 1 + 4
    Path("st.csv").unlink()
    without = batchscore(*command, "--max-total-tokens", "1", "--max-concurrency", "1")
    offered = offered.replace("far-2", "far-3")
    assert f"          st.csv is not written yet. {offered}" in without.stdout
    assert batchscore(*shlex.split(offered)[8:]).exit_code == 4
    again = batchscore(*command, "--max-total-tokens", "1", "--max-concurrency", "1", "--json")
    assert (again.exit_code, again.report["output_written"]) == (4, False)
    # No table can be made of an input that is not there any more.
    files.texts("a.csv", ["other", "two", "three", "four"])
    changed = batchscore(*command)
    assert (changed.exit_code, "st.csv is not written yet\n" in changed.stdout) == (1, True), changed
    assert "To write the rows so far" not in changed.stdout


def test_rows_below_a_limit_remain_and_nothing_is_wrong() -> None:
    read = FileFinished("a.csv", "partial", 60, 3, 0, 0, complete=False)
    for limited, words in ((True, "57 remaining"), (False, "57 read but not scored")):
        run: Any = SimpleNamespace(
            outcome=RunEnd((read,), limited=limited),
            settings=SimpleNamespace(task="chat", simulate=False, part_of=None, shared_output=False),
        )
        assert f"0 failed, {words}, 1 file not read completely" in headline(run, None)


@pytest.mark.slow
@pytest.mark.process
def test_a_closed_standard_error_changes_nothing(files: Files) -> None:
    files.texts("a.csv", ["one", "two"])
    score = f"{sys.executable} -m batchscore score a.csv -o out.csv --task chat -m m --column text --simulate"
    run = subprocess.run(["bash", "-c", f"{score} 2>&-"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert "2 scored" in run.stdout
    assert len(Path("out.csv").read_text().splitlines()) == 3


def test_a_shell_that_left_a_backslash_is_noticed(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", ["one"])
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name]
    run = batchscore(*command, "--prompt", r"Topic:\n{text}")
    assert "--prompt holds a backslash and an n, not a line break" in run.said


def test_answers_without_text_are_counted(batchscore: Cli, files: Files, deployment: Deployment) -> None:
    deployment.will(shape="reasoning_only", times=3)
    files.csv("in.csv", [{"text": f"row {row}"} for row in range(5)])
    run = batchscore(
        "score", "in.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"
    )
    assert run.exit_code == 0
    assert "  3 answers without text\n" in run.said
