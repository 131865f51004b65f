"""Where do the requests of a run go, and what signs them, in words? Every run says so first.

It shows hosts and the names of settings, variables and vaults, never a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from urllib.parse import urlsplit

from batchscore.endpoint.target import Endpoint, Target
from batchscore.errors import setting_name
from batchscore.settings.slices import EndpointSettings

#: Endpoints that are listed; of more only the number is given.
MOST_LISTED = 5

#: Sources that are settings, which each door words.
_SETTINGS = frozenset(each.name for each in fields(EndpointSettings))


def destination_text(endpoints: Sequence[Endpoint], config: str | None) -> str:
    """Return the sentence about a run's endpoints (the simulator if there are none) and its settings file."""
    listed = [target_text(each.target) for each in endpoints[:MOST_LISTED]]
    if len(endpoints) > MOST_LISTED:
        listed.append(f"and {len(endpoints) - MOST_LISTED:,} more")
    where = "; ".join(listed) or "the simulator on this machine"
    return f"Requests go to {where}. Settings file: {config or 'none'}."


def target_text(target: Target) -> str:
    """Return where one deployment's requests go, and what signs them."""
    split = urlsplit(target.url)
    source = target.sources.get("endpoint", "")
    if target.key_from is not None:
        signed = f"a key from {target.key_from.url}"
    elif target.auth == "none":
        signed = "no key"
    else:
        kind = "the key in" if target.auth == "key" else "the Entra ID token in"
        variable = target.sources.get("key")
        signed = f"{kind} {variable}" if variable else "an Entra ID token"
    by = setting_name(source) if source in _SETTINGS else source
    return f"{split.scheme}://{split.netloc} ({by}) with {signed}"
