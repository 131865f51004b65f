"""Tables become training files: every format, every reader, and nothing is written if a row is wrong."""

from __future__ import annotations

import base64
import csv
import gzip
import json
import random
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter
from command import Command
from training_files import PNG, checked

from batchscore.errors import InputError
from batchscore.finetune.prepared_folder import read_summary

if TYPE_CHECKING:
    from conftest import Files


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def lines(path: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_bytes().splitlines()]


def prepared(out: str = "out") -> list[dict[str, Any]]:
    """Return the examples of all parts."""
    files = [Path(out) / f"{part}.jsonl" for part in ("train", "validation", "test")]
    return [example for file in files if file.exists() for example in lines(file)]


def tickets(count: int = 60) -> list[dict[str, Any]]:
    topics = ("billing", "hardware", "other")
    return [
        {"id": n, "text": f"Ticket {n} about something", "topic": topics[n % 3], "customer": f"c{n // 4}"}
        for n in range(count)
    ]


CHAT = ("--system", "Name the topic.", "--prompt", "{text}", "--answer", "topic")


def test_a_table_becomes_three_files_that_pass_the_check(
    command: Command, files: Files, tmp_path: Path
) -> None:
    files.csv("t.csv", tickets())
    ran = command("finetune", "prepare", "t.csv", "-o", "out", *CHAT)
    assert (ran.exit_code, ran.stderr) == (0, "")
    found = prepared()
    assert len(found) == 60
    assert lines("out/train.jsonl")[0] == {
        "messages": [
            {"role": "system", "content": "Name the topic."},
            {"role": "user", "content": "Ticket 0 about something"},
            {"role": "assistant", "content": "billing"},
        ]
    }
    sizes = [len(lines(f"out/{part}.jsonl")) for part in ("train", "validation", "test")]
    assert sizes == [48, 6, 6]
    assert checked(tmp_path / "out" / "train.jsonl").errors == 0
    summary = json.loads(Path("out/prepare.json").read_bytes())
    assert summary["system"] == "Name the topic."
    assert summary["parts"]["train"]["examples"] == 48
    assert summary["parts"]["test"]["classes"] == {"billing": 2, "hardware": 2, "other": 2}
    page = Path("out/report.html").read_text("utf-8")
    assert "60 examples written" in page
    longest = max(part["tokens"]["longest"] for part in summary["parts"].values())
    assert f"longest {longest}. The limit" in page, "the chart and the tables round alike"
    assert "Ticket 7" not in page
    # The same rows and seed give the same bytes, another seed does not.
    first = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    assert command("finetune", "prepare", "t.csv", "-o", "out", *CHAT).exit_code == 0
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == first
    command("finetune", "prepare", "t.csv", "-o", "out", *CHAT, "--seed", "1")
    assert Path("out/train.jsonl").read_bytes() != first["train.jsonl"]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json", "parquet", "xlsx", "jsonl.gz"])
def test_every_reader_gives_the_same_examples(suffix: str, command: Command, files: Files) -> None:
    rows = [{"question": f"Größe {n}?", "answer": f"{n} m²"} for n in range(20)]
    write_table(Path(f"t.{suffix}"), rows)
    ran = command("finetune", "prepare", f"t.{suffix}", "-o", "out", "--split", "100")
    assert ran.exit_code == 0, ran.stderr
    assert [each["messages"][-1]["content"] for each in lines("out/train.jsonl")] == [
        row["answer"] for row in rows
    ]
    assert not Path("out/test.jsonl").exists()


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if path.suffix in {".csv", ".tsv"}:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0], delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".xlsx":
        with xlsxwriter.Workbook(path) as book:
            sheet = book.add_worksheet()
            for number, row in enumerate([rows[0].keys(), *(row.values() for row in rows)]):
                sheet.write_row(number, 0, row)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), "utf-8")
    else:
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


#: The format's options and one row → its example.
FORMATS: dict[str, tuple[list[str], dict[str, Any], dict[str, Any]]] = {
    "prompt-completion": (
        [],
        {"prompt": "a", "completion": "b"},
        {"prompt": "a", "completion": "b"},
    ),
    "preference": (
        [],
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        {
            "input": {"messages": [{"role": "user", "content": "a"}]},
            "preferred_output": [{"role": "assistant", "content": "b"}],
            "non_preferred_output": [{"role": "assistant", "content": "c"}],
        },
    ),
    "text-classification": (
        [],
        {"text": "a", "label": 3},
        {"Sentence1": "a", "Label": 3},
    ),
    "token-classification": (
        [],
        {"tokens": "Ann sings", "tags": '["B-PER", "O"]'},
        {"tokens": ["Ann", "sings"], "tags": ["B-PER", "O"]},
    ),
    "question-answering": (
        [],
        {"question": "Who?", "context": "I met Ånn.", "answer": "Ånn"},
        {"question": "Who?", "context": "I met Ånn.", "answers": {"text": ["Ånn"], "answer_start": [6]}},
    ),
    "text-summarization": ([], {"article": "a", "summary": "b"}, {"document": "a", "summary": "b"}),
    "text-translation": (
        ["--field", "en={english}", "--field", "de={german}"],
        {"german": "Haus", "english": "house"},
        {"en": "house", "de": "Haus"},
    ),
    "text-generation": ([], {"text": "a", "answer": "b"}, {"text": "a", "ground_truth": "b"}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_written_and_passes_the_check(
    name: str, command: Command, files: Files, tmp_path: Path
) -> None:
    options, row, example = FORMATS[name]
    files.lines("t.jsonl", [row] * 12)
    words = ["--format", name, *options, "--keep-duplicates", "--split", "100"]
    ran = command("finetune", "prepare", "t.jsonl", "-o", "out", *words)
    assert ran.exit_code == 0, ran.stderr + ran.stdout
    assert lines("out/train.jsonl") == [example] * 12
    found = checked(tmp_path / "out" / "train.jsonl")
    assert found.kind is not None
    assert (found.kind.name, found.errors) == (name, 0)


def test_standard_input_is_read(command: Command, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    files.csv("t.csv", tickets())
    with Path("t.csv").open(encoding="utf-8") as file:
        monkeypatch.setattr("sys.stdin", file)
        ran = command("finetune", "prepare", "-", "-o", "out", *CHAT)
    assert (ran.exit_code, len(prepared())) == (0, 60)


def test_what_a_terminal_obeys_is_not_printed(command: Command, files: Files) -> None:
    rows = [{"a\x1b[2Jb": f"q{n}", "answer": f"\x1b[31m{n % 2}"} for n in range(12)]
    files.lines("t.jsonl", rows)
    words = ("--prompt", "{a\x1b[2Jb}", "--system", "One\nline", "--split", "100")
    ran = command("finetune", "prepare", "t.jsonl", "-o", "out", *words)
    assert ran.exit_code == 0, ran.stdout
    assert "\x1b" not in ran.stdout + Path("out/report.html").read_text("utf-8")
    assert "system: One line, prompt: {a\\u001b[2Jb}" in ran.stdout


def test_reinforcement_keeps_other_columns_and_needs_a_validation_part(
    command: Command, files: Files
) -> None:
    files.lines("t.jsonl", [{"question": f"{n} + 1?", "right": n + 1} for n in range(20)])
    words = ("finetune", "prepare", "t.jsonl", "-o", "out", "--format", "reinforcement")
    ran = command(*words, "--split", "100")
    assert (ran.exit_code, "needs a validation part" in ran.stdout) == (3, True)
    assert command(*words).exit_code == 0
    example = {"messages": [{"role": "user", "content": "0 + 1?"}], "question": "0 + 1?", "right": 1}
    assert example in prepared()
    ran = command("finetune", "check", "out/train.jsonl")
    assert (ran.exit_code, "there is no validation file" in ran.stdout) == (0, True)
    ran = command("finetune", "plan", "out", "--format", "reinforcement")
    assert ran.exit_code == 2  # the file itself says which format it has
    assert "billed by the hour" in command("finetune", "plan", "out").stdout


def test_a_column_is_not_guessed_if_several_may_be_meant(command: Command, files: Files) -> None:
    rows = [{"instruction": "Add.", "input": f"{n}", "output": f"{n}"} for n in range(12)]
    files.lines("t.jsonl", rows)
    ran = command("finetune", "prepare", "t.jsonl", "-o", "out", "--split", "100")
    assert ran.exit_code == 1
    assert "several columns may be the field prompt: instruction, input" in ran.stderr
    words = ("--prompt", "{instruction} {input}", "--split", "100")
    Path("empty.jsonl").touch()
    ran = command("finetune", "prepare", "empty.jsonl", "-o", "none", *words, "--answer", "output")
    assert (ran.exit_code, "no column 'instruction'; its columns are none" in ran.stderr) == (1, True)
    assert command("finetune", "prepare", "t.jsonl", "-o", "out", *words).exit_code == 0
    assert lines("out/train.jsonl")[2]["messages"][0]["content"] == "Add. 2"


def test_preferences_may_be_whole_conversations(command: Command, files: Files) -> None:
    def talk(answer: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": answer}]

    rows = [{"prompt": f"Hi {n}", "chosen": talk("Hello!"), "rejected": talk("What?")} for n in range(12)]
    files.lines("t.jsonl", rows)
    words = ("--format", "preference", "--split", "100")
    assert command("finetune", "prepare", "t.jsonl", "-o", "out", *words).exit_code == 0
    assert lines("out/train.jsonl")[3] == {
        "input": {"messages": [{"role": "user", "content": "Hi 3"}]},
        "preferred_output": [{"role": "assistant", "content": "Hello!"}],
        "non_preferred_output": [{"role": "assistant", "content": "What?"}],
    }


def test_the_limit_holds_for_each_side_of_a_preference(command: Command, files: Files) -> None:
    rows = [{"prompt": f"q{n}", "chosen": "a " * 60, "rejected": "b " * 60} for n in range(12)]
    files.lines("t.jsonl", rows)
    words = ("--max-example-tokens", "100")
    prepare = ("prepare", "t.jsonl", "-o", "out", "--format", "preference", "--split", "100")
    assert command("finetune", *prepare, *words).exit_code == 0
    ran = command("finetune", "plan", "out", *words, "--json")
    (limit,) = [each for each in json.loads(ran.stdout)["limits"] if "longest example" in each["name"]]
    assert (ran.exit_code, limit["kept"], limit["value"] > 60) == (0, True, True)
    assert json.loads(ran.stdout)["tokens_per_epoch"] > 12 * 100, "both sides are billed"
    assert command("finetune", *prepare, "--max-example-tokens", "50").exit_code == 3


def test_nulls_that_parquet_adds_are_left_out(command: Command) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "1 + 1"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "2", "tool_call_id": "1"},
        {"role": "assistant", "content": "2"},
    ]
    tools = json.dumps([{"type": "function", "function": {"name": "add"}}])
    pq.write_table(pa.Table.from_pylist([{"messages": messages, "tools": tools}] * 12), "t.parquet")
    words = ("--split", "100", "--keep-duplicates")
    ran = command("finetune", "prepare", "t.parquet", "-o", "out", *words)
    assert ran.exit_code == 0, ran.stdout
    messages[1]["content"] = None
    assert lines("out/train.jsonl")[0]["messages"] == messages


def test_labels_that_a_library_made_floats_are_whole_numbers(command: Command) -> None:
    pq.write_table(
        pa.table({"text": [f"t{n}" for n in range(12)], "label": [float(n % 2) for n in range(12)]}),
        "t.parquet",
    )
    words = ("--format", "text-classification", "--split", "100")
    assert command("finetune", "prepare", "t.parquet", "-o", "out", *words).exit_code == 0
    assert lines("out/train.jsonl")[1] == {"Sentence1": "t1", "Label": 1}


def test_a_whole_file_is_never_left_out(command: Command, files: Files) -> None:
    files.csv("in/a.csv", tickets())
    Path("in/b.csv").write_bytes("text,topic\nGröße,x\n".encode("windows-1252"))
    ran = command("finetune", "prepare", "in", "-o", "out", *CHAT, "--drop-invalid")
    assert ran.exit_code == 3
    assert "error: b.csv: line 2 is not UTF-8" in ran.stdout
    assert not Path("out/train.jsonl").exists()
    found = lines("out/problems.jsonl")
    assert (found[0]["file"], found[0]["row"]) == ("b.csv", None)
    assert "\x02" not in found[0]["message"] + Path("out/report.html").read_text("utf-8")


def test_an_output_in_the_input_is_not_read_again(command: Command, files: Files) -> None:
    files.csv("in/a.csv", tickets())
    for _ in range(2):
        ran = command("finetune", "prepare", "in", "-o", "in/tuned", *CHAT)
        assert (ran.exit_code, "60 rows in 1 file" in ran.stdout) == (0, True), ran.stdout


def test_the_limit_of_an_example_follows_the_model(command: Command, files: Files) -> None:
    rows = tickets()
    rows[3]["text"] = "word " * 20_000
    files.csv("t.csv", rows)
    assert command("finetune", "prepare", "t.csv", "-o", "out", *CHAT).exit_code == 0
    assert command("finetune", "prepare", "t.csv", "-o", "no", *CHAT, "-m", "gpt-35-turbo").exit_code == 3
    # What is trained decides, not what was prepared for.
    for model, code in (("gpt-35-turbo", 3), ("gpt-4o", 0)):
        assert command("finetune", "plan", "out", "-m", model).exit_code == code
    words = ("-m", "gpt-35-turbo", "--max-example-tokens", "0")
    assert command("finetune", "prepare", "t.csv", "-o", "out", *CHAT, *words).exit_code == 0
    assert command("finetune", "plan", "out", "-m", "gpt-35-turbo").exit_code == 0, "as it was prepared"


def test_answers_get_their_place_in_the_context(command: Command, files: Files) -> None:
    context = "Ann met Ann."
    rows = [
        {"question": "a", "context": context, "answers": {"text": ["Ann"], "answer_start": [8]}},
        {"question": "b", "context": context, "answers": ["met", "Ann"]},
        {"question": "c", "context": context, "answers": [{"text": "Ann", "answer_start": 8}]},
        {"question": "d", "context": context, "answers": "Bob"},
        {"question": "e", "context": context, "answers": {"text": ["Ann"], "answer_start": [3]}},
    ]
    files.lines("t.jsonl", rows)
    words = ("--format", "question-answering", "--split", "100", "--drop-invalid")
    assert command("finetune", "prepare", "t.jsonl", "-o", "out", *words).exit_code == 0
    starts = [each["answers"]["answer_start"] for each in lines("out/train.jsonl")]
    assert starts == [[8], [4, 0], [8]]
    problems = lines("out/problems.jsonl")
    assert [(each["row"], each["rule"]) for each in problems] == [(3, "answer_place"), (4, "answer_place")]


@pytest.mark.parametrize(
    ("context", "answer", "given", "start"),
    [
        ("Txt {text}", "cat", 4, 8),
        ("Txt {text}", "cat", 4.0, 8),
        ("Txt {text}", "cat", "4", 8),
        ("Txt {text}", "cat", 2, None),  # a place in the column, and there is none
        ("{title}: {text}", "cat", 4, 10),
        ("{title}: {text}", "19", 1, 1),  # only the title has it there
        ("{text}; {text}", "cat", 4, None),  # which of both is meant?
        ("{text}", "cat", 4, 4),
        ("born {title} and 19", "19", None, 14),  # no part of a word
        ("1984 年{title}", "9", None, 1),
    ],
)
def test_offsets_are_those_of_the_column_in_the_context(
    context: str, answer: str, given: Any, start: int | None, command: Command, files: Files
) -> None:
    row = {"question": "q", "title": "1198", "text": "cat cat cat", "answers": answer, "answer_start": given}
    files.lines("t.jsonl", [row])
    words = ("--format", "question-answering", "--split", "100", "--context", context)
    ran = command("finetune", "prepare", "t.jsonl", "-o", "out", *words)
    if start is None:
        assert ran.exit_code == 3
        assert lines("out/problems.jsonl")[0]["rule"] == "answer_place"
    else:
        assert lines("out/train.jsonl")[0]["answers"]["answer_start"] == [start]
    assert ("answer_repeated" in ran.stdout) == (context == "1984 年{title}")


def test_conversations_are_taken_as_they_are(command: Command, files: Files) -> None:
    tool = {"type": "function", "function": {"name": "add"}}
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": "{}"}}

    def messages(n: int) -> list[dict[str, Any]]:
        return [
            {"role": "user", "content": f"{n}", "weight": None},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "2"},
            {"role": "assistant", "content": "2", "weight": 1},
        ]

    files.lines("t.jsonl", [{"id": n, "messages": messages(n), "tools": [tool]} for n in range(12)])
    ran = command("finetune", "prepare", "t.jsonl", "-o", "out", "--split", "100", "--system", "Add.")
    assert ran.exit_code == 0, ran.stdout
    first = lines("out/train.jsonl")[0]
    assert first["tools"] == [tool]
    assert [each["role"] for each in first["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    assert "weight" not in first["messages"][1]
    assert "id" not in first


def test_conversations_in_cells_and_of_other_tools_are_read(command: Command, files: Files) -> None:
    rows = [
        {"conversations": json.dumps([{"from": "human", "value": f"{n}"}, {"from": "gpt", "value": "ok"}])}
        for n in range(12)
    ]
    files.csv("t.csv", rows)
    assert command("finetune", "prepare", "t.csv", "-o", "out", "--split", "100").exit_code == 0
    assert lines("out/train.jsonl")[3] == {
        "messages": [{"role": "user", "content": "3"}, {"role": "assistant", "content": "ok"}]
    }


@pytest.mark.parametrize(
    ("prompt", "completion", "left_out"),
    [
        ("{} ->", " {}\n", "prompt separator, leading blank, stop sequence"),
        ("{}\n\n###\n\n", " {} END", "prompt separator, leading blank, stop sequence"),
        ("{}", " {}", "leading blank"),
        ("{}?", "{}.", ""),
    ],
)
def test_marks_of_old_files_are_left_out_of_chat(
    prompt: str, completion: str, left_out: str, command: Command, files: Files
) -> None:
    rows = [{"prompt": prompt.format(n), "completion": completion.format(n)} for n in range(12)]
    files.lines("t.jsonl", rows)
    ran = command("finetune", "prepare", "t.jsonl", "-o", "out", "--split", "100")
    assert ran.exit_code == 0, ran.stdout
    assert (f"left out of all rows: {left_out}\n" in ran.stdout) == bool(left_out)
    texts = [each["content"] for each in lines("out/train.jsonl")[3]["messages"]]
    assert texts == (["3", "3"] if left_out else ["3?", "3."])
    # The old format keeps them.
    words = ("--split", "100", "--format", "prompt-completion")
    assert command("finetune", "prepare", "t.jsonl", "-o", "out", *words).exit_code == 0
    assert lines("out/train.jsonl") == rows


def test_message_templates_give_turns_and_weights(command: Command, files: Files) -> None:
    templates = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello", "weight": 0},
        {"role": "user", "content": "{text}"},
        {"role": "assistant", "content": "{topic}", "weight": 1},
    ]
    Path("m.json").write_text(json.dumps(templates), "utf-8")
    files.csv("t.csv", tickets(12))
    ran = command("finetune", "prepare", "t.csv", "-o", "out", "--split", "100", "--messages", "m.json")
    assert ran.exit_code == 0, ran.stderr
    assert lines("out/train.jsonl")[1]["messages"][1:] == [
        {"role": "assistant", "content": "Hello", "weight": 0},
        {"role": "user", "content": "Ticket 1 about something"},
        {"role": "assistant", "content": "hardware", "weight": 1},
    ]


def test_images_are_read_into_examples(command: Command, files: Files) -> None:
    Path("dot.png").write_bytes(base64.b64decode(PNG.partition(",")[2]))
    files.csv("t.csv", [{"image": "dot.png", "prompt": f"What is {n}?", "answer": "dot"} for n in range(12)])
    words = ("--image", "image", "--image-detail", "low", "--split", "100")
    ran = command("finetune", "prepare", "t.csv", "-o", "out", *words)
    assert ran.exit_code == 0, ran.stdout
    part = lines("out/train.jsonl")[0]["messages"][0]["content"][1]
    assert part == {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}


def test_wrong_rows_are_all_named_and_nothing_is_written(command: Command, files: Files) -> None:
    rows = tickets(40)
    rows[3]["topic"] = ""
    rows[5]["text"] = " "
    rows[9]["text"] = "word " * 70_000
    files.csv("t.csv", rows)
    ran = command("finetune", "prepare", "t.csv", "-o", "out", *CHAT)
    assert ran.exit_code == 3
    assert sorted(path.name for path in Path("out").iterdir()) == ["problems.jsonl", "report.html"]
    problems = lines("out/problems.jsonl")
    assert [(each["row"], each["rule"]) for each in problems] == [
        (3, "empty_content"),
        (5, "empty_content"),
        (9, "too_long"),
    ]
    assert "t.csv row 3 (row 5 of the sheet): message 3, content: the answer is empty" in ran.stdout
    assert "--drop-invalid" in ran.stdout
    ran = command("finetune", "prepare", "t.csv", "-o", "out", *CHAT, "--drop-invalid")
    assert ran.exit_code == 0
    assert len(prepared()) == 37
    assert "37 examples written" in Path("out/report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("lines_before", "options", "bad_row"),
    [
        ([], [], 5),
        (["", ""], [], 7),
        (["Report of May", "made by x"], ["--skip-lines", "2"], 7),
        (["# a note"], [], 6),
        (["sep=,"], [], 5),
    ],
)
def test_a_wrong_row_of_csv_is_named_as_a_spreadsheet_program_numbers_it(
    lines_before: list[str], options: list[str], bad_row: int, command: Command
) -> None:
    """A cell over two lines is one row, and blank rows count."""
    table = [*lines_before, "text,topic", 'first,"a\nb"', "", "second,b", "third,", *["more,c"] * 20]
    Path("t.csv").write_text("\n".join(table) + "\n", "utf-8")
    ran = command("finetune", "prepare", "t.csv", "-o", "out", *CHAT, *options)
    assert f"t.csv row 2 (row {bad_row} of the sheet): message 3" in ran.stdout
    (problem,) = lines("out/problems.jsonl")
    assert (problem["row"], problem["sheet_row"]) == (2, bad_row)
    assert f"t.csv row 2 (row {bad_row} of the sheet)" in Path("out/report.html").read_text("utf-8")


@pytest.mark.parametrize(("before", "options"), [(0, []), (2, []), (1, ["--skip-lines", "1"])])
def test_a_wrong_row_of_a_workbook_is_named_as_the_sheet_numbers_it(
    before: int, options: list[str], command: Command
) -> None:
    header = before + 1
    with xlsxwriter.Workbook("t.xlsx") as book:
        sheet = book.add_worksheet()
        if options:
            sheet.write(0, 0, "Report of May")
        for row in (header, header + 1, header + 4, *range(header + 9, header + 30)):
            sheet.write_row(row - 1, 0, ["text", "topic"])
        sheet.write(header + 6, 0, "no topic")
    ran = command("finetune", "prepare", "t.xlsx", "-o", "out", *CHAT, *options)
    assert f" (row {header + 7} of the sheet): message 3" in ran.stdout


def test_the_only_file_that_cannot_be_read_is_named_once(command: Command) -> None:
    Path("win.csv").write_bytes("text,topic\nGröße,a\n".encode("cp1252") * 20)
    ran = command("finetune", "prepare", "win.csv", "-o", "out", *CHAT)
    assert (ran.exit_code, ran.stdout, ran.stderr.count("win.csv")) == (1, "", 1)


def test_rows_with_the_same_input_and_different_answers_are_named(command: Command, files: Files) -> None:
    files.csv("a.csv", tickets(5))
    files.csv("b.csv", [*tickets(60)[5:], {**tickets(3)[2], "topic": "billing"}])
    ran = command("finetune", "prepare", "a.csv", "b.csv", "-o", "out", *CHAT)
    where = "the first in a.csv row 2 (row 4 of the sheet) and b.csv row 55 (row 57 of the sheet)"
    assert f"1 input with different answers, {where}" in ran.stdout


def test_a_wrong_row_of_another_file_says_how_rows_count(command: Command) -> None:
    rows = [*tickets(20), {"text": "x", "topic": ""}]
    Path("t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    ran = command("finetune", "prepare", "t.jsonl", "-o", "out", *CHAT)
    assert "t.jsonl row 20, from 0: message 3" in ran.stdout


def test_too_few_examples_are_an_error(command: Command, files: Files) -> None:
    files.csv("t.csv", tickets(11))
    ran = command("finetune", "prepare", "t.csv", "-o", "out", *CHAT)
    assert ran.exit_code == 3
    assert "the training part has 9 examples" in ran.stdout
    assert not Path("out/train.jsonl").exists()
    assert command("finetune", "prepare", "t.csv", "-o", "out", *CHAT, "--split", "100").exit_code == 0


@pytest.mark.parametrize("failing", ["a row", "few rows", "a column", "no file"])
def test_files_of_an_earlier_preparation_stay_but_are_not_used_if_the_next_one_fails(
    command: Command, files: Files, failing: str
) -> None:
    files.csv("t.csv", tickets())
    words = ["finetune", "prepare", "t.csv", "-o", "out", *CHAT]
    command(*words)
    before = Path("out/train.jsonl").read_bytes()
    files.csv("row.csv", [*tickets(), {"text": "", "topic": "x"}])
    files.csv("few.csv", tickets(3))
    files.csv("column.csv", [{"other": "x"}])
    bad = {"a row": "row.csv", "few rows": "few.csv", "a column": "column.csv", "no file": "none.csv"}[
        failing
    ]
    ran = command(*words[:2], bad, *words[3:])
    assert ran.exit_code == (3 if bad in {"row.csv", "few.csv"} else 1)
    assert ("Those in out/ are of an earlier preparation" in ran.stdout) is (ran.exit_code == 3)
    assert Path("out/train.jsonl").read_bytes() == before
    for again in (("check", "out"), ("plan", "out"), ("start", "out", "-m", "gpt-4o", "--yes")):
        ran = command("finetune", *again, *(["--endpoint", "http://127.0.0.1:9/v1"] * (again[0] == "start")))
        assert (ran.exit_code, "did not finish" in ran.stderr) == (1, True), again
    assert command(*words).exit_code == 0
    assert command("finetune", "check", "out").exit_code == 0


@pytest.mark.parametrize("earlier_seeds", [(), ("1",)])
def test_a_preparation_that_was_not_finished_is_refused_until_it_is_repeated(
    command: Command, files: Files, earlier_seeds: tuple[str, ...]
) -> None:
    files.csv("t.csv", tickets())
    words = ("finetune", "prepare", "t.csv", "-o", "out", *CHAT)
    for seed in earlier_seeds:
        assert command(*words, "--seed", seed).exit_code == 0
        Path("out/report.html").unlink()
    Path("out/report.html/own").mkdir(parents=True)
    assert command(*words).exit_code == 1
    for name in ("plan", "check"):
        ran = command("finetune", name, "out")
        assert (ran.exit_code, "did not finish" in ran.stderr) == (1, True)
    Path("out/report.html/own").rmdir()
    Path("out/report.html").rmdir()
    assert command(*words).exit_code == 0
    assert command("finetune", "plan", "out").exit_code == 0


def test_files_of_the_user_are_not_replaced(command: Command, files: Files) -> None:
    files.csv("t.csv", tickets())
    Path("out").mkdir()
    Path("out/test.jsonl").write_text("mine", "utf-8")
    ran = command("finetune", "prepare", "t.csv", "-o", "out", *CHAT)
    assert (ran.exit_code, Path("out/test.jsonl").read_text("utf-8")) == (1, "mine")
    assert "holds a test.jsonl of your own" in ran.stderr


def test_duplicates_are_left_out_and_equal_inputs_stay_together(command: Command, files: Files) -> None:
    rows = tickets(60)
    again = [{**row, "text": row["text"].upper()} for row in rows[:20]]
    other = [{**row, "topic": "other"} for row in rows[:20:3]]
    files.csv("t.csv", [*rows, *again, *other])
    ran = command("finetune", "prepare", "t.csv", "-o", "out", *CHAT)
    assert ran.exit_code == 0
    assert "20 duplicates left out" in ran.stdout
    assert "7 inputs with different answers" in ran.stdout
    parts = [
        {each["messages"][1]["content"].lower() for each in lines(f"out/{part}.jsonl")}
        for part in ("train", "validation", "test")
    ]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    assert len(prepared()) == 67


def test_parts_of_the_user_stay_as_they_are(command: Command, files: Files) -> None:
    rows = tickets(100)
    files.csv("t.csv", rows[:80])
    files.csv("v.csv", [*rows[80:90], rows[3], {**rows[4], "topic": "billing"}, rows[95]])
    files.csv("e.csv", rows[90:])
    ran = command(
        "finetune", "prepare", "t.csv", "-o", "out", *CHAT, "--validation", "v.csv", "--test", "e.csv"
    )
    assert ran.exit_code == 0, ran.stdout
    assert [len(lines(f"out/{part}.jsonl")) for part in ("train", "validation", "test")] == [78, 13, 10]
    assert "duplicate" not in ran.stdout
    assert "2 examples with an input of the validation part left out" in ran.stdout
    assert "1 example of the validation part with an input of the test part" in ran.stdout
    ran = command("finetune", "prepare", "t.csv", "-o", "out", *CHAT, "--test", "e.csv")
    assert [len(lines(f"out/{part}.jsonl")) for part in ("train", "validation", "test")] == [71, 9, 10]


def test_a_group_stays_in_one_part(command: Command, files: Files) -> None:
    rows = tickets(200)
    random.Random(3).shuffle(rows)
    files.csv("t.csv", rows)
    ran = command("finetune", "prepare", "t.csv", "-o", "out", *CHAT, "--group", "customer")
    assert ran.exit_code == 0
    where: dict[int, set[str]] = {}
    for part in ("train", "validation", "test"):
        for each in lines(f"out/{part}.jsonl"):
            number = int(each["messages"][1]["content"].split()[1])
            where.setdefault(number // 4, set()).add(part)
    assert all(len(parts) == 1 for parts in where.values())
    assert set.union(*where.values()) == {"train", "validation", "test"}


@pytest.mark.parametrize("more", [(), ("--keep-duplicates",)])
def test_a_group_of_a_part_of_the_user_is_in_no_other_part(
    command: Command, files: Files, more: tuple[str, ...]
) -> None:
    rows = tickets(100)
    files.csv("t.csv", [*rows[:90], rows[0]])
    files.csv("e.csv", [*rows[90:], {**rows[90], "customer": "c0"}])
    words = ("--test", "e.csv", "--group", "customer", *more)
    ran = command("finetune", "prepare", "t.csv", "-o", "out", *CHAT, *words)
    assert ran.exit_code == 0, ran.stdout
    # Four of c0, one of them twice, and two of c22, whose other two are in the test part.
    assert "7 examples with an input or a group of the test part left out" in ran.stdout
    assert len(lines("out/test.jsonl")) == 11
    others = [int(each["messages"][1]["content"].split()[1]) for each in prepared()[:-11]]
    assert sorted(others) == list(range(4, 88))


@pytest.mark.parametrize("option", ["--group", "--stratify"])
def test_a_column_that_has_no_text_is_a_problem_of_its_row(command: Command, option: str) -> None:
    rows = [
        {**each, "mark": b"\xff" if each["id"] == 7 else b"m%d" % (each["id"] // 4)} for each in tickets()
    ]
    pq.write_table(pa.Table.from_pylist(rows), "t.parquet")
    words = ("finetune", "prepare", "t.parquet", "-o", "out", *CHAT, option, "mark")
    ran = command(*words)
    assert (ran.exit_code, "Traceback" in ran.stderr) == (3, False)
    [problem] = lines("out/problems.jsonl")
    assert (problem["row"], problem["rule"]) == (7, "no_example")
    assert problem["message"] == "the column 'mark' holds bytes that are not UTF-8"
    assert command(*words, "--drop-invalid").exit_code == 0
    assert len(prepared()) == 59


def test_a_column_is_spread_evenly(command: Command, files: Files) -> None:
    files.csv(
        "t.csv", [{"q": f"q{n}", "a": f"a{n}", "lang": "de" if n % 5 == 0 else "en"} for n in range(100)]
    )
    words = ("--prompt", "{lang} {q}", "--answer", "a", "--stratify", "lang")
    assert command("finetune", "prepare", "t.csv", "-o", "out", *words).exit_code == 0
    for part, count in (("train", 16), ("validation", 2), ("test", 2)):
        found = Counter(each["messages"][0]["content"][:2] for each in lines(f"out/{part}.jsonl"))
        assert found["de"] == count


@pytest.mark.parametrize(
    ("encoding", "note"),
    [
        ("utf-8-sig", "UTF-8 with a byte order mark"),
        ("utf-16", "encoding utf-16"),
        ("utf-16-le", "utf-16-le"),
    ],
)
def test_encodings_are_named_and_files_are_utf_8(
    encoding: str, note: str, command: Command, files: Files
) -> None:
    text = "text,topic\r\n" + "".join(f"Größe {n} € ok,x{n}\r\n" for n in range(12))
    Path("t.csv").write_bytes(text.encode(encoding))
    ran = command("finetune", "prepare", "t.csv", "-o", "out", *CHAT, "--split", "100")
    assert ran.exit_code == 0, ran.stderr
    assert note in ran.stdout
    assert Path("out/train.jsonl").read_bytes().startswith(b'{"messages"')
    assert lines("out/train.jsonl")[1]["messages"][1]["content"] == "Größe 1 € ok"


def test_a_windows_encoding_is_asked_for_and_then_read(command: Command, files: Files) -> None:
    text = "text,topic\r\n" + "".join(f"Größe {n} € ok,x{n}\r\n" for n in range(12))
    Path("t.csv").write_bytes(text.encode("windows-1252"))
    ran = command("finetune", "prepare", "t.csv", "-o", "out", *CHAT, "--split", "100")
    assert ran.exit_code == 1
    assert "--encoding windows-1252" in ran.stderr
    words = ("--split", "100", "--encoding", "windows-1252")
    ran = command("finetune", "prepare", "t.csv", "-o", "out", *CHAT, *words)
    assert ran.exit_code == 0
    assert "encoding windows-1252" in ran.stdout
    assert lines("out/train.jsonl")[1]["messages"][1]["content"] == "Größe 1 € ok"


def test_a_byte_order_mark_is_written_on_request(command: Command, files: Files) -> None:
    files.csv("t.csv", tickets())
    assert command("finetune", "prepare", "t.csv", "-o", "out", *CHAT, "--bom").exit_code == 0
    assert Path("out/train.jsonl").read_bytes().startswith(b'\xef\xbb\xbf{"messages"')
    ran = command("finetune", "prepare", "t.csv", "-o", "out", *CHAT, "--bom", "--service", "openai")
    assert ran.exit_code == 2


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--prompt", "{text}", "--answer", "topc"], 1, "the field answer: no column 'topc'"),
        (["--prompt", "{text", "--answer", "topic"], 2, "the brace at character 1"),
        (["--format", "preference", "--prompt", "text", "--answer", "topic"], 1, "no column for rejected"),
        (["--format", "text-summarization", "--rejected", "topic"], 2, "--rejected is not for the format"),
        (["--field", "tools"], 2, "must be NAME=TEMPLATE"),
        (["--field", "colour={text}"], 2, "has no field 'colour'"),
        (["--split", "80/30"], 2, "must add up to 100"),
        (["--split", "0/100"], 2, "the first is not 0"),
        (["--split", "a lot"], 2, "up to three numbers"),
        (["--group", "nothing", *CHAT], 1, "no column 'nothing'"),
        (["--format", "text-translation"], 1, "which columns hold the two languages"),
        (["--format", "preference", "--messages", "[]"], 2, "message templates are for chat"),
    ],
)
def test_wrong_options_say_what_to_do(
    words: list[str], code: int, said: str, command: Command, files: Files
) -> None:
    files.csv("t.csv", tickets())
    ran = command("finetune", "prepare", "t.csv", "-o", "out", *words)
    assert (ran.exit_code, said in ran.stderr) == (code, True), ran.stderr + ran.stdout
    assert not Path("out").exists()


def test_results_are_json_on_request(command: Command, files: Files) -> None:
    files.csv("t.csv", tickets())
    ran = command("finetune", "prepare", "t.csv", "-o", "out", *CHAT, "--json")
    assert json.loads(ran.stdout) == json.loads(Path("out/prepare.json").read_bytes())
    ran = command("finetune", "check", "out/train.jsonl", "--validation", "out/validation.jsonl", "--json")
    found = json.loads(ran.stdout)
    assert (ran.exit_code, found["errors"], [each["examples"] for each in found["files"]]) == (0, 0, [48, 6])


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["prepare", "t.csv", "-o", "my out", *CHAT], "plan 'my out' -m MODEL"),
        (["prepare", "t.csv", "-o", "out", *CHAT, "-m", "gpt-4.1"], "plan out -m gpt-4.1"),
        (["check", "out"], "plan out -m MODEL"),
        (
            ["check", "out", "-m", "gpt-4.1", "--max-example-tokens", "900", "--service", "azure"],
            "plan out --max-example-tokens 900 -m gpt-4.1 --service azure",
        ),
        (
            ["check", "out/train.jsonl", "--validation", "out/validation.jsonl"],
            "plan out/train.jsonl -m MODEL --validation out/validation.jsonl",
        ),
        (["plan", "out"], "start out -m MODEL"),
        (
            ["plan", "out", "-m", "gpt-4.1", "--epochs", "3", "--prices", "prices.toml"],
            "start out --epochs 3 -m gpt-4.1 --prices prices.toml",
        ),
        (
            ["plan", "out", "-m", "gpt-4.1", "--endpoint", "http://127.0.0.1:9/v1", "--auth", "none"],
            "start out -m gpt-4.1 --auth none --endpoint http://127.0.0.1:9/v1",
        ),
        (["plan", "out", "--validation", "out/test.jsonl"], ""),
        (
            ["plan", "bad.jsonl", "--validation", "out/test.jsonl"],
            "check bad.jsonl --validation out/test.jsonl",
        ),
    ],
)
def test_the_next_command_has_the_options_of_this_one_and_a_model_only_if_the_user_named_it(
    words: list[str], offered: str, command: Command, files: Files
) -> None:
    files.csv("t.csv", tickets())
    Path("bad.jsonl").write_text('{"messages": []}\n', "utf-8")
    Path("prices.toml").write_text('[prices."gpt-4.1"]\nin = 1.0\nout = 1.0\n', "utf-8")
    command("finetune", "prepare", "t.csv", "-o", "out", *CHAT)
    last = command("finetune", *words).stdout.splitlines()[-1]
    assert last.partition(" run: batchscore finetune ")[2] == offered


def test_check_names_each_error_and_exits_with_3(command: Command, files: Files) -> None:
    files.csv("t.csv", tickets())
    command("finetune", "prepare", "t.csv", "-o", "out", *CHAT)
    with Path("out/train.jsonl").open("ab") as file:
        file.write(b'{"messages": [{"role": "user", "content": "Hi"}]}\n{"messages": \n')
    ran = command("finetune", "check", "out/train.jsonl")
    assert ran.exit_code == 3
    assert "error: line 49: it has no message of the assistant" in ran.stdout
    assert "error: line 50: the line is not valid JSON" in ran.stdout
    assert "Expected file to have JSONL format" in ran.stdout
    assert "2 errors." in ran.stdout
    ran = command("finetune", "check", "out/validation.jsonl", "--json")
    found = json.loads(ran.stdout)
    assert (ran.exit_code, found["files"][0]["problems"][0]["rule"]) == (3, "too_few_examples")
    ran = command("finetune", "check", "out")
    assert (ran.exit_code, "out/validation.jsonl: chat, 6 examples" in ran.stdout) == (3, True)
    ran = command("finetune", "check", "missing.jsonl")
    assert (ran.exit_code, "there is no file" in ran.stderr) == (1, True)


def test_a_plan_says_what_training_costs(command: Command, files: Files) -> None:
    files.csv("t.csv", tickets())
    command("finetune", "prepare", "t.csv", "-o", "out", *CHAT)
    Path("p.toml").write_text('[prices."gpt-4o"]\nin = 1\nout = 2\ntraining = 25\nhosting = 1.7\n', "utf-8")
    ran = command("finetune", "plan", "out", "--epochs", "2", "--prices", "p.toml", "--json")
    found = json.loads(ran.stdout)
    assert ran.exit_code == 0
    assert found["trained_tokens"] == 2 * found["tokens_per_epoch"]
    assert found["cost"] == pytest.approx(found["trained_tokens"] * 25 / 1e6)
    assert found["hosting_per_hour"] == 1.7
    ran = command("finetune", "plan", "out", "--prices", "p.toml", "--service", "openai")
    assert "nothing by the hour" in ran.stdout, "OpenAI has no deployments"
    assert "Azure" not in ran.stdout
    assert all(limit["kept"] for limit in found["limits"])
    ran = command("finetune", "plan", "out", "--epochs", "2", "--prices", "p.toml")
    assert "1.70 an hour while deployed, 1,224.00 in 30 days, used or not" in ran.stdout
    ran = command("finetune", "plan", "out", "--max-example-tokens", "20")
    assert (ran.exit_code, "EXCEEDED" in ran.stdout) == (3, True)
    # Nothing is sent, so a settings file that nobody named needs no trust.
    Path("batchscore.toml").write_text('endpoint = "https://a.example"\nprices = "p.toml"\n', "utf-8")
    ran = command("finetune", "plan", "out", "--epochs", "2", "--json")
    assert (ran.exit_code, json.loads(ran.stdout)["cost"]) == (0, found["cost"])
    Path("batchscore.toml").unlink()
    ran = command("finetune", "plan", "out", "-m", "other")
    assert (ran.exit_code, "give --prices a file with training = PRICE for other" in ran.stdout) == (0, True)


def test_a_table_in_the_place_of_a_prepared_folder_is_offered_as_input(files: Files) -> None:
    files.texts("in.csv", ["a"])
    with pytest.raises(InputError, match=r"run: batchscore finetune prepare in\.csv -o FOLDER$"):
        read_summary(Path("in.csv"))
    with pytest.raises(InputError, match=r"run: batchscore finetune prepare INPUT -o nowhere$"):
        read_summary(Path("nowhere"))
