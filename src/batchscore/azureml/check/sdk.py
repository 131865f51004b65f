"""What does azure-ai-ml say of a file, offline, and where in the file is that?

It loads a file and builds the body that would go over the wire. Nothing is sent: that takes a client, and
none is made. The SDK writes its findings as JSON inside a long text; here they become lines of the file.

Fact of the field (azure-ai-ml 1.35): what loads models, deployments and schedules by their kind is not among
its public names, and loading alone accepts much that the wire form then refuses.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from batchscore.azureml.check.document import Document, Finding, Steps
from batchscore.errors import SettingsError

#: What the SDK adds to a finding for every other form that the field could have taken.
_BOILERPLATE = re.compile(
    r"In order to specify|Not a valid URL|not a data binding string|Invalid input type|git path"
)
#: The finding that names the values which are allowed says all; the others are of other forms of the field.
_TELLING = re.compile(r"Value '[^']*' passed is not in set \[[^]]*\]")
_MOST_CHARACTERS = 300

INSTALL = "batchscore check needs azure-ai-ml: pip install 'batchscore[azureml]'"


def _deployment(path: str) -> None:
    from azure.ai.ml.entities._load_functions import load_model_batch_deployment  # noqa: PLC0415

    load_model_batch_deployment(path)._to_rest_object("location")


def _endpoint(path: str) -> None:
    from azure.ai.ml import load_batch_endpoint  # noqa: PLC0415

    load_batch_endpoint(path)._to_rest_batch_endpoint("location")


def _pipeline(path: str) -> None:
    from azure.ai.ml import load_job  # noqa: PLC0415

    job = load_job(path)
    result = job._validate()
    if not result.passed:
        raise ValueError(json.dumps(dict(result.error_messages)))
    job._to_rest_object()


def _schedule(path: str) -> None:
    from azure.ai.ml.constants import TimeZone  # noqa: PLC0415
    from azure.ai.ml.entities._load_functions import load_schedule  # noqa: PLC0415

    schedule = load_schedule(path)
    schedule._to_rest_object()
    zone = getattr(schedule.trigger, "time_zone", None)
    if isinstance(zone, str) and zone not in {str(known.value) for known in TimeZone}:
        message = f"{zone} is no name of a time zone as Windows has them, such as W. Europe Standard Time."
        raise ValueError(json.dumps({"trigger": {"time_zone": [message]}}))


def _compute(path: str) -> None:
    from azure.ai.ml import load_compute  # noqa: PLC0415

    load_compute(path)._to_rest_object()


def _environment(path: str) -> None:
    from azure.ai.ml import load_environment  # noqa: PLC0415

    load_environment(path)._to_rest_object()


def _data(path: str) -> None:
    from azure.ai.ml import load_data  # noqa: PLC0415

    load_data(path)


#: Kind of file → what loads it. A test holds this to the kinds that `kinds` tells apart.
LOADERS: Mapping[str, Callable[[str], None]] = {
    "endpoint": _endpoint,
    "deployment": _deployment,
    "pipeline": _pipeline,
    "schedule": _schedule,
    "compute": _compute,
    "environment": _environment,
    "data": _data,
}


def require_sdk() -> None:
    """Import azure-ai-ml, a second or two; raises `SettingsError` where it is not installed."""
    try:
        with _silence():
            import azure.ai.ml.entities._load_functions  # noqa: F401, PLC0415
            import yaml  # noqa: F401, PLC0415
    except ImportError:
        raise SettingsError(INSTALL) from None


def sdk_findings(document: Document, kind: str) -> list[Finding]:
    """Return what the SDK finds wrong in a file of this kind."""
    try:
        with _silence():
            LOADERS[kind](str(document.path))
    except Exception as error:
        # Its own exceptions, marshmallow's, and whatever escapes: TypeError for a field that is missing.
        text = str(error)
        found = [document.finding(message, *steps) for steps, message in _entries(text) if message] or [
            Finding(document.path, _line_quoted(document, text), _short(text) or type(error).__name__)
        ]
        return list(dict.fromkeys(found))
    return []


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep what the SDK prints and logs (experimental classes, names not used) from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _entries(text: str) -> list[tuple[Steps, str]]:
    """Return the steps and messages in the JSON that stands in the text; empty where there is none."""
    start = text.find("{")
    try:
        found, _ = json.JSONDecoder().raw_decode(text[start:]) if start >= 0 else (None, 0)
    except ValueError:
        return []
    if not isinstance(found, dict):
        return []
    if isinstance(found.get("errors"), list):
        entries = []
        for one in found["errors"]:
            within = _entries(str(one.get("message", "")))
            steps = tuple(step for step in str(one.get("path", "")).split(".") if step != "*")
            entries += within or [(steps, _short(str(one.get("message", ""))))]
        return entries
    return list(_walk(found, ()))


def _walk(value: Any, steps: Steps) -> Iterator[tuple[Steps, str]]:
    """Give a message for each field; of the forms that a field may have, the ones that say something."""
    if isinstance(value, dict) and "_schema" not in value:
        for key, below in value.items():
            named = steps if key == "None" else (*steps, *str(key).split("."))
            yield from _walk(below, named)
        return
    yield steps, _field_message(steps, _texts(value))


def _field_message(steps: Steps, texts: list[str]) -> str:
    name = f"{steps[-1]}: " if steps else ""
    telling = [text for text in texts if not _BOILERPLATE.search(text)]
    if telling:
        return name + _short("; ".join(dict.fromkeys(telling)))
    return f"{name}this is no reference that Azure ML knows; such as azureml:NAME@latest or azureml:NAME:1."


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for below in value.values() for text in _texts(below)]
    if isinstance(value, list):
        return [text for below in value for text in _texts(below)]
    return [str(value)]


def _short(text: str) -> str:
    """Return the telling part of an SDK message, on one line."""
    telling = _TELLING.search(text)
    if telling:
        return telling.group()
    kept = [part.strip() for part in re.split(r"; |\n", text) if part.strip()]
    kept = [part for part in kept if not _BOILERPLATE.search(part)] or kept
    line = " ".join(kept)
    return line if len(line) <= _MOST_CHARACTERS else line[:_MOST_CHARACTERS] + " …"


def _line_quoted(document: Document, text: str) -> int:
    """Return the line that holds what the message quotes: an expression, or a word in quotes."""
    for quoted in re.findall(r"\$\{\{[^}]*\}\}|'[^'\n]+'", text):
        for number, line in enumerate(document.text.splitlines(), 1):
            if quoted.strip("'") in line:
                return number
    return 0
