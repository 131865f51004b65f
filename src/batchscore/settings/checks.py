"""Which values of settings are valid, alone and together?

It refuses what would otherwise fail at the service, after money was spent. It knows values, not where they
came from. Messages name settings with `setting_name`, so that each door words them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import Field
from typing import TYPE_CHECKING, Any

from batchscore.errors import UsageError, setting_name
from batchscore.settings.deadline import parse_deadline
from batchscore.settings.declare import CONFIG_FILE, REQUIRED, variable_of
from batchscore.task import TASKS

if TYPE_CHECKING:
    from batchscore.settings.fields import Settings

#: The fields of a request body that batchscore sets; the setting `param` may not replace them.
RESERVED_PARAMS = ("model", "input", "prompt", "messages", "stream", "stream_options")

#: The keys of a `[[deployments]]` table; a missing key means the value of the run.
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

#: Texts that go into requests or records, which are UTF-8; paths may hold any bytes.
TEXTS_TO_ENCODE = ("model", "deployment", "column", "prompt", "system", "messages", "text_field", "id")


def check(declared: Field[Any], value: Any) -> None:
    """Raise `UsageError` if a value does not match its declaration."""
    facts, name = declared.metadata, setting_name(declared.name)
    if value is None:
        refuse(
            declared.name in REQUIRED,
            f"{name} is missing. Set it directly, with {variable_of(declared)} or in {CONFIG_FILE}.",
        )
        return
    refuse(
        facts["choices"] and value not in facts["choices"],
        f"{name} is {value!r}; it must be one of {', '.join(facts['choices'])}.",
    )
    if facts["kind"] in {"int", "float"}:
        check_number(name, facts["kind"], value)
    lowest, highest = facts["lowest"], facts["highest"]
    if lowest is not None:
        refuse(value < lowest, f"{name} is {value}; it must be at least {lowest}.")
    if highest is not None:
        refuse(value > highest, f"{name} is {value}; it must be at most {highest:g}.")
    refuse(facts["kind"] == "text" and not str(value).strip(), f"{name} is empty.")


def refuse(wrong: Any, message: str) -> None:
    """Raise `UsageError` if something is wrong."""
    if wrong:
        raise UsageError(message)


def check_number(name: str, kind: str, value: Any) -> None:
    """Raise `UsageError` if a value is not a number, not finite (NaN passes any comparison) or not whole."""
    wanted = "a whole number" if kind == "int" else "a number"
    whole = isinstance(value, int) and not isinstance(value, bool)
    finite = isinstance(value, float) and math.isfinite(value)
    fits = whole or (finite and (kind == "float" or value.is_integer()))
    refuse(not fits, f"{name} is {value!r}; it must be {wanted}.")


def check_together(chosen: Settings) -> None:
    """Raise `UsageError` if settings contradict each other, or no request could hold them."""
    for field in TEXTS_TO_ENCODE:
        refuse(
            any("\ud800" <= letter <= "\udfff" for letter in str(getattr(chosen, field) or "")),
            f"{setting_name(field)} is not UTF-8; check the encoding of your terminal.",
        )
    check_prompt(chosen)
    check_records(chosen)
    check_simulate(chosen)
    check_bounds(chosen)
    check_deployments(chosen.deployments, rates=chosen.rpm is not None or chosen.tpm is not None)
    for param in chosen.param:
        refuse(param in RESERVED_PARAMS, f"{setting_name('param')} {param}: batchscore sets this field.")
    for field in ("dimensions", "max_tokens"):
        refuse(
            getattr(chosen, field) is not None and field in chosen.param,
            f"{setting_name('param')} {field} and {setting_name(field)} set the same; give one of them.",
        )


def check_prompt(chosen: Settings) -> None:
    """Raise `UsageError` if the settings of the prompt do not match each other, or not the task."""
    column, prompt, messages, system, text_field = (
        setting_name(name) for name in ("column", "prompt", "messages", "system", "text_field")
    )
    has_template = chosen.prompt is not None or chosen.messages is not None
    refuse(
        chosen.text_field is not None and not has_template,
        f"{text_field} names a field of a template; give a template with {prompt} or {messages}.",
    )
    given = {column: chosen.column, prompt: chosen.prompt, messages: chosen.messages}
    if chosen.text_field is not None:
        del given[column]
    sources = [name for name, value in given.items() if value is not None]
    refuse(len(sources) > 1, f"{' and '.join(sources)} both define the prompt; give one of them.")
    task = TASKS[chosen.task]
    vectors = task.answer == "vector"
    refuse(
        not task.takes_messages and (chosen.system is not None or chosen.messages is not None),
        f"{system} and {messages} are for {setting_name('task')} chat, not {chosen.task}.",
    )
    refuse(
        chosen.system is not None and chosen.messages is not None,
        f"{system} and {messages}: put the system message into the messages file.",
    )
    refuse(
        vectors and chosen.max_tokens is not None,
        f"{setting_name('max_tokens')} is for completions and chat; embeddings have no answer to limit.",
    )
    refuse(
        not vectors and chosen.dimensions is not None,
        f"{setting_name('dimensions')} is for {setting_name('task')} embeddings.",
    )


def check_records(chosen: Settings) -> None:
    """Raise `UsageError` if the settings of the output contradict each other."""
    incremental, shared_output = setting_name("incremental"), setting_name("shared_output")
    refuse(
        TASKS[chosen.task].packs_many and (chosen.usage or chosen.raw) and chosen.batch_size > 1,
        f"{setting_name('usage')} and {setting_name('raw')} describe one reply, and an embeddings reply "
        "holds "
        f"many rows; set {setting_name('batch_size')} to 1 (slower).",
    )
    refuse(
        chosen.shared_output and chosen.incremental,
        f"{shared_output} and {incremental}: only a single run can find out what has changed; "
        "leave out one of them.",
    )
    refuse(
        chosen.shared_output and chosen.overwrite,
        f"{shared_output} and {setting_name('overwrite')}: another worker may be writing; "
        "remove the old output first.",
    )
    refuse(
        chosen.error_threshold > 1 and chosen.error_threshold != int(chosen.error_threshold),
        f"{setting_name('error_threshold')} is {chosen.error_threshold}; it must be a fraction below 1, such "
        "as 0.05, or a whole number of rows.",
    )
    refuse(
        chosen.prune and not chosen.incremental,
        f"{setting_name('prune')} removes the scores of deleted files, and needs {incremental}.",
    )
    refuse(
        chosen.incremental and chosen.limit is not None,
        f"{setting_name('limit')} leaves files incomplete, and {incremental} publishes complete files only. "
        "To "
        f"try a few rows, leave out {incremental} and choose another output.",
    )


def check_simulate(chosen: Settings) -> None:
    """Raise `UsageError` if a rehearsal has settings of a real service."""
    simulate = setting_name("simulate")
    refuse(
        chosen.simulate and chosen.endpoint is not None,
        f"{simulate} and {setting_name('endpoint')} contradict each other; give one of them.",
    )
    refuse(
        chosen.simulate and chosen.deployments,
        f"{simulate} has only one deployment; leave out [[deployments]].",
    )
    for name in ("auth", "api_key_from"):
        refuse(
            chosen.simulate and getattr(chosen, name) is not None,
            f"{simulate} needs no {setting_name(name)}.",
        )


def check_bounds(chosen: Settings) -> None:
    """Raise `UsageError` for a budget that nothing would reach, or a deadline that cannot be read."""
    if chosen.deadline is not None:
        parse_deadline(chosen.deadline)
    if chosen.max_spend is None:
        return
    prices = {setting_name("price_in"): chosen.price_in}
    if TASKS[chosen.task].answer == "text":
        prices[setting_name("price_out")] = chosen.price_out
    missing = [name for name, price in prices.items() if price is None]
    max_spend = setting_name("max_spend")
    refuse(
        missing,
        f"{max_spend} needs {' and '.join(missing)}: the price of a million tokens, in the same currency.",
    )
    refuse(
        not any(prices.values()),
        f"{max_spend} has no effect if {' and '.join(prices)} are 0: the cost stays 0.",
    )


def check_deployments(tables: Sequence[Mapping[str, Any]], *, rates: bool) -> None:
    """Raise `UsageError` if a `[[deployments]]` table is invalid; `rates`: the run has limits, too."""
    for number, table in enumerate(tables, 1):
        where = f"[[deployments]] number {number}"
        for name, value in table.items():
            wanted = DEPLOYMENT_KEYS.get(name)
            if wanted is None:
                hint = (
                    " API keys belong into the environment; key_variable names the variable."
                    if "key" in name
                    else ""
                )
                raise UsageError(f"{where}: {name} is not one of {', '.join(DEPLOYMENT_KEYS)}.{hint}")
            fits = isinstance(value, wanted) and not isinstance(value, bool) and value
            if not fits or (wanted is not str and not 0 < value < math.inf):
                kind = "text" if wanted is str else "a number above 0"
                raise UsageError(f"{where}: {name} is {value!r}; it must be {kind}.")
    refuse(
        tables and rates,
        f"{setting_name('rpm')} and {setting_name('tpm')}: with [[deployments]], set rpm and tpm in each "
        "table.",
    )
