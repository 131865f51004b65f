"""How does all that was found become one page?

Pure: material in, one HTML file out that asks nothing of any network. Its policy lets only the scripts and
the style run that stand here, by their digest, so that even a hole in the escaping would lead nowhere.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files as resources
from string import Template

from batchscore.report.page import answers, tables, vectors
from batchscore.report.page import requests as asked
from batchscore.report.page.charts import Chart, lengths, over_time, vector_map
from batchscore.report.page.markup import NOTHING, Html, bar, data, element, html, joined, name, table
from batchscore.report.page.model import Material, TaskMaterial
from batchscore.report.page.runs import Run, counts
from batchscore.report.page.time_axis import Together, together
from batchscore.report.page.verdict import Rows, Spent, of_the_quota, rows_of, spent, verdict
from batchscore.report.page.words import counted, day_and_time, duration, large, money, percent, plain
from batchscore.report.timeline import percentile
from batchscore.version import VERSION

MOST_PROBLEMS = 20


def page(found: Material) -> bytes:
    """Return the page, UTF-8."""
    charts: list[Chart] = []
    sections = [section(task, found, charts) for task in found.tasks]
    style, library, script = source("page.css"), source("vendor/chart.umd.min.js"), source("page.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src {digest(style)}; script-src {digest(library)} "
        f"{digest(script)}; base-uri 'none'; form-action 'none'"
    )
    drawn = [{**chart.spec, "id": f"chart-{number}"} for number, chart in enumerate(charts)]
    return (
        Template(source("page.html"))
        .substitute(
            policy=policy,
            generator=html(f"batchscore {VERSION}"),
            title=html(f"{found.output}: batchscore report"),
            style=style,
            where=name(found.output),
            navigation=navigation(found.tasks),
            tasks=joined(sections),
            problems=problems(found.problems),
            footer=html(
                f"Made {day_and_time(found.made)} by batchscore {VERSION}. No text of the input is in it."
            ),
            charts=data(drawn),
            library=library,
            script=script,
        )
        .encode()
    )


@cache
def source(path: str) -> str:
    """Return a file that comes with the page, without the pointer to a map that is not there."""
    text = (resources("batchscore.report.page") / path).read_text("utf-8")
    return text.partition("//# sourceMappingURL=")[0]


def digest(text: str) -> str:
    """Return what a policy calls a script or style by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def navigation(tasks: Sequence[TaskMaterial]) -> Html:
    """Return links to the tasks, where there are several."""
    if len(tasks) < 2:
        return Html("")
    links = joined(element("li", element("a", task.task, href=f"#{task.task}")) for task in tasks)
    return element("nav", element("ul", links), aria_label="Tasks")


def problems(found: Sequence[str]) -> Html:
    """Return what of the output could not be used."""
    if not found:
        return Html("")
    more = [f"and {len(found) - MOST_PROBLEMS:,} more"] if len(found) > MOST_PROBLEMS else []
    listed = joined(element("li", each) for each in [*found[:MOST_PROBLEMS], *more])
    return joined([element("h2", "Left out of this page, or damaged"), element("ul", listed, class_="notes")])


def section(task: TaskMaterial, found: Material, charts: list[Chart]) -> Html:
    """Return all of one task."""
    course = together(task.runs)
    parts: list[Html] = [first_screen(task, found.output, course)]
    parts.append(element("h2", "Over time"))
    if course is None:
        parts.append(element("p", "No run left a course that could be drawn.", class_="note"))
    else:
        note = "Stretches in which nothing ran are left out of the axis." if course.gaps else ""
        drawn = over_time(course)
        note = note if drawn else "There were too few requests for a picture."
        parts.append(element("p", note, class_="note") if note else Html(""))
        parts.append(placed(drawn, charts))
    parts += [
        sample(task, charts),
        element("h2", "Requests"),
        asked.deployments(task.runs),
        asked.retries(task.runs),
        asked.slowest(task.runs),
        element("h2", "Failed rows"),
        tables.failures(task.failures),
        element("h2", "Files"),
        tables.files(task.files, task.unread),
        element("h2", "Runs"),
        tables.runs_table(task.runs),
        tables.notices(task.runs),
        tables.settings(task),
    ]
    return element("section", joined(parts), id=task.task, class_="task")


def placed(wanted: Sequence[Chart], charts: list[Chart]) -> Html:
    """Return the places of some pictures, and note that they are to be drawn there."""
    shown = []
    if len(wanted) % 2 and not wanted[-1].wide:
        # Beside the last one nothing would stand.
        wanted = [*wanted[:-1], replace(wanted[-1], wide=True)]
    for chart in wanted:
        shown.append(chart.figure(f"chart-{len(charts)}"))
        charts.append(chart)
    return element("div", joined(shown), class_="charts")


def first_screen(task: TaskMaterial, output: str, course: Together | None) -> Html:
    """Return how it ended, what to do, what to look at, and the figures that matter."""
    told, rows, cost = verdict(task, output), rows_of(task), spent(task.runs)
    last = task.runs[-1] if task.runs else None
    kind = [task.task, *([name(str(last.settings.get("model", "")))] if last is not None else [])]
    badge = (
        element("span", "simulated", class_="badge") if any(run.simulated for run in task.runs) else Html("")
    )
    block = [
        element("p", joined([joined(kind, " · "), badge]), class_="kind"),
        element("h1", told.title),
        element("p", told.reason) if told.reason else Html(""),
        element("p", told.next_step) if told.next_step else Html(""),
        element("pre", element("code", told.command)) if told.command else Html(""),
    ]
    seen = found_in(task)
    if task.damage:
        check = shlex.join(["batchscore", "verify", output])
        words = "Some of this output is damaged, or a run is at work on it; the end of the page says what."
        seen.insert(0, ("look", f"{words} To check all: {check}"))
    findings = [element("li", words, class_=sort) for sort, words in seen]
    return joined(
        [
            element("div", joined(block), class_=f"verdict {told.kind}"),
            element("ul", joined(findings), class_="findings") if findings else Html(""),
            figures(rows, cost, course, task.runs, len(task.files)),
        ]
    )


def found_in(task: TaskMaterial) -> list[tuple[str, str]]:
    """Return what the sample shows at a glance."""
    found: list[tuple[str, str]] = []
    if any(run.simulated for run in task.runs):
        found.append(("look", "The simulator answered: these are no scores of a real model."))
    if task.map is not None:
        found += vectors.findings(task.map)
    if task.answers is not None:
        found += answers.findings(task.answers)
    return found


def figures(rows: Rows, cost: Spent, course: Together | None, runs: Sequence[Run], files: int) -> Html:
    """Return the key figures."""
    shown: list[tuple[str, str, str]] = [
        ("Scored", counted(rows.ok, "row"), f"of {rows.rows:,} in {counted(files, 'file')}"),
        (
            "Failed",
            counted(rows.failed, "row"),
            f"{rows.empty:,} more are empty" if rows.empty else "none is empty",
        ),
    ]
    if rows.not_reached:
        shown.append(("Not reached", counted(rows.not_reached, "row"), "read, and without a record"))
    if not runs:
        return cells([*shown, ("Time, tokens, requests", "not known", "no record of a run could be read")])
    shown.append(
        ("Took", duration(cost.busy), f"{large(cost.ok / cost.busy * 60)} rows a minute" if cost.busy else "")
    )
    kept = f"{percent(cost.kept / cost.billed)} kept in records" if cost.billed else "none was told"
    shown.append(("Tokens billed", large(cost.billed), kept))
    if cost.money is not None:
        thousand = (
            f"{money(cost.money / cost.ok * 1000)} for a thousand rows" if cost.ok else "no row was scored"
        )
        missing = f"; {len(runs) - cost.priced:,} runs without prices" if cost.priced < len(runs) else ""
        shown.append(("Money, by the prices given", money(cost.money), thousand + missing))
    else:
        shown.append(("Money", "not known", "give --price-in and --price-out"))
    used, of = of_the_quota(course)
    shown.append(("Quota used", used, of))
    if course is not None:
        refused = int(course.total("refused"))
        nothing = refused + int(course.total("failed_requests"))
        shown.append(("Requests", large(cost.requests), f"{nothing:,} came to nothing, {refused:,} by 429"))
        half, most = (percentile(course.steps, share) for share in (0.5, 0.95))
        if half is not None and most is not None:
            shown.append(
                ("Round trip", duration(half), f"half took at most that; 95 % at most {duration(most)}")
            )
    else:
        shown.append(("Requests", large(cost.requests), ""))
    return cells(shown)


def cells(shown: Sequence[tuple[str, str, str]]) -> Html:
    """Return figures: of each its name, the figure, and what more there is to say."""
    pieces = joined(
        element(
            "div",
            joined(
                [element("dt", head), element("dd", main, class_="main"), element("dd", more, class_="more")]
            ),
        )
        for head, main, more in shown
    )
    return element("dl", pieces, class_="figures")


def sample(task: TaskMaterial, charts: list[Chart]) -> Html:
    """Return what a look at some scores shows."""
    what = "vectors" if task.task == "embeddings" else "answers"
    head = element("h2", f"A look at the {what}")
    if task.map is not None:
        found = task.map
        low, middle, high = found.lengths or (0.0, 0.0, 0.0)
        there = counted(sum(each.ok for each in task.files), "vector")
        rows = [
            ("looked at", f"{found.sampled:,} of {there} of {found.dimensions:,} dimensions"),
            ("zero, or not finite", f"{found.zero:,} and {found.odd:,}"),
            (
                "near duplicates",
                f"{counted(found.near, 'pair')} above cosine {vectors.NEAR}, of {found.rows_in_pairs:,} rows",
            ),
            ("lengths", f"{low:.4g} to {high:.4g}, half of at most {middle:.4g}"),
            ("mean cosine of two", NOTHING if found.alike is None else f"{found.alike:.3f}"),
        ]
        seen = table(
            "The same sample each time, of all files; `batchscore report` takes a larger one than a run",
            ("what", "found"),
            rows,
        )
        drawn = placed([vector_map(found)], charts) if len(found.origins) > 1 else Html("")
        return joined([head, drawn, Html("<br>"), seen, tables.pairs(found)])
    if task.answers is not None:
        return joined([head, reasons(task), placed([lengths(each) for each in task.answers.lengths], charts)])
    none = "could be read" if any(each.ok for each in task.files) else "are there yet"
    why = task.sample_left_out or f"No {what} {none}."
    return joined([head, element("p", why, class_="note")])


def reasons(task: TaskMaterial) -> Html:
    """Return why answers ended: of all runs where their records say so, and of the sample."""
    assert task.answers is not None
    of_runs: dict[str, int] = {}
    for run in task.runs:
        for reason, count in counts(run.this_run.get("finish_reasons")).items():
            of_runs[reason] = of_runs.get(reason, 0) + count
    found = of_runs or task.answers.finish_reasons
    whole = sum(found.values()) or 1
    rows = [
        (plain(reason), f"{count:,}", percent(count / whole), bar(count / whole))
        for reason, count in sorted(found.items(), key=lambda item: -item[1])[:20]
    ]
    of = "all runs" if of_runs else "the sample"
    seen = task.answers
    more = f"; of {seen.sampled:,} looked at {seen.empty:,} are empty, {seen.different:,} differ"
    return table(
        f"Why answers ended, of {of}{more}", ("finish_reason", "answers", "share", ""), rows, figures="tnnt"
    )
