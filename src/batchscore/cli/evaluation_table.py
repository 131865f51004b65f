"""How is an evaluation shown in a terminal?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from batchscore.errors import count_text
from batchscore.evaluate.evaluation import Evaluation, ModelResult
from batchscore.evaluate.figures import Figure
from batchscore.evaluate.page.make import detectable_text
from batchscore.evaluate.page.parts import (
    gate_notes,
    gate_text,
    interval_text,
    number_text,
    p_text,
    value_text,
)
from batchscore.report.words import json_safe, money_text

#: How much of an answer without a label is shown, and how many of them.
_SHOWN_CHARACTERS = 70
_MOST_TEXTS = 5

#: Slices beyond these are in metrics.json only.
_MOST_SLICES = 30


def evaluation_text(evaluation: Evaluation) -> str:
    """Return the result as text."""
    task = evaluation.task.name + (" (guessed; choose with --as)" if evaluation.guessed else "")
    classes = f", {count_text(len(evaluation.labels), 'label')}" if evaluation.labels else ""
    lines = [f"{task}: {count_text(evaluation.rows, 'labelled row')}{classes}"]
    if evaluation.options.exclude:
        lines.append("Rows without an answer do not count (--unanswered exclude).")
    lines += map(_one_line, evaluation.notices)
    for model in evaluation.models:
        lines += ["", *_model_lines(model, evaluation)]
    if evaluation.detectable is not None:
        lines += ["", detectable_text(evaluation)]
    for gate in evaluation.gates:
        shown = f"{gate.requirement} ({gate.model}: {gate_text(evaluation, gate)})"
        notes = f"; {notes}" if (notes := gate_notes(gate)) else ""
        lines.append(f"{'met' if gate.met else 'NOT MET'}: {shown}{notes}")
    return "\n".join(lines)


def _model_lines(model: ModelResult, evaluation: Evaluation) -> list[str]:
    share = f"{100 * evaluation.options.sampling.confidence:g}%"
    head = ["metric", "value", f"{share} interval", "of the answered"]
    rows = [[name, *_figure_cells(figure, model)] for name, figure in model.figures.items()]
    simulated = " (answers of the simulator)" if model.output.simulated else ""
    lines = [f"{model.name}{simulated}: coverage {model.coverage:.1%}", *_aligned([head, *rows])]
    lines += (f"  {_one_line(text)}" for text in model.notices)
    unanswered = {name: count for name, count in model.outcomes.items() if name != "answered"}
    if unanswered:
        lines.append(f"  not answered: {_counts(unanswered)}")
    if model.hows:
        lines.append(f"  labels found by: {_counts(model.hows)}")
    if model.cut:
        lines.append(f"  cut off after their answer: {count_text(model.cut, 'row')}")
    lines += _join_lines(model)
    if model.texts:
        lines.append("  most frequent texts without an answer:")
        lines += [f"    {count:,} x {_quoted(text)}" for text, count in model.texts[:_MOST_TEXTS]]
    lines += _comparison_lines(model, evaluation)
    for each in model.slices[:_MOST_SLICES]:
        value, interval, answered = _figure_cells(each.figure, model)
        interval = f"of the answered {answered}" if each.figure.unanswered == "withheld" else interval
        interval = f" ({interval})" if interval else ""
        group = f"{each.column} = {each.of or '(none)'}"
        lines.append(f"  {group}: {value}{interval}, {count_text(each.figure.rows, 'row')}")
    if len(model.slices) > _MOST_SLICES:
        lines.append(f"  {len(model.slices) - _MOST_SLICES:,} other values are in metrics.json")
    return [*lines, *_cost_lines(model)]


def _figure_cells(figure: Figure, model: ModelResult) -> list[str]:
    of_answered = "not defined" if model.counts.others_known else "not known"
    if figure.of_answered is not None:
        of_answered = number_text(figure.of_answered)
    return [value_text(figure), interval_text(figure), f"{of_answered} ({figure.answered:,})"]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows)
    return ["  " + "  ".join(cells).rstrip() for cells in padded]


def _counts(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda each: -each[1])
    return ", ".join(f"{name} {count:,}" for name, count in ordered)


def _one_line(text: str) -> str:
    """Return a text of others as a terminal can show it."""
    shown = " ".join(str(json_safe(text)).split())
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in shown)


def _quoted(text: str) -> str:
    shown = _one_line(text)
    return f'"{shown[:_SHOWN_CHARACTERS]}{"…" if len(shown) > _SHOWN_CHARACTERS else ""}"'


def _join_lines(model: ModelResult) -> list[str]:
    counts = model.counts
    found = {
        "rows without a label": counts.rows_without_label,
        "rows with an id that an earlier row has": counts.duplicate_rows,
        "labels without a row": counts.unmatched_labels,
        "labels with an id that an earlier label has": counts.duplicate_labels,
        "labelled rows that other outputs have not, left out": model.only_here,
    }
    shown = [f"{name}: {count:,}" for name, count in found.items() if count]
    return [f"  {'; '.join(shown)}"] if shown else []


def _comparison_lines(model: ModelResult, evaluation: Evaluation) -> list[str]:
    lines = []
    several = len(evaluation.models) > 2
    for name, found in model.comparisons.items():
        if found is None:
            continue
        p_value = found.p_holm if several and found.p_holm is not None else found.p_value
        corrected = " (Holm)" if several else ""
        lines.append(
            f"  against {evaluation.models[evaluation.baseline].name}: {name} {found.difference:+.4f} "
            f"({found.interval_text}), p {p_text(p_value)}{corrected}"
            + ("" if found.rows == evaluation.rows else f"; on {found.rows:,} of {evaluation.rows:,} rows")
            + (f"; {found.wins:,} better, {found.losses:,} worse" if found.wins or found.losses else "")
        )
    return lines


def _cost_lines(model: ModelResult) -> list[str]:
    cost = model.cost
    if cost.tokens_each_right is None:
        return []
    money = "" if cost.money_each_right is None else f", cost {money_text(cost.money_each_right)}"
    labelled = (
        "" if cost.evaluated == cost.rows else f" (by {cost.evaluated:,} labelled of {cost.rows:,} rows)"
    )
    each_right = f"for each right answer {cost.tokens_each_right:,.0f}{money}{labelled}"
    return [f"  tokens billed: {cost.tokens_billed:,}; {each_right}"]
