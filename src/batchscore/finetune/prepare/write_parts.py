"""How do tables become files for training, validation and test?

Two passes. The first turns rows into examples in a spool on this machine; then the parts are chosen from
numbers; the second copies each example to its part. The files replace those of an earlier preparation only
once all are written; until then no command trains the earlier ones. If rows give no example, nothing is
written but what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson

from batchscore.errors import OutputError, count_text, name_settings
from batchscore.finetune.examples.facts import (
    ExampleFacts,
    TokenFacts,
    digests,
    first_of_equal,
    pairs,
    repeats,
    token_facts,
)
from batchscore.finetune.examples.kinds import REINFORCEMENT_FORMAT
from batchscore.finetune.examples.rules import (
    LARGE_FILE_BYTES,
    LEAST_EXAMPLES,
    MOST_FILE_BYTES,
    MOST_IMAGE_EXAMPLES,
    USEFUL_EXAMPLES,
)
from batchscore.finetune.prepare.read_examples import (
    FREE,
    ExamplesRead,
    ReadExample,
    RowProblem,
    read_examples,
)
from batchscore.finetune.prepare.split import Integers, groups_of, split
from batchscore.finetune.prepare.spool import ExampleSpool, open_spool
from batchscore.finetune.prepared_folder import PARTS, SUMMARY, UNFINISHED, file_of
from batchscore.finetune.state import STATE, read_state
from batchscore.report.words import json_safe, size_text
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.stores.half_written import sweep_abandoned
from batchscore.stores.sink import WrittenFile

PROBLEMS = "problems.jsonl"
#: Classes with fewer examples in training are rare.
RARE = 2


@dataclass(frozen=True, slots=True)
class PrepareOptions:
    """What is made of the examples. `stratify`: spread the classes of answers evenly, if there are any."""

    shares: tuple[float, float, float]
    seed: int = 0
    stratify: bool = True
    drop_invalid: bool = False
    keep_duplicates: bool = False
    bom: bool = False


@dataclass(frozen=True, slots=True)
class PreparedPart:
    """One file of examples. `classes` counts the answers if they are classes."""

    part: str
    examples: int
    written: WrittenFile | None
    tokens: TokenFacts
    classes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was prepared. `errors` are problems of the whole, and so are `warnings`.

    `is_over_earlier`: the folder held an earlier preparation, whose files stay if none are written.
    """

    read: ExamplesRead
    parts: tuple[PreparedPart, ...]
    duplicates: int
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    stratified: str
    is_written: bool
    is_over_earlier: bool
    token_sample: tuple[int, ...]


def prepare(
    inputs: Mapping[int, Sequence[str]], folder: Place, how: ReadExample, options: PrepareOptions
) -> Prepared:
    """Prepare the files; raises `InputError` and `OutputError`."""
    refuse_others(folder)
    sweep_abandoned(folder)
    is_over_earlier = storage.exists(folder / SUMMARY)
    if is_over_earlier:
        # Whatever ends this command, nobody trains the earlier files as if they were the new ones.
        storage.write_whole(folder / SUMMARY, UNFINISHED)
    with open_spool() as spool:
        read = read_examples(inputs, folder, how, spool)
        groups = groups_of(digests(read.facts.inputs), digests(read.groups) if len(read.groups) else None)
        shared = np.logical_or(*(_shared(read, groups, FREE, part) for part in (1, 2)))
        kept = kept_examples(read, shared, keep_duplicates=options.keep_duplicates)
        parts, stratified = choose_parts(read, kept, groups[kept], options)
        errors = _errors(read, kept, parts, options)
        is_written = not errors and (options.drop_invalid or not read.invalid)
        written: Mapping[str, WrittenFile] = {}
        if is_written:
            written = _write(folder, spool, read, kept, parts, bom=options.bom)
    tokens = np.array(read.facts.tokens, dtype=np.float64)[kept]
    made = tuple(
        PreparedPart(
            part,
            int((parts == place).sum()),
            written.get(part),
            token_facts(read.facts, kept[parts == place]),
            _classes(read.facts, kept, parts == place),
        )
        for place, part in enumerate(PARTS)
        if options.shares[place] or place in read.fixed
    )
    return Prepared(
        read,
        made,
        len(read.sizes) - len(kept) - int(shared.sum()),
        tuple(errors),
        (*_warnings(read, made), *_overlaps(read, groups)),
        stratified,
        is_written,
        is_over_earlier,
        tuple(tokens[:: max(1, len(tokens) // 50_000)].round().astype(np.int64).tolist()),
    )


def refuse_others(folder: Place) -> None:
    """Raise `OutputError` if the folder has a job, or files of these names that `prepare` has not written."""
    state = read_state(folder)
    if state is not None and state.job.may_exist:
        job = state.job.id or "whose creation was not confirmed"
        raise OutputError(
            f"{folder} has a training job ({job}), to which its files and {STATE} belong. Choose another "
            "folder."
        )
    if storage.exists(folder / SUMMARY):
        return
    for part in PARTS:
        if storage.exists(folder / file_of(part)):
            raise OutputError(f"{folder} holds a {file_of(part)} of your own. Choose another folder.")


def kept_examples(
    read: ExamplesRead, shared: npt.NDArray[np.bool_], *, keep_duplicates: bool
) -> npt.NDArray[np.int64]:
    """Return the places of the examples that are written: the first of equal ones, or all.

    A part that the user gives stays as it is; what others share with it is left out of them.
    """
    kept = ~shared
    if not keep_duplicates:
        first = first_of_equal(pairs(read.facts)) == np.arange(len(shared))
        kept &= first | (np.array(read.fixed, dtype=np.int8) != FREE)
    return np.flatnonzero(kept)


def choose_parts(
    read: ExamplesRead, kept: npt.NDArray[np.int64], groups: Integers, options: PrepareOptions
) -> tuple[npt.NDArray[np.int8], str]:
    """Return the part of each kept example, and what its classes are for spreading them."""
    fixed = np.array(read.fixed, dtype=np.int8)[kept]
    free = fixed == FREE
    if not len(kept):
        return np.zeros(0, dtype=np.int8), ""
    strata, by = None, ""
    if len(read.strata):
        strata, by = digests(read.strata)[kept], "a column"
    elif options.stratify and read.facts.class_names() is not None:
        strata, by = digests(read.facts.answers)[kept], "answers"
    parts = fixed.copy()
    of_free = None if strata is None else strata[free]
    parts[free] = split(groups[free], of_free, free_shares(options.shares, set(read.fixed)), options.seed)
    return parts, by


def free_shares(shares: tuple[float, float, float], given: set[int]) -> Sequence[float]:
    """Return the shares of the examples whose part is chosen; a part that the user gives gets none."""
    left = [0.0 if place in given else share for place, share in enumerate(shares)]
    return [share / sum(left) for share in left]


def _classes(
    facts: ExampleFacts, kept: npt.NDArray[np.int64], chosen: npt.NDArray[np.bool_]
) -> dict[str, int]:
    names = facts.class_names()
    if names is None:
        return {}
    values, counts = np.unique(digests(facts.answers)[kept][chosen], return_counts=True)
    found = dict.fromkeys(names, 0) | dict(zip(values.tolist(), counts.tolist(), strict=True))
    return {names[each]: count for each, count in sorted(found.items(), key=lambda item: names[item[0]])}


def _errors(
    read: ExamplesRead,
    kept: npt.NDArray[np.int64],
    parts: npt.NDArray[np.int8],
    options: PrepareOptions,
) -> list[str]:
    """Return why no file can be written, whatever single rows are like."""
    # A whole file is never left out.
    found = [f"{each.file}: {each.text}" for each in read.problems if each.row is None]
    if not len(kept):
        return [*found, "no row gives an example"]
    sizes = np.array(read.sizes, dtype=np.int64)[kept]
    training, validation = int((parts == 0).sum()), int((parts == 1).sum())
    if read.facts.kind is REINFORCEMENT_FORMAT and not validation:
        found.append("reinforcement needs a validation part, too")
    if read.facts.kind.hosted and training < LEAST_EXAMPLES:
        found.append(
            f"the training part has {count_text(training, 'example')}, and at least {LEAST_EXAMPLES} are "
            "needed: add rows, or give training a larger part of the split"
        )
    for place, part in enumerate(PARTS):
        size = int(sizes[parts == place].sum()) + 3 * options.bom
        if size > MOST_FILE_BYTES and place < 2 and read.facts.kind.hosted:
            text = f"{file_of(part)} would have {size_text(size)}, and 512 MB is the limit"
            found.append(f"{text}: prepare fewer rows")
    return found


def _warnings(read: ExamplesRead, parts: Sequence[PreparedPart]) -> Iterator[str]:
    """Yield what the user should look at."""
    facts, training = read.facts, parts[0]
    if facts.kind.hosted and LEAST_EXAMPLES <= training.examples < USEFUL_EXAMPLES:
        yield f"only {training.examples} training examples: the guides ask for 50 to 100"
    for part in parts[1:]:
        if part.examples < LEAST_EXAMPLES:
            yield f"the {part.part} part has only {count_text(part.examples, 'example')}"
        absent = [name for name, count in part.classes.items() if not count]
        if absent:
            yield f"{count_text(len(absent), 'label')} without an example in the {part.part} part"
    rare = sum(count < RARE for count in training.classes.values())
    if rare:
        yield f"{rare} of {len(training.classes)} classes have fewer than {RARE} training examples"
    found = repeats(facts)
    if found.first_conflict is not None:
        later, earlier = map(read.place_of, found.first_conflict)
        inputs = count_text(found.conflicting, "input")
        yield f"{inputs} with different answers, the first in {earlier} and {later}"
    if found.inputs == 1 < len(facts.lines):
        yield "all examples have the same input"
    if found.answers == 1 < len(facts.lines):
        yield "all examples have the same answer"
    if facts.with_images > MOST_IMAGE_EXAMPLES:
        yield f"{facts.with_images:,} examples have images, and 50,000 is the limit"
    elif facts.with_images:
        yield "images that show people or faces are skipped by the services without a message"
    if training.written and training.written.bytes > LARGE_FILE_BYTES:
        yield f"train.jsonl has {size_text(training.written.bytes)}: upload it in parts"


def _shared(read: ExamplesRead, groups: Integers, part: int, given: int) -> npt.NDArray[np.bool_]:
    """Return which examples of a part share a group with a part that the user gives."""
    fixed = np.array(read.fixed, dtype=np.int8)
    found: npt.NDArray[np.bool_] = (fixed == part) & np.isin(groups, groups[fixed == given])
    return found


def _overlaps(read: ExamplesRead, groups: Integers) -> Iterator[str]:
    """Yield how many examples share a group with a part that the user gives; the split parts no group."""
    what = "an input or a group" if len(read.groups) else "an input"
    for part, given, then in ((FREE, 1, " left out"), (FREE, 2, " left out"), (1, 2, "")):
        count = int(_shared(read, groups, part, given).sum())
        if count:
            own = "" if part == FREE else f" of the {PARTS[part]} part"
            yield f"{count_text(count, 'example')}{own} with {what} of the {PARTS[given]} part{then}"


def _write(
    folder: Place,
    spool: ExampleSpool,
    read: ExamplesRead,
    kept: npt.NDArray[np.int64],
    parts: npt.NDArray[np.int8],
    *,
    bom: bool,
) -> dict[str, WrittenFile]:
    """Copy each kept example from the spool to its part; parts without an example get no file."""
    used = [place for place in range(len(PARTS)) if (parts == place).any()]
    of_place = np.full(len(read.sizes), -1, dtype=np.int8)
    of_place[kept] = parts
    spool.rewind()
    with ExitStack() as stack:
        sinks = {
            place: stack.enter_context(storage.replace_file(folder / file_of(PARTS[place]))) for place in used
        }
        for sink in sinks.values() if bom else ():
            sink.write(b"\xef\xbb\xbf")
        for place, size in zip(of_place.tolist(), read.sizes, strict=True):
            line = spool.read(size)
            if place >= 0:
                sinks[place].write(line)
        storage.write_whole(folder / SUMMARY, UNFINISHED)
    for place, part in enumerate(PARTS):
        if place not in used:
            storage.remove(folder / file_of(part))
    return {PARTS[place]: sink.result() for place, sink in sinks.items()}


def write_problems(folder: Place, problems: Sequence[RowProblem]) -> None:
    """Write each problem as a line; without any remove the file."""
    if not problems:
        storage.remove(folder / PROBLEMS)
        return
    lines = [
        {"file": each.file, "row": each.row, "sheet_row": each.sheet_row}
        | {"rule": each.rule, "message": name_settings(each.text)}
        for each in problems
    ]
    data = (orjson.dumps(json_safe(each), option=orjson.OPT_APPEND_NEWLINE) for each in lines)
    storage.write_whole(folder / PROBLEMS, b"".join(data))
