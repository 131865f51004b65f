"""Whose certificates are trusted: a real TLS server whose authority nobody knows but the variables."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from batchscore.endpoint.gateway import ClientCertificate
from batchscore.endpoint.tls import tls_context
from batchscore.errors import SettingsError
from batchscore.request.reply_body import ReplyMemory
from batchscore.request.send import NoReply
from batchscore.request.wire import open_wire
from batchscore.rows import Reply
from certificates import write_certificate
from http_served import Handler, running


@pytest.fixture(autouse=True)
def no_authority_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


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


async def post_over_tls(
    certificate: Path,
    key: Path,
    *,
    host: str = "127.0.0.1",
    tls: bool = True,
    port: int = 0,
    shown: ClientCertificate | None = None,
) -> Reply:
    """Post to a server with that certificate, or to one without TLS; `port` is that of a running one."""

    async def unsigned() -> Mapping[str, str]:
        return {}

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    behave, offered = (answer, context) if tls else (refuse, None)
    server = await asyncio.start_server(behave, "127.0.0.1", 0, ssl=offered)
    port = port or server.sockets[0].getsockname()[1]
    try:
        async with open_wire(
            f"https://{host}:{port}/v1", {}, unsigned, ReplyMemory(), tls=tls_context(shown)
        ) as send:
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


class DemandingServer(ThreadingHTTPServer):
    """Answers clients that show a certificate of its own authority; asyncio's servers send no TLS alert."""

    def __init__(self, certificate: Path, key: Path, version: ssl.TLSVersion) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        self.context.minimum_version = self.context.maximum_version = version
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.context.load_verify_locations(certificate)
        super().__init__(("127.0.0.1", 0), Demanding)

    def finish_request(self, request: Any, client_address: Any) -> None:
        with suppress(OSError), self.context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)


class Demanding(Handler):
    def do_POST(self) -> None:
        self.body()
        self.reply(200, b"OK")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_a_server_that_demands_a_client_certificate_gets_it(
    version: ssl.TLSVersion, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate, key = write_certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    (tmp_path / "other").mkdir()
    own = ClientCertificate(str(certificate), str(key))
    wrong = ClientCertificate(*map(str, write_certificate(tmp_path / "other")))
    with running(DemandingServer(certificate, key, version)) as server:

        def post(shown: ClientCertificate | None) -> Reply:
            return asyncio.run(post_over_tls(certificate, key, port=server.server_port, shown=shown))

        def refusal(shown: ClientCertificate | None) -> NoReply:
            for _ in range(20):
                with pytest.raises(NoReply) as caught:
                    post(shown)
                # With TLS 1.3, the end of the connection may overtake the alert.
                if "certificate" in caught.value.detail:
                    break
            return caught.value

        assert post(own).body == b"OK"
        assert "a client certificate" in refusal(None).detail
        assert "does not accept the client certificate" in refusal(wrong).detail
        server.shutdown()


class Tunnels:
    """A proxy that connects its clients to the service, and remembers what they asked for."""

    def __init__(self, reply: bytes) -> None:
        self.reply = reply
        self.heads: list[str] = []

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        host, _, port = head.split()[1].rpartition(":")
        service, to_service = await asyncio.open_connection(host, int(port))
        writer.write(self.reply)
        await asyncio.wait(
            [asyncio.ensure_future(copy(reader, to_service)), asyncio.ensure_future(copy(service, writer))],
            return_when=asyncio.FIRST_COMPLETED,
        )
        for each in (to_service, writer):
            each.transport.abort()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(2**16):
            writer.write(data)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"HTTP/1.1 200 Connection established\r\n\r\n", ""),
        (b"HTTP/1.0 201 OK\r\nContent-Length: 0\r\nX: y\r\n\r\n", ""),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>", "the proxy at .* sent a reply that is not HTTP"),
        (b"SSH-2.0\r\n\r\n", "the proxy at .* sent a reply that is not HTTP"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nforbidden", r"^the proxy refused \(403\)$"),
    ],
)
def test_a_service_with_tls_is_reached_by_a_tunnel_through_the_proxy(
    scheme: str, reply: bytes, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate, key = write_certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    tunnels = Tunnels(reply)

    async def post() -> Reply:
        context = None
        if scheme == "https":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
        proxy = await asyncio.start_server(tunnels.connected, "127.0.0.1", 0, ssl=context)
        monkeypatch.setenv(
            "HTTPS_PROXY", f"{scheme}://user:pass%40word@127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        )
        try:
            return await post_over_tls(certificate, key)
        finally:
            proxy.close()
            await asyncio.sleep(0.01)  # in which its connections end

    if words:
        with pytest.raises(NoReply, match=words) as caught:
            asyncio.run(post())
        assert caught.value.needs_action
    else:
        assert asyncio.run(post()).body == b"OK"
    assert tunnels.heads[0].startswith("CONNECT 127.0.0.1:")
    assert "Proxy-Authorization: Basic dXNlcjpwYXNzQHdvcmQ=\r\n" in tunnels.heads[0]


def test_connections_with_tls_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And replies of megabytes come through them whole."""
    certificate, key = write_certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    body, connections = b"0123456789" * 300_000, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(int(head.rpartition(b"Content-Length:")[2]))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()

    async def unsigned() -> Mapping[str, str]:
        return {}

    async def run() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with open_wire(url, {}, unsigned, ReplyMemory(), tls=tls_context(None)) as send:
            for size in (2, 2**20, 2):
                assert (await send(b"x" * size, 2**22)).body == body
        server.close()

    asyncio.run(run())
    assert connections == 1
