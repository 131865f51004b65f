"""Whatever is in a file of an output, no reader fails, gives a wrong record, or takes long."""

from __future__ import annotations

import json
import os
import resource
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
import xxhash

from batchscore.api.read_scores import read_scores
from batchscore.cli.batches_text import to_text
from batchscore.errors import BatchscoreError, ErrorCode
from batchscore.output.incremental.carry_over import index_answers
from batchscore.output.journal import CHECKSUM, COUNTS, HEADER, JournalEntry, Journals
from batchscore.output.layout import Layout
from batchscore.output.locks.lock import hold_lock, refuse_locked
from batchscore.output.manifest import read_manifest
from batchscore.output.merge import merge_output
from batchscore.output.part_files import PartFiles
from batchscore.output.parts import Part
from batchscore.output.records.formats import format_named
from batchscore.output.records.schema import RecordSchema
from batchscore.output.row_digests import read_digests
from batchscore.output.submitted import Chunk, Chunks, Step, chunk_folder
from batchscore.output.verify import verify_output
from batchscore.plan.make import plan_files
from batchscore.report.page.make import write_report
from batchscore.report.page.sample import WITHOUT_SAMPLE
from batchscore.rows import RowError, Score, Settled
from batchscore.run.batches import show_batches
from batchscore.settings.fields import Settings
from mutations import mutate, mutate_json
from sampled import mostly_slow

if TYPE_CHECKING:
    from conftest import Cli

TASK = "embeddings"
COMMAND = ["score", "in", "-o", "out", "--task", TASK, "-m", "m", "--column", "text"]
COMMAND += ["--rows-per-part", "3", "--id", "id", "--dimensions", "8", "--keep", "note"]

#: The most that one reader may take. Its seconds are those of the processor, 25 times what any reader takes:
#: a busy machine does not reach them.
MOST_SECONDS = 1.0
MOST_BYTES = 200 * 2**20

ROWS_PER_PART = 10_000


@dataclass
class Damaged:
    """An output, and what readers find in it while nothing is damaged; `longest` is a reader's most time."""

    root: Path
    layout: Layout
    records: list[dict[str, Any]]
    merged: bytes
    endpoint: str
    longest: float = 0.0
    refused: int = 0
    reads: int = 0
    before: int = field(default_factory=lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    @property
    def out(self) -> Path:
        return self.root / "out"

    def read(self, reader: Callable[[Damaged], None]) -> None:
        """Let a reader read; it may refuse with an error for the user."""
        started = time.process_time()
        self.reads += 1
        try:
            reader(self)
        except BatchscoreError:
            self.refused += 1
        self.longest = max(self.longest, time.process_time() - started)

    def check_bounds(self) -> None:
        assert self.longest < MOST_SECONDS
        scale = 1 if sys.platform == "darwin" else 1024
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self.before) * scale
        assert grown < MOST_BYTES, f"{grown:,} bytes more"


def records_of(out: Path) -> list[dict[str, Any]]:
    records = read_scores(out).to_dict("records")
    return [{**record, TASK: record[TASK].tobytes()} for record in records]


@pytest.fixture(scope="module")
def outputs(scorer: Cli, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Damaged]:
    """Score once in each format: pytest makes `output` again whenever the next test has the other format."""
    return cache(lambda form: scored(scorer, tmp_path_factory.mktemp(form), form))


@pytest.fixture(scope="module", params=["jsonl", "parquet"])
def output(outputs: Callable[[str], Damaged], request: pytest.FixtureRequest) -> Damaged:
    return outputs(request.param)


def scored(scorer: Cli, root: Path, form: str) -> Damaged:
    (root / "in").mkdir()
    for name in ("a.csv", "b.csv"):
        rows = [f"{name}{row},{'' if row == 4 else f'{name} {row}'},n{row}\n" for row in range(7)]
        (root / "in" / name).write_text("id,text,note\n" + "".join(rows))
    done = scorer(*COMMAND, "--format", form, cwd=root)
    assert done.exit_code == 0, done.stderr
    merge_output(root / "out", root / "m.jsonl")
    layout = Layout(root / "out", TASK, f".{form}")
    damaged = Damaged(
        root,
        layout,
        records_of(root / "out"),
        (root / "m.jsonl").read_bytes(),
        scorer.environ["OPENAI_BASE_URL"],
    )
    for reader in (verify, merge, pandas, report, plan):
        damaged.read(reader)
    assert (damaged.refused, len(damaged.records)) == (0, 12)
    damaged.longest = 0.0  # modules were loaded
    return damaged


def verify(output: Damaged) -> None:
    json.dumps(verify_output(output.out).to_json())


def repair(output: Damaged) -> None:
    copy = output.root / "copy"
    shutil.copytree(output.out, copy)
    try:
        result = verify_output(copy, repair=True)
        assert verify_output(copy).problems == result.unrepaired
        with suppress(BatchscoreError):
            assert all(record in output.records for record in records_of(copy))
    finally:
        shutil.rmtree(copy)


def merge(output: Damaged) -> None:
    merge_output(output.out, output.root / "m.jsonl", overwrite=True)
    assert (output.root / "m.jsonl").read_bytes() == output.merged


def pandas(output: Damaged) -> None:
    assert records_of(output.out) == output.records


def report(output: Damaged) -> None:
    write_report(output.out, effort=WITHOUT_SAMPLE)


def plan(output: Damaged) -> None:
    settings = Settings(
        task=TASK, model="m", output=str(output.out), column="text", id="id", keep=("note",), dimensions=8,
        rows_per_part=3, endpoint=output.endpoint, format=output.layout.suffix.removeprefix("."),
    )  # fmt: skip
    plan_files(settings, [str(output.root / "in")], with_output=True, exactly=False)


def counts(fast: int, thorough: int) -> pytest.MarkDecorator:
    """Run with a few mutations by default, and with many as a slow test."""
    return pytest.mark.parametrize(
        "count",
        [
            pytest.param(fast, id="few"),
            pytest.param(thorough, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
        ],
    )


def damaged_versions(
    path: Path, count: int, change: Callable[[bytes, Random], bytes] = mutate
) -> Iterator[bytes]:
    """Write damaged versions of a file, one after the other; in the end the file is as before."""
    data = path.read_bytes()
    random = Random(count)
    try:
        for _ in range(count):
            changed = change(data, random)
            path.write_bytes(changed)
            yield changed
    finally:
        path.write_bytes(data)


def batches(output: Damaged) -> None:
    settings = Settings(task=TASK, model="m", output=str(output.out), simulate=True)
    shown = show_batches(output.out, None, lambda _: (settings, {}), {})
    assert to_text(shown, "out", time.time())


CHUNK = Chunk(
    key="abcdefgh", identity="0" * 32, rows=7, bytes=700, tokens=70, adapted=("max_tokens",), batch="batch_1",
    files={"a.csv": 3, "b.csv": 4}, planned_at=1.79e9, creating_at=1.79e9, sent_at=1.79e9 + 150, sent=2,
    created_at=1.79e9 + 151, expires_at=1.79e9 + 86_400.5, input_file="file-1", unread=7,
)  # fmt: skip


@counts(12, 3000)
@mostly_slow("step", [Step.CREATED, Step.SETTLED, Step.CLOSED], [Step.SETTLED])
def test_a_damaged_record_of_a_chunk(outputs: Callable[[str], Damaged], step: Step, count: int) -> None:
    """Each reader names it, or nothing in it can be wrong alone."""
    output = outputs("jsonl")
    chunks = Chunks(chunk_folder(output.layout))
    chunks.plan(replace(CHUNK, step=step), bytes(7 * 16))
    before = output.refused
    readers = [verify, report] if count < 100 else [verify, report, batches]  # the SDK takes a second to load
    try:
        for number, _ in enumerate(damaged_versions(Path(str(chunks.folder / "abcdefgh.json")), count)):
            output.read(readers[number % len(readers)])
        for reader in readers:
            output.read(reader)
    finally:
        chunks.remove(CHUNK)
    assert output.refused > before
    output.check_bounds()


@counts(8, 20_000)
def test_a_damaged_manifest(output: Damaged, count: int) -> None:
    """Each reader refuses it, or reads what it read before."""
    readers = [merge, merge, pandas, verify, verify, repair, report, plan]
    path = output.layout.manifest("a.csv")
    for number, _ in enumerate(damaged_versions(path, count)):
        output.read(readers[number % len(readers)])
    assert output.refused
    output.check_bounds()


@counts(40, 5_000)
def test_digests_of_rows_are_those_of_their_part_or_none(output: Damaged, count: int) -> None:
    manifest = read_manifest(output.layout.manifest("a.csv"))
    path = output.layout.digests("a.csv", 0)
    assert isinstance(path, Path)
    right = read_digests(path, manifest.parts[0])
    assert right is not None
    data = path.read_bytes()

    def sealed(data: bytes, random: Random) -> bytes:
        body = mutate(data, random)[: -CHECKSUM.size]
        return (
            body + CHECKSUM.pack(xxhash.xxh3_64_intdigest(body))
            if random.random() < 0.7
            else mutate(data, random)
        )

    for changed in damaged_versions(path, count, sealed):
        found = read_digests(path, manifest.parts[0])
        if found is not None:
            assert (found.rows.tolist(), found.ids) == (right.rows.tolist(), right.ids)
            assert (found.prompt_digests == right.prompt_digests).all()
        answers = index_answers([(output.layout, manifest)], output.root)
        assert answers.without_digests == (0 if changed == data else 3)
        if len(changed) % 5 == 0:
            assert len(verify_output(output.out).problems) == int(changed != data)
    output.check_bounds()


def settled(row: int) -> Settled:
    if row % 3:
        return Settled("a.csv", row, Score(np.full(8, row, np.float32)), f"a{row}", {"note": f"n{row}"})
    return Settled("a.csv", row, RowError(ErrorCode.RATE_LIMITED, "busy", 429, 3), f"a{row}", {"note": None})


def shown(entries: dict[int, JournalEntry]) -> dict[int, str]:
    return {row: f"{entry.settled} {entry.prompt_digest!r}" for row, entry in entries.items()}


@counts(100, 20_000)
def test_a_damaged_journal_gives_a_part_of_what_it_held(tmp_path: Path, count: int) -> None:
    journals = Journals(tmp_path, "settings", "vector")
    states = [{}]
    for start in range(0, 12, 4):
        entries = [JournalEntry(settled(row), bytes([row]) * 16) for row in range(start, start + 4)]
        journals.append("part-00000", entries)
        states.append(states[-1] | shown({entry.settled.row: entry for entry in entries}))
    journals.close()
    (path,) = tmp_path.iterdir()
    (tmp_path / "kept").touch()  # so that the folder stays
    for _ in damaged_versions(path, count):
        again = Journals(tmp_path, "settings", "vector")
        again.find()
        assert shown(again.replay("part-00000")) in states
        again.close()


@counts(100, 18_000)
def test_a_journal_whose_values_have_other_types_never_stops_a_run(tmp_path: Path, count: int) -> None:
    """Its checksums fit: it was written so, by an earlier version or for a reply that nobody foresaw."""
    journals = Journals(tmp_path, "settings", "vector")
    entries = [JournalEntry(settled(row), bytes([row]) * 16) for row in range(4)]
    journals.append("part-00000", entries)
    journals.close()
    (path,) = tmp_path.iterdir()
    (tmp_path / "kept").touch()  # so that the folder stays
    parts = PartFiles(
        Layout(tmp_path / "out", TASK, ".parquet"),
        format_named("parquet"),
        RecordSchema(TASK, with_id=True, keep=("note",), with_usage=True, with_raw=True),
    )
    for _ in damaged_versions(path, count, with_other_values):
        again = Journals(tmp_path, "settings", "vector")
        again.find()
        part = Part("a.csv", 0)
        for row, entry in again.replay("part-00000").items():
            if row // ROWS_PER_PART != part.number:
                continue  # as each reader of journals does
            part.prompt_digests[row] = entry.prompt_digest
            part.settle(entry.settled)
        again.close()
        parts.encode(part)
        again.spent["part-00000"].add(again.spent["part-00000"])


def with_other_values(data: bytes, random: Random) -> bytes:
    """Return a journal of one frame, with other JSON in it and a checksum that fits."""
    seed = int.from_bytes(data[HEADER.size - 8 : HEADER.size], "little")
    at = HEADER.size + CHECKSUM.size
    digests, rows, block, n, length = COUNTS.unpack_from(data, at)
    at += COUNTS.size
    text = data[at + digests : at + digests + rows]
    cost = [orjson.loads(text), [[3, 40, 30]]]
    text = mutate_json(orjson.dumps({"rows": cost[0] + cost[1]}), random)
    found = json.loads(text)
    text = json.dumps(found.get("rows") if isinstance(found, dict) else found).encode()
    counts = COUNTS.pack(digests, len(text), block, n, length)
    body = data[at : at + digests] + text + data[at + digests + rows :]
    checksum = xxhash.xxh3_64(counts, seed)
    checksum.update(body)
    return data[: HEADER.size] + CHECKSUM.pack(checksum.intdigest()) + counts + body


@counts(16, 5_000)
def test_a_damaged_run_record(output: Damaged, count: int) -> None:
    (path,) = (output.out / "runs").iterdir()
    readers = [merge, verify, report, pandas]
    for number, _ in enumerate(damaged_versions(path, count)):
        output.read(readers[number % len(readers)])
    output.check_bounds()


@counts(20, 1_000)
def test_a_damaged_lock(output: Damaged, count: int) -> None:
    folder = output.root / "locks"
    with hold_lock(folder, TASK, what="out", command="batchscore score", notice=str):
        record = (folder / f"{TASK}.lock").read_bytes()
    folder.mkdir(exist_ok=True)
    path = folder / f"{TASK}.lock"

    def look(_: Damaged) -> None:
        refuse_locked(folder, TASK, what="out")

    def hold(_: Damaged) -> None:
        with hold_lock(folder, TASK, what="out", command="batchscore score", notice=str):
            pass

    path.write_bytes(record)
    for number, _ in enumerate(damaged_versions(path, count)):
        output.read(hold if number % 2 else look)
    path.unlink()
    os.mkfifo(path)
    for reader in (look, hold):
        output.read(reader)
    path.unlink()
    output.check_bounds()


def put_pipe(path: Path) -> None:
    os.mkfifo(path)


def put_device(path: Path) -> None:
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))  # endless zeros


def put_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    "put", [put_pipe, *(pytest.param(each, marks=pytest.mark.slow) for each in (put_device, put_folder))]
)
def test_no_reader_waits_for_what_is_no_file(output: Damaged, put: Callable[[Path], None]) -> None:
    """Each reads what it read before, or refuses."""
    files = [path for path in output.out.rglob("*") if path.is_file() and path.name != "report.html"]
    one_of_each_kind = {(path.parent, path.suffix): path for path in files}
    assert {suffix for _, suffix in one_of_each_kind} >= {output.layout.suffix, ".json", ".rows"}
    for path in one_of_each_kind.values():
        data = path.read_bytes()
        path.unlink()
        try:
            put(path)
        except PermissionError:
            path.write_bytes(data)
            pytest.skip("only root may make devices")
        try:
            for reader in (verify, merge, pandas, report, plan):
                output.read(reader)
        finally:
            path.rmdir() if put is put_folder else path.unlink()
            path.write_bytes(data)
    verify(output)
    output.check_bounds()
