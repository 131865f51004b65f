"""Is the one file that the user named still as batchscore wrote it?

People edit a result table by hand, and no run may replace their work. The digests of the last two versions
are in the hidden folder of the output: the newer one is noted just before it gets its name. It knows nothing
of what the file holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batchscore.errors import OutputError, setting_name
from batchscore.output.find import one_file_of
from batchscore.output.layout import MARKER
from batchscore.stores import storage
from batchscore.stores.address import Place, command_word, shell_command
from batchscore.stores.errors import explain_errors
from batchscore.stores.links import real_path, through_link
from batchscore.stores.sink import Sink


def _noted(folder: Place) -> Place:
    return folder / MARKER / "written"


@contextmanager
def replace_one_file(output: Place | None, file: Place, *, sync: bool) -> Iterator[Sink]:
    """Give a `Sink` that becomes the file; what belongs to the output in this folder is noted there."""
    destination = through_link(file)
    folder = output if output is not None and _is_own(output, file) else None
    if folder is not None and isinstance(destination, Path) and storage.is_in_place(destination.parent):
        # A kill leaves a torn file, which has no known digest.
        storage.remove(_noted(folder))
    with storage.replace_file(destination, sync=sync) as sink:
        yield sink
        if folder is not None:
            digests = [*_standing(folder, destination), sink.result().digest]
            storage.write_whole(_noted(folder), "\n".join(dict.fromkeys(digests)).encode())


def _standing(folder: Place, file: Place) -> list[str]:
    """Return the noted digest of the version that is there: the new one may fail to replace it."""
    noted = digests_of(folder) or []
    if len(noted) < 2 or not storage.exists(file):
        return noted[-1:]
    found = storage.digest_of(file)
    return [found] if found in noted else noted[-1:]


def _is_own(folder: Place, file: Place) -> bool:
    """Whether this is the one file of the output in a folder, however it is named."""
    own = one_file_of(folder)
    if isinstance(own, Path) and isinstance(file, Path):
        return own.name == file.name and real_path(own.parent) == real_path(file.parent)
    return own == file


def digests_of(folder: Place) -> list[str] | None:
    """Return the digests of the last versions of the one file; `None` if earlier versions noted none."""
    noted = _noted(folder)
    if not storage.exists(noted):
        return None
    return storage.whole(noted).decode("ascii", "replace").split()


def note_none(folder: Place, file: Place) -> None:
    """Note that there is no version yet, so that a file that appears there is the user's."""
    if digests_of(folder) is None and not storage.exists(file):
        storage.write_whole(_noted(folder), b"")


def refuse_edited(folder: Place, file: Place) -> None:
    """Raise `OutputError` if the one file of this output is there, and not as batchscore wrote it."""
    digests = digests_of(folder)
    if digests is None or not storage.exists(file):
        return
    with explain_errors(file, "read"):
        found = storage.digest_of(file)
    if found in digests:
        return
    what = "was changed after batchscore wrote it" if digests else "was not written by batchscore"
    other = file.with_name(f"{file.name.removesuffix(file.suffix)}-2{file.suffix}")
    merge = shell_command(["batchscore", "merge", command_word(file), command_word(other)])
    raise OutputError(
        f"{file} {what}, so it is not replaced. Rename, move or delete it, and run the same command again: "
        f"no row is sent twice. {setting_name('overwrite', True)} replaces it, and sends all rows again. To "
        f"write the scores to another file, run: {merge}"
    )
