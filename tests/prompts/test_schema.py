"""Which answers match a schema, what is said of those that do not, and which schemas may be strict."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from copy import deepcopy
from typing import Any

import jsonschema
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.errors import UsageError
from batchscore.output.answer_columns import answer_columns
from batchscore.output.records.answer_types import answer_type
from batchscore.prompts.schema import (
    MOST_LEVELS,
    AnswerSchema,
    InvalidAnswer,
    answer_schema,
    complaint_messages,
    parse,
    with_instruction,
)
from batchscore.prompts.strict_rules import strict_violations
from batchscore.report.page.answers import enum_fields
from batchscore.settings.slices import SchemaSettings
from tickets import ANSWER, SCHEMA, closed

TEXT = {"type": "string"}


def schema_of(document: Any, mode: str = "auto", *, feedback: bool = False) -> AnswerSchema:
    found = answer_schema(SchemaSettings(schema=document, schema_mode=mode, schema_feedback=feedback))
    assert found is not None
    return found


TICKETS = schema_of(SCHEMA)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        ' \n{"a": 1}\n',
        '\ufeff{"a": 1}',
        '```json\n{"a": 1}\n```',
        '```\n{"a": 1}\n```',
        '```JSON\r\n{"a": 1}\r\n```\n',
        'Sure, here it is:\n\n```json\n{"a": 1}\n```\nAnything else?',
        '```json\n{\n  "a": 1\n}```',
    ],
)
def test_json_is_found_also_in_a_block_of_code(text: str) -> None:
    assert parse(text) == {"a": 1}


def test_a_block_of_code_within_a_text_of_the_answer_is_left_alone() -> None:
    answer = {"code": 'Run this:\n```json\n{"a": 1}\n```'}
    assert parse(json.dumps(answer)) == answer
    assert parse(f"```\n{json.dumps(answer)}\n```") == answer
    with pytest.raises(ValueError):
        parse(json.dumps(answer)[:-2])


@pytest.mark.parametrize("text", ["", "yes", '{"a": NaN}', '{"a": 1', "{'a': 1}", '{"a": 1} and more'])
def test_other_text_is_not_json(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_a_block_of_code_that_ends_in_blanks_takes_no_long_time() -> None:
    begun = time.process_time()
    with pytest.raises(ValueError):
        parse("```json\n" + " " * 64_000 + "x")
    assert time.process_time() - begun < 2


def test_half_an_emoji_is_replaced() -> None:
    assert parse('{"a": "\\ud83d"}') == {"a": "\ufffd"}


def changed(**fields: Any) -> str:
    return json.dumps({**ANSWER, **fields})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed(priority="zebra"), "The answer does not match the schema: enum at /priority."),
        (changed(replies="zebra"), "The answer does not match the schema: type at /replies."),
        (changed(replies=2**63), "The answer does not match the schema: maximum at /replies."),
        (changed(due="2026-13-45"), "The answer does not match the schema: format at /due."),
        (changed(tags=["urgent", "zebra"]), "The answer does not match the schema: enum at /tags/1."),
        (changed(zebra=1), "The answer does not match the schema: additionalProperties at the root."),
        ("{}", "The answer does not match the schema: required at the root."),
        ("zebra", "The answer is not JSON."),
        ("  ", "The answer has no text."),
        (None, "The answer has no text."),
    ],
)
def test_a_message_names_the_rule_and_quotes_nothing(text: str | None, message: str) -> None:
    with pytest.raises(InvalidAnswer) as reason:
        TICKETS.value_of(text, cut_off=False)
    assert str(reason.value) == message
    assert "zebra" not in str(reason.value)


def test_a_key_that_the_model_made_up_is_not_quoted() -> None:
    counts = schema_of({"type": "object", "additionalProperties": {"type": "integer"}})
    with pytest.raises(InvalidAnswer) as reason:
        counts.value_of('{"zebra": "x"}', cut_off=False)
    assert str(reason.value) == "The answer does not match the schema: type at /*."
    assert "/zebra" in reason.value.complaint


def test_an_answer_that_is_cut_off_is_called_so() -> None:
    with pytest.raises(InvalidAnswer, match=r"not JSON: it was cut off \(finish_reason length\)"):
        TICKETS.value_of(changed()[:-9], cut_off=True)
    assert TICKETS.value_of(changed(), cut_off=True) == ANSWER


ANY = schema_of({"properties": {}})
TREE = schema_of(
    {"$ref": "#/$defs/list", "$defs": {"list": {"type": "array", "items": {"$ref": "#/$defs/list"}}}}
)


def list_of_levels(levels: int) -> str:
    return "[" * levels + "]" * levels


def object_of_levels(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


@pytest.mark.parametrize("nested", [list_of_levels, object_of_levels])
def test_an_answer_is_refused_from_a_stated_depth_on(nested: Any) -> None:
    """Records of deeper answers cannot be written by every format, nor read by others."""
    orjson.dumps(ANY.value_of(nested(MOST_LEVELS), cut_off=False))
    for levels in (MOST_LEVELS + 1, 300, 1020):
        with pytest.raises(InvalidAnswer, match="more than 100 levels deep"):
            ANY.value_of(nested(levels), cut_off=False)


def test_a_schema_may_contain_itself_below() -> None:
    assert TREE.value_of("[[], [[]]]", cut_off=False) == [[], [[]]]
    assert TREE.value_of(f"[{'[],' * 5000}[]]", cut_off=False) == [[]] * 5001
    with pytest.raises(InvalidAnswer, match="more than 100 levels deep"):
        TREE.value_of(list_of_levels(101), cut_off=False)
    with pytest.raises(InvalidAnswer):
        TREE.value_of(list_of_levels(5000), cut_off=False)


def test_an_integer_must_fit_into_64_bits() -> None:
    schema = schema_of({"type": ["integer", "null"], "minimum": -(2**63)})
    for text in ("-9223372036854775808", "9223372036854775807", "1e3", "null"):
        schema.value_of(text, cut_off=False)
    for text in ("9223372036854775808", "-1e19", "1e300", "1" * 30):
        with pytest.raises(InvalidAnswer, match=r"(minimum|maximum) at the root"):
            schema.value_of(text, cut_off=False)
    assert schema.document == {"type": ["integer", "null"], "minimum": -(2**63)}
    assert schema_of({"type": "number"}).value_of("1e300", cut_off=False) == 1e300


@pytest.mark.parametrize("is_below", [False, True])
@pytest.mark.parametrize(("word", "valid"), [("anyOf", True), ("oneOf", False), ("allOf", True)])
def test_an_answer_is_not_tried_in_2_to_the_40_ways(word: str, *, valid: bool, is_below: bool) -> None:
    def to(at: int) -> Any:
        named = {"$ref": f"#/$defs/{at}"}
        return {"type": "array", "items": named} if is_below else named

    ways = {f"{at}": {word: [to(at + 1), to(at + 1)]} for at in range(40)}
    schema = schema_of({"$ref": "#/$defs/0", "$defs": {**ways, "40": TEXT}})
    begun = time.process_time()
    for leaf, matches in (('"a"', valid), ("5", False)):
        answer = "[" * 40 + leaf + "]" * 40 if is_below else leaf
        if matches:
            schema.value_of(answer, cut_off=False)
        else:
            with pytest.raises(InvalidAnswer, match="The answer does not match the schema: "):
                schema.value_of(answer, cut_off=False)
    assert time.process_time() - begun < 3


TWICE = [{"minItems": 1, "items": {"$ref": "#"}}, {"maxItems": 9, "items": {"$ref": "#"}}]


@pytest.mark.parametrize(
    "rule",
    [
        {"anyOf": TWICE},
        {"oneOf": TWICE},
        {"allOf": TWICE},
        {"items": {"$ref": "#"}, "contains": {"$ref": "#"}},
        {"if": TWICE[0], "then": TWICE[1], "else": TWICE[1]},
        {"anyOf": [{"minItems": 1, "items": {"$dynamicRef": "#"}}, {"items": {"$dynamicRef": "#"}}]},
    ],
)
def test_a_rule_of_a_schema_that_contains_itself_twice_is_found_soon(rule: Any) -> None:
    schema = schema_of({"type": ["array", "string"], **rule})
    begun = time.process_time()
    with pytest.raises(InvalidAnswer, match="The answer does not match the schema: "):
        schema.value_of("[" * 90 + "5" + "]" * 90, cut_off=False)
    assert time.process_time() - begun < 3


@pytest.mark.parametrize(
    ("document", "value", "message"),
    [
        ({"anyOf": [closed(a=closed(b=TEXT)), {"type": "null"}]}, {"a": {"b": 5}}, "type at /a/b"),
        (
            {"anyOf": [{"$ref": "#/$defs/x"}, {"type": "null"}], "$defs": {"x": closed(a=closed(b=TEXT))}},
            {"a": {"b": 5}},
            "type at /a/b",
        ),
        (closed(a={"anyOf": [TEXT, {"type": "null"}]}), {"a": 5}, "anyOf at /a"),
        (
            {
                "items": {"oneOf": [{"$ref": "#/$defs/x"}, {"$ref": "#/$defs/y"}]},
                "$defs": {
                    "x": closed(kind={"const": "x"}, b=TEXT),
                    "y": closed(kind={"const": "y"}, c={"items": TEXT}),
                },
            },
            [{"kind": "y", "c": ["a", 5]}],
            "type at /0/c/1",
        ),
        ({"allOf": [{"$ref": "#"}, TEXT]}, 5, "type at the root"),
        ({"not": {"$ref": "#"}}, 5, "not at the root"),
        (
            {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "$id": "https://example.com/a",
                "items": {"$ref": "#/definitions/x"},
                "definitions": {"x": {"items": {"$ref": "#/definitions/y"}}, "y": TEXT},
            },
            [["a", 5]],
            "type at /0/1",
        ),
        (
            {
                "items": {"$ref": "#/$defs/x"},
                "$defs": {
                    "x": {"anyOf": [{"$ref": "#/$defs/y"}], "unevaluatedProperties": False},
                    "y": closed(a=TEXT),
                },
            },
            [{"a": 5}],
            "$ref at /0",
        ),
        ({**closed(a=TEXT, b=closed(c=TEXT))}, {"b": {"c": 5}}, "required at the root"),
    ],
)
def test_the_rule_that_says_most_is_named(document: Any, value: Any, message: str) -> None:
    with pytest.raises(InvalidAnswer) as reason:
        schema_of(document).value_of(json.dumps(value), cut_off=False)
    assert str(reason.value) == f"The answer does not match the schema: {message}."


def test_nothing_is_fetched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        for document in (
            {"$ref": address},
            {"$id": address, "$ref": "other"},
            {"$schema": address, "type": "strnig"},
            {"items": {"$schema": address, "type": "string"}},
            {"items": {"$id": address, "$ref": "y"}},
            {"$dynamicRef": address},
            {"properties": {"a": {"$ref": "file:///etc/hostname"}}},
        ):
            with suppress(UsageError, InvalidAnswer):
                schema_of(document).value_of("5", cut_off=False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_long_answer_is_not_searched_for_the_rule_that_it_breaks() -> None:
    begun = time.process_time()
    with pytest.raises(InvalidAnswer, match=r"The answer does not match the schema\."):
        schema_of({"items": TEXT}).value_of(f"[{'1,' * 200_000}1]", cut_off=False)
    assert time.process_time() - begun < 2


def test_a_value_that_the_schema_false_forbids_is_called_so() -> None:
    with pytest.raises(InvalidAnswer, match="schema: a value is not allowed at /a"):
        schema_of({"properties": {"a": False}}).value_of('{"a": 1}', cut_off=False)


@pytest.mark.parametrize(
    ("items", "valid"),
    [
        ([1, True, "1", None], True),
        ([1, 1.0], False),
        ([0, False, [0], [False]], True),
        ([{"a": 1, "b": 2}, {"b": 2.0, "a": 1}], False),
        ([[], {}], True),
        ([[{"a": []}], [{"a": []}]], False),
    ],
)
def test_equal_items_are_found(items: Any, valid: Any) -> None:
    assert schema_of({"uniqueItems": True}).validation.is_valid(items) == valid


def test_many_items_are_compared_in_linear_time() -> None:
    text = json.dumps([{"a": row} if row % 2 else row for row in range(4000)])
    begun = time.process_time()
    schema_of({"uniqueItems": True}).value_of(text, cut_off=False)
    assert time.process_time() - begun < 2


# --- compared with jsonschema

SCALARS = st.sampled_from(
    [
        TEXT,
        {"type": "integer", "minimum": 0, "maximum": 5},
        {"type": "number"},
        {"type": "boolean"},
        {"type": ["string", "null"], "maxLength": 2},
        {"enum": ["a", "b", None]},
        {"enum": [1, True, "a"]},
        {"const": "a"},
        {"type": "string", "pattern": "^a"},
        {"type": "string", "format": "date"},
        {"oneOf": [{"type": "integer"}, {"type": "number"}]},
        {"not": {"type": "string"}},
        {"$ref": "#/$defs/deep"},
        {},
        True,
        False,
    ]
)


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["a", "b", "c"])
    return st.builds(
        lambda properties, required, more: {
            "type": "object",
            "properties": properties,
            "required": required,
            **more,
        },
        st.dictionaries(names, inner, max_size=3),
        st.lists(names, unique=True, max_size=2),
        st.sampled_from(
            [{}, {"additionalProperties": False}, {"additionalProperties": TEXT}, {"minProperties": 1}]
        ),
    )


SCHEMAS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        objects(inner),
        st.builds(lambda items: {"type": "array", "items": items, "minItems": 1}, inner),
        st.builds(lambda several: {"anyOf": several}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda part: {"allOf": [part]}, inner),
    ),
    max_leaves=6,
)
VALUES = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 7, 2.0, 2.5, 2**63, "", "a", "b", "abc", "2026-01-01"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(SCHEMAS, VALUES)
def test_what_is_valid_is_what_jsonschema_says(part: Any, value: Any) -> None:
    """And of the integers, those that fit into 64 bits; an invalid value has a rule that it breaks."""
    document = {"allOf": [part], "$defs": {"deep": {"type": "array", "items": {"$ref": "#/$defs/deep"}}}}
    validation = schema_of(document).validation
    kind = jsonschema.Draft202012Validator
    whole = kind.TYPE_CHECKER.is_type
    checker = kind.TYPE_CHECKER.redefine("integer", lambda _, each: whole(each, "integer") and each < 2**63)
    oracle = jsonschema.validators.extend(kind, type_checker=checker)(
        document, format_checker=kind.FORMAT_CHECKER
    )
    assert validation.is_valid(value) == oracle.is_valid(value)
    if not validation.is_valid(value):
        broken = validation.broken(value)
        assert broken is not None
        path = (
            broken.path[:-1] if broken.rule == "falseSchema" else broken.path
        )  # jsonschema gives the place around
        assert path in {
            tuple(each.absolute_path)[: len(path)] for each in all_errors(oracle.iter_errors(value))
        }


def all_errors(errors: Any) -> Any:
    for each in errors:
        yield each
        yield from all_errors(each.context)


# --- the rules of strict mode


def with_part(**fields: Any) -> dict[str, Any]:
    return closed(a=fields)


@pytest.mark.parametrize(
    ("document", "violation"),
    [
        ({"type": "array", "items": TEXT}, '#: the root must have "type": "object"'),
        ({"anyOf": [closed(a=TEXT)]}, "#: anyOf is not allowed at the root"),
        (
            {"type": "object", "properties": {"a": TEXT}, "required": ["a"]},
            "#: additionalProperties must be false",
        ),
        (
            {**closed(a=closed(b=TEXT)), "required": []},
            "#: required must name the property 'a'",
        ),
        (
            closed(a={"type": "object", "properties": {"b/c": TEXT}, "additionalProperties": False}),
            "#/properties/a: required must name the property 'b/c'",
        ),
        (with_part(type="string", minLength=3), "#/properties/a: minLength is not supported"),
        (with_part(type="string", format="uri"), "#/properties/a: the format 'uri' is not supported"),
        (with_part(oneOf=[TEXT]), "#/properties/a: oneOf is not supported"),
        (with_part(type="array"), "#/properties/a: items must be a schema"),
        (
            with_part(type="array", items=True),
            "#/properties/a/items: true and false are not schemas in strict mode",
        ),
        (with_part(description="anything"), "#/properties/a: type is missing"),
        (
            with_part(type="string", enum=[str(n) for n in range(1001)]),
            "#: it has 1,001 enum values; at most 1,000",
        ),
        (
            with_part(type="string", enum=[f"{n:0100}" for n in range(251)]),
            "#/properties/a/enum: more than 250 values have 25,100 characters",
        ),
        (
            {**closed(a={"$ref": "#/$defs/x~1y"}), "$defs": {"x/y": {"type": "object", "properties": {}}}},
            "#/$defs/x~1y: additionalProperties must be false",
        ),
    ],
)
def test_each_violation_of_strict_mode_is_named_with_its_pointer(document: Any, violation: str) -> None:
    found = strict_violations(document)
    assert any(each.startswith(violation) for each in found), found
    schema = schema_of(document)
    assert schema.forms == ("json_schema", "json_object", "prompt")
    kind, form = schema.asked_as("json_schema")
    assert form is not None
    assert (kind, form["strict"]) == ("json_schema", False)
    assert violation in schema.notices()[0]


def test_levels_are_counted_and_a_schema_that_contains_itself_has_few() -> None:
    nested: Any = TEXT
    for _ in range(11):
        nested = closed(a=nested)
    assert strict_violations(nested) == ["#: it has 11 levels of objects; at most 10 are allowed"]
    tree = {**closed(children={"type": "array", "items": {"$ref": "#"}})}
    assert strict_violations(tree) == []


def test_a_schema_without_violations_is_strict() -> None:
    assert TICKETS.violations == ()
    assert TICKETS.notices() == []
    named = {"name": "Support_ticket", "strict": True, "schema": SCHEMA}
    assert TICKETS.asked_as(TICKETS.forms[0]) == ("json_schema", named)
    assert schema_of(SCHEMA, "json_schema").forms == ("strict",)
    assert schema_of(SCHEMA, "prompt").forms == ("prompt",)


# --- schemas that cannot be used


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"type": "strnig"}, 'at #, "strnig" is not a type of JSON; did you mean "string"?'),
        (
            closed(a={"type": ["Float", "null"]}),
            'at #/properties/a, "Float" is not a type of JSON; did you mean "nu',
        ),
        (closed(a={"type": "date"}), '"date" is not a type of JSON: the types are string, number, '),
        (closed(a={"type": None}), 'null is not a type of JSON; did you mean "null"?'),
        (closed(a={"type": "string", "pattern": "("}), 'at #/properties/a/pattern: "(" is not a "regex"'),
        (closed(a={"$ref": "#/$defs/none"}), "at #/properties/a, the reference '#/$defs/none' names no part"),
        (
            closed(a={"$ref": "https://example.com/x.json"}),
            "the reference 'https://example.com/x.json' names no",
        ),
        ({}, "an object that is not empty"),
        ({"kind": "string"}, "allows any answer"),
        ({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "t"}, "allows any answer"),
        ({"name": "t", "strict": True, "schema": TEXT}, "use only its schema,"),
        ({"type": "json_schema", "name": "t", "schema": TEXT}, "use only its schema,"),
        ({"type": "json_schema", "json_schema": {"schema": TEXT}}, "use only its json_schema.schema,"),
        ({"response_format": {"json_schema": {"schema": TEXT}}}, "its response_format.json_schema.schema,"),
        ({"text": {"format": {"type": "json_schema", "schema": TEXT}}}, "use only its text.format.schema,"),
        (closed(a={"type": "string", "pattern": "a{99999999999999}"}), "at #/properties/a/pattern: "),
        ({"items": {"pattern": r"a\Z"}}, 'at #/items/pattern: "a'),
        ({"pattern": "(" * 3000 + ")" * 3000}, 'at #/pattern: "((('),
        ({"pattern": 5}, "at #/pattern: "),
        ({"patternProperties": {"(": {}}}, 'at #/patternProperties/(: "(" is not'),
        (closed(a={"$ref": ["#"]}), "at #/properties/a, the reference ['#'] names no part"),
        (closed(a={"$ref": 5}), "at #/properties/a, the reference 5 names no part"),
        ({"$ref": "#/foo", "foo": {"properties": [1]}}, 'at #/foo/properties: [1] is not of type "object"'),
        (
            {"$ref": "#/foo", "foo": {"items": {"$ref": "#/x"}}},
            "at #/foo/items, the reference '#/x' names no",
        ),
        ({"$dynamicRef": "#x"}, "at #, the reference '#x' names no part"),
        ({"$schema": 5}, "at #/$schema, it must be the address of a draft"),
        (
            closed(a={"$id": "b", "items": {"$ref": "#"}}),
            "at #/properties/a, references within a part with an $id",
        ),
        ({"$schema": "http://json-schema.org/draft-03/schema#", **TEXT}, "at #/$schema, draft 3"),
        (
            {"$schema": "http://json-schema.org/draft-07/schema#", "$defs": 5, "type": "strnig"},
            'at #, "strnig" is not a type of JSON',
        ),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_before_the_first_request(
    document: Any, message: str
) -> None:
    with pytest.raises(UsageError) as error:
        schema_of(document)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "document",
    [
        {"$schema": "http://json-schema.org/draft-07/schema#", "dependencies": {"a": {"$ref": "#"}}},
        {"$schema": "https://json-schema.org/draft/2019-09/schema", "$recursiveRef": "#"},
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        closed(a={"$ref": "#/properties/a"}),
        {"$anchor": "a", "$ref": "#a"},
        {"anyOf": [TEXT, {"$ref": "#"}]},
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"not": {"$ref": "#/$defs/A"}}}},
    ],
)
def test_references_may_lead_in_a_circle(document: Any) -> None:
    schema = schema_of(document)
    with suppress(InvalidAnswer):
        schema.value_of('{"a": 1}', cut_off=False)
    answer_type(document)
    answer_columns(document, many=False)
    enum_fields(document)


def chain(length: int, **more: Any) -> dict[str, Any]:
    """Return a schema whose parts refer twice to the next: 2 ** length ways lead to the last one."""
    both = {name: {"$ref": "#/$defs/D{}"} for name in ("a", "b")}
    parts = {
        f"D{at}": json.loads(json.dumps(closed(**both)).replace("{}", str(at + 1))) for at in range(length)
    }
    return {**closed(x={"$ref": "#/$defs/D0"}), "$defs": {**parts, f"D{length}": more or TEXT}}


def test_parts_that_many_references_lead_to_are_looked_at_once() -> None:
    assert strict_violations(chain(9)) == []
    assert schema_of(chain(40)).violations == ("#: it has 41 levels of objects; at most 10 are allowed",)


@pytest.mark.slow
def test_references_that_lead_too_deep_are_refused() -> None:
    with pytest.raises(UsageError, match="nested too deeply"):
        schema_of(chain(250))


@pytest.mark.parametrize("pattern", [r"^(a+)+$", r"^(?:\s*\w+\s*)+$", r"(?=(a+)+$)b", r"^(?:(?=a)(a+))+\1x$"])
def test_a_pattern_takes_no_exponential_time(pattern: str) -> None:
    schema = schema_of({"pattern": pattern})
    begun = time.process_time()
    with pytest.raises(InvalidAnswer, match="pattern at the root"):
        schema.value_of(json.dumps("a" * 60 + "!"), cut_off=False)
    assert time.process_time() - begun < 1


def test_an_unknown_draft_means_the_latest() -> None:
    schema = schema_of({"$schema": "https://example.com/draft", **closed(a={"type": "integer"})})
    assert schema.value_of('{"a": 1}', cut_off=False) == {"a": 1}


def test_an_anchor_is_understood() -> None:
    document = {**closed(a={"$ref": "#word"}), "$defs": {"x": {"$anchor": "word", "type": "string"}}}
    schema = schema_of(document)
    assert schema.value_of('{"a": "b"}', cut_off=False) == {"a": "b"}
    with pytest.raises(InvalidAnswer, match="type at /a"):
        schema.value_of('{"a": 1}', cut_off=False)


# --- messages


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (
            [{"role": "user", "content": "hi"}],
            [{"role": "system", "content": 'Say "x"'}, {"role": "user", "content": "hi"}],
        ),
        (
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
            [{"role": "system", "content": 'Say "x"\n\nBe brief.'}, {"role": "user", "content": "hi"}],
        ),
        (
            [{"content": "Be brief.", "role": "developer"}],
            [{"content": 'Say "x"\n\nBe brief.', "role": "developer"}],
        ),
        (
            [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}],
            [
                {
                    "role": "system",
                    "content": [{"type": "text", "text": 'Say "x"'}, {"type": "text", "text": "Be brief."}],
                }
            ],
        ),
    ],
)
def test_the_schema_goes_into_the_only_system_message(messages: Any, expected: Any) -> None:
    instruction = orjson.dumps('Say "x"')[1:-1]
    before = deepcopy(messages)
    assert orjson.loads(with_instruction(orjson.dumps(messages), instruction)) == expected
    assert messages == before


def test_a_complaint_sends_the_answer_back() -> None:
    sent = orjson.loads(b"[" + complaint_messages("no", "It is not JSON.") + b"]")
    assert [each["role"] for each in sent] == ["assistant", "user"]
    assert "It is not JSON." in sent[1]["content"]
