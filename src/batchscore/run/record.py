"""What does a run record about itself? One file, `runs/<start>-<worker>.json`; the report is made from it.

It holds settings, counts and versions, never a cell or a secret.
"""

from __future__ import annotations

import os
import platform
import secrets
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from itertools import count

import orjson

from batchscore.endpoint.from_settings import Endpoint
from batchscore.errors import name_settings
from batchscore.report.timeline import Timeline
from batchscore.report.words import json_safe
from batchscore.run.result import RunResult
from batchscore.settings.secrets import without_secrets
from batchscore.stores import storage
from batchscore.version import VERSION

#: What is recorded of each file, and of this run alone.
FILE_FIELDS = (
    *("file", "state", "complete", "rows", "ok", "errors", "empty"),
    *("attempts", "tokens_billed", "tokens_kept"),
)
RUN_FIELDS = ("ok", "errors", "finish_reasons", "requests", "retried", "prompt_tokens", "completion_tokens")

#: Runs of this process so far; runs that begin within the same second must not share a name.
_runs = count(1)


def write_record(
    result: RunResult, endpoints: Sequence[Endpoint], started: float, timeline: Timeline, command: str
) -> None:
    """Write the run's record; `command` is kept so that the run can be resumed."""
    settings = {each.name: getattr(result.settings, each.name) for each in fields(result.settings)}
    settings["param"] = without_secrets(settings["param"])
    called = [
        {"name": name, "url": target.url, "auth": target.auth, "from": target.sources, "rpm": rpm, "tpm": tpm}
        for name, target, rpm, tpm in ((each.name, each.target, each.rpm, each.tpm) for each in endpoints)
    ]
    statistics = result.statistics
    outcome = result.outcome
    record = {
        "version": VERSION,
        "started": utc(started).isoformat(timespec="seconds"),
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
        "attempts": sum(file.attempts for file in outcome.files),
        "tokens_billed": sum(file.tokens_billed for file in outcome.files),
        "tokens_kept": sum(file.tokens_kept for file in outcome.files),
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


def utc(started: float) -> datetime:
    """Return a time in UTC."""
    return datetime.fromtimestamp(started, timezone.utc)


def worker_name(*, shared_output: bool) -> str:
    """Return a name that no other run that writes to the same output has."""
    name = f"{platform.node() or 'host'}-{os.getpid()}"
    if shared_output:
        # Machines of a cluster may share a name and a process number.
        return f"{name}-{secrets.token_hex(4)}"
    number = next(_runs)
    return name if number == 1 else f"{name}-{number}"


#: Packages that send, read and write; their versions are recorded.
PACKAGES = ("aiohttp", "numpy", "openai", "orjson", "pyarrow", "uvloop")


def versions() -> dict[str, str]:
    """Return the versions of batchscore, Python, the system and the packages that matter."""
    found = {"batchscore": VERSION, "python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
