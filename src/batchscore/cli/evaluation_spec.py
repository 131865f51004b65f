"""What do the options of `batchscore evaluate`, and the table [evaluate] of a settings file, ask for?

It reads files of labels and of spellings. It knows no scores.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import click
import orjson

from batchscore.cli.evaluate import OF_FILES
from batchscore.cli.settings_file import how_to_name
from batchscore.errors import InputError, SettingsError, UsageError, count_text
from batchscore.evaluate.figures import FigureOptions
from batchscore.evaluate.fold import Labels
from batchscore.evaluate.gates import requirement_of
from batchscore.evaluate.labels import LabelSource, is_named_as_file, read_labels
from batchscore.evaluate.qrels import read_qrels
from batchscore.evaluate.scored import open_scores
from batchscore.evaluate.spec import EvaluationSpec
from batchscore.evaluate.statistics.intervals import Sampling
from batchscore.evaluate.tasks import task_named
from batchscore.plan.survey import read_options
from batchscore.settings.config_file import config_file
from batchscore.settings.declare import EVALUATE_TABLE, variable_of
from batchscore.settings.fields import Settings
from batchscore.settings.read_file import read_file
from batchscore.settings.sources import parse
from batchscore.settings.trust import ADDRESS
from batchscore.stores import storage
from batchscore.stores.address import Place, StoredPath, path_text, place_of

#: The options that name the scores of other vectors.
_SECOND = ("pair", "train", "documents")


def names_of(scores: Sequence[str], given: str | None) -> list[str]:
    """Return the names of the models; raises `UsageError`."""
    if given is None:
        return [path_text(name) for name in scores]
    names = [path_text(name.strip()) for name in given.split(",")]
    if len(names) != len(scores) or not all(names):
        raise UsageError(
            f"--names has {count_text(len(names), 'name')} for {len(scores)} SCORES. Give one name for each."
        )
    return names


def spec_of(
    scores: Sequence[str], names: Sequence[str], base_dir: Place | None, chosen: Mapping[str, Any]
) -> EvaluationSpec:
    """Return what the options ask for; raises `UsageError` or `InputError`."""
    if not 0 < chosen["confidence"] < 1:
        raise UsageError("--confidence must be between 0 and 1, such as 0.95.")
    if chosen["resamples"] < 1 or chosen["seed"] < 0:
        raise UsageError("--resamples must be 1 or more, and --seed 0 or more.")
    requirements = tuple(map(requirement_of, chosen["require"]))
    task = None if chosen["as_task"] is None else task_named(chosen["as_task"])
    listed, source = _labels(chosen)
    options = [name for name in _SECOND if chosen[name]]
    if len(options) > 1:
        raise UsageError(f"give one of {' and '.join(f'--{name}' for name in options)}.")
    option = options[0] if options else ""
    if (option == "documents") != (chosen["qrels"] is not None):
        raise UsageError("a ranking needs both --documents OUT and --qrels FILE.")
    second = [open_scores(place_of(named), None, base_dir, named) for named in chosen.get(option) or ()]
    return EvaluationSpec(
        source,
        task,
        Labels(listed, _spellings(chosen["map_file"])),
        FigureOptions(
            Sampling(chosen["confidence"], chosen["resamples"], chosen["seed"]),
            exclude=chosen["unanswered"] == "exclude",
            cluster=chosen["cluster"],
        ),
        chosen["field"],
        _pattern(chosen["pattern"]),
        chosen["by"],
        chosen["metric"],
        requirements,
        _baseline(scores, names, chosen["baseline"]),
        option,
        tuple(second),
        chosen["ignore_identical_ids"],
    )


def _labels(chosen: Mapping[str, Any]) -> tuple[list[str], LabelSource]:
    """Return the labels that rows may have, and where the labels of rows are."""
    groups = (*chosen["show"], *chosen["by"], chosen["cluster"])
    others = tuple(dict.fromkeys(name for name in groups if name is not None))
    said = {name: chosen[name] for name in OF_FILES if chosen[name] is not None}
    options = read_options(Settings(task="chat", model="any", output="any", **said))
    if chosen["qrels"] is not None:
        return [], LabelSource("", read_qrels(chosen["qrels"], chosen["on"] or "id", options), others)
    files, listed = _files_and_names(chosen["labels"], chosen["on"])
    if files:
        found = read_labels(files[0], chosen["on"], chosen["label"], options)
        return listed, LabelSource(chosen["label"] or "", found, others)
    if chosen["label"] is None:
        raise UsageError("name the column with the labels: --label COLUMN, or --labels FILE --on id.")
    return listed, LabelSource(chosen["label"], None, others)


def _files_and_names(given: Sequence[str], on: str | None) -> tuple[list[str], list[str]]:
    """Return the files of labels, of which there may be one, and the names of labels."""
    files = [each for each in given if storage.exists(place_of(each))]
    if absent := next((each for each in given if is_named_as_file(each) and each not in files), None):
        raise InputError(f"{absent} does not exist.")
    names = [name.strip() for each in given if each not in files for name in each.split(",") if name.strip()]
    if len(files) > 1:
        raise UsageError(f"--labels names several files: {', '.join(files)}. Give one.")
    if on is not None and not files:
        if not given:
            raise UsageError(
                f"--on {on} is the column of ids in a file of labels: name the file with --labels FILE."
            )
        raise InputError(f"{given[0]} does not exist, and --on {on} needs a file of labels.")
    if files and on is None:
        raise UsageError(f"--labels {files[0]} is a file: name its column of ids with --on.")
    return files, names


def _spellings(named: str | None) -> dict[str, str]:
    if named is None:
        return {}
    place = place_of(named)
    try:
        found = orjson.loads(storage.whole(place) if isinstance(place, StoredPath) else read_file(named))
    except FileNotFoundError:
        raise InputError(f"{named} does not exist.") from None
    except OSError as error:
        raise InputError(f"--map {named}: {error.strerror}.") from None
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise InputError(f'{named} is not a JSON object of spellings, such as {{"good": "positive"}}.')
    return found


def _pattern(text: str | None) -> re.Pattern[str] | None:
    try:
        return None if text is None else re.compile(text)
    except re.error as error:
        raise UsageError(f"--pattern is not a valid regular expression: {error}.") from None


def _baseline(scores: Sequence[str], names: Sequence[str], given: str | None) -> int:
    if given is None:
        return 0
    for known in (names, scores, [each.rstrip("/") for each in scores]):
        if given in known:
            return known.index(given)
    raise UsageError(f"--baseline {given} is not the name of a model. The models are: {', '.join(names)}.")


def use_config(ctx: click.Context, _: click.Parameter, named: str | None) -> None:
    """Take the table [evaluate] of the settings file as defaults of the options, and the setting `track`.

    Raises `UsageError` for a key that is no option, and `SettingsError` for an address in a file that nobody
    named.
    """
    file = config_file(named, os.environ, here=True)
    table = file.settings.get(EVALUATE_TABLE, {})
    where = f"{file.name}, [{EVALUATE_TABLE}]"
    if not isinstance(table, Mapping):
        raise UsageError(f"{where} must be a table: write [{EVALUATE_TABLE}] and its options below it.")
    options = {
        flag.lstrip("-"): each
        for each in ctx.command.params
        if isinstance(each, click.Option) and each.name not in {"config", "as_json", "track"}
        for flag in each.opts
        if flag.startswith("--")
    }
    defaults = dict[str, Any]()
    for key, value in table.items():
        option = options.get(key.replace("_", "-"))
        if option is None or option.name is None:
            raise UsageError(f"{where}: {key!r} is no option. The options are: {', '.join(options)}.")
        if option.is_flag and isinstance(value, bool):
            defaults[option.name] = value
            continue
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(each, (str, int, float)) and not isinstance(each, bool) for each in values):
            raise UsageError(f"{where}: {key} must be a text, a number, or a list of these.")
        texts = [str(each) for each in values]
        if file.is_implicit and any(map(ADDRESS.search, texts)):
            raise SettingsError(f"{where}: {key} names another host. {how_to_name(file)}")
        defaults[option.name] = texts if option.multiple else ",".join(texts)
    track = next(declared for declared in fields(Settings) if declared.name == "track")
    if text := os.environ.get(variable_of(track), "").strip():
        defaults["track"] = parse(track, text, variable_of(track))
    elif "track" in file.settings:
        defaults["track"] = parse(track, file.settings["track"], f"track in {file.name}")
    ctx.default_map = defaults
