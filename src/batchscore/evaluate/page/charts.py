"""Which charts does the page of an evaluation show?

Pure. `page.js` of the report draws them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from batchscore.errors import visible
from batchscore.evaluate.evaluation import Evaluation
from batchscore.evaluate.page.examples import Examples
from batchscore.evaluate.vector_judges import DEPTHS
from batchscore.report.page.charts import COLOURS, Chart, rounded, series
from batchscore.report.words import short_name


def charts_of(evaluation: Evaluation, examples: Examples) -> list[Chart]:
    """Return the charts of an evaluation; none if its task has none."""
    if evaluation.task.kind == "ranking":
        chart = _found_by_depth(evaluation)
        return [chart] if chart.spec["series"] else []
    if evaluation.task.kind in {"pairs", "numbers"} and examples.points:
        return [_scatter(evaluation, examples)]
    return []


def _found_by_depth(evaluation: Evaluation) -> Chart:
    """Return the share of relevant documents among the first ones, if all documents have a vector."""
    shown = []
    for colour, model in zip(COLOURS, evaluation.models, strict=False):
        if not model.counts.others_known:
            continue
        means = [float(model.rows.tables[f"recall_at_{depth}"][:, 0].mean()) for depth in DEPTHS]
        shown.append(series(short_name(visible(model.name)), means, colour, type="line"))
    spec = {
        "type": "line",
        "labels": [str(depth) for depth in DEPTHS],
        "series": shown,
        "x": "first documents",
        "y": {"title": "share that is found", "unit": "", "most": 1},
    }
    says = "How many of the relevant documents are among the first ones, as a mean over all queries."
    return Chart("Relevant documents by depth", says, spec, shape="wide")


def _scatter(evaluation: Evaluation, examples: Examples) -> Chart:
    """Return labels against cosines or numbers of answers."""
    what = "cosine" if evaluation.task.kind == "pairs" else "answer"
    shown: list[dict[str, Any]] = []
    for number, (colour, model) in enumerate(zip(COLOURS, evaluation.models, strict=False)):
        pairs = model.rows.tables["pairs"]
        places = [place for place in examples.points if np.isfinite(pairs[place]).all()]
        rows = [examples.row(number, place) for place in places]
        shown.append(
            {
                "label": short_name(visible(model.name)),
                "colour": colour,
                "data": [[rounded(pairs[place, 1]), rounded(pairs[place, 0])] for place in places],
                "tips": [
                    [visible(row["file"]), row["row"], None if row["id"] is None else visible(row["id"])]
                    for row in rows
                ],
                "order": number,
            }
        )
    spec = {
        "type": "scatter",
        "series": shown,
        "points": sum(len(each["data"]) for each in shown),
        "x": "label",
        "y": {"title": what},
    }
    says = f"Each point is a row; {len(examples.points):,} rows are shown."
    return Chart(f"Label and {what}", says, spec, shape="wide tall")
