"""Client certificates: what is loaded, and what is said of files that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchscore.endpoint.gateway import PASSWORD_VARIABLE, client_certificate
from batchscore.errors import SettingsError
from certificates import write_certificate


def test_a_key_may_be_in_its_own_file_or_beside_the_certificate(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    assert client_certificate(None, None, {}) is None
    assert client_certificate(str(both), None, {}) is not None
    assert client_certificate(str(certificate), str(key), {}) is not None


def test_the_password_of_a_key_comes_from_its_variable(tmp_path: Path) -> None:
    files = [str(path) for path in write_certificate(tmp_path, password="SECRET")]
    found = client_certificate(*files, {PASSWORD_VARIABLE: "SECRET"})
    assert found is not None
    assert "SECRET" not in repr(found)
    for given, words in (("", "is not set"), ("WRONG", "is wrong")):
        with pytest.raises(SettingsError, match=f"has a password, and {PASSWORD_VARIABLE} {words}") as caught:
            client_certificate(*files, {PASSWORD_VARIABLE: given})
        assert given == "" or given not in str(caught.value)


def test_what_is_wrong_with_the_files_is_said(tmp_path: Path) -> None:
    certificate, key = map(str, write_certificate(tmp_path))
    (tmp_path / "other").mkdir()
    _, other = map(str, write_certificate(tmp_path / "other"))
    junk = tmp_path / "junk"
    junk.write_text("PKCS12")
    for given, words in (
        ((certificate, other), "is not the key of the client certificate"),
        ((certificate, None), "must hold a certificate"),
        ((str(junk), key), "must hold a certificate"),
        ((certificate, str(junk)), "must hold a certificate"),
        ((str(tmp_path), None), "cannot be read: Is a directory"),
    ):
        with pytest.raises(SettingsError, match=words):
            client_certificate(*given, {})
