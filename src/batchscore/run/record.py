"""What does a run leave about itself? One file, `runs/<start>-<worker>.json`, from which the report is made.

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
from batchscore.report.json_text import json_safe
from batchscore.report.timeline import Timeline
from batchscore.run.result import Finished
from batchscore.settings.fields import Settings
from batchscore.settings.secrets import without_secrets
from batchscore.stores import storage
from batchscore.version import VERSION

#: Runs of this process so far: those that begin within one second must not share a name.
_runs = count(1)


def write_record(
    finished: Finished, endpoints: Sequence[Endpoint], started: float, timeline: Timeline, command: str
) -> None:
    """Write `runs/<start>-<worker>.json`: what was set, what came of it; no cell, no secret."""
    settings = {each.name: getattr(finished.settings, each.name) for each in fields(finished.settings)}
    settings["param"] = without_secrets(settings["param"])
    reached = [
        {"name": name, "url": target.url, "auth": target.auth, "from": target.sources, "rpm": rpm, "tpm": tpm}
        for name, target, rpm, tpm in ((each.name, each.target, each.rpm, each.tpm) for each in endpoints)
    ]
    statistics = finished.statistics
    outcome = finished.outcome
    record = {
        "version": VERSION,
        "started": moment(started).isoformat(timespec="seconds"),
        "seconds": round(finished.seconds, 3),
        # As in the record's name, which begins with the moment.
        "worker": finished.record.name.removesuffix(".json").partition("-")[2],
        "host": platform.node() or "host",
        "command": command,
        "exit_code": int(finished.exit_code),
        "reason": outcome.reason and name_settings(outcome.reason),
        "settings": settings,
        "endpoints": reached,
        "rows": outcome.rows,
        "ok": outcome.ok,
        "errors": outcome.errors,
        "empty": outcome.errors - outcome.failed,
        "not_reached": outcome.not_reached,
        "attempts": sum(file.attempts for file in outcome.files),
        "tokens_billed": sum(file.tokens_billed for file in outcome.files),
        "tokens_kept": sum(file.tokens_kept for file in outcome.files),
        "this_run": {
            "ok": statistics.ok,
            "errors": statistics.errors,
            "finish_reasons": statistics.finish_reasons,
            "requests": statistics.requests,
            "retried": statistics.retried,
            "prompt_tokens": statistics.prompt_tokens,
            "completion_tokens": statistics.completion_tokens,
            "tokens_billed": statistics.prompt_tokens + statistics.completion_tokens,
            "tokens_kept": statistics.kept_tokens,
        },
        "files": [
            {
                "file": file.file,
                "state": file.state,
                "read_to_its_end": file.complete,
                "rows": file.rows,
                "ok": file.ok,
                "errors": file.errors,
                "empty": file.empty,
                "attempts": file.attempts,
                "tokens_billed": file.tokens_billed,
                "tokens_kept": file.tokens_kept,
            }
            | ({"problem": name_settings(file.problem)} if file.problem else {})
            for file in outcome.files
        ],
        "skipped": [{"name": each.name, "reason": each.reason} for each in finished.survey.skipped],
        "repeated_ids": outcome.repeated_ids,
        "versions": versions(),
        # Hundreds of figures, which are not worth a line each.
        "timeline": orjson.Fragment(
            orjson.dumps(timeline.record(max(finished.seconds - timeline.seconds, 0.0)))
        ),
    }
    if finished.changes is not None:
        record["changes"] = asdict(finished.changes)
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    storage.write_whole(finished.record, orjson.dumps(json_safe(record), option=options, default=str))


def moment(started: float) -> datetime:
    """Return a time in UTC."""
    return datetime.fromtimestamp(started, timezone.utc)


def worker_of(settings: Settings) -> str:
    """Return what tells this run from others that write to the same output."""
    name = f"{platform.node() or 'host'}-{os.getpid()}"
    if settings.shared_output:
        # Machines of a cluster may have one name, and one number for their only process.
        return f"{name}-{secrets.token_hex(4)}"
    number = next(_runs)
    return name if number == 1 else f"{name}-{number}"


#: What takes part in asking and writing.
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
