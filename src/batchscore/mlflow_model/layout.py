"""What does an MLflow model keep, and under which names?

Tables only. Credentials, addresses and the host's pace of a foreign client are none of it.
"""

from __future__ import annotations

MLMODEL = "MLmodel"
FLAVOR = "openai"
#: The module that MLflow loads our models with; it stands in every saved model, so it keeps its name.
LOADER = "batchscore.api.mlflow_function"

#: The flavour's names for what we ask.
TASKS = {"embeddings": "embeddings", "completions": "completions", "chat.completions": "chat"}

#: What a model may hold for its client rather than for the service. How fast to ask and where is the host's
#: business, and credentials stand in the environment alone.
NOT_SENT = frozenset(
    {
        *("model", "task", "messages", "prompt", "input", "engine", "deployment_id", "deployment_name"),
        *("api_base", "base_url", "azure_endpoint", "api_key", "api_key_path", "api_type", "api_version"),
        *("azure_ad_token", "organization", "project", "headers", "extra_headers", "default_headers"),
        *("batch_size", "max_retries", "timeout", "request_timeout", "stream", "stream_options"),
    }
)

#: Settings of ours that a model stores, each with its default; `model`, `task` and parameters stand apart.
STORED = (
    *("deployment", "column", "prompt", "system", "messages", "text_field"),
    *("rpm", "tpm", "quota_share", "batch_size", "max_concurrency", "timeout", "max_retries", "max_outage"),
    *("on_long_input", "dedup"),
)

#: How `predict` answers; each may also be given with its `params`.
ANSWERS = {"on_error": ("record", "raise"), "returns": ("rows", "values")}
