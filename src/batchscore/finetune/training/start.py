"""How do a folder's files become one training job, whatever is killed or lost?

Each call that costs has its intent on disk before it is sent, and its result after. A service has no key by
which it would create a job once: one that its list showed too late is cancelled when it is seen. It decides
nothing about what comes next: that is in `steps.py`.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from batchscore.errors import InputError, Outage, count_text, duration_text, visible
from batchscore.finetune.offered import finetune_command
from batchscore.finetune.prepared_folder import file_of
from batchscore.finetune.service.calls import PURPOSE, CallLimits
from batchscore.finetune.service.dialects import TrainingDialect, refusal_of
from batchscore.finetune.state import (
    TRAINING,
    FileRecord,
    TrainingState,
    UploadRecord,
    with_job,
    with_own_job,
    write_state,
)
from batchscore.finetune.training.follow import recent_jobs
from batchscore.finetune.training.same_data import other_job, same_data_error
from batchscore.finetune.training.steps import (
    CLOCK_SECONDS,
    MOST_TRIES,
    JobMove,
    PartStep,
    TrainingStep,
    after_failure,
    job_body,
    next_step,
    own_jobs,
    with_listed,
)
from batchscore.provider import files, jobs, uploads
from batchscore.provider.client import CallFailed, ControlPlane, NotThere, Refused, Unknown
from batchscore.provider.job_object import CANCELLED, FAILED, MOST_MESSAGE, JobState
from batchscore.report.words import size_text
from batchscore.settings.secrets import mask_text

#: The file of each part that is sent. The test part never is.
FILE_OF = {TRAINING: file_of("train"), "validation": file_of("validation")}

#: The steps before which the service's list is read for a job of the same data.
BEFORE_COSTS = {PartStep(TrainingStep.SEND_FILE, TRAINING), PartStep(TrainingStep.CREATE_JOB)}

#: Seconds before an upload in parts expires in which no more parts are sent.
EXPIRY_MARGIN = 60.0

#: Seconds after a file was sent, or a job was made, in which lists may not show it yet.
LAG_SECONDS = 300.0


@dataclass(slots=True)
class Starter:
    """The way from files to a job. `urls` are where the service fetches a part from: secret, and not kept.

    `is_continued`: the folder had a state before, so a copy of it may have made the job.
    """

    plane: ControlPlane
    dialect: TrainingDialect
    folder: Path
    state: TrainingState
    limits: CallLimits
    listen: Callable[[str], object]
    urls: Mapping[str, str] = field(default_factory=dict)
    clock: Callable[[], float] = time.time
    is_continued: bool = False
    tries: int = 0
    creations: int = 0

    async def run(self) -> TrainingState:
        """Do all steps until there is a job. Raises `CallFailed` and `BatchscoreError`."""
        await self.remove_leftovers()
        while True:
            step = next_step(self.state)
            if step in BEFORE_COSTS and not self.state.job.again and not self.creations:
                found = await other_job(self.plane, self.state, self.clock())
                if found is not None:
                    raise same_data_error(found, self.state, self.folder)
            if step.step is TrainingStep.SEND_FILE:
                await self.send_file(step.part)
            elif step.step is TrainingStep.WAIT_FOR_FILE:
                await self.wait_for_file(step.part)
            elif step.step is TrainingStep.CREATE_JOB:
                await self.create_job()
            elif step.step is TrainingStep.FIND_JOB:
                await self.find_job()
            else:
                if self.state.job.doubtful:
                    await self.cancel_doubles()
                await self.give_way()
                return self.state

    def write(self, **changes: Any) -> None:
        """Write changes of the state to the device."""
        self.state = write_state(self.folder, replace(self.state, **changes))

    def note_file(self, part: str, **changes: Any) -> FileRecord:
        """Write changes of a part's record, and return it."""
        file = replace(self.state.files[part], **changes)
        self.write(**{part: file})
        return file

    def forget_file(self, part: str) -> None:
        """Let a file be sent again; the one at the service is a leftover then."""
        file = self.state.files[part]
        leftover = replace(file, name="", upload=None)
        fresh = replace(file, file_id="", intent_at=0.0, upload=None, processed=False)
        self.write(**{part: fresh, "leftovers": (*self.state.leftovers, leftover)})

    async def remove_leftovers(self) -> None:
        """Remove files of ours at the service that no job needs."""
        for each in self.state.leftovers:
            try:
                await remove_file(self.plane, each)
            except Refused as failure:
                what = each.file_id or each.name
                self.listen(f"{failure}: {what} stays there. It costs nothing, but counts as a file")
                continue
            left = tuple(one for one in self.state.leftovers if one != each)
            gone = (each.file_id,) if each.file_id else ()
            self.write(leftovers=left, deleted=(*self.state.deleted, *gone))

    async def send_file(self, part: str) -> None:
        """Send a file, unless it is there already: a reply may have been lost, or this process killed."""
        file = self.state.files[part]
        if file.intent_at and await self.adopt_file(part):
            return
        if part in self.urls:
            self.note_file(part, intent_at=self.clock(), imported=True)
            self.listen(f"{FILE_OF[part]}: the service fetches it from the URL")
            try:
                found = await files.import_file(self.plane, file.name, self.urls[part], purpose=PURPOSE)
            except Unknown as failure:
                await self.try_again(failure)
                return
        elif file.bytes > self.limits.parts_from and self.dialect.has_uploads:
            sent = await self.send_parts(part)
            if sent is None:
                return
            found = sent
        else:
            self.note_file(part, intent_at=self.clock())
            self.listen(f"{FILE_OF[part]}: uploading {size_text(file.bytes)}")
            found = await files.upload(
                self.plane, self.folder / FILE_OF[part], file.name, purpose=PURPOSE, expires_seconds=None
            )
        self.note_file(part, file_id=found.id, upload=None)

    async def adopt_file(self, part: str) -> bool:
        """Look for a file that was sent; return whether it is there. Copies of it are removed."""
        file = self.state.files[part]
        found = await files.find_uploads(self.plane, file.name, purpose=PURPOSE)
        whole = [each for each in found if file.imported or each.bytes in {0, file.bytes}]
        if not whole:
            return False
        self.note_file(part, file_id=whole[0].id, upload=None)
        for each in found:
            if each.id != whole[0].id:
                await files.delete(self.plane, each.id)
        return True

    async def send_parts(self, part: str) -> files.UploadedFile | None:
        """Send what is missing of a file in parts; return `None` if what became of it must be looked at."""
        file = self.state.files[part]
        upload = file.upload
        if upload is None or 0 < upload.expires_at < self.clock() + EXPIRY_MARGIN:
            begun = await uploads.begin_upload(self.plane, file.name, file.bytes, purpose=PURPOSE)
            expires = begun.expires or self.clock() + self.dialect.upload_seconds
            upload = UploadRecord(id=begun.id, part_bytes=self.limits.part_bytes, expires_at=expires)
            self.note_file(part, upload=upload)
        path = self.folder / FILE_OF[part]
        count = -(-file.bytes // upload.part_bytes)
        try:
            for number in range(len(upload.parts), count):
                self.listen(f"{FILE_OF[part]}: uploading part {number + 1:,} of {count:,}")
                data = await asyncio.to_thread(read_part, path, number * upload.part_bytes, upload.part_bytes)
                sent = await uploads.add_part(self.plane, upload.id, data)
                upload = replace(upload, parts=(*upload.parts, sent))
                self.note_file(part, upload=upload)
            digest = await asyncio.to_thread(md5_of, path)
            self.note_file(part, intent_at=self.clock())
            return await uploads.complete_upload(self.plane, upload.id, upload.parts, digest)
        except Refused as failure:
            # It has expired, or is completed already.
            if not await self.adopt_file(part):
                self.note_file(part, upload=None)
                await self.try_again(failure)
        except Unknown as failure:
            await self.try_again(failure)
        return None

    async def try_again(self, failure: CallFailed) -> None:
        """Wait until a call is repeated; raises the failure if it was repeated often."""
        self.tries += 1
        if self.tries >= MOST_TRIES:
            raise failure
        await self.plane.sleep(max(self.limits.settle, failure.wait_seconds))

    async def wait_for_file(self, part: str) -> None:
        """Wait until a job can be made of a file."""
        file = self.state.files[part]
        try:
            found = await self.first_look(file)
            if found.status not in self.dialect.usable | files.BROKEN:
                self.listen(f"{FILE_OF[part]}: waiting until the service has processed it")
            found = await files.wait_until_usable(self.plane, found, self.dialect.usable)
        except NotThere as failure:
            self.forget_file(part)
            await self.try_again(failure)
            return
        problem = self.problem_of(part, found)
        if problem:
            self.forget_file(part)
            raise InputError(f"{problem} Nothing was trained.")
        self.note_file(part, processed=True)

    async def first_look(self, file: FileRecord) -> files.UploadedFile:
        """Return a file as it is now. Raises `NotThere` unless it was sent just now: a list may lag."""
        try:
            return await files.look(self.plane, file.file_id)
        except NotThere:
            if self.clock() - file.intent_at > LAG_SECONDS:
                raise
        return files.UploadedFile(file.file_id, file.name, 0, "not listed yet")

    def problem_of(self, part: str, found: files.UploadedFile) -> str:
        """Return why no job can be made of a file, "" if one can."""
        file, name = self.state.files[part], FILE_OF[part]
        if found.status in files.BROKEN:
            checked = finetune_command("check", self.folder)
            what = (
                "Check the URL and how long it is valid." if file.imported else f"To check it, run: {checked}"
            )
            return f"The service cannot use {name} (state {found.status}). {what}"
        if file.imported and found.bytes not in {0, file.bytes}:
            return (
                f"The file at the URL has {found.bytes:,} bytes, and {name} has {file.bytes:,}: it is "
                "another file. Copy the prepared one there."
            )
        return ""

    async def create_job(self) -> None:
        """Make the job. Its intent is written first; without a reply the job is looked for."""
        if self.is_continued and not self.creations and await self.adopt_job_of_copy():
            return
        self.creations += 1
        # A copy of this folder may do the same at this moment, so the list is read once more afterwards.
        doubtful = self.state.job.doubtful or self.is_continued
        self.write(job=replace(self.state.job, intent_at=self.clock(), doubtful=doubtful))
        try:
            job = await jobs.create_job(self.plane, job_body(self.state, self.dialect))
        except CallFailed as failure:
            await self.after_failure(failure)
            return
        self.state = write_state(self.folder, with_job(self.state, job))

    async def adopt_job_of_copy(self) -> bool:
        """Take the job that a copy of this folder has made of the same files; return whether there is one."""
        since = self.state.training.intent_at - CLOCK_SECONDS
        found = own_jobs(self.state, await jobs.newest_jobs(self.plane, since))
        found = [each for each in found if each.status not in {FAILED, CANCELLED}]
        if not found:
            return False
        self.listen(f"The job {found[0].id} was made of this folder or a copy of it: no other one is created")
        await self.keep_first(found)
        return True

    async def find_job(self) -> None:
        """Look for a job that may have been made; if it is not there, one may be created."""
        waits = list(self.limits.look_again)
        self.listen("Looking in the service's list for the job, because its creation was not confirmed")
        while True:
            ours = own_jobs(self.state, await recent_jobs(self.plane, self.state))
            if ours:
                await self.keep_first(ours)
                return
            if not waits:
                self.write(job=replace(self.state.job, intent_at=0.0, doubtful=True))
                self.listen("It is not listed, so it is created now")
                return
            self.listen(f"It is not listed yet. The next look is in {duration_text(waits[0])}")
            await self.plane.sleep(waits.pop(0))

    async def cancel_doubles(self) -> None:
        """Cancel jobs that were made besides the first one, and continue with that.

        The list may have lagged when it was read, or a copy of this folder has made one at the same time.
        Times of jobs are whole seconds: after the pause, both copies see both jobs, or one is clearly older.
        """
        await self.plane.sleep(self.limits.settle)
        found = await recent_jobs(self.plane, self.state)
        if all(each.id != self.state.job.id for each in found):
            # A list may lag behind: ours must be kept or cancelled, never forgotten.
            found.append(await jobs.look_at_job(self.plane, self.state.job.id))
        ours = own_jobs(self.state, found)
        if ours:
            await self.keep_first(ours)
        self.state = write_state(self.folder, with_listed(self.state, ()))

    async def give_way(self) -> None:
        """Cancel our new job if another folder has made one of the same data first; raises `InputError` then.

        Both may have looked for a job before either was made.
        """
        own = self.state.job
        if own.ended or own.again or own.created_at < self.clock() - LAG_SECONDS:
            return
        other = await other_job(self.plane, self.state, self.clock(), own.created_at)
        if other is not None and other.created == own.created_at and other.id > own.id:
            # Of the same second. If its folder sees ours, it gives way.
            await self.plane.sleep(self.limits.settle)
            other = await other_job(self.plane, self.state, self.clock(), own.created_at)
        if other is not None:
            try:
                job = await jobs.change_job(self.plane, own.id, "cancel")
            except CallFailed as failure:
                raise same_data_error(other, self.state, self.folder, str(failure)) from None
            self.state = write_state(self.folder, with_job(self.state, job))
            raise same_data_error(other, self.state, self.folder)

    async def keep_first(self, ours: Sequence[JobState]) -> None:
        """Take the first of these jobs as the folder's, and cancel the others."""
        state = with_own_job(self.state, ours[0])
        for each in ours[1:]:
            state = with_job(state, each)
        doubles = [each for each in ours[1:] if not each.ended]
        doubtful = state.job.doubtful or bool(doubles)
        self.state = write_state(self.folder, replace(state, job=replace(state.job, doubtful=doubtful)))
        for each in doubles:
            job = await jobs.change_job(self.plane, each.id, "cancel")
            self.state = write_state(self.folder, with_job(self.state, job))
        if doubles:
            names = ", ".join(each.id for each in doubles)
            self.listen(f"{count_text(len(doubles), 'double job')} cancelled: {names}")

    async def after_failure(self, failure: CallFailed) -> None:
        """Do what follows a creation that failed; raises an error if that is the end."""
        move = after_failure(failure, self.creations)
        if move is JobMove.LOOK_AGAIN:
            if self.creations >= MOST_TRIES:
                raise Outage(f"{failure}, {self.creations} times. Run the same command again.")
            if failure.status is not None:
                await self.plane.sleep(max(self.limits.settle, failure.wait_seconds))
            return
        # Whatever the words of the refusal are: the files may be gone.
        files = {part: replace(file, processed=False) for part, file in self.state.files.items()}
        self.write(job=replace(self.state.job, intent_at=0.0), **files)
        if move is JobMove.STOP:
            if failure.words:
                # For a terminal: the request holds no text of an example.
                self.listen(f'The service says: "{visible(mask_text(failure.words[:MOST_MESSAGE]))}"')
            raise refusal_of(failure, self.dialect, self.folder)
        await self.plane.sleep(self.limits.settle)


async def remove_file(plane: ControlPlane, file: FileRecord) -> None:
    """Remove a file and its copies, or an upload that was not completed. Raises `CallFailed`."""
    if file.upload is not None and not file.file_id:
        with suppress(CallFailed):  # it is completed, or expires by itself
            await uploads.cancel_upload(plane, file.upload.id)
    found = await files.find_uploads(plane, file.name, purpose=PURPOSE) if file.name else []
    for each in dict.fromkeys([*(one.id for one in found), file.file_id]):
        if each:
            await files.delete(plane, each)


def read_part(path: Path, start: int, size: int) -> bytes:
    """Return a part of a file."""
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)


def md5_of(path: Path) -> str:
    """Return the checksum that services compare an upload with."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()
