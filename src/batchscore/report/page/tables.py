"""Which tables stand on a page, below its first screen?

Pure. Each is bounded: what is left out is counted, and where all of it stands is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from batchscore.report.page.markup import NOTHING, Html, element, folded, joined, name, table, visible
from batchscore.report.page.model import FailedRow, Failures, FileAccount, TaskMaterial
from batchscore.report.page.runs import Run, counts, is_number, items, mapping, number, text
from batchscore.report.page.vectors import Map
from batchscore.report.page.words import (
    ADVICE,
    EXITS,
    counted,
    day_and_time,
    duration,
    large,
    money,
    percent,
    plain,
)

MOST_FILES = 200
MOST_RUNS = 100
MOST_NOTICES = 40
LONGEST_SETTING = 300

#: Of settings whose name does not say it.
UNITS = {
    "rpm": "requests a minute",
    "tpm": "tokens a minute",
    "share": "of the quota",
    "batch_size": "rows a request",
    "concurrency": "requests at a time",
    "timeout": "seconds",
    "max_outage": "seconds",
    "max_row_bytes": "bytes",
    "max_tokens": "tokens an answer",
    "price_in": "for a million tokens",
    "price_out": "for a million tokens",
}

#: A reason of more rows is folded at first.
MOST_OPENED = 10

STATES = {
    "complete": "complete",
    "partial": "not read to its end",
    "unreadable": "cannot be read",
    "not_started": "not started",
}


def failures(found: Failures) -> Html:
    """Return failed rows by reason, with what to do and some rows of each."""
    if not found.total:
        return element("p", "No row failed.", class_="note")
    bounded = (
        "" if found.is_whole else f" The first {found.read:,} of {found.total:,} error records were read."
    )
    blocks = [
        folded(
            f"{plain(code)}: {counted(count, 'row')}",
            joined(
                [
                    element("p", ADVICE.get(code, "This reason is of another version of batchscore.")),
                    rows_failed(code, found.examples.get(code, []), count),
                ]
            ),
            opened=place == 0 and count <= MOST_OPENED,
        )
        for place, (code, count) in enumerate(sorted(found.by_code.items(), key=lambda item: -item[1]))
    ]
    note = element("p", f"Messages are batchscore's own and quote no text.{bounded}", class_="note")
    return joined([note, *blocks])


def rows_failed(code: str, examples: Sequence[FailedRow], count: int) -> Html:
    """Return some rows of one reason."""
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
    caption = f"{plain(code).capitalize()}: {len(rows):,} of {counted(count, 'row')}"
    return table(caption, ("file", "row", "id", "message", "HTTP status", "attempts"), rows, figures="tntlnn")


def files(found: Sequence[FileAccount], unread: int) -> Html:
    """Return the input files and their state; those that want a look first."""
    ordered = sorted(found, key=lambda each: (each.state == "complete", -each.failed, -each.not_reached))
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
            percent(each.tokens_kept / each.tokens_billed) if each.tokens_billed else NOTHING,
        )
        for each in ordered[:MOST_FILES]
    ]
    if not rows:
        return element("p", "No file was begun.", class_="note")
    heads = (
        "file",
        "state",
        "rows",
        "scored",
        "failed",
        "empty",
        "not reached",
        "tokens billed",
        "of them kept",
    )
    more = [f"{len(found) - MOST_FILES:,} more files stand in manifest/"] if len(found) > MOST_FILES else []
    more += [f"{unread:,} files were not looked at for time"] if unread else []
    caption = f"{counted(len(found), 'file')}, those that want a look first" + "".join(
        f"; {each}" for each in more
    )
    return table(caption, heads, rows, figures="ttnnnnnnn")


def state_of(file: FileAccount) -> str:
    """Return a file's state in words."""
    return STATES.get(file.state, plain(file.state))


def runs_table(runs: Sequence[Run]) -> Html:
    """Return the runs, the latest first."""
    rows = [
        (
            day_and_time(run.started),
            duration(run.seconds),
            name(text(run.record.get("worker")) or run.host),
            f"{number(run.this_run, 'ok'):,.0f}",
            f"{sum(counts(run.this_run.get('errors')).values()):,}",
            f"{number(run.this_run, 'requests'):,.0f}",
            f"{number(run.this_run, 'tokens_billed'):,.0f}",
            NOTHING if run.money is None else money(run.money),
            ended(run),
        )
        for run in list(reversed(runs))[:MOST_RUNS]
    ]
    heads = ("began", "took", "worker", "scored", "errors", "requests", "tokens billed", "money", "ended")
    more = f"; {len(runs) - MOST_RUNS:,} more stand in runs/" if len(runs) > MOST_RUNS else ""
    caption = f"{counted(len(runs), 'run')}, the latest first{more}"
    return table(caption, heads, rows, figures="ontnnnnnl") if rows else Html("")


def ended(run: Run) -> str:
    """Return how a run ended."""
    code = run.record.get("exit_code")
    words = EXITS.get(code, "") if isinstance(code, int) else ""
    reason = run.record.get("reason")
    shown = f"{code}: {words}" if words else NOTHING
    return f"{shown}; {visible(reason[:LONGEST_SETTING])}" if isinstance(reason, str) else shown


def settings(task: TaskMaterial) -> Html:
    """Return what the last run was told, its endpoints and versions."""
    if not task.runs:
        return Html("")
    run = task.runs[-1]
    told = [
        (plain(key), shown(value, UNITS.get(key, "")))
        for key, value in run.settings.items()
        if value not in (None, "", [], {}, False)
    ]
    endpoints = [
        (
            name(text(each.get("name"))),
            name(str(each.get("url", ""))),
            text(each.get("auth")),
            *(
                large(number(each, kind)) if is_number(each.get(kind)) else "not set"
                for kind in ("rpm", "tpm")
            ),
        )
        for each in items(run.record.get("endpoints"))
    ]
    versions = [(key, text(value)) for key, value in mapping(run.record.get("versions")).items()]
    parts = [table("Settings of the last run", ("setting", "value"), told)]
    if endpoints:
        heads = ("endpoint", "address", "signed in by", "requests a minute", "tokens a minute")
        parts.append(table("Endpoints, and the limits that were set", heads, endpoints, figures="tttnn"))
    if versions:
        parts.append(table("Versions", ("what", "version"), versions))
    return folded("Settings, endpoints and versions of the last run", joined(parts))


def shown(value: Any, unit: str) -> Html:
    """Return a setting's value with its unit, cut where it is long."""
    words = value if isinstance(value, str) else repr(value)
    if value is True:
        words = "yes"
    elif is_number(value):
        words = f"{value:,.10g} {unit}".strip()
    return name(words if len(words) <= LONGEST_SETTING else words[: LONGEST_SETTING - 1] + "…")


def notices(runs: Sequence[Run]) -> Html:
    """Return what people were told while the runs worked."""
    rows = [
        (day_and_time(run.started + run.course.after + number(each, "second")), str(each.get("text", "")))
        for run in reversed(runs)
        if run.course is not None
        for each in items(run.course.record.get("notices"))
    ][:MOST_NOTICES]
    if not rows:
        return Html("")
    return folded(
        f"What was told meanwhile: {counted(len(rows), 'notice')}",
        table("The latest runs first", ("when", "what"), rows, figures="ol"),
    )


def pairs(found: Map) -> Html:
    """Return rows whose vectors are all but equal."""
    if not found.examples:
        return Html("")
    rows = [
        (
            name(pair.first.file),
            f"{pair.first.row:,}",
            name(pair.second.file),
            f"{pair.second.row:,}",
            f"{pair.cosine:.5f}",
        )
        for pair in found.examples
    ]
    caption = f"{len(rows):,} of {counted(found.near, 'pair')} of near duplicates in the sample"
    return table(caption, ("file", "row", "file of the other", "row", "cosine"), rows, figures="tntnn")
