"""How does a model's folder come to stand whole, or not at all?

It knows the names of an MLflow model's files, nothing of what is in them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batchscore.errors import OutputError
from batchscore.mlflow_model.layout import MLMODEL

#: What stands in models of MLflow's writers and ours; a folder with anything else is more than a model.
OF_A_MODEL = frozenset(
    {
        *(MLMODEL, "model.yaml", "requirements.txt", "conda.yaml", "python_env.yaml", "code", "metadata"),
        *("input_example.json", "serving_input_example.json", "registered_model_meta"),
        *("openai.yaml", "auxiliary.yaml", ".amlignore", ".amlignore.amltmp"),
    }
)


@contextmanager
def written_whole(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a folder to write a model into, and let it take the place of `folder` when the block is through.

    Raises `OutputError` where `folder` has something in it, unless that is a model and `overwrite` is set.
    """
    place = folder.resolve()
    try:
        refuse_what_is_more(folder, overwrite=overwrite)
        with tempfile.TemporaryDirectory(prefix="batchscore-model-") as new:
            yield Path(new)
            place.mkdir(parents=True, exist_ok=True)
            for old in place.iterdir():
                remove(old)
            # The file that makes it a model comes last.
            for file in sorted(Path(new).iterdir(), key=lambda file: file.name == MLMODEL):
                shutil.move(file, place / file.name)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}.") from None


def refuse_what_is_more(folder: Path, *, overwrite: bool) -> None:
    """Raise `OutputError` where something stands in a folder that a model must not take the place of."""
    if not folder.is_dir():
        if folder.exists():
            raise OutputError(f"{folder} cannot be written: it is a file. Name a folder.")
        return
    names = sorted(file.name for file in folder.iterdir())
    if not names:
        return
    if not overwrite or MLMODEL not in names:
        raise OutputError(f"{folder} is not empty. Name another folder, or replace a model with --overwrite.")
    others = [name for name in names if name not in OF_A_MODEL]
    if others:
        raise OutputError(
            f"{folder} holds more than a model: {', '.join(others[:5])}. It would be lost; take it out of "
            "there, or name another folder."
        )


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
