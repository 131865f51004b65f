"""What does an MLflow model store, and under which names?

Only tables. Credentials and the client settings of other writers are not stored.
"""

from __future__ import annotations

from batchscore.settings.arguments import StoredSettings

MLMODEL = "MLmodel"
FLAVOR = "openai"
#: The module that loads our models for MLflow. Its name is in each saved model, so it must not change.
LOADER = "batchscore.api.mlflow_function"

#: Entries of a model for its client, which are not sent to the service. The host decides on address and rate,
#: and credentials come only from the environment.
NOT_SENT = frozenset(
    {
        *("model", "task", "messages", "prompt", "input", "engine", "deployment_id", "deployment_name"),
        *("api_base", "base_url", "azure_endpoint", "api_key", "api_key_path", "api_type", "api_version"),
        *("azure_ad_token", "organization", "project", "headers", "extra_headers", "default_headers"),
        *("batch_size", "max_retries", "timeout", "request_timeout", "stream", "stream_options"),
    }
)

#: Settings that a model stores; parameters of the API are stored apart.
STORED = tuple(
    name for name in StoredSettings.__annotations__ if name not in {"param", "dimensions", "max_tokens"}
)

#: Names of settings in models that were saved before 0.1.0.
EARLIER_NAMES = {"share": "quota_share", "concurrency": "max_concurrency", "retries": "max_retries"}

#: Options of `predict`; each may also be given in its `params`.
ANSWERS = {"on_error": ("record", "raise"), "returns": ("rows", "values")}
