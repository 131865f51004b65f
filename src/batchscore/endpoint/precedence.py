"""Which setting or variable gives a value of the endpoint?

It knows names and their order, not what the values mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from batchscore.errors import SettingsError, setting_name


@dataclass(frozen=True, slots=True)
class ValueSource:
    """One place that may hold a value: a setting, a variable or the endpoint's own text."""

    name: str
    remark: str = ""
    is_setting: bool = False


def _setting(name: str, remark: str = "") -> ValueSource:
    return ValueSource(name, remark, is_setting=True)


#: For each value the sources in order: the first one that is set (an empty variable is not) and applies wins.
#: `docs/how-to/endpoints.md` prints this table; a test compares the two.
PRECEDENCE: Mapping[str, tuple[ValueSource, ...]] = {
    "endpoint": (
        _setting("endpoint"),
        ValueSource("AZURE_OPENAI_ENDPOINT", "unless `OPENAI_API_TYPE` is `open_ai`"),
        ValueSource("OPENAI_BASE_URL"),
        ValueSource("OPENAI_API_BASE"),
    ),
    "api_version": (
        _setting("api_version"),
        ValueSource("?api-version= of the endpoint"),
        ValueSource("OPENAI_API_VERSION", "Azure only; not for an endpoint that ends in `/openai/v1`"),
    ),
    "deployment": (
        _setting("deployment"),
        ValueSource("/deployments/ of the endpoint"),
        ValueSource("OPENAI_DEPLOYMENT_NAME", "Azure only"),
        ValueSource("OPENAI_ENGINE", "Azure only"),
        _setting("model"),
    ),
    "key": (
        _setting("api_key_from", "a Key Vault's secret; to any endpoint"),
        ValueSource("BATCHSCORE_API_KEY", "to any endpoint"),
        ValueSource("AZURE_OPENAI_API_KEY", "only to Azure's hosts and the host in `AZURE_OPENAI_ENDPOINT`"),
        ValueSource(
            "OPENAI_API_KEY",
            "only to api.openai.com and the hosts in `OPENAI_BASE_URL` and `OPENAI_API_BASE`; "
            "with `OPENAI_API_TYPE=azure` it is an Azure key",
        ),
    ),
    "auth": (
        _setting("auth", "`key`, `entra` or `none`"),
        _setting("api_key_from", "→ key"),
        ValueSource("BATCHSCORE_API_KEY", "→ key"),
        ValueSource("OPENAI_API_TYPE", "`azure_ad`, `azuread` → Entra ID (Azure only)"),
        ValueSource("AZURE_OPENAI_AD_TOKEN", "→ this token, as it is (Azure only)"),
        ValueSource("any key of the row above", "→ key"),
        ValueSource("no key", "→ none; an error for Azure, Azure ML and OpenAI"),
    ),
}

AZURE_TYPES = frozenset({"azure", "azure_ad", "azuread"})
ENTRA_TYPES = frozenset({"azure_ad", "azuread"})
OPENAI_TYPES = frozenset({"open_ai", "openai"})


class Values:
    """The settings and variables of one endpoint, looked up in the order of `PRECEDENCE`.

    `origins` says for some settings where their values come from, such as a variable or a file.
    """

    def __init__(
        self, settings: Mapping[str, str | None], environ: Mapping[str, str], origins: Mapping[str, str]
    ) -> None:
        self.settings = {name: value.strip() for name, value in settings.items() if value and value.strip()}
        self.environ = {name: value.strip() for name, value in environ.items() if value.strip()}
        self.origins = origins
        self.api_type = self.environ.get("OPENAI_API_TYPE", "").lower()
        if self.api_type and self.api_type not in AZURE_TYPES | OPENAI_TYPES:
            raise SettingsError(
                f"OPENAI_API_TYPE is {self.api_type!r}. It must be azure, azure_ad or open_ai, or unset."
            )

    def first(
        self, value_name: str, more: Mapping[str, str | None] | None = None, skip: tuple[str, ...] = ()
    ) -> tuple[str | None, str]:
        """Return the value that wins and the name of its source; (None, "") if none is set.

        `more` gives values by the names of sources in the endpoint's own text.
        """
        for source in PRECEDENCE[value_name]:
            name = source.name
            value = self.settings.get(name) if source.is_setting else self.environ.get(name)
            value = value or (more or {}).get(name)
            if value and name not in skip:
                return value, self.origin(name) if source.is_setting else name
        return None, ""

    def origin(self, setting: str) -> str:
        """Return where a setting's value comes from, for messages: the setting, a variable or a file."""
        return self.origins.get(setting, setting_name(setting))
