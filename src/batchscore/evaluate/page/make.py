"""How does an evaluation become `evaluation.html`, one file that uses no network?

Pure but for the rows that it shows, which `examples` reads. The same evaluation gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from batchscore.errors import count_text
from batchscore.evaluate.comparisons import USUAL_DISCORDANCE
from batchscore.evaluate.evaluation import Evaluation, ModelResult
from batchscore.evaluate.figures import Figure
from batchscore.evaluate.metrics import translation
from batchscore.evaluate.page import charts, parts
from batchscore.evaluate.page.examples import PER_CELL, PER_LIST, Examples, examples_of
from batchscore.evaluate.tasks import ERRORS
from batchscore.evaluate.write import PAGE, ROWS
from batchscore.report.page.frame import Frame, document, place_charts
from batchscore.report.page.markup import NOTHING, Html, concat, details, element, name, table
from batchscore.report.words import money_text, percent_text
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.version import VERSION

#: Most classes, slices and texts that are shown of a model; all are in metrics.json.
_MOST_CLASSES, _MOST_SLICES, _MOST_TEXTS = 100, 60, 20

#: With fewer rows, intervals are wide.
_FEW_ROWS = 100


def write_page(folder: Place, evaluation: Evaluation) -> Place:
    """Write the page beside rows.parquet, and return its place; raises `OutputError`."""
    place = folder / PAGE
    storage.write_whole(place, page(evaluation, examples_of(evaluation, folder / ROWS)))
    return place


def page(evaluation: Evaluation, examples: Examples) -> bytes:
    """Return the page, UTF-8."""
    drawn: list[dict[str, Any]] = []
    several = len(evaluation.models) > 1
    sections = [
        verdict(evaluation),
        findings(evaluation),
        element("h2", "Models and metrics" if several else "Metrics"),
        metrics(evaluation),
        element("h2", "How rows ended"),
        outcomes(evaluation),
        *differences(evaluation),
        *vector_charts(evaluation, examples, drawn),
        *confusions(evaluation, examples),
        *classes(evaluation),
        *slices(evaluation),
        *rows(evaluation, examples),
        *texts(evaluation),
        element("h2", "Cost"),
        costs(evaluation),
        element("h2", "How it was measured"),
        method(evaluation),
    ]
    names = ", ".join(model.name for model in evaluation.models)
    frame = Frame(
        f"{names}: batchscore evaluation",
        "batchscore evaluation",
        names,
        f"Made by batchscore {VERSION}. Contains labels and answers of rows.",
        (Path(__file__).parent / "evaluation.css").read_text("utf-8"),
    )
    return document(frame, Html(""), element("section", *sections, class_="task"), drawn)


def verdict(evaluation: Evaluation) -> Html:
    """Return the first block: whether requirements are met, else the main figure."""
    gates, baseline = evaluation.gates, evaluation.models[evaluation.baseline]
    missed = sum(not gate.met for gate in gates)
    if gates:
        kind = "bad" if missed else "good"
        count = count_text(missed, "requirement")
        title = f"{count} not met" if missed else "All requirements are met"
    else:
        best = max(evaluation.models, key=lambda model: _rank(evaluation.main, model))
        figure = best.figures[evaluation.main]
        kind, title = "", f"{evaluation.main} {parts.value_text(figure)}"
        are_known = [model.figures[evaluation.main].value is not None for model in evaluation.models]
        if len(evaluation.models) > 1 and any(are_known):
            title += f"{' at best' if all(are_known) else ''}: {best.name}"
    counted = count_text(evaluation.rows, "labelled row")
    guessed = " (guessed)" if evaluation.guessed else ""
    facts = f"{evaluation.task.name}{guessed} · {counted}"
    facts += f" · {count_text(len(evaluation.labels), 'label')}" if evaluation.labels else ""
    facts += f" · baseline {baseline.name}" if len(evaluation.models) > 1 else ""
    block: list[Any] = [element("p", facts, class_="kind"), element("h1", title)]
    if evaluation.options.exclude:
        block.append(element("p", "Rows without an answer do not count (--unanswered exclude)."))
    elif any(each.unanswered == "worst" for model in evaluation.models for each in model.figures.values()):
        block.append(element("p", "A row without an answer counts as the worst that it could have had."))
    return element("div", *block, class_=f"verdict {kind}")


def _rank(metric: str, model: ModelResult) -> float:
    value = model.figures[metric].value
    return -1e300 if value is None else -value if metric in ERRORS else value


def findings(evaluation: Evaluation) -> Html:
    """Return requirements, and what a reader must know before the figures."""
    found = []
    for gate in evaluation.gates:
        words = concat([f"{gate.requirement}: ", name(gate.model), f": {parts.gate_text(evaluation, gate)}"])
        words = concat([words, f" ({notes})."]) if (notes := parts.gate_notes(gate)) else words
        found.append(("fine" if gate.met else "bad", words))
    found += [("look", element("span", text)) for text in evaluation.notices]
    for model in evaluation.models:
        found += [("look", concat([name(model.name), f": {text}"])) for text in model.notices]
        if model.output.simulated:
            found.append(("look", concat([name(model.name), ": these answers are simulated."])))
        missing = evaluation.rows - model.outcomes.get("answered", 0)
        if missing:
            share = percent_text(missing, evaluation.rows, decimals=1)
            found.append(("look", concat([name(model.name), f": {share} of the rows have no answer."])))
    if evaluation.rows < _FEW_ROWS:
        found.append(("look", Html(f"Only {count_text(evaluation.rows, 'row')}: intervals are wide.")))
    if evaluation.detectable is not None:
        found.append(("fact", Html(detectable_text(evaluation))))
    return element("ul", *(element("li", words, class_=kind) for kind, words in found), class_="findings")


def detectable_text(evaluation: Evaluation) -> str:
    """Return which difference the rows can show."""
    alone = len(evaluation.models) == 1
    if evaluation.detectable is None or evaluation.detectable >= 1:
        more = f" of which only one is right in {USUAL_DISCORDANCE:.0%} of the rows" if alone else ""
        return f"This set has too few rows to show a difference between two models{more}."
    how = f"two models if only one of them is right in {USUAL_DISCORDANCE:.0%} of the rows"
    shown = f"about {100 * evaluation.detectable:.1f} points between {how if alone else 'these models'}"
    return f"This set can show differences of {shown}."


def metrics(evaluation: Evaluation) -> Html:
    """Return the figures of all models, a metric in each row."""
    lines, confidence = [], evaluation.options.sampling.confidence
    for metric in evaluation.models[0].figures:
        figures = [model.figures[metric] for model in evaluation.models]
        scale = _scale(metric, figures)
        cells = [
            parts.figure_cell(figure, *scale, _mark(evaluation, model, metric))
            for figure, model in zip(figures, evaluation.models, strict=True)
        ]
        lines.append((metric, *cells))
    caption = f"Figures over all labelled rows with {100 * confidence:g}% intervals"
    if len(evaluation.models) > 1:
        baseline = evaluation.models[evaluation.baseline].name
        caption += f"; better or worse than {baseline} if the interval of the difference excludes 0"
        caption += f" and p < {1 - confidence:g}"
    return table(caption, ", ".join(["metric:o", *_model_heads(evaluation)]), lines)


def _scale(metric: str, figures: Iterable[Figure]) -> tuple[float, float]:
    """Return the ends of bars on which these figures are: 0 and 1, or 100 percent, if all are between."""
    bounds = [each for one in figures for each in (one.low, one.high, one.value) if each is not None]
    usual = 100.0 if metric in translation.NAMES else 1.0
    return min([0.0, *bounds]), max([*bounds, usual if max(bounds, default=0) <= usual else 0.0])


def _model_heads(evaluation: Evaluation) -> list[str]:
    return [parts.head(model.name) for model in evaluation.models]


def _mark(evaluation: Evaluation, model: ModelResult, metric: str) -> str:
    both = (model, evaluation.models[evaluation.baseline])
    found, most = model.comparisons.get(metric), 1 - evaluation.options.sampling.confidence
    if (
        found is None
        or any(each.figures[metric].value is None for each in both)
        or found.low is None
        or found.high is None
        or found.low <= 0 <= found.high
        or (found.p_holm or found.p_value) > most
    ):
        return ""
    return "better" if (found.difference > 0) != (metric in ERRORS) else "worse"


def outcomes(evaluation: Evaluation) -> Html:
    """Return how the rows of each model ended, and how labels were found."""
    ended = [(name(model.name), *parts.outcome_cells(model)) for model in evaluation.models]
    heads = "model, answered:n, coverage:n, , not answered:l"
    shown = table("Answered rows first, then the others", heads, ended)
    found = [
        (name(model.name), ", ".join(f"{how} {count:,}" for how, count in model.hows.items()), model.cut)
        for model in evaluation.models
        if model.hows
    ]
    how = table("How labels were found in answers", "model, found by:l, text cut after the label:n", found)
    return concat([shown, how])


def differences(evaluation: Evaluation) -> list[Html]:
    """Return how models differ from the baseline."""
    lines = []
    for model in evaluation.models:
        for metric, found in model.comparisons.items():
            if found is None:
                continue
            p_value = found.p_value if found.p_holm is None else found.p_holm
            interval = found.interval_text
            lines.append(
                (
                    name(model.name),
                    metric,
                    f"{found.difference:+.4f}",
                    interval,
                    parts.p_text(p_value).removeprefix("= "),
                    found.rows,
                    found.wins,
                    found.losses,
                    found.ties,
                )
            )
    if not lines:
        return []
    baseline = evaluation.models[evaluation.baseline].name
    caption = f"Difference from {baseline} on the same rows"
    caption += ", or those that both answered if no answer is the worst"
    if len(evaluation.models) > 2:
        caption += "; p-values are corrected by Holm for the number of models, intervals are not"
    heads = "model, metric:o, difference:n, interval:n, p:n, rows:n, better rows:n, worse rows:n, ties:n"
    return [element("h2", "Differences"), table(caption, heads, lines)]


def vector_charts(evaluation: Evaluation, examples: Examples, drawn: list[dict[str, Any]]) -> list[Html]:
    """Return the charts of vectors and numbers."""
    found = charts.charts_of(evaluation, examples)
    return [element("h2", "Charts"), place_charts(found, drawn)] if found else []


def confusions(evaluation: Evaluation, examples: Examples) -> list[Html]:
    """Return the confusion matrix of each model, or its most frequent mistakes."""
    found: list[Html] = []
    for number, model in enumerate(evaluation.models):
        cells = examples.cells[number]
        if model.confusion is None:
            continue
        found.append(element("h2", concat(["Confusion: ", name(model.name)])))
        if len(evaluation.labels) <= parts.MOST_LABELS:
            found.append(parts.matrix(model, evaluation.labels, cells, number))
        else:
            found.append(parts.mistakes(evaluation.labels, cells, number))
        found += parts.cell_rows(evaluation, examples, cells, number)
        if cells:
            note = f"A number of wrong rows opens the first {PER_CELL}. All rows are in rows.parquet."
            found.append(element("p", note, class_="note"))
    return found


def classes(evaluation: Evaluation) -> list[Html]:
    """Return precision, recall, F1 and support by class, the worst F1 first if there are many."""
    found = []
    for model in evaluation.models:
        measured = model.classes
        if measured is None:
            continue
        lines = [
            (
                name(label),
                *(parts.number_text(float(measured[each][place])) for each in _BY_CLASS),
                int(count),
            )
            for place, (label, count) in enumerate(zip(evaluation.labels, measured["support"], strict=True))
        ]
        order = sorted(lines, key=lambda line: str(line[3])) if len(lines) > parts.MOST_LABELS else lines
        caption = "Classes, with the lowest F1 first" if order is not lines else "Classes"
        heads = "class, precision:n, recall:n, F1:n, rows:n"
        if len(evaluation.labels) and measured["predicted"].sum() < measured["support"].sum():
            caption += (
                "; precision and F1 of the answers alone, those of the metrics also count the other rows"
            )
        body = table(caption, heads, order[:_MOST_CLASSES])
        found.append(details(f"Classes: {model.name}", body, is_open=len(evaluation.models) == 1))
    return [element("h2", "Classes"), *found] if found else []


_BY_CLASS = ("precision", "recall", "f1_score")


def slices(evaluation: Evaluation) -> list[Html]:
    """Return the main figure by the values of columns."""
    if not evaluation.models[0].slices:
        return []
    by_value: dict[tuple[str, str], dict[int, Figure]] = {}
    for number, model in enumerate(evaluation.models):
        for each in model.slices:
            by_value.setdefault((each.column, each.of), {})[number] = each.figure
    lines, scale = (
        [],
        _scale(evaluation.main, (figure for figures in by_value.values() for figure in figures.values())),
    )
    for (column, value), figures in by_value.items():
        cells = [
            NOTHING if (figure := figures.get(number)) is None else parts.figure_cell(figure, *scale, "")
            for number in range(len(evaluation.models))
        ]
        count = max(figure.rows for figure in figures.values())
        lines.append((name(column), parts.short(value or "(none)"), count, *cells))
    heads = ", ".join(["column", "value", "rows:n", *_model_heads(evaluation)])
    more = f"; the first {_MOST_SLICES} of {len(lines):,}" if len(lines) > _MOST_SLICES else ""
    more += f"; bars from {parts.number_text(scale[0])} to {parts.number_text(scale[1])}"
    shown = table(f"{evaluation.main} by value{more}", heads, lines[:_MOST_SLICES])
    return [element("h2", "Slices"), shown]


def rows(evaluation: Evaluation, examples: Examples) -> list[Html]:
    """Return the rows where models differ, and the worst ones."""
    models = range(len(evaluation.models))
    heads = _model_heads(evaluation) if len(models) > 1 else ["answer"]
    shown = [
        parts.compared_rows(
            title, [[examples.row(model, place) for model in models] for place in places], heads
        )
        for title, places in examples.lists
    ]
    if not any(places for _, places in examples.lists):
        return []
    note = f"At most {PER_LIST} rows of each kind; all are in rows.parquet."
    return [element("h2", "Rows"), element("p", note, class_="note"), *shown]


def texts(evaluation: Evaluation) -> list[Html]:
    """Return the most frequent texts that gave no answer."""
    found = []
    for model in evaluation.models:
        lines = [(count, parts.short(text)) for text, count in model.texts[:_MOST_TEXTS]]
        if lines:
            found.append(table(f"{model.name}: the most frequent texts", "rows:n, text:l", lines))
    return [element("h2", "Texts without an answer"), *found] if found else []


def costs(evaluation: Evaluation) -> Html:
    """Return tokens and money of each model, and for each right answer."""
    lines = []
    for model in evaluation.models:
        cost = model.cost
        lines.append(
            (
                name(model.name),
                cost.requests,
                cost.tokens_billed,
                NOTHING if cost.money is None else money_text(cost.money),
                NOTHING if cost.right is None else f"{cost.right:,.10g}",
                NOTHING if cost.tokens_each_right is None else f"{cost.tokens_each_right:,.0f}",
                NOTHING if cost.money_each_right is None else money_text(cost.money_each_right),
            )
        )
    heads = "model, requests:n, tokens billed:n, cost:n, right rows:n, tokens each right:n, cost each right:n"
    caption = "All runs together; cost if all had prices and none was killed. What a right row takes counts "
    return table(f"{caption}only the rows with a label", heads, lines)


def method(evaluation: Evaluation) -> Html:
    """Return the settings of the evaluation, and what was joined."""
    sampling = evaluation.options.sampling
    definition = evaluation.task.definition
    settings = [
        *([("definition", definition)] if definition else []),
        ("confidence", f"{sampling.confidence:g}"),
        ("resamples", f"{sampling.resamples:,}"),
        ("seed", str(sampling.seed)),
        ("clusters", evaluation.options.cluster or "none"),
        *((f"signature of {metric}", text) for metric, text in evaluation.models[0].rows.signatures.items()),
        *(
            (f"interval of {metric}", figure.method)
            for metric, figure in evaluation.models[0].figures.items()
            if figure.method
        ),
    ]
    joined = [
        (
            name(model.name),
            name(model.output.named),
            name(model.output.model),
            model.counts.rows,
            model.counts.rows_without_label,
            model.counts.duplicate_rows,
            model.counts.unmatched_labels,
            model.only_here,
        )
        for model in evaluation.models
    ]
    heads = "model, scores, model name, rows:n, without label:n, duplicate ids:n, "
    heads += "labels without row:n, left out:n"
    return concat([table("Settings", "setting, value", settings), table("What was joined", heads, joined)])
