"""What does azure-ai-ml say about a file, offline, and where in the file is that?

It loads a file and builds the request body for the service. Nothing is sent: that needs a client, and none is
made. The SDK writes its findings as JSON inside a long text; here they become lines of the file.

In azure-ai-ml 1.35 the loaders of deployments and schedules are not public, and loading alone accepts much
that the request body then refuses.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from batchscore.azureml.check.document import Document, Finding, flatten
from batchscore.errors import SettingsError

#: What the SDK adds to a finding for every other form that the field could have.
_BOILERPLATE = re.compile(
    r"In order to specify|Not a valid URL|not a data binding string|Invalid input type|git path"
)
#: A finding that names the allowed values is enough; the others are about other forms of the field.
_ALLOWED_VALUES = re.compile(r"Value '[^']*' passed is not in set \[[^]]*\]")
_MOST_CHARACTERS = 300

INSTALL = "batchscore check needs azure-ai-ml: in a clone, run pip install '.[azureml]'"

_PUBLIC, _PRIVATE = "azure.ai.ml", "azure.ai.ml.entities._load_functions"

#: Kind of file: the module and function that load it, and what builds the request body with which arguments.
LOADERS: Mapping[str, tuple[str, str, str, tuple[str, ...]]] = {
    "endpoint": (_PUBLIC, "load_batch_endpoint", "_to_rest_batch_endpoint", ("location",)),
    "deployment": (_PRIVATE, "load_model_batch_deployment", "_to_rest_object", ("location",)),
    "pipeline": (_PUBLIC, "load_job", "_to_rest_object", ()),
    "schedule": (_PRIVATE, "load_schedule", "_to_rest_object", ()),
    "compute": (_PUBLIC, "load_compute", "_to_rest_object", ()),
    "environment": (_PUBLIC, "load_environment", "_to_rest_object", ()),
    "data": (_PUBLIC, "load_data", "", ()),
}


def _load(kind: str, path: str) -> None:
    """Load a file and build its request body; raises what the SDK raises."""
    module, loader, builder, arguments = LOADERS[kind]
    loaded = getattr(import_module(module), loader)(path)
    if kind == "pipeline":
        result = loaded._validate()
        if not result.passed:
            raise ValueError(json.dumps(dict(result.error_messages)))
    if builder:
        getattr(loaded, builder)(*arguments)


def require_sdk() -> None:
    """Import azure-ai-ml, which takes a second or two; raises `SettingsError` if it is not installed."""
    try:
        with _silence():
            import_module(_PRIVATE)
            import_module("yaml")
    except ImportError:
        raise SettingsError(INSTALL) from None


def sdk_findings(document: Document) -> list[Finding]:
    """Return what the SDK finds wrong in a file."""
    try:
        with _silence():
            _load(document.kind, str(document.path))
    except Exception as error:
        # Its own exceptions, marshmallow's, and others: TypeError for a missing field.
        text = str(error)
        return [document.finding(message, key) for key, message in _entries(text) if message] or [
            Finding(document.path, _line_quoted(document, text), _shorten(text) or type(error).__name__)
        ]
    return []


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Hide what the SDK prints and logs (experimental classes, unused names)."""
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


def _entries(text: str) -> Iterator[tuple[str, str]]:
    """Give the keys and messages in the JSON within the text; none if there is none."""
    try:
        found, _ = json.JSONDecoder().raw_decode(text[text.index("{") :])
    except ValueError:
        return
    if not isinstance(found.get("errors"), list):
        yield from _walk(found, "")
        return
    for one in found["errors"]:
        message = str(one.get("message", ""))
        key = ".".join(name for name in str(one.get("path", "")).split(".") if name != "*")
        yield from list(_entries(message)) or [(key, _shorten(message))]


def _walk(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Give one message for each field."""
    if isinstance(value, dict) and "_schema" not in value:
        for name, below in value.items():
            yield from _walk(below, key if name == "None" else f"{key}.{name}".lstrip("."))
        return
    name = f"{key.rpartition('.')[2]}: " if key else ""
    leaves = (str(below) for _, below in flatten("", value) if not isinstance(below, (dict, list)))
    text = _shorten("; ".join(dict.fromkeys(leaf for leaf in leaves if not _BOILERPLATE.search(leaf))))
    unknown = "this is not a reference that Azure ML knows, such as azureml:NAME@latest or azureml:NAME:1."
    yield key, name + (text or unknown)


def _shorten(text: str) -> str:
    """Return the useful part of an SDK message, on one line."""
    allowed = _ALLOWED_VALUES.search(text)
    if allowed:
        return allowed.group()
    parts = [part.strip() for part in re.split(r"; |\n", text) if part.strip()]
    line = " ".join([part for part in parts if not _BOILERPLATE.search(part)] or parts)
    return line if len(line) <= _MOST_CHARACTERS else line[:_MOST_CHARACTERS] + " …"


def _line_quoted(document: Document, text: str) -> int | None:
    """Return the line that holds what the message quotes: an expression, or a word in quotes."""
    quoted = [found.strip("'") for found in re.findall(r"\$\{\{[^}]*\}\}|'[^'\n]+'", text)]
    lines = document.text.splitlines()
    return next((number for each in quoted for number, line in enumerate(lines, 1) if each in line), None)
