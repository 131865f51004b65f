"""Which uploads in parts does a project have, and when do they become a file?

It must not know HTTP nor what is in a file. The parts are files in the project's folder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchscore.simulator.batch.clock import ProjectClock
from batchscore.simulator.batch.errors import expiry_seconds, missing_parameter, refused
from batchscore.simulator.batch.files import FileStore, SimulatedFile, UploadForm
from batchscore.simulator.error_replies import Rejection, Surface
from batchscore.simulator.finetune.rules import FineTuneRules

#: The largest part, and the largest whole.
MOST_PART_BYTES = 64 * 2**20
_MOST_BYTES = 8 * 2**30
_EXPIRY = {Surface.OPENAI: 3600.0, Surface.AZURE: 7200.0, Surface.AZURE_V1: 7200.0}
_FIELDS = {"filename": str, "purpose": str, "bytes": int, "mime_type": str}


@dataclass
class SimulatedUpload:
    """An upload that waits for its parts. `parts` are files by the parts' ids."""

    id: str
    filename: str
    purpose: str
    size: int
    created_at: float
    expires_at: float
    file_expires_after: int | None
    status: str = "pending"
    parts: dict[str, Path] = field(default_factory=dict)
    file: SimulatedFile | None = None


class Uploads:
    """The uploads of a project."""

    def __init__(self, files: FileStore, clock: ProjectClock, rules: Callable[[], FineTuneRules]) -> None:
        self._files = files
        self._clock = clock
        self._rules = rules
        self._by_id: dict[str, SimulatedUpload] = {}

    def create(self, body: Mapping[str, Any], surface: Surface) -> SimulatedUpload:
        """Begin an upload; raises `Rejection`."""
        for name, kind in _FIELDS.items():
            if body.get(name) is None:
                raise missing_parameter(surface, name)
            if type(body[name]) is not kind:
                message = f"Invalid type for '{name}'."
                raise refused(surface, message, param=name, code="invalid_type")
        if not 0 < body["bytes"] <= _MOST_BYTES:
            message = f"Invalid 'bytes': must be between 1 and {_MOST_BYTES}."
            raise refused(surface, message, param="bytes", code="invalid_value")
        if body["purpose"] == "fine-tune" and not body["filename"].endswith(".jsonl"):
            raise refused(surface, "The file's name must end in .jsonl.", param="filename")
        expires_after = expiry_seconds(surface, "expires_after", body.get("expires_after"))
        now, wait = self._clock.now(), self._rules().upload_expires
        upload = SimulatedUpload(
            id=f"upload_{os.urandom(12).hex()}",
            filename=body["filename"],
            purpose=body["purpose"],
            size=body["bytes"],
            created_at=now,
            expires_at=now + (_EXPIRY[surface] if wait is None else wait),
            file_expires_after=expires_after,
        )
        self._by_id[upload.id] = upload
        return upload

    def get(self, identifier: str) -> SimulatedUpload | None:
        """Return an upload as it is now."""
        upload = self._by_id.get(identifier)
        if upload is not None and upload.status == "pending" and self._clock.now() >= upload.expires_at:
            self._end(upload, "expired")
        return upload

    def active(self) -> int:
        """Return how many wait for parts."""
        return sum(upload.status == "pending" for upload in map(self.get, list(self._by_id)) if upload)

    def add_part(self, upload: SimulatedUpload, path: Path, surface: Surface) -> str:
        """Take a part and return its id, or remove it and raise `Rejection`."""
        try:
            _check_open(upload, surface)
            if path.stat().st_size > MOST_PART_BYTES:
                message = f"A part has at most {MOST_PART_BYTES} bytes."
                raise refused(surface, message, param="data", status=413)
        except Rejection:
            path.unlink()
            raise
        identifier = f"part_{os.urandom(12).hex()}"
        upload.parts[identifier] = path
        return identifier

    def complete(self, upload: SimulatedUpload, body: Mapping[str, Any], surface: Surface) -> None:
        """Join the parts in the order of the request; raises `Rejection`."""
        _check_open(upload, surface)
        parts = body.get("part_ids")
        if not isinstance(parts, list) or not parts:
            raise missing_parameter(surface, "part_ids")
        wrong = [one for one in parts if one not in [*upload.parts] or parts.count(one) > 1]
        if wrong:
            raise refused(surface, f"Invalid part id: {wrong[0]}", param="part_ids")
        path = self._files.folder / f"upload-{upload.id}"
        digest = hashlib.md5(usedforsecurity=False)
        with path.open("wb") as target:
            for one in parts:
                content = upload.parts[one].read_bytes()
                digest.update(content)
                target.write(content)
        size = path.stat().st_size
        if size != upload.size:
            path.unlink()
            message = f"The parts have {size} bytes, but the upload was created with {upload.size}."
            raise refused(surface, message, param="part_ids")
        if body.get("md5") not in (None, digest.hexdigest()):
            path.unlink()
            raise refused(surface, "The md5 of the parts differs.", param="md5")
        form = UploadForm(path, upload.filename, upload.purpose, upload.file_expires_after)
        upload.file = self._files.add_upload(form, surface)
        self._end(upload, "completed")

    def cancel(self, upload: SimulatedUpload, surface: Surface) -> None:
        """Cancel an upload; raises `Rejection`."""
        _check_open(upload, surface)
        self._end(upload, "cancelled")

    def to_json(self, upload: SimulatedUpload) -> dict[str, Any]:
        """Return the upload object."""
        return {
            "object": "upload",
            "id": upload.id,
            "bytes": upload.size,
            "created_at": int(upload.created_at),
            "filename": upload.filename,
            "purpose": upload.purpose,
            "status": upload.status,
            "expires_at": int(upload.expires_at),
            "file": None if upload.file is None else self._files.to_json(upload.file),
        }

    def _end(self, upload: SimulatedUpload, status: str) -> None:
        upload.status = status
        for path in upload.parts.values():
            path.unlink(missing_ok=True)
        upload.parts.clear()


def _check_open(upload: SimulatedUpload, surface: Surface) -> None:
    if upload.status != "pending":
        raise refused(surface, f"Upload {upload.id} is {upload.status}.", param="upload_id")
