"""What can be set of the work and of the service that does it? The first part of `fields.Settings`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from batchscore.settings.declare import setting
from batchscore.task import TASKS

#: Declare a setting that help and docs show under this heading.
of_work, of_endpoint = partial(setting, "Work"), partial(setting, "Endpoint")


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceFields:
    """The work, and the endpoint."""

    task: str = of_work(
        "What the model does: return vectors, complete texts, or answer. chat uses the Chat Completions API, "
        "responses the Responses API.",
        choices=tuple(TASKS),
    )
    model: str = of_work(
        "The model's name at the service. Or an MLflow model: ./FOLDER, models:/… or runs:/….", flag="-m"
    )
    output: str = of_work(
        "Where to write the scores: a folder, one file ending in .jsonl, .parquet or .arrow, or a table of "
        "the input with its answers: .csv, .tsv or .xlsx. - prints JSON Lines.",
        flag="-o",
        metavar="OUT",
    )

    endpoint: str | None = of_endpoint("URL of the service.", metavar="URL", needs_trust=True)
    deployment: str | None = of_endpoint("Name of the Azure deployment. Default: the model's name.")
    api_version: str | None = of_endpoint(
        "Azure api-version. Default: none, which uses the v1 API.", metavar="V", needs_trust=True
    )
    auth: str | None = of_endpoint(
        "How to sign in: with a key from the environment, with Entra ID, with user:password instead of a key "
        "(basic), or not at all.",
        choices=("key", "entra", "basic", "none"),
        needs_trust=True,
    )
    api_key_from: str | None = of_endpoint(
        "Key Vault secret that holds the API key: https://VAULT.vault.azure.net/secrets/NAME. Read with "
        "Entra ID.",
        metavar="URL",
        needs_trust=True,
    )
    key_header: str | None = of_endpoint(
        "Header that carries the key. Default: api-key if the API has a dated version, else authorization.",
        choices=("api-key", "authorization", "both"),
        needs_trust=True,
    )
    header: Mapping[str, str] = of_endpoint(
        "Header of every request, for gateways. $BATCHSCORE_…_KEY in the value is replaced by that variable. "
        "Repeatable.",
        default={},
        metavar="NAME=VALUE",
        needs_trust=True,
    )
    query: Mapping[str, str] = of_endpoint(
        "Query parameter of every request, for gateways; written like --header. Repeatable.",
        default={},
        metavar="NAME=VALUE",
        needs_trust=True,
    )
    client_cert: str | None = of_endpoint(
        "Client certificate for gateways with mutual TLS: a PEM file. A password is read from "
        "BATCHSCORE_CLIENT_CERT_PASSWORD.",
        metavar="FILE",
        needs_trust=True,
    )
    client_key_file: str | None = of_endpoint(
        "Private key of the client certificate. Default: in the same file.", metavar="FILE", needs_trust=True
    )
    simulate: bool = of_endpoint(
        "Use the built-in simulator instead of a service: a free rehearsal.", default=False, only="flag"
    )
