"""Gateways: what they want is sent and shown nowhere, and a refusal says which address was called."""

from __future__ import annotations

import json
import re
import shlex
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from certificates import write_certificate
from http_served import Handler, running

if TYPE_CHECKING:
    from conftest import Cli, Files

SECRET = "k3y-that-must-show-nowhere"
SCORE = ("score", "a.csv", "-o", "out", "--task", "embeddings", "-m", "m", "--column", "text")


class Gateway(ThreadingHTTPServer):
    """Answers requests that have all of `wanted`, below `/` and nowhere else; others get `refusal`."""

    def __init__(self, wanted: dict[str, str], refusal: int, certificate: tuple[Path, Path] | None) -> None:
        self.wanted, self.refusal = wanted, refusal
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.context: ssl.SSLContext | None = None
        if certificate is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate, password=SECRET)
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(certificate[0])
        super().__init__(("127.0.0.1", 0), _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.context is None:
            super().finish_request(request, client_address)
            return
        with suppress(OSError), self.context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)


class _Handler(Handler):
    server: Gateway

    def do_POST(self) -> None:
        given = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((self.path, given))
        rows = json.loads(self.body())["input"]
        rows = [rows] if isinstance(rows, str) else rows
        is_right = self.server.wanted.items() <= given.items() and self.path.startswith("/embeddings")
        data = [{"index": number, "embedding": [0.5, 1.0]} for number in range(len(rows))]
        content = json.dumps(
            {"data": data, "usage": {"prompt_tokens": len(rows)}} if is_right else {}
        ).encode()
        self.reply(200 if is_right else self.server.refusal, content)


@contextmanager
def gateway(
    wanted: dict[str, str] | None = None, refusal: int = 401, certificate: tuple[Path, Path] | None = None
) -> Iterator[tuple[Gateway, str]]:
    """Run a gateway; yield it and the address of its requests."""
    with running(Gateway(wanted or {}, refusal, certificate)) as server:
        yield server, f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}/embeddings"


def written() -> str:
    """Return everything in the output, also the names of files."""
    files = [path for path in Path("out").rglob("*") if path.is_file()]
    return "\n".join(f"{path} {path.read_bytes().decode('utf-8', 'replace')}" for path in files)


def test_a_gateway_gets_its_headers_and_parameters_and_nobody_else_sees_them(
    batchscore: Cli, files: Files
) -> None:
    files.texts("a.csv", ["one", "two"])
    wanted = {"ocp-apim-subscription-key": SECRET, "x-tenant": "literal-s3cret"}
    with gateway(wanted) as (server, url):
        run = batchscore(
            *(*SCORE, "--endpoint", url, "--header", "Ocp-Apim-Subscription-Key=$BATCHSCORE_APIM_KEY"),
            *("--header=X-Tenant=literal-s3cret", "--query", "code=${BATCHSCORE_APIM_KEY}"),
            env={"BATCHSCORE_APIM_KEY": SECRET},
        )
        assert run.exit_code == 0, run
        assert {path for path, _ in server.seen} == {f"/embeddings?code={SECRET}"}
    assert run.stderr.splitlines()[0] == (
        f"Requests go to {url} (--endpoint) with no key (OPENAI_API_KEY not sent to this host) and the "
        "headers Ocp-Apim-Subscription-Key, X-Tenant and the query parameter code. Settings file: none."
    )
    (record,) = (json.loads(path.read_text()) for path in Path("out/runs").glob("*.json"))
    shown = {"Ocp-Apim-Subscription-Key": "$BATCHSCORE_APIM_KEY", "X-Tenant": "***"}
    assert (record["settings"]["header"], record["endpoints"][0]["url"]) == (shown, url)
    assert "--header=X-Tenant=***" in shlex.split(record["command"])
    for secret in (SECRET, "literal-s3cret"):
        assert secret not in written() + run.stdout + run.stderr


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--key-header", "both"], {"api-key": SECRET, "authorization": f"Bearer {SECRET}"}),
        (["--key-header", "api-key"], {"api-key": SECRET}),
        (["--auth", "basic"], {"authorization": "Basic bWU6cGFzcw=="}),
    ],
)
def test_the_key_goes_into_the_header_that_a_gateway_reads(
    given: list[str], expected: dict[str, str], batchscore: Cli, files: Files
) -> None:
    files.texts("a.csv", ["one"])
    key = "me:pass" if "basic" in given else SECRET
    with gateway(expected) as (_, url):
        run = batchscore(*SCORE, "--endpoint", url, *given, env={"BATCHSCORE_API_KEY": key})
    assert run.exit_code == 0, run
    assert key not in written() + run.stdout + run.stderr


@pytest.mark.parametrize(("status", "path"), [(401, ""), (403, ""), (404, "/v1"), (404, "/x/v1/embeddings")])
def test_a_refusal_says_which_address_was_called_and_which_key_was_withheld(
    status: int, path: str, batchscore: Cli, files: Files
) -> None:
    files.texts("a.csv", ["one"])
    with gateway({"api-key": "k"}, status) as (_, url):
        root = url.removesuffix("/embeddings")
        query = ("--query", "code=$BATCHSCORE_APIM_KEY")
        run = batchscore(*SCORE, "--endpoint", root + path, *query, env={"BATCHSCORE_APIM_KEY": SECRET})
    called = f"{root}{path or '/v1'}".removesuffix("/embeddings") + "/embeddings"
    assert run.exit_code == 1, run
    assert f"Requests go to {called}." in run.stdout
    assert ("OPENAI_API_KEY is set, but is not sent to 127.0.0.1" in run.stdout) == (status != 404)
    assert SECRET not in run.stdout + run.stderr


def test_a_client_certificate_is_shown_to_a_gateway_that_demands_one(
    batchscore: Cli, files: Files, tmp_path: Path
) -> None:
    files.texts("a.csv", ["one"])
    certificate, key = write_certificate(tmp_path, password=SECRET)
    env: dict[str, str | None] = {
        "REQUESTS_CA_BUNDLE": str(certificate),
        "SSL_CERT_FILE": None,
        "SSL_CERT_DIR": None,
        "BATCHSCORE_CLIENT_CERT_PASSWORD": SECRET,
    }
    with gateway(certificate=(certificate, key)) as (_, url):
        flags = ("--client-cert", str(certificate), "--client-key-file", str(key))
        run = batchscore(*SCORE, "--endpoint", url, *flags, env=env)
        env["BATCHSCORE_CLIENT_CERT_PASSWORD"] = "no"
        unknown = batchscore(*SCORE, "--endpoint", url, *flags, env=env)
    assert run.exit_code == 0, run
    assert f"and the client certificate {certificate}." in run.stderr
    assert SECRET not in written() + run.stdout + run.stderr
    assert unknown.exit_code == 1
    assert "BATCHSCORE_CLIENT_CERT_PASSWORD is wrong" in unknown.said


@pytest.mark.slow
def test_a_missing_client_certificate_needs_a_person(batchscore: Cli, files: Files, tmp_path: Path) -> None:
    files.texts("a.csv", ["one"])
    own = write_certificate(tmp_path, password=SECRET)
    env = {"REQUESTS_CA_BUNDLE": str(own[0]), "SSL_CERT_FILE": None, "SSL_CERT_DIR": None}
    with gateway(certificate=own) as (_, url):
        run = batchscore(*SCORE, "--endpoint", url, "--max-outage", "5", env=env)
    assert run.exit_code == 1, run
    assert "demands a client certificate" in run.said


def test_settings_of_gateways_need_trust_and_are_refused_without_a_value(
    batchscore: Cli, files: Files
) -> None:
    files.texts("a.csv", ["one"])
    files.text("batchscore.toml", f'[header]\nX-Own = "{SECRET}"\n[query]\ncode = "$BATCHSCORE_A_KEY"\n')
    files.text("named.toml", '[header]\nX-Own = "$GITHUB_TOKEN"\n')
    implicit, empty, other, named = batchscore.together(
        SCORE,
        (*SCORE, "--config", "named.toml", "--header", "X-Own="),
        (*SCORE, "--config", "named.toml", "--header", "X-Own: a"),
        (*SCORE, "--config", "named.toml"),
    )
    assert "(header, query), and nobody named it" in implicit.said
    assert "--header (X-Own): its value is empty" in empty.said
    assert "--header: write NAME=VALUE" in other.said
    assert re.search(r"header in named.toml \(X-Own\): .* BATCHSCORE_ and end in _KEY", named.said)
    assert [run.exit_code for run in (implicit, empty, other, named)] == [1, 2, 2, 2]
    for run in (implicit, empty, other, named):
        assert SECRET not in run.said
        assert "GITHUB" not in run.said
