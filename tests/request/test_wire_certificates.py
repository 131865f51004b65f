"""Whose certificates are trusted: a real TLS server whose authority nobody knows but the variables."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from batchscore.errors import SettingsError
from batchscore.request.reply_body import ReplyMemory
from batchscore.request.wire import NoReply, open_wire
from batchscore.rows import Reply


@pytest.fixture(autouse=True)
def no_authority_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def write_certificate(folder: Path, days: int = 1) -> tuple[Path, Path]:
    """Write a certificate of 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a company's proxy")])
    now = datetime.now(timezone.utc)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "ca.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK")
    await writer.drain()
    writer.close()


async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer what is not HTTP as servers without TLS do."""
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


async def post_over_tls(certificate: Path, key: Path, *, host: str = "127.0.0.1", tls: bool = True) -> Reply:
    """Post to a server with that certificate, or to one without TLS."""

    async def unsigned() -> Mapping[str, str]:
        return {}

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    behave, offered = (answer, context) if tls else (refuse, None)
    server = await asyncio.start_server(behave, "127.0.0.1", 0, ssl=offered)
    port = server.sockets[0].getsockname()[1]
    try:
        async with open_wire(f"https://{host}:{port}/v1", {}, unsigned, ReplyMemory()) as send:
            return await send(b"{}", 1000)
    finally:
        server.close()


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_an_authority_that_requests_and_curl_know_is_trusted(
    variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate, key = write_certificate(tmp_path)
    with pytest.raises(NoReply, match="SSL_CERT_FILE"):
        asyncio.run(post_over_tls(certificate, key))
    monkeypatch.setenv(variable, str(certificate))
    assert asyncio.run(post_over_tls(certificate, key)).body == b"OK"


def test_openssls_own_variable_takes_precedence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "another.pem"))
    with pytest.raises(NoReply, match="SSL_CERT_FILE"):
        asyncio.run(post_over_tls(certificate, key))


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_file_without_certificates_is_named(
    content: bytes | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate, key = write_certificate(tmp_path)
    if content is not None:
        (tmp_path / "bad.pem").write_bytes(content)
    monkeypatch.setenv("CURL_CA_BUNDLE", str(tmp_path / "bad.pem"))
    with pytest.raises(SettingsError, match=r"CURL_CA_BUNDLE is .*bad.pem, .* no readable certificates"):
        asyncio.run(post_over_tls(certificate, key))


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("another name", r"the certificate of localhost:\d+ is for another host name; check the endpoint"),
        ("expired", r"the certificate of 127.0.0.1:\d+ has expired$"),
        ("plain", r"127.0.0.1:\d+ does not use TLS; does the endpoint's address begin with http://\?"),
    ],
)
def test_a_failed_handshake_says_what_is_wrong(
    case: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate, key = write_certificate(tmp_path, days=-1 if case == "expired" else 1)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    post = post_over_tls(
        certificate,
        key,
        host="localhost" if case == "another name" else "127.0.0.1",
        tls=case != "plain",
    )
    with pytest.raises(NoReply, match=words):
        asyncio.run(post)
