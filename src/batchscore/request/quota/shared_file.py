"""How do several processes on one machine share one quota without a broker?

They keep the schedule of a quota in a small file in the temporary folder, locked for the few microseconds of
a reservation. Each reservation takes the next place in one line, so that workers take turns. A killed worker
leaves a slice of quota unused, and the system frees its lock. The clock is the machine's monotonic one, which
all processes share until the next boot; a file from another boot or machine is replaced. If files cannot be
locked (Windows, some mounts, a full disk), each process is on its own and learns from 429s.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from batchscore.request.quota.windows import LocalSchedule, QuotaRates
from batchscore.stores.this_machine import boot_id, own_folder

if sys.platform != "win32":
    import fcntl

RECORD = struct.Struct("<8s16sddd")
MAGIC = b"bscore02"

#: No reservation reaches further ahead: a minute of quota after the longest pause.
FURTHEST_SECONDS = 900.0

#: A process holds the lock for microseconds; the others do not wait for one that was suspended meanwhile.
LOCK_TRIES = 50
LOCK_WAIT_SECONDS = 0.002

#: A file that nobody has used for this long holds nothing of value. To look for such files takes long where
#: there are thousands, so it is done this often.
UNUSED_SECONDS = 86_400.0
CLEAN_SECONDS = 3_600.0

#: Seconds of quota that are drawn from the file at once if requests are smaller.
SLICE_SECONDS = 0.05


@dataclass(slots=True)
class SharedSchedule:
    """A schedule in the file that is open as `descriptor`, with the promises of `windows.LocalSchedule`.

    Many small requests share one look into the file: `tokens` and `requests` are drawn and not yet used,
    valid from `start` until `expires`. A negative amount is owed. If the file fails, `local` replaces it.
    """

    path: Path
    descriptor: int
    tokens: float = 0.0
    requests: float = 0.0
    start: float = 0.0
    expires: float = 0.0
    local: LocalSchedule | None = None

    def reserve(self, now: float, tokens: float, rates: QuotaRates) -> float:
        """Charge one request of this many tokens; return when it may start."""
        if not (now < self.expires and tokens <= self.tokens and self.requests >= 1):
            self.draw(now, tokens, rates)
        self.tokens -= tokens
        self.requests -= 1
        return now if now > self.start else self.start

    def draw(self, now: float, tokens: float, rates: QuotaRates) -> None:
        """Take from the file what this request needs, or a slice if that is more."""
        new_tokens = max(tokens, (rates.tokens or 0.0) * SLICE_SECONDS) if rates.tokens else tokens
        new_requests = max(1.0, (rates.requests or 0.0) * SLICE_SECONDS)
        with self.locked(now) as schedule:
            # The same look returns expired quota and pays what is owed.
            schedule.correct(-self.tokens, -self.requests, rates)
            self.start = schedule.reserve(now, new_tokens, rates, new_requests)
        self.tokens, self.requests = new_tokens, new_requests
        self.expires = self.start + SLICE_SECONDS

    def correct(self, tokens: float, requests: float, rates: QuotaRates) -> None:
        """Charge this much more, or less if negative; the next draw writes it to the file."""
        del rates
        self.tokens -= tokens
        self.requests -= requests

    def pause(self, now: float, until: float) -> None:
        """Let no worker send before `until`."""
        with self.locked(now) as schedule:
            schedule.pause(now, until)

    def release(self, now: float, seconds: float) -> None:
        """Let this many seconds of quota be used at once."""
        with self.locked(now) as schedule:
            schedule.release(now, seconds)

    @contextmanager
    def locked(self, now: float) -> Iterator[LocalSchedule]:
        """Yield the schedule, and write it back."""
        schedule = self.local or self.lock_and_read(now)
        yield schedule
        if self.local is None:
            times = (schedule.tokens_due, schedule.requests_due, schedule.paused_until)
            try:
                os.pwrite(self.descriptor, RECORD.pack(MAGIC, clock_digest(), *times), 0)
                fcntl.flock(self.descriptor, fcntl.LOCK_UN)
            except OSError:
                self.local = schedule

    def lock_and_read(self, now: float) -> LocalSchedule:
        """Lock the file and return its schedule; if that fails, a local one from now on."""
        try:
            lock(self.descriptor)
            if os.fstat(self.descriptor).st_nlink == 0:
                # A cleaner of temporary files deleted it; other processes have created a new one, or will.
                with suppress(OSError):
                    fresh = open_descriptor(self.path)
                    os.close(self.descriptor)
                    self.descriptor = fresh
                    lock(fresh)
            return self.read(now)
        except OSError:
            self.local = LocalSchedule.begin(now)
            return self.local

    def read(self, now: float) -> LocalSchedule:
        """Return the schedule in the file, or a new one if its values are implausible."""
        body = os.pread(self.descriptor, RECORD.size, 0)
        if len(body) == RECORD.size:
            magic, clock, *times = RECORD.unpack(body)
            plausible = all(math.isfinite(due) and due < now + FURTHEST_SECONDS for due in times)
            if magic == MAGIC and clock == clock_digest() and plausible:
                return LocalSchedule(*times)
        return LocalSchedule.begin(now)


def lock(descriptor: int) -> None:
    """Lock a file; raise `OSError` if that is impossible."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_WAIT_SECONDS)
        else:
            return
    raise BlockingIOError


@cache
def clock_digest() -> bytes:
    """Return a digest that differs for each boot of each machine, and so for each monotonic clock."""
    # Systems without an id know the boot by its time, to the quarter of an hour.
    boot = boot_id() or f"{platform.node()} {round((time.time() - time.monotonic()) / 900)}"
    return hashlib.blake2b(boot.encode(), digest_size=16).digest()


def quota_file(identity: str) -> Path:
    """Return the path of the file for a quota; a digest, since `identity` may hold a key.

    Raises `OSError` if this user has no folder for it.
    """
    name = hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
    return own_folder() / f"{name}.quota"


@contextmanager
def open_schedule(identity: str, now: float) -> Iterator[LocalSchedule | SharedSchedule]:
    """Yield the schedule that all processes of this user share for one quota; a local one if that fails."""
    shared = None
    if sys.platform != "win32":
        with suppress(OSError):
            path = quota_file(identity)
            with suppress(OSError):
                clean(path.parent, time.time())
            shared = SharedSchedule(path, open_descriptor(path))
    try:
        yield shared or LocalSchedule.begin(now)
    finally:
        if shared is not None:
            os.close(shared.descriptor)


def clean(folder: Path, now: float) -> None:
    """Remove the quota files that nobody uses, unless that was done lately; `now` in seconds since 1970."""
    cleaned = folder / "quotas-cleaned"
    with suppress(FileNotFoundError):
        # A time in the future is of a clock that was wrong.
        if 0 <= now - cleaned.lstat().st_mtime < CLEAN_SECONDS:
            return
    os.close(open_descriptor(cleaned))
    os.utime(cleaned, (now, now), follow_symlinks=False)
    remove_unused(folder, now - UNUSED_SECONDS)


def remove_unused(folder: Path, before: float) -> None:
    """Remove the quota files that were last used `before` a time (seconds since 1970), and are not locked."""
    for path in folder.glob("*.quota"):
        with suppress(OSError):
            if path.lstat().st_mtime >= before:
                continue
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Another process may have used it meanwhile, or replaced it. A process that waits
                # for the lock then sees that the file has no name any more.
                if os.fstat(descriptor).st_mtime < before:
                    path.unlink()
            finally:
                os.close(descriptor)


def open_descriptor(path: Path) -> int:
    """Return a descriptor of the file, which must not be a link; raise `OSError` if that is impossible."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
