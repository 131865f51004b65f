"""Which certificates do connections trust, and which one do they show? It knows variables and files."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from batchscore.endpoint.gateway import ClientCertificate
from batchscore.errors import SettingsError


def tls_context(certificate: ClientCertificate | None) -> ssl.SSLContext | bool:
    """Return how connections are secured: by the trusted certificates, and with the client's own if any.

    `True` means OpenSSL's defaults. Raises `SettingsError` if certificates cannot be used.
    """
    trusted = trusted_certificates()
    if certificate is None:
        return trusted
    context = trusted if isinstance(trusted, ssl.SSLContext) else ssl.create_default_context()
    certificate.load(context)
    return context


def trusted_certificates() -> ssl.SSLContext | bool:
    """Return the trusted certificates: `True` for OpenSSL's defaults, which include `SSL_CERT_FILE`.

    Without that variable, those of the file or folder in the variables of requests and curl. Raises
    `SettingsError` if they cannot be used.
    """
    if any(os.environ.get(name, "").strip() for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")):
        return True
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        location = os.environ.get(name, "").strip()
        if location:
            try:
                if Path(location).is_dir():
                    return ssl.create_default_context(capath=location)
                return ssl.create_default_context(cafile=location)
            except OSError:
                raise SettingsError(f"{name} is {location}, which holds no readable certificates.") from None
    return True
