"""Which regular expressions may take exponential time on a short text?

Python's engine tries every way in which a text can match. If a loop can go through the same characters in two
ways, as in `(a+)+`, the ways double with each character. So each pattern becomes an automaton, one state per
character class, and is refused if a state leads back to itself in two ways with the same text. Loops that
follow each other without ambiguity, such as `(-[a-z]+)*`, are not refused.
It knows regular expressions, not schemas or answers.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

#: Fixed repeats of at most this many are copies of their body; others, and long choices, count as loops.
MOST_COPIES = 32
MOST_CHOICES = 4
#: A body that holds a loop and is repeated at least this often takes as long as a loop does in practice.
MANY = 8
#: Patterns with more states, or more steps of two ways side by side, are not judged.
MOST_STATES = 500
MOST_STEPS = 1_000_000

#: Characters besides Latin-1 that stand for all others: a letter, digits, a blank, a sign, an emoji.
OTHERS = "ŁЖ٣中\u2003€😀"

_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}


def is_explosive(pattern: str) -> bool:
    """Return whether matching may take exponential time; raises what `re.compile` raises."""
    compiled = re.compile(pattern)
    parser: Any = getattr(re, "_parser", None) or import_module("sre_parse")  # Python 3.10
    tree = parser.parse(pattern)
    automaton = _Automaton(_alphabet(tree), compiled.flags)
    automaton.sequence(list(tree))
    while automaton.separate and len(automaton.sets) <= MOST_STATES:
        automaton.sequence(automaton.separate.pop())
    return len(automaton.sets) <= MOST_STATES and automaton.is_ambiguous()


def _alphabet(tree: Any) -> str:
    """Return the characters that tell the classes of a pattern apart."""
    found = set(map(chr, range(256))) | set(OTHERS)
    pending: list[Any] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, int) and not isinstance(node, bool):
            found |= {chr(code) for code in (node - 1, node, node + 1) if 0 <= code <= 0x10FFFF}
        elif isinstance(node, (list, tuple)) or hasattr(node, "data"):
            pending += list(node)
    return "".join(sorted(found))


@dataclass(frozen=True, slots=True)
class _Piece:
    """The states in which a part of a pattern may begin and end, and whether it matches the empty text."""

    first: tuple[int, ...] = ()
    last: tuple[int, ...] = ()
    empty: bool = True
    loops: bool = False


@dataclass(slots=True)
class _Automaton:
    """The states of a pattern.

    `sets` are the characters of each state, as bits, and `steps` counts the ways from each to the next ones.
    `separate` holds what looks ahead or behind, which Python matches on its own.
    """

    alphabet: str
    flags: int
    sets: list[int] = field(default_factory=list)
    steps: list[Counter[int]] = field(default_factory=list)
    separate: list[list[Any]] = field(default_factory=list)

    def sequence(self, nodes: Sequence[Any]) -> _Piece:
        """Add parts that follow each other."""
        return self.joined(self.piece(node) for node in nodes)

    def joined(self, pieces: Iterable[_Piece]) -> _Piece:
        """Add the steps from each part to the next."""
        whole = _Piece()
        for each in pieces:
            self.link(whole.last, each.first)
            whole = _Piece(
                whole.first + each.first if whole.empty else whole.first,
                each.last + whole.last if each.empty else each.last,
                whole.empty and each.empty,
                whole.loops or each.loops,
            )
        return whole

    def link(self, before: Sequence[int], after: Sequence[int]) -> None:
        """Add a way from each of some states to each of others."""
        if len(self.sets) <= MOST_STATES:
            for state in before:
                self.steps[state].update(after)

    def piece(self, node: Any) -> _Piece:
        """Add one part."""
        if len(self.sets) > MOST_STATES:
            return _Piece()
        kind, value = str(node[0]), node[1]
        if kind in {"MAX_REPEAT", "MIN_REPEAT"}:
            return self.repeat(*value)
        if kind == "SUBPATTERN":
            return self.sequence(list(value[-1]))
        if kind == "BRANCH":
            return self.choice([self.sequence(list(each)) for each in value[1]])
        if kind == "GROUPREF_EXISTS":
            return self.choice([self.sequence(list(each or ())) for each in value[1:]])
        if kind in {"ASSERT", "ASSERT_NOT"}:
            self.separate.append(list(value[1]))
            return _Piece()
        if kind in {"ATOMIC_GROUP", "POSSESSIVE_REPEAT"}:
            return self.atomic(value if kind == "ATOMIC_GROUP" else [("MAX_REPEAT", value)])
        if kind == "AT":
            return _Piece()
        if kind == "GROUPREF":
            return self.state(self.every)
        return self.state(self.characters([node]) if kind != "IN" else self.characters(value))

    def state(self, characters: int) -> _Piece:
        """Add a state."""
        self.sets.append(characters)
        self.steps.append(Counter())
        number = (len(self.sets) - 1,)
        return _Piece(number, number, empty=False)

    def atomic(self, nodes: Iterable[Any]) -> _Piece:
        """Add a part that gives back nothing of what it took: one state for all around it."""
        start = len(self.sets)
        self.sequence(list(nodes))
        characters = 0
        for each in self.sets[start:]:
            characters |= each
        return self.state(characters)

    def choice(self, pieces: Sequence[_Piece]) -> _Piece:
        """Return parts of which one matches."""
        return _Piece(
            tuple(state for each in pieces for state in each.first),
            tuple(state for each in pieces for state in each.last),
            any(each.empty for each in pieces),
            any(each.loops for each in pieces),
        )

    def repeat(self, low: int, high: int, inner: Any) -> _Piece:
        """Add a part that is repeated: as copies, or as a loop."""
        nodes = list(inner)
        most = MOST_COPIES if low == high else MOST_CHOICES
        piece = self.sequence(nodes)
        copies = int(high) <= most and not (piece.loops and int(high) >= MANY)
        if high == 0:
            return _Piece()
        if copies:
            pieces = [piece, *(self.sequence(nodes) for _ in range(int(high) - 1))]
            whole = self.joined(pieces)
            ends = dict.fromkeys(state for each in pieces[max(low, 1) - 1 :] for state in each.last)
            return _Piece(whole.first, tuple(ends), whole.empty or low == 0, whole.loops)
        self.link(piece.last, piece.first)
        return _Piece(piece.first, piece.last, piece.empty or low == 0, loops=True)

    @property
    def every(self) -> int:
        """All characters."""
        return (1 << len(self.alphabet)) - 1

    def characters(self, nodes: Sequence[Any]) -> int:
        """Return the characters of a class."""
        found, negated = 0, False
        for node in nodes:
            kind, value = str(node[0]), node[1]
            if kind == "NEGATE":
                negated = True
            elif kind == "ANY":
                found |= self.every if self.flags & re.DOTALL else self.every & ~self.between(10, 10)
            elif kind == "LITERAL":
                found |= self.between(value, value)
            elif kind == "NOT_LITERAL":
                found |= self.every & ~self.between(value, value)
            elif kind == "RANGE":
                found |= self.between(*value)
            elif kind == "CATEGORY":
                matches = re.compile(_CATEGORIES[str(value)]).match
                found |= sum(1 << at for at, each in enumerate(self.alphabet) if matches(each))
            else:
                found |= self.every
        return self.every & ~found if negated else found

    def between(self, low: int, high: int) -> int:
        """Return the characters of a range."""
        if self.flags & re.IGNORECASE and high < 128:
            found = 0
            for at, each in enumerate(self.alphabet[:128]):
                found |= any(low <= ord(case) <= high for case in (each.lower(), each.upper())) << at
            return found
        start, end = bisect_left(self.alphabet, chr(low)), bisect_right(self.alphabet, chr(high))
        return (1 << end) - (1 << start)

    def is_ambiguous(self) -> bool:
        """Return whether a state leads back to itself in two ways with the same text."""
        back = [list[int]() for _ in self.sets]
        for state, after in enumerate(self.steps):
            for each in after:
                back[each].append(state)
        judged: set[int] = set()
        for state in range(len(self.sets)):
            if state in judged:
                continue
            around = _reached(state, lambda each: self.steps[each]) & _reached(state, lambda each: back[each])
            judged |= around
            if any(self.steps[each][other] > 1 for each in around for other in around):
                return True
            if around and self.meet(state, around):
                return True
        return False

    def meet(self, start: int, around: set[int]) -> bool:
        """Return whether two different ways with the same text lead from a state back to it."""
        before: dict[tuple[int, int], list[tuple[int, int]]] = {}
        pending, seen, steps = [(start, start)], {(start, start)}, 0
        while pending:
            pair = pending.pop()
            ones, others = ([*(around & self.steps[each].keys())] for each in pair)
            steps += len(ones) * len(others)
            if steps > MOST_STEPS:
                return False
            for each in [
                (one, other) for one in ones for other in others if self.sets[one] & self.sets[other]
            ]:
                before.setdefault(each, []).append(pair)
                if each not in seen:
                    seen.add(each)
                    pending.append(each)
        home = _reached((start, start), lambda pair: before.get(pair, ()))
        return any(one != other for one, other in home & seen)


def _reached(start: Any, after: Any) -> set[Any]:
    """Return all that is reached from somewhere in one step or more."""
    found: set[Any] = set()
    pending = [start]
    while pending:
        for each in after(pending.pop()):
            if each not in found:
                found.add(each)
                pending.append(each)
    return found
