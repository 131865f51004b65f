"""Images for tests: small ones of each kind, as encoders write them, and PNG files of any size."""

from __future__ import annotations

import struct
import zlib
from base64 import b64decode, b64encode

_JPEG = """
/9j/4AAQSkZJRgABAQAAAQABAAD/wgARCAAEAAYDASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAH/xAAVAQEBAAAAAAAA
AAAAAAAAAAABAv/aAAwDAQACEAMQAAABgK//xAAUEAEAAAAAAAAAAAAAAAAAAAAA/9oACAEBAAE/EH//2Q=="""

#: One of each kind, all of 6 x 4 pixels (made with Pillow 12; the JPEG without its quantization tables).
KINDS = {
    "png": b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAYAAAAECAIAAAAiZtkUAAAAFElEQVR4nGM8ISfHgAqYGDAAcUIATU4BDAwQ/fcAAAAASUVORK5CYII="
    ),
    "jpeg": b64decode(_JPEG),
    "gif": b64decode("R0lGODdhBgAEAIEAAMgeHgAAAAAAAAAAACwAAAAABgAEAAAICwABCBxIsKDBgQEBADs="),
    "webp": b64decode("UklGRjAAAABXRUJQVlA4ICQAAABwAQCdASoGAAQACQCsJaACdAFAAAD+4LkJj0Vr+1PsI78AEAA="),
    "webp, lossless": b64decode("UklGRh4AAABXRUJQVlA4TBEAAAAvBcAAAAdQjyLXo/+BiOh/AAA="),
    "webp, extended": b64decode(
        "UklGRlgAAABXRUJQVlA4WAoAAAAIAAAABQAAAwAAVlA4ICQAAABwAQCdASoGAAQACQCsJaACdAFAAAD+4LkJj0Vr+1PsI78AEABF"
        "WElGDgAAAE1NACoAAAAIAAAAAAAA"
    ),
}

ANIMATED = b64decode("R0lGODdhAgACAIAAAAAAAAAAACwAAAAAAgACAAAIBgABCAQQEAA7")
ANIMATED = ANIMATED[:-1] + ANIMATED[19:-1] + b";"


def png(width: int = 6, height: int = 4, *, more: int = 0) -> bytes:
    """Return a black image of this size, with `more` bytes that are no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + bytes(width)) * height)
    text = chunk(b"tEXt", b"x\0" + b"x" * more) if more else b""
    parts = (chunk(b"IHDR", header), text, chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def as_url(data: bytes, kind: str = "png") -> str:
    """Return an image as an address that holds it."""
    return f"data:image/{kind};base64,{b64encode(data).decode()}"
