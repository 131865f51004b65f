"""Which rules must a training file keep, how severe is a break, and what does a service say to it?

One table. The services' words are those that users have reported, or the documented error codes; most
services check a file in the job, after the upload, and name one problem at a time. No message quotes a text
of the file: keys and names of tools are quoted if they look like names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: OpenAI's guides and Azure's limits of fine-tuning, seen 2026-11.
MOST_FILE_BYTES = 512 * 2**20
#: Beyond this Azure may fail late in the job after a plain upload, and its portal takes 200 MB at most.
LARGE_FILE_BYTES = 150 * 10**6
LEAST_EXAMPLES = 10
USEFUL_EXAMPLES = 50
#: The context of a training example of gpt-4o and gpt-4.1.
MOST_TOKENS = 65_536
_FEWER_TOKENS = (re.compile(r"gpt-?3\.?5", re.IGNORECASE), 16_385)
MOST_IMAGE_EXAMPLES = 50_000
MOST_IMAGE_BYTES = 10 * 10**6


@dataclass(frozen=True, slots=True)
class ServiceRules:
    """What the services forbid that not all of them forbid."""

    name: str
    refuses_bom: bool
    most_images: int
    refuses_empty_prompt: bool
    refuses_preference_images: bool


SERVICES: Mapping[str, ServiceRules] = {
    each.name: each
    for each in (
        # Strict enough for all: what passes can be uploaded anywhere.
        ServiceRules("any", True, 10, True, True),
        ServiceRules("openai", True, 10, False, True),
        ServiceRules("azure", False, 64, True, False),
    )
}


@dataclass(frozen=True, slots=True)
class FormatRule:
    """One rule: whether a break is an error, and the service's words. `{line}` … get the place."""

    is_error: bool
    service: str


_NOT_JSONL = (
    "OpenAI: Expected file to have JSONL format, where every line is a valid JSON dictionary. Line {line} is "
    "not a dictionary. Azure: jsonlValidationFailed"
)
_FORMAT = (
    "OpenAI: invalid_file_format, Line {line}, message {message}, key {key}. Azure: jsonlValidationFailed"
)
_CONTENT = "OpenAI: invalid_file_format, Input should be a valid string. Azure: jsonlValidationFailed"
_FEW = "invalid_n_examples: Training file has {count} example(s), but must have at least 10 examples"
_IGNORED = "the services accept it"
_CUT = "the services cut the example off at the end, without a message"
_TASK = "Azure ML: the component's data check fails"


def _rules(is_error: bool, service: str, *names: str) -> dict[str, FormatRule]:  # noqa: FBT001
    return dict.fromkeys(names, FormatRule(is_error, service))


RULES: Mapping[str, FormatRule] = {
    # The whole file.
    **_rules(True, "OpenAI and Azure: 413, the file is larger than 512 MB", "file_too_large"),
    **_rules(
        False, "Azure: a 500 late in the job after a plain upload; the portal takes 200 MB", "file_large"
    ),
    **_rules(True, "the name of a training file must end in .jsonl", "file_name"),
    **_rules(True, _FEW, "file_empty", "too_few_examples"),
    **_rules(False, "the guides ask for 50 to 100 examples", "few_examples"),
    **_rules(False, _IGNORED, "few_validation_examples"),
    **_rules(False, "reinforcement needs a validation file, too", "no_validation"),
    **_rules(True, _NOT_JSONL, "byte_order_mark", "inner_byte_order_mark", "encoding", "not_utf8"),
    **_rules(True, _NOT_JSONL, "json_array", "pretty_printed", "other_file", "blank_line", "invalid_json"),
    **_rules(True, _NOT_JSONL, "not_object", "line_too_long", "line_end"),
    **_rules(True, _FORMAT, "mixed_formats", "unknown_format"),
    **_rules(True, 'OpenAI: invalid_file_format, the line contains an extra "{key}"', "keys_differ"),
    **_rules(True, "OpenAI and Azure: at most 50,000 examples may have images", "too_many_image_examples"),
    **_rules(False, _IGNORED, "duplicates", "conflicting_answers", "overlap", "same_inputs", "same_answers"),
    **_rules(True, _CUT, "too_long"),
    # An example and its messages.
    **_rules(True, _FORMAT, "missing_key", "unknown_key", "wrong_type", "no_messages", "unknown_role"),
    **_rules(True, _FORMAT, "empty_content", "weight_value", "weight_role", "no_assistant"),
    **_rules(True, _CONTENT, "missing_content", "content_type"),
    **_rules(True, "OpenAI and Azure: nothing in the example is trained on", "no_weight"),
    **_rules(True, "Azure: the last message must be the assistant's", "last_role"),
    **_rules(True, "reinforcement: the last message must be the user's", "last_not_user"),
    **_rules(True, "OpenAI and Azure: images are allowed in user messages only", "image_role"),
    **_rules(True, "OpenAI and Azure: images are JPEG, PNG or WEBP, at most 10 MB", "image", "image_size"),
    **_rules(True, "OpenAI: at most 10 images in an example; Azure: 64", "image_count"),
    **_rules(True, "OpenAI: the example's tools and calls do not fit together", "tool", "tool_call"),
    **_rules(True, "OpenAI: each tool call must be followed by its tool message", "tool_result"),
    **_rules(False, _IGNORED, "no_user", "system_place", "repeated_role"),
    # Preferences.
    **_rules(False, "the pair teaches nothing", "equal_outputs"),
    **_rules(False, "the pair may teach length only", "unequal_lengths"),
    **_rules(True, "OpenAI: one assistant message on each side, text only", "preference_output"),
    # Prompts and completions.
    **_rules(True, "Azure: a line may hold only prompt and completion, and no blank prompt", "empty_prompt"),
    # Azure ML.
    **_rules(True, _TASK, "missing_field", "field_type", "empty_field", "lengths_differ"),
    **_rules(True, "Azure ML: the answer is not found in the context", "answer_place"),
}


def most_tokens_of(model: str) -> int:
    """Return the tokens at which an example of a model is cut off."""
    name, fewer = _FEWER_TOKENS
    return fewer if name.search(model) else MOST_TOKENS


_LIKE_A_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class BrokenRule:
    """A rule that a file breaks. `line` and `message` count from 1, 0: the whole file or example."""

    line: int
    rule: str
    text: str
    message: int = 0
    key: str = ""
    count: int = 0
    is_error: bool = True

    @property
    def service_words(self) -> str:
        """What a service says to it, or does."""
        return RULES[self.rule].service.format(
            line=self.line, message=self.message or "?", key=self.key or "?", count=self.count
        )

    @property
    def place(self) -> str:
        """Where it is, for a person."""
        parts = [f"line {self.line:,}" if self.line else "file"]
        if self.message:
            parts.append(f"message {self.message}")
        if self.key:
            parts.append(self.key)
        return ", ".join(parts)


@dataclass(slots=True)
class BrokenRules:
    """The rules that one example breaks; `add` is called only if there is something to say."""

    line: int
    found: list[BrokenRule]

    def add(self, rule: str, text: str, message: int = 0, key: str = "") -> None:
        """Note a broken rule; messages count from 1."""
        self.found.append(BrokenRule(self.line, rule, text, message, key, is_error=RULES[rule].is_error))


def name_text(name: Any) -> str:
    """Return a key or a tool's name in quotes if it looks like one; otherwise it may be a text."""
    return f'"{name}"' if isinstance(name, str) and _LIKE_A_NAME.fullmatch(name) else "an unusual name"


def type_text(value: Any) -> str:
    """Return what a JSON value is, for a person."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
