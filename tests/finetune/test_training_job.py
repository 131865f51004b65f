"""The way from a prepared folder to a model, by commands against the simulator, on three surfaces."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest
from command import Command, Ran

from batchscore.cli.finetune.training_options import estimate_of
from batchscore.errors import BatchscoreError, InputError, Outage, ServiceRefused, UsageError
from batchscore.finetune.service.calls import CallLimits, TrainingPlace, host_of, import_url
from batchscore.finetune.service.dialects import dialect_of
from batchscore.finetune.state import (
    STATE,
    change_job,
    change_state,
    hold_data,
    hold_folder,
)
from batchscore.finetune.training.commands import run_action, run_start, run_status, run_watch
from batchscore.finetune.training.same_data import NEW_SECONDS, other_job
from batchscore.finetune.training.steps import RUN_KEY
from batchscore.provider.files import UploadedFile, wait_until_usable
from batchscore.provider.jobs import newest_jobs
from batchscore.provider.models import delete_model
from batchscore.report.words import money_text
from batchscore.simulator import Running
from conftest import Cli
from http_served import running
from openai_schemas import check_object
from sampled import mostly_slow
from simulated import Project
from trainings import FAST, IMPATIENT, MODEL, SURFACES, place_of, started, state_of, write_prepared


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `tuned` as `prepare` writes it, in the working folder."""
    monkeypatch.chdir(tmp_path)
    write_prepared(tmp_path / "tuned")
    return Path("tuned")


@pytest.fixture
def use(project: Project, simulator: Running, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Let commands use a surface of the simulator; return the flags that a job needs there."""

    def of(surface: str = "openai") -> list[str]:
        address, version, more = SURFACES[surface]
        monkeypatch.setenv("BATCHSCORE_ENDPOINT", address.format(simulator.endpoint))
        monkeypatch.setenv("BATCHSCORE_API_KEY", project.key)
        if version is not None:
            monkeypatch.setenv("BATCHSCORE_API_VERSION", version)
        return ["--training-type", more["trainingType"]] if more else []

    return of


@pytest.fixture
def place(project: Project, simulator: Running, folder: Path) -> Callable[..., TrainingPlace]:
    """Return the folder with a surface of the simulator, where no job makes a file of results."""
    project.set_tuning(running=None, mid_results=False)

    def of(surface: str = "openai", limits: CallLimits = FAST) -> TrainingPlace:
        return place_of(folder, simulator.endpoint, project.key, surface, limits)

    return of


def paid_jobs(project: Project) -> list[int]:
    """Return how often each job was paid."""
    return list(project.meter()["created"]["jobs"].values())


@pytest.mark.parametrize(
    "surface",
    ["openai", *(pytest.param(each, marks=pytest.mark.slow) for each in SURFACES if each != "openai")],
)
def test_the_way_from_a_folder_to_a_model(
    surface: str, command: Command, use: Callable[[str], list[str]], folder: Path, project: Project
) -> None:
    flags = use(surface)
    seen = command("finetune", "plan", "tuned", "-m", MODEL, "--check-service").stdout.splitlines()[-1]
    assert seen.endswith(f"start tuned -m {MODEL}" + (" --training-type Standard" if flags else ""))
    start = ["finetune", "start", "tuned", "-m", MODEL, "--epochs", "3", "--suffix", "tickets", *flags]
    ran = command(*start)
    assert (ran.exit_code, "--yes" in ran.stderr) == (2, True)
    assert "trained tokens" in ran.stdout, "the estimate is shown first"
    assert "create_job" not in project.books().calls
    ran = command(*start, "--yes")
    assert (ran.exit_code, "finetune watch tuned" in ran.stdout) == (0, True)
    assert "test" not in (folder / STATE).read_text()
    again = command(*start)
    assert (again.exit_code, again.stdout.split(":")[0]) == (0, ran.stdout.splitlines()[-2].split(":")[0])
    assert command("finetune", "start", "tuned").exit_code == 0, "the recorded settings continue"
    watched = command("finetune", "watch", "tuned", "--every", "0.1")
    assert (watched.exit_code, watched.stderr) == (0, "")
    assert "training loss" in watched.stdout
    assert "succeeded. The trained model is" in watched.stdout
    more = command("finetune", "watch", "tuned", "--every", "0.1")
    assert "training loss" not in more.stdout, "it continues after the last event"
    endpoint = os.environ["BATCHSCORE_ENDPOINT"]
    assert state_of(folder).address.startswith(endpoint)
    shown = command("finetune", "status", "tuned", "--endpoint", endpoint)
    assert f"run: batchscore finetune results tuned --endpoint {endpoint}" in shown.stdout
    status = command("finetune", "status", "tuned", "--json")
    job = json.loads(status.stdout)
    assert (status.exit_code, job["status"]) == (0, "succeeded")
    assert job["trained_tokens"] > 0
    results = command("finetune", "results", "tuned", "--json")
    found = json.loads(results.stdout)["results"]
    assert results.exit_code == 0
    assert [each["epoch"] for each in found["epochs"]] == [1, 2, 3]
    assert found["proposal"]["model"].startswith(job["trained_model"].partition(":ckpt")[0][:3])
    assert {"train_loss", "valid_loss", "train_token_accuracy"} <= found["columns"].keys()
    page = (folder / "results.html").read_text("utf-8")
    assert "Loss over steps" in page
    assert "Token accuracy over steps" in page
    assert (folder / "results.csv").read_text().startswith("step,")
    assert paid_jobs(project) == [1]
    assert project.key not in (folder / STATE).read_text() + page
    assert command("finetune", "cancel", "tuned").exit_code == 1, "it has ended"
    again = command("finetune", "start", "tuned", "--again", "--yes")
    assert (again.exit_code, again.stdout) == (2, ""), "it has succeeded, so nothing is estimated"
    refused = command("finetune", "prepare", "tuned/train.jsonl", "-o", "tuned")
    assert (refused.exit_code, "has a training job" in refused.stderr) == (1, True)


@pytest.mark.slow
def test_the_cost_is_shown_against_the_estimate(
    command: Command, use: Callable[[str], list[str]], folder: Path
) -> None:
    """The service says at the end how many tokens it has trained."""
    use()
    Path("prices.toml").write_text(f'[prices."{MODEL}"]\ntraining = 1000\n')
    start = ("finetune", "start", "tuned", "-m", MODEL, "--epochs", "2", "--prices", "prices.toml", "--yes")
    estimate = json.loads(command(*start, "--json").stdout)["estimate"]
    watched = command("finetune", "watch", "tuned", "--every", "0.1")
    found = json.loads(command("finetune", "status", "tuned", "--json").stdout)
    assert found["estimated_tokens"] == estimate["trained_tokens"]
    assert found["estimated_cost"] == pytest.approx(estimate["cost"])
    assert found["cost"] == pytest.approx(found["trained_tokens"] / 1000)
    shown = f"cost {money_text(found['cost'])} (estimate {money_text(estimate['cost'])})"
    for ran in (watched, command("finetune", "status", "tuned"), command("finetune", "results", "tuned")):
        assert shown in ran.stdout


def test_other_files_settings_and_services_are_refused(
    command: Command, use: Callable[..., list[str]], folder: Path, project: Project, simulator: Running
) -> None:
    use()
    start = ["finetune", "start", "tuned", "--yes"]
    assert "Name the base model with -m" in command(*start).stderr
    start += ["-m", MODEL]
    for words, text in (
        (["--training-type", "Standard"], "is for Azure OpenAI"),
        (["--suffix", "a b"], "--suffix must be"),
        (["--beta", "0.1"], "is for preferences"),
        (["--grader", "x.json"], "is for reinforcement"),
        (["--hyperparameter", "x"], "NAME=VALUE"),
        (["--training-url", "https://x/y"], "are for Azure OpenAI"),
    ):
        ran = command(*start, *words)
        assert (ran.exit_code, text in ran.stderr) == (2, True), ran.stderr
    ran = command("finetune", "status", "tuned")
    assert ran.exit_code == 1
    assert "choose a base model for MODEL, and run: batchscore finetune start tuned -m MODEL" in ran.stderr
    assert command("finetune", "watch", "tuned", "--max-wait", "soon").exit_code == 2
    train = folder / "train.jsonl"
    kept = train.read_bytes()
    train.write_bytes(kept[:-2] + b"\n")
    ran = command(*start)
    assert (ran.exit_code, "is not as it was prepared" in ran.stderr) == (1, True)
    train.write_bytes(kept)
    assert project.books().calls == {}
    project.set_tuning(running=None, mid_results=False)
    assert command(*start, "--suffix", "x", "--epochs", "2").exit_code == 0
    assert command(*start).exit_code == 0, "the same model"
    ran = command("finetune", "start", "tuned", "--yes", "-m", "gpt-4o-mini-2024-07-18")
    assert (ran.exit_code, "other settings (model)" in ran.stderr) == (1, True)
    ran = command(*start, "--epochs", "9")
    assert (ran.exit_code, "other settings (hyperparameters)" in ran.stderr) == (1, True)
    ran = command("finetune", "status", "tuned", "--endpoint", "http://127.0.0.1:9/v1")
    assert (ran.exit_code, simulator.endpoint.removeprefix("http://") in ran.stderr) == (1, True)


def test_errors_of_files_and_exceeded_limits_are_found_before_anything_is_sent(
    command: Command, use: Callable[..., list[str]], tmp_path: Path, folder: Path, project: Project
) -> None:
    use()
    write_prepared(tmp_path / "small", 15)
    ran = command("finetune", "start", "small", "-m", MODEL, "--yes")
    assert (ran.exit_code, "at least 10 examples are needed" in ran.stdout) == (3, True)
    assert project.books().calls == {}


def test_azure_needs_to_know_where_it_trains(
    command: Command, use: Callable[..., list[str]], folder: Path, project: Project
) -> None:
    use("azure-v1")
    ran = command("finetune", "start", "tuned", "-m", MODEL, "--yes")
    assert (ran.exit_code, "--training-type" in ran.stderr) == (2, True)
    assert project.books().calls == {}


#: Calls of a start, with how often they may take effect: an upload that was accepted twice leaves no copy.
COSTLY = ("upload", "create_job")


@pytest.mark.parametrize(
    "fault",
    [
        {"drop": True, "happened": True},
        {"status": 503, "happened": True},
        {"drop": True},
        {"status": 503},
        {"status": 429},
    ],
)
@pytest.mark.parametrize("surface", ["openai", pytest.param("azure-dated", marks=pytest.mark.slow)])
def test_a_lost_reply_costs_nothing_twice(
    surface: str, fault: dict[str, Any], place: Callable[..., TrainingPlace], project: Project
) -> None:
    for call in COSTLY:
        project.will(call, **fault)
    state = started(place(surface), surface)
    assert state.job.id
    assert paid_jobs(project) == [1]
    assert project.books().files == 2


def test_a_job_of_which_metadata_are_not_kept_is_found_by_its_file(
    place: Callable[..., TrainingPlace], project: Project
) -> None:
    project.set_tuning(metadata=False)
    project.will("create_job", drop=True, happened=True)
    assert started(place()).job.id
    assert paid_jobs(project) == [1]


def test_a_creation_that_is_never_confirmed_is_not_repeated_for_ever(
    place: Callable[..., TrainingPlace], project: Project
) -> None:
    project.will("create_job", status=503, times=None)
    said: list[str] = []
    with pytest.raises(Outage, match="5 times"):
        run_start(place(), {"model": MODEL, "suffix": "tickets"}, {}, said.append)
    assert said[-4:-1] == [
        "Looking in the service's list for the job, because its creation was not confirmed",
        *["It is not listed yet. The next look is in 20 ms"] * 2,
    ], "nobody waits without a word"
    project.drop_faults()
    assert started(place()).job.id
    assert paid_jobs(project) == [1]


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ({"status": 429, "code": "daily_rate_limit_exceeded"}, "tomorrow"),
        ({"status": 403, "code": "forbidden"}, "may train models"),
        (
            {"status": 400, "message": "The specified base model does not support fine-tuning."},
            "does not train this model",
        ),
    ],
)
def test_a_refusal_says_what_to_do_and_can_be_repeated(
    fault: dict[str, Any], text: str, place: Callable[..., TrainingPlace], project: Project, folder: Path
) -> None:
    project.will("create_job", **fault)
    said: list[str] = []
    with pytest.raises(ServiceRefused, match=text):
        run_start(place(), {"model": MODEL, "suffix": "tickets"}, {}, said.append)
    assert fault.get("message", "The service says") in said[-1]
    assert project.books().calls["create_job"] == 1
    assert not state_of(folder).job.may_exist
    assert started(place()).job.id
    assert paid_jobs(project) == [1]


@pytest.mark.slow
def test_azure_waits_until_files_are_processed(
    place: Callable[..., TrainingPlace], project: Project, folder: Path
) -> None:
    project.set_tuning(file_running=0.2)
    assert started(place("azure-v1"), "azure-v1").job.id
    assert project.books().calls["create_job"] == 1
    assert all(file.processed for file in state_of(folder).files.values())


@pytest.mark.slow
def test_a_large_file_is_sent_in_parts_and_an_interrupted_upload_continues(
    place: Callable[..., TrainingPlace], project: Project, folder: Path
) -> None:
    size = (folder / "train.jsonl").stat().st_size
    limits = replace(IMPATIENT, parts_from=size - 1, part_bytes=size // 3)
    project.will("add_part", skip=2, times=None, status=500)
    with pytest.raises(BatchscoreError):
        started(place(limits=limits))
    upload = state_of(folder).training.upload
    assert upload is not None
    assert len(upload.parts) == 2
    project.drop_faults()
    project.will("complete_upload", drop=True, happened=True)
    before = project.books().happened["add_part"]
    state = started(place(limits=limits))
    assert project.books().happened["add_part"] - before == -(-size // (size // 3)) - 2
    assert project.books().happened["complete_upload"] == 1
    assert project.books().files == 2
    assert state.training.upload is None
    for call, name in (
        ("create_upload", "CreateUploadRequest"),
        ("complete_upload", "CompleteUploadRequest"),
    ):
        check_object(name, project.requests(call)[-1].body)


@pytest.mark.slow
def test_an_upload_that_has_expired_begins_again(
    place: Callable[..., TrainingPlace], project: Project, folder: Path
) -> None:
    size = (folder / "train.jsonl").stat().st_size
    limits = replace(IMPATIENT, parts_from=size - 1, part_bytes=size // 2)
    project.will("add_part", skip=1, times=None, status=500)
    with pytest.raises(BatchscoreError):
        started(place(limits=limits))
    project.drop_faults()
    project.advance(4000)
    assert started(place(limits=limits)).job.id
    assert project.books().files == 2


class Served(SimpleHTTPRequestHandler):
    """Serves a folder without a log."""

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.mark.slow
def test_a_file_is_fetched_from_a_url_that_is_not_kept(
    command: Command,
    use: Callable[..., list[str]],
    folder: Path,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flags = use("azure-dated")
    project.set_tuning(running=None, mid_results=False)
    served = partial(Served, directory=str(folder.resolve()))
    with running(ThreadingHTTPServer(("127.0.0.1", 0), served)) as server:
        url = f"http://127.0.0.1:{server.server_port}/train.jsonl?sig=secret"
        start = ["finetune", "start", "tuned", "-m", MODEL, *flags, "--yes"]
        ran = command(*start, "--training-url", url)
        assert (ran.exit_code, "secret" in ran.stderr) == (2, False)
        monkeypatch.setenv("TRAINING_URL", url.replace("train.jsonl", "prepare.json"))
        ran = command(*start, "--training-url", "${TRAINING_URL}")
        assert ran.exit_code == 1, "it is another file"
        monkeypatch.setenv("TRAINING_URL", url)
        project.will("import_file", drop=True, happened=True)
        ran = command(*start, "--training-url", "${TRAINING_URL}")
    assert ran.exit_code == 0, ran.stderr
    assert "secret" not in (folder / STATE).read_text() + ran.stdout + ran.stderr
    assert project.books().calls["upload"] == 1, "only the validation file"
    assert project.books().files == 2


@pytest.mark.slow
def test_a_job_is_paused_resumed_and_cancelled(
    command: Command, use: Callable[..., list[str]], folder: Path, project: Project
) -> None:
    use()
    project.set_tuning(running=1000.0, pausing=0.5)
    project.stop_clock()
    assert command("finetune", "start", "tuned", "-m", MODEL, "--yes").exit_code == 0
    early = command("finetune", "pause", "tuned")
    assert (early.exit_code, "at least one step" in early.stderr) == (1, True)
    project.advance(500)
    status = command("finetune", "status", "tuned")
    assert (status.exit_code, "running" in status.stdout) == (4, True)
    partial_results = command("finetune", "results", "tuned")
    assert (partial_results.exit_code, "Written to tuned/" in partial_results.stdout) == (4, True)
    clean = command("finetune", "clean", "tuned")
    *listed, last = clean.stdout.splitlines()[1:]
    assert clean.stdout.count("not yet") == len(listed) // 2 > 1
    assert last == "Nothing was deleted: nothing can be, yet."
    assert "--yes" not in clean.stdout
    assert "roposed" not in partial_results.stdout + (folder / "results.html").read_text("utf-8")
    project.will("pause_job", drop=True, happened=True)
    pausing = command("finetune", "pause", "tuned")
    assert (pausing.exit_code, "accepted the pause" in pausing.stdout) == (0, True)
    project.advance(1)
    paused = command("finetune", "watch", "tuned", "--every", "0.1", "--max-wait", "0.1s")
    assert (paused.exit_code, "finetune resume tuned" in paused.stdout) == (4, True)
    assert command("finetune", "resume", "tuned").exit_code == 0
    project.advance(1)
    cancelled = command("finetune", "cancel", "tuned")
    assert (cancelled.exit_code, "cancelled" in cancelled.stdout) == (0, True)
    assert command("finetune", "cancel", "tuned").exit_code == 0, "it is cancelled already"
    assert command("finetune", "status", "tuned").exit_code == 1
    ended = command("finetune", "results", "tuned").stdout
    assert "roposed" not in ended
    kept = re.findall(r"run: batchscore finetune (deploy tuned/? --trained-model \S+)", ended)
    refused = command("finetune", "deploy", "tuned", "--yes")
    assert (refused.exit_code, "start tuned --again" in refused.stderr) == (1, True)
    assert len(kept) == 1
    assert command("finetune", *shlex.split(kept[0]), "--yes").exit_code == 0


@pytest.mark.slow
def test_a_job_that_failed_is_repeated_if_it_is_wanted(
    command: Command, use: Callable[..., list[str]], folder: Path, project: Project
) -> None:
    use()
    project.set_tuning(fails="server_error")
    assert command("finetune", "start", "tuned", "-m", MODEL, "--yes").exit_code == 0
    watched = command("finetune", "watch", "tuned", "--every", "0.1")
    assert (watched.exit_code, "server_error" in watched.stdout) == (1, True)
    assert "finetune start tuned --again" in watched.stdout
    first = state_of(folder).job.id
    project.set_tuning(fails="")
    assert command("finetune", "start", "tuned", "--yes").exit_code == 1
    assert state_of(folder).job.id == first, "nothing happens without --again"
    ran = command("finetune", "start", "tuned", "--again", "--yes")
    assert ran.exit_code == 0, ran.stderr
    assert [each.id for each in state_of(folder).earlier_jobs] == [first]
    assert state_of(folder).job.id != first
    assert project.books().calls["upload"] == 2, "the files were not sent again"


@pytest.mark.parametrize("surface", ["openai", "azure-v1"])
@pytest.mark.parametrize(
    ("fails", "said"), [("safety_before", "the training data"), ("safety_after", "the trained model")]
)
def test_a_job_that_failed_because_of_its_rows_is_not_repeated_with_the_same_ones(
    fails: str,
    said: str,
    surface: str,
    command: Command,
    use: Callable[[str], list[str]],
    folder: Path,
    project: Project,
) -> None:
    flags = use(surface)
    project.set_tuning(fails=fails, validating=0, queued=0, running=0, creating=0)
    assert command("finetune", "start", "tuned", "-m", MODEL, *flags, "--yes").exit_code == 0
    ran = command("finetune", "status", "tuned")
    assert ran.exit_code == 1
    assert f"refused {said}" in ran.stdout
    assert "into a new folder" in ran.stdout
    assert "--again" not in ran.stdout


def test_a_copy_of_a_folder_takes_the_job_that_the_folder_has_made(
    place: Callable[..., TrainingPlace], project: Project, folder: Path
) -> None:
    """It was copied after the files were sent, and before there was a job."""
    project.will("create_job", status=403, code="forbidden")
    with pytest.raises(ServiceRefused):
        started(place())
    copy = folder.parent / "copy"
    shutil.copytree(folder, copy)
    mine = started(place())
    other = run_start(replace(place(), folder=copy), mine.job.request, {}, str)
    assert other.job.id == mine.job.id
    assert paid_jobs(project) == [1]


@pytest.mark.parametrize("surface", ["openai", pytest.param("azure-dated", marks=pytest.mark.slow)])
def test_a_folder_of_the_same_data_pays_once_more_only_if_it_is_wanted(
    surface: str, place: Callable[..., TrainingPlace], folder: Path, project: Project
) -> None:
    """Two folders are prepared from one table. Azure's dated surface keeps no metadata."""
    first = started(place(surface), surface)
    files = project.books().files
    second = replace(place(surface), folder=folder.parent / "second")
    write_prepared(second.folder)
    with pytest.raises(InputError, match=f"the job {first.job.id} .* start second --again"):
        started(second, surface)
    assert (paid_jobs(project), project.books().files) == ([1], files)
    again = run_start(second, {}, {}, str, again=True)
    assert again.job.request == first.job.request
    assert run_start(second, {}, {}, str).job.id == again.job.id, "it continues"
    assert paid_jobs(project) == [2]


@mostly_slow("what", ["epochs", "seed", "model", "cancelled", "no list"], ["epochs", "cancelled"])
def test_a_job_that_makes_another_model_or_none_stops_no_other(
    what: str, place: Callable[..., TrainingPlace], folder: Path, project: Project
) -> None:
    other = replace(place(), folder=folder.parent / "second")
    write_prepared(other.folder)
    request = {"model": MODEL, "seed": 1, "hyperparameters": {"n_epochs": 3}}
    run_start(other, request, {}, str)
    if what == "cancelled":
        run_action(other, "cancel")
    if what == "no list":
        project.will("list_jobs", times=None, status=403)
    changes = {
        "epochs": {"hyperparameters": {"n_epochs": 4}},
        "seed": {"seed": 2},
        "model": {"model": "gpt-4o-mini-2024-07-18"},
    }
    run_start(place(), request | changes.get(what, {}), {}, str)
    assert sum(paid_jobs(project)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("surface", SURFACES)
def test_the_same_data_is_trained_again_after_the_model_was_deleted(
    surface: str, command: Command, use: Callable[[str], list[str]], folder: Path, project: Project
) -> None:
    flags = use(surface)
    project.set_tuning(validating=0, queued=0, running=0, creating=0)
    write_prepared(folder.parent / "second")
    start = ["finetune", "start", "second", "-m", MODEL, *flags, "--yes"]
    assert command(*start).exit_code == 0
    assert command("finetune", "status", "second").exit_code == 0
    start[2] = "tuned"
    ran = command(*start)
    assert ran.exit_code == 1
    assert "run: batchscore finetune start tuned --again" in ran.stderr
    assert command("finetune", "clean", "second", "--discard-results", "--yes").exit_code == 0
    assert command(*start).exit_code == 0
    assert paid_jobs(project) == [2]


@pytest.mark.slow
def test_data_whose_model_was_deleted_a_day_ago_may_be_trained_though_its_file_is_there(
    place: Callable[..., TrainingPlace], project: Project, folder: Path
) -> None:
    """Other programs delete the model and leave the file. A new model may not be known yet."""
    project.set_tuning(validating=0, queued=0, running=0, creating=0)
    started(place())
    state = run_status(place()).state
    other = replace(
        state, run="another", job=replace(state.job, id=""), training=replace(state.training, file_id="")
    )

    async def found() -> list[bool]:
        async with place().calls() as plane:
            (job,) = await newest_jobs(plane, 0.0)
            assert job.finished is not None
            soon, later = job.finished + 60, job.finished + NEW_SECONDS + 1
            seen = [await other_job(plane, other, later)]
            await delete_model(plane, job.trained_model)
            seen += [await other_job(plane, other, now) for now in (soon, later)]
            return [each is not None for each in seen]

    assert asyncio.run(found()) == [True, True, False]


def test_a_job_that_no_reply_named_can_be_followed_and_cancelled(
    place: Callable[..., TrainingPlace], project: Project, folder: Path
) -> None:
    """The command was killed after the service had created the job."""
    project.set_tuning(running=None, mid_results=False)
    project.will("create_job", drop=True, happened=True)
    project.will("list_jobs", skip=2, status=404, code="not_there")
    with pytest.raises(BatchscoreError):
        started(place())
    state = state_of(folder)
    assert state.job.intent_at
    assert not state.job.id
    assert run_status(place()).state.job.id
    assert run_action(place(), "cancel").job.status == "cancelled"
    assert paid_jobs(project) == [1]


def prepare_again(folder: Path) -> None:
    """Prepare other examples into a folder that has a record."""
    kept = (folder / STATE).read_bytes()
    shutil.rmtree(folder)
    write_prepared(folder, 50)
    (folder / STATE).write_bytes(kept)


@pytest.mark.slow
def test_a_folder_that_was_prepared_again_leaves_no_file_behind(
    place: Callable[..., TrainingPlace], project: Project, folder: Path
) -> None:
    project.will("create_job", status=400, message="no")
    with pytest.raises(ServiceRefused):
        started(place())
    old = {file.file_id for file in state_of(folder).files.values()}
    prepare_again(folder)
    state = started(place())
    assert set(state.deleted) <= old
    assert project.books().files == 2
    assert state.leftovers == ()


@pytest.mark.slow
def test_what_a_plan_reads_from_the_service(
    command: Command, use: Callable[..., list[str]], folder: Path, project: Project
) -> None:
    use("azure-v1")
    plan = ["finetune", "plan", "tuned", "-m", MODEL, "--check-service"]
    ran = command(*plan, "--json")
    found = json.loads(ran.stdout)["service"]
    assert (ran.exit_code, found["problems"]) == (0, [])
    assert {each["name"] for each in found["limits"]} >= {"training files of the resource"}
    project.set_tuning(training_ends=30 * 86_400.0)
    assert "warning: Training of" in command(*plan).stdout
    project.set_tuning(training_ends=0.0)
    ended = command(*plan)
    assert (ended.exit_code, "ended on" in ended.stdout) == (3, True)
    project.will("get_model", status=404)
    missing = command(*plan)
    assert (missing.exit_code, "does not list the model" in missing.stdout) == (3, True)


def test_a_key_that_is_not_accepted(
    command: Command, use: Callable[..., list[str]], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use()
    monkeypatch.setenv("BATCHSCORE_API_KEY", "wrong-key-123456")
    ran: Ran = command("finetune", "start", "tuned", "-m", MODEL, "--yes")
    assert (ran.exit_code, "check the key or the sign-in" in ran.stderr) == (1, True)
    assert "wrong-key" not in ran.stderr


def test_a_job_whose_service_has_another_clock_is_found(
    place: Callable[..., TrainingPlace], project: Project
) -> None:
    """Ours is hours ahead."""
    project.will("create_job", drop=True, happened=True)
    project.will("list_jobs", skip=2, status=404)
    with pytest.raises(BatchscoreError):
        started(place())
    change_state(
        place().folder,
        lambda each: replace(each, job=replace(each.job, intent_at=each.job.intent_at + 40_000)),
    )
    assert started(place()).job.id
    assert paid_jobs(project) == [1]


@pytest.mark.slow
def test_a_job_that_was_cancelled_elsewhere_can_be_repeated(
    command: Command, place: Callable[..., TrainingPlace], use: Callable[[str], list[str]], folder: Path
) -> None:
    """The record says that it is queued: nobody has looked at it since."""
    use()
    first = started(place())
    again = ["finetune", "start", "tuned", "--again", "--yes"]
    ran = command(*again)
    assert (ran.exit_code, "run: batchscore finetune cancel tuned" in ran.stderr) == (2, True)
    run_action(place(), "cancel")
    change_state(folder, lambda each: replace(each, job=first.job))
    assert command(*again).exit_code == 0
    assert [each.id for each in state_of(folder).earlier_jobs] == [first.job.id]


def test_the_record_of_another_folder_is_refused(
    command: Command, place: Callable[..., TrainingPlace], use: Callable[[str], list[str]], folder: Path
) -> None:
    """Otherwise its model would be deployed with the prompt of this folder."""
    use()
    started(place())
    write_prepared(Path("other"), 50)
    shutil.copy(folder / STATE, "other")
    for words in (["start", "other", "-m", MODEL, "--yes"], ["results", "other"], ["deploy", "other"]):
        ran = command("finetune", *words)
        assert (ran.exit_code, "is that of another folder" in ran.stderr) == (1, True)


def test_a_folder_that_cannot_be_written_is_shown(
    command: Command, use: Callable[..., list[str]], folder: Path, project: Project
) -> None:
    use()
    project.set_tuning(running=None)
    started(place_of(folder, os.environ["BATCHSCORE_ENDPOINT"].removesuffix("/v1"), project.key))
    with hold_folder(folder, "another command", lambda _: None):
        assert command("finetune", "status", "tuned").exit_code == 4
        assert command("finetune", "start", "tuned").exit_code == 5


def test_a_job_that_the_list_showed_too_late_is_continued(
    place: Callable[..., TrainingPlace], project: Project, folder: Path
) -> None:
    """It was not found after a creation without a reply, and the process was killed then."""
    first = started(place())
    forgotten = replace(first.job, id="", intent_at=0.0, status="", doubtful=True)
    change_state(folder, lambda each: replace(each, job=forgotten))
    second = started(place())
    assert second.job.id == first.job.id
    assert paid_jobs(project) == [1]


def elsewhere(place: TrainingPlace) -> TrainingPlace:
    """Return a folder as if it were on another machine: a host of another name has another lock."""
    url = place.target.url.replace("127.0.0.1", "localhost")
    return replace(place, target=replace(place.target, url=url))


@pytest.mark.slow
@pytest.mark.parametrize("surface", SURFACES)
def test_copies_of_a_folder_that_start_at_the_same_time_train_one_job(
    surface: str, place: Callable[..., TrainingPlace], project: Project, folder: Path
) -> None:
    """On two machines: both look for a job before either has made one, and the younger job is cancelled."""
    project.will("create_job", status=403, code="forbidden")
    with pytest.raises(ServiceRefused):
        started(place(surface), surface)
    shutil.copytree(folder, folder.parent / "copy")
    # Both have read the list when the first of them creates its job.
    project.will("create_job", times=2, latency=0.5)
    slower = replace(FAST, settle=1.0)
    here = place(surface, slower)
    places = [here, elsewhere(replace(here, folder=folder.parent / "copy"))]
    change_state(places[1].folder, lambda each: replace(each, endpoint=host_of(places[1].target)))
    with ThreadPoolExecutor() as pool:
        states = list(pool.map(lambda each: started(each, surface), places))
    assert len({started(each, surface).job.id for each in places}) == 1, states
    assert project.meter()["held"]["jobs"] == 1
    assert not any(state_of(each.folder).doubles for each in places)


@pytest.mark.slow
@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("machines", [1, 2])
def test_folders_of_the_same_data_that_start_at_the_same_time_train_one_job(
    machines: int, surface: str, place: Callable[..., TrainingPlace], project: Project, folder: Path
) -> None:
    """On one machine they wait for each other. Two have no common lock: the later job is cancelled."""
    second = replace(place(surface, replace(FAST, settle=1.0)), folder=folder.parent / "second")
    write_prepared(second.folder)
    first = replace(second, folder=folder)
    if machines == 2:
        second = elsewhere(second)
    project.set_tuning(queued=600)
    # Both have read the list when the first of them creates its job.
    project.will("create_job", times=2, latency=0.5)

    def start(where: TrainingPlace) -> str:
        try:
            return started(where, surface).job.id
        except InputError as error:
            return error.text

    with ThreadPoolExecutor() as pool:
        ends = list(pool.map(start, (first, second)))
    (made,), (refused,) = (
        [each for each in ends if each.startswith("ftjob") is kept] for kept in (True, False)
    )
    assert f"see the job {made}" in refused
    assert "start second --again" in refused or "start tuned --again" in refused
    assert project.meter()["held"]["jobs"] == 1
    assert sum(paid_jobs(project)) <= machines
    assert project.meter()["training"]["cost"] == 0, "the second one was cancelled before it trained"


@pytest.mark.slow
def test_a_second_job_that_cannot_be_cancelled_is_named_with_the_command_for_it(
    place: Callable[..., TrainingPlace], project: Project, folder: Path
) -> None:
    """The list of jobs shows the first one only after the second one was made."""
    project.set_tuning(queued=600)
    second = replace(place("openai"), folder=folder.parent / "second")
    write_prepared(second.folder)
    first = started(replace(second, folder=folder), "openai").job
    project.will("list_jobs", times=2, status=403)
    project.will("cancel_job", times=None, status=403, code="forbidden")
    with pytest.raises(InputError) as refused:
        started(second, "openai")
    own = state_of(second.folder).job
    assert f"see the job {first.id} of" in refused.value.text
    assert f"The second one, {own.id}, could not be cancelled (" in refused.value.text
    assert "To cancel it, run: batchscore finetune cancel second\n" in refused.value.text
    assert project.meter()["held"]["jobs"] == 2


@pytest.mark.slow
@pytest.mark.process
def test_a_start_that_waits_for_another_folder_names_its_process_and_ends_when_interrupted(
    batchscore: Cli, place: Callable[..., TrainingPlace], use: Callable[[str], list[str]], folder: Path
) -> None:
    use("openai")
    second = replace(place("openai"), folder=folder.parent / "second")
    write_prepared(second.folder)
    started(second, "openai")
    words = ["finetune", "start", "tuned", "-m", MODEL, "--yes"]
    with (
        hold_data(state_of(second.folder), second.folder, str, 0.1),
        batchscore.start(*words, env=dict(os.environ)) as run,
    ):
        line = next(each for each in run.stderr if "another folder has the same data" in each)
        assert re.search(rf"finetune start second`, process {os.getpid()} .*since ", line)
        run.interrupt()
        assert run.finish().exit_code == 4


@pytest.mark.slow
def test_a_second_job_that_was_wanted_is_continued_by_the_same_command(
    command: Command, use: Callable[[str], list[str]], project: Project, folder: Path
) -> None:
    """The command was killed after the job was made."""
    use("openai")
    project.set_tuning(running=None, mid_results=False)
    write_prepared(folder.parent / "second")
    start = ["finetune", "start", "tuned", "-m", MODEL, "--yes"]
    assert command(*start).exit_code == 0
    start[2] = "second"
    refused = command(*start)
    (again,) = re.findall(r"run: batchscore (.*)", refused.stderr)
    assert again == "finetune start second --again --yes"
    assert command(*again.split()).exit_code == 0
    made = state_of(folder.parent / "second").job
    for lost in ({}, {"id": "", "status": ""}):
        change_state(
            folder.parent / "second", lambda each, lost=lost: replace(each, job=replace(made, **lost))
        )
        assert command(*again.split()).exit_code == 0
        assert state_of(folder.parent / "second").job.id == made.id
    assert paid_jobs(project) == [2]


def client(project: Project, simulator: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{simulator.endpoint}/v1", api_key=project.key)


@pytest.mark.slow
def test_a_watch_does_not_write_its_job_over_a_newer_one(
    place: Callable[..., TrainingPlace], folder: Path
) -> None:
    """Another terminal cancels the job and starts a new one, while this one watches."""
    first = started(place()).job.id

    def replace_job() -> str:
        run_action(place(), "cancel")
        return run_start(place(), {}, {}, str, again=True).job.id

    newer: list[str] = []
    said = rf"{first} is not the job of tuned any more.*finetune status"
    with ThreadPoolExecutor(1) as other, pytest.raises(InputError, match=said):
        run_watch(place(), lambda _: newer.append(other.submit(replace_job).result()), 10)
    state = state_of(folder)
    assert [each.id for each in state.jobs] == [*newer, first]
    assert state.earlier_jobs[0].status == "cancelled"
    with pytest.raises(InputError, match="not the job"):
        change_job(folder, first, lambda each: replace(each, checkpoint="of the first"))
    assert state_of(folder).checkpoint == ""


@pytest.mark.slow
def test_a_double_that_is_listed_late_is_reported_and_cancelled(
    place: Callable[..., TrainingPlace],
    command: Command,
    use: Callable[..., list[str]],
    project: Project,
    simulator: Running,
    folder: Path,
) -> None:
    """The creation got no reply, and the list did not have the job while `start` looked for it."""
    use()
    state = started(place())
    change_state(folder, lambda each: replace(each, job=replace(each.job, doubtful=True)))
    project.advance(2)  # times of jobs are whole seconds, and the older one is kept
    with client(project, simulator) as caller:
        made = caller.fine_tuning.jobs.create(
            model=MODEL, training_file=state.training.file_id, metadata={RUN_KEY: state.run}
        )
        by_hand = caller.fine_tuning.jobs.create(model=MODEL, training_file=state.training.file_id)
    shown = command("finetune", "status", "tuned").stdout
    assert made.id in shown
    assert by_hand.id not in shown
    assert "To cancel it, run: batchscore finetune start tuned" in shown
    assert json.loads(command("finetune", "status", "tuned", "--json").stdout)["doubles"] == [made.id]
    assert f"the job {made.id}, a double" in command("finetune", "clean", "tuned").stdout
    ran = command("finetune", "start", "tuned")
    assert (ran.exit_code, f"1 double job cancelled: {made.id}" in ran.stderr) == (0, True)
    assert project.meter()["held"]["jobs"] == 2, "ours, and the one that somebody made"
    assert [(each.id, each.status) for each in state_of(folder).earlier_jobs] == [(made.id, "cancelled")]
    assert made.id not in command("finetune", "status", "tuned").stdout
    run_action(place(), "cancel")
    state = run_start(place(), {}, {}, str, again=True)
    assert state.job.id not in {made.id, by_hand.id}, "a double that was cancelled is not taken"


@pytest.mark.slow
def test_files_that_were_prepared_again_after_the_estimate_are_not_sent(
    place: Callable[..., TrainingPlace], project: Project, folder: Path
) -> None:
    """In another terminal, while the question was shown."""
    request = {"model": MODEL}
    found, digests = estimate_of(place(), request, None, {})
    shutil.rmtree(folder)
    write_prepared(folder, 400)
    with pytest.raises(InputError, match="prepared again after its cost was estimated"):
        run_start(place(), request, {}, str, accepted=(found.cost, digests))
    assert project.books().calls == {}
    found, digests = estimate_of(place(), request, None, {})
    assert run_start(place(), request, {}, str, accepted=(found.cost, digests)).job.id


@pytest.mark.slow
def test_a_clean_before_there_is_a_job_lets_the_files_be_sent_again(
    place: Callable[..., TrainingPlace], command: Command, use: Callable[..., list[str]], project: Project
) -> None:
    use("azure-v1")
    project.will("create_job", status=400)
    with pytest.raises(ServiceRefused):
        started(place("azure-v1"), "azure-v1")
    assert command("finetune", "clean", "tuned", "--yes").exit_code == 0
    assert project.books().files == 0
    assert started(place("azure-v1"), "azure-v1").job.id


@pytest.mark.slow
def test_files_that_somebody_deleted_before_there_was_a_job_are_sent_again(
    place: Callable[..., TrainingPlace], project: Project, simulator: Running, folder: Path
) -> None:
    project.will("create_job", status=400)
    with pytest.raises(ServiceRefused):
        started(place())
    old = state_of(folder)
    aged = {part: replace(file, intent_at=1.0) for part, file in old.files.items()}
    change_state(folder, lambda each: replace(each, training=aged["training"], validation=aged["validation"]))
    with client(project, simulator) as caller:
        for each in old.files.values():
            caller.files.delete(each.file_id)
    state = started(place())
    assert state.job.id
    assert project.books().files == 2
    assert not {file.file_id for file in state.files.values()} & {file.file_id for file in old.files.values()}


@pytest.mark.slow
def test_a_copy_of_a_file_is_deleted_with_it(
    place: Callable[..., TrainingPlace],
    command: Command,
    use: Callable[..., list[str]],
    project: Project,
    simulator: Running,
    folder: Path,
) -> None:
    """A list that lagged has hidden that the first upload had arrived."""
    use()
    file = started(place()).training
    with client(project, simulator) as caller:
        caller.files.create(file=(file.name, (folder / "train.jsonl").read_bytes()), purpose="fine-tune")
    run_action(place(), "cancel")
    assert command("finetune", "clean", "tuned", "--yes").exit_code == 0
    assert project.books().files == 0


@pytest.mark.slow
def test_a_folder_that_is_prepared_again_after_a_lost_upload_leaves_no_file_behind(
    place: Callable[..., TrainingPlace], project: Project, folder: Path
) -> None:
    project.will("upload", drop=True, happened=True)
    project.will("upload", times=None, drop=True)
    with pytest.raises(BatchscoreError):
        started(place(limits=IMPATIENT))
    project.drop_faults()
    assert (state_of(folder).training.file_id, project.books().files) == ("", 1)
    prepare_again(folder)
    state = started(place())
    assert state.leftovers == ()
    assert project.books().files == 2


@pytest.mark.slow
def test_a_file_that_the_service_does_not_know_yet_is_not_sent_again(
    place: Callable[..., TrainingPlace], project: Project, folder: Path
) -> None:
    project.will("get_file", status=404)
    state = started(place())
    assert project.books().calls["upload"] == 2
    assert project.books().files == 2
    assert state.leftovers == ()


@pytest.mark.slow
@pytest.mark.parametrize(("surface", "what"), [("openai", "a checkpoint"), ("azure-v1", "results")])
def test_a_job_that_is_repeated_leaves_nothing_of_the_earlier_one_behind(
    surface: str,
    what: str,
    place: Callable[..., TrainingPlace],
    command: Command,
    use: Callable[..., list[str]],
    project: Project,
    folder: Path,
) -> None:
    """Neither its checkpoints, which are models at OpenAI, nor its results."""
    use(surface)
    here = place(surface)
    project.set_tuning(validating=0, queued=0, running=20.0, pausing=0, mid_results=True)
    project.stop_clock()
    started(here, surface)
    project.advance(15)
    run_action(here, "pause")
    project.advance(1)
    run_action(here, "cancel")
    run_start(here, {}, {}, str, again=True)
    run_action(here, "cancel")
    ran = command("finetune", "clean", "tuned", "--yes")
    assert (ran.exit_code, what in ran.stdout + ran.stderr) == (0, True), ran
    assert project.books().files == 0
    if surface == "openai":  # Azure keeps a checkpoint as a part of its job
        assert project.meter()["held"]["models"] == 0


@pytest.mark.slow
def test_a_job_whose_resumption_got_no_reply_goes_on(
    place: Callable[..., TrainingPlace], project: Project
) -> None:
    project.set_tuning(validating=0, queued=0, running=1000.0, pausing=0.0)
    project.stop_clock()
    started(place())
    project.advance(500)
    run_action(place(), "pause")
    project.advance(1)
    project.will("resume_job", drop=True, happened=True)
    assert run_action(place(), "resume").job.status == "running"
    with pytest.raises(ServiceRefused, match="Only a paused job"):
        run_action(place(), "resume")


def test_settings_that_are_zero_count(
    command: Command, use: Callable[..., list[str]], place: Callable[..., TrainingPlace], folder: Path
) -> None:
    use()
    started(place())
    ran = command("finetune", "start", "tuned", "-m", MODEL, "--seed", "0")
    assert (ran.exit_code, "other settings" in ran.stderr) == (1, True)
    ran = command("finetune", "start", "tuned", "--seed", "0")
    assert (ran.exit_code, "Name the base model" in ran.stderr) == (2, True)


@pytest.mark.parametrize("more", ["?sv=1&sig=x", "?X-Amz-Signature=x", "?token=x", "?"])
def test_a_url_with_a_query_is_not_taken_in_plain_text(more: str) -> None:
    for text in (f"https://host/train.jsonl{more}", "https://user:pw@host/train.jsonl"):
        with pytest.raises(UsageError, match="into a variable") as caught:
            import_url("--training-url", text, {})
        assert "host" not in str(caught.value)
    environ = {"URL": f"https://host/train.jsonl{more}", "SAS": more}
    for text in ("${URL}", "https://host/train.jsonl${SAS}", "$URL"):
        assert import_url("--training-url", text, environ) == environ["URL"]


@pytest.mark.slow
def test_azure_waits_for_a_file_that_is_only_uploaded(
    place: Callable[..., TrainingPlace], project: Project
) -> None:
    """Its other services may use such a file."""
    project.set_tuning(file_running=0.0)
    here = place("azure-v1")
    file = started(here, "azure-v1").training
    uploaded = UploadedFile(file.file_id, file.name, file.bytes, "uploaded")

    async def waiting() -> str:
        async with here.calls() as plane:
            return (await wait_until_usable(plane, uploaded, dialect_of(here.target).usable)).status

    assert asyncio.run(waiting()) == "processed"


@pytest.mark.slow
def test_a_copy_of_a_folder_does_not_take_a_job_that_was_cancelled(
    place: Callable[..., TrainingPlace], project: Project, folder: Path
) -> None:
    project.will("create_job", status=403, code="forbidden")
    with pytest.raises(ServiceRefused):
        started(place())
    copy = folder.parent / "copy"
    shutil.copytree(folder, copy)
    mine = started(place())
    run_action(place(), "cancel")
    other = started(replace(place(), folder=copy))
    assert other.job.id != mine.job.id
    assert other.job.status != "cancelled"
    assert [each.id for each in other.earlier_jobs] == [mine.job.id]
