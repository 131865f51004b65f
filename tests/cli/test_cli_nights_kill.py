"""Killed nights with edits between: paid answers are reused, and an index misses nothing."""

from __future__ import annotations

import itertools
import random
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from nights import Files, Output, edited, write_inputs

from batchscore.simulator import Running
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Direct

IN_FLIGHT = 4


def start_of(rows: int) -> Files:
    return {
        "a.csv": [(f"i{number}", f"text {number}", "n") for number in range(rows)],
        "b.csv": [(f"i{number}", f"text {number}", "n") for number in range(rows, rows + 20)],
    }


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 20))
def test_killed_nights_lose_nothing_and_pay_once(
    seed: int, batchscore: Cli, simulator: Running, deployment: Deployment, direct: Direct
) -> None:
    draw, fresh = random.Random(seed), itertools.count(1000)
    more = {"id": "id"} if seed % 2 else {}
    output = Output(deployment, simulator.endpoint, direct, more)
    command = ["score", "in", "-o", "out", "--task", "embeddings", "-m", deployment.name, "--column", "text"]
    command += ["--keep", "note", "--rows-per-part", "3", "--batch-size", "1", "--incremental", "--prune"]
    command += ["--max-concurrency", str(IN_FLIGHT), *(["--id", "id"] if more else [])]
    files, texts, kills = start_of(60), set[str](), 0
    for _ in range(4):
        write_inputs(Path("in"), files)
        texts |= {text for rows in files.values() for _, text, _ in rows}
        deployment.will_be_slow(0.03, times=None)
        with batchscore.start(*command) as process:
            time.sleep(draw.uniform(0.4, 1.4))
            process.interrupt(signal.SIGKILL)
            kills += process.popen.wait() == -signal.SIGKILL
        for _ in range(3):
            files = edited(files, draw, fresh, without="duplicate")
    write_inputs(Path("in"), files)
    texts |= {text for rows in files.values() for _, text, _ in rows}
    run = batchscore(*command)
    assert run.exit_code == 0, run
    output.follow_changes()
    output.check(files, {})
    assert deployment.statistics().statuses["200"] <= len(texts) + kills * IN_FLIGHT
    assert [path.name for path in Path("out/.batchscore").iterdir()] == ["README"]
