"""Which values follow from several settings: the parameters of requests, and what they limit?

It knows settings and the names that a task has for them. `Settings` gives these values as properties.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from batchscore.settings.checks import ANSWER_PARAMS
from batchscore.task import TASKS

if TYPE_CHECKING:
    from batchscore.settings.fields import Settings

#: Names of models that refuse `max_tokens` (Azure's page on reasoning models, seen 2026-09).
COMPLETION_TOKEN_MODELS = re.compile(r"(^|[/:])(o\d|gpt-5)", re.IGNORECASE)


def all_params(chosen: Settings) -> dict[str, Any]:
    """Return the parameters of every request."""
    task = TASKS[chosen.task]
    params = dict(task.default_params)
    if chosen.dimensions is not None:
        params["dimensions"] = chosen.dimensions
    if chosen.max_tokens is not None:
        renamed = COMPLETION_TOKEN_MODELS.search(chosen.model)
        params[task.answer_limits[-1 if renamed else 0]] = chosen.max_tokens
    params |= named_params(chosen)
    # Null leaves out what is sent by default, for services that do not know it.
    omitted = [name for name in task.default_params if params[name] is None]
    return {name: value for name, value in params.items() if name not in omitted}


def named_params(chosen: Settings) -> dict[str, Any]:
    """Return the parameters that are sent under the names they were set by."""
    params: dict[str, Any] = {name: getattr(chosen, name) for name in ANSWER_PARAMS}
    # As in JSON: a whole number has no fraction, and one text needs no list.
    params = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in params.items()
        if value not in (None, ())
    }
    if "stop" in params:
        params["stop"] = chosen.stop[0] if len(chosen.stop) == 1 else list(chosen.stop)
    if TASKS[chosen.task].system_key and "reasoning_effort" in params:
        params["reasoning"] = {"effort": params.pop("reasoning_effort")}
    return {**params, **chosen.param}


def reading_settings(chosen: Settings) -> dict[str, Any]:
    """Return the settings of reading that determine rows, if they are not the defaults."""
    names = ("encoding", "delimiter", "quote", "escape", "no_header", "skip_lines", "records", "sheet")
    given = {name: getattr(chosen, name) for name in names if getattr(chosen, name) not in ("auto", None)}
    plain = (("encoding", "utf-8"), ("no_header", False))
    return {name: value for name, value in given.items() if (name, value) not in plain}


def limit_of_answers(chosen: Settings) -> float | None:
    """Return the maximum tokens per answer, `None` if no setting limits them."""
    task = TASKS[chosen.task]
    if task.answer == "vector":
        return 0.0
    bounds = [chosen.api_params.get(name) for name in reversed(task.answer_limits)]
    return next((float(bound) for bound in bounds if isinstance(bound, int)), None)
