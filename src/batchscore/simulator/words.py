"""How many tokens has a text, and which of its words describe its subject?

It must not know vectors nor replies: both use it.
"""

from __future__ import annotations

import re

#: In a prompt or input: the service refuses it with status 400, `content_filter`.
CONTENT_FILTER_TRIGGER = "simulate-content-filter"
#: In a prompt: 200 with `finish_reason` `content_filter` and no text; with "-partly", half the text.
FILTERED_REPLY_TRIGGER = "simulate-filtered-reply"
PARTLY_FILTERED_REPLY_TRIGGER = "simulate-filtered-reply-partly"
#: In a prompt: 200 with `finish_reason` `stop` and no text.
EMPTY_REPLY_TRIGGER = "simulate-empty-reply"

WORD = re.compile(r"\w+")

#: English words that do not describe a subject.
COMMON = frozenset(
    """a about after all also an and any are as at be been but by can could did do does each for from had
    has have he her his how i if in into is it its may me more most my no not of on one only or other our
    out over shall she should so some such than that the their them then there these they this those to
    under up upon us was we were what when which who will with within would you your""".split()  # noqa: SIM905 - a list of words reads best as text
)


def count_tokens(text: str) -> int:
    """Estimate tokens: the larger of bytes / 4 and words (spaces + 1) * 4 / 3, rounded up; at least 1.

    Without a tokenizer: within about 20 % for English prose, too low for Chinese and for code.
    """
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return max(1, -(-size // 4), -(-(text.count(" ") + 1) * 4 // 3))
