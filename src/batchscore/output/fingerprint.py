"""Which settings determine the records of an output, and do two runs differ in one?

Secrets are hidden in a fingerprint, but a change of what is hidden counts. How an input is read is in it for
readers of the output, but does not tell two runs apart: what counts is whether the rows are the same. It
knows nothing of files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from batchscore.settings.json_schema import parts
from batchscore.settings.secrets import HIDDEN, without_secrets

#: The field with the digests of values of which a part is hidden.
_HIDDEN = "hidden"

#: How inputs are read: settings of which several can give the same rows.
READING = ("txt", "encoding", "delimiter", "quote", "escape", "no_header", "skip_lines", "records", "sheet")

#: The number of characters of a value that a message shows.
_MOST_SHOWN = 60


def shown_fingerprint(stated: Mapping[str, Any]) -> dict[str, Any]:
    """Return a fingerprint as runs write and compare it: without secrets. Earlier versions hid fewer."""
    shown: dict[str, Any] = {}
    digests = {}
    for name, value in stated.items():
        if name == _HIDDEN:
            continue
        path = "" if name == "params" else f"settings.{name}"
        shown[name] = without_secrets(value, path)
        # A secret parameter does not determine records and may change. A word of an address may be an id.
        counted = without_secrets(value, path, paths=False) if name == "params" else value
        text = json.dumps(counted, sort_keys=True)
        if text != json.dumps(shown[name], sort_keys=True):
            digests[name] = _digest(name, text)
    digests |= {name: digest for name, digest in stated.get(_HIDDEN, {}).items() if name in stated}
    return shown | ({_HIDDEN: digests} if digests else {})


@lru_cache(maxsize=64)
def _digest(name: str, text: str) -> str:
    """Return a digest of a value with a secret.

    The rest of the value is public, so that a short secret could be guessed from a fast checksum. A slow one
    makes each guess expensive; a long random secret cannot be guessed.
    """
    return hashlib.pbkdf2_hmac("sha256", text.encode(), name.encode(), 100_000, 16).hex()


def recorded_schema(fingerprint: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the JSON Schema of the answers, `None` without one.

    It is the schema of any value if the name of a property is hidden: its answers would not be found.
    """
    schema: Mapping[str, Any] | None = fingerprint.get("schema")
    named = [
        part["properties"] for _, part in parts(schema) if isinstance(part, Mapping) and "properties" in part
    ]
    hides = any(HIDDEN in name for each in named if isinstance(each, Mapping) for name in each)
    return {} if hides else schema


def identity_of(fingerprint: Mapping[str, Any]) -> str:
    """Return as text what distinguishes runs: the fingerprint of a run that reads its inputs by default."""
    shared = {name: value for name, value in fingerprint.items() if name not in READING} | {"txt": "lines"}
    return orjson.dumps(shared, option=orjson.OPT_SORT_KEYS).decode()


def reading_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return in words what differs in how two runs read their inputs."""
    changed = [name for name in READING if old.get(name) != new.get(name)] if old != new else []
    return [change for name in changed for change in _changes(name, old.get(name), new.get(name))]


def other_settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return in words what differs between the fingerprints of two runs, besides how inputs are read."""
    if old == new:
        return []
    was, now = old.get(_HIDDEN, {}), new.get(_HIDDEN, {})
    found = []
    for name in sorted({*old, *new} - {_HIDDEN, *READING}):
        if old.get(name) != new.get(name):
            found += _changes(name, old.get(name), new.get(name))
        elif was.get(name) != now.get(name):
            found.append(f"the part of {name} that is hidden as *** has changed, or was not recorded")
    return found


def _changes(name: str, old: Any, new: Any) -> list[str]:
    """Return in words how a setting has changed; each parameter of the model is a setting."""
    if name == "params" and isinstance(old or {}, Mapping) and isinstance(new or {}, Mapping):
        was, now = old or {}, new or {}
        changed = [each for each in sorted({*was, *now}) if was.get(each) != now.get(each)]
        return [change for each in changed for change in _changes(each, was.get(each), now.get(each))]
    was, now = _text(old), _text(new)
    pairs = zip(was, now, strict=False)
    same = next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(was), len(now)))
    return [f"{name} was {_cut(was, same)}, is now {_cut(now, same)}"]


def _text(value: Any) -> str:
    """Return a setting's value as people write it."""
    if value is None or value in ([], {}, ()):
        return "not set"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _cut(text: str, same: int) -> str:
    """Return a long text from shortly before the place where it differs from another one."""
    if len(text) <= _MOST_SHOWN:
        return text
    first = max(0, same - _MOST_SHOWN // 3)
    last = first + _MOST_SHOWN
    return f"{'…' if first else ''}{text[first:last]}{'…' if last < len(text) else ''}"
