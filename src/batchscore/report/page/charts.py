"""Which charts does a page show, and what is in them?

Pure. A chart is data that `page.js` draws, with a title and a sentence for screen readers. Colours are names,
because light and dark mode have their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Any

import numpy as np

from batchscore.errors import duration_text, visible
from batchscore.report.page.answers import Histogram
from batchscore.report.page.markup import Html, element
from batchscore.report.page.time_axis import TimeAxis
from batchscore.report.page.vectors import Origin, VectorMap, points_by_file
from batchscore.report.timeline import percentile
from batchscore.report.words import large_count_text, percent_text, short_name

#: With fewer requests a chart shows nothing useful.
FEWEST_REQUESTS = 3

#: Colours of a map by file, most points first; if there are more files, the last is that of all others.
COLOURS = ("c1", "c2", "c3", "c4", "c5", "c6", "c7", "c9", "c10", "c8")


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart: `spec` is what is drawn, `says` describes it in a sentence, `shape` is `wide` or `tall`."""

    title: str
    says: str
    spec: dict[str, Any]
    shape: str = ""

    def figure(self, number: str) -> Html:
        """Return the element in which it is drawn."""
        canvas = element("canvas", "", id=number, role="img", aria_label=f"{self.title}. {self.says}")
        caption = element("figcaption", self.title, element("small", self.says))
        return element("figure", caption, element("div", canvas, class_="canvas"), class_=self.shape)


def over_time(axis: TimeAxis) -> list[Chart]:
    """Return the charts of a time axis; none if there are too few requests."""
    if axis.total("requests") < FEWEST_REQUESTS:
        return []
    charts = [rate(axis, "tpm"), rate(axis, "rpm"), rows(axis), latency(axis)]
    return [chart for chart in (*charts, trouble(axis), in_flight(axis)) if chart is not None]


def rate(axis: TimeAxis, kind: str) -> Chart | None:
    """Return the chart of tokens or requests per minute and their limit."""
    names = ("prompt_tokens", "completion_tokens") if kind == "tpm" else ("requests",)
    what = "tokens" if kind == "tpm" else "requests"
    total = axis.total(*names)
    if not total:
        return None
    shown = [series(f"{what} per minute", axis.per_minute(*names), "c1", type="line", fill=True)]
    mean = large_count_text(total * 60 / axis.seconds.sum())
    says = f"{large_count_text(total)} {what}, {mean} per minute on average"
    used = axis.used(kind)
    if used is None:
        says += "; the limit is unknown"
    else:
        shown.append(series("limit", axis.limits[kind], "limit", type="line", dashed=True, order=-1))
        says += f", {percent_text(used, decimals=1)} of the limit over the whole run"
    y = {"title": f"{what} per minute", "unit": "per minute"}
    return over_axis(axis, f"{what.capitalize()} per minute and their limit", f"{says}.", shown, y)


def series(label: str, values: Iterable[float], colour: str, **more: Any) -> dict[str, Any]:
    """Return one series of a chart; `nan` is unknown."""
    figures = [None if isnan(value) else rounded(value) for value in values]
    return {"label": label, "data": figures, "colour": colour, **more}


def over_axis(
    axis: TimeAxis, title: str, says: str, shown: Sequence[dict[str, Any]], y: dict[str, Any], **more: Any
) -> Chart:
    """Return a chart over time."""
    x = "time since the start" if axis.clock == "elapsed" else "time (UTC)"
    spec = {"labels": list(axis.labels), "ticks": list(axis.ticks), "x": x, "series": shown, "y": y}
    return Chart(title, says, {"type": shown[0].get("type", "bar"), **spec, **more})


def rows(axis: TimeAxis) -> Chart | None:
    """Return the chart of scored and failed rows per minute."""
    kinds = (("ok", "scored", "c3"), ("failed", "failed", "limit"), ("empty", "empty", "c8"))
    found = [kind for kind in kinds if axis.total(kind[0])]
    if not found:
        return None
    shown = [series(label, axis.per_minute(name), colour) for name, label, colour in found]
    counts = ", ".join(f"{axis.total(name):,.0f} {label}" for name, label, _ in found)
    y = {"title": "rows per minute", "unit": "per minute", "stacked": True}
    return over_axis(
        axis, "Rows per minute", f"Rows that got a record, a retried row each time: {counts}.", shown, y
    )


def latency(axis: TimeAxis) -> Chart | None:
    """Return the chart of latency percentiles."""
    counted = sum(axis.steps, Counter[int]())
    if not counted:
        return None
    # p99 is dotted and on top: where it equals p95, both show.
    shares: tuple[tuple[str, float, str, dict[str, Any]], ...] = (
        ("p50", 0.5, "c1", {}),
        ("p95", 0.95, "c5", {}),
        ("p99", 0.99, "c6", {"dotted": True, "order": -1}),
    )
    shown = [
        series(label, [percentile(each, share) or nan for each in axis.steps], colour, type="line", **more)
        for label, share, colour, more in shares
    ]
    known = [value for each in shown for value in each["data"] if value is not None]
    limits = {"least": rounded(min(known) / 1.5), "most": rounded(max(known) * 1.5)}
    y = {"title": "latency", "unit": "seconds", "log": True, **limits}
    overall = [f"{label} {duration_text(percentile(counted, share) or 0.0)}" for label, share, *_ in shares]
    says = f"All requests: {', '.join(overall)}. The axis is logarithmic."
    return over_axis(axis, "Latency of requests", says, shown, y)


def trouble(axis: TimeAxis) -> Chart | None:
    """Return the chart of failed requests, and of the time in which no request could be sent."""
    counts = (("refused", "429s", "c2"), ("failed_requests", "other failures", "limit"))
    times = (("paused", "time paused by the service", "c4"), ("down", "time not responding", "c6"))
    shown = [series(label, axis.sums[name], colour) for name, label, colour in counts if axis.total(name)]
    watched = np.maximum(axis.sums["watched"], 0.001)
    in_trouble = [
        series(label, np.minimum(axis.sums[name] / watched, 1) * 100, colour, type="line", axis="y2")
        for name, label, colour in times
        if axis.total(name)
    ]
    if not shown and not in_trouble:
        return None
    refused, failed, paused, down = (axis.total(name) for name, _, _ in (*counts, *times))
    says = f"{refused:,.0f} 429s, {failed:,.0f} other failures"
    says += f", {duration_text(paused)} paused by the service" if paused else ""
    says += f", {duration_text(down)} without responses" if down else ""
    y = {"title": "requests", "unit": "requests", "stacked": True, "whole": True}
    more: dict[str, Any] = {"type": "bar"}
    if in_trouble:
        more["y2"] = {"title": "% of the time", "unit": "% of the time", "most": 100}
    return over_axis(axis, "429s, failures and pauses", f"{says}.", [*shown, *in_trouble], y, **more)


def in_flight(axis: TimeAxis) -> Chart | None:
    """Return the chart of requests in flight."""
    total = axis.total("watched")
    if not total or not axis.total("in_flight"):
        return None
    values = axis.sums["in_flight"] / axis.seconds
    mean = axis.total("in_flight") / axis.seconds.sum()
    waited = percent_text(axis.total("for_quota"), total, decimals=1)
    says = (
        f"{mean:,.1f} on average, at most {values.max():,.0f}. Requests waited for quota {waited} of the run."
    )
    shown = [series("in flight", values, "c7", type="line", fill=True)]
    y = {"title": "requests in flight", "unit": "in flight", "whole": True}
    return over_axis(axis, "Requests in flight", says, shown, y)


def vector_map(vectors: VectorMap) -> Chart:
    """Return the map of vectors, by file."""
    shown = [
        {
            "label": short_name(visible(file)),
            "colour": colour,
            "data": [[rounded(value) for value in vectors.places[index]] for index in indexes],
            "tips": [tip(vectors.origins[index]) for index in indexes],
            # A higher order is drawn below: large groups must not hide small ones.
            "order": len(indexes),
        }
        for colour, (file, indexes) in zip(COLOURS, points_by_file(vectors, len(COLOURS)), strict=False)
    ]
    shares = [percent_text(share, decimals=1) for share in vectors.explained]
    says = (
        f"{len(vectors.origins):,} vectors of {vectors.dimensions:,} dimensions on two principal components, "
        f"which show {shares[0]} and {shares[1]} of the variance. Texts of close points are similar; "
        "those of distant points may be similar in dimensions that are not shown."
    )
    spec = {
        "type": "scatter",
        "series": shown,
        "points": len(vectors.origins),
        "x": f"first component ({shares[0]})",
        "y": {"title": f"second component ({shares[1]})"},
    }
    return Chart("Map of the vectors, by file", says, spec, shape="wide tall")


def rounded(value: float) -> float:
    """Return a figure with the digits that a chart shows."""
    return float(f"{value:.4g}")


def tip(origin: Origin) -> Sequence[Any]:
    """Return the row of a point, for its tooltip."""
    return [visible(origin.file), origin.row, None if origin.id is None else visible(origin.id)]


def lengths(title: str, histogram: Histogram, counted: str, says: str = "") -> Chart:
    """Return the chart of lengths, such as those of answers; `counted` is what has a length."""
    last = len(histogram.starts) - 1
    step = histogram.starts[1] if last else histogram.longest + 1
    labels = [f"{start:,}" for start in histogram.starts]
    if histogram.longest >= histogram.starts[last] + step:
        labels[last] += "+"
    says = f"Median {histogram.median:,} {histogram.unit}, longest {histogram.longest:,}. {says}".strip()
    return bars(
        title, says, labels, [series(counted, histogram.counts, "c1")], f"{histogram.unit}, from", counted
    )


def bars(
    title: str,
    says: str,
    labels: Sequence[str],
    shown: Sequence[dict[str, Any]],
    x: str,
    counted: str,
    **y: Any,
) -> Chart:
    """Return the chart of counts by something that is not time."""
    axes = {"x": x, "y": {"title": counted, "unit": counted, "whole": True, **y}}
    return Chart(title, says, {"type": "bar", "labels": labels, "series": shown, "apart": 0.9, **axes})
