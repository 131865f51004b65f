"""Which process is it that holds something, and does it still live?

It must not know what is held. A process is known by more than its number, which is soon another's: by its
start, by the running system (`boot`), and by the namespace that its number counts in. Only the program and
the task stand in a record, never flags.
"""

from __future__ import annotations

import getpass
import os
import platform
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

import orjson

from batchscore.stores.temporary import boot_id

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Holder:
    """One taking of a lock; `token` is its own. What this system does not tell is empty, or `None`.

    `born` is the process's start in clock ticks since the system's; `since` is when it took the lock.
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
        """What stands in the lock's file."""
        return orjson.dumps(asdict(self), option=orjson.OPT_APPEND_NEWLINE)


def this_process(command: str) -> Holder:
    """Return what is to be known of this process, which runs `command`."""
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
        born=born(os.getpid()),
        since=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S} UTC",
    )


def holder_from(record: bytes) -> Holder | None:
    """Read a lock's record; `None` where it is none, or cut."""
    try:
        found = orjson.loads(record)
        holder = Holder(**found)
    except (ValueError, TypeError):
        return None
    texts = (
        holder.token,
        holder.command,
        holder.user,
        holder.host,
        holder.boot,
        holder.numbers,
        holder.since,
    )
    numbers = (holder.pid, 0 if holder.born is None else holder.born)
    fits = all(type(each) is str for each in texts) and all(type(each) is int for each in numbers)
    return holder if fits and 0 < holder.pid < 2**31 else None


def lives(holder: Holder, here: Holder) -> bool | None:
    """Whether the holder's process lives, as seen from the process `here`; `None` where nothing tells."""
    known = holder.boot and holder.numbers
    if not known or (holder.boot, holder.numbers) != (here.boot, here.numbers):
        return None
    try:
        # It asks, and sends nothing; on systems where it would there is no `boot` either.
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    found = born(holder.pid)
    if found is None or holder.born is None:
        return None
    return found == holder.born


def born(pid: int) -> int | None:
    """Return when a process began, in clock ticks since the system did; 0 where it has ended."""
    # proc(5): "pid (name) state ...", the start is field 22; the name may hold brackets and blanks.
    fields = text_of(_PROC / str(pid) / "stat").rpartition(")")[2].split()
    try:
        return 0 if fields[0] in "ZX" else int(fields[19])
    except (IndexError, ValueError):
        return None


def text_of(path: Path) -> str:
    """Return what stands in one of the system's files; nothing where there is none."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
