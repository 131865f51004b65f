"""Where do the requests of a run go, and what signs them, in words? Every run says so first.

It shows addresses and the names of settings, variables and vaults, never a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

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
    source = target.sources.get("endpoint", "")
    by = setting_name(source) if source in _SETTINGS else source
    signed = [signed_text(target)]
    for kind, names in target.extras.items():
        if names:
            signed.append(f"the {_EXTRAS[kind]}{'s' if len(names) > 1 else ''} {', '.join(names)}")
    if target.certificate is not None:
        signed.append(f"the client certificate {target.certificate.file}")
    return f"{target.shown_url} ({by}) with {' and '.join(signed)}"


#: What the names in `Target.extras` are.
_EXTRAS = {"header": "header", "query": "query parameter"}


def signed_text(target: Target) -> str:
    """Return which key or token signs the requests."""
    if target.auth == "none":
        chosen = target.sources.get("auth") != "no key"
        unsent = f" ({' and '.join(target.withheld)} not sent to this host)" if target.withheld else ""
        return "no key" if chosen else f"no key{unsent}"
    if target.key_from is not None:
        return f"a key from {target.key_from.url}"
    kinds = {"key": "the key in", "basic": "the user and password in", "entra": "the Entra ID token in"}
    variable = target.sources.get("key")
    return f"{kinds[target.auth]} {variable}" if variable else "an Entra ID token"
