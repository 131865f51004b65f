"""Files of ours are created though other processes remove their empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchscore.stores.links import create_within


def test_a_folder_that_is_removed_before_its_first_file_is_made_again(tmp_path: Path) -> None:
    folder, tries = tmp_path / "journals" / "one", list[int]()

    def create() -> Path:
        tries.append(1)
        if len(tries) < 3:
            folder.rmdir()
            folder.parent.rmdir()
        (folder / "lock").touch(exist_ok=False)
        return folder / "lock"

    assert create_within(folder, create).exists()
    assert len(tries) == 3


def test_a_folder_that_vanishes_between_the_steps_of_mkdir_is_made_again(tmp_path: Path) -> None:
    """Then `mkdir` says that the folder exists, and it does not."""
    folder, tries = tmp_path / "journals", list[int]()

    def create() -> bool:
        tries.append(1)
        if len(tries) == 1:
            raise FileExistsError(17, "File exists", str(folder))
        return True

    assert create_within(folder, create)


def test_a_file_in_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "journals").touch()
    for folder in (tmp_path / "journals", tmp_path / "journals" / "one"):
        with pytest.raises((FileExistsError, NotADirectoryError)):
            create_within(folder, lambda: None)
