"""`batchscore plan` compared with the run that follows: the same rows, tokens and requests."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from batchscore.rows import Event, Expected
from batchscore.run.score_files import score_files
from batchscore.settings.fields import Settings

if TYPE_CHECKING:
    from conftest import Cli, Files
    from simulated import Deployment

ROOT = Path(__file__).resolve().parents[2]

ODD = ROOT / "tests" / "odd"

EMBEDDINGS = ("--task", "embeddings", "-m", "any", "--column", "text")
CHAT = ("--task", "chat", "-m", "any", "--system", "Be brief.", "--prompt", "Sum up: {text}")


def everything_below(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows_by_file(record: str) -> dict[str, int]:
    return {one["file"]: one["rows"] for one in orjson.loads(Path(record).read_bytes())["files"]}


@pytest.mark.parametrize(
    ("flags", "odd"),
    [
        pytest.param(EMBEDDINGS, slice(None), id="embeddings", marks=pytest.mark.slow),
        pytest.param(CHAT, slice(None), id="chat", marks=pytest.mark.slow),
        pytest.param(CHAT, slice(None, None, 5), id="chat-some"),
    ],
)
def test_a_plan_matches_the_run(
    command_line: Cli, tmp_path: Path, flags: tuple[str, ...], odd: slice
) -> None:
    """Over good and odd files of all formats; after the run, the plan has nothing left to do."""
    shutil.copytree(ROOT / "data", "in/good")
    Path("in/odd").mkdir()
    for expected in sorted(ODD.glob("*.expected.json"))[odd]:
        shutil.copy(ODD / expected.name.removesuffix(".expected.json"), "in/odd")
    before = everything_below(tmp_path)
    planned = command_line("plan", "in", "-o", "out", *flags, "--simulate", "--json")
    assert (planned.exit_code, planned.stderr) == (1, ""), "some files cannot be scored"
    assert everything_below(tmp_path) == before
    plan = planned.report
    run = command_line("score", "in", "-o", "out", *flags, "--simulate", "--json").report
    assert (plan["rows"], plan["rows_exact"], plan["sampled"]) == (run["rows"], True, False)
    scored = rows_by_file(run["record"])
    assert {one["file"]: one["rows"] for one in plan["files"]} == {
        name: scored[name] for name in (one["file"] for one in plan["files"])
    }
    unreadable = {one["file"] for one in plan["unreadable_files"]}
    unreadable |= {one["file"] for one in plan["files"] if one["problem"]}
    assert unreadable == {one["file"] for one in run["unreadable"]}
    assert plan["empty"] == run["errors_by_code"]["empty_input"]
    assert plan["to_ask"] == run["ok"]
    assert plan["unreadable"] + plan["oversized"] == run["failed"]
    assert plan["prompt_tokens"] == pytest.approx(run["prompt_tokens"], rel=0.01)
    assert plan["requests"] == pytest.approx(run["requests"], abs=2)
    again = command_line("plan", "in", "-o", "out", *flags, "--simulate", "--json").report
    assert (again["rows"], again["known"], again["to_ask"], again["requests"]) == (
        run["rows"],
        run["rows"],
        0,
        0,
    )


def test_rows_that_have_failed_are_not_planned_as_scored(batchscore: Cli, files: Files) -> None:
    files.text("a.csv", "text,n\none,1\ntwo,2,3\n,4\n")
    command = ("a.csv", "-o", "out", *EMBEDDINGS)
    assert batchscore("score", *command).exit_code == 3
    text, again = batchscore.together(("plan", *command), ("plan", *command, "--retry-errors", "--json"))
    assert "3 rows of earlier runs, at no cost; 1 of them failed" in text.stdout
    assert (again.report["known"], again.report["known_failed"]) == (2, 0)


def test_the_remaining_rows_of_an_output_are_planned(batchscore: Cli, files: Files) -> None:
    """After a limited run, and after a file has changed: as score itself resumes, or refuses to."""
    files.texts("in/a.csv", ["a text"] * 60)
    files.texts("in/b.csv", ["a text"] * 40)
    command = ("in", "-o", "out", *EMBEDDINGS, "--rows-per-part", "20")
    assert batchscore("score", *command, "--limit", "50").exit_code == 0
    left = batchscore("plan", *command, "--json").report
    assert (left["rows"], left["known"], left["to_ask"]) == (100, 50, 50)
    limited = batchscore("plan", *command, "--limit", "70", "--json").report
    assert (limited["rows"], limited["known"], limited["to_ask"], limited["limited"]) == (70, 50, 20, True)
    anew = batchscore("plan", *command, "--overwrite")
    assert "--overwrite would discard 50 scores" in anew.stdout
    assert batchscore("score", *command).exit_code == 0
    files.texts("in/b.csv", ["another text"] * 45)
    refused = [batchscore(verb, *command) for verb in ("plan", "score")]
    assert refused[0].exit_code == refused[1].exit_code == 1
    assert refused[0].stderr.removeprefix("batchscore: ").strip() in refused[1].said
    changed = batchscore("plan", *command, "--incremental")
    assert "1 file changed since scored" in changed.stdout


def test_each_row_that_is_left_between_others_is_planned(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """Not about as many: a plan looks which rows of such a part have a record that is final."""
    texts = [f"{'bad' if row % 5 == 2 else 'good'} {row}" if row % 5 else "" for row in range(20)]
    files.texts("a.csv", texts)
    deployment.will(status=500, when_input_contains="bad", times=None)
    command = ["a.csv", "-o", "out", "--task", "embeddings", "-m", deployment.name, "--column", "text"]
    command += ["--rows-per-part", "5", "--batch-size", "1"]
    failed = batchscore("score", *command, "--max-retries", "0")
    assert "12 scored, 4 failed, 4 empty" in failed.said
    left, fresh = batchscore.together(
        ("plan", *command, "--json"), ("plan", *command, "--json", "--retry-errors")
    )
    for each in (left, fresh):
        assert (each.report["known"], each.report["to_ask"], each.report["empty"]) == (16, 4, 0)


def test_blank_lines_between_rows_are_no_rows_of_a_plan(batchscore: Cli, files: Files) -> None:
    """They have numbers, so the last row of a part has a larger one than the part has rows."""
    files.text("a.txt", "".join(f"line {row}\n\n" for row in range(50)))
    command = ("a.txt", "-o", "out", "--task", "embeddings", "-m", "any", "--rows-per-part", "20")
    assert batchscore("score", *command, "--limit", "25").exit_code == 0
    left = batchscore("plan", *command, "--json").report
    assert (left["rows"], left["known"], left["to_ask"]) == (50, 25, 25)


@pytest.mark.parametrize(
    "wrong",
    [
        ("in", "--task", "chat"),
        ("in", "--task", "chat", "-m", "m", "--column", "body"),
        ("in", "--task", "chat", "-m", "m", "--prompt", "no column"),
        ("in", "--task", "chat", "-m", "m", "--max-spend", "3"),
        ("nowhere", "--task", "chat", "-m", "m"),
        ("in", "--task", "chat", "-m", "m", "--deadline", "2001-01-01T00:00"),
        ("in", "--task", "chat", "-m", "m", "--prices", "none.toml"),
        (),
    ],
)
def test_wrong_settings_are_refused_as_score_does(
    batchscore: Cli, files: Files, wrong: tuple[str, ...]
) -> None:
    files.texts("in/a.csv", ["a text"])
    output = ("-o", "out") if wrong else ()
    plan, score = batchscore.together(
        ("plan", *wrong, *output), ("score", *wrong, *output, "--endpoint", "x")
    )
    assert plan.exit_code == score.exit_code
    assert plan.exit_code in {1, 2}
    assert plan.stderr.splitlines()[-1] == score.stderr.splitlines()[-1]


def test_a_plan_fits_the_terminal(batchscore: Cli, files: Files) -> None:
    """At 80 columns with long names, several deployments, prices and many files."""
    for number in range(30):
        files.texts(f"in/a-folder-of-reports/the-annual-report-of-{number:03}.csv", ["some text", " "] * 70)
    files.bytes("in/broken.parquet", b"PAR1")
    files.text(
        "own.toml",
        '[[deployments]]\nname = "east"\ntpm = 60000\nrpm = 360\n'
        '[[deployments]]\nname = "west"\ntpm = 30000\nrpm = 180\n'
        '[prices."gpt-4o"]\nin = 2.5\nout = 10\n',
    )
    shown = batchscore(
        *("plan", "in", "--task", "chat", "-m", "gpt-4o", "--column", "text", "--max-tokens", "50"),
        *("--config", "own.toml"),
        env={"COLUMNS": "80"},
    )
    assert shown.exit_code == 1, "one file is broken"
    lines = shown.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines == [line.rstrip() for line in lines]
    assert lines[lines.index("") - 1].startswith("all files")
    text = " ".join(shown.stdout.split())
    assert "chat with gpt-4o: 4,200 rows in 30 files" in text
    assert "22 more files 3,080 1,540" in text
    assert "all files 4,200 2,100" in text
    assert "2,100 rows; none is oversized or unreadable" in text
    assert "105,000 at most, as limited by the settings" in text
    assert "at 90,000 tokens/min and 540 requests/min; limited by requests" in text
    assert "(input 2.5, output 10 per 1M tokens)" in text
    assert "cannot be scored (completely): broken.parquet" in text


def test_a_run_reports_its_expected_size(files: Files, deployment: Deployment, simulator: Any) -> None:
    """All rows of all files, including those of earlier runs."""
    files.texts("in/a.csv", ["a text"] * 30)
    files.lines("in/b.jsonl", [{"text": "one more text"}] * 20)
    settings = Settings(
        task="embeddings", model=deployment.name, output="out", column="text", batch_size=10, tpm=1e6
    )
    environ = {"OPENAI_BASE_URL": f"{simulator.endpoint}/v1", "OPENAI_API_KEY": simulator.key}
    for _ in range(2):
        heard: list[Event] = []
        score_files(settings, ["in"], environ=environ, listen=heard.append)
        (expected,) = [event for event in heard if isinstance(event, Expected)]
        assert (expected.rows, expected.requests, expected.exact) == (50, 5, True)
        assert 90 <= expected.prompt_tokens <= 200


def test_a_plan_shows_the_batches_and_their_price(command_line: Cli, files: Files) -> None:
    files.texts("a.csv", [f"row {row}" for row in range(60)])
    flags = ("plan", "a.csv", "--task", "chat", "-m", "any", "--column", "text", "--max-tokens", "10")
    flags += ("--price-in", "1000", "--price-out", "1000")
    live = command_line(*flags, "--json").report
    plan = command_line(*flags, "--via", "batch", "--json").report
    assert (live["batches"], plan["batches"], plan["batch_price_factor"]) == (None, 2, 0.5)
    bare = command_line(*flags, "--via", "batch", "--no-canary", "--json").report
    assert bare["cost"] == pytest.approx(live["cost"] / 2)
    assert [each["requests"] for each in (live, plan, bare)] == [60, 61, 60], "as many as the run sends"
    line = (plan["cost"] - bare["cost"]) * 2 * 1000
    assert 10 < line < 30, "the first batch has a line of our own: a word, and an answer of 10 tokens"
    limited = ("--via", "batch", "--batch-tokens", "400", "--no-canary")
    assert command_line(*flags, *limited, "--json").report["batches"] > 2
    said = " ".join(command_line(*flags, *limited).stdout.split())
    assert "up to 400 prompt tokens at once" in said
    assert "within 24 hours of each batch" in said
    assert "times 0.5 in batches" in said
    assert "common limits" not in said
    vectors = ("plan", "a.csv", "--task", "embeddings", "-m", "any", "--column", "text", "--via", "batch")
    said = " ".join(command_line(*vectors).stdout.split())
    assert "requests 61; one is a test of ours, and in the cost batches about 2, the first one small" in said
    assert "(Azure OpenAI takes no embeddings in batches)" in said


@pytest.mark.slow
def test_a_plan_of_incremental_runs_counts_what_earlier_runs_answered(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """Of a limited run, and of killed ones: of a new file, a changed one, and one that changed again."""
    limited = ["in", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    limited += ["--rows-per-part", "20", "--max-concurrency", "2"]
    command = [*limited, "--incremental"]

    def kill_run(after: int) -> None:
        deployment.reset()
        deployment.will_be_slow(0.05, times=None)
        with batchscore.start("score", *command) as process:
            deployment.wait_for(after)
            process.interrupt(signal.SIGKILL)
        deployment.reset()

    def planned() -> int:
        """Return the rows of the plan that are left to send: as many as the run sends."""
        plan = batchscore("plan", *command, "--json").report
        assert plan["known"] + plan["to_ask"] + plan["empty"] == plan["rows"]
        return int(plan["to_ask"])

    texts = [f"text {row % 50}" for row in range(60)] + [""]
    files.texts("in/a.csv", texts)
    assert batchscore("score", *limited, "--limit", "25").exit_code == 0
    assert planned() == 60 - 25 - 10, "rows 50 to 59 have the prompts of rows 0 to 9"
    kill_run(after=10)
    left = planned()
    assert left < 60 - 25 - 10
    assert batchscore("score", *command).exit_code == 0
    assert deployment.statistics().count == left
    assert planned() == 0
    files.texts("in/a.csv", ["new at the top", *texts, *(f"more {row}" for row in range(30))])
    files.texts("in/b.csv", [*texts[:30], "new in b"])
    assert planned() == 32
    kill_run(after=8)
    assert planned() < 32
    files.texts("in/a.csv", [*reversed(texts), *(f"more {row}" for row in range(20)), "the last row"])
    left = planned()
    assert batchscore("score", *command).exit_code == 0
    assert deployment.statistics().count == left
    assert planned() == 0


def test_a_plan_is_refused_if_a_killed_run_of_other_settings_left_answers(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", [f"text {row}" for row in range(30)])
    deployment.will_be_slow(0.1, times=None)
    command = ["a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--column", "text"]
    with batchscore.start("score", *command, "--max-concurrency", "2") as process:
        deployment.wait_for(8)
        process.interrupt(signal.SIGKILL)
    other = ["--system", "Answer."]
    refused = [batchscore(verb, *command, *other) for verb in ("plan", "score")]
    assert [each.exit_code for each in refused] == [1, 1]
    assert "system was not set, is now 'Answer.'" in refused[0].stderr
    assert refused[0].stderr.removeprefix("batchscore: ").strip() in refused[1].said
