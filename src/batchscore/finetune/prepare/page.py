"""How does a preparation become `report.html`, one file that uses no network?

Pure. It holds names of files, columns and classes, but no other text of the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from batchscore.errors import count_text, name_settings, visible
from batchscore.finetune.prepare.read_examples import rule_text
from batchscore.finetune.prepare.write_parts import Prepared
from batchscore.report.page.answers import histogram
from batchscore.report.page.charts import Chart, bars, lengths, series
from batchscore.report.page.frame import Frame, cells, document, place_charts
from batchscore.report.page.markup import NOTHING, Html, concat, element, name, table
from batchscore.report.words import large_count_text, percent_text, short_name, size_text
from batchscore.version import VERSION

#: The page's name.
PAGE = "report.html"

_MOST_PROBLEMS, _MOST_CLASSES = 200, 200
_COLOURS = ("c1", "c2", "c3")


def page(prepared: Prepared, summary: dict[str, Any], folder: str) -> bytes:
    """Return the page, UTF-8. `summary` is the content of prepare.json."""
    drawn: list[dict[str, Any]] = []
    charts = [chart for chart in (tokens(prepared, summary), turns(prepared), classes(prepared)) if chart]
    sections: list[Html] = [
        verdict(prepared, summary),
        findings(prepared),
        figures(prepared),
        parts(prepared),
        *([place_charts(charts, drawn)] if charts else []),
        class_table(prepared),
        problems(prepared),
        element("h2", "How it was made"),
        files(prepared),
        settings(summary),
    ]
    footer = f"Made by batchscore {VERSION}. Contains names of classes and columns, but no text of a row."
    frame = Frame(f"{folder}: training files", "batchscore finetune prepare", folder, footer)
    return document(frame, Html(""), element("section", *sections, class_="task"), drawn)


def verdict(prepared: Prepared, summary: dict[str, Any]) -> Html:
    """Return the first block: whether the files were written."""
    read = prepared.read
    facts = f"{summary['format']} · {count_text(summary['rows'], 'row')}"
    if prepared.is_written:
        kind = "look" if read.invalid else "good"
        title = f"{count_text(sum(part.examples for part in prepared.parts), 'example')} written"
        more = f"{count_text(read.invalid, 'row')} left out." if read.invalid else "All rows gave an example."
    else:
        kind, title = "bad", "No files written"
        more = (
            name_settings("; ".join(prepared.errors)) or f"{count_text(read.invalid, 'row')} gave no example."
        )
    return element(
        "div",
        element("p", facts, class_="kind"),
        element("h1", title),
        element("p", more),
        class_=f"verdict {kind}",
    )


def findings(prepared: Prepared) -> Html:
    """Return what the user should look at."""
    found = [("look", text) for text in (*map(name_settings, prepared.errors), *prepared.warnings)]
    found += [
        ("look", f"{count_text(count, 'example')}: {rule.replace('_', ' ')}")
        for rule, count in prepared.read.warnings.items()
    ]
    if prepared.duplicates:
        found.append(("fine", f"{count_text(prepared.duplicates, 'duplicate')} left out"))
    if prepared.read.systems == 1 and prepared.read.system is not None:
        found.append(("fine", "All examples have the same system message: score with the same one."))
    elif prepared.read.systems > 1:
        found.append(("look", "System messages differ: score with those of the training."))
    return element("ul", *(element("li", text, class_=kind) for kind, text in found), class_="findings")


def figures(prepared: Prepared) -> Html:
    """Return the key figures."""
    training = prepared.parts[0]
    shown = [
        (part.part, f"{part.examples:,}", size_text(part.written.bytes) if part.written else "not written")
        for part in prepared.parts
    ]
    found = training.tokens
    more = f"median {found.median:,}, longest {found.longest:,}"
    return cells([*shown, ("training tokens", large_count_text(found.total), more)])


def parts(prepared: Prepared) -> Html:
    """Return the files with their tokens."""
    lines = []
    for part in prepared.parts:
        found = part.tokens
        written = size_text(part.written.bytes) if part.written else NOTHING
        lines.append((part.part, part.examples, written, found.total, found.median, found.p95, found.longest))
    heads = "part, examples:n, size:n, tokens:n, median:n, p95:n, longest:n"
    return table("Examples and tokens by part; the test part is never sent", heads, lines)


def tokens(prepared: Prepared, summary: dict[str, Any]) -> Chart | None:
    """Return the chart of tokens per example."""
    found = histogram("tokens", prepared.token_sample)
    limit = summary["tokens"]["limit"]
    says = f"The limit of an example is {limit:,}." if limit and summary["azureml"] == {} else ""
    return None if found is None else lengths("Tokens per example", found, "examples", says)


def turns(prepared: Prepared) -> Chart | None:
    """Return the chart of messages per example; none if all have the same number."""
    counted = prepared.read.facts.turns
    if len(counted) < 2:
        return None
    ordered = sorted(counted.items())
    shown = [series("examples", [count for _, count in ordered], "c3")]
    says = f"From {ordered[0][0]} to {ordered[-1][0]} messages."
    labels = [f"{turn:,}" for turn, _ in ordered]
    return bars(
        "Messages per example", says, labels, shown, "messages without the system message", "examples"
    )


def classes(prepared: Prepared) -> Chart | None:
    """Return the chart of classes by part."""
    names = list(prepared.parts[0].classes)[:30]
    if not names:
        return None
    shown = [
        series(part.part, [part.classes.get(each, 0) for each in names], colour)
        for part, colour in zip(prepared.parts, _COLOURS, strict=False)
    ]
    says = f"{len(prepared.parts[0].classes)} classes."
    labels = [short_name(visible(each)) for each in names]
    return bars("Examples by class", says, labels, shown, "class", "examples", stacked=True)


def class_table(prepared: Prepared) -> Html:
    """Return the classes with their counts and shares by part."""
    first = prepared.parts[0]
    lines = []
    for each in list(first.classes)[:_MOST_CLASSES]:
        counts = [
            f"{part.classes.get(each, 0):,} ({percent_text(part.classes.get(each, 0), part.examples)})"
            for part in prepared.parts
        ]
        lines.append((name(each), *counts))
    heads = ", ".join(["class", *(f"{part.part}:n" for part in prepared.parts)])
    return table("Classes", heads, lines)


def problems(prepared: Prepared) -> Html:
    """Return the rows that gave no example."""
    read = prepared.read
    if not read.invalid:
        return Html("")
    lines = [
        (name(each.place), name_settings(each.text), rule_text(each.rule))
        for each in read.problems[:_MOST_PROBLEMS]
    ]
    more = f", the first {_MOST_PROBLEMS} of {read.invalid:,}" if read.invalid > _MOST_PROBLEMS else ""
    caption = f"Rows without an example{more}; problems.jsonl has them as data"
    return concat([element("h2", "Problems"), table(caption, "row, problem:l, what services say:l", lines)])


def files(prepared: Prepared) -> Html:
    """Return the input files and how they were read."""
    lines = [
        (name(file.name), file.rows, file.examples, ", ".join(file.notes) or NOTHING)
        for file in prepared.read.files[:_MOST_PROBLEMS]
    ]
    return table("Input files", "file, rows:n, examples:n, read as:l", lines)


def settings(summary: dict[str, Any]) -> Html:
    """Return how examples were made, and the parameters for Azure ML."""
    how = summary["split"]
    shares = "/".join(f"{100 * share:g}" for share in how["shares"] if share)
    lines: list[Sequence[Any]] = [
        ("format", summary["format"]),
        *((f"field {field}", name(text)) for field, text in summary["fields"].items()),
        ("split", f"{shares}, seed {how['seed']}"),
        ("stays together", name(how["group"]) if how["group"] else "equal inputs"),
        ("spread evenly", name(how["stratified_by"]) if how["stratified_by"] else NOTHING),
        ("tokens counted", f"{summary['tokens']['counted']} ({summary['tokens']['accuracy']})"),
        ("byte order mark", "yes" if summary["bom"] else "no"),
    ]
    keys = list(summary["azureml"].items())
    return concat(
        [
            table("Settings", "setting, value:l", lines),
            table("Parameters for Azure ML", "parameter, value", keys),
        ]
    )
