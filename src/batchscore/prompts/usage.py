"""Which token counts of a reply can be true?

It knows what a request held and what a reply says. Services report counts of -1, 2**64 - 1 or another
customer's; budgets, quotas and estimates must not follow them. An impossible count counts as missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from batchscore.task import Task

#: A prompt cannot have more tokens than bytes, apart from those that a service adds: a template, a system
#: message, or an instruction to each input of an embeddings request.
ADDED_TOKENS = {"vector": 256, "text": 2**14}

#: What else becomes tokens of a prompt: pictures, files, tools and searches.
OTHER_CONTENT = re.compile(
    rb'"(image_url|input_image|video_url|audio_url|input_audio|file|input_file|document|tools|functions|'
    rb'web_search_options|data_sources|plugins)"'
)
MOST_PROMPT_TOKENS = 2**24

#: Reasoning counts as answer, and `max_tokens` does not bound it everywhere.
MOST_TOKENS_OF_AN_ANSWER = 2**18

#: The names that OpenAI's older and newer API have for the counts.
PROMPT_NAMES = ("prompt_tokens", "input_tokens")
ANSWER_NAMES = ("completion_tokens", "output_tokens")
TOTAL_NAMES = ("total_tokens",)


#: The tokens of one reply's prompts and answers, 0 if unknown, and the fields whose counts are impossible.
TokenCounts: TypeAlias = tuple[int, int, tuple[str, ...]]


def token_counts(usage: Mapping[str, Any], task: Task, answers: int, rows: int, sent: bytes) -> TokenCounts:
    """Return the counts in the `usage` of a reply to `sent`, with `answers` per row."""
    prompt, answer = usage.get("prompt_tokens"), usage.get("completion_tokens", 0)
    if prompt is None and "prompt_tokens" not in usage:
        prompt, answer = usage.get("input_tokens"), usage.get("output_tokens", 0)
    total = usage.get("total_tokens", 0)
    if (
        type(prompt) is int
        and type(answer) is int
        and type(total) is int
        and (  # as nearly all are
            0 < prompt <= len(sent)
            and 0 <= answer <= MOST_TOKENS_OF_AN_ANSWER
            and 0 <= total <= prompt + answer
        )
    ):
        return prompt, answer, ()
    most_prompt = len(sent) + ADDED_TOKENS[task.answer] * rows
    if any(count_in(usage, (name,)) > most_prompt for name in PROMPT_NAMES + TOTAL_NAMES):
        most_prompt = MOST_PROMPT_TOKENS if OTHER_CONTENT.search(sent) else most_prompt
    most_answer = MOST_TOKENS_OF_AN_ANSWER * answers * rows
    bounds = {
        **dict.fromkeys(PROMPT_NAMES, most_prompt),
        **dict.fromkeys(ANSWER_NAMES, most_answer),
        **dict.fromkeys(TOTAL_NAMES, most_prompt + most_answer),
    }
    false_names = tuple([name for name, most in bounds.items() if count_in(usage, (name,)) > most])
    if false_names:
        usage = {name: count for name, count in usage.items() if name not in false_names}
    prompt, answer = count_in(usage, PROMPT_NAMES), count_in(usage, ANSWER_NAMES)
    # Some services report the total only.
    prompt = prompt or min(max(count_in(usage, TOTAL_NAMES) - answer, 0), most_prompt)
    return prompt, answer, false_names


def count_in(usage: Mapping[str, Any], names: tuple[str, ...]) -> int:
    """Return the first positive count with one of these names, 0 if there is none; 12.0 is a count, too."""
    for name in names:
        count = usage.get(name)
        if isinstance(count, float) and count.is_integer():
            count = int(count)
        if type(count) is int and count > 0:
            return count
    return 0
