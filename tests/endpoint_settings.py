"""The slice of settings that says which service is called, with nothing set but what a test gives."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from batchscore.settings.slices import EndpointSettings
from batchscore.task import TASKS


def endpoint_settings(**given: Any) -> EndpointSettings:
    """Return a slice with these values; a task may be given by its name."""
    empty: dict[str, Any] = dict.fromkeys(each.name for each in fields(EndpointSettings))
    values = empty | {"simulate": False, "deployments": ()} | given
    return EndpointSettings(**values | {"task": TASKS[values["task"] or "embeddings"]})
