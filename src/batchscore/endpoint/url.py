"""What does an endpoint's text say of host, URL surface, deployment and API version?

It sends nothing and knows no keys; it never quotes what it cannot read, for that may be a pasted key.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from batchscore.endpoint.precedence import AZURE_TYPES, OPENAI_TYPES, Given
from batchscore.errors import SettingsError, UsageError

TASK_PATHS: Mapping[str, str] = {
    "embeddings": "embeddings",
    "completions": "completions",
    "chat": "chat/completions",
}

AZURE_HOST = re.compile(r".+\.(openai|cognitiveservices|services\.ai)\.azure\.(com|us|cn)")
ML_HOST = re.compile(r".+\.inference\.ml\.azure\.(com|us|cn)")
OPENAI_HOST = re.compile(r"(.+\.)?api\.openai\.com")
#: Versions that exist on `/openai/v1/` (as a query) and not on the deployments surface.
_V1_VERSIONS = frozenset({"v1", "preview", "latest"})
#: Names that mean a machine or a network of one's own; plain http with a key is nobody else's business there.
_OWN_NAMES = (".local", ".localhost", ".internal", ".lan", ".svc", ".svc.cluster.local")
UNREADABLE = "not an address that can be read: look at its host and port."


@dataclass(frozen=True, slots=True)
class Address:
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
        """The host in lower case."""
        return (self.split.hostname or "").lower()


def take_apart(given: Given, task: str) -> Address:
    """Find the endpoint, and what it says of surface, deployment and version."""
    skip = ("AZURE_OPENAI_ENDPOINT",) if given.api_type in OPENAI_TYPES else ()
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
        AZURE_HOST.fullmatch(host)
        or deployments
        or source == "AZURE_OPENAI_ENDPOINT"
        or (ends_v1 and _is_loopback(host))
        or asked
        or (given.api_type in AZURE_TYPES and (ends_v1 or not re.search(r"/v\d+$", path)))
    )
    if OPENAI_HOST.fullmatch(host) or ML_HOST.fullmatch(host):
        if asked:
            raise SettingsError(f"{source} is {host}, which has no API versions; leave --api-version out.")
        on_azure = False
    if not on_azure:
        if path == "" or (path == "/score" and ML_HOST.fullmatch(host)):
            path = "/v1"
        return Address(split, source, "openai", path, None, None, "")

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
    if prefix and (AZURE_HOST.fullmatch(host) or prefix.endswith("/v1")):
        raise SettingsError(
            f"{source} has the path {prefix}, which is not one that Azure OpenAI serves. "
            f"For Azure {split.scheme}://{split.netloc} alone will do; elsewhere leave the API version out."
        )
    surface = "azure-deployments" if dated else "azure-v1"
    return Address(split, source, surface, prefix, url_deployment, version, version_source)


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
        raise SettingsError(f"{source} is {UNREADABLE}")
    if split.scheme.lower() not in {"http", "https"}:
        raise SettingsError(f"{source} must begin with https:// or http://, not {split.scheme}://.")
    if "@" in split.netloc:
        raise SettingsError(
            f"{source} holds a user name or password. Take it out; a key goes into BATCHSCORE_API_KEY."
        )
    if not split.hostname:
        raise SettingsError(f"{source} names no host.")
    if AZURE_HOST.fullmatch(split.hostname.lower()) and split.scheme.lower() == "http":
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


def _same(given: Given, flag: str, in_url: str, source: str) -> None:
    if given.flags[flag] != in_url:
        raise UsageError(
            f"{given.called(flag)} is {given.flags[flag]}, but {source} says {in_url}. Leave one of them out."
        )


def names_origin_of(text: str | None, address: Address) -> bool:
    """Tell whether a variable's endpoint has the same scheme, host and port as the address."""
    try:
        return _origin(urlsplit(text or "")) == _origin(address.split)
    except ValueError:
        return False


def _origin(split: SplitResult) -> tuple[str, str | None, int]:
    return split.scheme, split.hostname, split.port or (443 if split.scheme == "https" else 80)


def is_azure_ml(host: str) -> bool:
    """Tell whether a host is that of an Azure ML online endpoint."""
    return ML_HOST.fullmatch(host) is not None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def check_plain_http(address: Address, environ: Mapping[str, str]) -> None:
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
