"""How does an output's page come about?

It reads run records, manifests, error parts and some scores, and writes `report.html` beside them. It changes
nothing else, and what it cannot read is named on the page.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from batchscore.errors import InputError
from batchscore.output.find import output_folder, tasks_in
from batchscore.report.page.damage import damaged_parts
from batchscore.report.page.failures import read_failures
from batchscore.report.page.gather import Until, files_of_last_run, read_accounts, read_runs
from batchscore.report.page.model import Failures, Material, TaskMaterial
from batchscore.report.page.page import page
from batchscore.report.page.runs import Run
from batchscore.report.page.sample import (
    THOROUGH,
    Extent,
    answers_of_sample,
    at_the_end,
    map_of_sample,
)
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.task import TASKS

#: The page's name in the output folder.
NAME = "report.html"

#: Seconds of reading for the page that a run leaves at its end, half of them for records and manifests.
SECONDS_AT_THE_END = 1.0


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is read for a page: `seconds` in all, `None` as many as it takes; `extent` of the scores."""

    seconds: float | None = None
    extent: Extent | None = THOROUGH


THOROUGHLY = Effort()
WITHOUT_SAMPLE = Effort(extent=None)


def quickly(rows: int) -> Effort:
    """Return the effort at the end of a run that has made so many scores."""
    return Effort(SECONDS_AT_THE_END, at_the_end(rows))


def write_report(
    named: Place, *, task: str | None = None, effort: Effort = THOROUGHLY, shown: str = ""
) -> Place:
    """Write the page of an output, and return where it stands; `shown` is what it calls the output.

    Raises `InputError` where there is no output, `OutputError` where it cannot be read or written.
    """
    folder = folder_of(named)
    place = folder / NAME
    storage.write_whole(place, page(gathered(folder, shown or str(named), task, effort)))
    return place


def folder_of(named: Place) -> Place:
    """Return the folder of an output; one that holds nothing but records of runs is one, too."""
    if storage.is_folder(named / "runs"):
        return named
    beside = named.with_name(named.name + ".batchscore")
    if not storage.is_folder(named) and storage.is_folder(beside):
        return beside
    return output_folder(named)


def gathered(folder: Place, named: str, task: str | None, effort: Effort) -> Material:
    """Read what the page tells of; raises `InputError` where there is no such task."""
    until = Until.within(None if effort.seconds is None else effort.seconds / 2)
    runs, problems = read_runs(folder, until)
    there = [each for each in TASKS if each in tasks_in(folder) or any(run.task == each for run in runs)]
    if task is not None and task not in there:
        raise InputError(f"{named} holds no {task}, only {' and '.join(there) or 'nothing'}.")
    if not there:
        raise InputError(f"{named} is no output of batchscore: it holds no scores and no records of runs.")
    tasks = []
    for each in there if task is None else [task]:
        of_task = [run for run in runs if run.task == each]
        found, more = of_one_task(folder, each, of_task, effort)
        tasks.append(found)
        problems += more
    # The latest at work stands first.
    tasks.sort(key=lambda each: -max((run.started for run in each.runs), default=0.0))
    return Material(named, time.time(), tasks, problems)


def of_one_task(
    folder: Place, task: str, runs: Sequence[Run], effort: Effort
) -> tuple[TaskMaterial, list[str]]:
    """Read what the page tells of one task, and what could not be read."""
    until = Until.within(effort.seconds)
    files, unread, problems = read_accounts(folder, task, until)
    told = files_of_last_run(runs, (each.file for each in files))
    files = [*files, *told]
    failures = read_failures(folder, task, files, until) if any(each.errors for each in files) else Failures()
    left_out = ""
    vectors = answers = None
    if effort.extent is None:
        left_out = "It was not asked for."
    elif until.over:
        left_out = "There was no time for it at the end of the run: `batchscore report` makes it."
    elif task == "embeddings":
        vectors = map_of_sample(folder, files, effort.extent, until)
    else:
        answers = answers_of_sample(folder, task, files, effort.extent, until)
    # Of a file whose manifest there was no time for, the run's record says the same.
    unknown = max(unread - len(told), 0)
    problems += damaged_parts(folder, task, files, until)
    return TaskMaterial(
        task, runs, files, unknown, failures, vectors, answers, left_out, bool(problems)
    ), problems
