"""How does content become one file that uses no network, in the look of all our pages?

Pure. The content security policy allows only our scripts and style, by their digests, so that even an error
in the escaping would be harmless. It does not know what a page is about.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

from batchscore.report.page.charts import Chart
from batchscore.report.page.markup import Html, data, element, html, name
from batchscore.version import VERSION


@dataclass(frozen=True, slots=True)
class Frame:
    """What is around the content. `where` is the output, as others named it; `style` comes after ours."""

    title: str
    brand: str
    where: str
    footer: str
    style: str = ""


def document(frame: Frame, navigation: Html, body: Html, charts: Sequence[dict[str, Any]]) -> bytes:
    """Return the page, UTF-8."""
    style = source("page.css") + frame.style
    library, script = source("vendor/chart.umd.min.js"), source("page.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src {digest(style)}; script-src {digest(library)} "
        f"{digest(script)}; base-uri 'none'; form-action 'none'"
    )
    made = Template(source("page.html")).substitute(
        policy=policy,
        generator=html(f"batchscore {VERSION}"),
        title=html(frame.title),
        style=style,
        brand=html(frame.brand),
        where=name(frame.where),
        navigation=navigation,
        body=body,
        footer=html(frame.footer),
        charts=data(charts),
        library=library,
        script=script,
    )
    return made.encode()


@cache
def source(path: str) -> str:
    """Return a file of the page's package, without the link to a source map that does not exist."""
    text = (Path(__file__).parent / path).read_text("utf-8")
    return text.partition("//# sourceMappingURL=")[0]


def digest(text: str) -> str:
    """Return the digest of a script or style for the policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def place_charts(wanted: Sequence[Chart], charts: list[dict[str, Any]]) -> Html:
    """Return the elements of some charts, and add what is drawn in them to that of all charts."""
    shown = []
    if len(wanted) % 2 and not wanted[-1].shape:
        # Nothing would be next to the last one.
        wanted = [*wanted[:-1], replace(wanted[-1], shape="wide")]
    for chart in wanted:
        number = f"chart-{len(charts)}"
        shown.append(chart.figure(number))
        charts.append({**chart.spec, "id": number})
    return element("div", *shown, class_="charts")


def cells(shown: Sequence[tuple[str, str, str]]) -> Html:
    """Return figures: for each its name, the figure, and a remark."""
    pieces = (
        (element("dt", head), element("dd", main, class_="main"), element("dd", more, class_="more"))
        for head, main, more in shown
    )
    return element("dl", *(element("div", *each) for each in pieces), class_="figures")
