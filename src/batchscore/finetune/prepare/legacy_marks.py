"""Which marks of the old prompts and completions does a chat example not need?

Files for base models end each prompt with a separator, begin each completion with a blank and end it with a
stop sequence (OpenAI's legacy `fine_tunes.prepare_data`, which proposed these). A mark is left out only if
all of the first rows have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Separators and stop sequences that the old tool proposed, the longest first.
_SEPARATORS = (
    "\n\n--->\n\n",
    "\n\n===>\n\n",
    "\n\n###\n\n",
    "\n\n===\n\n",
    "\n\n---\n\n",
    " --->",
    " ===>",
    " ->",
)
_STOPS = (" END", "\n###", "###", "***", "+++", "&&&", "$$$", "@@@", "%%%", "\n")
#: With fewer rows a mark may be there by chance.
_FEWEST = 5


@dataclass(frozen=True, slots=True)
class LegacyMarks:
    """What is left out of prompts and of completions; empty for nothing."""

    separator: str = ""
    blank: str = ""
    stop: str = ""

    def __bool__(self) -> bool:
        return bool(self.separator or self.blank or self.stop)

    def prompt(self, text: str) -> str:
        """Return a prompt without the separator."""
        return text.removesuffix(self.separator)

    def completion(self, text: str) -> str:
        """Return a completion without its marks."""
        return text.removesuffix(self.stop).removeprefix(self.blank)

    @property
    def note(self) -> str:
        """What was left out, for a person."""
        found = {"prompt separator": self.separator, "leading blank": self.blank, "stop sequence": self.stop}
        return f"left out of all rows: {', '.join(name for name, mark in found.items() if mark)}"


NO_MARKS = LegacyMarks()


def legacy_marks(prompts: Sequence[str], completions: Sequence[str]) -> LegacyMarks:
    """Return the marks that all of the first rows have."""
    if len(prompts) < _FEWEST:
        return NO_MARKS
    return LegacyMarks(
        next((mark for mark in _SEPARATORS if all(text.endswith(mark) for text in prompts)), ""),
        " " if all(text.startswith(" ") for text in completions) else "",
        next((mark for mark in _STOPS if all(text.endswith(mark) for text in completions)), ""),
    )
