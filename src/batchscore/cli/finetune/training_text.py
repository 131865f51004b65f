"""How do a training job and its results look in a terminal, and as JSON?

Messages of the service are shown, with what a terminal would obey made visible. They are kept nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from batchscore.cli.finetune.data_options import Estimate
from batchscore.cli.finetune.data_text import broken_lines, file_line, limit_json, limit_line, plan_lines
from batchscore.cli.say import aligned, say, say_json
from batchscore.errors import ExitCode, duration_text, visible
from batchscore.finetune.service.dialects import advice_for, is_of_files
from batchscore.finetune.state import JobRecord, TrainingState
from batchscore.finetune.training.follow import JobLook
from batchscore.finetune.training.readiness import ServiceFacts
from batchscore.finetune.training.results import losses_at_end
from batchscore.finetune.training.results_page import RESULTS_PAGE, RESULTS_TABLE, TrainingResults, figure
from batchscore.report.words import moment_text, money_text
from batchscore.settings.secrets import mask_text

#: Metrics of an event that a line shows, and their words.
METRICS = (
    ("train_loss", "training loss"),
    ("valid_loss", "validation loss"),
    ("full_valid_loss", "whole validation file"),
    ("train_mean_token_accuracy", "token accuracy"),
    ("valid_mean_token_accuracy", "validation token accuracy"),
    ("train_mean_reward", "reward"),
)


#: What is said of a model that `clean` has deleted.
REMOVED = "The model was deleted at the service. To train once more, prepare a new folder."


def estimate_text(found: Estimate) -> str:
    """Return the estimate, and the errors of the files if there are any."""
    lines = plan_lines(found)
    for each in found.files:
        if each.errors:
            lines += [file_line(each, found.counter), *broken_lines(each)]
    return "\n".join(lines)


def exit_code_of(found: JobLook) -> ExitCode:
    """Return the exit code of a command that looked at a job."""
    if not found.job.ended:
        return ExitCode.CONTINUE_LATER
    return ExitCode.DONE if found.job.status == "succeeded" else ExitCode.ACTION_NEEDED


def started_text(state: TrainingState, command: Callable[..., str]) -> str:
    """Return what was started, and how to follow it."""
    job = state.job
    following = f"To follow it, run: {command('watch')}"
    if job.status == "failed":
        following = f"To see why, run: {command('status')}"
    elif job.status == "cancelled":
        following = f"To train again, run: {command('start', '--again')}"
    elif state.is_removed:
        following = REMOVED
    elif job.status == "succeeded":
        following = f"To draw its results, run: {command('results')}"
    return f"Job {job.id} of {job.base_model}: {job.status}.\n{following}"


def look_text(
    found: JobLook, command: Callable[..., str], now: float, deployment: Sequence[tuple[str, str]]
) -> str:
    """Return a job as it is now, with its last events and the facts of its model's deployment."""
    job = found.job
    facts = [
        ("job", job.id),
        ("status", status_text(found, now)),
        ("base model", job.model or found.state.job.base_model),
    ]
    facts += [("trained model", visible(job.trained_model))] if job.trained_model else []
    facts += [("trained tokens", trained_text(found.state.job))] if job.trained_tokens else []
    if job.settings:
        facts.append(("settings", ", ".join(f"{key} {value}" for key, value in job.settings.items())))
    if job.estimated and not job.ended:
        facts.append(("estimated end", f"{moment_text(job.estimated)}, by the service: often too early"))
    facts += deployment
    lines = aligned([(name, visible(text)) for name, text in facts])
    if found.events:
        lines += ["last events:", *(f"  {event_line(each)}" for each in found.events)]
    return "\n".join([*lines, *next_lines(found, command, in_use=bool(deployment))])


def trained_text(job: JobRecord) -> str:
    """Return how many tokens were trained, against the estimate, and what they cost."""
    text = f"{job.trained_tokens:,}"
    if job.expected_tokens:
        share = job.trained_tokens / job.expected_tokens - 1
        than = "as estimated" if abs(share) < 0.005 else f"{share:+.0%} against the estimate"
        text += f" ({than.replace('%', ' %')})"
    if job.cost is None or job.expected_cost is None:
        return text
    return f"{text}, cost {money_text(job.cost)} (estimate {money_text(job.expected_cost)})"


def status_text(found: JobLook, now: float) -> str:
    """Return the state of a job with how long it has been at the service."""
    job = found.job
    if job.ended or job.created is None:
        return job.status
    return f"{job.status}, created {duration_text(max(0.0, now - job.created))} ago"


def event_line(event: Any) -> str:
    """Return an event in a line: its time, and its metrics or the service's message."""
    at = "" if event.created is None else f"{moment_text(event.created)[11:19]} "
    metrics = event.metrics
    if "step" in metrics and len(metrics) > 1:
        of = f" of {metrics['total_steps']:,.0f}" if metrics.get("total_steps") else ""
        # -1 is Azure's word for no value.
        shown = [f"{words} {metrics[name]:.4g}" for name, words in METRICS if metrics.get(name, -1) != -1]
        return f"{at}step {metrics['step']:,.0f}{of}: {', '.join(shown) or 'no measurement'}"
    level = "" if event.level in {"", "info"} else f"{event.level}: "
    return f"{at}{level}{visible(mask_text(event.message))}"


def next_lines(found: JobLook, command: Callable[..., str], *, in_use: bool = False) -> Iterator[str]:
    """Yield what to do next; `in_use`: the model has a deployment."""
    job = found.job
    if found.state.doubles:
        others = ", ".join(found.state.doubles)
        yield f"Another job of this folder runs, and is billed, too: {others}."
        yield f"To cancel it, run: {command('start')}"
    if found.state.is_removed:
        yield REMOVED
    elif job.status == "succeeded":
        if found.state.results is None:
            yield f"To draw the results, run: {command('results')}"
        elif not in_use:
            yield f"To use the model, run: {command('deploy')}"
    elif job.ended:
        if job.error_code:
            advice = advice_for(job.error_code, job.error_words, command("check"))
            words = f": {visible(mask_text(job.error_words))}" if job.error_words else ""
            yield f"The service says: {job.error_code}{words}"
            yield from [advice] if advice else []
        if is_of_files(job.error_code, job.error_words):
            yield "Change these rows of the input, and prepare it into a new folder: this one has its job."
        else:
            yield f"To train again, run: {command('start', '--again')}"
    elif job.status == "paused":
        yield f"To continue the training, run: {command('resume')}"
    else:
        yield f"To follow it, run: {command('watch')}"


def ended_text(found: JobLook, command: Callable[..., str]) -> str:
    """Return how a job is, after its events were shown, and what to do next."""
    job = found.job
    model = f" The trained model is {visible(job.trained_model)}." if job.trained_model else ""
    tokens = f" Trained tokens: {trained_text(found.state.job)}." if job.trained_tokens else ""
    return "\n".join([f"Job {job.id}: {job.status}.{model}{tokens}", *next_lines(found, command)])


def interrupted_text(command: Callable[..., str]) -> str:
    """Return what a user should know who has interrupted the creation of a job."""
    return (
        "Interrupted. The job may have been created nevertheless. To look for it and to continue, run: "
        f"{command('start')}"
    )


class Watched:
    """What a watch prints: each message, and of many metrics at a time only the last ones."""

    #: Lines of metrics that one look prints.
    MOST_METRICS = 5

    def __init__(self, command: Callable[..., str], *, as_json: bool) -> None:
        self._command = command
        self._as_json = as_json
        self._status = ""

    def hear(self, found: JobLook) -> None:
        """Print what is new."""
        if self._as_json:
            for each in found.events:
                event = {"event": "metrics" if each.metrics else "message", **asdict(each)}
                say_json(event | {"message": mask_text(each.message)})
            return
        if found.job.status != self._status:
            self._status = found.job.status
            say(f"{found.job.id}: {self._status}")
        metrics = [each for each in found.events if each.metrics]
        dropped = {each.id for each in metrics[: -self.MOST_METRICS]}
        for each in found.events:
            if each.id not in dropped:
                say(event_line(each))

    def left_text(self) -> str:
        """Return what a user should know who has left the watch."""
        return (
            "Stopped watching. The job continues at the service. To continue watching, run: "
            f"{self._command('watch')}"
        )


def state_json(state: TrainingState, folder: Path) -> dict[str, Any]:
    """Return what is recorded of a training as JSON."""
    job = state.job
    return {
        "folder": str(folder),
        "run": state.run,
        "endpoint": state.endpoint,
        "address": state.address or None,
        "job": job.id,
        "status": job.status,
        "base_model": job.base_model,
        "trained_model": job.model or None,
        "trained_tokens": job.trained_tokens or None,
        "cost": job.cost,
        "estimated_tokens": job.expected_tokens or None,
        "estimated_cost": job.expected_cost,
        "doubles": list(state.doubles),
        "error": job.error or None,
        "files": {part: file.file_id for part, file in state.files.items()},
        "checkpoint": state.checkpoint or None,
    }


def look_json(found: JobLook, folder: Path) -> dict[str, Any]:
    """Return a job as it is now as JSON."""
    job = found.job
    return {
        **state_json(found.state, folder),
        "created_at": job.created,
        "finished_at": job.finished,
        "estimated_finish": job.estimated,
        "settings": dict(job.settings),
        "events": [
            {**asdict(each), "message": mask_text(each.message), "metrics": dict(each.metrics)}
            for each in found.events
        ],
    }


def results_text(
    found: JobLook, drawn: TrainingResults | None, folder: str, command: Callable[..., str]
) -> str:
    """Return where the results are, and which model is proposed."""
    job = found.job
    if drawn is None:
        yet = "" if job.ended else " yet"
        return "\n".join(
            [f"Job {job.id}: {job.status}. It has no results{yet}.", *next_lines(found, command)]
        )
    table = drawn.table
    last = table.steps[-1]
    losses = [f"{words} {figure(value)} ({what})" for words, value, what in losses_at_end(table, drawn.ends)]
    lines = [f"Job {job.id}: {job.status}, {last:,} steps. {', '.join(losses).capitalize()}".rstrip()]
    if job.trained_tokens:
        lines.append(f"Trained tokens: {trained_text(found.state.job)}")
    if drawn.proposal is not None:
        what = "the last one" if drawn.proposal.is_last else f"the checkpoint of step {drawn.proposal.step:,}"
        lines.append(f"Proposed model, {what}: {visible(drawn.proposal.model)}")
        lines.append(f"  {drawn.proposal.why}")
    written = [RESULTS_PAGE] + ([RESULTS_TABLE] if found.state.results is not None else [])
    lines.append(f"Written to {folder.rstrip('/')}/: {', '.join(written)}")
    if job.status == "succeeded" and not found.state.is_removed:
        return "\n".join([*lines, f"To use the model, run: {command('deploy')}"])
    if job.ended and drawn.checkpoints and not found.state.is_removed:
        # Only the user can say whether a model that was not trained to its end is worth it.
        kept = drawn.checkpoints[-1]
        deploy = command("deploy", "--trained-model", kept.model)
        lines.append(
            f"Its last checkpoint is that of step {kept.step:,}. To use it nevertheless, run: {deploy}"
        )
    return "\n".join([*lines, *next_lines(found, command)])


def results_json(found: JobLook, drawn: TrainingResults | None, folder: Path) -> dict[str, Any]:
    """Return the results as JSON: the proposal, the ends of epochs, and the last value of each column.

    A number that is missing is not a number here, and null in JSON.
    """
    shown: dict[str, Any] = {**look_json(found, folder), "results": None}
    if drawn is None:
        return shown
    best = drawn.proposal
    shown["results"] = {
        "steps": drawn.table.steps[-1],
        "columns": {
            name: points[-1][1] for name in drawn.table.columns if (points := drawn.table.points(name))
        },
        "epochs": [
            {"epoch": each.epoch, "step": each.step}
            | {name: getattr(each, name) for name in ("train_loss", "valid_loss", "gap")}
            for each in drawn.ends
        ],
        "checkpoints": [{"step": each.step, "model": each.model} for each in drawn.checkpoints],
        "proposal": None
        if best is None
        else {name: getattr(best, name) for name in ("step", "model", "is_last", "why", "measure")},
    }
    return shown


def service_lines(found: ServiceFacts) -> list[str]:
    """Return what a service says of a model that may be trained."""
    lines = [f"{name}: {text}" for name, text in found.facts]
    lines += map(limit_line, found.limits)
    lines += [f"error: {text}" for text in found.problems]
    return lines + [f"warning: {text}" for text in found.warnings]


def service_json(found: ServiceFacts) -> dict[str, Any]:
    """Return what a service says of a model as JSON. Times are seconds since the epoch."""
    model = found.model
    return {
        "name": found.service,
        "model": None if model is None else asdict(model),
        "limits": list(map(limit_json, found.limits)),
        "problems": list(found.problems),
        "warnings": list(found.warnings),
    }
