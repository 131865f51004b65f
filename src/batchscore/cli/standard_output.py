"""How do scores get to standard output?

A run resumes from files, so its output is one file in this user's temporary folder. The same command finds it
again after a stop: its place comes from the settings and the INPUTs, or the content of standard input. It is
removed once every row is scored and a reader has taken all.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from batchscore.cli.say import drop_rest, say
from batchscore.errors import OutputError, UsageError, setting_name
from batchscore.output.spec import Output, fingerprint_of
from batchscore.settings.fields import Settings
from batchscore.settings.slices import RecordSettings, cut
from batchscore.stores.address import shell_command
from batchscore.stores.this_machine import own_folder

#: How long a reader that has read all may take to leave.
_READ_SECONDS = 0.2


def file_for(settings: Settings, inputs: Sequence[str], *, content: str, as_json: bool) -> Path:
    """Return the file for standard output; raises `UsageError` if something else is printed.

    `content` is the name and digest of standard input, if that is the INPUT. Raises `OutputError` if there
    is no temporary folder.
    """
    what = f"{setting_name('output')} - writes to standard output"
    if as_json:
        raise UsageError(f"{what}, and so does --json. Give {setting_name('output')} a file or a folder.")
    for name in ("incremental", "part_of", "shared_output"):
        if getattr(settings, name):
            raise UsageError(f"{what}, which keeps no output for {setting_name(name)}. Give a folder.")
    if sys.stdout is None:  # as after >&-
        raise UsageError(f"{what}, which is closed. Give {setting_name('output')} a file or a folder.")
    file = Path("scores.jsonl")
    scored = [content] if content else [os.getcwd(), *inputs]  # noqa: PTH109
    same = [fingerprint_of(cut(RecordSettings, settings), Output(file, file)), *scored]
    text = orjson.dumps(same, option=orjson.OPT_SORT_KEYS, default=str)
    try:
        folder = own_folder()
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        raise OutputError(
            f"{what}, and the temporary folder{where} cannot hold the scores until then: {error.strerror}. "
            f"Set TMPDIR to a folder that you can write to, or give {setting_name('output')} a file."
        ) from error
    return folder / f"stdout-{hashlib.blake2b(text, digest_size=8).hexdigest()}" / file


def print_scores(file: Path, *, is_complete: bool) -> None:
    """Copy the scores to standard output, and remove them if they are complete and a reader has taken all.

    Raises `OutputError` if they cannot be written.
    """
    stream = sys.stdout.buffer
    try:
        with file.open("rb") as scores:
            shutil.copyfileobj(scores, stream, 1 << 20)
        stream.flush()
        if _reader_has_left(stream.fileno()):
            raise BrokenPipeError(errno.EPIPE, "the reader has left")
    except OSError as error:
        drop_rest(stream.fileno())
        kept = f"The scores are saved in {file}. To print them, run: {shell_command(['cat', str(file)])}"
        if not isinstance(error, BrokenPipeError):
            raise OutputError(f"cannot write to standard output: {error.strerror}. {kept}") from error
        say(f"The reader of standard output has left before it ended. {kept}", err=True)
    else:
        if is_complete:
            shutil.rmtree(file.parent, ignore_errors=True)


def _reader_has_left(descriptor: int) -> bool:
    """Whether the reader of a pipe has left without waiting for its end: wait until it has read all.

    Such a reader, as `head`, has seen a part only, and a short output is written before it leaves.
    """
    if sys.platform == "win32" or not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return False
    import fcntl  # noqa: PLC0415 - not on Windows
    import select  # noqa: PLC0415
    import termios  # noqa: PLC0415

    errors = select.poll()
    errors.register(descriptor, 0)
    while int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder):
        if errors.poll(_READ_SECONDS * 100):
            return True
    return bool(errors.poll(_READ_SECONDS * 1000))
