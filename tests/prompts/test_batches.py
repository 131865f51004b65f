"""How prompts become requests: within all limits, in order, and as exact JSON."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.errors import ErrorCode
from batchscore.prompts.batches import MOST_BYTES, MOST_INPUTS, MOST_TOKENS, BodyFormat, Pack, Packer
from batchscore.prompts.cells import json_bytes
from batchscore.prompts.duplicates import MOST_WAITING, Duplicates
from batchscore.prompts.token_estimate import Estimator
from batchscore.rows import Prompt, RowError, Score, Settled
from batchscore.task import CHAT, EMBEDDINGS, TASKS

TEXTS = st.lists(st.text(max_size=20), min_size=1, max_size=8)


def prompt(row: int, text: Any = "x") -> Prompt:
    return Prompt("f", row, json_bytes(text))


def error(row: int) -> Settled:
    return Settled("f", row, RowError(ErrorCode.EMPTY_INPUT, ""))


def sized(row: int, length: int) -> Prompt:
    return Prompt("f", row, b'"' + b"x" * (length - 2) + b'"')


def packer(*items: Prompt | Settled, most_rows: int = 10) -> Packer:
    return Packer(iter(items), most_rows, Estimator())


def all_of(packer: Packer) -> list[Pack]:
    taken = []
    while (one := packer.take()).prompts or one.settled:
        taken.append(one)
    assert one.ended
    return taken


def rows(taken: list[Pack]) -> list[list[int]]:
    return [[one.row for one in pack.prompts] for pack in taken]


def test_a_request_takes_as_many_rows_as_it_may_in_order() -> None:
    assert rows(all_of(packer(*map(prompt, range(5)), most_rows=2))) == [[0, 1], [2, 3], [4]]


def test_an_ended_stream_gives_nothing_more() -> None:
    ended = packer()
    assert ended.take() == ended.take() == Pack(ended=True)


def test_rows_without_a_request_take_no_place_in_one() -> None:
    taken = packer(error(0), prompt(1), error(2), prompt(3), most_rows=2).take()
    assert (taken.prompts, taken.settled) == ([prompt(1), prompt(3)], [error(0), error(2)])
    assert taken.size == 6


def test_rows_without_a_request_are_passed_on_in_bounded_lists() -> None:
    taken = all_of(packer(*map(error, range(MOST_INPUTS + 1))))
    assert [len(pack.settled) for pack in taken] == [MOST_INPUTS, 1]


def test_no_request_exceeds_the_inputs_that_the_service_accepts() -> None:
    taken = all_of(packer(*map(prompt, range(MOST_INPUTS + 1)), most_rows=10 * MOST_INPUTS))
    assert [len(pack.prompts) for pack in taken] == [MOST_INPUTS, 1]


def test_a_prompt_that_no_longer_fits_is_the_first_of_the_next_request() -> None:
    taken = all_of(packer(sized(0, MOST_TOKENS * 2), sized(1, MOST_TOKENS * 2), error(2), prompt(3)))
    assert rows(taken) == [[0], [1, 3]]


def test_a_prompt_over_every_limit_is_sent_alone() -> None:
    taken = all_of(packer(prompt(0), sized(1, MOST_BYTES + 9), prompt(2)))
    assert rows(taken) == [[0], [1], [2]]


def test_texts_and_lists_of_tokens_are_not_in_one_request() -> None:
    items = [prompt(0), prompt(1, [1, 2]), prompt(2, [3]), prompt(3)]
    assert rows(all_of(packer(*items))) == [[0], [1, 2], [3]]


def test_shrinking_applies_to_the_next_request_and_is_permanent() -> None:
    source = packer(*map(prompt, range(9)), most_rows=4)
    source.take()
    source.shrink(2)
    source.shrink(3)
    assert rows(all_of(source)) == [[4, 5], [6, 7], [8]]


def test_shrinking_ends_at_one_row() -> None:
    source = packer(*map(prompt, range(2)))
    source.shrink(0)
    assert rows(all_of(source)) == [[0], [1]]


@given(
    items=st.lists(st.none() | st.integers(3, MOST_TOKENS * 4), max_size=25),
    most_rows=st.integers(1, 9),
    shrink=st.integers(0, 9),
)
def test_no_request_exceeds_a_bound_and_every_row_comes_once_in_order(
    items: list[int | None], most_rows: int, shrink: int
) -> None:
    source = packer(
        *(error(row) if size is None else sized(row, size) for row, size in enumerate(items)),
        most_rows=most_rows,
    )
    first = source.take()
    source.shrink(shrink)
    rest = all_of(source)
    form = BodyFormat(EMBEDDINGS, "ada", {})
    for prompts in [first.prompts, *(pack.prompts for pack in rest)]:
        assert len(prompts) <= most_rows
        if len(prompts) > 1:
            assert sum(len(one.body) for one in prompts) * source.estimator.ratio <= MOST_TOKENS
            assert len(form.body(prompts)) <= MOST_BYTES
    assert all(len(pack.prompts) <= max(1, shrink) for pack in rest)
    taken = [first, *rest]
    assert [one.row for pack in taken for one in pack.prompts] == [
        row for row, size in enumerate(items) if size is not None
    ]
    assert [one.row for pack in taken for one in pack.settled] == [
        row for row, size in enumerate(items) if size is None
    ]


@given(
    texts=TEXTS, model=st.none() | st.text(), params=st.dictionaries(st.text("abc", min_size=1), st.text())
)
def test_an_embeddings_body_is_json_with_exactly_the_prompts(
    texts: list[str], model: str | None, params: dict[str, str]
) -> None:
    form = BodyFormat(EMBEDDINGS, model, params)
    body = orjson.loads(form.body([prompt(row, text) for row, text in enumerate(texts)]))
    named = {} if model is None else {"model": model}
    assert body == {"input": texts, "encoding_format": "base64", **named, **params}


@pytest.mark.parametrize(("task", "name"), [("completions", "prompt"), ("chat", "messages")])
@pytest.mark.parametrize("model", [None, "gpt"])
@pytest.mark.parametrize("params", [{}, {"stop": ["\n"], "logit_bias": {"50256": -100}}])
def test_a_body_of_one_prompt_holds_it_unchanged(
    task: str, name: str, model: str | None, params: dict[str, Any]
) -> None:
    asked = [{"role": "user", "content": "é"}] if task == "chat" else "é"
    body = orjson.loads(BodyFormat(TASKS[task], model, params).body([prompt(0, asked)]))
    assert body == {name: asked, **({"model": model} if model else {}), **params}


def test_a_single_input_is_a_list_too() -> None:
    assert orjson.loads(BodyFormat(EMBEDDINGS, None, {}).body([prompt(0, "a")]))["input"] == ["a"]


def test_the_users_encoding_is_kept() -> None:
    body = BodyFormat(EMBEDDINGS, None, {"encoding_format": "float"}).body([prompt(0)])
    assert orjson.loads(body) == {"input": ["x"], "encoding_format": "float"}


def test_max_tokens_gets_its_new_name_once() -> None:
    params = {"max_tokens": 5, "seed": 1}
    form = BodyFormat(CHAT, "o9", params, may_rename=True)
    assert (form.adapt("max_tokens"), form.adapt("max_tokens")) == (True, True)
    body = orjson.loads(form.body([prompt(0, [])]))
    assert body == {"messages": [], "model": "o9", "seed": 1, "max_completion_tokens": 5}
    assert params == {"max_tokens": 5, "seed": 1}, "what the user set is reported as it was"


@pytest.mark.parametrize(
    ("params", "may_rename"), [({"max_tokens": 5}, False), ({}, True), ({"max_completion_tokens": 5}, True)]
)
def test_parameters_of_the_user_are_not_renamed(params: dict[str, int], may_rename: bool) -> None:  # noqa: FBT001
    form = BodyFormat(CHAT, "m", params, may_rename=may_rename)
    before = form.body([prompt(0)])
    assert not form.adapt("max_tokens")
    assert form.body([prompt(0)]) == before


def test_vectors_are_asked_for_as_numbers_if_the_service_has_no_base64() -> None:
    form, of_user = (
        BodyFormat(EMBEDDINGS, None, {}),
        BodyFormat(EMBEDDINGS, None, {"encoding_format": "base64"}),
    )
    assert (form.adapt("encoding_format"), form.adapt("encoding_format")) == (True, True)
    assert not of_user.adapt("encoding_format")
    assert not BodyFormat(CHAT, None, {}).adapt("encoding_format")
    assert orjson.loads(form.body([prompt(0)])) == {"input": ["x"]}


@given(st.integers(0, 10_000), st.floats(1, 1e6), st.integers(1, 2_000_000))
def test_a_request_holds_about_the_smooth_share_of_the_quota(row: int, smooth: float, size: int) -> None:
    pack = packer(*(sized(row, max(3, size // 100)) for row in range(100)), most_rows=100).take(smooth)
    if len(pack.prompts) > 1:
        assert pack.size / 3 <= smooth


def test_the_estimate_follows_the_usage_of_the_replies() -> None:
    estimator = Estimator()
    assert estimator.tokens(300) == pytest.approx(101)
    for _ in range(50):
        estimator.learn(10_000, 6_000, 50, 10)
    assert estimator.tokens(1000) == pytest.approx(600, rel=0.01)
    assert estimator.usual_answer == 5
    for _ in range(1000):
        estimator.learn(10_000, 2_500, 0, 10)
    assert estimator.tokens(1000) == pytest.approx(250, rel=0.05), "it follows the files"
    estimator.learn(10_000, 0, 0, 0)
    assert estimator.tokens(1000) == pytest.approx(250, rel=0.05), "a reply without usage says nothing"


def test_rows_before_a_failure_of_the_stream_are_taken_first() -> None:
    def breaking() -> Iterator[Prompt]:
        yield prompt(0)
        yield prompt(1)
        raise OSError("gone")

    packer = Packer(breaking(), 10, Estimator())
    assert rows([packer.take()]) == [[0, 1]]
    for _ in range(2):
        with pytest.raises(OSError, match="gone"):
            packer.take()


@pytest.mark.slow
def test_no_more_rows_are_taken_while_many_wait_for_their_duplicate() -> None:
    """With an endless stream of duplicates, memory stays bounded, and the first can be answered."""
    duplicates = Duplicates()
    packer = Packer((sized(row, 9) for row in count()), 10, Estimator(), duplicates)
    pack = packer.take()
    assert [one.row for one in pack.prompts] == [0]
    assert packer.take() == Pack()
    settled = [Settled("f", 0, Score("answer"))]
    duplicates.resolve(pack.prompts, settled)
    assert len(settled) == MOST_WAITING + 1
    assert len(packer.take().settled) == MOST_INPUTS
