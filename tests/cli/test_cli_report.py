"""The page of a run: written at its end, written again later, and opened in a browser if there is one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from browser import CHROMIUM, WELL, look_at

if TYPE_CHECKING:
    from buckets import Bucket
    from conftest import Cli, Files
    from simulated import Deployment

HOSTILE = '</script><script>x="1" onerror=alert(1).csv'
SECRET = "a text that stands nowhere"


def charts_of(page: Path) -> list[dict[str, Any]]:
    """Return the charts of the page."""
    found = re.search(
        r'<script type="application/json" id="charts">(.*?)</script>', page.read_text(), re.DOTALL
    )
    assert found is not None
    charts: list[dict[str, Any]] = json.loads(found.group(1))
    return charts


def test_a_run_writes_its_page_and_the_command_writes_it_again(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    texts = [f"{SECRET} {number}" for number in range(60)]
    files.texts(f"in/{HOSTILE.replace('/', '-')}", texts)
    files.texts("in/b.csv", [*texts[:20], "", f"{SECRET} simulate-content-filter"])
    deployment.will(status=429, retry_after=0.2)
    deployment.will(status=503)
    score = ["score", "in", "-o", "out", "--column", "text", "--id", "id", "-m", deployment.name]
    vectors = batchscore(*score, "--task", "embeddings", "--batch-size", "4", "--tpm", "600000")
    assert vectors.exit_code == 3
    page = Path("out/report.html")
    assert f"report: {page}" in vectors.said
    first = page.read_text()
    assert "content filter" in first
    assert SECRET not in first
    chat = batchscore(
        *score, "--task", "chat", "--limit", "12", "--json", "--price-in", "1", "--price-out", "2"
    )
    assert chat.report["report"] == str(page)
    # The simulator has answered, at a URL.
    assert (chat.report["simulated"], "These scores are simulated" in first) == (True, True)

    Path("out/runs/old.json").write_text('{"started": "2020-01-01T00:00:00", "settings": {"task": "chat"}}')
    Path("out/runs/cut.json").write_text('{"started": "2026-')
    page.unlink()
    again = batchscore("report", "out")
    # The chat run had a limit.
    assert (again.exit_code, again.stdout) == (4, f"report: {page}\n")
    assert "out is not complete: " in again.stderr
    text = page.read_text()
    assert 'href="#chat"' in text
    assert "runs/cut.json is damaged" in text
    assert "runs/old.json has no timeline" in text
    assert SECRET not in text
    scatter = next(each for each in charts_of(page) if each["type"] == "scatter")
    assert sum(len(series["data"]) for series in scatter["series"]) == 80
    record = next(json.loads(path.read_text()) for path in sorted(Path("out/runs").glob("2*.json")))
    columns = record["timeline"]["columns"]
    assert (sum(columns["ok"]), sum(columns["failed"]), sum(columns["empty"])) == (80, 1, 1)
    assert sum(columns["requests"]) == record["this_run"]["requests"]
    assert {(each["cause"], each["status"]) for each in record["timeline"]["retries"]} >= {
        ("server_error", 503)
    }
    assert record["versions"]["batchscore"]

    only = batchscore("report", "out", "--task", "chat", "--no-vectors")
    assert only.exit_code == 4
    assert 'href="#chat"' not in page.read_text()
    assert batchscore("report", "in").exit_code == 1

    cut = min(Path("out/embeddings").iterdir())
    cut.write_bytes(cut.read_bytes()[:100])
    assert batchscore("report", "out", "--no-vectors").exit_code == 4
    assert f"embeddings/{cut.name} has 100 bytes instead of" in page.read_text()
    assert "batchscore verify out" in page.read_text()
    mended = batchscore(*score, "--task", "embeddings", "--batch-size", "4", "--tpm", "600000")
    assert "1 part of its records is damaged or missing. The lost rows are scored" in mended.said


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_a_page_in_a_browser(batchscore: Cli, files: Files, deployment: Deployment) -> None:
    files.texts(f"in/{HOSTILE.replace('/', '-')}", [f"{SECRET} {number}" for number in range(60)])
    files.texts("in/b.csv", ["one", "", f"{SECRET} simulate-content-filter"])
    deployment.will(status=429, retry_after=0.2)
    score = ["score", "in", "-o", "out", "--column", "text", "--id", "id", "-m", deployment.name]
    batchscore(*score, "--task", "embeddings", "--batch-size", "4", "--tpm", "600000")
    batchscore(*score, "--task", "chat", "--limit", "12", "--price-in", "1", "--price-out", "2")
    page = Path("out/report.html")
    for seen in look_at(page, [(1280, "light"), (390, "dark")]):
        assert seen.complaints == []
        assert [url for url in seen.requests if not url.startswith(("file:", "data:"))] == []
        assert seen.look == {**WELL, "charts": len(charts_of(page))}


@pytest.mark.slow
def test_a_page_of_workers_of_parquet_and_of_one_file(batchscore: Cli, files: Files) -> None:
    for number in range(3):
        files.texts(f"in/{number}.csv", [f"text {number} {row}" for row in range(9)])
    shared = ["-o", "out", "--shared-output", "--base-dir", "in", "--format", "parquet"]
    ask = ["--task", "embeddings", "-m", "m", "--column", "text"]
    done = batchscore.together(*(["score", f"in/{number}.csv", *ask, *shared] for number in range(3)))
    assert [each.exit_code for each in done] == [0, 0, 0], done
    assert not Path("out/report.html").exists()
    assert batchscore("report", "out").exit_code == 0
    assert "27 of 27 rows scored" in Path("out/report.html").read_text()
    scatter = next(each for each in charts_of(Path("out/report.html")) if each["type"] == "scatter")
    assert [len(series["data"]) for series in scatter["series"]] == [9, 9, 9]

    one = batchscore("score", "in", *ask, "-o", "one.parquet")
    assert one.exit_code == 0
    assert Path("one.parquet.batchscore/report.html").is_file()
    assert batchscore("report", "one.parquet").stdout == "report: one.parquet.batchscore/report.html\n"
    # The next run does not take a page for an input.
    assert batchscore("score", "in", *ask, "-o", "in/scores").exit_code == 0
    assert batchscore("score", "in", *ask, "-o", "in/scores", "--quiet").said == ""


def test_a_page_that_cannot_be_written_does_not_fail_the_run(batchscore: Cli, files: Files) -> None:
    files.texts("a.csv", ["one"])
    Path("out/report.html").mkdir(parents=True)
    Path("out/report.html/x").write_text("")
    done = batchscore("score", "a.csv", "-o", "out", "--task", "chat", "-m", "m", "--column", "text")
    assert done.exit_code == 0
    assert "The run's page was not written" in done.said


@pytest.mark.slow
def test_a_page_in_a_store(batchscore: Cli, files: Files, bucket: Bucket) -> None:
    files.texts("a.csv", [f"text {row}" for row in range(30)])
    out = f"{bucket.uri}/out"
    ask = ["--task", "embeddings", "-m", "m", "--column", "text", "--format", "parquet"]
    done = batchscore("score", "a.csv", "-o", out, *ask)
    assert done.exit_code == 0, done.said
    assert f"report: {out}/report.html" in done.said
    again = batchscore("report", out)
    assert again.stdout == f"report: {out}/report.html\n", again.said
