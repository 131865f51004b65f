"""Which values of settings are valid, alone and together?

It refuses what would otherwise fail at the service, after money was spent. It knows values, not where they
came from. Messages name settings with `setting_name`, so that each door words them.
"""

from __future__ import annotations

import codecs
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field
from functools import partial
from typing import TYPE_CHECKING, Any

from batchscore.errors import UsageError, setting_name
from batchscore.settings.batch_checks import check_batch
from batchscore.settings.deadline import parse_deadline
from batchscore.settings.declare import CONFIG_FILE, REQUIRED, VARIABLE_PREFIX, kind_of
from batchscore.settings.json_schema import json_copy
from batchscore.settings.known_values import EFFORTS, near_miss
from batchscore.settings.refuse import refuse
from batchscore.task import TASKS

if TYPE_CHECKING:
    from batchscore.settings.fields import Settings

#: The fields of a request body that batchscore sets; the setting `param` may not replace them.
RESERVED_PARAMS = frozenset({"model", "stream", "stream_options"})
#: Those of prompts; the Responses API has another meaning for `prompt`.
PROMPT_PARAMS = frozenset({"input", "prompt", "messages"})

#: The settings that are parameters of the API under their own names; `param` has all others.
ANSWER_PARAMS = ("temperature", "top_p", "seed", "reasoning_effort", "stop")

#: The keys of a `[[deployments]]` table; a missing key means the value of the run.
DEPLOYMENT_KEYS: Mapping[str, Any] = {
    **dict.fromkeys(("name", "endpoint", "deployment", "model", "api_version"), str),
    **dict.fromkeys(("auth", "api_key_from", "key_variable", "key_header"), str),
    **dict.fromkeys(("client_cert", "client_key_file"), str),
    **dict.fromkeys(("header", "query"), Mapping),
    **dict.fromkeys(("rpm", "tpm"), (int, float)),
}

#: Names of variables that a table may name as its key: those made for this, never a provider's.
KEY_VARIABLE = re.compile(r"BATCHSCORE_[A-Za-z0-9_]+_KEY")

#: The settings of pairs NAME=VALUE, and a variable in a value. Its name is checked: `KEY_VARIABLE` holds.
PAIRS = ("header", "query")
REFERENCE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")

#: Names of headers (RFC 9110, 5.6.2), and those of the exchange itself, which no setting may replace.
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
OWN_HEADERS = frozenset(
    {"host", "connection", "content-length", "content-type", "transfer-encoding", "accept-encoding", "expect"}
)

#: Settings that name a file or folder, which Python may give as an object. A path may hold any bytes; other
#: texts go into requests or records, which are UTF-8. The setting `messages` may be such a text itself.
PATHS = frozenset(
    {"output", "scratch_dir", "base_dir", "messages", "prices", "schema", "client_cert", "client_key_file"}
)

#: JSON holds larger numbers, but few of its readers do.
MOST_INT = 2**63

#: Names of a delimiter that is hard to write.
DELIMITERS = {"tab": "\t", "\\t": "\t"}


def is_list_of(kind: type, value: Any) -> bool:
    """Whether a value is a list, and each of its elements is of a kind."""
    return isinstance(value, (list, tuple)) and all(isinstance(each, kind) for each in value)


def is_parameters(value: Any) -> bool:
    """Whether a value maps texts to anything."""
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def is_pairs(value: Any) -> bool:
    """Whether a value maps texts to texts."""
    return is_parameters(value) and all(isinstance(each, str) for each in value.values())


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; a boolean, which is an integer in Python, is none."""
    has_type = isinstance(value, (int, float)) and not isinstance(value, bool)
    return has_type and abs(value) <= sys.float_info.max


#: For each kind of setting but choices, whether a value has its type, and what it must be.
TYPES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "text": (lambda value: isinstance(value, str), "text"),
    "int": (
        lambda value: is_number(value) and value == int(value) and abs(value) < MOST_INT,
        "a whole number below 2**63",
    ),
    "float": (is_number, "a number"),
    "flag": (lambda value: isinstance(value, bool), "true or false"),
    "many": (partial(is_list_of, str), "a list of names, which are text"),
    "params": (is_parameters, 'a mapping of parameters, such as {"temperature": 0.2}'),
    "pairs": (is_pairs, 'a mapping of texts, such as {"x-tenant": "a"}'),
    "tables": (partial(is_list_of, Mapping), "a list of tables"),
    "file_or_table": (
        lambda value: isinstance(value, (str, Mapping)) and bool(value),
        "the name of a file, or what it would hold",
    ),
}


def value_text(value: Any) -> str:
    """Return a value for a message, or its type if the value may be long."""
    if value is None or isinstance(value, (str, float)):
        return repr(value)
    if isinstance(value, int) and abs(value) <= sys.float_info.max:  # Python refuses to print longer ones
        return repr(value)
    return type_name(value)


def name_text(name: object) -> str:
    """Return a name from a file for a message, with what a terminal would obey escaped."""
    return repr(name)[1:-1] if isinstance(name, str) else str(name)


def type_name(value: Any) -> str:
    """Return the type of a value with its article."""
    kind = "list" if isinstance(value, tuple) else type(value).__name__
    return f"{'an' if kind[:1].lower() in set('aeiou') else 'a'} {kind}"


def check_type(declared: Field[Any], value: Any) -> None:
    """Raise `UsageError` if a value, which is not `None`, does not have the type of its setting."""
    name, kind = setting_name(declared.name), kind_of(declared)
    if kind == "choice":
        choices = declared.metadata["choices"]
        fits, wanted = isinstance(value, str) and value in choices, f"one of {', '.join(choices)}"
    else:
        has_type, wanted = TYPES[kind]
        fits = has_type(value)
    # A text is not quoted, for it may be a pasted key; a parameter may hold a secret.
    what = type_name(value) if kind in {"params", "pairs"} or isinstance(value, str) else value_text(value)
    is_other = kind == "choice" and isinstance(value, str)
    message = "{name} must be {wanted}." if is_other else "{name} is {value}; it must be {wanted}."
    refuse(not fits, message, name=name, value=what, wanted=wanted)
    for key, parameter in value.items() if kind == "params" else ():
        json_copy(parameter, f"{name} {key} cannot be sent as JSON")


def check_required(given: Mapping[str, Any], more: str = "") -> None:
    """Raise `UsageError` with all required settings that are missing, and with more words."""
    missing = [name for name in REQUIRED if given.get(name) is None]
    names, variables = (
        " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
        for words in ([*map(setting_name, missing)], [VARIABLE_PREFIX + name.upper() for name in missing])
    )
    be, them = ("is", "it") if len(missing) == 1 else ("are", "them")
    message = "{names} {be} missing. Set {them} directly, with {variables} or in {file}.{more}"
    refuse(missing, message, names=names, be=be, them=them, variables=variables, file=CONFIG_FILE, more=more)


def check(declared: Field[Any], value: Any) -> None:
    """Raise `UsageError` if a value does not match its declaration."""
    facts, name, kind = declared.metadata, setting_name(declared.name), kind_of(declared)
    if value is None:
        return
    check_type(declared, value)
    values = {**facts, "name": name, "value": value}
    if facts["lowest"] is not None:
        refuse(value < facts["lowest"], "{name} is {value}; it must be at least {lowest}.", **values)
    if facts["highest"] is not None:
        refuse(value > facts["highest"], "{name} is {value}; it must be at most {highest:g}.", **values)
    refuse(kind == "text" and not value.strip(" \n"), "{name} is empty.", name=name)
    if kind in {"text", "many"}:
        is_path, text = declared.name in PATHS - {"messages"}, "".join(value)
        refuse(is_path and "\0" in text, "{name} holds a NUL character, which no path has.", name=name)
        # A path may hold bytes that are not UTF-8, which Python shows as the last ones of these halves.
        halves = [letter for letter in text if "\ud800" <= letter <= "\udfff"]
        lone = any(not (is_path and "\udc80" <= letter <= "\udcff") for letter in halves)
        refuse(lone, "{name} is not UTF-8; check the encoding of your terminal.", name=name)


def check_together(chosen: Settings) -> None:
    """Raise `UsageError` if settings contradict each other, or no request could hold them."""
    check_prompt(chosen)
    check_reading(chosen)
    check_output(chosen)
    if chosen.simulate:
        refuse(chosen.deployments, "{simulate} has only one deployment; leave out [[deployments]].")
        for field in ("endpoint", "auth", "api_key_from", "key_header", *PAIRS, "client_cert"):
            message = f"{{simulate}} and {{{field}}} contradict each other; give one of them."
            refuse(getattr(chosen, field) not in (None, {}), message)
    for field in PAIRS:
        check_pairs(setting_name(field), field, getattr(chosen, field))
    check_bounds(chosen)
    check_batch(chosen)
    check_deployments(chosen.deployments, rates=chosen.rpm is not None or chosen.tpm is not None)
    check_parameters(chosen)


def check_parameters(chosen: Settings) -> None:
    """Raise `UsageError` for a parameter that batchscore sets, that is absent, or that is given twice."""
    task = TASKS[chosen.task]
    ours = RESERVED_PARAMS | (PROMPT_PARAMS - {"prompt"} if task.system_key else PROMPT_PARAMS)
    for name, value in chosen.param.items():
        # Some gateways stream unless a request says no.
        reserved = name in ours and not (name == "stream" and value is False)
        refuse(reserved, "{param} {given}: batchscore sets this field.", given=name)
        instead = task.absent_params.get(name, "")
        lacking = instead and value is not False
        refuse(lacking, "{param} {given} is not for {own}: " + instead + ".", given=name, own=task.name)
    n = chosen.param.get("n")
    is_count = n is None or (type(n) is int and n > 0)
    message = "{param} n is {n}; it must be a whole number of at least 1."
    refuse(task.answer == "text" and not is_count, message, n=value_text(n))
    names_of = {"dimensions": ("dimensions",), "max_tokens": task.answer_limits}
    names_of |= {field: (field,) for field in ANSWER_PARAMS}
    if task.system_key:
        names_of["reasoning_effort"] = ("reasoning",)
    for field, names in names_of.items():
        is_given = getattr(chosen, field) not in (None, ())
        twice = [name for name in names if is_given and name in chosen.param]
        refuse(twice, f"{{param}} {''.join(twice[:1])} and {{{field}}} set the same; give one of them.")
    effort = chosen.reasoning_effort or ""
    meant = near_miss(effort, EFFORTS)
    message = "{reasoning_effort} is {effort}; did you mean {meant}? ({param} sends any value unchanged.)"
    refuse(meant, message, effort=repr(effort), meant=meant)


def check_prompt(chosen: Settings) -> None:
    """Raise `UsageError` if the settings of the prompt do not match each other, or not the task."""
    task = TASKS[chosen.task]
    prompt, messages, text_field = (
        value is not None for value in (chosen.prompt, chosen.messages, chosen.text_field)
    )
    system, vectors = chosen.system is not None, task.answer == "vector"
    message = "{text_field} names a field of a template; give a template with {prompt} or {messages}."
    refuse(text_field and not prompt and not messages, message)
    given = {"column": chosen.column is not None and not text_field, "prompt": prompt, "messages": messages}
    sources = [f"{{{name}}}" for name, is_given in given.items() if is_given]
    refuse(len(sources) > 1, f"{' and '.join(sources)} both define the prompt; give one of them.")
    talks = " or ".join(each.name for each in TASKS.values() if each.takes_messages)
    message = "{system} and {messages} are for {task} " + talks + ", not {own}."
    refuse((system or messages) and not task.takes_messages, message, own=task.name)
    message = "{system} and {messages}: put the system message into the messages file."
    refuse(system and messages, message)
    message = "{max_tokens} is for tasks that answer with text; embeddings have no answer to limit."
    refuse(vectors and chosen.max_tokens is not None, message)
    of_messages = {name: getattr(chosen, name) for name in ("schema", "schema_feedback", "image")}
    of_messages["drop_last_assistant"] = chosen.drop_last_assistant is not None
    for name, is_given in of_messages.items():
        message = f"{{{name}}} is for {{task}} " + talks + ", not {own}."
        refuse(is_given and not task.takes_messages, message, own=task.name)
    message = "{schema_mode} and {schema_feedback} say how a schema is used; give one with {schema}."
    refuse(chosen.schema is None and (chosen.schema_feedback or chosen.schema_mode != "auto"), message)
    message = "{param} {given} and {schema} set the same; give one of them."
    twice = chosen.schema is not None and task.format_key in chosen.param
    refuse(twice, message, given=task.format_key)
    for field in ANSWER_PARAMS:
        is_given = getattr(chosen, field) not in (None, ())
        message = f"{{{field}}} is for completions and chat; embeddings are not sampled."
        refuse(vectors and is_given, message)
        message = f"{{{field}}} is for completions and chat; the Responses API has no such parameter."
        refuse(task.system_key and field in {"seed", "stop"} and is_given, message)
    same = len({*chosen.image}) < len(chosen.image)
    refuse(same, "{image} names a column twice.")
    refuse(not vectors and chosen.dimensions is not None, "{dimensions} is for {task} embeddings.")


def check_reading(chosen: Settings) -> None:
    """Raise `UsageError` if no text can be read as the settings say."""
    try:
        is_text = codecs.lookup(chosen.encoding if chosen.encoding != "auto" else "utf-8").name
        "".encode(is_text)
    except (LookupError, ValueError):
        message = "{encoding} is {value}; it must be an encoding that Python knows, such as windows-1252."
        refuse(True, message, value=repr(chosen.encoding))
    delimiter = DELIMITERS.get(chosen.delimiter, chosen.delimiter)
    for name, value, words in (
        ("delimiter", delimiter, "tab or auto"),
        ("quote", chosen.quote, "none or auto"),
        ("escape", chosen.escape, "none or auto"),
    ):
        wrong = len(value) != 1 and value not in ("auto", "none" if name != "delimiter" else "auto")
        message = f"{{{name}}} is {{value}}; it must be one character, {words}."
        refuse(wrong or value in {"\r", "\n", "\0"}, message, value=repr(value))
    same = delimiter in {chosen.quote, chosen.escape} - {"auto"}
    refuse(same, "{delimiter} is also {quote} or {escape}; each needs its own character.")
    message = "{escape} needs a quote, and {quote} is none."
    refuse(chosen.quote == "none" and chosen.escape not in {"auto", "none"}, message)


def check_output(chosen: Settings) -> None:
    """Raise `UsageError` if the settings of the output contradict each other."""
    many = TASKS[chosen.task].packs_many and chosen.batch_size > 1
    message = "{usage} and {raw} describe one reply, which holds many rows; set {batch_size=1} (slower)."
    refuse(many and (chosen.usage or chosen.raw), message)
    shared = "{part_of}" if chosen.part_of else "{shared_output}"
    message = f"{shared} and {{incremental}}: only a single run can find out what has changed; omit one."
    refuse(chosen.shared_output and chosen.incremental, message)
    message = f"{shared} and {{overwrite}}: another worker may be writing; remove the old output first."
    refuse(chosen.shared_output and chosen.overwrite, message)
    most = chosen.error_threshold
    message = "{error_threshold} is {value}; it must be a fraction below 1, such as 0.05, or a whole number."
    refuse(most > 1 and most != int(most), message, value=most)
    message = "{prune} removes the scores of deleted files, and needs {incremental}."
    refuse(chosen.prune and not chosen.incremental, message)
    message = (
        "{limit} leaves files incomplete, and {incremental} publishes complete files only. To try a few "
        "rows, leave out {incremental} and choose another output."
    )
    refuse(chosen.incremental and chosen.limit is not None, message)


def check_bounds(chosen: Settings) -> None:
    """Raise `UsageError` for a budget that nothing would reach, or a deadline that cannot be read."""
    if chosen.deadline is not None:
        parse_deadline(chosen.deadline)
    if chosen.max_spend is None:
        return
    prices = {"{price_in}": chosen.price_in}
    if TASKS[chosen.task].answer == "text":
        prices["{price_out}"] = chosen.price_out
    missing = " and ".join(name for name, price in prices.items() if price is None)
    refuse(missing, f"{{max_spend}} needs {missing}: the price of a million tokens, in the same currency.")
    free = f"{{max_spend}} has no effect if {' and '.join(prices)} are 0: the cost stays 0."
    refuse(not any(prices.values()), free)


def named_variables(text: str) -> list[str]:
    """Return the variables that a value of a pair names."""
    return [found[1] or found[2] for found in REFERENCE.finditer(text)]


def check_pairs(where: str, kind: str, pairs: Mapping[str, str]) -> None:
    """Raise `UsageError` if a header or query parameter cannot be sent; no value is quoted."""
    lower = [name.lower() for name in pairs] if kind == "header" else list(pairs)
    for name, text in pairs.items():
        what = f"{where} ({name_text(name)})"
        if kind == "header":
            refuse(not HEADER_NAME.fullmatch(name), "{where}: a name has no spaces or colons.", where=where)
            refuse(name.lower() in OWN_HEADERS, "{what}: batchscore sets this header.", what=what)
            refuse(lower.count(name.lower()) > 1, "{what} is given twice.", what=what)
        refuse(not text.strip(), "{what}: its value is empty.", what=what)
        refuse(not re.fullmatch(r"[ -~\t]*", text), "{what}: its value is not plain ASCII text.", what=what)
        # Not quoted: a shell may have put a secret there.
        message = (
            "{what}: the name of a variable must begin with BATCHSCORE_ and end in _KEY, such as "
            "$BATCHSCORE_APIM_KEY. Other variables may hold the keys of other services."
        )
        refuse(not all(map(KEY_VARIABLE.fullmatch, named_variables(text))), message, what=what)


def check_deployments(tables: Sequence[Mapping[str, Any]], *, rates: bool) -> None:
    """Raise `UsageError` if a `[[deployments]]` table is invalid; `rates`: the run has limits, too."""
    for number, table in enumerate(tables, 1):
        where = f"[[deployments]] number {number}"
        for name, value in table.items():
            wanted = DEPLOYMENT_KEYS.get(name)
            if wanted is None:
                hint = " API keys belong into the environment; key_variable names the variable."
                hint = hint if "key" in str(name) else ""
                known = ", ".join(DEPLOYMENT_KEYS)
                raise UsageError(f"{where}: {name_text(name)} is not one of {known}.{hint}")
            fits = isinstance(value, wanted) and not isinstance(value, bool) and value
            if wanted is Mapping:
                fits = fits and is_pairs(value)
            elif wanted is not str:
                fits = fits and 0 < value < MOST_INT
            if not fits:
                kind = {str: "text", Mapping: "a table of texts"}.get(wanted, "a number above 0")
                raise UsageError(f"{where}: {name} is {value_text(value)}; it must be {kind}.")
        for name in PAIRS:
            check_pairs(f"{where}: {name}", name, table.get(name, {}))
        if not KEY_VARIABLE.fullmatch(table.get("key_variable", "BATCHSCORE_A_KEY")):
            # Not quoted: it may be the key itself.
            raise UsageError(
                f"{where}: key_variable must be the name of a variable that begins with BATCHSCORE_ and ends "
                "in _KEY, such as BATCHSCORE_EAST_KEY. Other variables may hold the keys of other services."
            )
    refuse(tables and rates, "{rpm} and {tpm}: with [[deployments]], set rpm and tpm in each table.")
