"""Which headers, query parameters and client certificate does a gateway want, besides the key?

It knows variables and files, not hosts. All of these are credentials: their values are never shown.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from batchscore.errors import SettingsError, setting_name
from batchscore.settings.checks import HEADER_NAME, OWN_HEADERS, REFERENCE
from batchscore.settings.read_file import read_file

#: The headers in which services and their SDKs expect the key.
KEY_HEADERS = ("api-key", "authorization")

PASSWORD_VARIABLE = "BATCHSCORE_CLIENT_CERT_PASSWORD"  # noqa: S105 - its name


#: What is said of a variable with quotes; files of variables often keep them.
QUOTES = "{} has quotes around its value, and they would be sent. Remove them."


def has_quotes(value: str) -> bool:
    """Whether a value is within quotes, which belong to a shell or a file, not to the value."""
    return len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"


def sendable(variable: str, environ: Mapping[str, str]) -> str:
    """Return the value of a variable for a header, "" if there is none.

    Raises `SettingsError` if it cannot be sent.
    """
    value = environ.get(variable, "").strip()
    if has_quotes(value):
        raise SettingsError(QUOTES.format(variable))
    if not all(" " <= letter <= "~" for letter in value):
        raise SettingsError(f"{variable} holds a line break or a character that is not ASCII. Copy it again.")
    return value


def filled(where: str, pairs: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return headers or query parameters with their variables replaced; `where` is the setting.

    Raises `SettingsError` for a variable that is not set or cannot be sent.
    """

    def value_of(name: str) -> str:
        value = sendable(name, environ)
        if not value:
            raise SettingsError(f"{where} names the variable {name}, which is not set.")
        return value

    return {
        name: REFERENCE.sub(lambda found: value_of(found[1] or found[2]), text)
        for name, text in pairs.items()
    }


def custom_headers(environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Read OPENAI_CUSTOM_HEADERS as the SDK does (`Name: value` lines), but no credentials from it.

    Return the headers, and the names of credentials that it holds and that are not sent.
    """
    headers: dict[str, str] = {}
    ignored = []
    for line in environ.get("OPENAI_CUSTOM_HEADERS", "").splitlines():
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or not name or name.lower() in OWN_HEADERS:
            continue
        if name.lower() in KEY_HEADERS:
            ignored.append(name)
            continue
        if not HEADER_NAME.fullmatch(name) or not re.fullmatch(r"[ -~\t]*", value):
            raise SettingsError("OPENAI_CUSTOM_HEADERS holds a line that is not `Name: value` in ASCII.")
        headers[name] = value
    return headers, ignored


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """The PEM file of a certificate and of its key, which may be the same, and the key's password."""

    file: str
    key_file: str
    password: str = field(default="", repr=False)

    def load(self, context: ssl.SSLContext) -> None:
        """Let a connection show the certificate; raises `SettingsError` if its files cannot be used."""
        for name in dict.fromkeys((self.file, self.key_file)):
            try:
                content = read_file(name)
            except OSError as error:
                raise SettingsError(f"{name} cannot be read: {error.strerror}.") from None
        # The last one holds the key.
        encrypted = b"ENCRYPTED" in content
        try:
            # An empty password: without one, OpenSSL would ask on the terminal.
            context.load_cert_chain(self.file, self.key_file, self.password)
        except (ssl.SSLError, ValueError) as error:
            # Not chained: OpenSSL's words say nothing to people.
            raise SettingsError(self.problem(error, encrypted=encrypted)) from None

    def problem(self, error: Exception, *, encrypted: bool) -> str:
        """Return why OpenSSL does not load the files; it seldom says so itself."""
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            return f"{self.key_file} is not the key of the client certificate {self.file}."
        if encrypted:
            state = "is wrong" if self.password else "is not set"
            return f"The private key in {self.key_file} has a password, and {PASSWORD_VARIABLE} {state}."
        return (
            f"The client certificate cannot be used: {self.file} must hold a certificate and {self.key_file} "
            "its private key, in PEM (openssl pkcs12 -in FILE.pfx -out FILE.pem converts a .pfx)."
        )


def client_certificate(
    file: str | None, key_file: str | None, environ: Mapping[str, str]
) -> ClientCertificate | None:
    """Return the certificate that the settings name; raises `SettingsError` if it cannot be used."""
    if file is None:
        if key_file is not None:
            raise SettingsError(f"{setting_name('client_key_file')} needs {setting_name('client_cert')}.")
        return None
    path = os.path.expanduser(file)  # noqa: PTH111 - pathlib raises for an unknown user's ~
    key = os.path.expanduser(key_file) if key_file else path  # noqa: PTH111
    certificate = ClientCertificate(path, key, environ.get(PASSWORD_VARIABLE, ""))
    certificate.load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    return certificate
