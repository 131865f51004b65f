"""Replies of the Responses API: which text is the answer, why it ended, and what is a failure."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from batchscore.errors import ErrorCode
from batchscore.prompts.replies import ReplyReader
from batchscore.prompts.responses import response_text
from batchscore.request.outcome_rules import Action, unusable_outcome
from batchscore.rows import InvalidReply, Reply, Score
from batchscore.task import RESPONSES


def text(words: Any, kind: str = "output_text") -> dict[str, Any]:
    return {"type": kind, "text": words, "annotations": []}


def message(*parts: Any, **more: Any) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": list(parts), **more}


def done(*items: Any, **more: Any) -> dict[str, Any]:
    return {"object": "response", "status": "completed", "error": None, "output": list(items), **more}


def incomplete(reason: Any, *items: Any) -> dict[str, Any]:
    return done(*items, status="incomplete", incomplete_details=reason)


REASONING = {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "Hm."}]}
CALL = {"type": "function_call", "name": "f", "arguments": "{}"}
REFUSAL = {"type": "refusal", "refusal": "No."}
CUT = {"reason": "max_output_tokens"}


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (done(message(text("a"))), ("a", "stop")),
        (done(REASONING, message(text("a"), text("b")), message(text("c"))), ("abc", "stop")),
        (done(message(text("I will look."), phase="commentary"), message(text("a"))), ("a", "stop")),
        (done(message(text("only this"), phase="commentary")), ("only this", "stop")),
        (done({"type": "web_search_call"}, message(text("a"))), ("a", "stop")),
        (done({"type": "something new", "content": [text("no")]}, message(text("a"))), ("a", "stop")),
        (done(message(text(""))), ("", "stop")),
        (done(message()), (None, "stop")),
        (done(message(text(None))), (None, "stop")),
        (done(REASONING), (None, "stop")),
        (done(CALL), (None, "tool_calls")),
        (done(message(text("a")), CALL), ("a", "tool_calls")),
        (done(message(REFUSAL)), ("No.", "refusal")),
        (done(message(text(""), REFUSAL)), ("No.", "refusal")),
        (done(message(text("a"), REFUSAL)), ("a", "stop")),
        (incomplete(CUT, message(text("a"))), ("a", "length")),
        (incomplete(CUT, REASONING), (None, "length")),
        (incomplete(CUT), (None, "length")),
        (incomplete({"reason": "content_filter"}, message(text("a"))), ("a", "content_filter")),
        (incomplete({"reason": "content_filter"}), (None, "content_filter")),
        (incomplete({"reason": "something new"}, message(text("a"))), ("a", "something new")),
        (incomplete(None, message(text("a"))), ("a", "incomplete")),
        # Services that copy the API leave fields out, or write a text for its parts.
        ({"output": [message(text("a"))]}, ("a", None)),
        (done({"type": "message", "content": "a"}), ("a", "stop")),
        (done({"type": "message", "content": None}), (None, "stop")),
        (done(message(text("a", kind="text"))), ("a", "stop")),
    ],
)
def test_the_texts_of_messages_are_the_answer(reply: dict[str, Any], answer: tuple[Any, Any]) -> None:
    assert response_text(reply) == answer


@pytest.mark.parametrize(
    ("reply", "code", "action"),
    [
        (done(), ErrorCode.INVALID_RESPONSE, Action.RETRY),
        ({"status": "completed"}, ErrorCode.INVALID_RESPONSE, Action.RETRY),
        ({"choices": [{"message": {"content": "a"}}]}, ErrorCode.INVALID_RESPONSE, Action.RETRY),
        (done(None), ErrorCode.INVALID_RESPONSE, Action.RETRY),
        (done(message(text(7))), ErrorCode.INVALID_RESPONSE, Action.RETRY),
        (done(status="queued"), ErrorCode.INVALID_RESPONSE, Action.RETRY),
        (done(status="in_progress"), ErrorCode.INVALID_RESPONSE, Action.RETRY),
        (done(message(text("half")), status="cancelled"), ErrorCode.SERVER_ERROR, Action.RETRY),
        (done(message(text("half")), status="failed"), ErrorCode.SERVER_ERROR, Action.RETRY),
        (incomplete({"reason": "server_error"}, message(text("half"))), ErrorCode.SERVER_ERROR, Action.RETRY),
        *(
            (done(status="failed", error={"code": code, "message": "x"}), error, action)
            for code, error, action in [
                ("server_error", ErrorCode.SERVER_ERROR, Action.RETRY),
                ("vector_store_timeout", ErrorCode.SERVER_ERROR, Action.RETRY),
                ("something new", ErrorCode.SERVER_ERROR, Action.RETRY),
                (None, ErrorCode.SERVER_ERROR, Action.RETRY),
                ("rate_limit_exceeded", ErrorCode.RATE_LIMITED, Action.RETRY),
                ("insufficient_quota", ErrorCode.RATE_LIMITED, Action.STOP),
                ("invalid_prompt", ErrorCode.CONTENT_FILTER, Action.SPLIT),
                ("bio_policy", ErrorCode.CONTENT_FILTER, Action.SPLIT),
                ("image_content_policy_violation", ErrorCode.CONTENT_FILTER, Action.SPLIT),
                ("invalid_image", ErrorCode.INVALID_REQUEST, Action.SPLIT),
                ("failed_to_download_image", ErrorCode.INVALID_REQUEST, Action.SPLIT),
            ]
        ),
        # Gateways answer with an error and status 200, in their own shape.
        ({"error": {"code": 429, "message": "x"}}, ErrorCode.RATE_LIMITED, Action.RETRY),
        ({"error": "Unexpected endpoint or method."}, ErrorCode.INVALID_RESPONSE, Action.RETRY),
    ],
)
def test_a_failed_response_means_what_its_status_would(
    reply: dict[str, Any], code: ErrorCode, action: Action
) -> None:
    with pytest.raises(InvalidReply) as caught:
        response_text(reply)
    outcome = unusable_outcome(caught.value, Reply(200, {}, orjson.dumps(reply), 0.1), b"{}")
    assert (outcome.code, outcome.action) == (code, action)


def test_usage_is_counted_and_kept_as_the_service_names_it() -> None:
    details = {"input_tokens_details": {"cached_tokens": 2}, "output_tokens_details": {"reasoning_tokens": 3}}
    usage = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12, **details}
    reader = ReplyReader(RESPONSES, with_usage=True)
    found = reader.read(orjson.dumps(done(message(text("a")), usage=usage)), 1, b"x" * 100)
    assert (found.prompt_tokens, found.completion_tokens) == (5, 7)
    (score,) = found.scores
    assert isinstance(score, Score)
    assert score.usage == usage
