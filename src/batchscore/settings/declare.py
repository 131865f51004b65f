"""How is a setting declared, and what are its flag and its variable called?

The declarations are in `fields`; flags, docs and checks are made from them.
"""

from __future__ import annotations

import re
from dataclasses import Field, field
from typing import Any

from batchscore.errors import setting_name

VARIABLE_PREFIX = "BATCHSCORE_"
CONFIG_FILE = "batchscore.toml"
CONFIG_VARIABLE = "BATCHSCORE_CONFIG"
#: The table in the file that is not of a run: options of `batchscore evaluate`.
EVALUATE_TABLE = "evaluate"
#: Variables that are not settings: API keys and whatever weakens security must never come from a file.
OTHER_VARIABLES = (
    "BATCHSCORE_API_KEY",
    "BATCHSCORE_ALLOW_PLAIN_HTTP",
    "BATCHSCORE_ARM_ENDPOINT",
    "BATCHSCORE_AZURE_RESOURCE",
    "BATCHSCORE_CLIENT_CERT_PASSWORD",
    "BATCHSCORE_ENTRA_SCOPE",
    "BATCHSCORE_TRUSTED_HOSTS",
    CONFIG_VARIABLE,
)

#: Settings without a default that must be given.
REQUIRED = ("task", "model", "output")

#: The kind of a setting by its type, without `None`; a text with choices is a choice.
KINDS = {
    "str": "text",
    "int": "int",
    "float": "float",
    "bool": "flag",
    "tuple[str, ...]": "many",
    "Mapping[str, Any]": "params",
    "Mapping[str, str]": "pairs",
    "tuple[Mapping[str, Any], ...]": "tables",
    "str | Mapping[str, Any]": "file_or_table",
}


#: What the declaration of a setting may say besides group, help and default. `lowest` and `highest` are its
#: range; `only` is "flag" or "file" if it has no other source; `flag` is the short flag; `needs_trust`: it
#: decides where requests go or what signs them, so a file that nobody named must be trusted first.
FACTS = dict.fromkeys(("metavar", "choices", "lowest", "highest", "only", "flag", "needs_trust"))


def setting(group: str, help_text: str, *, default: Any = None, **facts: Any) -> Any:
    """Declare one setting, with some of `FACTS`. Its type gives its kind."""
    assert facts.keys() <= FACTS.keys()
    metadata = {"group": group, "help": help_text, **FACTS, **facts}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


def as_flag(name: str) -> str:
    """Return the long flag of the setting with this name."""
    return "--" + name.replace("_", "-")


def mark_flags(text: str) -> str:
    """Return a stored text with marked names; it names settings by their flags (`as_flag`)."""
    if "--" not in text:  # as in nearly all
        return text
    return re.sub(
        r"(?<![\w-])--([a-z]+(?:-[a-z]+)*)", lambda flag: setting_name(flag[1].replace("-", "_")), text
    )


def kind_of(declared: Field[Any]) -> str:
    """Return the kind of a setting, which decides how its values are parsed and checked."""
    return "choice" if declared.metadata["choices"] else KINDS[str(declared.type).removesuffix(" | None")]


def shown_default(declared: Field[Any]) -> str:
    """Return a setting's default as people write it; empty if it is false or not set."""
    if kind_of(declared) in {"params", "pairs", "flag"} or declared.default in (None, ()):
        return ""
    return f"{declared.default:g}" if isinstance(declared.default, float) else str(declared.default)


def variable_of(declared: Field[Any]) -> str:
    """Return the environment variable of a setting."""
    return VARIABLE_PREFIX + declared.name.upper()
