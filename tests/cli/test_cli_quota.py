"""Quotas with the real command and a real server: set, read from headers, shared, added up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_records import codes, whole

from batchscore import read_scores
from batchscore.simulator import Running, start
from batchscore.simulator.script import Behaviour
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Files


def told(running: Running) -> dict[str, str]:
    return {"OPENAI_BASE_URL": f"{running.endpoint}/v1", "OPENAI_API_KEY": running.key}


@pytest.mark.slow
def test_a_strict_quota_is_kept_with_limits_from_settings_and_from_headers(
    batchscore: Cli, files: Files
) -> None:
    """A bucket of one second: two seconds' worth at one time is refused."""
    files.texts("a.csv", [f"row {row} of the tide table, with some words more " * 6 for row in range(300)])
    common = ["score", "a.csv", "--task", "embeddings", "--column", "text"]
    with start(dimensions=4, tpm=600_000, rpm=6000, burst_seconds=1.0) as strict:
        runs = batchscore.together(
            [*common, "-m", "given", "-o", "given", "--rpm", "6000", "--tpm", "600000", "--json"],
            [*common, "-m", "headers", "-o", "headers", "--json"],
            env=told(strict),
        )
    for run, out in zip(runs, ("given", "headers"), strict=True):
        assert run.exit_code == 0, run
        assert run.report["retried"].get("rate_limited", 0) <= 1
        assert len(whole(out, "embeddings")[0]) == 300


@pytest.mark.slow
def test_processes_on_one_quota_keep_it_together_and_one_may_be_killed(batchscore: Cli, files: Files) -> None:
    command: list[list[str]] = []
    for worker in range(4):
        files.texts(f"{worker}.csv", [f"row {row} of worker {worker}" for row in range(60)])
        command.append(
            [*("score", f"{worker}.csv", "-o", f"out{worker}", "--task", "chat", "--column", "text"),
             *("-m", "shared", "--rpm", "2400", "--max-tokens", "5", "--json")]
        )  # fmt: skip
    with start(rpm=2400, burst_seconds=1.0) as strict:
        shared = Deployment(strict.endpoint, "shared")
        processes = [batchscore.start(*each, env=told(strict)) for each in command]
        shared.wait_for(40)
        with processes[2] as killed:
            killed.popen.kill()
        runs = []
        for number in (0, 1, 3):
            with processes[number] as process:
                runs.append(process.finish())
        runs.append(batchscore(*command[2], env=told(strict)))
        statuses = shared.statistics().statuses
    for run in runs:
        assert run.exit_code == 0, run
    for worker in range(4):
        assert len(whole(f"out{worker}", "chat")[0]) == 60
    # Without shared books four times the quota would be asked for.
    assert statuses.get("429", 0) <= 4


@pytest.mark.slow
def test_all_deployments_of_the_file_are_used_except_a_dead_one(
    batchscore: Cli, files: Files, deployment: Deployment, simulator: Running
) -> None:
    others = [Deployment(simulator.endpoint, f"{deployment.name}-{name}") for name in ("east", "gone")]
    deployment.will_be_slow(0.05, times=None)
    others[0].will_be_slow(0.05, times=None)
    others[1].will(Behaviour(status=404, message="We serve no ravioli.", times=None))
    tables = "".join(
        f'[[deployments]]\nname = "{name}"\nrpm = 1200\n'
        f'deployment = "{one.name}"\nkey_variable = "BATCHSCORE_{name}_KEY"\n'
        for name, one in zip(("west", "east", "gone"), (deployment, *others), strict=True)
    )
    files.text("batchscore.toml", f'task = "chat"\nmodel = "m"\ncolumn = "text"\n{tables}')
    files.texts("a.csv", [f"row {row}" for row in range(100)])
    key = simulator.key
    run = batchscore(
        *("score", "a.csv", "-o", "out", "--json", "--config", "batchscore.toml"),
        env={f"BATCHSCORE_{name}_KEY": key for name in ("west", "east", "gone")},
    )
    assert run.exit_code == 0, run
    assert len(whole("out", "chat")[0]) == 100
    assert "gone is no longer used" in run.said
    assert 'The reply to a test request: "We serve no ravioli."' in run.stderr
    assert "ravioli" not in run.stdout
    asked = [one.statistics().statuses.get("200", 0) for one in (deployment, *others)]
    assert sum(asked) == 100
    assert min(asked[:2]) >= 20
    (record,) = Path("out/runs").iterdir()
    assert "ravioli" not in record.read_text("utf-8")
    assert [each["name"] for each in json.loads(record.read_bytes())["endpoints"]] == ["west", "east", "gone"]
    assert key not in record.read_text()


def test_invalid_deployment_tables_are_refused(batchscore: Cli, files: Files) -> None:
    files.texts("a.csv", ["one"])
    base = 'task = "chat"\nmodel = "m"\ncolumn = "text"\n[[deployments]]\n'
    wrong = {
        'key = "secret-value"\n': "key_variable names the variable",
        "rpm = -1\n": "must be a number above 0",
        'key_variable = "BATCHSCORE_NO_KEY"\n': "BATCHSCORE_NO_KEY as key_variable, but it is not set",
    }
    for number, (table, said) in enumerate(wrong.items()):
        files.text(f"{number}.toml", base + table)
        run = batchscore("score", "a.csv", "-o", "out", "--config", f"{number}.toml")
        assert run.exit_code in {1, 2}, run
        assert said in run.said
        assert "secret-value" not in run.said


@pytest.mark.slow
def test_long_rows_are_truncated_on_request(batchscore: Cli, files: Files, deployment: Deployment) -> None:
    files.texts("a.csv", ["short enough", "much too long " * 3000, "short as well"])
    command = ["score", "a.csv", "--task", "embeddings", "--column", "text", "-m", deployment.name]
    cut, whole_or_nothing = batchscore.together(
        [*command, "-o", "cut", "--on-long-input", "truncate"],
        [*command, "-o", "strict", "--format", "parquet"],
    )
    assert (cut.exit_code, whole_or_nothing.exit_code) == (0, 3), (cut, whole_or_nothing)
    scores, errors = whole("cut", "embeddings")
    assert not errors
    assert [record["truncated"] for record in scores.values()] == [False, True, False]
    parquet = batchscore(*command, "-o", "cut.parquet", "--on-long-input", "truncate")
    assert parquet.exit_code == 0, parquet
    assert list(read_scores("cut.parquet")["truncated"]) == [False, True, False]


def test_duplicate_prompts_are_sent_once(batchscore: Cli, files: Files, deployment: Deployment) -> None:
    files.texts("a.csv", ["yes", "no", "yes", "", "no", "yes"] * 20)
    run = batchscore(
        *("score", "a.csv", "-o", "out", "--task", "chat", "--column", "text", "-m", deployment.name),
        "--dedup",
    )
    assert run.exit_code == 0, run
    scores, errors = whole("out", "chat")
    assert (len(scores), len(errors)) == (100, 20)
    assert set(codes(errors).values()) == {"empty_input"}
    assert deployment.statistics().statuses["200"] == 2
    assert len({record["chat"] for record in scores.values()}) == 2


def test_a_wrong_parameter_is_not_a_million_row_errors(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(500)])
    run = batchscore(
        *("score", "a.csv", "-o", "out", "--task", "chat", "--column", "text", "-m", deployment.name),
        *("--param", "temperature=77"),
    )
    assert run.exit_code == 1, run
    assert "20 rows for the same reason" in run.said
    assert deployment.statistics().count == 21, "and the probe"


def test_what_the_service_says_to_our_own_word_is_shown_and_not_kept(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """The words are lost where they might stay: in records, manifests, the page and the lines of `--json`."""
    files.texts("a.csv", [f"row {row}" for row in range(50)])
    command = ("score", "a.csv", "--task", "chat", "--column", "text", "-m", deployment.name)
    deployment.will(status=400, code="bad_thing", message="We like no ravioli.", times=None)
    plain = batchscore(*command, "-o", "out")
    lines = batchscore(*command, "-o", "json", "--json")
    for run in (plain, lines):
        assert run.exit_code == 1, run
    assert 'The reply to a test request: "We like no ravioli."' in plain.said
    assert plain.said.count("Requests go to ") == 2, "at first, and in the reason"
    assert "ravioli" not in lines.stdout
    assert 'Stopped. The reply to a test request: "We like no ravioli."' in lines.stderr
    kept = [path for folder in ("out", "json") for path in Path(folder).rglob("*") if path.is_file()]
    assert any("rows for the same reason" in path.read_text("utf-8") for path in kept)
    assert not [path for path in kept if b"ravioli" in path.read_bytes()]
