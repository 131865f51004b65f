"""Is a request of the Responses API valid, and what is its reply?

It must not know HTTP, limits nor how an answer is written.
Rules: OpenAI's OpenAPI description of 2026-08 (`CreateResponse`, `Response`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import orjson

from batchscore.simulator.error_replies import (
    ServiceReply,
    Surface,
    content_filtered,
    invalid_request,
    missing,
    unsupported_value,
    wrong_type,
)
from batchscore.simulator.generation import (
    REASONING,
    REASONING_TOKENS,
    TOKENS_PER_MESSAGE,
    in_other_words,
    message_text,
)
from batchscore.simulator.image_parts import count_images
from batchscore.simulator.parameters import check_parameters, unsupported_parameter
from batchscore.simulator.settings import SimulatorSettings
from batchscore.simulator.words import (
    CONTENT_FILTER_TRIGGER,
    AnswerOptions,
    Writer,
    count_tokens,
    write_answer,
)

_ROLES = ("assistant", "system", "developer", "user")
_PARTS = {
    **dict.fromkeys(("system", "developer", "user"), ("input_text", "input_image", "input_file")),
    "assistant": ("output_text", "refusal"),
}
#: The key of a part's text.
_TEXTS = {"input_text": "text", "output_text": "text", "refusal": "refusal"}
#: Items besides messages; what they hold is not checked.
_ITEMS = tuple(
    """additional_tools apply_patch_call apply_patch_call_output code_interpreter_call compaction
    compaction_trigger computer_call computer_call_output custom_tool_call custom_tool_call_output
    file_search_call function_call function_call_output image_generation_call item_reference local_shell_call
    local_shell_call_output mcp_approval_request mcp_approval_response mcp_call mcp_list_tools program
    program_output reasoning shell_call shell_call_output tool_search_call tool_search_output
    web_search_call""".split()  # noqa: SIM905 - a list of words reads best as text
)


@dataclass(frozen=True)
class ResponsesRequest:
    """A valid request: the text that is answered, the options of the answer, and the whole body."""

    prompt: str
    options: AnswerOptions
    prompt_tokens: int
    body: dict[str, Any]


def check_responses(
    body: dict[str, Any], *, name: str, surface: Surface, settings: SimulatorSettings
) -> tuple[int, ResponsesRequest | ServiceReply]:
    """Return the tokens to charge (prompt + max. tokens), and the valid request or an error reply."""
    given = body.get("input")
    if given is None:
        return 0, invalid_request(
            "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation_id' must be provided.",
            param="input",
            code="missing_required_parameter",
        )
    problem = _check_items(given) if isinstance(given, list) else None
    if not isinstance(given, (str, list)):
        problem = wrong_type("input", "one of a string or array of input items", given)
    if problem is not None:
        return 0, problem
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
    said = [(one.get("role"), message_text(one.get("content"))) for one in messages]
    texts = [text for _, text in said]
    if isinstance(body.get("instructions"), str):
        texts.append(body["instructions"])
    images = count_images(messages, name="input")
    if isinstance(images, ServiceReply):
        return 0, images
    prompt_tokens = sum(TOKENS_PER_MESSAGE + count_tokens(text) for text in texts) + 3 + images
    reasoning = REASONING.match(name) is not None
    problem = check_parameters(body, operation="responses", surface=surface, reasoning=reasoning)
    effort = (body.get("reasoning") or {}).get("effort") if problem is None else None
    if problem is None and effort is not None and not reasoning:
        problem = unsupported_parameter("reasoning.effort")
    answer_form = (body.get("text") or {}).get("format") or {} if problem is None else {}
    if answer_form.get("type") == "json_object" and not any("json" in text.lower() for text in texts):
        problem = invalid_request(
            "Response input messages must contain the word 'json' in some form to use 'text.format' of type"
            " 'json_object'.",
            param="input",
        )
    if problem is not None:
        return prompt_tokens, problem
    charged = prompt_tokens + (body.get("max_output_tokens") or 0)
    if prompt_tokens > settings.context_tokens:
        return charged, in_other_words(settings, prompt_tokens) or invalid_request(
            "Your input exceeds the context window of this model. Please adjust your input and try again.",
            param="input",
            code="context_length_exceeded",
        )
    if any(CONTENT_FILTER_TRIGGER in text for text in texts):
        return charged, content_filtered(surface)
    options = AnswerOptions(
        max_tokens=body.get("max_output_tokens"),
        as_json=answer_form.get("type") in {"json_object", "json_schema"},
        schema=answer_form.get("schema"),
        reasoning_tokens=REASONING_TOKENS if reasoning and effort != "none" else 0,
    )
    users = [text for role, text in said if role == "user"]
    return charged, ResponsesRequest((users or texts)[-1], options, prompt_tokens, body)


def _check_items(items: list[Any]) -> ServiceReply | None:
    for index, item in enumerate(items):
        name = f"input[{index}]"
        if not isinstance(item, dict):
            return wrong_type(name, "an object", item)
        kind = item.get("type", "message")
        if kind != "message":
            if kind not in _ITEMS:
                return unsupported_value(name, kind, ("message", *_ITEMS), ", and ")
            continue
        role, content = item.get("role"), item.get("content")
        if role not in _ROLES:
            return unsupported_value(name, role, _ROLES, ", and ")
        if isinstance(content, str):
            continue
        if not isinstance(content, list):
            return wrong_type(f"{name}.content", "one of a string or array of content parts", content)
        problem = _check_parts(f"{name}.content", content, _PARTS[role])
        if problem is not None:
            return problem
    return None


def _check_parts(name: str, parts: list[Any], kinds: tuple[str, ...]) -> ServiceReply | None:
    for index, part in enumerate(parts):
        where = f"{name}[{index}]"
        if not isinstance(part, dict):
            return wrong_type(where, "an object", part)
        kind = part.get("type")
        if kind not in kinds:
            return unsupported_value(where, kind, kinds, ", and ")
        key = _TEXTS.get(kind)
        if key is not None and not isinstance(part.get(key), str):
            return wrong_type(f"{where}.{key}", "a string", part.get(key))
        named = [part.get(each) for each in ("image_url", "file_url", "file_id", "file_data")]
        if key is None and not any(isinstance(each, str) for each in named):
            return missing(f"{where}.{kind.removeprefix('input_')}_url", where)
    return None


def write_response(
    request: ResponsesRequest, *, model: str, identifier: str, write: Writer = write_answer
) -> ServiceReply:
    """Return the reply: reasoning and a message, and what was requested."""
    answer = write(request.prompt, request.options, 0)
    incomplete = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(answer.finish_reason)
    status = "incomplete" if incomplete else "completed"
    output: list[dict[str, Any]] = []
    if answer.reasoning_tokens:
        output.append({"id": f"rs_{identifier}", "type": "reasoning", "summary": []})
    # Nothing is left of an answer that was withheld, or that ended before it began.
    if answer.text or not incomplete:
        part: dict[str, Any] = {"type": "output_text", "annotations": [], "logprobs": [], "text": answer.text}
        output.append(
            {
                "id": f"msg_{identifier}",
                "type": "message",
                "status": status,
                "role": "assistant",
                "content": [] if answer.text is None else [part],
            }
        )
    total = request.prompt_tokens + answer.tokens
    usage = {
        "input_tokens": request.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": answer.tokens,
        "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
        "total_tokens": total,
    }
    now = int(time.time())
    reply = {
        "id": f"resp_{identifier}",
        "object": "response",
        "created_at": now,
        "status": status,
        "background": False,
        "completed_at": None if incomplete else now,
        "error": None,
        "incomplete_details": {"reason": incomplete} if incomplete else None,
        "model": model,
        "output": output,
        "usage": usage,
        **_settings_of(request.body),
    }
    return ServiceReply(
        200,
        orjson.dumps(reply),
        tokens=total,
        output_tokens=answer.tokens,
        reasoning_tokens=answer.reasoning_tokens,
    )


def _settings_of(body: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters as a reply repeats them, with the service's defaults."""
    defaults: dict[str, Any] = {
        **dict.fromkeys(("instructions", "max_output_tokens", "max_tool_calls", "previous_response_id")),
        **dict.fromkeys(("prompt_cache_key", "safety_identifier")),
        "metadata": {},
        "parallel_tool_calls": True,
        "service_tier": "default",
        "store": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
    }
    given = {name: body[name] for name in (*defaults, "user") if body.get(name) is not None}
    reasoning = {"effort": None, "summary": None, **(body.get("reasoning") or {})}
    text = {"format": {"type": "text"}, "verbosity": "medium", **(body.get("text") or {})}
    return {**defaults, **given, "reasoning": reasoning, "text": text}
