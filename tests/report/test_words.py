"""What figures are called: pure, from events to words, at every width."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from batchscore.cli.panel import panel
from batchscore.errors import ErrorCode
from batchscore.report.advice import mending
from batchscore.report.progress.eta import Eta
from batchscore.report.progress.line import describe, ending
from batchscore.report.progress.rates import Totals
from batchscore.report.progress.view import View
from batchscore.report.progress.waiting import waiting
from batchscore.report.tally import Tally
from batchscore.report.words import percent, roughly, short
from batchscore.rows import Attempt, DeploymentState, Heartbeat, RowsSettled

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
    return ["".join(piece.text for piece in line) for line in panel(view, width, height, verbose=verbose)]


def test_one_line_holds_every_fact() -> None:
    assert describe(view_of(EAST, PAUSED), verbose=True) == (
        "12,345 of 50,000 rows (25 %) · 7 failed · 37,655 left · 3 empty · 5,000 rows/min"
        " · 58,900 of 60,000 tokens/min (98 %) · 120 of 600 requests/min (20 %) · 4 requests · 8 in flight"
        " · 2 answered 429 · 1 came to nothing (1 timeout) · west paused 12 s (asked by the service)"
        " · about 12 min left · spent 1.23 · 2:03"
        " · waiting as west asked, for 12.0 s more; for quota of east: tokens; and 1 more reason"
    )


def test_what_is_not_known_is_not_said() -> None:
    bare = view_of(EAST, total=None, eta=None, cost=None, per_minute=None, rpm=None, tpm=None)
    assert describe(bare) == (
        "12,345 rows · 7 failed · 3 empty · 4 requests · 8 in flight · 2 answered 429"
        " · 1 came to nothing (1 timeout) · 2:03"
    )
    assert "left" not in "".join(lines_of(bare))


def test_the_panel() -> None:
    assert lines_of(view_of(EAST, PAUSED, DOWN), verbose=True) == [
        "███████████████▓░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░  25 %",
        "12,345 of 50,000 rows · 7 failed · 37,655 left · 3 empty",
        "about 12 min left · spent 1.23 · 2:03",
        "tokens/min   58,900 of 60,000   98 %",
        "requests/min    120 of    600   20 %",
        "4 requests · 8 in flight · 2 answered 429",
        "1 came to nothing (1 timeout)",
        "north  down for 2:10 (server error), asked again in 10 s",
        "west   paused 12 s (asked by the service)",
        "east   up, 8 in flight",
        "waiting for north, which does not answer (server error): asked again in 8.0 s; …",
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
    assert "\n" not in describe(view, verbose=True)


def test_of_hundreds_of_deployments_those_in_trouble_are_named() -> None:
    many = [replace(EAST, deployment=f"{'long-name-' * 8}{number}") for number in range(300)]
    lines = lines_of(view_of(*many, DOWN))
    assert any(line.startswith("north") for line in lines)
    assert "and 294 deployments more: 294 up" in lines
    assert len(lines) == 15
    assert describe(view_of(*many, *[DOWN] * 9)).count("north down") == 3


def test_in_a_short_terminal_the_most_important_stays() -> None:
    view = view_of(EAST)
    assert lines_of(view, 80, 1) == ["12,345 of 50,000 rows · 7 failed · 37,655 left · 3 empty"]
    assert lines_of(view, 80, 2)[1].startswith("about 12 min left")
    stopping = view_of(EAST, pulse=Heartbeat((EAST,), oldest_seconds=3.0, stopping=True))
    assert lines_of(stopping, 80, 1) == ["Stopping: 8 requests in flight, the oldest for 3.0 s"]


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (view_of(EAST), "waiting for quota: tokens; for answers: 8 in flight, the oldest for 3.0 s"),
        (view_of(replace(EAST, for_quota=False)), "waiting for answers: 8 in flight, the oldest for 3.0 s"),
        (
            view_of(replace(EAST, in_flight=0, for_quota=False, backing_off=2)),
            "waiting to ask the service again: 2 requests",
        ),
        (view_of(replace(EAST, in_flight=0, for_quota=False)), "reading rows"),
        (
            view_of(EAST, pulse=Heartbeat((replace(EAST, in_flight=0),), unwritten=2)),
            "waiting for the disk: 2 parts to be written",
        ),
        (view_of(), "reading rows"),
        (view_of(reading=False), "writing what was answered"),
    ],
)
def test_why_it_waits(view: View, words: str) -> None:
    assert waiting(view) == words


def test_what_a_pulse_told_is_dropped_when_it_is_old() -> None:
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
def test_an_end_is_told_as_surely_as_it_is_known(eta: Eta, words: str) -> None:
    assert ending(eta) == words


def test_a_far_end_has_its_time_of_day() -> None:
    assert ", until " in ending(Eta(7200.0, 7300.0))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(2, "5 s"), (31, "30 s"), (58, "1 min"), (100, "1.5 min"), (3_570, "1 h"), (12_100, "3 h 20 min"),
     (200_000, "2 d 8 h")],
)  # fmt: skip
def test_rough_durations(seconds: float, words: str) -> None:
    assert roughly(seconds) == words


def test_shares_are_whole_only_when_they_are() -> None:
    assert [percent(*pair) for pair in ((0, 9), (1, 9999), (9998, 9999), (9, 9), (9, 0))] == [
        "0 %", "1 %", "99 %", "100 %", "0 %",
    ]  # fmt: skip
    assert short("a" * 40 + "b" * 40, 9) == "aaaa…bbbb"


def test_every_code_that_counts_says_what_to_do() -> None:
    for code in ErrorCode:
        if code is not ErrorCode.EMPTY_INPUT:
            assert len(mending(code.value)) <= 50
            assert "error record says why" not in mending(code.value)
