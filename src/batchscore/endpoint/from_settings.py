"""Which deployments does a run ask, by its settings and the environment?

It joins the settings, the `[[deployments]]` tables and the rules of `request.endpoint`, and starts the
simulator where a rehearsal was asked for. It sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from batchscore import simulator
from batchscore.endpoint.target import Target, resolve_target
from batchscore.errors import SettingsError
from batchscore.settings.fields import Settings


def endpoints_of(
    settings: Settings, environ: Mapping[str, str], named: Mapping[str, str] | None
) -> list[Endpoint]:
    """Return where requests go, by the settings and the environment: one deployment, or several."""
    return [
        endpoint_of(table, settings, environ, named)
        for table in settings.deployments or ({"rpm": settings.rpm, "tpm": settings.tpm},)
    ]


def endpoint_of(
    table: Mapping[str, Any],
    settings: Settings,
    environ: Mapping[str, str],
    named: Mapping[str, str] | None,
) -> Endpoint:
    """Return where one deployment is: what its table says, else what the settings say."""
    variable = table.get("key_variable")
    if variable is not None:
        if not environ.get(variable, "").strip():
            raise SettingsError(f"[[deployments]] names {variable} as key_variable, but it is not set.")
        environ = {**environ, "BATCHSCORE_API_KEY": environ[variable]}
    file = (named or {}).get("deployments")
    here = f"[[deployments]] in {file}" if file else "[[deployments]]"
    places = {**(named or {}), **dict.fromkeys(table, here)}
    target = resolve_target(
        task=settings.task,
        model=table.get("model", settings.model),
        deployment=table.get("deployment", settings.deployment),
        endpoint=table.get("endpoint", settings.endpoint),
        api_version=table.get("api_version", settings.api_version),
        auth=table.get("auth", settings.auth),
        # A table's own key counts before the vault of the whole run.
        api_key_from=table.get("api_key_from", None if variable else settings.api_key_from),
        environ=environ,
        named=places,
    )
    if variable is not None:
        called = {"BATCHSCORE_API_KEY": variable}
        sources = {setting: called.get(place, place) for setting, place in target.sources.items()}
        target = replace(target, sources=sources)
    name = table.get("name") or f"{target.body_model} at {urlsplit(target.url).netloc}"
    return Endpoint(name, target, table.get("rpm"), table.get("tpm"))


@contextmanager
def simulated(settings: Settings) -> Iterator[Endpoint | None]:
    """Run the simulator while the block runs, where one was asked for; give where it is."""
    if not settings.simulate:
        yield None
        return
    with simulator.start() as running:
        target = resolve_target(
            task=settings.task,
            model=settings.model,
            deployment=settings.deployment,
            endpoint=running.endpoint,
            api_version=settings.api_version,
            environ={"BATCHSCORE_API_KEY": running.key},
        )
        yield Endpoint("the simulator", target, settings.rpm, settings.tpm)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one deployment is and what it allows a minute, as far as that was said."""

    name: str
    target: Target
    rpm: float | None = None
    tpm: float | None = None

    @property
    def quota_name(self) -> str:
        """What tells its quota from others'. Secret: it holds the key."""
        return f"{self.target.url} {self.target.body_model} {self.target.key}"
