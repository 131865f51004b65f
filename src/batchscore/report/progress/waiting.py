"""What is a run waiting for at this moment?

Pure: a view in, words out. It names deployments and codes, never a row.
"""

from __future__ import annotations

from batchscore.errors import duration_text
from batchscore.report.progress.view import View
from batchscore.report.words import code_text, count_text, rough_duration_text, short_name
from batchscore.rows import DeploymentState

#: Greatest number of reasons that are named.
MOST_REASONS = 2

#: Names of deployments are shortened to this many characters.
LONGEST = 20


def waiting_for(view: View) -> str:
    """Return what a run is waiting for, the most important reason first."""
    pulse = view.pulse
    if pulse is None:
        if not view.statistics.requests and not view.statistics.files_finished:
            return "reading rows: no request sent yet"
        return "reading rows" if view.reading else "saving completed rows"
    if pulse.unwritten and not view.in_flight:
        return f"waiting for the disk: {count_text(pulse.unwritten, 'part')} to write"
    only_one = len(pulse.deployments) == 1
    reasons = []
    for each in worst_first(pulse.deployments):
        reason = blocked_by(each, "" if only_one else short_name(each.deployment, LONGEST), view)
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
        return f"because {service} asked for a pause: {duration_text(each.paused_seconds)} left"
    if each.for_quota:
        return f"for quota{f' of {name}' if name else ''}: {view.limited_by}"
    if each.backing_off and not each.in_flight:
        return f"to retry {service}: {count_text(each.backing_off, 'request')}"
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
        return f"paused {each.paused_seconds:.0f} s (requested by the service)"
    return f"up, {each.in_flight:,} in flight"


def failure(each: DeploymentState) -> str:
    """Return a deployment's last failure in parentheses."""
    return f" ({code_text(each.last_failure)})" if each.last_failure else ""
