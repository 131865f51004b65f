"""Which column holds the text, what a row's prompt is, and what goes into its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pytest

from batchscore.errors import ErrorCode, InputError
from batchscore.prompts.columns import shorten_names
from batchscore.prompts.prompt import PromptSpec, builder_for
from batchscore.prompts.template import parse_template
from batchscore.rows import TEXT_COLUMN, Prompt, Row, RowError, Settled, Table, UnreadableRow
from batchscore.task import EMBEDDINGS, TASKS

READY = {name: task.input_key for name, task in TASKS.items()}


def table(*columns: str, text: Sequence[str] | None = None) -> Table:
    return Table(columns, columns if text is None else tuple(text), headerless=False, rows=iter(()))


def bare() -> Table:
    return Table((TEXT_COLUMN,), (TEXT_COLUMN,), headerless=True, rows=iter(()))


def wish(
    task: str = "embeddings", *, prompt: str | None = None, system: str | None = None, **more: Any
) -> PromptSpec:
    return PromptSpec(
        TASKS[task],
        prompt=None if prompt is None else parse_template(prompt, where="prompt"),
        system=None if system is None else parse_template(system, where="system"),
        **more,
    )


def built(has: Table, spec: PromptSpec, values: Mapping[str, Any]) -> Prompt | Settled:
    return builder_for(has, spec).build(Row("f.csv", 7, values))


def sent(has: Table, spec: PromptSpec, **values: Any) -> Any:
    prompt = built(has, spec, values)
    assert isinstance(prompt, Prompt), prompt
    return orjson.loads(prompt.body)


def code(has: Table, spec: PromptSpec, **values: Any) -> ErrorCode:
    settled = built(has, spec, values)
    assert isinstance(settled, Settled), settled
    assert isinstance(settled.result, RowError)
    return settled.result.code


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def as_asked(task: str, text: str) -> Any:
    return {"chat": [user(text)], "responses": {"input": text}}.get(task, text)


@pytest.mark.parametrize("task", TASKS)
def test_the_only_text_column_is_taken(task: str) -> None:
    assert sent(table("id", "said", text=["said"]), wish(task), id=1, said="hi") == as_asked(task, "hi")


@pytest.mark.parametrize("task", ["embeddings", "completions"])
def test_a_ready_column_beats_all_others(task: str) -> None:
    has = table("text", "other", READY[task])
    assert sent(has, wish(task), text="no", other="no", **{READY[task]: "yes"}) == "yes"


def test_a_ready_column_of_another_task_is_an_ordinary_column() -> None:
    with pytest.raises(InputError, match="several columns hold text: input, prompt"):
        builder_for(table("input", "prompt"), wish("chat"))


@pytest.mark.parametrize("task", TASKS)
def test_a_named_column_beats_the_ready_one(task: str) -> None:
    has = table("a", READY[task])
    assert sent(has, wish(task, column="a"), a="yes", **{READY[task]: "no"}) == as_asked(task, "yes")


def test_a_column_of_ids_beside_the_only_text_is_no_doubt() -> None:
    """Unless it holds texts: then its name says nothing."""
    pair = table("ticket_id", "body", text=["ticket_id", "body"])
    assert sent(pair, wish(), ticket_id="7", body="yes") == "yes"
    more = table("id", "a", "b", text=["id", "a", "b"])
    with pytest.raises(InputError, match="several columns hold text: id, a, b"):
        builder_for(more, wish())
    with pytest.raises(InputError, match="several columns hold text: key, id"):
        builder_for(table("key", "id", text=["key", "id"]), wish())


def test_several_text_columns_need_a_choice() -> None:
    with pytest.raises(InputError, match="several columns hold text: a, b"):
        builder_for(table("a", "b", "n", text=["a", "b"]), wish())


def test_no_text_column_needs_a_choice() -> None:
    with pytest.raises(InputError, match="no column holds text; its columns are n, m"):
        builder_for(table("n", "m", text=[]), wish())


@pytest.mark.parametrize(
    ("spec", "setting"),
    [
        (wish(column="txet"), "column"),
        (wish(prompt="{txet}"), "prompt"),
        (wish("chat", column="text", system="{txet}"), "system"),
        (wish("chat", messages=[user("{txet}")]), "messages"),
        (wish(column="text", id="txet"), "id"),
    ],
)
def test_a_missing_column_is_named_with_similar_ones_first(spec: PromptSpec, setting: str) -> None:
    with pytest.raises(InputError) as caught:
        builder_for(table("zzz", "text"), spec)
    assert str(caught.value) == f"no column 'txet' ({setting}); its columns are text, zzz. Is it 'text'?"


def test_names_of_columns_with_spaces_at_an_end_are_quoted() -> None:
    with pytest.raises(InputError, match="its columns are 'text ', a b, ''"):
        builder_for(table("text ", "a b", ""), wish(column="txt"))


def test_a_missing_system_column_is_reported_beside_a_prompt_too() -> None:
    with pytest.raises(InputError, match=r"\(system\)"):
        builder_for(table("text"), wish("chat", prompt="{text}", system="{nope}"))


def test_a_long_list_of_columns_is_cut() -> None:
    assert shorten_names([str(number) for number in range(25)]).endswith("18, 19 and 5 more")


def test_any_spec_fits_a_table_without_columns() -> None:
    builder = builder_for(table(), wish(column="x", id="y"))
    settled = builder.build(Row("f.json", 0, {}))
    assert isinstance(settled, Settled)
    assert isinstance(settled.result, RowError)
    assert settled.result.code is ErrorCode.EMPTY_INPUT


@pytest.mark.parametrize("more", [{}, {"column": "any"}, {"prompt": "{any}"}, {"prompt": "{text}"}], ids=str)
@pytest.mark.parametrize("task", TASKS)
def test_plain_texts_replace_any_column(task: str, more: dict[str, Any]) -> None:
    assert sent(bare(), wish(task, **more), text="hi") == as_asked(task, "hi")


def test_plain_texts_replace_the_column_of_messages_and_system() -> None:
    assert sent(bare(), wish("chat", messages=[user("<{a}>")]), text="hi") == [user("<hi>")]
    said = sent(bare(), wish("chat", prompt="{a}", system="[{a}]"), text="hi")
    assert said == [{"role": "system", "content": "[hi]"}, user("hi")]


def test_a_system_message_with_plain_texts_may_name_any_column() -> None:
    said = sent(bare(), wish("chat", column="a", system="[{a}]"), text="hi")
    assert said == [{"role": "system", "content": "[hi]"}, user("hi")]


def test_plain_texts_cannot_replace_two_columns() -> None:
    with pytest.raises(InputError, match="'a'"):
        builder_for(bare(), wish(prompt="{a} {b}"))


def test_plain_texts_have_no_id() -> None:
    with pytest.raises(InputError, match=r"\(id\)"):
        builder_for(bare(), wish(id="id"))


def test_a_plain_text_is_never_a_conversation() -> None:
    text = orjson.dumps([user("hi")]).decode()
    assert sent(bare(), wish("chat"), text=text) == [user(text)]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("cell", [None, "", " \n\t "])
def test_a_row_without_text_is_empty(task: str, cell: Any) -> None:
    has = table("a")
    assert code(has, wish(task), a=cell) is ErrorCode.EMPTY_INPUT
    assert code(has, wish(task, prompt="Say {a}!"), a=cell) is ErrorCode.EMPTY_INPUT


def test_a_template_with_one_filled_column_has_a_prompt_and_null_is_empty() -> None:
    assert sent(table("a", "b"), wish(prompt="{a}-{b}"), a=None, b="x") == "-x"


@pytest.mark.parametrize("task", TASKS)
def test_a_row_without_a_column_of_its_file_names_it(task: str) -> None:
    has = table("a", "b")
    for spec in [wish(task, column="a"), wish(task, prompt="{b}{a}")]:
        settled = built(has, spec, {"b": "secret cell"})
        assert isinstance(settled, Settled)
        assert isinstance(settled.result, RowError)
        assert settled.result.code is ErrorCode.MISSING_COLUMN
        assert "'a'" in settled.result.message
        assert "secret" not in settled.result.message


def test_a_row_that_lacks_the_systems_column_says_so() -> None:
    spec = wish("chat", prompt="{a}", system="{b}")
    assert code(table("a", "b"), spec, a="x") is ErrorCode.MISSING_COLUMN


def test_a_cell_of_another_type_is_sent_as_json() -> None:
    has = table("a", text=[])
    assert sent(has, wish(column="a"), a={"k": [1, None]}) == '{"k":[1,null]}'
    assert sent(has, wish(column="a"), a=0) == "0"
    assert sent(has, wish(column="a"), a=False) == "false"


def test_a_system_message_comes_first_and_is_filled() -> None:
    said = sent(table("a", "b"), wish("chat", column="a", system="Be {b}."), a="x", b="kind")
    assert said == [{"role": "system", "content": "Be kind."}, user("x")]


@pytest.mark.parametrize(("cell", "text"), [("007", "007"), (7, "7"), (None, None), ("", ""), ([1], "[1]")])
def test_an_id_is_text_or_null(cell: Any, text: str | None) -> None:
    assert built(table("id", "a", text=["a"]), wish(id="id"), {"id": cell, "a": "x"}).id == text


def test_a_row_without_an_id_has_a_prompt() -> None:
    assert built(table("id", "a", text=["a"]), wish(id="id"), {"a": "x"}).id is None


def test_kept_columns_are_values_as_read_or_null() -> None:
    has = table("a", "n", "m", text=["a"])
    kept = built(has, wish(keep=("n", "m")), {"a": "x", "n": [1]}).kept
    assert kept == {"n": [1], "m": None}
    assert built(has, wish(keep=("*",)), {"a": "x", "n": 1}).kept == {"a": "x", "n": 1}
    assert built(has, wish(), {"a": "x"}).kept == {}


def test_a_row_with_an_error_keeps_its_place_its_id_and_its_columns() -> None:
    settled = built(table("id", "a", text=["a"]), wish(id="id", keep=("id",)), {"id": 3, "a": ""})
    assert isinstance(settled, Settled)
    assert (settled.file, settled.row, settled.id, settled.kept) == ("f.csv", 7, "3", {"id": 3})


def test_a_prompt_keeps_its_place() -> None:
    prompt = built(table("a"), wish(), {"a": "x"})
    assert (prompt.file, prompt.row) == ("f.csv", 7)


def test_an_unreadable_row_is_settled_with_its_own_error() -> None:
    error = RowError(ErrorCode.ROW_TOO_LARGE, "too large")
    settled = builder_for(table("a"), wish(id="a")).build(UnreadableRow("f.csv", 3, error))
    assert settled == Settled("f.csv", 3, error)


@pytest.mark.parametrize("more", [{"column": "a"}, {"prompt": "{a}"}, {"column": "b", "id": "a"}], ids=str)
def test_a_cell_nested_a_thousand_deep_costs_only_its_own_row(more: dict[str, Any]) -> None:
    deep = orjson.loads("[" * 1020 + "]" * 1020)
    assert code(table("a", "b"), wish(**more), a=deep, b="x") is ErrorCode.UNREADABLE_ROW


@pytest.mark.parametrize("cell", [b"\xff\xfe", float("inf"), [1, float("nan")]], ids=repr)
@pytest.mark.parametrize(
    ("task", "more"),
    [
        ("embeddings", {"column": "a"}),
        ("chat", {"prompt": "{a}"}),
        ("chat", {"column": "b", "system": "{a}"}),
        ("embeddings", {"column": "b", "id": "a"}),
    ],
)
def test_a_cell_that_cannot_be_sent_is_an_error(task: str, more: dict[str, Any], cell: Any) -> None:
    assert code(table("a", "b"), wish(task, **more), a=cell, b="x") is ErrorCode.UNREADABLE_ROW
    assert isinstance(built(table("a", "b"), wish(task, column="b"), {"a": cell, "b": "x"}), Prompt)


def test_ready_messages_do_not_lose_a_number() -> None:
    said = [{"role": "user", "content": [{"type": "x", "score": float("inf")}]}]
    assert code(table("messages"), wish("chat"), messages=said) is ErrorCode.UNREADABLE_ROW


def test_a_plain_text_cannot_replace_columns_of_both_prompt_and_system() -> None:
    with pytest.raises(InputError, match=r"\(system\)"):
        builder_for(bare(), wish("chat", prompt="{a}", system="{b}"))


def test_a_message_lists_columns_but_not_a_cell_in_place_of_a_header() -> None:
    cell = "a whole document that stands where the header should be, because there is none"
    table = Table((cell, "bell\x07"), (cell, "bell\x07"), headerless=False, rows=iter(()))
    with pytest.raises(InputError) as caught:
        builder_for(table, PromptSpec(EMBEDDINGS, column="text"))
    assert cell not in str(caught.value)
    assert "a whole document" in str(caught.value)
    assert "\x07" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "named", "holds"),
    [
        (("animal", "body"), None, "animal"),
        (("animal", "body"), "body", "body"),
        (("body",), None, "body"),
    ],
    ids=["its name", "the one that is named", "the only one"],
)
def test_the_text_field_takes_a_column(columns: Sequence[str], named: str | None, holds: str) -> None:
    spec = wish("completions", prompt="Tell of {animal}.", text_field="animal", column=named)
    values = {name: f"the {name}" for name in columns}
    assert sent(table(*columns), spec, **values) == f"Tell of the {holds}."
    messages = [{"role": "user", "content": "{animal}"}]
    spec = wish("chat", messages=messages, text_field="animal", column=named)
    assert sent(table(*columns), spec, **values) == [user(f"the {holds}")]
    assert sent(bare(), spec, text="bare") == [user("bare")]


def test_a_text_field_that_several_columns_could_fill_lists_them() -> None:
    spec = wish("completions", prompt="Tell of {animal}.", text_field="animal")
    with pytest.raises(InputError, match="several columns hold text: title, body"):
        builder_for(table("title", "body"), spec)
    with pytest.raises(InputError, match="no column 'nose'"):
        builder_for(table("title"), wish("completions", prompt="{a}", text_field="a", column="nose"))
