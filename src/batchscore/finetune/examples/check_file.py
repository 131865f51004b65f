"""What is wrong with a training file, before anything is uploaded?

It reads the bytes that a service would read, line by line in constant memory, and notes every broken rule,
where the services stop at the first. It opens nothing that a line names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import orjson

from batchscore.errors import InputError, UnreadableFile, count_text, setting_name
from batchscore.finetune.examples.example import ExampleTokens, broken_rules, kind_of_example, measure
from batchscore.finetune.examples.facts import ExampleFacts, digests, pairs, repeats
from batchscore.finetune.examples.kinds import CHAT_FORMAT, REINFORCEMENT_FORMAT, ExampleKind
from batchscore.finetune.examples.rules import (
    LARGE_FILE_BYTES,
    LEAST_EXAMPLES,
    MOST_FILE_BYTES,
    MOST_IMAGE_EXAMPLES,
    RULES,
    USEFUL_EXAMPLES,
    BrokenRule,
    ServiceRules,
    name_text,
    type_text,
)
from batchscore.read.input_file import UTF_8, InputFile, ReadOptions
from batchscore.read.stream import BlockKind, beginning, line_blocks, raw_blocks, text_blocks, with_encoding
from batchscore.report.words import size_text
from batchscore.stores import storage
from batchscore.stores.address import Place, path_text

#: A line with ten images of 10 MB has less.
MOST_LINE_BYTES = 160 * 2**20
#: What is read to find out the format, and at most this many lines of it.
_HEAD_BYTES, _HEAD_LINES = 2**20, 50
#: Broken rules that are listed; all are counted.
MOST_LISTED = 10_000

_BOM = b"\xef\xbb\xbf"
_LONE_CR = re.compile(rb"\r(?=[^\n])")
_OF_MESSAGES = {CHAT_FORMAT.name, REINFORCEMENT_FORMAT.name}
_PREPARE = "write it again with: batchscore finetune prepare"


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """How a file is checked. `kind` is `None` to find it out; `most_tokens` is 0 for no limit."""

    service: ServiceRules
    counter: ExampleTokens
    most_tokens: int
    kind: ExampleKind | None = None
    least: int = LEAST_EXAMPLES


@dataclass(slots=True)
class CheckedFile:
    """What a file holds and which rules it breaks: `broken` lists the first ones."""

    name: str
    size: int
    broken: list[BrokenRule] = field(default_factory=list)
    errors: int = 0
    warnings: int = 0
    kind: ExampleKind | None = None
    examples: int = 0
    facts: ExampleFacts | None = None
    encoding: str = UTF_8

    def note(self, broken: BrokenRule) -> None:
        """Count a broken rule, and list it if there are not too many."""
        self.errors += broken.is_error
        self.warnings += not broken.is_error
        if len(self.broken) < MOST_LISTED:
            self.broken.append(broken)

    def add(self, rule: str, text: str, line: int = 0, key: str = "", count: int = 0) -> None:
        """Note a broken rule of a line, or of the file."""
        self.note(BrokenRule(line, rule, text, 0, key, count, RULES[rule].is_error))


def check_file(place: Place, options: CheckOptions) -> CheckedFile:
    """Check one training file; raises `InputError` if it is missing or cannot be read."""
    name = path_text(str(place))
    size = storage.size_of(place)
    if size is None:
        raise InputError(f"there is no file or folder {name}")
    checked = CheckedFile(name, size)
    if place.suffix.lower() != ".jsonl":
        checked.add("file_name", f"its name does not end in .jsonl: rename it, or {_PREPARE}")
    if size > MOST_FILE_BYTES:
        text = f"it has {size_text(size)}, and 512 MB is the limit, so its lines were not checked"
        checked.add("file_too_large", text)
        return checked
    if size > LARGE_FILE_BYTES:
        checked.add("file_large", f"it has {size_text(size)}: upload it in parts, or import it from a URL")
    if not size:
        checked.add("file_empty", "the file is empty")
        return checked
    file = _with_marks(InputFile(place, name, ".jsonl", None, size), checked, options.service)
    if file is None or _is_document(file, checked):
        return checked
    kind, keys = _head(file, options)
    checked.kind = kind
    if kind is not None:
        checked.facts = ExampleFacts(options.counter, kind, options.most_tokens)
    for number, line in _lines(file, checked):
        _check_line(number, line, checked, keys, options)
    _check_all(checked, options)
    checked.broken.sort(key=lambda each: each.line)
    return checked


def _with_marks(file: InputFile, checked: CheckedFile, service: ServiceRules) -> InputFile | None:
    """Note what the first bytes say of the encoding; return the file with it, `None` if it is not text."""
    with raw_blocks(file) as blocks:
        head, _ = beginning(blocks, 4096)
    if head.startswith(_BOM):
        text = "the file begins with a byte order mark (UTF-8 with BOM): write it as UTF-8 without one"
        accepted = not service.refuses_bom
        checked.note(BrokenRule(1, "byte_order_mark", text, is_error=not accepted))
    try:
        found = with_encoding(file, ReadOptions()).encoding or UTF_8
    except UnreadableFile:
        found = UTF_8  # each line that is not UTF-8 is named
    checked.encoding = found
    if found != UTF_8:
        checked.add("encoding", f"the file is {found.upper()}, not UTF-8: convert it, or {_PREPARE}")
    file = replace(file, encoding=found)
    try:
        with text_blocks(file) as blocks:
            next(blocks, None)
    except UnreadableFile as error:
        checked.add("other_file", f"it is not JSON Lines: {error.reason}")
        return None
    return file


def _is_document(file: InputFile, checked: CheckedFile) -> bool:
    """Whether the file is one JSON document, or objects over several lines; note it."""
    with text_blocks(file, cap=_HEAD_BYTES) as blocks:
        head, _ = beginning(blocks, _HEAD_BYTES)
    lines = [line.strip() for line in head.splitlines() if line.strip()][:_HEAD_LINES]
    if not lines:
        checked.add("file_empty", "the file holds only blank lines")
        return True
    if lines[0].startswith(b"["):
        checked.add("json_array", f"it is one JSON array, and each line must be an object: {_PREPARE}", 1)
        return True
    if not any(line.startswith(b"{") for line in lines):
        checked.add("other_file", f"none of its first lines is a JSON object: {_PREPARE}", 1)
        return True
    is_whole = not lines[0].startswith(b"{") or _is_object(lines[0]) or len(lines) == 1
    # A line that is damaged is followed by another object.
    if not is_whole and (lines[0] == b"{" or not lines[1].startswith((b"{", b"["))):
        text = f"an object spans several lines (pretty-printed JSON); each needs one line: {_PREPARE}"
        checked.add("pretty_printed", text, 1)
        return True
    return False


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except ValueError:
        return False


def _head(file: InputFile, options: CheckOptions) -> tuple[ExampleKind | None, frozenset[str]]:
    """Return the format, and the usual keys, by the first examples."""
    kinds: Counter[str] = Counter()
    by_name: dict[str, ExampleKind] = {}
    keys: Counter[frozenset[str]] = Counter()
    with text_blocks(file, cap=_HEAD_BYTES) as blocks:
        head, whole = beginning(blocks, _HEAD_BYTES)
    lines = head.splitlines()
    for line in (lines if whole or len(lines) == 1 else lines[:-1])[:_HEAD_LINES]:
        try:
            example = orjson.loads(line)
        except ValueError:
            continue
        kind = kind_of_example(example) if isinstance(example, dict) else None
        if kind is not None:
            kinds[kind.name] += 1
            by_name[kind.name] = kind
            keys[frozenset(example)] += 1
    usual = keys.most_common(1)[0][0] if keys else frozenset()
    if options.kind is not None or not kinds:
        return options.kind, usual
    return by_name[kinds.most_common(1)[0][0]], usual


def _lines(file: InputFile, checked: CheckedFile) -> Iterator[tuple[int, bytes]]:
    """Give each line with its number from 1."""
    number, was_noted = 0, False
    with text_blocks(file) as blocks:
        for kind, data in line_blocks(blocks, MOST_LINE_BYTES):
            if kind is BlockKind.LINES:
                lone = None if was_noted else _LONE_CR.search(data)
                if lone is not None:
                    was_noted = True
                    text = (
                        f"it ends with a carriage return alone, as on old Macs, not a line feed: {_PREPARE}"
                    )
                    checked.add("line_end", text, number + len(data[: lone.end()].splitlines()))
                for line in data.splitlines():
                    number += 1
                    yield number, line
            elif kind is BlockKind.LAST:
                number += 1
                checked.add("line_too_long", f"the line has more than {size_text(MOST_LINE_BYTES)}", number)


def _check_line(
    number: int, line: bytes, checked: CheckedFile, usual: frozenset[str], options: CheckOptions
) -> None:
    try:
        example = orjson.loads(line)
    except ValueError as error:
        _note_invalid(number, line, str(error), checked)
        return
    if not isinstance(example, dict):
        text = f"the line is {type_text(example)}, and each line must be an object"
        checked.add("not_object", text, number)
        return
    checked.examples += 1
    kind, facts = checked.kind, checked.facts
    if kind is None or facts is None:
        keys = ", ".join(map(name_text, list(example)[:5])) or "none"
        checked.add("unknown_format", f"its keys are those of no training format: {keys}", number)
        return
    if options.kind is None and not example.keys() >= usual and _is_mixed(example, kind):
        text = f"it has another format than the first examples, which are {kind.name}"
        checked.add("mixed_formats", text, number)
        return
    found = broken_rules(example, kind, options.service, number)
    for broken in found:
        checked.note(broken)
    if kind.hosted and kind.name != REINFORCEMENT_FORMAT.name and example.keys() != usual:
        _note_keys(example, usual, number, checked)
    if any(each.is_error for each in found):
        return
    tokens = facts.tokens_of(example, len(line))
    if options.most_tokens and max(tokens) > options.most_tokens and kind.hosted:
        limit = f"{options.most_tokens:,} is the limit"
        text = f"about {max(tokens):,.0f} tokens, and {limit}: its end would be cut"
        checked.add("too_long", text, number)
    facts.add(number, measure(example, kind), tokens)


def _is_mixed(example: dict[str, Any], kind: ExampleKind) -> bool:
    own = kind_of_example(example)
    return own is not None and own is not kind and not {own.name, kind.name} <= _OF_MESSAGES


def _note_keys(example: dict[str, Any], usual: frozenset[str], number: int, checked: CheckedFile) -> None:
    """Note that keys differ from those of the first examples, unless a rule has said so already."""
    kind = checked.kind
    known = {"messages", *CHAT_FORMAT.optional} if kind is CHAT_FORMAT else set(kind.ready if kind else ())
    extra = sorted(key for key in example.keys() - usual if key in known)
    absent = sorted(key for key in usual - example.keys() if key in CHAT_FORMAT.optional)
    if extra or absent:
        what = f"has {', '.join(extra)}" if extra else f"lacks {', '.join(absent)}"
        text = f"it {what}, unlike the first examples; all lines must have the same keys"
        checked.add("keys_differ", text, number, (extra or absent)[0])


def _note_invalid(number: int, line: bytes, reason: str, checked: CheckedFile) -> None:
    if not line.strip():
        checked.add("blank_line", "the line is blank", number)
    elif line.startswith(_BOM):
        text = "a byte order mark is inside the file, as after joining files: remove it"
        checked.add("inner_byte_order_mark", text, number)
    else:
        try:
            line.decode()
        except UnicodeDecodeError as error:
            bytes_at = f"byte {error.start + 1} of the line"
            guess = ", perhaps Windows-1252" if _is_windows(line) else ""
            how = f"{_PREPARE} and {setting_name('encoding')}"
            text = f"it is not UTF-8{guess} ({bytes_at}): convert the file, or {how}"
            checked.add("not_utf8", text, number)
            return
        hint = ""
        if b"NaN" in line or b"Infinity" in line:
            hint = " (NaN and Infinity are no JSON)"
        elif line.lstrip().startswith(b"{'"):
            hint = " (texts need double quotes)"
        elif line.rstrip().endswith(b"},"):
            hint = " (remove the comma at its end)"
        checked.add("invalid_json", f"the line is not valid JSON: {reason}{hint}", number)


def _is_windows(line: bytes) -> bool:
    try:
        line.decode("windows-1252")
    except UnicodeDecodeError:
        return False
    return True


def _check_all(checked: CheckedFile, options: CheckOptions) -> None:
    """Note what only all examples together show."""
    facts, count = checked.facts, checked.examples
    least = options.least if checked.kind is None or checked.kind.hosted else 1
    if count < least:
        text = f"it has {count_text(count, 'example')}; at least {count_text(least, 'example')} are needed"
        checked.add("too_few_examples", text, count=count)
    elif options.least == LEAST_EXAMPLES and count < USEFUL_EXAMPLES:
        checked.add("few_examples", f"it has only {count_text(count, 'example')}")
    elif count < LEAST_EXAMPLES:
        text = f"it has only {count_text(count, 'example')}, so its loss varies by chance"
        checked.add("few_validation_examples", text)
    if facts is None:
        return
    if facts.with_images > MOST_IMAGE_EXAMPLES:
        checked.add("too_many_image_examples", f"{facts.with_images:,} examples have images")
    found = repeats(facts)
    if found.first_duplicate is not None:
        later, earlier = (facts.lines[place] for place in found.first_duplicate)
        text = f"{count_text(found.duplicates, 'example')} repeat earlier ones, first line {later:,} line "
        checked.add("duplicates", f"{text}{earlier:,}")
    if found.first_conflict is not None:
        later, earlier = (facts.lines[place] for place in found.first_conflict)
        text = f"{count_text(found.conflicting, 'input')} with different answers, first in the lines "
        checked.add("conflicting_answers", f"{text}{earlier:,} and {later:,}")
    if len(facts.lines) > 1 and found.inputs == 1:
        checked.add("same_inputs", "all examples have the same input")
    if len(facts.lines) > 1 and found.answers == 1:
        checked.add("same_answers", "all examples have the same answer")


def check_overlap(training: CheckedFile, other: CheckedFile) -> None:
    """Note in the `other` file which of its examples are in the training file, too."""
    if training.facts is None or other.facts is None:
        return
    for of_pairs, what in ((True, "examples are"), (False, "inputs are")):
        mine = pairs(other.facts) if of_pairs else digests(other.facts.inputs)
        theirs = pairs(training.facts) if of_pairs else digests(training.facts.inputs)
        shared = np.isin(mine, theirs)
        if shared.any():
            first = other.facts.lines[int(np.flatnonzero(shared)[0])]
            text = f"{int(shared.sum()):,} {what} in {training.name}, too, first line {first:,}"
            other.add("overlap", text)
            return
