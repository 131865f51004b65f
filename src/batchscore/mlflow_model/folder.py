"""How is a model's folder written completely, or not at all?

It knows the file names of MLflow models, not their content.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batchscore.errors import OutputError, setting_name
from batchscore.mlflow_model.layout import MLMODEL

#: Files of models, MLflow's and ours; a folder with other files is more than a model.
MODEL_FILES = frozenset(
    {
        *(MLMODEL, "model.yaml", "requirements.txt", "conda.yaml", "python_env.yaml", "code", "metadata"),
        *("input_example.json", "serving_input_example.json", "registered_model_meta"),
        *("openai.yaml", "auxiliary.yaml", ".amlignore", ".amlignore.amltmp"),
    }
)


@contextmanager
def replace_folder(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a temporary folder to write a model into; after the block, it replaces `folder`.

    Raises `OutputError` if `folder` is not empty, unless it is a model and `overwrite` is set.
    """
    target = folder.resolve()
    try:
        refuse_other_files(folder, overwrite=overwrite)
        with tempfile.TemporaryDirectory(prefix="batchscore-model-") as new:
            yield Path(new)
            target.mkdir(parents=True, exist_ok=True)
            for old in target.iterdir():
                remove(old)
            # The file that makes the folder a model comes last.
            for file in sorted(Path(new).iterdir(), key=lambda file: file.name == MLMODEL):
                shutil.move(file, target / file.name)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}.") from None


def refuse_other_files(folder: Path, *, overwrite: bool) -> None:
    """Raise `OutputError` if a folder holds files that must not be replaced."""
    if not folder.is_dir():
        if folder.exists():
            raise OutputError(f"{folder} cannot be written: it is a file. Name a folder.")
        return
    names = sorted(file.name for file in folder.iterdir())
    if not names:
        return
    if not overwrite or MLMODEL not in names:
        raise OutputError(
            f"{folder} is not empty. Name another folder, or replace a model with "
            f"{setting_name('overwrite')}."
        )
    others = [name for name in names if name not in MODEL_FILES]
    if others:
        raise OutputError(
            f"{folder} holds other files than a model: {', '.join(others[:5])}. They would be lost. Move "
            "them "
            "away, or name another folder."
        )


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with its content."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
