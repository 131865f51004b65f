"""How do the facts become one page?

Pure: data in, HTML out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from batchscore.errors import ErrorCode, count_text, duration_text, name_settings
from batchscore.report.page import answers, tables, vectors
from batchscore.report.page.charts import lengths, over_time, vector_map
from batchscore.report.page.frame import Frame, cells, document, place_charts
from batchscore.report.page.markup import NOTHING, Html, bar, concat, element, name, table
from batchscore.report.page.model import PageData, TaskData
from batchscore.report.page.runs import counts, number
from batchscore.report.page.time_axis import TimeAxis, merge_spans, time_axis
from batchscore.report.page.verdict import missing, quota_used, total_of, verdict
from batchscore.report.timeline import percentile
from batchscore.report.words import code_text, large_count_text, moment_text, money_text, percent_text
from batchscore.settings.declare import as_flag
from batchscore.stores.address import command_word, shell_command
from batchscore.task import EMBEDDINGS
from batchscore.version import VERSION

MOST_PROBLEMS = 20


def page(content: PageData) -> bytes:
    """Return the page, UTF-8."""
    charts: list[dict[str, Any]] = []
    sections = [section(task, content, charts) for task in content.tasks]
    footer = f"Written {moment_text(content.made)} by batchscore {VERSION}. Contains no text of the input."
    return document(
        Frame(
            title=f"{content.output}: batchscore report",
            brand="batchscore report",
            where=content.output,
            footer=footer,
        ),
        navigation(content.tasks),
        concat([*sections, problems(content.problems)]),
        charts,
    )


def navigation(tasks: Sequence[TaskData]) -> Html:
    """Return links to the tasks, if there are several."""
    if len(tasks) < 2:
        return Html("")
    links = (element("li", element("a", task.task, href=f"#{task.task}")) for task in tasks)
    return element("nav", element("ul", *links), aria_label="Tasks")


def problems(messages: Sequence[str]) -> Html:
    """Return the problems with the output."""
    if not messages:
        return Html("")
    more = [f"and {len(messages) - MOST_PROBLEMS:,} more"] if len(messages) > MOST_PROBLEMS else []
    listed = element(
        "ul", *(element("li", each) for each in [*messages[:MOST_PROBLEMS], *more]), class_="notes"
    )
    return concat([element("h2", "Damaged, or left out of this page"), listed])


def section(task: TaskData, content: PageData, charts: list[dict[str, Any]]) -> Html:
    """Return all of one task."""
    axis = time_axis(task.runs)
    drawn = [] if axis is None else over_time(axis)
    note = "No run has a timeline." if axis is None else "There are too few requests for charts."
    if axis is not None and drawn:
        note = "Times without a run are left out of the axis." if axis.gaps else ""
    parts = [
        first_screen(task, content.output, axis),
        element("h2", "Timeline"),
        element("p", note, class_="note") if note else Html(""),
        place_charts(drawn, charts),
        sample(task, charts),
        element("h2", "Requests"),
        tables.deployments(task.runs),
        tables.retries(task.runs),
        tables.slowest(task.runs),
        element("h2", "Failed rows"),
        tables.failures(task.failures),
        element("h2", "Files"),
        tables.files(task.files, task.unread),
        tables.readings(task.runs),
        element("h2", "Runs"),
        tables.runs_table(task),
        tables.notices(task.runs),
        tables.settings(task),
    ]
    return element("section", *parts, id=task.task, class_="task")


def first_screen(task: TaskData, output: str, axis: TimeAxis | None) -> Html:
    """Return how the task ended, the next step, obvious problems, and the key figures."""
    result = verdict(task, output)
    kind = [task.task, *(name(str(run.settings.get("model", ""))) for run in task.runs[-1:])]
    simulated = any(run.simulated for run in task.runs)
    badge = element("span", "simulated", class_="badge") if simulated else Html("")
    block = [element("p", concat(kind, " · "), badge, class_="kind"), element("h1", result.title)]
    if result.reason:
        block.append(element("p", result.reason))
    if result.next_step is not None:
        step = result.next_step
        # A page may be opened and written anywhere, and names in a command are those of one folder.
        where = " in the folder where the last run was started:"
        block.append(element("p", f"{step.text}{where}" if step.command else step.lead))
        if step.command:
            # A browser would end a line within an option, after a hyphen.
            pieces = [element("span", each) if "-" in each else each for each in step.command.split(" ")]
            block.append(element("pre", element("code", concat(pieces, " "))))
    findings = findings_of(task)
    if task.unconfirmed:
        findings.insert(0, ("look", task.unconfirmed))
    if task.damage:
        check = shell_command(["batchscore", "verify", command_word(output)])
        words = "Parts of this output are damaged, or a run is writing to it; see the end of the page."
        findings.insert(0, ("look", f"{words} To check all parts, run: {check}"))
    listed = [element("li", name_settings(words, as_flag), class_=kind) for kind, words in findings]
    shown = element("div", *block, class_=f"verdict {result.kind}")
    below = element("ul", *listed, class_="findings") if listed else Html("")
    return concat([shown, below, figures(task, axis)])


def findings_of(task: TaskData) -> list[tuple[str, str]]:
    """Return the obvious problems of the sample."""
    found: list[tuple[str, str]] = []
    if any(run.simulated for run in task.runs):
        found.append(("look", "These scores are simulated: they are not from a real model."))
    if task.map is not None:
        found += vectors.findings(task.map)
    if task.answers is not None:
        found += answers.findings(task.answers)
    invalid, share = invalid_answers(task)
    if invalid:
        found.append(("look", f"{share} did not match the schema."))
    return found


def invalid_answers(task: TaskData) -> tuple[int, str]:
    """Return the number of rows whose answers did not match the schema, and that number with its share."""
    invalid = task.failures.by_code.get(ErrorCode.INVALID_ANSWER.value, 0)
    about = "" if task.failures.read == task.failures.total else "At least "
    whole = invalid + total_of(task).ok
    if not whole:
        return 0, "no answers yet"
    return invalid, f"{about}{invalid:,} ({percent_text(invalid, whole, decimals=1)}) of {whole:,} answers"


def figures(task: TaskData, axis: TimeAxis | None) -> Html:
    """Return the key figures."""
    runs, rows = task.runs, total_of(task)
    empty = f"{rows.empty:,} more are empty" if rows.empty else "none is empty"
    open_files = any(each.state in {"partial", "not_started"} for each in task.files)
    of_all = f"of {rows.rows:,} {'read so far ' if open_files else ''}" if rows.rows else ""
    shown: list[tuple[str, str, str]] = [
        ("Scored", count_text(rows.ok, "row"), f"{of_all}in {count_text(len(task.files), 'file')}"),
        ("Failed", count_text(rows.failed, "row"), empty),
    ]
    if any(run.settings.get("schema") for run in runs):
        invalid, share = invalid_answers(task)
        shown.append(("Invalid answers", f"{invalid:,}", share))
    if open_files:
        shown.append(("Remaining", "unknown", missing(task)))
    elif rows.not_reached:
        where = f"{task.submitted} at the service's Batch API" if task.submitted else "not scored yet"
        shown.append(("Remaining", count_text(rows.not_reached, "row"), where))
    if not runs:
        return cells([*shown, ("Duration, tokens, requests", "unknown", "no run record could be read")])
    ok, requests, kept, *tokens = (
        int(sum(number(run.this_run, name) for run in runs))
        for name in ("ok", "requests", "tokens_kept", "prompt_tokens", "completion_tokens")
    )
    killed = sum(not run.ended for run in runs)
    unended = f"{count_text(killed, 'run')} did not end" if killed else ""

    def at_least(amount: float, words: str) -> str:
        return words if not killed else f"at least {words}" if amount else "unknown"

    spans = merge_spans([(run.started, run.started + run.seconds) for run in runs], gap=0.0)
    busy, billed = sum(end - start for start, end in spans), sum(tokens)
    speed = f"{large_count_text(ok / busy * 60)} scored rows per minute" if busy else ""
    shown.append(("Duration", at_least(busy, duration_text(busy)), speed))
    share = f"{percent_text(kept, billed, decimals=1)} kept in records" if billed else ""
    notes = "; ".join(filter(None, (share, unended))) or "the service reported none"
    shown.append(("Tokens billed", at_least(billed, large_count_text(billed)), notes))
    costs = [cost for run in runs if (cost := run.cost) is not None]
    if not costs and killed == len(runs):
        shown.append(("Cost", "unknown", unended))
    elif not costs:
        shown.append(("Cost", "unknown", f"set {as_flag('price_in')} and {as_flag('price_out')}"))
    else:
        each = f"{money_text(sum(costs) / ok * 1000)} per 1,000 rows" if ok else "no row scored"
        without = len(runs) - len(costs) - killed
        unpriced = f"{count_text(without, 'run')} without prices" if without else ""
        notes = "; ".join(filter(None, (each, unended, unpriced)))
        shown.append(("Cost at the given prices", at_least(sum(costs), money_text(sum(costs))), notes))
    shown.append(("Quota used", *quota_used(axis)))
    counted = ""
    if axis is not None:
        refused, failed = int(axis.total("refused")), int(axis.total("refused", "failed_requests"))
        counted = f"{failed:,} retried or failed, {refused:,} with 429"
    shown.append(("Requests", at_least(requests, large_count_text(requests)), counted))
    latencies = Counter[int]() if axis is None else sum(axis.steps, Counter[int]())
    if latencies:
        p50, p95, p99 = (duration_text(percentile(latencies, share) or 0.0) for share in (0.5, 0.95, 0.99))
        shown.append(("Latency", p50, f"median; p95 {p95}, p99 {p99}"))
    return cells(shown)


def sample(task: TaskData, charts: list[dict[str, Any]]) -> Html:
    """Return what a sample of scores shows."""
    what = "vectors" if task.task == EMBEDDINGS.name else "answers"
    head = element("h2", f"Sample of the {what}")
    scored = sum(each.ok for each in task.files)
    if task.map is not None:
        mapped = task.map
        low, median, high = mapped.lengths or (0.0, 0.0, 0.0)
        there, pairs = count_text(scored, "vector"), count_text(mapped.near, "pair")
        rows = [
            ("read", f"{mapped.sampled:,} of {there} with {mapped.dimensions:,} dimensions"),
            ("zero, or not finite", f"{mapped.zero:,} and {mapped.odd:,}"),
            ("near duplicates", f"{pairs} above cosine {vectors.NEAR}; {mapped.rows_in_pairs} rows"),
            ("vector length", f"{low:.4g} to {high:.4g}, median {median:.4g}"),
            ("mean cosine", NOTHING if mapped.alike is None else f"{mapped.alike:.3f}"),
        ]
        caption = "A fixed sample over all files; `batchscore report` reads a larger one"
        drawn = place_charts([vector_map(mapped)], charts) if len(mapped.origins) > 1 else Html("")
        facts = table(caption, "property, value", rows)
        return concat([head, drawn, Html("<br>"), facts, tables.pairs(mapped)])
    if task.answers is not None:
        found = [
            lengths(f"Length of the answers in {each.unit}", each, "answers") for each in task.answers.lengths
        ]
        drawn = place_charts(found, charts)
        return concat([head, reasons(task), tables.enums(task.answers.enums), drawn])
    why = task.no_sample or f"No {what} {'could be read' if scored else 'yet'}."
    return concat([head, element("p", why, class_="note")])


def reasons(task: TaskData) -> Html:
    """Return the finish reasons: of all runs if recorded, otherwise of the sample."""
    assert task.answers is not None
    of_runs, seen = Counter[str](), task.answers
    for run in task.runs:
        of_runs.update(counts(run.this_run.get("finish_reasons")))
    found = of_runs or Counter(seen.finish_reasons)
    whole = found.total() or 1
    rows = [
        (code_text(reason), count, percent_text(count, whole, decimals=1), bar(count / whole))
        for reason, count in found.most_common(20)
    ]
    caption = (
        f"Finish reasons of {'all runs' if of_runs else 'the sample'}; "
        f"of {count_text(seen.sampled, 'answer')} read, {seen.empty:,} empty and {seen.different:,} different"
    )
    return table(caption, "finish_reason, answers:n, share:n, ", rows)
