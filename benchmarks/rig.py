"""How is one client measured? With an input, a new stub, the client on its own core, and checks of all rows.

The stub and this process run on the last core, the client on the first. `compare` and `quota` use it.
"""

from __future__ import annotations

import json
import os
import random
import shutil
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
    """Return `count` unique texts of about 200 tokens by id; every 20th has escapes and non-ASCII."""
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
    """Write the rows as JSON Lines with id and text."""
    with path.open("w", encoding="utf-8") as file:
        for identity, text in rows.items():
            file.write(json.dumps({"id": identity, "text": text}, ensure_ascii=False) + "\n")


def text_hash(text: str) -> tuple[int, int]:
    """Return the stub's hash of a text, and the text's length in bytes."""
    data = text.encode("utf-8", "surrogatepass")
    return zlib.adler32(data) << 32 | zlib.crc32(data), len(data)


@lru_cache(256)
def pool(number: int) -> list[float]:
    """Return the stub's pool vector with this number."""
    state, vector = (number * 0x9E3779B97F4A7C15 + 1) & WORD, []
    for _ in range(DIMENSIONS):
        state = (state * 6364136223846793005 + 1442695040888963407) & WORD
        vector.append(((state >> 40) - 8388608) / 134217728)
    return vector


def is_vector(text: str, vector: list[float], *, whole: bool) -> bool:
    """Return whether this is the text's vector. Compare the head, and the rest at three places or `whole`."""
    mark, length = text_hash(text)
    pieces = [mark >> shift & 0xFFFF for shift in (0, 16, 32, 48)]
    head = [*pieces, length & 0xFFFF, (mark & 0xFFFFFFFF) % 256]
    if len(vector) != DIMENSIONS or [round(value * 1e5) for value in vector[:HEAD]] != head:
        return False
    tail = pool(head[-1])
    places = range(HEAD, DIMENSIONS) if whole else (HEAD, DIMENSIONS // 2, DIMENSIONS - 1)
    return all(abs(vector[place] - tail[place]) < 1e-7 for place in places)


def is_reply(text: str, reply: object) -> bool:
    """Return whether this is the stub's reply to the text."""
    mark, length = text_hash(text)
    return isinstance(reply, str) and reply.startswith(f"h={mark:016x} len={length}")


@dataclass
class Checked:
    """The counts of checked rows. A row without a score is lost, with or without an error record."""

    rows: int = 0
    right: int = 0
    lost: int = 0
    duplicate: int = 0
    wrong: int = 0
    errors: int = 0
    strange: int = 0

    def __add__(self, other: Checked) -> Checked:
        """Return the sum of two checks."""
        return Checked(**{name: value + getattr(other, name) for name, value in vars(self).items()})

    def __str__(self) -> str:
        text = f"{self.lost}/{self.duplicate}/{self.wrong}"
        return text + (f" ({self.errors} errors)" if self.errors else "")


def records(output: Path) -> Iterator[Any]:
    """Yield the records of a file, or of the parts in a folder; `None` for a line that is not JSON."""
    parts = [*output.glob("*/part-*"), *output.glob("errors/*/part-*")]  # of scores and of errors
    for part in sorted(parts) if output.is_dir() else [output] if output.exists() else []:
        if part.suffix == ".parquet":
            import pyarrow.parquet  # noqa: PLC0415 - only for this format

            for batch in pyarrow.parquet.ParquetFile(part).iter_batches():
                yield from batch.to_pylist()
            continue
        with part.open("rb") as lines:
            for line in lines:
                try:
                    yield orjson.loads(line)
                except ValueError:
                    yield None


def check(rows: dict[str, str], output: Path) -> Checked:
    """Compare an output with its input rows."""
    seen: set[str] = set()
    checked = Checked(rows=len(rows))
    for record in records(output):
        try:
            identity, text = record["id"], rows[record["id"]]
        except (TypeError, KeyError):
            checked.strange += 1  # unreadable, or with an unknown id
            continue
        vector = record.get("embedding") or record.get("embeddings")
        reply = record.get("reply") or record.get("chat")
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
    """A running stub, and its log of admitted and refused requests."""

    port: int
    log: Path

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def stats(self) -> dict[str, Any]:
        """Return the counts of the stub."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats", timeout=10) as answer:
            counts: dict[str, Any] = json.load(answer)
        return counts


def build_stub() -> None:
    """Build the stub if it is not current, compile batchscore, and leave the first core to the clients."""
    subprocess.run(["make", "-s", "-C", str(HERE / "stub")], check=True)
    # Else each run would compile what it loads if Python may not keep that, and it would count as the run's.
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(HERE.parent / "src")], check=True)
    os.sched_setaffinity(0, {LAST_CORE})


@contextmanager
def running_stub(options: str, folder: Path) -> Iterator[Stub]:
    """Run a new stub on the last core."""
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
        raise SystemExit(f"the stub exited during the run with code {process.returncode}") from error
    finally:
        process.terminate()
        process.wait()


def wait_for(stub: Stub) -> None:
    """Wait until the stub answers."""
    for _ in range(100):
        try:
            stub.stats()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("the stub does not start")


@dataclass
class Client:
    """A client process. All times are from the monotonic clock."""

    process: subprocess.Popen[bytes]
    printed: Path
    output: Path
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    peak_bytes: int = 0

    def poll(self) -> bool:
        """Update peak memory and end time, and return whether the process is running."""
        if self.ended is not None:
            return False
        self.peak_bytes = max(self.peak_bytes, peak_memory(self.process.pid))
        if self.process.poll() is None:
            return True
        self.ended = time.monotonic()
        return False

    def kill(self) -> None:
        """Kill the process, as the system does when memory runs out."""
        self.process.kill()
        self.process.wait()
        self.poll()

    def measured(self) -> dict[str, Any]:
        """Return the figures of its last printed line; empty if it was killed or failed."""
        lines = self.printed.read_bytes().splitlines()
        if self.process.returncode or not lines:
            return {}
        numbers: dict[str, Any] = json.loads(lines[-1])
        return numbers

    def complaint(self) -> str:
        """Return the end of the standard error if the process failed."""
        text = self.printed.with_suffix(".stderr").read_text(errors="replace")
        return text[-1500:] if self.process.returncode else ""


def peak_memory(process: int) -> int:
    """Return a process's peak memory in bytes, as the kernel reports it; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def launch(script: Path, source: Path, output: Path, options: list[str], name: str = "client") -> Client:
    """Start a client on the first core. Its temporary folder, with the quota file, is the input's folder."""
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
    """Wait until a client ends, and kill it after `CAP_SECONDS`."""
    while client.poll():
        if time.monotonic() - client.started > CAP_SECONDS:
            client.kill()
        time.sleep(0.05)


@dataclass(frozen=True)
class Result:
    """The figures of one run."""

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
    """Run one client against a new stub and check its output. A killed client counts with `CAP_SECONDS`."""
    output = source.with_name("output")
    with running_stub(stub_options, source.parent) as stub:
        client = launch(script, source, output, ["--base-url", stub.base_url, *options])
        wait_until_ended(client)
        stats = stub.stats()
    sys.stderr.write(client.complaint())
    measured = client.measured()
    peak = (measured.get("peak_mib") or 0) * 2**20 or client.peak_bytes
    result = Result(measured.get("run_s", CAP_SECONDS), check(rows, output), peak, stats)
    remove(output)
    return result


def remove(output: Path) -> None:
    """Remove an output, which is a file or a folder."""
    if output.is_dir():
        shutil.rmtree(output)
    else:
        output.unlink(missing_ok=True)
