"""Results of all vintages of columns, the gap of validation, and the choice of a checkpoint."""

from __future__ import annotations

import base64
from math import isnan, nan
from random import Random

import pytest

from batchscore.errors import InputError
from batchscore.finetune.training.results import (
    EpochEnd,
    epoch_ends,
    gap_text,
    proposal,
    table_of,
    table_of_metrics,
)
from batchscore.provider.job_object import JobCheckpoint

#: The heads of the four vintages, each with two rows. Azure writes -1 for no value.
VINTAGES = {
    "gpt-3": (
        "step,elapsed_tokens,elapsed_examples,training_loss,training_sequence_accuracy,"
        "training_token_accuracy,validation_loss,validation_sequence_accuracy,validation_token_accuracy,"
        "classification/accuracy\n"
        "1,100,1,2.5,0.0,0.5,,,,\n2,220,2,1.5,1.0,0.75,1.75,0.5,0.7,0.9\n"
    ),
    "openai": (
        "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n1,2.5,0.5,,\n2,1.5,0.75,1.75,0.7\n"
    ),
    "openai-full": (
        "step,train_loss,train_mean_token_accuracy,valid_loss,valid_mean_token_accuracy,full_valid_loss,"
        "full_valid_mean_token_accuracy\n1,2.5,0.5,,,,\n2,1.5,0.75,1.75,0.7,1.75,0.7\n"
    ),
    "azure": (
        "step,train_loss,train_mean_token_accuracy,valid_loss,validation_mean_token_accuracy,full_valid_loss,"
        "full_valid_mean_token_accuracy\r\n1,2.5,0.5,-1,-1,-1.0,-1\r\n2,1.5,0.75,1.75,0.7,1.75,0.7\r\n"
    ),
}


@pytest.mark.parametrize("vintage", list(VINTAGES))
@pytest.mark.parametrize("form", ["plain", "base64", "base64 in lines", "with a mark"])
def test_each_vintage_has_the_same_columns(vintage: str, form: str) -> None:
    data = VINTAGES[vintage].encode()
    if form.startswith("base64"):
        data = base64.encodebytes(data) if form.endswith("lines") else base64.b64encode(data)
    elif form == "with a mark":
        data = b"\xef\xbb\xbf" + data
    table = table_of(data)
    assert table.steps == (1, 2)
    assert table.columns["train_loss"] == (2.5, 1.5)
    assert table.columns["train_token_accuracy"] == (0.5, 0.75)
    assert isnan(table.columns["valid_loss"][0]), "an empty cell and -1 are no value"
    assert table.points("valid_loss") == [(2, 1.75)]
    assert table.points("valid_token_accuracy") == [(2, 0.7)]
    if vintage == "gpt-3":
        assert table.columns["elapsed_tokens"] == (100, 220)
        assert table.points("train_sequence_accuracy") == [(1, 0.0), (2, 1.0)], "0.0 is a value"
        assert table.points("classification/accuracy") == [(2, 0.9)], "an unknown column is kept"


@pytest.mark.parametrize("name", ["train_mean_reward", "train_reward_mean"])
def test_rewards_may_be_negative(name: str) -> None:
    table = table_of(f"step,{name},parse_error_count\n1,-1,3\n2,0.5,0\n".encode())
    assert table.points("train_reward") == [(1, -1.0), (2, 0.5)]
    assert table.points("parse_error_count") == [(1, 3.0), (2, 0.0)]


def test_a_file_that_grows_or_repeats_steps_is_read() -> None:
    table = table_of(b"step,train_loss,valid_loss\n1,2,3\n2,1.5,\n2,1.4,2.5\nx,1,1\n\n3,1.")
    assert table.steps == (1, 2, 3)
    assert table.columns["train_loss"] == (2.0, 1.4, 1.0)
    assert table.points("valid_loss") == [(1, 3.0), (2, 2.5)]
    assert table.skipped == 1
    assert table_of(b"step,train_loss\n5,nan\n4,inf\n").columns["train_loss"] == pytest.approx(
        (nan, nan), nan_ok=True
    )


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b"\xff\xfe\x00", base64.b64encode(b"no table"), b"loss\n1\n", b"c3RlcA"]
)
def test_other_files_are_named(data: bytes) -> None:
    with pytest.raises(InputError, match=r"^The results file"):
        table_of(data)


def test_metrics_of_events_are_results_too() -> None:
    events = [
        {"step": 1.0, "total_steps": 2.0, "train_loss": 2.0, "train_mean_token_accuracy": 0.5},
        {},
        {"step": 2.0, "total_steps": 2.0, "train_loss": 1.0, "valid_loss": -1.0, "full_valid_loss": 1.2},
    ]
    table = table_of_metrics(events)
    assert table.steps == (1, 2)
    assert table.points("valid_loss") == []
    assert table.points("full_valid_loss") == [(2, 1.2)]
    assert "total_steps" not in table.columns
    assert table.total_steps == 2


def checkpoint(step: int, **metrics: float) -> JobCheckpoint:
    return JobCheckpoint(f"ckpt-{step}", 1.0, step, f"model:ckpt-step-{step}", metrics)


def of_epochs(*losses: float, train: float = 1.0) -> bytes:
    """Return results with ten steps an epoch, and the validation loss at the end of each."""
    lines = ["step,train_loss,full_valid_loss"]
    for step in range(1, 10 * len(losses) + 1):
        full = losses[step // 10 - 1] if step % 10 == 0 else ""
        lines.append(f"{step},{train},{full}")
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("losses", "step", "why"),
    [
        ((1.5, 1.2, 1.1), 30, "lowest at the last step: 1.1"),
        ((1.5, 1.0, 1.5), 20, "lowest at step 20: 1. At the last step it is 1.5, 50 % higher"),
        ((1.0, 1.2, 1.5), 10, "lowest at step 10"),
        ((1.5, 1.0, 1.005), 30, "differ by less than the noise"),
    ],
)
def test_the_checkpoint_with_the_lowest_validation_loss(
    losses: tuple[float, ...], step: int, why: str
) -> None:
    kept = [checkpoint(10), checkpoint(20), checkpoint(30)]
    best = proposal(table_of(of_epochs(*losses)), kept, "model")
    assert best is not None
    assert best.step == step
    assert best.model == ("model" if step == 30 else f"model:ckpt-step-{step}")
    assert best.is_last is (step == 30)
    assert why in best.why


def test_what_checkpoints_say_themselves_counts_first() -> None:
    """The service keeps three of five; the lowest loss was at one that is gone."""
    kept = [
        checkpoint(30, full_valid_loss=1.1, full_valid_mean_token_accuracy=0.8),
        checkpoint(40, full_valid_loss=1.4),
        checkpoint(50, full_valid_loss=-1.0),
    ]
    best = proposal(table_of(of_epochs(1.3, 0.9, 9.0, 9.0, 1.6)), kept, "model")
    assert best is not None
    assert (best.step, best.model) == (30, "model:ckpt-step-30")


def test_without_validation_the_last_model_is_proposed() -> None:
    best = proposal(table_of(b"step,train_loss\n1,2\n2,1\n"), [checkpoint(1), checkpoint(2)], "model")
    assert best is not None
    assert (best.step, best.model, best.is_last) == (2, "model", True)
    assert "nothing was measured" in best.why
    assert proposal(table_of(b"step,train_loss\n1,2\n"), [], "") is None


def test_a_last_model_that_was_not_measured_is_not_left_out() -> None:
    """The whole validation file was not measured at the end: the batches decide."""
    lines = ["step,train_loss,valid_loss,full_valid_loss"]
    lines += [f"{step},1,{3 - step / 20},{1.5 if step == 20 else ''}" for step in range(1, 40)]
    best = proposal(table_of("\n".join(lines).encode()), [checkpoint(20)], "model")
    assert best is not None
    assert (best.step, best.model, best.measure) == (39, "model", "valid_loss")


def test_the_highest_reward_is_best() -> None:
    data = b"step,full_valid_mean_reward\n10,0.2\n20,0.6\n30,0.4\n"
    best = proposal(table_of(data), [checkpoint(10), checkpoint(20), checkpoint(30)], "model")
    assert best is not None
    assert best.step == 20
    assert "highest at step 20: 0.6. At the last step it is 0.4, 33 % lower" in best.why


def test_batches_of_validation_are_averaged() -> None:
    """A single batch says little."""
    lines = ["step,train_loss,valid_loss"]
    lines += [f"{step},1,{2 if step <= 20 else 3}" for step in range(1, 41)]
    best = proposal(table_of("\n".join(lines).encode()), [checkpoint(20), checkpoint(40)], "model")
    assert best is not None
    assert best.step == 20


def test_a_loss_that_falls_with_noise_leaves_the_last_model() -> None:
    """Neither one batch nor a mean of few says that an earlier checkpoint is better."""
    earlier = 0
    for seed in range(50):
        chosen = Random(seed)
        losses = {step: 1 - step * 0.0008 + chosen.uniform(-0.2, 0.2) for step in range(1, 301)}
        data = "\n".join(["step,valid_loss", *(f"{step},{loss}" for step, loss in losses.items())])
        kept = [checkpoint(step, valid_loss=losses[step]) for step in (100, 200, 300)]
        best = proposal(table_of(data.encode()), kept, "model")
        assert best is not None
        earlier += not best.is_last
    assert earlier <= 1


def test_the_last_checkpoint_has_its_own_step() -> None:
    """The table may end a step later, and the whole file may be measured a step before."""
    lines = ["step,train_loss,full_valid_loss"]
    whole = {10: 0.9, 20: 0.5, 29: 1.5}
    lines += [f"{step},1,{whole.get(step, '')}" for step in range(1, 31)]
    table = table_of("\n".join(lines).encode())
    last = JobCheckpoint("ckpt-29", 1.0, 29, "model", {})
    for kept in ([checkpoint(10), checkpoint(20), last], [checkpoint(10), checkpoint(20)]):
        best = proposal(table, kept, "model")
        assert best is not None
        assert (best.step, best.measure) == (20, "full_valid_loss")
        assert best.candidates[-1].value == 1.5


def test_of_two_columns_with_one_meaning_the_first_number_counts() -> None:
    table = table_of(b"step,train_accuracy,train_mean_token_accuracy\n1,0.5,\n2,,0.6\n3,0.7,0.1\n")
    assert table.columns["train_token_accuracy"] == (0.5, 0.6, 0.7)


def test_a_reward_of_the_whole_file_is_not_that_of_a_batch() -> None:
    rows = b"step,full_valid_mean_reward,valid_mean_reward\n1,,0.9\n2,0.30,0.1\n3,,0.95\n4,0.55,0.2\n"
    best = proposal(table_of(rows), [checkpoint(2), checkpoint(4)], "model")
    assert best is not None
    assert (best.step, best.measure) == (4, "full_valid_reward")


@pytest.mark.parametrize("total", ["", ",300"])
def test_epochs_that_have_not_ended_have_no_end(total: str) -> None:
    lines = [f"step,train_loss{',total_steps' if total else ''}"]
    lines += [f"{step},1{total}" for step in range(1, 151)]
    table = table_of("\n".join(lines).encode())
    ends = [each.step for each in epoch_ends(table, 3, is_complete=False)]
    assert ends == ([100] if total else [])


@pytest.mark.parametrize(
    ("epochs", "steps"), [(3, [10, 20, 30]), ("auto", [10, 20, 30]), (True, [10, 20, 30]), (6, None)]
)
def test_epochs_end_where_the_whole_file_was_measured(epochs: object, steps: list[int] | None) -> None:
    ends = epoch_ends(table_of(of_epochs(1.5, 1.2, 2.1, train=1.0)), epochs, is_complete=True)
    assert [each.step for each in ends] == (steps or [5, 10, 15, 20, 25, 30])
    assert ends[-1].gap == pytest.approx(2.1)


@pytest.mark.parametrize(
    ("valid", "kind", "text"),
    [
        (1.1, "fine", "can use on new rows"),
        (1.4, "fine", "a usual gap"),
        (1.6, "look", "watch for overfitting"),
        (2.5, "look", "is overfit"),
        (nan, "", ""),
    ],
)
def test_the_gap_in_words(valid: float, kind: str, text: str) -> None:
    found = gap_text([EpochEnd(1, 10, 1.0, valid)])
    assert found[0] == kind
    assert text in found[1]
