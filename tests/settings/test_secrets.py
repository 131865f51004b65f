"""Which parameters and texts count as secrets, and what is shown in their place."""

from __future__ import annotations

import json
import shlex
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.errors import UsageError
from batchscore.settings.fields import Settings
from batchscore.settings.secrets import (
    HIDDEN,
    is_secret_name,
    mask_text,
    secret_in,
    shown_address,
    shown_command,
    shown_settings,
    shown_words,
    without_secrets,
)
from batchscore.settings.sources import gather, parse_param_flags

SECRETS = """
    api_key apiKey X-Api-Key connection_string connectionString ConnectionString pwd passwd user_pwd password
    passphrase private_key privateKey bearer auth basic_auth oauth authorization Proxy-Authorization cookie
    Set-Cookie sharedAccessSignature shared_access_signature sas azure_sas sasToken credentials credential
    AccountKey account_key SharedAccessKey clientSecret client_secret access_token refreshToken secrets
    api_keys subscription-key Ocp-Apim-Subscription-Key openai_key sig jwt x-functions-key headers
    extra_headers admin_key token X-Amz-Signature db_pass signature x_signature otp TOTP pem hmac
    kms_key license_key dsn SENTRY_DSN webhook slackWebhookUrl
"""
READABLE = """
    max_tokens max_completion_tokens token_limit tokens tokenizer token_type prompt_cache_key primary_key
    foreign_key sort_key key_variable stop author authority basis passage compass monkey signal logit_bias
    top_p cookie_policy password_policy user session turkey by_pass pass_through headers_only
"""
#: Parts of addresses that stay readable. `abcdsecret12` may be a key or a name.
WORDS_OF_PATHS = """
    API LLM OAI KEY GPT4o Qwen2.5-7B gpt-4o-mini-2024-07-18 Llama-3.3-70B-Instruct prod20240718 v1beta1
    azureopenaiproductioneastus2 OpenAIServiceGatewayEU mistral-7b-instruct-v0.3 123456789012 sk-learn-models
    team_a_2024 a1b2c3d4e5 abcdsecret12
"""


def test_names_of_secrets_are_known_and_others_stay_readable() -> None:
    assert [name for name in SECRETS.split() if not is_secret_name(name)] == []
    assert [name for name in READABLE.split() if is_secret_name(name)] == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://u:HUSH@host/x", "https://***@host/x"),
        ("redis://:HUSH@host:1", "redis://***@host:1"),
        ("abfss://files:HUSH@account.dfs.core.windows.net/x", "abfss://***@account.dfs.core.windows.net/x"),
        ("user:HUSH@db.example.com", "user:***@db.example.com"),
        ("AccountName=a;AccountKey=HUSH+/d==;Suffix=net", "AccountName=a;AccountKey=***;Suffix=net"),
        ("Endpoint=sb://x/;SharedAccessKeyName=r;SharedAccessKey=HUSH=", None),
        ("https://a.blob.core.windows.net/c?sv=2&sig=HUSH%2F&se=1", None),
        ("https://h/?X-Amz-Signature=HUSH", None),
        ("https://h/?code=HUSH", "https://h/?code=***"),
        ("Server=x;Password=HUSH HUSH;", "Server=x;Password=***;"),
        ('{"api_key": "HUSH", "a": [{"key": "HUSH"}]}', '{"api_key": "***", "a": [{"key": "***"}]}'),
        ('see {"api_key": "HU\\"SH"}', 'see {"api_key": "***"}'),
        ("{'password': 'HUSH HUSH'}", "{'password': '***'}"),
        ("{'note': 'pwd=HUSH'}", "{'note': 'pwd=***'}"),
        ("conn=AccountKey=HUSH", "conn=AccountKey=***"),
        ('url="https://h/?a=b&sig=HUSH"', 'url="https://h/?a=b&sig=***"'),
        ("password: HUSH12", "password: ***"),
        ("Authorization: Bearer HUSH", "Authorization: ***"),
        ("Authorization: HUSH1", "Authorization: ***"),
        ("Cookie: sid=HUSH; b=c", "Cookie: ***"),
        ("x-api-key: HUSH", "x-api-key: ***"),
        ("Bearer HUSH12345", "Bearer ***"),
        ("Basic SFVTSDpIVVNI=", "Basic ***"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.HUSH", HIDDEN),
        ("sk-proj-HUSH12345678901234", HIDDEN),
        ("https://h/s/HUSHHUSHHUSH0123456789ABCD/mcp", "https://h/s/***/mcp"),
        ("ghp_" + "HUSH" * 9, HIDDEN),
        ("-----BEGIN RSA PRIVATE KEY-----\nHUSH\n-----END RSA PRIVATE KEY-----", None),
    ],
)
def test_texts_show_no_secret(text: str, shown: str | None) -> None:
    assert mask_text(text) == (mask_text(text) if shown is None else shown)
    assert "HUSH" not in mask_text(text)
    assert HIDDEN in mask_text(text)
    assert secret_in({"note": [{"x": text}]}) == "note.x"


@pytest.mark.parametrize(
    "text",
    [
        "password={column} token=$TOKEN secret=<here>",
        "Write a password: at least 8 characters. Secret: {x}",
        "max_tokens=5 token_limit=7 sort_key=name",
        "mail me@x.com, note: foo@bar.com, mailto:me@x.com",
        "http://localhost:8080/@x s3://bucket/key?x=1 git@github.com:a/b",
        "abfss://scores@account.dfs.core.windows.net/2026 ABFSS://x@a/b wasb://x@a/b",
        "Basic understanding of Bearer bonds",
        "sk-learn-models-are-fine",
        "Authorization: the process of granting rights. Cookie: a small sweet",
        '{"max_tokens": 5}',
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert mask_text(text) == text


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://gw.example/v1/s3cr3tk3ys3cr3t", "https://gw.example/v1/***"),
        ("https://gw/123e4567-e89b-12d3-a456-426614174000/v1?api-version=2", "https://gw/***/v1?api-version=2"),
        ("/sk-1a2b3c4d5e/v1", "/***/v1"),
        ("/sk_live_abcdefgh1/v1", "/***/v1"),
        ("https://h/hunter2hunter22/v1", "https://h/***/v1"),
        ("https://h/openai/0123456789abcdef0123456789abcdef", "https://h/openai/***"),
        ("https://h/Zk9-qT3xW7bL2mN8pR4s/v1", "https://h/***/v1"),
        *(
            (text, text)
            for text in (
                *(f"https://h/{word}/v1" for word in WORDS_OF_PATHS.split()),
                "https://x.openai.azure.com/openai/deployments/GPT4O-PROD1/chat/completions?api-version=2024-10-21",
                "https://x.openai.azure.com/openai/deployments/GPT4O1PROD2EASTUS2/chat/completions",
                "http://127.0.0.1:8000/v1",
                "https://gw.example/team-a/OpenAI/v1beta1",
                "https://x.services.ai.azure.com/api/projects/P7x9K2",
                "http://127.0.0.1:8000",
                "https://gw/***/v1",
            )
        ),
    ],
)  # fmt: skip
def test_a_key_in_the_path_of_an_endpoint_is_hidden(address: str, shown: str) -> None:
    assert shown_address(address) == shown
    assert shown_settings({"endpoint": address, "deployments": [{"endpoint": address}]}) == {
        "endpoint": shown,
        "deployments": [{"endpoint": shown}],
    }
    assert shown_words(["--endpoint", address, f"--endpoint={address}"]) == [
        "--endpoint",
        shown,
        f"--endpoint={shown}",
    ]


@given(st.text(alphabet="ak:=@/;?&'\"{}[]* .-sSigpwd1\n", max_size=60))
def test_what_is_hidden_stays_hidden(text: str) -> None:
    once = mask_text(text)
    assert mask_text(once) == once


#: One on each line.
PIECES = """
https://
https://a
/a1b
a1
1
a
@
:
://
a@b.
=
-
.
eyJ
eyJaaaaaaaa.
authorization:
cookie:a
sk-a
'
"a":"
\\
a;
A
?key=
{
pwd='
a:a
password=
,a:
-----BEGIN PRIVATE KEY-----
-----BEGIN \x20
\x20
bearer\x20
password:\x20
a=
a=a
pwd="\\\\
a =\x20
""".strip("\n").splitlines()


@pytest.mark.parametrize(
    "piece", [pytest.param(piece, marks=pytest.mark.slow) if at else piece for at, piece in enumerate(PIECES)]
)
def test_the_time_grows_with_the_length_of_a_text(piece: str) -> None:
    text = "x " + piece * (65_536 // len(piece))
    start = time.process_time()
    mask_text(text)
    assert time.process_time() - start < 2


def test_a_text_of_deeply_nested_json_is_shown_without_its_secrets() -> None:
    assert mask_text("[" * 500 + '"Bearer HUSH12345"' + "]" * 500) == "[" * 500 + '"Bearer ***"' + "]" * 500


def test_schemas_stay_readable_but_values_do_not() -> None:
    schema = {"properties": {"token": {"type": "string"}, "headers": {"type": "object", "description": "x"}}}
    assert without_secrets({"response_format": schema}) == {"response_format": schema}
    tool = {"headers": {"X-Own": "HUSH"}, "pwd": 12, "key": "HUSH", "token": 7}
    assert without_secrets({"tools": [tool]}) == {
        "tools": [{"headers": HIDDEN, "pwd": HIDDEN, "key": HIDDEN, "token": 7}]
    }


@pytest.mark.parametrize("name", ["name", "key", "header"])
def test_a_value_beside_the_name_of_a_secret_is_one(name: str) -> None:
    value = "Value" if name == "key" else "value"
    pairs = [{name: "x-api-key", value: "HUSH"}, {name: "colour", value: "red"}]
    shown = without_secrets({"pairs": pairs})
    assert shown == {
        "pairs": [
            {name: "x-api-key", value: HIDDEN},
            {**pairs[1], **({"key": HIDDEN} if name == "key" else {})},
        ]
    }
    assert secret_in({"pairs": pairs[:1]})


def test_a_command_shows_no_secret_and_can_be_read_as_before() -> None:
    search: list[Any] = [
        {"authentication": {"type": "connection_string", "connection_string": "HUSH"}, "n": 1}
    ]
    words = ["--param", f"data_sources={json.dumps(search)}", "--param=pwd=HUSH", "--param", "n=[1,2]"]
    shown = shlex.split(shown_command([*words, "-o", "out?sig=HUSH", "--prompt", "Sum: {text}"]))
    search[0]["authentication"]["connection_string"] = HIDDEN
    assert json.loads(shown[1].partition("=")[2]) == search
    assert shown[2:] == ["--param=pwd=***", *words[3:], "-o", "out?sig=***", "--prompt", "Sum: {text}"]


def test_a_shown_secret_is_not_sent() -> None:
    with pytest.raises(
        UsageError, match=r"pwd: \*\*\* hides a secret in a shown command. Put the secret there"
    ):
        parse_param_flags(["pwd=***"])


def test_settings_are_shown_without_secrets() -> None:
    shown = shown_settings({"param": {"pwd": "HUSH"}, "prompt": "a", "keep": ("token",), "rpm": 5.0})
    assert shown == {"param": {"pwd": HIDDEN}, "prompt": "a", "keep": ["token"], "rpm": 5.0}


PASTED = "sk-HUSH-123456789012345"


@pytest.mark.parametrize("name", ["PARAM", "RPM", "DIMENSIONS", "INCREMENTAL", "KEEP"])
def test_a_variable_of_another_kind_is_not_quoted(name: str) -> None:
    value = f"[{PASTED}" if name == "KEEP" else PASTED
    with pytest.raises(UsageError, match=f"BATCHSCORE_{name} is not ") as told:
        gather({}, environ={f"BATCHSCORE_{name}": value})
    assert "HUSH" not in str(told.value)


@pytest.mark.parametrize("name", ["TASK", "DEADLINE", "AUTH", "FORMAT"])
def test_a_variable_that_is_no_choice_is_not_quoted(name: str) -> None:
    environ = {"BATCHSCORE_TASK": "chat", "BATCHSCORE_MODEL": "m", "BATCHSCORE_OUTPUT": "o"}
    given_settings, _ = gather({}, environ={**environ, f"BATCHSCORE_{name}": "HUSH"})
    with pytest.raises(UsageError) as told:
        Settings(**given_settings)
    assert "HUSH" not in str(told.value)


@pytest.mark.parametrize("given_flag", [PASTED, "Authorization: HUSH", f"{PASTED}=[1"])
def test_a_parameter_in_the_wrong_form_is_not_quoted(given_flag: str) -> None:
    with pytest.raises(UsageError) as told:
        parse_param_flags([given_flag])
    assert "HUSH" not in str(told.value)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--header", "X-Key=$BATCHSCORE_X_KEY"], ["--header", "X-Key=$BATCHSCORE_X_KEY"]),
        (["--header", "A=Basic ${BATCHSCORE_X_KEY}"], ["--header", "A=Basic ${BATCHSCORE_X_KEY}"]),
        (["--header", "X-Tenant=blue"], ["--header", "X-Tenant=***"]),
        (["--header", "X=blue $BATCHSCORE_X_KEY blue"], ["--header", "X=***"]),
        (["--header=X-Tenant=a=b"], ["--header=X-Tenant=***"]),
        (["--header", "blue"], ["--header", "***"]),
        (["--query=code=blue", "--query", "a=$B_KEY"], ["--query=code=***", "--query", "a=$B_KEY"]),
    ],
)
def test_a_command_shows_only_names_of_headers_and_variables(words: list[str], shown: list[str]) -> None:
    assert shown_words(words) == shown


def test_settings_show_only_names_of_headers_and_variables() -> None:
    header = {"X": "$BATCHSCORE_X_KEY", "Y": "blue"}
    table = {"name": "a", "rpm": 3, "query": {"code": "blue"}}
    hidden = {"X": "$BATCHSCORE_X_KEY", "Y": "***"}
    assert shown_settings({"header": header, "deployments": (table,)}) == {
        "header": hidden,
        "deployments": [table | {"query": {"code": "***"}}],
    }
