"""Night after night over a changing folder: only new rows are sent, nothing is lost or misreported."""

from __future__ import annotations

import itertools
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nights import Files, Output, edited, write_inputs

from batchscore.output.incremental.switch import run_name_after
from batchscore.output.layout import Layout, stem_of
from batchscore.output.verify import verify_output
from batchscore.simulator import Running
from batchscore.simulator.words import CONTENT_FILTER_TRIGGER
from hypothesis_profiles import examples
from sampled import mostly_slow
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Direct

START: Files = {
    "a.csv": [(f"i{number}", f"text {number}", "n") for number in range(8)],
    "b.csv": [("i8", "text 8", "n"), ("i1", "text 1", "n"), ("i9", "text 8", "m")],
}


def expected_to_be_asked(before: Files, after: Files) -> Counter[str]:
    """Texts of new and changed files that were in no changed and no deleted file."""
    known = {text for name, rows in before.items() if after.get(name) != rows for _, text, _ in rows}
    return Counter(
        text
        for name, rows in after.items()
        if before.get(name) != rows
        for _, text, _ in rows
        if text not in known
    )


def nights(output: Output, seed: int, count: int) -> None:
    """Run several nights, each after some edits, and check each."""
    shutil.rmtree("in", ignore_errors=True)
    shutil.rmtree("out", ignore_errors=True)
    draw, fresh = random.Random(seed), itertools.count(100)
    standing: Files = {}
    files = START
    for _ in range(count):
        prune = draw.random() < 0.4
        write_inputs(Path("in"), files)
        finished = output.run(prune=prune)
        assert finished.exit_code == 0, finished.outcome.reason
        assert output.asked() == expected_to_be_asked(standing, files)
        vanished = {} if prune else {name: rows for name, rows in standing.items() if name not in files}
        output.follow_changes()
        output.check(files, vanished)
        standing = {**vanished, **files}
        files = edited(files, draw, fresh)


def new_output(simulator: Running, deployment: Deployment, direct: Direct, more: dict[str, Any]) -> Output:
    return Output(deployment, simulator.endpoint, direct, more)


@pytest.mark.parametrize(
    "more",
    [{}, {"id": "id"}, pytest.param({"id": "id", "format": "parquet"}, marks=pytest.mark.slow)],
    ids=["by content", "by id", "parquet"],
)
@mostly_slow("seed", range(3), [0])
def test_a_folder_that_changes(
    more: dict[str, Any], seed: int, simulator: Running, deployment: Deployment, direct: Direct
) -> None:
    nights(new_output(simulator, deployment, direct, more), seed, 5)


def test_carried_over_scores_are_next_to_those_of_a_stopped_night(
    simulator: Running, deployment: Deployment, direct: Direct
) -> None:
    """Parts written before the first request count, although the output was read before."""
    output = Output(deployment, simulator.endpoint, direct, {"id": "id"})
    old = [(f"i{number}", f"text {number}", "n") for number in range(2)]
    begun = [(f"b{number}", f"begun {number}", "n") for number in range(5)]
    write_inputs(Path("in"), {"a.csv": old})
    assert output.run().exit_code == 0
    # No credit is left from then on, also for the word that tests it.
    deployment.will(status=402, latency=0.5, when_input_contains="begun 4", times=None)
    deployment.will(status=402, when_input_contains="ping", times=None)
    write_inputs(Path("in"), {"b.csv": begun})
    assert output.run().exit_code == 1
    deployment.reset()
    files = {"b.csv": begun, "c.csv": [("new", "text new", "n"), *old]}
    write_inputs(Path("in"), files)
    finished = output.run(prune=True)
    assert finished.exit_code == 0, finished.outcome.reason
    assert output.asked() == Counter(["begun 4", "text new"])
    output.follow_changes()
    output.check(files, {})


def test_parts_of_a_plain_run_stay_after_a_night_without_responses(
    simulator: Running, deployment: Deployment, direct: Direct
) -> None:
    """The new version was started before the vector length was known."""
    output = Output(deployment, simulator.endpoint, direct, {"id": "id"})
    texts = ["one", "two", "three", "", f"four {CONTENT_FILTER_TRIGGER}"]
    write_inputs(Path("in"), {"a.csv": [(f"i{number}", text, "n") for number, text in enumerate(texts)]})
    deployment.will(status=401, times=None)
    assert output.run().exit_code == 1
    deployment.reset()
    assert output.run(incremental=False, limit=4).exit_code == 0
    assert output.run().exit_code == 3
    assert not verify_output(output.folder).problems


def test_names_of_runs_stay_ordered_and_short_after_a_wrong_clock(tmp_path: Path) -> None:
    layout, names = Layout(tmp_path, "chat", ".jsonl"), [""]
    for night in range(300):
        wanted = f"{2030 if night == 3 else 2027}0101T{night:06}Z-host-4711"
        names.append(run_name_after(layout, wanted))
        (tmp_path / "changes" / names[-1]).mkdir(parents=True)
    assert names == sorted(set(names))
    assert len(names[-1]) < 50


def test_a_new_version_that_was_published_in_part_is_completed_later(
    simulator: Running, deployment: Deployment, direct: Direct
) -> None:
    """A folder has the name of the last part: the parts before it are new, the manifest is not."""
    output = Output(deployment, simulator.endpoint, direct, {"id": "id"})
    rows = [(f"i{number}", f"text {number}", "n") for number in range(8)]
    write_inputs(Path("in"), {"a.csv": rows})
    assert output.run().exit_code == 0
    output.follow_changes()
    obstacle = Path("out/embeddings") / f"part-{stem_of('a.csv')}-00003.jsonl"
    (obstacle / "full").mkdir(parents=True)
    rows = [("top", "text top", "n"), *rows[:5], *rows[6:], *((f"j{n}", f"more {n}", "n") for n in range(3))]
    write_inputs(Path("in"), {"a.csv": rows})
    assert output.run().exit_code == 1
    assert len(list(Path("out/changes").iterdir())) == 1
    shutil.rmtree(obstacle)
    output.asked()
    assert output.run().exit_code == 0
    assert not output.asked()
    output.follow_changes()
    output.check({"a.csv": rows}, {})
    assert len(output.seen) == 3


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"id": "id"}, {"format": "parquet"}])
def test_many_folders_that_change(
    more: dict[str, Any], simulator: Running, deployment: Deployment, direct: Direct
) -> None:
    @settings(max_examples=examples(60))
    @given(st.integers(0, 2**32))
    @example(303447)  # of two files with an id one is deleted, and the id is new in a third
    def play(seed: int) -> None:
        nights(new_output(simulator, deployment, direct, more), seed, 6)

    play()
