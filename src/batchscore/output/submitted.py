"""Which rows of an output are at a service's Batch API?

A chunk is the rows of one batch. Its durable state is two files in the output: the digests of its rows, which
are written once, and a small record, which is replaced at each step. A row in an open chunk is neither done
nor free. It knows no prompts, answers or calls.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

import orjson

from batchscore.errors import OutputError, SettingsError, count_text, setting_name
from batchscore.output.journal_place import local_folder
from batchscore.output.layout import Layout
from batchscore.output.manifest_check import Fits, is_count, odd_field
from batchscore.output.run_records import run_records
from batchscore.settings.service_flags import service_words, service_words_of
from batchscore.stores import storage
from batchscore.stores.address import Place, command_word, shell_command
from batchscore.stores.errors import explain_errors

#: The suffixes of a chunk's files, and the bytes of a digest.
ROWS, STATE = ".rows", ".json"
DIGEST_BYTES = 16

#: The file that says whose rows the service has answered, and its text if no answer can be used any more.
PROVEN, NO_MORE = "answered", "none can be used"

#: A batch that is not listed this many seconds after its creation was sent was not made.
LISTED_SECONDS = 86_400.0

#: The last moment that a record may state, in the year 9000: clocks and dates can be computed from it.
LAST_TIME = 2.2e11


class Step(str, Enum):
    """How far a chunk has come: each is written before the call that costs, or after its result."""

    PLANNED = "planned"
    UPLOADED = "uploaded"
    CREATING = "creating"
    CREATED = "created"
    ENDED = "ended"
    SETTLED = "settled"
    CLOSED = "closed"  # nothing of it is needed: it is kept only while a creation is not confirmed


#: The steps of a chunk whose batch has an id.
NAMED = frozenset({Step.CREATED, Step.ENDED, Step.SETTLED})


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """The record of one chunk. Times are seconds since the epoch, 0 if that has not happened.

    `identity` is a digest of what all of its rows send besides their prompts, `service` one of where they are
    sent; records of earlier versions have none. `round` counts from 1 how often
    its rows are sent. `adapted` are the parameters that were sent in another form than at first. `probes`: it
    has a line that belongs to no row. `files` counts the rows of each input file. `sent` counts the creations
    that the service did not refuse: at `creating_at` the first one that is not confirmed, at `sent_at` the
    last one. `refused` are batches of it that do not count: they failed for want of quota, or another one has
    its rows. `simulated`: the simulator has it, which ends with its run. `left` counts the rows of a settled
    chunk that are sent again, `unread` those that may have been neither recorded nor read by then, whose
    results may be fetched later. `settling`: some of its rows may have records.
    """

    key: str
    step: Step = Step.PLANNED
    identity: str
    service: str = ""
    rows: int
    bytes: int
    tokens: int
    round: int = 1
    adapted: tuple[str, ...] = ()
    probes: bool = False
    files: Mapping[str, int] = field(default_factory=dict)
    planned_at: float = 0.0
    creating_at: float = 0.0
    sent_at: float = 0.0
    created_at: float = 0.0
    expires_at: float = 0.0
    ended_at: float = 0.0
    sent: int = 0
    refused: tuple[str, ...] = ()
    simulated: bool = False
    input_file: str = ""
    batch: str = ""
    status: str = ""
    output_file: str = ""
    error_file: str = ""
    left: int = 0
    unread: int = 0
    settling: bool = False

    @property
    def known(self) -> int:
        """How many batches were made of it, as far as is known."""
        return bool(self.batch) + len(self.refused)

    @property
    def unconfirmed(self) -> int:
        """How many creations had no usable reply, and no batch was found of them so far."""
        return max(0, self.sent - self.known)

    @property
    def may_cost(self) -> bool:
        """Whether a batch may have been made of it whose results are needed."""
        is_made = self.unconfirmed or self.step not in {Step.PLANNED, Step.UPLOADED}
        return bool(is_made) and self.step is not Step.CLOSED

    @property
    def is_open(self) -> bool:
        """Whether its batch runs, or has results that were not looked at."""
        return self.may_cost and self.step is not Step.SETTLED

    @property
    def waiting(self) -> int:
        """The number of rows whose results may be paid for, and are in no record."""
        return self.rows if self.is_open else self.unread if self.step is Step.SETTLED else 0

    @property
    def seconds(self) -> float:
        """How long its batch took."""
        return max(0.0, self.ended_at - self.created_at)

    @property
    def provider_files(self) -> tuple[str, ...]:
        """The files at the service."""
        return tuple(filter(None, (self.input_file, self.output_file, self.error_file)))


def chunk_folder(layout: Layout) -> Place:
    """Return the hidden folder of a task's chunks."""
    return layout.marker / "batches" / layout.task


def scratch_of(layout: Layout, chosen: str | None) -> Path:
    """Return the folder for bulky files of a run, which may be lost, on a disk of this machine."""
    if chosen is None and isinstance(layout.root, Path):
        return layout.marker / f"scratch-{layout.task}"  # type: ignore[return-value]
    scratch = None if chosen is None else Path(chosen)
    return local_folder(layout, scratch, "").with_suffix(".batches")


@dataclass(frozen=True, slots=True)
class Chunks:
    """The chunks of one task in one output."""

    folder: Place

    def read_all(self) -> list[Chunk]:
        """Return all chunks, oldest first; raises `OutputError` if one cannot be read."""
        with explain_errors(self.folder, "list"):
            names = storage.names(self.folder)
        found = [self.read(name.removesuffix(STATE)) for name in names if name.endswith(STATE)]
        return sorted(found, key=lambda chunk: (chunk.round, chunk.planned_at, chunk.key))

    def read(self, key: str) -> Chunk:
        """Return one chunk; raises `OutputError`."""
        place = self.folder / f"{key}{STATE}"
        try:
            chunk = chunk_of(orjson.loads(b"".join(storage.chunks(place))))
        except (ValueError, TypeError, KeyError, AttributeError):
            chunk = None
        if chunk is None or chunk.key != key:
            raise OutputError(
                f"{place} is damaged. It says which rows are at the service's Batch API, so rows may be paid "
                "for again without it. Restore it, or remove it to score its rows again."
            )
        return chunk

    def plan(self, chunk: Chunk, digests: bytes) -> None:
        """Write a new chunk, before anything is sent."""
        storage.write_whole(self.folder / f"{chunk.key}{ROWS}", digests, sync=True)
        self.write(chunk)

    def write(self, chunk: Chunk) -> Chunk:
        """Write a chunk's record to the device, and return it."""
        data = orjson.dumps(asdict(chunk), option=orjson.OPT_INDENT_2) + b"\n"
        storage.write_whole(self.folder / f"{chunk.key}{STATE}", data, sync=True)
        return chunk

    def change(self, chunk: Chunk, **changes: Any) -> Chunk:
        """Change some fields of a chunk's record, and return it."""
        return self.write(replace(chunk, **changes))

    def read_digests(self, chunk: Chunk) -> bytes:
        """Return the digests of a chunk's rows, 16 bytes each; raises `OutputError`."""
        place = self.folder / f"{chunk.key}{ROWS}"
        data = b"".join(storage.chunks(place))
        if len(data) != chunk.rows * DIGEST_BYTES:
            raise OutputError(
                f"{place} is damaged: it has {len(data):,} bytes for {chunk.rows:,} rows. Restore it, or pay "
                f"for these rows again. For that, run: {batches_command(self, 'forget', chunk.key)}"
            )
        return data

    def note_proven(self, identity: bytes, *, answers: bool = True) -> None:
        """Note that the service answers rows of this identity, or that its answers can be used no more."""
        storage.write_whole(self.folder / PROVEN, (identity.hex() if answers else NO_MORE).encode())

    def is_proven(self, identity: bytes) -> bool | None:
        """Whether the service has answered rows of this identity; `None` if none is usable any more."""
        place = self.folder / PROVEN
        found = b"".join(storage.chunks(place)) if storage.exists(place) else b""
        return None if found == NO_MORE.encode() else found == identity.hex().encode()

    def sweep(self) -> None:
        """Remove what a kill has left of chunks that were being planned or removed."""
        with explain_errors(self.folder, "list"):
            names = set(storage.names(self.folder))
        for name in names:
            if name.endswith(ROWS) and f"{name.removesuffix(ROWS)}{STATE}" not in names:
                storage.remove(self.folder / name)

    def close(self, chunk: Chunk) -> None:
        """Forget a chunk of which nothing is needed, but not a creation that is not confirmed."""
        if chunk.unconfirmed and not chunk.simulated:
            self.change(chunk, step=Step.CLOSED)
            storage.remove(self.folder / f"{chunk.key}{ROWS}")
        else:
            self.remove(chunk)

    def remove(self, chunk: Chunk) -> None:
        """Forget a chunk: nothing of it is at the service, or all of it is published."""
        storage.remove(self.folder / f"{chunk.key}{STATE}")
        storage.remove(self.folder / f"{chunk.key}{ROWS}")


def batches_command(chunks: Chunks, *words: str) -> str:
    """Return the command that lists or changes the batches of an output at the service that has them."""
    output = chunks.folder.parent.parent.parent
    service = recorded_service(output, chunks.folder.name)
    return shell_command(["batchscore", "batches", command_word(output), *words, *service])


def recorded_service(output: Place, task: str) -> list[str]:
    """Return the flags of the service that the last run through the Batch API called, as they were typed."""
    with suppress(OutputError, ValueError):
        for _, record in run_records(output):
            settings = {} if record is None else record.called["settings"]
            if record is not None and record.task == task and settings.get("via") == "batch":
                command = record.called["command"]
                typed = shlex.split(command) if isinstance(command, str) else []
                return service_words(typed) if typed else service_words_of(settings)
    return []


def is_id(value: Any) -> bool:
    """Whether a value can be the id of a file or a batch, or another word of a service."""
    return isinstance(value, str) and value.isprintable()


def is_time(value: Any) -> bool:
    """Whether a value can be a time."""
    return type(value) in {int, float} and 0 <= value <= LAST_TIME


#: What a field can be, by its type.
_FITS: dict[str, Fits] = {
    "Step": lambda value: value in [each.value for each in Step],
    "str": is_id,
    "int": is_count,
    "float": is_time,
    "bool": lambda value: isinstance(value, bool),
    "tuple[str, ...]": lambda value: isinstance(value, (list, tuple)) and all(map(is_id, value)),
    "Mapping[str, int]": lambda value: isinstance(value, dict) and all(map(is_count, value.values())),
}


def chunk_of(given: Mapping[str, Any]) -> Chunk:
    """Return the chunk of a record; fields of later versions are ignored.

    Raises `ValueError`, `TypeError` or `KeyError` if no run has written it.
    """
    fits = {each.name: _FITS[str(each.type)] for each in fields(Chunk)}
    if odd := odd_field(given, {}, fits):
        raise ValueError(odd)
    values = {name: value for name, value in given.items() if name in fits}
    lists = {name: tuple(given.get(name, ())) for name in ("adapted", "refused")}
    chunk = Chunk(**values | lists | {"step": Step(given["step"])})
    if not chunk.rows or chunk.unread > chunk.rows or (chunk.step in NAMED and not chunk.batch):
        raise ValueError("its fields do not fit together")
    if "sent" in given:
        return chunk
    # An earlier version has noted only that a creation had no usable reply.
    is_open = given.get("ambiguous", False) or chunk.step is Step.CREATING
    return replace(chunk, sent=chunk.known + is_open)


def waiting_chunks(layout: Layout) -> list[Chunk]:
    """Return the chunks of which rows wait for results; nothing waits at a simulator, which has ended."""
    found = Chunks(chunk_folder(layout)).read_all()
    return [chunk for chunk in found if chunk.waiting and not chunk.simulated]


def known_by(chunk: Chunk) -> float:
    """Return from when on a batch that is not listed was never made."""
    return max(chunk.creating_at, chunk.sent_at) + LISTED_SECONDS


def unconfirmed_text(chunks: Chunks, seen: Mapping[str, int] = {}) -> str:
    """Return what is not known of creations without a usable reply, and how to look; empty for none.

    `seen` counts the batches of each chunk that were found just now, by its key.
    """
    every = [chunk for chunk in chunks.read_all() if not chunk.simulated]
    found = [chunk for chunk in every if chunk.unconfirmed > seen.get(chunk.key, 0)]
    if not found:
        return ""
    count = sum(chunk.unconfirmed - seen.get(chunk.key, 0) for chunk in found)
    rows = sum(chunk.rows for chunk in found)
    creations = "1 creation" if count == 1 else f"{count:,} creations"
    last = datetime.fromtimestamp(max(map(known_by, found))).astimezone()
    over = [chunk.key for chunk in found if not chunk.waiting]
    end = f"\nTo look no more, run: {batches_command(chunks, 'forget', *over)}" if over else ""
    return (
        f"{creations} of a batch ({count_text(rows, 'row')}) had no usable reply, and the service has not "
        "listed such a batch since. If one was made beside another of the same rows, these may be billed "
        "twice. A score command with the same endpoint and key looks for it, cancels it and says what it "
        f"cost, for the last time after {last:%Y-%m-%d %H:%M}. To look, run: {batches_command(chunks)}{end}"
    )


def submitted_text(chunks: list[Chunk]) -> str:
    """Return how many rows are at the service: 1,000 rows in 2 batches."""
    rows = sum(chunk.waiting for chunk in chunks)
    return f"{count_text(rows, 'row')} in {len(chunks):,} {'batch' if len(chunks) == 1 else 'batches'}"


def refuse_submitted(layout: Layout, *, overwrite: bool, by_batch: bool) -> None:
    """Raise `SettingsError` if a run would pay again for rows that are at the service's Batch API."""
    found = waiting_chunks(layout)
    if not found or (by_batch and not overwrite):
        return
    what = f"{submitted_text(found)} of this output wait at the service's Batch API"
    chunks = Chunks(chunk_folder(layout))
    commands = (
        f"To see them, run: {batches_command(chunks)}\n"
        f"To give up the results of one, run: {batches_command(chunks, 'forget', 'KEY')}"
    )
    if overwrite:
        raise SettingsError(
            f"{what}, so {setting_name('overwrite', True)} would lose what they cost. Run the same command "
            f"without it until the batches have ended, or score to a new output. {commands}"
        )
    raise SettingsError(
        f"{what}, and would be paid for again. Run the same command with {setting_name('via', 'batch')} "
        f"until the batches have ended. {commands}"
    )
