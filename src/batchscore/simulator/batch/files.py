"""Which files does a project hold, in which state, and until when?

It must not know HTTP nor what is in a file, except whether it begins like JSON Lines.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchscore.simulator.batch.clock import ProjectClock
from batchscore.simulator.batch.errors import refused
from batchscore.simulator.batch.rules import BatchRules
from batchscore.simulator.error_replies import Rejection, Surface

if TYPE_CHECKING:
    from batchscore.simulator.finetune.training_file import TrainingFiles

#: A day's seconds.
DAY = 86_400
#: How long OpenAI keeps a file for batches, and what a batch has written.
_KEPT = 30 * DAY


@dataclass(frozen=True)
class UploadForm:
    """A received file, and the fields that came with it. `expires_after` is in seconds."""

    path: Path
    name: str
    purpose: str
    expires_after: int | None = None


@dataclass(frozen=True)
class SimulatedFile:
    """A file. `begins_well` says whether it can be JSON Lines."""

    id: str
    path: Path
    size: int
    filename: str
    purpose: str
    surface: Surface
    created_at: float
    expires_at: float | None
    begins_well: bool = True


class FileStore:
    """The files of a project, in a folder, oldest first. `examiner` looks into those for fine-tuning."""

    examiner: TrainingFiles

    def __init__(self, folder: Path, clock: ProjectClock, rules: Callable[[], BatchRules]) -> None:
        self.folder = folder
        self._clock = clock
        self._rules = rules
        self._files: dict[str, SimulatedFile] = {}

    def add_upload(self, form: UploadForm, surface: Surface) -> SimulatedFile:
        """Take a received file, or remove it and raise `Rejection`."""
        try:
            if form.purpose == "fine-tune":
                self.examiner.check_upload(form.path, surface)
            else:
                self._check_number(surface, expires=form.expires_after is not None)
        except Rejection:
            form.path.unlink()
            raise
        after = form.expires_after
        if after is None and surface is Surface.OPENAI and form.purpose == "batch":
            after = _KEPT
        identifier = f"file-{uuid.uuid4().hex}"
        return self.add(replace(form, expires_after=after), surface, identifier=identifier)

    def add(self, form: UploadForm, surface: Surface, *, identifier: str) -> SimulatedFile:
        """Take a file that is in the folder."""
        now = self._clock.now()
        with form.path.open("rb") as source:
            start = source.read(64).lstrip()
        file = SimulatedFile(
            id=identifier,
            path=form.path,
            size=form.path.stat().st_size,
            filename=form.name,
            purpose=form.purpose,
            surface=surface,
            created_at=now,
            expires_at=None if form.expires_after is None else now + form.expires_after,
            begins_well=not start or start.startswith(b"{"),
        )
        self._files[file.id] = file
        return file

    def get(self, identifier: str) -> SimulatedFile | None:
        """Return a file that can be seen: neither hidden, nor expired, nor deleted."""
        file = self._files.get(identifier)
        if file is None:
            return None
        if file.expires_at is not None and self._clock.now() >= file.expires_at:
            self.delete(identifier)
            return None
        hidden = file.purpose == "batch" and self._age(file) < self._rules().file_hidden
        return None if hidden else file

    def delete(self, identifier: str) -> None:
        """Remove a file."""
        self._files.pop(identifier).path.unlink(missing_ok=True)

    def all(self) -> Iterator[SimulatedFile]:
        """Give all files that can be seen, oldest first."""
        for identifier in list(self._files):
            file = self.get(identifier)
            if file is not None:
                yield file

    def total(self) -> tuple[int, int]:
        """Return how many files there are, and their bytes."""
        return len(self._files), sum(file.size for file in self._files.values())

    def state(self, file: SimulatedFile) -> str:
        """Return the status of a file. Azure looks at how it begins; OpenAI only when a batch reads it."""
        if file.purpose == "fine-tune":
            return self.examiner.state(file)[0]
        if file.purpose == "batch" and self._age(file) < self._rules().file_pending:
            return "uploaded" if file.surface is Surface.OPENAI else "pending"
        readable = file.begins_well or file.surface is Surface.OPENAI or file.purpose == "fine-tune-results"
        return "processed" if readable else "error"

    def to_json(self, file: SimulatedFile) -> dict[str, Any]:
        """Return the file object."""
        state = self.state(file)
        details = "The file is not JSON Lines." if state == "error" else None
        if file.purpose == "fine-tune":
            details = self.examiner.state(file)[1]
        document: dict[str, Any] = {
            "object": "file",
            "id": file.id,
            "purpose": file.purpose,
            "filename": file.filename,
            "bytes": file.size,
            "created_at": int(file.created_at),
            "status": state,
            "status_details": details,
        }
        if file.expires_at is not None or file.surface is Surface.OPENAI:
            document["expires_at"] = None if file.expires_at is None else int(file.expires_at)
        return document

    def _age(self, file: SimulatedFile) -> float:
        return self._clock.now() - file.created_at

    def _check_number(self, surface: Surface, *, expires: bool) -> None:
        """Azure limits the files for batches of a resource. Those that expire have their own limit."""
        if surface is Surface.OPENAI:
            return
        most = self._rules().max_files or (10_000 if expires else 500)
        alike = [file for file in self.all() if file.purpose == "batch"]
        if sum((file.expires_at is not None) == expires for file in alike) >= most:
            message = f"The resource has {most} files, the limit. Delete some."
            raise refused(surface, message, code="quotaExceeded")
