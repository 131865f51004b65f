"""What does a reply of the Responses API answer, and why did the answer end?

A reply is one object with a list of items: the messages, and what the model did on the way (reasoning, tools
and searches), which is not part of the answer. The reasons are those of chat. Rules: OpenAI's OpenAPI
description of 2026-08 (`Response`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchscore.prompts.reply_parts import check_broken_off, error_instead, objects_in
from batchscore.rows import InvalidReply

#: Chat's word for the reason of an incomplete answer.
INCOMPLETE = {"max_output_tokens": "length", "max_tokens": "length"}

#: Items with which the model asks its caller to act.
CALLS = frozenset({"function_call", "custom_tool_call"})

#: The status that each error of a failed response would have; other failures are the service's.
CONTENT_ERRORS = """
invalid_prompt data_residency_mismatch bio_policy invalid_image invalid_image_format invalid_base64_image
invalid_image_url image_too_large image_too_small image_parse_error image_content_policy_violation
invalid_image_mode image_file_too_large unsupported_image_media_type empty_image_file
failed_to_download_image image_file_not_found
"""
LIMIT_ERRORS = ("rate_limit_exceeded", "insufficient_quota")
STATUSES = {**dict.fromkeys(CONTENT_ERRORS.split(), 400), **dict.fromkeys(LIMIT_ERRORS, 429)}


def response_text(reply: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return the text of a reply, `None` if the model gave none, and why it ended, if the service says so.

    A refusal is a text with its own reason. Raises `InvalidReply` if the service failed, or has not finished.
    """
    error, status = reply.get("error"), reply.get("status")
    if error:
        raise failure(error) if status == "failed" else error_instead(error)
    if status in {"queued", "in_progress"}:
        raise InvalidReply("the answer is not finished; leave out the parameter background")
    reason = status if isinstance(status, str) and status != "completed" else None
    check_broken_off((reason or "").lower())
    details = reply.get("incomplete_details")
    if isinstance(details, dict) and isinstance(details.get("reason"), str):
        found: str = details["reason"]
        reason = INCOMPLETE.get(found, found)
        check_broken_off(found.lower())
    # A limit may be used up before the first item.
    items = objects_in(reply, "output") if reason is None or reply.get("output") else []
    messages = [item for item in items if item.get("type") == "message"]
    # Newer models comment on what they do before they answer.
    finals = [message for message in messages if message.get("phase") != "commentary"]
    text, refusal = text_of(finals or messages)
    if not text and refusal:
        return refusal, "refusal"
    if reason is None and any(item.get("type") in CALLS for item in items):
        reason = "tool_calls"
    return text, reason or ("stop" if status == "completed" else None)


def text_of(messages: list[dict[str, Any]]) -> tuple[str | None, str]:
    """Return the joined texts of messages, `None` if they have none, and the joined refusals."""
    texts: list[str] = []
    refusals: list[str] = []
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else [{"text": content}]:
            found = part if isinstance(part, dict) else {}
            text, refusal = found.get("text"), found.get("refusal")
            if text is not None and not isinstance(text, str):
                raise InvalidReply("an answer is not text")
            texts += [text] if text is not None else []
            refusals += [refusal] if isinstance(refusal, str) else []
    return "".join(texts) if texts else None, "".join(refusals)


def failure(error: Any) -> InvalidReply:
    """Return what the error of a failed response means, as if it had come with its own status."""
    instead = error_instead(error)
    code = error.get("code") if isinstance(error, dict) else None
    instead.status = instead.status or STATUSES.get(str(code), 500)
    return instead
