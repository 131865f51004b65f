"""Which requests went to which deployment, which failed, and which were slowest?

Pure: timelines of runs in, tables of limited length out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from batchscore.errors import duration_text
from batchscore.report.page.markup import NOTHING, Html, bar, element, name, table
from batchscore.report.page.runs import RecordedRun, counts, is_number, items, mapping, number, text
from batchscore.report.words import code_text

MOST_SLOWEST = 10
MOST_CAUSES = 50


def deployments(runs: Sequence[RecordedRun]) -> Html:
    """Return the table of deployments, for all runs."""
    totals: dict[str, Counter[str]] = {}
    last: dict[str, tuple[str, str]] = {}
    for run in runs:
        for label, each in mapping(run.timeline.record.get("deployments") if run.timeline else None).items():
            sums = totals.setdefault(label, Counter())
            for key in ("requests", "prompt_tokens", "completion_tokens", "refused", "failed_requests"):
                sums[key] += int(number(mapping(each), key))
            for key in ("seconds", "paused", "down"):
                sums[key] += number(mapping(each), key)  # type: ignore[assignment]
            last[label] = (text(mapping(each).get("state")), text(mapping(each).get("last_failure")))
    rows = [
        (
            name(label or "(no name)"),
            f"{sums['requests']:,}",
            f"{sums['prompt_tokens'] + sums['completion_tokens']:,}",
            duration_text(sums["seconds"] / sums["requests"]) if sums["requests"] else NOTHING,
            f"{sums['refused']:,}",
            f"{sums['failed_requests']:,}",
            duration_text(sums["paused"]) if sums["paused"] else NOTHING,
            duration_text(sums["down"]) if sums["down"] else NOTHING,
            code_text(" ".join(filter(None, last[label]))) or NOTHING,
        )
        for label, sums in totals.items()
    ]
    heads = (
        "deployment",
        "requests",
        "tokens",
        "mean latency",
        "429s",
        "other failures",
        "paused",
        "down",
        "at the end",
    )
    return table("Deployments, in all runs", heads, rows, figures="tnnnnnnno") if rows else Html("")


def retries(runs: Sequence[RecordedRun]) -> Html:
    """Return the table of failed requests by cause."""
    causes: Counter[tuple[str, str]] = Counter()
    for run in runs:
        if run.timeline is None:
            causes.update(
                {(cause, NOTHING): count for cause, count in counts(run.this_run.get("retried")).items()}
            )
            continue
        for each in items(run.timeline.record.get("retries")):
            status = each.get("status")
            key = (text(each.get("cause")), str(status) if is_number(status) else "no response")
            causes[key] += int(number(each, "count"))
    if not causes:
        words = "No request failed." if runs else "No record of a run could be read."
        return element("p", words, class_="note")
    most = max(causes.values())
    rows = [
        (code_text(cause), status, f"{count:,}", bar(count / most))
        for (cause, status), count in causes.most_common(MOST_CAUSES)
    ]
    return table(
        "Requests that were retried or failed, by cause",
        ("cause", "HTTP status", "requests", ""),
        rows,
        figures="tnnt",
    )


def slowest(runs: Sequence[RecordedRun]) -> Html:
    """Return the table of the slowest requests of all runs."""
    requests = [
        each for run in runs if run.timeline is not None for each in items(run.timeline.record.get("slowest"))
    ]
    requests.sort(key=lambda each: -number(each, "seconds"))
    rows = [
        (
            duration_text(number(each, "seconds")),
            name(str(each.get("file", ""))),
            f"{number(each, 'row'):,.0f}",
            name(str(each.get("id"))) if each.get("id") is not None else NOTHING,
            f"{number(each, 'rows'):,.0f}",
            code_text(text(each.get("cause"))) or "ok",
            name(text(each.get("deployment"))),
        )
        for each in requests[:MOST_SLOWEST]
    ]
    heads = ("latency", "file", "first row", "id", "rows", "outcome", "deployment")
    return table("The slowest requests", heads, rows, figures="ntntntt") if rows else Html("")
