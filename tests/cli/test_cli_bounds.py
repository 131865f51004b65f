"""Runs that stop at a limit of the user: completed rows are saved, and the same command resumes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_records import codes, records, whole

from batchscore.simulator import Running
from batchscore.simulator.script import Behaviour
from batchscore.simulator.words import CONTENT_FILTER_TRIGGER
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Files

ROWS = 12

#: Money for a token: so that a few rows cost something.
PRICES = ("--price-in", "1000000", "--price-out", "2000000")


def score(out: str, model: Deployment, *more: str) -> list[str]:
    return [
        *("score", "a.csv", "-o", out, "--task", "chat", "-m", model.name, "--column", "text"),
        *("--max-concurrency", "1", *more),
    ]


def test_a_budget_stops_the_run_and_the_same_command_resumes_with_a_new_budget(
    batchscore: Cli, files: Files, deployment: Deployment, simulator: Running
) -> None:
    """Nothing is paid for twice, whatever the number of runs; the one file appears when it is complete."""
    files.texts("a.csv", [f"row {row}" for row in range(ROWS)])
    priced = Deployment(simulator.endpoint, f"{deployment.name}-priced")
    tokens = score("out", deployment, "--max-total-tokens", "100", "--rows-per-part", "5")
    money = score("out.jsonl", priced, "--max-spend", "100", *PRICES)
    first, spent = batchscore.together(tokens, money)
    for run, words in (
        (first, "tokens, and --max-total-tokens is 100."),
        (spent, ", and --max-spend is 100."),
    ):
        assert run.exit_code == 4, run
        assert "Waiting for requests in flight." in run.said
        stopped, next_step = run.stdout.splitlines()[-2:]
        assert stopped.startswith("Stopped: this run has ")
        assert stopped.endswith(words)
        assert next_step.startswith("To resume, run: batchscore score a.csv ")
    assert " at the given prices" in spent.said
    assert not Path("out.jsonl").exists()
    assert 1 <= len(records(Path("out/chat"))) == deployment.statistics().count < ROWS
    runs = 0
    while (run := batchscore(*tokens, "--json")).exit_code == 4:
        runs += 1
        assert run.report["prompt_tokens"] + run.report["completion_tokens"] >= 100
        assert run.report["cost"] is None
        assert runs < ROWS
    assert (run.exit_code, run.report["reason"]) == (0, None)
    assert len(whole("out", "chat")[0]) == deployment.statistics().count == ROWS
    rest = batchscore(*money[:-6], "--json", *PRICES)
    assert (rest.exit_code, rest.report["ok"]) == (0, ROWS)
    assert rest.report["cost"] == rest.report["prompt_tokens"] + 2 * rest.report["completion_tokens"]
    assert priced.statistics().count == ROWS
    assert Path("out.jsonl").exists()


def test_a_limit_that_is_reached_with_the_last_row(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """If the file was read to its end, the run is done; otherwise the next run finds that out."""
    files.texts("a.csv", ["one"])
    bounded = ["--max-total-tokens", "1", "--json"]
    packs = ["embeddings" if word == "chat" else word for word in score("packed", deployment, *bounded)]
    packed, asked = batchscore.together(packs, score("asked", deployment, *bounded))
    assert (packed.exit_code, packed.report["reason"]) == (0, None)
    assert (asked.exit_code, asked.report["ok"]) == (4, 1)
    again = batchscore(*score("asked", deployment, *bounded))
    assert (again.exit_code, again.report["reason"], again.report["requests"]) == (0, None, 0)


def test_a_budget_that_cannot_be_counted(batchscore: Cli, files: Files, deployment: Deployment) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(ROWS)])
    choice = {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
    deployment.will(status=200, body={"choices": [choice]}, times=None)
    run = batchscore(*score("out", deployment, "--max-total-tokens", "1000"))
    assert run.exit_code == 1
    assert "Stopped: the service does not report billed tokens" in run.said
    fix = "Fix this. If a setting is wrong, change it in this command. To resume, run: batchscore score"
    assert run.stdout.splitlines()[-1].startswith(fix)
    assert len(records(Path("out/chat"))) == deployment.statistics().count < ROWS


def test_too_many_errors_stop_the_run_early(
    batchscore: Cli, files: Files, deployment: Deployment, simulator: Running
) -> None:
    """The user must act, unless the threshold allows the failures: then the next run may have as many."""
    texts = ["", "one", *[f"{row} {CONTENT_FILTER_TRIGGER}" for row in range(6)], *["more"] * 4]
    files.texts("a.csv", texts)
    allowed = Deployment(simulator.endpoint, f"{deployment.name}-allowed")
    strict = score("strict", deployment, "--max-errors", "2")
    tolerant = score("tolerant", allowed, "--max-errors", "2", "--error-threshold", "6")
    looked_at, resumed = batchscore.together(strict, tolerant)
    assert (looked_at.exit_code, resumed.exit_code) == (3, 4)
    for run, out, act in (
        (looked_at, "strict", "Fix this. If a setting is wrong, change it in this command. To resume"),
        (resumed, "tolerant", "To resume"),
    ):
        assert "rows of this run have failed, and --max-errors is 2." in run.said
        assert run.stdout.splitlines()[-1].startswith(f"{act}, run: batchscore score a.csv")
        failed = codes(records(Path(out, "errors", "chat")))
        assert set(failed.values()) == {"empty_input", "content_filter"}
        assert 2 <= sum(code == "content_filter" for code in failed.values()) < 6
    runs = 1
    while batchscore(*tolerant).exit_code == 4:
        runs += 1
        assert runs < 6
    assert runs > 1
    assert allowed.statistics().count == len(texts) - 1
    scores, errors = whole("tolerant", "chat")
    assert (len(scores), len(errors)) == (5, 7)


@pytest.mark.slow
@pytest.mark.alone
def test_a_deadline_ends_the_run_in_time_whatever_hangs(
    batchscore: Cli, files: Files, deployment: Deployment, simulator: Running
) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(300)])
    hanging = Deployment(simulator.endpoint, f"{deployment.name}-hanging")
    deployment.will_be_slow(0.1, times=None)
    hanging.will(Behaviour(times=3), Behaviour(hang=60.0, times=None))
    slow = score("slow", deployment, "--deadline", "3s")
    ended, cut = batchscore.together(slow, score("hanging", hanging, "--deadline", "3s", "--json"))
    assert ended.exit_code == 4, ended
    stopped, next_step = ended.stdout.splitlines()[-2:]
    assert stopped == "Stopped: the run must end by --deadline 3s."
    assert next_step.startswith("To resume, run: batchscore score a.csv")
    assert 1 <= len(records(Path("slow/chat"))) == deployment.statistics().count < 300
    assert (cut.exit_code, cut.report["ok"], cut.report["retried"]) == (4, 3, {"interrupted": 1})


def test_permanent_errors_are_retried_on_request(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """For example, when a filter was too strict. Scores and empty rows stay as they are."""
    texts = ["one", "two REFUSED", "", "four", "five REFUSED", f"six {CONTENT_FILTER_TRIGGER}", "seven"]
    files.texts("a.csv", texts)
    deployment.will(status=400, code="content_filter", when_input_contains="REFUSED", times=None)
    command = score("out", deployment, "--rows-per-part", "3", "--json")
    assert batchscore(*command).exit_code == 3
    assert set(codes(whole("out", "chat")[1])) == {("a.csv", row) for row in (1, 2, 4, 5)}
    deployment.reset()

    again = batchscore(*command)
    assert (again.exit_code, again.report["known"], deployment.statistics().count) == (3, 7, 0)

    run = batchscore(*command, "--retry-errors")
    assert (run.exit_code, run.report["ok"], run.report["known"]) == (3, 6 - 1, 4)
    asked = sorted(one.body["messages"][0]["content"] for one in deployment.requests())
    assert asked == sorted([texts[1], texts[4], texts[5]])
    scores, errors = whole("out", "chat")
    assert sorted(row for _, row in scores) == [0, 1, 3, 4, 6]
    assert codes(errors) == {("a.csv", 2): "empty_input", ("a.csv", 5): "content_filter"}


def test_a_retry_that_is_stopped_is_not_complete(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """Files that it did not reach count as not started, although an earlier run had completed them."""
    for name in ("a", "b"):
        files.texts(f"in/{name}.csv", [f"{name} {row} {CONTENT_FILTER_TRIGGER}" for row in range(2)])
        files.texts("in/c.csv", ["fine"])
    command = ["score", "in", *score("out", deployment, "--error-threshold", "9")[2:]]
    assert batchscore(*command).exit_code == 0
    run = batchscore(*command, "--retry-errors", "--max-errors", "1", "--json")
    assert run.exit_code == 4, run
    assert "b.csv" in run.report["files_not_started"]
    assert batchscore(*command, "--retry-errors").exit_code == 0
    scores, errors = whole("out", "chat")
    assert (len(scores), len(errors)) == (1, 4)
