"""Which parameters of chat and completions requests are unknown, of the wrong type or out of bounds?

It must not know messages nor prompts.
"""

from __future__ import annotations

from typing import Any

from batchscore.simulator.error_replies import (
    ServiceReply,
    Surface,
    invalid_request,
    unknown_parameter,
    wrong_type,
)

_BOTH = """frequency_penalty logit_bias logprobs max_tokens model n presence_penalty seed stop stream
stream_options temperature top_p user"""
KNOWN = {
    "completions": frozenset(f"{_BOTH} best_of echo prompt suffix".split()),
    "chat/completions": frozenset(
        f"""{_BOTH} audio data_sources function_call functions max_completion_tokens messages metadata
        modalities parallel_tool_calls prediction prompt_cache_key prompt_cache_retention reasoning_effort
        response_format safety_identifier service_tier store tool_choice tools top_logprobs
        user_security_context verbosity web_search_options""".split()
    ),
}
#: Name -> (minimum, maximum); None means no bound. Pages of both operations, seen 2026.
_NUMBERS: dict[str, tuple[float | None, float | None]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
}
_INTEGERS: dict[str, tuple[int | None, int | None]] = {
    "max_tokens": (0, None),
    "max_completion_tokens": (1, None),
    "n": (1, 128),
    "best_of": (1, 20),
    "seed": (None, None),
}
#: Parameters that reasoning models accept only with this value.
_FIXED = {"temperature": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0, "n": None}
_MAX_STOPS = 4


def check_parameters(
    body: dict[str, Any], *, operation: str, surface: Surface, reasoning: bool
) -> ServiceReply | None:
    """Return the first error, in the order of the body's parameters."""
    for name, value in body.items():
        if name not in KNOWN[operation]:
            return unknown_parameter(surface, operation, name)
        if value is None:
            continue
        problem = (_check_reasoning(name, value) if reasoning else None) or _check_value(name, value)
        if problem is not None:
            return problem
    if operation == "chat/completions" and body.get("max_tokens") == 0:
        return _check_range("max_tokens", 0, 1, None, kind="integer")
    if body.get("stream"):
        return invalid_request("The simulator does not stream; leave out 'stream'.", param="stream")
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        return invalid_request(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            code="invalid_parameter_combination",
        )
    return None


def _check_reasoning(name: str, value: Any) -> ServiceReply | None:
    """Return the error of reasoning models (Azure's page on them, seen 2026)."""
    if name == "max_tokens":
        return invalid_request(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use"
            " 'max_completion_tokens' instead.",
            param=name,
            code="unsupported_parameter",
        )
    if name in {"logprobs", "top_logprobs", "logit_bias"}:
        return invalid_request(
            f"Unsupported parameter: '{name}' is not supported with this model.",
            param=name,
            code="unsupported_parameter",
        )
    fixed = _FIXED.get(name)
    if fixed is not None and value != fixed:
        return invalid_request(
            f"Unsupported value: '{name}' does not support {value} with this model. Only the default"
            f" ({fixed}) value is supported.",
            param=name,
            code="unsupported_value",
        )
    return None


def _check_value(name: str, value: Any) -> ServiceReply | None:
    if name in _INTEGERS:
        if type(value) is not int:
            return wrong_type(name, "an integer", value)
        return _check_range(name, value, *_INTEGERS[name], kind="integer")
    if name in _NUMBERS:
        if type(value) not in {int, float}:
            return wrong_type(name, "a decimal", value)
        return _check_range(name, value, *_NUMBERS[name], kind="decimal")
    if name == "stop":
        words = [value] if isinstance(value, str) else value
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            return wrong_type(name, "one of an array of strings or string", value)
        if len(words) > _MAX_STOPS:
            return invalid_request(
                f"Invalid 'stop': array too long. Expected an array with maximum length {_MAX_STOPS}, but"
                f" got an array with length {len(words)} instead.",
                param=name,
                code="array_above_max_length",
            )
    return _check_response_format(value) if name == "response_format" else None


def _check_response_format(value: Any) -> ServiceReply | None:
    if not isinstance(value, dict):
        return wrong_type("response_format", "an object", value)
    kind = value.get("type")
    if kind not in ("text", "json_object", "json_schema"):
        return invalid_request(
            f"Invalid value: '{kind}'. Supported values are: 'json_object', 'json_schema', and 'text'.",
            param="response_format.type",
            code="invalid_value",
        )
    if kind != "json_schema":
        return None
    form = value.get("json_schema")
    if not isinstance(form, dict) or not _is_usable_schema(form.get("schema")):
        return invalid_request("Invalid schema for response_format.", param="response_format")
    return None


def _is_usable_schema(schema: Any) -> bool:
    """Whether the parts of a JSON schema that answers use have valid types."""
    if not isinstance(schema, dict):
        return False
    lists = [schema[word] for word in ("enum", "anyOf", "oneOf") if word in schema]
    if not all(isinstance(one, list) and one for one in lists):
        return False
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        return False
    inner = [*properties.values(), *schema.get("anyOf", []), *schema.get("oneOf", [])]
    return all(_is_usable_schema(one) for one in [*inner, *([schema["items"]] if "items" in schema else [])])


def _check_range(
    name: str, value: float, low: float | None, high: float | None, *, kind: str
) -> ServiceReply | None:
    if low is not None and value < low:
        return invalid_request(
            f"Invalid '{name}': {kind} below minimum value. Expected a value >= {low}, but got {value}"
            " instead.",
            param=name,
            code=f"{kind}_below_min_value",
        )
    if high is not None and value > high:
        return invalid_request(
            f"Invalid '{name}': {kind} above maximum value. Expected a value <= {high}, but got {value}"
            " instead.",
            param=name,
            code=f"{kind}_above_max_value",
        )
    return None
