"""How is one file locked, which process holds a lock, and is that process still running?

It does not know what is locked. Several processes may call each function at the same moment, and a folder may
vanish in between. A process is identified by more than its number, which is soon reused: by its start, by the
boot of its system, and by the namespace of its number. A record holds only the program and the task, never
flags.
"""

from __future__ import annotations

import errno
import getpass
import os
import platform
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

import orjson

from batchscore.errors import OutputError, setting_name
from batchscore.stores.errors import explain_errors
from batchscore.stores.half_written import TEMPORARY
from batchscore.stores.links import create_within, open_own, read_own
from batchscore.stores.this_machine import EXCLUSIVE, NONBLOCKING, SYSTEM_FLOCK, UNLOCK, boot_id

#: The errors of a file system without locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}

#: The pause between two attempts to get a turn.
TURN_PAUSE_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class Locking:
    """How locks are held: `flock` is the system's function, `None` if it has none.

    A holder writes a heartbeat every `beat_seconds`. If only heartbeats show whether it lives, it counts as
    dead `stale_seconds` after the last one; some mounts show changes two minutes late. Its successor waits
    `settle_seconds` to see whether another process succeeded it at the same time.
    """

    flock: Callable[[int, int], object] | None = SYSTEM_FLOCK
    beat_seconds: float = 30.0
    stale_seconds: float = 300.0
    settle_seconds: float = 1.0


SYSTEM = Locking()


def probe_locks(folder: Path, locking: Locking) -> tuple[bool, float]:
    """Return whether a folder's file system has locks, and by how many seconds its clock is ahead."""
    probe = folder / f"{TEMPORARY}{secrets.token_hex(8)}.tmp"
    descriptor = open_or_create(probe)
    try:
        ahead = os.fstat(descriptor).st_mtime - time.time()
        with explain_errors(folder, "lock"):
            try:
                return locking.flock is not None and try_lock(descriptor, EXCLUSIVE, locking), ahead
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
        return False, ahead
    finally:
        close_quietly(descriptor)
        with suppress(OSError):
            probe.unlink()


def open_or_create(path: Path) -> int:
    """Return a descriptor of the file, which is created with its folders."""
    with explain_errors(path.parent, "write"):
        return create_within(path.parent, lambda: open_own(path, os.O_RDWR | os.O_CREAT))


def create_exclusively(path: Path, record: bytes) -> bool:
    """Create the file with this record; return `False` if it exists."""
    with explain_errors(path, "write"):
        try:
            with path.open("xb") as file:
                file.write(record)
        except FileExistsError:
            return False
        except FileNotFoundError:
            with suppress(FileNotFoundError, FileExistsError):
                path.parent.mkdir(parents=True, exist_ok=True)
            return False
        except OSError:
            # Half a record would keep everybody away.
            path.unlink(missing_ok=True)
            raise
    with suppress(OSError):
        # Some mounts let two processes create the same name; the last one has it.
        return read_own(path) == record
    return False


def try_lock(descriptor: int, operation: int, locking: Locking) -> bool:
    """Lock a file if that needs no waiting; raises `OSError` if there are no locks."""
    assert locking.flock is not None
    try:
        locking.flock(descriptor, operation | NONBLOCKING)
    except BlockingIOError:
        return False
    return True


@contextmanager
def in_turn(path: Path, locking: Locking, most_seconds: float) -> Iterator[None]:
    """Keep other processes out of such blocks with the same file, which stays; they take turns.

    Raises `OutputError` if the file system has no locks, or if the turn does not come in `most_seconds`.
    """
    descriptor = open_or_create(path)
    try:
        ends = time.monotonic() + most_seconds
        while not try_turn(path, descriptor, locking):
            if time.monotonic() > ends:
                raise OutputError(
                    f"other workers have locked {path} for {most_seconds:.0f} s. If one of them does not "
                    "work any more, end it, and run the same command again."
                )
            time.sleep(TURN_PAUSE_SECONDS)
        yield
        with suppress(OSError):
            # Closing alone is not enough: a process that was forked meanwhile has it open as well.
            try_lock(descriptor, UNLOCK, locking)
    finally:
        close_quietly(descriptor)


def try_turn(path: Path, descriptor: int, locking: Locking) -> bool:
    """Lock a file if that needs no waiting; raises `OutputError` if the file system has no locks."""
    with explain_errors(path, "lock"):
        try:
            if locking.flock is not None:
                return try_lock(descriptor, EXCLUSIVE, locking)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
    raise OutputError(
        f"{path.parent} is on a file system without locks, and {setting_name('part_of')} needs them. Score "
        "into a folder on another disk, or give each worker its own files, with "
        f"{setting_name('shared_output', True)}."
    )


def close_quietly(descriptor: int) -> None:
    """Close a file that is not needed any more; errors do not matter."""
    with suppress(OSError):
        os.close(descriptor)


def has_name(descriptor: int, path: Path) -> bool:
    """Whether an open file still has its name: its last holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Holder:
    """One holder of a lock; `token` is unique. A value that this system does not give is empty, or `None`.

    `numbers` is the namespace of `pid`. `born` is the process's start in clock ticks since the system's;
    `since` is when it took the lock. The names are those in the lock's file, which other versions read.
    """

    token: str
    command: str
    user: str
    host: str
    boot: str
    numbers: str
    pid: int
    born: int | None
    since: str

    @property
    def record(self) -> bytes:
        """The content of the lock's file."""
        return orjson.dumps(asdict(self), option=orjson.OPT_APPEND_NEWLINE)


def this_process(command: str) -> Holder:
    """Return the record of this process, which runs `command`."""
    user = ""
    with suppress(OSError, KeyError, ImportError):
        user = getpass.getuser()
    numbers = ""
    with suppress(OSError):
        numbers = str((_PROC / "self/ns/pid").readlink())
    return Holder(
        token=secrets.token_hex(8),
        command=command,
        user=user,
        host=platform.node(),
        boot=boot_id(),
        numbers=numbers,
        pid=os.getpid(),
        born=start_of(os.getpid()),
        since=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S} UTC",
    )


def holder_from(record: bytes) -> Holder | None:
    """Read a lock's record; `None` if it is not one, or cut."""
    try:
        fields = orjson.loads(record)
        holder = Holder(**fields)
    except (ValueError, TypeError):
        return None
    numbers = (holder.pid, 0 if holder.born is None else holder.born)
    texts = (value for name, value in fields.items() if name not in {"pid", "born"})
    fits = all(type(each) is str for each in texts) and all(type(each) is int for each in numbers)
    return holder if fits and 0 < holder.pid < 2**31 else None


def is_running(holder: Holder, here: Holder) -> bool | None:
    """Whether the holder's process is running, as seen from the process `here`; `None` if unknown."""
    known = holder.boot and holder.numbers
    if not known or (holder.boot, holder.numbers) != (here.boot, here.numbers):
        return None
    try:
        # Signal 0 is not sent. A system that would send it has no `boot` either.
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    start = start_of(holder.pid)
    if start is None or holder.born is None:
        return None
    return start == holder.born


def start_of(pid: int) -> int | None:
    """Return the start of a process in clock ticks since the system's; 0 if it has ended."""
    # proc(5): "pid (name) state ...", the start is field 22; the name may hold brackets and blanks.
    try:
        fields = (_PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return 0 if fields[0] in "ZX" else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None
