"""How do a job's results become `results.html`, one file that uses no network?

Pure. It holds figures, names of models and settings, but no text of an example and no words of a service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Any

from batchscore.errors import count_text, duration_text
from batchscore.finetune.state import TrainingState
from batchscore.finetune.training.results import (
    MEASURES,
    WINDOW,
    EpochEnd,
    Proposal,
    ResultTable,
    gap_text,
    losses_at_end,
)
from batchscore.provider.job_object import ENDED, SUCCEEDED, JobCheckpoint
from batchscore.report.page.charts import Chart, series
from batchscore.report.page.frame import Frame, cells, document, place_charts
from batchscore.report.page.markup import NOTHING, Html, concat, element, name, table
from batchscore.report.words import code_text, large_count_text, moment_text, money_text
from batchscore.version import VERSION

#: The page's name, and that of the table beside it.
RESULTS_PAGE, RESULTS_TABLE = "results.html", "results.csv"

#: Points of a curve that are drawn; of longer ones, means of neighbours.
MOST_POINTS = 600
#: Ends of epochs that are drawn; more would hide the curves.
MOST_LINES = 12
#: Steps of the moving mean.
SMOOTH = 15


@dataclass(frozen=True, slots=True)
class TrainingResults:
    """All that is known of a job's results. `summary` is the content of prepare.json."""

    state: TrainingState
    table: ResultTable
    ends: Sequence[EpochEnd]
    checkpoints: Sequence[JobCheckpoint]
    proposal: Proposal | None
    settings: Mapping[str, Any]
    summary: Mapping[str, Any]


def page(found: TrainingResults, folder: str) -> bytes:
    """Return the page, UTF-8."""
    drawn: list[dict[str, Any]] = []
    charts = [chart for chart in all_charts(found) if chart is not None]
    sections: list[Html] = [
        verdict(found),
        findings(found),
        figures(found),
        *([element("h2", "Curves"), place_charts(charts, drawn)] if charts else []),
        element("h2", "Epochs and checkpoints"),
        epoch_table(found),
        checkpoint_table(found),
        column_table(found.table),
        element("h2", "How it was trained"),
        settings_table(found),
    ]
    footer = (
        f"Made by batchscore {VERSION}. Contains names of models and settings, but no text of an example."
    )
    frame = Frame(f"{folder}: training results", "batchscore finetune results", folder, footer)
    return document(frame, Html(""), element("section", *sections, class_="task"), drawn)


def verdict(found: TrainingResults) -> Html:
    """Return the first block: how the job ended, and which model to use."""
    job, best = found.state.job, found.proposal
    facts = f"{job.base_model} · {count_text(found.state.training.examples, 'example')}"
    kind = "good" if job.status == SUCCEEDED else "bad" if job.status in ENDED else "look"
    title = f"The job {job.status}" if job.status in {"succeeded", "failed"} else f"The job is {job.status}"
    more = Html("") if best is None else concat(["Use ", name(best.model), f". {best.why}"])
    return element(
        "div",
        element("p", name(facts), class_="kind"),
        element("h1", title),
        element("p", more),
        class_=f"verdict {kind}",
    )


def findings(found: TrainingResults) -> Html:
    """Return what the user should look at."""
    shown = []
    if found.proposal is not None and not found.proposal.is_last:
        shown.append(("look", f"An earlier checkpoint is better: that of step {found.proposal.step:,}."))
    kind, text = gap_text(found.ends)
    if text:
        shown.append((kind, text))
    if not any(map(found.table.has, (measure for measure, _, _ in MEASURES))):
        shown.append(("look", "Nothing was measured on a validation file: overfitting cannot be seen."))
    if found.table.skipped:
        shown.append(("look", f"{count_text(found.table.skipped, 'line')} of the results without a step"))
    kept = {each.step for each in found.checkpoints}
    losses = [each for each in found.ends if not isnan(each.valid_loss)]
    lowest = min(losses, key=lambda each: each.valid_loss, default=None)
    if lowest is not None and kept and lowest.step < min(kept):
        text = f"The validation loss was lowest at step {lowest.step:,}, whose checkpoint was not kept."
        shown.append(("look", text))
    return element("ul", *(element("li", text, class_=kind) for kind, text in shown), class_="findings")


def figures(found: TrainingResults) -> Html:
    """Return the key figures."""
    job, last = found.state.job, found.table.steps[-1] if found.table.steps else 0
    shown = [("steps", f"{last:,}", f"{count_text(len(found.ends), 'epoch')}" if found.ends else "")]
    tokens = found.table.points("elapsed_tokens")
    if job.trained_tokens:
        more = "as billed"
        if job.expected_tokens:
            more += f"; estimate {large_count_text(job.expected_tokens)}"
        shown.append(("trained tokens", large_count_text(job.trained_tokens), more))
        if job.cost is not None and job.expected_cost is not None:
            shown.append(("cost", money_text(job.cost), f"estimate {money_text(job.expected_cost)}"))
    elif tokens:
        shown.append(("trained tokens", large_count_text(tokens[-1][1]), "so far"))
    losses = losses_at_end(found.table, found.ends)
    shown += [(words, f"{value:.4g}", what) for words, value, what in losses]
    sample = (found.summary.get("parts") or {}).get("train", {}).get("tokens") or {}
    if sample:
        more = f"p95 {sample['p95']:,}, longest {sample['longest']:,}"
        shown.append(("tokens per example", f"{sample['median']:,}", f"median; {more}"))
    if job.finished_at and job.created_at:
        shown.append(("duration", duration_text(job.finished_at - job.created_at), "with the queue"))
    return cells(shown)


def all_charts(found: TrainingResults) -> list[Chart | None]:
    """Return the charts: loss, accuracy, reward, the gap, tokens, and what else there is."""
    of = found.table
    return [
        curves(found, "Loss", "loss", ("train_loss", "valid_loss", "full_valid_loss")),
        curves(
            found,
            "Token accuracy",
            "share of tokens",
            ("train_token_accuracy", "valid_token_accuracy", "full_valid_token_accuracy"),
        ),
        curves(
            found,
            "Sequence accuracy",
            "share of examples",
            ("train_sequence_accuracy", "valid_sequence_accuracy"),
        ),
        curves(found, "Reward", "mean reward", ("train_reward", "valid_reward", "full_valid_reward")),
        gap_chart(found.ends),
        tokens_chart(of),
    ]


def label_of(column: str) -> tuple[str, str]:
    """Return the label and the colour of a column's curve."""
    if column.startswith("train_"):
        return "training", "c1"
    return ("whole validation file", "limit") if column.startswith("full_") else ("validation", "c2")


def curves(found: TrainingResults, title: str, unit: str, columns: Sequence[str]) -> Chart | None:
    """Return the chart of some columns over the steps: training smoothed, and pale as it was measured."""
    of = found.table
    shown = [column for column in columns if of.has(column)]
    if not shown or len(of.steps) < 2:
        return None
    places = thinned(len(of.steps))
    steps = [of.steps[span[-1]] for span in places]
    lines: list[dict[str, Any]] = []
    for column in shown:
        label, colour = label_of(column)
        values = of.columns[column]
        means = [mean([values[place] for place in span]) for span in places]
        if column.startswith("train_"):
            if len(of.points(column)) > 2 * SMOOTH:
                raw = {"type": "line", "joined": True, "order": 3}
                span = "each step" if len(places) == len(of.steps) else f"mean of {len(places[0])} steps"
                lines.append(series(f"{label}, {span}", means, "c8", **raw))
                means = smoothed(means)
                label = f"{label}, moving mean"
            lines.append(series(label, means, colour, type="line", joined=True))
        elif column.startswith("full_"):
            lines.append(series(label, means, colour, type="line", dots=True, order=-1))
        else:
            lines.append(series(label, means, colour, type="line", joined=True))
    ends = ", ".join(f"{label_of(column)[0]} {at_end(of, column):.3g}" for column in shown)
    says = f"At the end: {ends}."
    says += " Dashed lines are ends of epochs." if 0 < len(found.ends) <= MOST_LINES else ""
    says += " Solid lines are checkpoints that were kept." if found.checkpoints else ""
    spec = {
        "type": "line",
        "labels": [f"{step:,}" for step in steps],
        "series": lines,
        "x": "step",
        "y": {"title": unit, "unit": "", "digits": 4},
        # A curve that rises to the top would run through the labels.
        "marks": [each if unit == "loss" else {**each, "label": ""} for each in marks(found, steps)],
    }
    return Chart(f"{title} over steps", says, spec, shape="wide")


def at_end(of: ResultTable, column: str) -> float:
    """Return the last level of a column: a mean, or what was measured of the whole validation file."""
    return of.points(column)[-1][1] if column.startswith("full_") else of.level(column, of.steps[-1])


def marks(found: TrainingResults, steps: Sequence[int]) -> list[dict[str, Any]]:
    """Return the lines at the ends of epochs and at the checkpoints that were kept."""
    shown = []
    if len(found.ends) <= MOST_LINES:
        shown = [
            {"at": place_of(each.step, steps), "label": f"epoch {each.epoch}", "dashed": True}
            for each in found.ends
        ]
    for each in found.checkpoints:
        is_best = found.proposal is not None and found.proposal.step == each.step
        label = "proposed" if is_best else ""
        shown.append({"at": place_of(each.step, steps), "label": label, "dashed": False})
    return shown


def place_of(step: int, steps: Sequence[int]) -> int:
    """Return the place of a step among those that are drawn."""
    return next((place for place, each in enumerate(steps) if each >= step), len(steps) - 1)


def thinned(count: int) -> list[range]:
    """Return spans of neighbours, no more than can be drawn."""
    width = -(-count // MOST_POINTS)
    return [range(start, min(start + width, count)) for start in range(0, count, width)]


def mean(values: Sequence[float]) -> float:
    """Return the mean of the numbers, `nan` without any."""
    known = [value for value in values if not isnan(value)]
    return sum(known) / len(known) if known else nan


def smoothed(values: Sequence[float]) -> list[float]:
    """Return the moving mean around each place."""
    half = SMOOTH // 2
    return [mean(values[max(0, place - half) : place + half + 1]) for place in range(len(values))]


def gap_chart(ends: Sequence[EpochEnd]) -> Chart | None:
    """Return the chart of the generalisation gap by epoch."""
    known = [each for each in ends if not isnan(each.gap)]
    if len(known) < 2:
        return None
    spec = {
        "type": "bar",
        "labels": [f"epoch {each.epoch}" for each in known],
        "series": [series("validation loss / training loss", [each.gap for each in known], "c5")],
        "apart": 0.6,
        "x": "end of the epoch",
        "y": {"title": "ratio", "unit": ""},
    }
    says = "1 is equal. Above 1.5 watch for overfitting, above 2 the model is overfit."
    return Chart("Generalisation gap", says, spec)


def tokens_chart(of: ResultTable) -> Chart | None:
    """Return the chart of tokens per example, if the results count tokens and examples."""
    tokens, examples = dict(of.points("elapsed_tokens")), dict(of.points("elapsed_examples"))
    both = [step for step in of.steps if step in tokens and examples.get(step)]
    if len(both) < 2:
        return None
    both = [both[span[-1]] for span in thinned(len(both))]
    spec = {
        "type": "line",
        "labels": [f"{step:,}" for step in both],
        "series": [
            series("tokens per example", [tokens[each] / examples[each] for each in both], "c3", type="line")
        ],
        "x": "step",
        "y": {"title": "tokens per example", "unit": "tokens"},
    }
    says = f"{large_count_text(tokens[both[-1]])} tokens of {large_count_text(examples[both[-1]])} examples."
    return Chart("Tokens per example, mean so far", says, spec)


def epoch_table(found: TrainingResults) -> Html:
    """Return the ends of the epochs."""
    lines = [
        (each.epoch, each.step, *(figure(value) for value in (each.train_loss, each.valid_loss, each.gap)))
        for each in found.ends
    ]
    title = f"Ends of epochs. Losses of batches are means of the last {WINDOW} measurements"
    return table(title, "epoch:n, step:n, training loss:n, validation loss:n, gap:n", lines)


def figure(value: float) -> str:
    """Return a measurement with the digits that matter."""
    if isnan(value):
        return NOTHING
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def checkpoint_table(found: TrainingResults) -> Html:
    """Return the models that can be used."""
    best = found.proposal
    if best is None:
        kept = [(name(each.model), each.step) for each in found.checkpoints]
        return table("Checkpoints", "model, step:n", kept)
    shown = best.candidates or ()
    lines = [
        (name(each.model), each.step, figure(each.value), "proposed" if each.step == best.step else NOTHING)
        for each in shown
    ]
    if not lines:
        lines = [(name(best.model), best.step, NOTHING, "proposed")]
    measure = next((words for name, words, _ in MEASURES if name == best.measure), "measure")
    return table("Models that can be used", f"model, step:n, {measure}:n, choice", lines)


def column_table(of: ResultTable) -> Html:
    """Return all columns of the results with their range."""
    lines = []
    for column in of.columns:
        values = [value for _, value in of.points(column)]
        if values:
            shown = (values[0], min(values), max(values), values[-1])
            lines.append((name(column), len(values), *map(figure, shown)))
    heads = "column, values:n, first:n, lowest:n, highest:n, last:n"
    return table("Columns of the results", heads, lines)


def settings_table(found: TrainingResults) -> Html:
    """Return how the job was made."""
    state, job = found.state, found.state.job
    lines: list[Sequence[Any]] = [
        ("base model", name(job.base_model)),
        ("job", name(job.id)),
        ("service", name(state.shown_endpoint)),
        *((code_text(key.removeprefix("n_")), name(str(value))) for key, value in found.settings.items()),
        ("training file", f"{count_text(state.training.examples, 'example')}, {state.training.digest}"),
    ]
    if state.validation is not None:
        examples = count_text(state.validation.examples, "example")
        lines.append(("validation file", f"{examples}, {state.validation.digest}"))
    if job.created_at:
        lines.append(("created", moment_text(job.created_at)))
    return table("Settings", "setting, value:l", lines)
