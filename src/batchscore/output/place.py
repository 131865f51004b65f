"""Where do the scores of a run go, and does another run work there?

It knows no files of an output, and writes nothing there but the lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from batchscore.errors import OutputError
from batchscore.output.find import folder_of_locks
from batchscore.output.locks.flock import SYSTEM
from batchscore.output.locks.lock import Hold, held, refuse_held
from batchscore.rows import Listen, Notice
from batchscore.settings.fields import Settings
from batchscore.stores import storage
from batchscore.stores.address import Place, place_of

#: What tells a single output file from a folder.
FILE_SUFFIXES = (".jsonl", ".parquet", ".arrow")


@dataclass(frozen=True, slots=True)
class Output:
    """Where scores go: always a `folder` of parts, and one `file` made of them where that was asked."""

    folder: Place
    file: Place | None = None

    @property
    def asked_for(self) -> Place:
        """The place that the user named."""
        return self.file or self.folder


def output_of(settings: Settings) -> Output:
    """Return where the scores go; raises `OutputError` where a file stands in a folder's place."""
    path = place_of(settings.output)
    folder = storage.is_folder(path)
    if path.suffix.lower() in FILE_SUFFIXES and not folder:
        return Output(path.with_name(path.name + ".batchscore"), path)
    if not folder and storage.exists(path):
        raise OutputError(
            f"{path} is a file; give a folder, or a new file ending in {', '.join(FILE_SUFFIXES)}."
        )
    return Output(path)


@contextmanager
def holding(settings: Settings, output: Output, listen: Listen) -> Iterator[Hold]:
    """Keep other runs of this task away from the output; raises `OutputLocked` where one is at work.

    One file holds one task, so there no other task may work beside it, either. Stores have no locks: there
    only the runs of this machine are kept apart, by a folder in its temporary one.
    """
    folder = folder_of_locks(output.folder)
    if settings.shared_output:
        # No lock for one of many: only a run that wants the output for itself stands in their way.
        refuse_held(folder, settings.task, what=f"{output.asked_for} ({settings.task})")
        yield Hold(folder, b"", None, SYSTEM)
        return
    with ExitStack() as stack:
        for name in ("file", settings.task) if output.file is not None else (settings.task,):
            hold = stack.enter_context(
                held(
                    folder,
                    name,
                    what=f"{output.asked_for} ({settings.task})"
                    if name == settings.task
                    else f"{output.file}",
                    command=f"batchscore score --task {settings.task}",
                    notice=lambda text: listen(Notice(text)),
                )
            )
        yield hold
