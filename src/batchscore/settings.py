"""What can be set, in which unit, within which bounds?

Each value is checked once, at construction; where values come from is `configuration`'s question. Keys
and tokens are no settings; `request.endpoint` finds them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any

from batchscore.errors import UsageError

TASKS = ("embeddings", "completions", "chat")
FORMATS = ("jsonl", "parquet")
VARIABLE_PREFIX = "BATCHSCORE_"
CONFIG_FILE = "batchscore.toml"

#: Settings that have no default and must come from somewhere.
REQUIRED = ("task", "model", "output")

#: What the request's body is made of; `--param` may not take their place.
RESERVED_PARAMS = ("model", "input", "prompt", "messages", "stream", "stream_options")

#: Model families that refuse `max_tokens` (Azure's page on reasoning models, seen 2026-09).
COMPLETION_TOKEN_MODELS = re.compile(r"(^|[/:])(o\d|gpt-5)", re.IGNORECASE)


def setting(
    help_text: str,
    *,
    kind: str = "text",
    default: Any = None,
    flag: str | None = None,
    metavar: str | None = None,
    choices: Sequence[str] = (),
    lowest: float | None = None,
    group: str = "Work",
    only_flag: bool = False,
) -> Any:
    """Declare one setting: what it does, its kind and bounds, and where it is shown."""
    facts = {
        "help": help_text,
        "kind": kind,
        "flag": flag,
        "metavar": metavar,
        "choices": tuple(choices),
        "lowest": lowest,
        "group": group,
        "only_flag": only_flag,
    }
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=facts)
    return field(default=default, metadata=facts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything that a run can be told. Checked at construction; raises `UsageError`."""

    task: str = setting(
        "What to ask the model for.", kind="choice", choices=TASKS, metavar="embeddings|completions|chat"
    )
    model: str = setting("The model's name, as the service knows it.", flag="-m", metavar="NAME")
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
        "How to sign in: with a key from the environment, or by Entra ID.",
        kind="choice",
        choices=("key", "entra"),
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
        "A JSON file of chat messages whose texts are templates.", metavar="FILE", group="Prompt"
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

    batch_size: int = setting(
        "Most rows in one embeddings request; it shrinks by itself where the service takes fewer.",
        kind="int",
        default=256,
        lowest=1,
        group="Pace",
    )
    concurrency: int = setting(
        "Most requests at the same time.", kind="int", default=16, lowest=1, group="Pace"
    )
    timeout: float = setting(
        "Seconds to wait for an answer before asking again.",
        kind="float",
        default=60.0,
        metavar="SECONDS",
        lowest=0.001,
        group="Pace",
    )
    retries: int = setting(
        "How often a request that failed for the service's fault is sent again.",
        kind="int",
        default=6,
        lowest=0,
        group="Pace",
    )
    limit: int | None = setting(
        "Stop after the first N rows; a later run without it completes them.",
        kind="int",
        lowest=1,
        metavar="N",
        group="Pace",
        only_flag=True,
    )
    max_row_bytes: int = setting(
        "A row of a text file larger than this is an error, not a memory problem.",
        kind="int",
        default=16 * 2**20,
        lowest=1,
        group="Pace",
    )
    error_threshold: float = setting(
        "Failed rows, as a count or a share below 1, above which the run ends with exit code 3.",
        kind="float",
        default=0.0,
        lowest=0,
        group="Pace",
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


def check(declared: Field[Any], value: Any) -> None:
    """Raise `UsageError` where a value is outside its declaration."""
    facts, name = declared.metadata, flag_of(declared)
    if value is None:
        if declared.name in REQUIRED:
            raise UsageError(
                f"{name} is missing. Give it as a flag, as {variable_of(declared)} or in {CONFIG_FILE}."
            )
        return
    if facts["choices"] and value not in facts["choices"]:
        raise UsageError(f"{name} is {value!r}; it must be one of {', '.join(facts['choices'])}.")
    if facts["lowest"] is not None and value < facts["lowest"]:
        raise UsageError(f"{name} is {value}; it must be at least {facts['lowest']}.")
    if facts["kind"] == "text" and not str(value).strip():
        raise UsageError(f"{name} is empty.")


def check_together(chosen: Settings) -> None:
    """Raise `UsageError` where settings contradict one another."""
    chat, embeddings = chosen.task == "chat", chosen.task == "embeddings"
    sources = [f"--{name}" for name in ("column", "prompt", "messages") if getattr(chosen, name) is not None]
    if len(sources) > 1:
        raise UsageError(f"{' and '.join(sources)} both say what to ask; give one of them.")
    if not chat and (chosen.system is not None or chosen.messages is not None):
        raise UsageError(f"--system and --messages are for --task chat, not {chosen.task}.")
    if chosen.system is not None and chosen.messages is not None:
        raise UsageError("--system and --messages: put the system message into the messages file.")
    if embeddings and chosen.max_tokens is not None:
        raise UsageError("--max-tokens is for completions and chat; embeddings have no answer to limit.")
    if not embeddings and chosen.dimensions is not None:
        raise UsageError("--dimensions is for --task embeddings.")
    if embeddings and (chosen.usage or chosen.raw) and chosen.batch_size > 1:
        raise UsageError(
            "--usage and --raw belong to one reply, and an embeddings reply answers many rows; "
            "add --batch-size 1 (slower)."
        )
    if chosen.simulate and chosen.endpoint is not None:
        raise UsageError("--simulate and --endpoint contradict each other; give one.")
    if chosen.simulate and chosen.auth is not None:
        raise UsageError("--simulate needs no --auth.")
    for name in chosen.param:
        if name in RESERVED_PARAMS:
            raise UsageError(f"--param {name}: batchscore sets that itself.")
    for name in ("dimensions", "max_tokens"):
        if getattr(chosen, name) is not None and name in chosen.param:
            raise UsageError(f"--param {name} and --{name.replace('_', '-')} say the same; give one.")


def flag_of(declared: Field[Any]) -> str:
    """Return the long flag of a setting."""
    return "--" + declared.name.replace("_", "-")


def shown_default(declared: Field[Any]) -> str:
    """Return a setting's default as people write it."""
    return f"{declared.default:g}" if isinstance(declared.default, float) else str(declared.default)


def variable_of(declared: Field[Any]) -> str:
    """Return the environment variable of a setting."""
    return VARIABLE_PREFIX + declared.name.upper()
