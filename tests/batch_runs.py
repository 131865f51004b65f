"""Runs through the Batch API in this process, whose waits are short."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchscore.batch.waits import Waits
from batchscore.mlflow_model.resolve import resolve_settings
from batchscore.output.open import lock_output
from batchscore.output.submitted import Chunks, Step, chunk_folder
from batchscore.rows import Event, Heartbeat, Notice
from batchscore.run.record import RunResult
from batchscore.run.score_files import prepare
from batchscore.settings.slices import OutputSettings, cut
from simulated import Project

FAST = Waits(
    first_look=0.01,
    later_look=0.1,
    last_look=0.1,
    look_again=(0.05, 0.1),
    file=0.01,
    quota=0.05,
    longest_quota=0.1,
    turn=0.005,
    calls_per_second=1000.0,
    retry=0.02,
)


def executed(project: Project) -> Counter[int]:
    """Return how many ids were executed how often, without our probes."""
    return Counter(count for name, count in project.executions().items() if not name.endswith("-probe"))


@dataclass
class BatchRun:
    """Scores `in.csv` into `out`; `notices` are those of the last run.

    `stops_when_submitted`: it is stopped as by a signal, once a batch is at the service.
    """

    endpoint: str
    key: str
    notices: list[str] = field(default_factory=list)
    waits: Waits = FAST
    on_notice: Callable[[str, Any], None] = lambda *_: None
    stops_when_submitted: bool = False
    inputs: Sequence[str] = ("in.csv",)

    def __call__(self, **flags: Any) -> RunResult:
        given = {"task": "chat", "model": "gpt-4o-mini", "output": "out", "column": "text", "via": "batch"}
        given |= {"endpoint": f"{self.endpoint}/v1"} | flags
        self.notices = []

        def listen(event: Event) -> None:
            waits = isinstance(event, Heartbeat) and self.stops_when_submitted
            if waits and any(
                each.step is Step.CREATED for each in Chunks(chunk_folder(run.layout)).read_all()
            ):
                run.conditions.stop.request()
            if isinstance(event, Notice):
                self.notices.append(event.text)
                self.on_notice(event.text, run)

        settings = resolve_settings(given, environ={}).settings
        run = prepare(settings, self.inputs, environ={"BATCHSCORE_API_KEY": self.key}, listen=listen)
        with lock_output(cut(OutputSettings, settings), run.output, listen) as lock:
            run.score(lock, self.waits)
            return run.finish()

    @property
    def said(self) -> str:
        return "\n".join(self.notices)


def write_rows(count: int, words: Mapping[int, str] | None = None, path: str = "in.csv") -> None:
    """Write an input whose rows are all different; `words` are what some of them hold."""
    given = words or {}
    texts = [given.get(row, f"The parcel number {row} was late.") for row in range(count)]
    Path(path).write_text("text\n" + "".join(f'"{text}"\n' for text in texts))


def records(task: str = "chat", output: str = "out") -> dict[int, dict[str, Any]]:
    """Return the records by row, and check that no row has two."""
    found = [
        json.loads(line)
        for folder in (task, f"errors/{task}")
        for path in sorted(Path(output, folder).glob("*.jsonl"))
        for line in path.read_bytes().split(b"\n")
        if line
    ]
    rows = Counter(record["row"] for record in found)
    assert max(rows.values(), default=1) == 1, "a row has two records"
    return {record["row"]: record for record in found}
