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

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from batchscore.errors import SettingsError, UsageError

TASK_PATHS: Mapping[str, str] = {
    "embeddings": "embeddings",
    "completions": "completions",
    "chat": "chat/completions",
}


@dataclass(frozen=True, slots=True)
class Place:
    """One place where a setting can stand: a flag, a variable or the endpoint's own text."""

    name: str
    remark: str = ""


#: Which place wins: of each setting the first one that is set (an empty variable is not) and applies.
#: `docs/endpoints.md` prints this table, a test compares the two.
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
        Place("BATCHSCORE_API_KEY", "→ key"),
        Place("OPENAI_API_TYPE", "`azure_ad`, `azuread` → Entra ID (Azure only)"),
        Place("AZURE_OPENAI_AD_TOKEN", "→ this token, as it is (Azure only)"),
        Place("any key of the row above", "→ key"),
        Place("no key", "→ none; an error for Azure, Azure ML and OpenAI"),
    ),
}

AZURE_TYPES = frozenset({"azure", "azure_ad", "azuread"})
_ENTRA_TYPES = frozenset({"azure_ad", "azuread"})
_OPENAI_TYPES = frozenset({"open_ai", "openai"})
_KNOWN_TYPES = AZURE_TYPES | _OPENAI_TYPES
_AZURE_HOST = re.compile(r".+\.(openai|cognitiveservices|services\.ai)\.azure\.(com|us|cn)")
_ML_HOST = re.compile(r".+\.inference\.ml\.azure\.(com|us|cn)")
_OPENAI_HOST = re.compile(r"(.+\.)?api\.openai\.com")
#: Versions that exist on `/openai/v1/` (as a query) and not on the deployments surface.
_V1_VERSIONS = frozenset({"v1", "preview", "latest"})
#: Names that mean a machine or a network of one's own; plain http with a key is nobody else's business there.
_OWN_NAMES = (".local", ".localhost", ".internal", ".lan", ".svc", ".svc.cluster.local")
_UNREADABLE = "not an address that can be read: look at its host and port."
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
    #: Of endpoint, api_version, deployment, key and auth, as far as set: the name of the place that won.
    sources: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        key = None if self.key is None else "***"
        return f"Target({self.url!r}, surface={self.surface!r}, auth={self.auth!r}, key={key!r})"


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


def resolve_target(
    *,
    task: str,
    model: str | None,
    deployment: str | None = None,
    endpoint: str | None = None,
    api_version: str | None = None,
    auth: str | None = None,
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
    given = _Given(
        {
            "--endpoint": endpoint,
            "--api-version": api_version,
            "--deployment": deployment,
            "--model": model,
            "--auth": auth,
        },
        environ,
        named or {},
    )
    address = _take_apart(given, task)
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
    if kind != "none":
        _check_plain_http(address, environ)

    custom = dict(_custom_headers(environ))
    try:
        base, query, headers = _ask_sdk(address, name, environ)
    except ImportError:
        raise
    except Exception:
        # Its HTTP library reads addresses more strictly than `urllib`, and its name changes with the version.
        raise SettingsError(f"{address.source} is {_UNREADABLE}") from None
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
        key=key,
        sources={
            setting: place
            for setting, place in {**sources, **credential}.items()
            if place and (setting != "api_version" or api)
        },
    )


class _Given:
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
        return self.named.get(flag.removeprefix("--").replace("-", "_"), flag)


@dataclass(frozen=True, slots=True)
class _Address:
    """An endpoint, taken apart. `path` is what stands before `/openai/…`, or the whole base path."""

    split: SplitResult
    source: str
    surface: str
    path: str
    deployment: str | None
    api_version: str | None
    version_source: str

    @property
    def host(self) -> str:
        return (self.split.hostname or "").lower()


def _take_apart(given: _Given, task: str) -> _Address:
    """Find the endpoint, and what it says of surface, deployment and version."""
    skip = ("AZURE_OPENAI_ENDPOINT",) if given.api_type in _OPENAI_TYPES else ()
    text, source = given.first("endpoint", skip=skip)
    if text is None:
        raise SettingsError(
            "No endpoint is named. Name one with --endpoint (for OpenAI: https://api.openai.com/v1), with "
            "the variable AZURE_OPENAI_ENDPOINT or with OPENAI_BASE_URL. "
            "To rehearse without one: --simulate."
        )
    split = _checked(text, source)
    host = (split.hostname or "").lower()
    path, url_version = _path_of_base(split, source, task), _version_in(split, source)
    if "--api-version" in given.flags and "--endpoint" in given.flags and url_version:
        _same(given, "--api-version", url_version, source)

    deployments = re.fullmatch(r"(.*)/openai/deployments/([^/]+)", path)
    url_deployment = unquote(deployments[2]) if deployments else None
    if "--deployment" in given.flags and "--endpoint" in given.flags and url_deployment:
        _same(given, "--deployment", url_deployment, source)

    ends_v1 = path.endswith("/openai/v1")
    asked = bool(url_version) or "--api-version" in given.flags
    on_azure = bool(
        _AZURE_HOST.fullmatch(host)
        or deployments
        or source == "AZURE_OPENAI_ENDPOINT"
        or (ends_v1 and _is_loopback(host))
        or asked
        or (given.api_type in AZURE_TYPES and (ends_v1 or not re.search(r"/v\d+$", path)))
    )
    if _OPENAI_HOST.fullmatch(host) or _ML_HOST.fullmatch(host):
        if asked:
            raise SettingsError(f"{source} is {host}, which has no API versions; leave --api-version out.")
        on_azure = False
    if not on_azure:
        if path == "" or (path == "/score" and _ML_HOST.fullmatch(host)):
            path = "/v1"
        return _Address(split, source, "openai", path, None, None, "")

    # An explicit v1 address knows no dates: a variable left over from the other surface is not meant for it.
    version, version_source = given.first(
        "api_version",
        {"?api-version= of the endpoint": url_version},
        skip=("OPENAI_API_VERSION",) if ends_v1 else (),
    )
    dated = version is not None and version not in _V1_VERSIONS
    if ends_v1 and dated:
        raise SettingsError(
            f"{source} ends in /openai/v1, which has no dated API versions, but {version_source} is "
            f"{version}. Leave the version out, or end the endpoint before /openai."
        )
    if deployments and not dated:
        raise SettingsError(
            f"{source} names a deployment ({url_deployment}), and that address needs an API version: "
            "add --api-version (such as 2024-10-21), or end the endpoint before /openai."
        )
    prefix = deployments[1] if deployments else re.sub(r"/openai(/v1)?$", "", path)
    if prefix and (_AZURE_HOST.fullmatch(host) or prefix.endswith("/v1")):
        raise SettingsError(
            f"{source} has the path {prefix}, which is not one that Azure OpenAI serves. "
            f"For Azure {split.scheme}://{split.netloc} alone will do; elsewhere leave the API version out."
        )
    surface = "azure-deployments" if dated else "azure-v1"
    return _Address(split, source, surface, prefix, url_deployment, version, version_source)


def _checked(text: str, source: str) -> SplitResult:
    """Split an address, or say what is wrong with it; never quoting it, for it may be a pasted key."""
    if re.search(r"[\s\"'`<>{}$\\\x00-\x1f\x7f]", text):
        raise SettingsError(
            f"{source} holds a space, a quote, a placeholder or an unexpanded variable; "
            "it must be an address such as https://NAME.openai.azure.com"
        )
    if "://" not in text:
        raise SettingsError(f"{source} has no scheme: put https:// in front (http:// for a local server).")
    try:
        split = urlsplit(text)
        port_fits = split.port is None or split.port > 0
    except ValueError:
        port_fits = False
    if not port_fits:
        raise SettingsError(f"{source} is {_UNREADABLE}")
    if split.scheme.lower() not in {"http", "https"}:
        raise SettingsError(f"{source} must begin with https:// or http://, not {split.scheme}://.")
    if "@" in split.netloc:
        raise SettingsError(
            f"{source} holds a user name or password. Take it out; a key goes into BATCHSCORE_API_KEY."
        )
    if not split.hostname:
        raise SettingsError(f"{source} names no host.")
    if _AZURE_HOST.fullmatch(split.hostname.lower()) and split.scheme.lower() == "http":
        raise SettingsError(f"{source} begins with http://, but Azure serves https:// only.")
    return split


def _path_of_base(split: SplitResult, source: str, task: str) -> str:
    """Give the path without the task at its end, which comes from addresses pasted whole."""
    path = re.sub(r"/{2,}", "/", split.path).rstrip("/")
    for other, tail in sorted(TASK_PATHS.items(), key=lambda item: -len(item[1])):
        if path.endswith("/" + tail):
            if other != task:
                raise SettingsError(
                    f"{source} ends in /{tail}, but the task is {task}. Give the endpoint without it."
                )
            return path.removesuffix("/" + tail)
    return path


def _version_in(split: SplitResult, source: str) -> str | None:
    query = dict(parse_qsl(split.query, keep_blank_values=True))
    version = query.pop("api-version", "").strip() or None
    if query or split.fragment:
        raise SettingsError(
            f"{source} has more behind its path than ?api-version=…; take it out. "
            "A key goes into BATCHSCORE_API_KEY, other headers into OPENAI_CUSTOM_HEADERS."
        )
    return version


def _same(given: _Given, flag: str, in_url: str, source: str) -> None:
    if given.flags[flag] != in_url:
        raise UsageError(
            f"{given.called(flag)} is {given.flags[flag]}, but {source} says {in_url}. Leave one of them out."
        )


def _credential(given: _Given, address: _Address) -> tuple[str, str | None, dict[str, str]]:
    """Decide what the requests prove themselves with: (auth, key, sources).

    A key variable of a provider goes to that provider's own hosts and to the host which its sister variable
    names, and nowhere else; only BATCHSCORE_API_KEY goes to any endpoint.
    """
    host, variables = address.host, given.environ
    openai_host = bool(_OPENAI_HOST.fullmatch(host))
    azure_host = not openai_host and (
        bool(_AZURE_HOST.fullmatch(host)) or _names(variables.get("AZURE_OPENAI_ENDPOINT"), address)
    )
    sister = any(_names(variables.get(name), address) for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE"))
    if given.api_type in AZURE_TYPES:
        openai_key_fits = azure_host or (sister and not openai_host)
    elif given.api_type in _OPENAI_TYPES:
        openai_key_fits = openai_host or (sister and not azure_host)
    else:
        openai_key_fits = openai_host or sister

    withheld = [] if azure_host else ["AZURE_OPENAI_API_KEY"]
    withheld += [] if openai_key_fits else ["OPENAI_API_KEY"]
    key, key_place = given.first("key", skip=tuple(withheld))
    wanted, auth_place = given.flags.get("--auth", "").lower(), given.called("--auth")
    if wanted not in {"", "key", "entra", "none"}:
        raise UsageError(f"{auth_place} is {wanted!r}; it may be key, entra or none.")

    on_azure = address.surface != "openai"
    if not wanted and key_place != "BATCHSCORE_API_KEY" and on_azure:
        if given.api_type in _ENTRA_TYPES:
            wanted, auth_place = "entra", "OPENAI_API_TYPE"
        elif azure_host and "AZURE_OPENAI_AD_TOKEN" in variables:
            wanted, auth_place = "entra", "AZURE_OPENAI_AD_TOKEN"
    if wanted == "entra":
        if openai_host:
            raise SettingsError(f"{host} does not take Entra ID tokens; use a key.")
        return "entra", *_static_token(given, key, key_place, usable=azure_host, auth=auth_place)
    if wanted == "none" or (not wanted and not key and not (azure_host or openai_host or _ml(host))):
        return "none", None, {"auth": auth_place if wanted else "no key"}
    if not key:
        raise SettingsError(_no_key(host, withheld, variables, azure=azure_host, openai=openai_host))
    if not re.fullmatch(r"[!-~]+", key):
        raise SettingsError(f"{key_place} holds a space or a character that no key has; copy it again.")
    return "key", key, {"key": key_place, "auth": auth_place if wanted else key_place}


def _static_token(
    given: _Given, key: str | None, key_place: str, *, usable: bool, auth: str
) -> tuple[str | None, dict[str, str]]:
    """Give a token that was put into a variable by hand; the old samples put it into OPENAI_API_KEY."""
    token, place = given.environ.get("AZURE_OPENAI_AD_TOKEN"), "AZURE_OPENAI_AD_TOKEN"
    if given.api_type in _ENTRA_TYPES and not token and key_place == "OPENAI_API_KEY":
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


def _names(text: str | None, address: _Address) -> bool:
    """Tell whether a variable's endpoint has the same scheme, host and port as the address."""
    try:
        return _origin(urlsplit(text or "")) == _origin(address.split)
    except ValueError:
        return False


def _origin(split: SplitResult) -> tuple[str, str | None, int]:
    return split.scheme, split.hostname, split.port or (443 if split.scheme == "https" else 80)


def _ml(host: str) -> bool:
    return _ML_HOST.fullmatch(host) is not None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _check_plain_http(address: _Address, environ: Mapping[str, str]) -> None:
    """Refuse to send a key in the clear over a public network."""
    host = address.host
    try:
        own = not ipaddress.ip_address(host).is_global
    except ValueError:
        own = "." not in host or host.endswith(_OWN_NAMES)
    if address.split.scheme.lower() == "http" and not own and not environ.get("BATCHSCORE_ALLOW_PLAIN_HTTP"):
        raise SettingsError(
            f"{address.source} begins with http://, so the key would go to {host} in the clear. Use "
            "https://; if the way there is your own, set BATCHSCORE_ALLOW_PLAIN_HTTP=1."
        )


def _ask_sdk(
    address: _Address, deployment: str, environ: Mapping[str, str]
) -> tuple[str, dict[str, str], dict[str, str]]:
    """Let the official SDK build the base address, query and headers (its public properties)."""
    # Half a second of imports, so not at the top of a module.
    from openai import AzureOpenAI, DefaultHttpxClient, OpenAI  # noqa: PLC0415

    root = f"{address.split.scheme}://{address.split.netloc}{address.path}"
    # No proxy or certificate settings are needed to build an address; a bad one would fail here.
    with DefaultHttpxClient(trust_env=False) as unused:
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
        headers["User-Agent"] = f"batchscore/{_version()} {built['user-agent']}"
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


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        return version("batchscore")
    except PackageNotFoundError:
        # Run from a folder of sources, as Azure ML does with a scoring script.
        return "0"
