"""Replies as services and gateways really send them: a table of all kinds, and rehearsals on the simulator.

`CASES` names, for each reported kind of reply, the tests that hold the right judgement.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest

from batchscore import ErrorCode, Scored, ServiceRefused, score_files, score_rows
from batchscore.simulator import Running
from batchscore.simulator.too_long import WORDINGS
from http_served import Handler, running
from simulated import Deployment

pytestmark = pytest.mark.process

#: A reported reply -> the tests of its judgement, in `tests/`.
CASES = {
    "absurd, negative or wrapped token counts": (
        "prompts/test_replies.py::test_impossible_token_counts_are_ignored_and_reported_once",
        "prompts/test_reply_rehearsals.py::test_impossible_token_counts_break_no_output",
    ),
    "a stray token count with a quota": (
        "prompts/test_reply_rehearsals.py::test_a_stray_token_count_is_not_waited_for",
        "prompts/test_replies.py::test_a_prompt_has_no_more_tokens_than_bytes_unless_it_holds_more_than_text",
    ),
    "usage as floats, or the total only": (
        "prompts/test_replies.py::test_token_counts_are_the_services_own_or_zero",
        "prompts/test_reply_rehearsals.py::test_token_counts_of_any_kind_are_counted",
    ),
    "index left out, zero, or missing once": (
        "prompts/test_replies.py::test_what_index_leaves_out_is_filled_in_where_one_order_is_possible",
        "engine/test_engine_mishaps.py::test_a_service_that_leaves_out_index_costs_no_further_request",
        "prompts/test_reply_rehearsals.py::test_1000_rows_without_a_usable_index_cost_11_requests_at_most",
    ),
    "index from one, or as text": (
        "prompts/test_replies.py::test_index_numbers_that_do_not_match_are_refused",
        "engine/test_engine_mishaps.py::test_replies_that_were_never_usable_are_for_a_person",
    ),
    "the same wrong form twice": (
        "engine/test_engine_mishaps.py::test_a_reply_that_is_refused_twice_for_its_form_is_not_bought_again",
    ),
    "one row whose vector is null, NaN or of another length": (
        "prompts/test_replies.py::test_an_invalid_vector_costs_no_other_row",
        "engine/test_engine_mishaps.py::test_one_row_whose_vector_is_never_usable_costs_four_requests",
    ),
    "nested vectors, or one for each token": ("prompts/test_replies.py::test_nested_vectors_are_called_so",),
    "dimensions ignored, or of another precision": (
        "prompts/test_replies.py::test_the_length_that_was_asked_for_is_held_against_the_vectors",
        "prompts/test_reply_rehearsals.py::test_a_service_that_is_never_right_is_for_a_person",
    ),
    "answers that were broken off": (
        "prompts/test_replies.py::test_an_answer_that_the_service_broke_off_is_its_failure",
        "prompts/test_replies.py::test_one_broken_off_answer_of_several_is_a_failure_too",
        "prompts/test_reply_rehearsals.py::test_an_answer_that_was_broken_off_once_is_requested_again",
    ),
    "a completion in the form of chat": (
        "prompts/test_replies.py::test_a_completion_without_text_is_refused",
    ),
    "too long, in the words of each service": (
        "request/test_outcome_rules.py::test_an_input_that_is_too_long_is_known_in_the_words_of_each_service",
        "request/test_outcome_rules.py::test_a_refusal_of_something_else_is_not_too_long",
        "prompts/test_reply_rehearsals.py::test_a_long_row_is_truncated_whatever_the_service_says",
    ),
    "no reply was ever usable: HTML, an event stream, an error with status 200": (
        "prompts/test_replies.py::test_what_came_instead_of_json_is_said",
        "engine/test_engine_mishaps.py::test_replies_that_were_never_usable_are_for_a_person",
        "engine/test_engine_mishaps.py::test_an_error_with_a_good_status_counts_as_its_own",
    ),
    "numbers beyond all bounds": ("prompts/test_replies.py::test_a_number_beyond_all_bounds_costs_no_reply",),
    "n ignored": (
        "prompts/test_replies.py::test_fewer_answers_than_requested_name_the_parameter",
        "prompts/test_reply_rehearsals.py::test_a_service_that_is_never_right_is_for_a_person",
    ),
    "answers without text, refusals": (
        "prompts/test_replies.py::test_a_refusal_is_a_text_with_its_own_reason",
        "prompts/test_reply_rehearsals.py::test_an_answer_in_another_form_is_one_answer_of_one_request",
        "prompts/test_reply_rehearsals.py::test_answers_without_text_are_counted_and_resumed",
        "cli/test_cli_summary.py::test_answers_without_text_are_counted",
    ),
    "blocked without an answer": (
        "prompts/test_replies.py::test_a_blocked_prompt_without_choices_is_an_error_of_its_row",
        "prompts/test_replies.py::test_no_choices_without_a_reason_are_no_answer",
    ),
    "a response that failed, or is no answer": (
        "prompts/test_responses.py::test_the_texts_of_messages_are_the_answer",
        "prompts/test_responses.py::test_a_failed_response_means_what_its_status_would",
    ),
    "stream=false": ("prompts/test_reply_rehearsals.py::test_a_gateway_can_be_set_not_to_stream",),
    "a null among n answers": (
        "prompts/test_reply_rehearsals.py::test_answers_without_text_are_counted_and_resumed",
    ),
    "the simulator behind an endpoint": (
        "prompts/test_reply_rehearsals.py::test_answers_of_the_simulator_never_mix_with_others",
    ),
    "references in a schema, and forbidden parameters": (
        "simulator/test_simulator_generation.py::test_references_of_a_schema_are_followed",
        "simulator/test_simulator_generation.py::test_a_wrong_parameter_is_refused_with_its_code",
    ),
}


@pytest.fixture(autouse=True)
def endpoint(simulator: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{simulator.endpoint}/v1")
    monkeypatch.setenv("BATCHSCORE_API_KEY", simulator.key)


def scored(rows: list[str], **settings: Any) -> list[Scored]:
    return sorted(score_rows(rows, **settings), key=lambda one: one.row)


def test_each_case_names_tests_that_exist() -> None:
    tests = Path(__file__).parents[1]
    for case, names in CASES.items():
        for name in names:
            path, _, function = name.partition("::")
            text = (tests / path).read_text("utf-8")
            assert re.search(rf"^def {function}\(", text, re.MULTILINE), (case, name)


# --- vectors


@pytest.mark.parametrize(
    "shape", ["index_missing", "index_first_missing", "index_one_missing", "index_all_zero"]
)
def test_1000_rows_without_a_usable_index_cost_11_requests_at_most(
    deployment: Deployment, shape: str
) -> None:
    rows = [f"{row} apples" for row in range(1000)]
    right = scored(rows, task="embeddings", model=deployment.name, dimensions=4, max_concurrency=1)
    before = deployment.statistics().count
    deployment.will(shape=shape, times=None)
    results = scored(rows, task="embeddings", model=deployment.name, dimensions=4, max_concurrency=1)
    assert deployment.statistics().count - before <= 11
    assert all(np.array_equal(one.value, each.value) for one, each in zip(results, right, strict=True))


def test_a_row_without_a_vector_costs_no_other_row(deployment: Deployment) -> None:
    deployment.will(shape="null_vector")
    results = scored(
        [f"row {row}" for row in range(50)], task="embeddings", model=deployment.name, batch_size=50
    )
    assert all(one.error is None for one in results)
    assert [len(request.body["input"]) for request in deployment.requests()] == [50, 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "settings", "says"),
    [
        (
            "other_dimensions",
            {"dimensions": 8},
            "vectors of 8 numbers were requested, and the service sends 16",
        ),
        (
            "double_precision",
            {"dimensions": 8},
            "numbers have eight bytes instead of four",
        ),
        ("double_precision", {}, "param={'encoding_format': 'float'} requests them as text"),
        ("html", {}, "an HTML page"),
        ("one_choice", {"task": "chat", "param": {"n": 3}}, "1 of 3 answers"),
        ("chat_choices", {"task": "completions"}, "no text"),
    ],
)
def test_a_service_that_is_never_right_is_for_a_person(
    deployment: Deployment, shape: str, settings: dict[str, Any], says: str
) -> None:
    deployment.will(shape=shape, times=None)
    with pytest.raises(ServiceRefused, match=says):
        scored(["a", "b"], **{"task": "embeddings", "model": deployment.name, **settings})


# --- answers


@pytest.mark.parametrize(
    ("shape", "task", "value", "reason"),
    [
        ("refusal", "chat", "I cannot help with that.", "refusal"),
        ("reasoning_only", "chat", None, "stop"),
        ("no_content", "chat", None, "stop"),
        ("null_content", "chat", None, "stop"),
        ("null_message", "chat", None, "content_filter"),
        ("blocked", "chat", ErrorCode.CONTENT_FILTER, None),
        ("blocked", "completions", ErrorCode.CONTENT_FILTER, None),
        ("refusal", "responses", "I cannot help with that.", "refusal"),
        ("reasoning_only", "responses", None, "stop"),
        ("no_room", "responses", None, "length"),
        ("commentary", "responses", "tell me. Key words: tell.", "stop"),
        ("function_call", "responses", None, "tool_calls"),
        ("finish_content_filter", "responses", "tell me. Key words: tell.", "content_filter"),
        ("failed_prompt", "responses", ErrorCode.CONTENT_FILTER, None),
    ],
)
def test_an_answer_in_another_form_is_one_answer_of_one_request(
    deployment: Deployment, shape: str, task: str, value: Any, reason: str | None
) -> None:
    deployment.will(shape=shape, times=None)
    (one,) = scored(["tell me"], task=task, model=deployment.name)
    if isinstance(value, ErrorCode):
        assert one.error is not None
        assert (one.error.code, one.error.attempts) == (value, 1)
    else:
        assert (one.value, one.finish_reason, one.error) == (value, reason, None)
    assert deployment.statistics().count == 1


@pytest.mark.parametrize(
    ("shape", "task"),
    [
        ("choice_error", "chat"),
        ("finish_abort", "chat"),
        *((shape, "responses") for shape in ("failed", "failed_without_error", "cancelled", "finish_abort")),
    ],
)
def test_an_answer_that_was_broken_off_once_is_requested_again(
    deployment: Deployment, shape: str, task: str
) -> None:
    deployment.will(shape=shape)
    (one,) = scored(["tell me"], task=task, model=deployment.name)
    assert (one.error, one.finish_reason) == (None, "stop")
    assert deployment.statistics().count == 2


@pytest.mark.parametrize("parts", ["jsonl", "parquet"])
def test_answers_without_text_are_counted_and_resumed(deployment: Deployment, parts: str) -> None:
    """With several answers a row, one of them is null."""
    Path("in.jsonl").write_text("".join(json.dumps({"text": f"row {row}"}) + "\n" for row in range(4)))
    deployment.will(shape="one_null_answer", times=None)
    fixed: Any = {
        "task": "chat",
        "model": deployment.name,
        "column": "text",
        "param": {"n": 2},
        "format": parts,
    }
    first = score_files("in.jsonl", output="out", limit=2, **fixed)
    last = score_files("in.jsonl", output="out", **fixed)
    assert (first.exit_code, last.exit_code) == (0, 0)
    for run in (first, last):
        assert json.loads(Path(run.record).read_text())["this_run"]["without_text"] == 2


def test_a_gateway_can_be_set_not_to_stream(deployment: Deployment) -> None:
    (one,) = scored(["tell me"], task="chat", model=deployment.name, param={"stream": False})
    assert one.error is None
    assert deployment.requests()[-1].body["stream"] is False


# --- token counts


@pytest.mark.parametrize("shape", ["usage_wrapped", "usage_negative", "usage_stray"])
@pytest.mark.parametrize("parts", ["jsonl", "parquet"])
def test_impossible_token_counts_break_no_output(deployment: Deployment, shape: str, parts: str) -> None:
    Path("in.jsonl").write_text("".join(json.dumps({"text": f"row {row}"}) + "\n" for row in range(6)))
    deployment.will(shape=shape, times=3)
    fixed: Any = {"task": "chat", "model": deployment.name, "column": "text", "usage": True, "format": parts}
    first = score_files("in.jsonl", output="out", limit=3, **fixed)
    last = score_files("in.jsonl", output="out", **fixed)
    assert (first.exit_code, last.exit_code) == (0, 0)
    assert first.prompt_tokens + first.completion_tokens < 1000
    assert 0 < last.prompt_tokens < 1000


def test_a_stray_token_count_is_not_waited_for(deployment: Deployment) -> None:
    deployment.will(shape="usage_stray")
    rows = [f"row {row}" for row in range(300)]
    results = scored(rows, task="embeddings", model=deployment.name, tpm=100_000, batch_size=100)
    assert all(one.error is None for one in results)
    assert deployment.statistics().count <= 12


@pytest.mark.parametrize("shape", ["usage_floats", "usage_total_only", "usage_missing"])
def test_token_counts_of_any_kind_are_counted(deployment: Deployment, shape: str) -> None:
    Path("in.txt").write_text("one\ntwo\n")
    deployment.will(shape=shape, times=None)
    run = score_files("in.txt", output="out", task="embeddings", model=deployment.name)
    assert (run.prompt_tokens > 0) == (shape != "usage_missing")


# --- too long


#: The others are slow: `test_outcome_rules.py` holds all of them against the rule.
QUICK_WORDINGS = {"openai", "vllm", "llama_cpp", "llama_cpp_embeddings", "gemini", "litellm"}


@pytest.mark.parametrize(
    "wording",
    [pytest.param(each, marks=[] if each in QUICK_WORDINGS else pytest.mark.slow) for each in WORDINGS],
)
def test_a_long_row_is_truncated_whatever_the_service_says(deployment: Deployment, wording: str) -> None:
    deployment.will(wording=wording, times=None)
    rows = ["short", "long " * 9000, "short, too"]
    results = scored(rows, task="embeddings", model=deployment.name, on_long_input="truncate")
    assert [(one.error, one.truncated) for one in results] == [(None, False), (None, True), (None, False)]
    assert deployment.statistics().count <= 8
    (failed,) = scored(rows[1:2], task="embeddings", model=deployment.name)
    assert failed.error is not None
    assert failed.error.code is ErrorCode.INPUT_TOO_LONG
    assert failed.error.attempts == 1


# --- the simulator and others


class Relay(Handler):
    """A service that is not the simulator: it lacks its header."""

    simulator = ""

    def do_POST(self) -> None:
        body = self.body()
        headers = {"Authorization": self.headers["Authorization"] or "", "Content-Type": "application/json"}
        with urlopen(Request(self.simulator + self.path, body, headers)) as reply:
            answer = reply.read()
        self.reply(200, answer)


@pytest.fixture
def another_service(simulator: Running) -> Iterator[str]:
    handler = type("OfThisTest", (Relay,), {"simulator": simulator.endpoint})
    with running(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize(
    "more",
    [
        {},
        pytest.param({"incremental": True}, marks=pytest.mark.slow),
        pytest.param({"shared_output": True}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_answers_of_the_simulator_never_mix_with_others(
    simulator: Running, another_service: str, deployment: Deployment, *, is_first: bool, more: Any
) -> None:
    services = [f"{simulator.endpoint}/v1", another_service]
    first, other = services if is_first else services[::-1]
    fixed: Any = {"output": "out", "task": "embeddings", "model": deployment.name, "batch_size": 1, **more}
    Path("in.txt").write_text("one\n")
    assert score_files("in.txt", endpoint=first, **fixed).exit_code == 0
    before = sorted(path.read_bytes() for path in Path("out/embeddings").iterdir())
    Path("more.txt").write_text("two\n")
    refused = score_files(["in.txt", "more.txt"], endpoint=other, **fixed)
    assert refused.exit_code == 1
    assert re.search("of (the simulator|a service), and (the simulator|another service)", str(refused.reason))
    assert sorted(path.read_bytes() for path in Path("out/embeddings").iterdir()) == before
    assert score_files(["in.txt", "more.txt"], endpoint=first, **fixed).ok == 2
    if not more.get("shared_output"):
        assert score_files(["in.txt", "more.txt"], endpoint=other, overwrite=True, **fixed).ok == 2
