"""One holder at a time, however the last one ended; nothing is left behind."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchscore.errors import OutputError, OutputLocked
from batchscore.output.locks.lock import Lock, hold_lock, is_elsewhere, may_be_alive, refuse_locked
from batchscore.output.locks.system import (
    SYSTEM,
    Holder,
    Locking,
    holder_from,
    in_turn,
    is_running,
    this_process,
)
from full_disk import largest_file


def no_locks(descriptor: int, how: int) -> None:
    """Act like a mount without locks."""
    raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))


QUICK = replace(SYSTEM, settle_seconds=0.01)
WITHOUT = replace(QUICK, flock=no_locks)

#: The kernel's locks, a mount that refuses them, and a system that has none.
WAYS = pytest.mark.parametrize(
    "locking", [QUICK, WITHOUT, replace(QUICK, flock=None)], ids=["kernel", "record", "no-flock"]
)

HOLDER = """
import errno, os, sys, time
from dataclasses import replace
from pathlib import Path
from batchscore.output.locks.lock import hold_lock
from batchscore.output.locks.system import SYSTEM
def no_locks(descriptor, how):
    raise OSError(errno.ENOTSUP, "no")
locking = SYSTEM if sys.argv[2] == "kernel" else replace(SYSTEM, flock=no_locks)
with hold_lock(Path(sys.argv[1]), "chat", what="out (chat)", command="holder", notice=print, locking=locking):
    print("held", flush=True)
    sys.stdin.read()
"""


def take(folder: Path, locking: Locking, name: str = "chat", notice: Callable[[str], object] = str) -> Any:
    return hold_lock(folder, name, what=f"out ({name})", command="batchscore", notice=notice, locking=locking)


def start_holder(folder: Path, way: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), way],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@WAYS
def test_the_same_process_cannot_lock_twice_and_nothing_is_left(tmp_path: Path, locking: Locking) -> None:
    folder = tmp_path / "out" / ".batchscore"
    with take(folder, locking), take(folder, locking, "embeddings"):
        assert sorted(path.name for path in folder.iterdir()) == ["chat.lock", "embeddings.lock"]
        with pytest.raises(OutputLocked, match=rf"process {os.getpid()} .*this same process") as refused:
            take(folder, locking).__enter__()
        assert refused.value.exit_code == 5
        with pytest.raises(OutputLocked):
            refuse_locked(folder, "chat", what="out (chat)", locking=locking)
    assert not list(tmp_path.iterdir())
    refuse_locked(folder, "chat", what="out (chat)", locking=locking)
    with pytest.raises(ZeroDivisionError), take(folder, locking):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


@WAYS
def test_other_files_in_the_folder_stay(tmp_path: Path, locking: Locking) -> None:
    with take(tmp_path / "a", locking):
        (tmp_path / "a" / "README").write_text("mine")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["README"]


@WAYS
def test_one_of_many_threads_at_a_time_has_the_lock(tmp_path: Path, locking: Locking) -> None:
    inside, most, taken = 0, 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most, taken
        for _ in range(5):
            try:
                with take(tmp_path / "out", locking):
                    with guard:
                        inside, taken = inside + 1, taken + 1
                        most = max(most, inside)
                    time.sleep(0.001)
                    with guard:
                        inside -= 1
            except OutputLocked:
                pass

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert taken >= 1
    assert not list(tmp_path.rglob("*.lock"))


@pytest.mark.process
@pytest.mark.crash
@pytest.mark.parametrize("way", ["kernel", "record"])
def test_a_killed_holder_is_succeeded_at_once(tmp_path: Path, way: str) -> None:
    locking = QUICK if way == "kernel" else WITHOUT
    notices: list[str] = []
    with start_holder(tmp_path / "out", way) as process:
        with pytest.raises(OutputLocked, match=rf"`holder`, process {process.pid} .*on .*, since 20..-"):
            take(tmp_path / "out", locking).__enter__()
        with pytest.raises(OutputLocked, match=str(process.pid)):
            refuse_locked(tmp_path / "out", "chat", what="out", locking=locking)
        process.send_signal(signal.SIGKILL)
        process.wait()
        refuse_locked(tmp_path / "out", "chat", what="out", locking=locking)
        with take(tmp_path / "out", locking, notice=notices.append):
            record = json.loads((tmp_path / "out" / "chat.lock").read_bytes())
            assert record["pid"] == os.getpid()
    # The kernel knows. If only the record shows it, the user gets a notice.
    assert len(notices) == (way == "record")
    # The killed process created the folder, so nobody removes it.
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.process
@pytest.mark.crash
@pytest.mark.parametrize("way", ["kernel", "record"])
def test_a_stopped_process_still_holds(tmp_path: Path, way: str) -> None:
    locking = replace(QUICK if way == "kernel" else WITHOUT, stale_seconds=0.0)
    with start_holder(tmp_path / "out", way) as process:
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(OutputLocked):
            take(tmp_path / "out", locking).__enter__()
        process.send_signal(signal.SIGCONT)
    assert not (tmp_path / "out").exists()


def left_behind(folder: Path, **changes: Any) -> Holder:
    """Write the record of a dead holder."""
    holder = replace(this_process("other"), **changes)
    folder.mkdir(exist_ok=True)
    (folder / "chat.lock").write_bytes(holder.record)
    return holder


@WAYS
def test_a_reused_process_number_holds_nothing(tmp_path: Path, locking: Locking) -> None:
    born = this_process("").born
    assert born is not None
    left_behind(tmp_path, born=born - 1)
    with take(tmp_path, locking):
        pass


@WAYS
def test_a_holder_on_another_machine_counts_as_dead_without_a_heartbeat(
    tmp_path: Path, locking: Locking
) -> None:
    """Also if the kernel gives the lock: some mounts' locks reach one machine only."""
    left_behind(tmp_path, host="elsewhere", boot="another", pid=1)
    with pytest.raises(OutputLocked, match=r"on elsewhere.* last heartbeat was \d s ago; after 300 s"):
        take(tmp_path, locking).__enter__()
    with pytest.raises(OutputLocked):
        refuse_locked(tmp_path, "chat", what="out", locking=locking)
    old = time.time() - 301
    os.utime(tmp_path / "chat.lock", (old, old))
    refuse_locked(tmp_path, "chat", what="out", locking=locking)
    notices: list[str] = []
    with take(tmp_path, locking, notice=notices.append):
        pass
    assert len(notices) == 1
    assert "on elsewhere" in notices[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@WAYS
@pytest.mark.parametrize("record", [b"", b"{", b'{"pid": 1}\n'])
def test_a_record_that_cannot_be_read(tmp_path: Path, locking: Locking, record: bytes) -> None:
    """With locks it counts for nothing; without them, as long as its writer may be alive."""
    (tmp_path / "chat.lock").write_bytes(record)
    if locking is not QUICK:
        with pytest.raises(OutputLocked, match="does not say who it is"):
            take(tmp_path, locking).__enter__()
        os.utime(tmp_path / "chat.lock", (0, 0))
    with take(tmp_path, locking):
        pass
    assert not list(tmp_path.iterdir())


@WAYS
def test_a_holder_writes_heartbeats_and_notices_when_its_lock_is_lost(
    tmp_path: Path, locking: Locking
) -> None:
    lost = threading.Event()
    path = tmp_path / "chat.lock"
    with take(tmp_path, replace(locking, beat_seconds=0.01)) as hold:
        hold.when_lost = lost.set
        os.utime(path, (0, 0))
        while path.stat().st_mtime == 0:
            time.sleep(0.002)
        assert not lost.is_set()
        successor = left_behind(tmp_path, host="elsewhere")
        assert lost.wait(50)
    # The lock of the successor is not removed.
    assert path.read_bytes() == successor.record


def test_one_of_several_that_see_the_same_dead_holder_succeeds_it(tmp_path: Path) -> None:
    locking = replace(WITHOUT, settle_seconds=1.0)
    left_behind(tmp_path, pid=2**31 - 1)
    together = threading.Barrier(4)
    results: list[Lock | OutputLocked] = []
    done = threading.Event()

    def work() -> None:
        together.wait()
        try:
            with take(tmp_path, locking) as hold:
                results.append(hold)
                done.wait(50)
        except OutputLocked as error:
            results.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(results) < 4:
        time.sleep(0.01)
    done.set()
    for thread in threads:
        thread.join()
    assert sum(isinstance(result, Lock) for result in results) == 1


TEXTS = st.text(max_size=8)
HOLDERS = st.builds(
    Holder,
    token=TEXTS,
    command=TEXTS,
    user=TEXTS,
    host=st.sampled_from(["a", "b"]),
    boot=st.sampled_from(["", "1", "2"]),
    numbers=st.sampled_from(["", "pid:[1]", "pid:[2]"]),
    pid=st.integers(1, 2**31 - 1),
    born=st.none() | st.integers(0, 2**40),
    since=TEXTS,
)


@settings(deadline=None)
@given(holder=HOLDERS, cut=st.integers(1, 400))
def test_a_record_comes_back_complete_or_not_at_all(holder: Holder, cut: int) -> None:
    assert holder_from(holder.record) == holder
    assert holder_from(holder.record[:-1][:-cut]) is None


@given(
    st.binary(max_size=200) | st.dictionaries(TEXTS, st.none() | TEXTS).map(lambda d: json.dumps(d).encode())
)
def test_any_bytes_are_a_record_or_none(record: bytes) -> None:
    assert holder_from(record) is None


@settings(deadline=None)
@given(found=HOLDERS, here=HOLDERS, seconds=st.floats(-10, 1e6))
def test_a_process_is_looked_up_on_the_same_system_only(found: Holder, here: Holder, seconds: float) -> None:
    same = (found.boot, found.numbers) == (here.boot, here.numbers) and found.boot and found.numbers
    if not same:
        assert is_running(found, here) is None
        assert may_be_alive(found, here, seconds, SYSTEM) == (seconds < SYSTEM.stale_seconds)
    assert is_elsewhere(found, here) <= (found.host != here.host)


def test_this_process_is_running_and_its_predecessor_is_not() -> None:
    me = this_process("x")
    assert is_running(me, me) is True
    assert is_running(replace(me, born=0), me) is False
    assert is_running(replace(me, born=None), me) is None
    assert "x" in me.record.decode()


@WAYS
def test_a_full_disk_raises_and_leaves_no_lock(tmp_path: Path, locking: Locking) -> None:
    with largest_file(9), pytest.raises(OutputError) as refused, take(tmp_path, locking):
        pass
    assert str(refused.value).startswith(f"cannot write {tmp_path}/chat.lock: the ")
    with take(tmp_path, locking):
        pass
    assert not list(tmp_path.iterdir())


@WAYS
def test_a_lock_is_not_taken_or_renewed_through_a_link(tmp_path: Path, locking: Locking) -> None:
    kept, path = tmp_path / "kept", tmp_path / "out" / "chat.lock"
    kept.write_bytes(b"kept")
    path.parent.mkdir()
    path.symlink_to(kept)
    with pytest.raises(OutputError), take(path.parent, locking):
        pass
    path.unlink()
    with take(path.parent, locking) as lock:
        record = path.read_bytes()
        kept.write_bytes(record)
        path.unlink()
        path.symlink_to(kept)
        assert not lock.renew()
    assert kept.read_bytes() == record


def test_workers_take_turns(tmp_path: Path) -> None:
    inside: list[int] = []

    def enter(number: int) -> int:
        with in_turn(tmp_path / "turns.lock", QUICK, 10.0):
            inside.append(number)
            time.sleep(0.001)
            assert inside == [number]
            inside.clear()
        return number

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(enter, range(12))) == list(range(12))


def test_a_worker_does_not_wait_for_its_turn_for_ever(tmp_path: Path) -> None:
    place = tmp_path / "turns.lock"
    with (
        in_turn(place, QUICK, 0.0),
        pytest.raises(OutputError, match="other workers have locked"),
        in_turn(place, QUICK, 0.0),
    ):
        pass


@pytest.mark.parametrize("locking", [WITHOUT, replace(QUICK, flock=None)], ids=["record", "no-flock"])
def test_there_are_no_turns_without_locks(tmp_path: Path, locking: Locking) -> None:
    with (
        pytest.raises(OutputError, match=r"on a file system without locks, and part_of needs them"),
        in_turn(tmp_path / "turns.lock", locking, 0.0),
    ):
        pass
