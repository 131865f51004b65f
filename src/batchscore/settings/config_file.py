"""Which file holds settings, and what stands in it?

It reads the file and knows no settings: what its keys mean is `configuration`'s business. A flag names it,
else the variable BATCHSCORE_CONFIG, at every door; the command line also takes `batchscore.toml` from the
working folder.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchscore.errors import SettingsError
from batchscore.settings.declare import CONFIG_FILE, CONFIG_VARIABLE


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The settings of a file, by their keys, and what the file was called by whoever named it."""

    name: str = CONFIG_FILE
    settings: Mapping[str, Any] = field(default_factory=dict)


def config_file(
    named: str | None, environ: Mapping[str, str], *, here: bool = False, folders: Sequence[str | Path] = ()
) -> ConfigFile:
    """Return what the file says that was named by flag or variable; nothing where none was.

    `here`: without a name `batchscore.toml` in the working folder counts, where there is one. A relative path
    begins below the first of `folders` in which it leads to a file, else at the working folder. Raises
    `SettingsError` where the file cannot be used.
    """
    by = "--config"
    if named is None:
        named, by = environ.get(CONFIG_VARIABLE, "").strip() or None, CONFIG_VARIABLE
    if named is None and here and Path(CONFIG_FILE).exists():
        named, by = CONFIG_FILE, ""
    if named is None:
        return ConfigFile()
    # An absolute path stays what it is, whatever it is joined to.
    beside = (Path(folder, named) for folder in folders)
    file = next((path for path in beside if path.is_file()), Path(named))
    beside_script = bool(folders) and not file.is_absolute()
    return ConfigFile(named, read(file, f"{by} {named}".lstrip(), beside=beside_script))


def read(file: Path, named: str, *, beside: bool = False) -> dict[str, Any]:
    """Return what stands in a TOML file, which was to be `beside` the script; raises `SettingsError`."""
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415
    else:
        import tomli as tomllib  # noqa: PLC0415

    try:
        settings: dict[str, Any] = tomllib.loads(file.read_text("utf-8-sig"))
    except FileNotFoundError:
        where = " beside the scoring script" if beside else ""
        raise SettingsError(f"{named}: there is no such file{where}.") from None
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise SettingsError(f"{file} is not TOML: {error}.") from None
    return settings
