"""Which fields does the output have? Two small runs show which; the descriptions are here.

The page is not made if a run writes a field that has no description, or if a described field is not written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from batchscore.rows import Event
from batchscore.run.score_files import score_files
from batchscore.settings.fields import Settings
from batchscore.simulator import start

#: A row that is scored, an empty row, and a row that the service refuses.
ROWS = "id,title,text\n1,Tides,The tide turns.\n2,None,\n3,Refused,simulate-content-filter\n"

CHAT = {
    "task": "chat", "column": "text", "id": "id", "keep": ("title",), "usage": True, "raw": True,
    "on_long_input": "truncate", "incremental": True,
}  # fmt: skip
EMBEDDINGS = {"task": "embeddings", "column": "text", "rpm": 6000, "tpm": 1_000_000}

#: Types of fields that can have other values than in these two runs.
TYPES = {
    "chat": "text, list or null; any value with `--schema`",
    "finish_reason": "text or list",
    "reason": "text or null",
    "parts[].scores": "object or null",
    "parts[].error_records": "object or null",
}

KEPT = "A column of `--keep`, with the name of the column (here `title`)."
COSTS = {
    "attempts": "Requests that contained rows of the file, in all runs.",
    "tokens_billed": "Tokens that the service reported for these requests, also for discarded answers.",
    "tokens_kept": "The billed tokens whose answers are in records.",
}
HEAD = {
    "file": "The path of the input file, relative to the INPUT folder, with `/`.",
    "row": "The row's position in that file, from 0.",
    "id": "With `--id`: the row's id, always text.",
    "title": KEPT,
}

#: The description of each field of each kind of file: heading → (location, field → description).
DESCRIBED: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "A score record": (
        "A line of `embeddings/part-….jsonl`, `completions/…`, `chat/…` or `responses/…`; a row in Parquet.",
        HEAD
        | {
            "embeddings": "Task embeddings: the vector, float32.",
            "chat": "Task chat (`completions` or `responses` for those tasks): the answer. Null if the model "
            "returned no text; with `--schema` the value; a list if `n` answers were requested.",
            "finish_reason": "Not for embeddings: why the answer ended: `stop`, `length` (cut off), "
            "`content_filter`, `refusal` or another word. A list if `n` answers were requested.",
            "truncated": "With `--on-long-input truncate`: true if only the beginning of the row was sent.",
            "usage": "With `--usage`: the token counts, with the service's names.",
            "raw": "With `--raw`: the service's whole reply.",
        },
    ),
    "An error record": (
        "A line of `errors/embeddings/part-….jsonl`, and so on; a row in Parquet.",
        HEAD
        | {
            "error.code": "One of the [error codes](codes.md).",
            "error.message": "The reason in words. It never contains the row's text.",
            "error.status": "The HTTP status of the last attempt; null if there was none.",
            "error.attempts": "The number of requests that were sent for the row.",
        },
    ),
    "A manifest": (
        (
            "`manifest/embeddings/notes-33359271.json`: counts and checksums of one input file. A part "
            "counts when the manifest names it. `rows` = `ok` + `errors` + `not_reached`."
        ),
        COSTS
        | {
            "version": "The version of the manifest format.",
            "file": "The path of the input file, as in records.",
            "task": "`embeddings`, `completions`, `chat` or `responses`.",
            "state": "`complete`, `partial` or `unreadable`.",
            "problem": "Why the file is unreadable; empty otherwise.",
            "rows": "Rows read so far.",
            "ok": "Rows with a score.",
            "errors": "Rows with an error record.",
            "not_reached": "Rows read that have no record yet.",
            "dimensions": "The length of all vectors; null for texts.",
            "simulated": "True if the simulator answered. Missing if that is not known.",
            "reported": "With `--incremental`: whether `changes/` covers these records: `yes`, `no`, or "
            "`off` if a run without `--incremental` has changed them since.",
            "input": "A checksum of the input file; after a `+` that of the images which its rows name.",
            "fingerprint": "The settings that determine a record. A run with different ones is refused. "
            "`hidden` has, for each setting with a hidden part, a slow digest (PBKDF2) of the whole value.",
            "parts[].part": "The number of the part.",
            "parts[].rows": "Its rows read so far.",
            "parts[].ok": "Its rows with a score.",
            "parts[].errors": "Its rows with an error record.",
            "parts[].empty": "Of the errors, empty rows.",
            "parts[].transient": "Of the errors, transient ones, which a later run retries.",
            "parts[].whole": "Whether all rows of the part were read.",
            "parts[].inputs": "A checksum of the prompts of its rows.",
            "parts[].scores": "The score file: `name`, `bytes`, `digest`; null if no row was scored.",
            "parts[].row_digests": "A checksum of the part's `.rows` file; empty if it has none.",
            "parts[].error_records": "The file of error records: `name`, `bytes`, `digest`; null if none.",
        }
        | {f"parts[].{name}": text.replace("of the file", "of the part") for name, text in COSTS.items()},
    ),
    "A run record": (
        "`runs/20261120T221500Z-host-4711.json`: one for each run or worker.",
        {
            "version": "The version of batchscore.",
            "started": "The start time, in UTC.",
            "seconds": "The duration in seconds.",
            "worker": "The machine and process.",
            "host": "The machine.",
            "command": "The command line, without `--overwrite`; empty if the run was not started from one.",
            "base": "The folder that the names of `files` are relative to. `merge` reads inputs there again.",
            "inputs": "A checksum of the INPUTs.",
            "fingerprint": "A checksum of the settings that determine a record.",
            "complete_files": "The counts of the other complete files of the output, each with `file`, "
            "`rows`, `ok`, `errors`, `input` and `records_digest`, so that an older version of a file is "
            "found. Not with `--shared-output`.",
            "earlier": "Files that runs with other INPUTs set out to read and have not completed, each with "
            "`file`, `state`, `inputs` and `problem`.",
            "exit_code": "See [exit codes](codes.md#exit-codes). Null until the run has ended, and if it was "
            "killed; then only the fields above, `settings` and `files` are there.",
            "simulated": "True if the simulator answered, also one at a URL, in this run or an earlier one.",
            "reason": "Why the run ended, in words.",
            "settings": "All settings, by long name, without keys and secrets.",
            "endpoints[].name": "The deployment's name in this run.",
            "endpoints[].url": "The URL of the requests.",
            "endpoints[].auth": "The authentication method.",
            "endpoints[].from": "The names of the settings or variables that gave these values.",
            "endpoints[].rpm": "The given rate limit in requests per minute; null if none.",
            "endpoints[].tpm": "The given rate limit in tokens per minute; null if none.",
            "rows": "Rows read so far, in all files and all runs.",
            "ok": "Of these, rows with a score.",
            "errors": "Rows with an error record.",
            "empty": "Of the errors, empty rows.",
            "not_reached": "Rows read that have no record yet.",
            "attempts": "Requests sent, in all runs.",
            "tokens_billed": "Tokens billed, in all runs.",
            "tokens_kept": "Of these, tokens whose answers are in records.",
            "this_run.ok": "Rows that this run scored.",
            "this_run.errors": "Rows that got an error record in this run, by error code.",
            "this_run.finish_reasons": "Answers of this run, by finish reason.",
            "this_run.without_text": "Answers of this run that have no text.",
            "this_run.requests": "Requests that this run sent.",
            "this_run.retried": "Of these, requests that failed, by cause.",
            "this_run.prompt_tokens": "Billed prompt tokens.",
            "this_run.completion_tokens": "Billed answer tokens.",
            "this_run.full_price_prompt_tokens": "Of these, tokens that `--finish-live` has sent.",
            "this_run.full_price_completion_tokens": "Of these, tokens that answered it.",
            "this_run.tokens_billed": "Billed prompt and answer tokens.",
            "this_run.tokens_kept": "Of these, tokens whose answers are in records.",
            "billed_twice": "What was said of batches whose rows may be billed twice.",
            "files[].file": "The path of an input file, as in records.",
            "files[].state": "`complete`, `partial`, `unreadable` or `not_started`.",
            "files[].complete": "Whether the file was read to its end, so that all its rows are known.",
            "files[].rows": "Its rows read so far.",
            "files[].ok": "Its rows with a score.",
            "files[].errors": "Its rows with an error record.",
            "files[].empty": "Of the errors, empty rows.",
            "files[].input": "The digest of the version that the run found; empty or left out if not known.",
            "files[].records_digest": "A digest of its records at the end of the run.",
            "files[].problem": "Why the file could not be read completely, or that it has changed since it "
            "was scored; left out if there is no problem.",
            "skipped": "Skipped files, each with `name` and `reason`.",
            "links_followed": "Links in the input that were followed, each with `name` and `target`.",
            "read_as": "How files were read, and which columns were sent: `files` and `how`.",
            "repeated_ids": "Rows with a duplicate id that this run read; the first row of an id is none. If "
            "it read no row, those of the run before.",
            "first_repeated_ids": "The first of them, each with `file` and `row`.",
            "versions": "Versions of batchscore, Python, the system and the main packages, by name.",
            "timeline": "The figures of the run over time, for the [report](../how-to/report.md).",
            "changes": "With `--incremental`: the number of `new`, `changed`, `moved` and `deleted` records, "
            "and the `file` that lists them ([schedule](../how-to/schedule.md)). Of `in_full` files, "
            "which runs without `--incremental` had scored, all records are listed.",
        }
        | {f"files[].{name}": text for name, text in COSTS.items()},
    ),
}  # fmt: skip


def fields_page(made: str) -> str:
    """Return the page; raise `SystemExit` if the fields and their descriptions differ."""
    written = dict(zip(DESCRIBED, documents(), strict=True))
    head = (
        f"# Fields of the output\n\n{made} `a.b` is the field `b` of the object `a`, `[]` is each element "
        "of a list. [Output](output.md) shows where these files are. New fields may be added; existing ones "
        "keep their meaning. Files in `.batchscore/` (journals) are internal.\n"
    )
    pages = [head]
    for heading, (location, described) in DESCRIBED.items():
        types = types_of(written[heading], described)
        undescribed, unwritten = types.keys() - described.keys(), described.keys() - types.keys()
        if undescribed or unwritten:
            raise SystemExit(
                f"{__file__}, {heading}: describe {sorted(undescribed)}, remove {sorted(unwritten)}"
            )
        rows = [f"| `{name}` | {TYPES.get(name, types[name])} | {described[name]} |" for name in types]
        pages.append(
            "\n".join(
                [f"\n## {heading}\n\n{location}\n", "| field | type | |", "| --- | --- | --- |", *rows, ""]
            )
        )
    return "".join(pages)


def documents() -> Iterator[list[dict[str, Any]]]:
    """Yield the files of two runs, in the order of `DESCRIBED`."""
    with TemporaryDirectory() as folder, start() as simulator:
        rows, out = Path(folder, "rows.csv"), Path(folder, "out")
        unreadable = Path(folder, "broken.parquet")
        rows.write_text(ROWS, "utf-8")
        unreadable.write_text("not Parquet", "utf-8")
        environ = {"OPENAI_BASE_URL": f"{simulator.endpoint}/v1", "OPENAI_API_KEY": simulator.key}
        for chosen in (EMBEDDINGS, CHAT):
            settings = Settings(model="m", output=str(out / chosen["task"]), **chosen)  # type: ignore[arg-type]
            score_files(settings, [str(rows), str(unreadable)], environ=environ, listen=ignore)
        yield lines(out.glob("*/*/part-*.jsonl"))
        yield lines(out.glob("*/errors/*/part-*.jsonl"))
        yield [json.loads(one.read_bytes()) for one in sorted(out.glob("*/manifest/*/rows-*.json"))]
        yield [json.loads(one.read_bytes()) for one in sorted(out.glob("*/runs/*.json"))]


def ignore(_event: Event) -> None:
    """Show nothing."""


def lines(files: Iterable[Path]) -> list[dict[str, Any]]:
    """Return all records of these parts."""
    return [
        json.loads(line)
        for one in sorted(files, reverse=True)
        for line in one.read_text("utf-8").split("\n")
        if line
    ]


def types_of(documents: Iterable[Mapping[str, Any]], described: Mapping[str, str]) -> dict[str, str]:
    """Return the types of each field's values."""
    found: dict[str, dict[str, None]] = {}
    for document in documents:
        for name, value in walked(document, described):
            found.setdefault(name, {})[type_of(value)] = None
    return {name: " or ".join(sorted(types, key=lambda one: one == "null")) for name, types in found.items()}


def walked(
    document: Mapping[str, Any], described: Mapping[str, str], above: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield each field with its full name. A described object or list is one field."""
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
