"""Where scores stand that do not go with this run's, what can be done?

Pure. What helps depends on who writes: a run that has the output for itself can replace what stands there,
one of several workers must not; and only on a disk can new scores wait beside old ones.
"""

from __future__ import annotations

from pathlib import Path

from batchscore.output.layout import Layout, stem_of


def when_changed(file: str, layout: Layout, *, alone: bool, root_said: bool = True) -> str:
    """Say what to do where an input file has changed since it was scored."""
    if alone and isinstance(layout.root, Path):
        return (
            "Add --incremental to score what is new or changed, score it into another folder, or discard the "
            "old scores with --overwrite."
        )
    if alone:
        return (
            "Score it into another folder, or discard the old scores with --overwrite (--incremental needs "
            "an output on a disk)."
        )
    folders = [f"{layout.task}/", f"errors/{layout.task}/", f"manifest/{layout.task}/"]
    namesake = "" if root_said else " Where it is another file of that name, --base-dir tells the two apart."
    return (
        "Score it into another output folder, give the new data another file name, or, while no worker is at "
        f"work, delete its old scores: what has {stem_of(file)} in its name in {', '.join(folders[:-1])} and "
        f"{folders[-1]} of the output.{namesake}"
    )


def when_of_another_run(layout: Layout, *, alone: bool) -> str:
    """Say what to do where an output holds the scores of other settings."""
    if alone:
        return "Choose another folder, or discard the old scores with --overwrite."
    return (
        f"Choose another output folder, or, while no worker is at work, delete {layout.task}/, "
        f"errors/{layout.task}/ and manifest/{layout.task}/ of this one."
    )
