"""Which pictures does a page show, and what is in them?

Pure. A picture is data that `page.js` draws, and a figure with its title and a sentence for who cannot see
it. Colours are names, since light and dark have their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from batchscore.report.page.answers import Bars
from batchscore.report.page.markup import Html, element, joined, visible
from batchscore.report.page.time_axis import Together
from batchscore.report.page.vectors import Map, coloured, plain
from batchscore.report.page.words import duration, large, percent
from batchscore.report.timeline import percentile

#: Below so many a table says more than a picture.
FEWEST_REQUESTS = 3

#: Colours of a map: the rest is grey.
MOST_FILES = 10
REST = "c8"
COLOURS = ("c1", "c2", "c3", "c4", "c5", "c6", "c7", "c9", "c10", REST)


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture: `spec` is what is drawn, `says` the sentence that stands for it."""

    title: str
    says: str
    spec: dict[str, Any]
    wide: bool = False
    tall: bool = False

    def figure(self, number: str) -> Html:
        """Return the place where it is drawn."""
        kinds = " ".join(kind for kind, wanted in (("wide", self.wide), ("tall", self.tall)) if wanted)
        canvas = element("canvas", "", id=number, role="img", aria_label=f"{self.title}. {self.says}")
        caption = element("figcaption", joined([self.title, element("small", self.says)]))
        return element("figure", joined([caption, element("div", canvas, class_="canvas")]), class_=kinds)


def over_time(found: Together) -> list[Chart]:
    """Return the pictures of a course; none of so few requests that there is nothing to see."""
    if found.total("requests") < FEWEST_REQUESTS:
        return []
    charts = [rate(found, "tpm"), rate(found, "rpm"), rows(found), round_trips(found)]
    return [chart for chart in (*charts, trouble(found), in_flight(found)) if chart is not None]


def rate(found: Together, kind: str) -> Chart | None:
    """Return tokens or requests a minute against the limit in force."""
    names = ("prompt_tokens", "completion_tokens") if kind == "tpm" else ("requests",)
    what = "tokens" if kind == "tpm" else "requests"
    total = sum(found.total(name) for name in names)
    if not total:
        return None
    values = [plain(each.a_minute(*names)) for each in found.stretches]
    limits = [None if (limit := each.limit(kind)) is None else plain(limit) for each in found.stretches]
    series: list[dict[str, Any]] = [
        {"label": f"{what} a minute", "data": values, "colour": "c1", "type": "line", "fill": True}
    ]
    mean = total * 60 / sum(each.seconds for each in found.stretches)
    says = f"{large(total)} {what if total > 1 else what[:-1]}, {large(mean)} a minute on average"
    used = found.used(kind)
    if used is not None:
        in_force = {"label": "limit in force", "data": limits, "colour": "limit", "type": "line"}
        series.append({**in_force, "dashed": True, "order": -1})
        says += f", {percent(used)} of the limit over the whole run"
    else:
        says += "; no limit was known"
    return Chart(
        f"{what.capitalize()} a minute against the limit",
        f"{says}.",
        {
            **base(found),
            "type": "line",
            "series": series,
            "y": {"title": f"{what} a minute", "unit": "a minute"},
        },
    )


def rows(found: Together) -> Chart | None:
    """Return rows a minute, scored and failed."""
    kinds = (("ok", "scored", "c3"), ("failed", "failed", "limit"), ("empty", "empty", "c8"))
    series = [
        {"label": label, "data": [plain(each.a_minute(name)) for each in found.stretches], "colour": colour}
        for name, label, colour in kinds
        if found.total(name)
    ]
    if not series:
        return None
    counts = ", ".join(f"{found.total(name):,.0f} {label}" for name, label, _ in kinds if found.total(name))
    y = {"title": "rows a minute", "unit": "a minute", "stacked": True}
    return Chart(
        "Rows a minute",
        f"Rows that got their record: {counts}.",
        {**base(found), "type": "bar", "series": series, "y": y},
    )


def round_trips(found: Together) -> Chart | None:
    """Return how long requests took."""
    shares = ((0.5, "half of all", "c1"), (0.95, "95 %", "c5"), (0.99, "99 %", "c6"))
    steps = found.steps
    if not steps:
        return None
    series: list[dict[str, Any]] = [
        {
            "label": f"{label} took at most",
            "data": [
                None if (value := each.percentile(share)) is None else plain(value)
                for each in found.stretches
            ],
            "colour": colour,
            "type": "line",
        }
        for share, label, colour in shares
    ]
    known = [value for each in series for value in each["data"] if value is not None]
    y = {
        "title": "round trip",
        "unit": "seconds",
        "log": True,
        "least": plain(min(known) / 1.5),
        "most": plain(max(known) * 1.5),
    }
    return Chart(
        "How long requests took",
        f"Of all requests, {latency_words(found)}. The axis is logarithmic.",
        {**base(found), "type": "line", "series": series, "y": y},
    )


def latency_words(found: Together) -> str:
    """Return the percentiles of all requests in words."""
    steps = found.steps
    shares = (("half", 0.5), ("95 %", 0.95), ("99 %", 0.99))
    from_steps = [
        (label, value) for label, share in shares if (value := percentile(steps, share)) is not None
    ]
    return ", ".join(f"{label} took at most {duration(value)}" for label, value in from_steps)


def trouble(found: Together) -> Chart | None:
    """Return requests that came to nothing, and for how much of the time nothing might be sent."""
    refused, failed = found.total("refused"), found.total("failed_requests")
    paused, down = found.total("paused"), found.total("down")
    if not (refused or failed or paused or down):
        return None
    series: list[dict[str, Any]] = [
        {
            "label": label,
            "data": [plain(each.sums[name]) for each in found.stretches],
            "colour": colour,
            "type": "bar",
        }
        for name, label, colour in (("refused", "429s", "c2"), ("failed_requests", "other failures", "limit"))
        if found.total(name)
    ]
    chart = {**base(found), "type": "bar", "y": {"title": "requests", "unit": "requests", "stacked": True}}
    for name, label, colour in (("paused", "paused by the service", "c4"), ("down", "not answering", "c6")):
        if found.total(name):
            data = [
                plain(min(each.sums[name] / max(each.sums["watched"], 0.001), 1) * 100)
                for each in found.stretches
            ]
            series.append(
                {"label": f"time {label}", "data": data, "colour": colour, "type": "line", "axis": "y2"}
            )
            chart["y2"] = {"title": "% of the time", "unit": "% of the time", "most": 100}
    says = f"{refused:,.0f} 429s, {failed:,.0f} other failures"
    says += f", {duration(paused)} paused by the service" if paused else ""
    says += f", {duration(down)} without answers" if down else ""
    return Chart("429s, failures and pauses", f"{says}.", {**chart, "series": series})


def in_flight(found: Together) -> Chart | None:
    """Return how many requests were under way."""
    total = found.total("watched")
    if not total or not found.total("in_flight"):
        return None
    values = [plain(each.sums["in_flight"] / each.seconds) for each in found.stretches]
    mean = found.total("in_flight") / sum(each.seconds for each in found.stretches)
    waited = found.total("for_quota") / total
    return Chart(
        "Requests in flight",
        f"{mean:,.1f} on average, at most {max(values):,.0f}; requests waited for the quota in "
        f"{percent(waited)} of the time.",
        {
            **base(found),
            "type": "line",
            "series": [{"label": "in flight", "data": values, "colour": "c7", "type": "line", "fill": True}],
            "y": {"title": "requests in flight", "unit": "in flight"},
        },
    )


def base(found: Together) -> dict[str, Any]:
    """Return the axis of time."""
    return {
        "labels": list(found.labels),
        "x": "time since the start" if found.clock == "elapsed" else "time (UTC)",
    }


def vector_map(found: Map) -> Chart:
    """Return the map of vectors, by file."""
    groups = coloured(found, MOST_FILES)
    others = len({origin.file for origin in found.origins}) > MOST_FILES
    series = [
        {
            "label": visible(file),
            "colour": REST if others and number == len(groups) - 1 else COLOURS[number],
            "data": [[plain(value) for value in found.places[index]] for index in indexes],
            "tips": [tip(found, index) for index in indexes],
            # What has a higher order lies below: the many must not hide the few, the rest nobody.
            "order": len(groups) + (number if others and number == len(groups) - 1 else -number),
        }
        for number, (file, indexes) in enumerate(groups)
    ]
    first, second = found.explained
    says = (
        f"{len(found.origins):,} vectors of {found.dimensions:,} dimensions on two principal components, "
        f"which show {percent(first)} and {percent(second)} of the variance. Near points are similar texts; "
        "far ones may be, too, in what two axes don't show."
    )
    return Chart(
        "Map of the vectors, by file",
        says,
        {
            "type": "scatter",
            "series": series,
            "points": len(found.origins),
            "x": f"first component ({percent(first)})",
            "y": {"title": f"second component ({percent(second)})"},
        },
        wide=True,
        tall=True,
    )


def tip(found: Map, index: int) -> Sequence[Any]:
    """Return what a point tells of its row."""
    origin = found.origins[index]
    return [visible(origin.file), origin.row, None if origin.id is None else visible(origin.id)]


def lengths(found: Bars) -> Chart:
    """Return how long answers are."""
    last = len(found.starts) - 1
    step = found.starts[1] if last else found.longest + 1
    labels = [
        f"{start:,}+" if number == last and found.longest >= start + step else f"{start:,}"
        for number, start in enumerate(found.starts)
    ]
    return Chart(
        f"Length of the answers in {found.unit}",
        f"Half are of at most {found.middle:,} {found.unit}, the longest has {found.longest:,}.",
        {
            "type": "bar",
            "labels": labels,
            "series": [{"label": "answers", "data": list(found.counts), "colour": "c1"}],
            "apart": 0.9,
            "x": f"{found.unit}, from",
            "y": {"title": "answers", "unit": "answers"},
        },
    )
