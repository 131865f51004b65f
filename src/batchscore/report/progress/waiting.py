"""Why is a run waiting, right now?

Pure: a view in, words out. It names deployments and codes, never a row.
"""

from __future__ import annotations

from batchscore.report.progress.view import View
from batchscore.report.words import clock, counted, roughly, short, worded
from batchscore.rows import DeploymentState

#: So many reasons are named.
MOST_REASONS = 2

#: Names are cut to so many characters.
LONGEST = 20


def waiting(view: View) -> str:
    """Return what a run waits for at this moment, the greatest hindrance first."""
    pulse = view.pulse
    if pulse is None:
        if not view.statistics.requests and not view.statistics.files_finished:
            return "reading: nothing has been asked yet"
        return "reading rows" if view.reading else "writing what was answered"
    if pulse.unwritten and not view.in_flight:
        return f"waiting for the disk: {counted(pulse.unwritten, 'part')} to be written"
    alone = len(pulse.deployments) == 1
    named = [
        (each, "" if alone else short(each.deployment, LONGEST)) for each in worst_first(pulse.deployments)
    ]
    reasons = [reason for each, name in named if (reason := held_back(each, name, view))]
    answers = f"for answers: {view.in_flight:,} in flight, the oldest for {clock(pulse.oldest_seconds)}"
    if view.in_flight:
        reasons.append(answers)
    if not reasons:
        return "reading rows"
    more = len(reasons) - MOST_REASONS
    said = [*reasons[:MOST_REASONS], *([f"and {counted(more, 'more reason')}"] if more > 0 else [])]
    return f"waiting {'; '.join(said)}"


def held_back(each: DeploymentState, name: str, view: View) -> str:
    """Return what keeps a deployment from being asked, if anything; no `name` where it is the only one."""
    service = name or "the service"
    if each.state == "stopped":
        return ""
    if each.state == "down":
        failure = f" ({worded(each.last_failure)})" if each.last_failure else ""
        return f"for {service}, which does not answer{failure}: asked again in {clock(each.probe_seconds)}"
    if each.paused_seconds > 0:
        return f"as {service} asked, for {clock(each.paused_seconds)} more"
    if each.for_quota:
        return f"for quota{f' of {name}' if name else ''}: {view.limited_by}"
    if each.backing_off and not each.in_flight:
        return f"to ask {service} again: {counted(each.backing_off, 'request')}"
    return ""


def worst_first(deployments: tuple[DeploymentState, ...]) -> list[DeploymentState]:
    """Return deployments, those that are not up first, then those that pause longest."""
    order = {"down": 0, "stopped": 1, "up": 2}
    return sorted(deployments, key=lambda each: (order.get(each.state, 2), -each.paused_seconds))


def standing_of(each: DeploymentState) -> str:
    """Return how a deployment stands, in a few words."""
    if each.state == "stopped":
        reason = f" ({worded(each.last_failure)})" if each.last_failure else ""
        return f"stopped: not used any more{reason}"
    if each.state == "down":
        reason = f" ({worded(each.last_failure)})" if each.last_failure else ""
        return f"down for {clock(each.failing_seconds)}{reason}, asked again in {roughly(each.probe_seconds)}"
    if each.paused_seconds >= 1:
        return f"paused {each.paused_seconds:.0f} s (asked by the service)"
    return f"up, {each.in_flight:,} in flight"
