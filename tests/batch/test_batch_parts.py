"""The pure parts of the Batch API: ids, cutting, decisions, lines of results, the durable record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.batch.billing import Billing
from batchscore.batch.budget import TokenBudget
from batchscore.batch.build import ChunkWork
from batchscore.batch.custom_id import custom_id, identity_of, probe_id, read_id, row_digest
from batchscore.batch.cut import Size, is_full, too_large
from batchscore.batch.open_rows import OpenRows
from batchscore.batch.results import has_answer, judge, lines_of, read_line
from batchscore.batch.scratch import Scratch
from batchscore.batch.settle import Settling
from batchscore.batch.submit import MOST_LOOKS, Decision, Move, after_end, after_failure, after_looking
from batchscore.batch.waits import HOUR, Waits
from batchscore.batch.work import Ended
from batchscore.errors import ErrorCode, OutputError, ServiceRefused, SettingsError
from batchscore.output.layout import Layout
from batchscore.output.submitted import (
    NO_MORE,
    PROVEN,
    Chunk,
    Chunks,
    Step,
    chunk_folder,
    chunk_of,
    refuse_submitted,
    submitted_text,
    waiting_chunks,
)
from batchscore.prompts.batches import BodyFormat
from batchscore.prompts.replies import ReplyReader, ReplyScores
from batchscore.provider.batch_object import BatchState, FileProblem, batch_state
from batchscore.provider.client import CallFailed, NotThere, Refused, Unknown
from batchscore.request.outcome_rules import Action, Outcome
from batchscore.rows import Attempt, Prompt, RowError
from batchscore.stores import storage
from batchscore.task import CHAT

DIGEST = bytes(range(16))
CHUNK = Chunk(key="abcdefgh", identity="00", rows=3, bytes=100, tokens=50, input_file="file-1")


@given(st.integers(0, 36**5 - 1), st.binary(min_size=16, max_size=16))
def test_an_id_says_what_went_into_it(index: int, digest: bytes) -> None:
    text = custom_id("k3y00000", index, digest)
    row = read_id(text)
    assert row is not None
    assert (row.key, row.row, row.digest) == ("k3y00000", index, digest)
    assert len(text) <= 64
    assert text[0].isalpha()
    assert text.replace("-", "").replace("_", "").isalnum()


@given(st.text(alphabet="b0aZ-_é", max_size=45) | st.none() | st.integers())
def test_other_ids_are_nobodys(text: Any) -> None:
    assert read_id(text) is None


def test_each_row_has_one_id() -> None:
    text = custom_id("abcdefgh", 7, DIGEST)
    for other in (text.replace("-7-", "-07-"), text[:-1] + chr(ord(text[-1]) + 1), text + "=", text + "\n"):
        assert read_id(other) is None
    assert read_id(text) is not None


def test_a_digest_proves_file_row_prompt_and_parameters() -> None:
    identity = identity_of(b"chat", b"m")
    prompts = [Prompt("a", 1, b'"x"'), Prompt("a", 2, b'"x"'), Prompt("b", 1, b'"x"'), Prompt("a", 1, b'"y"')]
    digests = {row_digest(identity, prompt) for prompt in prompts}
    digests.add(row_digest(identity_of(b"chatm", b""), prompts[0]))
    assert len(digests) == 5
    assert row_digest(identity, Prompt("a", 1, b'"x"', "id", {"k": 1})) in digests, (
        "kept columns do not count"
    )


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 60)), max_size=60), st.integers(10, 99))
def test_no_chunk_exceeds_a_limit_and_none_is_cut_early(rows: list[tuple[int, int]], most: int) -> None:
    limits = Size(7, most, 100, 50, 150)
    chunks: list[list[Size]] = [[]]
    for length, tokens in rows:
        row = Size(1, length, tokens, 1, length)
        if too_large(row, limits) is not None:
            assert length > most
            continue
        if is_full(sum(chunks[-1], Size()), row, limits):
            assert exceeds(sum(chunks[-1], Size()) + row, limits)
            chunks.append([])
        chunks[-1].append(row)
    assert not any(exceeds(sum(chunk, Size()), limits) for chunk in chunks if len(chunk) > 1)


def exceeds(size: Size, limits: Size) -> bool:
    return any(getattr(size, each.name) > getattr(limits, each.name) for each in fields(Size))


def state(identity: str, **fields: Any) -> BatchState:
    return batch_state({"id": identity, "status": "in_progress", "created_at": 1000} | fields)


OURS = state("b2", input_file_id="file-1", created_at=1002)
OLDER = state("b1", input_file_id="file-1", created_at=1001)
BY_KEY = state("b3", input_file_id="", metadata={"chunk": "abcdefgh"})
FOREIGN = state("b9", input_file_id="file-9", metadata={"chunk": "zzzzzzzz"})


@pytest.mark.parametrize(
    ("found", "waits", "expected"),
    [
        ([FOREIGN, OURS], (1.0,), Decision(Move.ADOPT, OURS)),
        ([OURS, OLDER], (), Decision(Move.ADOPT, OLDER)),
        ([BY_KEY], (), Decision(Move.ADOPT, BY_KEY)),
        ([FOREIGN], (30.0, 120.0), Decision(Move.LOOK_AGAIN, seconds=30.0)),
        ([], (120.0,), Decision(Move.LOOK_AGAIN, seconds=120.0)),
        ([FOREIGN], (), Decision(Move.CREATE)),
    ],
)
def test_what_follows_from_the_list_of_batches(
    found: list[BatchState], waits: tuple[float, ...], expected: Decision
) -> None:
    assert after_looking(CHUNK, found, waits) == expected


def test_a_batch_that_was_refused_before_is_not_the_one_that_was_made() -> None:
    chunk = replace(CHUNK, refused=("b1",))
    assert after_looking(chunk, [OLDER, OURS], ()) == Decision(Move.ADOPT, OURS)
    assert after_looking(chunk, [OLDER], ()) == Decision(Move.CREATE)


@pytest.mark.parametrize(
    ("failure", "tries", "move"),
    [
        (Unknown("x"), 0, Move.LOOK_AGAIN),
        (Unknown("x", 500), 0, Move.LOOK_AGAIN),
        (Unknown("x", 429), 0, Move.LOOK_AGAIN),
        (Unknown("x", 429, "token_limit_exceeded"), 0, Move.LOOK_AGAIN),
        (Refused("x", 400, "token_limit_exceeded"), 0, Move.WAIT_FOR_QUOTA),
        (Refused("x", 400, "", "… token_limit_exceeded …"), 0, Move.WAIT_FOR_QUOTA),
        (NotThere("x", 404), 0, Move.WAIT_FOR_FILE),
        (NotThere("x", 404), MOST_LOOKS, Move.STOP),
        (Refused("x", 400, "invalid_request"), 0, Move.STOP),
        (Refused("x", 401), 0, Move.STOP),
    ],
)
def test_what_follows_from_a_failed_creation(failure: CallFailed, tries: int, move: Move) -> None:
    assert after_failure(failure, tries).move is move


def problem(code: str, line: int | None) -> FileProblem:
    return FileProblem(code, line, "")


@pytest.mark.parametrize(
    ("status", "problems", "expected"),
    [
        ("completed", (), Decision(Move.READ_RESULTS)),
        ("expired", (), Decision(Move.READ_RESULTS)),
        ("cancelled", (), Decision(Move.READ_RESULTS)),
        ("failed", (), Decision(Move.READ_RESULTS)),
        ("failed", (problem("token_limit_exceeded", None),),
         Decision(Move.WAIT_FOR_QUOTA, code="token_limit_exceeded")),
        ("failed", (problem("invalid_request", 3),), Decision(Move.DROP_LINES, lines={2: "invalid_request"})),
        ("failed", (problem("model_not_found", None),), Decision(Move.STOP, code="model_not_found")),
        ("failed", (problem("x", 3), problem("y", None)), Decision(Move.STOP, code="x")),
        ("failed", tuple(problem("url_mismatch", line) for line in range(1, 22)),
         Decision(Move.STOP, code="url_mismatch")),
        ("failed", (problem("x", 101),), Decision(Move.STOP, code="x")),
    ],
)  # fmt: skip
def test_what_follows_from_the_end_of_a_batch(
    status: str, problems: tuple[FileProblem, ...], expected: Decision
) -> None:
    batch = replace(state("b", status=status), problems=problems)
    assert after_end(batch, 100) == expected


def test_the_budget_is_learned_downwards() -> None:
    budget = TokenBudget(1000.0)
    assert budget.has_room("a", 5000)
    budget.add("a", 600)
    assert budget.has_room("b", 400)
    assert not budget.has_room("b", 401)
    budget.add("b", 400)
    budget.refuse("b")
    assert (budget.limit, budget.refusals) == (600, 1)
    assert not budget.has_room("b", 10)
    budget.release("a")
    assert budget.has_room("b", 400)
    assert budget.refusals == 0


def test_batches_are_looked_at_less_and_less_often() -> None:
    waits = Waits()
    seconds, seen = waits.first_look, 0.0
    for _ in range(30):
        seen += seconds
        seconds = waits.next_look(seconds, seen)
    assert seconds == waits.later_look
    assert waits.next_look(60.0, HOUR + 1) == 90.0
    assert waits.next_look(250.0, HOUR + 1) == waits.last_look
    assert 60 <= waits.after_refusals(1) <= 72
    assert 600 <= waits.after_refusals(99) <= 720


def test_rows_are_found_in_the_last_chunk_that_has_them() -> None:
    rows = [identity_of(b"%d" % number) for number in range(100)]
    same_start = rows[5][:8] + bytes(8)
    found = OpenRows.of([b"".join(rows[:50]), b"".join([*rows[40:], same_start])])
    assert found.find(rows[3]) == (0, 3)
    assert found.find(rows[45]) == (1, 5)
    assert found.find(rows[99]) == (1, 59)
    assert found.find(rows[5]) == (0, 5)
    assert found.find(same_start) == (1, 60)
    assert found.find(DIGEST) is None
    assert OpenRows.of([]).find(DIGEST) is None


def test_prompts_come_back_from_scratch(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "scratch")
    prompts = scratch.prompts("k")
    given = [Prompt("a.csv", row, b'"x"', str(row), {"n": row, "none": None}) for row in range(5)]
    given[4] = Prompt("a.csv", 4, b'"x"', "4", {"n": 4}, truncated=True, image_bytes=3, image_tokens=5)
    assert all(getattr(given[4], each.name) != each.default for each in fields(Prompt))
    for place in (3, 0, 4):
        prompts.put(place, given[place])
    assert [prompts.get(place) for place in (-1, 0, 1, 3, 4, 5)] == [
        None,
        given[0],
        None,
        given[3],
        given[4],
        None,
    ]
    assert (tmp_path / "scratch").stat().st_mode & 0o77 == 0
    scratch.close()
    assert not (tmp_path / "scratch").exists()


BODY = {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}], "usage": {"total_tokens": 0}}


def line(**fields: Any) -> bytes:
    return json.dumps({"custom_id": "x", "error": None} | fields).encode()


def answer(status: object = 200, body: object = BODY, **more: Any) -> bytes:
    return line(response={"status_code": status, "body": body}, **more)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (answer(), None),
        (answer(error={}), None),
        (answer(400, {"error": {"code": "context_length_exceeded"}}), ErrorCode.INPUT_TOO_LONG),
        (answer(400, {"error": {"code": "content_filter", "message": "secret"}}), ErrorCode.CONTENT_FILTER),
        (answer(422, {"error": {"message": "bad"}}), ErrorCode.INVALID_REQUEST),
        (answer(429, {"error": {"code": "rate_limit_exceeded"}}), ErrorCode.RATE_LIMITED),
        (answer(500, None), ErrorCode.SERVER_ERROR),
        (answer(400, None, error="a text"), ErrorCode.INVALID_REQUEST),
        (answer(400, None, error={"code": "content_filter"}), ErrorCode.CONTENT_FILTER),
        (answer(0, None), ErrorCode.SERVER_ERROR),
        (answer("200"), ErrorCode.SERVER_ERROR),
        (answer(True), ErrorCode.SERVER_ERROR),
        (answer(200, "a text"), ErrorCode.INVALID_RESPONSE),
        (answer(200, {"choices": []}), ErrorCode.INVALID_RESPONSE),
        (line(response=None, error={"code": "batch_expired"}), ErrorCode.SERVER_ERROR),
        (line(response=[], error="odd"), ErrorCode.SERVER_ERROR),
        (line(), ErrorCode.SERVER_ERROR),
    ],
)
def test_what_a_line_says_of_its_row(raw: bytes, expected: ErrorCode | None) -> None:
    read = read_line(raw)
    assert read is not None
    judged = judge(read, ReplyReader(CHAT), b"{}")
    if expected is None:
        assert isinstance(judged, ReplyScores)
        return
    assert isinstance(judged, Outcome)
    assert judged.code is expected
    assert "secret" not in judged.reason
    assert "a text" not in judged.reason


@pytest.mark.parametrize("raw", [b"", b"nothing", b"[1]", b'{"custom_id": "x", "resp', b"\xff\xfe", b"null"])
def test_what_is_no_line_settles_nothing(raw: bytes) -> None:
    assert read_line(raw) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["custom_id", "response", "status_code", "body", "error", "choices", "message"]
                ),
                inner,
            )
        ),
        max_leaves=12,
    )
)
def test_no_line_raises(document: Any) -> None:
    read = read_line(json.dumps(document).encode())
    if read is not None:
        judged = judge(read, ReplyReader(CHAT), b"{}")
        assert isinstance(judged, ReplyScores) or judged.action in set(Action)


def test_lines_end_at_line_feeds_alone(tmp_path: Path) -> None:
    path = tmp_path / "results"
    path.write_bytes('{"a":"\u2028\u0085\x0b"}\n\r\n\n{"b":1}\r\n{"torn'.encode())
    assert list(lines_of(path)) == ['{"a":"\u2028\u0085\x0b"}'.encode(), b'{"b":1}', b'{"torn']


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "out", "chat", ".jsonl")


def test_a_chunk_is_written_step_by_step(layout: Layout) -> None:
    chunks = Chunks(chunk_folder(layout))
    assert chunks.read_all() == []
    planned = replace(CHUNK, adapted=("max_tokens",), files={"a.csv": 3})
    chunks.plan(planned, DIGEST * 3)
    assert chunks.read_all() == [planned]
    assert waiting_chunks(layout) == []
    refuse_submitted(layout, overwrite=True, by_batch=False)
    created = chunks.change(planned, step=Step.CREATED, batch="b1")
    assert waiting_chunks(layout) == [created]
    assert chunks.read_digests(created) == DIGEST * 3
    assert submitted_text([created]) == "3 rows in 1 batch"
    refuse_submitted(layout, overwrite=False, by_batch=True)
    with pytest.raises(SettingsError, match="paid for again"):
        refuse_submitted(layout, overwrite=False, by_batch=False)
    chunks.change(created, step=Step.SETTLED)
    refuse_submitted(layout, overwrite=False, by_batch=False)
    storage.remove(chunks.folder / "abcdefgh.json")  # a kill comes before the rows are removed
    chunks.sweep()
    assert storage.names(chunks.folder) == []
    chunks.remove(created)


def test_a_later_versions_fields_are_ignored_and_a_damaged_record_is_not(layout: Layout) -> None:
    chunks = Chunks(chunk_folder(layout))
    chunks.plan(CHUNK, DIGEST * 3)
    place = Path(str(chunks.folder / "abcdefgh.json"))
    place.write_text(place.read_text().replace("{", '{"later": 1,', 1))
    assert chunks.read_all() == [CHUNK]
    for text in ("", "[]", "{}", '{"step": "flown"}', place.read_text()[:40]):
        place.write_text(text)
        with pytest.raises(OutputError, match=r"abcdefgh\.json is damaged"):
            chunks.read_all()


@pytest.mark.parametrize(
    ("step", "ambiguous", "batch", "unconfirmed"),
    [
        ("planned", False, "", 0),
        ("creating", False, "", 1),
        ("uploaded", True, "", 1),
        ("created", False, "batch_1", 0),
        ("created", True, "batch_1", 1),
    ],
)
def test_the_record_of_an_earlier_version_says_what_is_not_confirmed(
    step: str, batch: str, unconfirmed: int, *, ambiguous: bool
) -> None:
    """It has not counted the creations."""
    given = asdict(CHUNK) | {"step": step, "ambiguous": ambiguous, "batch": batch}
    del given["sent"]
    assert chunk_of(given).unconfirmed == unconfirmed


@pytest.mark.parametrize(
    ("text", "proven"), [(b"", False), (b"\xff", False), (NO_MORE.encode(), None), (b"00" * 16, True)]
)
def test_what_is_known_of_a_service(layout: Layout, text: bytes, proven: bool | None) -> None:  # noqa: FBT001
    chunks = Chunks(chunk_folder(layout))
    assert chunks.is_proven(bytes(16)) is False
    storage.write_whole(chunks.folder / PROVEN, text)
    assert chunks.is_proven(bytes(16)) is proven


def test_a_cut_file_of_digests_is_damage(layout: Layout) -> None:
    chunks = Chunks(chunk_folder(layout))
    chunks.plan(CHUNK, DIGEST * 3)
    Path(str(chunks.folder / "abcdefgh.rows")).write_bytes(DIGEST)
    with pytest.raises(OutputError, match=r"16 bytes for 3 rows.* batches \S+ forget abcdefgh$"):
        chunks.read_digests(CHUNK)


def test_rows_are_bound_from_the_creation_of_a_batch_on() -> None:
    free = [step.value for step in Step if not replace(CHUNK, step=step).may_cost]
    assert free == ["planned", "uploaded", "closed"]
    assert replace(CHUNK, step=Step.UPLOADED, sent=1).is_open, "a creation had no usable reply"
    assert not replace(CHUNK, step=Step.CLOSED, sent=1, unread=1).waiting


SentAgain = list[tuple[int, bool]]


@pytest.fixture
def settling(tmp_path: Path) -> Iterator[Callable[..., tuple[Settling, SentAgain]]]:
    """Give how three rows are settled whose batch has ended, and which of them are sent again."""
    scratch = Scratch(tmp_path / "scratch")

    def make(decision: Decision, lines: list[bytes], **fields: Any) -> tuple[Settling, SentAgain]:
        prompts = scratch.prompts("k")
        for row in range(3):
            prompts.put(row, Prompt("a.csv", row, b'"x"'))
        path = tmp_path / "results"
        path.write_bytes(b"\n".join(lines))
        again: SentAgain = []
        found = Settling(
            ended=Ended(ChunkWork(replace(CHUNK, **fields), prompts, None, DIGEST * 3), decision, (path,)),
            reader=ReplyReader(CHAT),
            form=BodyFormat(CHAT, "m", {"max_tokens": 5}, may_rename=True),
            billing=Billing(lambda _: None, lambda *_: None, "m", 1.0),
            rounds=2,
            again=lambda index, _, counts: again.append((index, counts)),
        )
        return found, again

    yield make
    scratch.close()


def own(index: int, status: int = 200, body: object = BODY) -> bytes:
    return answer(status, body, custom_id=custom_id("abcdefgh", index, DIGEST))


PARAMETER = {"error": {"code": "unsupported_parameter", "param": "max_tokens", "message": "x"}}
INVALID = {"error": {"code": "invalid_value", "param": "temperature", "message": "x"}}
LINES = Decision(Move.DROP_LINES, lines={1: "invalid_request"})


@pytest.mark.parametrize(
    ("decision", "lines", "fields", "settled", "again"),
    [
        (Decision(Move.READ_RESULTS), [own(2), own(0)], {}, {0: "", 2: ""}, [(1, True)]),
        (Decision(Move.READ_RESULTS), [own(0)], {"round": 2},
         {0: "", 1: "server_error", 2: "server_error"}, []),
        (LINES, [], {}, {1: "invalid_request"}, [(0, False), (2, False)]),
        (Decision(Move.HALVE), [], {}, {}, [(0, False), (1, False), (2, False)]),
        (Decision(Move.READ_RESULTS), [own(row, 400, PARAMETER) for row in range(3)], {}, {},
         [(0, False), (1, False), (2, False)]),
        (Decision(Move.READ_RESULTS), [own(0), own(1, 400, PARAMETER), own(2)], {"adapted": ("max_tokens",)},
         {0: "", 1: "invalid_request", 2: ""}, []),
        (Decision(Move.READ_RESULTS), [own(0), own(1, 401, INVALID), own(2)], {},
         {0: "", 2: ""}, [(1, True)]),
        (Decision(Move.READ_RESULTS), [own(0), own(1, 401, INVALID), own(2)], {"round": 2},
         {0: "", 1: "server_error", 2: ""}, []),
    ],
)  # fmt: skip
def test_each_row_is_settled_or_sent_again(
    settling: Callable[..., tuple[Settling, SentAgain]],
    decision: Decision,
    lines: list[bytes],
    fields: dict[str, Any],
    settled: dict[int, str],
    again: SentAgain,
) -> None:
    found, sent_again = settling(decision, lines, **fields)
    rows = {
        each.row: each.result.code.value if isinstance(each.result, RowError) else ""
        for given in found.rows()
        for each in given
    }
    assert (rows, sent_again) == (settled, again)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, INVALID),
        (400, {"error": {"code": "invalid_api_key"}}),
        (200, {"error": {"code": 400}}),
        (200, {"error": {"code": 402}}),
        (200, {"error": "no such thing"}),
        (200, {"choices": []}),
        (200, "a text"),
    ],
)
def test_what_refuses_every_row_ends_the_run_and_starts_no_other_batch(
    settling: Callable[..., tuple[Settling, SentAgain]], status: int, body: object, tmp_path: Path
) -> None:
    found, _ = settling(Decision(Move.READ_RESULTS), [own(row, status, body) for row in range(3)])
    with pytest.raises(ServiceRefused):
        list(found.rows())
    assert not has_answer(tmp_path / "results", ReplyReader(CHAT))


@pytest.mark.parametrize("is_first", [True, False])
def test_the_line_of_our_own_is_counted_when_its_results_are_first_read(
    settling: Callable[..., tuple[Settling, SentAgain]], *, is_first: bool
) -> None:
    used = {**BODY, "usage": {"prompt_tokens": 8, "completion_tokens": 2}}
    lines = [answer(200, used, custom_id=probe_id("abcdefgh"))] * 2
    found, _ = settling(Decision(Move.READ_RESULTS), [*lines, *map(own, range(3))])
    attempts: list[Attempt] = []
    found.billing.listen, found.billing.is_first = attempts.append, is_first  # type: ignore[assignment]
    assert sum(len(rows) for rows in found.rows()) == 3
    counted = [(each.prompt_tokens, each.completion_tokens) for each in attempts if not each.rows]
    assert counted == [(8, 2)] * is_first


def test_an_answer_shows_that_the_service_takes_such_requests(tmp_path: Path) -> None:
    path = tmp_path / "results"
    path.write_bytes(own(0, 400, INVALID) + b"\nnothing\n" + own(1))
    assert has_answer(path, ReplyReader(CHAT))
