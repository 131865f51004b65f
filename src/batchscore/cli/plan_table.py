"""What would a run do: as tables for people, and as one JSON object?

Pure except for the given console. It shows no cell of the input and no secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from batchscore.cli.say import limited_lists, worded
from batchscore.errors import count_text, duration_text, name_settings, setting_name, visible
from batchscore.plan.batches import ON_AZURE, own_lines, tokens_at_once
from batchscore.plan.figures import FileFigures
from batchscore.plan.make import Plan
from batchscore.report.words import money_text, short_name, size_text
from batchscore.settings.declare import as_flag
from batchscore.task import EMBEDDINGS, TASKS

#: Up to this many files are all listed; of more, only the largest and those with problems.
MOST_SHOWN = 20
LARGEST_SHOWN = 8
WRONG_SHOWN = 8

COLUMNS = ("rows", "empty", "oversized", "unreadable", "prompt tokens")

#: Reasons why rows are not scored; a column of zeros is left out.
NOT_SCORED = ("empty", "oversized", "unreadable")

#: Names of files are cut to fit, but not to less than this.
SHORTEST_NAME = 8

#: Width of a limit or a duration in characters.
MOST_PACE = 11

#: Why rows are not scored or differ from others, by the count of each file, and what can be done.
REMARKS = {
    "row_too_large": f"oversized: {{}} above {setting_name('max_row_bytes')} (raise it, or split the row).",
    "input_too_long": "oversized: {} longer than the model's context (shorten, or "
    f"{setting_name('on_long_input', 'truncate')}).",
    "above_quota": f"oversized: {{}} above a minute of {setting_name('tpm')} (raise it, or shorten the row).",
    "truncated": f"{{}} too long: they would be truncated ({setting_name('on_long_input', 'truncate')}).",
    "with_images": "{} with images, whose tokens are estimated by the published rules of tiles and patches.",
    "with_pictures": "{} with images, audio or files, whose tokens are not counted.",
}


#: The counts of rows of each file in JSON.
ROW_COUNTS = (
    *("empty", "oversized", "row_too_large", "input_too_long", "above_quota", "truncated", "unreadable"),
)


def show(plan: Plan, console: Console) -> None:
    """Print a plan."""
    console.print(Text(headline(plan)))
    console.print(files_table(plan.totals.files, console.width))
    console.print()
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in facts_of(plan):
        facts.add_row(Text(name, style="bold"), Text(worded(value)))
    console.print(facts)
    if not plan.given and plan.totals.all_requests and plan.batches is None:
        console.print(Text("\nDuration at common limits (neither --tpm nor --rpm is set)\n"))
        console.print(paces_table(plan))
        console.print()
    for line in notes(plan):
        console.print(Text(worded(line)))


def headline(plan: Plan) -> str:
    """Return the task, the model and the amount of input in one line."""
    settings, found = plan.settings, plan.totals
    simulated = " on the simulator" if settings.simulate else ""
    rows, others = count_text(found.rows, "row"), len(plan.survey.problems)
    return (
        f"{settings.task} with {settings.model}{simulated}: {'' if found.exact else 'about '}{rows} "
        f"in {count_text(len(found.files), 'file')}"
        f"{f'; {others:,} more cannot be scored' if others else ''}"
    )


def facts_of(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield the totals, each with its name."""
    found, settings = plan.totals, plan.settings
    vectors = settings.task == EMBEDDINGS.name
    if found.known:
        failed = min(plan.scored.failed, found.known)
        ends = (
            f"; {failed:,} of them failed ({setting_name('retry_errors', True)} sends these again)"
            if failed
            else ""
        )
        yield "already done", f"{count_text(found.known, 'row')} of earlier runs, at no cost{ends}"
    none = [name for name in NOT_SCORED if not any(getattr(one, name) for one in found.files)]
    yield "to score", count_text(found.prompts, "row") + (f"; none is {enumeration(none)}" if none else "")
    yield "prompt tokens", f"{found.tokens:,}, counted {plan.counter.how}\n({plan.counter.accuracy})"
    if not vectors:
        yield "answer tokens", answer_tokens_text(plan)
    if plan.survey.answers is not None:
        yield "answer schema", plan.survey.answers.summary
    test = "; one is a test of ours, and in the cost" if own_lines(settings, found) else ""
    yield "requests", f"{plan.requests:,}{test}"
    if plan.batches is not None:
        yield "batches", batches_text(plan)
        yield "duration", "within 24 hours of each batch; Azure OpenAI may take longer"
    elif plan.given and found.all_requests:
        ((limits, pace),) = plan.paces
        pairs = ((limits.tpm, "tokens/min"), (limits.rpm, "requests/min"))
        known = " and ".join([f"{limit:,.10g} {what}" for limit, what in pairs if limit is not None])
        at = known or "the limits of all deployments"
        share = f" (a share of {settings.quota_share:g})" if settings.quota_share < 1 else ""
        by = f"; limited by {pace.decided_by}" if pace.decided_by else ""
        yield "duration", f"at least {duration_text(pace.minutes * 60)} at {at}{share}{by}"
    yield "output", output_text(plan)
    if plan.cost is not None:
        most = "" if vectors else "at most " if settings.answer_tokens is not None else "with that estimate "
        prices = f"input {settings.price_in:g}" + ("" if vectors else f", output {settings.price_out:g}")
        factor = f", times {settings.batch_price_factor:g} in batches" if plan.batches is not None else ""
        yield "estimated cost", f"{most}{money_text(plan.cost)} ({prices} per 1M tokens{factor})"
    elif settings.prices is not None:
        yield "estimated cost", f"unknown: the prices have no table for {settings.model}"
    elif settings.price_in is not None or settings.price_out is not None:
        missing = "price_in" if settings.price_in is None else "price_out"
        yield "estimated cost", f"unknown without {setting_name(missing)}"


def batches_text(plan: Plan) -> str:
    """Return how many batches the rows fill, and how many tokens these have at once."""
    first = ", the first one small" if (plan.batches or 0) > 1 and not plan.settings.no_canary else ""
    tokens = tokens_at_once(plan.settings, plan.totals)
    text = f"about {plan.batches:,}{first}; up to {tokens:,} prompt tokens at once"
    task = plan.settings.task
    return text if task in ON_AZURE else f"{text}\n(Azure OpenAI takes no {task} in batches)"


def enumeration(words: Sequence[str]) -> str:
    """Return words as an enumeration with `or` before the last one."""
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def answer_tokens_text(plan: Plan) -> str:
    """Return the number of answer tokens, and how certain it is."""
    if plan.settings.answer_tokens is not None:
        return f"{plan.answer_tokens:,} at most, as limited by the settings"
    default = TASKS[plan.settings.task].default_answer_tokens
    limit = setting_name("max_tokens")
    if default is not None:
        return f"{plan.answer_tokens:,}: {default} per row, the service's default without {limit}"
    return f"{plan.answer_tokens:,}, a guess of 200 per row: limit them with {limit}"


def output_text(plan: Plan) -> str:
    """Return the size of the output, or why it is unknown."""
    vectors = plan.settings.task == EMBEDDINGS.name
    if plan.bytes is not None:
        length = f" (vectors of {plan.dimensions:,} numbers)" if vectors else ""
        return f"about {size_text(plan.bytes)}{length}"
    if vectors and plan.dimensions is None:
        return f"unknown: the vector length of this model is not known ({setting_name('dimensions')})"
    return f"unknown: {setting_name('usage')} and {setting_name('raw')} store what the service returns"


def files_table(files: Sequence[FileFigures], width: int) -> Table:
    """Return the files with their figures and the total; reasons that no row has are left out."""
    shown = files_to_list(files)
    rest = [figures for figures in files if not any(figures is one for one in shown)]
    groups = [[figures] for figures in shown] + ([rest] if rest else []) + ([files] if len(files) > 1 else [])
    columns = [name for name in COLUMNS if name not in NOT_SCORED or any(getattr(one, name) for one in files)]
    cells = [[cell(group, name) for name in columns] for group in groups]
    widths = [max(map(len, figures)) for figures in zip(columns, *cells, strict=True)]
    room = max(SHORTEST_NAME, width - sum(widths) - 3 * len(widths))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("file", no_wrap=True)
    for name, *figures in zip(columns, *cells, strict=True):
        # In a narrow terminal heads take two lines and names are cut, but never figures.
        table.add_column(name, justify="right", min_width=max(map(len, (*name.split(), *figures))))
    for one, row in zip(shown, cells, strict=False):
        table.add_row(Text(short_name(visible(one.file), room)), *row)
    if rest:
        table.add_row(Text(f"{len(rest):,} more files", style="italic"), *cells[len(shown)])
    if len(files) > 1:
        table.add_row(Text("all files"), *cells[-1], style="bold")
    return table


def files_to_list(files: Sequence[FileFigures]) -> list[FileFigures]:
    """Return the files that the table lists, in input order."""
    if len(files) <= MOST_SHOWN:
        return list(files)
    largest = sorted(files, key=lambda one: -(one.tokens or one.all_rows))[:LARGEST_SHOWN]
    wrong = [one for one in files if one.problem or one.oversized or one.unreadable][:WRONG_SHOWN]
    return [one for one in files if any(one is other for other in (*largest, *wrong))]


def cell(files: Sequence[FileFigures], name: str) -> str:
    """Return the total of a figure over files."""
    if name == "rows":
        exact = all(figures.exact for figures in files)
        return f"{'' if exact else '~'}{sum(figures.all_rows for figures in files):,}"
    if name in NOT_SCORED:
        return f"{sum(one.total(name) for one in files):,}"
    return f"{sum(one.tokens for one in files):,.0f}"


def paces_table(plan: Plan) -> Table:
    """Return the duration at common limits of deployments."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("tokens/min", "requests/min", "at least"):
        table.add_column(name, justify="right", min_width=MOST_PACE)
    table.add_column("limited by", min_width=len("limited by"))
    for limits, pace in plan.paces:
        duration = duration_text(pace.minutes * 60)
        table.add_row(f"{limits.tpm:,.0f}", f"{limits.rpm:,.0f}", duration, pace.decided_by)
    return table


def notes(plan: Plan) -> Iterator[str]:
    """Yield what else the user should know, a line each."""
    found, scored = plan.totals, plan.scored
    yield from plan.unused
    if found.sampled:
        part = sum(one.read > 0 for one in found.files)
        yield (
            f"Sampled: {part:,} of {count_text(len(found.files), 'file')} were read, "
            f"{sum(0 < one.read < 1 for one in found.files):,} of them in part. Figures with ~ and tokens "
            "are estimates. --exact reads everything."
        )
    if found.packed < found.taken:
        equal = count_text(round(found.prompts - found.sent), "row")
        yield f"{equal} with a duplicate prompt cost nothing ({setting_name('dedup')})."
    if found.limited:
        yield f"Only the first rows are planned ({setting_name('limit')})."
    if scored.discarded:
        scores = count_text(scored.discarded, "score")
        yield f"{setting_name('overwrite')} would discard {scores} that the output holds."
    if scored.changed:
        changed = count_text(len(scored.changed), "file")
        yield f"{changed} changed since scored: only rows with a new prompt are sent."
    yield from limited_lists({"damaged": list(scored.lost.items())}, "--json lists all")
    for name, remark in REMARKS.items():
        rows = sum(one.total(name) for one in found.files)
        if rows:
            yield remark.format(count_text(rows, "row"))
    lists = {"read": plan.survey.said, "cannot be scored (completely)": plan.unreadable}
    yield from limited_lists({**lists, **plan.survey.left_out}, "--json lists all")


def to_json(plan: Plan) -> dict[str, Any]:
    """Return a plan as one JSON object; unknown figures are null."""
    settings, found, answers = plan.settings, plan.totals, plan.survey.answers
    return {
        "event": "planned",
        "task": settings.task,
        "model": settings.model,
        "simulated": settings.simulate,
        "rows": found.rows,
        "rows_exact": found.exact,
        "known": found.known,
        "known_failed": min(plan.scored.failed, found.known),
        "to_ask": found.prompts,
        "duplicates": round(found.prompts - found.sent),
        **{name: sum(one.total(name) for one in found.files) for name in NOT_SCORED},
        "prompt_tokens": found.tokens,
        "counted": {name: getattr(plan.counter, name) for name in ("how", "accuracy", "vocabulary")},
        "answer_tokens": plan.answer_tokens,
        "answer_tokens_bounded": settings.answer_tokens is not None,
        "answer_schema": answers and {"sent": answers.forms[0], "not_strict": answers.violations},
        "requests": plan.requests,
        "limits_given": plan.given,
        "times": [
            {"tpm": limits.tpm, "rpm": limits.rpm, "seconds": round(pace.minutes * 60, 3)}
            | {"decided_by": pace.decided_by}
            for limits, pace in plan.paces
        ],
        "dimensions": plan.dimensions if settings.task == EMBEDDINGS.name else None,
        "output_bytes": plan.bytes,
        "price_in": settings.price_in,
        "price_out": settings.price_out,
        "cost": plan.cost,
        "batches": plan.batches,
        "batch_price_factor": None if plan.batches is None else settings.batch_price_factor,
        "sampled": found.sampled,
        "limited": found.limited,
        "discarded": plan.scored.discarded,
        "damaged": [{"file": file, "damage": text} for file, text in plan.scored.lost.items()],
        "files": [file_fields(one) for one in found.files],
        "unreadable_files": [
            {"file": one.name, "problem": name_settings(one.reason, as_flag)} for one in plan.survey.problems
        ],
        **plan.survey.remarks(as_flag),
        "seconds": round(plan.seconds, 3),
    }


def file_fields(figures: FileFigures) -> dict[str, Any]:
    """Return the figures of one file."""
    return {
        "file": figures.file,
        "rows": figures.all_rows,
        "rows_exact": figures.exact,
        "read": round(figures.read, 4),
        "known": figures.total("known"),
        "to_ask": figures.total("prompts"),
        **{name: figures.total(name) for name in ROW_COUNTS},
        "prompt_tokens": round(figures.tokens),
        "problem": name_settings(figures.problem, as_flag),
    }
