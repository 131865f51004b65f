"""How templates are parsed, and how each type of cell is inserted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.errors import UsageError
from batchscore.prompts.cells import cell_text
from batchscore.prompts.template import Column, Template, parse_template, rename_columns


def filled(text: str, **values: Any) -> str:
    return parse_template(text, where="--prompt").fill(values, cell_text)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", ()),
        ("no column", ("no column",)),
        ("{a}", (Column("a"),)),
        ("{ a }", (Column("a"),)),
        ("{a}{b}", (Column("a"), Column("b"))),
        ("x {a} y", ("x ", Column("a"), " y")),
        ("{{a}}", ("{a}",)),
        ("{{{a}}}", ("{", Column("a"), "}")),
        ("{{}}{a}{{", ("{}", Column("a"), "{")),
        ("{a name, with: signs.0!r}", (Column("a name, with: signs.0!r"),)),
        ('{{"k": {größe}}}', ('{"k": ', Column("größe"), "}")),
    ],
)
def test_a_template_is_texts_and_columns(text: str, pieces: tuple[str | Column, ...]) -> None:
    assert parse_template(text, where="--prompt").pieces == pieces


@pytest.mark.parametrize(
    ("text", "character"),
    [
        ("{", 1),
        ("}", 1),
        ("{}", 1),
        ("{  }", 1),
        ("ab{c", 3),
        ("a}", 2),
        ("{a{b}}", 1),
        ("{a}}", 4),
        ("}{", 1),
    ],
)
def test_a_single_brace_is_reported_with_its_position(text: str, character: int) -> None:
    with pytest.raises(UsageError, match=f"^--system: the brace at character {character} "):
        parse_template(text, where="--system")


def test_columns_are_named_once_and_in_order() -> None:
    assert parse_template("{b} {a} {b}", where="").columns == ("b", "a")


def test_a_cell_is_never_parsed_as_a_template() -> None:
    assert filled("<{a}>", a="{b} {{ }") == "<{b} {{ }>"


def test_a_column_that_a_row_lacks_is_a_key_error_with_its_name() -> None:
    with pytest.raises(KeyError, match="b"):
        filled("{a}{b}", a="x")


def test_a_template_cannot_read_attributes_of_a_cell() -> None:
    with pytest.raises(KeyError):
        filled("{a.__class__}", a="x")


def test_columns_are_renamed_to_those_of_the_table() -> None:
    parsed = parse_template("{a} {b}", where="")
    assert rename_columns(parsed, {"a": "text"}) == Template((Column("text"), " ", Column("b")))
    assert rename_columns(parsed, {}) is parsed


@given(st.text())
def test_any_text_survives_a_template_when_its_braces_are_doubled(text: str) -> None:
    assert filled(text.replace("{", "{{").replace("}", "}}")) == text


@given(st.text(), st.text(), st.text())
def test_any_text_survives_around_a_cell(before: str, cell: str, after: str) -> None:
    def doubled(text: str) -> str:
        return text.replace("{", "{{").replace("}", "}}")

    assert filled(doubled(before) + "{a}" + doubled(after), a=cell) == before + cell + after


@given(st.text(st.sampled_from("{}ab "), max_size=12))
def test_a_template_is_parsed_or_refused_but_nothing_else(text: str) -> None:
    try:
        parsed = parse_template(text, where="--prompt")
    except UsageError as error:
        assert "brace at character" in str(error)  # noqa: PT017 - either ending is right
    else:
        assert all(name.strip() == name != "" for name in parsed.columns)
