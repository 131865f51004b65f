"""What defines an output: its places, its format, and the settings that determine a record?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchscore.errors import OutputError, UsageError, setting_name
from batchscore.output.find import refuse_links
from batchscore.output.fingerprint import identity_of, shown_fingerprint
from batchscore.output.layout import MARKER, Layout
from batchscore.output.records.formats import (
    FILE_SUFFIXES,
    Format,
    format_named,
    refuse_vectors,
    suffixes_text,
)
from batchscore.output.records.schema import RecordSchema
from batchscore.output.share import WHOLE, Share
from batchscore.prompts.prompt import parse_spec
from batchscore.read.formats import COMPRESSIONS, FORMATS
from batchscore.settings.part_of import parse_part_of
from batchscore.settings.slices import OutputSettings, RecordSettings
from batchscore.stores import storage
from batchscore.stores.address import Place, place_of

OR_A_FOLDER = f"Give the name of a folder, or of one file ending in {suffixes_text()}."

#: How names of files end that no run writes.
COMPRESSED = (*COMPRESSIONS, ".zip", ".lz4", ".snappy", ".br")
OTHER_FILES = (
    *(".xls", ".xlsm", ".ods", ".pq", ".parq", ".orc", ".avro", ".arrows", ".npy", ".npz", ".pkl", ".pickle"),
    *(".db", ".sqlite", ".sqlite3", ".duckdb", ".h5", ".hdf5", ".html", ".xml", ".yaml", ".yml", ".toml"),
    *(".md", ".tab", ".psv", ".dat", ".log", ".jsonlines", ".jl", ".pdf", ".tar", ".tgz", ".7z", ".gzip"),
)


class StandardOutput(str):
    """The path of the file whose scores are printed; the type distinguishes it from a named output."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Output:
    """Where scores go: always a `folder` of parts, and one `file` made of them if the user named a file."""

    folder: Place
    file: Place | None = None

    @property
    def named(self) -> Place:
        """The place that the user named."""
        return self.file or self.folder


def output_of(settings: OutputSettings) -> Output:
    """Return where the scores go.

    Raises `UsageError` for the name of a file of another kind, and `OutputError` if the folder is a file, or
    holds planted links.
    """
    what = f"{setting_name('output')} {settings.output}"
    if settings.output == "-":
        raise UsageError(f"{what}: only the command score writes to standard output. {OR_A_FOLDER}")
    path = place_of(settings.output)
    if isinstance(path, Path) and not path.name:
        raise UsageError(f"{what}: the root of the file system is not a place for scores. {OR_A_FOLDER}")
    folder = storage.is_folder(path)
    names_folder = settings.output.endswith(("/", os.sep))
    if path.suffix.lower() in FILE_SUFFIXES and not folder and not names_folder:
        refuse_vectors(settings.task.name, path)
        output = Output(path.with_name(path.name + MARKER), path)
        refuse_links(output.folder)
        return output
    if not folder and storage.exists(path):
        raise OutputError(f"{path} is a file. Give a folder, or a new file ending in {suffixes_text()}.")
    if not folder and is_name_of_file(path.name):
        why = "scores are not written in this format"
        if names_folder:
            why = "the slash means a folder, but the name is that of a file"
        raise UsageError(f"{what}: {why}. {OR_A_FOLDER}")
    if not folder and not names_folder and path.suffix[1:].isalpha() and len(path.suffix) > 2:
        raise UsageError(
            f"{what}: that looks like the name of a file, and scores are not written in this format. "
            f"{OR_A_FOLDER} For a folder of this name, end it with a slash."
        )
    refuse_links(path)
    return Output(path)


def is_name_of_file(name: str) -> bool:
    """Whether a name ends as files of data do, also compressed ones; other dots may be in a folder's name."""
    name = name.lower()
    for compression in COMPRESSED:
        name = name.removesuffix(compression)
    ends = (*FORMATS, *FILE_SUFFIXES, *OTHER_FILES)
    return name.endswith(ends)


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One task's scores in one output folder.

    `fingerprint` holds what determines a record. `shared`: several workers write at the same time, and this
    one scores the parts of its `share`. `sync`: what is published is on the device before anything that it
    replaces is removed. `files` are the places of the input files by their names in records, in input order;
    with `base_dir` these names alone tell two files apart. `inputs_change`: a file that was scored may have
    new or changed rows. `limited`: the run scores some rows only. `printed`: standard output is what the user
    named.
    """

    layout: Layout
    format: Format
    schema: RecordSchema
    rows_per_part: int
    fingerprint: Mapping[str, Any]
    retry_errors: bool = False
    scratch: Path | None = None
    shared: bool = False
    share: Share = WHOLE
    sync: bool = False
    inputs_change: bool = False
    limited: bool = False
    printed: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    base_dir: bool = True

    @property
    def identity(self) -> str:
        """The fingerprint as text, however inputs are read: it distinguishes runs and their journals."""
        return identity_of(self.fingerprint)

    def place_of_namesake(self, file: str) -> str | None:
        """Return a file's place if another folder may hold a file of the same name in records."""
        return None if self.base_dir else self.files.get(file)


def output_spec(
    settings: OutputSettings,
    output: Output,
    fingerprint: Mapping[str, Any],
    schema: RecordSchema,
    files: Mapping[str, str],
) -> OutputSpec:
    """Return the specification of an output, without any I/O; raises `UsageError`."""
    sharing = setting_name("shared_output" if settings.part_of is None else "part_of")
    if settings.shared_output and output.file is not None:
        raise UsageError(
            f"{sharing}: several workers cannot write the one file {output.file}. Give "
            "a folder, and run `batchscore merge` when all workers have finished."
        )
    chosen = format_named(part_format(settings.format, output))
    return OutputSpec(
        layout=Layout(output.folder, settings.task.name, chosen.suffix),
        format=chosen,
        schema=schema,
        rows_per_part=settings.rows_per_part,
        fingerprint=fingerprint,
        retry_errors=settings.retry_errors,
        scratch=None if settings.scratch_dir is None else Path(settings.scratch_dir),
        shared=settings.shared_output,
        share=WHOLE if settings.part_of is None else Share(*parse_part_of(settings.part_of)),
        sync=settings.sync,
        inputs_change=settings.incremental,
        limited=settings.limit is not None,
        printed=isinstance(settings.output, StandardOutput),
        files=files,
        base_dir=settings.base_dir is not None,
    )


def part_format(chosen: str, output: Output) -> str:
    """Return the format of parts: the chosen one, or that which suits a single output file."""
    suffix = "" if output.file is None else output.file.suffix.lower()
    return {".jsonl": "jsonl", ".parquet": "parquet", ".arrow": "parquet"}.get(suffix, chosen)


def fingerprint_of(settings: RecordSettings, output: Output) -> dict[str, Any]:
    """Return what determines a record: runs with different fingerprints cannot share an output."""
    messages = parse_spec(settings).messages
    text_field = {} if settings.text_field is None else {"text_field": settings.text_field}
    # Settings that outputs of earlier versions do not know are there only if they change what is sent.
    drop = {"drop_last_assistant": True} if settings.drop_last_assistant else {}
    schema = {} if settings.schema is None else {"schema": settings.schema}
    image = {"image": list(settings.image), "image_detail": settings.image_detail} if settings.image else {}
    return shown_fingerprint(
        text_field
        | drop
        | schema
        | image
        | dict(settings.reading)
        | {
            "model": settings.model,
            "deployment": settings.deployment,
            # A secret does not determine records, and may change.
            "params": settings.api_params,
            "on_long_input": settings.on_long_input,
            "column": settings.column,
            "prompt": settings.prompt,
            "system": settings.system,
            "messages": list(messages) if messages is not None else None,
            "txt": settings.txt,
            "id": settings.id,
            "keep": list(settings.keep),
            "usage": settings.usage,
            "raw": settings.raw,
            "format": part_format(settings.format, output),
            "rows_per_part": settings.rows_per_part,
            "simulated": settings.simulate,
        }
    )
