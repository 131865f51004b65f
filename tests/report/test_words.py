"""Progress in words: pure, from events to text, at every width."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from batchscore.cli.draw_panel import panel
from batchscore.errors import ErrorCode, duration_text
from batchscore.report.advice import ADVICE, advice
from batchscore.report.progress.eta import Eta
from batchscore.report.progress.line import eta_text, status_line, waiting_for
from batchscore.report.progress.view import Totals, View
from batchscore.report.tally import Tally
from batchscore.report.words import counts_text, percent_text, rough_duration_text, short_name
from batchscore.rows import Attempt, BatchesState, DeploymentState, Heartbeat, RowsSettled

EAST = DeploymentState("east", "up", 8, 3, 0, 600.0, 60_000.0, 0.0, for_quota=True)
PAUSED = replace(EAST, deployment="west", in_flight=0, paused_seconds=12.0, for_quota=False)
DOWN = replace(
    PAUSED,
    deployment="north",
    state="down",
    paused_seconds=0.0,
    last_failure="server_error",
    failing_seconds=130.0,
    probe_seconds=8.0,
)


def view_of(*deployments: DeploymentState, total: int | None = 50_000, **facts: object) -> View:
    tally = Tally()
    tally.add(RowsSettled(12_335, {ErrorCode.INPUT_TOO_LONG: 7, ErrorCode.EMPTY_INPUT: 3}))
    for cause in ("", "rate_limited", "rate_limited", "timeout"):
        tally.add(Attempt(1, 200, 1.0, cause, 100, 20))
    view = View(
        at=100.0,
        seconds=123.0,
        statistics=tally.statistics(),
        total=total,
        exact=True,
        per_minute=Totals(5_000.0, 120.0, 58_900.0),
        rpm=600.0,
        tpm=60_000.0,
        pulse=Heartbeat(deployments, oldest_seconds=3.0) if deployments else None,
        pulsed_at=100.0,
        reading=True,
        eta=Eta(700.0, 740.0) if deployments else None,
        cost=1.23,
    )
    return replace(view, **facts)  # type: ignore[arg-type]


def lines_of(view: View, width: int = 80, height: int = 24, *, verbose: bool = False) -> list[str]:
    return [line.plain for line in panel(view, width, height, verbose=verbose)]


def test_one_line_holds_every_fact() -> None:
    assert status_line(view_of(EAST, PAUSED), verbose=True) == (
        "12,345 of 50,000 rows (25 %) · 7 failed · 37,655 remaining · 3 empty · 5,000 rows/min"
        " · 58,900 of 60,000 tokens/min (98 %) · 120 of 600 requests/min (20 %) · 4 requests · 8 in flight"
        " · 2 rate-limited · 1 request failed (1 timeout) · west paused 12 s (requested by the service)"
        " · about 12 min left · cost 1.23 · elapsed 2 min 3 s"
        " · waiting because west asked for a pause: 12 s left; for quota of east: tokens; and 1 more reason"
    )


def test_a_pause_of_our_own_is_not_called_the_services_wish() -> None:
    line = status_line(view_of(replace(PAUSED, own_pause=True)), verbose=True)
    assert "paused 12 s (after a rate limit)" in line
    assert "because the service refused a request (429): 12 s left" in line


def test_unknown_facts_are_left_out() -> None:
    bare = view_of(EAST, total=None, eta=None, cost=None, per_minute=None, rpm=None, tpm=None)
    assert status_line(bare) == (
        "12,345 rows · 7 failed · 3 empty · 4 requests · 8 in flight · 2 rate-limited"
        " · 1 request failed (1 timeout) · elapsed 2 min 3 s"
    )
    assert "left" not in "".join(lines_of(bare))
    known = view_of(EAST, statistics=Tally(ok=1, known=5).statistics())
    assert " · 49,994 remaining · 5 done before · " in status_line(known)


def test_the_panel() -> None:
    assert lines_of(view_of(EAST, PAUSED, DOWN), verbose=True) == [
        "███████████████▓░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░  25 %",
        "12,345 of 50,000 rows · 7 failed · 37,655 remaining · 3 empty",
        "about 12 min left · cost 1.23 · elapsed 2 min 3 s",
        "tokens/min   58,900 of 60,000   98 %",
        "requests/min    120 of    600   20 %",
        "4 requests · 8 in flight · 2 rate-limited",
        "1 request failed (1 timeout)",
        "north  down for 2 min 10 s (server error), next attempt in 10 s",
        "west   paused 12 s (requested by the service)",
        "east   up, 8 in flight",
        "waiting for north, which does not respond (server error): next attempt in 8 s; …",
    ]


NAMES = st.text(st.sampled_from("ab-é漢"), min_size=1, max_size=90)
STANDINGS = st.builds(
    DeploymentState,
    NAMES,
    st.sampled_from(["up", "down", "stopped"]),
    *[st.integers(0, 5000)] * 3,
    *[st.none() | st.floats(0.1, 1e9)] * 2,
    st.floats(0, 90_000),
    st.booleans(),
    st.sampled_from(["", "server_error"]),
    *[st.floats(0, 1e6)] * 2,
)


@given(
    st.integers(1, 200),
    st.integers(1, 40),
    st.none() | st.integers(12_345, 10**9),
    st.builds(Heartbeat, st.lists(STANDINGS, max_size=30).map(tuple), stopping=st.booleans()),
)
def test_the_panel_fits_any_terminal(width: int, height: int, total: int | None, pulse: Heartbeat) -> None:
    view = view_of(EAST, total=total, pulse=pulse)
    lines = lines_of(view, width, height, verbose=True)
    assert 1 <= len(lines) <= height
    assert all(cell_len(line) <= width for line in lines)
    assert "\n" not in status_line(view, verbose=True)


def test_of_hundreds_of_deployments_the_unhealthy_ones_are_named() -> None:
    many = [replace(EAST, deployment=f"{'long-name-' * 8}{number}") for number in range(300)]
    lines = lines_of(view_of(*many, DOWN))
    assert any(line.startswith("north") for line in lines)
    assert "and 294 more deployments: 294 up" in lines
    assert len(lines) == 15
    assert status_line(view_of(*many, *[DOWN] * 9)).count("north down") == 3


def test_batches_have_phases_counts_and_an_age() -> None:
    ends = datetime(2026, 12, 1, 14, 30).astimezone().timestamp()
    batches = BatchesState("waiting", 3, 2, 4, 90_000, 1_200, 7200.0, ends)
    view = view_of(EAST, pulse=Heartbeat((EAST,), batches=batches))
    words = (
        "waiting for batches · 3 to send · 2 running with 90,000 rows, 1,200 done · 4 ended"
        " · the oldest for 2 h · the last ends by Tue 14:30"
    )
    assert words in status_line(view)
    assert "requests" not in status_line(view)
    assert "left" not in status_line(view), "nobody knows when batches end"
    assert words in lines_of(view, 200)
    assert "waiting for the service" in status_line(view, verbose=True)
    first = view_of(
        EAST, pulse=Heartbeat((EAST,), batches=BatchesState("planning", 1, 0, 0, 0, 0, 0.0, None))
    )
    assert "planning batches · 1 to send" in status_line(first)
    assert "reading rows" in status_line(first, verbose=True)
    stopping = view_of(EAST, pulse=Heartbeat((EAST,), stopping=True, batches=batches))
    assert lines_of(stopping, 80, 1) == ["Stopping: batches that are submitted keep running"]


def test_a_short_terminal_shows_the_most_important_lines() -> None:
    view = view_of(EAST)
    assert lines_of(view, 80, 1) == ["12,345 of 50,000 rows · 7 failed · 37,655 remaining · 3 empty"]
    assert lines_of(view, 80, 2)[1].startswith("about 12 min left")
    stopping = view_of(EAST, pulse=Heartbeat((EAST,), oldest_seconds=3.0, stopping=True))
    assert lines_of(stopping, 80, 1) == ["Stopping: 8 requests in flight, the oldest for 3 s"]


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (view_of(EAST), "waiting for quota: tokens; for responses: 8 in flight, the oldest for 3 s"),
        (view_of(replace(EAST, for_quota=False)), "waiting for responses: 8 in flight, the oldest for 3 s"),
        (
            view_of(replace(EAST, in_flight=0, for_quota=False, backing_off=2)),
            "waiting to retry the service: 2 requests",
        ),
        (
            view_of(replace(EAST, in_flight=0, for_quota=False, backing_off=1, retry_seconds=31.0)),
            "waiting to retry the service: 1 request, 31 s left",
        ),
        (view_of(replace(EAST, in_flight=0, for_quota=False)), "reading rows"),
        (
            view_of(EAST, pulse=Heartbeat((replace(EAST, in_flight=0),), unwritten=2)),
            "waiting for the disk: 2 parts to write",
        ),
        (view_of(), "reading rows"),
        (view_of(reading=False), "saving completed rows"),
    ],
)
def test_the_reason_for_waiting(view: View, words: str) -> None:
    assert waiting_for(view) == words


def test_a_request_that_waits_before_its_retry_is_counted_with_the_time_that_is_left() -> None:
    rests = replace(EAST, in_flight=0, backing_off=1, retry_seconds=31.0)
    assert "4 requests · 0 in flight · 1 to be sent again in 31 s · 2 rate-limited" in lines_of(
        view_of(rests), 80
    )
    both = view_of(rests, replace(EAST, deployment="west", backing_off=2, retry_seconds=125.0))
    assert " · 3 to be sent again within 2 min 5 s · " in status_line(both)
    soon = replace(rests, retry_seconds=2.0)
    assert " · 1 to be sent again in 2 s · " in status_line(view_of(soon))
    assert "sent again" not in status_line(view_of(replace(soon, in_flight=4))), "a usual retry"


def test_the_facts_of_a_stale_pulse_are_dropped() -> None:
    assert view_of(EAST).later(101.0).pulse is not None
    later = view_of(EAST).later(104.0)
    assert (later.pulse, later.eta, later.seconds) == (None, None, 127.0)


@pytest.mark.parametrize(
    ("eta", "words"),
    [
        (Eta(40.0, 44.0), "about 40 s left"),
        (Eta(600.0, 1200.0), "10 min to 20 min left"),
        (Eta(90.0, None), "at least 1.5 min left"),
        (Eta(0.0, 0.0), "about 5 s left"),
    ],
)
def test_an_eta_is_as_precise_as_it_is_known(eta: Eta, words: str) -> None:
    assert eta_text(eta) == words


def test_a_distant_eta_has_a_time_of_day() -> None:
    assert ", until " in eta_text(Eta(7200.0, 7300.0))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(2, "5 s"), (31, "30 s"), (58, "1 min"), (100, "1.5 min"), (3_570, "1 h"), (12_100, "3 h 20 min"),
     (200_000, "2 d 8 h")],
)  # fmt: skip
def test_rough_durations(seconds: float, words: str) -> None:
    assert rough_duration_text(seconds) == words


def test_100_percent_means_all_and_0_percent_means_none() -> None:
    assert [percent_text(*pair) for pair in ((0, 9), (1, 9999), (9998, 9999), (9, 9), (9, 0))] == [
        "0 %", "<1 %", "99 %", "100 %", "0 %",
    ]  # fmt: skip
    assert short_name("a" * 40 + "b" * 40, 9) == "aaaa…bbbb"


def test_every_error_code_has_short_advice() -> None:
    assert ADVICE.keys() == set(ErrorCode)
    assert all(len(advice(code.value)) <= 50 for code in ErrorCode)
    assert advice("timeout", in_full=True).startswith("Run the same command again to retry. A longer ")
    assert "another version" in advice("of_a_later_version", in_full=True)


def test_figures_have_units() -> None:
    shown = [duration_text(each) for each in (0, 0.0123, 0.99999, 59.94, 59.96, 3599.6, 8000, 90000)]
    assert shown == ["0 s", "12 ms", "1 s", "1 min", "1 min", "1 h", "2 h 13 min", "1 d 1 h"]
    shares = [percent_text(each, decimals=1) for each in (0, 0.00001, 0.5, 0.99999, 1)]
    assert shares == ["0 %", "<0.1 %", "50 %", "99.9 %", "100 %"]


def test_a_finish_reason_that_may_be_a_word_of_the_prompt_is_not_shown() -> None:
    tally = Tally()
    tally.add(RowsSettled(ok=4, errors={}, finish_reasons={"stop": 1, "MARKROW0": 1, "my secret": 2}))
    assert tally.statistics().finish_reasons == {"stop": 1, "other": 3}
    assert counts_text({"None": 2, "tool_calls": 1}) == "2 none given, 1 tool calls", "no word of Python"
