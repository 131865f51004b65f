"""Is an upload complete and correct? It goes to a folder while it arrives.

It must not know the files that are there, nor look into this one.
"""

from __future__ import annotations

import re
import uuid
from pathlib import Path

from aiohttp import BodyPartReader, web

from batchscore.simulator.batch.errors import expiry_seconds, missing_parameter, refused
from batchscore.simulator.batch.files import UploadForm
from batchscore.simulator.error_replies import Surface

_PIECE = 2**18
#: The largest file; larger ones need the API of uploads in parts.
_MOST_BYTES = 512 * 1024 * 1024
_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
#: The purposes whose files are JSON Lines, and the API that reads them.
_OF_LINES = {"batch": "Batch", "fine-tune": "Fine-Tuning"}
_LONGEST_FIELD = 1000
#: Azure's samples write a dot.
_EXPIRY_FIELD = re.compile(r"expires_after(?:\[(\w+)\]|\.(\w+))")


async def receive_upload(request: web.Request, folder: Path, surface: Surface) -> UploadForm:
    """Write a file to the folder while it arrives, and return its form; raises `Rejection`.

    `request["fields"]` then has the fields, and the file's name and type.
    """
    if request.content_type != "multipart/form-data":
        message = f"Invalid Content-Type: expected 'multipart/form-data', but got '{request.content_type}'."
        raise refused(surface, message, status=400 if surface is Surface.OPENAI else 415)
    path = folder / f"upload-{uuid.uuid4().hex}"
    kept = False
    fields: dict[str, str] = {}
    shown: dict[str, str | None] = {}
    request["fields"] = shown
    part_type: str | None = None
    name: str | None = None
    try:
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            if not isinstance(part, BodyPartReader):
                raise refused(surface, "Nested multipart bodies are not supported.")
            if part.name != "file":
                text = (await part.read_chunk(_LONGEST_FIELD)).decode("utf-8", "replace")
                fields[part.name or ""] = shown[part.name or ""] = text
                continue
            name, part_type = part.filename or "", part.headers.get("content-type")
            shown |= {"filename": name, "content_type": part_type}
            if not await _write(part, path):
                raise refused(surface, f"The file exceeds {_MOST_BYTES} bytes.", param="file", status=413)
        form = _form_of(surface, path, name, part_type, fields)
        kept = True
        return form
    finally:
        if not kept:
            path.unlink(missing_ok=True)


async def _write(part: BodyPartReader, path: Path) -> bool:
    """Write a part to a file. Return False if it is too large; what follows is not read then."""
    size = 0
    with path.open("wb") as target:
        while piece := await part.read_chunk(_PIECE):
            size += len(piece)
            if size > _MOST_BYTES:
                return False
            target.write(piece)
    return True


def _form_of(
    surface: Surface, path: Path, name: str | None, part_type: str | None, fields: dict[str, str]
) -> UploadForm:
    if name is None:
        raise missing_parameter(surface, "file")
    purpose = fields.get("purpose")
    if purpose is None:
        raise missing_parameter(surface, "purpose")
    if purpose not in _PURPOSES:
        shown = ", ".join(f"'{each}'" for each in _PURPOSES)
        message = f"'{purpose}' is not one of [{shown}] - 'purpose'"
        raise refused(surface, message, param="purpose")
    if part_type == "" or (part_type is None and surface is not Surface.OPENAI):
        raise refused(surface, "The file's Content-Type must not be empty.", param="file")
    if purpose in _OF_LINES and not name.endswith(".jsonl"):
        reader = f"{_OF_LINES[purpose]} API"
        message = f"Invalid file format for {reader}. Must be .jsonl, but the file is named '{name}'."
        raise refused(surface, message, param="file", code="invalid_file_format")
    expiry = {}
    for field, value in fields.items():
        if found := _EXPIRY_FIELD.fullmatch(field):
            expiry[found[1] or found[2]] = value
    return UploadForm(path, name, purpose, expiry_seconds(surface, "expires_after", expiry or None))
