"""Which setting or variable names the endpoint, and which host, surface, deployment and version does it name?

It sends nothing and knows no keys; it never quotes an unreadable text, which may be a pasted key.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from batchscore.errors import SettingsError, UsageError, setting_name
from batchscore.settings.declare import VARIABLE_PREFIX
from batchscore.settings.secrets import shown_address
from batchscore.task import TASKS, Task

#: For each value the settings (in small letters), the variables and the parts of the endpoint that may give
#: it, in order: the first one that is set (an empty variable is not) and applies wins. The table in
#: `docs/how-to/endpoints.md` says when each applies.
PRECEDENCE: Mapping[str, tuple[str, ...]] = {
    "endpoint": ("endpoint", "AZURE_OPENAI_ENDPOINT", "OPENAI_BASE_URL", "OPENAI_API_BASE"),
    "api_version": ("api_version", "?api-version= of the endpoint", "OPENAI_API_VERSION"),
    "deployment": (
        "deployment",
        "/deployments/ of the endpoint",
        "OPENAI_DEPLOYMENT_NAME",
        "OPENAI_ENGINE",
        "model",
    ),
    "key": ("api_key_from", "BATCHSCORE_API_KEY", "AZURE_OPENAI_API_KEY", "OPENAI_API_KEY"),
}

#: The origin of what a table of deployments sets if it is an argument, and not in a file.
TABLE_ARGUMENT = "[[deployments]]"

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
        for name in PRECEDENCE[value_name]:
            given = self.settings if name.islower() else self.environ
            value = given.get(name) or (more or {}).get(name)
            if value and name not in skip:
                return value, self.origin(name) if name in self.settings else name
        return None, ""

    def origin(self, setting: str) -> str:
        """Return where a setting's value comes from, for messages: the setting, a variable or a file."""
        return self.origins.get(setting, setting_name(setting))

    def is_typed(self, setting: str) -> bool:
        """Whether the user gave a setting as flag, argument or variable; not a file, though it was named."""
        return self.origins.get(setting, TABLE_ARGUMENT) in {
            TABLE_ARGUMENT,
            VARIABLE_PREFIX + setting.upper(),
        }


#: Libraries disagree where a host ends if it holds other characters, so such a host is nobody's.
_NAME = r"[a-z0-9-]+(\.[a-z0-9-]+)*"
#: A host that all resources of a region share (learn.microsoft.com, "Custom subdomain names for Azure AI
#: services", seen 2026-11). It takes keys only.
REGION_HOST = re.compile(_NAME + r"\.api\.cognitive\.(microsoft\.(com|us)|azure\.cn)")
AZURE_HOST = re.compile(
    rf"{_NAME}\.(openai|cognitiveservices|services\.ai)\.azure\.(com|us|cn)|{REGION_HOST.pattern}"
)
#: A project of Foundry, whose own address serves chat only; and the scope of its tokens.
PROJECT = re.compile(r"/api/projects/[^/]+")
PROJECT_SCOPE = "https://ai.azure.com/.default"
#: The end of an address that takes requests of every task: Databricks, SageMaker.
_ANY_TASK = "/invocations"
ML_HOST = re.compile(_NAME + r"\.inference\.ml\.azure\.(com|us|cn)")
OPENAI_HOST = re.compile(rf"({_NAME}\.)?api\.openai\.com")
#: Versions that exist on `/openai/v1/` (as a query) and not on the deployments surface.
_V1_VERSIONS = frozenset({"v1", "preview", "latest"})
#: Names of a user's own machines or networks; plain http with a key is acceptable there.
_OWN_NAMES = (".local", ".localhost", ".internal", ".lan", ".svc", ".svc.cluster.local")

#: End of a service's host → scope of its tokens, if the default does not fit.
SERVICE_SCOPES = {
    ".inference.ml.azure.com": "https://ml.azure.com/.default",
    ".azure.us": "https://cognitiveservices.azure.us/.default",
    ".azure.cn": "https://cognitiveservices.azure.cn/.default",
}
#: End of a Key Vault's host → scope. A vault's token goes only to these hosts and to this machine.
VAULT_SCOPES = {
    ".vault.azure.net": "https://vault.azure.net/.default",
    ".vault.azure.cn": "https://vault.azure.cn/.default",
    ".vault.usgovcloudapi.net": "https://vault.usgovcloudapi.net/.default",
}

UNREADABLE = "not a valid address: check its host and port."


@dataclass(frozen=True, slots=True)
class EndpointUrl:
    """The parts of an endpoint.

    `path` is what comes before `/openai/…`, or the whole base path. `whole` is the path of the requests if
    the endpoint gives all of it, else empty: then it is called as it is.
    """

    split: SplitResult
    source: str
    surface: str
    path: str
    deployment: str | None
    api_version: str | None
    version_source: str
    whole: str = ""

    @property
    def host(self) -> str:
        """The host in lower case."""
        return (self.split.hostname or "").lower()


def endpoint_text(values: Values) -> tuple[str | None, str]:
    """Return the endpoint as it is written and the name of its source; (None, "") if none is set."""
    skip = ("AZURE_OPENAI_ENDPOINT",) if values.api_type in OPENAI_TYPES else ()
    return values.first("endpoint", skip=skip)


def no_endpoint() -> str:
    """Return how an endpoint is set."""
    return (
        f"No endpoint is set. Set {setting_name('endpoint')} (for OpenAI: https://api.openai.com/v1), or the "
        "variable AZURE_OPENAI_ENDPOINT or OPENAI_BASE_URL."
    )


def parse_endpoint(values: Values, task: Task) -> EndpointUrl:
    """Find the endpoint, and the surface, deployment and version that it names."""
    text, source = endpoint_text(values)
    if text is None:
        raise SettingsError(
            f"{no_endpoint()} To rehearse without a service, score with {setting_name('simulate', True)}, or "
            "start `batchscore simulate`."
        )
    split = _split_url(text, source)
    host = (split.hostname or "").lower()
    (path, whole), url_version = _paths(split, source, task), _version_of(split, source)
    deployments = re.fullmatch(r"(.*)/openai/deployments/([^/]+)", path)
    url_deployment = unquote(deployments[2]) if deployments else None
    if "endpoint" in values.settings:
        _require_same(values, "api_version", url_version, source)
        _require_same(values, "deployment", url_deployment, source)

    ends_v1 = path.endswith("/openai/v1")
    has_version = bool(url_version) or "api_version" in values.settings
    on_azure = bool(
        AZURE_HOST.fullmatch(host)
        or deployments
        or source == "AZURE_OPENAI_ENDPOINT"
        or (ends_v1 and (is_loopback(host) or host.endswith(".localhost")))
        or has_version
        or (values.api_type in AZURE_TYPES and (ends_v1 or not re.search(r"/v\d+$", path)))
    )
    if OPENAI_HOST.fullmatch(host) or ML_HOST.fullmatch(host):
        if has_version:
            raise SettingsError(
                f"{source} is {host}, which has no API versions. Leave {setting_name('api_version')} out."
            )
        on_azure = False
    if not on_azure:
        if path == "" and OPENAI_HOST.fullmatch(host):
            whole = ""
        if path == "" or (path == "/score" and ML_HOST.fullmatch(host)):
            path = "/v1"
        return EndpointUrl(split, source, "openai", path, None, None, "", whole)

    # A v1 address has no dated versions, so a variable left over from the other surface is ignored. So is one
    # that is older than the task.
    too_old = values.environ.get("OPENAI_API_VERSION", "")[:10] < task.azure_since[:10]
    version, version_source = values.first(
        "api_version",
        {"?api-version= of the endpoint": url_version},
        skip=("OPENAI_API_VERSION",) if ends_v1 or too_old else (),
    )
    dated = version is not None and version not in _V1_VERSIONS
    if dated and str(version)[:10] < task.azure_since[:10]:
        raise SettingsError(
            f"{version_source} is {version}, but Azure has {task.name} since {task.azure_since}. Leave the "
            "version out to use the v1 API."
        )
    prefix = deployments[1] if deployments else re.sub(r"/openai(/v1)?$", "", path)
    if AZURE_HOST.fullmatch(host) and not prefix:
        whole = ""
    if whole:
        surface = "azure-deployments" if dated or deployments else "azure-v1"
        return EndpointUrl(split, source, surface, prefix, url_deployment, version, version_source, whole)
    if ends_v1 and dated:
        raise SettingsError(
            f"{source} ends in /openai/v1, which has no dated API versions, but {version_source} is "
            f"{version}. Leave the version out, or end the endpoint before /openai."
        )
    if deployments and not dated:
        raise SettingsError(
            f"{source} names a deployment ({url_deployment}), and that address needs an API version. "
            f"Set {setting_name('api_version')} (such as 2024-10-21), or end the endpoint before /openai."
        )
    is_project = PROJECT.fullmatch(prefix) and task.takes_messages and not dated
    if prefix and not is_project and (AZURE_HOST.fullmatch(host) or prefix.endswith("/v1")):
        raise SettingsError(
            f"{source} has the path {shown_address(prefix)}, which Azure OpenAI does not serve for "
            f"{task.name}. For Azure, give {split.scheme}://{split.netloc} alone; for other services, leave "
            "the API version out."
        )
    surface = "azure-deployments" if dated else "azure-v1"
    return EndpointUrl(split, source, surface, prefix, url_deployment, version, version_source)


def _split_url(text: str, source: str) -> SplitResult:
    """Split an address; the errors never quote it, for it may be a pasted key."""
    if re.search(r"[\s\"'`<>{}$\\\x00-\x1f\x7f]", text):
        raise SettingsError(
            f"{source} holds a space, a quote, a placeholder or an unexpanded variable. "
            "It must be an address such as https://NAME.openai.azure.com"
        )
    if "://" not in text:
        raise SettingsError(f"{source} has no scheme. Put https:// in front (http:// for a local server).")
    try:
        split = urlsplit(text)
        port_is_valid = split.port is None or split.port > 0
    except ValueError:
        port_is_valid = False
    if not port_is_valid:
        raise SettingsError(f"{source} is {UNREADABLE}")
    if split.scheme.lower() not in {"http", "https"}:
        raise SettingsError(f"{source} must begin with https:// or http://, not {split.scheme}://.")
    if "@" in split.netloc:
        raise SettingsError(
            f"{source} holds a user name or password. Remove it; a key goes into BATCHSCORE_API_KEY."
        )
    if not split.hostname:
        raise SettingsError(f"{source} has no host.")
    if AZURE_HOST.fullmatch(split.hostname.lower()) and split.scheme.lower() == "http":
        raise SettingsError(f"{source} begins with http://, but Azure serves only https://.")
    return split


def _paths(split: SplitResult, source: str, task: Task) -> tuple[str, str]:
    """Return the base path, and the whole path if it is that of requests, else an empty text."""
    path = re.sub(r"/{2,}", "/", split.path).rstrip("/")
    if path.endswith(_ANY_TASK):
        return path, path
    for other in sorted(TASKS.values(), key=lambda one: -len(one.path)):
        if path.endswith("/" + other.path):
            if other != task:
                raise SettingsError(
                    f"{source} ends in /{other.path}, but the task is {task.name}. Remove that ending."
                )
            return path.removesuffix("/" + other.path), path
    return path, ""


def _version_of(split: SplitResult, source: str) -> str | None:
    query = dict(parse_qsl(split.query, keep_blank_values=True))
    version = query.pop("api-version", "").strip() or None
    if query or split.fragment:
        raise SettingsError(
            f"{source} has more after its path than ?api-version=…; remove it. A key goes into "
            f"BATCHSCORE_API_KEY, another query parameter into {setting_name('query', {'NAME': 'VALUE'})}."
        )
    return version


def _require_same(values: Values, setting: str, in_url: str | None, source: str) -> None:
    value = values.settings.get(setting)
    if value and in_url and value != in_url:
        raise UsageError(
            f"{values.origin(setting)} is {value}, but {source} says {in_url}. Leave one of them out."
        )


def has_origin_of(url: EndpointUrl, text: str | None) -> bool:
    """Whether an endpoint has the same scheme, host and port as another one's text."""
    try:
        return _origin(urlsplit(text or "")) == _origin(url.split)
    except ValueError:
        return False


def _origin(split: SplitResult) -> tuple[str, str | None, int]:
    return split.scheme, split.hostname, split.port or (443 if split.scheme == "https" else 80)


def scope_of_host(host: str, scopes: Mapping[str, str]) -> str | None:
    """Return the scope for a host, `None` if the table has none."""
    is_plain = re.fullmatch(_NAME, host)
    return next((scope for end, scope in scopes.items() if is_plain and host.endswith(end)), None)


def check_token_host(values: Values, url: EndpointUrl, *, azure: bool, what: str) -> None:
    """Refuse to send a token or a vault's secret (`what`) to a host outside Azure that only a file names.

    Raises `SettingsError`.
    """
    listed = url.host in trusted_hosts(values.environ)
    if not (azure or ML_HOST.fullmatch(url.host) or listed or values.is_typed("endpoint")):
        raise SettingsError(
            f"{url.host} is not a host of Azure, and only {url.source} names it, so {what} is not sent "
            f"there. Give the endpoint with {setting_name('endpoint')} or BATCHSCORE_ENDPOINT, or list the "
            "host in the variable BATCHSCORE_TRUSTED_HOSTS."
        )


def trusted_hosts(environ: Mapping[str, str]) -> set[str]:
    """Return the hosts outside Azure that the user lets get tokens, in lower case."""
    return {host.strip() for host in environ.get("BATCHSCORE_TRUSTED_HOSTS", "").lower().split(",")}


def is_loopback(host: str) -> bool:
    """Whether a host is this machine; only names that cannot be resolved elsewhere count."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_plain_http(url: EndpointUrl, environ: Mapping[str, str]) -> None:
    """Refuse to send a key unencrypted over a public network."""
    host = url.host
    try:
        own = not ipaddress.ip_address(host).is_global
    except ValueError:
        own = "." not in host or host.endswith(_OWN_NAMES)
    if url.split.scheme.lower() == "http" and not own and not environ.get("BATCHSCORE_ALLOW_PLAIN_HTTP"):
        raise SettingsError(
            f"{url.source} begins with http://, so the key would go to {host} unencrypted. Use "
            "https://, or set BATCHSCORE_ALLOW_PLAIN_HTTP=1 if the network is your own."
        )
