"""What is known of a deployment before its first request."""

from __future__ import annotations

from typing import Any

from batchscore.endpoint.target import Target
from batchscore.engine.open import secret_texts


def target(**fields: Any) -> Target:
    plain = {"headers": {"Accept": "application/json"}, "auth": "key", "key_headers": ()}
    return Target("https://host/v1", body_model="m", surface="openai", **{**plain, **fields})


def test_the_secrets_of_a_run_are_known_so_that_no_message_shows_them() -> None:
    search = [{"parameters": {"authentication": {"key": "s3cret"}, "index_name": "docs"}}]
    params = {"seed": 7, "user": "me", "api_key": "k3y", "data_sources": search}
    headers = {"User-Agent": "batchscore", "X-Gateway": "g4te"}
    found = secret_texts(params, target(key="Bearer t0ken", headers=headers, query={"code": "c0de"}))
    assert set(found) == {"s3cret", "k3y", "t0ken", "g4te", "c0de"}
    assert set(secret_texts({}, target(key="me:passw0rd", auth="basic"))) == {"me", "passw0rd"}
    assert set(secret_texts({"seed": 7}, target())) == set()
