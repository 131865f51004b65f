"""Events of a run: files that are opened, and the state of its deployments."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchscore.report.tally import Tally
from batchscore.rows import Attempt, Event, FileFinished, FileOpened, Heartbeat
from batchscore.run.score_files import score_files
from batchscore.settings.fields import Settings


def events_of(folder: Path, **settings: object) -> list[Event]:
    heard: list[Event] = []
    asked = Settings(
        task="chat", model="m", output=str(folder / "out"), column="text", simulate=True, **settings
    )  # type: ignore[arg-type]
    score_files(asked, [str(folder / "in.csv")], environ={}, listen=heard.append)
    return heard


@pytest.mark.process
def test_a_run_reports_its_deployments_and_known_rows(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text\n" + "".join(f"row {n}\n" for n in range(40)))
    first = events_of(tmp_path, limit=30)
    assert [event for event in first if isinstance(event, FileOpened)] == [FileOpened("in.csv", 0)]
    pulses = [event for event in first if isinstance(event, Heartbeat)]
    assert pulses
    (standing,) = pulses[0].deployments
    assert standing.state == "up"
    assert standing.last_failure == ""
    assert {event.deployment for event in first if isinstance(event, Attempt)} == {standing.deployment}

    again = events_of(tmp_path)
    opened = next(place for place, event in enumerate(again) if isinstance(event, FileOpened))
    assert again[opened] == FileOpened("in.csv", 30)
    tally = Tally()
    for event in again[: opened + 1]:
        tally.add(event)
    assert tally.statistics().known == 30
    assert isinstance(again[-1], FileFinished)
