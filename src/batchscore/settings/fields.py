"""What can be set, in which unit, and in which range?

Each value is checked at construction; `sources` knows where values come from. API keys and tokens are not
settings; `endpoint.credentials` finds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from batchscore.settings.checks import check, check_required, check_together
from batchscore.settings.declare import REQUIRED, setting
from batchscore.settings.derived import all_params, limit_of_answers, named_params, reading_settings
from batchscore.settings.part_of import parse_part_of
from batchscore.settings.prices import Live, run_cost
from batchscore.settings.service_fields import ServiceFields, of_endpoint
from batchscore.task import TASKS

#: Declare a setting that help and docs show under this heading.
of_prompt, of_input, of_records, of_pace, of_batch, of_bounds = (
    partial(setting, group) for group in ("Prompt", "Input", "Records", "Pace", "Batch API", "Bounds")
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings(ServiceFields):
    """All settings of a run. Construction checks them and raises `UsageError`."""

    column: str | None = of_prompt("Column that holds the text.")
    prompt: str | None = of_prompt(
        "Template for the prompt: {column} inserts a cell, {{ and }} are literal braces.", metavar="TEMPLATE"
    )
    system: str | None = of_prompt("System message (chat and responses). May be a template.", metavar="TEXT")
    messages: str | None = of_prompt("JSON file of messages with templates, or its text.", metavar="FILE")
    image: tuple[str, ...] = of_prompt(
        "Column of images: paths, URLs or bytes (chat, responses). Repeatable.", default=(), metavar="COLUMN"
    )
    image_detail: str = of_prompt(
        "How closely the model looks at images.", choices=("auto", "low", "high"), default="auto"
    )
    text_field: str | None = of_prompt(
        "Template field filled from --column. Default: the column of its name, or the only text column."
    )
    txt: str = of_prompt(
        "What counts as a row of a .txt file: each line, or the whole document.",
        choices=("lines", "document"),
        default="lines",
    )
    param: Mapping[str, Any] = of_prompt(
        "Parameter of the API, passed unchanged; @FILE reads its JSON from a file. Repeatable.",
        default={},
        metavar="NAME=JSON",
    )
    dimensions: int | None = of_prompt("Length of the vectors, if the model supports a choice.", lowest=1)
    max_tokens: int | None = of_prompt(
        "Maximum tokens per answer. Sent under the name that the API and the model require.", lowest=1
    )
    temperature: float | None = of_prompt(
        "Sampling temperature: 0 for the most likely answer, more for varied ones.", lowest=0, highest=2
    )
    top_p: float | None = of_prompt(
        "Sample only from the most likely tokens with this total probability.", lowest=0, highest=1
    )
    seed: int | None = of_prompt("Seed for sampling, if the service can repeat its answers.")
    reasoning_effort: str | None = of_prompt(
        "Effort of reasoning models, such as low, medium or high.", metavar="EFFORT"
    )
    stop: tuple[str, ...] = of_prompt("Text at which an answer ends. Repeatable.", default=(), metavar="TEXT")
    schema: str | Mapping[str, Any] | None = of_prompt(
        "JSON Schema that each answer must match (chat and responses): a file, or its text.", metavar="FILE"
    )
    schema_mode: str = of_prompt(
        "How a schema is sent: as the response format, or in the system message. auto: what works.",
        choices=("auto", "json_schema", "json_object", "prompt"),
        default="auto",
    )
    schema_feedback: bool = of_prompt("Send an invalid answer back with the reason.", default=False)
    drop_last_assistant: bool | None = of_prompt(
        "Send conversations without the assistant's message at their end (chat and responses only). Default: "
        "such a conversation is an error, unless this is false in a file or a variable."
    )

    encoding: str = of_input(
        "Encoding of csv, tsv, json, jsonl and txt files. auto: UTF-8, UTF-16 or UTF-32.", default="auto"
    )
    delimiter: str = of_input(
        "Character between the cells of csv and tsv files, or tab. auto: found in each file.", default="auto"
    )
    quote: str = of_input(
        "Character that encloses cells of csv and tsv files, or none. auto: found in each file.",
        default="auto",
    )
    escape: str = of_input(
        "Character before a quote that belongs to a cell of csv and tsv files, or none: it is doubled. auto: "
        "found in each file.",
        default="auto",
    )
    no_header: bool = of_input(
        "csv, tsv and xlsx files have no header: their columns are column_0, column_1, ….", default=False
    )
    skip_lines: int | None = of_input(
        "Lines before the header of csv, tsv and xlsx files. Default: found if they begin with #.", lowest=0
    )
    records: str | None = of_input(
        "Member of a JSON object that holds its rows, as in data or result.items; . if the object is a row. "
        "Default: found if it is clear."
    )
    sheet: str | None = of_input(
        "Sheet of xlsx files, by its name or its number from 1. Default: the first visible one."
    )

    stdin_format: str = of_input(
        "Format of standard input (INPUT -). auto: found from its content.",
        choices=("auto", "csv", "tsv", "json", "jsonl", "txt", "parquet", "arrow", "xlsx"),
        default="auto",
        only="flag",
    )

    id: str | None = of_records("Column whose text every record carries as its id.", metavar="COLUMN")
    keep: tuple[str, ...] = of_records(
        "Column to copy into every record, or '*' for all. Repeatable.", default=(), metavar="COLUMN"
    )
    format: str = of_records(
        "File format of the output parts.", choices=("jsonl", "parquet"), default="jsonl"
    )
    csv_bom: bool = of_records(
        "Begin a csv or tsv file with a byte order mark, so that Excel reads it as UTF-8.", default=False
    )
    allow_formulas: bool = of_records(
        "Write a text that begins like a formula (= + - @) to csv or tsv as it is. Default: with an "
        "apostrophe before it, so that no spreadsheet program runs it.",
        default=False,
    )
    usage: bool = of_records("Add each answer's token usage to its record.", default=False)
    raw: bool = of_records("Add the service's complete reply to the record.", default=False)
    rows_per_part: int = of_records("Rows per output part.", default=2000, lowest=1)
    overwrite: bool = of_records(
        "Discard the existing output of this task and start from scratch.", default=False, only="flag"
    )
    incremental: bool = of_records(
        "Score only new or changed rows; write a change log to OUT/changes/.", default=False
    )
    prune: bool = of_records(
        "With --incremental: remove the scores of input files that no longer exist.", default=False
    )
    retry_errors: bool = of_records(
        "Retry all failed rows, including those with permanent errors.", default=False, only="flag"
    )

    shared_output: bool = of_records(
        "Let several workers write to the same output, on one machine or many. Takes no lock; their results "
        "are merged.",
        default=False,
    )
    part_of: str | None = of_records(
        "Score only this worker's share of the rows: K/N for worker K of N, or auto, as torchrun, mpirun or "
        "srun number it. All workers get the same INPUTs. Implies --shared-output.",
        metavar="K/N",
        only="flag",
    )
    sync: bool = of_records(
        "Force published parts and manifests to the disk (fsync), so that a power cut loses no row that was "
        "published.",
        default=False,
    )
    scratch_dir: str | None = of_records(
        "Local directory for checkpoint files. Default: inside OUT, or the temp directory if OUT cannot "
        "be appended to.",
        metavar="FOLDER",
    )
    base_dir: str | None = of_records(
        "Folder that file names in records are relative to. Default: the common folder of all INPUTs.",
        metavar="FOLDER",
    )

    follow_links: bool = of_records(
        "Follow links in the input that lead out of its folder. Default: only links within it.",
        default=False,
        only="flag",
    )

    rpm: float | None = of_pace(
        "Rate limit in requests per minute. Default: read from response headers.", lowest=0.001
    )
    tpm: float | None = of_pace(
        "Rate limit in tokens per minute. Default: read from response headers.", lowest=0.001
    )
    quota_share: float = of_pace(
        "Initial share of the quota if several machines use it (0.25 for four machines); adjusts "
        "automatically.",
        default=1.0,
        lowest=0.001,
        highest=1.0,
    )
    batch_size: int = of_pace(
        "Maximum rows per embeddings request. Reduced automatically if the service accepts fewer.",
        default=256,
        lowest=1,
    )
    max_concurrency: int = of_pace(
        "Maximum number of concurrent requests. The number in use is tuned automatically up to this limit.",
        default=512,
        lowest=1,
    )
    timeout: float | None = of_pace(
        "Seconds to wait for a response before retrying. Doubles on each retry. Default: 15, or four times "
        "the usual latency; until that is known 120, or --max-outage if that is less, but at least 15.",
        metavar="SECONDS",
        lowest=0.001,
    )
    max_retries: int = of_pace("Maximum retries of a request after a service failure.", default=6, lowest=0)
    max_outage: float = of_pace(
        "Seconds without any successful response before the run stops, to be resumed later.",
        default=1800.0,
        lowest=0,
        metavar="SECONDS",
    )
    on_long_input: str = of_prompt(
        "If the input exceeds the model's context: fail the row, or truncate it (its record says so).",
        choices=("error", "truncate"),
        default="error",
    )
    dedup: bool = of_pace(
        "Send duplicate prompts only once (among the most recent few thousand).", default=False
    )
    deployments: tuple[Mapping[str, Any], ...] = of_endpoint(
        "Several deployments whose quotas add up: one table in the file for each.",
        default=(),
        only="file",
        needs_trust=True,
    )
    max_row_bytes: int = of_pace(
        "Maximum size of a row in bytes, to bound memory; a larger row fails.",
        default=16 * 2**20,
        lowest=1,
        highest=2**40,
    )
    via: str = of_batch(
        "How rows are sent: as live requests, or in files of the service's Batch API, which takes up to a "
        "day and costs half.",
        choices=("live", "batch"),
        default="live",
    )
    batch_tokens: int | None = of_batch(
        "Maximum prompt tokens in batches that have not ended. Default: found from refusals.", lowest=1
    )
    batch_rounds: int = of_batch(
        "Maximum number of batches that a row is sent in, if they do not answer it. 0: only fetch results.",
        default=3,
        lowest=0,
    )
    batch_price_factor: float = of_batch(
        "Price of a token in a batch, as a fraction of the live price.", default=0.5, lowest=0, highest=1
    )
    batch_patience: str | None = of_batch(
        "Cancel a batch that has not ended after this time, such as 24h. Its answers are kept, and its other "
        "rows are sent again. Default: wait until the service ends it.",
        metavar="DURATION",
    )
    finish_live: bool = of_batch(
        "Send the rows that no batch has answered as live requests, at the full price.", default=False
    )
    live_deployment: str | None = of_batch(
        "Azure deployment for --finish-live; one for batches answers no live requests.", metavar="NAME"
    )
    no_canary: bool = of_batch(
        "Send all batches at once. Default: first one of 20 rows, and the others when it is answered.",
        default=False,
    )
    no_wait: bool = of_batch(
        "Fetch the results of batches that have ended, submit what is left, and stop. Run the same command "
        "again until the exit code is 0.",
        default=False,
    )
    keep_batch_files: bool = of_batch(
        "Keep the files of batches at the service. Default: they are removed when their rows are published.",
        default=False,
    )
    limit: int | None = of_bounds(
        "Stop after the first N rows. A later run without it scores the rest.", lowest=1, only="flag"
    )
    error_threshold: float = of_bounds(
        "Accepted number of failed rows, or fraction below 1. With more, the exit code is 3.",
        default=0.0,
        lowest=0,
    )
    max_errors: int | None = of_bounds(
        "Stop when this many rows of the run have failed. Completed rows are saved.", lowest=1
    )
    max_total_tokens: int | None = of_bounds(
        "Stop when the service has billed this many tokens in this run, prompts and answers together.",
        lowest=1,
    )
    max_spend: float | None = of_bounds(
        "Stop when the run has cost this much, in the currency of the prices.",
        metavar="AMOUNT",
        lowest=0.0001,
    )
    price_in: float | None = of_bounds("Price of a million prompt tokens.", metavar="PRICE", lowest=0)
    price_out: float | None = of_bounds("Price of a million answer tokens.", metavar="PRICE", lowest=0)
    prices: str | Mapping[str, Any] | None = of_bounds(
        "TOML file of prices by model, used if --price-in and --price-out are not given.", metavar="FILE"
    )
    deadline: str | None = of_bounds(
        "Stop in time to finish by this point: 2h, 90m, 45s, 06:30 or 2026-11-22T06:30.",
        metavar="DURATION|TIME",
    )

    track: bool | None = setting(
        "Tracking",
        "Log this run to MLflow. Starts an MLflow run if none is active. On by default inside an active run, "
        "unless BATCHSCORE_TRACK is false.",
    )

    def __post_init__(self) -> None:
        """Check each value, then all values together."""
        check_required({name: getattr(self, name) for name in REQUIRED})
        for declared in fields(self):
            check(declared, getattr(self, declared.name))
        if self.part_of is not None:
            parse_part_of(self.part_of)
            object.__setattr__(self, "shared_output", True)
        check_together(self)

    @property
    def api_params(self) -> dict[str, Any]:
        """The API parameters of every request: those with a setting of their own, and those of `param`."""
        return all_params(self)

    @property
    def params(self) -> dict[str, Any]:
        """The API parameters that are sent under the names they were set by."""
        return named_params(self)

    @property
    def reading(self) -> dict[str, Any]:
        """The settings of reading that determine rows, if they are not the defaults."""
        return reading_settings(self)

    @property
    def answers_per_row(self) -> int:
        """Number of answers per row, from the parameter `n`."""
        n = self.param.get("n", 1)
        return n if isinstance(n, int) and TASKS[self.task].answer == "text" else 1

    @property
    def answer_tokens(self) -> float | None:
        """Maximum tokens per answer, `None` if no setting limits them."""
        return limit_of_answers(self)

    @property
    def charged_answer_tokens(self) -> float | None:
        """Tokens that the quota is charged for a row's answers, `None` if no setting limits them."""
        return None if self.answer_tokens is None else self.answer_tokens * self.answers_per_row

    def cost(self, prompt_tokens: int, completion_tokens: int, full_price: Live = (0, 0)) -> float | None:
        """Return what tokens cost, in the currency of the prices; `None` if a price is not set.

        In a run through batches, some of the tokens may be of live requests, at the full price.
        """
        tokens, factor = (prompt_tokens, completion_tokens), self.batch_price_factor
        factor = factor if self.via == "batch" else 1.0
        return run_cost(self.task, (self.price_in, self.price_out), tokens, full_price, factor)
