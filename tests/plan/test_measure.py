"""Sampled files: rows and tokens are near the truth, and marked as estimates."""

from __future__ import annotations

import gzip
import os
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchscore.plan.already_scored import AlreadyScored
from batchscore.plan.extent import EVERYTHING, Budget
from batchscore.plan.figures import PlanTotals
from batchscore.plan.measure import Measurement
from batchscore.plan.survey import survey
from batchscore.settings.fields import Settings
from pictures import png

if TYPE_CHECKING:
    from conftest import Files

A_PIECE = Budget(whole_bytes=50_000, sample_bytes=40_000, least_bytes=8_000)

WORDS = [
    "the",
    "tide",
    "turns",
    "twice",
    "a",
    "day,",
    "and",
    "boats",
    "with",
    "deep",
    "keels",
    "leave",
    "first",
]


def found_in(inputs: list[str], budget: Budget, **more: object) -> PlanTotals:
    settings = Settings(task="embeddings", model="text-embedding-3-small", output="o", column="text", **more)  # type: ignore[arg-type]
    surveyed = survey(inputs, settings, output=None)
    return Measurement(settings, surveyed, AlreadyScored(2000), budget).measure()


def texts(rows: int) -> list[str]:
    return [" ".join(WORDS[(row * step) % len(WORDS)] for step in range(5 + row % 20)) for row in range(rows)]


@pytest.fixture
def large(files: Files) -> list[str]:
    """Files of every kind of reading, 2,000 rows each."""
    rows = [{"id": str(row), "text": text} for row, text in enumerate(texts(2000))]
    files.csv("in/a.csv", rows)
    files.lines("in/b.jsonl", rows)
    files.parquet("in/c.parquet", rows)
    files.text("in/d.txt", "".join(f"{row['text']}\n" for row in rows))
    files.json("in/e.json", rows)
    files.bytes("in/f.csv.gz", gzip.compress(Path("in/a.csv").read_bytes()))
    return ["in"]


@pytest.mark.slow
def test_a_sample_is_near_the_truth_and_is_marked_as_an_estimate(large: list[str]) -> None:
    everything, sample = found_in(large, EVERYTHING), found_in(large, A_PIECE)
    assert (everything.rows, everything.exact, everything.sampled) == (12_000, True, False)
    assert (sample.exact, sample.sampled) == (False, True)
    assert sample.rows == pytest.approx(everything.rows, rel=0.1)
    assert sample.tokens == pytest.approx(everything.tokens, rel=0.1)
    assert sample.all_requests == pytest.approx(everything.all_requests, rel=0.2)
    assert not any(file.problem or file.unreadable for file in sample.files)
    by_name = {file.file: file for file in sample.files}
    assert (by_name["c.parquet"].all_rows, by_name["c.parquet"].exact) == (2000, True)


def test_some_of_many_files_represent_the_others(files: Files) -> None:
    for number in range(20):
        files.texts(f"in/{number:02}.csv", texts(80))
    everything = found_in(["in"], EVERYTHING)
    sample = found_in(["in"], Budget(whole_bytes=1000, sample_bytes=10_000, least_bytes=3_000))
    assert any(file.read == 0 for file in sample.files)
    assert len(sample.files) == 20
    assert sample.rows == pytest.approx(everything.rows, rel=0.1)
    assert sample.tokens == pytest.approx(everything.tokens, rel=0.1)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "txt"])
def test_rows_of_small_files_in_memory_are_counted_in_a_run_too(files: Files, suffix: str) -> None:
    for number in range(30):
        rows = [{"text": text} for text in texts(3)]
        lines = "".join(f"{row['text']}\n" for row in rows)
        name = f"in/{number:02}.{suffix}"
        if suffix == "csv":
            path = files.csv(name, rows)
        else:
            path = files.lines(name, rows) if suffix == "jsonl" else files.text(name, lines)
        os.utime(path, (0, 0))  # only a file that nobody writes any more is kept in memory
    whole = Budget(whole_bytes=10**9, sample_bytes=0, least_bytes=0, seconds=60.0)
    surveyed = survey(["in"], Settings(task="chat", model="m", output="o", column="text"), output=None)
    assert all(ready.file.content for ready in surveyed.ready)
    counted = found_in(["in"], whole)
    assert (counted.rows, counted.exact) == (90, True)
    part = found_in(["in"], replace(whole, whole_bytes=1, sample_bytes=4000, least_bytes=60))
    assert part.rows == pytest.approx(90, rel=0.2)


@pytest.mark.slow
def test_reading_ends_when_its_time_is_up(large: list[str]) -> None:
    nothing = found_in(large, Budget(whole_bytes=10**9, sample_bytes=0, least_bytes=0, seconds=0.0))
    assert not nothing.exact
    some = found_in(large, Budget(whole_bytes=10**9, sample_bytes=0, least_bytes=0, seconds=60.0))
    assert (some.rows, some.exact) == (12_000, True)


@pytest.mark.parametrize("name", ["in/a.csv", "in/b.jsonl"])
@pytest.mark.parametrize("least", [0, 100])
def test_rows_of_a_small_file_that_is_kept_in_memory_are_counted(files: Files, name: str, least: int) -> None:
    rows = [{"text": text} for text in texts(500)]
    path = files.csv(name, rows) if name.endswith("csv") else files.lines(name, rows)
    os.utime(path, (0, 0))
    budget = Budget(whole_bytes=0 if least else 10**9, sample_bytes=20_000, least_bytes=least, seconds=60.0)
    assert found_in(["in"], budget).rows == pytest.approx(500, rel=0.1)


def test_a_limit_counts_rows_of_all_files(large: list[str]) -> None:
    found = found_in(large, A_PIECE, limit=2500)
    assert (found.rows, found.exact, found.limited, len(found.files)) == (2500, True, True, 2)


def test_dedup_sends_duplicates_once(files: Files) -> None:
    files.texts("a.csv", ["the same"] * 300 + ["another"] * 300)
    every, once = (found_in(["a.csv"], EVERYTHING, dedup=dedup, batch_size=10) for dedup in (False, True))
    assert every.all_requests == 60
    assert (once.all_requests, once.prompts, once.sent) == (1, 600, 2)
    assert once.tokens == round(every.tokens / 300)


def test_oversized_rows_are_counted_by_the_limit_that_they_exceed(files: Files) -> None:
    files.texts("a.csv", ["short", "long " * 9000, "middling " * 3000])
    found = found_in(["a.csv"], EVERYTHING, tpm=1000.0)
    (file,) = found.files
    assert (file.input_too_long, file.above_quota, file.oversized, found.prompts) == (1, 1, 2, 1)
    shortened = found_in(["a.csv"], EVERYTHING, on_long_input="truncate")
    assert (shortened.files[0].truncated, shortened.prompts) == (1, 3)
    assert shortened.tokens < 8192 + 3500


def test_images_that_are_not_read_are_taken_for_as_large_as_the_others(files: Files) -> None:
    files.csv("in/a.csv", [{"photo": f"{row % 4}.png"} for row in range(200)])
    for number in range(4):
        files.bytes(f"in/{number}.png", png(600 * number + 10, 600))
    settings = Settings(task="chat", model="gpt-4o", output="o", image=("photo",), prompt="Describe")
    surveyed = survey(["in"], settings, output=None)
    moments = iter(range(10_000))
    tokens = {}
    for seconds in (inf, 60.0):
        budget = replace(EVERYTHING, image_seconds=seconds)
        scored = AlreadyScored(2000)
        measurement = Measurement(settings, surveyed, scored, budget, clock=lambda: float(next(moments)))
        found = measurement.measure()
        assert (found.rows, found.exact, found.files[0].with_images) == (200, True, 200)
        tokens[seconds] = found.tokens
    assert measurement.with_images < 120
    assert tokens[60.0] == pytest.approx(tokens[inf], rel=0.02)
