"""Which form must an answer have, how is the schema sent, and which answers are valid?

One `AnswerSchema` a run: it gives the parameters and the text of a request, and turns the text of an answer
into its value. It knows JSON Schema, not tasks, replies or records. Without a schema nothing here is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from batchscore.errors import UsageError, setting_name
from batchscore.prompts.schema_check import check_document
from batchscore.prompts.strict_rules import strict_violations
from batchscore.rows import load_json
from batchscore.settings.json_schema import parts, source_of
from batchscore.settings.slices import SchemaSettings

if TYPE_CHECKING:
    from batchscore.prompts.validation import Validation

#: How a schema is sent; of these a run may use the first that the service accepts.
STRICT, LOOSE, JSON, PROMPT = "strict", "json_schema", "json_object", "prompt"
FORMS = {
    STRICT: "sent in strict mode",
    LOOSE: "sent without strict mode",
    JSON: "sent in the system message, with JSON mode",
    PROMPT: "sent in the system message",
}

BREAKS_RULES = ", because the schema breaks these of its rules:"

#: The text that goes before a schema in the system message.
INSTRUCTION = "Answer with JSON only, without any other text. It must match this JSON Schema:\n"

#: A block of code, maybe with the name of its language; an answer may be within one.
FENCED = re.compile(r"```[^\n`]*\n(.*)```", re.DOTALL)

#: What Python reads as a number, and JSON has not.
NOT_A_NUMBER = re.compile(r"NaN|Infinity")

LONGEST_NAME = 64
MOST_COMPLAINT = 600
#: Characters of an answer in which the rule that it breaks is looked for: there may be one for each item.
MOST_EXPLAINED = 200_000

#: The maximum nesting of an answer; records of deeper ones could not be read by others.
MOST_LEVELS = 100
TOO_DEEP = f"The answer is nested more than {MOST_LEVELS} levels deep."

#: What a service sends again and again that ignores the schema.
NOT_JSON = "The answer is not JSON."
CUT_OFF = "it was cut off (finish_reason length)"


class InvalidAnswer(Exception):  # noqa: N818 - a reason to request again, not an error of the run
    """An answer that does not have the form; the text names the rule and never quotes the answer.

    `complaint` is for the model that wrote the answer, and may quote it.
    """

    def __init__(self, text: str, complaint: str = "") -> None:
        super().__init__(text)
        self.complaint = complaint


@dataclass(frozen=True, slots=True)
class AnswerSchema:
    """A JSON Schema that all answers of a run must match.

    `forms` are the ways to send it to the service, in the order in which they are tried; `violations` say why
    strict mode is not among them. `names` are the properties that the schema names: only they may be in a
    message. `feedback`: a second request says what was wrong with the first answer.
    """

    document: Mapping[str, Any]
    forms: tuple[str, ...]
    violations: tuple[str, ...]
    feedback: bool
    validation: Validation = field(repr=False)
    names: frozenset[str] = field(repr=False)

    @property
    def size(self) -> int:
        """The bytes that the schema adds to each request, about."""
        return len(orjson.dumps(self.document))

    @property
    def summary(self) -> str:
        """How the schema is sent, and why not in strict mode, for people."""
        return "\n".join([f"{len(self.names)} fields, {self.how}", *self.violations])

    @property
    def how(self) -> str:
        """How the schema is sent at first."""
        return FORMS[self.forms[0]] + (BREAKS_RULES if self.violations else "")

    def notices(self) -> list[str]:
        """Return what the user should know before the first request."""
        if not self.violations:
            return []
        return ["\n  ".join([f"{setting_name('schema')}: {self.how}", *self.violations])]

    def asked_as(self, form: str) -> tuple[str, dict[str, Any] | None]:
        """Return the kind of answer that a request asks for, "" for any, and what describes a json_schema."""
        if form in {STRICT, LOOSE}:
            named = {"name": name_of(self.document), "strict": form == STRICT, "schema": self.document}
            return "json_schema", named
        return ("json_object" if form == JSON else ""), None

    def instruction(self, form: str) -> str:
        """Return the text for the system message; empty if parameters say it all."""
        return "" if form in {STRICT, LOOSE} else INSTRUCTION + orjson.dumps(self.document).decode()

    def value_of(self, text: str | None, *, cut_off: bool) -> Any:
        """Return the value of an answer's text; raises `InvalidAnswer`. `cut_off`: its end is missing."""
        why = f": {CUT_OFF}" if cut_off else ""
        if not text or text.isspace():
            raise InvalidAnswer(f"The answer has no text{why}.")
        try:
            value = parse(text)
        except ValueError as error:
            # After a cut nothing is wrong but the end.
            complaint = "" if cut_off else f"It is not JSON: {error}."
            raise InvalidAnswer(f"The answer is not JSON{why}." if cut_off else NOT_JSON, complaint) from None
        if text.count("{") + text.count("[") > MOST_LEVELS and is_deep(value):
            raise InvalidAnswer(TOO_DEEP, TOO_DEEP)
        try:
            if self.validation.is_valid(value):
                return value
            wrong = self.validation.broken(value) if len(text) <= MOST_EXPLAINED else None
        except Exception as error:
            raise InvalidAnswer(f"The answer cannot be validated: {type(error).__name__}.") from None
        if wrong is None:
            raise InvalidAnswer("The answer does not match the schema.", "It does not match the JSON Schema.")
        path = "".join(f"/{self.step(each)}" for each in wrong.path) or "the root"
        full_path = "/".join(["", *map(str, wrong.path)]) or "the root"
        rule = "a value is not allowed" if wrong.rule == "falseSchema" else wrong.rule
        raise InvalidAnswer(
            f"The answer does not match the schema: {rule} at {path}.",
            f"It does not match the JSON Schema, at {full_path}: {wrong.message[:MOST_COMPLAINT]}",
        )

    def step(self, key: Any) -> str:
        """Return a step of a path for a message; a key that the schema does not name may quote the answer."""
        return str(key) if isinstance(key, int) or key in self.names else "*"


def answer_schema(settings: SchemaSettings) -> AnswerSchema | None:
    """Return the schema of a run's answers, `None` without one; raises `UsageError` if it cannot be used."""
    if settings.schema is None:
        return None
    try:
        return usable_schema(settings.schema, settings)
    except RecursionError:
        raise UsageError(f"{source_of(settings.schema)} is nested too deeply.") from None


def usable_schema(document: Mapping[str, Any], settings: SchemaSettings) -> AnswerSchema:
    """Return the schema of a document; raises `UsageError`."""
    where = source_of(document)
    check_document(document, where)
    # It takes 0.05 s to load, and few runs need it.
    from batchscore.prompts.validation import validation  # noqa: PLC0415

    checked = validation(document, where)
    violations = tuple(strict_violations(document))
    forms = {
        "auto": (*(() if violations else (STRICT,)), LOOSE, JSON, PROMPT),
        "json_schema": (LOOSE if violations else STRICT,),
        "json_object": (JSON,),
        "prompt": (PROMPT,),
    }[settings.schema_mode]
    return AnswerSchema(
        document,
        forms,
        violations if forms[0] in {STRICT, LOOSE} else (),
        settings.schema_feedback,
        checked,
        frozenset(name for _, part in parts(document) for name in properties_of(part)),
    )


def properties_of(part: Any) -> Mapping[str, Any]:
    """Return the properties that a part of a schema names."""
    found = part.get("properties") if isinstance(part, Mapping) else None
    return found if isinstance(found, dict) else {}


def name_of(document: Mapping[str, Any]) -> str:
    """Return the schema's name for the service, made of its title."""
    title = document.get("title")
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", title).strip("_") if isinstance(title, str) else ""
    return name[:LONGEST_NAME] or "answer"


def parse(text: str) -> Any:
    """Return the JSON of an answer, which may be within a block of code; raises `ValueError`."""
    try:
        return orjson.loads(text)
    except ValueError as error:
        text = text.strip("\ufeff \t\r\n")
        fenced = FENCED.search(text) if text[:1] not in {"{", "["} else None
        text = fenced[1] if fenced is not None else text
        if "\\ud" in text.lower() and not NOT_A_NUMBER.search(text):
            return load_json(text.encode())  # half of an emoji
        try:
            return orjson.loads(text)
        except ValueError:
            raise error from None


def is_deep(value: Any) -> bool:
    """Return whether a value has more than the most levels."""
    inside = [value] if isinstance(value, (dict, list)) else []
    for _ in range(MOST_LEVELS):
        inside = [
            below
            for each in inside
            for below in (each.values() if isinstance(each, dict) else each)
            if isinstance(below, (dict, list))
        ]
    return bool(inside)


def with_instruction(messages: bytes, instruction: bytes, system_key: str = "") -> bytes:
    """Return the JSON of chat messages with a text added to their system message, which comes first.

    `instruction` is JSON text without its quotes. With a `system_key` the prompt is an object, and its field
    of that name the system message. O(bytes).
    """
    if system_key:
        prompt = orjson.loads(messages)
        before = prompt.get(system_key)
        text = orjson.loads(b'"' + instruction + b'"')
        return orjson.dumps({**prompt, system_key: f"{text}\n\n{before}" if before else text})
    ours = b'[{"role":"system","content":"'
    if messages.startswith(ours):
        return b"".join((ours, instruction, b"\\n\\n", messages[len(ours) :]))
    listed = orjson.loads(messages)
    first = listed[0]
    if first["role"] in {"system", "developer"}:
        content, text = first.get("content"), orjson.loads(b'"' + instruction + b'"')
        if isinstance(content, list):
            first["content"] = [{"type": "text", "text": text}, *content]
        else:
            first["content"] = f"{text}\n\n{content or ''}"
        return orjson.dumps(listed)
    return b"".join((ours, instruction, b'"},', messages[1:]))


def with_complaint(messages: bytes, complaint: bytes, input_key: str = "") -> bytes:
    """Return the JSON of chat messages with further ones; with an `input_key` they are in that field."""
    if not input_key:
        return b"".join((messages[:-1], b",", complaint, b"]"))
    prompt = orjson.loads(messages)
    given = prompt[input_key]
    first = [{"role": "user", "content": given}] if isinstance(given, str) else given
    return orjson.dumps({**prompt, input_key: [*first, *orjson.loads(b"[" + complaint + b"]")]})


def complaint_messages(answer: str, complaint: str) -> bytes:
    """Return the JSON of the messages that are added to a second request, without brackets."""
    text = f"This answer cannot be used. {complaint} Answer again, with JSON that matches the schema."
    messages = [{"role": "assistant", "content": answer}, {"role": "user", "content": text}]
    return orjson.dumps(messages)[1:-1]
