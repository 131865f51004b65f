"""Which settings were given and change nothing in this run? A user would take them for applied.

Pure. It knows the kinds of the input files and of the output, and the settings; it reads nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields

from batchscore.errors import setting_name
from batchscore.output.spec import Output, StandardOutput, part_format
from batchscore.read.formats import FORMATS
from batchscore.settings.fields import Settings

_TABLES = (".csv", ".tsv")

#: Settings of how files are read, and the formats that they are for.
READ_BY: Mapping[str, Sequence[str]] = {
    "txt": (".txt",),
    "encoding": tuple(suffix for suffix, each in FORMATS.items() if each.is_text),
    **dict.fromkeys(("delimiter", "quote", "escape"), _TABLES),
    **dict.fromkeys(("no_header", "skip_lines"), (*_TABLES, ".xlsx")),
    "sheet": (".xlsx",),
}

#: Settings of the service, which the simulator does not need.
OF_SERVICE = ("api_version", "auth", "api_key_from", "key_header", "header", "query", "client_cert")


def without_effect(
    settings: Settings, suffixes: Collection[str], output: Output | None, *, piped: bool
) -> Iterator[str]:
    """Yield a sentence for each such setting; `suffixes` are those of the inputs."""
    default = {each.name: each.default for each in fields(Settings)}
    given = [name for name in default if getattr(settings, name) not in (default[name], {})]
    for name, formats in READ_BY.items():
        if name in given and not set(formats) & set(suffixes):
            yield f"{setting_name(name)} has no effect: no input is {_either(formats)}."
    if "stdin_format" in given and not piped:
        yield f"{setting_name('stdin_format')} has no effect: the input is not standard input (-)."
    if "image_detail" in given and not settings.image:
        yield f"{setting_name('image_detail')} has no effect without {setting_name('image')}."
    if settings.simulate:
        for name in OF_SERVICE:
            if name in given:
                yield f"{setting_name(name)} has no effect with {setting_name('simulate')}."
    if output is None:
        return
    if "format" in given and part_format(settings.format, output) != settings.format:
        why = f"the name {output.file} decides"
        if isinstance(settings.output, StandardOutput):
            why = "standard output gets JSON Lines"
        yield f"{setting_name('format')} has no effect: {why}."
    for name in ("csv_bom", "allow_formulas"):
        if name in given and (output.file is None or output.file.suffix.lower() not in _TABLES):
            yield f"{setting_name(name)} has no effect: {setting_name('output')} is not {_either(_TABLES)}."


def _either(suffixes: Sequence[str]) -> str:
    *first, last = suffixes
    return f"{', '.join(first)} or {last}" if first else last
