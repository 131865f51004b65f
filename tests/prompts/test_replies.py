"""Which answer belongs to which row: right whatever the order, or refused, never guessed."""

from __future__ import annotations

import base64
import json
import math
import re
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.errors import ErrorCode
from batchscore.prompts.batches import BodyFormat, Packer
from batchscore.prompts.cells import json_bytes
from batchscore.prompts.replies import ReplyReader, ReplyScores, answer_size
from batchscore.prompts.token_estimate import Estimator
from batchscore.prompts.vectors import FEWEST_BYTES_FOR_VIEWS, decode_vector, load_with_views
from batchscore.rows import InvalidReply, Prompt, RowError, Score
from batchscore.task import CHAT, EMBEDDINGS, TASKS

#: What RFC 4648 calls base64, section 4.
STRICT = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)

#: Fields of replies, in which any of them may have any value.
NAMES = ("embedding", "index", "data", "usage")


def coded(*numbers: float) -> str:
    return base64.b64encode(np.array(numbers, dtype="<f4").tobytes()).decode()


def item(index: Any, embedding: Any) -> dict[str, Any]:
    return {"object": "embedding", "index": index, "embedding": embedding}


def read(data: Any, rows: int = 1, reader: ReplyReader | None = None) -> list[list[float]]:
    answers = (reader or ReplyReader(EMBEDDINGS)).read(orjson.dumps({"data": data}), rows)
    return [score.value.tolist() for score in answers.scores if isinstance(score, Score)]


def read_one(choices: Any, task: str = "chat", **more: Any) -> Score:
    score = read_choices(choices, task, **more).scores[0]
    assert isinstance(score, Score)
    return score


def read_choices(choices: Any, task: str = "chat", **more: Any) -> ReplyScores:
    return ReplyReader(TASKS[task], **more).read(orjson.dumps({"choices": choices}), 1)


def said(content: Any, index: int = 0, reason: Any = "stop") -> dict[str, Any]:
    return {"index": index, "message": {"role": "assistant", "content": content}, "finish_reason": reason}


@pytest.mark.parametrize("embedding", [coded(1, -0.5), [1, -0.5], [1.0, -5e-1]])
def test_a_vector_comes_as_base64_or_as_numbers(embedding: Any) -> None:
    score = ReplyReader(EMBEDDINGS).read(orjson.dumps({"data": [item(0, embedding)]}), 1).scores[0]
    assert (score.value.dtype, score.value.shape, score.value.tolist()) == (np.float32, (2,), [1, -0.5])
    assert score.finish_reason is score.usage is score.raw is None


def test_vectors_are_placed_by_index_not_by_order() -> None:
    data = [item(2, [2]), item(0, [0]), item(1, coded(1))]
    assert read(data, 3) == [[0], [1], [2]]


@pytest.mark.parametrize(
    ("indices", "vectors"),
    [
        ([None], [0]),
        ([None] * 3, [0, 1, 2]),
        ([None, 1, 2], [0, 1, 2]),
        ([0, None, 2], [0, 1, 2]),
        ([None, 2, 1], [0, 2, 1]),
        ([2, None, 0], [2, 1, 0]),
        ([None, 1, None, 3], [0, 1, 2, 3]),
        ([0, 0, 0], [0, 1, 2]),
    ],
    ids=str,
)
@pytest.mark.parametrize("has_null", [True, False])
def test_what_index_leaves_out_is_filled_in_where_one_order_is_possible(
    indices: list[int | None], vectors: list[int], *, has_null: bool
) -> None:
    """Gemini's gateway leaves out 0, as protobuf does; others send no number, or 0 for all."""
    data = [item(index, [place]) for place, index in enumerate(indices)]
    kept = [{name: part for name, part in each.items() if has_null or part is not None} for each in data]
    assert read(kept, len(indices)) == [[number] for number in vectors]


@pytest.mark.parametrize(
    "indices",
    [(0, 0), (1, 1), (0, 2), (-1, 0), (False, True), (0.0, 1.0), ("0", "1"), (1, 2), (None, 0, 0),
     (None, 3, 1), (None, None, 1), (0, 0, None), (10**30, 0)],
    ids=str,
)  # fmt: skip
def test_index_numbers_that_do_not_match_are_refused(indices: tuple[Any, ...]) -> None:
    body = f'{{"data":[{",".join(orjson.dumps(item("I", [1])).decode() for _ in indices)}]}}'
    for index in indices:
        text = str(index) if isinstance(index, int) and index > 2**64 else orjson.dumps(index).decode()
        body = body.replace('"I"', text, 1)
    with pytest.raises(InvalidReply, match="index numbers do not match"):
        ReplyReader(EMBEDDINGS).read(body.encode(), len(indices))


@pytest.mark.parametrize("count", [1, 3])
def test_too_few_or_too_many_vectors_are_refused(count: int) -> None:
    with pytest.raises(InvalidReply, match=f"has {count} vectors for 2 inputs"):
        read([item(index, [1]) for index in range(count)], 2)


def test_a_vector_of_another_length_is_refused_within_a_reply_and_between_replies() -> None:
    with pytest.raises(InvalidReply, match="1 numbers, and the others have 2"):
        read([item(0, [1, 2]), item(1, [1])], 2)
    reader = ReplyReader(EMBEDDINGS)
    read([item(0, [1, 2, 3])], reader=reader)
    with pytest.raises(InvalidReply, match="2 numbers, and those before have 3"):
        read([item(0, [1, 2])], reader=reader)


INVALID_VECTORS = [
    None, {}, [], "", 5, True, [None], [1, None], ["1.5"], [True], [[1], [2]], [[1], [2, 3]], [[1, 2]],
    [{"a": 1}], [1e300], coded(math.nan), coded(1, math.inf), "AAAA", "AAAAAAA", "AAAAAA==!",
    "AAAAAA!==", "AAAA!AA=", "AAAA!AAAA", "A\nAAAAA==", "é===", "not base64!!",
]  # fmt: skip


@pytest.mark.parametrize("embedding", INVALID_VECTORS, ids=repr)
def test_an_invalid_vector_is_refused(embedding: Any) -> None:
    with pytest.raises(InvalidReply, match="a vector is"):
        read([item(0, embedding)])


@pytest.mark.parametrize("embedding", [*INVALID_VECTORS, [1, 2], coded(1, 2)], ids=repr)
@pytest.mark.parametrize("right", [[5.0], coded(5)])
def test_an_invalid_vector_costs_no_other_row(embedding: Any, right: Any) -> None:
    reader = ReplyReader(EMBEDDINGS, dimensions=1)
    data = [item(0, right), item(1, embedding), item(2, right)]
    answers = reader.read(orjson.dumps({"data": data}), 3)
    assert not answers.complete
    first, wrong, last = answers.scores
    assert isinstance(wrong, RowError)
    assert "a vector" in wrong.message
    assert isinstance(first, Score)
    assert isinstance(last, Score)
    assert first.value.tolist() == last.value.tolist() == [5]


def test_a_null_within_a_vector_of_nan_costs_no_other_row() -> None:
    """Python services write NaN into JSON."""
    body = b'{"data":[{"index":0,"embedding":[1.0,2.0]},{"index":1,"embedding":[NaN,1.0]}]}'
    answers = ReplyReader(EMBEDDINGS).read(body, 2)
    assert [type(score) for score in answers.scores] == [Score, RowError]


@pytest.mark.parametrize("embedding", [coded(*[0.5] * 70_000), [0.5] * 70_000])
def test_a_vector_is_not_longer_than_that_of_any_model(embedding: Any) -> None:
    with pytest.raises(InvalidReply, match="70,000 numbers, more than any model gives"):
        read([item(0, embedding)])


def test_nested_vectors_are_called_so() -> None:
    for nested in ([[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]]):
        with pytest.raises(InvalidReply, match="list of vectors, perhaps one for each token"):
            read([item(0, nested)])


def test_the_length_that_was_asked_for_is_held_against_the_vectors() -> None:
    reader = ReplyReader(EMBEDDINGS, asked_dimensions=2)
    for data in ([item(0, [1, 2, 3])], [item(0, coded(1, 2, 3)), item(1, coded(1, 2, 3))]):
        with pytest.raises(
            InvalidReply, match="vectors of 2 numbers were requested, and the service sends 3"
        ):
            read(data, len(data), reader)
    assert read([item(0, [1, 2])], reader=reader) == [[1, 2]]


@pytest.mark.parametrize("dimensions", [8, 9, 64, 1536])
@pytest.mark.parametrize("rounded", [True, False])
@pytest.mark.parametrize("scale", [1.0, 0.001])
def test_numbers_of_eight_bytes_are_not_read_as_twice_as_many(
    dimensions: int, *, rounded: bool, scale: float
) -> None:
    random = np.random.default_rng(dimensions)
    for _ in range(20):
        vectors = random.normal(size=(2, dimensions)) * scale
        vectors = vectors.astype(np.float32) if rounded else vectors
        data = [
            item(at, base64.b64encode(each.astype("<f8").tobytes()).decode())
            for at, each in enumerate(vectors)
        ]
        with pytest.raises(InvalidReply, match="numbers have eight bytes instead of four"):
            read(data, 2)
        right = [
            item(at, base64.b64encode(each.astype("<f4").tobytes()).decode())
            for at, each in enumerate(vectors)
        ]
        assert len(read(right, 2)) == 2


@pytest.mark.parametrize(
    "numbers",
    [
        *([0.0] * 32, [0.0, 1.0] * 16, [1.0] + [0.0] * 31, [2.0] * 32, [1.0, -1.0] * 16, [0.5, 0.25] * 16),
        # A short text: few numbers, some of them zero, and all others of a usual size.
        [
            0.587,
            0.1,
            0.0,
            -0.1,
            0.1,
            -0.387,
            0.186,
            0.1,
            0.387,
            -0.2,
            0.0,
            0.186,
            -0.286,
            0.086,
            -0.186,
            -0.286,
        ],
        [0.0, 0.3, 0.1, 0.2, 0.0, -0.4, 0.2, 0.1] * 2,
        [0.0, 0.3, 0.0, 0.2, 0.0, -0.4, 0.0, 0.1] * 4,
        [0.0, 0.3, 0.0, 0.2, 0.0, -0.4, 0.0, 0.1] * 3 + [0.1] * 8,
    ],
)
def test_plain_vectors_of_four_bytes_are_read(numbers: list[float]) -> None:
    assert len(read([item(0, coded(*numbers))])) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b'"x"', b"null", b"{}", b'{"data": null}', b'{"data": {}}', b'{"data": [1]}',
     b'{"choices": "x"}', b'{"choices": [null]}', b'{"choices": []}', b"\xff", b'{"data": [NaN]}',
     b"[" * 2000],
    ids=lambda body: body[:20].decode("latin-1"),
)  # fmt: skip
@pytest.mark.parametrize("task", ["embeddings", "completions", "chat"])
def test_a_reply_that_does_not_match_the_task_is_refused(body: bytes, task: str) -> None:
    with pytest.raises(InvalidReply):
        ReplyReader(TASKS[task]).read(body, 1)


@given(st.binary(max_size=60) | st.text('{}[]":,01datachoiesmgxn', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for task in ["embeddings", "completions", "chat"]:
        with pytest.raises(InvalidReply):
            ReplyReader(TASKS[task]).read(body, 1)


CELLS = st.recursive(
    st.none() | st.integers() | st.text('Aé1/=\\"\x7f', max_size=9) | st.just("embedding"),
    lambda cells: st.lists(cells, max_size=3) | st.dictionaries(st.sampled_from(NAMES), cells, max_size=3),
    max_leaves=9,
)


def what_is_read(body: bytes, rows: int, **options: Any) -> Any:
    """Return the results of a reply, or why it is refused, and the length that vectors have from then on."""
    reader, found = ReplyReader(EMBEDDINGS, **options), list[Any]()
    try:
        results = reader.read(memoryview(body), rows).scores
    except InvalidReply as reason:
        found.append(reason.args)
    else:
        found += [each if isinstance(each, RowError) else each.value.tolist() for each in results]
    return found, reader.dimensions


@given(
    data=st.lists(CELLS, max_size=4),
    rest=st.dictionaries(st.sampled_from(NAMES), CELLS, max_size=3),
    layout=st.sampled_from(({}, {"indent": 1}, {"separators": (",", ":")}, {"ensure_ascii": False})),
    spaces=st.sampled_from((b"", b" ", b"\n")),
    slash=st.sampled_from(("/", "\\/")),
    encoding=st.sampled_from(("utf-8", "utf-8-sig", "utf-16")),
    cut=st.none() | st.integers(0, 400),
)
def test_a_large_reply_says_what_its_json_says(
    data: list[Any],
    rest: dict[str, Any],
    layout: Any,
    spaces: bytes,
    slash: str,
    encoding: str,
    cut: int | None,
) -> None:
    written = json.dumps({"long": " " * FEWEST_BYTES_FOR_VIEWS, **rest, "data": data}, **layout)
    body = written.replace("/", slash).encode(encoding)[: None if cut is None else -1 - cut]
    body = body.replace(b'"embedding":', b'"embedding"' + spaces + b":", 1)
    # With `with_raw`, all of the reply is JSON, and nothing is a view.
    assert what_is_read(body, len(data)) == what_is_read(body, len(data), with_raw=True)


@pytest.mark.parametrize("after", range(40))
def test_a_shorter_vector_is_not_read_together_with_what_follows(after: int) -> None:
    four, text = coded(1, 2, 3, 4), {"text": "A" * after}
    data = [{"embedding": four}, {"embedding": coded(1)} | text, {"embedding": four}]
    for each in (
        data,
        [*data[:2], {"text": "A", "embedding": four}],
        [*data[:2], text | {"embedding": four}],
    ):
        body = orjson.dumps({"data": each, "long": " " * FEWEST_BYTES_FOR_VIEWS})
        found, dimensions = what_is_read(body, 3)
        assert (found, dimensions) == what_is_read(body, 3, with_raw=True)
        assert "a vector has 1 numbers, and the others have 4" in str(found)


@pytest.mark.parametrize("numbers", [(1, 2, 3, 4), (1, 2)])
def test_one_vector_that_is_sent_for_all_inputs_is_refused_however_it_is_written(numbers: Any) -> None:
    text = json.dumps({"data": [item(0, coded(*numbers))] * 3, "long": " " * FEWEST_BYTES_FOR_VIEWS})
    for at in range(1, 4):
        body = '"embedding":'.join(text.split('"embedding":', at)).replace('"embedding":', '"embedding" :', 1)
        with pytest.raises(InvalidReply, match="index numbers"):
            ReplyReader(EMBEDDINGS).read(body.encode(), 3)


def test_a_reply_that_is_read_twice_is_counted_once() -> None:
    """The second text is shorter, and a view takes what follows: the true counts, behind impossible ones."""
    long, short = coded(*[1.0] * 64), coded(*[1.0] * 4)
    hidden = '"}],"usage":{"prompt_tokens":3},"z":[{"a":"'
    rest = "y" * (len(long) - len(short) - len(hidden))
    body = (
        f'{{"p":"{" " * FEWEST_BYTES_FOR_VIEWS}","usage":{{"prompt_tokens":99999999}},'
        f'"data":[{{"embedding":"{long}"}},{{"embedding":"{short}{hidden}{rest}"}}]}}'
    )
    notices = list[str]()
    reader = ReplyReader(EMBEDDINGS, dimensions=64, notice=notices.append)
    assert reader.read(body.encode(), 2, b"x" * 99).prompt_tokens == 3
    assert not notices


@pytest.mark.parametrize("distance", [0, 9, 99, 200_000])
@pytest.mark.parametrize("length", [3, 16, 1024, 2**13])
def test_vectors_of_any_length_and_distance_are_views_of_the_body(length: int, distance: int) -> None:
    items = [
        {"between": "x" * distance * (index % 3), **item(index, coded(*range(index, index + length)))}
        for index in range(7)
    ]
    body = json.dumps({"data": items}).encode()
    found = load_with_views(memoryview(body))["data"]
    assert [bytes(each["embedding"]).decode() for each in found] == [each["embedding"] for each in items]
    assert all(isinstance(each["embedding"], memoryview) and each["embedding"].obj is body for each in found)


@given(FLOATS, st.data())
def test_base64_is_decoded_as_the_standard_says_or_refused(number: float, source: st.DataObject) -> None:
    text = coded(number, number)
    vector = decode_vector(text)
    assert isinstance(vector, np.ndarray)
    assert vector.tolist() == [np.float32(number)] * 2
    at = source.draw(st.integers(0, len(text)))
    broken = text[:at] + source.draw(st.sampled_from(["!", "\n", "=", "é", "-"])) + text[at:]
    for one in [broken, broken[:-1]]:
        if not STRICT.fullmatch(one):
            assert isinstance(decode_vector(one), InvalidReply)


@given(texts=st.lists(st.text(max_size=8), min_size=1, max_size=20, unique=True), data=st.data())
def test_each_row_gets_its_own_vector_whatever_the_order_of_the_reply(
    texts: list[str], data: st.DataObject
) -> None:
    vectors = {text: data.draw(st.lists(FLOATS, min_size=3, max_size=3)) for text in texts}
    packer = Packer(
        iter([Prompt("f", row, json_bytes(text)) for row, text in enumerate(texts)]), 7, Estimator()
    )
    form, reader = BodyFormat(EMBEDDINGS, "m", {}), ReplyReader(EMBEDDINGS)
    got: dict[int, list[float]] = {}
    while prompts := packer.take().prompts:
        asked = orjson.loads(form.body(prompts))["input"]
        answer = [
            item(index, coded(*vectors[text]) if data.draw(st.booleans()) else vectors[text])
            for index, text in enumerate(asked)
        ]
        scores = reader.read(orjson.dumps({"data": data.draw(st.permutations(answer))}), len(prompts)).scores
        got.update((one.row, score.value.tolist()) for one, score in zip(prompts, scores, strict=True))
    assert got == {row: vectors[text] for row, text in enumerate(texts)}


def test_an_answer_has_a_text_and_a_finish_reason() -> None:
    score = read_choices([said("hi", reason="length")]).scores[0]
    assert (score.value, score.finish_reason) == ("hi", "length")
    score = read_choices([{"text": " hi", "finish_reason": "stop"}], "completions").scores[0]
    assert (score.value, score.finish_reason) == (" hi", "stop")


@pytest.mark.parametrize(
    "choice",
    [
        said(None, reason="content_filter"),
        said("", reason="content_filter"),
        {"message": {}, "finish_reason": 1},
        {"message": {"content": None, "reasoning_content": "hm"}, "finish_reason": "stop"},
        {"message": None, "finish_reason": "content_filter"},
        {"message": None, "finish_reason": "SAFETY"},
    ],
)
def test_an_answer_without_text_is_null_not_an_error(choice: dict[str, Any]) -> None:
    assert not read_one([choice]).value


def test_a_refusal_is_a_text_with_its_own_reason() -> None:
    choice = {"message": {"content": None, "refusal": "I cannot help."}, "finish_reason": "stop"}
    score = read_one([choice])
    assert (score.value, score.finish_reason) == ("I cannot help.", "refusal")


BROKEN = [
    "error",
    "insufficient_system_resource",
    "network_error",
    "abort",
    "ERROR",
    "server_error",
    "timeout",
]


@pytest.mark.parametrize("reason", BROKEN)
@pytest.mark.parametrize("text", ["", "half", None])
def test_an_answer_that_the_service_broke_off_is_its_failure(reason: str, text: str | None) -> None:
    message = {"message": {"content": text}} if text is None else {"message": {"content": text}, "text": text}
    for task in ("chat", "completions"):
        with pytest.raises(InvalidReply, match="broke off") as caught:
            read_choices([{**message, "finish_reason": reason}], task)
        assert caught.value.code is ErrorCode.SERVER_ERROR
        assert not caught.value.same_again


def test_one_broken_off_answer_of_several_is_a_failure_too() -> None:
    broken = said("") | {"error": {"code": 502, "message": "upstream"}, "index": 1}
    with pytest.raises(InvalidReply, match="broke off"):
        read_choices([said("a"), broken], answers_per_row=2)
    assert read_one([said("a") | {"error": None}]).value == "a"


@pytest.mark.parametrize(
    "reply",
    [
        {"choices": [], "prompt_filter_results": [{"content_filter_results": {"hate": {"filtered": True}}}]},
        {"choices": None, "promptFeedback": {"blockReason": "SAFETY"}},
    ],
)
def test_a_blocked_prompt_without_choices_is_an_error_of_its_row(reply: dict[str, Any]) -> None:
    answers = ReplyReader(CHAT).read(orjson.dumps(reply), 1)
    assert isinstance(answers.scores[0], RowError)
    assert (answers.scores[0].code, answers.complete) == (ErrorCode.CONTENT_FILTER, False)


@pytest.mark.parametrize("choices", [[], None])
def test_no_choices_without_a_reason_are_no_answer(choices: Any) -> None:
    with pytest.raises(InvalidReply, match="no choices"):
        read_choices(choices)


def test_a_completion_without_text_is_refused() -> None:
    """A server that answers `/v1/completions` in the form of chat."""
    for choice in (said("hi"), {"finish_reason": "stop"}, {"text": None, "finish_reason": "stop"}):
        with pytest.raises(InvalidReply, match="a choice has no text"):
            read_choices([choice], "completions")
    assert read_one([{"text": None, "finish_reason": "content_filter"}], "completions").value is None


def test_fewer_answers_than_requested_name_the_parameter() -> None:
    with pytest.raises(
        InvalidReply, match="1 of 3 answers; does the service ignore the parameter n"
    ) as caught:
        read_choices([said("a")], answers_per_row=3)
    assert caught.value.same_again


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"<!DOCTYPE html><p>sign in", "an HTML page"),
        (b"\xef\xbb\xbf <HTML>", "an HTML page"),
        (b"<?xml version='1.0'?><Error/>", "XML"),
        (b'data: {"choices":[]}\n\ndata: [DONE]\n', "an event stream, not JSON"),
        (b": OPENROUTER PROCESSING\n\ndata: {}", "an event stream, not JSON"),
        (b"event: message\ndata: {}", "an event stream, not JSON"),
        (b'{"choices": [', "incomplete or invalid JSON"),
        (b'{"choices": [{"text": "caf\xe9"}]}', "JSON that is not UTF-8"),
        (b"Internal Server Error", "not JSON"),
    ],
)
def test_what_came_instead_of_json_is_said(body: bytes, words: str) -> None:
    with pytest.raises(InvalidReply, match=f"the reply is {words}") as caught:
        ReplyReader(CHAT).read(body, 1)
    assert not caught.value.same_again


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": 402, "message": "m"}, 402),
        ({"code": "429"}, 429),
        ({"status": 503}, 503),
        ({"code": "model_not_loaded"}, None),
        ({"code": 200}, None),
        ("Unexpected endpoint", None),
    ],
)
@pytest.mark.parametrize("rest", [{}, {"choices": [], "data": []}, {"choices": None}], ids=str)
def test_an_error_with_a_good_status_is_known_by_its_own(error: Any, status: int | None, rest: Any) -> None:
    for task in (CHAT, EMBEDDINGS):
        with pytest.raises(InvalidReply, match="error with status 200") as caught:
            ReplyReader(task).read(orjson.dumps({"error": error, **rest}), 1)
        assert (caught.value.is_error, caught.value.status) == (True, status)
        assert not caught.value.same_again


def test_an_invalid_finish_reason_is_null() -> None:
    assert read_choices([said("x", reason=1)]).scores[0].finish_reason is None


def test_the_texts_of_content_parts_are_joined_and_the_rest_is_left_out() -> None:
    parts = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "a"},
        {"type": "text", "text": None},
        {"type": "text", "text": "b"},
    ]
    assert read_choices([said(parts)]).scores[0].value == "ab"


@pytest.mark.parametrize("content", [1, True, {"text": "x"}])
def test_an_answer_that_is_not_text_is_refused(content: Any) -> None:
    with pytest.raises(InvalidReply, match="not text"):
        read_choices([said(content)])
    with pytest.raises(InvalidReply, match="not text"):
        read_choices([{"text": content}], "completions")


@pytest.mark.parametrize("choice", [{}, {"message": None}, {"message": "x"}, {"text": "x"}])
def test_a_chat_choice_without_a_message_is_refused(choice: dict[str, Any]) -> None:
    with pytest.raises(InvalidReply, match="no message"):
        read_choices([choice])


def test_several_answers_are_lists_in_the_order_of_their_index() -> None:
    choices = [said("c", 2, "length"), said("a"), said(None, 1)]
    score = read_choices(choices, answers_per_row=3).scores[0]
    assert (score.value, score.finish_reason) == (["a", None, "c"], ["stop", "stop", "length"])


def test_the_first_of_several_unrequested_answers_is_taken() -> None:
    assert read_choices([said("b", 1), said("a", 0)]).scores[0].value == "a"


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4}, (3, 4)),
        ({"prompt_tokens": 3}, (3, 0)),
        ({"prompt_tokens": -1, "completion_tokens": "4"}, (0, 0)),
        ({"prompt_tokens": 12.0, "completion_tokens": 4.0}, (12, 4)),
        ({"total_tokens": 12}, (12, 0)),
        ({"total_tokens": 12, "completion_tokens": 4}, (8, 4)),
        ({"input_tokens": 3, "output_tokens": 4}, (3, 4)),
        ({"prompt_tokens": True}, (0, 0)),
        (None, (0, 0)),
        ([], (0, 0)),
    ],
)
def test_token_counts_are_the_services_own_or_zero(usage: Any, counts: tuple[int, int]) -> None:
    answers = ReplyReader(CHAT).read(orjson.dumps({"choices": [said("x")], "usage": usage}), 1)
    assert (answers.prompt_tokens, answers.completion_tokens) == counts


@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens", "total_tokens"])
@pytest.mark.parametrize("count", [2**64 - 1, 2**63 - 1, 1e30, 675_947_905, -35])
def test_impossible_token_counts_are_ignored_and_reported_once(name: str, count: float) -> None:
    notices: list[str] = []
    reader = ReplyReader(CHAT, with_usage=True, notice=notices.append)
    usage = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9, name: count}
    body = orjson.dumps({"choices": [said("x")], "usage": usage})
    for _ in range(2):
        answers = reader.read(body, 1, b"x" * 100)
        assert 0 <= answers.prompt_tokens <= 9
        assert answers.completion_tokens in {0, 4}
        assert 0 <= sum(reader.billed(body, 1, b"x" * 100)) <= 9
        score = answers.scores[0]
        assert isinstance(score, Score)
        assert count < 0 or name not in (score.usage or {})
    assert len(notices) == (count > 0)


def test_a_prompt_has_no_more_tokens_than_bytes_unless_it_holds_more_than_text() -> None:
    reader = ReplyReader(CHAT)
    body = orjson.dumps({"choices": [said("x")], "usage": {"prompt_tokens": 50_000}})
    assert reader.read(body, 1, b'{"messages":[{"content":"a"}]}').prompt_tokens == 0
    assert reader.read(body, 1, b'{"messages":[{"content":[{"image_url":"u"}]}]}').prompt_tokens == 50_000
    assert reader.read(body, 1, b"x" * 40_000).prompt_tokens == 50_000
    vectors = orjson.dumps({"data": [item(0, [1])], "usage": {"prompt_tokens": 1000}})
    assert ReplyReader(EMBEDDINGS).read(vectors, 1, b"x" * 20).prompt_tokens == 0
    assert ReplyReader(EMBEDDINGS).read(vectors, 1, b"x" * 900).prompt_tokens == 1000


def test_usage_and_the_raw_reply_come_on_request_only() -> None:
    reply = {"choices": [said("x")], "usage": {"prompt_tokens": 3, "details": {"cached": 1}}}
    with_all = ReplyReader(CHAT, with_usage=True, with_raw=True).read(orjson.dumps(reply), 1).scores[0]
    assert (with_all.usage, with_all.raw, with_all.value) == (reply["usage"], reply, "x")
    bare = ReplyReader(CHAT).read(orjson.dumps(reply), 1).scores[0]
    assert bare.usage is bare.raw is None


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_in_other_encodings_is_read(encoding: str) -> None:
    body = orjson.dumps({"choices": [said("Grüße, 日本語 😀")]}).decode().encode(encoding)
    assert ReplyReader(CHAT).read(body, 1).scores[0].value == "Grüße, 日本語 😀"


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (rb"\ud83d", "\ufffd"),
        (rb"cut \ud83d and \ude00", "cut \ufffd and \ufffd"),
        (rb"\ud83d\ude00 \\ud83d \udc00", "😀 \\ud83d \ufffd"),
        (b"\xed\xa0\xbd", "\ufffd"),
    ],
)
def test_half_a_character_is_replaced_wherever_it_is(written: bytes, text: str) -> None:
    body = b'{"choices":[{"message":{"content":"%s"}}],"usage":{"prompt_tokens":3,"note":"%s"}}'
    answers = ReplyReader(CHAT, with_raw=True).read(body % (written, written), 1)
    assert (answers.scores[0].value, answers.prompt_tokens) == (text, 3)
    orjson.dumps(answers.scores[0].raw)
    assert ReplyReader(CHAT).billed(body % (written, written), 1, b"") == (3, 0)


@pytest.mark.parametrize("number", [b"1" + b"0" * 400, b"-" + b"9" * 5000, b"1e999", b"-Infinity"])
def test_a_number_beyond_all_bounds_costs_no_reply(number: bytes) -> None:
    body = b'{"choices":[{"message":{"content":"x"}}],"created":%s,"usage":{"prompt_tokens":3,"seconds":%s}}'
    answers = ReplyReader(CHAT, with_raw=True, with_usage=True).read(body % (number, number), 1, b" " * 9)
    (score,) = answers.scores
    assert isinstance(score, Score)
    assert (score.value, answers.prompt_tokens, score.usage) == (
        "x",
        3,
        {"prompt_tokens": 3, "seconds": None},
    )
    orjson.dumps(score.raw)


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[" * 10_000, b"{\xff}", b"{\0", b"<html>", b"NaN"])
def test_what_no_client_reads_is_not_json(body: bytes) -> None:
    with pytest.raises(InvalidReply, match=r"JSON|empty"):
        ReplyReader(CHAT).read(body, 1)


def test_the_bound_of_a_reply_follows_what_was_asked() -> None:
    """Generous: three times the longest honest reply or more, and never without an end."""
    longest = '{"index":2047,"object":"embedding","embedding":[' + "-0.12345678901234567, " * 3072 + "]}"
    vectors = ReplyReader(EMBEDDINGS, dimensions=3072)
    assert len(longest) * 256 < vectors.most_bytes(256) < 40 * 2**20
    assert ReplyReader(EMBEDDINGS).most_bytes(1) < 2**24
    for tokens, params, least, most in [
        (100, {}, 2**23, 2**24),
        (None, {}, 2**24, 2**25),
        (16_000, {"logprobs": True, "top_logprobs": 20}, 16_000 * 21 * 150, 2**27),
        (10**12, {}, 2**27, 2**28),
        (128_000, {"include": ["message.output_text.logprobs"]}, 128_000 * 150, 2**26),
        (10, {"logprobs": "yes", "top_logprobs": -1}, 2**23, 2**24),
    ]:
        size = ReplyReader(CHAT, answer_bytes=answer_size(tokens, params)).most_bytes(1)
        assert least <= size <= most
    eight = ReplyReader(CHAT, 8, answer_bytes=answer_size(4096, {})).most_bytes(1)
    assert eight >= 8 * 4096 * 12
