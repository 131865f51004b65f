"""When a request may go: in every window no more than its rate and one request, and hardly any less."""

from __future__ import annotations

import fcntl
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchscore.request.quota.shared_file import (
    MAGIC,
    RECORD,
    SharedBook,
    clock_name,
    quota_file,
    shared_book,
)
from batchscore.request.quota.windows import SMOOTHING_SECONDS, WINDOW_SECONDS, Quota, Rates, Schedule

START = 1000.0


def gone(quota: Quota, costs: list[float], rates: Rates, late: list[float]) -> list[tuple[float, float]]:
    """Let a client reserve, wait, be late, and go; gives when each request was counted, and what it cost."""
    now = START
    sent = []
    for cost, lateness in zip(costs, late, strict=True):
        ticket = quota.reserve(now, cost, rates)
        assert ticket.start >= now
        sent.append((ticket.start, cost))
        now = ticket.start + lateness
    return sent


@settings(deadline=None)
@given(
    rate=st.floats(10, 1e6),
    requests=st.none() | st.floats(0.5, 1000),
    seed=st.integers(0, 10_000),
    largest=st.floats(0.01, 3),
)
def test_no_window_is_overdrawn_and_nobody_starves(
    rate: float, requests: float | None, seed: int, largest: float
) -> None:
    chance = random.Random(seed)
    costs = [chance.random() * largest * rate + 1 for _ in range(200)]
    late = [chance.choice([0, 0, 0.01, 0.1, 0.4]) * chance.random() for _ in costs]
    sent = gone(Quota(Schedule.begin(START)), costs, Rates(rate, requests), late)
    starts = [at for at, _ in sent]
    assert starts == sorted(starts)
    for window in WINDOW_SECONDS:
        for first, (start, _) in enumerate(sent):
            within = [cost for at, cost in sent[first:] if at < start + window * (1 - 1e-9)]
            assert sum(within) - max(within) <= rate * window * (1 + 1e-6) + 1e-3
            if requests is not None:
                assert len(within) - 1 <= requests * window * (1 + 1e-6) + 1e-3
    paid = (sum(costs) / rate, 0 if requests is None else len(costs) / requests)
    assert starts[-1] - START <= sum(paid) + sum(late) + 10 + max(costs) / rate


@given(size=st.floats(0.05, 0.9), seed=st.integers(0, 1000))
def test_a_quota_that_is_always_wanted_is_used(size: float, seed: int) -> None:
    chance = random.Random(seed)
    rate = 1000.0
    costs = [chance.uniform(0.5, 1) * size * rate for _ in range(int(60 / size) + 1)]
    late = [chance.random() * 0.02 for _ in costs]
    sent = gone(Quota(Schedule.begin(START)), costs, Rates(rate), late)
    assert sum(costs[:-1]) / (rate * (sent[-1][0] - START)) > 0.98


def test_the_first_second_begins_without_a_burst() -> None:
    quota, rates = Quota(Schedule.begin(START)), Rates(1000.0)
    sent = gone(quota, [10.0] * 300, rates, [0.0] * 300)
    assert sum(cost for at, cost in sent if at < START + 1) <= 1000 + 10


def test_what_was_not_sent_is_given_back_and_what_was_misjudged_is_corrected() -> None:
    rates = Rates(1000.0, 10.0)
    quota = Quota(Schedule.begin(START))
    quota.refund(quota.reserve(START, 5000, rates))
    assert quota.reserve(START + 5, 1, rates).start == START + 5
    quota = Quota(Schedule.begin(START))
    ticket = quota.reserve(START, 100, rates)
    quota.correct(ticket, 2100)
    assert quota.reserve(START, 1, Rates(1000.0)).start == pytest.approx(START + 2.1, abs=0.01)


def test_after_a_pause_nothing_is_made_good() -> None:
    schedule = Schedule.begin(START)
    schedule.rest(START + 30)
    starts = [schedule.reserve(START + 1, 100, Rates(1000.0)) for _ in range(11)]
    assert starts[0] == START + 30
    assert starts[-1] == pytest.approx(START + 31)


def test_what_the_service_has_in_store_may_go_at_once_up_to_a_quarter_second() -> None:
    schedule = Schedule.begin(START)
    schedule.allow(START, 99.0)
    starts = [schedule.reserve(START, 50, Rates(1000.0)) for _ in range(20)]
    assert starts.count(START) == pytest.approx(SMOOTHING_SECONDS / 0.05 + 1)


# --- several processes


def opened(path: Path) -> SharedBook:
    return SharedBook(path, os.open(path, os.O_RDWR | os.O_CREAT))


def test_workers_on_one_book_stand_in_one_line(tmp_path: Path) -> None:
    books = [opened(tmp_path / "quota") for _ in range(4)]
    rates = Rates(1000.0)
    starts = [books[number % 4].reserve(START, 100, rates) for number in range(40)]
    assert starts == sorted(starts)
    assert starts[-1] - starts[0] == pytest.approx(3.9)


def test_small_requests_share_a_look_into_the_file_and_keep_to_the_rate(tmp_path: Path) -> None:
    books = [opened(tmp_path / "quota") for _ in range(3)]
    rates, now, spent = Rates(10_000.0, 1000.0), START, 0.0
    while now < START + 10:
        for book in books:
            if book.reserve(now, 10, rates) <= now:
                spent += 10
            else:
                book.correct(-10, -1, rates)
        now += 0.003
    assert 0.9 * 100_000 < spent < 1.08 * 100_000


@pytest.mark.parametrize("content", [b"", b"garbage that is longer than a record of ours is", b"x"])
def test_a_file_that_cannot_be_meant_is_begun_anew(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "quota").write_bytes(content)
    assert opened(tmp_path / "quota").reserve(START, 10, Rates(1000.0)) == START


@pytest.mark.parametrize(
    "record",
    [
        (MAGIC, bytes(16), START + 99, START + 99, START + 99),
        (b"bscore01", clock_name(), START + 99, START + 99, 0.0),
        (MAGIC, clock_name(), START + 99, math.nan, 0.0),
        (MAGIC, clock_name(), START + 99, START + 99, math.inf),
        (MAGIC, clock_name(), START, START, START + 3000),
    ],
    ids=["another machine's clock", "another version", "no number", "endless", "hours ahead"],
)
def test_times_that_cannot_be_meant_are_forgotten(record: tuple[object, ...], tmp_path: Path) -> None:
    (tmp_path / "quota").write_bytes(RECORD.pack(*record))
    assert opened(tmp_path / "quota").reserve(START, 10, Rates(1000.0)) == START


@pytest.mark.process
def test_a_worker_that_is_killed_with_the_lock_in_hand_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "quota"
    code = (
        "import fcntl, os, sys, time; file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT);"
        "fcntl.flock(file, fcntl.LOCK_EX); print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert opened(path).reserve(START, 10, Rates(1000.0)) == START


@pytest.mark.process
def test_processes_that_reserve_side_by_side_never_overdraw(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path; from batchscore.request.quota.windows import Rates;"
        "from batchscore.request.quota.shared_file import SharedBook;"
        "book = SharedBook(Path(sys.argv[1]), os.open(sys.argv[1], os.O_RDWR | os.O_CREAT));"
        "[print(book.reserve(time.monotonic(), 1000, Rates(10000.0))) for _ in range(200)]"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "quota")], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    starts = sorted(float(line) for worker in workers for line in worker.communicate()[0].splitlines())
    assert len(starts) == 400
    for first, start in enumerate(starts):
        within = sum(1000 for at in starts[first:] if at < start + 1 - 1e-6)
        assert within <= 10_000 * (1 + SMOOTHING_SECONDS) + 1000


def test_the_file_of_a_quota_does_not_tell_the_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    identity = "https://host/v1 model sk-secret"
    with shared_book(identity, time.monotonic()) as book:
        assert isinstance(book, SharedBook)
        book.reserve(time.monotonic(), 10, Rates(1000.0))
    (found,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert found == quota_file(identity)
    assert "secret" not in str(found)
    assert b"secret" not in found.read_bytes()
    assert found.stat().st_mode & 0o077 == 0


def test_a_book_whose_file_fails_goes_on_alone(tmp_path: Path) -> None:
    book = opened(tmp_path / "quota")
    rates = Rates(1000.0)
    first = book.reserve(START, 500, rates)
    os.close(book.descriptor)
    book.descriptor = os.open("/dev/full", os.O_RDWR)
    starts = [book.reserve(START, 500, rates) for _ in range(4)]
    assert starts == sorted(starts)
    assert starts[-1] - starts[0] == pytest.approx(1.5)
    assert starts[0] >= first
    book.close()


def test_a_book_whose_file_a_cleaner_took_follows_the_others_to_the_new_one(tmp_path: Path) -> None:
    first, rates = opened(tmp_path / "quota"), Rates(1000.0)
    first.reserve(START, 100, rates)
    (tmp_path / "quota").unlink()
    second = opened(tmp_path / "quota")
    starts = [(first, second)[number % 2].reserve(START, 100, rates) for number in range(20)]
    assert starts == sorted(starts)
    assert starts[-1] - starts[0] == pytest.approx(1.9)


def test_a_worker_that_is_stopped_with_the_lock_in_hand_holds_nobody_up(tmp_path: Path) -> None:
    other = os.open(tmp_path / "quota", os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_EX)
    book = opened(tmp_path / "quota")
    assert book.reserve(START, 10, Rates(1000.0)) == START
    assert book.alone is not None
    os.close(other)


def test_a_folder_that_leads_elsewhere_is_not_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its name can be known, so that somebody else may have been there first."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "temporary").mkdir()
    (tmp_path / "temporary" / f"batchscore-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with shared_book("quota", START) as book:
        assert isinstance(book, Schedule)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_where_the_folder_cannot_be_used_each_worker_is_on_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with shared_book("quota", START) as book:
        assert isinstance(book, Schedule)
