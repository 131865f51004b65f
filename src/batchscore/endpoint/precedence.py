"""Which flag or variable gives a setting of the endpoint its value?

It knows names and their order, not what the values mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from batchscore.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Place:
    """One place where a setting can stand: a flag, a variable or the endpoint's own text."""

    name: str
    remark: str = ""


#: Which place wins: of each setting the first one that is set (an empty variable is not) and applies.
#: `docs/how-to/endpoints.md` prints this table, a test compares the two.
PLACES: Mapping[str, tuple[Place, ...]] = {
    "endpoint": (
        Place("--endpoint"),
        Place("AZURE_OPENAI_ENDPOINT", "unless `OPENAI_API_TYPE` is `open_ai`"),
        Place("OPENAI_BASE_URL"),
        Place("OPENAI_API_BASE"),
    ),
    "api_version": (
        Place("--api-version"),
        Place("?api-version= of the endpoint"),
        Place("OPENAI_API_VERSION", "Azure only; not for an endpoint that ends in `/openai/v1`"),
    ),
    "deployment": (
        Place("--deployment"),
        Place("/deployments/ of the endpoint"),
        Place("OPENAI_DEPLOYMENT_NAME", "Azure only"),
        Place("OPENAI_ENGINE", "Azure only"),
        Place("--model"),
    ),
    "key": (
        Place("--api-key-from", "a Key Vault's secret; to any endpoint"),
        Place("BATCHSCORE_API_KEY", "to any endpoint"),
        Place("AZURE_OPENAI_API_KEY", "only to Azure's hosts and the host in `AZURE_OPENAI_ENDPOINT`"),
        Place(
            "OPENAI_API_KEY",
            "only to api.openai.com and the hosts in `OPENAI_BASE_URL` and `OPENAI_API_BASE`; "
            "with `OPENAI_API_TYPE=azure` it is an Azure key",
        ),
    ),
    "auth": (
        Place("--auth", "`key`, `entra` or `none`"),
        Place("--api-key-from", "→ key"),
        Place("BATCHSCORE_API_KEY", "→ key"),
        Place("OPENAI_API_TYPE", "`azure_ad`, `azuread` → Entra ID (Azure only)"),
        Place("AZURE_OPENAI_AD_TOKEN", "→ this token, as it is (Azure only)"),
        Place("any key of the row above", "→ key"),
        Place("no key", "→ none; an error for Azure, Azure ML and OpenAI"),
    ),
}

AZURE_TYPES = frozenset({"azure", "azure_ad", "azuread"})
ENTRA_TYPES = frozenset({"azure_ad", "azuread"})
OPENAI_TYPES = frozenset({"open_ai", "openai"})
_KNOWN_TYPES = AZURE_TYPES | OPENAI_TYPES


def precedence_table() -> str:
    """Give `PLACES` as the Markdown table of the docs."""
    lines = ["| setting | first of these that is set |", "| --- | --- |"]
    for setting, places in PLACES.items():
        cells = [
            (f"`{place.name}`" if " " not in place.name else place.name)
            + (f" ({place.remark})" if place.remark else "")
            for place in places
        ]
        lines.append(f"| {setting.replace('_', ' ')} | {'<br>'.join(cells)} |")
    return "\n".join(lines)


class Given:
    """The settings and variables, looked up in the order of `PLACES`."""

    def __init__(
        self, flags: Mapping[str, str | None], environ: Mapping[str, str], named: Mapping[str, str]
    ) -> None:
        self.flags = {name: value.strip() for name, value in flags.items() if value and value.strip()}
        self.environ = {name: value.strip() for name, value in environ.items() if value.strip()}
        self.named = named
        self.api_type = self.environ.get("OPENAI_API_TYPE", "").lower()
        if self.api_type and self.api_type not in _KNOWN_TYPES:
            raise SettingsError(
                f"OPENAI_API_TYPE is {self.api_type!r}; it may be azure, azure_ad or open_ai (or unset)."
            )

    def first(
        self, setting: str, more: Mapping[str, str | None] | None = None, skip: tuple[str, ...] = ()
    ) -> tuple[str | None, str]:
        """Give the value that wins and the name of its place; (None, "") if nothing is set."""
        for place in PLACES[setting]:
            value = self.flags.get(place.name) or self.environ.get(place.name) or (more or {}).get(place.name)
            if value and place.name not in skip:
                return value, self.called(place.name)
        return None, ""

    def called(self, flag: str) -> str:
        """Return where a flag's value came from: the flag itself, a variable or a file."""
        return self.named.get(flag.removeprefix("--").replace("-", "_"), flag)
