"""Does a JSON value match an object of files, batches or jobs, or a request, in OpenAI's description?"""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator


def check_object(name: str, value: Any) -> None:
    """Raise ValidationError if it does not match. A null is absent, as in the description's own examples."""
    validator = _validator(name)
    if not validator.is_valid(value):
        validator.validate(_without_nulls(value))


@cache
def _validator(name: str) -> Draft202012Validator:
    home = Path(__file__)
    found = json.loads(home.with_name("openai_object_schemas.json").read_bytes())
    if name not in found["components"]["schemas"]:
        found = json.loads(gzip.decompress(home.with_name("openai_request_schemas.json.gz").read_bytes()))
    return Draft202012Validator({**found, "$ref": f"#/components/schemas/{name}"})


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(one) for name, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value
