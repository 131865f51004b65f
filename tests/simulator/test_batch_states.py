from __future__ import annotations

from typing import Any

import openai
import pytest

from batch_files import PlainClient, as_file, chat_line, results, submit
from batchscore.simulator import Running
from batchscore.simulator.batch.clock import ProjectClock
from batchscore.simulator.batch.rules import BATCH_FORMS, BatchRules, rules_lasting
from simulated import Project

DAY = 86_400
LINES = [chat_line(f"row-{number}") for number in range(10)]


def states(client: openai.OpenAI, batch: Any) -> tuple[str, int]:
    """Return the status of a batch, and how many of its lines ran."""
    found = client.batches.retrieve(batch.id)
    return found.status, found.request_counts.completed + found.request_counts.failed


def test_a_clock_runs_stops_and_turns() -> None:
    clock = ProjectClock()
    clock.run(running=False)
    start = clock.now()
    clock.advance(DAY)
    assert clock.now() == start + DAY == clock.now()
    clock.run(running=True)
    assert 0 <= clock.now() - start - DAY < 1
    with pytest.raises(ValueError, match="negative"):
        clock.advance(-1)


def test_each_state_lasts_as_long_as_the_clock_says(project: Project, openai_batches: openai.OpenAI) -> None:
    project.stop_clock()
    project.set_rules(validating=60, in_progress=3600, finalizing=600)
    batch = submit(openai_batches, LINES)
    seen = []
    for seconds in (59, 1, 1800, 1799, 1, 599, 1):
        project.advance(seconds)
        seen.append(states(openai_batches, batch))
    assert seen == [
        ("validating", 0),
        ("in_progress", 0),
        ("in_progress", 5),
        ("in_progress", 9),
        ("finalizing", 10),
        ("finalizing", 10),
        ("completed", 10),
    ]
    found = openai_batches.batches.retrieve(batch.id)
    times = [found.in_progress_at, found.finalizing_at, found.completed_at, found.expires_at]
    assert [at - batch.created_at for at in times if at] == [60, 3660, 4260, DAY]


def test_one_turn_of_the_clock_goes_through_all_states(
    project: Project, openai_batches: openai.OpenAI
) -> None:
    project.set_rules(validating=60, in_progress=3600, finalizing=600)
    batch = submit(openai_batches, LINES)
    project.advance(DAY / 2)
    assert states(openai_batches, batch) == ("completed", 10)


def test_a_batch_ends_within_seconds_of_real_time(project: Project, openai_batches: openai.OpenAI) -> None:
    project.set_rules(validating=0.05, in_progress=0.2, finalizing=0.05)
    batch = submit(openai_batches, LINES)
    seen = []
    while "completed" not in seen:
        seen.append(states(openai_batches, batch)[0])
    order = ["validating", "in_progress", "finalizing", "completed"]
    assert [state for state in order if state in seen] == list(dict.fromkeys(seen))
    assert "in_progress" in seen
    assert rules_lasting(0) == BatchRules(validating=0, in_progress=0, finalizing=0, cancelling=0)


@pytest.mark.parametrize(("state", "ran"), [("validating", 0), ("in_progress", 10), ("finalizing", 10)])
def test_a_batch_can_be_stuck_and_freed(
    project: Project, openai_batches: openai.OpenAI, state: str, ran: int
) -> None:
    project.set_rules(**{state: None})
    batch = submit(openai_batches, LINES)
    project.advance(DAY / 2)
    assert states(openai_batches, batch) == (state, ran)
    project.set_rules(**{state: 1})
    assert states(openai_batches, batch) == ("completed", 10)


def test_progress_can_stand_still_and_jump(project: Project, openai_batches: openai.OpenAI) -> None:
    project.stop_clock()
    project.set_rules(in_progress=40, progress=[0, 0.3, 0.3, 0.9])
    batch = submit(openai_batches, LINES)
    seen = []
    for _ in range(5):
        seen.append(states(openai_batches, batch)[1])
        project.advance(10)
    assert seen == [0, 3, 3, 9, 10]


def test_openais_batch_expires_and_azures_does_not(
    project: Project, openai_batches: openai.OpenAI, azure_v1_batches: openai.OpenAI
) -> None:
    project.set_rules(done_at_most=0.4, in_progress=60)
    one, other = submit(openai_batches, LINES), submit(azure_v1_batches, LINES)
    project.advance(DAY)
    assert states(azure_v1_batches, other) == ("in_progress", 4)
    found = openai_batches.batches.retrieve(one.id)
    assert (found.status, found.expired_at) == ("expired", found.expires_at)
    done = results(openai_batches, found.output_file_id)
    left = results(openai_batches, found.error_file_id)
    assert len({line["custom_id"] for line in (*done, *left)}) == 10
    assert (len(done), len(left)) == (4, 6)
    assert {(line["response"], line["error"]["code"]) for line in left} == {(None, "batch_expired")}
    assert sum(project.executions().values()) == 8
    azure_v1_batches.batches.cancel(other.id)
    assert states(azure_v1_batches, other) == ("cancelled", 4)


def test_a_cancelled_batch_keeps_what_is_done(project: Project, openai_batches: openai.OpenAI) -> None:
    project.stop_clock()
    project.set_rules(in_progress=100, cancelling=600)
    batch = submit(openai_batches, LINES)
    project.advance(30)
    for _ in range(2):  # the second one changes nothing
        assert openai_batches.batches.cancel(batch.id).status == "cancelling"
    project.advance(599)
    assert states(openai_batches, batch) == ("cancelling", 3)
    project.advance(1)
    found = openai_batches.batches.retrieve(batch.id)
    assert (found.status, found.request_counts.total, found.error_file_id) == ("cancelled", 10, None)
    assert len(results(openai_batches, found.output_file_id)) == 3


def test_a_batch_that_has_ended_is_not_cancelled(
    openai_batches: openai.OpenAI, azure_batches: openai.OpenAI
) -> None:
    for client, kind in ((openai_batches, openai.ConflictError), (azure_batches, openai.BadRequestError)):
        batch = submit(client, LINES)
        with pytest.raises(kind, match="status 'completed'"):
            client.batches.cancel(batch.id)


def test_a_completion_can_outrun_a_cancel(project: Project, openai_batches: openai.OpenAI) -> None:
    project.stop_clock()
    project.set_rules(in_progress=100, cancel_loses=True, cancelling=1)
    batch = submit(openai_batches, LINES)
    assert openai_batches.batches.cancel(batch.id).status == "cancelling"
    project.advance(1)
    assert states(openai_batches, batch) == ("completed", 10)


def test_a_new_file_is_pending_hidden_and_expires(
    simulator: Running, project: Project, azure_batches: openai.OpenAI
) -> None:
    project.stop_clock()
    project.set_rules(file_pending=10, file_hidden=1)
    expiry: Any = {"anchor": "created_at", "seconds": 14 * DAY}
    file = azure_batches.files.create(file=as_file(LINES), purpose="batch", expires_after=expiry)
    assert (file.status, file.expires_at) == ("pending", file.created_at + 14 * DAY)
    with pytest.raises(openai.NotFoundError):
        azure_batches.files.retrieve(file.id)
    project.advance(1)
    given: Any = {"endpoint": "/chat/completions", "completion_window": "24h"}
    with pytest.raises(openai.BadRequestError, match="pending"):
        azure_batches.batches.create(input_file_id=file.id, **given)
    project.advance(9)
    assert azure_batches.files.retrieve(file.id).status == "processed"
    later: Any = {"output_expires_after": {"anchor": "created_at", "seconds": 15 * DAY}}
    batch = azure_batches.batches.create(input_file_id=file.id, **given, **later)
    azure_batches.files.delete(file.id)  # which the batch does not mind
    batch = azure_batches.batches.retrieve(batch.id)
    assert len(results(azure_batches, batch.output_file_id)) == 10
    project.advance(15 * DAY)
    assert (
        PlainClient(simulator, project, "azure").get(f"/files/{batch.output_file_id}/content").status == 404
    )
    assert project.books().files == 0


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b"a,b\n"])
def test_azure_looks_how_a_file_begins_and_openai_what_each_line_is(
    openai_batches: openai.OpenAI, azure_v1_batches: openai.OpenAI, start: bytes
) -> None:
    file = azure_v1_batches.files.create(file=as_file([start, *LINES]), purpose="batch")
    assert file.status == "error"
    with pytest.raises(openai.BadRequestError, match="'error'"):
        submit(azure_v1_batches, [start, *LINES])
    batch = openai_batches.batches.retrieve(submit(openai_batches, [start, *LINES]).id)
    assert batch.errors is not None
    assert batch.errors.data is not None
    assert [(one.code, one.line) for one in batch.errors.data] == [("invalid_json_line", 1)]


def test_azure_limits_the_files_of_a_resource(project: Project, azure_batches: openai.OpenAI) -> None:
    project.set_rules(max_files=2)
    expiry: Any = {"anchor": "created_at", "seconds": 14 * DAY}
    for settings in ({}, {"expires_after": expiry}):
        for _ in range(2):
            azure_batches.files.create(file=as_file(LINES), purpose="batch", **settings)
        with pytest.raises(openai.BadRequestError) as caught:
            azure_batches.files.create(file=as_file(LINES), purpose="batch", **settings)
        assert caught.value.code == "quotaExceeded"
    assert project.books().files == 4


#: Form -> what changes in a batch that completes (or, if it says so, fails or is cancelled).
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "capital_status": ("completed", {"status": "Completed"}),
    "upper_status": ("completed", {"status": "COMPLETED"}),
    "unknown_status": ("validating", {"status": "pre_schedule"}),
    "canceled": ("cancelled", {"status": "canceled"}),
    "iso_times": ("completed", {"completed_at": "2027-01-15T08:00:00Z"}),
    "null_counts": ("completed", {"request_counts": {"total": None, "completed": None, "failed": None}}),
    "null_endpoint": ("completed", {"endpoint": None}),
    "empty_ids": ("completed", {"error_file_id": ""}),
    "early_ids": ("validating", {"status": "validating"}),
    "ids_on_failed": ("failed", {"status": "failed"}),
    "empty_error_file": ("completed", {"status": "completed"}),
    "errors_object": ("failed", {}),
    "errors_list": ("failed", {}),
    "unknown_fields": ("completed", {"region": "simulator"}),
}


@pytest.mark.parametrize("form", BATCH_FORMS)
def test_a_batch_object_has_each_form(
    simulator: Running, project: Project, openai_batches: openai.OpenAI, form: str
) -> None:
    end, expected = FORMS[form]
    project.stop_clock()
    project.advance(1_800_000_000 - project.books().now)
    project.set_rules(forms=[form], **({"validating": None} if end in {"validating", "cancelled"} else {}))
    batch = submit(openai_batches, [b"nothing\n", *LINES] if end == "failed" else LINES)
    if end == "cancelled":
        openai_batches.batches.cancel(batch.id)
    found = PlainClient(simulator, project).get(f"/batches/{batch.id}").json()
    assert {name: found[name] for name in expected} == expected
    assert openai_batches.batches.retrieve(batch.id).id == batch.id, "the official client reads it"
    if form == "errors_object":
        assert found["errors"]["data"]["line"] == "1"
    elif form == "errors_list":
        assert [one["line"] for one in found["errors"]] == [1]
    elif form == "empty_error_file":
        assert openai_batches.files.content(found["error_file_id"]).read() == b""
    elif form in {"early_ids", "ids_on_failed"}:
        with pytest.raises(openai.NotFoundError):
            openai_batches.files.content(found["output_file_id"])


def test_no_results_are_no_files(openai_batches: openai.OpenAI) -> None:
    batch = submit(openai_batches, [chat_line("a", "simulate-content-filter")])
    batch = openai_batches.batches.retrieve(batch.id)
    assert (batch.status, batch.output_file_id) == ("completed", None)
    assert len(results(openai_batches, batch.error_file_id)) == 1


def test_results_are_in_another_order_unless_a_rule_says_otherwise(
    project: Project, openai_batches: openai.OpenAI
) -> None:
    orders = []
    for shuffle in (True, False):
        project.set_rules(shuffle=shuffle)
        batch = openai_batches.batches.retrieve(submit(openai_batches, LINES).id)
        orders.append([line["custom_id"] for line in results(openai_batches, batch.output_file_id)])
    given = [line["custom_id"] for line in LINES]
    assert orders[0] != given == orders[1]
    assert sorted(orders[0]) == sorted(given)


def test_only_openais_lines_have_an_id(openai_batches: openai.OpenAI, azure_batches: openai.OpenAI) -> None:
    found = []
    for client in (openai_batches, azure_batches):
        batch = client.batches.retrieve(submit(client, LINES[:1]).id)
        (line,) = results(client, batch.output_file_id)
        found.append(list(line))
        assert ("content_filter_results" in line["response"]["body"]["choices"][0]) == (
            client is azure_batches
        )
    assert found == [["id", "custom_id", "response", "error"], ["custom_id", "response", "error"]]
    assert not hasattr(batch, "usage") or batch.usage is None
