"""A table comes back as a table: every row of the input, in order, with its answer; and `-` for both ends."""

from __future__ import annotations

import csv
import gzip
import json
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import openpyxl
import pandas as pd
import pytest

import batchscore as library
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Files

#: Cells that a program may run, or spoil on the way.
NOTES = ("=1+1", "007", 'A tram, with "bells".', "two\nlines", "-5", "+x", "@sum", "1e5", "NA", " ä 🚋 ")
TEXTS = ("", *(f"text {number}" for number in range(1, len(NOTES))))
ROWS = [
    {"id": f"{n:03}", "note": note, "text": text}
    for n, (note, text) in enumerate(zip(NOTES, TEXTS, strict=True))
]
ANSWER = ("answer", "finish_reason", "error_code", "error_message")


def table(path: Path, delimiter: str = ",") -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [*csv.reader(file, delimiter=delimiter, strict=True)]


def sheet(path: Path) -> list[list[Any]]:
    return [[cell.value for cell in row] for row in openpyxl.load_workbook(path).active.iter_rows()]


def command(deployment: Deployment, *words: str) -> list[str]:
    return ["score", *words, "--task", "chat", "-m", deployment.name, "--column", "text"]


def with_libre_office(path: Path) -> list[list[str]]:
    """Return the cells of a file as LibreOffice shows them."""
    reads = ["--infilter=CSV:44,34,76"] if path.suffix == ".csv" else []
    how = [*reads, "--convert-to", "csv:Text - txt - csv (StarCalc):44,34,76", "--outdir", "office"]
    profile = f"-env:UserInstallation={Path('office-profile').resolve().as_uri()}"
    subprocess.run(["soffice", profile, "--headless", *how, str(path)], check=True, capture_output=True)
    return table(Path("office") / f"{path.stem}.csv")


def test_csv_in_and_csv_out(batchscore: Cli, files: Files, deployment: Deployment) -> None:
    files.csv("in.csv", ROWS)
    score = command(deployment, "in.csv", "-o", "out.csv", "--rows-per-part", "3")
    run = batchscore(*score)
    assert run.exit_code == 0, run
    assert "read: in.csv: column 'text'" in run.stdout
    assert run.stdout.splitlines()[-1].endswith(
        """pandas.read_csv("out.csv", dtype=str, keep_default_na=False))'"""
    )
    found = table(Path("out.csv"))
    assert found[0] == ["id", "note", "text", *ANSWER]
    safe = ["'=1+1", *NOTES[1:5], "'+x", "'@sum", *NOTES[7:]]
    assert [row[:3] for row in found[1:]] == [
        [f"{n:03}", note, text] for n, (note, text) in enumerate(zip(safe, TEXTS, strict=True))
    ]
    assert [row[3:6] for row in found[1:3]] == [["", "", "empty_input"], [*found[2][3:5], ""]]
    assert all(row[3] and row[4] == "stop" for row in found[2:])
    page = Path("out.csv.batchscore/report.html").read_text("utf-8")
    assert "column &#x27;text&#x27;" in page
    assert library.read_scores("out.csv")["row"].tolist() == list(range(1, 10))


@pytest.mark.slow
def test_a_table_is_read_by_other_tools_and_made_again_by_merge(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.csv("in.csv", ROWS)
    score = command(deployment, "in.csv", "-o", "out.csv")
    scored = batchscore(*score)
    assert scored.exit_code == 0
    assert "The table out.csv is written with an apostrophe in 3 cells, so that no" in scored.stderr
    found = table(Path("out.csv"))
    as_text = {"dtype": str, "keep_default_na": False}
    assert pd.read_csv("out.csv", **as_text).to_numpy().tolist() == found[1:]
    query = "select * from read_csv('out.csv', all_varchar=true, nullstr='never')"
    # DuckDB keeps the line break as it is written.
    assert [[cell or "" for cell in row] for row in duckdb.sql(query).fetchall()] == found[1:]
    merges = batchscore.together(
        ["merge", "out.csv", "again.tsv", "--csv-bom", "--allow-formulas"], ["merge", "out.csv", "again.xlsx"]
    )
    assert [merge.stdout for merge in merges] == [
        f"chat: 10 rows in again.{suffix} (of these: 1 empty)\n" for suffix in ("tsv", "xlsx")
    ]
    assert Path("again.tsv").read_bytes().startswith(b"\xef\xbb\xbfid\tnote")
    assert [row[1] for row in table(Path("again.tsv"), "\t")[1:]] == list(NOTES)
    assert [row[1] for row in sheet(Path("again.xlsx"))[1:]] == list(NOTES)
    assert batchscore(*score).exit_code == 0
    assert table(Path("out.csv")) == found
    assert deployment.statistics().count == 9


@pytest.mark.slow
def test_a_table_is_only_made_of_the_input_that_was_scored(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("in/a.csv", ["one", "two"])
    files.lines("in/b.jsonl", [{"text": "three"}, {"text": "four", "late": {"x": 1}}])
    assert batchscore(*command(deployment, "in", "-o", "out", "--limit", "1")).exit_code == 0
    assert batchscore("merge", "out", "first.csv").exit_code == 4
    assert [row[0] for row in table(Path("first.csv"))] == ["file", "a.csv", "a.csv"]
    assert batchscore(*command(deployment, "in", "-o", "out", "--limit", "3")).exit_code == 0
    part = batchscore("merge", "out", "part.csv")
    assert part.exit_code == 4
    assert part.stdout == "chat: 4 rows in part.csv (of these: 1 not scored yet)\n"
    found = table(Path("part.csv"))
    assert found[0] == ["file", "id", "text", "late", *ANSWER]
    assert [(*row[:4], bool(row[4])) for row in found[1:]] == [
        ("a.csv", "000", "one", "", True),
        ("a.csv", "001", "two", "", True),
        ("b.jsonl", "", "three", "", True),
        ("b.jsonl", "", "four", '{"x":1}', False),
    ]
    assert batchscore(*command(deployment, "in", "-o", "out")).exit_code == 0
    shutil.copytree("in", "moved")
    files.texts("in/a.csv", ["one", "other"])
    changed = batchscore("merge", "out", "all.csv")
    assert changed.exit_code == 1
    assert "in/a.csv has changed since it was scored" in changed.stderr
    shutil.rmtree("in")
    gone = batchscore("merge", "out", "all.csv")
    assert "in/a.csv is not there, and its columns are needed" in gone.stderr
    assert not Path("all.csv").exists()
    moved = batchscore("merge", "out", "all.csv", "--base-dir", "moved")
    assert (moved.exit_code, moved.stdout) == (0, "chat: 4 rows in all.csv\n")
    assert [bool(row[4]) for row in table(Path("all.csv"))[1:]] == [True] * 4


def test_excel_in_and_excel_out(batchscore: Cli, deployment: Deployment) -> None:
    book = openpyxl.Workbook()
    book.active.append(["id", "text", "price"])
    for number, note in enumerate(NOTES[1:]):
        book.active.append([number, f"text {note}", number / 4])
    book.save("in.xlsx")
    run = batchscore(*command(deployment, "in.xlsx", "-o", "out.xlsx"), "--limit", "4")
    assert len(sheet(Path("out.xlsx"))) == 5
    run = batchscore(*command(deployment, "in.xlsx", "-o", "out.xlsx"), "--json")
    assert run.exit_code == 0, run
    assert run.report["read_as"] == [{"files": "in.xlsx", "how": "column 'text'"}]
    found = sheet(Path("out.xlsx"))
    assert [row[:3] for row in found] == sheet(Path("in.xlsx"))
    assert found[0][3:] == list(ANSWER)
    assert all(row[3] and row[4:] == ["stop", None, None] for row in found[1:])
    assert pd.read_excel("out.xlsx")["price"].tolist() == [number / 4 for number in range(9)]
    assert deployment.statistics().count == 9


def test_what_no_sheet_can_hold_is_reported_before_the_run(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("long.csv", ["x" * 40_000])
    plan = ("plan", "long.csv", "--task", "chat", "-m", "m", "--column", "text", "-o", "out.xlsx")
    for arguments in (plan, command(deployment, "long.csv", "-o", "out.xlsx")):
        run = batchscore(*arguments)
        assert run.exit_code == 1
        assert "long.csv, row 0: its cell in column 'text' has more than 32,767 characters" in run.stderr
    assert [path.name for path in Path().iterdir()] == ["long.csv"]
    assert deployment.statistics().count == 0


def test_the_rows_before_damage_are_in_the_table(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("in/a.csv", ["one"])
    whole = gzip.compress(b"id,text\n1,two\n2,three\n" + b"3,four\n" * 5000)
    files.bytes("in/b.csv.gz", whole[:-40])
    files.text("in/c.csv", "id,text\n1\n2,five\n")
    run = batchscore(*command(deployment, "in", "-o", "out.csv"), "--limit", "4")
    assert [row[2] for row in table(Path("out.csv"))[1:]] == ["one", "two", "three", "four"]
    run = batchscore(*command(deployment, "in", "-o", "out.csv"), "--max-errors", "9000", "--dedup")
    assert run.exit_code == 1, run
    assert "b.csv.gz: the compressed data breaks off" in run.stdout
    found = table(Path("out.csv"))
    assert [row[:3] for row in found[1:3]] == [["a.csv", "000", "one"], ["b.csv.gz", "1", "two"]]
    assert [row[:3] + row[5:6] for row in found[-2:]] == [
        ["c.csv", "", "", "unreadable_row"],
        ["c.csv", "2", "five", ""],
    ]


@pytest.mark.slow
def test_answers_of_another_file_are_in_no_table(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """Two parts were exchanged together with their checksums; no record of a run is there to tell."""
    for name in "ab":
        files.texts(f"in/{name}.csv", [name])
    assert batchscore(*command(deployment, "in", "-o", "out")).exit_code == 0
    shutil.rmtree("out/runs")
    parts = sorted(Path("out/chat").iterdir())
    manifests = sorted(Path("out/manifest/chat").glob("*.json"))
    stated = [json.loads(path.read_bytes()) for path in manifests]
    data = [part.read_bytes() for part in parts]
    for at in (0, 1):
        parts[at].write_bytes(data[1 - at])
        changed = json.loads(manifests[at].read_bytes())
        other = stated[1 - at]["parts"][0]["scores"]
        changed["parts"][0]["scores"] |= {name: other[name] for name in ("bytes", "digest")}
        manifests[at].write_text(json.dumps(changed))
    run = batchscore("merge", "out", "all.csv", "--base-dir", "in", "--sync")
    assert run.exit_code == 1
    assert "holds a record of b.csv" in run.stderr
    assert not Path("all.csv").exists()


def run_piped(words: Sequence[str], data: bytes) -> tuple[int, bytes, str]:
    started = [sys.executable, "-m", "batchscore", *words, "--simulate"]
    run = subprocess.run(started, input=data, capture_output=True, check=False)
    return run.returncode, run.stdout, run.stderr.decode()


@pytest.mark.slow
@pytest.mark.process
def test_standard_input_and_standard_output(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    score = ["score", "-", "-o", "-", "--task", "chat", "-m", "any", "--column", "text"]
    code, out, said = run_piped(score, b"id;text\n1;one\n2;two\n")
    assert code == 0, said
    assert [json.loads(line)["row"] for line in out.splitlines()] == [0, 1]
    assert "2 scored, 0 failed" in said
    assert "read: stdin.csv: format csv, by its content" in said
    assert "read: stdin.csv: column 'text'" in said
    # Nothing of the input or the scores stays.
    remaining = [path.name for path in (tmp_path / "temporary").rglob("*") if path.suffix != ".quota"]
    assert [name for name in remaining if "std" in name] == []
    code, out, said = run_piped([*score, "--json"], b"text\none\n")
    assert (code, "writes to standard output, and so does --json" in said) == (2, True)
    code, out, said = run_piped(["score", "-", "a.csv", *score[2:]], b"text\none\n")
    assert (code, "the only INPUT" in said) == (1, True)
    code, out, said = run_piped(score, b"")
    assert (code, out, "0 rows of 1 file: 0 scored, 0 failed" in said) == (0, b"", True)
    assert ("read: stdin.csv: it is empty" in said, "by its content" in said) == (True, False)


@pytest.mark.slow
def test_a_killed_run_of_standard_input_pays_for_no_answer_twice(
    batchscore: Cli, deployment: Deployment, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("text\n" + "".join(f"row {row}\n" for row in range(60)))
    deployment.will_be_slow(0.1, times=None)
    score = [*command(deployment, "-", "-o", "-"), "--max-concurrency", "2"]
    environ = {"TMPDIR": str(tmp_path)}
    with rows.open() as stream:
        process = batchscore.start(*score, env=environ, stdin=stream)
        with process:
            deployment.wait_for(12, 60)
            process.interrupt(signal.SIGKILL)
    asked = deployment.statistics().count
    with rows.open() as stream:
        run = batchscore(*score, env=environ, stdin=stream)
    assert run.exit_code == 0, run
    assert [json.loads(line)["row"] for line in run.stdout.splitlines()] == list(range(60))
    assert deployment.statistics().count - asked <= 60 - asked + 2
    assert asked >= 12
    assert not [*tmp_path.glob("batchscore-*/stdout-*")]


@pytest.mark.slow
def test_answers_on_standard_output_are_kept_while_a_limit_leaves_rows(
    batchscore: Cli, files: Files, deployment: Deployment, tmp_path: Path
) -> None:
    piped = files.csv("rows.csv", [{"text": "one"}, {"text": "two"}])
    environ = {"TMPDIR": str(tmp_path)}
    for words, rows, sent in ((("--limit", "1"), [0], 1), ((), [0, 1], 2)):
        with piped.open() as stream:
            run = batchscore(*command(deployment, "-", "-o", "-"), *words, env=environ, stdin=stream)
        assert ([json.loads(line)["row"] for line in run.stdout.splitlines()], run.exit_code) == (rows, 0)
        assert deployment.statistics().count == sent
    assert not [*tmp_path.glob("batchscore-*/stdout-*")]


@pytest.mark.slow
def test_what_is_advised_for_standard_output_works(
    batchscore: Cli, files: Files, deployment: Deployment, tmp_path: Path
) -> None:
    environ = {"TMPDIR": str(tmp_path)}
    score = command(deployment, "in.csv", "-o", "-")
    files.text("in.csv", "id,text\n1,one\n2,two,three\n")
    run = batchscore(*score, env=environ)
    assert (run.exit_code, "--incremental" in run.stderr) == (3, False), run
    assert "name a new output, or replace this one with --overwrite" in run.stderr
    page = next(tmp_path.glob("batchscore-*/stdout-*/*/report.html")).read_text()
    assert "name a new output, or replace this one" in page
    files.text("in.csv", "id,text\n1,one\n2,two\n")
    run = batchscore(*score, env=environ)
    assert "Give --output the name of a file, or discard the old scores with --overwrite." in run.stderr
    assert (run.exit_code, "--incremental" in run.stderr) == (1, False), run
    assert batchscore(*score, "--overwrite", env=environ).exit_code == 0


@pytest.mark.slow
def test_a_table_of_standard_input_is_made_from_the_same_data_as_a_file(
    batchscore: Cli, files: Files, deployment: Deployment, tmp_path: Path
) -> None:
    piped = files.text("rows.csv", "id,text\n1,one\n")
    with piped.open() as stream:
        assert batchscore(*command(deployment, "-", "-o", "out"), stdin=stream).exit_code == 0
    run = batchscore("merge", "out", "all.csv")
    assert (
        run.exit_code,
        "If it was standard input, first save the same data as stdin.csv" in run.stderr,
    ) == (
        1,
        True,
    )
    piped.rename(tmp_path / "stdin.csv")
    assert batchscore("merge", "out", "all.csv", "--base-dir", str(tmp_path)).exit_code == 0
    assert table(Path("all.csv"))[1][:2] == ["1", "one"]


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize(
    ("pipeline", "code", "words"),
    [
        ("{score} | (sleep 0.5; head -1)", 0, "The reader of standard output has left before it ended"),
        ("{score} | true", 0, "The reader of standard output has left before it ended"),
        ("{score} > /dev/full", 1, "cannot write to standard output: No space left on device"),
    ],
)
def test_scores_that_no_reader_has_taken_are_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipeline: str, code: int, words: str
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "a.csv").write_text("text\none\ntwo\n")
    score = f"{sys.executable} -m batchscore score {tmp_path}/a.csv -o - --task chat -m m --simulate"
    script = "set -o pipefail; " + pipeline.format(score=f"{score} --quiet")
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    (said,) = (line for line in run.stderr.splitlines() if "standard output" in line)
    assert (run.returncode, words in said) == (code, True), run
    printed = subprocess.run(shlex.split(said.partition("run: ")[2]), capture_output=True, check=True)
    assert len(printed.stdout.splitlines()) == 2
    # The same command prints all, and nothing stays.
    assert len(subprocess.run(score.split(), capture_output=True, check=True).stdout.splitlines()) == 2
    assert not [*tmp_path.glob("batchscore-*/stdout-*")]


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize(
    ("setting", "code", "words"),
    [
        ("touch $TMPDIR/batchscore-$(id -u)", 1, "the temporary folder"),
        ("mkdir $TMPDIR/real; ln -s $TMPDIR/real $TMPDIR/batchscore-$(id -u)", 1, "another user owns"),
        ("ulimit -f 4", 1, "standard input cannot be copied to the temporary folder: File too large"),
        ("exec <&-", 1, "- is standard input, and that is closed"),
        ("exec >&-", 2, "--output - writes to standard output, which is closed"),
    ],
)
def test_without_a_place_for_a_pipe_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, code: int, words: str
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    score = f"{sys.executable} -m batchscore score - -o - --task chat -m m --column text --simulate"
    script = f"{setting}; {score} 2>/dev/stderr"
    data = "text\n" + "one\n" * 5000
    run = subprocess.run(["bash", "-c", script], input=data, capture_output=True, text=True, check=False)
    (line,) = run.stderr.splitlines()
    assert (run.returncode, words in line) == (code, True), run


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("soffice") is None, reason="LibreOffice is not installed")
def test_libre_office_shows_the_same_texts_and_runs_nothing(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.csv("in.csv", [{"note": note, "text": f"text {note}"} for note in NOTES])
    outputs = ("csv.csv", "tsv.tsv", "xlsx.xlsx")
    assert batchscore(*command(deployment, "in.csv", "-o", outputs[0])).exit_code == 0
    for name in outputs[1:]:
        assert batchscore("merge", outputs[0], name).exit_code == 0
    safe = {"=1+1": "'=1+1", "+x": "'+x", "@sum": "'@sum"}
    for name in (outputs[0], outputs[2]):
        found = with_libre_office(Path(name))[1:]
        shown = {row[1].removeprefix("text "): row[0] for row in found}
        assert list(shown) == list(NOTES)
        for note, cell in shown.items():
            if name == "xlsx.xlsx":
                assert cell == note
            elif note not in {"007", "1e5"}:  # LibreOffice shows what looks like a number in csv as one
                assert cell == safe.get(note, note)
        assert all(row[2] and row[3] == "stop" for row in found)
