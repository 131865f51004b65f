"""A training file is checked before it is uploaded: each broken rule has its line, and all come at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_files import (
    PNG,
    TASKS,
    TOOL,
    call,
    chat,
    checked,
    completion,
    lines_of,
    preference,
    reinforcement,
    with_image,
    with_tools,
)

from batchscore.errors import InputError
from batchscore.finetune.examples.check_file import check_overlap
from batchscore.finetune.examples.rules import RULES
from batchscore.simulator.error_replies import Surface
from batchscore.simulator.finetune.example_rules import kind_of, problem_of
from batchscore.simulator.finetune.training_file import learned_examples, scan_file
from openai_schemas import check_object

Change = Callable[[Any], Any]


def changed(example: Any, *path: Any, to: Any = ...) -> Any:
    """Return an example with the value at a path changed, or without it."""
    found = deepcopy(example)
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    if to is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return found


def said(messages: list[Any], **more: Any) -> dict[str, Any]:
    return {"messages": messages, **more}


USER = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Hello"}

#: What is wrong in one example → the rule, the message (0: none) and the key.
EXAMPLES: dict[str, tuple[Any, str, int, str]] = {
    "no messages": (changed(chat(), "messages"), "missing_key", 0, "messages"),
    "messages are a text": (said("Hi"), "wrong_type", 0, "messages"),  # type: ignore[arg-type]
    "messages are an object": (said({"role": "user"}), "wrong_type", 0, "messages"),  # type: ignore[arg-type]
    "messages are empty": (said([]), "no_messages", 0, "messages"),
    "a message is a text": (said([USER, "Hello", ANSWER]), "wrong_type", 2, ""),
    "no role": (changed(chat(), "messages", 1, "role"), "unknown_role", 2, "role"),
    "wrong role": (changed(chat(), "messages", 2, "role", to="bot"), "unknown_role", 3, "role"),
    "role in capitals": (changed(chat(), "messages", 2, "role", to="Assistant"), "unknown_role", 3, "role"),
    "role is a list": (changed(chat(), "messages", 1, "role", to=["user"]), "unknown_role", 2, "role"),
    "no content": (changed(chat(), "messages", 1, "content"), "missing_content", 2, "content"),
    "content is null": (changed(chat(), "messages", 2, "content", to=None), "missing_content", 3, "content"),
    "content is a number": (changed(chat(), "messages", 1, "content", to=3), "content_type", 2, "content"),
    "content is an object": (changed(chat(), "messages", 1, "content", to={}), "content_type", 2, "content"),
    "empty answer": (changed(chat(), "messages", 2, "content", to=""), "empty_content", 3, "content"),
    "blank answer": (changed(chat(), "messages", 2, "content", to=" \n"), "empty_content", 3, "content"),
    "empty question": (changed(chat(), "messages", 1, "content", to=""), "empty_content", 2, "content"),
    "answer is a list of parts": (
        changed(chat(), "messages", 2, "content", to=[{"type": "text", "text": "x"}]),
        "content_type",
        3,
        "content",
    ),
    "system is a list of parts": (
        changed(chat(), "messages", 0, "content", to=[{"type": "text", "text": "x"}]),
        "content_type",
        1,
        "content",
    ),
    "tool result is a list of parts": (
        changed(with_tools(), "messages", 2, "content", to=[{"type": "text", "text": "x"}]),
        "content_type",
        3,
        "content",
    ),
    "only system": (said([{"role": "system", "content": "Be kind."}]), "no_assistant", 0, ""),
    "no answer": (said([USER]), "no_assistant", 0, ""),
    "user comes last": (said([USER, ANSWER, USER]), "last_role", 3, ""),
    "unknown key in a message": (
        changed(chat(), "messages", 1, "timestamp", to=3),
        "unknown_key",
        2,
        "timestamp",
    ),
    "unknown key in an answer": (changed(chat(), "messages", 2, "score", to=3), "unknown_key", 3, "score"),
    "unknown key of a line": (chat(id=7), "unknown_key", 0, "id"),
    "weight of 2": (changed(chat(), "messages", 2, "weight", to=2), "weight_value", 3, "weight"),
    "weight of 0.5": (changed(chat(), "messages", 2, "weight", to=0.5), "weight_value", 3, "weight"),
    "weight is a text": (changed(chat(), "messages", 2, "weight", to="1"), "weight_value", 3, "weight"),
    "weight is true": (changed(chat(), "messages", 2, "weight", to=True), "weight_value", 3, "weight"),
    "weight of a user": (changed(chat(), "messages", 1, "weight", to=0), "weight_role", 2, "weight"),
    "all weights are 0": (changed(chat(), "messages", 2, "weight", to=0), "no_weight", 0, "weight"),
    "name is a number": (changed(chat(), "messages", 1, "name", to=3), "wrong_type", 2, "name"),
    "call without tools": (changed(with_tools(), "tools"), "tool_call", 2, "tool_calls"),
    "call of another tool": (
        changed(with_tools(), "messages", 1, "tool_calls", to=[call(name="subtract")]),
        "tool_call",
        2,
        "tool_calls",
    ),
    "call without an id": (
        changed(with_tools(), "messages", 1, "tool_calls", 0, "id"),
        "tool_call",
        2,
        "tool_calls",
    ),
    "call with arguments as an object": (
        changed(with_tools(), "messages", 1, "tool_calls", to=[call(arguments={"a": 1})]),
        "tool_call",
        2,
        "tool_calls",
    ),
    "call with damaged arguments": (
        changed(with_tools(), "messages", 1, "tool_calls", to=[call(arguments='{"a": ')]),
        "tool_call",
        2,
        "tool_calls",
    ),
    "call of another type": (
        changed(with_tools(), "messages", 1, "tool_calls", 0, "type", to="web_search"),
        "tool_call",
        2,
        "tool_calls",
    ),
    "calls are empty": (
        changed(with_tools(), "messages", 1, "tool_calls", to=[]),
        "tool_call",
        2,
        "tool_calls",
    ),
    "user calls": (
        changed(with_tools(), "messages", 0, "tool_calls", to=[call()]),
        "tool_call",
        1,
        "tool_calls",
    ),
    "call without a result": (changed(with_tools(), "messages", 2), "tool_result", 2, "tool_calls"),
    "result without an id": (
        changed(with_tools(), "messages", 2, "tool_call_id"),
        "tool_result",
        3,
        "tool_call_id",
    ),
    "result of no call": (
        changed(with_tools(), "messages", 2, "tool_call_id", to="c9"),
        "tool_result",
        3,
        "tool_call_id",
    ),
    "result of nothing": (
        said([USER, {"role": "tool", "content": "1"}, ANSWER]),
        "tool_result",
        2,
        "tool_call_id",
    ),
    "tools are empty": (changed(with_tools(), "tools", to=[]), "tool", 0, "tools"),
    "tools are an object": (changed(with_tools(), "tools", to=TOOL), "tool", 0, "tools"),
    "tool without a function": (changed(with_tools(), "tools", 0, "function"), "tool", 0, "tools"),
    "tool with a bad name": (
        changed(with_tools(), "tools", 0, "function", "name", to="add it!"),
        "tool",
        0,
        "tools",
    ),
    "tool twice": (changed(with_tools(), "tools", to=[TOOL, TOOL]), "tool", 0, "tools"),
    "parallel_tool_calls is a text": (
        {**with_tools(), "parallel_tool_calls": "no"},
        "wrong_type",
        0,
        "parallel_tool_calls",
    ),
    "image in an answer": (
        said([USER, {"role": "assistant", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}]),
        "image_role",
        2,
        "content",
    ),
    "image without a url": (with_image(3), "image", 1, "image_url"),  # type: ignore[arg-type]
    "image of a path": (with_image("cat.png"), "image", 1, "url"),
    "image is damaged": (with_image(PNG[:-40]), "image", 1, "url"),
    "image is a GIF": (
        with_image("data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"),
        "image",
        1,
        "url",
    ),
    "image is too large": (with_image("data:image/png;base64," + "A" * 13_400_000), "image_size", 1, "url"),
    "detail of an image": (with_image(detail="medium"), "image", 1, "detail"),
    "eleven images": (with_image(count=11), "image_count", 0, ""),
    "part of another type": (
        said([{"role": "user", "content": [{"type": "input_audio"}]}, ANSWER]),
        "content_type",
        1,
        "content",
    ),
    "part without a text": (
        said([{"role": "user", "content": [{"type": "text"}]}, ANSWER]),
        "content_type",
        1,
        "content",
    ),
    "too long": (changed(chat(), "messages", 1, "content", to="word " * 60_000), "too_long", 0, ""),
}

OTHERS: dict[str, tuple[Change, Any, str, str]] = {
    "completion is missing": (completion, {"prompt": "x"}, "missing_key", "completion"),
    "prompt is empty": (completion, {"prompt": "", "completion": "x"}, "empty_prompt", "prompt"),
    "completion is empty": (completion, {"prompt": "x", "completion": " "}, "empty_content", "completion"),
    "completion is a number": (completion, {"prompt": "x", "completion": 3}, "wrong_type", "completion"),
    "completion with more": (
        completion,
        {"prompt": "x", "completion": "y", "label": "z"},
        "unknown_key",
        "label",
    ),
    "preference without input": (preference, changed(preference(), "input"), "missing_key", "input"),
    "preference without a side": (
        preference,
        changed(preference(), "preferred_output"),
        "missing_key",
        "preferred_output",
    ),
    "preferred output is a text": (
        preference,
        changed(preference(), "preferred_output", to="Hi"),
        "wrong_type",
        "preferred_output",
    ),
    "preferred output of a user": (
        preference,
        changed(preference(), "preferred_output", 0, "role", to="user"),
        "preference_output",
        "preferred_output",
    ),
    "two answers on a side": (
        preference,
        changed(preference(), "preferred_output", to=[ANSWER, ANSWER]),
        "preference_output",
        "preferred_output",
    ),
    "reinforcement ends with an answer": (
        reinforcement,
        {"messages": [USER, ANSWER], "answer": "x"},
        "last_not_user",
        "",
    ),
    "label is missing": (
        TASKS["text-classification"],
        {"Sentence1": "x", "Sentence2": "y"},
        "missing_field",
        "Label",
    ),
    "label is a list": (
        TASKS["text-classification"],
        {"Sentence1": "x", "Sentence2": "y", "Label": ["a"]},
        "field_type",
        "Label",
    ),
    "tags are fewer than tokens": (
        TASKS["token-classification"],
        {"tokens": ["a", "b"], "tags": ["O"]},
        "lengths_differ",
        "tags",
    ),
    "answer is not in the context": (
        TASKS["question-answering"],
        changed(TASKS["question-answering"](1), "answers", "text", to=["Bob"]),
        "answer_place",
        "answers",
    ),
    "answer begins elsewhere": (
        TASKS["question-answering"],
        changed(TASKS["question-answering"](1), "answers", "answer_start", to=[1]),
        "answer_place",
        "answers",
    ),
    "summary is empty": (
        TASKS["text-summarization"],
        {"document": "x", "summary": ""},
        "empty_field",
        "summary",
    ),
    "translation with one language": (TASKS["text-translation"], {"en": "x"}, "missing_field", ""),
    "generation without an answer": (
        TASKS["text-generation"],
        {"text": "x"},
        "missing_field",
        "ground_truth",
    ),
}


@pytest.mark.parametrize("wrong", EXAMPLES)
def test_a_wrong_example_is_named_by_its_line(wrong: str, tmp_path: Path) -> None:
    example, rule, message, key = EXAMPLES[wrong]
    usual = [with_tools(n) if "tools" in example else chat(n) for n in range(20)]
    found = checked(tmp_path / "a.jsonl", lines_of([*usual[:6], example, *usual[6:]]))
    errors = [each for each in found.broken if each.is_error and each.rule != "keys_differ"]
    # A result of no call leaves the call without a result, too.
    first = errors[:1] if rule == "tool_result" else errors
    assert [(each.line, each.rule, each.message, each.key) for each in first] == [(7, rule, message, key)]
    assert errors[0].text
    assert errors[0].service_words


@pytest.mark.parametrize("wrong", OTHERS)
def test_a_wrong_example_of_another_format_is_named(wrong: str, tmp_path: Path) -> None:
    make, example, rule, key = OTHERS[wrong]
    usual = [make(n) for n in range(20)]
    found = checked(tmp_path / "a.jsonl", lines_of([*usual[:6], example, *usual[6:]]))
    errors = [each for each in found.broken if each.is_error]
    assert [(each.line, each.rule, each.key) for each in errors] == [(7, rule, key)]


GOOD = lines_of([chat(n) for n in range(12)])

LONE_END = [("line_end", 25), ("missing_key", 25), ("missing_key", 26)]

#: Whole files: content → the rules of errors with their lines.
FILES: dict[str, tuple[bytes, list[tuple[str, int]]]] = {
    "empty": (b"", [("file_empty", 0)]),
    "blank": (b"\n\n", [("file_empty", 0)]),
    "nine examples": (lines_of([chat(n) for n in range(9)]), [("too_few_examples", 0)]),
    "BOM": (b"\xef\xbb\xbf" + GOOD, [("byte_order_mark", 1)]),
    "BOM inside": (GOOD + b"\xef\xbb\xbf" + GOOD, [("inner_byte_order_mark", 13)]),
    "UTF-16": (GOOD.decode().encode("utf-16"), [("encoding", 0)]),
    "UTF-16 without BOM": (GOOD.decode().encode("utf-16-le"), [("encoding", 0)]),
    "UTF-32": (GOOD.decode().encode("utf-32"), [("encoding", 0)]),
    "Windows-1252": (
        GOOD + lines_of([chat(99)]).replace(b"briefly", b"br\xe8ve"),
        [("not_utf8", 13)],
    ),
    "array": (json.dumps([chat(n) for n in range(12)]).encode(), [("json_array", 1)]),
    "array over lines": (json.dumps([chat(n) for n in range(12)], indent=2).encode(), [("json_array", 1)]),
    "pretty-printed": (
        b"\n".join(json.dumps(chat(n), indent=2).encode() for n in range(12)),
        [("pretty_printed", 1)],
    ),
    "blank line": (GOOD + b"\n" + GOOD, [("blank_line", 13)]),
    "trailing comma": (GOOD + b'{"messages": []},\n', [("invalid_json", 13)]),
    "single quotes": (GOOD + b"{'messages': []}\n", [("invalid_json", 13)]),
    "NaN": (GOOD + b'{"messages": NaN}\n', [("invalid_json", 13)]),
    "cut off": (GOOD + b'{"messages": [{"role"', [("invalid_json", 13)]),
    "two objects on a line": (
        GOOD + lines_of([chat(50)])[:-1] + lines_of([chat(51)]),
        [("invalid_json", 13)],
    ),
    "lone surrogate": (GOOD + rb'{"messages": "\ud83d"}' + b"\n", [("invalid_json", 13)]),
    "a text": (GOOD + b'"Hello"\n', [("not_object", 13)]),
    "a list": (GOOD + b'[{"role": "user"}]\n', [("not_object", 13)]),
    "first line damaged": (b'{"messages": [\n' + GOOD, [("invalid_json", 1)]),
    "unknown keys": (
        lines_of([{"a": n, "b": n} for n in range(12)]),
        [("unknown_format", n + 1) for n in range(12)],
    ),
    "mixed": (GOOD + lines_of([completion(3)]), [("mixed_formats", 13)]),
    "extra tools": (GOOD + lines_of([with_tools()]), [("keys_differ", 13)]),
    "line ends of old Macs": (GOOD.replace(b"\n", b"\r"), [("line_end", 1)]),
    "one line end of old Macs": (GOOD + GOOD.replace(b"\n", b"\r\n") + b"{}\r{}\n", LONE_END),
    "an Excel file": (b"PK\x03\x04" + bytes(100), [("other_file", 0)]),
    "a table": (b"prompt,completion\n" + b"a,b\n" * 12, [("other_file", 1)]),
    "texts": (b'"Hello"\n' * 12, [("other_file", 1)]),
    "a page": (b"<!doctype html><html><body>Sign in</body></html>", [("other_file", 0)]),
    "several errors": (
        GOOD + lines_of([said([]), chat(id=3), b"{", said([USER])]),
        [("no_messages", 13), ("unknown_key", 14), ("invalid_json", 15), ("no_assistant", 16)],
    ),
}


@pytest.mark.parametrize("wrong", FILES)
def test_a_wrong_file_is_named_with_all_its_errors(wrong: str, tmp_path: Path) -> None:
    content, expected = FILES[wrong]
    found = checked(tmp_path / "a.jsonl", content)
    assert [(each.rule, each.line) for each in found.broken if each.is_error] == expected
    assert found.errors == len(expected)


@pytest.mark.parametrize(
    "make",
    [
        chat,
        with_tools,
        preference,
        reinforcement,
        completion,
        lambda n: with_image(f"https://a.example/{n}.png"),
    ],
)
def test_right_files_have_no_errors(make: Change, tmp_path: Path) -> None:
    found = checked(tmp_path / "a.jsonl", lines_of([make(n) for n in range(60)]))
    assert (found.errors, found.examples) == (0, 60)
    assert found.facts is not None
    assert len(found.facts.lines) == 60


@pytest.mark.parametrize("task", TASKS)
def test_right_files_of_tasks_have_no_errors(task: str, tmp_path: Path) -> None:
    found = checked(tmp_path / "a.jsonl", lines_of([TASKS[task](n) for n in range(12)]))
    assert found.kind is not None
    assert (found.kind.name, found.errors) == (task, 0)


RIGHT = {
    "a weight of 0 beside one of 1": said([USER, {**ANSWER, "weight": 0}, USER, {**ANSWER, "weight": 1}]),
    "a weight of 0 beside one without": said([USER, {**ANSWER, "weight": 0}, USER, ANSWER]),
    "a name": said([{**USER, "name": "ann"}, {**ANSWER, "name": "bot"}]),
    "a developer": said([{"role": "developer", "content": "Be kind."}, USER, ANSWER]),
    "a call with a null content": changed(with_tools(), "messages", 1, "content", to=None),
    "an empty result": changed(with_tools(), "messages", 2, "content", to=""),
    "calls at the end": changed(changed(with_tools(), "messages", 3), "messages", 2),
    "a refusal of null": said([USER, {**ANSWER, "refusal": None}]),
    "functions": said(
        [
            USER,
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "1"},
            ANSWER,
        ],
        functions=[{"name": "f"}],
    ),
    "results in another order": said(
        [
            USER,
            {"role": "assistant", "tool_calls": [call("c1"), call("c2")]},
            {"role": "tool", "tool_call_id": "c2", "content": "2"},
            {"role": "tool", "tool_call_id": "c1", "content": "1"},
            ANSWER,
        ],
        tools=[TOOL],
    ),
    "letters of all scripts": said(
        [{"role": "user", "content": "日本語 😀"}, {"role": "assistant", "content": "ä\u2028"}]
    ),
}


#: The schema of a message by its role in OpenAI's description.
SCHEMAS = {
    "system": "ChatCompletionRequestSystemMessage",
    "developer": "ChatCompletionRequestDeveloperMessage",
    "user": "ChatCompletionRequestUserMessage",
    "assistant": "ChatCompletionRequestAssistantMessage",
    "tool": "ChatCompletionRequestToolMessage",
    "function": "ChatCompletionRequestFunctionMessage",
}


def check_messages_by_schema(example: Any) -> None:
    """Raise ValidationError if a message or a tool does not match OpenAI's description."""
    given = example.get("input", example)
    sides = ("preferred_output", "non_preferred_output")
    for message in [*given.get("messages", ()), *(one for side in sides for one in example.get(side, ()))]:
        check_object(SCHEMAS[message["role"]], message)
        # The description of fine-tuning adds it to the assistant's messages.
        assert message.get("weight", 1) in {0, 1}
    for tool in given.get("tools") or ():
        check_object("ChatCompletionTool", tool)
    for function in given.get("functions") or ():
        check_object("ChatCompletionFunctions", function)


@pytest.mark.parametrize("what", RIGHT)
def test_unusual_examples_are_right(what: str, tmp_path: Path) -> None:
    example = RIGHT[what]
    check_messages_by_schema(example)
    found = checked(tmp_path / "a.jsonl", lines_of([example] * 12))
    assert [each for each in found.broken if each.is_error] == []


def test_a_file_over_the_limit_is_named_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.truncate(513 * 2**20)
    found = checked(path)
    assert [each.rule for each in found.broken] == ["file_too_large"]
    assert "512 MB" in found.broken[0].text


def test_a_large_file_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD)
    os.truncate(path, 151 * 10**6)
    found = checked(path)
    assert found.broken[0].rule == "file_large"
    assert not found.broken[0].is_error


def test_a_name_without_jsonl_is_an_error(tmp_path: Path) -> None:
    found = checked(tmp_path / "a.json", GOOD)
    assert [each.rule for each in found.broken if each.is_error] == ["file_name"]


def test_a_missing_file_is_an_error_of_the_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        checked(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("service", "content", "errors"),
    [
        ("azure", b"\xef\xbb\xbf" + GOOD, []),
        ("openai", b"\xef\xbb\xbf" + GOOD, ["byte_order_mark"]),
        ("azure", lines_of([with_image("https://a.example/b.png", count=11)] * 12), []),
        ("openai", lines_of([{"prompt": "", "completion": f"x{n}"} for n in range(12)]), []),
        (
            "azure",
            lines_of([{"prompt": "", "completion": "x"}, *map(completion, range(12))]),
            ["empty_prompt"],
        ),
    ],
)
def test_services_differ(service: str, content: bytes, errors: list[str], tmp_path: Path) -> None:
    found = checked(tmp_path / "a.jsonl", content, service=service)
    assert [each.rule for each in found.broken if each.is_error] == errors


def test_a_named_format_is_the_one_that_is_checked(tmp_path: Path) -> None:
    content = lines_of([{"messages": [USER], "answer": "x"} for _ in range(12)])
    assert checked(tmp_path / "a.jsonl", content).errors == 0
    found = checked(tmp_path / "a.jsonl", content, kind="chat")
    assert {each.rule for each in found.broken if each.is_error} == {"unknown_key", "no_assistant"}


def warnings_of(path: Path, examples: list[Any]) -> dict[str, str]:
    found = checked(path, lines_of(examples))
    assert found.errors == 0
    return {each.rule: each.text for each in found.broken if each.rule != "few_examples"}


def test_repeated_examples_are_warnings(tmp_path: Path) -> None:
    examples = [chat(n) for n in range(12)]
    found = warnings_of(tmp_path / "a.jsonl", [*examples, chat(3), chat(5)])
    assert found == {"duplicates": "2 examples repeat earlier ones, first line 13 line 4"}
    other = changed(chat(3), "messages", 2, "content", to="No.")
    found = warnings_of(tmp_path / "a.jsonl", [*examples, other])
    assert found == {"conflicting_answers": "1 input with different answers, first in the lines 4 and 13"}
    same = [changed(chat(n), "messages", 2, "content", to="No.") for n in range(12)]
    assert set(warnings_of(tmp_path / "a.jsonl", same)) == {"same_answers"}


def test_white_space_and_case_of_an_input_do_not_count(tmp_path: Path) -> None:
    examples = [chat(n) for n in range(12)]
    other = changed(chat(3), "messages", 1, "content", to="what  IS 3 + 1?")
    assert set(warnings_of(tmp_path / "a.jsonl", [*examples, other])) == {"duplicates"}


@pytest.mark.parametrize(
    ("example", "rule"),
    [
        (said([ANSWER]), "no_user"),
        (said([USER, {"role": "system", "content": "x"}, ANSWER]), "system_place"),
        (said([USER, USER, ANSWER]), "repeated_role"),
    ],
)
def test_unusual_orders_are_warnings(example: Any, rule: str, tmp_path: Path) -> None:
    found = warnings_of(tmp_path / "a.jsonl", [*map(chat, range(12)), example])
    assert set(found) == {rule}


def test_pairs_that_teach_nothing_are_warnings(tmp_path: Path) -> None:
    usual = [preference(n) for n in range(12)]
    equal = changed(usual[0], "non_preferred_output", to=usual[0]["preferred_output"])
    assert "equal_outputs" in warnings_of(tmp_path / "a.jsonl", [*usual, equal])
    long = changed(usual[0], "preferred_output", 0, "content", to="Welcome. " * 100)
    assert "unequal_lengths" in warnings_of(tmp_path / "a.jsonl", [*usual, long])


def test_a_validation_file_may_be_small_and_its_overlap_is_named(tmp_path: Path) -> None:
    training = checked(tmp_path / "a.jsonl", GOOD)
    other = checked(tmp_path / "b.jsonl", lines_of([chat(50), chat(3)]), least=1)
    assert other.errors == 0
    assert [each.text for each in other.broken] == ["it has only 2 examples, so its loss varies by chance"]
    check_overlap(training, other)
    assert other.broken[-1].rule == "overlap"
    assert "1 examples are in" in other.broken[-1].text
    assert "first line 2" in other.broken[-1].text


def test_no_text_of_a_file_is_quoted(tmp_path: Path) -> None:
    """Messages go to terminals and logs that more people read than the file."""
    secret = "My secret is 4711"
    wrong = [
        {secret: 1, "messages": [USER, ANSWER]},
        said([{"role": secret, "content": secret}, ANSWER]),
        said([USER, {**ANSWER, secret: 1}]),
        said(
            [USER, {"role": "assistant", "tool_calls": [call(name=secret, arguments=secret)]}], tools=[TOOL]
        ),
        {"prompt": secret},
        secret.encode(),
    ]
    found = checked(tmp_path / "a.jsonl", GOOD + lines_of(wrong))
    assert found.errors >= len(wrong)
    assert not any("4711" in each.text + each.key + each.service_words for each in found.broken)


def test_each_rule_has_words_of_a_service() -> None:
    assert all(rule.service for rule in RULES.values())


def test_a_folder_is_no_training_file(tmp_path: Path) -> None:
    folder = tmp_path / "a.jsonl"
    folder.mkdir()
    with pytest.raises(InputError):
        checked(folder)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
SAMPLES = [chat(), with_tools(), preference(), reinforcement(), completion(), with_image()]
SAMPLES += [make(1) for make in TASKS.values()]


#: Keys that an object of an example may get, too.
OTHER_KEYS = (
    "weight",
    "refusal",
    "audio",
    "name",
    "tool_calls",
    "function_call",
    "tool_call_id",
    "functions",
)


def places_in(value: Any) -> list[list[Any]]:
    """Return the paths to all values within one, and to other keys of its objects."""
    if isinstance(value, list):
        inner = list(enumerate(value))
    else:
        inner = [*value.items(), *((key, None) for key in OTHER_KEYS)] if isinstance(value, dict) else []
    return [[]] + [[key, *path] for key, each in inner for path in places_in(each)]


@given(st.sampled_from(SAMPLES), st.data(), VALUES)
def test_no_example_ends_a_check_with_an_exception(sample: Any, data: st.DataObject, value: Any) -> None:
    """Any value may be at any place of an example; what is right stays measurable."""
    path = data.draw(st.sampled_from(places_in(sample)))
    example = changed(sample, *path, to=value) if path else value
    line = json.dumps(example).encode()
    with TemporaryDirectory() as folder:
        found = checked(Path(folder) / "a.jsonl", lines_of([sample, sample, line]))
        scans = [scan_file(Path(folder) / "a.jsonl", each, "accepted") for each in Surface]
        if not any(each.not_json or each.problem for each in scans):
            list(learned_examples(Path(folder) / "a.jsonl"))
    assert all(each.service_words and each.text for each in found.broken)
    has_messages = isinstance(example, dict) and bool(example.keys() & {"messages", "input"})
    if has_messages and not any(each.is_error for each in found.broken if each.line == 3):
        check_messages_by_schema(example)
        assert [each.problem for each in scans] == [None] * len(scans)


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_the_simulated_services_refuse_is_an_error(name: str) -> None:
    example, rule, *_ = EXAMPLES[name]
    refused = [problem_of(example, kind_of(example), each) for each in Surface]
    assert RULES[rule].is_error or not any(refused), refused


def test_deep_examples_and_large_numbers_are_read(tmp_path: Path) -> None:
    deep: Any = {}
    for _ in range(400):
        deep = {"a": deep}
    tool = changed(TOOL, "function", "parameters", to=deep)
    large = changed(TOOL, "function", "parameters", to={"most": 2**70})
    for each in (tool, large):
        examples = [changed(with_tools(n), "tools", to=[each]) for n in range(12)]
        assert checked(tmp_path / "a.jsonl", lines_of(examples)).errors == 0
