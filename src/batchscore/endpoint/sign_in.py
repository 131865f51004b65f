"""Which key or token signs the requests to an endpoint, in which headers, and which ones must not go there?

It knows settings, variables and hosts, and fetches nothing. It never shows a key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from batchscore.endpoint.gateway import KEY_HEADERS, QUOTES, has_quotes
from batchscore.endpoint.url import (
    AZURE_HOST,
    AZURE_TYPES,
    ENTRA_TYPES,
    ML_HOST,
    OPENAI_HOST,
    OPENAI_TYPES,
    REGION_HOST,
    EndpointUrl,
    Values,
    check_token_host,
    has_origin_of,
)
from batchscore.errors import SettingsError, UsageError, setting_name

#: Where a provider's variable is sent.
GOES_TO = {
    "AZURE_OPENAI_API_KEY": "Azure's hosts and the host in AZURE_OPENAI_ENDPOINT",
    "AZURE_OPENAI_AD_TOKEN": "Azure's hosts and the host in AZURE_OPENAI_ENDPOINT",
    "OPENAI_API_KEY": "api.openai.com and the hosts in OPENAI_BASE_URL and OPENAI_API_BASE",
}

#: What each value of the setting `key_header` means.
_HEADERS_OF = {
    "api-key": ("api-key",),
    "authorization": ("Authorization",),
    "both": ("api-key", "Authorization"),
}


def sign_in(
    values: Values, url: EndpointUrl, own: Mapping[str, str]
) -> tuple[str, str | None, tuple[str, ...], dict[str, str]]:
    """Decide how requests are signed: (auth, key, the key's headers, sources).

    `own` are the headers from settings; one that holds a credential replaces the key of its name.
    """
    carriers = [name for name in own if name.lower() in KEY_HEADERS]
    auth, key, sources = _credential(values, url, signed=bool(carriers))
    chosen = values.settings.get("key_header", "").lower()
    if chosen not in {"", *_HEADERS_OF}:
        known = ", ".join(_HEADERS_OF)
        raise UsageError(f"{values.origin('key_header')} is {chosen!r}. It must be one of {known}.")
    dated_key = url.surface == "azure-deployments" and auth == "key"
    headers = _HEADERS_OF[chosen or ("api-key" if dated_key else "authorization")]
    if auth in {"entra", "basic"} and "api-key" in headers:
        what = "an Entra ID token" if auth == "entra" else "a user and password"
        raise UsageError(
            f"{values.origin('key_header')} is {chosen}, but {what} can only go into authorization."
        )
    clash = next((name for name in carriers if name.lower() in map(str.lower, headers)), None)
    if clash is None or auth == "none":
        return auth, key, headers, sources
    if values.settings.keys() & {"auth", "api_key_from"}:
        by = next(name for name in ("auth", "api_key_from") if name in values.settings)
        raise UsageError(
            f"{values.origin('header')} and {values.origin(by)} both set {clash}. Leave one of them out."
        )
    return "none", None, headers, {"auth": values.origin("header")}


def _kind_of_host(values: Values, url: EndpointUrl) -> tuple[bool, bool]:
    """Return whether the host is OpenAI's, and whether it is Azure's or that of Azure's variable."""
    openai = bool(OPENAI_HOST.fullmatch(url.host))
    of_variable = has_origin_of(url, values.environ.get("AZURE_OPENAI_ENDPOINT"))
    return openai, not openai and (bool(AZURE_HOST.fullmatch(url.host)) or of_variable)


def withheld_keys(values: Values, url: EndpointUrl) -> list[str]:
    """Return the variables that are set and belong to other services than this host's."""
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
    fits = {"OPENAI_API_KEY": openai_key_fits}
    return [name for name in GOES_TO if name in values.environ and not fits.get(name, azure_host)]


def unused_keys_text(withheld: Sequence[str], host: str, ignored: Sequence[str] = ()) -> str:
    """Return sentences about variables that are set and not sent to a host, and why; empty if there are none.

    `ignored` are credentials in OPENAI_CUSTOM_HEADERS.
    """
    sentences = []
    for goes_to in dict.fromkeys(GOES_TO[name] for name in withheld):
        names = [name for name in withheld if GOES_TO[name] == goes_to]
        are = "is" if len(names) == 1 else "are"
        sentences.append(f"{' and '.join(names)} {are} set, but {are} not sent to {host}: only to {goes_to}.")
    if ignored:
        sentences.append(
            f"{' and '.join(ignored)} in OPENAI_CUSTOM_HEADERS is not sent: a key goes into "
            f"BATCHSCORE_API_KEY (see {setting_name('key_header')}), other credentials into "
            f"{setting_name('header')}."
        )
    return " ".join(sentences)


def _credential(values: Values, url: EndpointUrl, *, signed: bool) -> tuple[str, str | None, dict[str, str]]:
    """Decide how the requests authenticate: (auth, key, sources). `signed`: a header does so already.

    A provider's key variable goes only to that provider's own hosts and to the host that its sister variable
    names; only BATCHSCORE_API_KEY goes to any endpoint.
    """
    host, environ = url.host, values.environ
    openai_host, azure_host = _kind_of_host(values, url)
    key, key_source = values.first("key", skip=tuple(withheld_keys(values, url)))
    auth, auth_source = values.settings.get("auth", "").lower(), values.origin("auth")
    if auth not in {"", "key", "entra", "basic", "none"}:
        raise UsageError(f"{auth_source} is {auth!r}. It must be key, entra, basic or none.")

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
        if REGION_HOST.fullmatch(host):
            raise SettingsError(
                f"{host} is the address of a region, which does not accept Entra ID tokens. Give the "
                "resource's own address, such as https://NAME.openai.azure.com, or use a key."
            )
        check_token_host(values, url, azure=azure_host, what="an Entra ID token")
        token, token_source = _token_from_variable(values, key, key_source) if azure_host else (None, "")
        return "entra", token, {"auth": auth_source} | ({"key": token_source} if token else {})
    key_optional = signed or not (azure_host or openai_host or ML_HOST.fullmatch(host))
    if auth == "none" or (not auth and not key and key_optional):
        return "none", None, {"auth": auth_source if auth else "no key"}
    if not key:
        raise SettingsError(_no_key(url, values, azure=azure_host, openai=openai_host))
    if auth == "basic" and not in_vault:
        if has_quotes(key):
            raise SettingsError(QUOTES.format(key_source))
        if ":" not in key or not key.isprintable():
            raise SettingsError(f"{key_source} must hold user:password, because {auth_source} is basic.")
    elif auth != "basic":
        _check_key(key, key_source, "key")
    return auth or "key", key, {"key": key_source, "auth": auth_source if auth else key_source}


def _check_key(key: str, source: str, what: str) -> None:
    """Raise `SettingsError` for a key or token that was not copied as it is."""
    if has_quotes(key):
        raise SettingsError(QUOTES.format(source))
    if not re.fullmatch(r"[!-~]+", key):
        raise SettingsError(f"{source} holds a space or a character that no {what} has. Copy it again.")


def _token_from_variable(values: Values, key: str | None, key_source: str) -> tuple[str | None, str]:
    """Return a token that a variable holds, and the variable; the old samples put it into OPENAI_API_KEY."""
    token, source = values.environ.get("AZURE_OPENAI_AD_TOKEN"), "AZURE_OPENAI_AD_TOKEN"
    if values.api_type in ENTRA_TYPES and not token and key_source == "OPENAI_API_KEY":
        # A key left in the variable is not a token; a token is a JWT, which begins with `{"` in base64.
        token, source = (key if key and key.startswith("eyJ") else None), key_source
    if token:
        _check_key(token, source, "token")
    return token, source


def _no_key(url: EndpointUrl, values: Values, *, azure: bool, openai: bool) -> str:
    """Return the message for a missing key."""
    ways = ["BATCHSCORE_API_KEY"]
    ways += ["AZURE_OPENAI_API_KEY"] if azure else []
    ways += ["OPENAI_API_KEY"] if openai else []
    message = f"No key is set for {url.host}. Put it into the variable {' or '.join(ways)}"
    message += "." if openai else f", or use Entra ID ({setting_name('auth', 'entra')})."
    unused = unused_keys_text(withheld_keys(values, url), url.host)
    return f"{message} {unused}".rstrip()
