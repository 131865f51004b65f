"""The message for a missing token: what to do, and no secret."""

from __future__ import annotations

import pytest

from batchscore.endpoint.credentials import ADVICE, sign_in_failure


@pytest.mark.parametrize("code", ADVICE)
def test_a_code_of_entra_id_gets_its_advice(code: str) -> None:
    message = sign_in_failure("s/.default", ["Environment"], f"{code}: HUSH", {})
    assert f"({code})" in message
    assert ADVICE[code][1:] in message
    assert "HUSH" not in message


def test_a_service_principal_that_is_refused_is_named() -> None:
    principal = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "HUSH"}
    message = sign_in_failure("s/.default", ["Environment"], "no connection", principal)
    assert "The service principal in AZURE_TENANT_ID" in message
    assert "HUSH" not in message
