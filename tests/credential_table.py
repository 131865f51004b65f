"""Which credential goes to which host? One table: a test holds the code to it, and the docs show it."""

from __future__ import annotations

#: A host of each kind.
HOSTS = {
    "Azure OpenAI": "https://res.openai.azure.com",
    "Azure ML endpoint": "https://e.westeurope.inference.ml.azure.com",
    "api.openai.com": "https://api.openai.com",
    "any other host": "https://gateway.example.com",
}

#: What may name the endpoint, and whether that is typed (else it is in a settings file).
ENDPOINTS = {
    "--endpoint": True,
    "the Python argument endpoint": True,
    "the Python argument deployments": True,
    "BATCHSCORE_ENDPOINT": True,
    "AZURE_OPENAI_ENDPOINT": True,
    "OPENAI_BASE_URL": True,
    "OPENAI_API_BASE": True,
    "endpoint in the file": False,
    "[[deployments]] in the file": False,
}

#: How a settings file came to be read, and whether it may then name endpoints and credentials.
FILES = {
    "named with --config": True,
    "named in BATCHSCORE_CONFIG": True,
    "./batchscore.toml, trusted": True,
    "./batchscore.toml, not trusted": False,
    "./batchscore.toml, changed since it was trusted": False,
}

#: The conditions in the table below.
YES = "yes"
NO = "no"
TYPED = "if typed [1]"
OF_AZURE = "if `AZURE_OPENAI_ENDPOINT` names it"
OF_OPENAI = "if `OPENAI_BASE_URL` or `OPENAI_API_BASE` names it"

#: For each condition, the sources of an endpoint with which the credential is sent.
SENT_WITH = {
    YES: set(ENDPOINTS),
    NO: set(),
    TYPED: {name for name, typed in ENDPOINTS.items() if typed},
    OF_AZURE: {"AZURE_OPENAI_ENDPOINT"},
    OF_OPENAI: {"OPENAI_BASE_URL", "OPENAI_API_BASE"},
}

#: For each credential, in the order of `HOSTS`, when it is sent there; and whether a settings file names it.
CREDENTIALS: dict[str, tuple[tuple[str, str, str, str], bool]] = {
    "`BATCHSCORE_API_KEY`": ((YES, YES, YES, YES), False),
    "`AZURE_OPENAI_API_KEY`": ((YES, OF_AZURE, NO, OF_AZURE), False),
    "`OPENAI_API_KEY`": ((OF_OPENAI, OF_OPENAI, YES, OF_OPENAI), False),
    "`AZURE_OPENAI_AD_TOKEN`": ((YES, NO, NO, OF_AZURE), False),
    "`OPENAI_CUSTOM_HEADERS`": ((YES, YES, YES, YES), False),
    "Entra ID token, by `--auth entra`": ((YES, YES, NO, TYPED), False),
    "Entra ID token, by `auth` in the file": ((YES, YES, NO, TYPED), True),
    "Entra ID token, by `OPENAI_API_TYPE=azure_ad`": ((YES, NO, NO, TYPED), False),
    "Key Vault secret, by `--api-key-from`": ((YES, YES, TYPED, TYPED), False),
    "Key Vault secret, by `api_key_from` in the file": ((YES, YES, TYPED, TYPED), True),
    "`BATCHSCORE_APIM_KEY`, by `--header`": ((YES, YES, YES, YES), False),
    "`BATCHSCORE_APIM_KEY`, by `header` in the file": ((YES, YES, YES, YES), True),
    "`BATCHSCORE_APIM_KEY`, by `--query`": ((YES, YES, YES, YES), False),
    "`BATCHSCORE_APIM_KEY`, by `query` in the file": ((YES, YES, YES, YES), True),
    "`GITHUB_TOKEN` or a provider's key, by `--header`": ((NO, NO, NO, NO), False),
    "`GITHUB_TOKEN` or a provider's key, by `query` in the file": ((NO, NO, NO, NO), True),
    "Client certificate, by `--client-cert`": ((YES, YES, YES, YES), False),
    "Client certificate, by `client_cert` in the file": ((YES, YES, YES, YES), True),
    "`BATCHSCORE_API_KEY` in `api-key`, by `key_header` in the file": ((YES, YES, YES, YES), True),
    "`BATCHSCORE_EAST_KEY`, by `key_variable`": ((YES, YES, YES, YES), True),
    "`GITHUB_TOKEN` or a provider's key, by `key_variable`": ((NO, NO, NO, NO), True),
}


def markdown() -> str:
    """Return both tables as Markdown."""
    lines = ["| credential | " + " | ".join(HOSTS) + " |", "| --- " * (len(HOSTS) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(when)} |" for name, (when, _) in CREDENTIALS.items()]
    lines += ["", "| settings file | may name endpoints and credentials |", "| --- | --- |"]
    lines += [f"| {name} | {YES if may else 'no: the run is refused'} |" for name, may in FILES.items()]
    return "\n".join(lines)
