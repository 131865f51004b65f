"""Which images does a row send, and how do they get into its prompt?

A cell holds a path, an http(s) or data URL, bytes, or a list of these. It opens no file itself: who knows the
folder gives the function that reads one. What a service fetches is never fetched here. No message quotes a
path or an address: they may hold a secret.
"""

from __future__ import annotations

import os
import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson
import xxhash

from batchscore.errors import ErrorCode
from batchscore.prompts.cells import is_blank, json_bytes, plain
from batchscore.prompts.image_header import (
    MOST_IMAGE_BYTES,
    MOST_IMAGES,
    MOST_REQUEST_BYTES,
    UNSEEN,
    InvalidImage,
    image_header,
    image_tokens,
)
from batchscore.prompts.template import missing_column
from batchscore.rows import RowError
from batchscore.task import Task

#: Returns the content of the file that a cell names; raises `OSError`.
ReadFile: TypeAlias = "Callable[[str | os.PathLike[str]], bytes]"

NO_IMAGE = RowError(ErrorCode.EMPTY_INPUT, "The row has no image, so no request was sent.")

#: The placeholder for an image's bytes while the prompt's JSON is built. No text of a row can hold it.
_MARK = secrets.token_hex(16)

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):", re.ASCII)
_HTTP = re.compile(r"https?://[^\s/?#]+[^\s]*", re.IGNORECASE)
_DATA = re.compile(r"data:[^,;]*(?:;[^,;]*)*;base64,", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")
_LONGEST_URL = 8192

#: Bytes that are encoded at a time: three bytes are four letters.
_PIECE = 3 * 2**16

#: Longer texts name no file (Linux: PATH_MAX has 4096 bytes, a name 255).
_LONGEST_PATH = 255


@dataclass(frozen=True, slots=True)
class Image:
    """One image: its `data`, of this `kind`, or the `url` from which the service fetches it."""

    data: bytes
    kind: str
    url: str
    tokens: int


@dataclass(frozen=True, slots=True)
class ImageColumns:
    """The columns of a table that hold images, in the order in which they are sent.

    `read_file` is `None` if rows may not name files. `model` and `detail` determine the tokens.
    """

    names: tuple[str, ...]
    task: Task
    model: str
    detail: str
    read_file: ReadFile | None = None

    def read(self, values: Mapping[str, Any]) -> list[Image] | RowError:
        """Return the images of a row, or why it cannot be sent."""
        images: list[Image] = []
        size = 0
        for name in self.names:
            if name not in values:
                return missing_column(name)
            for cell in items_of(values[name]):
                if len(images) == MOST_IMAGES:
                    return unreadable(f"The row has more than {MOST_IMAGES} images.")
                try:
                    image = self.image(cell)
                except InvalidImage as reason:
                    return unreadable(f"An image of the column {name!r} cannot be sent: {reason}.")
                images.append(image)
                size += len(image.data) * 4 // 3
                if size > MOST_REQUEST_BYTES:
                    most = MOST_REQUEST_BYTES // 10**6
                    return unreadable(f"The row's images are larger than {most} MB together, as base64.")
        return images or NO_IMAGE

    def image(self, cell: Any) -> Image:
        """Return the image that a cell means; raises `InvalidImage`."""
        if isinstance(cell, str) and _HTTP.match(cell):
            if not _HTTP.fullmatch(cell) or len(cell) > _LONGEST_URL:
                raise InvalidImage("its address is not valid")
            return Image(b"", "", cell, image_tokens(*UNSEEN, self.model, self.detail))
        data = self.content(cell)
        if len(data) > MOST_IMAGE_BYTES:
            raise InvalidImage(f"it is larger than {MOST_IMAGE_BYTES // 10**6} MB")
        header = image_header(data)
        tokens = image_tokens(header.width, header.height, self.model, self.detail)
        return Image(data, header.kind, "", tokens)

    def content(self, cell: Any) -> bytes:
        """Return the bytes that a cell holds or names; raises `InvalidImage`."""
        if isinstance(cell, (bytes, bytearray, memoryview)):
            return bytes(cell)
        if isinstance(cell, str) and cell[:5].lower() == "data:":
            return data_of_url(cell)
        if not isinstance(cell, (str, os.PathLike)):
            raise InvalidImage("it is neither a path, an address nor bytes")
        scheme = _SCHEME.match(cell) if isinstance(cell, str) else None
        if scheme is not None and ("://" in str(cell) or scheme[1].lower() == "file"):
            raise InvalidImage("its address is not one of http, https or data")
        if isinstance(cell, str) and len(cell) > _LONGEST_PATH and _BASE64.fullmatch(cell):
            raise InvalidImage("it is base64 alone; write data:image/png;base64, or its kind, before it")
        not_json = "it is neither a file nor a list in valid JSON" if str(cell).startswith("[") else ""
        if self.read_file is None:
            raise InvalidImage(not_json or "rows in memory may not name files here; give bytes or a data URL")
        try:
            return self.read_file(cell)
        except OSError as error:
            backslashes = "\\" in str(cell) and os.sep == "/"
            slashes = "; write / for the backslashes in its path" if backslashes else ""
            raise InvalidImage(not_json or f"{error.strerror or 'it cannot be read'}{slashes}") from None


def digest_of(images: Sequence[Image] | RowError) -> bytes:
    """Return a digest of what was read of a row's images."""
    if isinstance(images, RowError):
        return images.message.encode()
    return b"".join(xxhash.xxh3_128_digest(image.data) for image in images)


def unreadable(message: str) -> RowError:
    """Return the error of a row with an image that cannot be sent."""
    return RowError(ErrorCode.UNREADABLE_IMAGE, message)


def items_of(cell: Any) -> Iterator[Any]:
    """Give the images of a cell: itself, or the items of a list, which may be JSON; none if it is empty."""
    if isinstance(cell, str):
        cell = cell.strip()
        if cell.startswith("["):
            with suppress(ValueError):
                cell = orjson.loads(cell)
    elif isinstance(cell, Mapping) and {"bytes", "path"} & cell.keys():  # as Hugging Face stores images
        cell = cell.get("path") if cell.get("bytes") is None else cell["bytes"]
    elif not isinstance(cell, (bytes, bytearray, memoryview, Mapping, os.PathLike)) and not is_blank(cell):
        cell = plain(cell)
    if isinstance(cell, (list, tuple)):
        for each in cell:
            yield from items_of(each)
    elif not is_blank(cell):
        yield cell


def data_of_url(url: str) -> bytes:
    """Return the bytes of a data URL; raises `InvalidImage`."""
    start = _DATA.match(url, 0, 256)
    if start is None:
        raise InvalidImage("its data URL is not in base64")
    if len(url) > MOST_IMAGE_BYTES * 4 // 3 + 512:
        raise InvalidImage(f"it is larger than {MOST_IMAGE_BYTES // 10**6} MB")
    try:
        return b64decode(url[start.end() :], validate=True)
    except ValueError:
        raise InvalidImage("the base64 of its data URL is damaged") from None


def add_images(body: bytes, images: Sequence[Image], columns: ImageColumns) -> tuple[bytes, int]:
    """Return a prompt's JSON with images behind the text of its last user message, and their bytes in it."""
    prompt: Any = orjson.loads(body)
    task = columns.task
    fields = prompt if isinstance(prompt, dict) else {task.input_key: prompt}
    messages = fields[task.input_key]
    if isinstance(messages, str):
        messages = fields[task.input_key] = [{"role": "user", "content": messages}]
    last = next((one for one in reversed(messages) if one.get("role") == "user"), None)
    if last is None:
        last = {"role": "user"}
        messages.append(last)
    content = last.get("content")
    if not isinstance(content, list):
        content = [] if not content else [{"type": task.text_part, "text": content}]
    last["content"] = [*content, *(part_of(image, columns) for image in images)]
    pieces = json_bytes(fields if isinstance(prompt, dict) else messages).split(_MARK.encode())
    # Spliced in: as part of the JSON, megabytes would be searched for characters to escape.
    encoded = [base64_of(image.data) for image in images if image.data]
    parts = [pieces[0]]
    for data, piece in zip(encoded, pieces[1:], strict=True):
        parts += [*data, piece]
    return b"".join(parts), sum(len(part) for data in encoded for part in data)


def base64_of(data: bytes) -> list[bytes]:
    """Return the pieces of an image in base64: between two of them another thread may run."""
    view = memoryview(data)
    return [b64encode(view[at : at + _PIECE]) for at in range(0, len(data), _PIECE)]


def part_of(image: Image, columns: ImageColumns) -> dict[str, Any]:
    """Return the part of a message for an image."""
    url = image.url or f"data:image/{image.kind};base64,{_MARK}"
    detail = columns.detail
    if columns.task.system_key:  # the Responses API
        return {"type": "input_image", "image_url": url, "detail": detail}
    return {
        "type": "image_url",
        "image_url": {"url": url} if detail == "auto" else {"url": url, "detail": detail},
    }
