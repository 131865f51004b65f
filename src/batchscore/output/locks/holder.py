"""Which process holds a lock, and is it still running?

A process is identified by more than its number, which is soon reused: by its start, by the boot of its
system, and by the namespace of its number. A record holds only the program and the task, never flags. This
module does not know what is locked.
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

from batchscore.stores.this_machine import boot_id

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
