"""What is in a training file, by the rules of a service: examples, tokens, and what is wrong with it?

It must not know jobs. A file is read once: its result is kept beside the file.
Words: reports of users on failed jobs of OpenAI and Azure, and Azure's reference, seen 2026-11.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from batchscore.simulator.batch.clock import ProjectClock
from batchscore.simulator.batch.errors import refused
from batchscore.simulator.batch.files import FileStore, SimulatedFile
from batchscore.simulator.error_replies import Surface
from batchscore.simulator.finetune.example_rules import ANSWERS, kind_of, problem_of
from batchscore.simulator.finetune.rules import FineTuneRules
from batchscore.simulator.words import CONTENT_FILTER_TRIGGER, count_tokens

#: The least number of examples, and the most tokens of one; what is beyond them is cut off silently.
LEAST_EXAMPLES = 10
MOST_TOKENS = 65_536
#: By OpenAI's cookbook: tokens of a message, and of an example; those of an image at low detail.
_PER_MESSAGE, _PER_EXAMPLE, _PER_IMAGE = 3, 3, 85
_BOM = b"\xef\xbb\xbf"

#: In the address of an image: it shows a person, so that the service skips the example without a word.
SKIPPED_IMAGE_TRIGGER = "simulate-person"


@dataclass(frozen=True)
class LearnedExample:
    """What a model learns from an example: to answer this to that."""

    prompt: str
    answer: str


@dataclass
class TrainingScan:
    """What a file holds. `tokens` counts an example up to its limit.

    `not_json` is why the file is no JSON Lines; `problem` is what is wrong with the first wrong example.
    `unsafe`: the safety check refuses it. An example with an image of a person is not among the `examples`.
    """

    examples: int = 0
    tokens: int = 0
    kinds: set[str] = field(default_factory=set)
    digest: str = ""
    not_json: str | None = None
    problem: str | None = None
    unsafe: bool = False


class TrainingFiles:
    """What is known of the training files of a project."""

    def __init__(self, files: FileStore, clock: ProjectClock, rules: Callable[[], FineTuneRules]) -> None:
        self._files = files
        self._clock = clock
        self._rules = rules
        self._scans: dict[Path, TrainingScan] = {}
        self._not_imported: set[str] = set()

    def fail_import(self, file: SimulatedFile) -> None:
        """Note that there was nothing at the URL of a file."""
        self._not_imported.add(file.id)

    def scan(self, file: SimulatedFile) -> TrainingScan:
        """Return what is in a file."""
        return self._scan(file.path, file.surface)

    def _scan(self, path: Path, surface: Surface) -> TrainingScan:
        if path not in self._scans:
            usual = "refused" if surface is Surface.OPENAI else "accepted"
            self._scans[path] = scan_file(path, surface, self._rules().bom or usual)
        return self._scans[path]

    def state(self, file: SimulatedFile) -> tuple[str, str | None]:
        """Return the status of a file, and its details. OpenAI looks at the examples only in the job."""
        age, wait = self._clock.now() - file.created_at, self._rules().file_running
        if file.surface is Surface.OPENAI:
            return "processed" if wait is not None and age >= wait else "uploaded", None
        if wait is None or age < wait:
            return "pending" if wait is None or age < wait / 2 else "running", None
        if file.id in self._not_imported:
            return "error", "fileImportFailed: The content of the URL could not be read."
        scan = self.scan(file)
        wrong = scan.not_json or scan.problem
        return ("processed", None) if wrong is None else ("error", f"jsonlValidationFailed: {wrong}")

    def check_upload(self, path: Path, surface: Surface) -> None:
        """Raise `Rejection` for an upload: OpenAI looks at once whether each line is an object."""
        if surface is Surface.OPENAI:
            if problem := self._scan(path, surface).not_json:
                raise refused(surface, problem, param="file")
            return
        rules, there = self._rules(), [file for file in self._files.all() if file.purpose == "fine-tune"]
        if len(there) >= rules.max_files:
            message = f"The resource has {rules.max_files} files, the limit. Delete some."
            raise refused(surface, message, code="quotaExceeded")
        if sum(file.size for file in there) + path.stat().st_size > rules.max_file_bytes:
            message = f"The files of the resource exceed {rules.max_file_bytes} bytes. Delete some."
            raise refused(surface, message, code="quotaExceeded")

    def keep(self, file: SimulatedFile, job: str) -> None:
        """Keep what a job has read, also if its file is deleted."""
        with suppress(FileExistsError):
            os.link(file.path, self.kept(job))

    def kept(self, job: str) -> Path:
        """Return where that is."""
        return self._files.folder / f"learned-{job}.jsonl"


def scan_file(path: Path, surface: Surface, bom: str) -> TrainingScan:
    """Read a file. A byte order mark at its start is `accepted`, `refused` or `required`."""
    found = TrainingScan()
    digest = hashlib.sha256()
    with path.open("rb") as source:
        if source.read(len(_BOM)) != _BOM:
            source.seek(0)
            if bom == "required":
                found.not_json = "The file must be UTF-8 with a byte order mark."
        elif bom == "refused":
            source.seek(0)
        else:
            digest.update(_BOM)
        for number, raw in enumerate(source, 1):
            digest.update(raw)
            if found.not_json is None:
                _scan_line(found, raw, number, surface)
    found.digest = digest.hexdigest()
    if found.examples == 0 and found.not_json is None:
        found.not_json = "The file is empty."
    return found


def _scan_line(found: TrainingScan, raw: bytes, number: int, surface: Surface) -> None:
    if not raw.strip():
        return
    example = _parsed(raw)
    if not isinstance(example, dict):
        start = raw[:8].decode("utf-8", "replace").rstrip("\n").replace('"', '\\"')
        found.not_json = (
            "Expected file to have JSONL format, where every line is a valid JSON dictionary. Line"
            f' {number} is not a dictionary (HINT: line starts with: "{start}...").'
        )
        return
    if SKIPPED_IMAGE_TRIGGER.encode() in raw:
        return
    found.unsafe |= CONTENT_FILTER_TRIGGER.encode() in raw
    found.examples += 1
    kind = kind_of(example)
    found.kinds.add(kind)
    problem = problem_of(example, kind, surface)
    if problem is not None:
        if found.problem is None:
            found.problem = f"Invalid file format. Line {number}, message {problem[0]}, key {problem[1]}"
        return
    found.tokens += min(_tokens_of(example), MOST_TOKENS)


def _parsed(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def _input_of(example: dict[str, Any]) -> dict[str, Any]:
    """Return the part of an example with its messages: the input of a preference, or all of it."""
    given: dict[str, Any] = example["input"] if kind_of(example) == "dpo" else example
    return given


def _tokens_of(example: dict[str, Any]) -> int:
    if kind_of(example) == "completion":
        return count_tokens(example["prompt"]) + count_tokens(example["completion"]) + _PER_EXAMPLE
    given = _input_of(example)
    sides = [given["messages"], *(example.get(key, []) for key in ANSWERS)]
    tokens = _PER_EXAMPLE
    for message in (message for side in sides for message in side):
        tokens += _PER_MESSAGE + sum(
            _PER_IMAGE if part is None else count_tokens(part) for part in _parts_of(message)
        )
    if given.get("tools"):
        tokens += count_tokens(orjson.dumps(given["tools"]).decode())
    return tokens


def _parts_of(message: dict[str, Any]) -> Iterator[str | None]:
    """Give the texts of a message, and None for each image."""
    content = message.get("content")
    if isinstance(content, str):
        yield content
    for part in content if isinstance(content, list) else ():
        yield None if part["type"] == "image_url" else str(part.get("text", ""))
    if message.get("tool_calls"):
        yield orjson.dumps(message["tool_calls"]).decode()


def learned_examples(path: Path) -> Iterator[LearnedExample]:
    """Give what a model learns from a valid file, in its order."""
    with path.open("rb") as source:
        for raw in source:
            if not raw.strip():
                continue
            example = orjson.loads(raw.removeprefix(_BOM))
            if _tokens_of(example) > MOST_TOKENS:
                # What is cut off at the end is the answer.
                continue
            if kind_of(example) == "completion":
                yield LearnedExample(example["prompt"], example["completion"])
                continue
            given = _input_of(example)
            said = [*given["messages"], *example.get("preferred_output", [])]
            prompt = ""
            for message in said:
                text = "\n".join(part for part in _parts_of(message) if part)
                if message["role"] == "user":
                    prompt = text
                elif message["role"] == "assistant" and message.get("weight", 1) and text:
                    yield LearnedExample(prompt, text)
