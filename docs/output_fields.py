"""The page of the output's fields: what two small runs write, and what each field says.

A field that is written and not described here, or described and not written, ends the making of the page.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from batchscore.rows import Event
from batchscore.run.score_files import score_files
from batchscore.settings.fields import Settings

#: A row that is scored, one with nothing to ask, one that is refused.
ROWS = "id,title,text\n1,Tides,The tide turns.\n2,None,\n3,ServiceRefused,simulate-content-filter\n"

CHAT = {
    "task": "chat", "column": "text", "id": "id", "keep": ("title",), "usage": True, "raw": True,
    "on_long_input": "truncate", "incremental": True,
}  # fmt: skip
EMBEDDINGS = {"task": "embeddings", "column": "text", "rpm": 6000, "tpm": 1_000_000}

#: Types of fields whose values in these runs are not all that they may be.
TYPES = {
    "chat": "text, list or null",
    "finish_reason": "text or list",
    "reason": "text or null",
    "parts[].scores": "object or null",
    "parts[].error_records": "object or null",
}

KEPT = "A column of `--keep`, under its own name (here `title`)."
COSTS = {
    "attempts": "Requests sent that held rows of it, of all runs.",
    "tokens_billed": "Tokens that the service reported for these, also for answers that were not kept.",
    "tokens_kept": "Tokens of the answers that stand in records.",
}
HEAD = {
    "file": "The input file, below the input's root, with `/`.",
    "row": "The row's position in that file; the first is 0.",
    "id": "With `--id`: the row's id, always text.",
    "title": KEPT,
}

#: What each field of each kind of file says: heading → (where it stands, field → words).
DESCRIBED: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "A score record": (
        "A line of `embeddings/part-….jsonl`, `completions/…` or `chat/…`; in Parquet a row.",
        HEAD
        | {
            "embeddings": "Task embeddings: the vector, float32.",
            "chat": "Task chat, and likewise `completions`: the answer; null where the model gave no "
            "text; a list where `n` answers were asked for.",
            "finish_reason": "Completions and chat: why the answer ended: `stop`, `length` (cut off), "
            "`content_filter`; a list where `n` answers were asked for.",
            "truncated": "With `--on-long-input truncate`: only the row's beginning was asked.",
            "usage": "With `--usage`: the token counts as the service named them.",
            "raw": "With `--raw`: the service's whole reply.",
        },
    ),
    "An error record": (
        "A line of `errors/embeddings/part-….jsonl`, and so on; in Parquet a row.",
        HEAD
        | {
            "error.code": "Why: one of the [error codes](codes.md).",
            "error.message": "Why, for a person; never the row's text.",
            "error.status": "The HTTP status of the last attempt; null where there was none.",
            "error.attempts": "Requests that were sent for the row.",
        },
    ),
    "A manifest": (
        (
            "`manifest/embeddings/notes-33359271.json`: the account of one input file. A part counts once it "
            "is named here. `rows` = `ok` + `errors` + `not_reached`."
        ),
        COSTS
        | {
            "version": "Of the manifest's form.",
            "file": "The input file, as in records.",
            "task": "`embeddings`, `completions` or `chat`.",
            "state": "`complete`, `partial` or `unreadable`.",
            "problem": "What is wrong with an unreadable file, else empty.",
            "rows": "Rows read so far.",
            "ok": "Rows with a score.",
            "errors": "Rows with an error record.",
            "not_reached": "Rows read that have no record yet.",
            "dimensions": "The length of every vector; null for texts.",
            "reported": "With `--incremental`: whether `changes/` tells of all that stands.",
            "input": "A digest of the input file's bytes.",
            "fingerprint": "The settings that determine a record. A run with others is refused.",
            "parts[].part": "The part's number.",
            "parts[].rows": "Its rows read so far.",
            "parts[].ok": "Its rows with a score.",
            "parts[].errors": "Its rows with an error record.",
            "parts[].empty": "Of the errors, rows with nothing to ask.",
            "parts[].transient": "Of the errors, those that a later run asks again by itself.",
            "parts[].whole": "Whether the input was read to the part's end.",
            "parts[].inputs": "A digest of what its rows ask.",
            "parts[].scores": "The score file: `name`, `bytes`, `digest`; null where no row was scored.",
            "parts[].error_records": "The error file, likewise.",
        }
        | {f"parts[].{name}": text.replace("it,", "the part,") for name, text in COSTS.items()},
    ),
    "The account of a run": (
        "`runs/20261120T221500Z-host-4711.json`: one for each run, or worker.",
        {
            "version": "Of batchscore.",
            "started": "When, in UTC.",
            "seconds": "How long it took.",
            "worker": "Machine and process.",
            "host": "The machine alone.",
            "command": "The command, without `--overwrite`; empty where no command line ran it.",
            "exit_code": "See [codes](codes.md).",
            "reason": "What ended it, in words.",
            "settings": "Every setting, by its long name; no key, no secret.",
            "endpoints[].name": "The deployment's name in this run.",
            "endpoints[].url": "Where requests went.",
            "endpoints[].auth": "How it signed in.",
            "endpoints[].from": "Which setting or variable said so; names only.",
            "endpoints[].rpm": "The limit given, requests a minute; null where none was.",
            "endpoints[].tpm": "The same of tokens.",
            "rows": "Rows read so far, of all files and all runs.",
            "ok": "Of these, rows with a score.",
            "errors": "Rows with an error record.",
            "empty": "Of the errors, rows with nothing to ask.",
            "not_reached": "Rows read that have no record yet.",
            "attempts": "Requests sent, of all runs.",
            "tokens_billed": "Tokens billed, of all runs.",
            "tokens_kept": "Of these, tokens of answers that stand in records.",
            "this_run.ok": "Rows that this run scored.",
            "this_run.errors": "Rows that got an error in this run, by code.",
            "this_run.finish_reasons": "Answers of this run, by what ended them.",
            "this_run.requests": "Requests that this run sent.",
            "this_run.retried": "Of these, those that came to nothing, by cause.",
            "this_run.prompt_tokens": "Tokens of prompts billed.",
            "this_run.completion_tokens": "Tokens of answers billed.",
            "this_run.tokens_billed": "Both.",
            "this_run.tokens_kept": "Of these, tokens of answers that stand in records.",
            "files[].file": "An input file, as in records.",
            "files[].state": "`complete`, `partial`, `unreadable` or `not_started`.",
            "files[].complete": "Whether all its rows are known.",
            "files[].rows": "Its rows read so far.",
            "files[].ok": "Its rows with a score.",
            "files[].errors": "Its rows with an error record.",
            "files[].empty": "Of the errors, rows with nothing to ask.",
            "files[].problem": "What is wrong with it; left out where nothing is.",
            "skipped": "Files that were not read, each with `name` and `reason`.",
            "repeated_ids": "Rows with an id that an earlier row had.",
            "versions": "Of batchscore, Python, the system and the packages that matter, by name.",
            "timeline": "The run's course over time, for the [report](../how-to/report.md).",
            "changes": "With `--incremental`: how many records are `new`, `changed`, `moved`, `deleted`, and "
            "the `file` that names them ([schedule](../how-to/schedule.md)).",
        }
        | {f"files[].{name}": text for name, text in COSTS.items()},
    ),
}  # fmt: skip


def fields_page(made: str) -> str:
    """Return the page; raises `SystemExit` where the fields and their descriptions differ."""
    written = dict(zip(DESCRIBED, documents(), strict=True))
    pages = [
        "# Fields of the output\n\n" + made + " `a.b` is a field `b` of the object `a`, `[]` each one of a "
        "list. Where these files stand is told in [output](output.md). Fields may be added; none of these "
        "changes its meaning. What is in `.batchscore/` (journals) is nobody's but batchscore's.\n"
    ]
    for heading, (where, described) in DESCRIBED.items():
        types = types_of(written[heading], described)
        undescribed, unwritten = types.keys() - described.keys(), described.keys() - types.keys()
        if undescribed or unwritten:
            raise SystemExit(
                f"{__file__}, {heading}: describe {sorted(undescribed)}, forget {sorted(unwritten)}"
            )
        rows = [f"| `{name}` | {TYPES.get(name, types[name])} | {described[name]} |" for name in types]
        pages.append(
            "\n".join(
                [f"\n## {heading}\n\n{where}\n", "| field | type | |", "| --- | --- | --- |", *rows, ""]
            )
        )
    return "".join(pages)


def documents() -> Iterator[list[dict[str, Any]]]:
    """Yield what two runs have written, in the order of `DESCRIBED`."""
    with TemporaryDirectory() as folder:
        rows, out = Path(folder, "rows.csv"), Path(folder, "out")
        unreadable = Path(folder, "broken.parquet")
        rows.write_text(ROWS, "utf-8")
        unreadable.write_text("not Parquet", "utf-8")
        environ = {name: value for name, value in os.environ.items() if "proxy" in name.lower()}
        for chosen in (EMBEDDINGS, CHAT):
            settings = Settings(model="m", output=str(out / chosen["task"]), simulate=True, **chosen)  # type: ignore[arg-type]
            score_files(settings, [str(rows), str(unreadable)], environ=environ, listen=ignore)
        yield lines(out.glob("*/*/part-*.jsonl"))
        yield lines(out.glob("*/errors/*/part-*.jsonl"))
        yield [json.loads(one.read_bytes()) for one in sorted(out.glob("*/manifest/*/rows-*.json"))]
        yield [json.loads(one.read_bytes()) for one in sorted(out.glob("*/runs/*.json"))]


def ignore(_event: Event) -> None:
    """Show nothing."""


def lines(files: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the records of some parts."""
    return [
        json.loads(line)
        for one in sorted(files, reverse=True)
        for line in one.read_text("utf-8").splitlines()
    ]


def types_of(documents: Iterable[Mapping[str, Any]], described: Mapping[str, str]) -> dict[str, str]:
    """Return each field with the types that its values have."""
    found: dict[str, dict[str, None]] = {}
    for document in documents:
        for name, value in walked(document, described):
            found.setdefault(name, {})[type_of(value)] = None
    return {name: " or ".join(sorted(types, key=lambda one: one == "null")) for name, types in found.items()}


def walked(
    document: Mapping[str, Any], described: Mapping[str, str], above: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield each field, its name with those above it; what is described as a whole is one field."""
    for key, value in document.items():
        name = above + key
        if name in described or not isinstance(value, dict | list):
            yield name, value
        elif isinstance(value, dict):
            yield from walked(value, described, f"{name}.")
        else:
            for one in value:
                yield from walked(one, described, f"{name}[].")


def type_of(value: Any) -> str:
    """Return a JSON value's type, in plain words."""
    if value is None:
        return "null"
    kinds = {bool: "true or false", int: "number", float: "number", str: "text", list: "list", dict: "object"}
    return kinds[type(value)]
