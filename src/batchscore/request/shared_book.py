"""How do several processes on one machine keep to one quota without a broker?

They keep the schedule of `quota` in a small file in the temporary folder, one a quota, locked for the
few microseconds of a reservation. Whoever reserves gets the next place in the one line, so that workers
take turns; one that is killed leaves at most one reservation unused, and the system frees its lock. The
clock is the machine's monotonic one, which all processes share; a file of before a restart is noticed
by its times and begun anew. Where files cannot be locked so (Windows), each process is on its own.
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from batchscore.request.quota import Book, Rates, Schedule

if sys.platform != "win32":
    import fcntl

RECORD = struct.Struct("<8sddd")
MAGIC = b"bscore01"

#: No worker's reservation reaches further ahead; a due time beyond it is of another boot's clock.
FURTHEST_SECONDS = 3600.0


#: So much quota is drawn from the file at once where single requests are smaller.
SLICE_SECONDS = 0.05


@dataclass(slots=True)
class SharedBook:
    """A schedule in a file that is open as `descriptor`; same promises as `quota.Schedule`.

    Of small requests many share one look into the file: `tokens` and `requests` are drawn and not yet used,
    good from `start` until `expires`. A negative amount is owed.
    """

    descriptor: int
    tokens: float = 0.0
    requests: float = 0.0
    start: float = 0.0
    expires: float = 0.0

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
        with self.locked(None) as schedule:
            schedule.rest(until)

    def allow(self, now: float, seconds: float) -> None:
        """Let so many seconds of quota go at once."""
        with self.locked(now) as schedule:
            schedule.allow(now, seconds)

    @contextmanager
    def locked(self, now: float | None) -> Iterator[Schedule]:
        """Give the schedule, and write it back."""
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        try:
            schedule = self.read(now)
            yield schedule
            body = RECORD.pack(MAGIC, schedule.tokens_due, schedule.requests_due, schedule.resting_until)
            os.pwrite(self.descriptor, body, 0)
        finally:
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def read(self, now: float | None) -> Schedule:
        """Return what stands in the file, or a new schedule where that cannot be meant."""
        body = os.pread(self.descriptor, RECORD.size, 0)
        if len(body) == RECORD.size:
            magic, *times = RECORD.unpack(body)
            if magic == MAGIC and (now is None or max(times) < now + FURTHEST_SECONDS):
                return Schedule(*times)
        return Schedule.begin(now or 0.0)


def quota_file(identity: str) -> Path:
    """Return the file of a quota that `identity` names; a digest, since the name may hold a key."""
    name = hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
    user = getattr(os, "getuid", lambda: "user")()
    return Path(tempfile.gettempdir()) / f"batchscore-{user}" / f"{name}.quota"


@contextmanager
def shared_book(identity: str, now: float) -> Iterator[Book]:
    """Give the book that all processes of this user keep for one quota, or one's own where that fails."""
    descriptor = None if sys.platform == "win32" else opened(quota_file(identity))
    if descriptor is None:
        yield Schedule.begin(now)
        return
    try:
        yield SharedBook(descriptor)
    finally:
        os.close(descriptor)


def opened(path: Path) -> int | None:
    """Return a descriptor of the file; `None` where the folder is somebody else's or cannot be written."""
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if path.parent.stat().st_uid != os.getuid():
            return None
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
