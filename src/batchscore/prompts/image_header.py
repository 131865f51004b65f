"""What do these bytes show: which kind of image, how many pixels, and how many tokens is that?

It reads headers and follows the file's structure to its end, but decodes no pixel. It knows no files, rows or
requests. Formats: PNG (RFC 2083), JPEG (ITU-T T.81), GIF89a, WebP (RFC 9649).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from math import ceil, floor, sqrt

#: The largest image (Azure OpenAI, "Use vision-enabled chat models", seen 2026-09). A request may have 50 MB
#: and 500 images at OpenAI ("Images and vision", seen 2026-09); services may allow fewer.
MOST_IMAGE_BYTES = 20 * 10**6
MOST_REQUEST_BYTES = 50 * 10**6
MOST_IMAGES = 500

#: Crafted files have millions of pieces, and requests wait while they are read. The largest image has fewer,
#: as encoders write it: chunks of a kilobyte and more, or a GIF's blocks of 255 bytes.
MOST_PIECES = 20_000
MOST_BLOCKS = 100_000

KINDS_TEXT = "PNG, JPEG, WebP or GIF"

#: Others that people have, by their first bytes.
_OTHERS = {b"%PDF": "a PDF", b"BM": "a BMP", b"II*\0": "a TIFF", b"MM\0*": "a TIFF", b"<svg": "an SVG"}

#: Pixels of an image that only the service sees, for estimates.
UNSEEN = (1024, 1024)


class InvalidImage(ValueError):  # noqa: N818 - named for what is wrong
    """Bytes that cannot be sent as an image; the message says why, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """An image's `kind`, as in `image/png`, and its size in pixels."""

    kind: str
    width: int
    height: int


def image_header(data: bytes) -> ImageHeader:
    """Return what an image is; raises `InvalidImage`. O(structure of the file)."""
    if not data:
        raise InvalidImage("it is empty")
    for magic, kind, read in _READERS:
        if data.startswith(magic):
            try:
                width, height = read(data)
            except (IndexError, ValueError) as error:
                reason = str(error) if isinstance(error, InvalidImage) else "it is cut off or damaged"
                raise InvalidImage(reason) from None
            if not width or not height:
                raise InvalidImage("it has no pixels")
            return ImageHeader(kind, width, height)
    what = next((name for magic, name in _OTHERS.items() if data.startswith(magic)), "")
    what = "a HEIC or AVIF" if data[4:8] == b"ftyp" else what
    raise InvalidImage(f"it is {f'{what} file, ' if what else ''}no {KINDS_TEXT}")


def _number(data: bytes, start: int, size: int, order: str = "big") -> int:
    """Return a number; raises `IndexError` beyond the end."""
    if start + size > len(data):
        raise IndexError
    return int.from_bytes(data[start : start + size], order)  # type: ignore[arg-type]


def _pieces(most: int) -> Iterator[None]:
    """Count the pieces of a file; raises `InvalidImage` after this many."""
    yield from repeat(None, most)
    raise InvalidImage(f"it is divided into more than {most:,} pieces")


def _png(data: bytes) -> tuple[int, int]:
    if data[12:16] != b"IHDR":
        raise ValueError
    at, has_pixels, pieces = 8, False, _pieces(MOST_PIECES)
    while True:
        next(pieces)
        length, kind = _number(data, at, 4), data[at + 4 : at + 8]
        _number(data, at + 8 + length, 4)  # the checksum, so the chunk is there
        has_pixels = has_pixels or kind == b"IDAT"
        if kind == b"IEND" and has_pixels:
            return _number(data, 16, 4), _number(data, 20, 4)
        at += 12 + length


def _jpeg(data: bytes) -> tuple[int, int]:
    at, size, pieces = 2, (0, 0), _pieces(MOST_PIECES)
    while True:
        next(pieces)
        if data[at] != 0xFF:
            raise ValueError
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        length = _number(data, at + 2, 2)
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            size = _number(data, at + 7, 2), _number(data, at + 5, 2)
        at += 2 + length
        if marker == 0xDA:  # the pixels follow, up to the end marker
            if data.rfind(b"\xff\xd9", at) < 0:
                raise ValueError
            return size


def _gif(data: bytes) -> tuple[int, int]:
    at, frames, pieces = 13, 0, _pieces(MOST_BLOCKS)
    flags = data[10]
    at += 3 << (flags & 7) + 1 if flags & 0x80 else 0
    while (block := data[at]) != 0x3B:
        if block == 0x21:
            at += 2
        elif block == 0x2C:
            frames += 1
            if frames > 1:
                raise InvalidImage("it is an animated GIF")
            flags = data[at + 9]
            at += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        else:
            raise ValueError
        next(pieces)
        while size := data[at]:
            at += size + 1
            next(pieces)
        at += 1
    if not frames:
        raise ValueError
    return _number(data, 6, 2, "little"), _number(data, 8, 2, "little")


def _webp(data: bytes) -> tuple[int, int]:
    if data[8:12] != b"WEBP" or _number(data, 4, 4, "little") + 8 > len(data) or len(data) < 30:
        raise ValueError
    kind = data[12:16]
    if kind == b"VP8X":
        return _number(data, 24, 3, "little") + 1, _number(data, 27, 3, "little") + 1
    if kind == b"VP8L" and data[20] == 0x2F:
        bits = _number(data, 21, 4, "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        return _number(data, 26, 2, "little") & 0x3FFF, _number(data, 28, 2, "little") & 0x3FFF
    raise ValueError


_READERS: tuple[tuple[bytes, str, Callable[[bytes], tuple[int, int]]], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png", _png),
    (b"\xff\xd8\xff", "jpeg", _jpeg),
    (b"GIF87a", "gif", _gif),
    (b"GIF89a", "gif", _gif),
    (b"RIFF", "webp", _webp),
)

#: OpenAI's rules ("Images and vision", Calculating costs, seen 2026-09). Models that cut an image into
#: patches of 32 pixels, at most 1,536, with the tokens of a patch.
_PATCHES = (
    (re.compile(r"gpt-?(4\.?1|5[.\d]*)-nano", re.IGNORECASE), 2.46),
    (re.compile(r"gpt-?(4\.?1|5[.\d]*)-mini", re.IGNORECASE), 1.62),
    (re.compile(r"(^|[/:])o4-mini", re.IGNORECASE), 1.72),
)
_MOST_PATCHES = 1536

#: The others use tiles of 512 pixels: tokens of an image, and of each of its tiles. gpt-4o, gpt-4.1 and
#: models that are not known have the last ones.
_TILES = (
    (re.compile(r"gpt-?4o-mini", re.IGNORECASE), 2833, 5667),
    (re.compile(r"(^|[/:])o[13]", re.IGNORECASE), 75, 150),
    (re.compile(r"gpt-?5", re.IGNORECASE), 70, 140),
    (re.compile(""), 85, 170),
)


def image_tokens(width: int, height: int, model: str, detail: str) -> int:
    """Return the tokens of an image by the published rules; `detail` is `low`, `high` or `auto`."""
    for name, each in _PATCHES:
        if name.search(model):
            return ceil(_patches(width, height) * each)
    base, tile = next((base, tile) for name, base, tile in _TILES if name.search(model))
    if detail == "low":
        return base
    scale = min(1.0, 2048 / max(width, height))
    scale = min(scale, 768 / min(width, height))
    wide, high = (max(1, ceil(round(side * scale) / 512)) for side in (width, height))
    return base + tile * wide * high


def _patches(width: int, height: int) -> int:
    count = ceil(width / 32) * ceil(height / 32)
    if count <= _MOST_PATCHES:
        return count
    scale = sqrt(32 * 32 * _MOST_PATCHES / (width * height))
    wide, high = width * scale / 32, height * scale / 32
    scale *= min(floor(wide) / wide, floor(high) / high) if min(wide, high) >= 1 else 1
    return min(_MOST_PATCHES, ceil(round(width * scale / 32, 6)) * ceil(round(height * scale / 32, 6)))
