"""A copy of what is deployed: the YAML files, the environment, and the code folder's outline."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: The names that a batch host calls; stands in where the copy should not depend on what the real one imports.
SCRIPT = "def init():\n    pass\n\n\ndef run(mini_batch):\n    return mini_batch\n"


def copy_of_the_tree(folder: Path) -> Path:
    """Copy deployment/ and environment/, and outline src/; give the folder."""
    shutil.copytree(
        ROOT / "deployment", folder / "deployment", ignore=shutil.ignore_patterns("results", "nightly")
    )
    shutil.copytree(ROOT / "environment", folder / "environment")
    (folder / "src" / "batchscore").mkdir(parents=True)
    (folder / "src" / "batchscore" / "__init__.py").touch()
    (folder / "src" / "batch_driver.py").write_text(SCRIPT)
    return folder
