"""Are the images of a request valid, and how many tokens are they?

It must not know HTTP nor limits. It fetches nothing: an image behind an address counts as one of usual size.
Texts: public reports of the services' errors, read in 2026.
"""

from __future__ import annotations

import struct
from base64 import b64decode
from collections.abc import Iterator
from math import ceil
from typing import Any

from batchscore.simulator.error_replies import ServiceReply, invalid_request, unsupported_value, wrong_type

_EXPECTED = (
    "Expected a base64-encoded data URL with an image MIME type"
    " (e.g. 'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU='), but got "
)
_UNSUPPORTED = (
    "You uploaded an unsupported image. Please make sure your image has of one the following formats:"
    " ['png', 'jpeg', 'gif', 'webp']."
)
#: The first bytes of the formats that are accepted.
_STARTS = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}
#: The pixels of an image that cannot be seen here.
_USUAL = (1024, 1024)
_DETAILS = ("low", "high", "auto", "original")


def count_images(messages: list[Any], *, name: str) -> int | ServiceReply:
    """Return the tokens of all images in messages, or the reply to one that is invalid.

    `name` is that of the field with the messages.
    """
    tokens = 0
    for place, part in _parts(messages, name):
        given: Any = part.get("image_url")
        detail, where, prefix = part.get("detail"), f"{place}.image_url", ""
        if part.get("type") == "image_url":
            if not isinstance(given, dict):
                return wrong_type(where, "an object", given)
            where, prefix = f"{where}.url", "image URL: "
            given, detail = given.get("url"), given.get("detail")
        elif part.get("type") != "input_image" or given is None:
            continue
        if not isinstance(given, str):
            return wrong_type(where, "a string", given)
        if detail is not None and detail not in _DETAILS:
            return unsupported_value(where, detail, _DETAILS)
        size = _USUAL if given.lower().startswith(("http://", "https://")) else _size(given)
        if size is None:
            return invalid_request(_UNSUPPORTED, code="image_parse_error")
        if isinstance(size, str):
            text = f"Invalid {prefix}'{where}'. {_EXPECTED}{size}."
            return invalid_request(text, param=where, code="invalid_value")
        tokens += _tokens(*size, detail or "auto")
    return tokens


def _parts(messages: list[Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for index, message in enumerate(messages):
        content = message.get("content") if isinstance(message, dict) else None
        for place, part in enumerate(content if isinstance(content, list) else ()):
            if isinstance(part, dict):
                yield f"{name}[{index}].content[{place}]", part


def _size(url: str) -> tuple[int, int] | str | None:
    """Return the pixels of the image in a data URL, what is wrong with the URL, or `None`: no such image."""
    if not url.startswith("data:"):
        return "a value without the 'data:' prefix"
    head, _, encoded = url[5:].partition(",")
    mime, _, form = head.partition(";")
    if not mime.startswith("image/") or form != "base64":
        return f"unsupported MIME type '{mime}'"
    if not encoded:
        return "empty base64-encoded bytes"
    try:
        data = b64decode(encoded, validate=True)
    except ValueError:
        return "an invalid base64-encoded value"
    kind = next((kind for start, kind in _STARTS.items() if data.startswith(start)), "")
    if not kind or (kind == "png" and not data.endswith(b"IEND\xaeB`\x82")):
        return None
    # Only of the simplest format: the rest count as an image of usual size.
    return struct.unpack(">II", data[16:24]) if kind == "png" else _USUAL


def _tokens(width: int, height: int, detail: str) -> int:
    """Return the tokens of an image, by the rule of gpt-4o: tiles of 512 pixels."""
    if detail == "low":
        return 85
    scale = min(1.0, 2048 / max(width, height), 768 / min(width, height))
    wide, high = (max(1, ceil(round(side * scale) / 512)) for side in (width, height))
    return 85 + 170 * wide * high
