"""Which command of `batchscore finetune` does a message offer, so that it works when it is copied?"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from batchscore.settings.declare import as_flag
from batchscore.settings.secrets import shown_words
from batchscore.stores.address import command_word, shell_command

#: Commands that call no service, and those that can call Azure Resource Manager.
_LOCAL = frozenset({"prepare", "check"})
_OF_RESOURCE = frozenset({"plan", "deploy", "list", "clean"})


@dataclass(frozen=True, slots=True)
class GivenFlags:
    """Flags of this command that others need, too: of the service, of Azure's management, and of `start`."""

    service: tuple[str, ...] = ()
    resource: tuple[str, ...] = ()
    start: tuple[str, ...] = ()


#: What the user gave to the command that runs. The door sets it; messages are made everywhere.
GIVEN: ContextVar[GivenFlags] = ContextVar("given")


def finetune_command(action: str, folder: object = None, *more: str) -> str:
    """Return a command, of a folder if one is named, with the flags that reach the same service."""
    given = GIVEN.get(GivenFlags())
    place = () if folder is None else (command_word(str(folder)),)
    service = () if action in _LOCAL else given.service
    resource = given.resource if action in _OF_RESOURCE else ()
    more = (*more, *given.start) if action == "start" else more
    return shell_command(shown_words(["batchscore", "finetune", action, *place, *more, *service, *resource]))


def how_to(purpose: str, command: str) -> str:
    """Return the sentence that offers a command; only the user can choose a base model."""
    choose = "choose a base model for MODEL, and " if "-m MODEL" in command else ""
    return f"{purpose}, {choose}run: {command}"


def removal_command(folder: object, deployment: str) -> str:
    """Return the command that removes a deployment, and nothing else of its folder."""
    return finetune_command("clean", folder, as_flag("deployment"), deployment, "--yes")
