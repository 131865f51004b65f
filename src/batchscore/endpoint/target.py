"""Which deployments does a run use, where do their requests go, and with which headers?

It sends nothing and knows no rows. For a rehearsal it starts the simulator.

Facts of the field (learn.microsoft.com, Azure OpenAI "API version lifecycle", seen 2026-11; the SDK's own
requests, compared in tests/endpoint/test_address_and_headers.py):

- Azure serves two surfaces: `/openai/deployments/{deployment}/{task}?api-version=<date>` with the key in an
  `api-key` header (`/openai/{task}` for responses, with the deployment as the body's `model`), and
  `/openai/v1/{task}` without a dated version, where the deployment is the body's `model` and the SDK's
  ordinary client puts the key into `Authorization: Bearer`.
- Most others (vLLM, Ollama, Text Embeddings Inference, OpenAI) serve `/v1/{task}` the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode, urlsplit

from batchscore import simulator
from batchscore.endpoint.address_and_headers import headers_of, request_address
from batchscore.endpoint.gateway import ClientCertificate, client_certificate, custom_headers, filled
from batchscore.endpoint.key_vault import VaultSecret, vault_secret
from batchscore.endpoint.sign_in import sign_in, unused_keys_text, withheld_keys
from batchscore.endpoint.url import TABLE_ARGUMENT, UNREADABLE, Values, check_plain_http, parse_endpoint
from batchscore.errors import SettingsError, name_settings, setting_name
from batchscore.settings.secrets import shown_address
from batchscore.settings.slices import EndpointSettings


@dataclass(frozen=True, slots=True)
class Target:
    """Where the requests of one task go. Its repr shows nothing that may be secret."""

    #: The address as it may be shown, with `?api-version=` if the surface has one.
    url: str
    #: Everything but authorization.
    headers: Mapping[str, str] = field(repr=False)
    #: The body's `model`: the deployment's name on Azure. Sent on every surface, as the SDK does.
    body_model: str
    #: `azure-deployments`, `azure-v1` or `openai`.
    surface: str
    #: `key`, `entra`, `basic` or `none`.
    auth: str
    #: `api-key`, `Authorization` (its value then starts with `Bearer ` or `Basic `), or both.
    key_headers: tuple[str, ...]
    #: Further query parameters, as they are sent.
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    certificate: ClientCertificate | None = None
    #: The key; with `auth="entra"` a token from a variable, or None: then it is fetched. With `basic` it is
    #: `user:password`.
    key: str | None = field(default=None, repr=False)
    #: The Key Vault secret that holds the key; then `auth` is `key`, and `key` is None.
    key_from: VaultSecret | None = None
    #: The variables of keys that are set but do not go to this host, and what to say of them if the service
    #: refuses the credentials.
    withheld: Sequence[str] = ()
    unused_keys: str = ""
    #: For endpoint, api_version, deployment, key and auth, if set: the name of the source that won.
    sources: Mapping[str, str] = field(default_factory=dict)
    #: The names of the headers and query parameters from settings, for messages.
    extras: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def shown_url(self) -> str:
        """The address for people and records: some gateways take a key in its path."""
        return shown_address(self.url)

    @property
    def request_url(self) -> str:
        """The address of the requests, with all query parameters: secret."""
        join = "&" if "?" in self.url else "?"
        return self.url + (join + urlencode(self.query) if self.query else "")


def resolve_target(
    settings: EndpointSettings, environ: Mapping[str, str], origins: Mapping[str, str] | None = None
) -> Target:
    """Decide where the requests of a task go.

    `origins` says for some settings where their values come from ("BATCHSCORE_ENDPOINT", "batchscore.toml").
    Raises `SettingsError` for unusable values, `UsageError` for settings that contradict each other; neither
    quotes a secret.
    """
    names = ("endpoint", "api_version", "deployment", "model", "auth", "api_key_from", "key_header")
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
    own = filled(values.origin("header"), settings.header or {}, environ)
    kind, key, key_headers, credential = sign_in(values, url, own)
    # This setting holds the address of the key, not the key.
    in_vault = values.settings.get("api_key_from")
    emulator = values.is_typed("api_key_from")
    key_from = vault_secret(in_vault, source=credential["key"], emulator=emulator) if in_vault else None
    query = filled(values.origin("query"), settings.query or {}, environ)
    if kind != "none" or own or query:
        check_plain_http(url, environ)

    custom, ignored = custom_headers(environ)
    try:
        address = request_address(url, name, settings.task)
    except ValueError:
        raise SettingsError(f"{url.source} is {UNREADABLE}") from None
    headers = headers_of(environ)
    for more in (custom, own):
        replaced = {name.lower() for name in more}
        headers = {name: value for name, value in headers.items() if name.lower() not in replaced} | more
    withheld = withheld_keys(values, url)
    sources = {"endpoint": url.source, "api_version": url.version_source, "deployment": name_source}
    return Target(
        url=address,
        headers=headers,
        body_model=name,
        surface=surface,
        auth=kind,
        key_headers=key_headers,
        query=query,
        certificate=client_certificate(settings.client_cert, settings.client_key_file, environ),
        key=key if key_from is None else None,
        key_from=key_from,
        withheld=withheld,
        unused_keys=unused_keys_text(withheld, url.host, ignored),
        extras={"header": list(own), "query": list(query)},
        sources={
            value_name: name_settings(source)
            for value_name, source in {**sources, **credential}.items()
            if source and (value_name != "api_version" or url.api_version)
        },
    )


#: The settings that sign requests, and all that a table of `[[deployments]]` may replace; its own limits
#: replace none.
_CREDENTIALS = ("auth", "api_key_from", "key_header", "header", "query", "client_cert", "client_key_file")
_OF_A_TABLE = ("model", "deployment", "endpoint", "api_version", *_CREDENTIALS)


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
        target = self.target
        own = [target.headers[name] for name in target.extras.get("header", ())]
        return " ".join([target.request_url, target.body_model, str(target.key), *own])


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
    if "client_cert" in table:
        settings = replace(settings, client_key_file=None)
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
    nothing: Mapping[str, Any] = dict.fromkeys(_CREDENTIALS)
    with simulator.start() as running:
        target = resolve_target(
            replace(settings, endpoint=running.endpoint, **nothing), {"BATCHSCORE_API_KEY": running.key}
        )
        yield Endpoint("the simulator", target, settings.rpm, settings.tpm)
