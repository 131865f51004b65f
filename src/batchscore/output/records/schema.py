"""Which columns do a task's records have, and in what order?

The settings say so, or the first record of a part that came without its run. JSON Lines, Parquet and Arrow
each turn a `RecordSchema` into their own terms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from batchscore.errors import InputError, UsageError, setting_name
from batchscore.output.layout import verify_command
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.stores.objects import open_parquet_part
from batchscore.task import TASKS

#: What a message says of a damaged part.
DAMAGED = "the file was changed or cut after it was written."

#: In Parquet and Arrow, the metadata of the column of answers that match a JSON Schema.
ANSWER_SCHEMA = b"json_schema"

#: The fields of `Settled` with which every record begins, scores and errors, in all formats and the journal.
#: The types are those of their values; the first decides the type of the column.
ROW_FIELDS: Mapping[str, tuple[type, ...]] = {"file": (str,), "row": (int,), "id": (str, type(None))}

#: The names of a record's own fields, besides the task's name; kept columns may not have them.
OWN_NAMES = (*ROW_FIELDS, "error", "finish_reason", "truncated", "usage", "raw")


@dataclass(frozen=True, slots=True)
class RecordSchema:
    """The columns of score records: file, row, id?, kept..., the answer under the task's name, and the rest.

    `keep` names the kept columns in order; `None` keeps all columns of a row except those with a name of
    the record's own (JSON Lines only). `many`: several answers per row, so the answer and its finish_reason
    are lists. `answer` is the JSON Schema that answers match, if they have one: then they are values, not
    texts. `dimensions` is the length of every vector, if known. `is_vector`: the answer is a vector and
    has no finish_reason. `row_fields` are the names of `ROW_FIELDS` in these records. These two are used
    for every row, so they are fields.
    """

    task: str
    with_id: bool = False
    keep: tuple[str, ...] | None = ()
    many: bool = False
    answer: Mapping[str, Any] | None = field(default=None, hash=False)
    with_truncated: bool = False
    with_usage: bool = False
    with_raw: bool = False
    dimensions: int | None = None
    is_vector: bool = field(init=False, repr=False, compare=False)
    row_fields: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_vector", TASKS[self.task].answer == "vector")
        names = tuple(name for name in ROW_FIELDS if name != "id" or self.with_id)
        object.__setattr__(self, "row_fields", names)
        keep = self.keep or ()
        for position, name in enumerate(keep):
            if name in self.own_names:
                instead = f"; use {setting_name('id')} for it" if name == "id" else ""
                raise UsageError(
                    f"{setting_name('keep')} cannot name {name!r}, because records have a field of that name"
                    f"{instead}"
                )
            if name in keep[:position]:
                raise UsageError(f"{setting_name('keep')} names {name!r} twice")

    @property
    def own_names(self) -> tuple[str, ...]:
        """The names that no kept column may have."""
        return (*OWN_NAMES, self.task)

    def kept(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the kept columns of one row or one record, in order; null for a missing column."""
        if self.keep is not None:
            return {name: values.get(name) for name in self.keep}
        own_names = self.own_names
        return {name: value for name, value in values.items() if name not in own_names}


def first_record(part: Place) -> Mapping[str, Any]:
    """Return the first record of a part of any format; raises `InputError` if it has none."""
    try:
        if is_parquet(part):
            with open_parquet_part(part) as file:
                first = [*range(file.num_row_groups)][:1]
                record: Any = next(file.iter_batches(batch_size=1, row_groups=first)).to_pylist()[0]
        else:
            with storage.open_file(part) as lines:
                record = orjson.loads(lines.readline())
        if isinstance(record, dict):
            return record
        reason = "its first record is not an object"
    except (OSError, ValueError, StopIteration, IndexError) as error:
        reason = str(error) or "it is empty"
    raise InputError(f"{part}: cannot be read as scores ({reason}).{all_damage(part)}")


def is_parquet(part: Place) -> bool:
    """Whether a part is a Parquet file, by its name."""
    return part.suffix.lower() == ".parquet"


def columns_of(part: Place) -> Any:
    """Return the Arrow schema of a Parquet part; raises `InputError` if it cannot be read."""
    try:
        with open_parquet_part(part) as file:
            return file.schema_arrow
    except (OSError, ValueError) as error:
        raise InputError(f"{part}: cannot be read as scores ({error}).{all_damage(part)}") from error


def answer_schema_in(column: Any) -> Mapping[str, Any] | None:
    """Return the JSON Schema of the answers in an Arrow field, `None` if they are texts."""
    text = (column.metadata or {}).get(ANSWER_SCHEMA)
    found: Any = None if text is None else orjson.loads(text)
    return found if isinstance(found, dict) else None


def all_damage(part: Place) -> str:
    """Return how to see all damage of a part's output; nothing for a file that is in none."""
    command = _verify_command(part)
    return f" To see all damage, run: {command}" if command else ""


def damage_text(part: Place) -> str:
    """Return the end of a message about a damaged part, with the command that repairs its output."""
    command = _verify_command(part, repair=True)
    how = f" To remove it, so that the same score command scores its rows again, run: {command}"
    return DAMAGED + how if command else DAMAGED


def _verify_command(part: Place, *, repair: bool = False) -> str:
    task, folder = part.parent.name, part.parent.parent
    if task not in TASKS:
        return ""
    return verify_command(folder.parent if folder.name == "errors" else folder, task, repair=repair)


def schema_of(
    part: Place,
    task: str,
    *,
    answer: Mapping[str, Any] | None = None,
    errors: bool = False,
) -> RecordSchema:
    """Return the schema of records like the first one of this part; other fields have their defaults.

    `errors`: these are error records. Each JSON Lines record keeps the columns that it has, since the first
    one may not have all. `answer` is the JSON Schema of the answers if it is known; a Parquet part says it.
    Raises `InputError` if the part has no such record.
    """
    record = first_record(part)
    absent = [name for name in ("file", "row", "error" if errors else task) if name not in record]
    if absent:
        raise InputError(f"{part}: its first record has no {absent[0]}.{all_damage(part)}")
    schema = RecordSchema(task)
    value = record.get(task)
    keep = None
    if is_parquet(part):
        keep = tuple(name for name in record if name not in schema.own_names)
        answer = None if errors else answer_schema_in(columns_of(part).field(task))
    return RecordSchema(
        task=task,
        with_id="id" in record,
        keep=keep,
        many=not schema.is_vector and isinstance(record.get("finish_reason"), list),
        answer=answer,
        with_truncated="truncated" in record,
        with_usage="usage" in record,
        with_raw="raw" in record,
        dimensions=len(value) if schema.is_vector and isinstance(value, list) else None,
    )
