"""A schema as a setting: from a file, as JSON, as a mapping, as a Pydantic model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ForwardRef, Literal

import pytest

from batchscore.errors import UsageError
from batchscore.mlflow_model.resolve import resolve_settings
from batchscore.prompts.schema import answer_schema
from batchscore.prompts.strict_rules import strict_violations
from batchscore.settings.config_file import ConfigFile
from batchscore.settings.json_schema import closed, parts, resolve, schema_document
from batchscore.settings.slices import PromptSettings, cut

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


@pytest.fixture(autouse=True)
def file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(SCHEMA), "utf-8-sig")


@pytest.mark.parametrize("given", ["a.json", Path("a.json"), json.dumps(SCHEMA), SCHEMA])
def test_each_form_gives_the_same_schema(given: Any) -> None:
    flags = {"task": "chat", "model": "m", "output": "out", "schema": given}
    assert resolve_settings(flags, environ={}).settings.schema == SCHEMA


def test_a_variable_and_a_settings_file_give_it_too() -> None:
    base = {"task": "chat", "model": "m", "output": "out"}
    for environ, config in (
        ({"BATCHSCORE_SCHEMA": "a.json"}, {}),
        ({"BATCHSCORE_SCHEMA": json.dumps(SCHEMA)}, {}),
        ({}, {"schema": "a.json"}),
        ({}, {"schema": SCHEMA}),
    ):
        found = resolve_settings(base, environ=environ, config=ConfigFile(settings=config))
        assert found.settings.schema == SCHEMA


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "must hold a JSON Schema"),
        ("{}", "must hold a JSON Schema"),
        ("{", "is not JSON"),
        ("", "is not JSON"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(text: str, message: str) -> None:
    Path("b.json").write_text(text)
    with pytest.raises(UsageError, match=f"b.json {message}"):
        schema_document("b.json")


def nested(levels: int) -> dict[str, Any]:
    part: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        part = {"type": "object", "properties": {"a": part}}
    return part


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"maximum": 10**30}, "schema: at #/maximum, the integer does not fit into 64 bits."),
        ({"minimum": float("nan")}, "schema: at #/minimum, nan is not a number of JSON."),
        ({"title": "\ud800"}, "schema: at #/title, a text holds half of a surrogate pair."),
        ({"properties": {"\ud800": {}}}, "schema: at #/properties, a key holds half of a surrogate pair."),
        ({"properties": {1: {}}}, "schema: at #/properties, the key 1 is not text."),
        ({"enum": ["a", {"b"}]}, "schema: at #/enum/1, a value of the type set is not JSON."),
        (nested(400), "it is nested more than 100 levels deep."),
    ],
)
def test_a_mapping_that_is_not_json_is_refused_with_the_place(given: Any, message: str) -> None:
    with pytest.raises(UsageError) as error:
        resolve_settings({"task": "chat", "model": "m", "output": "out", "schema": given}, environ={})
    assert message in str(error.value)
    assert len(str(error.value)) < 300


def test_a_file_that_is_nested_too_deeply_is_named() -> None:
    Path("b.json").write_text(json.dumps(nested(60)))
    with pytest.raises(
        UsageError, match=r"schema b\.json: at #/properties/a/.*…, it is nested more than 100"
    ):
        schema_document("b.json")


def test_a_file_is_named_by_what_is_found_later() -> None:
    Path("b.json").write_text(json.dumps({"$ref": "#/none"}))
    settings = resolve_settings(
        {"task": "chat", "model": "m", "output": "out", "schema": "b.json"}, environ={}
    )
    with pytest.raises(UsageError, match=r"schema b\.json: at #, "):
        answer_schema(cut(PromptSettings, settings.settings))


def test_a_mapping_is_copied_and_a_tuple_is_a_list() -> None:
    given = {"enum": ("a", "b")}
    copy = schema_document(given)
    assert copy == {"enum": ["a", "b"]}
    assert copy is not given


def test_a_pydantic_model_becomes_strict() -> None:
    pydantic = pytest.importorskip("pydantic")
    inner = pydantic.create_model("Inner", kind=(Literal["a", "b"], "a"), more=(list[str], []))
    model = pydantic.create_model("Outer", name=(str, ...), inner=(inner | None, None), default=(int, 3))
    document = schema_document(model)
    assert strict_violations(document) == []
    assert document["required"] == ["name", "inner", "default"]
    assert document["$defs"]["Inner"]["required"] == ["kind", "more"]


def test_a_pydantic_model_that_contains_itself_has_an_object_at_its_root() -> None:
    pydantic = pytest.importorskip("pydantic")

    node = pydantic.create_model(
        "Node", name=(str, ...), below=(list[ForwardRef("Node")], ...), __module__=__name__
    )
    node.model_rebuild(_types_namespace={"Node": node})
    document = schema_document(node)
    assert strict_violations(document) == []
    assert document["properties"]["below"]["items"] == {"$ref": "#/$defs/Node"}


def test_a_model_that_has_no_schema_is_refused_by_its_name() -> None:
    class Model:
        @staticmethod
        def model_json_schema() -> Any:
            raise TypeError("no schema for this")

    with pytest.raises(UsageError, match="schema: Model has no JSON Schema: no schema for this"):
        schema_document(Model)


def test_closing_keeps_a_property_whose_name_is_a_keyword() -> None:
    schema = {"type": "object", "properties": {"default": {"type": "string", "default": "x"}}, "default": {}}
    assert closed(schema) == {
        "type": "object",
        "properties": {"default": {"type": "string"}},
        "additionalProperties": False,
        "required": ["default"],
    }


def test_parts_and_references_have_json_pointers() -> None:
    schema = {"anyOf": [{"$ref": "#/$defs/a~1b"}], "$defs": {"a/b": {"items": True}, "c~d": {"type": "null"}}}
    assert [pointer for pointer, _ in parts(schema)] == [
        *("#", "#/anyOf/0", "#/$defs/a~1b", "#/$defs/a~1b/items", "#/$defs/c~0d"),
    ]
    assert resolve("#/$defs/a~1b", schema) == {"items": True}
    assert resolve("#/anyOf/0", schema) == {"$ref": "#/$defs/a~1b"}
    assert resolve("#/$defs/a%7E1b", schema) == {"items": True}
    assert resolve("#", schema) is schema
    for nothing in ("#/anyOf/7", "#/anyOf/x", "#word", "https://example.com", 5):
        assert resolve(nothing, schema) is None
