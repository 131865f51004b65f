"""Requests and billed tokens are counted, for each file and in total, whatever the result."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli_records import manifests

from batchscore.simulator.script import Behaviour
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Files

COSTS = ("attempts", "tokens_billed", "tokens_kept")


def records() -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in sorted(Path("out/runs").iterdir())]


def test_attempts_and_tokens_are_counted_by_file_and_in_total(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """Billed responses that were rejected count as billed; a request for two files counts for both."""
    files.texts("in/a.csv", [f"row {row}" for row in range(10)])
    files.texts("in/b.csv", [f"row {row}" for row in range(14)])
    deployment.will(Behaviour(vectors="duplicated"), Behaviour(status=500))
    command = ["score", "in", "-o", "out", "--task", "embeddings", "-m", deployment.name, "--column", "text"]
    command += ["--batch-size", "8", "--max-concurrency", "1", "--rows-per-part", "4", "--json"]
    run = batchscore(*command)
    assert run.exit_code == 0, run
    found = manifests("out", "embeddings")
    a, b = found["a.csv"], found["b.csv"]
    billed, kept = run.report["prompt_tokens"], run.report["tokens_kept"]
    assert billed > kept > 0
    assert a["tokens_billed"] + b["tokens_billed"] == billed
    assert a["tokens_kept"] + b["tokens_kept"] == kept
    # Of 24 rows in 3 packs the second holds rows of both files.
    assert run.report["requests"] == 3 + 2
    assert a["attempts"] + b["attempts"] == 3 + 2 + 1
    for manifest in found.values():
        for name in COSTS:
            assert manifest[name] == sum(part[name] for part in manifest["parts"])
    (record,) = records()
    assert record["tokens_billed"] == record["this_run"]["tokens_billed"] == billed
    assert record["this_run"]["requests"] == 5
    again = batchscore(*command)
    assert (again.report["requests"], again.report["tokens_kept"]) == (0, 0)
    assert records()[-1]["tokens_kept"] == kept


def test_the_billed_tokens_of_a_killed_run_are_counted_once(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(100)])
    deployment.will_be_slow(0.05, times=None)
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    command += ["--max-concurrency", "4", "--rows-per-part", "30"]
    with batchscore.start(*command) as process:
        deployment.wait_for(50)
        process.interrupt(signal.SIGKILL)
    assert batchscore(*command).exit_code == 0
    (manifest,) = manifests("out", "chat").values()
    sent = deployment.statistics().count
    assert manifest["ok"] == 100
    assert sent - 8 <= manifest["attempts"] <= sent
    assert manifest["tokens_kept"] == manifest["tokens_billed"]
    verified = batchscore("verify", "out")
    assert verified.exit_code == 0, verified


def test_verify_reports_costs_that_do_not_add_up(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", ["a row"])
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    assert batchscore(*command).exit_code == 0
    (path,) = Path("out/manifest/chat").glob("*.json")
    text = path.read_text()
    billed = json.loads(text)["tokens_billed"]
    path.write_text(text.replace(f'"tokens_billed": {billed}', f'"tokens_billed": {billed + 1}', 1))
    verified = batchscore("verify", "out")
    assert verified.exit_code == 1
    assert "its totals are not the sums of its parts" in verified.stdout
