"""Does a JSON value match an object of OpenAI's OpenAPI description: files, batches, messages, tools?"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator


def check_object(name: str, value: Any) -> None:
    """Raise ValidationError if it does not match. A null is absent, as in the description's own examples."""
    _validator(name).validate(_without_nulls(value))


@cache
def _validator(name: str) -> Draft202012Validator:
    schemas: dict[str, Any] = {}
    for file in ("openai_batch_schemas.json", "openai_message_schemas.json"):
        schemas |= json.loads(Path(__file__).with_name(file).read_text("utf-8"))["components"]["schemas"]
    return Draft202012Validator({"components": {"schemas": schemas}, "$ref": f"#/components/schemas/{name}"})


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(one) for name, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value
