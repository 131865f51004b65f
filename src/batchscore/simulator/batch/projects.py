"""Which project does a key belong to, and what does a project have?

It must not know HTTP. A key with `@NAME` behind it is one of the project NAME; each test has its own.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batchscore.simulator.batch.batches import Batches
from batchscore.simulator.batch.books import Books
from batchscore.simulator.batch.clock import ProjectClock
from batchscore.simulator.batch.faults import FaultScript
from batchscore.simulator.batch.files import FileStore
from batchscore.simulator.batch.lifecycle import BatchTools
from batchscore.simulator.batch.lines import LineRunner
from batchscore.simulator.batch.rules import changed_rules, rules_lasting
from batchscore.simulator.error_replies import Surface
from batchscore.simulator.finetune.rules import tuning_lasting
from batchscore.simulator.finetune.tuning import Answering, Tuning
from batchscore.simulator.script import RandomFaults
from batchscore.simulator.service import Service
from batchscore.simulator.settings import SimulatorSettings

#: The project of a key without a name.
DEFAULT_PROJECT = "default"


def split_key(key: str) -> tuple[str, str]:
    """Return the key itself, and the name of its project."""
    secret, _, name = key.rpartition("@")
    return (secret, name) if secret and name else (key, DEFAULT_PROJECT)


class Project:
    """The files, batches and books of one project, its clock, rules and faults, and its fine-tuning."""

    def __init__(self, folder: Path, service: Service, settings: SimulatorSettings) -> None:
        self.folder = folder
        self.rules = rules_lasting(settings.batch_seconds)
        self.clock = ProjectClock()
        self.faults = FaultScript(settings.seed)
        self.files = FileStore(folder, self.clock, lambda: self.rules)
        self.books = Books(folder, settings.record_last)
        self.tuning = Tuning(self.files, self.clock, tuning_lasting(settings.finetune_seconds))
        runner = LineRunner(service, settings, RandomFaults(settings), self.faults, self.tuning.answering)
        tools = BatchTools(self.files, self.books, runner, lambda: self.rules)
        self.batches = Batches(
            tools, self.clock, lambda name: self.tuning.made(name) or service.has_deployment(name)
        )

    def change_rules(self, changes: Mapping[str, Any]) -> None:
        """Change some of its rules."""
        self.rules = changed_rules(self.rules, changes)

    def to_json(self) -> dict[str, Any]:
        """Return its books, and what it holds."""
        files, size = self.files.total()
        now = self.clock.now()
        return {
            **self.books.to_json(now),
            "now": now,
            "files": files,
            "file_bytes": size,
            "batches": self.batches.everything(),
            "faults_left": self.faults.left(),
        }


class Projects:
    """All projects, each created on its first call. Their files are in one temporary folder."""

    def __init__(self, service: Service, settings: SimulatorSettings) -> None:
        self._service = service
        self._settings = settings
        self._folder: Path | None = None
        self._by_name: dict[str, Project] = {}
        self._count = 0

    def get(self, name: str) -> Project:
        """Return a project."""
        if name not in self._by_name:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="batchscore-simulator-"))
            self._count += 1
            folder = self._folder / str(self._count)
            folder.mkdir()
            self._by_name[name] = Project(folder, self._service, self._settings)
        return self._by_name[name]

    def answering(self, name: str, model: str, surface: Surface) -> Answering:
        """Return whether a model or deployment answers in a project, and what it has learned."""
        project = self._by_name.get(name)
        return Answering(True) if project is None else project.tuning.answering(model, surface)

    def remove(self, name: str) -> None:
        """Forget a project and all that it holds."""
        project = self._by_name.pop(name, None)
        if project is not None:
            shutil.rmtree(project.folder, ignore_errors=True)

    async def step(self, patience: float) -> None:
        """Bring all batches to the present."""
        for name, project in list(self._by_name.items()):
            try:
                await project.batches.step(patience)
            except FileNotFoundError:
                # It was removed meanwhile.
                if self._by_name.get(name) is project:
                    raise

    def close(self) -> None:
        """Remove all files."""
        self._by_name.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
