"""Score files from Python: what does `batchscore.score_files` take and return?

It is the command `score` as a function: it writes the same output, and the same call resumes it. In a
notebook, where an event loop is already running, the run works in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from batchscore.api.score_rows import POLL_SECONDS
from batchscore.errors import ExitCode, UsageError, name_settings
from batchscore.mlflow_model.resolve import resolve_settings
from batchscore.rows import Event, Notice
from batchscore.run import score_files as run
from batchscore.run.event_loop import start_in_thread
from batchscore.settings.arguments import FileSettings, check_names, show_settings
from batchscore.settings.checks import value_text

if TYPE_CHECKING:
    from typing_extensions import Unpack

LOG = logging.getLogger("batchscore")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The result of `score_files`. Rows are counted over this run and earlier ones with the same output.

    `rows` were read; `ok` of them have a score, `errors` an error record, and `failed` are the errors except
    empty rows. `exit_code` is that of the command `score`, and `reason` says why the run stopped early, if it
    did. Tokens and `cost` are of this run; `cost` is `None` without prices. `unreadable` maps files to what
    is wrong with them. `record` and `report` are the paths of the run's record and of its page.
    """

    exit_code: ExitCode
    reason: str | None
    rows: int
    ok: int
    errors: int
    failed: int
    seconds: float
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    unreadable: Mapping[str, str]
    output: str
    record: str
    report: str | None


@show_settings(FileSettings)
def score_files(
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    output: str | os.PathLike[str],
    model: str,
    task: str | None = None,
    **settings: Unpack[FileSettings],
) -> RunSummary:
    """Score all rows of files, folders or globs into `output`, and return a summary of the run.

    Most calls set `task`, `model` and `column` or `prompt`; `simulate=True` is a free rehearsal. The
    signature shows all settings, and `batchscore score --help` explains them. `BATCHSCORE_…` variables apply,
    too, and API keys come from the environment. `task` may be left out if `model` is an MLflow model.

    The same call resumes a run that stopped. Raises a `BatchscoreError` for problems found before the first
    request. A run that stops later returns: see `exit_code` and `reason`. Notices go to the logger
    `batchscore`.
    """
    paths = paths_of(inputs)
    given = {**settings, "output": output, "model": model, "task": task}
    check_names(settings, FileSettings.__annotations__)
    resolved = resolve_settings(given, environ=os.environ)
    interrupted = threading.Event()

    def listen(event: Event) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        if isinstance(event, Notice):
            LOG.info("%s", name_settings(event.text))

    work = partial(run.score_files, resolved.settings, paths, environ=os.environ, listen=listen)
    work = partial(work, named=resolved.sources, warnings=resolved.warnings)
    result = work_outside_loop(work, interrupted)
    end, now = result.outcome, result.statistics
    return RunSummary(
        exit_code=result.exit_code,
        reason=None if end.reason is None else name_settings(end.reason),
        **{name: getattr(end, name) for name in ("rows", "ok", "errors", "failed")},
        seconds=result.seconds,
        prompt_tokens=now.prompt_tokens,
        completion_tokens=now.completion_tokens,
        cost=resolved.settings.cost(now.prompt_tokens, now.completion_tokens, now.full_price),
        unreadable={file.file: name_settings(file.problem) for file in end.unreadable},
        output=resolved.settings.output,
        record=str(result.record),
        report=None if result.report is None else str(result.report),
    )


def paths_of(inputs: Any) -> list[str]:
    """Return the paths as texts; raises `UsageError` for anything else than a path or several."""
    single = isinstance(inputs, (str, os.PathLike))
    if not single and (isinstance(inputs, (bytes, Mapping)) or not isinstance(inputs, Iterable)):
        wanted = "give the path of a file or folder, or a list of paths."
        raise UsageError(f"inputs is {value_text(inputs)}; {wanted}")
    given = [inputs] if single else inputs
    paths = [os.fspath(each) if isinstance(each, os.PathLike) else each for each in given]
    for path in paths:
        if not isinstance(path, str):
            wanted = "each input must be the path of a file or folder."
            raise UsageError(f"inputs holds {value_text(path)}; {wanted}")
    return paths


def work_outside_loop(work: Callable[[], T], interrupted: threading.Event) -> T:
    """Return what `work` returns; run it in a thread if this one has a running event loop.

    Ctrl-C sets `interrupted`, which must end the work with an exception.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    future = start_in_thread(work)
    while not future.done():
        try:
            wait([future], POLL_SECONDS)
        except KeyboardInterrupt:
            interrupted.set()
    return future.result()
