"""In which other forms do services and gateways send a correct reply, or something in its place?

It must not know requests nor models, and works on a reply's JSON. Forms are those of public reports
on OpenAI-compatible services (Gemini, OpenRouter, DeepSeek, vLLM, llama.cpp, LM Studio, LiteLLM), seen 2026.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from typing import Any

_Json = dict[str, Any]
_WRAPPED = 2**64 - 1
_STRAY = 675_947_905
_NEWER_NAMES = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens"}


def _of_vectors(change: Callable[[int, _Json, int], object]) -> Callable[[_Json], object]:
    """Change each item of `data`, given its place and the number of items."""

    def change_all(reply: _Json) -> None:
        items = reply.get("data", [])
        for place, item in enumerate(items):
            change(place, item, len(items))

    return change_all


def _of_choices(change: Callable[[_Json], object]) -> Callable[[_Json], object]:
    """Change each choice."""

    def change_all(reply: _Json) -> None:
        for choice in reply.get("choices", []):
            change(choice)

    return change_all


def _of_messages(**fields: Any) -> Callable[[_Json], object]:
    """Replace fields of each message, or of a completion's choice."""
    return _of_choices(lambda choice: choice.get("message", choice).update(fields))


def _of_responses(change: Callable[[_Json], object]) -> Callable[[_Json], object]:
    """Change a reply of the Responses API; others stay as they are."""
    return lambda reply: "output" in reply and change(reply)


def _ended(status: str, code: str | None = None) -> Callable[[_Json], object]:
    """End a response without an answer, maybe with an error."""
    error = None if code is None else {"code": code, "message": "The response failed."}
    fields: _Json = {"status": status, "error": error, "output": [], "completed_at": None, "usage": None}
    return _of_responses(lambda reply: reply.update(fields))


def _refuse(reply: _Json) -> None:
    _of_messages(content=None, refusal="I cannot help with that.")(reply)
    for item in reply.get("output", []):
        if item["type"] == "message":
            item["content"] = [{"type": "refusal", "refusal": "I cannot help with that."}]


def _only_reasoning(reply: _Json) -> None:
    _of_messages(content=None, reasoning_content="Let me think.")(reply)
    if "output" in reply:
        reply["output"] = [{"id": "rs_1", "type": "reasoning", "summary": []}]


def _comment(reply: _Json) -> None:
    """Let the model say what it will do before it answers, in parts."""
    for final in [item for item in reply["output"] if item["type"] == "message"]:
        (part,) = final["content"]
        words = part["text"].partition(" ")
        final |= {"phase": "final_answer", "content": [{**part, "text": word} for word in words]}
        thought = {**part, "text": "I will think."}
        reply["output"].insert(0, {**final, "id": "msg_0", "phase": "commentary", "content": [thought]})


def _call_function(reply: _Json) -> None:
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "find", "arguments": "{}"}
    reply["output"] = [{**call, "status": "completed"}]


def _of_usage(**counts: Any) -> Callable[[_Json], object]:
    """Replace counts, given by the names that chat has for them."""
    return lambda reply: reply["usage"].update(
        {_NEWER_NAMES.get(name, name) if "output" in reply else name: count for name, count in counts.items()}
    )


def _numbers(vector: Any) -> list[float]:
    if isinstance(vector, str):
        return [number for (number,) in struct.iter_unpack("<f", base64.b64decode(vector))]
    return list(vector)


def _as_doubles(vector: Any) -> str:
    numbers = _numbers(vector)
    return base64.b64encode(struct.pack(f"<{len(numbers)}d", *numbers)).decode()


def _as_chat(choice: _Json) -> None:
    text = choice.pop("text", None)
    choice.setdefault("message", {"role": "assistant", "content": text})


def _drop_content(choice: _Json) -> None:
    choice.get("message", choice).pop("content", None)


def _only_total(reply: _Json) -> None:
    reply["usage"] = {"total_tokens": reply["usage"]["total_tokens"]}


def _as_floats(reply: _Json) -> None:
    reply["usage"] = {name: float(n) for name, n in reply["usage"].items() if isinstance(n, int)}


def _of_answers(change: Callable[[str], str], **fields: Any) -> Callable[[_Json], object]:
    """Change the text of each answer, and fields of its choice."""

    def change_choice(choice: _Json) -> None:
        holder, name = (choice["message"], "content") if "message" in choice else (choice, "text")
        holder[name] = change(holder.get(name) or "")
        choice.update(fields)

    return _of_choices(change_choice)


def _with_wrong_values(text: str) -> str:
    """Return the JSON of an answer with other texts, of which no enum knows any."""

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: changed(each) for name, each in value.items()}
        if isinstance(value, list):
            return [changed(each) for each in value]
        return "simulated wrong value" if isinstance(value, str) else value

    try:
        return json.dumps(changed(json.loads(text)))
    except ValueError:
        return text


#: Answers that do not have the form that a schema demands, except the one in a block of code, which has.
BROKEN_ANSWERS = ("answer_not_json", "answer_wrong_enum", "answer_cut_off", "answer_in_code", "refusal")

#: Name -> what changes within a correct reply.
_CHANGES: dict[str, Callable[[_Json], object]] = {
    # vectors
    "index_missing": _of_vectors(lambda _, item, __: item.pop("index")),
    "index_first_missing": _of_vectors(lambda at, item, _: at or item.pop("index")),
    "index_one_missing": _of_vectors(lambda at, item, count: at == count // 2 and item.pop("index")),
    "index_all_zero": _of_vectors(lambda _, item, __: item.update(index=0)),
    "index_from_one": _of_vectors(lambda at, item, _: item.update(index=at + 1)),
    "index_as_text": _of_vectors(lambda at, item, _: item.update(index=str(at))),
    "nested_vectors": _of_vectors(lambda _, item, __: item.update(embedding=[_numbers(item["embedding"])])),
    "token_vectors": _of_vectors(
        lambda _, item, __: item.update(embedding=[_numbers(item["embedding"])] * 3)
    ),
    "null_vector": _of_vectors(lambda at, item, count: at == count // 2 and item.update(embedding=None)),
    "double_precision": _of_vectors(
        lambda _, item, __: item.update(embedding=_as_doubles(item["embedding"]))
    ),
    "other_dimensions": _of_vectors(
        lambda _, item, __: item.update(embedding=_numbers(item["embedding"]) * 2)
    ),
    # answers
    "no_choices": lambda reply: reply.update(choices=[]),
    "null_choices": lambda reply: reply.update(choices=None),
    "blocked": lambda reply: reply.update(
        choices=[], prompt_filter_results=[{"content_filter_results": {"hate": {"filtered": True}}}]
    ),
    "one_choice": lambda reply: reply.update(choices=reply["choices"][:1]),
    "null_choice": lambda reply: reply.update(choices=[None, *reply["choices"][1:]]),
    "one_null_answer": lambda reply: reply["choices"][0].get("message", {}).update(content=None),
    "null_message": _of_choices(lambda choice: choice.update(message=None, finish_reason="content_filter")),
    "chat_choices": _of_choices(_as_chat),
    "null_content": _of_messages(content=None, text=None),
    "no_content": _of_choices(_drop_content),
    "content_as_object": _of_messages(content={"text": "x"}, text={"text": "x"}),
    "answer_not_json": _of_answers(lambda text: f"Here you are: {text[:-1]}"),
    "answer_wrong_enum": _of_answers(_with_wrong_values),
    "answer_cut_off": _of_answers(lambda text: text[: len(text) // 2], finish_reason="length"),
    "answer_in_code": _of_answers(lambda text: f"Sure:\n```json\n{text}\n```\nAnything else?"),
    "reasoning_only": _only_reasoning,
    "refusal": _refuse,
    "choice_error": _of_choices(
        lambda choice: choice.update(
            error={"code": 502, "message": "Provider disconnected"}, finish_reason="error"
        )
    ),
    # the Responses API
    "failed": _ended("failed", "server_error"),
    "failed_without_error": _ended("failed"),
    "failed_rate_limit": _ended("failed", "rate_limit_exceeded"),
    "failed_prompt": _ended("failed", "invalid_prompt"),
    "failed_image": _ended("failed", "invalid_image"),
    "cancelled": _ended("cancelled"),
    "queued": _ended("queued"),
    "no_output": _of_responses(lambda reply: reply.update(output=[])),
    "no_room": _of_responses(
        lambda reply: reply.update(
            status="incomplete", output=[], incomplete_details={"reason": "max_output_tokens"}
        )
    ),
    "commentary": _of_responses(_comment),
    "function_call": _of_responses(_call_function),
    # token counts
    "usage_wrapped": _of_usage(prompt_tokens=_WRAPPED, completion_tokens=_WRAPPED),
    "usage_negative": _of_usage(prompt_tokens=-35, completion_tokens=-1),
    "usage_stray": _of_usage(prompt_tokens=_STRAY, total_tokens=_STRAY),
    "usage_floats": _as_floats,
    "usage_total_only": _only_total,
    "usage_missing": lambda reply: reply.pop("usage"),
}

#: Name -> what comes with status 200 instead, and its type.
_INSTEAD: dict[str, tuple[bytes, str]] = {
    "html": (b"<!DOCTYPE html><html><body>Please sign in.</body></html>", "text/html"),
    "xml": (b'<?xml version="1.0"?><Error><Code>Busy</Code></Error>', "application/xml"),
    "empty": (b"", "application/json"),
    "event_stream": (
        b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: [DONE]\n\n',
        "text/event-stream",
    ),
    "error_as_text": (b'{"error":"Unexpected endpoint or method."}', "application/json"),
    "error_402": (b'{"error":{"code":402,"message":"Insufficient credits"}}', "application/json"),
    "error_429": (b'{"error":{"code":429,"message":"Rate limited upstream"}}', "application/json"),
    "error_502": (b'{"error":{"code":502,"message":"Provider returned error"}}', "application/json"),
}

#: How the name of a shape begins that ends all answers with a reason, such as `finish_network_error`.
FINISH = "finish_"

REPLY_SHAPES = (*_CHANGES, *_INSTEAD)


def check_shape(name: str | None) -> None:
    """Raise ValueError if there is no such shape."""
    if name is not None and name not in REPLY_SHAPES and not name.startswith(FINISH):
        raise ValueError(
            f"shape must be one of {', '.join(REPLY_SHAPES)}, or {FINISH} and a reason, not {name!r}"
        )


def reply_instead(shape: str) -> tuple[bytes, str] | None:
    """Return the body that comes instead of a correct reply, and its type; `None` if the reply is changed."""
    return _INSTEAD.get(shape)


def change_reply(document: _Json, shape: str) -> None:
    """Bring a correct reply into another form."""
    if shape.startswith(FINISH):
        reason = shape.removeprefix(FINISH)
        _of_choices(lambda choice: choice.update(finish_reason=reason))(document)
        ending = {"status": "incomplete", "incomplete_details": {"reason": reason}}
        _of_responses(lambda reply: reply.update(ending))(document)
    else:
        _CHANGES[shape](document)
