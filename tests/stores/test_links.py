"""Files of ours are created though others remove their empty folder, and a loop of links is a path."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchscore.errors import OutputError
from batchscore.mlflow_model.folder import replace_folder
from batchscore.stores.links import create_within, real_path, through_link


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


def test_a_loop_of_links_is_a_path_and_no_error(tmp_path: Path) -> None:
    """`Path.resolve` raises `RuntimeError` for one."""
    loop = tmp_path / "loop.jsonl"
    loop.symlink_to(loop.name)
    assert through_link(loop) == loop
    assert real_path(loop / "a.csv") == loop / "a.csv"
    with pytest.raises(OutputError, match="cannot be written"), replace_folder(loop, overwrite=True):
        pass
