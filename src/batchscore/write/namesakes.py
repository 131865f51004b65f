"""Is a file that comes now the one whose scores stand under its name?

Workers that were told no root name a file by its folder's content alone, so that two files of one name in two
folders look the same in records. A manifest then says where its file was; it reads no input.
"""

from __future__ import annotations

from pathlib import Path

from batchscore.errors import OutputError
from batchscore.stores.address import is_uri, place_of
from batchscore.write import storage
from batchscore.write.manifest import Manifest


def refuse_namesake(there: Manifest, place: str | None) -> None:
    """Raise `OutputError` where scores are of another file than that at `place`, and it is still to be seen.

    One that is gone may have been the same: each job of a host mounts its input somewhere else. `None`: names
    begin below a root, which tells files apart. Cost: nothing where the place is the same.
    """
    if place is None or there.place in {"", place} or not storage.exists(place_of(there.place)):
        return
    if not is_uri(place) and not is_uri(there.place) and Path(place).samefile(there.place):
        return
    raise OutputError(
        f"{place} was not scored: the output holds the scores of {there.place}, and records would call both "
        f"{there.file}. Say with --root below which folder the names in records are to begin."
    )
