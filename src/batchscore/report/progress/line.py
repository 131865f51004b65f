"""How is a run's state shown in one plain line, for a log, and what is the run waiting for?

Pure: a view in, words out. The panel uses the same words. They name deployments and codes, never a row.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from batchscore.errors import count_text, duration_text
from batchscore.report.progress.eta import SAME_RATIO, Eta
from batchscore.report.progress.view import View
from batchscore.report.words import (
    code_text,
    counts_text,
    money_text,
    percent_text,
    rate_text,
    rough_duration_text,
    short_name,
)
from batchscore.rows import BatchesState, DeploymentState

#: An ETA is also given as a time of day if it is at least this many seconds away.
TIME_OF_DAY_SECONDS = 1200.0

#: A wait before a retry is shown with the requests if it takes at least this many more seconds.
LEAST_RETRY_SECONDS = 5.0

#: Greatest number of unhealthy deployments that are named.
MOST_NAMED = 3

#: Greatest number of reasons that are named.
MOST_REASONS = 2

#: Names of deployments are shortened to this many characters.
LONGEST_NAMED = 20


def status_line(view: View, *, verbose: bool = False) -> str:
    """Return the state in one line."""
    pieces = [*row_counts(view), *speeds(view), *request_counts(view), *failed_requests(view)]
    pieces += [*unhealthy_deployments(view), *eta_parts(view), *costs_and_files(view), elapsed(view)]
    if verbose:
        pieces.append(waiting_for(view))
    return " · ".join(pieces)


def row_counts(view: View, *, share: bool = True) -> list[str]:
    """Return how many rows are done, failed and remaining; `share`: also the share that is done."""
    now, total = view.statistics, view.total
    if total is None:
        pieces = [count_text(view.rows, "row"), f"{now.failed:,} failed"]
    else:
        about = "" if view.exact else "about "
        part = f" ({percent_text(view.rows, total)})" if share else ""
        pieces = [f"{view.rows:,} of {about}{count_text(total, 'row')}{part}", f"{now.failed:,} failed"]
        pieces.append(f"{total - view.rows:,} remaining")
    if now.empty:
        pieces.append(f"{now.empty:,} empty")
    if now.known:
        pieces.append(f"{now.known:,} done before")
    return pieces


def speeds(view: View) -> list[str]:
    """Return the recent rates per minute, with their limits."""
    now = view.per_minute
    if now is None or view.batches is not None:
        return []
    return [
        f"{rate_text(now.rows)} rows/min",
        rate_and_limit(now.tokens, view.tpm, "tokens/min"),
        rate_and_limit(now.requests, view.rpm, "requests/min"),
    ]


def rate_and_limit(amount: float, limit: float | None, unit: str) -> str:
    """Return a rate with its limit."""
    if limit is None:
        return f"{rate_text(amount)} {unit}"
    return f"{rate_text(amount)} of {rate_text(limit)} {unit} ({percent_text(amount, limit)})"


def request_counts(view: View) -> list[str]:
    """Return how many requests were sent, are in flight, and were rate-limited; or how many batches are."""
    now = view.statistics
    if view.batches is not None:
        return batch_counts(view.batches)
    pieces = [count_text(now.requests, "request"), f"{view.in_flight:,} in flight", *to_be_retried(view)]
    limited = now.retried.get("rate_limited", 0)
    return [*pieces, f"{limited:,} rate-limited"] if limited else pieces


def to_be_retried(view: View) -> list[str]:
    """Return how many failed requests wait a while, or alone, to be sent again, and for how long."""
    waiting = [
        each for each in view.deployments if waits_long(each) or (each.backing_off and not view.in_flight)
    ]
    if not waiting:
        return []
    count = sum(each.backing_off for each in waiting)
    longest = duration_text(max(each.retry_seconds for each in waiting))
    return [f"{count:,} to be sent again {'in' if count == 1 else 'within'} {longest}"]


def waits_long(each: DeploymentState) -> bool:
    """Whether a request waits long enough before its retry to be mentioned."""
    return each.backing_off > 0 and each.retry_seconds >= LEAST_RETRY_SECONDS


def batch_counts(now: BatchesState) -> list[str]:
    """Return what is done for the batches, how many are where, and when the last one ends at the latest."""
    pieces = [f"{now.phase} batches" if now.phase != "waiting" else "waiting for batches"]
    if now.unsent:
        pieces.append(f"{now.unsent:,} to send")
    if now.running:
        pieces.append(f"{now.running:,} running with {count_text(now.rows, 'row')}, {now.rows_done:,} done")
    if now.ended:
        pieces.append(f"{now.ended:,} ended")
    if now.running:
        pieces.append(f"the oldest for {duration_text(now.oldest_seconds)}")
    if now.latest_end is not None:
        pieces.append(f"the last ends by {datetime.fromtimestamp(now.latest_end).astimezone():%a %H:%M}")
    return pieces


def failed_requests(view: View) -> list[str]:
    """Return how many requests failed for other reasons than the rate limit, and why."""
    causes = {cause: count for cause, count in view.statistics.retried.items() if cause != "rate_limited"}
    return [f"{count_text(sum(causes.values()), 'request')} failed ({counts_text(causes)})"] if causes else []


def unhealthy_deployments(view: View) -> list[str]:
    """Return the deployments that are not healthy."""
    pieces = ["stopping"] if view.pulse is not None and view.pulse.stopping else []
    unhealthy = [each for each in worst_first(view.deployments) if not is_healthy(each)]
    pieces += [f"{short_name(each.deployment)} {deployment_state(each)}" for each in unhealthy[:MOST_NAMED]]
    rest = Counter("paused" if each.state == "up" else each.state for each in unhealthy[MOST_NAMED:])
    return [*pieces, f"{counts_text(rest)} more"] if rest else pieces


def eta_parts(view: View) -> list[str]:
    """Return the ETA if it is known, or why it is not."""
    if view.pulse is None or view.pulse.stopping or view.batches is not None:
        return []
    if view.eta is None:
        up = any(each.state == "up" for each in view.deployments)
        return [] if up or view.total is None else ["no ETA while the service does not respond"]
    return [eta_text(view.eta)]


def eta_text(eta: Eta) -> str:
    """Return an ETA as precisely as it is known."""
    low = rough_duration_text(eta.low)
    if eta.high is None:
        return f"at least {low} left"
    high = rough_duration_text(eta.high)
    if eta.low and eta.high / eta.low > SAME_RATIO and low != high:
        return f"{low} to {high} left"
    likely = (eta.low + eta.high) / 2
    text = f"about {rough_duration_text(likely)} left"
    if likely < TIME_OF_DAY_SECONDS:
        return text
    then = datetime.now().astimezone() + timedelta(seconds=likely)
    return f"{text}, until {then:%H:%M}" if likely < 12 * 3600 else f"{text}, until {then:%a %H:%M}"


def costs_and_files(view: View) -> list[str]:
    """Return the cost so far and the number of finished files."""
    pieces = [] if view.cost is None else [f"cost {money_text(view.cost)}"]
    files = view.statistics.files_finished
    return [*pieces, f"{count_text(files, 'file')} done"] if files else pieces


def elapsed(view: View) -> str:
    """Return the time since the start."""
    return f"elapsed {duration_text(view.seconds)}"


def waiting_for(view: View) -> str:
    """Return what a run is waiting for, the most important reason first."""
    pulse = view.pulse
    if pulse is None:
        if not view.statistics.requests and not view.statistics.files_finished:
            return "reading rows: no request sent yet"
        return "reading rows" if view.reading else "saving completed rows"
    if pulse.unwritten and not view.in_flight:
        return f"waiting for the disk: {count_text(pulse.unwritten, 'part')} to write"
    if view.batches is not None:
        return {"planning": "reading rows", "collecting": "reading results"}.get(
            view.batches.phase, f"waiting for the service: {view.batches.phase}"
        )
    only_one = len(pulse.deployments) == 1
    reasons = []
    for each in worst_first(pulse.deployments):
        reason = blocked_by(each, "" if only_one else short_name(each.deployment, LONGEST_NAMED), view)
        if reason:
            reasons.append(reason)
    if view.in_flight:
        oldest = duration_text(pulse.oldest_seconds)
        reasons.append(f"for responses: {view.in_flight:,} in flight, the oldest for {oldest}")
    if not reasons:
        return "reading rows"
    more = len(reasons) - MOST_REASONS
    named = [*reasons[:MOST_REASONS], *([f"and {count_text(more, 'more reason')}"] if more > 0 else [])]
    return f"waiting {'; '.join(named)}"


def blocked_by(each: DeploymentState, name: str, view: View) -> str:
    """Return why no request is sent to a deployment, if so; its `name` is empty if it is the only one."""
    service = name or "the service"
    if each.state == "stopped":
        return ""
    if each.state == "down":
        probe = duration_text(each.probe_seconds)
        return f"for {service}, which does not respond{failure(each)}: next attempt in {probe}"
    if each.paused_seconds > 0:
        why = "refused a request (429)" if each.own_pause else "asked for a pause"
        return f"because {service} {why}: {duration_text(each.paused_seconds)} left"
    if each.for_quota:
        return f"for quota{f' of {name}' if name else ''}: {view.limited_by}"
    if waits_long(each) or (each.backing_off and not each.in_flight):
        left = f", {duration_text(each.retry_seconds)} left" if waits_long(each) else ""
        return f"to retry {service}: {count_text(each.backing_off, 'request')}{left}"
    return ""


def worst_first(deployments: tuple[DeploymentState, ...]) -> list[DeploymentState]:
    """Return deployments, first those that are not up, then those with the longest pause."""
    order = {"down": 0, "stopped": 1, "up": 2}
    return sorted(deployments, key=lambda each: (order.get(each.state, 2), -each.paused_seconds))


def is_healthy(each: DeploymentState) -> bool:
    """Whether a deployment is up and not paused."""
    return each.state == "up" and each.paused_seconds < 1


def deployment_state(each: DeploymentState) -> str:
    """Return the state of a deployment in a few words."""
    if each.state == "stopped":
        return f"stopped: no longer used{failure(each)}"
    if each.state == "down":
        down, probe = duration_text(each.failing_seconds), rough_duration_text(each.probe_seconds)
        return f"down for {down}{failure(each)}, next attempt in {probe}"
    if each.paused_seconds >= 1:
        by = "after a rate limit" if each.own_pause else "requested by the service"
        return f"paused {each.paused_seconds:.0f} s ({by})"
    return f"up, {each.in_flight:,} in flight"


def failure(each: DeploymentState) -> str:
    """Return a deployment's last failure in parentheses."""
    return f" ({code_text(each.last_failure)})" if each.last_failure else ""
