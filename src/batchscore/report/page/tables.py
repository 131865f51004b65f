"""Which tables does a page show below its first screen?

Pure. The length of each is limited; the table says how many rows were left out, and where all of them are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from batchscore.errors import EXIT_MEANINGS, ExitCode, duration_text, name_settings
from batchscore.report.advice import advice
from batchscore.report.page.markup import NOTHING, Html, concat, details, element, name, table, visible
from batchscore.report.page.model import FailedRow, Failures, FileAccount, TaskData
from batchscore.report.page.runs import RecordedRun, counts, is_number, items, mapping, number, text
from batchscore.report.page.vectors import VectorMap
from batchscore.report.words import (
    code_text,
    count_text,
    large_count_text,
    moment_text,
    money_text,
    percent_text,
)

MOST_FILES = 200
MOST_RUNS = 100
MOST_NOTICES = 40
LONGEST_SETTING = 300

#: Units of settings whose names do not say it.
UNITS = {
    "rpm": "requests per minute",
    "tpm": "tokens per minute",
    "quota_share": "of the quota",
    "batch_size": "rows per request",
    "max_concurrency": "requests",
    "timeout": "seconds",
    "max_outage": "seconds",
    "max_row_bytes": "bytes",
    "max_tokens": "tokens per answer",
    "price_in": "per million tokens",
    "price_out": "per million tokens",
}

#: A code with more rows is folded at first.
MOST_UNFOLDED = 10

STATES = {
    "complete": "complete",
    "partial": "not read completely",
    "unreadable": "cannot be read",
    "not_started": "not started",
}


def failures(failed: Failures) -> Html:
    """Return the failed rows by error code, with advice and examples for each."""
    if not failed.total:
        return element("p", "No row failed.", class_="note")
    bounded = (
        "" if failed.all_read else f" The first {failed.read:,} of {failed.total:,} error records were read."
    )
    blocks = [
        details(
            f"{code_text(code)}: {count_text(count, 'row')}",
            concat(
                [
                    element("p", name_settings(advice(code, in_full=True))),
                    rows_failed(code, failed.examples.get(code, []), count),
                ]
            ),
            is_open=place == 0 and count <= MOST_UNFOLDED,
        )
        for place, (code, count) in enumerate(sorted(failed.by_code.items(), key=lambda item: -item[1]))
    ]
    note = element("p", f"Messages are from batchscore and quote no input.{bounded}", class_="note")
    return concat([note, *blocks])


def rows_failed(code: str, examples: Sequence[FailedRow], count: int) -> Html:
    """Return some rows with one error code."""
    rows = [
        (
            name(each.file),
            f"{each.row:,}",
            name(each.id) if each.id is not None else NOTHING,
            each.message,
            NOTHING if each.status is None else each.status,
            each.attempts,
        )
        for each in examples
    ]
    caption = f"{code_text(code).capitalize()}: {len(rows):,} of {count_text(count, 'row')}"
    return table(caption, ("file", "row", "id", "message", "HTTP status", "attempts"), rows, figures="tntlnn")


def files(accounts: Sequence[FileAccount], unread: int) -> Html:
    """Return the input files and their state, those with problems first."""
    ordered = sorted(accounts, key=lambda each: (each.state == "complete", -each.failed, -each.not_reached))
    rows = [
        (
            name(each.file),
            f"{state_of(each)}: {visible(each.problem)}"
            if each.problem
            else element("span", state_of(each), class_="once"),
            f"{each.rows:,}",
            f"{each.ok:,}",
            f"{each.failed:,}",
            f"{each.empty:,}",
            f"{each.not_reached:,}",
            f"{each.tokens_billed:,}",
            percent_text(each.tokens_kept, each.tokens_billed, decimals=1) if each.tokens_billed else NOTHING,
        )
        for each in ordered[:MOST_FILES]
    ]
    if not rows:
        return element("p", "No file was started.", class_="note")
    heads = (
        "file",
        "state",
        "rows",
        "scored",
        "failed",
        "empty",
        "remaining",
        "tokens billed",
        "kept in records",
    )
    more = (
        [f"{len(accounts) - MOST_FILES:,} more files are in manifest/"] if len(accounts) > MOST_FILES else []
    )
    more += [f"{unread:,} files were left out for lack of time"] if unread else []
    caption = f"{count_text(len(accounts), 'file')}, those with problems first" + "".join(
        f"; {each}" for each in more
    )
    return table(caption, heads, rows, figures="ttnnnnnnn")


def state_of(file: FileAccount) -> str:
    """Return a file's state in words."""
    return STATES.get(file.state, code_text(file.state))


def runs_table(runs: Sequence[RecordedRun]) -> Html:
    """Return the runs, the latest first."""
    rows = [
        (
            moment_text(run.started),
            duration_text(run.seconds),
            name(text(run.record.get("worker")) or run.host),
            f"{number(run.this_run, 'ok'):,.0f}",
            f"{sum(counts(run.this_run.get('errors')).values()):,}",
            f"{number(run.this_run, 'requests'):,.0f}",
            f"{number(run.this_run, 'tokens_billed'):,.0f}",
            NOTHING if (cost := run.cost) is None else money_text(cost),
            result_text(run),
        )
        for run in list(reversed(runs))[:MOST_RUNS]
    ]
    heads = (
        "started",
        "duration",
        "worker",
        "scored",
        "errors",
        "requests",
        "tokens billed",
        "cost",
        "result",
    )
    more = f"; {len(runs) - MOST_RUNS:,} more are in runs/" if len(runs) > MOST_RUNS else ""
    caption = f"{count_text(len(runs), 'run')}, the latest first{more}"
    return table(caption, heads, rows, figures="ontnnnnnl") if rows else Html("")


def result_text(run: RecordedRun) -> str:
    """Return how a run ended."""
    code = run.record.get("exit_code")
    shown = NOTHING
    if code in [each.value for each in ExitCode]:
        # The first words of the meaning are enough here.
        meaning = name_settings(EXIT_MEANINGS[ExitCode(code)][0])
        shown = f"{code}: {re.split('[:;(]', meaning)[0].strip()}"
    reason = run.record.get("reason")
    return f"{shown}; {visible(reason[:LONGEST_SETTING])}" if isinstance(reason, str) else shown


def settings(task: TaskData) -> Html:
    """Return the last run's settings, endpoints and versions."""
    if not task.runs:
        return Html("")
    run = task.runs[-1]
    values = [
        (code_text(key), setting_value(value, UNITS.get(key, "")))
        for key, value in run.settings.items()
        if value not in (None, "", [], {}, False)
    ]
    endpoints = [
        (
            name(text(each.get("name"))),
            name(str(each.get("url", ""))),
            text(each.get("auth")),
            *(
                large_count_text(number(each, kind)) if is_number(each.get(kind)) else "not set"
                for kind in ("rpm", "tpm")
            ),
        )
        for each in items(run.record.get("endpoints"))
    ]
    versions = [(key, text(value)) for key, value in mapping(run.record.get("versions")).items()]
    parts = [table("Settings of the last run", ("setting", "value"), values)]
    if endpoints:
        heads = ("endpoint", "URL", "authentication", "requests per minute", "tokens per minute")
        parts.append(table("Endpoints, and their limits if set", heads, endpoints, figures="tttnn"))
    if versions:
        parts.append(table("Versions", ("package", "version"), versions))
    return details("Settings, endpoints and versions of the last run", concat(parts))


def setting_value(value: Any, unit: str) -> Html:
    """Return a setting's value with its unit, cut if it is long."""
    words = value if isinstance(value, str) else repr(value)
    if value is True:
        words = "yes"
    elif is_number(value):
        words = f"{value:,.10g} {unit}".strip()
    return name(words if len(words) <= LONGEST_SETTING else words[: LONGEST_SETTING - 1] + "…")


def notices(runs: Sequence[RecordedRun]) -> Html:
    """Return the notices of the runs."""
    rows = [
        (moment_text(run.started + run.timeline.after + number(each, "second")), str(each.get("text", "")))
        for run in reversed(runs)
        if run.timeline is not None
        for each in items(run.timeline.record.get("notices"))
    ][:MOST_NOTICES]
    if not rows:
        return Html("")
    return details(
        f"{count_text(len(rows), 'notice')} during the runs",
        table("The latest runs first", ("time", "notice"), rows, figures="ol"),
    )


def pairs(vectors: VectorMap) -> Html:
    """Return rows with almost equal vectors."""
    if not vectors.examples:
        return Html("")
    rows = [
        (
            name(pair.first.file),
            f"{pair.first.row:,}",
            name(pair.second.file),
            f"{pair.second.row:,}",
            f"{pair.cosine:.5f}",
        )
        for pair in vectors.examples
    ]
    caption = f"{len(rows):,} of {count_text(vectors.near, 'pair')} of near duplicates in the sample"
    return table(caption, ("file", "row", "other file", "other row", "cosine"), rows, figures="tntnn")
