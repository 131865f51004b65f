"""Which small pieces is the page of an evaluation made of: figures, bars, matrices, lists of rows?

Pure. Answers, labels and names come from others, and are shown as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batchscore.errors import count_text
from batchscore.evaluate.evaluation import Evaluation, ModelResult
from batchscore.evaluate.figures import Figure
from batchscore.evaluate.gates import Gate
from batchscore.evaluate.page.examples import Cell, Examples
from batchscore.report.page.markup import NOTHING, Html, concat, element, name, table
from batchscore.report.words import code_text, percent_text, short_name

#: The longest text of a cell, and most labels of a matrix. Of more, the most frequent mistakes are shown.
_LONGEST, MOST_LABELS = 300, 20

#: From here on, the digits of a figure are too many to read.
_LARGE = 1e12

#: Kinds of outcomes that a bar can tell apart: all others are the last.
_KINDS = 8


def number_text(value: float | None) -> str:
    """Return a figure with four digits, or a count; of a very large one the first digits."""
    if value is None:
        return NOTHING
    return (
        f"{value:,}" if isinstance(value, int) else f"{value:.4f}" if abs(value) < _LARGE else f"{value:.4e}"
    )


def value_text(figure: Figure) -> str:
    """Return a figure over all rows, or why there is none."""
    if figure.value is None:
        return "not known" if figure.unanswered == "withheld" else "not defined"
    return number_text(figure.value)


def interval_text(figure: Figure) -> str:
    """Return the interval of a figure, or that there is none; empty without a figure."""
    if figure.value is None:
        return ""
    if figure.low is None or figure.high is None:
        return "no interval"
    return f"{number_text(figure.low)} to {number_text(figure.high)}"


def gate_text(evaluation: Evaluation, gate: Gate) -> str:
    """Return the value that a requirement was compared with, as a percentage if it is one, and its rows."""
    model = next(each for each in evaluation.models if each.name == gate.model)
    figure = model.figures.get(gate.metric)
    if gate.both_answered is not None and (gate.value is None or gate.bound is None):
        return f"not defined on {count_text(gate.both_answered, 'row')} that both answered"
    if gate.value is None and figure is not None:
        return value_text(figure)
    value = f"{100 * (gate.value or 0):.2f}%" if "%" in gate.requirement else number_text(gate.value)
    if figure is not None:
        if gate.both_answered is not None:
            return f"{value} on {count_text(gate.both_answered, 'row')} that both answered"
        if figure.leaves_out:
            return f"{value} on {count_text(figure.answered, 'answered row')}"
        return f"{value} on {count_text(figure.rows, 'row')}"
    rows = evaluation.rows + model.failed_here
    return f"{value} on {count_text(rows, 'row')}" if gate.metric == "coverage" else value


def gate_notes(gate: Gate) -> str:
    """Return what to know of a requirement beside its value; empty if there is nothing."""
    return "; ".join(filter(None, (gate.added, gate.caveat)))


def p_text(value: float) -> str:
    """Return a p-value with its sign."""
    return "< 0.0001" if value < 0.0001 else f"= {value:.4f}"


def short(text: Any) -> Html:
    """Return a text of others in one line, cut if it is long."""
    shown = "" if text is None else " ".join(str(text).split())
    return name(shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…") or Html("")


def whisker(figure: Figure, low: float, high: float) -> Html:
    """Return a bar on which an interval and its figure are marked; screen readers skip it."""
    if figure.value is None or figure.low is None or figure.high is None or high <= low:
        return Html("")
    start, end, middle = (
        100 * (each - low) / (high - low) for each in (figure.low, figure.high, figure.value)
    )
    return Html(
        '<svg class="whisker" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" y="4" width="100" height="2"/>'
        f'<rect class="range" x="{start:.2f}" y="1" width="{max(end - start, 0.5):.2f}" height="8"/>'
        f'<rect class="value" x="{middle - 0.5:.2f}" width="1" height="10"/></svg>'
    )


def stack(counts: Sequence[int]) -> Html:
    """Return a bar of parts, the answered rows first; screen readers skip it."""
    total, at, parts = sum(counts) or 1, 0.0, []
    for kind, count in enumerate(counts):
        width = 100 * count / total
        parts.append(f'<rect class="k{min(kind, _KINDS - 1)}" x="{at:.2f}" width="{width:.2f}" height="10"/>')
        at += width
    return Html(
        '<svg class="stack" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="track" width="100" height="10"/>{"".join(parts)}</svg>'
    )


def figure_cell(figure: Figure, low: float, high: float, mark: str) -> Html:
    """Return a figure with its interval and what it is of the answered rows; `mark`: better or worse."""
    value = element("span", value_text(figure), class_=mark) if mark else value_text(figure)
    note = f" {mark}" if mark else ""
    of_answered = ""
    if figure.of_answered is not None:
        of_answered = f"of the {figure.answered:,} answered {number_text(figure.of_answered)}"
    lines = [concat([value, note])]
    lines += [element("div", each, class_="more") for each in (interval_text(figure), of_answered) if each]
    return concat([*lines, whisker(figure, low, high)])


def outcome_cells(model: ModelResult) -> list[Any]:
    """Return how the rows of a model ended: answered, coverage, the bar, and the other outcomes."""
    answered = model.outcomes.get("answered", 0)
    others = sorted(
        ((key, count) for key, count in model.outcomes.items() if key != "answered"),
        key=lambda each: -each[1],
    )
    named = [f"{code_text(key)} {count:,}" for key, count in others]
    named += [f"not in other outputs {model.failed_here:,}"] if model.failed_here else []
    total = answered + sum(count for _, count in others) + model.failed_here
    return [
        answered,
        percent_text(answered, total, decimals=1),
        stack([answered, *(count for _, count in others)]),
        ", ".join(named) or "none",
    ]


def matrix(model: ModelResult, labels: Sequence[str], cells: Sequence[Cell], number: int) -> Html:
    """Return the confusion matrix of a model, whose cells of wrong rows open these rows."""
    assert model.confusion is not None
    opened = {(each.gold, each.found) for each in cells}
    head = [element("th", "label \\ answer", scope="col")]
    head += [element("th", short_name(each, 18), scope="col") for each in labels]
    head.append(element("th", "none of them", scope="col"))
    lines = []
    for gold, counts in enumerate(model.confusion.tolist()):
        total, row = sum(counts) or 1, [element("th", short_name(labels[gold], 30), scope="row")]
        for found, count in enumerate(counts):
            heat = 0 if not count else min(4, 1 + int(4 * count / total - 1e-9))
            shown: Any = f"{count:,}"
            if (gold, found) in opened:
                shown = element("a", shown, href=f"#{anchor(number, gold, found)}")
            class_ = f"h{heat}{' right' if gold == found else ''}"
            row.append(element("td", shown, class_=class_))
        lines.append(element("tr", *row))
    inner = element("table", element("tr", *head), *lines, class_="matrix", aria_label="Confusion matrix")
    caption = element("p", "Rows by label and answer; a number that is a link opens rows", class_="caption")
    scroll = element("div", inner, class_="scroll", tabindex="0", role="region", aria_label="Matrix")
    return element("div", caption, scroll, class_="card")


def mistakes(labels: Sequence[str], cells: Sequence[Cell], number: int) -> Html:
    """Return the most frequent mistakes, each with a link to its rows."""
    rows = [
        (
            short(labels[each.gold]),
            short(labels[each.found]) if each.found < len(labels) else "none of the labels",
            each.count,
            element("a", "rows", href=f"#{anchor(number, each.gold, each.found)}"),
        )
        for each in cells
    ]
    return table("The most frequent mistakes", "label, answer, rows:n, ", rows)


def anchor(model: int, gold: int, found: int) -> str:
    """Return the id of the rows of a cell."""
    return f"rows-{model}-{gold}-{found}"


def cell_rows(evaluation: Evaluation, examples: Examples, cells: Sequence[Cell], number: int) -> list[Html]:
    """Return the rows of each cell, which are shown when its link is followed."""
    labels, sections = evaluation.labels, []
    for each in cells:
        answer = labels[each.found] if each.found < len(labels) else "none of the labels"
        title = concat(["Label ", name(labels[each.gold]), ", answer ", name(answer)])
        more = f"The first {len(each.rows):,} of {count_text(each.count, 'row')}"
        sections.append(
            element(
                "section",
                element("h3", title),
                row_table(more, [examples.row(number, place) for place in each.rows]),
                id=anchor(number, each.gold, each.found),
                class_="opened",
            )
        )
    return sections


def place_cells(row: Mapping[str, Any], *, with_id: bool) -> list[Any]:
    """Return where a row is, and its label."""
    own = [name(row["id"])] if with_id else []
    return [name(row["file"]), row["row"], *own, short(row["label"])]


def answer_cell(row: Mapping[str, Any]) -> Html:
    """Return the answer of a row, how it ended if it is none, and its text if that is something else."""
    cosine = dict(row["scores"]).get("cosine")
    parts: list[Any] = [number_text(cosine) if row["answer"] is None or cosine else short(row["answer"])]
    if row["outcome"] != "answered":
        parts.append(element("div", code_text(row["outcome"]), class_="more"))
    if row["found_by"] not in {None, "whole", "none"}:
        parts.append(element("div", f"found by {row['found_by']}", class_="more"))
    if row["text"] not in {None, row["answer"]}:
        parts.append(element("div", short(row["text"]), class_="more"))
    scores = ", ".join(
        f"{key} {value:.3g}" for key, value in row["scores"][:3] if key not in {"right", "cosine"}
    )
    if scores:
        parts.append(element("div", scores, class_="more"))
    return concat(parts)


def row_table(caption: str, rows: Sequence[Mapping[str, Any]]) -> Html:
    """Return some rows of one model."""
    return compared_rows(caption, [[row] for row in rows], ["answer"])


def compared_rows(caption: str, rows: Sequence[Sequence[Mapping[str, Any]]], heads: Sequence[str]) -> Html:
    """Return some rows with the answers of one or all models, and then the columns that are shown."""
    if not rows:
        return Html("")
    with_id = any(row[0]["id"] is not None for row in rows)
    columns = [head(key) for key, _ in rows[0][0]["columns"]]
    named = ["file", "row:n", *(["id"] if with_id else []), "label", *heads, *columns]
    lines = [
        [
            *place_cells(row[0], with_id=with_id),
            *map(answer_cell, row),
            *(short(value) for _, value in row[0]["columns"]),
        ]
        for row in rows
    ]
    return table(caption, ", ".join(named), lines)


def head(text: str) -> str:
    """Return a text as the head of a column: a comma would begin the next one, and a colon its kind."""
    return short_name(text, 40).replace(",", " ").replace(":", " ")
