"""URIs: what they name, and that no secret in one is ever repeated."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.errors import SettingsError, note_name, visible_message
from batchscore.stores.address import StoredPath, command_word, is_uri, place_of, shell_command, stored_path
from batchscore.stores.errors import store_failure
from buckets import SECRET

AZURE = "abfss://files@account.dfs.core.windows.net"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("s3://bucket", StoredPath("s3", "bucket")),
        ("S3://my.bucket/a//b/", StoredPath("s3", "my.bucket", key="a/b")),
        ("gs://bucket_1/Ü ber/50% [1]?#@:.csv", StoredPath("gs", "bucket_1", key="Ü ber/50% [1]?#@:.csv")),
        (f"{AZURE}/a/b.csv", StoredPath("abfss", "files", "account.dfs.core.windows.net", "a/b.csv")),
    ],
)
def test_an_address_names_a_place_literally(text: str, place: StoredPath) -> None:
    assert is_uri(text)
    assert place_of(text) == place


@pytest.mark.parametrize("text", ["a.csv", "/a/b", "C:/x", "./s3://x", "s3:/bucket", "a b://c", "./~", "a/."])
def test_a_path_stays_a_path(text: str) -> None:
    assert place_of(text) == Path(text)


def test_a_path_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert place_of(".") == place_of("./") == tmp_path / "a"
    assert place_of("..") == place_of("x/../..") == place_of("~") == tmp_path
    assert place_of("~/b") == tmp_path / "b"
    assert place_of("~no such user/b") == Path("~no such user/b")
    assert place_of("/") == Path("/")
    for text in ("", "a\0b", "\ud800"):
        with pytest.raises(SettingsError):
            place_of(text)


@pytest.mark.parametrize(
    ("place", "word"), [("-out", "./-out"), ("~", "./~"), ("a/-b", "a/-b"), (Path("/-x"), "/-x")]
)
def test_a_place_is_a_word_of_a_command(place: str | Path, word: str) -> None:
    assert command_word(place) == word


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"s3://AKIA:{SECRET}@bucket/x", "put secrets into the environment"),
        (f"gs://{SECRET}@bucket/x", "put secrets into the environment"),
        (f"s3://bucket/x?secret_key={SECRET}", "put secrets into the environment"),
        (f"{AZURE}/x.csv?sv=2022-11-02&sig={SECRET}", "put secrets into the environment"),
        (f"abfss://files:{SECRET}@account.dfs.core.windows.net/x", "put secrets into the environment"),
        (
            f"https://account.blob.core.windows.net/files/x?sig={SECRET}",
            "write a store's address as abfss://",
        ),
        (f"wasbs://{SECRET}", "write a store's address as"),
        (f"abfss://{SECRET}/x", "write it as abfss://CONTAINER@ACCOUNT"),
        ("s3:///x", "needs a bucket"),
        ("x" * 300 + "/a.jsonl", "/a.jsonl: the name is too long"),
    ],
)
def test_an_invalid_address_is_reported_without_its_secret(text: str, told: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(told)) as raised:
        place_of(text)
    assert SECRET not in str(raised.value)


KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(KEYS, KEYS)
def test_an_address_as_text_leads_to_the_same_place(key: str, name: str) -> None:
    place = StoredPath("s3", "bucket").at(key) / name.replace("/", "-")
    try:
        assert stored_path(str(place)) == place
    except SettingsError:
        assert re.search(r"\?[^/?=]+=", str(place))
    assert place.parent.at(f"{place.parent.key}/{place.name}") == place
    assert place.with_name("x").name == "x"


#: What the libraries were seen to say (pyarrow 26), and what we make of it.
SAID = [
    (
        "When listing objects under key 'a/' in bucket 'b': AWS Error NO_SUCH_BUCKET during ListObjectsV2",
        "does not exist",
    ),
    ("AWS Error ACCESS_DENIED during HeadObject operation: No response body.", "refuses access"),
    ("AWS Error UNKNOWN (HTTP status 403) during GetObject operation: AKIAEXAMPLE", "refuses access"),
    ("AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 7", "cannot be reached"),
    ("AWS Error UNKNOWN (HTTP status 301) during HeadBucket operation", "in another region"),
    ("AWS Error SLOW_DOWN during PutObject operation", "busy or failing"),
    ("AWS Error INVALID_RANGE during GetObject operation", "failed with INVALID_RANGE"),
    ("'https://a/b?sig=S3' failed. Azure Error: [AuthorizationFailure] 403 Server failed", "refuses access"),
    (
        "UploadFrom failed. Azure Error: [ContainerNotFound] 404 The specified container",
        "bucket or container does not exist",
    ),
    (
        "Azure Error: [] Fail to get a new connection for: https://a.dfs. Could not resolve",
        "cannot be reached",
    ),
    (
        "AuthenticationExceptionE: Failed to get token from DefaultAzureCredential.",
        "no credentials were found",
    ),
    ("google::cloud::Status(PERMISSION_DENIED: Permanent error", "refuses access"),
    (
        "google::cloud::Status(UNAVAILABLE: Could not create a OAuth2 access token",
        "no credentials were found",
    ),
    (
        "google::cloud::Status(UNAVAILABLE: PerformWork() - CURL error [7]=Could not connect",
        "cannot be reached",
    ),
    ("something else altogether", "the store failed; check the same path"),
]


@pytest.mark.parametrize(("said", "told"), SAID)
@pytest.mark.parametrize("scheme", ["s3", "gs", "abfss"])
def test_a_librarys_text_becomes_our_message_without_secrets(scheme: str, said: str, told: str) -> None:
    failure = store_failure(StoredPath(scheme, "bucket", "a.dfs.core.windows.net"), f"{said} {SECRET}")
    assert told in str(failure)
    assert SECRET not in str(failure)
    assert "{" not in str(failure)


@pytest.mark.process
@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "esc\x1b[31m.csv",
        "it's \\ \x1b",
        "two\nlines\t",
        "\udcff\x7f",
        "\x9bx",
        "\u202e\u2028\xa0'\x1bf",
    ],
)
def test_a_shown_command_can_be_copied(name: str) -> None:
    command = shell_command(["printf", "%s", name])
    assert command.isprintable()
    assert subprocess.check_output(["bash", "-c", command]) == os.fsencode(name)


def test_a_message_shows_the_names_of_others_in_one_line_and_obeys_nothing() -> None:
    note_name("folder/two\nlines\u202e.csv")
    text = visible_message("two\nlines\u202e.csv.jsonl: \x1b[2J is\nread")
    assert text == "two\\u000alines\\u202e.csv.jsonl: \\u001b[2J is\nread"
    assert str(SettingsError("folder/two\nlines\u202e.csv")) == "folder/two\\u000alines\\u202e.csv"
