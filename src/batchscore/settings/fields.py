"""What can be set, in which unit, within which bounds?

Each value is checked once, at construction; where values come from is `configuration`'s question. Keys
and tokens are no settings; `request.endpoint` finds them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from batchscore.settings.checks import check, check_together
from batchscore.settings.declare import setting
from batchscore.settings.prices import token_cost

TASKS = ("embeddings", "completions", "chat")
FORMATS = ("jsonl", "parquet")
#: Model families that refuse `max_tokens` (Azure's page on reasoning models, seen 2026-09).
COMPLETION_TOKEN_MODELS = re.compile(r"(^|[/:])(o\d|gpt-5)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything that a run can be told. Checked at construction; raises `UsageError`."""

    task: str = setting(
        "What to ask the model for.", kind="choice", choices=TASKS, metavar="embeddings|completions|chat"
    )
    model: str = setting(
        "The model's name, as the service knows it; or an MLflow model: its folder, models:/… or runs:/….",
        flag="-m",
        metavar="NAME",
    )
    output: str = setting(
        "Where the scores go: a folder, or one file ending in .jsonl, .parquet or .arrow.",
        flag="-o",
        metavar="OUT",
    )

    endpoint: str | None = setting("The service's address.", metavar="URL", group="Endpoint")
    deployment: str | None = setting(
        "Azure's name for the deployed model, where it differs from the model's.",
        metavar="NAME",
        group="Endpoint",
    )
    api_version: str | None = setting(
        "Azure's api-version; without one the v1 surface is used.", metavar="V", group="Endpoint"
    )
    auth: str | None = setting(
        "How to sign in: with a key from the environment, by Entra ID, or not at all.",
        kind="choice",
        choices=("key", "entra", "none"),
        group="Endpoint",
    )
    api_key_from: str | None = setting(
        "The Key Vault secret that holds the key, https://VAULT.vault.azure.net/secrets/NAME; it is read by "
        "Entra ID.",
        metavar="URL",
        group="Endpoint",
    )
    simulate: bool = setting(
        "Rehearse on the simulator that comes with batchscore instead of a real service.",
        kind="flag",
        default=False,
        group="Endpoint",
        only_flag=True,
    )

    column: str | None = setting("The column that holds the text.", metavar="NAME", group="Prompt")
    prompt: str | None = setting(
        "A template instead of a column: {column} takes a cell, {{ and }} are braces.",
        metavar="TEMPLATE",
        group="Prompt",
    )
    system: str | None = setting(
        "A system message before the user's (chat); a template too.", metavar="TEXT", group="Prompt"
    )
    messages: str | None = setting(
        "A JSON file of chat messages whose texts are templates, or that JSON itself.",
        metavar="FILE",
        group="Prompt",
    )
    text_field: str | None = setting(
        "The template's field that stands for the text: it takes --column, else the column of its name, else "
        "the only one that holds text.",
        metavar="NAME",
        group="Prompt",
    )
    txt: str = setting(
        "What a row of a .txt file is: each line, or the whole document.",
        kind="choice",
        choices=("lines", "document"),
        default="lines",
        group="Prompt",
    )
    param: Mapping[str, Any] = setting(
        "A parameter of the API, sent untouched; @FILE reads the JSON from a file. Repeatable.",
        kind="params",
        default={},
        metavar="NAME=JSON",
        group="Prompt",
    )
    dimensions: int | None = setting(
        "Length of the vectors, where the model lets one choose.", kind="int", lowest=1, group="Prompt"
    )
    max_tokens: int | None = setting(
        "Most tokens of an answer (sent as max_completion_tokens where the model wants that).",
        kind="int",
        lowest=1,
        group="Prompt",
    )

    id: str | None = setting(
        "A column whose text goes into every record as its id.", metavar="COLUMN", group="Records"
    )
    keep: tuple[str, ...] = setting(
        "A column to carry into every record, or '*' for all. Repeatable.",
        kind="many",
        default=(),
        metavar="COLUMN",
        group="Records",
    )
    format: str = setting(
        "Format of the parts in a folder.", kind="choice", choices=FORMATS, default="jsonl", group="Records"
    )
    usage: bool = setting(
        "Put each answer's token usage into its record.", kind="flag", default=False, group="Records"
    )
    raw: bool = setting(
        "Put the service's whole reply into the record.", kind="flag", default=False, group="Records"
    )
    rows_per_part: int = setting("Rows of one part.", kind="int", default=2000, lowest=1, group="Records")
    overwrite: bool = setting(
        "Discard what the output holds of this task and begin anew.",
        kind="flag",
        default=False,
        group="Records",
        only_flag=True,
    )
    incremental: bool = setting(
        "Score only what is new or changed since earlier runs, replace a file's scores once they are whole, "
        "and write what changed.",
        kind="flag",
        default=False,
        group="Records",
    )
    prune: bool = setting(
        "With --incremental: drop the scores of input files that are there no more.",
        kind="flag",
        default=False,
        group="Records",
    )
    retry_errors: bool = setting(
        "Ask again every row that has an error, not only where it may have passed.",
        kind="flag",
        default=False,
        group="Records",
        only_flag=True,
    )

    shared_output: bool = setting(
        "Several workers write to the output at once, on one machine or many: no lock is taken, and what "
        "they publish is merged.",
        kind="flag",
        default=False,
        group="Records",
    )
    scratch_dir: str | None = setting(
        "A folder on a disk of this machine for the journals of answers that are not published yet; without "
        "it they are in the output, or where that cannot hold them in the temporary folder.",
        metavar="FOLDER",
        group="Records",
    )
    base_dir: str | None = setting(
        "The folder below which records name the input files; without it, the one that holds all INPUTs.",
        metavar="FOLDER",
        group="Records",
    )

    rpm: float | None = setting(
        "Requests a minute that the deployment allows; without it, what its replies say.",
        kind="float",
        lowest=0.001,
        metavar="N",
        group="Pace",
    )
    tpm: float | None = setting(
        "Tokens a minute that the deployment allows; without it, what its replies say.",
        kind="float",
        lowest=0.001,
        metavar="N",
        group="Pace",
    )
    quota_share: float = setting(
        "The part of the quota to begin with where other machines use it too, such as 0.25 on each of four; "
        "it moves with what they leave.",
        kind="float",
        default=1.0,
        lowest=0.001,
        highest=1.0,
        group="Pace",
    )
    batch_size: int = setting(
        "Most rows in one embeddings request; it shrinks by itself where the service takes fewer.",
        kind="int",
        default=256,
        lowest=1,
        group="Pace",
    )
    max_concurrency: int = setting(
        "Most requests at the same time; how many are useful is found out.",
        kind="int",
        default=512,
        lowest=1,
        group="Pace",
    )
    timeout: float | None = setting(
        "Seconds to wait for an answer before asking again, doubling each time; without it, 15 or four times "
        "what like requests take.",
        kind="float",
        metavar="SECONDS",
        lowest=0.001,
        group="Pace",
    )
    max_retries: int = setting(
        "How often a request that failed for the service's fault is sent again.",
        kind="int",
        default=6,
        lowest=0,
        group="Pace",
    )
    max_outage: float = setting(
        "Seconds without any answer after which the run stops, to be continued later.",
        kind="float",
        default=1800.0,
        lowest=0,
        metavar="SECONDS",
        group="Pace",
    )
    on_long_input: str = setting(
        "A row longer than the model takes: an error, or scored by its beginning (its record says so).",
        kind="choice",
        choices=("error", "truncate"),
        default="error",
        group="Prompt",
    )
    dedup: bool = setting(
        "Ask equal prompts once, within the latest few thousand.", kind="flag", default=False, group="Pace"
    )
    deployments: tuple[Mapping[str, Any], ...] = setting(
        "Several deployments whose quotas add up: one such table in the file for each.",
        kind="tables",
        default=(),
        group="Endpoint",
        only_file=True,
    )
    max_row_bytes: int = setting(
        "A row of a text file larger than this is an error, not a memory problem.",
        kind="int",
        default=16 * 2**20,
        lowest=1,
        group="Pace",
    )
    limit: int | None = setting(
        "Stop after the first N rows; a later run without it completes them.",
        kind="int",
        lowest=1,
        metavar="N",
        group="Bounds",
        only_flag=True,
    )
    error_threshold: float = setting(
        "Failed rows, as a count or a share below 1, above which the run ends with exit code 3.",
        kind="float",
        default=0.0,
        lowest=0,
        group="Bounds",
    )
    max_errors: int | None = setting(
        "Stop once so many rows of this run have failed; what is settled is kept.",
        kind="int",
        lowest=1,
        group="Bounds",
    )
    max_total_tokens: int | None = setting(
        "Stop once the service has billed so many tokens in this run, of prompts and answers.",
        kind="int",
        lowest=1,
        group="Bounds",
    )
    max_spend: float | None = setting(
        "Stop once this run has cost so much, in whatever money the prices are in.",
        kind="float",
        metavar="MONEY",
        lowest=0.0001,
        group="Bounds",
    )
    price_in: float | None = setting(
        "What a million tokens of prompts cost.", kind="float", metavar="MONEY", lowest=0, group="Bounds"
    )
    price_out: float | None = setting(
        "What a million tokens of answers cost.", kind="float", metavar="MONEY", lowest=0, group="Bounds"
    )
    prices: str | Mapping[str, Any] | None = setting(
        "A TOML file of prices by model, for runs that name none with --price-in and --price-out.",
        kind="prices",
        metavar="FILE",
        group="Bounds",
    )
    deadline: str | None = setting(
        "Stop so that the run is over by then: after 2h, 90m or 45s, at 6:30 o'clock, or at "
        "2026-11-22T06:30.",
        metavar="DURATION|TIME",
        group="Bounds",
    )

    track: bool | None = setting(
        "Log parameters, metrics and the record of the run to MLflow, in a run of its own where none is "
        "active; in an active run that happens by itself, unless the variable or the file says false.",
        kind="flag",
        group="Tracking",
    )

    def __post_init__(self) -> None:
        """Check each value against its declaration, then the values against one another."""
        for declared in fields(self):
            check(declared, getattr(self, declared.name))
        check_together(self)

    @property
    def api_params(self) -> dict[str, Any]:
        """The parameters that every request carries, ours and `--param`'s."""
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
        """Whether the model's name says that it refuses `max_tokens`."""
        return self.task == "chat" and bool(COMPLETION_TOKEN_MODELS.search(self.model))

    @property
    def answers_per_row(self) -> int:
        """Return how many answers each row gets, from the parameter `n`."""
        n = self.param.get("n", 1)
        return n if isinstance(n, int) and self.task != "embeddings" else 1

    @property
    def answer_tokens(self) -> float | None:
        """The tokens to which each answer is bounded, `None` where nobody bounded them."""
        if self.task == "embeddings":
            return 0.0
        bounds = [self.api_params.get(name) for name in ("max_completion_tokens", "max_tokens")]
        return next((float(bound) for bound in bounds if isinstance(bound, int)), None)

    @property
    def charged_answer_tokens(self) -> float | None:
        """The tokens that a row's request is charged for its answers; `None` where nobody bounded them."""
        return None if self.answer_tokens is None else self.answer_tokens * self.answers_per_row

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """Return what tokens cost, in the currency of the prices; `None` if a price is not set."""
        return token_cost(self.task, self.price_in, self.price_out, prompt_tokens, completion_tokens)
