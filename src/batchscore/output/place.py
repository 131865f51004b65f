"""Where do the scores of a run go, and is another run working there?

It knows no files of an output, and writes nothing there but the lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from batchscore.errors import OutputError
from batchscore.output.find import folder_of_locks
from batchscore.output.locks.flock import SYSTEM
from batchscore.output.locks.lock import Lock, hold_lock, refuse_locked
from batchscore.output.records.formats import FILE_SUFFIXES
from batchscore.rows import Listen, Notice
from batchscore.settings.slices import OutputSettings
from batchscore.stores import storage
from batchscore.stores.address import Place, place_of


@dataclass(frozen=True, slots=True)
class Output:
    """Where scores go: always a `folder` of parts, and one `file` made of them if the user named a file."""

    folder: Place
    file: Place | None = None

    @property
    def named(self) -> Place:
        """The place that the user named."""
        return self.file or self.folder


def output_of(settings: OutputSettings) -> Output:
    """Return where the scores go; raises `OutputError` if a file has the name of the output folder."""
    path = place_of(settings.output)
    folder = storage.is_folder(path)
    if path.suffix.lower() in FILE_SUFFIXES and not folder:
        return Output(path.with_name(path.name + ".batchscore"), path)
    if not folder and storage.exists(path):
        raise OutputError(
            f"{path} is a file. Give a folder, or a new file ending in {', '.join(FILE_SUFFIXES)}."
        )
    return Output(path)


@contextmanager
def lock_output(settings: OutputSettings, output: Output, listen: Listen) -> Iterator[Lock]:
    """Keep other runs of this task away from the output; raises `OutputLocked` if one is at work.

    A single file holds one task, so there runs of other tasks are kept away, too. Stores have no locks: there
    a lock in the temporary folder keeps away the runs of this machine only.
    """
    folder, task = folder_of_locks(output.folder), settings.task.name
    what = f"{output.named} ({task})"
    if settings.shared_output:
        # One of many workers takes no lock. Only a run that has the output for itself keeps it away.
        refuse_locked(folder, task, what=what)
        yield Lock(folder, b"", None, SYSTEM)
        return
    names = {task: what} if output.file is None else {"file": f"{output.file}", task: what}
    with ExitStack() as stack:
        for name, text in names.items():
            lock = stack.enter_context(
                hold_lock(
                    folder,
                    name,
                    what=text,
                    command=f"batchscore score --task {task}",
                    notice=lambda text: listen(Notice(text)),
                )
            )
        yield lock
