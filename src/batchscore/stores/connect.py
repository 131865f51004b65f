"""How does a store's URI become a pyarrow file system, set up from the environment alone?

Each store's own library finds credentials as its other tools do. This module adds the variables that these
libraries do not read. Each bucket has one connection, which all threads use.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from batchscore.errors import SettingsError
from batchscore.stores.address import StoredPath
from batchscore.stores.errors import explain_store_errors

if TYPE_CHECKING:
    import pyarrow.fs as pafs

#: By default Google's library retries for fifteen minutes.
_GOOGLE_RETRY_TIME = timedelta(seconds=60)


def file_system(place: StoredPath) -> pafs.FileSystem:
    """Return the file system of a place; raises `SettingsError` or `StoreFailure`."""
    return _connect(place.at(""))


@lru_cache(maxsize=64)
def _connect(bucket: StoredPath) -> pafs.FileSystem:
    try:
        with explain_store_errors(bucket):
            return _BUILDERS[bucket.scheme](bucket, os.environ)
    except (AttributeError, ImportError, TypeError):
        # pyarrow's wheels support different stores, and older ones know fewer settings.
        raise SettingsError(
            f"the installed pyarrow does not support {bucket.scheme}:// stores: install the newest version"
        ) from None


def _s3(bucket: StoredPath, environ: Mapping[str, str]) -> pafs.FileSystem:
    """Return the file system of Amazon S3, or of a service with its API.

    The variables are those of AWS's own tools:
    https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html, seen 2026-11.
    """
    import pyarrow.fs as pafs  # noqa: PLC0415 - takes 0.1 s that only stores need

    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or None
    name, address = _first(environ, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    if address:
        scheme, authority, _ = _split_address(name, address)
        options = {"scheme": scheme, "endpoint_override": authority, "region": region or "us-east-1"}
    else:
        options = {"region": pafs.resolve_s3_region(bucket.bucket)}
    try:
        # A small object is then one request instead of three.
        return pafs.S3FileSystem(allow_delayed_open=True, **options)
    except TypeError:  # an older pyarrow
        return pafs.S3FileSystem(**options)


def _google(bucket: StoredPath, environ: Mapping[str, str]) -> pafs.FileSystem:  # noqa: ARG001 - same parameters as the others
    """Return that of Google Cloud Storage; the variable of Google's libraries names an emulator."""
    import pyarrow.fs as pafs  # noqa: PLC0415

    name, address = _first(environ, "STORAGE_EMULATOR_HOST")
    if address:
        scheme, authority, _ = _split_address(name, address if "://" in address else f"http://{address}")
        return pafs.GcsFileSystem(
            anonymous=True, scheme=scheme, endpoint_override=authority, retry_time_limit=_GOOGLE_RETRY_TIME
        )
    return pafs.GcsFileSystem(retry_time_limit=_GOOGLE_RETRY_TIME)


def _azure(bucket: StoredPath, environ: Mapping[str, str]) -> pafs.FileSystem:
    """Return that of Azure Blob Storage and Data Lake Storage, by the variables of Azure's command line.

    https://learn.microsoft.com/cli/azure/storage, seen 2026-11. A key or token belongs to one account and
    is never sent to another.
    """
    import pyarrow.fs as pafs  # noqa: PLC0415

    account, _, domain = bucket.host.partition(".")
    options: dict[str, Any] = {"account_name": account}
    name, address = _first(environ, "AZURE_STORAGE_SERVICE_ENDPOINT")
    if address:
        scheme, authority, path = _split_address(name, address)
        if path not in {"", account}:
            raise SettingsError(f"{name} is the address of another account than {account}")
        for service in ("blob", "dfs"):
            options[f"{service}_storage_authority"] = authority
            options[f"{service}_storage_scheme"] = scheme
    elif domain != "dfs.core.windows.net":
        options["dfs_storage_authority"] = f".{domain}"
        options["blob_storage_authority"] = f".{domain.replace('dfs.', 'blob.', 1)}"
    if environ.get("AZURE_STORAGE_ACCOUNT", account) == account:
        key, token = environ.get("AZURE_STORAGE_KEY"), environ.get("AZURE_STORAGE_SAS_TOKEN")
        if key:
            _refuse_other_than_base64("AZURE_STORAGE_KEY", key)
            return pafs.AzureFileSystem(account_key=key, **options)
        if token:
            return pafs.AzureFileSystem(sas_token=f"?{token.removeprefix('?')}", **options)
    identity = environ.get("DEFAULT_IDENTITY_CLIENT_ID")
    return pafs.AzureFileSystem(**options, **({"client_id": identity} if identity else {}))


_BUILDERS: dict[str, Callable[[StoredPath, Mapping[str, str]], Any]] = {
    "s3": _s3,
    "gs": _google,
    "abfss": _azure,
}


def _refuse_other_than_base64(name: str, key: str) -> None:
    try:
        base64.b64decode(key, validate=True)
    except ValueError:
        raise SettingsError(f"{name} is not the key of a storage account: copy it again") from None


def _first(environ: Mapping[str, str], *names: str) -> tuple[str, str]:
    """Return the first variable that is set, and its value."""
    return next(((name, environ[name]) for name in names if environ.get(name)), (names[0], ""))


def _split_address(name: str, address: str) -> tuple[str, str, str]:
    """Return scheme, host with port, and path of a service's address."""
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.netloc or "@" in parts.netloc or parts.query:
        raise SettingsError(f"{name} is not an address such as http://127.0.0.1:9000")
    return parts.scheme, parts.netloc, parts.path.strip("/")
