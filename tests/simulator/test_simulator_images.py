"""Images in requests: which the service refuses, with which words, and what they count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest

from pictures import KINDS, as_url, png

pytestmark = pytest.mark.process

Refused = Callable[..., dict[str, Any]]
EXPECTED = (
    "Expected a base64-encoded data URL with an image MIME type "
    "(e.g. 'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU='), but got "
)
UNSUPPORTED = (
    "You uploaded an unsupported image. Please make sure your image has of one the following formats: "
    "['png', 'jpeg', 'gif', 'webp']."
)


def chat(url: Any, **more: Any) -> list[Any]:
    image = {"type": "image_url", "image_url": {"url": url, **more}}
    return [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}]


def items(url: Any, detail: str = "auto") -> list[Any]:
    image = {"type": "input_image", "image_url": url, "detail": detail}
    return [{"role": "user", "content": [{"type": "input_text", "text": "What is it?"}, image]}]


@pytest.mark.parametrize(
    ("url", "got"),
    [
        ("a.png", "a value without the 'data:' prefix"),
        ("file:///etc/passwd", "a value without the 'data:' prefix"),
        ("data:application/pdf;base64,JVBERi0=", "unsupported MIME type 'application/pdf'"),
        ("data:image/png;base64,", "empty base64-encoded bytes"),
        ("data:image/png;base64,%%%", "an invalid base64-encoded value"),
    ],
)
def test_an_invalid_address_is_refused_as_the_service_does(
    plain: openai.OpenAI, refused: Refused, url: str, got: str
) -> None:
    said = refused(plain.chat.completions.create, model="gpt-4o", messages=chat(url))
    where = "messages[0].content[1].image_url.url"
    assert said["message"] == f"Invalid image URL: '{where}'. {EXPECTED}{got}."
    assert (said["type"], said["param"], said["code"]) == ("invalid_request_error", where, "invalid_value")
    said = refused(plain.responses.create, model="gpt-4o", input=items(url))
    assert said["message"] == f"Invalid 'input[0].content[1].image_url'. {EXPECTED}{got}."


@pytest.mark.parametrize("data", [b"hello", KINDS["png"][:40]])
def test_what_is_no_image_is_refused(plain: openai.OpenAI, refused: Refused, data: bytes) -> None:
    said = refused(plain.chat.completions.create, model="gpt-4o", messages=chat(as_url(data)))
    assert (said["message"], said["code"]) == (UNSUPPORTED, "image_parse_error")


def test_images_count_by_the_rule_of_tiles(plain: openai.OpenAI) -> None:
    def counted(url: str, detail: str = "auto") -> int:
        reply = plain.chat.completions.create(model="gpt-4o", messages=chat(url, detail=detail))
        response = plain.responses.create(model="gpt-4o", input=items(url, detail))
        assert reply.usage is not None
        assert response.usage is not None
        assert response.usage.input_tokens == reply.usage.prompt_tokens
        return reply.usage.prompt_tokens

    large = as_url(png(1024, 1024))
    text = counted(large, detail="low") - 85
    assert text < 20
    assert counted(large) == text + 765
    assert counted("https://example.com/a.png") == text + 765
