"""Is a chat or completions request valid, and what is its reply?

It must not know HTTP, limits nor how an answer is written.
Rules: references of `POST /chat/completions` and `/completions`, seen 2026.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import Any, NamedTuple

import orjson

from batchscore.simulator.error_replies import (
    FILTERED,
    REFERENCE,
    SAFE,
    ServiceReply,
    Surface,
    content_filtered,
    empty_array,
    invalid_request,
    missing,
    unsupported_value,
    wrong_type,
)
from batchscore.simulator.image_parts import count_images
from batchscore.simulator.parameters import check_parameters, schema_problem
from batchscore.simulator.settings import SimulatorSettings
from batchscore.simulator.too_long import too_long
from batchscore.simulator.words import (
    CONTENT_FILTER_TRIGGER,
    AnswerOptions,
    GeneratedText,
    Writer,
    count_tokens,
    write_answer,
)

#: Names of reasoning models, which reject `max_tokens`.
REASONING = re.compile(r"(o1|o3|o4|gpt-5)")
_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
REASONING_TOKENS = 64
#: The service's default of `max_tokens` for completions.
_COMPLETION_TOKENS = 16
TOKENS_PER_MESSAGE = 4
_NO_EXTRAS: dict[str, Any] = {"refusal": None, "annotations": []}


class GenerationRequest(NamedTuple):
    """A valid request: its prompts (several for completions) and its options."""

    prompts: list[str]
    choices_per_prompt: int
    options: AnswerOptions
    prompt_tokens: int
    echo: bool = False
    logprobs: bool = False


def check_chat(
    body: dict[str, Any], *, name: str, surface: Surface, settings: SimulatorSettings
) -> tuple[int, GenerationRequest | ServiceReply]:
    """Return the tokens to charge (prompt + max. tokens * n), and the valid request or an error reply."""
    messages = body.get("messages")
    problem = _check_messages(messages)
    if problem is not None:
        return 0, problem
    assert isinstance(messages, list)
    texts = [message_text(message.get("content")) for message in messages]
    images = count_images(messages, name="messages")
    if isinstance(images, ServiceReply):
        return 0, images
    prompt_tokens = sum(TOKENS_PER_MESSAGE + count_tokens(text) for text in texts) + 3 + images
    reasoning = REASONING.match(name) is not None
    problem = check_parameters(
        body, operation="chat/completions", surface=surface, reasoning=reasoning
    ) or _check_json_mode(body, texts)
    if problem is not None:
        return prompt_tokens, problem
    max_tokens = body.get("max_completion_tokens") or body.get("max_tokens")
    choices = body.get("n") or 1
    charged = prompt_tokens + (max_tokens or 0) * choices
    if prompt_tokens > settings.context_tokens:
        return charged, in_other_words(settings, prompt_tokens) or invalid_request(
            f"This model's maximum context length is {settings.context_tokens} tokens. However, your messages"
            f" resulted in {prompt_tokens} tokens. Please reduce the length of the messages.",
            param="messages",
            code="context_length_exceeded",
        )
    if any(CONTENT_FILTER_TRIGGER in text for text in texts):
        return charged, content_filtered(surface)
    response_format = body.get("response_format") or {}
    schema = (response_format.get("json_schema") or {}).get("schema")
    if schema is None:
        schema = _schema_in_words(messages, texts)
    options = AnswerOptions(
        max_tokens=max_tokens,
        stop=_stop_words(body),
        as_json=schema is not None or response_format.get("type") == "json_object",
        schema=schema,
        reasoning_tokens=REASONING_TOKENS if reasoning else 0,
    )
    user_texts = [text for text, one in zip(texts, messages, strict=True) if one["role"] == "user"]
    return charged, GenerationRequest(
        [(user_texts or texts)[-1]], choices, options, prompt_tokens, logprobs=body.get("logprobs") is True
    )


def check_completions(
    body: dict[str, Any], *, surface: Surface, settings: SimulatorSettings
) -> tuple[int, GenerationRequest | ServiceReply]:
    """Return the tokens to charge (prompts + `max_tokens` * n each), and the valid request or an error."""
    prompts = body.get("prompt", "<|endoftext|>")
    if isinstance(prompts, list) and prompts and all(type(token) is int for token in prompts):
        prompts = [prompts]
    prompts = prompts if isinstance(prompts, list) else [prompts]
    texts = [" ".join(map(str, prompt)) if isinstance(prompt, list) else prompt for prompt in prompts]
    if not texts or not all(isinstance(text, str) for text in texts):
        return 0, invalid_request(f"'$.prompt' is invalid. {REFERENCE}")
    counts = [count_tokens(text) for text in texts]
    problem = check_parameters(body, operation="completions", surface=surface, reasoning=False)
    if problem is not None:
        return sum(counts), problem
    max_tokens = body["max_tokens"] if body.get("max_tokens") is not None else _COMPLETION_TOKENS
    choices = body.get("n") or 1
    charged = sum(counts) + max_tokens * max(choices, body.get("best_of") or 1) * len(texts)
    total = max(counts) + max_tokens
    if total > settings.context_tokens:
        return charged, in_other_words(settings, total) or invalid_request(
            f"This model's maximum context length is {settings.context_tokens} tokens, however you requested"
            f" {total} tokens ({max(counts)} in your prompt; {max_tokens} for the completion). Please reduce"
            " your prompt; or completion length.",
            code="context_length_exceeded",
        )
    if any(CONTENT_FILTER_TRIGGER in text for text in texts):
        return charged, content_filtered(surface)
    options = AnswerOptions(max_tokens=max_tokens, stop=_stop_words(body))
    return charged, GenerationRequest(texts, choices, options, sum(counts), echo=bool(body.get("echo")))


def in_other_words(settings: SimulatorSettings, tokens: int) -> ServiceReply | None:
    """Return the reply of another service to a prompt that is too long, if the settings name one."""
    if settings.wording == "openai":
        return None
    return ServiceReply(*too_long(settings.wording, limit=settings.context_tokens, tokens=tokens))


def _check_messages(messages: Any) -> ServiceReply | None:
    if messages is None:
        return missing("messages")
    if not isinstance(messages, list):
        return wrong_type("messages", "an array of objects", messages)
    if not messages:
        return empty_array("messages")
    for index, message in enumerate(messages):
        name = f"messages[{index}]"
        if not isinstance(message, dict):
            return wrong_type(name, "an object", message)
        if message.get("role") not in _ROLES:
            return unsupported_value(f"{name}.role", message.get("role"), _ROLES)
        content = message.get("content")
        if content is None and message["role"] != "assistant":
            return invalid_request(
                "Invalid value for 'content': expected a string, got null.",
                param=f"messages.[{index}].content",
            )
        if content is not None and not isinstance(content, (str, list)):
            return wrong_type(f"{name}.content", "one of a string or array of objects", content)
    return None


def _check_json_mode(body: dict[str, Any], texts: list[str]) -> ServiceReply | None:
    response_format = body.get("response_format")
    if not isinstance(response_format, dict) or response_format.get("type") != "json_object":
        return None
    if any("json" in text.lower() for text in texts):
        return None
    return invalid_request(
        "'messages' must contain the word 'json' in some form, to use 'response_format' of type"
        " 'json_object'.",
        param="messages",
    )


def _schema_in_words(messages: list[Any], texts: list[str]) -> Any:
    """Return the JSON schema that a system message asks for, on a line of its own, if there is one."""
    for message, text in zip(messages, texts, strict=True):
        if message["role"] not in {"system", "developer"} or "JSON Schema" not in text:
            continue
        for line in text.splitlines():
            with suppress(ValueError):
                found = orjson.loads(line)
                if isinstance(found, dict) and schema_problem(found, strict=False) is None:
                    return found
    return None


def message_text(content: Any) -> str:
    """Return the text of a message, or of its text parts if it has parts."""
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _stop_words(body: dict[str, Any]) -> tuple[str, ...]:
    stop = body.get("stop") or []
    return (stop,) if isinstance(stop, str) else tuple(stop)


def write_reply(
    request: GenerationRequest,
    *,
    chat: bool,
    model: str,
    identifier: str,
    surface: Surface,
    write: Writer = write_answer,
) -> ServiceReply:
    """Return the reply, with `n` choices per prompt; `write` gives the text of each."""
    azure = surface is not Surface.OPENAI
    answers: list[GeneratedText] = []
    choices: list[dict[str, Any]] = []
    for prompt in request.prompts:
        for index in range(request.choices_per_prompt):
            answer = write(prompt, request.options, index)
            answers.append(answer)
            content: dict[str, Any] = {"text": (prompt if request.echo else "") + (answer.text or "")}
            if chat:
                said = {"role": "assistant", "content": answer.text, **_NO_EXTRAS, "refusal": answer.refusal}
                content = {"message": said}
            logprobs = answer.logprobs if request.logprobs else None
            ending = {"logprobs": logprobs, "finish_reason": answer.finish_reason}
            choice = {"index": len(choices), **content, **ending}
            if azure:
                filtered = {"violence": FILTERED} if answer.finish_reason == "content_filter" else {}
                choice["content_filter_results"] = SAFE | filtered
            choices.append(choice)
    answer_tokens = sum(one.tokens for one in answers)
    reasoning_tokens = sum(one.reasoning_tokens for one in answers)
    usage: dict[str, Any] = {
        "prompt_tokens": request.prompt_tokens,
        "completion_tokens": answer_tokens,
        "total_tokens": request.prompt_tokens + answer_tokens,
    }
    reply = {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{identifier}",
        "object": "chat.completion" if chat else "text_completion",
        "created": int(time.time()),
        "model": model,
        "choices": choices,
        "usage": usage,
    }
    if chat:
        reply["system_fingerprint"] = "fp_simulator"
        usage["prompt_tokens_details"] = {"cached_tokens": 0, "audio_tokens": 0}
        usage["completion_tokens_details"] = {
            "reasoning_tokens": reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        }
    if azure:
        reply["prompt_filter_results"] = [
            {"prompt_index": index, "content_filter_results": SAFE} for index in range(len(request.prompts))
        ]
    return ServiceReply(
        200,
        orjson.dumps(reply),
        tokens=usage["total_tokens"],
        output_tokens=answer_tokens,
        reasoning_tokens=reasoning_tokens,
    )
