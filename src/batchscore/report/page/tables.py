"""Which tables does a page show below its first screen?

Pure. The length of each is limited; the table says how many rows were left out, and where all of them are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from typing import Any

from batchscore.errors import (
    EXIT_MEANINGS,
    ErrorCode,
    ExitCode,
    count_text,
    duration_text,
    name_settings,
    visible,
)
from batchscore.report.advice import advice
from batchscore.report.page.answers import EnumCounts
from batchscore.report.page.markup import Html, bar, concat, details, element, name, table
from batchscore.report.page.model import FailedRow, Failures, FileAccount, TaskData
from batchscore.report.page.runs import RecordedRun, counts, is_number, items, mapping, number, text
from batchscore.report.page.vectors import VectorMap
from batchscore.report.words import code_text, large_count_text, moment_text, money_text, percent_text
from batchscore.settings.declare import as_flag
from batchscore.settings.secrets import shown_settings

MOST_FILES = 200
MOST_RUNS = 100
MOST_NOTICES = 40
MOST_READINGS = 40
MOST_SLOWEST = 10
MOST_CAUSES = 50
LONGEST_SETTING = 300

#: Units of settings whose names do not say it.
UNITS = {
    "rpm": "requests per minute",
    "tpm": "tokens per minute",
    "quota_share": "of the quota",
    "batch_size": "rows per request",
    "max_concurrency": "requests",
    **dict.fromkeys(("timeout", "max_outage"), "seconds"),
    "max_row_bytes": "bytes",
    "max_tokens": "tokens per answer",
    **dict.fromkeys(("price_in", "price_out"), "per million tokens"),
}

#: Only the first code is unfolded at first if it has more rows.
MOST_UNFOLDED = 10

EMPTY = ErrorCode.EMPTY_INPUT.value

#: States of files whose names do not say enough.
STATES = {"partial": "not read completely", "unreadable": "cannot be read"}


def failures(failed: Failures) -> Html:
    """Return the failed rows by error code, with advice and examples for each."""
    if not failed.total:
        return element("p", "No row failed.", class_="note")
    note = "Messages are from batchscore and quote no input."
    if failed.read < failed.total:
        note += f" The first {failed.read:,} of {failed.total:,} error records were read."
    blocks = [element("p", note, class_="note")]
    # Empty rows do not count as failed.
    ordered = sorted(Counter(failed.by_code).most_common(), key=lambda item: item[0] == EMPTY)
    for code, count in ordered:
        what = element("p", name_settings(advice(code, in_full=True), as_flag))
        listed = rows_failed(code, failed.examples.get(code, []), count)
        is_open = code != EMPTY and (len(blocks) == 1 or count <= MOST_UNFOLDED)
        title = f"{code_text(code)}: {count_text(count, 'row')}"
        blocks.append(details(title, concat([what, listed]), is_open=is_open))
    return concat(blocks)


def rows_failed(code: str, examples: Sequence[FailedRow], count: int) -> Html:
    """Return some rows with one error code."""
    rows = [
        (name(one.file), one.row, name(one.id), one.message, one.status, one.attempts) for one in examples
    ]
    caption = f"{code_text(code).capitalize()}: {len(rows):,} of {count_text(count, 'row')}"
    return table(caption, "file, row:n, id, message:l, HTTP status:n, attempts:n", rows)


def files(accounts: Sequence[FileAccount], unread: int) -> Html:
    """Return the input files and their state, those with problems first."""
    if not accounts:
        return element("p", "No file was started.", class_="note")
    ordered = sorted(accounts, key=lambda each: (each.state == "complete", -each.failed, -each.not_reached))
    rows = [
        (
            name(each.file),
            state_of(each),
            None if each.state == "not_started" else each.rows,
            *(each.ok, each.failed, each.empty, remaining(each), each.tokens_billed),
            percent_text(each.tokens_kept, each.tokens_billed, decimals=1) if each.tokens_billed else None,
        )
        for each in ordered[:MOST_FILES]
    ]
    counted = "rows:n, scored:n, failed:n, empty:n, remaining:n, tokens billed:n, kept in records:n"
    left_out = len(accounts) - MOST_FILES
    caption = f"{count_text(len(accounts), 'file')}, those with problems first"
    caption += f"; {left_out:,} more files are in manifest/" if left_out > 0 else ""
    caption += f"; {count_text(unread, 'file')} left out for lack of time" if unread else ""
    return table(caption, f"file, state, {counted}", rows)


def remaining(file: FileAccount) -> int | None:
    """Return how many rows of a file have no record; `None` if it has more rows than were read."""
    return file.not_reached or (None if file.state in {"partial", "not_started"} else 0)


def state_of(file: FileAccount) -> Html:
    """Return a file's state in words, and its problem if it has one."""
    state = STATES.get(file.state, code_text(file.state))
    if file.problem:
        return element("span", f"{state}: {name_settings(file.problem, as_flag)}", class_="said")
    return element("span", state, class_="once")


def runs_table(task: TaskData) -> Html:
    """Return the runs, the latest first."""
    runs, running = task.runs, task.running
    rows = [
        (
            moment_text(run.started),
            duration_text(run.seconds) if run.ended else None,
            name(text(run.record.get("worker")) or run.host),
            *(figures_of(run) if run.ended else [None] * 4),
            None if (cost := run.cost) is None else money_text(cost),
            result_text(run, running=running and run is runs[-1]),
        )
        for run in list(reversed(runs))[:MOST_RUNS]
    ]
    columns = (
        "started:o, duration:n, worker, scored:n, errors:n, requests:n, tokens billed:n, cost:n, result:l"
    )
    more = f"; {len(runs) - MOST_RUNS:,} more are in runs/" if len(runs) > MOST_RUNS else ""
    return table(f"{count_text(len(runs), 'run')}, the latest first{more}", columns, rows)


def figures_of(run: RecordedRun) -> list[int]:
    """Return what a run that ended has scored, sent and used."""
    errors = sum(counts(run.this_run.get("errors")).values())
    ok, *used = (int(number(run.this_run, name)) for name in ("ok", "requests", "tokens_billed"))
    return [ok, errors, *used]


def result_text(run: RecordedRun, *, running: bool | None) -> str | None:
    """Return how a run ended; `running`: it is working now, `None` if that is not known."""
    code, reason = run.record.get("exit_code"), run.record.get("reason")
    how = {True: "still working", False: "did not end: killed", None: "did not end: killed, or still working"}
    said = [] if run.ended else [how[running]]
    if code in [each.value for each in ExitCode]:
        # The first words of the meaning are enough here.
        meaning = name_settings(EXIT_MEANINGS[ExitCode(code)][0], as_flag)
        said.append(f"{code}: {re.split('[:;(]', meaning)[0].strip()}")
    if isinstance(reason, str):
        said.append(visible(reason[:LONGEST_SETTING]))
    return "; ".join(said) or None


def readings(runs: Sequence[RecordedRun]) -> Html:
    """Return how the last run read its files, and which columns it sent."""
    read = items(runs[-1].record.get("read_as")) if runs else []
    rows = [(name(text(each.get("files"))), name(text(each.get("how")))) for each in read[:MOST_READINGS]]
    return table("How the last run read its files, and which columns it sent", "files, how:l", rows)


def settings(task: TaskData) -> Html:
    """Return the last run's settings, endpoints and versions."""
    if not task.runs:
        return Html("")
    run = task.runs[-1]
    values = [
        (code_text(key), setting_value(value, UNITS.get(key, "")))
        for key, value in shown_settings(run.settings).items()
        if value not in (None, "", [], {}, False)
    ]
    endpoints = []
    for each in items(run.record.get("endpoints")):
        limits = (each.get(kind) for kind in ("rpm", "tpm"))
        shown = [large_count_text(limit) if is_number(limit) else "not set" for limit in limits]
        label, url = name(text(each.get("name"))), name(str(each.get("url", "")))
        endpoints.append((label, url, text(each.get("auth")), *shown))
    versions = [(key, text(value)) for key, value in mapping(run.record.get("versions")).items()]
    columns = "endpoint, URL, authentication, requests per minute:n, tokens per minute:n"
    parts = [
        table("Settings of the last run", "setting, value", values),
        table("Endpoints, and their limits if set", columns, endpoints),
        table("Versions", "package, version", versions),
    ]
    return details("Settings, endpoints and versions of the last run", concat(parts))


def setting_value(value: Any, unit: str) -> Html | None:
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
    shown = table("The latest runs first", "time:o, notice:l", rows)
    return details(f"{count_text(len(rows), 'notice')} during the runs", shown) if rows else shown


def enums(found: EnumCounts) -> Html:
    """Return the values of the answers' enum fields, and how often they occur."""
    rows: list[Any] = []
    for shown, counted in found.items():
        whole, heads = sum(counted.values()) or 1, chain([shown], repeat(""))
        for head, (value, count) in zip(heads, counted.items(), strict=False):
            share = percent_text(count, whole, decimals=1)
            rows.append((name(head), name(value), count, share, bar(count / whole)))
    if not rows:
        return Html("")
    caption = "Values of the enum fields in the answers read"
    return concat([table(caption, "field, value, answers:n, share:n, ", rows), Html("<br>")])


def pairs(vectors: VectorMap) -> Html:
    """Return rows with almost equal vectors."""
    rows = [
        (name(pair.first.file), pair.first.row, name(pair.second.file), pair.second.row, f"{pair.cosine:.5f}")
        for pair in vectors.examples
    ]
    caption = f"{len(rows):,} of {count_text(vectors.near, 'pair')} of near duplicates in the sample"
    return table(caption, "file, row:n, other file, other row:n, cosine:n", rows)


def deployments(runs: Sequence[RecordedRun]) -> Html:
    """Return the deployments, with the totals of all runs."""
    totals: dict[str, Counter[str]] = {}
    last: dict[str, str] = {}
    for run in runs:
        for label, each in mapping(run.timeline.record.get("deployments") if run.timeline else None).items():
            sums, found = totals.setdefault(label, Counter()), mapping(each)
            sums.update({key: value for key, value in found.items() if is_number(value)})
            last[label] = state_text(found)
    rows = [
        (
            name(label or "(no name)"),
            int(sums["requests"]),
            int(sums["prompt_tokens"] + sums["completion_tokens"]),
            duration_text(sums["seconds"] / sums["requests"]) if sums["requests"] else None,
            int(sums["refused"]),
            int(sums["failed_requests"]),
            *(duration_text(sums[key]) if sums[key] else None for key in ("paused", "down")),
            code_text(last[label]) or None,
        )
        for label, sums in totals.items()
    ]
    counted = "requests:n, tokens:n, mean latency:n, 429s:n, other failures:n, paused:n, down:n"
    return table("Deployments, in all runs", f"deployment, {counted}, at the end:o", rows)


def state_text(deployment: Mapping[str, Any]) -> str:
    """Return the state of a deployment at the end of a run. One that answered no request is not up."""
    requests = number(deployment, "requests")
    failed = number(deployment, "refused") + number(deployment, "failed_requests")
    if text(deployment.get("state")) == "up" and 0 < requests <= failed:
        return "no request succeeded"
    return " ".join(filter(None, (text(deployment.get("state")), text(deployment.get("last_failure")))))


def retries(runs: Sequence[RecordedRun]) -> Html:
    """Return the failed requests by cause."""
    causes: Counter[tuple[str, str | None]] = Counter()
    for run in runs:
        if run.timeline is None:
            for cause, count in counts(run.this_run.get("retried")).items():
                causes[cause, None] += count
            continue
        for each in items(run.timeline.record.get("retries")):
            status = each.get("status")
            key = (text(each.get("cause")), str(status) if is_number(status) else "no response")
            causes[key] += int(number(each, "count"))
    if not causes:
        words = "No request failed." if runs else "No record of a run could be read."
        if not all(run.ended for run in runs):
            # A run writes down its requests at its end.
            words = (
                "No request failed in the runs that ended." if any(run.ended for run in runs) else "Unknown."
            )
        return element("p", words, class_="note")
    listed = causes.most_common(MOST_CAUSES)
    rows = [(code_text(cause), status, n, bar(n / listed[0][1])) for (cause, status), n in listed]
    columns = "cause, HTTP status:n, requests:n, "
    return table("Requests that were retried or failed, by cause", columns, rows)


def slowest(runs: Sequence[RecordedRun]) -> Html:
    """Return the slowest requests of all runs."""
    requests = [each for run in runs if run.timeline for each in items(run.timeline.record.get("slowest"))]
    requests.sort(key=lambda each: -number(each, "seconds"))
    rows = [
        (
            duration_text(number(each, "seconds")),
            name(str(each.get("file", ""))),
            int(number(each, "row")),
            None if each.get("id") is None else name(str(each["id"])),
            int(number(each, "rows")),
            code_text(text(each.get("cause"))) or "ok",
            name(text(each.get("deployment"))),
        )
        for each in requests[:MOST_SLOWEST]
    ]
    columns = "latency:n, file, first row:n, id, rows:n, outcome, deployment"
    return table("The slowest requests", columns, rows)
