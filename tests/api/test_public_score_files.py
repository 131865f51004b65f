"""`batchscore.score_files` does what the command `score` does, also in a notebook."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest

import batchscore
from batchscore.api.score_files import work_outside_loop
from batchscore.errors import ExitCode, InputError, UsageError
from batchscore.output.merge import merge_output
from batchscore.output.verify import verify_output
from batchscore.simulator import Running
from conftest import KEY
from simulated import Deployment
from tickets import SCHEMA


@pytest.fixture
def score(
    simulator: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., batchscore.RunSummary]:
    (tmp_path / "in.csv").write_text("lang,text\nen,the tide turns\nde,\nfr,a loaf of bread\n")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{simulator.endpoint}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def run(**more: Any) -> batchscore.RunSummary:
        arguments = {"output": "out", "task": "embeddings", "model": "any", **more}
        return batchscore.score_files("in.csv", **arguments)

    return run


def test_files_are_scored_and_a_second_call_sends_nothing(
    score: Callable[..., batchscore.RunSummary],
) -> None:
    done = score(column="text", keep=["lang"], dimensions=8, price_in=1_000_000.0)
    assert (done.exit_code, done.reason, done.rows, done.ok, done.errors) == (ExitCode.DONE, None, 3, 2, 1)
    assert done.failed == 0, "an empty row does not count"
    assert done.cost == done.prompt_tokens > 0
    frame = batchscore.read_scores("out")
    assert frame["lang"].tolist() == ["en", "fr"]
    assert json.loads(Path(done.record).read_text())["rows"] == 3
    again = score(column="text", keep=["lang"], dimensions=8)
    assert (again.rows, again.ok, again.prompt_tokens) == (3, 2, 0)


def test_how_a_file_is_read_is_another_run_only_if_it_gives_other_rows(
    score: Callable[..., batchscore.RunSummary], deployment: Deployment
) -> None:
    """What was found may be given, and a file in another encoding may join."""
    run = partial(score, column="text", output="out.csv", task="chat", model=deployment.name)
    Path("in.csv").write_text('text,n\n"a ""b""",1\nc "d" e,2\nf,3\n"g h" i,4\n')
    assert (run(limit=2).ok, run(delimiter=",").failed) == (2, 1)
    sent = deployment.statistics().count
    again = run(quote='"', encoding="cp1252", txt="document")
    assert (again.rows, again.ok, again.reason, deployment.statistics().count) == (4, 3, None, sent)
    table = Path("out.csv").read_text()
    other = run(quote="none")
    assert "in.csv, as it is read now, has changed since it was scored (at row 0 or soon after)" in str(
        other.reason
    )
    assert "quote was '\"', is now 'none'" in str(other.reason)
    assert (deployment.statistics().count, Path("out.csv").read_text()) == (sent, table)
    last = run(quote="none", incremental=True)
    assert (last.rows, last.ok, deployment.statistics().count) == (4, 4, sent + 2), "c and f are reused"
    assert run(quote="none").ok == 4
    assert verify_output(Path("out.csv")).exit_code == 0
    assert deployment.statistics().count == sent + 2


def test_a_table_of_no_rows_has_the_columns_of_its_input(score: Callable[..., batchscore.RunSummary]) -> None:
    Path("in.csv").write_text("lang,text\n")
    assert score(column="text", task="chat").rows == 0
    merge_output(Path("out"), Path("merged.csv"))
    assert Path("merged.csv").read_text().startswith("lang,text,answer,")


def test_a_csv_of_semicolons_is_said_to_come_back_with_commas(
    score: Callable[..., batchscore.RunSummary],
) -> None:
    for text, note in (("a;text\n1;b\n", "separated by commas, unlike the input (;)"), ("a,text\n1,b\n", "")):
        Path("in.csv").write_text(text)
        score(column="text", task="chat", overwrite=True)
        assert merge_output(Path("out"), Path("merged.csv"), overwrite=True).note == note


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_answers_with_a_schema_are_carried_over(
    form: str, score: Callable[..., batchscore.RunSummary]
) -> None:
    def run(rows: int) -> batchscore.RunSummary:
        Path("in.csv").write_text("text\n" + "".join(f"bug {row}\n" for row in range(rows)))
        return score(task="chat", schema=SCHEMA, format=form, incremental=True, rows_per_part=7)

    first, second = run(20), run(24)
    assert (first.ok, second.ok) == (20, 24)
    assert second.completion_tokens < first.completion_tokens
    answers = batchscore.read_scores("out", strict=True)["chat"]
    assert all(jsonschema.Draft202012Validator(SCHEMA).is_valid(answer) for answer in answers)


def test_a_run_that_stops_early_says_why(score: Callable[..., batchscore.RunSummary]) -> None:
    done = score(column="text", limit=1)
    assert (done.rows, done.reason) == (1, "limit was reached")


def test_it_works_while_an_event_loop_is_running(score: Callable[..., batchscore.RunSummary]) -> None:
    async def notebook() -> batchscore.RunSummary:
        return score(column="text")

    assert asyncio.run(notebook()).ok == 2


def test_ctrl_c_in_a_notebook_ends_the_run() -> None:
    interrupted = threading.Event()
    interrupted.set()

    def work() -> None:
        if interrupted.wait(5):
            raise KeyboardInterrupt

    async def notebook() -> None:
        work_outside_loop(work, interrupted)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(notebook())


def test_errors_name_arguments(score: Callable[..., batchscore.RunSummary]) -> None:
    with pytest.raises(UsageError, match=r"^max_concurency is not a setting .* did you mean max_con"):
        score(max_concurency=3)
    with pytest.raises(UsageError, match=r"^max_spend needs price_in:"):
        score(max_spend=1.0)
    with pytest.raises(InputError, match=r"no column 'txt' \(column\); its columns are text, lang\."):
        score(column="txt")
    with pytest.raises(UsageError, match=r"^task is missing\."):
        score(task=None)


def test_a_hint_is_an_argument_that_can_be_copied(score: Callable[..., batchscore.RunSummary]) -> None:
    Path("in.csv").write_bytes(
        "lang,text\nfr,\xe9t\xe9\nde,gr\xfcn\nfr,d\xe9j\xe0 vu\n".encode("windows-1252")
    )
    with pytest.raises(InputError, match="line 2 is not UTF-8") as raised:
        score(column="text")
    (hint,) = re.findall(r"for example (\S+)", str(raised.value))
    assert score(column="text", **eval(f"dict({hint})")).ok == 3
    Path("in.csv").write_text('lang,text\nfr,"a\nde,b\nfr,c\n')
    (problem,) = score(column="text", output="other").unreadable.values()
    assert 'give quote="none"' in problem
    assert score(column="text", output="other", quote="none").ok == 3
    with pytest.raises(UsageError, match=r'^via="batch" is for files'):
        list(batchscore.score_rows(["a"], task="chat", model="m", via="batch"))  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (None, "inputs is None; give the path"),
        (3, "inputs is 3; give the path"),
        (b"in.csv", "inputs is a bytes; give the path"),
        ({"in.csv": 1}, "inputs is a dict; give the path"),
        (["in.csv", None], "inputs holds None; each input must be"),
    ],
)
def test_inputs_that_are_not_paths_are_refused(inputs: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        batchscore.score_files(inputs, output="out", model="any", task="chat", simulate=True)


def test_a_text_is_not_true_and_discards_no_scores(score: Callable[..., batchscore.RunSummary]) -> None:
    done = score(column="text")
    for name in ("overwrite", "retry_errors", "simulate"):
        with pytest.raises(UsageError, match=rf"^{name} is a str; it must be true or false\.$"):
            score(column="text", **{name: "false"})
    again = score(column="text", keep=None)
    assert (again.ok, again.prompt_tokens, done.ok) == (2, 0, 2)


@pytest.mark.process
def test_paths_may_be_objects_and_keep_a_single_name(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("lang,text\nen,the tide turns\n")
    done = batchscore.score_files(
        (path for path in [tmp_path / "in.csv"]),  # type: ignore[arg-type]
        output=tmp_path / "out",
        model="any",
        task="embeddings",
        simulate=True,
        column="text",
        keep="lang",
        scratch_dir=tmp_path / "scratch",
        base_dir=tmp_path,
    )
    assert done.ok == 1
    assert batchscore.read_scores(tmp_path / "out")["lang"].tolist() == ["en"]


def test_an_argument_of_false_beats_a_variable(
    score: Callable[..., batchscore.RunSummary], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHSCORE_USAGE", "true")
    monkeypatch.setenv("BATCHSCORE_BATCH_SIZE", "1")
    score(column="text", usage=False)
    (part,) = Path("out/embeddings").iterdir()
    assert "usage" not in cast("dict[str, Any]", json.loads(part.read_text().splitlines()[0]))
