"""What can the user do if an output holds scores of other settings, or of an older version of a file?

Pure. A run that has the output for itself can replace old scores; one of several workers must not. New
scores can wait beside old ones only on a disk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from batchscore.errors import OutputError, setting_name
from batchscore.output.layout import stem_of
from batchscore.output.manifest import Manifest
from batchscore.output.spec import OutputSpec

OVERWRITE = f"discard the old scores with {setting_name('overwrite')}"


def refuse_other_settings(spec: OutputSpec, manifest: Manifest) -> None:
    """Raise `OutputError` if a manifest's settings differ from this run's; it names the differences."""
    layout, old, new = spec.layout, manifest.fingerprint, spec.fingerprint
    differing = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    if not differing:
        return
    changes = "; ".join(
        f"{name} was {shorten(old.get(name))}, is now {shorten(new.get(name))}" for name in differing
    )
    advice = f"Choose another folder, or {OVERWRITE}."
    if spec.shared:
        advice = (
            f"Choose another output folder. Or, while no worker is running, delete {layout.task}/, "
            f"errors/{layout.task}/ and manifest/{layout.task}/ of this one."
        )
    raise OutputError(f"{layout.root} holds {layout.task} of another run ({changes}). {advice}")


def shorten(value: Any) -> str:
    """Return a setting's value for a message, cut if it is long."""
    text = "not set" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def error_of_change(spec: OutputSpec, file: str) -> OutputError:
    """Return the error for an input file that has changed since it was scored."""
    return OutputError(f"{file} has changed since it was scored. {advice_on_change(spec, file)}")


def advice_on_change(spec: OutputSpec, file: str) -> str:
    """Return what the user can do if an input file has changed since it was scored."""
    layout, incremental = spec.layout, setting_name("incremental")
    if not spec.shared and isinstance(layout.root, Path):
        return (
            f"Add {incremental} to score new or changed rows, score the file into another folder, or "
            f"{OVERWRITE}."
        )
    if not spec.shared:
        return f"Score it into another folder, or {OVERWRITE} ({incremental} needs an output on a disk)."
    namesake = ""
    if spec.place_of_namesake(file) is not None:
        namesake = f" If it is another file of that name, set {setting_name('base_dir')} to tell them apart."
    return (
        "Score it into another output folder, or rename the file. Or, while no worker is running, delete its "
        f"old scores: the files with {stem_of(file)} in their names in {layout.task}/, errors/{layout.task}/ "
        f"and manifest/{layout.task}/ of the output.{namesake}"
    )
