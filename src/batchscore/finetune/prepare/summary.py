"""What does `prepare.json` say of a prepared folder? Later steps read it: it has no time and no path.

The same rows, settings and seed give the same bytes. It holds the system message and the names of classes,
but no other text of the input.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from batchscore.errors import name_settings
from batchscore.finetune.examples.kinds import TRANSLATION
from batchscore.finetune.prepare.mapping import Mapped
from batchscore.finetune.prepare.read_examples import ReadExample
from batchscore.finetune.prepare.write_parts import Prepared, PreparedPart, PrepareOptions
from batchscore.finetune.prepared_folder import SCHEMA_VERSION, file_of
from batchscore.plan.vocabulary import TokenCounter
from batchscore.prompts.template import Column, Template
from batchscore.version import VERSION


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


def _part(part: PreparedPart) -> dict[str, Any]:
    written = part.written
    return {
        "file": None if written is None else file_of(part.part),
        "examples": part.examples,
        "bytes": None if written is None else written.bytes,
        "digest": None if written is None else written.digest,
        "tokens": asdict(part.tokens),
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
