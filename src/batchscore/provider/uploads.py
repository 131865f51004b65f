"""How does a large file get to a service in parts, so that an interrupted upload continues?

It knows ids and bytes, not what is in them. A part that was sent twice counts once: only the named ones
become the file. An upload that is not completed expires by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchscore.provider.batch_object import fields_of, moment, text_of
from batchscore.provider.client import UPLOAD_SECONDS, ControlPlane, Unknown
from batchscore.provider.files import UploadedFile, uploaded_file
from batchscore.provider.models import is_deleted

#: The type of training files; Azure refuses others.
JSONL = "application/jsonl"


@dataclass(frozen=True, slots=True)
class PartsUpload:
    """An upload that waits for its parts. `expires` is in seconds since the epoch, `None` if unknown."""

    id: str
    expires: float | None


async def begin_upload(plane: ControlPlane, name: str, size: int, *, purpose: str) -> PartsUpload:
    """Begin an upload of this many bytes. Raises `CallFailed`."""

    async def call(headers: Mapping[str, str]) -> PartsUpload:
        found = fields_of(
            await plane.client.uploads.create(
                bytes=size,
                filename=name,
                mime_type=JSONL,
                purpose=purpose,  # type: ignore[arg-type]  # compatible services have their own
                extra_headers=headers,
            )
        )
        if not text_of(found.get("id")):
            raise Unknown("the begin of the upload", why="the reply is not an upload")
        return PartsUpload(text_of(found["id"]), moment(found.get("expires_at")))

    return await plane.repeat("the begin of the upload", call)


async def add_part(plane: ControlPlane, upload: str, data: bytes) -> str:
    """Send one part, and return its id. Raises `CallFailed`."""

    async def call(headers: Mapping[str, str]) -> str:
        found: Any = await plane.client.uploads.parts.create(
            upload, data=("part", data), extra_headers=headers, timeout=UPLOAD_SECONDS
        )
        part = text_of(fields_of(found).get("id"))
        if not part:
            raise Unknown("the upload of a part", why="the reply is not a part")
        return part

    return await plane.repeat("the upload of a part", call)


async def complete_upload(plane: ControlPlane, upload: str, parts: Sequence[str], md5: str) -> UploadedFile:
    """Make a file of the parts, in this order. If `Unknown` is raised, the file may be there."""

    async def call(headers: Mapping[str, str]) -> UploadedFile:
        found = await plane.client.uploads.complete(
            upload, part_ids=list(parts), md5=md5, extra_headers=headers
        )
        return uploaded_file(fields_of(found).get("file"))

    return await plane.once("the end of the upload", call)


async def cancel_upload(plane: ControlPlane, upload: str) -> bool:
    """Cancel an upload that was not completed; False if there was none. Raises `CallFailed`."""
    cancel = plane.client.uploads.cancel
    return await is_deleted(
        plane, "the end of the upload", lambda headers: cancel(upload, extra_headers=headers)
    )
