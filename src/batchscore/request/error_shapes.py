"""Which fields does an error have, whatever shape a service or a gateway gives it?

It knows names of fields only, and judges nothing. An error's own code, type and message count; what it holds
within (`detail`, `errors`) is read only if it lacks them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from batchscore.rows import load_json

#: The names of what wraps an error, those of its code, and those of its message: OpenAI, FastAPI, Google,
#: Apigee, AWS, problem details (RFC 9457).
WRAPPERS = ("error", "errors", "fault", "detail", "details")
CODES = ("code", "type", "reason")
MESSAGES = ("message", "msg", "faultstring", "error_description", "detail", "title")

#: Some gateways wrap the error of a service behind them.
MOST_LEVELS = 6

SAFE_NAME = re.compile(r"^[A-Za-z][\w.\[\]-]{0,63}\Z")


def error_in(body: bytes) -> Mapping[str, Any]:
    """Return the error in a reply's body, empty if there is none. Never raises."""
    try:
        return error_of(load_json(body))
    except ValueError:
        return {}


def error_of(document: object) -> Mapping[str, Any]:
    """Return the innermost error of a document, with lower-case names.

    A wrapper is left while it says nothing itself. An `error` is also read beside fields that do, such as
    Anthropic's `type`, and they complete it.
    """
    outer = fields_of(document)
    for _ in range(MOST_LEVELS):
        inner = next(wrapped(outer), {})
        if says(outer):
            inner = {} if isinstance(outer.get("error"), str) else fields_of(outer.get("error"))
            if not says(inner):
                break
            # A code is that of its error, so the outer code and type do not complete an inner one.
            other = CODES if own_code(inner) else ()
            outer = {name: value for name, value in outer.items() if name not in {*WRAPPERS, *other}}
            inner = outer | {name: value for name, value in inner.items() if value is not None}
        if not inner:
            break
        outer = inner
    return outer


def fields_of(value: object) -> dict[str, Any]:
    """Return an object's fields, those of the first object of a list, or a text as a message."""
    value = value[0] if isinstance(value, list) and value else value
    if isinstance(value, dict):
        return {name.lower(): each for name, each in value.items()}
    return {"message": value} if isinstance(value, str) and value else {}


def wrapped(error: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what an error holds within, also a `message` that is an object."""
    return filter(None, (fields_of(error.get(name)) for name in (*WRAPPERS, "message")))


def says(error: Mapping[str, Any]) -> bool:
    """Whether an error has a code or a message of its own."""
    return bool(own_code(error) or own_message(error))


def own_message(error: Mapping[str, Any]) -> str:
    """Return the message of an error, "" if it has none."""
    values = (error.get(name) for name in MESSAGES)
    texts = (value[0] if isinstance(value, list) and value else value for value in values)  # NestJS
    return next((text for text in texts if isinstance(text, str) and text), "")


def code_of(error: Mapping[str, Any]) -> str:
    """Return the code, the type or the reason of an error, or of what it holds within."""
    return own_code(error) or inner_code_of(error)


def own_code(error: Mapping[str, Any]) -> str:
    """Return the code, the type or the reason of an error itself."""
    return next(filter(None, (safe_name(error.get(name)) for name in CODES)), "")


def inner_code_of(error: Mapping[str, Any]) -> str:
    """Return the code of what an error holds within: Azure's `innererror`, else Google's `errors`, …"""
    inner = fields_of(error.get("innererror"))
    codes = (own_code(fields) for fields in wrapped(error))
    return safe_name(inner.get("code")) or next(filter(None, codes), "")


def param_of(error: Mapping[str, Any]) -> str:
    """Return the name of the parameter that an error is about; FastAPI gives its place."""
    places = (error, *wrapped(error))
    locations = (place.get("loc") for place in places)
    names = (safe_name(place[1]) for place in locations if isinstance(place, list) and len(place) > 1)
    return safe_name(error.get("param")) or next(filter(None, names), "")


def message_of(error: Mapping[str, Any]) -> str:
    """Return the message of an error, and of what it holds within. It may quote the input."""
    texts = (own_message(error), *(own_message(fields) for fields in wrapped(error)))
    return ": ".join(dict.fromkeys(filter(None, texts)))


def safe_name(word: Any) -> str:
    """Return a code or parameter name, or nothing if it might be more than a name."""
    return word if isinstance(word, str) and SAFE_NAME.match(word) else ""
