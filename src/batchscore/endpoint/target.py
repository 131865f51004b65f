"""Which deployments does a run use, where do their requests go, and with which headers?

It sends nothing and knows no rows. It is pure except for the `openai` SDK, which builds the base address, the
query and the headers. All of the SDK's arguments are given, so that it reads nothing else. For a rehearsal it
starts the simulator.

Facts of the field (learn.microsoft.com, Azure OpenAI "API version lifecycle", seen 2026-11; the SDK's own
requests, compared in tests/endpoint/test_target.py):

- Azure serves two surfaces: `/openai/deployments/{deployment}/{task}?api-version=<date>` with the key in an
  `api-key` header, and `/openai/v1/{task}` without a dated version, where the deployment is the body's
  `model` and the SDK's ordinary client puts the key into `Authorization: Bearer`.
- Most others (vLLM, Ollama, Text Embeddings Inference, OpenAI) serve `/v1/{task}` the same way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from batchscore import simulator
from batchscore.endpoint.key_vault import VaultSecret, vault_secret
from batchscore.endpoint.url import (
    AZURE_HOST,
    AZURE_TYPES,
    ENTRA_TYPES,
    ML_HOST,
    OPENAI_HOST,
    OPENAI_TYPES,
    TABLE_ARGUMENT,
    UNREADABLE,
    EndpointUrl,
    Values,
    check_plain_http,
    check_token_host,
    has_origin_of,
    parse_endpoint,
)
from batchscore.errors import SettingsError, UsageError, name_settings, setting_name
from batchscore.settings.slices import EndpointSettings
from batchscore.version import VERSION

#: Headers that are never taken from `OPENAI_CUSTOM_HEADERS`: credentials and framing.
_NOT_CUSTOM = frozenset(
    {"authorization", "api-key", "host", "connection", "content-length", "content-type", "transfer-encoding"}
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where the requests of one task go. `key` and `headers` may be secret; its repr shows only the rest."""

    #: The full address, with `?api-version=` if the surface has one.
    url: str
    #: Everything but authorization.
    headers: Mapping[str, str] = field(repr=False)
    #: The body's `model`: the deployment's name on Azure. Sent on every surface, as the SDK does.
    body_model: str
    #: `azure-deployments`, `azure-v1` or `openai`.
    surface: str
    #: `key`, `entra` or `none`.
    auth: str
    #: `api-key` (deployments surface) or `Authorization` (the value then starts with `Bearer `).
    key_header: str
    #: The key; with `auth="entra"` a token from a variable, or None: then it is fetched.
    key: str | None = field(default=None, repr=False)
    #: The Key Vault secret that holds the key; then `auth` is `key`, and `key` is None.
    key_from: VaultSecret | None = None
    #: What to say of key variables that are set but not sent, if the service refuses the credentials.
    unused_keys: str = ""
    #: For endpoint, api_version, deployment, key and auth, if set: the name of the source that won.
    sources: Mapping[str, str] = field(default_factory=dict)


def resolve_target(
    settings: EndpointSettings, environ: Mapping[str, str], origins: Mapping[str, str] | None = None
) -> Target:
    """Decide where the requests of a task go.

    `origins` says for some settings where their values come from ("BATCHSCORE_ENDPOINT", "batchscore.toml").
    Raises `SettingsError` for unusable values, `UsageError` for settings that contradict each other; neither
    quotes a secret.
    """
    names = ("endpoint", "api_version", "deployment", "model", "auth", "api_key_from")
    values = Values({name: getattr(settings, name) for name in names}, environ, origins or {})
    url = parse_endpoint(values, settings.task)
    surface = url.surface
    name, name_source = values.first(
        "deployment",
        {"/deployments/ of the endpoint": url.deployment},
        skip=() if surface != "openai" else ("OPENAI_DEPLOYMENT_NAME", "OPENAI_ENGINE"),
    )
    if name is None:
        raise SettingsError(
            f"No model is set. Set {setting_name('model')} (on Azure also {setting_name('deployment')})."
        )
    kind, key, credential = _credential(values, url)
    # This setting holds the address of the key, not the key.
    in_vault = values.settings.get("api_key_from")
    emulator = values.is_typed("api_key_from")
    key_from = vault_secret(in_vault, source=credential["key"], emulator=emulator) if in_vault else None
    if kind != "none":
        check_plain_http(url, environ)

    custom = dict(_custom_headers(environ))
    try:
        base, query, headers = _ask_sdk(url, name, environ)
    except ImportError:
        raise
    except Exception:
        # Its HTTP library is stricter than `urllib`, and the exception's name differs between versions.
        raise SettingsError(f"{url.source} is {UNREADABLE}") from None
    replaced = {name.lower() for name in custom}
    headers = {name: value for name, value in headers.items() if name.lower() not in replaced} | custom
    sources = {"endpoint": url.source, "api_version": url.version_source, "deployment": name_source}
    return Target(
        url=base + settings.task.path + ("?" + urlencode(query) if query else ""),
        headers=headers,
        body_model=name,
        surface=surface,
        auth=kind,
        key_header="api-key" if surface == "azure-deployments" and kind == "key" else "Authorization",
        key=key if key_from is None else None,
        key_from=key_from,
        unused_keys=unused_keys_text(values, url),
        sources={
            value_name: name_settings(source)
            for value_name, source in {**sources, **credential}.items()
            if source and (value_name != "api_version" or url.api_version)
        },
    )


def _kind_of_host(values: Values, url: EndpointUrl) -> tuple[bool, bool]:
    """Return whether the host is OpenAI's, and whether it is Azure's or that of Azure's variable."""
    openai = bool(OPENAI_HOST.fullmatch(url.host))
    of_variable = has_origin_of(url, values.environ.get("AZURE_OPENAI_ENDPOINT"))
    return openai, not openai and (bool(AZURE_HOST.fullmatch(url.host)) or of_variable)


def _withheld_keys(values: Values, url: EndpointUrl) -> list[str]:
    """Return the key variables that belong to other services than this host's."""
    openai_host, azure_host = _kind_of_host(values, url)
    sister = any(
        has_origin_of(url, values.environ.get(name)) for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE")
    )
    if values.api_type in AZURE_TYPES:
        openai_key_fits = azure_host or (sister and not openai_host)
    elif values.api_type in OPENAI_TYPES:
        openai_key_fits = openai_host or (sister and not azure_host)
    else:
        openai_key_fits = openai_host or sister
    withheld = [] if azure_host else ["AZURE_OPENAI_API_KEY"]
    return withheld + ([] if openai_key_fits else ["OPENAI_API_KEY"])


def unused_keys_text(values: Values, url: EndpointUrl) -> str:
    """Return a sentence about key variables that are set but belong to another service; empty if none are."""
    unused = [name for name in _withheld_keys(values, url) if name in values.environ]
    if not unused:
        return ""
    are, belong = ("is", "belongs") if len(unused) == 1 else ("are", "belong")
    return f"{' and '.join(unused)} {are} set, but {belong} to another service and {are} not sent there."


def _credential(values: Values, url: EndpointUrl) -> tuple[str, str | None, dict[str, str]]:
    """Decide how the requests authenticate: (auth, key, sources).

    A provider's key variable goes only to that provider's own hosts and to the host that its sister variable
    names; only BATCHSCORE_API_KEY goes to any endpoint.
    """
    host, environ = url.host, values.environ
    openai_host, azure_host = _kind_of_host(values, url)
    withheld = _withheld_keys(values, url)
    key, key_source = values.first("key", skip=tuple(withheld))
    auth, auth_source = values.settings.get("auth", "").lower(), values.origin("auth")
    if auth not in {"", "key", "entra", "none"}:
        raise UsageError(f"{auth_source} is {auth!r}. It must be key, entra or none.")

    in_vault = "api_key_from" in values.settings
    if in_vault and auth in {"entra", "none"}:
        raise UsageError(f"{key_source} names a key, but {auth_source} is {auth}. Give only one of them.")
    if in_vault:
        check_token_host(values, url, azure=azure_host, what="a Key Vault secret")
    on_azure = url.surface != "openai"
    if not auth and not in_vault and key_source != "BATCHSCORE_API_KEY" and on_azure:
        if values.api_type in ENTRA_TYPES:
            auth, auth_source = "entra", "OPENAI_API_TYPE"
        elif azure_host and "AZURE_OPENAI_AD_TOKEN" in environ:
            auth, auth_source = "entra", "AZURE_OPENAI_AD_TOKEN"
    if auth == "entra":
        if openai_host:
            raise SettingsError(f"{host} does not accept Entra ID tokens. Use a key.")
        check_token_host(values, url, azure=azure_host, what="an Entra ID token")
        token, token_source = _token_from_variable(values, key, key_source) if azure_host else (None, "")
        return "entra", token, {"auth": auth_source} | ({"key": token_source} if token else {})
    key_optional = not (azure_host or openai_host or ML_HOST.fullmatch(host))
    if auth == "none" or (not auth and not key and key_optional):
        return "none", None, {"auth": auth_source if auth else "no key"}
    if not key:
        raise SettingsError(_no_key(url, values, azure=azure_host, openai=openai_host))
    if not re.fullmatch(r"[!-~]+", key):
        raise SettingsError(f"{key_source} holds a space or a character that no key has. Copy it again.")
    return "key", key, {"key": key_source, "auth": auth_source if auth else key_source}


def _token_from_variable(values: Values, key: str | None, key_source: str) -> tuple[str | None, str]:
    """Return a token that a variable holds, and the variable; the old samples put it into OPENAI_API_KEY."""
    token, source = values.environ.get("AZURE_OPENAI_AD_TOKEN"), "AZURE_OPENAI_AD_TOKEN"
    if values.api_type in ENTRA_TYPES and not token and key_source == "OPENAI_API_KEY":
        # A key left in the variable is not a token; a token is a JWT, which begins with `{"` in base64.
        token, source = (key if key and key.startswith("eyJ") else None), key_source
    if token and not re.fullmatch(r"[!-~]+", token):
        raise SettingsError(f"{source} holds a space or a character that no token has. Copy it again.")
    return token, source


def _no_key(url: EndpointUrl, values: Values, *, azure: bool, openai: bool) -> str:
    """Return the message for a missing key."""
    ways = ["BATCHSCORE_API_KEY"]
    ways += ["AZURE_OPENAI_API_KEY"] if azure else []
    ways += ["OPENAI_API_KEY"] if openai else []
    message = f"No key is set for {url.host}. Put it into the variable {' or '.join(ways)}"
    message += "." if openai else f", or use Entra ID ({setting_name('auth')} entra)."
    unused = unused_keys_text(values, url)
    return f"{message} {unused}".rstrip()


def _ask_sdk(
    url: EndpointUrl, deployment: str, environ: Mapping[str, str]
) -> tuple[str, dict[str, str], dict[str, str]]:
    """Let the official SDK build the base address, query and headers (its public properties)."""
    # Half a second of imports, so not at the top of a module.
    from openai import AzureOpenAI, DefaultHttpxClient, OpenAI  # noqa: PLC0415

    root = f"{url.split.scheme}://{url.split.netloc}{url.path}"
    # It sends nothing, so proxies and certificates, which are slow to load, are not needed.
    with DefaultHttpxClient(trust_env=False, verify=False) as unused:
        client: OpenAI
        if url.surface == "azure-deployments":
            client = AzureOpenAI(
                azure_endpoint=root,
                azure_deployment=quote(deployment, safe=""),
                api_version=url.api_version,
                api_key="-",
                http_client=unused,
            )
        else:
            query = {"api-version": url.api_version} if url.api_version not in {None, "v1"} else None
            client = OpenAI(
                base_url=root + ("/openai/v1" if url.surface == "azure-v1" else ""),
                default_query=query,
                api_key="-",
                http_client=unused,
            )
        # Set afterwards, so that they come from `environ` and not from the process's own variables.
        client.organization = environ.get("OPENAI_ORG_ID", "").strip() or None
        client.project = environ.get("OPENAI_PROJECT_ID", "").strip() or None
        built: dict[str, object] = {name.lower(): value for name, value in client.default_headers.items()}
        headers = {
            name: str(built[name.lower()])
            for name in ("Accept", "Content-Type", "OpenAI-Organization", "OpenAI-Project")
            if isinstance(built.get(name.lower()), str)
        }
        headers["User-Agent"] = f"batchscore/{VERSION} {built['user-agent']}"
        base = str(client.base_url)
        parameters = {name: str(value) for name, value in client.default_query.items()}
    return base, parameters, headers


def _custom_headers(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Read OPENAI_CUSTOM_HEADERS as the SDK does (`Name: value` lines), but no credentials from it."""
    for line in environ.get("OPENAI_CUSTOM_HEADERS", "").splitlines():
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or not name or name.lower() in _NOT_CUSTOM:
            continue
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or not re.fullmatch(r"[ -~\t]*", value):
            raise SettingsError("OPENAI_CUSTOM_HEADERS holds a line that is not `Name: value` in ASCII.")
        yield name, value


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
    here = f"{TABLE_ARGUMENT} in {file}" if file else TABLE_ARGUMENT
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
