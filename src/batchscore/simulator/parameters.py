"""Which parameters does a request for text accept, and with which values?

It must not know prompts nor answers.
Rules: OpenAI's OpenAPI description of 2026-08 (`CreateChatCompletionRequest`, `CreateCompletionRequest`,
`CreateResponse`), and Azure's page on reasoning models, seen 2026.
"""

from __future__ import annotations

import re
from math import inf
from typing import Any

import orjson

from batchscore.simulator.error_replies import (
    ServiceReply,
    Surface,
    empty_array,
    invalid_request,
    missing,
    too_many_elements,
    unknown_parameter,
    unsupported_value,
    wrong_type,
)

_BOTH = """frequency_penalty logit_bias logprobs max_tokens model n presence_penalty seed stop stream
stream_options temperature top_p user"""
_BOTH_NEWER = """metadata moderation parallel_tool_calls prompt_cache_key prompt_cache_options
prompt_cache_retention safety_identifier service_tier store tool_choice tools top_logprobs"""
_KNOWN = {
    "completions": frozenset(f"{_BOTH} best_of echo prompt suffix".split()),
    "chat/completions": frozenset(
        f"""{_BOTH} {_BOTH_NEWER} audio data_sources function_call functions max_completion_tokens messages
        modalities prediction reasoning_effort response_format user_security_context verbosity
        web_search_options""".split()
    ),
    "responses": frozenset(
        f"""{_BOTH_NEWER} background context_management conversation include input instructions
        max_output_tokens max_tool_calls model previous_response_id prompt reasoning stream stream_options
        temperature text top_p truncation user""".split()
    ),
}
#: Parameters that only Azure has.
_AZURES = frozenset({"data_sources", "user_security_context"})

#: Name -> type, minimum and maximum.
_BOUNDS: dict[str, tuple[str, float, float]] = {
    "temperature": ("decimal", 0, 2),
    "top_p": ("decimal", 0, 1),
    "frequency_penalty": ("decimal", -2, 2),
    "presence_penalty": ("decimal", -2, 2),
    "max_tokens": ("integer", 0, inf),
    "max_completion_tokens": ("integer", 1, inf),
    "max_output_tokens": ("integer", 16, inf),
    "max_tool_calls": ("integer", 1, inf),
    "n": ("integer", 1, 128),
    "best_of": ("integer", 1, 20),
    "seed": ("integer", -(2**63), 2**63 - 1),
    "top_logprobs": ("integer", 0, 20),
}
_MOST_LOGPROBS_OF_COMPLETIONS = 5
_TYPES: dict[str, tuple[type, str]] = {
    **dict.fromkeys(("stream", "echo", "store", "parallel_tool_calls", "background"), (bool, "a boolean")),
    **dict.fromkeys(("user", "suffix", "prompt_cache_key", "safety_identifier"), (str, "a string")),
    **dict.fromkeys(("instructions", "previous_response_id"), (str, "a string")),
    **dict.fromkeys(
        ("metadata", "logit_bias", "web_search_options", "prediction", "audio"), (dict, "an object")
    ),
    **dict.fromkeys(("reasoning", "text", "moderation", "prompt_cache_options"), (dict, "an object")),
    **dict.fromkeys(("tools", "functions", "modalities"), (list, "an array")),
    **dict.fromkeys(("include", "context_management"), (list, "an array")),
}
_VALUES = {
    "reasoning_effort": ("none", "minimal", "low", "medium", "high", "xhigh", "max"),
    "service_tier": ("auto", "default", "flex", "scale", "priority", "fast"),
    "verbosity": ("low", "medium", "high"),
    "prompt_cache_retention": ("in_memory", "24h"),
    "truncation": ("auto", "disabled"),
    "summary": ("auto", "concise", "detailed"),
}
_INCLUDES = (
    *("file_search_call.results", "web_search_call.results", "web_search_call.action.sources"),
    *("message.input_image.image_url", "computer_call_output.output.image_url"),
    *("code_interpreter_call.outputs", "reasoning.encrypted_content", "message.output_text.logprobs"),
)
#: Name -> the most elements of an array or an object, and the most characters of a text.
_MOST = {"tools": 128, "functions": 128, "metadata": 16, "stop": 4, "safety_identifier": 64}

#: The parts of parameters that are objects -> the parameter of chat with the same values.
_PARTS = {
    "reasoning": {
        "effort": "reasoning_effort",
        "summary": "summary",
        "generate_summary": "summary",
        "mode": "",
        "context": "",
    },
    "text": {"format": "", "verbosity": "verbosity"},
}

#: Parameter -> the one that it needs.
_NEEDS = {
    "top_logprobs": ("logprobs", "enabled"),
    "stream_options": ("stream", "enabled"),
    "tool_choice": ("tools", "specified"),
    "parallel_tool_calls": ("tools", "specified"),
    "function_call": ("functions", "specified"),
}

#: Parameters that reasoning models accept only with this value.
_FIXED = {"temperature": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0, "n": None}

#: What differs from request to request, and is checked elsewhere.
_PROMPTS = {"completions": "prompt", "chat/completions": "messages", "responses": "input"}
#: The results of the latest checks.
_CHECKED: dict[bytes, ServiceReply | None] = {}
_MOST_CHECKED = 256

_FORMAT_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def check_parameters(
    body: dict[str, Any], *, operation: str, surface: Surface, reasoning: bool
) -> ServiceReply | None:
    """Return the first error, in the order of the body's parameters. The requests of a run have the same."""
    parameters = {**body, _PROMPTS[operation]: None, "model": None}
    key = orjson.dumps([operation, surface.value, reasoning, parameters])
    if key not in _CHECKED:
        if len(_CHECKED) >= _MOST_CHECKED:
            _CHECKED.clear()
        _CHECKED[key] = _first_problem(parameters, operation, surface, reasoning=reasoning)
    return _CHECKED[key]


def _first_problem(
    body: dict[str, Any], operation: str, surface: Surface, *, reasoning: bool
) -> ServiceReply | None:
    known = _KNOWN[operation] - (_AZURES if surface is Surface.OPENAI else frozenset())
    for name, value in body.items():
        if name not in known:
            return unknown_parameter(surface, operation, name)
        if value is None:
            continue
        problem = (_check_reasoning(name, value, operation) if reasoning else None) or _check_value(
            name, value, operation
        )
        if problem is not None:
            return problem
    return _check_together(body, operation)


def _check_together(body: dict[str, Any], operation: str) -> ServiceReply | None:
    """Return the first error of parameters that contradict each other."""
    for name, (needed, state) in _NEEDS.items():
        # The Responses API has defaults for the others.
        if operation == "responses" and needed != "stream":
            continue
        if body.get(name) is not None and not body.get(needed):
            are = "are" if needed.endswith("s") and state == "specified" else "is"
            text = f"The '{name}' parameter is only allowed when '{needed}' {are} {state}."
            return invalid_request(text, param=name)
    if operation == "chat/completions" and body.get("max_tokens") == 0:
        return _check_number("max_tokens", 0, "integer", 1, inf)
    if body.get("stream"):
        return invalid_request("The simulator does not stream; leave out 'stream'.", param="stream")
    if body.get("background"):
        text = "The simulator does not work in the background; leave out 'background'."
        return invalid_request(text, param="background")
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        return invalid_request(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            code="invalid_parameter_combination",
        )
    if operation == "completions" and (body.get("best_of") or inf) < (body.get("n") or 1):
        return invalid_request(
            "You requested that the server return more choices than it will generate (HINT: 'best_of' must be"
            " at least 'n').",
            param="best_of",
        )
    return None


def unsupported_parameter(name: str, instead: str = "") -> ServiceReply:
    """Return the error of a parameter that the model does not have."""
    return invalid_request(
        f"Unsupported parameter: '{name}' is not supported with this model.{instead}",
        param=name,
        code="unsupported_parameter",
    )


def _check_reasoning(name: str, value: Any, operation: str) -> ServiceReply | None:
    """Return the error of reasoning models."""
    if name in {"max_tokens", "logprobs", "top_logprobs", "logit_bias"}:
        instead = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
        return unsupported_parameter(name, instead)
    if operation == "responses" and name in {"temperature", "top_p"}:
        return unsupported_parameter(name)
    fixed = _FIXED.get(name)
    if fixed is not None and value != fixed:
        return invalid_request(
            f"Unsupported value: '{name}' does not support {value} with this model. Only the default"
            f" ({fixed}) value is supported.",
            param=name,
            code="unsupported_value",
        )
    return None


def _check_value(name: str, value: Any, operation: str) -> ServiceReply | None:
    if name == "logprobs" and operation == "completions":
        return _check_number(name, value, "integer", 0, _MOST_LOGPROBS_OF_COMPLETIONS)
    if name in _BOUNDS:
        return _check_number(name, value, *_BOUNDS[name])
    kind, words = (bool, "a boolean") if name == "logprobs" else _TYPES.get(name, (object, ""))
    if not isinstance(value, kind):
        return wrong_type(name, words, value)
    if name in _VALUES and value not in _VALUES[name]:
        return unsupported_value(name, value, _VALUES[name])
    if name == "stop":
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            return wrong_type(name, "one of an array of strings or string", value)
    most = _MOST.get(name)
    if most is not None and len(value) > most:
        return _too_many(name, most, value)
    if name == "include":
        wrong = next((at for at, each in enumerate(value) if each not in _INCLUDES), None)
        return None if wrong is None else unsupported_value(f"include[{wrong}]", value[wrong], _INCLUDES)
    if name in {"tools", "functions"}:
        return _check_tools(name, value)
    if name == "logit_bias":
        return _check_logit_bias(value)
    if name == "metadata":
        wrong = next((each for each in value if not isinstance(value[each], str)), None)
        return None if wrong is None else wrong_type(f"metadata.{wrong}", "a string", value[wrong])
    if name in _PARTS and operation == "responses":
        return _check_parts(name, value)
    return _check_format(name, value) if name == "response_format" else None


def _check_parts(name: str, value: dict[str, Any]) -> ServiceReply | None:
    """Return the first error within a parameter that is an object."""
    for part, inner in value.items():
        path = f"{name}.{part}"
        if part not in _PARTS[name]:
            return invalid_request(f"Unknown parameter: '{path}'.", param=path, code="unknown_parameter")
        supported = _VALUES.get(_PARTS[name][part])
        if inner is not None and supported is not None and inner not in supported:
            return unsupported_value(path, inner, supported)
        problem = _check_format(path, inner) if path == "text.format" else None
        if problem is not None:
            return problem
    return None


def _too_many(name: str, most: int, value: Any) -> ServiceReply:
    if isinstance(value, list):
        return too_many_elements(name, most, len(value))
    kind, unit = ("object", "properties") if isinstance(value, dict) else ("string", "characters")
    return invalid_request(
        f"Invalid '{name}': {kind} too long. Expected at most {most} {unit}, but got {len(value)} instead.",
        param=name,
        code=f"{kind}_above_max_{'properties' if kind == 'object' else 'length'}",
    )


def _check_tools(name: str, value: list[Any]) -> ServiceReply | None:
    if not value:
        return empty_array(name)
    wrong = next((at for at, tool in enumerate(value) if not isinstance(tool, dict)), None)
    return None if wrong is None else wrong_type(f"{name}[{wrong}]", "an object", value[wrong])


def _check_logit_bias(value: dict[str, Any]) -> ServiceReply | None:
    for token, bias in value.items():
        if not token.isdecimal():
            return invalid_request(
                f"Invalid key in 'logit_bias': {token}. You should only be submitting non-negative integers.",
                param="logit_bias",
            )
        problem = _check_number(f"logit_bias.{token}", bias, "decimal", -100, 100)
        if problem is not None:
            return problem
    return None


def _check_number(name: str, value: Any, kind: str, low: float, high: float) -> ServiceReply | None:
    if type(value) is not int and (kind == "integer" or type(value) is not float):
        return wrong_type(name, "an integer" if kind == "integer" else "a decimal", value)
    if low <= value <= high:
        return None
    side, sign, bound = ("below min", ">=", low) if value < low else ("above max", "<=", high)
    return invalid_request(
        f"Invalid '{name}': {kind} {side}imum value. Expected a value {sign} {bound}, but got {value}"
        " instead.",
        param=name,
        code=f"{kind}_{side.replace(' ', '_')}_value",
    )


def _check_format(name: str, value: Any) -> ServiceReply | None:
    """Return the error of the form of answers: chat's `response_format`, or `text.format` of responses."""
    if not isinstance(value, dict):
        return wrong_type(name, "an object", value)
    kind = value.get("type")
    if kind not in ("text", "json_object", "json_schema"):
        return unsupported_value(f"{name}.type", kind, ("json_object", "json_schema", "text"), ", and ")
    if kind != "json_schema":
        return None
    is_chat = name == "response_format"
    form = value.get("json_schema") if is_chat else value
    where = f"{name}.json_schema" if is_chat else name
    if not isinstance(form, dict) or not isinstance(form.get("name"), str):
        return missing(f"{where}.name")
    if not _FORMAT_NAME.fullmatch(form["name"]):
        return invalid_request(
            f"Invalid '{where}.name': string does not match pattern. Expected a string"
            " that matches the pattern '^[a-zA-Z0-9_-]+$'.",
            param=f"{where}.name",
            code="invalid_value",
        )
    problem = schema_problem(form.get("schema"), strict=form.get("strict") is True)
    if problem is None:
        return None
    return invalid_request(
        f"Invalid schema for response_format '{form['name']}': {problem}",
        param=name if is_chat else f"{name}.schema",
        code=None if is_chat else "invalid_json_schema",
    )


def schema_problem(schema: Any, *, strict: bool) -> str | None:
    """Return what is wrong with the parts of a JSON schema that answers use."""
    pending: list[tuple[Any, tuple[str, ...]]] = [(schema, ())]
    while pending:
        part, path = pending.pop()
        context = f"In context=({', '.join(map(repr, path))})"
        if not isinstance(part, dict):
            return f"{context}, a schema must be an object."
        if "$ref" in part and resolve(part["$ref"], schema) is None:
            return f"{context}, reference {part['$ref']!r} cannot be resolved."
        for word in ("enum", "anyOf", "oneOf", "allOf"):
            if word in part and (not isinstance(part[word], list) or not part[word]):
                return f"{context}, '{word}' must be an array that is not empty."
        for word in ("properties", "$defs", "definitions"):
            inner = part.get(word, {})
            if not isinstance(inner, dict):
                return f"{context}, '{word}' must be an object."
            pending += [(each, (*path, word, name)) for name, each in inner.items()]
        for word in ("anyOf", "oneOf", "allOf"):
            pending += [(each, (*path, word, str(at))) for at, each in enumerate(part.get(word, []))]
        if "items" in part:
            pending.append((part["items"], (*path, "items")))
        if strict and part.get("type") == "object":
            if part.get("additionalProperties") is not False:
                return f"{context}, 'additionalProperties' is required to be supplied and to be false."
            missing = [name for name in part.get("properties", {}) if name not in part.get("required", [])]
            if missing:
                return (
                    f"{context}, 'required' is required to be supplied and to be an array including every key"
                    f" in properties. Missing '{missing[0]}'."
                )
    return None


def resolve(reference: Any, root: Any) -> Any:
    """Return the part of a schema that a reference such as `#/$defs/Step` names, `None` if there is none."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    found = root
    for step in reference[1:].split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None
