"""Do the tools of an example, the calls in it and their results fit together?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from batchscore.finetune.examples.rules import BrokenRules, name_text, type_text

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_OF_CALLS = frozenset({"tool_calls", "tool_call_id", "function_call"})


def check_tools(example: Mapping[str, Any], broken: BrokenRules) -> frozenset[str] | None:
    """Check the tools of an example; return the names that may be called, `None` if tools are not usable."""
    if len(example) == 1:
        return frozenset()
    parallel = example.get("parallel_tool_calls")
    if parallel is not None and not isinstance(parallel, bool):
        broken.add("wrong_type", f"it is {type_text(parallel)}, not true or false", key="parallel_tool_calls")
    names: set[str] = set()
    usable = True
    for key in ("tools", "functions"):
        tools = example.get(key)
        if tools is None:
            continue
        if not isinstance(tools, list) or not tools:
            text = "the list is empty" if tools == [] else f"it is {type_text(tools)}, not a list of tools"
            broken.add("tool", text, key=key)
            usable = False
            continue
        for place, tool in enumerate(tools, 1):
            name = _check_tool(tool, place, key, broken)
            if name is None:
                usable = False
            elif name in names:
                broken.add("tool", f"tool {place} has the name {name_text(name)} of an earlier one", key=key)
            else:
                names.add(name)
    return frozenset(names) if usable else None


def _check_tool(tool: Any, place: int, key: str, broken: BrokenRules) -> str | None:
    """Check one tool; return its name, `None` if it has none."""
    if not isinstance(tool, dict):
        broken.add("tool", f"tool {place} is {type_text(tool)}, not an object", key=key)
        return None
    function: Any = tool
    if key == "tools":
        function = tool.get("function")
        if tool.get("type") != "function" or not isinstance(function, dict):
            form = '{"type": "function", "function": {"name": …, "parameters": …}}'
            broken.add("tool", f"tool {place} is not written as {form}", key=key)
            return None
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        text = f"the name of tool {place} must be 1 to 64 letters, digits, _ or -"
        broken.add("tool", text, key=key)
        return None
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        text = f"the parameters of tool {name_text(name)} are {type_text(parameters)}, not a JSON Schema"
        broken.add("tool", text, key=key)
    return name


def check_calls(
    message: Mapping[str, Any], tools: frozenset[str] | None, number: int, broken: BrokenRules
) -> None:
    """Check the calls in a message of the assistant. `tools` are the names that may be called."""
    old = message.get("function_call")
    if old is not None:
        _check_function(old, tools, number, "function_call", broken)
    calls = message.get("tool_calls")
    if calls is None:
        return
    if not isinstance(calls, list) or not calls:
        text = "the list is empty" if calls == [] else f"it is {type_text(calls)}, not a list of calls"
        broken.add("tool_call", text, number, "tool_calls")
        return
    ids = set()
    for call in calls:
        if not isinstance(call, dict):
            broken.add("tool_call", f"a call is {type_text(call)}, not an object", number, "tool_calls")
            continue
        key = call.get("id")
        if not isinstance(key, str) or not key:
            broken.add("tool_call", "a call has no id", number, "tool_calls")
        elif key in ids:
            broken.add("tool_call", "two calls have the same id", number, "tool_calls")
        else:
            ids.add(key)
        if call.get("type") != "function":
            broken.add("tool_call", "the type of a call must be function", number, "tool_calls")
        _check_function(call.get("function"), tools, number, "tool_calls", broken)


def _check_function(
    function: Any, tools: frozenset[str] | None, number: int, key: str, broken: BrokenRules
) -> None:
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str):
        broken.add("tool_call", "a call has no function with a name", number, key)
        return
    if tools is not None and name not in tools:
        broken.add("tool_call", f"it calls {name_text(name)}, which is not among its tools", number, key)
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        text = "the arguments of a call are a text that holds JSON"
        text += f", not {type_text(arguments)}" if arguments is not None else ": they are missing"
        broken.add("tool_call", text, number, key)
        return
    try:
        orjson.loads(arguments or "{}")
    except ValueError:
        broken.add("tool_call", "the arguments of a call are not valid JSON", number, key)


def check_results(messages: Sequence[Any], broken: BrokenRules) -> None:
    """Check that a result follows each call, except calls at the end, and that each result has a call."""
    if not any(isinstance(each, dict) and _is_of_calls(each) for each in messages):
        return
    are_named = all(map(_has_ids, messages))
    waiting: dict[str, int] = {}
    answered: set[str] = set()
    before: Mapping[str, Any] = {}
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict):
            continue
        role = message.get("role")
        if role == "tool":
            key = message.get("tool_call_id")
            if not isinstance(key, str) or not key:
                broken.add("tool_result", "a message of a tool needs a tool_call_id", number, "tool_call_id")
            elif waiting.pop(key, None) is not None:
                answered.add(key)
            elif are_named:
                again = "has a result already" if key in answered else "does not come before it"
                broken.add("tool_result", f"the call of this result {again}", number, "tool_call_id")
            continue
        if role == "function":
            if not isinstance(message.get("name"), str):
                broken.add("tool_result", "a message of a function needs its name", number, "name")
            if not before.get("function_call"):
                broken.add("tool_result", "no call comes before this result", number, "role")
        for place in waiting.values():
            broken.add("tool_result", "a call has no result in the messages after it", place, "tool_calls")
        waiting.clear()
        calls = message.get("tool_calls") if role == "assistant" else None
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict) and isinstance(call.get("id"), str):
                waiting[call["id"]] = number
        before = message


def _is_of_calls(message: Mapping[str, Any]) -> bool:
    return bool(message.keys() & _OF_CALLS) or message.get("role") in ("tool", "function")


def _has_ids(message: Any) -> bool:
    calls = message.get("tool_calls", ()) if isinstance(message, dict) else ()
    if calls is None or not isinstance(calls, (list, tuple)):
        return calls is None
    return calls != [] and all(isinstance(each, dict) and isinstance(each.get("id"), str) for each in calls)
