"""Which prompt do the settings describe? Templates and messages are parsed before any row is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchscore.errors import UsageError, setting_name
from batchscore.prompts.messages import columns_of, read_messages
from batchscore.prompts.template import Template, parse_template
from batchscore.settings.slices import PromptSettings
from batchscore.task import Task


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """The parsed settings of the prompt: at most one of `column`, `prompt` and `messages` is set.

    `prompt` and `system` are templates; `messages` is a list of chat messages whose texts are templates. With
    `text_field`, the template's field of that name holds the text, and `column` may name its column. `id` and
    `keep` name the columns that go into records; `keep == ("*",)` means all.
    """

    task: Task
    column: str | None = None
    prompt: Template | None = None
    system: Template | None = None
    messages: Sequence[Mapping[str, Any]] | None = None
    id: str | None = None
    keep: tuple[str, ...] = ()
    text_field: str | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the template or of the messages, each once."""
        if self.messages is not None:
            return columns_of(self.messages)
        return self.prompt.columns if self.prompt is not None else ()


def parse_spec(settings: PromptSettings) -> PromptSpec:
    """Return the prompt that the settings describe; raises `UsageError`."""
    prompt, system = setting_name("prompt"), setting_name("system")
    spec = PromptSpec(
        task=settings.task,
        column=settings.column,
        text_field=settings.text_field,
        prompt=None if settings.prompt is None else parse_template(settings.prompt, where=prompt),
        system=None if settings.system is None else parse_template(settings.system, where=system),
        messages=None if settings.messages is None else parse_messages(settings.messages),
        id=settings.id,
        keep=settings.keep,
    )
    if spec.prompt is not None and not spec.fields:
        raise UsageError(f"{prompt} uses no {{column}}, so the prompt of all rows would be the same.")
    if spec.text_field is not None and spec.text_field not in spec.fields:
        raise UsageError(
            f"{setting_name('text_field')} {spec.text_field}: the template's fields are "
            f"{shorten_names(spec.fields)}."
        )
    return spec


def parse_messages(given: str) -> list[dict[str, Any]]:
    """Return the messages of a JSON text, or of the file with that name; raises `UsageError`."""
    where = setting_name("messages")
    if given.lstrip().startswith("["):
        return read_messages(given, where=where)
    where = f"{where} {given}"
    try:
        text = Path(given).read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{where} is not UTF-8 text.") from None
    except OSError as error:
        raise UsageError(f"{where} cannot be read: {error.strerror}.") from None
    return read_messages(text, where=where)


def shorten_names(names: Sequence[str], most: int = 20) -> str:
    """Return column names for a message; cut if there are many, or if one is so long that it is a cell."""
    shown = ", ".join(shorten_name(name) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def shorten_name(name: str, most: int = 40) -> str:
    """Return a column's name without control characters, cut to a usual length."""
    printable = "".join(char if char.isprintable() else "\ufffd" for char in name[: most + 1])
    return printable if len(printable) <= most else printable[: most - 1] + "\u2026"
