"""What is a secret, and what do records, pages, messages and logs show in its place?

The one place that knows: names of parameters whose value is a secret, and texts that hold one whatever the
name is. Everything that writes or prints a text uses it.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

#: What replaces a secret.
HIDDEN = "***"

#: The last part of a name whose value is a secret, without separators and in lower case. A key counts by what
#: it opens: `prompt_cache_key` and `primary_key` are none.
_NAMES = re.compile(
    r"(?:(?:api|access|account|admin|auth|azure|client|cosmos|deploy|encryption|functions?|gpg|hmac|kms"
    r"|licen[cs]e|master|openai|private|query|rsa|secret|service|shared|signing|ssh|storage|subscription"
    r"|vault)keys?|token|secrets?|passwords?|passwd|pwd|passphrase|passcode|authorization|bearer|cookies?"
    r"|headers|credentials?|connectionstrings?|connstr(?:ing)?|sharedaccesssignature|webhook(?:url)?"
    r"|(?:amz|goog)(?:signature|credential))$"
)
#: Short names are secrets as whole words only.
_WORDS = re.compile(
    r"(?:^|[^A-Za-z0-9])(?:o?auth|creds?|dsn|hmac|jwt|pem|pw|sas|sig|signature|t?otp)$"
    r"|^(?:(?:db|login|proxy|smtp|user)[_-]?)?pass$",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATORS = re.compile(r"[\W_]+")

#: Words of a JSON schema: an object with one describes a field of that name, and holds no value.
_OF_SCHEMAS = frozenset(
    {"type", "description", "enum", "const", "properties", "items", "anyOf", "oneOf", "$ref"}
)

#: A value in quotes, to the end of an entry of a connection string, or one word; but not a placeholder.
_QUOTED = r"""\"(?:[^"\\]|\\.)+\"|'(?:[^'\\]|\\.)+'"""
_WORD = r"""[^\s&;,'"<>{}$*](?:[^&;'"<>{}\n]{0,200}(?=;)|[^\s&;,'"<>{}]*)"""

#: A value of a header or query parameter that holds no secret itself: a variable, perhaps behind a scheme.
_ONLY_NAMES = re.compile(r"([A-Za-z-]+ )?(\$\w+|\$\{\w+\})")

#: Texts that hold a secret, whatever they are called. The groups stay, the rest is hidden.
_TEXTS = (
    re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)(?!\*\*\*).*?(?:-----END[^\n]*-----|\Z)()", re.DOTALL),
    # A user and password before a host. Before that of Azure's storage is the name of a container.
    re.compile(
        r"((?<!abfss)(?<!abfs)(?<!wasbs)(?<!wasb)://|://(?=[^/\s@'\"]*:))[^/\s@'\"]+(@)", re.IGNORECASE
    ),
    re.compile(r"((?<![\w./:@+-])(?!mailto:)[\w.+-]+:)[^\s/:@'\"{}]+(@[\w-]+(?:\.[\w-]+|:\d))"),
    # The values of headers, in texts and as JSON.
    re.compile(
        r"(authorization[\"']?\s*:\s*[\"']?)"
        r"(?=(?:\w{1,64} {1,64})?[^\s\"'\n]{0,500}[\d=]|(?:apikey|basic|bearer|digest|token)\s)"
        r"(?![\"'{$<*])[^\"'\n]+()",
        re.IGNORECASE,
    ),
    re.compile(r"(cookie[\"']?\s*:\s*[\"']?)(?=[\w.-]+=)[^\"'\n]+()", re.IGNORECASE),
    re.compile(
        r"((?:api-key|subscription-key)[\"']?\s*:\s*[\"']?)(?!\s|[\"'{$<*])[^\s\"']+()", re.IGNORECASE
    ),
    re.compile(
        r"(\b(?:password|passwd|pwd|passphrase|secret|(?:api|access|account)[_-]?key)\s*:\s+)"
        r"(?=\S*\d)[^\s'\"{}$<*,;]{6,}()",
        re.IGNORECASE,
    ),
    re.compile(r"(\bbearer\s+)(?=[^\s'\"]{0,99}\d)[\w.~+/=-]{8,}()", re.IGNORECASE),
    re.compile(r"(\bbasic\s+)(?=[^\s'\"]*[\d=+/])[\w+/=-]{12,}()", re.IGNORECASE),
    # Parameters of addresses whose names mean nothing elsewhere.
    re.compile(r"([?&](?:key|code)=)[^\s&#'\"{}$<*][^\s&#'\"]*()"),
    # Tokens and keys that show by their form what they are.
    re.compile(r"()(?<![\w-])eyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?()"),
    re.compile(
        r"()(?<![\w-])(?:(?=sk-[\w-]{0,200}\d)sk-[\w-]{12,}|gh[oprsu]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
        r"|xox[abeoprs]-[\w-]{10,}|A[KS]IA[0-9A-Z]{16}|AIza[\w-]{30,}|(?:hf|gsk|npm|xai|r8)[_-]\w{20,}"
        r"|(?:pypi|nvapi)-[\w-]{20,}|dapi[0-9a-f]{32}|[A-Za-z0-9]{30,}JQQJ99[A-Za-z0-9]{8,})()"
    ),
)
#: An address, and in it a part of its path that may be a key.
_ADDRESS = re.compile(r"https?://[^\s\"'<>]+", re.IGNORECASE)
_PATH_KEY = re.compile(r"(?<=/)\w{24,}(?=[/?#,;)\]}]|\Z)")
#: Parts of an endpoint's path that are keys by their form: a UUID, and a word behind the prefix of a key.
_KEY_FORM = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?:sk|pk|rk|key)[-_](?=[\w-]*\d)[\w-]{9,}", re.IGNORECASE
)
_CHANGES = re.compile(r"(?<=\d)(?=[^\W\d_])|(?<=[^\W\d_])(?=\d)")
#: A name that ends with one of these parts is not the name of a key.
_COLLECTIONS = frozenset(
    {"accounts", "apis", "deployments", "endpoints", "engines", "gateways", "models", "projects", "providers"}
    | {"resourcegroups", "serving-endpoints", "subscriptions", "workspaces"}
)
_QUERY = re.compile(r"[?#]")
#: What comes before a value: `AccountKey=…;`, `?sig=…`, and `"password": "…"` as in JSON.
_NAMED = re.compile(r"""([\w.-]{1,64})\s*=\s*|(?<=["'])([\w.-]{1,64})["']\s*:\s*(?=["'])""")
_VALUE = re.compile(rf"{_QUOTED}|{_WORD}")


def is_secret_name(name: str) -> bool:
    """Whether a value with this name is a secret: `api_key`, `connectionString`, `X-Auth-Token`."""
    return bool(_NAMES.search(_SEPARATORS.sub("", name).lower()) or _WORDS.search(_CAMEL.sub("_", name)))


def mask_text(text: str, *, paths: bool = True) -> str:
    """Return a text with the secrets in it hidden: passwords in addresses, keys, tokens, signatures.

    Without `paths`, long words in the paths of addresses are shown: they may be ids.
    """
    if text.lstrip()[:1] in {"{", "["}:
        try:
            value = json.loads(text)
            shown = without_secrets(value, "json", paths=paths)
        except (ValueError, RecursionError):
            pass
        else:
            return text if shown == value else json.dumps(shown, ensure_ascii=False)
    for pattern in _TEXTS:
        text = pattern.sub(rf"\g<1>{HIDDEN}\g<2>", text)
    text = _ADDRESS.sub(_mask_path, text) if paths else text
    return _mask_pairs(text)


def _mask_path(found: re.Match[str]) -> str:
    return _PATH_KEY.sub(lambda part: HIDDEN if _is_random(part[0]) else part[0], found[0])


def _mask_pairs(text: str) -> str:
    pieces, written, at = [], 0, 0
    while named := _NAMED.search(text, at):
        # The value of another name may have a secret inside: `url="https://h/?sig=…"`.
        at = named.end()
        value = _VALUE.match(text, at) if is_secret_name(named[1] or named[2]) else None
        if value is not None and value[0].strip("\"'*"):
            mark = value[0][0] if value[0][0] in "\"'" else ""
            pieces.append(f"{text[written:at]}{mark}{HIDDEN}{mark}")
            written = at = value.end()
    return "".join([*pieces, text[written:]])


def secret_in(value: Any, name: str = "") -> str | None:
    """Return the dotted name of the first parameter that is a secret or holds one, or `None`.

    Below the top level, a schema may describe a field named `token`: there only texts and numbers count, and
    objects of texts. There `key` counts as well, as the key of a search service that a chat model uses.
    """
    if is_secret(value, name) or (isinstance(value, str) and mask_text(value) != value):
        return mask_text(name)
    if isinstance(value, Mapping):
        inside = _members(value, name)
    else:
        inside = [(name, each) for each in value] if isinstance(value, (list, tuple)) else []
    return next((found for path, each in inside if (found := secret_in(each, path))), None)


def without_secrets(value: Any, name: str = "", *, paths: bool = True) -> Any:
    """Return parameters for records, pages and logs, with the secrets that `secret_in` finds hidden."""
    if is_secret(value, name):
        return HIDDEN
    if isinstance(value, str):
        return mask_text(value, paths=paths)
    if isinstance(value, Mapping):
        shown = [without_secrets(each, path, paths=paths) for path, each in _members(value, name)]
        return dict(zip([mask_text(str(key), paths=paths) for key in value], shown, strict=True))
    if isinstance(value, (list, tuple)):
        return [without_secrets(each, name, paths=paths) for each in value]
    return value


def _members(value: Mapping[Any, Any], name: str) -> list[tuple[str, Any]]:
    """Return the dotted name and value of each member; `value` has the name that a member beside it gives."""
    names = [str(value.get(key)) for key in ("name", "key", "header") if isinstance(value.get(key), str)]
    given = next(filter(is_secret_name, names), "value")
    paths = [given if str(key).lower() == "value" else str(key) for key in value]
    # Beside a value, `key` is the name of a thing.
    paths = ["name" if path == "key" and given != "value" else path for path in paths]
    return [
        (f"{name}.{path}" if name else path, each) for path, each in zip(paths, value.values(), strict=True)
    ]


def is_secret(value: Any, name: str) -> bool:
    """Whether the parameter with this dotted name is a secret."""
    _, dot, last = name.rpartition(".")
    if not (is_secret_name(last) or (dot and last == "key")):
        return False
    if not dot:
        return value is not None
    if isinstance(value, Mapping):
        return (
            bool(value)
            and _OF_SCHEMAS.isdisjoint(value)
            and all(isinstance(each, str) for each in value.values())
        )
    counts = isinstance(value, (int, float)) and not isinstance(value, bool)
    # A number is a count, if the name may mean one.
    return isinstance(value, str) or (counts and not last.lower().endswith(("token", "key")))


def keys_in_path(address: str) -> list[str]:
    """Return the parts of an endpoint's path that have the form of a key, and are not names of things.

    Some gateways take a key there. A key that looks like a word cannot be distinguished from one.
    """
    path = _QUERY.split(address.rpartition("://")[2], maxsplit=1)[0]
    return [
        part
        for before, part in pairwise(path.split("/"))
        if before.lower() not in _COLLECTIONS and _looks_like_key(part)
    ]


def _looks_like_key(part: str) -> bool:
    return bool(_KEY_FORM.fullmatch(part)) or any(map(_is_random, re.split(r"[-_.~]", part)))


def _is_random(word: str) -> bool:
    """Whether letters and digits alternate in a long word more than they do in names: `GPT4o`, `prod2024`."""
    changes = len(_CHANGES.findall(word))
    return changes >= (2 if len(word) >= 20 else 3) and len(word) >= 12


def shown_address(address: str) -> str:
    """Return the address of an endpoint with the keys in it hidden."""
    keys = keys_in_path(address)
    end = _QUERY.search(address)
    path, query = (address, "") if end is None else (address[: end.start()], address[end.start() :])
    return mask_text("/".join(HIDDEN if part in keys else part for part in path.split("/")) + query)


def shown_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run, or of a deployment's table, as records and logs may show them."""
    return {name: _shown_setting(name, value) for name, value in settings.items()}


def _shown_setting(name: str, value: Any) -> Any:
    if name in {"header", "query"} and isinstance(value, Mapping):
        return shown_pairs(value)
    if name == "deployments" and isinstance(value, (list, tuple)):
        # A damaged record may hold something else.
        return [shown_settings(table) for table in value if isinstance(table, Mapping)]
    if name == "endpoint" and isinstance(value, str):
        return shown_address(value)
    # Only parameters have names that others choose.
    return without_secrets(value, "" if name == "param" else f"settings.{name}")


def shown_pairs(pairs: Mapping[str, str]) -> dict[str, str]:
    """Return headers or query parameters for records and logs; values that name a variable are shown."""
    return {name: text if _ONLY_NAMES.fullmatch(str(text)) else HIDDEN for name, text in pairs.items()}


def shown_words(words: Sequence[str]) -> list[str]:
    """Return the words of a command as the user types it, with the secrets hidden."""
    shown = []
    for before, word in zip(["", *words], words, strict=False):
        flag, equals, given = word.partition("=")
        if equals and flag in _SHOWN_FLAGS:
            shown.append(f"{flag}={_SHOWN_FLAGS[flag](given)}")
        else:
            shown.append(_SHOWN_FLAGS.get(before, mask_text)(word))
    return shown


def shown_command(words: Sequence[str]) -> str:
    """Return a command for a shell, with the secrets hidden."""
    return shlex.join(shown_words(words))


def shown_parameter(given: str) -> str:
    """Return NAME=JSON with its secrets hidden; the name of a file is not secret."""
    name, equals, text = given.partition("=")
    if not equals or text.startswith("@"):
        return mask_text(given)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    ((shown_name, shown),) = without_secrets({name.strip(): value}).items()
    if shown == value:
        return f"{shown_name}={text}"
    return f"{shown_name}={shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)}"


def shown_pair(given: str) -> str:
    """Return NAME=VALUE with the value hidden unless it only names a variable."""
    name, equals, text = given.partition("=")
    return f"{name}={shown_pairs({name: text.strip()})[name]}" if equals else HIDDEN


#: For each flag whose value may hold a secret whatever it looks like, how the value is shown.
_SHOWN_FLAGS: Mapping[str, Callable[[str], str]] = {
    "--param": shown_parameter,
    "--header": shown_pair,
    "--query": shown_pair,
    "--endpoint": shown_address,
}
