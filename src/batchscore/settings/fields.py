"""What can be set, in which unit, and in which range?

Each value is checked at construction; `sources` knows where values come from. API keys and tokens are not
settings; `endpoint.credentials` finds them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from batchscore.settings.checks import check, check_together
from batchscore.settings.declare import setting
from batchscore.settings.prices import token_cost
from batchscore.task import TASKS

FORMATS = ("jsonl", "parquet")
#: Names of models that refuse `max_tokens` (Azure's page on reasoning models, seen 2026-09).
COMPLETION_TOKEN_MODELS = re.compile(r"(^|[/:])(o\d|gpt-5)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """All settings of a run. Construction checks them and raises `UsageError`."""

    task: str = setting(
        "What the model does: return vectors, complete texts, or answer chats.",
        choices=tuple(TASKS),
        metavar="|".join(TASKS),
    )
    model: str = setting(
        "The model's name at the service. Or an MLflow model: its folder, models:/… or runs:/….",
        flag="-m",
        metavar="NAME",
    )
    output: str = setting(
        "Where to write the scores: a folder, or one file ending in .jsonl, .parquet or .arrow.",
        flag="-o",
        metavar="OUT",
    )

    endpoint: str | None = setting("URL of the service.", metavar="URL", group="Endpoint")
    deployment: str | None = setting(
        "Name of the Azure deployment. Default: the model's name.", metavar="NAME", group="Endpoint"
    )
    api_version: str | None = setting(
        "Azure api-version. Default: none, which uses the v1 API.", metavar="V", group="Endpoint"
    )
    auth: str | None = setting(
        "How to sign in: with a key from the environment, with Entra ID, or not at all.",
        choices=("key", "entra", "none"),
        group="Endpoint",
    )
    api_key_from: str | None = setting(
        "Key Vault secret that holds the API key: https://VAULT.vault.azure.net/secrets/NAME. Read with "
        "Entra ID.",
        metavar="URL",
        group="Endpoint",
    )
    simulate: bool = setting(
        "Use the built-in simulator instead of a real service, as a free rehearsal.",
        default=False,
        group="Endpoint",
        only_flag=True,
    )

    column: str | None = setting("Column that holds the text.", metavar="NAME", group="Prompt")
    prompt: str | None = setting(
        "Template for the prompt: {column} inserts a cell, {{ and }} are literal braces.",
        metavar="TEMPLATE",
        group="Prompt",
    )
    system: str | None = setting(
        "System message (chat only). May be a template.", metavar="TEXT", group="Prompt"
    )
    messages: str | None = setting(
        "JSON file of chat messages whose texts are templates, or the JSON itself.",
        metavar="FILE",
        group="Prompt",
    )
    text_field: str | None = setting(
        "Template field filled from --column. Default: the column with the same name, or the only text "
        "column.",
        metavar="NAME",
        group="Prompt",
    )
    txt: str = setting(
        "What counts as a row of a .txt file: each line, or the whole document.",
        choices=("lines", "document"),
        default="lines",
        group="Prompt",
    )
    param: Mapping[str, Any] = setting(
        "Parameter of the API, passed unchanged; @FILE reads its JSON from a file. Repeatable.",
        default={},
        metavar="NAME=JSON",
        group="Prompt",
    )
    dimensions: int | None = setting(
        "Length of the vectors, if the model supports a choice.", lowest=1, group="Prompt"
    )
    max_tokens: int | None = setting(
        "Maximum tokens per answer. Sent as max_completion_tokens if the model requires that.",
        lowest=1,
        group="Prompt",
    )

    id: str | None = setting(
        "Column whose text every record carries as its id.", metavar="COLUMN", group="Records"
    )
    keep: tuple[str, ...] = setting(
        "Column to copy into every record, or '*' for all. Repeatable.",
        default=(),
        metavar="COLUMN",
        group="Records",
    )
    format: str = setting(
        "File format of the output parts.", choices=FORMATS, default="jsonl", group="Records"
    )
    usage: bool = setting("Add each answer's token usage to its record.", default=False, group="Records")
    raw: bool = setting("Add the service's complete reply to the record.", default=False, group="Records")
    rows_per_part: int = setting("Rows per output part.", default=2000, lowest=1, group="Records")
    overwrite: bool = setting(
        "Discard the existing output of this task and start from scratch.",
        default=False,
        group="Records",
        only_flag=True,
    )
    incremental: bool = setting(
        "Score only new or changed rows; write a change log to OUT/changes/.", default=False, group="Records"
    )
    prune: bool = setting(
        "With --incremental: remove the scores of input files that no longer exist.",
        default=False,
        group="Records",
    )
    retry_errors: bool = setting(
        "Retry all failed rows, including those with permanent errors.",
        default=False,
        group="Records",
        only_flag=True,
    )

    shared_output: bool = setting(
        "Let several workers write to the same output, on one machine or many. Takes no lock; their results "
        "are merged.",
        default=False,
        group="Records",
    )
    scratch_dir: str | None = setting(
        "Local directory for checkpoint files. Default: inside OUT, or the temp directory if OUT cannot be "
        "appended to.",
        metavar="FOLDER",
        group="Records",
    )
    base_dir: str | None = setting(
        "Folder that file names in records are relative to. Default: the common folder of all INPUTs.",
        metavar="FOLDER",
        group="Records",
    )

    rpm: float | None = setting(
        "Rate limit in requests per minute. Default: read from response headers.",
        lowest=0.001,
        metavar="N",
        group="Pace",
    )
    tpm: float | None = setting(
        "Rate limit in tokens per minute. Default: read from response headers.",
        lowest=0.001,
        metavar="N",
        group="Pace",
    )
    quota_share: float = setting(
        "Initial share of the quota if several machines use it (0.25 for four machines); adjusts "
        "automatically.",
        default=1.0,
        lowest=0.001,
        highest=1.0,
        group="Pace",
    )
    batch_size: int = setting(
        "Maximum rows per embeddings request. Reduced automatically if the service accepts fewer.",
        default=256,
        lowest=1,
        group="Pace",
    )
    max_concurrency: int = setting(
        "Maximum number of concurrent requests. The number in use is tuned automatically up to this limit.",
        default=512,
        lowest=1,
        group="Pace",
    )
    timeout: float | None = setting(
        "Seconds to wait for a response before retrying. Doubles on each retry. Default: 15, or four times "
        "the usual latency.",
        metavar="SECONDS",
        lowest=0.001,
        group="Pace",
    )
    max_retries: int = setting(
        "Maximum retries of a request after a service failure.", default=6, lowest=0, group="Pace"
    )
    max_outage: float = setting(
        "Seconds without any successful response before the run stops, to be resumed later.",
        default=1800.0,
        lowest=0,
        metavar="SECONDS",
        group="Pace",
    )
    on_long_input: str = setting(
        "If the input exceeds the model's context: fail the row, or truncate it (its record says so).",
        choices=("error", "truncate"),
        default="error",
        group="Prompt",
    )
    dedup: bool = setting(
        "Send duplicate prompts only once (among the most recent few thousand).", default=False, group="Pace"
    )
    deployments: tuple[Mapping[str, Any], ...] = setting(
        "Several deployments whose quotas add up: one table in the file for each.",
        default=(),
        group="Endpoint",
        only_file=True,
    )
    max_row_bytes: int = setting(
        "Maximum size of a row in bytes. A larger row fails instead of using too much memory.",
        default=16 * 2**20,
        lowest=1,
        group="Pace",
    )
    limit: int | None = setting(
        "Stop after the first N rows. A later run without it scores the rest.",
        lowest=1,
        metavar="N",
        group="Bounds",
        only_flag=True,
    )
    error_threshold: float = setting(
        "Accepted number of failed rows, or fraction below 1. With more, the exit code is 3.",
        default=0.0,
        lowest=0,
        group="Bounds",
    )
    max_errors: int | None = setting(
        "Stop when this many rows of the run have failed. Completed rows are saved.", lowest=1, group="Bounds"
    )
    max_total_tokens: int | None = setting(
        "Stop when the service has billed this many tokens in this run, prompts and answers together.",
        lowest=1,
        group="Bounds",
    )
    max_spend: float | None = setting(
        "Stop when the run has cost this much, in the currency of the given prices.",
        metavar="AMOUNT",
        lowest=0.0001,
        group="Bounds",
    )
    price_in: float | None = setting(
        "Price of a million prompt tokens.", metavar="PRICE", lowest=0, group="Bounds"
    )
    price_out: float | None = setting(
        "Price of a million answer tokens.", metavar="PRICE", lowest=0, group="Bounds"
    )
    prices: str | Mapping[str, Any] | None = setting(
        "TOML file of prices by model, used if --price-in and --price-out are not given.",
        metavar="FILE",
        group="Bounds",
    )
    deadline: str | None = setting(
        "Stop in time to finish by this point: 2h, 90m, 45s, 06:30 or 2026-11-22T06:30.",
        metavar="DURATION|TIME",
        group="Bounds",
    )

    track: bool | None = setting(
        "Log this run to MLflow. Starts an MLflow run if none is active. On by default inside an active run, "
        "unless BATCHSCORE_TRACK is false.",
        group="Tracking",
    )

    def __post_init__(self) -> None:
        """Check each value, then all values together."""
        for declared in fields(self):
            check(declared, getattr(self, declared.name))
        check_together(self)

    @property
    def api_params(self) -> dict[str, Any]:
        """The API parameters of every request: those with a setting of their own, and those of `param`."""
        chosen: dict[str, Any] = {}
        if self.dimensions is not None:
            chosen["dimensions"] = self.dimensions
        if self.max_tokens is not None:
            chosen["max_completion_tokens" if self.wants_completion_tokens else "max_tokens"] = (
                self.max_tokens
            )
        return {**chosen, **self.param}

    @property
    def wants_completion_tokens(self) -> bool:
        """Whether the model refuses `max_tokens`, judging by its name."""
        return TASKS[self.task].takes_messages and bool(COMPLETION_TOKEN_MODELS.search(self.model))

    @property
    def answers_per_row(self) -> int:
        """Number of answers per row, from the parameter `n`."""
        n = self.param.get("n", 1)
        return n if isinstance(n, int) and TASKS[self.task].answer == "text" else 1

    @property
    def answer_tokens(self) -> float | None:
        """Maximum tokens per answer, `None` if no setting limits them."""
        if TASKS[self.task].answer == "vector":
            return 0.0
        bounds = [self.api_params.get(name) for name in ("max_completion_tokens", "max_tokens")]
        return next((float(bound) for bound in bounds if isinstance(bound, int)), None)

    @property
    def charged_answer_tokens(self) -> float | None:
        """Tokens that the quota is charged for a row's answers, `None` if no setting limits them."""
        return None if self.answer_tokens is None else self.answer_tokens * self.answers_per_row

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """Return what tokens cost, in the currency of the prices; `None` if a price is not set."""
        return token_cost(self.task, self.price_in, self.price_out, prompt_tokens, completion_tokens)
