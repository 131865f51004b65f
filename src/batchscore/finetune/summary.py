"""What does `prepare.json` say of a prepared folder? Later steps read it: it has no time and no path.

The same rows, settings and seed give the same bytes. It holds the system message and the names of classes,
but no other text of the input.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from batchscore.errors import InputError, name_settings
from batchscore.finetune.kinds import TRANSLATION
from batchscore.finetune.mapping import Mapped
from batchscore.finetune.prepare import SUMMARY, Prepared, PreparedPart, PrepareOptions, file_of, token_counts
from batchscore.finetune.read_examples import ReadExample
from batchscore.finetune.rules import most_tokens_of
from batchscore.plan.vocabulary import TokenCounter
from batchscore.prompts.template import Column, Template
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.version import VERSION

SCHEMA_VERSION = 1


def read_summary(folder: Place) -> dict[str, Any]:
    """Return the content of prepare.json; raises `InputError` if no files to train on are in the folder."""
    place = folder / SUMMARY
    again = "Run `batchscore finetune prepare` again."
    try:
        found = orjson.loads(b"".join(storage.chunks(place))) if storage.exists(place) else None
    except ValueError:
        raise InputError(f"{place} is damaged. {again}") from None
    if not isinstance(found, dict):
        raise InputError(f"{folder} is not a folder of `batchscore finetune prepare`: it has no {SUMMARY}.")
    if found.get("version") != SCHEMA_VERSION or not found.get("written"):
        raise InputError(
            f"The last `batchscore finetune prepare` of {folder} did not finish: files there may be of an "
            f"earlier one. {again}"
        )
    return found


def write_summary(folder: Place, content: dict[str, Any]) -> None:
    """Write prepare.json; raises `OutputError`."""
    text = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    storage.write_whole(folder / SUMMARY, text)


def to_json(
    prepared: Prepared, how: ReadExample, options: PrepareOptions, counter: TokenCounter
) -> dict[str, Any]:
    """Return a preparation as JSON."""
    read = prepared.read
    return {
        "version": SCHEMA_VERSION,
        "batchscore": VERSION,
        "format": how.said.kind.name,
        "written": prepared.is_written,
        "rows": sum(file.rows for file in read.files),
        "examples": len(read.sizes),
        "invalid_rows": read.invalid,
        "duplicates_dropped": prepared.duplicates,
        "parts": {part.part: _part(part) for part in prepared.parts},
        "files": [
            {"name": file.name, "rows": file.rows, "examples": file.examples, "notes": list(file.notes)}
            for file in read.files
        ],
        "fields": {} if read.mapped is None else fields_text(read.mapped),
        # Scoring with the model needs the system message that it was trained with.
        "system": read.system if read.systems == 1 else None,
        "same_system": read.systems == 1,
        "split": {
            "shares": list(options.shares),
            "seed": options.seed,
            "group": how.group,
            "stratified_by": how.stratify or prepared.stratified or None,
        },
        "tokens": {
            "model": how.model,
            "counted": counter.how,
            "accuracy": counter.accuracy,
            "limit": how.most_tokens,
        },
        "bom": options.bom,
        "azureml": azureml_keys(prepared, how),
        "errors": [name_settings(text) for text in prepared.errors],
        "warnings": [*prepared.warnings, *(f"{rule}: {count}" for rule, count in read.warnings.items())],
    }


def given_limit(summary: Mapping[str, Any]) -> int | None:
    """Return the limit of an example's tokens that the user set; `None`: it was that of the model."""
    tokens = summary["tokens"]
    limit: int = tokens["limit"]
    return None if limit == most_tokens_of(tokens["model"]) else limit


def _part(part: PreparedPart) -> dict[str, Any]:
    written = part.written
    return {
        "file": None if written is None else file_of(part.part),
        "examples": part.examples,
        "bytes": None if written is None else written.bytes,
        "digest": None if written is None else written.digest,
        "tokens": token_counts(part.tokens),
        "classes": dict(part.classes),
    }


def fields_text(mapped: Mapped) -> dict[str, str]:
    """Return the fields with their templates."""
    found = {name: template_text(template) for name, template in mapped.fields.items()}
    return found or dict.fromkeys(mapped.kind.ready, "as it is")


def template_text(template: Template) -> str:
    """Return a template as people write it."""
    return "".join(
        f"{{{piece.name}}}" if isinstance(piece, Column) else piece.replace("{", "{{").replace("}", "}}")
        for piece in template.pieces
    )


def azureml_keys(prepared: Prepared, how: ReadExample) -> dict[str, str]:
    """Return the parameters of Azure ML's component that name the fields; empty for hosted services."""
    kind = how.said.kind
    names = () if prepared.read.mapped is None else tuple(prepared.read.mapped.fields)
    if kind.name == TRANSLATION and len(names) == 2:
        return {"source_lang": names[0], "target_lang": names[1]}
    optional = {each.name for each in kind.fields if not each.required}
    return {key: name for key, name in kind.keys.items() if name not in optional or name in names}
