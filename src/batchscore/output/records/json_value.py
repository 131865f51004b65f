"""How does any value, such as a cell of any library or a reply, become JSON text?

It knows no records. A value that cannot be kept never stops a run.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime, time
from typing import Any

import orjson

from batchscore.prompts.cells import key_text, plain
from batchscore.rows import replace_surrogates

_DEEPEST = 200  # orjson's limit is 254 levels


def json_text(value: Any) -> str:
    """Return any cell or reply as JSON text, with the rules of a record."""
    return json_bytes(value).decode()


def json_bytes(value: Any) -> bytes:
    """Return any cell or reply as JSON in UTF-8, with the rules of a record."""
    return dumps(value, orjson.OPT_SERIALIZE_NUMPY)


def kept_text(value: Any) -> str | None:
    """Return any cell as text: JSON if it is not a text; `None` if it is null in the words of any library."""
    if value is None:
        return None
    if isinstance(value, str):
        return replace_surrogates(value)
    text = json_text(value)
    if text == "null":  # NaN
        return None
    # A date or a Decimal is a JSON string: without the quotes, so that others can cast it.
    return str(orjson.loads(text)) if text.startswith('"') else text


def dumps(value: Any, option: int) -> bytes:
    """Return any value as JSON in UTF-8, with an option of orjson."""
    try:
        return orjson.dumps(value, default=_from_other_type, option=option)
    except orjson.JSONEncodeError:
        # Lone surrogates, integers beyond 64 bits, keys that are not text, deep nests: rare and slow.
        return orjson.dumps(
            _simplify(value), default=_from_other_type, option=option | orjson.OPT_NON_STR_KEYS
        )


def _from_other_type(value: Any) -> Any:
    """Return the JSON form of a cell of a type that orjson does not know: as it is sent, else in base64."""
    try:
        return plain(value)
    except Exception:  # a cell that cannot be kept must not stop the run
        return base64.b64encode(value).decode() if isinstance(value, (bytes, bytearray)) else None


def _key_text(key: Any) -> str:
    """Return the key of an object that is not text, with the same rules."""
    try:
        return key_text(key)
    except Exception:  # as above
        return str(_from_other_type(key))


def _simplify(value: Any, depth: int = 0) -> Any:
    """Return a copy of a cell without anything that orjson refuses."""
    if isinstance(value, str):
        return replace_surrogates(value)
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, (datetime, time)):  # orjson does not know times with a zone
        return value.isoformat()
    if isinstance(value, (Mapping, list, tuple)) and depth >= _DEEPEST:
        return _deep_text(value)
    if isinstance(value, Mapping):
        return {
            _simplify(key) if isinstance(key, (str, int)) else _key_text(key): _simplify(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_simplify(item, depth + 1) for item in value]
    return value


def _deep_text(value: Any) -> str:
    try:
        return replace_surrogates(json.dumps(value, default=_from_other_type, ensure_ascii=False))
    except RecursionError:  # from about 900 levels on; one such cell must not stop the run
        return "(nested too deeply)"
