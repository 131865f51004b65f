"""What is wrong with a chat or completions request, and what is its reply?

It must not know HTTP, limits nor how an answer's words are found.
Rules: references of `POST /chat/completions` and `/completions`, and the page on reasoning models, seen 2026.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

from batchscore.simulator.answers import Answer, Wishes, answer
from batchscore.simulator.parameters import check_parameters
from batchscore.simulator.problems import REFERENCE, Problem, Surface, content_filtered, invalid, wrong_type
from batchscore.simulator.settings import SimulatorSettings
from batchscore.simulator.words import CONTENT_FILTER_TRIGGER, count_tokens

_REASONING = re.compile(r"(o1|o3|o4|gpt-5)")
_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_REASONING_TOKENS = 64
#: What the service writes if `max_tokens` of a completions request is not set.
_COMPLETION_TOKENS = 16
_TOKENS_A_MESSAGE = 4
_SAFE = {
    name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")
}


@dataclass(frozen=True)
class Generation:
    """A request found to be right: what is asked (several prompts of completions) and how."""

    asked: list[str]
    answers_each: int
    wishes: Wishes
    prompt_tokens: int
    echo: bool = False


def reasons(name: str) -> bool:
    """Say whether a model of that name refuses `max_tokens` and thinks before it answers."""
    return _REASONING.match(name) is not None


def check_chat(
    body: dict[str, Any], *, name: str, surface: Surface, settings: SimulatorSettings
) -> tuple[int, Generation | Problem]:
    """Give the tokens that a limit is charged (prompt + most tokens * n), and the work or a refusal."""
    messages = body.get("messages")
    problem = _check_messages(messages)
    if problem is not None:
        return 0, problem
    assert isinstance(messages, list)
    texts = [_text_of(message.get("content")) for message in messages]
    prompt_tokens = sum(_TOKENS_A_MESSAGE + count_tokens(text) for text in texts) + 3
    problem = check_parameters(
        body, operation="chat/completions", surface=surface, reasoning=reasons(name)
    ) or _check_json_mode(body, texts)
    if problem is not None:
        return prompt_tokens, problem
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    count = body.get("n") or 1
    charged = prompt_tokens + (most or 0) * count
    if prompt_tokens > settings.context_tokens:
        return charged, invalid(
            f"This model's maximum context length is {settings.context_tokens} tokens. However, your messages"
            f" resulted in {prompt_tokens} tokens. Please reduce the length of the messages.",
            param="messages",
            code="context_length_exceeded",
        )
    if any(CONTENT_FILTER_TRIGGER in text for text in texts):
        return charged, content_filtered(surface)
    form = body.get("response_format") or {}
    wishes = Wishes(
        most_tokens=most,
        stop=_stops(body),
        json=form.get("type") in {"json_object", "json_schema"},
        schema=(form.get("json_schema") or {}).get("schema"),
        reasoning_tokens=_REASONING_TOKENS if reasons(name) else 0,
    )
    said = [
        text for text, message in zip(texts, messages, strict=True) if message["role"] == "user"
    ] or texts[-1:]
    return charged, Generation([said[-1]], count, wishes, prompt_tokens)


def check_completions(
    body: dict[str, Any], *, surface: Surface, settings: SimulatorSettings
) -> tuple[int, Generation | Problem]:
    """Give the tokens that a limit is charged (prompts + `max_tokens` * n a prompt), and the work."""
    prompts = body.get("prompt", "<|endoftext|>")
    if isinstance(prompts, list) and prompts and all(type(token) is int for token in prompts):
        prompts = [prompts]
    prompts = prompts if isinstance(prompts, list) else [prompts]
    texts = [" ".join(map(str, prompt)) if isinstance(prompt, list) else prompt for prompt in prompts]
    if not texts or not all(isinstance(text, str) for text in texts):
        return 0, invalid(f"'$.prompt' is invalid. {REFERENCE}")
    counts = [count_tokens(text) for text in texts]
    problem = check_parameters(body, operation="completions", surface=surface, reasoning=False)
    if problem is not None:
        return sum(counts), problem
    most = body["max_tokens"] if body.get("max_tokens") is not None else _COMPLETION_TOKENS
    count = body.get("n") or 1
    charged = sum(counts) + most * max(count, body.get("best_of") or 1) * len(texts)
    wanted = max(counts) + most
    if wanted > settings.context_tokens:
        return charged, invalid(
            f"This model's maximum context length is {settings.context_tokens} tokens, however you requested"
            f" {wanted} tokens ({max(counts)} in your prompt; {most} for the completion). Please reduce your"
            " prompt; or completion length.",
            code="context_length_exceeded",
        )
    if any(CONTENT_FILTER_TRIGGER in text for text in texts):
        return charged, content_filtered(surface)
    wishes = Wishes(most_tokens=most, stop=_stops(body))
    return charged, Generation(texts, count, wishes, sum(counts), echo=bool(body.get("echo")))


def _check_messages(messages: Any) -> Problem | None:
    if messages is None:
        return invalid(
            "Missing required parameter: 'messages'.", param="messages", code="missing_required_parameter"
        )
    if not isinstance(messages, list):
        return wrong_type("messages", "an array of objects", messages)
    if not messages:
        return invalid(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array"
            " instead.",
            param="messages",
            code="empty_array",
        )
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        if not isinstance(message, dict):
            return wrong_type(where, "an object", message)
        if message.get("role") not in _ROLES:
            shown = ", ".join(f"'{role}'" for role in _ROLES)
            return invalid(
                f"Invalid value: '{message.get('role')}'. Supported values are: {shown}.",
                param=f"{where}.role",
                code="invalid_value",
            )
        content = message.get("content")
        if content is None and message["role"] != "assistant":
            return invalid(
                "Invalid value for 'content': expected a string, got null.",
                param=f"messages.[{place}].content",
            )
        if content is not None and not isinstance(content, (str, list)):
            return wrong_type(f"{where}.content", "one of a string or array of objects", content)
    return None


def _check_json_mode(body: dict[str, Any], texts: list[str]) -> Problem | None:
    form = body.get("response_format")
    if not isinstance(form, dict) or form.get("type") != "json_object":
        return None
    if any("json" in text.lower() for text in texts):
        return None
    return invalid(
        "'messages' must contain the word 'json' in some form, to use 'response_format' of type"
        " 'json_object'.",
        param="messages",
    )


def _text_of(content: Any) -> str:
    """Give the text of a message, of its text parts where it has parts."""
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _stops(body: dict[str, Any]) -> tuple[str, ...]:
    stop = body.get("stop") or []
    return (stop,) if isinstance(stop, str) else tuple(stop)


def chat_reply(
    work: Generation, *, model: str, identifier: str, created: int, surface: Surface
) -> tuple[bytes, int]:
    """Give the body of the 200 of a chat request, and the tokens billed."""
    answers = [answer(work.asked[0], work.wishes, choice=at) for at in range(work.answers_each)]
    choices: list[dict[str, Any]] = []
    for index, one in enumerate(answers):
        message: dict[str, Any] = {
            "role": "assistant",
            "content": one.text,
            "refusal": None,
            "annotations": [],
        }
        choice = {"index": index, "message": message, "logprobs": None, "finish_reason": one.finish_reason}
        choices.append(choice | _filter_results(one, surface))
    usage = _usage(work, answers, details=True)
    reply = {
        "id": f"chatcmpl-{identifier}",
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": choices,
        "usage": usage,
        "system_fingerprint": "fp_simulator",
    }
    return orjson.dumps(reply | _prompt_results(1, surface)), usage["total_tokens"]


def completions_reply(
    work: Generation, *, model: str, identifier: str, created: int, surface: Surface
) -> tuple[bytes, int]:
    """Give the body of the 200 of a completions request, `n` choices a prompt, and the tokens billed."""
    answers: list[Answer] = []
    choices: list[dict[str, Any]] = []
    for prompt in work.asked:
        for at in range(work.answers_each):
            one = answer(prompt, work.wishes, choice=at)
            text = (prompt if work.echo else "") + (one.text or "")
            choice = {"index": len(choices), "text": text, "logprobs": None}
            choices.append(choice | {"finish_reason": one.finish_reason} | _filter_results(one, surface))
            answers.append(one)
    usage = _usage(work, answers, details=False)
    reply = {
        "id": f"cmpl-{identifier}",
        "object": "text_completion",
        "created": created,
        "model": model,
        "choices": choices,
        "usage": usage,
    }
    return orjson.dumps(reply | _prompt_results(len(work.asked), surface)), usage["total_tokens"]


def _usage(work: Generation, answers: list[Answer], *, details: bool) -> dict[str, Any]:
    written = sum(one.tokens for one in answers)
    usage: dict[str, Any] = {
        "prompt_tokens": work.prompt_tokens,
        "completion_tokens": written,
        "total_tokens": work.prompt_tokens + written,
    }
    if details:
        usage["prompt_tokens_details"] = {"cached_tokens": 0, "audio_tokens": 0}
        usage["completion_tokens_details"] = {
            "reasoning_tokens": sum(one.reasoning_tokens for one in answers),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        }
    return usage


def _filter_results(one: Answer, surface: Surface) -> dict[str, Any]:
    """Give what Azure adds to a choice."""
    if surface is Surface.OPENAI:
        return {}
    if one.finish_reason == "content_filter":
        return {"content_filter_results": {**_SAFE, "violence": {"filtered": True, "severity": "medium"}}}
    return {"content_filter_results": _SAFE}


def _prompt_results(prompts: int, surface: Surface) -> dict[str, Any]:
    """Give what Azure adds to a reply."""
    if surface is Surface.OPENAI:
        return {}
    results = [{"prompt_index": index, "content_filter_results": _SAFE} for index in range(prompts)]
    return {"prompt_filter_results": results}
