"""How do the results of `batchscore finetune` look in a terminal, and as JSON?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from batchscore.cli.finetune.data_options import Estimate
from batchscore.cli.say import aligned
from batchscore.errors import count_text, visible
from batchscore.finetune.examples.check_file import CheckedFile
from batchscore.finetune.examples.facts import token_facts
from batchscore.finetune.examples.rules import BrokenRule
from batchscore.finetune.offered import how_to
from batchscore.finetune.prepare.page import PAGE
from batchscore.finetune.prepare.write_parts import PROBLEMS, Prepared
from batchscore.finetune.training.costs import KnownLimit, TrainingCost
from batchscore.plan.vocabulary import TokenCounter
from batchscore.report.words import money_text, short_name, size_text

#: Broken rules of a file that a terminal shows; `--json` has more.
MOST_BROKEN = 1000
#: Rows without an example that a terminal shows, and of each kind; the file of problems has more.
MOST_SHOWN, MOST_ROWS = 50, 10


def prepared_text(found: Prepared, content: dict[str, Any], output: str, plan: str) -> str:
    """Return what was prepared, and what to do next: `plan` is a command."""
    read = found.read
    files, examples = count_text(len(read.files), "file"), count_text(len(read.sizes), "example")
    lines = [f"{content['format']}: {count_text(content['rows'], 'row')} in {files}, {examples}"]
    lines += [f"  {file.name}: {', '.join(file.notes)}" for file in read.files[:MOST_ROWS] if file.notes]
    shown = {
        name: short_name(visible(" ".join(text.split())), 40) for name, text in content["fields"].items()
    }
    columns = ", ".join(f"{name}: {text}" for name, text in shown.items())
    if columns:
        lines.append(f"  {columns}")
    lines += aligned(part_cells(found), numbers=True)
    if found.duplicates:
        lines.append(f"{count_text(found.duplicates, 'duplicate')} left out")
    lines += [f"warning: {text}" for text in content["warnings"]]
    if content["azureml"]:
        lines.append("Azure ML: " + ", ".join(f"{key}={value}" for key, value in content["azureml"].items()))
    return "\n".join([*lines, *problem_lines(found), "", *next_steps(found, content, output, plan)])


def part_cells(found: Prepared) -> list[list[str]]:
    """Return a table of the parts."""
    cells = [["PART", "EXAMPLES", "TOKENS", "LONGEST", "SIZE"]]
    for part in found.parts:
        size = size_text(part.written.bytes) if part.written else "-"
        tokens = part.tokens
        cells.append([part.part, f"{part.examples:,}", f"{tokens.total:,}", f"{tokens.longest:,}", size])
    return cells


def problem_lines(found: Prepared) -> Iterator[str]:
    """Yield the rows that gave no example, the first of each kind."""
    read = found.read
    yield from (f"error: {text}" for text in found.errors)
    # Files that could not be read are errors of the whole.
    rows = [each for each in read.problems if each.row is not None]
    if not rows:
        return
    yield f"{count_text(read.invalid - len(read.problems) + len(rows), 'row')} gave no example:"
    shown = 0
    for rule, count in Counter(each.rule for each in rows).most_common():
        first = [each for each in rows if each.rule == rule][:MOST_ROWS]
        if shown + len(first) > MOST_SHOWN:
            break
        shown += len(first)
        for each in first:
            yield f"  {each.place}: {each.text}"
        if count > len(first):
            yield f"  and {count - len(first):,} more like this"


def next_steps(found: Prepared, content: dict[str, Any], output: str, plan: str) -> list[str]:
    """Return what was written, and the next command."""
    folder = output.rstrip("/")
    if not found.is_written:
        first = "No training file was written."
        if found.is_over_earlier:
            first += f" Those in {folder}/ are of an earlier preparation: no command uses them now."
        if found.errors:
            return [f"{first} See {folder}/{PAGE}."]
        which = f"{first} {folder}/{PROBLEMS} names each row."
        return [f"{which} Fix them, or run the same command with --drop-invalid to leave them out."]
    names = [part["file"] for part in content["parts"].values() if part["file"]]
    lines = [f"written to {folder}/: {', '.join(names)}, prepare.json, {PAGE}"]
    if not content["azureml"]:
        lines.append(how_to("To see what training costs", plan))
    return lines


def checked_text(found: Sequence[CheckedFile], counter: TokenCounter, plan: str) -> str:
    """Return all errors and warnings of the files, and `plan`, a command, if there are no errors."""
    lines: list[str] = []
    for each in found:
        lines += [file_line(each, counter), *broken_lines(each)]
    errors = sum(each.errors for each in found)
    if errors:
        lines.append(f"{count_text(errors, 'error')}. Fix them and run the same command again.")
    else:
        lines.append("No errors.")
        if found[0].kind is not None and found[0].kind.hosted:
            lines.append(how_to("To see what training costs", plan))
    return "\n".join(lines)


def file_line(checked: CheckedFile, counter: TokenCounter) -> str:
    """Return what a file holds, in one line."""
    kind = "unknown format" if checked.kind is None else checked.kind.name
    text = f"{checked.name}: {kind}, {count_text(checked.examples, 'example')}, {size_text(checked.size)}"
    if checked.facts is not None and len(checked.facts.tokens):
        total = sum(checked.facts.tokens)
        text += f", {total:,.0f} tokens, counted {counter.how} ({counter.accuracy})"
    return text


def broken_lines(checked: CheckedFile) -> Iterator[str]:
    """Yield the errors by line, then the warnings; each kind with what a service says to it, once."""
    for is_error, what in ((True, "error"), (False, "warning")):
        listed = [each for each in checked.broken if each.is_error is is_error]
        said: set[str] = set()
        for each in listed[:MOST_BROKEN]:
            yield f"  {what}: {each.place}: {each.text}"
            if each.rule not in said:
                said.add(each.rule)
                yield f"      {each.service_words}"
        count = (checked.errors if is_error else checked.warnings) - min(len(listed), MOST_BROKEN)
        if count > 0:
            yield f"  and {count:,} more; --json lists them"


def checked_json(found: Sequence[CheckedFile], counter: TokenCounter) -> dict[str, Any]:
    """Return all errors and warnings as JSON; of a file with very many the first ones."""
    return {
        "files": [file_json(each) for each in found],
        "errors": sum(each.errors for each in found),
        "warnings": sum(each.warnings for each in found),
        "counted": {name: getattr(counter, name) for name in ("how", "accuracy")},
    }


def file_json(checked: CheckedFile) -> dict[str, Any]:
    """Return one file as JSON."""
    facts = checked.facts
    tokens = token_facts(facts)
    return {
        "file": checked.name,
        "format": None if checked.kind is None else checked.kind.name,
        "bytes": checked.size,
        "encoding": checked.encoding,
        "examples": checked.examples,
        "errors": checked.errors,
        "warnings": checked.warnings,
        "tokens": {name: getattr(tokens, name) for name in ("total", "median", "p95", "longest")},
        "problems": [broken_json(each) for each in checked.broken],
    }


def broken_json(broken: BrokenRule) -> dict[str, Any]:
    """Return one broken rule as JSON; places that do not apply are null."""
    return {
        "line": broken.line or None,
        "message": broken.message or None,
        "key": broken.key or None,
        "rule": broken.rule,
        "level": "error" if broken.is_error else "warning",
        "text": broken.text,
        "service": broken.service_words,
    }


def plan_lines(found: Estimate) -> list[str]:
    """Return the estimate of a job."""
    cost, counter = found.cost, found.counter
    guess = ", probably what auto means" if cost.is_guess else ""
    facts = [
        *(
            (f"{part} file", f"{each.name}, {count_text(each.examples, 'example')}")
            for part, each in zip(("training", "validation"), found.files, strict=False)
        ),
        ("tokens", f"{cost.tokens.billed:,} per epoch, counted {counter.how} ({counter.accuracy})"),
        ("epochs", f"{cost.epochs}{guess}"),
        ("trained tokens", f"{cost.trained_tokens:,}"),
        ("estimated cost", cost_text(cost, found.model)),
        ("hosting", hosting_text(cost, found.model)),
    ]
    return [*aligned(facts), *map(limit_line, cost.limits)]


def limit_line(limit: KnownLimit) -> str:
    """Return a limit in a line."""
    return f"limit: {limit.name}: {limit.value:,} of {limit.limit:,}{'' if limit.is_kept else '  EXCEEDED'}"


def limit_json(limit: KnownLimit) -> dict[str, Any]:
    """Return a limit as JSON."""
    return {"name": limit.name, "value": limit.value, "limit": limit.limit, "kept": limit.is_kept}


def cost_text(cost: TrainingCost, model: str) -> str:
    """Return the cost of training, or what is missing for it."""
    if not cost.by_tokens:
        return "unknown: this format is billed by the hour, not by tokens"
    if cost.cost is None:
        return f"unknown: give --prices a file with training = PRICE for {model}"
    return f"{money_text(cost.cost)}, without validation and grading"


def hosting_text(cost: TrainingCost, model: str) -> str:
    """Return what a deployment costs while it exists."""
    if cost.hosting_hour is None or cost.hosting_month is None:
        return f"unknown: give --prices a file with hosting = PRICE for {model}"
    if not cost.hosting_hour:
        return "nothing by the hour"
    month = money_text(cost.hosting_month)
    return f"{money_text(cost.hosting_hour)} an hour while deployed, {month} in 30 days, used or not"


def plan_json(found: Estimate) -> dict[str, Any]:
    """Return the estimate as JSON."""
    cost = found.cost
    return {
        "model": found.model,
        "files": [
            {"file": each.name, "examples": each.examples, "bytes": each.size, "errors": each.errors}
            for each in found.files
        ],
        "tokens_per_epoch": cost.tokens.billed,
        "epochs": cost.epochs,
        "epochs_guessed": cost.is_guess,
        "trained_tokens": cost.trained_tokens,
        "cost": cost.cost,
        "hosting_per_hour": cost.hosting_hour,
        "limits": list(map(limit_json, cost.limits)),
        "counted": {name: getattr(found.counter, name) for name in ("how", "accuracy")},
    }
