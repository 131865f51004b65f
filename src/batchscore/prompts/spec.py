"""Which prompt do the settings describe? Templates and messages are parsed here, before any row is read."""

from __future__ import annotations

from pathlib import Path

from batchscore.errors import UsageError
from batchscore.prompts.messages import columns_of, read_messages
from batchscore.prompts.prompt import Wanted, listed
from batchscore.prompts.template import Template, parse_template
from batchscore.settings.fields import Settings
from batchscore.settings.slices import PromptSettings


def wanted_by(settings: Settings | PromptSettings) -> Wanted:
    """Return the wish for prompts, its templates parsed; raises `UsageError`."""
    messages = None
    if settings.messages is not None and settings.messages.lstrip().startswith("["):
        messages = read_messages(settings.messages, where="--messages")
    elif settings.messages is not None:
        where = f"--messages {settings.messages}"
        try:
            text = Path(settings.messages).read_text("utf-8-sig")
        except UnicodeDecodeError:
            raise UsageError(f"{where} is not UTF-8 text.") from None
        except OSError as error:
            raise UsageError(f"{where} cannot be read: {error.strerror}.") from None
        messages = read_messages(text, where=where)
    prompt = template(settings.prompt, "--prompt")
    asked = columns_of(messages) if messages is not None else prompt.columns if prompt is not None else ()
    if settings.text_field is not None and settings.text_field not in asked:
        raise UsageError(f"--text-field {settings.text_field}: the template's fields are {listed(asked)}.")
    return Wanted(
        task=settings.task if isinstance(settings.task, str) else settings.task.name,
        column=settings.column,
        text_field=settings.text_field,
        prompt=prompt,
        system=None if settings.system is None else parse_template(settings.system, where="--system"),
        messages=messages,
        id=settings.id,
        keep=settings.keep,
    )


def template(text: str | None, where: str) -> Template | None:
    """Parse a template that must use at least one column."""
    if text is None:
        return None
    parsed = parse_template(text, where=where)
    if not parsed.columns:
        raise UsageError(f"{where} uses no {{column}}, so every row would ask the same.")
    return parsed
