"""How is the page of an output made?

It reads run records, manifests, error parts and some scores, and writes `report.html` next to them. It
changes nothing else. The page lists what could not be read.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice

from batchscore.errors import InputError
from batchscore.output.find import output_folder, tasks_in
from batchscore.report.page.gather import damaged_parts, files_of_last_run, read_accounts, read_runs
from batchscore.report.page.model import Failures, PageData, TaskData
from batchscore.report.page.page import page
from batchscore.report.page.runs import RecordedRun
from batchscore.report.page.sample import (
    THOROUGHLY,
    Effort,
    answers_of_sample,
    map_of_sample,
    read_failures,
    read_sample,
)
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.task import EMBEDDINGS, TASKS

#: The page's name in the output folder.
NAME = "report.html"


def write_report(
    named: Place, *, task: str | None = None, effort: Effort = THOROUGHLY, shown: str = ""
) -> Place:
    """Write the page of an output and return its place; the page calls the output `shown`.

    Raises `InputError` if there is no output, `OutputError` if it cannot be read or written.
    """
    folder = folder_of(named)
    place = folder / NAME
    storage.write_whole(place, page(gather(folder, shown or str(named), task, effort)))
    return place


def folder_of(named: Place) -> Place:
    """Return the folder of an output; a folder with only run records is one, too."""
    if storage.is_folder(named / "runs"):
        return named
    beside = named.with_name(named.name + ".batchscore")
    if not storage.is_folder(named) and storage.is_folder(beside):
        return beside
    return output_folder(named)


def gather(folder: Place, named: str, task: str | None, effort: Effort) -> PageData:
    """Read what the page shows; raises `InputError` if there is no such task."""
    # The scores get at least half of the time.
    until = time.monotonic() + effort.seconds / 2
    runs, problems = read_runs(folder, until)
    there = [each for each in TASKS if each in tasks_in(folder) or any(run.task == each for run in runs)]
    if task is not None and task not in there:
        raise InputError(f"{named} has no {task}, only {' and '.join(there) or 'nothing'}.")
    if not there:
        raise InputError(f"{named} is not an output of batchscore: it has no scores and no run records.")
    tasks = []
    for each in there if task is None else [task]:
        runs_of_task = [run for run in runs if run.task == each]
        found, more = gather_task(folder, each, runs_of_task, effort)
        tasks.append(found)
        problems += more
    # The task with the latest run comes first.
    tasks.sort(key=lambda each: -max((run.started for run in each.runs), default=0.0))
    return PageData(named, time.time(), tasks, problems)


def gather_task(
    folder: Place, task: str, runs: Sequence[RecordedRun], effort: Effort
) -> tuple[TaskData, list[str]]:
    """Read what the page shows of one task; return it with the problems."""
    until = time.monotonic() + effort.seconds
    files, unread, problems = read_accounts(folder, task, until)
    more = files_of_last_run(runs, (each.file for each in files))
    files = [*files, *more]
    failures = read_failures(folder, files, until) if any(each.errors for each in files) else Failures()
    no_sample = ""
    vectors = answers = None
    sample = islice(read_sample(folder, task, files, effort, until), effort.records)
    if not effort.records:
        no_sample = "It was not requested."
    elif time.monotonic() >= until:
        no_sample = "There was not enough time at the end of the run. To make it, run `batchscore report`."
    elif task == EMBEDDINGS.name:
        vectors = map_of_sample(sample)
    else:
        answers = answers_of_sample(sample, task)
    # For a file whose manifest was left out, the run's record has the same facts.
    unknown = max(unread - len(more), 0)
    problems += damaged_parts(folder, files, until)
    return TaskData(
        task, runs, files, unknown, failures, vectors, answers, no_sample, bool(problems)
    ), problems
