"""What is known of a deployment before its first request."""

from __future__ import annotations

import pytest

from batchscore.engine.open import hint_of_key, secret_texts


@pytest.mark.parametrize(
    ("key", "hinted"),
    [('"secret"', True), ("'secret", True), ("Bearer “secret”", True), ("secret", False), (None, False)],
)
def test_a_refused_key_in_quotation_marks_gets_a_hint(key: str | None, hinted: bool) -> None:  # noqa: FBT001
    hint = hint_of_key(key)
    assert bool(hint) is hinted
    assert "secret" not in hint


def test_secrets_in_parameters_are_known_so_that_no_message_shows_them() -> None:
    search = [{"parameters": {"authentication": {"key": "s3cret"}, "index_name": "docs"}}]
    params = {"seed": 7, "user": "me", "api_key": "k3y", "data_sources": search}
    assert set(secret_texts(params, "Bearer t0ken")) == {"s3cret", "k3y", "t0ken"}
    assert set(secret_texts({"seed": 7}, None)) == set()
