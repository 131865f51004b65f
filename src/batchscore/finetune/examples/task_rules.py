"""Which rules does an example without messages break: prompts with completions, and Azure ML's tasks?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from batchscore.finetune.examples.chat_rules import check_keys
from batchscore.finetune.examples.kinds import TRANSLATION, ExampleKind
from batchscore.finetune.examples.rules import BrokenRules, ServiceRules, type_text
from batchscore.prompts.cells import is_blank

#: What a key parameter of a component may hold, and our bound.
FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_COMPLETION_KEYS = frozenset({"prompt", "completion"})


def check_completion(example: Mapping[str, Any], service: ServiceRules, broken: BrokenRules) -> None:
    """Check a prompt with its completion."""
    check_keys(example, _COMPLETION_KEYS, broken)
    for key in sorted(_COMPLETION_KEYS):
        text = example.get(key)
        if text is None:
            broken.add("missing_key", f"the key {key} is missing", key=key)
        elif not isinstance(text, str):
            broken.add("wrong_type", f"it is {type_text(text)}, not a text", key=key)
        elif not text.strip() and key == "completion":
            broken.add("empty_content", "the answer is empty", key=key)
        elif not text.strip() and service.refuses_empty_prompt:
            broken.add("empty_prompt", "the prompt is empty", key=key)


def check_task(example: Mapping[str, Any], kind: ExampleKind, broken: BrokenRules) -> None:
    """Check an example of a task of Azure ML."""
    if kind.name == TRANSLATION:
        _check_translation(example, broken)
        return
    before = len(broken.found)
    for each in kind.fields:
        if each.name not in example:
            if each.required:
                broken.add("missing_field", f"the field {each.name} is missing", key=each.name)
        elif not each.value:
            _check_text(example[each.name], each.name, broken)
    if len(broken.found) > before:
        return
    if kind.name == "text-classification":
        label = example["Label"]
        if isinstance(label, (dict, list, bool, float)):
            text = f"the label is {type_text(label)}; it must be a text or a whole number"
            broken.add("field_type", text, key="Label")
        elif is_blank(label):
            broken.add("empty_field", "the label is empty", key="Label")
    elif kind.name == "token-classification":
        _check_tokens(example, broken)
    elif kind.name == "question-answering":
        _check_answers(example["answers"], example["context"], broken)


def _check_text(value: Any, key: str, broken: BrokenRules) -> None:
    if not isinstance(value, str):
        broken.add("field_type", f"it is {type_text(value)}, not a text", key=key)
    elif not value.strip():
        broken.add("empty_field", f"the field {key} is empty", key=key)


def _check_translation(example: Mapping[str, Any], broken: BrokenRules) -> None:
    if len(example) != 2 or not all(map(FIELD_NAME.fullmatch, example)):
        broken.add("missing_field", "it must have two fields, whose names are the codes of the languages")
        return
    for key, value in example.items():
        _check_text(value, key, broken)


def _check_tokens(example: Mapping[str, Any], broken: BrokenRules) -> None:
    tokens, tags = example["tokens"], example["tags"]
    for key, value in (("tokens", tokens), ("tags", tags)):
        if not isinstance(value, list):
            broken.add("field_type", f"it is {type_text(value)}, not a list", key=key)
            return
    if not all(isinstance(each, str) for each in tokens):
        broken.add("field_type", "each token must be a text", key="tokens")
    if not all(isinstance(each, (str, int)) and not isinstance(each, bool) for each in tags):
        broken.add("field_type", "each tag must be a text or a whole number", key="tags")
    if not tokens:
        broken.add("empty_field", "the list of tokens is empty", key="tokens")
    if len(tokens) != len(tags):
        text = f"there are {len(tokens):,} tokens and {len(tags):,} tags"
        broken.add("lengths_differ", text, key="tags")


def _check_answers(answers: Any, context: str, broken: BrokenRules) -> None:
    texts = answers.get("text") if isinstance(answers, dict) else None
    starts = answers.get("answer_start") if isinstance(answers, dict) else None
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        form = '{"text": […], "answer_start": […]} with lists of equal length'
        broken.add("field_type", f"answers must be written as {form}", key="answers")
        return
    if not texts:
        broken.add("empty_field", "there is no answer", key="answers")
    for place, (text, start) in enumerate(zip(texts, starts, strict=True), 1):
        if not isinstance(text, str) or not text.strip():
            broken.add("empty_field", f"answer {place} is empty", key="answers")
        elif type(start) is not int or start < 0 or context[start : start + len(text)] != text:
            where = "is not in the context" if text not in context else "does not begin at its answer_start"
            broken.add("answer_place", f"answer {place} {where}", key="answers")
