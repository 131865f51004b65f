"""How is one client measured? Input, a fresh stub, the client on a core of its own, and a check of every row.

The stub and this process sit on the last core, the client on the first. `compare` and `quota` use it.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

HERE = Path(__file__).resolve().parent
STUB = HERE / "stub" / "stub.out"
RAW = HERE / "raw_loop.py"
ENGINE = HERE / "engine_run.py"
CLIENT_CORE = 0
CAP_SECONDS = 300.0
LAST_CORE = (os.cpu_count() or 1) - 1

DIMENSIONS = 1536
HEAD = 6
WORD = (1 << 64) - 1


def make_rows(count: int) -> dict[str, str]:
    """Give so many unique texts by id, of about 200 tokens, every 20th with escapes and beyond ASCII."""
    draw = random.Random(7)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(draw.choice(letters) for _ in range(draw.randint(2, 9))) for _ in range(4000)]
    rows = {}
    for number in range(count):
        size = 200 * 4 * draw.uniform(0.6, 1.4)
        text = f"row {number}:"
        while len(text) < size:
            text += " " + words[int(draw.random() ** 2 * 4000)]
        odd = ' "quoted"\nnew\tline \\ café 漢字 \U0001f600'
        rows[f"r{number:07d}"] = text + (odd if number % 20 == 0 else "")
    return rows


def write_input(path: Path, rows: dict[str, str]) -> None:
    """Write the rows as lines of id and text."""
    with path.open("w", encoding="utf-8") as file:
        for identity, text in rows.items():
            file.write(json.dumps({"id": identity, "text": text}, ensure_ascii=False) + "\n")


def text_hash(text: str) -> tuple[int, int]:
    """Return the stub's hash of a text, and its length in bytes."""
    data = text.encode("utf-8", "surrogatepass")
    return zlib.adler32(data) << 32 | zlib.crc32(data), len(data)


@lru_cache(256)
def pool(number: int) -> list[float]:
    """Return the stub's pool vector of that number."""
    state, vector = (number * 0x9E3779B97F4A7C15 + 1) & WORD, []
    for _ in range(DIMENSIONS):
        state = (state * 6364136223846793005 + 1442695040888963407) & WORD
        vector.append(((state >> 40) - 8388608) / 134217728)
    return vector


def is_vector(text: str, vector: list[float], *, whole: bool) -> bool:
    """Is it the text's vector? The head is always compared, the rest in three places or whole."""
    mark, length = text_hash(text)
    pieces = [mark >> shift & 0xFFFF for shift in (0, 16, 32, 48)]
    head = [*pieces, length & 0xFFFF, (mark & 0xFFFFFFFF) % 256]
    if len(vector) != DIMENSIONS or [round(value * 1e5) for value in vector[:HEAD]] != head:
        return False
    tail = pool(head[-1])
    places = range(HEAD, DIMENSIONS) if whole else (HEAD, DIMENSIONS // 2, DIMENSIONS - 1)
    return all(abs(vector[place] - tail[place]) < 1e-7 for place in places)


def is_reply(text: str, reply: object) -> bool:
    """Is it the stub's reply to that text?"""
    mark, length = text_hash(text)
    return isinstance(reply, str) and reply.startswith(f"h={mark:016x} len={length}")


@dataclass
class Checked:
    """What became of the rows. A row is lost where no score of it was written, an error record or none."""

    rows: int = 0
    right: int = 0
    lost: int = 0
    duplicate: int = 0
    wrong: int = 0
    errors: int = 0
    strange: int = 0

    def __add__(self, other: Checked) -> Checked:
        """Add up two checks."""
        return Checked(**{name: value + getattr(other, name) for name, value in vars(self).items()})

    def __str__(self) -> str:
        text = f"{self.lost}/{self.duplicate}/{self.wrong}"
        return text + (f" ({self.errors} errors)" if self.errors else "")


def check(rows: dict[str, str], output: Path) -> Checked:
    """Compare an output with the rows it was made of."""
    seen: set[str] = set()
    checked = Checked(rows=len(rows))
    for line in output.open("rb") if output.exists() else ():
        try:
            record = orjson.loads(line)
            identity, text = record["id"], rows[record["id"]]
        except (ValueError, KeyError):
            checked.strange += 1  # unreadable, or nobody's
            continue
        vector, reply = record.get("embedding"), record.get("reply")
        if not vector and not reply:
            checked.errors += 1
        elif identity in seen:
            checked.duplicate += 1
        else:
            seen.add(identity)
            whole = len(seen) % 500 == 0
            right = is_vector(text, vector, whole=whole) if vector else is_reply(text, reply)
            checked.right += right
            checked.wrong += not right
    checked.lost = len(rows) - len(seen)
    return checked


@dataclass(frozen=True)
class Stub:
    """A running stub, and where it notes what it admitted and refused."""

    port: int
    log: Path

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def stats(self) -> dict[str, Any]:
        """Return the stub's own counts."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats", timeout=10) as answer:
            counts: dict[str, Any] = json.load(answer)
        return counts


def build_stub() -> None:
    """Build the stub where it is not up to date, and leave the first core to the clients."""
    subprocess.run(["make", "-s", "-C", str(HERE / "stub")], check=True)
    os.sched_setaffinity(0, {LAST_CORE})


@contextmanager
def running_stub(options: str, folder: Path) -> Iterator[Stub]:
    """Run a fresh stub on the last core."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        stub = Stub(probe.getsockname()[1], folder / "requests.log")
    command = ["taskset", "-c", str(LAST_CORE), str(STUB), "--port", str(stub.port), *options.split()]
    record = ["--log", str(stub.log)] if "--tpm" in options else []
    process = subprocess.Popen([*command, *record], stderr=subprocess.DEVNULL)
    try:
        wait_for(stub)
        yield stub
    except OSError as error:
        if process.poll() is None:
            raise
        raise SystemExit(f"the stub ended during the run, with {process.returncode}") from error
    finally:
        process.terminate()
        process.wait()


def wait_for(stub: Stub) -> None:
    """Return when the stub answers."""
    for _ in range(100):
        try:
            stub.stats()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("the stub doesn't start")


@dataclass
class Client:
    """A client process from its launch on; times are of the monotonic clock."""

    process: subprocess.Popen[bytes]
    printed: Path
    output: Path
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    peak_bytes: int = 0

    def poll(self) -> bool:
        """Look at the process: its memory while it runs, the time when it ended. Is it running?"""
        if self.ended is not None:
            return False
        peak = peak_memory(self.process.pid)
        if not self.is_renaming():
            self.peak_bytes = max(self.peak_bytes, peak)
        if self.process.poll() is None:
            return True
        self.ended = time.monotonic()
        return False

    def is_renaming(self) -> bool:
        """Has the engine done its work, and do its records only get the rig's names? That isn't measured."""
        return self.output.exists() and self.output.with_name(self.output.name + ".batchscore").exists()

    def kill(self) -> None:
        """End it as the system does when memory runs out."""
        self.process.kill()
        self.process.wait()
        self.poll()

    def measured(self) -> dict[str, Any]:
        """Return the numbers of the last line it printed; none when it was killed or failed."""
        lines = self.printed.read_bytes().splitlines()
        if self.process.returncode or not lines:
            return {}
        numbers: dict[str, Any] = json.loads(lines[-1])
        return numbers

    def complaint(self) -> str:
        """Return the end of what it wrote to the standard error of a failed run."""
        text = self.printed.with_suffix(".stderr").read_text(errors="replace")
        return text[-1500:] if self.process.returncode else ""


def peak_memory(process: int) -> int:
    """Return the kernel's own peak of one process in bytes; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def launch(script: Path, source: Path, output: Path, options: list[str], name: str = "client") -> Client:
    """Start a client on the first core; the input's folder is its temporary one, with the books of quotas."""
    folder = source.parent
    environment = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    environment |= {"NO_PROXY": "*", "TMPDIR": str(folder), "BENCH_T0": repr(time.time())}
    printed = folder / f"{name}.stdout"
    with printed.open("wb") as out, printed.with_suffix(".stderr").open("wb") as err:
        command = ["taskset", "-c", str(CLIENT_CORE), sys.executable, str(script)]
        command += [str(source), str(output), *options]
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=err, cwd=folder)
    return Client(process, printed, output)


def wait_until_ended(client: Client) -> None:
    """Watch a client to its end, and kill it at the cap."""
    while client.poll():
        if time.monotonic() - client.started > CAP_SECONDS:
            client.kill()
        time.sleep(0.05)


@dataclass(frozen=True)
class Result:
    """One measured run."""

    seconds: float
    checked: Checked
    peak_bytes: int
    stats: dict[str, Any]

    @property
    def rows_per_second(self) -> float:
        return self.checked.right / self.seconds


def run_once(
    script: Path, options: list[str], rows: dict[str, str], source: Path, stub_options: str
) -> Result:
    """Run one client against a fresh stub and check what it wrote; a killed one took the whole cap."""
    output = source.with_name("output")
    with running_stub(stub_options, source.parent) as stub:
        client = launch(script, source, output, ["--base-url", stub.base_url, *options])
        wait_until_ended(client)
        stats = stub.stats()
    sys.stderr.write(client.complaint())
    result = Result(
        client.measured().get("run_s", CAP_SECONDS), check(rows, output), client.peak_bytes, stats
    )
    output.unlink(missing_ok=True)
    return result
