"""Several processes on one quota: in one line, whatever happens to the file or to one of them."""

from __future__ import annotations

import fcntl
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from batchscore.request.quota.shared_file import (
    CLEAN_SECONDS,
    MAGIC,
    RECORD,
    UNUSED_SECONDS,
    SharedSchedule,
    clock_digest,
    open_schedule,
    quota_file,
)
from batchscore.request.quota.windows import SMOOTHING_SECONDS, LocalSchedule, QuotaRates

START = 1000.0


def shared(path: Path) -> SharedSchedule:
    return SharedSchedule(path, os.open(path, os.O_RDWR | os.O_CREAT))


def test_workers_that_share_a_schedule_wait_in_one_line(tmp_path: Path) -> None:
    schedules = [shared(tmp_path / "quota") for _ in range(4)]
    rates = QuotaRates(1000.0)
    starts = [schedules[number % 4].reserve(START, 100, rates) for number in range(40)]
    assert starts == sorted(starts)
    assert starts[-1] - starts[0] == pytest.approx(3.9)


def test_small_requests_share_a_look_into_the_file_and_keep_to_the_rate(tmp_path: Path) -> None:
    schedules = [shared(tmp_path / "quota") for _ in range(3)]
    rates, now, spent = QuotaRates(10_000.0, 1000.0), START, 0.0
    while now < START + 10:
        for schedule in schedules:
            if schedule.reserve(now, 10, rates) <= now:
                spent += 10
            else:
                schedule.correct(-10, -1, rates)
        now += 0.003
    assert 0.9 * 100_000 < spent < 1.08 * 100_000


@pytest.mark.parametrize("content", [b"", b"garbage that is longer than a record of ours is", b"x"])
def test_a_file_with_implausible_content_is_replaced(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "quota").write_bytes(content)
    assert shared(tmp_path / "quota").reserve(START, 10, QuotaRates(1000.0)) == START


@pytest.mark.parametrize(
    "record",
    [
        (MAGIC, bytes(16), START + 99, START + 99, START + 99),
        (b"bscore01", clock_digest(), START + 99, START + 99, 0.0),
        (MAGIC, clock_digest(), START + 99, math.nan, 0.0),
        (MAGIC, clock_digest(), START + 99, START + 99, math.inf),
        (MAGIC, clock_digest(), START, START, START + 3000),
    ],
    ids=["another machine's clock", "another version", "no number", "endless", "hours ahead"],
)
def test_implausible_times_are_ignored(record: tuple[object, ...], tmp_path: Path) -> None:
    (tmp_path / "quota").write_bytes(RECORD.pack(*record))
    assert shared(tmp_path / "quota").reserve(START, 10, QuotaRates(1000.0)) == START


@pytest.mark.process
def test_a_worker_killed_with_the_lock_delays_no_other(tmp_path: Path) -> None:
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
    assert shared(path).reserve(START, 10, QuotaRates(1000.0)) == START


@pytest.mark.process
def test_processes_that_reserve_side_by_side_never_overdraw(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path;"
        "from batchscore.request.quota.windows import QuotaRates;"
        "from batchscore.request.quota.shared_file import SharedSchedule;"
        "schedule = SharedSchedule(Path(sys.argv[1]), os.open(sys.argv[1], os.O_RDWR | os.O_CREAT));"
        "[print(schedule.reserve(time.monotonic(), 1000, QuotaRates(10000.0))) for _ in range(200)]"
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


def test_the_file_of_a_quota_does_not_reveal_the_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    identity = "https://host/v1 model sk-secret"
    with open_schedule(identity, time.monotonic()) as schedule:
        assert isinstance(schedule, SharedSchedule)
        schedule.reserve(time.monotonic(), 10, QuotaRates(1000.0))
    (found,) = tmp_path.rglob("*.quota")
    assert found == quota_file(identity)
    assert "secret" not in str(found)
    assert b"secret" not in found.read_bytes()
    assert found.stat().st_mode & 0o077 == 0


def test_a_schedule_whose_file_fails_continues_locally(tmp_path: Path) -> None:
    schedule = shared(tmp_path / "quota")
    rates = QuotaRates(1000.0)
    first = schedule.reserve(START, 500, rates)
    os.close(schedule.descriptor)
    schedule.descriptor = os.open("/dev/full", os.O_RDWR)
    starts = [schedule.reserve(START, 500, rates) for _ in range(4)]
    assert starts == sorted(starts)
    assert starts[-1] - starts[0] == pytest.approx(1.5)
    assert starts[0] >= first
    os.close(schedule.descriptor)


def test_a_schedule_whose_file_was_deleted_follows_the_others_to_the_new_one(tmp_path: Path) -> None:
    first, rates = shared(tmp_path / "quota"), QuotaRates(1000.0)
    first.reserve(START, 100, rates)
    (tmp_path / "quota").unlink()
    second = shared(tmp_path / "quota")
    starts = [(first, second)[number % 2].reserve(START, 100, rates) for number in range(20)]
    assert starts == sorted(starts)
    assert starts[-1] - starts[0] == pytest.approx(1.9)


def test_a_schedule_whose_folder_was_removed_follows_the_others_once_it_is_back(tmp_path: Path) -> None:
    folder, rates = tmp_path / "quotas", QuotaRates(1000.0)
    folder.mkdir()
    first = shared(folder / "quota")
    first.reserve(START, 100, rates)
    (folder / "quota").unlink()
    folder.rmdir()
    first.reserve(START, 100, rates)
    folder.mkdir()
    second = shared(folder / "quota")
    starts = [(first, second)[number % 2].reserve(START, 100, rates) for number in range(20)]
    assert starts == sorted(starts)
    assert starts[-1] - starts[0] == pytest.approx(1.9)


def test_a_worker_suspended_with_the_lock_delays_no_other(tmp_path: Path) -> None:
    other = os.open(tmp_path / "quota", os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_EX)
    schedule = shared(tmp_path / "quota")
    assert schedule.reserve(START, 10, QuotaRates(1000.0)) == START
    assert schedule.local is not None
    os.close(other)


def test_a_folder_that_leads_elsewhere_is_not_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its name can be guessed, so another user may have created it first."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "temporary").mkdir()
    (tmp_path / "temporary" / f"batchscore-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with open_schedule("quota", START) as schedule:
        assert isinstance(schedule, LocalSchedule)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_if_the_folder_cannot_be_used_each_worker_is_on_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with open_schedule("quota", START) as schedule:
        assert isinstance(schedule, LocalSchedule)


def test_files_that_nobody_uses_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = quota_file("any")
    old, held, fresh = (path.with_name(f"{name}.quota") for name in ("old", "held", "fresh"))
    link = path.with_name("link.quota")
    kept = tmp_path / "kept"
    for each in (old, held, fresh, kept):
        each.write_bytes(b"x")
    link.symlink_to(kept)
    before = time.time() - UNUSED_SECONDS - 60
    for each in (old, held, kept):
        os.utime(each, (before, before))
    os.utime(link, (before, before), follow_symlinks=False)
    with held.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with open_schedule("other", START):
            assert sorted(each.name for each in path.parent.iterdir() if each != quota_file("other")) == [
                *("fresh.quota", "held.quota", "link.quota", "quotas-cleaned")
            ]
    assert kept.exists()
    # To look at thousands of files would cost each run a quarter of a second.
    os.utime(fresh, (before, before))
    with open_schedule("other", START):
        assert fresh.exists()
    for cleaned in (time.time() - CLEAN_SECONDS - 60, time.time() + 7200):
        os.utime(fresh, (before, before))
        os.utime(path.with_name("quotas-cleaned"), (cleaned, cleaned))
        with open_schedule("other", START):
            assert not fresh.exists()
        fresh.write_bytes(b"x")


def test_a_process_whose_file_was_removed_between_two_steps_uses_the_new_one(tmp_path: Path) -> None:
    """The cleaner had the lock when this process opened the file; it must not continue without the others."""
    path = tmp_path / "quota"
    ours = shared(path)
    path.unlink()
    other = shared(path)
    rates = QuotaRates(1000.0)
    starts = [each.reserve(START, 100, rates) for _ in range(5) for each in (ours, other)]
    assert starts == sorted(starts)
    assert starts[-1] - starts[0] == pytest.approx(0.9)
