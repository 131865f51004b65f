"""`batchscore batches` on outputs whose batches a simulated service has."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import pytest

from batch_files import submit
from batch_runs import records, write_rows
from batchscore.output.find import folder_of_locks
from batchscore.output.locks.lock import hold_lock
from batchscore.simulator import Running
from simulated import Project

if TYPE_CHECKING:
    from conftest import Cli, Finished

SCORE = shlex.split(
    "score in.csv -o out --task chat -m gpt-4o-mini --column text --via batch --no-wait --no-canary --quiet"
)


@pytest.fixture
def run(batchscore: Cli, project: Project) -> Callable[..., Finished]:
    """Run a command with the project's key, on an output of 30 rows in one batch that does not end."""
    project.set_rules(in_progress=None)
    batchscore.environ["OPENAI_API_KEY"] = project.key
    write_rows(30)

    def run(words: str, **env: str | None) -> Finished:
        return batchscore(*shlex.split(words), env=env)

    assert batchscore(*SCORE).exit_code == 4
    return run


def chunk(**changes: Any) -> dict[str, Any]:
    """Return the record of the only chunk, after these changes of it, as a kill may leave it."""
    (path,) = Path("out/.batchscore/batches/chat").glob("*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    if changes:
        found |= changes
        path.write_text(json.dumps(found))
    return found


def ask(run: Callable[..., Finished], words: str) -> dict[str, Any]:
    found = run(f"{words} --json")
    assert found.exit_code == 0, found.said
    return found.report


@pytest.mark.slow
def test_a_batch_is_listed_cancelled_and_its_answers_are_recorded(
    run: Callable[..., Finished], project: Project, batchscore: Cli
) -> None:
    made = chunk()
    shown = run("batches out")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[0].split()[:3] == ["KEY", "ROWS", "STATE"]
    for part in (
        made["key"],
        made["batch"],
        "in progress",
        "30 of 30",
        "30 rows in 1 batch wait for results",
    ):
        assert part in shown.stdout
    (line,) = ask(run, "batches out")["batches"]
    assert (line["state"], line["asked"], line["open"], line["rows"]) == ("in_progress", True, True, 30)
    assert line["latest_end"] > line["created_at"] > 0
    calls = project.books().calls
    offline = run("batches out", OPENAI_BASE_URL=None)
    assert offline.exit_code == 0
    assert "the service was not called: " in offline.stdout
    assert "--endpoint" in offline.stdout
    assert "submitted" in offline.stdout
    assert project.books().calls == calls
    project.set_rules(cancelling=0)
    with hold_lock(folder_of_locks(Path("out")), "chat", what="out", command="score", notice=print):
        cancelled = run("batches out cancel")
    assert f"Batch {made['batch']} is cancelled" in cancelled.stdout
    assert f"out (chat) is held by `score`, process {os.getpid()}" in cancelled.stderr
    assert "It sends the rows again that a cancelled batch has not answered." in cancelled.stderr
    assert "stop it first" in cancelled.stderr
    project.set_rules(in_progress=0)
    while batchscore(*SCORE).exit_code:
        pass
    assert sorted(records()) == list(range(30))
    assert set(project.executions().values()) == {1}
    assert run("batches out").stdout.startswith("No batches")


@pytest.mark.slow
def test_the_command_offered_after_only_fetching_sends_the_other_rows(
    run: Callable[..., Finished], project: Project, batchscore: Cli
) -> None:
    project.set_rules(cancelling=0, in_progress=1000)
    project.stop_clock()
    command = ["out2" if each == "out" else each for each in SCORE if each != "--quiet"]
    assert batchscore(*command).exit_code == 4
    project.advance(1)
    assert run("batches out2 cancel").exit_code == 0
    project.advance(1)
    only_fetched = batchscore(*command, "--batch-rounds", "0")
    assert "0 sends nothing, which leaves 30 rows" in only_fetched.said
    offered = only_fetched.said.partition("To resume, run: batchscore ")[2].splitlines()[0]
    project.set_rules(in_progress=0)
    for _ in range(5):
        code = batchscore(*shlex.split(offered)).exit_code
        project.advance(100)
        if not code:
            return
    pytest.fail(f"{offered} does not end")


@pytest.mark.slow
def test_batches_of_a_rehearsal_need_no_service(run: Callable[..., Finished]) -> None:
    """It ended with its run, and no endpoint was ever set."""
    made = chunk(simulated=True)
    assert "No row waits for results." in run("batches out", OPENAI_BASE_URL=None).stdout
    for action in ("cancel", f"forget {made['key']}"):
        done = run(f"batches out {action}", OPENAI_BASE_URL=None)
        assert (done.exit_code, done.stderr) == (0, ""), done.said
    refused = run("batches out --simulate")
    assert "No such option" in refused.stderr
    assert "--param" not in refused.stderr, "it has no such option, either"


@pytest.mark.slow
def test_a_batch_whose_creation_was_not_confirmed_is_adopted_by_what_it_holds(
    run: Callable[..., Finished], project: Project, simulator: Running, batchscore: Cli
) -> None:
    made = chunk()
    client = openai.OpenAI(base_url=f"{simulator.endpoint}/v1", api_key=project.key, max_retries=0)
    others = submit(client, [{"custom_id": "x", "method": "POST", "url": "/v1/chat/completions", "body": {}}])
    assert run(f"batches out adopt {made['batch']}").stdout.startswith("Batch batch_")
    # Another file id: a gateway's. Then the ids of the lines prove it.
    for file in (made["input_file"], "file-of-a-gateway"):
        chunk(step="creating", batch="", input_file=file, created_at=0)
        unsure = run("batches out").stdout
        assert "creation not confirmed" in unsure
        assert f"batchscore batches out adopt {made['key']} BATCH_ID" in unsure
        refused = run(f"batches out adopt {others.id}")
        assert refused.exit_code == 1
        assert "is not of this output" in refused.said
        adopted = run(f"batches out adopt {made['key']} {made['batch']}")
        assert f"is that of {made['key']} (30 rows)" in adopted.stdout
        assert (chunk()["batch"], chunk()["step"]) == (made["batch"], "created")
    project.set_rules(in_progress=0)
    assert batchscore(*SCORE).exit_code == 0
    assert project.executions()
    assert set(project.executions().values()) == {1}


@pytest.mark.slow
def test_a_batch_that_is_listed_late_is_shown_and_cancelled(
    run: Callable[..., Finished], project: Project, batchscore: Cli
) -> None:
    """Also after the chunk was forgotten, so that its rows are sent once more."""
    made = chunk()
    project.set_rules(batch_hidden=1000)
    chunk(step="creating", batch="", created_at=0)
    assert "Later runs look for its unconfirmed batch" in run(f"batches out forget {made['key']}").stdout
    shown = run("batches out").stdout
    assert "closed, a creation not confirmed" in shown
    assert "To look, run: batchscore batches out" in shown
    project.set_rules(batch_hidden=0)
    assert "no usable reply" not in run("batches out").stdout
    chunk(sent=2)
    assert "1 creation of a batch (30 rows) had no usable reply" in run("batches out").stdout, "one is listed"
    chunk(sent=1)
    project.set_rules(batch_hidden=1000)
    assert batchscore(*SCORE).exit_code == 4
    project.set_rules(batch_hidden=0, cancelling=0)
    shown = run("batches out").stdout
    assert f"Batch {made['batch']} has rows that were sent a second time: in_progress, 30 of 30 rows" in shown
    command = shown.partition("To cancel it, run: ")[2].splitlines()[0]
    assert f"Batch {made['batch']} is cancelled" in run(command.removeprefix("batchscore ")).stdout
    (line, _) = sorted(ask(run, "batches out")["batches"], key=lambda line: line["key"] != made["key"])
    assert "cancelled, 30 of 30 rows answered, which may be billed twice." in line["twice"]
    project.set_rules(in_progress=0)
    said = ""
    while (finished := batchscore(*SCORE)).exit_code:
        said += finished.said
    assert f"The second one, {made['batch']}, was cancelled after 30 rows" in said + finished.said
    assert sorted(records()) == list(range(30))
    assert run("batches out").stdout.startswith("No batches")


@pytest.mark.slow
def test_ctrl_c_leaves_batches_running_and_says_how_to_continue(
    batchscore: Cli, run: Callable[..., Finished], project: Project
) -> None:
    made = chunk()
    command = [each for each in SCORE if each not in {"--no-wait", "--quiet"}]
    with batchscore.start(*command) as process:
        looks = project.books().calls["get_batch"]
        project.wait_for("get_batch", looks + 1, timeout_s=300)
        process.interrupt()
        stopped = process.finish()
    assert stopped.exit_code == 4
    assert "Stopping: waiting for calls in flight, not for batches; press Ctrl-C again" in stopped.said
    assert (
        "30 rows in 1 batch keep running at the service. Run the same command again before 20" in stopped.said
    )
    (line,) = [each for each in stopped.said.splitlines() if each.startswith("To resume, run: ")]
    assert chunk()["batch"] == made["batch"]
    project.set_rules(in_progress=0)
    again = batchscore(*shlex.split(line.removeprefix("To resume, run: batchscore ")))
    assert again.exit_code == 0
    assert sorted(records()) == list(range(30))
    assert set(project.executions().values()) == {1}


def test_a_batch_is_forgotten_only_if_it_does_not_run(run: Callable[..., Finished], batchscore: Cli) -> None:
    made = chunk()
    refused = run(f"batches out forget {made['batch']}")
    assert refused.exit_code == 2
    offered = refused.stderr.strip().rpartition(": ")[2]
    assert run(offered.removeprefix("batchscore ")).exit_code == 0
    # Another project's key: the service has no such batch.
    other_key = batchscore.environ["OPENAI_API_KEY"] + "-other"
    gone = run("batches out", OPENAI_API_KEY=other_key)
    assert "not there" in gone.stdout
    offered = f"batchscore batches out forget {made['key']}"
    first, _ = [line.rpartition(": ")[2] for line in gone.stdout.strip().splitlines()[-2:]]
    assert first == offered, "and then the run is resumed"
    unasked = run(offered.removeprefix("batchscore "), OPENAI_BASE_URL=None)
    assert (unasked.exit_code, "its service is asked" in unasked.said) == (1, True)
    forgotten = run(offered.removeprefix("batchscore "), OPENAI_API_KEY=other_key)
    assert forgotten.exit_code == 0
    assert "paid for a second time" in forgotten.stdout
    assert made["input_file"] in forgotten.stdout
    assert run("batches out").stdout.startswith("No batches")


@pytest.mark.slow
def test_offered_commands_name_the_service_as_it_was_typed(
    batchscore: Cli, project: Project, simulator: Running
) -> None:
    project.set_rules(in_progress=None, cancelling=0)
    batchscore.environ |= {"BATCHSCORE_API_KEY": project.key}
    del batchscore.environ["OPENAI_BASE_URL"]
    write_rows(30)
    command = [*SCORE, "--endpoint", f"{simulator.endpoint}/v1", "--key-header", "both"]
    assert batchscore(*command).exit_code == 4
    service = shlex.join(["--endpoint", f"{simulator.endpoint}/v1", "--key-header", "both"])
    refused = batchscore(
        *(word for word in command if word not in {"--via", "batch", "--no-wait", "--no-canary"})
    )
    offered = [line.rpartition(" run: ")[2] for line in refused.stderr.strip().splitlines()[-2:]]
    assert offered == [f"batchscore batches out {service}", f"batchscore batches out forget KEY {service}"]
    listed = batchscore("batches", "out")
    assert listed.stdout.splitlines()[-2:] == [
        f"To call the service of the last run, run: {offered[0]}",
        f"To resume, run: {shlex.join(['batchscore', *command])}",
    ]
    asked = batchscore(*shlex.split(offered[0])[1:])
    assert "in progress" in asked.stdout
    forget = shlex.split(offered[1].replace("KEY", chunk()["key"]))[1:]
    running = batchscore(*forget)
    cancel = running.stderr.strip().rpartition("Cancel it first: ")[2]
    assert cancel == f"batchscore batches out cancel {chunk()['key']} {service}"
    assert "is cancelled" in batchscore(*shlex.split(cancel)[1:]).stdout
    assert batchscore(*forget).exit_code == 0
    assert batchscore("batches", "out").stdout.startswith("No batches")


def test_mistakes_get_a_sentence(run: Callable[..., Finished], batchscore: Cli, project: Project) -> None:
    mistakes = {
        "batches": (2, "Missing argument 'OUT'"),
        "batches nowhere": (1, "there is no such output folder"),
        "batches in.csv": (1, "in.csv: this is a file. Name the output folder of its run"),
        "batches out --task embeddings": (0, "No batches"),
        "batches out stop": (2, "'stop' is not one of"),
        "batches out cancel batch_1": (2, "'batch_1' is neither a KEY nor a batch ID"),
        "batches out forget": (2, "forget needs the KEY"),
        "batches out adopt": (2, "adopt takes a batch ID"),
        "batches out adopt a b c": (2, "adopt takes a batch ID"),
        "batches out adopt batch_1": (2, "no batch can be adopted"),
        f"batches out adopt {chunk()['key']} batch_1": (2, "takes no batch: it has batch batch_"),
        "batches out adopt nokey batch_1": (2, "'nokey' is neither a KEY"),
        "batches out --task embeddings forget x": (2, "has no batches"),
        "batches out --model x": (2, "No such option"),
        "batches out cancel --auth entra --endpoint ftp://x": (1, "ftp"),
    }
    calls = project.books().calls.get("cancel", 0)
    for words, (code, said) in mistakes.items():
        found = batchscore.here(*shlex.split(words))
        assert (found.exit_code, said in found.said) == (code, True), (words, found.said)
    chunk(step="creating", batch="")
    assert run("batches out adopt batch_1").exit_code == 1
    assert project.books().calls.get("cancel", 0) == calls


@pytest.mark.slow
def test_a_service_that_is_down_is_said(run: Callable[..., Finished]) -> None:
    down = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    assert "the service was not called: " in run("batches out", **down).stdout
    assert run("batches out cancel", **down).exit_code == 4
