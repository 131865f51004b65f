"""How is a run's state shown in one plain line, for a log?

Pure: a view in, text out. The panel uses the same words.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from batchscore.errors import duration_text
from batchscore.report.progress.eta import SAME_RATIO, Eta
from batchscore.report.progress.view import View
from batchscore.report.progress.waiting import deployment_state, is_healthy, waiting_for, worst_first
from batchscore.report.words import (
    count_text,
    counts_text,
    money_text,
    percent_text,
    rate_text,
    rough_duration_text,
    short_name,
)

#: An ETA is also given as a time of day if it is at least this many seconds away.
TIME_OF_DAY_SECONDS = 1200.0

#: Greatest number of unhealthy deployments that are named.
MOST_NAMED = 3


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
        pieces.append(f"{now.known:,} from earlier runs")
    return pieces


def speeds(view: View) -> list[str]:
    """Return the recent rates per minute, with their limits."""
    now = view.per_minute
    if now is None:
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
    """Return how many requests were sent, are in flight, and were refused by the rate limit."""
    now = view.statistics
    pieces = [count_text(now.requests, "request"), f"{view.in_flight:,} in flight"]
    limited = now.retried.get("rate_limited", 0)
    return [*pieces, f"{limited:,} rate-limited"] if limited else pieces


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
    if view.pulse is None or view.pulse.stopping:
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
