"""Which column is taken, what late and inner names mean, and what is said of how files are read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from openpyxl import Workbook

from batchscore.errors import InputError, UsageError, name_settings
from batchscore.output.spec import Output
from batchscore.plan.survey import Survey, survey
from batchscore.plan.without_effect import without_effect
from batchscore.read.formats import open_rows
from batchscore.read.input_file import StandardInput
from batchscore.rows import Prompt, RowError
from batchscore.settings.fields import Settings

TITLES: list[dict[str, Any]] = [{"title": f"title {number}"} for number in range(200)]
LATE = [*TITLES, {"title": "last", "summary": "late"}]
TALK = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": 1}]
BATCH = {"custom_id": "r-1", "method": "POST", "url": "/v1/embeddings", "body": {"input": "x", "model": "m"}}


def surveyed(files: dict[str, Any], task: str = "embeddings", **more: Any) -> Survey:
    for name, content in files.items():
        lines = content if isinstance(content, str) else "".join(f"{json.dumps(row)}\n" for row in content)
        Path(name).parent.mkdir(exist_ok=True, parents=True)
        Path(name).write_text(lines)
    settings = Settings(task=task, model="m", output="out", **more)
    return survey(sorted(files), settings, output=None)


def sent(found: Survey) -> list[Any]:
    """Return what each row sends: its JSON, or the code of its error."""
    rows = []
    for ready in found.ready:
        with open_rows(ready.file, found.options) as table:
            rows += [ready.builder.build(row) for row in table.rows]
    return [
        orjson.loads(row.body) if isinstance(row, Prompt) else row.result.code.value
        for row in rows
        if isinstance(row, Prompt) or isinstance(row.result, RowError)
    ]


def refused(files: dict[str, Any], task: str = "embeddings", **more: Any) -> str:
    with pytest.raises((InputError, UsageError)) as caught:
        surveyed(files, task, **more)
    return name_settings(caught.value.text, lambda name: f"--{name}")


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("more", [{"column": "summary"}, {"prompt": "{title}: {summary}"}], ids=str)
def test_a_column_that_first_appears_late_is_found(name: str, more: dict[str, Any]) -> None:
    content: Any = LATE if name == "a.jsonl" else json.dumps(LATE)
    found = sent(surveyed({name: content}, **more))
    assert found[:-1] == ["missing_column"] * 200
    assert found[-1] in ("late", "last: late")


def test_a_late_column_may_be_the_id_or_kept_and_a_misspelt_one_is_refused() -> None:
    found = surveyed({"a.jsonl": LATE}, column="title", id="summary", keep=("summary",))
    assert found.schema.keep == ("summary",)
    assert "no column 'sumary' (--column)" in refused({"a.jsonl": LATE}, column="sumary")
    assert "no file has a column 'sumary' (--keep)" in refused(
        {"a.jsonl": LATE}, column="title", keep=("sumary",)
    )
    said = refused({"a.jsonl": LATE}, column="title", keep=("title,summary",))
    assert said.endswith("Give --keep once for each column.")


def test_in_a_folder_each_file_may_have_the_column_late_or_not_at_all() -> None:
    files = {"in/a.jsonl": LATE, "in/b.jsonl": [{"summary": "first"}], "in/c.jsonl": TITLES}
    found = surveyed(files, column="summary")
    assert sent(found)[-2:] == ["late", "first"]
    assert [each.name for each in found.problems] == ["c.jsonl"]


@pytest.mark.parametrize("late", ["file", "File", "embeddings"])
def test_a_late_column_with_the_name_of_a_field_costs_its_row_and_an_early_one_the_run(late: str) -> None:
    clash = {"title": "x", late: "y"}
    found = sent(surveyed({"a.jsonl": [*TITLES, clash, {"title": "z"}]}, column="title", keep=("*",)))
    assert found[-2:] == ["unreadable_row", "z"]
    assert f"column {late!r}" in refused({"a.jsonl": [clash]}, column="title", keep=("*",))
    assert repr(late) in refused({"a.jsonl": [clash]}, column="title", keep=(late,))


def test_names_that_differ_only_in_capitals_are_not_both_kept() -> None:
    assert "only in case" in refused({"a.csv": "text,a,A\nx,1,2\n"}, column="text", keep=("a", "A"))


def test_a_name_may_be_written_with_letters_composed_or_not() -> None:
    found = surveyed({"a.csv": "id,re\u0301sume\u0301\n1,a\n"}, column="r\xe9sum\xe9", keep=("r\xe9sum\xe9",))
    assert sent(found) == ["a"]
    assert found.schema.keep == ("r\xe9sum\xe9",)


def test_a_name_with_dots_means_a_value_within_a_cell() -> None:
    rows = [
        {"user": {"name": "Ann", "a.b": {"c": "deep"}}},
        {"user": {}},
        {"user.name": "own"},
        {"user": "x"},
    ]
    assert sent(surveyed({"a.jsonl": rows}, column="user.name")) == [
        "Ann",
        "missing_column",
        "own",
        "missing_column",
    ]
    assert sent(surveyed({"a.jsonl": rows[:1]}, prompt="<{user.a.b.c}>")) == ["<deep>"]
    found = surveyed({"a.jsonl": rows[:1]}, column="user.name", id="user.name", keep=("user.name",))
    with open_rows(found.ready[0].file, found.options) as table:
        built = found.ready[0].builder.build(next(table.rows))
    assert (built.id, built.kept) == ("Ann", {"user.name": "Ann"})
    assert "no column 'user.nme'" in refused({"a.jsonl": rows}, column="user.nme")


def test_columns_with_the_same_name_are_refused_only_if_they_are_asked_for() -> None:
    file = {"a.csv": "id,text,note,note\n1,a,x,y\n"}
    assert sent(surveyed(file, column="text")) == ["a"]
    said = refused(file, column="note")
    assert "several columns have the name 'note'" in said
    assert "choose a later one by its number: note_1." in said
    assert sent(surveyed(file, column="note_1")) == ["y"]


def test_a_batch_file_is_known_and_its_inner_column_is_taken() -> None:
    found = surveyed({"a.jsonl": [BATCH]})
    assert (sent(found), found.said[0][1]) == (
        ["x"],
        "column 'body.input': a file of batch requests, of which nothing else is used",
    )
    assert "batch requests for /v1/embeddings" in refused({"a.jsonl": [BATCH]}, "chat")
    chat = BATCH | {"url": "/v1/chat/completions", "body": {"messages": TALK[:1]}}
    assert sent(surveyed({"a.jsonl": [chat]}, "chat")) == [TALK[:1]]


def test_a_batch_file_of_responses_is_sent_with_its_instructions() -> None:
    responses = BATCH | {"url": "/v1/responses", "body": {"input": TALK[:1], "instructions": "Be kind."}}
    file, embeddings = {"a.jsonl": [responses]}, {"a.jsonl": [BATCH]}
    assert "batch requests for /v1/embeddings, not for responses" in refused(embeddings, "responses")
    assert "batch requests for /v1/responses, not for embeddings" in refused(file)
    assert "Give --system '{body.instructions}' to send them" in refused(file, "responses")
    found = surveyed(file, "responses", system="{body.instructions}")
    assert sent(found) == [{"input": TALK[:1], "instructions": "Be kind."}]
    plain = BATCH | {"url": "/v1/responses"}
    assert sent(surveyed({"a.jsonl": [plain]}, "responses")) == [{"input": "x"}]


def test_the_columns_of_responses_hold_texts_or_items() -> None:
    items = [{"type": "item_reference", "id": "i"}, TALK[0]]
    for name in ("input", "messages"):
        rows: list[Any] = [{name: items, "n": "x"}, {name: json.dumps(items)}, {name: [{"n": 1}]}]
        assert sent(surveyed({"a.jsonl": rows}, "responses")) == [
            {"input": items},
            {"input": items},
            "invalid_messages",
        ]
    assert sent(surveyed({"a.jsonl": [{"input": "Hello", "n": "x"}]}, "responses")) == [{"input": "Hello"}]
    both = [{"input": "Hello", "messages": TALK[:1]}]
    assert sent(surveyed({"a.jsonl": both}, "responses")) == [{"input": "Hello"}]
    assert sent(surveyed({"a.jsonl": both}, "responses", column="messages")) == [{"input": TALK[:1]}]
    assert sent(surveyed({"a.jsonl": [{"n": 1, "messages": "Hello"}]}, "responses")) == [{"input": "Hello"}]
    assert "Give --drop_last_assistant" in refused({"a.jsonl": [{"input": TALK}]}, "responses")
    lists: list[Any] = [{"input": ["Hello"], "n": "x"}]
    assert "lists that are not conversations" in refused({"a.jsonl": lists}, "responses")
    assert sent(surveyed({"a.jsonl": [{"input": "[1]"}]}, "responses")) == [{"input": "[1]"}]


SHARE = [{"from": "system", "value": "s"}, {"from": "human", "value": "q"}]
SHARED = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
CALLED = [*SHARE, {"from": "function_call", "value": "{}"}]


@pytest.mark.parametrize("task", ["chat", "responses"])
@pytest.mark.parametrize(("name", "more"), [("conversations", {}), ("dialog", {"column": "dialog"})])
@pytest.mark.parametrize("cell", [list, json.dumps])
def test_conversations_are_sent_as_messages_in_each_usual_form(
    task: str, name: str, more: dict[str, Any], cell: Callable[[Any], Any]
) -> None:
    talks = [SHARE, SHARED, CALLED, [{"from": "human", "value": "q", "weight": None}]]
    rows = [{"id": "a", name: cell(talk)} for talk in talks]
    found = sent(surveyed({"a.jsonl": rows}, task, **more))
    messages = [each["input"] if task == "responses" and isinstance(each, dict) else each for each in found]
    assert messages == [SHARED, SHARED, "invalid_messages", SHARED[1:]]
    answered = [{name: cell([*SHARE, {"from": "gpt", "value": "a"}])}]
    assert f"in its column {name!r} end with the assistant's message" in refused(
        {"a.jsonl": answered}, task, **more
    )
    dropped = sent(surveyed({"a.jsonl": answered}, task, drop_last_assistant=True, **more))
    assert dropped == [SHARED if task == "chat" else {"input": SHARED}]


def test_lists_and_texts_that_are_no_conversations_are_sent_as_they_are() -> None:
    for cell in ([{"n": 1}], [{"from": "a", "to": "b"}], "plain", [1, 2]):
        text = cell if isinstance(cell, str) else json.dumps(cell, separators=(",", ":"))
        found = sent(surveyed({"a.jsonl": [{"x": cell, "n": 1}]}, "chat", column="x"))
        assert found == [[{"role": "user", "content": text}]]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"doc_id": "d1", "n": 1}], "'doc_id', is an id"),
        ([{"docId": "x", "n": 1}], "'docId', is an id"),
        ([{"sku": f"AB-{number}", "n": 1} for number in range(3)], "'sku', is an id"),
        ([{"id": "1", "conversations": [{"from": "human", "value": "Hi"}]}], "'id', is an id"),
        ([{"remark": text, "n": 1} for text in ("", "", "x")], "'remark', is mostly empty"),
        ([{"input": text, "output": "o"} for text in ("", "", "x")], "several columns hold text"),
    ],
)
def test_an_id_or_a_mostly_empty_column_is_not_taken_by_itself(rows: list[Any], told: str) -> None:
    assert told in refused({"a.jsonl": rows})


def test_the_columns_that_are_sent_are_said_and_why() -> None:
    rows = [{"n": 1, "said": "hi"}]
    files = {"in/a.jsonl": rows, "in/b.jsonl": rows}
    assert surveyed(files).said == [("a.jsonl and 1 more", "column 'said': the only column of text")]
    assert surveyed(files, column="said").said == [("a.jsonl and 1 more", "column 'said'")]
    assert surveyed(files, prompt="{n}: {said}").said == [("a.jsonl and 1 more", "columns n, said")]
    assert surveyed({"a.txt": "hi\n"}).said == []


def test_a_column_that_a_workbooks_first_sheet_lacks_may_be_in_another() -> None:
    book = Workbook()
    sheets = (book.worksheets[0], book.create_sheet("Tickets"))
    for sheet, name in zip(sheets, ("day", "text"), strict=True):
        sheet.append([name])
        sheet.append(["one"])
    book.save("a.xlsx")
    settings = Settings(task="chat", model="m", output="out", column="text")
    with pytest.raises(InputError, match="sheet 'Sheet', the first one: sheet names another"):
        survey(["a.xlsx"], settings, output=None)
    assert not survey(["a.xlsx"], replace(settings, sheet="Tickets"), output=None).problems


def test_no_encoding_is_said_of_a_file_that_any_encoding_reads_the_same() -> None:
    files = {"a.csv": "text\none\n", "empty.csv": ""}
    assert surveyed(files, column="text", encoding="windows-1252").said[0][1] == "column 'text'"
    Path("in").mkdir()
    Path("in/western.csv").write_bytes("text\n\xe9t\xe9\n".encode("windows-1252"))
    found = survey(
        ["in", *files],
        Settings(task="chat", model="m", output="out", column="text", encoding="windows-1252"),
        output=None,
    )
    assert found.said[0] == ("in/western.csv", "encoding windows-1252")


def test_a_first_line_that_may_be_a_row_is_not_taken_for_the_header() -> None:
    for text in ("The tide turns\nA loaf\n", "1,The tide\n2,A loaf\n"):
        assert "first line looks like a row, not like a header" in refused({"a.csv": text})
        assert "give --no_header" in refused({"a.csv": text}, column="text")
    preamble = "Sales of the week\nPrinted on Monday\nid,text\n1,The tide\n"
    assert "give --skip_lines and the number of lines before it" in refused({"a.csv": preamble})
    assert sent(surveyed({"a.csv": preamble}, column="text", skip_lines=2)) == ["The tide"]
    padded = "Sales of the week;;\nid;text;n\n1;The tide;2\n"
    assert "give --skip_lines and the number of lines before it" in refused({"a.csv": padded})
    assert sent(surveyed({"a.csv": "The tide turns\nA loaf\n"}, column="The tide turns")) == ["A loaf"]
    assert sent(surveyed({"a.csv": "The tide turns\nA loaf\n"}, no_header=True)) == [
        "The tide turns",
        "A loaf",
    ]


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        ("1,SECRET call me at 0171", {}),
        ("1,SECRET call me at 0171", {"column": "text"}),
        ("1,SECRET call me at 0171", {"prompt": "{text}"}),
        ("1,SECRET call me at 0171", {"column": "1", "keep": ("text",)}),
        ("SECRET@example.com,hello", {"column": "text"}),
        ("SECRET,SECRET,1", {}),
        ("SECRET,Berlin", {}),
        ("Good SECRET,positive", {"column": "text"}),
        ("Secret SECRET,Good product", {"prompt": "{text}"}),
        ("SECRET,SECRET,good", {"column": "good", "keep": ("text",)}),
        ("good,SECRET", {"column": "txt", "id": "good"}),
    ],
)
def test_a_first_line_that_may_be_a_row_is_not_quoted(line: str, settings: dict[str, Any]) -> None:
    told = refused({"a.csv": f"{line}\n{line}\n"}, **settings)
    assert "SECRET" not in told
    doubt = "looks like a row" if any(map(str.isdecimal, line)) or "@" in line else "column"
    assert ("a column 'text'" if "keep" in settings else doubt) in told


@pytest.mark.parametrize("settings", [{}, {"column": "ID"}])
def test_a_first_line_that_is_not_quoted_says_how_to_choose_a_column(settings: dict[str, Any]) -> None:
    told = refused({"a.csv": "SECRET,Berlin\nAnn,Paris\n"}, **settings)
    assert "its first line names 2 columns, not shown because they may be cells of a row: give a name" in told
    assert "as in that line, or --no_header if it is a row" in told


def test_usual_names_are_listed_beside_those_that_may_be_cells() -> None:
    told = refused({"a.csv": "id,reviewText,SECRET (5 \u20ac),SECRET 4711\n1,a,b,c\n"}, column="review")
    assert "no column 'review' (--column); its first line names 4 columns: reviewText, id, and 2 more" in told
    assert "SECRET" not in told


def test_the_names_of_a_header_are_quoted_and_one_short_word_alone_is_not() -> None:
    headers = ["id,txt", "customerId;Text", "Customer Name,Review Title", "q,a", "review_text,x"]
    for header in headers:
        one, other = re.split("[,;]", header)
        told = refused({"a.csv": f"{header}\n{header.replace('e', 'x')}\n"}, column="nothing")
        assert one in told, header
        assert other in told, header
    said = surveyed({"a.csv": "SECRET\nParis\n"}).said
    assert said == [("a.csv", "a column: the only column of text, named by the first line")]


def test_a_repeated_cell_of_a_first_line_that_may_be_a_row_is_not_quoted() -> None:
    said = surveyed({"a.csv": "1,SECRET,SECRET\n2,a,b\n"}, column="1").said
    assert "several columns with the same name" in str(said)
    assert "SECRET" not in str(said)


def test_plain_texts_in_messages_are_sent_only_if_the_column_is_named() -> None:
    file = {"a.csv": "id,messages\n1,Hello\n"}
    assert "holds plain text, not conversations" in refused(file, "chat")
    assert sent(surveyed(file, "chat", column="messages")) == [[{"role": "user", "content": "Hello"}]]
    other = {"a.jsonl": '{"messages": [{"speaker": "Ann", "text": "Hi"}]}\n'}
    assert "holds lists that are not conversations: each message needs a role" in refused(other, "chat")


def test_the_answer_at_the_end_of_a_conversation_is_not_sent() -> None:
    file = {"a.jsonl": [{"messages": TALK}]}
    assert "Give --drop_last_assistant to leave it out" in refused(file, "chat")
    assert sent(surveyed(file, "chat", drop_last_assistant=True)) == [TALK[:1]]
    assert sent(surveyed(file, "chat", drop_last_assistant=False)) == [TALK]
    late = {"a.jsonl": [*({"messages": TALK[:1]} for _ in range(150)), {"messages": TALK}]}
    assert sent(surveyed(late, "chat"))[-1] == "invalid_messages"


def test_lists_in_the_input_column_are_tokens_or_an_error() -> None:
    cells: list[Any] = ["plain", [1, 2, 3], ["one", "two"], 42, [], {}]
    assert sent(surveyed({"a.jsonl": [{"input": cell} for cell in cells]})) == [
        "plain",
        [1, 2, 3],
        "unreadable_row",
        "42",
        "empty_input",
        "empty_input",
    ]


def test_what_is_not_plain_is_said() -> None:
    found = surveyed(
        {"a.csv": "id;text\n1;a\n", "b.json": '{"v": "1", "data": [{"text": "x"}]}'}, column="text"
    )
    assert found.said == [
        ("a.csv", "delimiter ;"),
        ("a.csv and 1 more", "column 'text'"),
        ("b.json", "records in 'data'"),
    ]


def test_a_file_in_another_encoding_is_a_finding_before_anything_is_sent() -> None:
    Path("a.csv").write_bytes("id,text\n1,tea\n2,caf\xe9\n".encode("latin-1"))
    settings = Settings(task="embeddings", model="m", output="out", column="text")
    with pytest.raises(InputError, match="line 3 is not UTF-8"):
        survey(["a.csv"], settings, output=None)
    named = Settings(task="embeddings", model="m", output="o", column="text", encoding="Windows-1252")
    assert sent(survey(["a.csv"], named, output=None)) == ["tea", "caf\xe9"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"encoding": "klingon"}, "--encoding is 'klingon'"),
        ({"encoding": "base64"}, "--encoding is 'base64'"),
        ({"delimiter": "ab"}, "--delimiter is 'ab'; it must be one character"),
        ({"delimiter": "\n"}, "--delimiter is"),
        ({"quote": "<<"}, "--quote is '<<'"),
        ({"escape": ""}, "--escape is empty"),
        ({"delimiter": '"', "quote": '"'}, "--delimiter is also"),
        ({"quote": "none", "escape": "\\"}, "--quote is none"),
        ({"drop_last_assistant": True}, "is for --task chat"),
    ],
    ids=str,
)
def test_settings_of_reading_that_cannot_be_used_are_refused(more: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        Settings(task="embeddings", model="m", output="o", **more)
    assert told in name_settings(caught.value.text, lambda name: f"--{name}")


@pytest.mark.parametrize("tab", ["tab", "\\t", "\t"])
def test_a_tab_may_be_written_in_several_ways(tab: str) -> None:
    assert sent(surveyed({"a.csv": "id\ttext\n1\ta\n"}, column="text", delimiter=tab)) == ["a"]


def piped(name: str, content: str, **more: Any) -> Survey:
    """Survey a copy of standard input."""
    Path(name).write_text(content)
    return survey([StandardInput(name)], Settings(task="chat", model="m", output="out", **more), output=None)


def test_the_format_of_standard_input_is_said_also_of_bare_texts() -> None:
    by_content = "(--stdin_format names another)"
    for name, content in (("stdin.txt", "one\n"), ("stdin.csv", "text\none\n")):
        ((of, said), *_) = piped(name, content).said
        found = name_settings(said, lambda name: f"--{name}")
        assert (found, of) == (f"format {name[-3:]}, by its content {by_content}", name)
    ((_, said),) = piped("stdin.txt", "one\n", stdin_format="txt", column="text").said
    assert name_settings(said) == "format txt, as stdin_format says"
    # A file that the user named is no standard input, whatever its folder is called.
    assert surveyed({"batchscore-stdin-1/stdin.txt": "one\n"}).said == []


@pytest.mark.parametrize(
    "named",
    [
        {"column": "text"},
        {"prompt": "S: {text}"},
        {"system": "S: {text}"},
        {"messages": '[{"role": "user", "content": "{text}"}]'},
        {"image": ("photo",)},
        {"keep": ("label",)},
        {"id": "number"},
    ],
)
def test_bare_texts_of_standard_input_are_no_column_that_a_setting_names(named: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r'it has no header with \w+\. .* stdin_format="txt"'):
        piped("stdin.txt", "one\ntwo\n", **named)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("stdin.json", "{'text': 1}", "not valid JSON at line 1"),
        ("stdin.csv", "Hi, you\nHi, all\n", "several columns hold text"),
        ("stdin.csv", "title,text\nb,a\n", "several columns hold text"),
    ],
)
def test_a_wrong_format_of_standard_input_can_be_named(name: str, content: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        piped(name, content)
    said = name_settings(caught.value.text, lambda name: f"--{name}")
    assert words in said
    assert said.endswith(f"taken for {name[6:]}: if that is wrong, name its format with --stdin_format.")
    with pytest.raises(InputError, match=words) as caught:
        piped(name, content, stdin_format=name[6:])
    assert "taken for" not in caught.value.text


@pytest.mark.parametrize(
    ("given", "suffix", "output", "said"),
    [
        ({"sheet": "May"}, ".csv", "out", "sheet has no effect: no input is .xlsx."),
        ({"sheet": "May"}, ".xlsx", "out", ""),
        ({"delimiter": ";"}, ".jsonl", "out", "delimiter has no effect: no input is .csv or .tsv."),
        (
            {"encoding": "cp1252"},
            ".parquet",
            "out",
            "encoding has no effect: no input is .csv, .tsv, ",
        ),
        ({"txt": "document", "no_header": True}, ".xlsx", "out", "txt has no effect: no input is .txt."),
        ({"image_detail": "low"}, ".csv", "out", "image_detail has no effect without image."),
        (
            {"stdin_format": "csv"},
            ".csv",
            "out",
            "stdin_format has no effect: the input is not ",
        ),
        (
            {"simulate": True, "api_version": "2024-10-21"},
            ".csv",
            "out",
            "api_version has no effect with simulate.",
        ),
        ({"api_version": "2024-10-21"}, ".csv", "out", ""),
        (
            {"format": "parquet"},
            ".csv",
            "out.jsonl",
            "format has no effect: the name out.jsonl decides.",
        ),
        ({"format": "parquet"}, ".csv", "out.csv", ""),
        ({}, ".csv", "out.parquet", ""),
        ({}, ".csv", "out.arrow", ""),
        ({"csv_bom": True}, ".csv", "out.xlsx", "csv_bom has no effect: output is not .csv or .tsv."),
        ({"csv_bom": True}, ".csv", "out.tsv", ""),
    ],
)
def test_a_setting_that_changes_nothing_is_named(
    given: dict[str, Any], suffix: str, output: str, said: str
) -> None:
    chosen = Settings(task="chat", model="m", output=output, **given)
    place = Output(Path("out"), Path(output) if "." in output else None)
    (found,) = [*without_effect(chosen, [suffix], place, piped=False)] or [""]
    assert name_settings(found).startswith(said)
    assert bool(found) == bool(said)
