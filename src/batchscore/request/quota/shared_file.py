"""How do several processes on one machine keep to one quota without a broker?

They keep the schedule of `quota` in a small file in the temporary folder, one a quota, locked for the
few microseconds of a reservation. Whoever reserves gets the next place in the one line, so that workers
take turns; one that is killed leaves a slice of quota unused, and the system frees its lock. The clock is
the machine's monotonic one, which all processes of one boot share; a file of another boot or another
machine is begun anew. Where files cannot be locked so (Windows, some mounts, a full disk), each process
is on its own, and learns from 429s what others use.
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
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from batchscore.request.quota.windows import Book, Rates, Schedule
from batchscore.stores.temporary import own_folder

if sys.platform != "win32":
    import fcntl

RECORD = struct.Struct("<8s16sddd")
MAGIC = b"bscore02"

#: No reservation reaches further ahead: a minute of quota after the longest rest.
FURTHEST_SECONDS = 900.0

#: Whoever holds the lock needs microseconds; one who was stopped in the middle is not waited for.
LOCK_TRIES = 50
LOCK_WAIT_SECONDS = 0.002

#: So much quota is drawn from the file at once where single requests are smaller.
SLICE_SECONDS = 0.05


@dataclass(slots=True)
class SharedBook:
    """A schedule in a file that is open as `descriptor`; same promises as `quota.Schedule`.

    Of small requests many share one look into the file: `tokens` and `requests` are drawn and not yet used,
    good from `start` until `expires`. A negative amount is owed. Once the file fails, the book is `alone`.
    """

    path: Path
    descriptor: int
    tokens: float = 0.0
    requests: float = 0.0
    start: float = 0.0
    expires: float = 0.0
    alone: Schedule | None = None

    def reserve(self, now: float, tokens: float, rates: Rates) -> float:
        """Charge one request of so many tokens; returns when it may go."""
        if not (now < self.expires and tokens <= self.tokens and self.requests >= 1):
            self.draw(now, tokens, rates)
        self.tokens -= tokens
        self.requests -= 1
        return max(now, self.start)

    def draw(self, now: float, tokens: float, rates: Rates) -> None:
        """Take from the file what this request needs, or a slice where that is more."""
        wanted_tokens = max(tokens, (rates.tokens or 0.0) * SLICE_SECONDS) if rates.tokens else tokens
        wanted_requests = max(1.0, (rates.requests or 0.0) * SLICE_SECONDS)
        with self.locked(now) as schedule:
            # What was drawn and has expired goes back, what is owed is paid, in the same look.
            schedule.correct(-self.tokens, -self.requests, rates)
            self.start = schedule.reserve(now, wanted_tokens, rates, wanted_requests)
        self.tokens, self.requests = wanted_tokens, wanted_requests
        self.expires = self.start + SLICE_SECONDS

    def correct(self, tokens: float, requests: float, rates: Rates) -> None:
        """Charge so much more, or less where it is negative; the file learns of it with the next draw."""
        del rates
        self.tokens -= tokens
        self.requests -= requests

    def rest(self, until: float) -> None:
        """Let no worker send before `until`."""
        with self.locked(time.monotonic()) as schedule:
            schedule.rest(until)

    def allow(self, now: float, seconds: float) -> None:
        """Let so many seconds of quota go at once."""
        with self.locked(now) as schedule:
            schedule.allow(now, seconds)

    @contextmanager
    def locked(self, now: float) -> Iterator[Schedule]:
        """Give the schedule, and write it back."""
        schedule = self.alone or self.locked_schedule(now)
        yield schedule
        if self.alone is None:
            times = (schedule.tokens_due, schedule.requests_due, schedule.resting_until)
            try:
                os.pwrite(self.descriptor, RECORD.pack(MAGIC, clock_name(), *times), 0)
                fcntl.flock(self.descriptor, fcntl.LOCK_UN)
            except OSError:
                self.alone = schedule

    def locked_schedule(self, now: float) -> Schedule:
        """Lock the file and return what it holds, or what is kept alone from now on."""
        try:
            if os.fstat(self.descriptor).st_nlink == 0:
                # A cleaner of temporary files took it; others have begun a new one.
                self.reopen()
            lock(self.descriptor)
            return self.read(now)
        except OSError:
            self.alone = Schedule.begin(now)
            return self.alone

    def reopen(self) -> None:
        """Open the file anew."""
        fresh = opened(self.path)
        if fresh is not None:
            os.close(self.descriptor)
            self.descriptor = fresh

    def read(self, now: float) -> Schedule:
        """Return what stands in the file, or a new schedule where that cannot be meant."""
        body = os.pread(self.descriptor, RECORD.size, 0)
        if len(body) == RECORD.size:
            magic, clock, *times = RECORD.unpack(body)
            sane = all(math.isfinite(due) and due < now + FURTHEST_SECONDS for due in times)
            if magic == MAGIC and clock == clock_name() and sane:
                return Schedule(*times)
        return Schedule.begin(now)

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)


def lock(descriptor: int) -> None:
    """Lock a file; raises `OSError` where that cannot be had."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_WAIT_SECONDS)
        else:
            return
    raise BlockingIOError


@cache
def clock_name() -> bytes:
    """Return a digest that tells this machine's boot, and so its monotonic clock, from all others."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        # Elsewhere the boot is known by its time, to the quarter of an hour.
        boot = f"{platform.node()} {round((time.time() - time.monotonic()) / 900)}"
    return hashlib.blake2b(boot.encode(), digest_size=16).digest()


def quota_file(identity: str) -> Path:
    """Return the file of a quota that `identity` names; a digest, since the name may hold a key.

    Raises `OSError` where this user has no folder for it.
    """
    name = hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
    return own_folder() / f"{name}.quota"


@contextmanager
def shared_book(identity: str, now: float) -> Iterator[Book]:
    """Give the book that all processes of this user keep for one quota, or one's own where that fails."""
    book = None if sys.platform == "win32" else book_of(identity)
    if book is None:
        yield Schedule.begin(now)
        return
    try:
        yield book
    finally:
        book.close()


def book_of(identity: str) -> SharedBook | None:
    """Return the book of a quota; `None` where there is no folder for it."""
    try:
        path = quota_file(identity)
    except OSError:
        return None
    descriptor = opened(path)
    return None if descriptor is None else SharedBook(path, descriptor)


def opened(path: Path) -> int | None:
    """Return a descriptor of the file; `None` where it cannot be written."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
