"""Where does a request of this task go, and with which headers?

It must not send anything and must not know rows: it is pure but for the `openai` SDK, which builds the
base address, the query and the headers from arguments that are all given, so that nothing else is read.

Facts of the field (learn.microsoft.com, Azure OpenAI "API version lifecycle", seen 2026-11; the SDK's own
requests, compared in tests/request/test_endpoint.py):

- Azure serves two surfaces: `/openai/deployments/{deployment}/{task}?api-version=<date>` with the key in an
  `api-key` header, and `/openai/v1/{task}` without a dated version, where the deployment is the body's
  `model` and the SDK's ordinary client puts the key into `Authorization: Bearer`.
- Most others (vLLM, Ollama, Text Embeddings Inference, OpenAI) serve `/v1/{task}` the same way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from batchscore.endpoint.key_vault import VaultSecret, vault_secret
from batchscore.endpoint.precedence import AZURE_TYPES, ENTRA_TYPES, OPENAI_TYPES, Given
from batchscore.endpoint.url import (
    AZURE_HOST,
    OPENAI_HOST,
    TASK_PATHS,
    UNREADABLE,
    Address,
    check_plain_http,
    is_azure_ml,
    names_origin_of,
    take_apart,
)
from batchscore.errors import SettingsError, UsageError
from batchscore.version import VERSION

#: Headers of `OPENAI_CUSTOM_HEADERS` that are never ours to take from there: credentials and framing.
_NOT_CUSTOM = frozenset(
    {"authorization", "api-key", "host", "connection", "content-length", "content-type", "transfer-encoding"}
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where the requests of one task go. `key` and `headers` may be secret; the rest may be shown."""

    #: The whole address, with `?api-version=` where the surface has one.
    url: str
    #: Everything but authorization.
    headers: Mapping[str, str]
    #: What the body calls `model`: the deployment's name on Azure. Sent on every surface, as the SDK does.
    body_model: str
    #: `azure-deployments`, `azure-v1` or `openai`.
    surface: str
    #: `key`, `entra` or `none`.
    auth: str
    #: `api-key` (deployments surface) or `Authorization` (the value then starts with `Bearer `).
    key_header: str
    #: The key; with `auth="entra"` a token given by hand, or None: then it is fetched.
    key: str | None = None
    #: The Key Vault secret that holds the key; then `auth` is `key`, and `key` is None.
    key_from: VaultSecret | None = None
    #: Of endpoint, api_version, deployment, key and auth, as far as set: the name of the place that won.
    sources: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        key = None if self.key is None else "***"
        return f"Target({self.url!r}, surface={self.surface!r}, auth={self.auth!r}, key={key!r})"


def resolve_target(
    *,
    task: str,
    model: str | None,
    deployment: str | None = None,
    endpoint: str | None = None,
    api_version: str | None = None,
    auth: str | None = None,
    api_key_from: str | None = None,
    environ: Mapping[str, str],
    named: Mapping[str, str] | None = None,
) -> Target:
    """Decide where the requests of `task` go.

    The settings are already merged (flag, `BATCHSCORE_…`, file); `named` tells where each of them came from
    ("BATCHSCORE_ENDPOINT", "batchscore.toml"), else they are called by their flags. Raises SettingsError for
    what cannot be used, UsageError for flags that contradict each other; neither quotes a secret.
    """
    if task not in TASK_PATHS:
        raise UsageError(f"The task is {task!r}, but only {', '.join(TASK_PATHS)} exist.")
    given = Given(
        {
            "--endpoint": endpoint,
            "--api-version": api_version,
            "--deployment": deployment,
            "--model": model,
            "--auth": auth,
            "--api-key-from": api_key_from,
        },
        environ,
        named or {},
    )
    address = take_apart(given, task)
    surface = address.surface
    api = address.api_version
    name, name_place = given.first(
        "deployment",
        {"/deployments/ of the endpoint": address.deployment},
        skip=() if surface != "openai" else ("OPENAI_DEPLOYMENT_NAME", "OPENAI_ENGINE"),
    )
    if name is None:
        raise SettingsError("No model is named. Name one with --model (on Azure also with --deployment).")
    kind, key, credential = _credential(given, address)
    # What the setting holds is where the key is, not the key.
    in_vault = given.flags.get("--api-key-from")
    key_from = vault_secret(in_vault, place=credential["key"]) if in_vault else None
    if kind != "none":
        check_plain_http(address, environ)

    custom = dict(_custom_headers(environ))
    try:
        base, query, headers = _ask_sdk(address, name, environ)
    except ImportError:
        raise
    except Exception:
        # Its HTTP library reads addresses more strictly than `urllib`, and its name changes with the version.
        raise SettingsError(f"{address.source} is {UNREADABLE}") from None
    replaced = {name.lower() for name in custom}
    headers = {name: value for name, value in headers.items() if name.lower() not in replaced} | custom
    question = "?" + urlencode(query) if query else ""
    sources = {"endpoint": address.source, "api_version": address.version_source, "deployment": name_place}
    return Target(
        url=base + TASK_PATHS[task] + question,
        headers=headers,
        body_model=name,
        surface=surface,
        auth=kind,
        key_header="api-key" if surface == "azure-deployments" and kind == "key" else "Authorization",
        key=key if key_from is None else None,
        key_from=key_from,
        sources={
            setting: place
            for setting, place in {**sources, **credential}.items()
            if place and (setting != "api_version" or api)
        },
    )


def _credential(given: Given, address: Address) -> tuple[str, str | None, dict[str, str]]:
    """Decide what the requests prove themselves with: (auth, key, sources).

    A key variable of a provider goes to that provider's own hosts and to the host which its sister variable
    names, and nowhere else; only BATCHSCORE_API_KEY goes to any endpoint.
    """
    host, variables = address.host, given.environ
    openai_host = bool(OPENAI_HOST.fullmatch(host))
    azure_host = not openai_host and (
        bool(AZURE_HOST.fullmatch(host)) or names_origin_of(variables.get("AZURE_OPENAI_ENDPOINT"), address)
    )
    sister = any(
        names_origin_of(variables.get(name), address) for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE")
    )
    if given.api_type in AZURE_TYPES:
        openai_key_fits = azure_host or (sister and not openai_host)
    elif given.api_type in OPENAI_TYPES:
        openai_key_fits = openai_host or (sister and not azure_host)
    else:
        openai_key_fits = openai_host or sister

    withheld = [] if azure_host else ["AZURE_OPENAI_API_KEY"]
    withheld += [] if openai_key_fits else ["OPENAI_API_KEY"]
    key, key_place = given.first("key", skip=tuple(withheld))
    wanted, auth_place = given.flags.get("--auth", "").lower(), given.called("--auth")
    if wanted not in {"", "key", "entra", "none"}:
        raise UsageError(f"{auth_place} is {wanted!r}; it may be key, entra or none.")

    in_vault = "--api-key-from" in given.flags
    if in_vault and wanted in {"entra", "none"}:
        raise UsageError(f"{key_place} names a key, but {auth_place} is {wanted}; give one of them.")
    on_azure = address.surface != "openai"
    if not wanted and not in_vault and key_place != "BATCHSCORE_API_KEY" and on_azure:
        if given.api_type in ENTRA_TYPES:
            wanted, auth_place = "entra", "OPENAI_API_TYPE"
        elif azure_host and "AZURE_OPENAI_AD_TOKEN" in variables:
            wanted, auth_place = "entra", "AZURE_OPENAI_AD_TOKEN"
    if wanted == "entra":
        if openai_host:
            raise SettingsError(f"{host} does not take Entra ID tokens; use a key.")
        return "entra", *_static_token(given, key, key_place, usable=azure_host, auth=auth_place)
    if wanted == "none" or (not wanted and not key and not (azure_host or openai_host or is_azure_ml(host))):
        return "none", None, {"auth": auth_place if wanted else "no key"}
    if not key:
        raise SettingsError(_no_key(host, withheld, variables, azure=azure_host, openai=openai_host))
    if not re.fullmatch(r"[!-~]+", key):
        raise SettingsError(f"{key_place} holds a space or a character that no key has; copy it again.")
    return "key", key, {"key": key_place, "auth": auth_place if wanted else key_place}


def _static_token(
    given: Given, key: str | None, key_place: str, *, usable: bool, auth: str
) -> tuple[str | None, dict[str, str]]:
    """Give a token that was put into a variable by hand; the old samples put it into OPENAI_API_KEY."""
    token, place = given.environ.get("AZURE_OPENAI_AD_TOKEN"), "AZURE_OPENAI_AD_TOKEN"
    if given.api_type in ENTRA_TYPES and not token and key_place == "OPENAI_API_KEY":
        # A key left in the variable is no token; a token is a JWT, which begins with `{"` in base64.
        token, place = (key if key and key.startswith("eyJ") else None), key_place
    if not token or not usable:
        return None, {"auth": auth}
    if not re.fullmatch(r"[!-~]+", token):
        raise SettingsError(f"{place} holds a space or a character that no token has; copy it again.")
    return token, {"auth": auth, "key": place}


def _no_key(
    host: str, withheld: list[str], variables: Mapping[str, str], *, azure: bool, openai: bool
) -> str:
    ways = ["BATCHSCORE_API_KEY"]
    ways += ["AZURE_OPENAI_API_KEY"] if azure else []
    ways += ["OPENAI_API_KEY"] if openai else []
    message = f"No key is set for {host}. Put it into the variable {' or '.join(ways)}"
    message += "." if openai else ", or use Entra ID: --auth entra."
    unused = [name for name in withheld if name in variables]
    if unused:
        message += f" ({', '.join(unused)} is set, but belongs to another service and is not sent there.)"
    return message


def _ask_sdk(
    address: Address, deployment: str, environ: Mapping[str, str]
) -> tuple[str, dict[str, str], dict[str, str]]:
    """Let the official SDK build the base address, query and headers (its public properties)."""
    # Half a second of imports, so not at the top of a module.
    from openai import AzureOpenAI, DefaultHttpxClient, OpenAI  # noqa: PLC0415

    root = f"{address.split.scheme}://{address.split.netloc}{address.path}"
    # It sends nothing, so proxies and certificates, which take a while to load, have no part in it.
    with DefaultHttpxClient(trust_env=False, verify=False) as unused:
        client: OpenAI
        if address.surface == "azure-deployments":
            client = AzureOpenAI(
                azure_endpoint=root,
                azure_deployment=quote(deployment, safe=""),
                api_version=address.api_version,
                api_key="-",
                http_client=unused,
            )
        else:
            query = {"api-version": address.api_version} if address.api_version not in {None, "v1"} else None
            client = OpenAI(
                base_url=root + ("/openai/v1" if address.surface == "azure-v1" else ""),
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
        asked = {name: str(value) for name, value in client.default_query.items()}
    return base, asked, headers


def _custom_headers(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Read OPENAI_CUSTOM_HEADERS as the SDK does (`Name: value` lines), but no credentials from it."""
    for line in environ.get("OPENAI_CUSTOM_HEADERS", "").splitlines():
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or not name or name.lower() in _NOT_CUSTOM:
            continue
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or not re.fullmatch(r"[ -~\t]*", value):
            raise SettingsError("OPENAI_CUSTOM_HEADERS holds a line that is not `Name: value` in ASCII.")
        yield name, value
