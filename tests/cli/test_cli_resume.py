"""The same command again: it scores only the missing rows, and refuses to mix two runs."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_records import codes, manifests, whole

from batchscore.simulator.words import CONTENT_FILTER_TRIGGER
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Files


def test_a_limit_then_all_then_another_run(batchscore: Cli, files: Files, deployment: Deployment) -> None:
    """A run is resumed with the same settings only; otherwise the message says what differs."""
    files.texts("in/a.csv", [f"row {row}" for row in range(8)])
    files.texts("in/b.csv", [f"next {row}" for row in range(4)])
    command = ["score", "in", "-o", "out", "--task", "chat", "-m", deployment.name]
    command += ["--column", "text", "--rows-per-part", "3"]
    limited = batchscore(*command, "--limit", "5", "--json")
    assert (limited.exit_code, limited.report["ok"], limited.report["limited"]) == (0, 5, True)
    assert deployment.statistics().count == 5
    assert manifests("out", "chat")["a.csv"]["state"] == "partial"

    rest = batchscore(*command)
    assert rest.exit_code == 0
    assert "12 rows of 2 files: 12 scored, 0 failed, 5 done by earlier runs" in rest.stdout
    assert deployment.statistics().count == 12
    assert {one.body["messages"][0]["content"] for one in deployment.requests()} == {
        *(f"row {row}" for row in range(8)),
        *(f"next {row}" for row in range(4)),
    }
    assert len(whole("out", "chat")[0]) == 12

    finished = batchscore(*command, "--limit", "5")
    assert finished.exit_code == 0
    assert "12 rows of 2 files: 12 scored, 0 failed, 12 done by earlier runs" in finished.stdout
    assert "--limit" not in finished.stdout

    files.texts("in/b.csv", [f"other {row}" for row in range(4)])
    settings_changed = batchscore(*command, "--system", "Be short.", "--id", "id", "--max-tokens", "9")
    input_changed = batchscore(*command, "--max-concurrency", "2", "--max-retries", "1")
    assert (settings_changed.exit_code, input_changed.exit_code) == (1, 1)
    for change in ("id was not set, is now 'id'", "max_tokens was not set, is now 9", "--overwrite"):
        assert change in settings_changed.said
    assert "b.csv has changed since it was scored" in input_changed.said
    assert ", b.csv has changed" in input_changed.stdout.splitlines()[0]
    for way in ("--incremental", "another output", "--overwrite"):
        assert way in input_changed.said
    limited = batchscore(*command, "--limit", "12")
    assert (limited.exit_code, limited.said.count("has changed since it was scored")) == (1, 1)
    assert "Add --incremental" not in limited.said, "the two cannot be combined"
    assert "--incremental cannot be used with --limit" in limited.said
    assert deployment.statistics().count == 12
    assert len(whole("out", "chat")[0]) == 12

    anew = batchscore(*command, "--max-tokens", "9", "--overwrite")
    assert anew.exit_code == 0
    assert "--overwrite discarded 12 scores" in anew.said
    # One more for the word that is asked before the old scores go.
    assert deployment.statistics().count == 25
    assert len(whole("out", "chat")[0]) == 12


@pytest.mark.slow
def test_a_changed_file_is_incomplete_until_the_offered_command_has_scored_it(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """`verify`, `merge` and the run offer the same: the same command again would end in the same way."""
    for name in "abc":
        files.texts(f"in/{name}.csv", [f"{name} {row}" for row in range(4)])
    command = ["score", "in", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    assert batchscore(*command).exit_code == 0
    files.texts("in/b.csv", [f"b {row}" for row in range(5)])
    for changed in (["b.csv: has changed"], ["b.csv: has changed", "d.csv: not started"]):
        run = batchscore(*command)
        assert run.exit_code == 1
        offered = run.stdout.rpartition("To score new or changed rows, run: batchscore ")[2]
        verified, merged, report = batchscore.together(
            ["verify", "out"], ["merge", "out", "all.jsonl", "--overwrite"], ["report", "out"]
        )
        assert verified.exit_code == 1, verified
        assert [line for line in verified.stdout.splitlines() if line.startswith("incomplete: ")] == [
            f"incomplete: {what}{' since it was scored' if 'changed' in what else ''}" for what in changed
        ]
        assert (
            "The last run stopped: b.csv has changed since it was scored. Add --incremental" in verified.said
        )
        assert verified.stdout.endswith(f"To score new or changed rows, run: batchscore {offered}")
        assert (merged.exit_code, report.exit_code) == (4, 4)
        assert "b.csv: has changed since it was scored" in merged.stderr
        assert "The last run stopped: b.csv has changed" in report.stderr
        assert "same score command" not in verified.said + report.stderr
        files.texts("in/d.csv", ["d"])
    done = batchscore(*shlex.split(offered))
    assert (done.exit_code, deployment.statistics().count) == (0, 12 + 1 + 1)
    assert batchscore("verify", "out").exit_code == 0


@pytest.mark.slow
def test_overwrite_discards_nothing_before_the_first_response(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", ["one", "two"])
    command = ["score", "a.csv", "--task", "chat", "-m", deployment.name, "--column", "text"]
    outs = (["-o", "out"], ["-o", "out.jsonl"])
    for out in outs:
        assert batchscore(*command, *out).exit_code == 0
    before, one_file = whole("out", "chat"), Path("out.jsonl").read_bytes()
    for status, said, out in (
        (401, "credentials", outs[0]),
        (400, "refused the first row and a test request", outs[0]),
        (404, "deployment", outs[1]),
    ):
        deployment.will(status=status, times=None)
        refused = batchscore(*command, *out, "--max-tokens", "9", "--overwrite")
        assert refused.exit_code == 1
        assert said in refused.said
        assert "discarded" in refused.said
        deployment.reset()
    assert whole("out", "chat") == before
    assert Path("out.jsonl").read_bytes() == one_file
    anew = batchscore(*command, "-o", "out", "--overwrite")
    assert anew.exit_code == 0
    records = [json.loads(path.read_text()) for path in Path("out/runs").glob("*.json")]
    (record,) = (each for each in records if each["settings"]["overwrite"])
    told = record["this_run"]
    assert told["tokens_kept"] == record["tokens_kept"] < told["tokens_billed"], "the question was billed"
    assert {each["file"] for each in record["timeline"]["slowest"]} == {"a.csv"}


def test_rows_with_transient_errors_are_retried(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """The others would fail again, so they are not retried."""
    texts = ["one", "two BROKEN", f"three {CONTENT_FILTER_TRIGGER}", "", "five", "six"]
    files.texts("a.csv", texts)
    # Late, so that meanwhile others are answered: else it would be an outage, not a row's bad luck.
    deployment.will(status=500, latency=0.5, when_input_contains="BROKEN", times=None)
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    run = batchscore(*command, "--max-retries", "0")
    assert run.exit_code == 3
    assert codes(whole("out", "chat")[1]) == {
        ("a.csv", 1): "server_error",
        ("a.csv", 2): "content_filter",
        ("a.csv", 3): "empty_input",
    }
    deployment.reset()
    run = batchscore(*command, "--max-retries", "0")
    assert [one.body["messages"][0]["content"] for one in deployment.requests()] == ["two BROKEN"]
    assert run.exit_code == 3  # one row has been refused for good
    scores, errors = whole("out", "chat")
    assert [row for _, row in scores] == [0, 1, 4, 5]
    assert codes(errors) == {("a.csv", 2): "content_filter", ("a.csv", 3): "empty_input"}


def test_a_part_that_was_lost_is_scored_again(batchscore: Cli, files: Files, deployment: Deployment) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(9)])
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    command += ["--rows-per-part", "3", "--json"]
    assert batchscore(*command).exit_code == 0
    first, _, last = sorted(Path("out/chat").iterdir())
    first.unlink()
    last.write_text("cut short", "utf-8")
    deployment.reset()
    again = batchscore(*command)
    assert (again.exit_code, again.report["ok"], again.report["known"]) == (0, 9, 3)
    assert deployment.statistics().count == 6
    assert len(whole("out", "chat")[0]) == 9


def test_intact_records_of_a_damaged_part_are_not_scored_again(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """As after a crash between a part's two files: the error records are missing, the scores are paid for."""
    files.texts("a.csv", ["one", f"two {CONTENT_FILTER_TRIGGER}", "three"])
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    assert batchscore(*command).exit_code == 3
    (errors,) = Path("out/errors/chat").iterdir()
    errors.unlink()
    deployment.reset()
    assert batchscore(*command).exit_code == 3
    assert deployment.statistics().count == 1
    scores, failed = whole("out", "chat")
    assert (len(scores), len(failed)) == (2, 1)


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--incremental"]])
@pytest.mark.parametrize(
    ("damage", "said", "lost"),
    [
        ("manifest", "a.csv (and 1 more): its manifest is missing, though scores are there. Its rows are", 5),
        ("scores", "a.csv: 1 part of its records is damaged or missing. The lost rows are", 2),
    ],
)
def test_plan_and_run_say_that_lost_rows_are_paid_for_again(
    batchscore: Cli, files: Files, deployment: Deployment, more: list[str], damage: str, said: str, lost: int
) -> None:
    files.texts("in/a.csv", ["one", "two", "three"])
    files.texts("in/b.csv", ["four", "five"])
    command = ["in", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    command += ["--rows-per-part", "2"]
    assert batchscore("score", *command).exit_code == 0
    deployment.reset()
    plan = batchscore("plan", *command, *more)
    assert "damaged" not in plan.stdout
    assert "to score       0 rows" in plan.stdout, plan
    if damage == "manifest":
        shutil.rmtree("out/manifest")
    else:
        part = min(Path("out/chat").glob("part-a*-00000*"))
        part.write_bytes(part.read_bytes()[:-5])
    plan = batchscore("plan", *command, *more)
    assert re.search(rf"to score +{lost} rows", plan.stdout), plan
    assert "damaged: a.csv: " in plan.stdout
    run = batchscore("score", *command, *more)
    assert run.exit_code == 0
    assert f"{said} scored, and paid for, again." in run.said
    assert deployment.statistics().count == lost
    assert run.said.count("paid for, again") == 1
    assert "paid for" not in batchscore("score", *command, *more).said
    assert batchscore("verify", "out").exit_code == 0


def test_a_run_that_scored_nothing_blocks_no_other(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", ["one", "two"])
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    run = batchscore(*command, "--param", "bogus=1")
    assert run.exit_code == 1
    assert "so a parameter is probably wrong" in run.said
    run = batchscore(*command)
    assert run.exit_code == 0, run
    scores, errors = whole("out", "chat")
    assert (len(scores), len(errors)) == (2, 0)


@pytest.mark.crash
def test_a_killed_run_resumes_with_one_record_per_row(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    rows = 120
    files.texts("a.csv", [f"row {row}" for row in range(rows)])
    command = ["score", "a.csv", "-o", "out", "--task", "embeddings", "-m", deployment.name]
    command += ["--column", "text", "--rows-per-part", "10", "--batch-size", "2", "--max-concurrency", "2"]
    deployment.will_be_slow(0.02, times=None)
    with batchscore.start(*command) as process:
        deployment.wait_for(40)
        process.popen.kill()
        process.popen.wait()
    # What a killed process leaves half-written never carries a name that readers look for.
    left = list(Path("out").rglob(".*.tmp"))
    assert len(left) <= 1
    for path in left:
        path.unlink()
    deployment.reset()
    run = batchscore(*command, "--json")
    assert run.exit_code == 0, run
    assert run.report["known"] >= 10
    assert deployment.statistics().count <= (rows - 10) / 2
    scores, errors = whole("out", "embeddings")
    assert scores.keys() == {("a.csv", row) for row in range(rows)}
    assert not errors
