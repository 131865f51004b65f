"""How do prompts become chunks that can be uploaded?

It writes a chunk's lines and prompts to scratch, and its plan to the output, before anything is sent.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from batchscore.batch.custom_id import custom_id, new_key, probe_id
from batchscore.batch.cut import CANARY_ROWS, Size, is_full, too_large
from batchscore.batch.scratch import PromptFile, Scratch
from batchscore.output.submitted import Chunk, Chunks
from batchscore.prompts.batches import BodyFormat
from batchscore.prompts.token_estimate import Estimator
from batchscore.rows import Prompt, RowError

#: Our estimate of tokens may be low, and the service counts what it adds.
TOKENS_MARGIN = 1.1

#: Characters that some readers take for the end of a line, and their escapes in JSON.
LINE_ENDS = {"\u2028": "\\u2028", "\u2029": "\\u2029", "\u0085": "\\u0085"}
LINE_END_BYTES = tuple((character.encode(), escape.encode()) for character, escape in LINE_ENDS.items())


@dataclass(slots=True)
class ChunkWork:
    """A chunk that is worked on: its durable record, its prompts, and the file to upload if there is one.

    `sending`: its turn has come, and its batch is not made yet. `rows_done` is what the service says.
    """

    chunk: Chunk
    prompts: PromptFile
    upload: Path | None = None
    digests: bytes = b""
    sending: bool = False
    rows_done: int = 0


@dataclass(slots=True)
class Building:
    """A chunk to which rows are added."""

    key: str
    prompts: PromptFile
    lines: BinaryIO
    round: int
    size: Size = field(default_factory=Size)
    digests: bytearray = field(default_factory=bytearray)
    files: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Builder:
    """Builds chunks, one for each round at a time.

    `service` is a digest of its address, `url` is that of each line; `output_bytes` predicts those of a row's
    answer. `needs_canary`: the next chunk is small, and has a line of our own. `simulated`: the service is a
    simulator of this run.
    """

    chunks: Chunks
    scratch: Scratch
    identity: bytes
    service: str
    form: BodyFormat
    probe: bytes
    url: str
    limits: Size
    estimator: Estimator
    output_bytes: int
    needs_canary: bool
    simulated: bool = False
    now: Callable[[], float] = time.time
    building: dict[int, Building] = field(default_factory=dict)

    def add(self, prompt: Prompt, digest: bytes, number: int = 1) -> ChunkWork | RowError | None:
        """Add a row to the chunk of a round; return a chunk that is full, or the row's error."""
        body = self.form.body([prompt])
        full = None
        for _ in range(2):
            building = self.building.get(number) or self.begin(number)
            name = custom_id(building.key, building.size.lines, digest)
            line = self.line(name, body)
            size = Size(1, len(line), self.tokens_of(prompt, body), 1, self.output_bytes)
            error = too_large(size, self.limits)
            if error is not None:
                return error
            if not is_full(building.size, size, self.current_limits()):
                break
            full = self.finish(number)
        building.lines.write(line)
        building.prompts.put(building.size.lines, prompt)
        building.digests += digest
        building.files[prompt.file] += 1
        building.size += size
        return full

    def current_limits(self) -> Size:
        """Return the limits of the next chunk."""
        if not self.needs_canary:
            return self.limits
        limits = self.limits
        return Size(CANARY_ROWS, limits.bytes, limits.tokens, limits.inputs, limits.output_bytes)

    def line(self, name: str, body: bytes) -> bytes:
        """Return a line of a file of requests."""
        if not body.isascii():
            for character, escape in LINE_END_BYTES:
                body = body.replace(character, escape)
        head = f'{{"custom_id":"{name}","method":"POST","url":"{self.url}","body":'
        return head.encode() + body + b"}\n"

    def tokens_of(self, prompt: Prompt, body: bytes) -> float:
        """Return how many tokens a prompt has at most, by our estimate."""
        return self.estimator.tokens_of([prompt], len(body)) * TOKENS_MARGIN

    def begin(self, number: int) -> Building:
        """Begin the chunk of a round."""
        key = new_key()
        building = Building(key, self.scratch.prompts(key), self.scratch.create(f"{key}.jsonl"), number)
        self.building[number] = building
        return building

    def finish(self, number: int) -> ChunkWork:
        """Plan the chunk of a round, and return it."""
        building = self.building.pop(number)
        probes, self.needs_canary = self.needs_canary, False
        if probes:
            prompt = Prompt("", 0, self.probe)
            body = self.form.body([prompt])
            building.lines.write(self.line(probe_id(building.key), body))
            building.size.tokens += self.tokens_of(prompt, body)
        building.lines.close()
        path = Path(building.lines.name)
        chunk = Chunk(
            key=building.key,
            identity=self.identity.hex(),
            service=self.service,
            rows=building.size.lines,
            bytes=path.stat().st_size,
            tokens=round(building.size.tokens),
            round=number,
            adapted=tuple(sorted(self.form.adapted)),
            probes=probes,
            files=dict(building.files),
            planned_at=self.now(),
            simulated=self.simulated,
        )
        digests = bytes(building.digests)
        self.chunks.plan(chunk, digests)
        return ChunkWork(chunk, building.prompts, path, digests)
