"""A run's timeline in limited memory: however long the run is, all sums are exact."""

from __future__ import annotations

from collections import Counter

import orjson
from hypothesis import given
from hypothesis import strategies as st

from batchscore.errors import ErrorCode
from batchscore.report.timeline import (
    MOST_BINS,
    MOST_NOTICES,
    MOST_SLOWEST,
    Timeline,
    percentile,
    seconds_of,
)
from batchscore.rows import Attempt, DeploymentState, Event, Heartbeat, Notice, Prompt, RowsSettled


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def attempt(seconds: float = 0.2, status: int | None = 200, cause: str = "", row: int = 0) -> Attempt:
    return Attempt(1, status, seconds, cause, 10, 5, [Prompt("a.csv", row, b"secret", "id")], "d")


def standing(**more: object) -> DeploymentState:
    figures = {"state": "up", "in_flight": 4, "waiting": 0, "backing_off": 0, "rpm": 60.0, "tpm": 1000.0}
    figures |= {"paused_seconds": 0.0, "for_quota": False}
    return DeploymentState("d", **{**figures, **more})  # type: ignore[arg-type]


events = st.one_of(
    st.builds(
        attempt,
        st.floats(0, 5000, allow_subnormal=False),
        st.sampled_from([200, 429, 503, None]),
        st.sampled_from(["", "rate_limited", "server_error", "probe", "interrupted"]),
    ),
    st.builds(
        RowsSettled, st.integers(0, 5), st.just({ErrorCode.EMPTY_INPUT: 1, ErrorCode.INPUT_TOO_LONG: 2})
    ),
    st.builds(lambda paused: Heartbeat((standing(paused_seconds=paused),)), st.sampled_from([0.0, 3.0])),
)


@given(st.lists(st.tuples(st.floats(0, 4000), events), max_size=60))
def test_sums_are_kept_when_bins_are_merged(heard: list[tuple[float, Event]]) -> None:
    clock = Clock()
    timeline = Timeline(clock)
    watched_from = None
    for seconds, event in heard:
        clock.now += seconds
        timeline(event)
        if isinstance(event, Heartbeat) and watched_from is None:
            watched_from = clock.now
    record = orjson.loads(orjson.dumps(timeline.record()))
    columns = record["columns"]
    assert len(columns["requests"]) <= MOST_BINS
    assert {len(column) for column in columns.values()} == {len(columns["requests"])}
    attempts = [event for _, event in heard if isinstance(event, Attempt)]
    settled = [event for _, event in heard if isinstance(event, RowsSettled)]
    assert sum(columns["requests"]) == len(attempts)
    assert sum(columns["prompt_tokens"]) == 10 * len(attempts)
    assert sum(columns["ok"]) == sum(event.ok for event in settled)
    assert (sum(columns["empty"]), sum(columns["failed"])) == (len(settled), 2 * len(settled))
    assert sum(count for each in record["round_trips"] for _, count in each) == len(attempts)
    causes = Counter((event.cause, event.status) for event in attempts if event.cause)
    assert {(each["cause"], each["status"]): each["count"] for each in record["retries"]} == causes
    watched = clock.now - watched_from if watched_from is not None else 0.0
    assert abs(sum(columns["watched"]) - watched) <= 0.001 * len(columns["watched"]) + 1e-6 * watched
    assert len(columns["requests"]) * record["bin_seconds"] >= clock.now - 100.0 - 1e-6


def test_memory_is_limited_and_the_slowest_requests_are_kept() -> None:
    clock = Clock()
    timeline = Timeline(clock)
    for number in range(3000):
        clock.now += 7
        timeline(attempt(seconds=(number * 37 % 3000) / 100, row=number))
        timeline(Notice("x" * 1000))
    record = timeline.record()
    assert len(timeline.bins) <= MOST_BINS
    assert [each["seconds"] for each in record["slowest"]] == [
        (2999 - number) / 100 for number in range(MOST_SLOWEST)
    ]
    assert record["slowest"][0]["file"] == "a.csv"
    assert len(record["notices"]) == MOST_NOTICES
    assert record["notices_left_out"] == 3000 - MOST_NOTICES
    assert len(record["notices"][0]["text"]) <= 300
    assert b"secret" not in orjson.dumps(record)


def test_lone_surrogates_do_not_fail_a_run() -> None:
    timeline = Timeline(Clock())
    timeline(Attempt(1, 200, 1.0, prompts=[Prompt("a\ud800.csv", 0, b"", "\udcff")], deployment="d"))
    timeline(Notice("\ud800"))
    assert orjson.loads(orjson.dumps(timeline.record()))["slowest"][0]["file"] == "a\\ud800.csv"


def test_pauses_outages_and_limits_are_in_their_bins() -> None:
    clock = Clock()
    timeline = Timeline(clock)
    timeline(Heartbeat((standing(),)))
    for state in ({}, {"paused_seconds": 2.0}, {"state": "down", "rpm": None, "last_failure": "timeout"}, {}):
        clock.now += 1
        timeline(Heartbeat((standing(**state),)))
    record = timeline.record()
    columns = record["columns"]
    assert [sum(columns["paused"]), sum(columns["down"]), sum(columns["watched"])] == [1.0, 1.0, 4.0]
    assert columns["paused"][8:12] == [0.25] * 4  # the third second
    assert columns["in_flight"][0] == 1.0
    assert record["limits"]["d"]["rpm"][:4] == [60.0] * 4
    assert record["deployments"]["d"]["down"] == 1.0
    clock.now += 100
    assert timeline.record(2.5)["columns"]["watched"] == columns["watched"], "nothing was asked meanwhile"


def test_a_percentile_is_accurate_to_20_percent() -> None:
    timeline = Timeline(Clock())
    for milliseconds in range(1, 1001):
        timeline(attempt(seconds=milliseconds / 1000))
    for share in (0.5, 0.95, 0.99):
        found = percentile(timeline.bins[0].steps, share)
        assert found is not None
        assert share <= found <= share * 1.2
    assert percentile({}, 0.5) is None
    assert seconds_of(0) == 0.001
