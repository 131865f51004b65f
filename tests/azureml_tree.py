"""A copy of the deployment: the YAML files, the environment, and an outline of the code folder."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: A scoring script with the functions that a batch host calls, but without the imports of the real one.
SCRIPT = "def init():\n    pass\n\n\ndef run(mini_batch):\n    return mini_batch\n"


def copy_of_the_tree(folder: Path) -> Path:
    """Copy deployment/ and environment/, outline src/, and return the folder."""
    shutil.copytree(
        ROOT / "deployment", folder / "deployment", ignore=shutil.ignore_patterns("results", "nightly")
    )
    shutil.copytree(ROOT / "environment", folder / "environment")
    (folder / "src" / "batchscore").mkdir(parents=True)
    (folder / "src" / "batchscore" / "__init__.py").touch()
    (folder / "src" / "batch_driver.py").write_text(SCRIPT)
    return folder
