"""Which rules does an image of an example break?

It reads the header of an image that the example holds; one behind an address is never fetched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from batchscore.finetune.examples.rules import MOST_IMAGE_BYTES, BrokenRules
from batchscore.prompts.image_header import InvalidImage, image_header
from batchscore.prompts.images import data_of_url

_ADDRESS = re.compile(r"https?://[^\s/?#]+\S*", re.IGNORECASE)
_KINDS = {"jpeg", "png", "webp"}


def check_image(part: Mapping[str, Any], number: int, broken: BrokenRules) -> None:
    """Check a part of the type image_url."""
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else None
    if not isinstance(image, dict) or not isinstance(url, str):
        text = 'an image is written as {"type": "image_url", "image_url": {"url": ADDRESS}}'
        broken.add("image", text, number, "image_url")
        return
    if image.get("detail", "auto") not in {"auto", "low", "high"}:
        broken.add("image", "the detail of an image is auto, low or high", number, "detail")
    if not url.startswith("data:"):
        if not _ADDRESS.fullmatch(url):
            broken.add("image", "the address of an image is not one of http, https or data", number, "url")
        return
    if len(url) * 3 // 4 > MOST_IMAGE_BYTES + 512:
        broken.add("image_size", "an image is larger than 10 MB", number, "url")
        return
    try:
        kind = image_header(data_of_url(url)).kind
    except InvalidImage as reason:
        broken.add("image", f"an image cannot be used: {reason}", number, "url")
        return
    if kind not in _KINDS:
        broken.add("image", f"an image is {kind.upper()}; allowed are JPEG, PNG and WEBP", number, "url")
