"""The page of results: its curves and its choice, hostile names stay text, and it looks right."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from batchscore.finetune.state import FileRecord, JobRecord, TrainingState
from batchscore.finetune.training.results import epoch_ends, losses_at_end, proposal, table_of
from batchscore.finetune.training.results_page import TrainingResults, page
from batchscore.provider.job_object import JobCheckpoint
from browser import CHROMIUM, WELL, look_at

HOSTILE = "</script><script>alert(1)</script>"
SUMMARY = {"parts": {"train": {"tokens": {"median": 190, "p95": 400, "longest": 900}}}}


def results(steps: int = 400, *, validation: bool = True, status: str = "succeeded") -> TrainingResults:
    """Return results in which the last epochs are worse than the second."""
    heads = ["step", "train_loss", "train_mean_token_accuracy", "valid_loss", "full_valid_loss"]
    lines = [",".join([*heads, "elapsed_tokens", "elapsed_examples", HOSTILE])]
    for step in range(1, steps + 1):
        train = 0.3 + 2 * math.exp(-step / 70)
        valid = 0.45 + 1.8 * math.exp(-step / 60) + 6.5e-6 * max(0, step - 180) ** 2
        shown = [f"{valid if step % 5 == 0 else -1}", f"{valid if step % 100 == 0 else ''}"]
        cells = [str(step), str(train), str(1 - train / 3), *(shown if validation else ["", ""])]
        lines.append(",".join([*cells, str(820 * step), str(4 * step), "1"]))
    table = table_of("\n".join(lines).encode())
    kept = [JobCheckpoint(f"c{step}", 1.7e9, step, f"{HOSTILE}:{step}", {}) for step in (200, 300)]
    job = JobRecord(
        id=HOSTILE,
        status=status,
        request={"model": HOSTILE},
        created_at=1.7e9,
        finished_at=1.7e9 + 2400,
        trained_tokens=328_000,
        expected_tokens=300_000,
        price=5.0,
    )
    file = FileRecord(name="n", digest="xxh3:1", bytes=1, examples=400)
    state = TrainingState(run="r", endpoint="host", dialect="openai", training=file, validation=file, job=job)
    ends = epoch_ends(table, 4, is_complete=status == "succeeded")
    best = proposal(table, kept, f"{HOSTILE}:last" if status == "succeeded" else "")
    return TrainingResults(state, table, ends, kept, best, {"n_epochs": 4}, SUMMARY)


def test_the_page_says_which_checkpoint_is_best() -> None:
    text = page(results(), "tuned").decode()
    for words in (
        "The job succeeded",
        "An earlier checkpoint is better: that of step 200.",
        "the model is overfit",
        "Loss over steps",
        "Token accuracy over steps",
        "Generalisation gap",
        "Tokens per example",
        "328,000",
        "estimate 300,000",
        "1.64",
        "estimate 1.50",
        '"label":"epoch 4"',
        '"label":"proposed"',
        "40 min",
    ):
        assert words in text, words
    assert "<script>alert" not in text
    assert "http://" not in text.replace("http://www.w3.org", "")


def test_the_last_losses_are_those_of_the_table_and_of_the_gap() -> None:
    """Batches were measured, too: their mean is another number."""
    found = results()
    end = found.ends[-1]
    assert losses_at_end(found.table, found.ends) == [
        ("training loss", end.train_loss, "mean of the last 10 measurements"),
        ("validation loss", end.valid_loss, "of the whole validation file"),
    ]
    assert (
        f"{found.table.level('valid_loss', 400):.4g}" not in page(found, "tuned").decode().split("<table")[0]
    )
    earlier = losses_at_end(found.table, found.ends[:-1])
    assert all(what.endswith(", at step 300") for _, _, what in earlier)
    no_file = results(steps=50)
    assert [what for _, _, what in losses_at_end(no_file.table, [])] == [
        "mean of the last 10 measurements"
    ] * 2


@pytest.mark.parametrize("steps", [1, 2, 40, 3_000])
def test_results_of_any_length_have_a_page(steps: int) -> None:
    """Long curves are thinned."""
    text = page(results(steps), "tuned").decode()
    assert f"{steps:,}" in text
    assert len(text) < 700_000


def test_without_validation_and_before_the_end() -> None:
    text = page(results(validation=False, status="running"), "tuned").decode()
    assert "The job is running" in text
    assert "overfitting cannot be seen" in text
    assert "Generalisation gap" not in text


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_the_page_in_a_browser(tmp_path: Path) -> None:
    place = tmp_path / "results.html"
    place.write_bytes(page(results(), "tuned"))
    for seen in look_at(place, [(1200, "light"), (1200, "dark"), (390, "light")]):
        assert not seen.complaints
        assert [url for url in seen.requests if not url.startswith(("file:", "data:"))] == []
        assert seen.look == {**WELL, "charts": 4}
