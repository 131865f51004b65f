"""How did it end, in words: is it complete, what is missing, what is to be done next?

Pure. Figures of rows are those of the manifests, which count each row once; what was spent is that of the
runs' records.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from batchscore.errors import TRANSIENT
from batchscore.report.page.model import FileAccount, TaskMaterial
from batchscore.report.page.runs import Run, number
from batchscore.report.page.time_axis import Together, joined
from batchscore.report.page.words import counted, percent

#: How the name of an output ends that is one file already.
MERGED = (".jsonl", ".parquet", ".arrow")


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of all files."""

    rows: int
    ok: int
    failed: int
    empty: int
    not_reached: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """`kind` is `good`, `look` or `bad`; `next_step` says what to do, by the `command` if it is known."""

    kind: str
    title: str
    reason: str
    next_step: str
    command: str


def rows_of(task: TaskMaterial) -> Rows:
    """Return the rows of all files together."""
    names = ("rows", "ok", "failed", "empty", "not_reached")
    return Rows(**{name: sum(getattr(each, name) for each in task.files) for name in names})


def verdict(task: TaskMaterial, output: str) -> Verdict:
    """Return how a task stands."""
    rows = rows_of(task)
    last = task.runs[-1] if task.runs else None
    command = last.record.get("command") if last is not None else None
    command = command if isinstance(command, str) else ""
    reason = last.record.get("reason") if last is not None else None
    reason = reason[:1].upper() + reason[1:] if isinstance(reason, str) else ""
    unfinished = [each for each in task.files if each.state not in {"complete", "unreadable"}]
    unreadable = [each for each in task.files if each.state == "unreadable"]
    scored = f"{rows.ok:,} of {counted(rows.rows, 'row')} {'has' if rows.ok == 1 else 'have'} a score"
    if rows.rows == rows.ok:
        scored = f"every one of {counted(rows.rows, 'row')} has a score"
    if rows.empty:
        scored += f"; {rows.empty:,} {'has' if rows.empty == 1 else 'have'} no text"
    failed = f"{counted(rows.failed, 'row')} failed" if rows.failed else ""
    must_act = last is not None and last.record.get("exit_code") == 1
    again = "When that is mended, the" if must_act else "The"
    if reason.startswith("--limit"):
        again, command = "Without --limit, the", without_limit(command)
    again += " same command goes on and asks what is left" + (":" if command else ".")
    if not task.files:
        title = "Nothing was scored" if last is not None else "There is nothing here yet"
        return Verdict("bad", title, reason, again if last is not None else "", command)
    if unfinished or rows.not_reached:
        title = f"Not complete: {counted(rows.ok, 'row')} scored so far" if rows.ok else "Nothing was scored"
        title += f", {failed}" if failed else ""
        return Verdict("bad" if must_act else "look", title, reason or left(task), again, command)
    if unreadable:
        title = f"{counted(len(unreadable), 'file')} cannot be read; of the others {scored}"
        step = "Mend or remove what cannot be read; the same command scores it then" + (
            ":" if command else "."
        )
        return Verdict("look", title, why_unreadable(unreadable), step, command)
    if task.unread:
        title = f"{counted(task.unread, 'file')} not looked at; of the others {scored}"
        step = "This page takes the time to read all of them:"
        return Verdict("look", title, reason, step, shlex.join(["batchscore", "report", output]))
    if rows.failed:
        return with_failures(task, rows, scored, command)
    if not rows.ok:
        title = f"Nothing to score: {counted(rows.rows, 'row')}, none with a text"
        step = "When there are rows, the same command scores them" + (":" if command else ".")
        return Verdict("look", title, "", step, command)
    if output.endswith(MERGED):
        return Verdict("good", f"Complete: {scored}", "", f"All scores are in {output}.", "")
    merge = [
        "batchscore",
        "merge",
        output,
        f"{output.rstrip('/')}-{task.task}.jsonl",
        "--task",
        task.task,
    ]
    return Verdict(
        "good", f"Complete: {scored}", "", "One file of all scores, in input order:", shlex.join(merge)
    )


def with_failures(task: TaskMaterial, rows: Rows, scored: str, command: str) -> Verdict:
    """Return how a task stands of which every row was asked, and some failed."""
    passing = sum(task.failures.by_code.get(code.value, 0) for code in TRANSIENT)
    title = f"{counted(rows.failed, 'row')} failed ({percent(rows.failed / rows.rows)}); {scored}"
    if passing:
        step = "The same command asks again what may have passed; see below for the others"
    else:
        step = "See below for the reasons; once they are mended, --retry-errors asks again"
        command = command and f"{command} --retry-errors"
    kind = "bad" if rows.failed > rows.rows / 2 else "look"
    return Verdict(kind, title, "", step + (":" if command else "."), command)


def why_unreadable(unreadable: Sequence[FileAccount]) -> str:
    """Return which file cannot be read and why; of several the first, and that there are more."""
    first = unreadable[0]
    more = " (the others are below, under Files)" if len(unreadable) > 1 else ""
    return f"{first.file}: {first.problem or 'cannot be read'}{more}"


def without_limit(command: str) -> str:
    """Return a command as one types it without its `--limit`."""
    try:
        words = shlex.split(command)
    except ValueError:
        return ""  # a damaged record's
    kept = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if "--limit" not in {before, word} and not word.startswith("--limit=")
    ]
    return shlex.join(kept)


def left(task: TaskMaterial) -> str:
    """Return what is missing, in words."""
    unread = sum(each.state == "partial" for each in task.files)
    unstarted = sum(each.state == "not_started" for each in task.files)
    rows = sum(each.not_reached for each in task.files)
    pieces = [f"{counted(rows, 'row')} read and without a record"] if rows else []
    pieces += [f"{counted(unread, 'file')} not read to the end"] if unread else []
    pieces += [f"{counted(unstarted, 'file')} not started"] if unstarted else []
    return ", ".join(pieces) + "." if pieces else ""


@dataclass(frozen=True, slots=True)
class Spent:
    """What runs spent: `billed` tokens are those of their records, `kept` those of answers that stand.

    `money` is that of the runs that were given prices, `None` where none was; `priced` of all runs were.
    `busy` are the seconds in which at least one run worked.
    """

    requests: int
    prompt_tokens: int
    completion_tokens: int
    kept: int
    ok: int
    money: float | None
    priced: int
    busy: float

    @property
    def billed(self) -> int:
        """All tokens that the service counted."""
        return self.prompt_tokens + self.completion_tokens


def spent(runs: Sequence[Run]) -> Spent:
    """Return what runs spent together."""

    def total(name: str) -> int:
        return int(sum(number(run.this_run, name) for run in runs))

    priced = [run.money for run in runs if run.money is not None]
    spans = joined([(run.started, run.started + run.seconds) for run in runs], gap=0.0)
    return Spent(
        requests=total("requests"),
        prompt_tokens=total("prompt_tokens"),
        completion_tokens=total("completion_tokens"),
        kept=total("tokens_kept"),
        ok=total("ok"),
        money=sum(priced) if priced else None,
        priced=len(priced),
        busy=sum(end - start for start, end in spans),
    )


def of_the_quota(found: Together | None) -> tuple[str, str]:
    """Return how much of the quota was used, and of which limit: the one that was nearer."""
    if found is None:
        return "not known", "no timeline"
    used: list[tuple[float, str]] = [
        (share, words)
        for kind, words in (("tpm", "tokens a minute"), ("rpm", "requests a minute"))
        if (share := found.used(kind)) is not None
    ]
    if not used:
        return "not known", "no limit was set or told"
    share, words = max(used)
    return percent(share), f"of the {words}"
