"""Which settings can be meant, alone and together?

What is not caught here would be found out by a request, at a price. It knows values, not where they came
from, and speaks of them by their flags.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import Field
from typing import TYPE_CHECKING, Any

from batchscore.errors import UsageError
from batchscore.settings.deadline import parse_deadline
from batchscore.settings.declare import CONFIG_FILE, REQUIRED, flag_of, variable_of

if TYPE_CHECKING:
    from batchscore.settings.fields import Settings

#: What the request's body is made of; `--param` may not take their place.
RESERVED_PARAMS = ("model", "input", "prompt", "messages", "stream", "stream_options")

#: What a `[[deployments]]` table may hold; what it leaves out is as for the run.
DEPLOYMENT_KEYS: Mapping[str, Any] = {
    "name": str,
    "endpoint": str,
    "deployment": str,
    "model": str,
    "api_version": str,
    "auth": str,
    "api_key_from": str,
    "key_variable": str,
    "rpm": (int, float),
    "tpm": (int, float),
}


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
    if facts["kind"] in {"int", "float"}:
        check_number(name, facts["kind"], value)
    if facts["lowest"] is not None and value < facts["lowest"]:
        raise UsageError(f"{name} is {value}; it must be at least {facts['lowest']}.")
    if facts["highest"] is not None and value > facts["highest"]:
        raise UsageError(f"{name} is {value}; it must be at most {facts['highest']:g}.")
    if facts["kind"] == "text" and not str(value).strip():
        raise UsageError(f"{name} is empty.")


def check_number(name: str, kind: str, value: Any) -> None:
    """Raise `UsageError` for what is no number, not finite (no comparison bounds a NaN) or not whole."""
    wanted = "a whole number" if kind == "int" else "a number"
    whole = isinstance(value, int) and not isinstance(value, bool)
    finite = isinstance(value, float) and math.isfinite(value)
    if not whole and not (finite and (kind == "float" or value.is_integer())):
        raise UsageError(f"{name} is {value!r}; it must be {wanted}.")


#: Texts that go into requests or records, which are UTF-8; paths may be anything.
SENT_OR_NAMED = ("model", "deployment", "column", "prompt", "system", "messages", "text_field", "id")


def check_together(chosen: Settings) -> None:
    """Raise `UsageError` where settings contradict one another, or no request could hold them."""
    for name in SENT_OR_NAMED:
        if any("\ud800" <= letter <= "\udfff" for letter in str(getattr(chosen, name) or "")):
            raise UsageError(
                f"--{name.replace('_', '-')} is not UTF-8; is the terminal set to another encoding?"
            )
    chat, embeddings = chosen.task == "chat", chosen.task == "embeddings"
    sources = [f"--{name}" for name in ("column", "prompt", "messages") if getattr(chosen, name) is not None]
    if chosen.text_field is not None:
        if chosen.prompt is None and chosen.messages is None:
            raise UsageError("--text-field is a field of a template; give one with --prompt or --messages.")
        sources = [name for name in sources if name != "--column"]
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
    if chosen.simulate and chosen.deployments:
        raise UsageError("--simulate rehearses on one deployment; leave [[deployments]] out.")
    if chosen.shared_output and chosen.incremental:
        raise UsageError(
            "--shared-output and --incremental: only one run can find out what has changed; leave out one of "
            "them."
        )
    if chosen.shared_output and chosen.overwrite:
        raise UsageError(
            "--shared-output and --overwrite: another worker may be writing; remove the old output before."
        )
    if chosen.error_threshold > 1 and chosen.error_threshold != int(chosen.error_threshold):
        raise UsageError(
            f"--error-threshold is {chosen.error_threshold}; it must be a share below 1, such as 0.05, "
            "or a whole count of rows."
        )
    if chosen.prune and not chosen.incremental:
        raise UsageError("--prune drops the scores of files that are gone, and needs --incremental.")
    if chosen.incremental and chosen.limit is not None:
        raise UsageError(
            "--limit leaves files unfinished, and --incremental shows whole ones only: to try a few rows, "
            "leave --incremental out and choose another output."
        )
    check_bounds(chosen)
    check_deployments(chosen.deployments, rates=chosen.rpm is not None or chosen.tpm is not None)
    if chosen.simulate and chosen.auth is not None:
        raise UsageError("--simulate needs no --auth.")
    if chosen.simulate and chosen.api_key_from is not None:
        raise UsageError("--simulate needs no --api-key-from.")
    for name in chosen.param:
        if name in RESERVED_PARAMS:
            raise UsageError(f"--param {name}: batchscore sets that itself.")
    for name in ("dimensions", "max_tokens"):
        if getattr(chosen, name) is not None and name in chosen.param:
            raise UsageError(f"--param {name} and --{name.replace('_', '-')} say the same; give one.")


def check_bounds(chosen: Settings) -> None:
    """Raise `UsageError` for a budget that nothing would reach, and a deadline that nobody can read."""
    if chosen.deadline is not None:
        parse_deadline(chosen.deadline)
    if chosen.max_spend is None:
        return
    prices = {"--price-in": chosen.price_in}
    if chosen.task != "embeddings":
        prices["--price-out"] = chosen.price_out
    missing = [name for name, price in prices.items() if price is None]
    if missing:
        raise UsageError(
            f"--max-spend needs {' and '.join(missing)}: what a million tokens cost, in the same money."
        )
    if not any(prices.values()):
        raise UsageError(f"--max-spend: where {' and '.join(prices)} are 0, nothing is ever spent.")


def check_deployments(tables: Sequence[Mapping[str, Any]], *, rates: bool) -> None:
    """Raise `UsageError` where a `[[deployments]]` table cannot be meant; `rates`: the run has rates, too."""
    for number, table in enumerate(tables, 1):
        where = f"[[deployments]] number {number}"
        for name, value in table.items():
            wanted = DEPLOYMENT_KEYS.get(name)
            if wanted is None:
                hint = " Keys belong into the environment; key_variable names where." if "key" in name else ""
                raise UsageError(f"{where}: {name} is not one of {', '.join(DEPLOYMENT_KEYS)}.{hint}")
            fits = isinstance(value, wanted) and not isinstance(value, bool) and value
            if not fits or (wanted is not str and not 0 < value < math.inf):
                kind = "text" if wanted is str else "a number above 0"
                raise UsageError(f"{where}: {name} is {value!r}; it must be {kind}.")
    if tables and rates:
        raise UsageError("--rpm and --tpm: with [[deployments]] each table has its own rpm and tpm.")
