"""What is known of a deployment before its first request."""

from __future__ import annotations

import pytest

from batchscore.engine.open import hint_of_key


@pytest.mark.parametrize(
    ("key", "hinted"),
    [('"secret"', True), ("'secret", True), ("Bearer “secret”", True), ("secret", False), (None, False)],
)
def test_a_refused_key_in_quotation_marks_gets_a_hint(key: str | None, hinted: bool) -> None:  # noqa: FBT001
    hint = hint_of_key(key)
    assert bool(hint) is hinted
    assert "secret" not in hint
