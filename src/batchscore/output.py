"""Where do the scores of a run go, and does another run work there?

It knows no files of an output, and writes nothing there but the lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from batchscore.errors import OutputError
from batchscore.rows import Listen, Notice
from batchscore.settings import Settings
from batchscore.write.layout import MARKER
from batchscore.write.lock import Hold, held

#: What tells a single output file from a folder.
FILE_SUFFIXES = (".jsonl", ".parquet", ".arrow")


@dataclass(frozen=True, slots=True)
class Output:
    """Where scores go: always a `folder` of parts, and one `file` made of them where that was asked."""

    folder: Path
    file: Path | None = None

    @property
    def asked_for(self) -> Path:
        """The path that the user named."""
        return self.file or self.folder


def output_of(settings: Settings) -> Output:
    """Return where the scores go; raises `OutputError` where a file stands in a folder's place."""
    path = Path(settings.output)
    if path.suffix.lower() in FILE_SUFFIXES and not path.is_dir():
        return Output(path.with_name(path.name + ".batchscore"), path)
    if path.exists() and not path.is_dir():
        raise OutputError(
            f"{path} is a file; give a folder, or a new file ending in {', '.join(FILE_SUFFIXES)}."
        )
    return Output(path)


@contextmanager
def holding(settings: Settings, output: Output, listen: Listen) -> Iterator[Hold]:
    """Keep other runs of this task away from the output; raises `OutputHeld` where one is at work.

    One file holds one task, so there no other task may work beside it, either.
    """
    with ExitStack() as stack:
        for name in ("file", settings.task) if output.file is not None else (settings.task,):
            hold = stack.enter_context(
                held(
                    output.folder / MARKER,
                    name,
                    what=f"{output.asked_for} ({settings.task})"
                    if name == settings.task
                    else f"{output.file}",
                    command=f"batchscore score --task {settings.task}",
                    notice=lambda text: listen(Notice(text)),
                )
            )
        yield hold
