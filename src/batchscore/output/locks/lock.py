"""Who is working on this output, and may this run?

Callers name a folder and a key; this module does not know what is locked. On one machine the kernel's lock of
a file decides, which ends with its holder, however that ends. The file also names the holder, which writes it
again every half minute as a heartbeat. The heartbeat counts on mounts whose locks reach one machine only, and
on those without locks, where a holder without a heartbeat is taken for dead.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from batchscore.errors import OutputLocked, message_of
from batchscore.output.locks.system import (
    SYSTEM,
    Holder,
    Locking,
    close_quietly,
    create_exclusively,
    has_name,
    holder_from,
    is_running,
    open_or_create,
    probe_locks,
    this_process,
    try_lock,
)
from batchscore.stores.errors import explain_errors
from batchscore.stores.links import TRIES, open_own, read_own
from batchscore.stores.storage import write_whole
from batchscore.stores.this_machine import EXCLUSIVE, SHARED, UNLOCK

#: The pause between two attempts.
_PAUSE_SECONDS = 0.025

#: A mount that hangs must not delay the end of a run for longer.
_JOIN_SECONDS = 1.0

_MAX_BYTES = 1 << 16


@dataclass(slots=True)
class Lock:
    """A lock that is held: `record` is the content of its file, `descriptor` what the kernel has locked.

    `when_lost` is called, from another thread, if another process took this one for dead.
    """

    path: Path
    record: bytes
    descriptor: int | None
    locking: Locking
    when_lost: Callable[[], None] = lambda: None
    ended: threading.Event = field(default_factory=threading.Event)

    def beat(self) -> None:
        """Write heartbeats until the end."""
        while not self.ended.wait(self.locking.beat_seconds):
            if not self.renew():
                if not self.ended.is_set():
                    self.when_lost()
                return

    def renew(self) -> bool:
        """Write the record again; return whether it was still there."""
        try:
            with os.fdopen(open_own(self.path, os.O_RDWR), "r+b", buffering=0) as file:
                if file.read(_MAX_BYTES) != self.record:
                    return False
                file.seek(0)
                file.write(self.record)
        except FileNotFoundError:
            return False
        except OSError as error:
            # A mount that does not answer now may do so half a minute later; a link in its place stays.
            return error.errno != errno.ELOOP
        return True

    def release(self) -> None:
        """Release the lock and remove its file."""
        with suppress(OSError):
            if read_own(self.path) == self.record:
                # While it is still locked: a process that waits for it sees that it has no name any more.
                self.path.unlink()
        if self.descriptor is not None:
            with suppress(OSError):
                # Closing alone is not enough: a process that was forked meanwhile has it open as well.
                try_lock(self.descriptor, UNLOCK, self.locking)
            close_quietly(self.descriptor)


@dataclass(frozen=True, slots=True)
class Obstacle:
    """The present holder, and the seconds since its last heartbeat; `passing`: it may be gone by now."""

    holder: Holder | None
    seconds: float
    passing: bool


#: Another process has released the lock, or removed its file, during an attempt.
NOBODY = Obstacle(None, 0.0, passing=True)


@dataclass(frozen=True, slots=True)
class LockAttempt:
    """One attempt to take a lock; `ahead_seconds` is how far the file system's clock is ahead of ours."""

    path: Path
    what: str
    me: Holder
    notice: Callable[[str], object]
    locking: Locking
    ahead_seconds: float

    def by_kernel(self) -> Lock | Obstacle:
        """Take the lock where the kernel has locks."""
        with ExitStack() as undo:
            descriptor = open_or_create(self.path)
            undo.callback(close_quietly, descriptor)
            if not try_lock(descriptor, EXCLUSIVE, self.locking):
                holder, seconds = self.look(descriptor)
                passing = holder is None or is_running(holder, self.me) is False
                return Obstacle(holder, seconds, passing=passing)
            if not has_name(descriptor, self.path):
                return NOBODY
            holder, seconds = self.look(descriptor)
            if holder is not None and is_elsewhere(holder, self.me):
                if seconds < self.locking.stale_seconds:
                    return Obstacle(holder, seconds, passing=False)
                self.announce_succession(holder)
            with explain_errors(self.path, "write"):
                os.ftruncate(descriptor, 0)
                if os.pwrite(descriptor, self.me.record, 0) < len(self.me.record):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            undo.pop_all()
            return Lock(self.path, self.me.record, descriptor, self.locking)

    def by_record(self) -> Lock | Obstacle:
        """Take the lock where only the content of its file counts."""
        if create_exclusively(self.path, self.me.record):
            return Lock(self.path, self.me.record, None, self.locking)
        with explain_errors(self.path, "read"):
            try:
                with os.fdopen(open_own(self.path, os.O_RDONLY), "rb") as file:
                    record = file.read(_MAX_BYTES)
                    holder, seconds = self.look(file.fileno())
            except FileNotFoundError:
                # It was released meanwhile, or its folder was.
                return NOBODY
        if may_be_alive(holder, self.me, seconds, self.locking):
            return Obstacle(holder, seconds, passing=holder is None)
        if self.succeed(record):
            self.announce_succession(holder)
            return Lock(self.path, self.me.record, None, self.locking)
        return NOBODY

    def look(self, descriptor: int) -> tuple[Holder | None, float]:
        """Return the holder in the file, and the record's age in seconds by the file system's clock."""
        with explain_errors(self.path, "read"):
            os.lseek(descriptor, 0, os.SEEK_SET)
            holder = holder_from(os.read(descriptor, _MAX_BYTES))
            return holder, time.time() + self.ahead_seconds - os.fstat(descriptor).st_mtime

    def succeed(self, record: bytes) -> bool:
        """Replace a dead holder's record by ours; return whether no other process did so as well."""
        with suppress(FileNotFoundError):
            if read_own(self.path) != record:
                return False
            write_whole(self.path, self.me.record)
            # Several may have seen the same dead holder; the last of them has the lock.
            time.sleep(self.locking.settle_seconds)
            return read_own(self.path) == self.me.record
        return False

    def announce_succession(self, holder: Holder | None) -> None:
        """Notify the user whose place is taken."""
        who = "an unknown run" if holder is None else describe(holder)
        self.notice(f"{self.what} was locked by {who}, which is not running any more. Continuing its work.")


@contextmanager
def hold_lock(
    folder: Path,
    name: str,
    *,
    what: str,
    command: str,
    notice: Callable[[str], object],
    locking: Locking = SYSTEM,
) -> Iterator[Lock]:
    """Hold the lock `name` of a folder, which is created, while the block runs.

    Raises `OutputLocked`, which names the holder, if another process or thread has it. `what` says in
    messages what is locked; `command` says what this run is, without secrets; `notice` is called when a dead
    holder is succeeded.
    """
    path = folder / f"{name}.lock"
    created = [each for each in (folder, folder.parent) if not os.path.exists(each)]  # noqa: PTH110 - it raises nothing
    try:
        has_locks, ahead_seconds = probe_locks(folder, locking)
        attempt = LockAttempt(path, what, this_process(command), notice, locking, ahead_seconds)
        lock = take_lock(attempt, by_kernel=has_locks)
        heartbeat = threading.Thread(target=lock.beat, name="batchscore-lock", daemon=True)
        try:
            heartbeat.start()
            yield lock
        finally:
            lock.ended.set()
            if heartbeat.is_alive():
                heartbeat.join(timeout=_JOIN_SECONDS)
            lock.release()
    finally:
        for each in created:
            # Only if it is empty.
            with suppress(OSError):
                each.rmdir()


def take_lock(attempt: LockAttempt, *, by_kernel: bool) -> Lock:
    """Take the lock; raises `OutputLocked`."""
    tries = 0
    while True:
        found = attempt.by_kernel() if by_kernel else attempt.by_record()
        if isinstance(found, Lock):
            return found
        tries += 1
        if not found.passing or tries >= TRIES:
            raise OutputLocked(held_text(attempt.what, found, attempt.me, attempt.locking))
        time.sleep(_PAUSE_SECONDS)


def refuse_locked(folder: Path, name: str, *, what: str, locking: Locking = SYSTEM) -> None:
    """Raise `OutputLocked` if another run has the lock. Writes nothing: the folder may be read-only."""
    path, me = folder / f"{name}.lock", this_process("")
    try:
        descriptor = open_own(path, os.O_RDONLY)
    except OSError:
        return
    try:
        free: bool | None = None
        with suppress(OSError):
            free = try_lock(descriptor, SHARED, locking) if locking.flock is not None else None
        holder, seconds = LockAttempt(path, what, me, print, locking, 0.0).look(descriptor)
        if free is None:
            free = not may_be_alive(holder, me, seconds, locking)
        elif free and holder is not None and is_elsewhere(holder, me):
            free = seconds >= locking.stale_seconds
    finally:
        close_quietly(descriptor)
    if not free:
        raise OutputLocked(held_text(what, Obstacle(holder, seconds, passing=False), me, locking))


def held_by(folder: Path, name: str, *, what: str) -> str:
    """Return the message that names another run with the lock; empty if there is none."""
    try:
        refuse_locked(folder, name, what=what)
    except OutputLocked as error:
        return message_of(error)
    return ""


def is_elsewhere(holder: Holder, me: Holder) -> bool:
    """Whether a holder is out of reach of this machine's locks.

    The same name with another boot is this machine before it was restarted.
    """
    return holder.host != me.host and not (holder.boot and holder.boot == me.boot)


def may_be_alive(holder: Holder | None, me: Holder, seconds: float, locking: Locking) -> bool:
    """Whether a holder counts as alive if no lock of the kernel shows it."""
    running = None if holder is None else is_running(holder, me)
    return seconds < locking.stale_seconds if running is None else running


def held_text(what: str, obstacle: Obstacle, me: Holder, locking: Locking) -> str:
    """Return a message that names the holder and says what to do."""
    holder = obstacle.holder
    if holder is None:
        return f"{what} is held by another run, which does not say who it is. Wait for it to end."
    ours = (holder.host, holder.boot, holder.pid) == (me.host, me.boot, me.pid)
    who = describe(holder) + (" (this same process)" if ours else "")
    text = f"{what} is held by {who}. Wait for it to end, or stop it."
    if is_elsewhere(holder, me):
        text += (
            f" Its last heartbeat was {max(0.0, obstacle.seconds):.0f} s ago; "
            f"after {locking.stale_seconds:.0f} s without one it counts as dead."
        )
    return text


def describe(holder: Holder) -> str:
    """Return a description of a holder for a message."""
    user = f" of {holder.user}" if holder.user else ""
    host = f" on {holder.host}" if holder.host else ""
    return f"`{holder.command}`, process {holder.pid}{user}{host}, since {holder.since}"
