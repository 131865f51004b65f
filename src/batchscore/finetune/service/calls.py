"""How does a command reach the service that trains, and how long does it wait for it?"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from batchscore.endpoint.gateway import filled
from batchscore.endpoint.target import Target
from batchscore.endpoint.url import is_loopback
from batchscore.errors import SettingsError, UsageError, setting_name
from batchscore.finetune.state import TrainingState
from batchscore.provider.client import (
    CallPace,
    ControlPlane,
    control_address,
    failing_as_error,
    open_control_plane,
)
from batchscore.settings.checks import REFERENCE
from batchscore.settings.declare import as_flag
from batchscore.settings.secrets import shown_address
from batchscore.task import CHAT

#: What files are uploaded for, and what their results are for.
PURPOSE, RESULTS_PURPOSE = "fine-tune", "fine-tune-results"

#: A command that a person waits for.
PATIENT = CallPace(patience_seconds=120.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class CallLimits:
    """How long a command waits, in seconds, and how much it sends at a time; tests make all of it smaller.

    `look`: between two looks at a job. `look_again`: until a job that may have been made is looked for again,
    for a list may lag. `settle`: until a call is repeated that the service refused for now. A file of more
    than `parts_from` bytes is sent in parts of `part_bytes`.
    """

    look: float = 10.0
    look_again: tuple[float, ...] = (30.0, 120.0)
    settle: float = 5.0
    pace: CallPace = PATIENT
    parts_from: int = 64 * 2**20
    part_bytes: int = 32 * 2**20


#: The limits for real services.
USUAL = CallLimits()


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPlace:
    """A prepared folder and the service that trains on it."""

    folder: Path
    target: Target
    environ: Mapping[str, str]
    limits: CallLimits = USUAL

    def calls(self) -> AbstractAsyncContextManager[ControlPlane]:
        """Return the calls to the service; one that fails is the error that ends the command."""
        return failing_as_error(open_control_plane(self.target, CHAT, self.environ, self.limits.pace))


def host_of(target: Target) -> str:
    """Return the host of a service, as it is recorded."""
    return urlsplit(target.url).netloc.rpartition("@")[2]


def address_above(target: Target) -> str:
    """Return the address above the files and jobs of a service, as it is recorded."""
    return shown_address(control_address(target, CHAT)[0])


def address_of(state: TrainingState, version: str | None) -> list[str]:
    """Return flags for the service of a folder; `version` is the API version that is set.

    Earlier versions have recorded only the host and the dialect of the service.
    """
    scheme = "http" if is_loopback(urlsplit(f"//{state.endpoint}").hostname or "") else "https"
    path = "/openai/v1" if state.dialect == "azure-v1" else ""
    address = state.address or f"{scheme}://{state.endpoint}{path}"
    dated = [] if version or state.dialect != "azure-dated" else [as_flag("api_version"), "2024-10-21"]
    return [as_flag("endpoint"), address, *dated]


def require_endpoint(state: TrainingState, target: Target, folder: object) -> None:
    """Raise `SettingsError` if what was started from a folder is at another service."""
    if state.endpoint != host_of(target):
        raise SettingsError(
            f"The files and the job of {folder} are at {state.shown_endpoint}, and "
            f"{setting_name('endpoint')} is {address_above(target)}. Name that service, or prepare a new "
            "folder for this one."
        )


def import_url(option: str, text: str, environ: Mapping[str, str]) -> str:
    """Return the URL that a service fetches a file from, with its variables replaced; it is secret.

    Raises `UsageError` for one with a query or a user in plain text, for they may be secret: other users see
    the words of a command.
    """
    plain = REFERENCE.sub("", text)
    if "?" in plain or "@" in plain:
        raise UsageError(
            f"{option} has a query (?) or a user (@), which other users of this machine can see. Put the URL "
            f"into a variable, and name it: {option} '${{TRAINING_URL}}'"
        )
    return filled(option, {"url": text}, environ)["url"]
