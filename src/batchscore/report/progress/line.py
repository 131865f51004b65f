"""What is a run's state in one plain line, for a log?

Pure: a view in, text out. The panel says the same in the same words.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from batchscore.report.progress.eta import ABOUT, Eta
from batchscore.report.progress.view import View
from batchscore.report.progress.waiting import standing_of, waiting, worst_first
from batchscore.report.words import clock, counted, money, named, percent, rate, roughly, short

#: From so many seconds on the time of day is told, too.
TOLD_FROM_SECONDS = 1200.0

#: So many deployments that are not as they should be are named.
MOST_NAMED = 3


def describe(view: View, *, verbose: bool = False) -> str:
    """Return the state of things in one line."""
    pieces = [*rows_of(view), *speeds_of(view), *traffic_of(view), *lost_of(view), *troubles_of(view)]
    pieces += [*end_of(view), *others_of(view), clock(view.seconds)]
    if verbose:
        pieces.append(waiting(view))
    return " · ".join(pieces)


def rows_of(view: View, *, share: bool = True) -> list[str]:
    """Return how many rows are done, failed and left; `share`: also as a part of all."""
    now, total = view.statistics, view.total
    if total is None:
        pieces = [counted(view.rows, "row")]
    else:
        about = "" if view.exact else "about "
        part = f" ({percent(view.rows, total)})" if share else ""
        pieces = [f"{view.rows:,} of {about}{counted(total, 'row')}{part}"]
    pieces.append(f"{now.failed:,} failed")
    if total is not None:
        pieces.append(f"{total - view.rows:,} left")
    if now.empty:
        pieces.append(f"{now.empty:,} empty")
    if now.known:
        pieces.append(f"{now.known:,} from before")
    return pieces


def speeds_of(view: View) -> list[str]:
    """Return what was done a minute of late, beside the limits."""
    now = view.per_minute
    if now is None:
        return []
    return [
        f"{rate(now.rows)} rows/min",
        against(now.tokens, view.tpm, "tokens/min"),
        against(now.requests, view.rpm, "requests/min"),
    ]


def against(amount: float, limit: float | None, unit: str) -> str:
    """Return a rate beside its limit."""
    if limit is None:
        return f"{rate(amount)} {unit}"
    return f"{rate(amount)} of {rate(limit)} {unit} ({percent(amount, limit)})"


def traffic_of(view: View) -> list[str]:
    """Return what was sent, what of it is under way, and what the rate limit refused."""
    now = view.statistics
    pieces = [counted(now.requests, "request"), f"{view.in_flight:,} in flight"]
    limited = now.retried.get("rate_limited", 0)
    if limited:
        pieces.append(f"{limited:,} answered 429")
    return pieces


def lost_of(view: View) -> list[str]:
    """Return what came to nothing otherwise, and why."""
    causes = {cause: count for cause, count in view.statistics.retried.items() if cause != "rate_limited"}
    return [f"{sum(causes.values()):,} came to nothing ({named(causes)})"] if causes else []


def troubles_of(view: View) -> list[str]:
    """Return the deployments that are not simply up."""
    pieces = []
    if view.pulse is not None and view.pulse.stopping:
        pieces.append("stopping")
    troubled = [
        each for each in worst_first(view.deployments) if each.state != "up" or each.paused_seconds >= 1
    ]
    pieces += [f"{short(each.deployment)} {standing_of(each)}" for each in troubled[:MOST_NAMED]]
    rest = Counter("paused" if each.state == "up" else each.state for each in troubled[MOST_NAMED:])
    if rest:
        pieces.append(f"{named(rest)} besides")
    return pieces


def end_of(view: View) -> list[str]:
    """Return when it ends, as far as that is known."""
    if view.pulse is None or view.pulse.stopping:
        return []
    if view.eta is None:
        up = any(each.state == "up" for each in view.deployments)
        return [] if up or view.total is None else ["end not known while the service does not answer"]
    return [ending(view.eta)]


def ending(eta: Eta) -> str:
    """Return an end in words, as sure as it is."""
    if eta.high is None:
        return f"at least {roughly(eta.low)} left"
    likely = (eta.low + eta.high) / 2
    if eta.low and eta.high / eta.low > ABOUT and roughly(eta.low) != roughly(eta.high):
        return f"{roughly(eta.low)} to {roughly(eta.high)} left"
    if likely < TOLD_FROM_SECONDS:
        return f"about {roughly(likely)} left"
    then = datetime.now().astimezone() + timedelta(seconds=likely)
    day = "" if likely < 12 * 3600 else f" {then:%a}"
    return f"about {roughly(likely)} left, until{day} {then:%H:%M}"


def others_of(view: View) -> list[str]:
    """Return money and files."""
    pieces = []
    if view.cost is not None:
        pieces.append(f"spent {money(view.cost)}")
    if view.statistics.files_finished:
        pieces.append(f"{counted(view.statistics.files_finished, 'file')} done")
    return pieces
