"""Which deployments does a run use, by its settings and the environment?

It joins the settings, the `[[deployments]]` tables and the rules of `target`, and starts the simulator for a
rehearsal. It sends nothing.
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
from batchscore.settings.slices import EndpointSettings

#: The settings that a table of `[[deployments]]` may replace; its own limits replace none.
_OF_A_TABLE = ("model", "deployment", "endpoint", "api_version", "auth", "api_key_from")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one deployment is, and its limits per minute if they are known."""

    name: str
    target: Target
    rpm: float | None = None
    tpm: float | None = None

    @property
    def quota_name(self) -> str:
        """The name that distinguishes its quota from others. Secret: it holds the key."""
        return f"{self.target.url} {self.target.body_model} {self.target.key}"


def endpoints_of(
    settings: EndpointSettings, environ: Mapping[str, str], origins: Mapping[str, str] | None
) -> list[Endpoint]:
    """Return the endpoints of a run: one deployment, or several.

    `origins` says for some settings where their values come from, such as a variable or a file.
    """
    return [
        endpoint_of(table, settings, environ, origins or {})
        for table in settings.deployments or ({"rpm": settings.rpm, "tpm": settings.tpm},)
    ]


def endpoint_of(
    table: Mapping[str, Any],
    settings: EndpointSettings,
    environ: Mapping[str, str],
    origins: Mapping[str, str],
) -> Endpoint:
    """Return the endpoint of one deployment: its table's values, else those of the settings."""
    variable = table.get("key_variable")
    if variable is not None:
        if not environ.get(variable, "").strip():
            raise SettingsError(f"[[deployments]] names {variable} as key_variable, but it is not set.")
        environ = {**environ, "BATCHSCORE_API_KEY": environ[variable]}
        # A table's own key takes precedence over the vault of the whole run.
        settings = replace(settings, api_key_from=None)
    settings = replace(settings, **{name: table[name] for name in _OF_A_TABLE if name in table})
    file = origins.get("deployments")
    here = f"[[deployments]] in {file}" if file else "[[deployments]]"
    target = resolve_target(settings, environ, {**origins, **dict.fromkeys(table, here)})
    if variable is not None:
        sources = {
            name: variable if source == "BATCHSCORE_API_KEY" else source
            for name, source in target.sources.items()
        }
        target = replace(target, sources=sources)
    name = table.get("name") or f"{target.body_model} at {urlsplit(target.url).netloc}"
    return Endpoint(name, target, table.get("rpm"), table.get("tpm"))


@contextmanager
def start_simulator(settings: EndpointSettings) -> Iterator[Endpoint | None]:
    """Run the simulator while the block runs, if the settings ask for it; yield its endpoint."""
    if not settings.simulate:
        yield None
        return
    with simulator.start() as running:
        target = resolve_target(
            replace(settings, endpoint=running.endpoint, auth=None, api_key_from=None),
            {"BATCHSCORE_API_KEY": running.key},
        )
        yield Endpoint("the simulator", target, settings.rpm, settings.tpm)
