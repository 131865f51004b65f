"""Which formats do training files have, and which fields has an example in each?

One table; it knows no rows and no rules. Formats of OpenAI and Azure OpenAI are those of their guides
("Supervised fine-tuning", "Direct preference optimization", "Reinforcement fine-tuning", seen 2026-11); the
others are the inputs of Azure ML's fine-tuning components (azureml-assets, seen 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from batchscore.errors import UsageError


@dataclass(frozen=True, slots=True)
class ExampleField:
    """A field of an example, and the names of columns that it is usually taken from, in lower case.

    `value`: the cell as it is, and not as text.
    """

    name: str
    columns: tuple[str, ...]
    required: bool = True
    value: bool = False


@dataclass(frozen=True, slots=True)
class ExampleKind:
    """One format of a training file.

    `options` says which field the options for the prompt, the answer and the others set. `ready` are the
    columns that hold an example's own keys, the first ones required. `hosted`: OpenAI's and Azure OpenAI's
    services train on it; the others are for a component of Azure ML, whose parameters for the names of
    fields are `keys`.
    """

    name: str
    fields: tuple[ExampleField, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    ready: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    hosted: bool = True
    keys: Mapping[str, str] = field(default_factory=dict)

    def field_named(self, name: str) -> ExampleField | None:
        """Return the field of this name, whatever its case."""
        return next((each for each in self.fields if each.name.lower() == name.lower()), None)


_PROMPTS = ("prompt", "question", "instruction", "input", "user", "text")
_ANSWERS = ("completion", "answer", "output", "response", "assistant", "label", "target")
_SYSTEM = ExampleField("system", ("system", "system_prompt"), required=False)
_TOOLS = tuple(
    ExampleField(name, (name,), required=False, value=True)
    for name in ("tools", "parallel_tool_calls", "functions")
)
_PROMPT = ExampleField("prompt", _PROMPTS)
_CHAT = {"system": "system", "prompt": "prompt", "answer": "answer"}

CHAT_FORMAT = ExampleKind(
    "chat",
    (_SYSTEM, _PROMPT, ExampleField("answer", _ANSWERS), *_TOOLS),
    _CHAT,
    ("messages",),
    ("tools", "parallel_tool_calls", "functions"),
)
COMPLETION_FORMAT = ExampleKind(
    "prompt-completion",
    (_PROMPT, ExampleField("completion", _ANSWERS)),
    {"prompt": "prompt", "answer": "completion"},
)
PREFERENCE_FORMAT = ExampleKind(
    "preference",
    (
        _SYSTEM,
        _PROMPT,
        ExampleField("answer", ("chosen", "preferred", *_ANSWERS)),
        ExampleField("rejected", ("rejected", "non_preferred")),
        *_TOOLS[:2],
    ),
    {**_CHAT, "rejected": "rejected"},
    ("input", "preferred_output", "non_preferred_output"),
)
REINFORCEMENT_FORMAT = ExampleKind(
    "reinforcement",
    (_SYSTEM, _PROMPT, _TOOLS[0]),
    {"system": "system", "prompt": "prompt"},
    ("messages",),
    ("tools",),
)


def _component(
    name: str, fields: tuple[ExampleField, ...], options: Mapping[str, str], keys: Mapping[str, str]
) -> ExampleKind:
    return ExampleKind(name, fields, options, hosted=False, keys=keys)


KINDS: Mapping[str, ExampleKind] = {
    kind.name: kind
    for kind in (
        CHAT_FORMAT,
        COMPLETION_FORMAT,
        PREFERENCE_FORMAT,
        REINFORCEMENT_FORMAT,
        _component(
            "text-classification",
            (
                ExampleField("Sentence1", ("sentence1", "sentence", "premise", "document", *_PROMPTS)),
                ExampleField("Sentence2", ("sentence2", "hypothesis"), required=False),
                ExampleField("Label", ("label", "class", "category", "topic"), value=True),
            ),
            {"prompt": "Sentence1", "context": "Sentence2", "answer": "Label"},
            {"sentence1_key": "Sentence1", "sentence2_key": "Sentence2", "label_key": "Label"},
        ),
        _component(
            "token-classification",
            (
                ExampleField("tokens", ("tokens", "words"), value=True),
                ExampleField("tags", ("tags", "ner_tags", "labels"), value=True),
            ),
            {"prompt": "tokens", "answer": "tags"},
            {"token_key": "tokens", "tag_key": "tags"},
        ),
        _component(
            "question-answering",
            (
                ExampleField("question", ("question", "prompt")),
                ExampleField("context", ("context", "passage", "document", "text")),
                ExampleField("answers", ("answers", "answer"), value=True),
            ),
            {"prompt": "question", "context": "context", "answer": "answers"},
            {
                "question_key": "question",
                "context_key": "context",
                "answers_key": "answers",
                "answer_start_key": "answer_start",
                "answer_text_key": "text",
            },
        ),
        _component(
            "text-summarization",
            (
                ExampleField("document", ("document", "article", "dialogue", "text")),
                ExampleField("summary", ("summary", "highlights")),
            ),
            {"prompt": "document", "answer": "summary"},
            {"document_key": "document", "summary_key": "summary"},
        ),
        # The names of its fields are the codes of the languages, the source first.
        _component("text-translation", (), {}, {}),
        _component(
            "text-generation",
            (
                ExampleField("text", ("text", "prompt", "instruction", "input")),
                ExampleField("ground_truth", ("ground_truth", *_ANSWERS)),
            ),
            {"prompt": "text", "answer": "ground_truth"},
            {"text_key": "text", "ground_truth_key": "ground_truth"},
        ),
    )
}

TRANSLATION = "text-translation"


def kind_named(name: str) -> ExampleKind:
    """Return the format of this name; raises `UsageError`."""
    try:
        return KINDS[name]
    except KeyError:
        raise UsageError(f"there is no training format {name!r}; there are {', '.join(KINDS)}.") from None
