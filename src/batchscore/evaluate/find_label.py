"""Which label does an answer give, and how was it found?

In this order: the field of a structured answer, a pattern of the user's, the whole text, what follows the
last answer marker, a line of its own, the only label that is mentioned. The last verdict counts, and one that
is no label gives none: no earlier mention takes its place. It knows no rows and no metrics.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import orjson

from batchscore.evaluate.fold import Labels, plain, text_of

How: TypeAlias = Literal["field", "pattern", "whole", "marker", "line", "mention", "several", "none"]

#: How a label was found, from the surest to the least sure; the last two are no label.
HOWS: tuple[How, ...] = ("field", "pattern", "whole", "marker", "line", "mention", "several", "none")

#: Reasoning that some models write into the answer. Without its end the answer never began.
_REASONING = re.compile(
    r"<(think|thinking|reasoning|analysis|scratchpad)>.*?(?:</\1>|\Z)|\A.*</(?:think|thinking|reasoning)>",
    re.DOTALL | re.IGNORECASE,
)

#: Words that announce an answer, in the languages of most test sets.
_NOUNS = (
    r"answer|label|class|category|classification|sentiment|verdict|prediction|conclusion|topic|intent|rating"
    r"|score|grade|judgement|judgment|choice|result|output"
    r"|antwort|kategorie|klasse|ergebnis|bewertung|note|thema|stimmung"
    r"|réponse|reponse|catégorie|classe|résultat"
    r"|respuesta|categoría|categoria|clase|etiqueta|resultado|risposta|resposta|antwoord|odpowiedź|ответ|категория"
)
_NOUNS_WITHOUT_BLANKS = r"答案|回答|标签|標籤|类别|類別|分类|分類|结论|結論|答え|正解|ラベル|カテゴリー?"
_IS = r"is|was|are|would be|should be|ist|lautet|wäre|est|es|è|é"
_MARKER = re.compile(
    rf"""
      \\boxed\{{(?P<boxed>[^{{}}]*)\}}
    | \[\[(?P<double>[^\[\]\n]*)\]\]
    | <(?P<tag>answer|label|output|result|verdict)>(?P<inner>.*?)(?:</(?P=tag)>|\Z)
    | ^\s*\#\#\#\#(?!\#)\s*(?P<hash>[^\n]*)
    | (?<!\w)(?:{_NOUNS})(?:\s+(?:choice|option|label|class|category))?\s*
      (?::|=|(?:\s(?:{_IS})(?!\w)\s*(?:clearly\s|therefore\s|thus\s|also\s|probably\s)?:?))
    | (?:{_NOUNS_WITHOUT_BLANKS})\s*(?:是|为|為|は|:|=)\s*:?
    | (?<!\w)(?:classified|categorised|categorized|labelled|labeled)\s+as(?!\w)\s*:?
    """,
    re.VERBOSE | re.IGNORECASE | re.MULTILINE | re.DOTALL,
)
_GROUPS = ("boxed", "double", "inner", "hash")

#: Where what follows a marker ends.
_SENTENCE_END = re.compile(r"\n|。|(?<=[^\W\d_])[.!?](?=\s|\Z)|;\s|(?<=\d)\.(?=\s|\Z)")

#: Words that deny what follows them, within the same clause.
_DENIALS = frozenset(
    {
        *("not", "no", "non", "never", "neither", "nor", "without", "cannot", "isn't", "aren't", "wasn't"),
        *("weren't", "hardly", "barely", "scarcely", "nicht", "kein", "keine", "keinen", "kaum"),
        *("keinem", "keiner", "keines", "weder", "noch", "ohne", "pas", "ni", "sans", "ningún", "ninguna"),
        *("sin", "niet", "geen", "não"),
    }
)
_CLAUSE_END = re.compile(
    r"[.,;:!?()\n。、]|\b(?:but|rather|instead|and|sondern|mais|sino|than|yet|however|because|since|so|which|who"
    r"|therefore|weil|donc|porque)\b"
)

#: What denies nothing though it has such a word.
_NO_DENIALS = re.compile(r"\b(?:(?:no|without(?: a)?) (?:doubt|question)|(?:not|nicht) (?:only|just|nur))\b")

#: Verbs whose denial is one of all that follows in the clause: `I don't think that it is at all …`.
_OPINIONS = re.compile(
    r"\b(?:thinks?|believe|say|call|consider|describe|described|classif\w+|label|see|find|feel|expect|suppose|seem"
    r"|appear|look|sound|count|qualify|sure|certain|whether|glaube|denke|finde|meine|pense|crois|creo|parece)\b"
)

#: Denials after a label.
_DENIED_AFTER = re.compile(
    r"(?:\W{0,2}\s(?:is|was|would be|ist|wäre|est|es)\s"
    r"(?:not|wrong|incorrect|false|nicht|falsch|pas|faux|falso)\b"
    r"|\W?\s(?:isn|wasn)'t\b|\s?(?:では|じゃ)(?:な|あり)|[이가]?\s?아[니닙])"
)

#: Phrases that deny the word after them.
_DENIED_BY = re.compile(
    r"\b(?:far from|anything but|rather than|instead of|as opposed to|opposite of|nothing|lacks?"
    r"|unlikely(?: to be)?|alles andere als|anstatt|statt|au lieu de)\W+(?:\w+\s)?\Z"
)

#: Denials in scripts without blanks, in the clause before a label.
_DENIED_BEFORE = re.compile(r"(?:不|没|沒|非|未|無|无)[^不没沒非未無无]{0,4}\Z")

#: A label that is itself a denial is no answer before a noun, as in `no idea`. These may follow it.
_AFTER_NO = re.compile(
    r"\W*(?:\Z|[^\w\s'*`\"_]|\n"
    r"|\s(?:because|since|as|and|but|i|it|this|that|there|they|he|she|we|you|the|to|for|at|weil|da|es|das)\b)"
)

#: Letters of scripts that write words without blanks between them, or with endings.
_WITHOUT_BLANKS = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"

#: A number that is the most that a scale has, such as the 10 of 7/10.
_SCALE = re.compile(r"(?:\d\s*/|\b(?:out\s+of|von|sur|de|su|to|bis)\s+)\s*\Z")

#: A sign, which makes another number of the one after it.
_MINUS = re.compile(r"(?:\A|[\s(:=])[-−]\Z")  # noqa: RUF001

#: How much of the text before a label or a marker can deny it.
_CHARACTERS_BEFORE = 120

_FENCED = re.compile(r"```(?:json)?\s*\n?(.*?)```", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FoundLabel:
    """The label that an answer gives, `None` if none, and how it was found."""

    label: str | None
    how: How

    @property
    def is_sure(self) -> bool:
        """Whether the answer gave it as its answer: then it counts even if the rest was cut off."""
        return self.label is not None and self.how != "mention"


_NONE = FoundLabel(None, "none")
_SEVERAL = FoundLabel(None, "several")


class LabelFinder:
    """Finds labels in answers; `field` and `pattern` are the user's, and replace the other ways.

    `field` may be a path with dots. `pattern` gives its group `label`, else its first group, else all that it
    matches; its last match counts. Equal texts are searched once.
    """

    def __init__(
        self, labels: Labels, *, field: str | None = None, pattern: re.Pattern[str] | None = None
    ) -> None:
        self.labels = labels
        self.field = field
        self.pattern = pattern
        self._by_fields = field is not None or pattern is None
        self._mentions = _mention_pattern(labels)
        self._denials = _DENIALS - labels.known.keys()
        self._cache: dict[str, FoundLabel] = {}

    def find(self, value: Any) -> FoundLabel:
        """Return the label of an answer: a text, or a value that matches a schema."""
        if not isinstance(value, str):
            return self._in_value(value) if self._by_fields else self._by_pattern(text_of(value) or "")
        known = self._cache.get(value)
        if known is None:
            known = self._in_text(value)
            if len(self._cache) < 10_000 and len(value) < 1000:
                self._cache[value] = known
        return known

    def _in_value(self, value: Any) -> FoundLabel:
        if self.field is not None:
            value = member(value, self.field)
            return _as_found([self._named(value)], "field")
        if isinstance(value, Mapping):
            # Texts that merely mention labels are other fields, such as the reasons.
            return _as_found([self._named(cell) for cell in value.values()], "field")
        return _as_found([self._named(value)], "whole")

    def _named(self, value: Any) -> str | None:
        text = text_of(value)
        return None if text is None or isinstance(value, (Mapping, list)) else self.labels.find(text)

    def _in_text(self, text: str) -> FoundLabel:
        text = _REASONING.sub("", text)
        parsed = json_of(text) if self._by_fields else None
        if parsed is not None:
            return self._in_value(parsed)
        if self.field is not None and "{" in text:
            return _NONE  # it was to be JSON and is not, so no other text of it counts
        if self.pattern is not None:
            return self._by_pattern(text)
        found = self.labels.find(text)
        if found is not None:
            return FoundLabel(found, "whole")
        text = plain(text)
        return self._after_marker(text) or self._on_line(text) or self._mentioned(text)

    def _by_pattern(self, text: str) -> FoundLabel:
        assert self.pattern is not None
        match = None
        for each in self.pattern.finditer(text):
            match = each
        if match is None:
            return _NONE
        groups = match.groupdict()
        taken = groups["label"] if "label" in groups else match[1] if match.re.groups else match[0]
        return _as_found([None if taken is None else self.labels.find(taken)], "pattern")

    def _after_marker(self, text: str) -> FoundLabel | None:
        """Return the label after the last marker; `None` if there is no marker with a text after it."""
        for marker in reversed([*_MARKER.finditer(text)]):
            given = next((marker[name] for name in _GROUPS if marker[name] is not None), None)
            if given is None:
                rest = text[marker.end() :].lstrip()
                end = _SENTENCE_END.search(rest)
                given = rest[: end.start()] if end else rest
            if given.strip() and not (
                marker[0][-1:] not in ":=" and self._is_doubted(_before(text, marker.start()))
            ):
                return self._in_phrase(given)
        return None

    def _in_phrase(self, phrase: str) -> FoundLabel:
        whole = self.labels.find(phrase)
        if whole is not None:
            return FoundLabel(whole, "marker")
        found = [*self._mentions_in(phrase, alone=True)]
        distinct = dict.fromkeys(found)
        if len(distinct) == 1:
            return FoundLabel(found[0], "marker")
        return _SEVERAL if distinct else _NONE

    def _on_line(self, text: str) -> FoundLabel | None:
        found = {label for line in text.splitlines() if (label := self.labels.find(line)) is not None}
        return None if not found else _as_found(found, "line")

    def _mentioned(self, text: str) -> FoundLabel:
        return _as_found(set(self._mentions_in(text)), "mention")

    def _mentions_in(self, text: str, *, alone: bool = False) -> Iterable[str]:
        """Yield the labels in a text that are not denied. A letter must look like a choice, or be `alone`.

        A letter is alone at the beginning of what a marker announces: `Answer: B because …`.
        """
        if self._mentions is None:
            return
        shown = text if self.labels.exact else _folded_words(text)
        opening = len(shown) - len(shown.lstrip(" ('\"["))
        choices: dict[str, bool] = {}
        for match in self._mentions.finditer(shown):
            key, start = match["label"], match.start("label")
            label = self.labels.known.get(key)
            if label is None:
                continue
            if len(label) == 1 and label.isalpha():
                if label not in choices:
                    choices[label] = _is_choice(text, label)
                if not choices[label] and not (alone and start <= opening):
                    continue
            before = _before(shown, start)
            if label.isdigit() and (_SCALE.search(before) or _MINUS.search(before)):
                continue
            after = shown[match.end() : match.end() + 40]
            if key.casefold() in _DENIALS and not _AFTER_NO.match(after):
                continue
            if not self._is_denied(before) and not _DENIED_AFTER.match(after.casefold()):
                yield label

    def _is_denied(self, before: str) -> bool:
        """Whether the words before a label deny it, within its clause."""
        clause = _clause(before)
        return (
            any(map(self._denies, re.findall(r"[\w']+", clause)[-4:]))
            or _DENIED_BEFORE.search(clause) is not None
            or _DENIED_BY.search(before[-60:].casefold()) is not None
            or self._is_doubted(before)
        )

    def _is_doubted(self, before: str) -> bool:
        """Whether a clause begins as `I don't think that` does."""
        found = _OPINIONS.search(clause := _clause(before.replace(", dass", " dass")))
        return found is not None and any(map(self._denies, re.findall(r"[\w']+", clause)))

    def _denies(self, word: str) -> bool:
        return word in self._denials or word.endswith("n't")


def _before(text: str, place: int) -> str:
    """Return the end of the text before a place."""
    return text[max(0, place - _CHARACTERS_BEFORE) : place]


def _clause(before: str) -> str:
    """Return the clause that is not yet at its end."""
    clause = _CLAUSE_END.split(before[-100:].replace("’", "'").casefold())[-1]  # noqa: RUF001
    return _NO_DENIALS.sub("", clause)


def _as_found(labels: Collection[str | None], how: How) -> FoundLabel:
    """Return the only label among these."""
    distinct = {label for label in labels if label is not None}
    if len(distinct) == 1:
        return FoundLabel(distinct.pop(), how)
    return _SEVERAL if distinct else _NONE


def _mention_pattern(labels: Labels) -> re.Pattern[str] | None:
    """Return what finds any spelling as whole words, the longest first."""
    keys = sorted(filter(None, labels.known), key=lambda key: (-len(key), key))
    if not keys:
        return None
    # A number is not part of another one: no digits, points or commas of it on either side.
    words, others = list[str](), list[str]()
    for key in keys:
        (others if re.search(f"[{_WITHOUT_BLANKS}]", key) else words).append(re.escape(key))
    letter = rf"[^\W{_WITHOUT_BLANKS}]"
    either = (
        [rf"(?<!{letter})(?<![+#])(?<!\d[.,/])(?:{'|'.join(words)})(?!{letter}|[+#%]|[.,]\d)"]
        if words
        else []
    )
    return re.compile(f"(?P<label>{'|'.join([*others, *either])})")


def _folded_words(text: str) -> str:
    """Return a text as labels are folded, with its punctuation and lines."""
    joined = re.sub(r"(?<=\w)[_\-‐‑](?=\w)", " ", text)  # noqa: RUF001
    return re.sub(r"[^\S\n]+", " ", joined).replace("’", "'").casefold()  # noqa: RUF001


def _is_choice(text: str, letter: str) -> bool:
    """Whether a text has a letter as a choice: (B), B), B., **B**, option B; "a" and "I" are also words."""
    mark = re.escape(letter)
    return bool(
        re.search(
            rf"\({mark}\)|\[{mark}\]|(?<![\w'])(?:{mark}\)|{mark}[.:](?=\s|\Z))"
            rf"|(?<!\w)(?i:option|choice|letter|grade|answer)\s+{mark}(?!\w)",
            text,
        )
    )


def member(value: Any, path: str) -> Any:
    """Return a member of an object by its name, or by a path with dots; `None` if there is none."""
    if isinstance(value, Mapping) and path in value:
        return value[path]
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value


def json_of(text: str) -> Any:
    """Return the JSON object or list that a text is, also in a fence; `None` if it is none.

    Of several fenced ones the last counts.
    """
    for piece in (text, *reversed(_FENCED.findall(text))):
        if piece.lstrip()[:1] in {"{", "["}:
            try:
                return orjson.loads(piece)
            except ValueError:
                continue
    return None


def without_reasoning(text: str) -> str:
    """Return an answer without the reasoning that some models write into it."""
    return _REASONING.sub("", text).strip() if "<" in text else text
