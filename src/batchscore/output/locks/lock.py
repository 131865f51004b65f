"""Who works on this output now, and may I?

It must not know what is worked on: callers name a folder and a key. On one machine the kernel's lock of a
file decides, which ends with its holder, however that ends. The file also says who holds it, and is written
again every half minute: that counts on mounts whose locks reach one machine only, and on those that have no
locks at all, where a holder without a sign of life is taken for dead.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from batchscore.errors import OutputLocked
from batchscore.output.locks.flock import (
    ALONE,
    NO_MORE,
    SHARED,
    SYSTEM,
    TRIES,
    Locking,
    closed,
    created,
    locked,
    opened,
    probed,
    still_named,
)
from batchscore.output.locks.holder import Holder, holder_from, lives, this_process
from batchscore.stores.errors import explain_errors
from batchscore.stores.storage import write_whole

_MOMENT_SECONDS = 0.025

#: Between two looks of one who waits.
_LOOK_SECONDS = 0.5

#: A mount that hangs must not hold up the end of a run.
_JOIN_SECONDS = 1.0

_MOST_BYTES = 1 << 16


@dataclass(slots=True)
class Hold:
    """A lock that is held: `record` is what stands in its file, `descriptor` what the kernel knows it by.

    `when_lost` is called, from another thread, should somebody else have taken it for dead.
    """

    path: Path
    record: bytes
    descriptor: int | None
    locking: Locking
    when_lost: Callable[[], None] = lambda: None
    ended: threading.Event = field(default_factory=threading.Event)

    def beat(self) -> None:
        """Give signs of life until the end."""
        while not self.ended.wait(self.locking.beat_seconds):
            if not self.renewed():
                if not self.ended.is_set():
                    self.when_lost()
                return

    def renewed(self) -> bool:
        """Write the record again; whether it was still there."""
        try:
            with self.path.open("r+b", buffering=0) as file:
                if file.read(_MOST_BYTES) != self.record:
                    return False
                file.seek(0)
                file.write(self.record)
        except FileNotFoundError:
            return False
        except OSError:
            # A mount that does not answer now may do so half a minute later.
            return True
        return True

    def release(self) -> None:
        """Leave nothing behind."""
        with suppress(OSError):
            if self.path.read_bytes() == self.record:
                # While it is still locked: whoever waits for it will see that it has no name any more.
                self.path.unlink()
        if self.descriptor is not None:
            with suppress(OSError):
                # Closing alone would not do: a process that was forked meanwhile has it open as well.
                locked(self.descriptor, NO_MORE, self.locking)
            closed(self.descriptor)


@dataclass(frozen=True, slots=True)
class Seen:
    """Who stands in the way, and the seconds since its last sign of life; `passing`: perhaps no longer."""

    holder: Holder | None
    seconds: float
    passing: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """One attempt to take a lock; `ahead_seconds` is how far the file system's clock is ahead of ours."""

    path: Path
    what: str
    me: Holder
    notice: Callable[[str], object]
    locking: Locking
    ahead_seconds: float

    def by_kernel(self) -> Hold | Seen:
        """Take the lock where the kernel has locks."""
        descriptor = opened(self.path)
        kept = False
        try:
            if not locked(descriptor, ALONE, self.locking):
                found, seconds = self.look(descriptor)
                return Seen(found, seconds, passing=found is None or lives(found, self.me) is False)
            if not still_named(descriptor, self.path):
                return Seen(None, 0.0, passing=True)
            found, seconds = self.look(descriptor)
            if found is not None and foreign(found, self.me):
                if seconds < self.locking.stale_seconds:
                    return Seen(found, seconds, passing=False)
                self.tell_of_succession(found)
            with explain_errors(self.path, "write"):
                os.ftruncate(descriptor, 0)
                if os.pwrite(descriptor, self.me.record, 0) < len(self.me.record):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            kept = True
            return Hold(self.path, self.me.record, descriptor, self.locking)
        finally:
            if not kept:
                closed(descriptor)

    def by_record(self) -> Hold | Seen:
        """Take the lock where only what stands in the file tells."""
        if created(self.path, self.me.record):
            return Hold(self.path, self.me.record, None, self.locking)
        try:
            with self.path.open("rb") as file:
                record = file.read(_MOST_BYTES)
                found, seconds = self.look(file.fileno())
        except FileNotFoundError:
            # Given up meanwhile, or its folder was.
            return Seen(None, 0.0, passing=True)
        if alive(found, self.me, seconds, self.locking):
            return Seen(found, seconds, passing=found is None)
        if self.succeeds(record):
            self.tell_of_succession(found)
            return Hold(self.path, self.me.record, None, self.locking)
        return Seen(None, 0.0, passing=True)

    def look(self, descriptor: int) -> tuple[Holder | None, float]:
        """Return whose record stands in the file, and its age in seconds by the file system's own clock."""
        with explain_errors(self.path, "read"):
            os.lseek(descriptor, 0, os.SEEK_SET)
            found = holder_from(os.read(descriptor, _MOST_BYTES))
            return found, time.time() + self.ahead_seconds - os.fstat(descriptor).st_mtime

    def succeeds(self, record: bytes) -> bool:
        """Put our record in the place of a dead holder's; whether nobody else did so as well."""
        with suppress(FileNotFoundError):
            if self.path.read_bytes() != record:
                return False
            write_whole(self.path, self.me.record)
            # Several may have seen the same dead holder; the last of them has it.
            time.sleep(self.locking.settle_seconds)
            return self.path.read_bytes() == self.me.record
        return False

    def tell_of_succession(self, found: Holder | None) -> None:
        """Say whose place is taken."""
        who = "an unknown run" if found is None else described(found)
        self.notice(f"{self.what} was left behind by {who}, which does not live any more; going on with it.")


@contextmanager
def held(
    folder: Path,
    name: str,
    *,
    what: str,
    command: str,
    notice: Callable[[str], object],
    wait_seconds: float = 0.0,
    locking: Locking = SYSTEM,
) -> Iterator[Hold]:
    """Hold the lock `name` of a folder, which is made, while the block runs.

    Raises `OutputLocked`, which says who has it, where another process or thread does, and still does after
    `wait_seconds`; who waits need not come in the order in which they asked. `what` names for a
    person what is locked, `command` what this run is, with nothing secret in it; `notice` is told when a
    dead holder is succeeded.
    """
    path = folder / f"{name}.lock"
    made = [each for each in (folder, folder.parent) if not each.exists()]
    try:
        by_kernel, ahead_seconds = probed(folder, locking)
        claim = Claim(path, what, this_process(command), notice, locking, ahead_seconds)
        hold = taken(claim, by_kernel=by_kernel, wait_seconds=wait_seconds)
        pulse = threading.Thread(target=hold.beat, name="batchscore-lock", daemon=True)
        try:
            pulse.start()
            yield hold
        finally:
            hold.ended.set()
            if pulse.is_alive():
                pulse.join(timeout=_JOIN_SECONDS)
            hold.release()
    finally:
        for each in made:
            # Only where nothing else has come to stand in it.
            with suppress(OSError):
                each.rmdir()


def taken(claim: Claim, *, by_kernel: bool, wait_seconds: float) -> Hold:
    """Take the lock; raises `OutputLocked`."""
    until = time.monotonic() + wait_seconds
    tries = 0
    while True:
        found = claim.by_kernel() if by_kernel else claim.by_record()
        if isinstance(found, Hold):
            return found
        tries += 1
        left = until - time.monotonic()
        if left <= 0 and (tries >= TRIES or not found.passing):
            raise OutputLocked(refusal(claim.what, found, claim.me, claim.locking))
        time.sleep(_MOMENT_SECONDS if found.passing else min(left, _LOOK_SECONDS))


def refuse_held(folder: Path, name: str, *, what: str, locking: Locking = SYSTEM) -> None:
    """Raise `OutputLocked` where somebody has the lock. Writes nothing: the folder may be read-only."""
    path, me = folder / f"{name}.lock", this_process("")
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return
    try:
        free: bool | None = None
        with suppress(OSError):
            free = locked(descriptor, SHARED, locking) if locking.flock is not None else None
        found, seconds = Claim(path, what, me, print, locking, 0.0).look(descriptor)
        if free is None:
            free = not alive(found, me, seconds, locking)
        elif free and found is not None and foreign(found, me):
            free = seconds >= locking.stale_seconds
    finally:
        closed(descriptor)
    if not free:
        raise OutputLocked(refusal(what, Seen(found, seconds, passing=False), me, locking))


def foreign(found: Holder, me: Holder) -> bool:
    """Whether a holder is out of reach of this machine's locks.

    The same name with another boot is taken for this machine before it was started again.
    """
    return found.host != me.host and not (found.boot and found.boot == me.boot)


def alive(found: Holder | None, me: Holder, seconds: float, locking: Locking) -> bool:
    """Whether a holder must be taken for alive, where no lock of the kernel tells."""
    known = None if found is None else lives(found, me)
    return seconds < locking.stale_seconds if known is None else known


def refusal(what: str, seen: Seen, me: Holder, locking: Locking) -> str:
    """Say who holds it, and what to do."""
    found = seen.holder
    if found is None:
        return f"{what} is held by another run, which does not say who it is. Wait for it to end."
    ours = (found.host, found.boot, found.pid) == (me.host, me.boot, me.pid)
    who = described(found) + (" (this same process)" if ours else "")
    text = f"{what} is held by {who}. Wait for it to end, stop it, or choose another output."
    if foreign(found, me):
        text += (
            f" Its last sign of life was {max(0.0, seen.seconds):.0f} s ago; "
            f"after {locking.stale_seconds:.0f} s without one it counts as dead."
        )
    return text


def described(holder: Holder) -> str:
    """Name a holder for a person."""
    user = f" of {holder.user}" if holder.user else ""
    host = f" on {holder.host}" if holder.host else ""
    return f"`{holder.command}`, process {holder.pid}{user}{host}, since {holder.since}"
