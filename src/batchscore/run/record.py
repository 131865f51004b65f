"""How did a run end, and what does it record about itself?

The record is one file, `runs/<start>-<worker>.json`, from which the report is made. It holds settings, counts
and versions, never a cell or a secret.
"""

from __future__ import annotations

import os
import platform
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from itertools import count

import orjson

from batchscore.endpoint.target import Endpoint
from batchscore.errors import ExitCode, name_settings
from batchscore.output.layout import Layout
from batchscore.output.spec import Output
from batchscore.plan.survey import Survey
from batchscore.report.run_end import RunEnd
from batchscore.report.tally import Statistics
from batchscore.report.timeline import Timeline
from batchscore.report.words import json_safe
from batchscore.run.incremental import Changes
from batchscore.settings.fields import Settings
from batchscore.settings.secrets import shown_pairs, shown_table, without_secrets
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.version import VERSION

#: What is recorded of each file, and of this run alone.
COST_FIELDS = ("attempts", "tokens_billed", "tokens_kept")
FILE_FIELDS = ("file", "state", "complete", "rows", "ok", "errors", "empty", *COST_FIELDS)
RUN_FIELDS = ("ok", "errors", "finish_reasons", "requests", "retried", "prompt_tokens", "completion_tokens")

#: Runs of this process so far; runs that begin within the same second must not share a name.
_runs = count(1)


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


def write_record(
    result: RunResult, endpoints: Sequence[Endpoint], started: float, timeline: Timeline, command: str
) -> None:
    """Write the run's record; `command` is kept so that the run can be resumed."""
    settings = {each.name: getattr(result.settings, each.name) for each in fields(result.settings)}
    settings["param"] = without_secrets(settings["param"])
    settings |= {name: shown_pairs(settings[name]) for name in ("header", "query")}
    settings["deployments"] = [shown_table(table) for table in settings["deployments"]]
    called = [
        {"name": each.name, "url": each.target.url, "auth": each.target.auth, "from": each.target.sources}
        | {"rpm": each.rpm, "tpm": each.tpm}
        for each in endpoints
    ]
    statistics, outcome = result.statistics, result.outcome
    record = {
        "version": VERSION,
        "started": datetime.fromtimestamp(started, timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(result.seconds, 3),
        # The record's name is the start and the worker.
        "worker": result.record.name.removesuffix(".json").partition("-")[2],
        "host": platform.node() or "host",
        "command": command,
        "exit_code": int(result.exit_code),
        "reason": outcome.reason and name_settings(outcome.reason),
        "settings": settings,
        "endpoints": called,
        "rows": outcome.rows,
        "ok": outcome.ok,
        "errors": outcome.errors,
        "empty": outcome.errors - outcome.failed,
        "not_reached": outcome.not_reached,
        **{name: sum(getattr(file, name) for file in outcome.files) for name in COST_FIELDS},
        "this_run": {name: getattr(statistics, name) for name in RUN_FIELDS}
        | {
            "tokens_billed": statistics.prompt_tokens + statistics.completion_tokens,
            "tokens_kept": statistics.kept_tokens,
        },
        "files": [
            {name: getattr(file, name) for name in FILE_FIELDS}
            | ({"problem": name_settings(file.problem)} if file.problem else {})
            for file in outcome.files
        ],
        "skipped": [{"name": each.name, "reason": each.reason} for each in result.survey.skipped],
        "repeated_ids": outcome.repeated_ids,
        "versions": versions(),
        # Hundreds of figures on one line.
        "timeline": orjson.Fragment(
            orjson.dumps(timeline.record(max(result.seconds - timeline.seconds, 0.0)))
        ),
    }
    if result.changes is not None:
        record["changes"] = asdict(result.changes)
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    storage.write_whole(result.record, orjson.dumps(json_safe(record), option=options, default=str))


def run_name(started: float, *, shared_output: bool) -> str:
    """Return a name that no other run that writes to the same output has: start in UTC and worker."""
    worker = f"{platform.node() or 'host'}-{os.getpid()}"
    if shared_output:
        # Machines of a cluster may share a name and a process number.
        worker += f"-{secrets.token_hex(4)}"
    elif (number := next(_runs)) > 1:
        worker += f"-{number}"
    return f"{datetime.fromtimestamp(started, timezone.utc):%Y%m%dT%H%M%SZ}-{worker}"


#: Packages that send, read and write; their versions are recorded.
PACKAGES = ("aiohttp", "numpy", "openai", "orjson", "pyarrow", "uvloop")


def versions() -> dict[str, str]:
    """Return the versions of batchscore, Python, the system and the packages that matter."""
    found = {"batchscore": VERSION, "python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
