"""A part of Azure on loopback: token services, a model that accepts only their tokens, and a Key Vault.

It is a real server. azure-identity calls it as on Azure ML, on App Service and through IMDS.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from itertools import pairwise
from urllib.parse import parse_qs, urlsplit

import pytest

from http_served import Handler, running

MODEL = "https://cognitiveservices.azure.com"
VAULT = "https://vault.azure.net"

#: A busy machine keeps a request for a moment, in which its token may expire.
LATE_SECONDS = 1.0


@dataclass(frozen=True)
class Issued:
    """A token, its protocol, and the times of its issue and expiry."""

    text: str
    protocol: str
    resource: str
    client_id: str | None
    at: float
    expires_on: int


@dataclass
class Cloud:
    """The requests received, and how to answer the next ones."""

    port: int = 0
    life_seconds: int = 3600
    refuse_tokens: int | None = None
    key: str = "k3y-of-the-vault"
    #: After this many requests to the model, the key is replaced by `key-2`.
    exchange_key_after: int | None = None
    vault_status: int = 200
    vault_body: dict[str, object] = field(default_factory=dict)
    tokens: list[Issued] = field(default_factory=list)
    answered: int = 0
    rejected: int = 0
    secrets_read: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def issue(self, protocol: str, resource: str, client_id: str | None = None) -> Issued:
        """Return a new token."""
        with self.lock:
            now = time.time()
            issued = Issued(
                f"T0KEN-{len(self.tokens)}", protocol, resource, client_id, now, int(now) + self.life_seconds
            )
            self.tokens.append(issued)
            return issued

    def takes(self, authorization: str | None, resource: str) -> bool:
        """Whether a header holds a valid token for a resource."""
        return any(
            authorization == f"Bearer {token.text}" and token.resource == resource
            for token in self.tokens
            if token.expires_on + LATE_SECONDS > time.time()
        )

    def each_token_served_its_life(self, protocol: str) -> bool:
        """Whether each token was requested only after the previous one had expired."""
        mine = [token for token in self.tokens if token.protocol == protocol]
        return all(new.at >= old.expires_on for old, new in pairwise(mine))


@contextmanager
def serving() -> Iterator[Cloud]:
    """Serve while the block runs."""
    cloud = Cloud()

    class OfThisCloud(_Handler):
        pass

    OfThisCloud.cloud = cloud
    with running(ThreadingHTTPServer(("127.0.0.1", 0), OfThisCloud)) as server:
        cloud.port = server.server_port
        yield cloud


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with serving() as running:
        yield running


class _Handler(Handler):
    protocol_version = "HTTP/1.1"
    cloud: Cloud

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(split.query).items()}
        if split.path.startswith("/secrets/"):
            return self.secret()
        if split.path == "/msi":
            right, protocol, client_id = self.headers["secret"] == "s3", "azureml", query.get("clientid")
        elif split.path == "/app":
            right = self.headers["X-IDENTITY-HEADER"] == "s3"
            protocol, client_id = "app-service", query.get("client_id")
        elif split.path == "/metadata/identity/oauth2/token":
            right, protocol, client_id = self.headers["Metadata"] == "true", "imds", query.get("client_id")
        else:
            return self.reply_json(404, {"error": "not_found"})
        if not right or "resource" not in query:
            return self.reply_json(400, {"error": "invalid_request", "error_description": "HUSH"})
        if self.cloud.refuse_tokens is not None:
            return self.reply_json(
                self.cloud.refuse_tokens, {"error": "refused", "error_description": "HUSH"}
            )
        issued = self.cloud.issue(protocol, query["resource"].rstrip("/"), client_id)
        return self.reply_json(
            200,
            {
                "access_token": issued.text,
                "expires_on": str(issued.expires_on),
                "expires_in": str(self.cloud.life_seconds),
                "token_type": "Bearer",
                "resource": query["resource"],
            },
        )

    def do_POST(self) -> None:
        body = json.loads(self.body())
        cloud = self.cloud
        given = self.headers["api-key"]
        with cloud.lock:
            if cloud.exchange_key_after is not None and cloud.answered >= cloud.exchange_key_after:
                cloud.key, cloud.exchange_key_after = "key-2", None
            taken = given == cloud.key if given else cloud.takes(self.headers["Authorization"], MODEL)
            cloud.answered += taken
            cloud.rejected += not taken
        if not taken:
            return self.reply_json(401, {"error": {"code": "401", "message": "Access denied"}})
        texts = body["input"]
        data = [{"index": index, "embedding": [float(len(text)), 1.0]} for index, text in enumerate(texts)]
        return self.reply_json(200, {"data": data, "usage": {"prompt_tokens": len(texts)}})

    def secret(self) -> None:
        cloud = self.cloud
        cloud.secrets_read += 1
        if cloud.vault_status != 200:
            return self.reply_json(cloud.vault_status, cloud.vault_body)
        if not cloud.takes(self.headers["Authorization"], VAULT):
            return self.reply_json(401, {"error": {"code": "Unauthorized"}})
        return self.reply_json(200, {"value": cloud.key, "id": "x"})

    def reply_json(self, status: int, answer: object, headers: Mapping[str, str] | None = None) -> None:
        moved = {"Location": f"http://localhost:{self.cloud.port}{self.path}"}
        super().reply_json(status, answer, moved if 300 <= status < 400 else headers)
