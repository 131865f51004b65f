"""Runs whose rows name images: what is sent, what fails, and what a later run does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cli_records import codes, whole

from measured import MEASURE
from pictures import KINDS, as_url, png
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Files

NAMES = ["pics/a.png", "pics/b.jpg", "pics/none.png", "pics/cut.png", "pics/big.png", "../secret.png", ""]
SIGNED = "https://a.blob.core.windows.net/c/a.png?sig=SECRET"
PNG = KINDS["png"]


def pictures(files: Files) -> None:
    """Write a folder with a table, and pictures beside it that it names."""
    files.csv("in/data.csv", [{"photo": name} for name in [*NAMES, SIGNED]])
    contents = {"a.png": PNG, "b.jpg": KINDS["jpeg"], "cut.png": PNG[:50], "big.png": png(more=20_000_001)}
    for name, data in contents.items():
        files.bytes(f"in/pics/{name}", data)
    files.bytes("secret.png", PNG)


def command(deployment: Deployment, *more: str, task: str = "chat") -> list[str]:
    what = ("--image", "photo", "--prompt", "Describe the picture")
    return ["score", "in", "-o", "out", "--task", task, "-m", deployment.name, *what, *more]


def sent(deployment: Deployment) -> list[str]:
    """Return the addresses of the images sent since the last call, sorted."""
    found = []
    for one in deployment.requests():
        messages = one.body.get("messages") or one.body["input"]
        for part in messages[-1]["content"][1:]:
            url = part["image_url"]
            found.append(url if isinstance(url, str) else url["url"])
    deployment.reset()
    return sorted(found)


def everything(folder: str) -> bytes:
    return b"".join(path.read_bytes() for path in Path(folder).rglob("*") if path.is_file())


@pytest.mark.parametrize("task", ["chat", pytest.param("responses", marks=pytest.mark.slow)])
def test_a_folder_of_pictures(task: str, batchscore: Cli, files: Files, deployment: Deployment) -> None:
    pictures(files)
    done = batchscore(*command(deployment, task=task))
    assert done.exit_code == 3
    assert sent(deployment) == sorted([as_url(PNG, "png"), as_url(KINDS["jpeg"], "jpeg"), SIGNED])
    scores, errors = whole("out", task)
    assert sorted(row for _, row in scores) == [0, 1, 7]
    bad = dict.fromkeys([("data.csv", row) for row in (2, 3, 4, 5)], "unreadable_image")
    assert codes(errors) == {**bad, ("data.csv", 6): "empty_input"}
    assert "pics/*.png: 3 images, for rows that name them (--image)" in done.said
    assert "cannot be scored" not in done.said
    # The run itself says nothing that a row holds.
    kept = everything("out") + done.said.encode()
    assert not any(word in kept for word in (b"sig=", b"none.png", b"secret.png", b"iVBOR"))

    again = batchscore(*command(deployment, task=task))
    assert again.exit_code == 3
    assert sent(deployment) == []


@pytest.mark.slow
def test_a_changed_picture_is_a_changed_row(batchscore: Cli, files: Files, deployment: Deployment) -> None:
    files.csv("in/data.csv", [{"photo": f"{name}.png"} for name in "abc"])
    for name in "ab":
        files.bytes(f"in/{name}.png", png(ord(name)))
    assert batchscore(*command(deployment)).exit_code == 3
    assert len(sent(deployment)) == 2
    # Only the time of a file changes: that is no change.
    os.utime("in/a.png", (1, 1))
    files.bytes("in/b.png", new := png(7))
    files.bytes("in/c.png", added := png(8))
    for verb in ("score", "plan"):
        refused = batchscore(*[verb, *command(deployment)[1:]])
        assert refused.exit_code == 1
        assert "data.csv: an image of the column photo has changed since it was scored" in refused.said
    assert sent(deployment) == []
    assert batchscore(*command(deployment, "--incremental")).exit_code == 0
    assert sent(deployment) == sorted([as_url(new, "png"), as_url(added, "png")])
    assert batchscore(*command(deployment, "--incremental")).exit_code == 0
    assert sent(deployment) == []


@pytest.mark.slow
@pytest.mark.parametrize("replaced", ["not sent yet", "sent already"])
def test_an_output_is_of_the_pictures_that_were_sent(
    replaced: str, batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """A picture may be replaced while the run lasts."""
    files.csv("in/data.csv", [{"photo": f"{number}.png"} for number in range(20)])
    for number in range(20):
        files.bytes(f"in/{number}.png", png(10 + number))
    deployment.will_be_slow(0.2, times=1000)
    with batchscore.start(*command(deployment, "--max-concurrency", "1")) as running:
        while deployment.statistics().count < 3:
            time.sleep(0.02)
        files.bytes("in/19.png" if replaced == "not sent yet" else "in/0.png", new := png(7))
        assert running.finish().exit_code == 0
    assert (as_url(new, "png") in sent(deployment)) == (replaced == "not sent yet")
    again = batchscore(*command(deployment))
    if replaced == "not sent yet":
        assert (again.exit_code, sent(deployment)) == (0, [])
    else:
        assert "data.csv: an image of the column photo has changed since it was scored" in again.said
        assert batchscore(*command(deployment, "--incremental")).exit_code == 0
        assert sent(deployment) == [as_url(new, "png")]


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_large_pictures_after_small_ones_take_as_much_memory_as_the_docs_say(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """Docs: requests in flight hold at most about 160 MB; all of these would hold 500 MB."""
    small = [{"photo": "a.png", "text": f"row {row}"} for row in range(200)]
    more = [{"photo": "b.png", "text": f"large {row}"} for row in range(40)]
    for folder, rows in (("few", small), ("many", small + more)):
        files.csv(f"{folder}/data.csv", rows)
        files.bytes(f"{folder}/a.png", PNG)
        files.bytes(f"{folder}/b.png", png(more=5_000_000))
    deployment.will_be_slow(0.5, times=1000)
    peaks = []
    for folder in ("few", "many"):
        words = ["score", folder, "-o", f"out-{folder}", "--task", "chat", "-m", deployment.name, "--quiet"]
        command = [sys.executable, "-m", "batchscore", *words, "--image", "photo", "--column", "text"]
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, *command],
            env={**os.environ, **batchscore.environ},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split()[-1]) / 1000)
    assert peaks[1] - peaks[0] < 180, peaks


@pytest.mark.slow
def test_a_run_that_is_interrupted_sends_no_picture_twice(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.csv("in/data.csv", [{"photo": f"{number}.png"} for number in range(40)])
    for number in range(40):
        files.bytes(f"in/{number}.png", png(10 + number))
    deployment.will_be_slow(0.1, times=1000)
    with batchscore.start(*command(deployment, "--max-concurrency", "2")) as running:
        while deployment.statistics().count < 5:
            time.sleep(0.02)
        running.interrupt(signal.SIGINT)
        assert running.finish().exit_code == 4
    first = len(sent(deployment))
    assert 0 < first < 40
    assert batchscore(*command(deployment)).exit_code == 0
    assert first + len(sent(deployment)) == 40
    assert len(whole("out", "chat")[0]) == 40


def test_a_plan_counts_images_by_the_published_rules(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.csv("in/data.csv", [{"photo": name} for name in ("a.png", "none.png", SIGNED)])
    files.bytes("in/a.png", png(1024, 1024))
    what = ("--task", "chat", "-m", "gpt-4o", "--image", "photo", "--prompt", "Describe")
    done = batchscore("plan", "in", *what)
    assert done.exit_code == 0
    assert "2 rows with images, whose tokens are estimated by the published rules" in " ".join(
        done.said.split()
    )
    (file,) = json.loads(batchscore("plan", "in", "--json", *what).stdout)["files"]
    assert (file["unreadable"], file["to_ask"]) == (1, 2)
    assert 2 * 765 < file["prompt_tokens"] < 2 * 765 + 40
    low = json.loads(batchscore("plan", "in", "--json", *what, "--image-detail", "low").stdout)
    assert 2 * 85 < low["files"][0]["prompt_tokens"] < 2 * 85 + 40


@pytest.mark.slow
def test_a_wider_base_folder_and_a_line_of_text(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """A picture must be below the INPUT; `--base-dir` names a wider folder. Lines of text may be names."""
    files.text("in/lists/a.txt", "../pics/a.png\n")
    files.bytes("in/pics/a.png", PNG)
    narrow = ["score", "in/lists", *command(deployment)[2:]]
    assert batchscore(*narrow).exit_code == 3
    assert sent(deployment) == []
    wide = [*narrow, "--base-dir", "in", "--overwrite"]
    assert batchscore(*wide).exit_code == 0
    assert sent(deployment) == [as_url(PNG, "png")]


def test_parquet_holds_the_pictures_themselves(batchscore: Cli, files: Files, deployment: Deployment) -> None:
    rows: list[dict[str, Any]] = [
        {"photo": {"bytes": PNG, "path": "a"}},
        {"photo": {"bytes": None, "path": None}},
    ]
    files.parquet("in/a.parquet", rows)
    assert batchscore(*command(deployment)).exit_code == 0
    assert sent(deployment) == [as_url(PNG, "png")]
    assert codes(whole("out", "chat")[1]) == {("a.parquet", 1): "empty_input"}


@pytest.mark.slow
def test_standard_input_names_pictures_below_the_current_folder(
    batchscore: Cli, files: Files, deployment: Deployment, tmp_path: Path
) -> None:
    files.bytes("in/pics/a.png", PNG)
    files.bytes("b.png", PNG)
    piped = files.csv("rows.csv", [{"photo": "pics/a.png"}, {"photo": "../b.png"}])
    words = ["score", "-", *command(deployment)[2:]]
    with piped.open() as stream:
        assert batchscore(*words, cwd=tmp_path / "in", stdin=stream).exit_code == 3
    assert sent(deployment) == [as_url(PNG, "png")]
