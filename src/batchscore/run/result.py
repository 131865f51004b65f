"""How did a run end? The one value that doors and reports read."""

from __future__ import annotations

from dataclasses import dataclass

from batchscore.errors import ExitCode
from batchscore.output.layout import Layout
from batchscore.output.spec import Output
from batchscore.plan.survey import Survey
from batchscore.report.run_end import RunEnd
from batchscore.report.tally import Statistics
from batchscore.run.incremental import Changes
from batchscore.settings.fields import Settings
from batchscore.stores.address import Place


@dataclass(frozen=True, slots=True)
class RunResult:
    """A run that ended, successfully or not.

    `with_file`: the one output file that was requested exists. `report` is the run's page, if it was made.
    """

    outcome: RunEnd
    statistics: Statistics
    survey: Survey
    settings: Settings
    output: Output
    layout: Layout
    record: Place
    seconds: float
    exit_code: ExitCode
    with_file: bool
    changes: Changes | None = None
    report: Place | None = None
