"""What would a run do, as a table for a person and as one object for a machine?

Pure but for the console that it is given. No cell of the input, no secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from batchscore.cli.plan_files import APART, files_table
from batchscore.plan.figures import FileFigures
from batchscore.plan.make import Plan
from batchscore.plan.pace import RateLimits
from batchscore.report.words import counted, money

#: How many problems and skipped files are listed before "and so many more".
MOST_LISTED = 5

#: A limit and a duration take so much room.
MOST_PACE = 11

#: Why rows are oversized, by where that is counted, and what can be done.
OVERSIZED = {
    "row_too_large": "above --max-row-bytes (raise it, or split)",
    "input_too_long": "longer than the model takes (shorten, or --on-long-input truncate)",
    "above_quota": "above a minute of --tpm (raise it, or shorten)",
}


def show(plan: Plan, console: Console) -> None:
    """Print a plan for a person."""
    console.print(Text(headline(plan)))
    console.print(files_table(plan.totals.files, console.width))
    console.print()
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in facts_of(plan):
        facts.add_row(Text(name, style="bold"), Text(value))
    console.print(facts)
    if not plan.given and plan.totals.all_requests:
        console.print(Text("\nHow long at which limits (none is set: --tpm, --rpm)\n"))
        console.print(paces_table(plan))
        console.print()
    for line in notes(plan):
        console.print(Text(line))


def headline(plan: Plan) -> str:
    """Return what is planned, in one line."""
    settings, found = plan.settings, plan.totals
    simulated = " on the simulator" if settings.simulate else ""
    rows = counted(found.rows, "row")
    return (
        f"{settings.task} with {settings.model}{simulated}: {'' if found.exact else 'about '}{rows} "
        f"in {counted(len(found.files), 'file')}"
    )


def facts_of(plan: Plan) -> Iterator[tuple[str, str]]:
    """Give the totals, each with its name."""
    found, settings = plan.totals, plan.settings
    if found.known:
        yield "from before", f"{counted(found.known, 'row')} have their records already and cost nothing"
    none = [name for name in APART if not any(getattr(one, name) for one in found.files)]
    yield "to ask", counted(found.prompts, "row") + (f"; none is {either(none)}" if none else "")
    yield "prompt tokens", f"{found.tokens:,}, counted {plan.counter.how}:\n{plan.counter.accuracy}"
    if settings.task != "embeddings":
        yield "answer tokens", answers(plan)
    yield "requests", f"{found.all_requests:,}"
    if plan.given and found.all_requests:
        ((limits, pace),) = plan.paces
        shared = f" (a share of {settings.quota_share:g})" if settings.quota_share < 1 else ""
        decided = f"the {pace.decided_by} decide" if pace.decided_by else "nothing to ask"
        yield "time", f"at least {lasting(pace.minutes)} at {limits_text(limits)}{shared}; {decided}"
    yield "output", output_text(plan)
    if plan.cost is not None:
        most = "" if settings.task == "embeddings" else " at most" if plan.bounded else " with that guess"
        yield "money", f"{money(plan.cost)}{most},\nby {prices_text(plan)}"
    elif settings.prices is not None:
        yield "money", f"not known: the prices have no table for {settings.model}"
    elif settings.price_in is not None or settings.price_out is not None:
        missing = "--price-in" if settings.price_in is None else "--price-out"
        yield "money", f"not known without {missing}"


def either(words: Sequence[str]) -> str:
    """Return words as an enumeration with `or` before the last."""
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def answers(plan: Plan) -> str:
    """Return how many tokens the answers may have, and how well that is known."""
    if plan.bounded:
        return f"{plan.answer_tokens:,} at most, by the bound that is set"
    if plan.settings.task == "completions":
        return f"{plan.answer_tokens:,}: 16 a row, what the service writes without --max-tokens"
    return f"{plan.answer_tokens:,} by a guess of 200 a row: bound them with --max-tokens"


def output_text(plan: Plan) -> str:
    """Return the size of the output, or why it is not known."""
    if plan.bytes is not None:
        length = f" (vectors of {plan.dimensions:,} numbers)" if plan.settings.task == "embeddings" else ""
        return f"about {size_text(plan.bytes)}{length}"
    if plan.settings.task == "embeddings" and plan.dimensions is None:
        return "not known: nobody said how long this model's vectors are (--dimensions)"
    return "not known: --usage and --raw carry what the service says"


def prices_text(plan: Plan) -> str:
    """Return the prices that were given."""
    settings = plan.settings
    prices = [f"{settings.price_in:g} for a million tokens of prompts"]
    if settings.task != "embeddings":
        prices.append(f"{settings.price_out:g} of answers")
    return " and ".join(prices)


def paces_table(plan: Plan) -> Table:
    """Return how long it takes at limits that deployments often have."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("tokens a minute", "requests a minute", "takes at least"):
        table.add_column(name, justify="right", min_width=MOST_PACE)
    table.add_column("decided by", min_width=len("requests"))
    for limits, pace in plan.paces:
        table.add_row(f"{limits.tpm:,.0f}", f"{limits.rpm:,.0f}", lasting(pace.minutes), pace.decided_by)
    return table


def notes(plan: Plan) -> Iterator[str]:
    """Give what else a person should know, a line each."""
    found, scored = plan.totals, plan.scored
    if found.sampled:
        part = sum(one.read > 0 for one in found.files)
        yield (
            f"Sampled: of {counted(len(found.files), 'file')} {part:,} were read, "
            f"{sum(0 < one.read < 1 for one in found.files):,} of them in part; figures with ~ and tokens "
            "are estimates. --exact reads everything."
        )
    if found.packed < found.taken:
        equal = counted(round(found.prompts - found.sent), "row")
        yield f"{equal} ask what another row asks, and cost nothing (--dedup)."
    if found.limited:
        yield "Only the first rows are planned (--limit)."
    if scored.discarded:
        yield f"--overwrite would discard {counted(scored.discarded, 'score')} that the output holds."
    if scored.changed:
        changed = counted(len(scored.changed), "file")
        yield f"{changed} changed since scored: planned as a whole; rows that stayed are not asked again."
    for name, why in OVERSIZED.items():
        rows = round(sum(getattr(one, name) * one.scale for one in found.files))
        if rows:
            yield f"oversized: {counted(rows, 'row')} {why}."
    for name, why in (
        ("truncated", "too long and would be asked by their beginning (--on-long-input truncate)"),
        ("with_pictures", "with pictures, sound or files, whose tokens are not counted"),
    ):
        rows = round(sum(getattr(one, name) * one.scale for one in found.files))
        if rows:
            yield f"{counted(rows, 'row')} {why}."
    broken = [(one.file, one.problem) for one in found.files if one.problem]
    broken += [(each.file, each.reason) for each in plan.survey.problems]
    yield from listed("cannot be scored, or not to its end", broken)
    yield from listed("skipped", [(each.name, each.reason) for each in plan.survey.skipped])


def listed(what: str, named: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Give names with reasons, cut where there are many."""
    for name, reason in named[:MOST_LISTED]:
        yield f"{what}: {name}: {reason}"
    if len(named) > MOST_LISTED:
        yield f"{what}: {len(named) - MOST_LISTED:,} more files; --json names all"


def limits_text(limits: RateLimits) -> str:
    """Return limits as people say them."""
    pairs = ((limits.tpm, "tokens"), (limits.rpm, "requests"))
    said = [f"{limit:,.10g} {what}" for limit, what in pairs if limit is not None]
    return f"{' and '.join(said) or 'the limits of all deployments'} a minute"


def lasting(minutes: float) -> str:
    """Return a duration in the unit that suits it."""
    if minutes < 2:
        return f"{minutes * 60:,.{1 if minutes < 0.2 else 0}f} s"
    if minutes < 120:
        return f"{minutes:,.0f} min"
    return f"{minutes / 60:,.1f} hours" if minutes < 4320 else f"{minutes / 1440:,.1f} days"


def size_text(size: float) -> str:
    """Return bytes in the unit that suits them."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.{0 if unit == 'bytes' else 1}f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def for_machines(plan: Plan) -> dict[str, Any]:
    """Return a plan as one JSON object; figures that nobody can know are null."""
    settings, found = plan.settings, plan.totals
    return {
        "event": "planned",
        "task": settings.task,
        "model": settings.model,
        "simulated": settings.simulate,
        "rows": found.rows,
        "rows_exact": found.exact,
        "known": found.known,
        "to_ask": found.prompts,
        "duplicates": round(found.prompts - found.sent),
        "empty": sum(one.empty for one in found.files),
        "oversized": sum(one.oversized for one in found.files),
        "unreadable": sum(one.unreadable for one in found.files),
        "prompt_tokens": found.tokens,
        "counted": {
            "how": plan.counter.how,
            "accuracy": plan.counter.accuracy,
            "vocabulary": plan.counter.vocabulary,
        },
        "answer_tokens": plan.answer_tokens,
        "answer_tokens_bounded": plan.bounded,
        "requests": found.all_requests,
        "limits_given": plan.given,
        "times": [
            {
                "tpm": limits.tpm,
                "rpm": limits.rpm,
                "seconds": round(pace.minutes * 60, 3),
                "decided_by": pace.decided_by,
            }
            for limits, pace in plan.paces
        ],
        "dimensions": plan.dimensions if settings.task == "embeddings" else None,
        "output_bytes": plan.bytes,
        "price_in": settings.price_in,
        "price_out": settings.price_out,
        "cost": plan.cost,
        "sampled": found.sampled,
        "limited": found.limited,
        "discarded": plan.scored.discarded,
        "files": [file_fields(one) for one in found.files],
        "unreadable_files": [{"file": one.file, "problem": one.reason} for one in plan.survey.problems],
        "skipped": [{"name": one.name, "reason": one.reason} for one in plan.survey.skipped],
        "seconds": round(plan.seconds, 3),
    }


def file_fields(figures: FileFigures) -> dict[str, Any]:
    """Return one file's figures for machines."""
    scale = figures.scale
    return {
        "file": figures.file,
        "rows": figures.all_rows,
        "rows_exact": figures.exact,
        "read": round(figures.read, 4),
        "known": round(figures.known * scale),
        "to_ask": round(figures.prompts * scale),
        "empty": figures.empty,
        "oversized": figures.oversized,
        "row_too_large": round(figures.row_too_large * scale),
        "input_too_long": round(figures.input_too_long * scale),
        "above_quota": round(figures.above_quota * scale),
        "truncated": round(figures.truncated * scale),
        "unreadable": figures.unreadable,
        "prompt_tokens": round(figures.tokens),
        "problem": figures.problem,
    }
