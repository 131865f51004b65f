"""Which columns do the fields of an example come from?

What the user says, or columns of usual names if there is no doubt. It knows tables and formats; `convert`
makes examples of rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from batchscore.errors import InputError, UsageError
from batchscore.finetune.examples.kinds import CHAT_FORMAT, TRANSLATION, ExampleField, ExampleKind
from batchscore.finetune.examples.task_rules import FIELD_NAME
from batchscore.finetune.prepare.legacy_marks import NO_MARKS, LegacyMarks, legacy_marks
from batchscore.prompts.cells import is_blank
from batchscore.prompts.columns import shorten_names
from batchscore.prompts.prompt import parse_messages
from batchscore.prompts.template import Column, Template, parse_template
from batchscore.rows import Table
from batchscore.task import CHAT

Values: TypeAlias = Mapping[str, Any]

_LANGUAGE = re.compile(r"[a-z]{2,3}(?:[_-][A-Za-z]{2,4})?")


@dataclass(frozen=True, slots=True)
class Mapped:
    """What each field of an example is made from, as the user said it or as it was found.

    `fields` are templates; `messages` are messages whose texts are templates. `images` are columns. `marks`
    of old prompts and completions are left out.
    """

    kind: ExampleKind
    fields: Mapping[str, Template] = field(default_factory=dict)
    messages: Sequence[Mapping[str, Any]] | None = None
    images: tuple[str, ...] = ()
    image_detail: str = "auto"
    marks: LegacyMarks = NO_MARKS


def mapped(
    kind: ExampleKind,
    fields: Mapping[str, str],
    messages: str | None = None,
    images: Sequence[str] = (),
    image_detail: str = "auto",
) -> Mapped:
    """Return what the user says of fields, by name; raises `UsageError`."""
    found: dict[str, Template] = {}
    for name, text in fields.items():
        if kind.name == TRANSLATION:
            own: ExampleField | None = ExampleField(name, ()) if FIELD_NAME.fullmatch(name) else None
        else:
            own = kind.field_named(name)
        if own is None and kind is CHAT_FORMAT and name == "messages":
            own = ExampleField("messages", ("messages",), value=True)
        if own is None:
            known = ", ".join(each.name for each in kind.fields) or "codes of languages"
            raise UsageError(f"a training file for {kind.name} has no field {name!r}; it has {known}.")
        template = parse_template(text, where=f"the field {own.name}")
        if not template.columns and own.name != "system":
            template = Template((Column(text.strip()),))
        found[own.name] = template
    if kind.name == TRANSLATION and found and len(found) != 2:
        raise UsageError("a training file for text-translation has two fields, one for each language.")
    if messages is not None and kind is not CHAT_FORMAT:
        raise UsageError(f"message templates are for chat, not for {kind.name}.")
    parsed = None if messages is None else parse_messages(messages, CHAT)
    return Mapped(kind, found, parsed, tuple(images), image_detail)


def find_fields(said: Mapped, table: Table, sample: Sequence[Values]) -> Mapped:
    """Return the mapping with the columns of the fields that the user has not named; raises `InputError`."""
    kind = said.kind
    if said.messages is not None or is_ready(said, table):
        return said
    if kind.name == TRANSLATION:
        return said if said.fields else replace(said, fields=_languages(table))
    taken = {column for template in said.fields.values() for column in template.columns}
    found = dict(said.fields)
    for each in kind.fields:
        own = None if each.name in found else _usual_column(each, table, taken)
        if own is None or (not each.required and all(is_blank(values.get(own)) for values in sample)):
            continue
        found[each.name] = Template((Column(own),))
        taken.add(own)
    missing = [each.name for each in kind.fields if each.required and each.name not in found]
    if missing:
        raise InputError(
            f"no column for {', '.join(missing)} of {kind.name}; its columns are "
            f"{shorten_names(table.columns)}. "
            f"Name one, for example --field {missing[0]}='{{{(table.columns or ('column',))[0]}}}'"
        )
    return replace(said, fields=found, marks=_marks(kind, found, sample))


def _marks(kind: ExampleKind, fields: Mapping[str, Template], sample: Sequence[Values]) -> LegacyMarks:
    """Return the marks of a file for the old base models, which becomes chat."""
    pair = [fields[name].pieces for name in ("prompt", "answer")] if kind is CHAT_FORMAT else []
    columns = [pieces[0].name for pieces in pair if len(pieces) == 1 and isinstance(pieces[0], Column)]
    if [name.lower() for name in columns] != ["prompt", "completion"]:
        return NO_MARKS
    prompts, completions = ([values.get(name) for values in sample] for name in columns)
    texts = [[text for text in cells if isinstance(text, str) and text] for cells in (prompts, completions)]
    return legacy_marks(*texts)


def _usual_column(wanted: ExampleField, table: Table, taken: set[str]) -> str | None:
    """Return the only free column with a usual name of a field; raises `InputError` if there are several."""
    lower = {name.lower(): name for name in reversed(table.columns) if name not in taken}
    if wanted.name.lower() in lower:
        return lower[wanted.name.lower()]
    usual = [lower[name] for name in wanted.columns if name in lower]
    if len(usual) > 1:
        both = " ".join(f"{{{name}}}" for name in usual)
        raise InputError(
            f"several columns may be the field {wanted.name}: {shorten_names(usual)}. Name one, or join "
            f"them, for example --field {wanted.name}='{both}'"
        )
    return usual[0] if usual else None


def is_ready(said: Mapped, table: Table) -> bool:
    """Whether the table's rows have the keys of examples, and the user names no other column."""
    ready = said.kind.ready
    if said.fields.keys() & {"prompt", "answer", "rejected"} or not ready:
        return False
    return (
        "messages" in said.fields
        or set(ready) <= set(table.columns)
        or conversation_column(said, table) != ""
    )


def conversation_column(said: Mapped, table: Table) -> str:
    """Return the column of whole conversations; empty if there is none."""
    names = CHAT.conversation_keys if said.kind.ready == ("messages",) else ()
    return next((name for name in names if name in table.columns), "")


def _languages(table: Table) -> dict[str, Template]:
    codes = [name for name in table.columns if _LANGUAGE.fullmatch(name)]
    if len(codes) != 2:
        raise InputError(
            "which columns hold the two languages is not clear. Name the source first, for example "
            "--field en='{english}' --field de='{german}'"
        )
    return {name: Template((Column(name),)) for name in codes}
