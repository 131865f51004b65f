"""A service that misbehaves: rows are retried, bad ones are isolated, and responses are checked."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from cli_records import codes, same, whole

from batchscore.simulator import Running, start
from batchscore.simulator.script import Behaviour
from batchscore.simulator.words import CONTENT_FILTER_TRIGGER
from measured import MEASURE
from sampled import mostly_slow
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Direct, Files


def test_bad_rows_in_a_batch_fail_alone(
    batchscore: Cli, files: Files, direct: Direct, deployment: Deployment
) -> None:
    texts = [f"row {row} of the pack" for row in range(30)]
    texts[11] = f"a text that {CONTENT_FILTER_TRIGGER} refuses"
    texts[23] = "too long " * 4000
    files.texts("a.csv", texts)
    run = batchscore(
        *("score", "a.csv", "-o", "out", "--task", "embeddings", "--column", "text", "-m", deployment.name)
    )
    assert run.exit_code == 3, run
    assert "1 content filter" in run.said
    assert "1 input too long" in run.said
    scores, errors = whole("out", "embeddings")
    assert codes(errors) == {("a.csv", 11): "content_filter", ("a.csv", 23): "input_too_long"}
    assert errors["a.csv", 11]["error"]["status"] == 400
    good = [row for row in range(30) if row not in {11, 23}]
    for row, vector in zip(good, direct.vectors([texts[row] for row in good]), strict=True):
        assert same(scores["a.csv", row]["embeddings"], vector)


def test_a_long_row_is_first_cut_to_what_fitted_of_another(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """The service does not say how much fits: each step of the search is a refused request."""
    files.texts("a.csv", [f"row {row} {'word ' * 40_000}" for row in range(12)])
    run = batchscore(
        *("score", "a.csv", "-o", "out", "--task", "embeddings", "--column", "text", "-m", deployment.name),
        *("--on-long-input", "truncate", "--json"),
    )
    assert run.exit_code == 0, run
    assert run.report["requests"] <= 12 * 3 + 8
    scores, _ = whole("out", "embeddings")
    assert len(scores) == 12
    assert all(score["truncated"] for score in scores.values())


@pytest.mark.slow
def test_invalid_responses_are_rejected(
    batchscore: Cli, files: Files, direct: Direct, deployment: Deployment
) -> None:
    """Shuffled vectors are put in order, floats are accepted, everything else is retried."""
    texts = [f"row {row} of the tide table" for row in range(48)]
    files.texts("a.csv", texts)
    deployment.will(
        Behaviour(status=429, retry_after=0.7),
        Behaviour(status=502, text="<html>Bad gateway</html>"),
        Behaviour(vectors="shuffled", times=2),
        Behaviour(vectors="floats"),
        Behaviour(vectors="duplicated"),
        Behaviour(vectors="missing"),
        Behaviour(vectors="not_finite"),
        Behaviour(truncate=0.5),
        Behaviour(drop="after"),
        Behaviour(status=200, text="<html>Please log in</html>"),
    )
    run = batchscore(
        *("score", "a.csv", "-o", "out", "--task", "embeddings", "--column", "text", "-m", deployment.name),
        *("--batch-size", "8", "--max-concurrency", "2", "--json"),
    )
    assert run.exit_code == 0, run
    retried = run.report["retried"]
    assert retried.pop("probe", 1) == 1, "sent if several requests fail at once"
    assert retried.pop("invalid_response") in {3, 4}, (
        "one wrong vector makes no reply invalid, unless it is alone"
    )
    assert retried == {"rate_limited": 1, "server_error": 1, "connection_error": 2}
    scores, errors = whole("out", "embeddings")
    assert not errors
    for row, vector in enumerate(direct.vectors(texts)):
        assert same(scores["a.csv", row]["embeddings"], vector), row
    asked = deployment.requests()
    assert asked[1].at - asked[0].at >= 0.7, "retry-after was not honoured"


@pytest.mark.slow
def test_a_server_with_a_smaller_batch_limit(batchscore: Cli, files: Files) -> None:
    """It refuses one request; the batches after it are not larger."""
    files.texts("a.csv", [f"row {row}" for row in range(200)])
    with start(dimensions=4, max_inputs=16, record_last=100) as small:
        run = batchscore(
            *("score", "a.csv", "-o", "out", "--task", "embeddings", "--column", "text", "-m", "small"),
            *("--batch-size", "64"),
            env={"OPENAI_BASE_URL": f"{small.endpoint}/v1", "OPENAI_API_KEY": small.key},
        )
        asked = [
            (one.status, len(one.body["input"])) for one in Deployment(small.endpoint, "small").requests()
        ]
    assert run.exit_code == 0, run
    assert len(whole("out", "embeddings")[0]) == 200
    refused = [size for status, size in asked if status == 400]
    assert refused == [64], "its quarters are small enough"
    assert {size for status, size in asked[-5:]} <= {16, 8}


def test_an_outage_in_the_middle_keeps_completed_rows(
    batchscore: Cli, files: Files, deployment: Deployment, simulator: Running
) -> None:
    """No request succeeds any more: that is not a row's fault, so no row gets an error record."""
    files.texts("a.csv", [f"row {row}" for row in range(10)])
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "--column", "text", "-m", deployment.name]
    command += ["--max-concurrency", "1", "--max-retries", "0", "--max-outage", "1"]
    deployment.will(Behaviour(times=4), Behaviour(status=503, times=None))
    run = batchscore(*command, "--json")
    assert run.exit_code == 4
    assert (run.report["ok"], run.report["errors"]) == (4, 0)
    assert "the service has not responded for" in run.report["reason"]
    assert "(503, server_error)" in run.report["reason"]
    deployment.reset()
    assert batchscore(*command).exit_code == 0
    assert deployment.statistics().count == 6, "what was answered is not asked again"
    assert len(whole("out", "chat")[0]) == 10


def test_replies_that_official_clients_read_are_read(
    batchscore: Cli, files: Files, direct: Direct, deployment: Deployment
) -> None:
    ways = ("gzip", "gzip_twice", "bom", "utf_16", "half_emoji", "large_header", "many_headers")
    texts = [f"row {row}" for row in range(len(ways))]
    files.texts("a.csv", texts)
    for way in ways:
        deployment.will_send(way)
    run = batchscore(
        *("score", "a.csv", "-o", "out", "--task", "chat", "--column", "text", "-m", deployment.name),
        *("--max-concurrency", "1", "--json"),
    )
    assert run.exit_code == 0, run
    assert deployment.statistics().count == len(ways)
    scores, _ = whole("out", "chat")
    for row, (way, text) in enumerate(zip(ways, texts, strict=True)):
        half = "\ufffd" if way == "half_emoji" else ""
        assert scores["a.csv", row]["chat"] == half + str(direct.chat(text))


@mostly_slow("task", ["chat", "embeddings"], ["chat"])
@mostly_slow(
    "way,status",
    [("gzip_bomb", None), ("endless", None), ("gzip_bomb", 400), ("endless", 500)],
    [("gzip_bomb", None), ("endless", 500)],
)
def test_a_reply_of_gigabytes_costs_its_row(
    batchscore: Cli, files: Files, deployment: Deployment, task: str, way: str, status: int | None
) -> None:
    files.texts("a.csv", [f"row {row}" + " poison" * (row == 7) for row in range(10)])
    deployment.will_send(way, status=status, when_input_contains="poison", times=None)
    run = batchscore(
        *("score", "a.csv", "-o", "out", "--task", task, "--column", "text", "-m", deployment.name),
        *("--max-retries", "0", "--batch-size", "1"),
    )
    assert run.exit_code == 3, run
    scores, errors = whole("out", task)
    error = errors["a.csv", 7]["error"]
    code, message = "invalid_response", "than was asked for"
    if status == 500:  # it says enough without its body
        code, message = "server_error", "The service failed (500)."
    assert codes(errors) == {("a.csv", 7): code}
    assert len(scores) == 9
    assert message in error["message"]
    assert error["status"] == (status or 200)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "exit_code", "words"),
    [
        ("two_lengths", 1, "the reply breaks HTTP: it has two Content-Length headers."),
        ("length_and_chunks", 0, "1 scored"),
    ],
)
def test_a_service_that_breaks_http_must_be_fixed_unless_its_replies_have_an_end(
    batchscore: Cli, files: Files, deployment: Deployment, way: str, exit_code: int, words: str
) -> None:
    files.texts("a.csv", ["one"])
    deployment.will_send(way, times=None)
    run = batchscore(
        *("score", "a.csv", "-o", "out", "--task", "chat", "--column", "text", "-m", deployment.name),
        *("--max-outage", "1"),
    )
    assert run.exit_code == exit_code, run
    assert words in run.said + run.stdout


@pytest.mark.slow
@pytest.mark.parametrize("way", ["gzip_bomb", "endless"])
def test_a_service_that_never_sent_a_reply_of_usual_size_must_be_fixed(
    batchscore: Cli, files: Files, deployment: Deployment, way: str
) -> None:
    files.texts("a.csv", ["one", "two"])
    deployment.will_send(way, times=None)
    run = batchscore(
        *("score", "a.csv", "-o", "out", "--task", "embeddings", "--column", "text", "-m", deployment.name),
        *("--max-outage", "1", "--max-retries", "1"),
    )
    assert run.exit_code == 1, run
    assert "than was asked for (status 200). It has never sent a usable reply" in run.said


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(900)  # it ends by --timeout and --max-outage, in 10 s on an idle machine
@pytest.mark.parametrize("status", [None, 500])
@pytest.mark.parametrize("way", ["gzip_bomb", "endless"])
@pytest.mark.parametrize("task", ["chat", "embeddings"])
def test_a_service_of_gigabytes_costs_little_memory(
    batchscore: Cli, files: Files, deployment: Deployment, task: str, way: str, status: int | None
) -> None:
    """All replies after the first thirty, at the default concurrency; a run without them takes 110 MB."""
    files.texts("a.csv", [f"row {row}" for row in range(2000)])
    deployment.will(Behaviour(latency=0.01, times=30), Behaviour(status=status, way=way, times=None))
    command = [
        sys.executable,
        "-m",
        "batchscore",
        "score",
        "a.csv",
        "-o",
        "out",
        "--task",
        task,
        "--column",
        "text",
    ]
    command += ["-m", deployment.name, "--batch-size", "8", "--timeout", "3", "--max-outage", "5"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command],
        env={**os.environ, **batchscore.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    assert int(done.stdout.split()[-1]) < 300 * 2**10
