"""What does each row of the input files send, except the rows that earlier runs have settled?

It reads files one after the other as the engine takes prompts, and keeps what is known of each file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import Any

from batchscore.engine.valve import Valve
from batchscore.errors import UnreadableFile
from batchscore.output.incremental.next_ledger import NextLedger
from batchscore.output.input_digest import ImagesDigest, digest_input, digest_of_file, images_digest
from batchscore.output.ledger import Ledger
from batchscore.output.manifest import Manifest
from batchscore.output.missing import RecordedFiles
from batchscore.output.parts import FileInParts, damage_text
from batchscore.output.repeated_ids import RepeatedIds, recorded_ids
from batchscore.plan.survey import ReadyFile, Survey
from batchscore.read.formats import open_rows
from batchscore.rows import FileOpened, Listen, Notice, Prompt, Settled
from batchscore.run.built_ahead import Built, built_ahead
from batchscore.settings.fields import Settings

#: The maximum number of threads that digest files before a run.
DIGESTS_AT_ONCE = 32

#: A file of at most this size is digested in less time than a thread needs to take it.
SMALL_BYTES = 256 * 2**10


def announce_lost(ledger: Ledger, survey: Survey, settings: Settings, listen: Listen) -> None:
    """Say before the first request which files have lost records, so that their rows are paid for again.

    Of a file whose parts are used in place, it is said when its turn comes.
    """
    if settings.shared_output or settings.overwrite:
        return
    visible = ledger.visible if isinstance(ledger, NextLedger) else ledger
    lost = visible.parts.without_manifest(survey.places, visible.manifests)
    for file in survey.places if visible is not ledger else ():
        manifest = visible.manifests.get(file)
        if manifest is not None and (parts := visible.parts.lost(manifest)):
            lost[file] = damage_text(len(parts))
    for text in dict.fromkeys(lost.values()):
        first, *more = [file for file, each in lost.items() if each == text]
        others = f" (and {len(more):,} more)" if more else ""
        listen(Notice(f"{first}{others}: {text}."))


@dataclass(slots=True)
class FilesThrough:
    """Files that were read, in order; `new` are those that nobody has taken since they were added."""

    names: dict[str, None] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Add a file."""
        self.names[name] = None
        self.new.append(name)

    def take_new(self) -> list[str]:
        """Return the new files, each once."""
        new, self.new = self.new, []
        return new


@dataclass(slots=True)
class PromptSource:
    """The prompts of all files of a survey, at most `rows_left` rows.

    `through` are files that were read and may have unsettled rows; `problems` say why a file could not be
    read to its end. `known` counts the rows of a file that need no request. `limited`: `--limit` left rows.
    `digests` are those of the files, and `images` of the images that were read for their prompts.
    `is_stopping` says whether the run ends before all is scored. `ready` is open while the next prompt can be
    taken without waiting for an image.
    """

    survey: Survey
    ledger: Ledger
    listen: Listen
    rows_left: int | None
    through: FilesThrough = field(default_factory=FilesThrough)
    problems: dict[str, str] = field(default_factory=dict)
    digests: dict[str, asyncio.Future[str]] = field(default_factory=dict)
    images: dict[str, ImagesDigest] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)
    files_opened: int = 0
    limited: bool = False
    repeated: RepeatedIds = field(default_factory=RepeatedIds)
    is_stopping: Callable[[], bool] = lambda: False
    ready: Valve = field(default_factory=lambda: Valve(is_open=True))

    def start_digest(self, ready: ReadyFile) -> None:
        """Digest a file in a thread; if that decides whether the file has changed, also its images."""
        name, run_in_thread = ready.file.name, asyncio.get_running_loop().run_in_executor
        if self.ledger.needs_digest(name):
            options = self.survey.options
            self.digests[name] = run_in_thread(
                None, digest_input, ready.file, ready.builder, options, self.is_stopping
            )
        elif ready.file.size > SMALL_BYTES or not ready.file.local:
            self.digests[name] = run_in_thread(None, digest_of_file, ready.file)
        else:
            self.digests[name] = done = asyncio.get_running_loop().create_future()
            try:
                done.set_result(digest_of_file(ready.file))
            except UnreadableFile as error:
                done.set_exception(error)

    async def end_digest(self, name: str, *, whole: bool) -> str:
        """Return a file's digest; if the `whole` file was read, with that of the images as they were sent.

        Raises `UnreadableFile`.
        """
        digests, images = self.digests.pop(name, None), self.images.pop(name, None)
        found = "" if digests is None else await digests
        return images.with_file(found) if found and whole and images is not None else found

    async def digest_complete_files(self) -> None:
        """Digest the files that were scored completely: if one has changed, the run ends before it sends."""
        complete = [each.as_it_is() for each in self.survey.ready if self.ledger.needs_digest(each.file.name)]
        loop = asyncio.get_running_loop()
        self.digests |= {ready.file.name: loop.create_future() for ready in complete}
        with_images = bool(complete) and complete[0].builder.images is not None
        # A thread takes longer than the digest of what is in memory. Images fill it, so one file at a time.
        others = []
        for ready in complete:
            file = ready.file
            if file.content is None or with_images:
                others.append(ready)
            else:
                self.digests[file.name].set_result(digest_of_file(file))
        waiting, at_once = iter(others), 1 if with_images else DIGESTS_AT_ONCE

        def digest_some() -> list[tuple[str, str | UnreadableFile]]:
            found: list[tuple[str, str | UnreadableFile]] = []
            for ready in waiting:  # each file is taken by one thread
                if self.is_stopping():
                    break
                try:
                    digest = digest_input(ready.file, ready.builder, self.survey.options, self.is_stopping)
                    found.append((ready.file.name, digest))
                except UnreadableFile as error:
                    found.append((ready.file.name, error))
            return found

        tasks = [asyncio.to_thread(digest_some) for _ in others[:at_once]]
        for name, found in chain.from_iterable(await asyncio.gather(*tasks)):
            if isinstance(found, str):
                self.digests[name].set_result(found)
            else:
                self.digests[name].set_exception(found)

    def prompts(self) -> Generator[Prompt | Settled, None, None]:
        """Give the prompts of every file's unsettled rows."""
        for surveyed in self.survey.ready:
            if self.rows_left == 0:
                self.limited = True
                return
            name = surveyed.file.name
            if self.is_stopping() and self.ledger.needs_digest(name):
                return  # it may be digested in part
            self.files_opened += 1
            ready = surveyed
            if is_new := name not in self.digests:
                # Hashing runs beside reading; the digest is needed only when the file is finished.
                ready = surveyed.as_it_is()
                self.start_digest(ready)
            digests = self.digests[name]
            try:
                found = digests.result() if self.ledger.needs_digest(name) else ""
            except UnreadableFile as error:  # it was there when the run began
                self.problems[name] = error.reason
                self.through.add(name)
                continue
            progress = self.ledger.start(name, found)
            self.known[name] = self.settled_rows(self.ledger.manifests[name])
            self.listen(FileOpened(name, self.known[name]))
            if progress is None:
                self.through.add(name)
                if self.rows_left is not None:
                    self.rows_left = max(0, self.rows_left - self.ledger.manifests[name].rows)
                continue
            if progress.damaged and not self.ledger.spec.shared:
                self.listen(Notice(progress.damage))
            try:
                ready = ready if is_new else surveyed.as_it_is()
                yield from progress.unanswered(self.prompts_of(ready, progress))
                if not progress.limited:
                    progress.end()
            except UnreadableFile as error:
                self.problems[name] = error.reason
            self.through.add(name)

    def prompts_of(self, ready: ReadyFile, progress: FileInParts) -> Iterator[Prompt | Settled]:
        """Give the prompt of each row of one file, up to the limit."""
        repeated = self.repeated
        build: Callable[[Any], Prompt | Settled] = ready.builder.build
        number: Callable[[Any], int] = attrgetter("number")
        share = self.ledger.spec.share
        holds = None if share.is_whole or progress.share is None else progress.share.holds
        with open_rows(ready.file, self.survey.options, ready.builder.columns) as table, ExitStack() as stack:
            rows: Iterator[Any] = table.rows
            if ready.builder.images is not None:
                rows = stack.enter_context(closing(built_ahead(table.rows, ready.builder.build, self.ready)))
                build, number = self.note_images(ready), lambda built: int(built[0].row)
            for row in rows:
                if self.rows_left is not None:
                    if self.rows_left == 0:
                        progress.limited = self.limited = True
                        return
                    self.rows_left -= 1
                if holds is not None and not holds(number(row)):
                    if ready.builder.images is not None:  # the digest of the input needs those of all rows
                        build(row)
                    continue
                item = build(row)
                if item.id is not None:
                    repeated.note(ready.file.name, item.row, item.id)
                yield item

    def note_images(self, ready: ReadyFile) -> Callable[[Built], Prompt | Settled]:
        """Return what takes a built row, and adds its images to the digest of its file."""
        images = images_digest(ready.builder)
        if images is not None:
            self.images[ready.file.name] = images

        def taken(built: Built) -> Prompt | Settled:
            item, digests = built
            if images is not None:
                for each in digests:
                    images.add(each)
            return item

        return taken

    def repeated_ids(self) -> RepeatedIds:
        """Return the rows with a repeated id; if no row was read, those that the last run has recorded."""
        ledger, recorded = self.ledger, self.ledger.recorded
        if isinstance(ledger, NextLedger):
            is_new = not ledger.unchanged.issuperset(self.survey.places)
            recorded = RecordedFiles() if is_new else ledger.visible.recorded
        found = recorded_ids(recorded.called)
        is_of_these = all(file in self.survey.places for file, _ in found.first)
        return found if is_of_these and not self.repeated.ids else self.repeated

    def settled_rows(self, manifest: Manifest) -> int:
        """Return how many rows of a file need no request in this run."""
        return manifest.final_rows(retry_errors=self.ledger.spec.retry_errors)
