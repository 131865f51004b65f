"""What do the options of `batchscore finetune` mean: fields, limits, counting of tokens, files to check?"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from batchscore.cli.finetune.data import READING
from batchscore.errors import UsageError
from batchscore.finetune.examples.check_file import CheckedFile, CheckOptions, check_file, check_overlap
from batchscore.finetune.examples.example import ExampleTokens
from batchscore.finetune.examples.kinds import REINFORCEMENT_FORMAT, kind_named
from batchscore.finetune.examples.rules import SERVICES, most_tokens_of
from batchscore.finetune.prepare.mapping import Mapped, mapped
from batchscore.finetune.prepared_folder import SUMMARY, read_summary
from batchscore.finetune.training.costs import TrainingCost, files_of, training_cost
from batchscore.plan.vocabulary import TokenCounter, count_in_stretches, token_counter_for
from batchscore.settings.config_file import config_file
from batchscore.settings.fields import Settings
from batchscore.settings.prices import training_prices
from batchscore.settings.sources import gather
from batchscore.stores import storage
from batchscore.stores.address import place_of
from batchscore.task import CHAT


def mapped_of(kind_name: str, chosen: dict[str, Any]) -> Mapped:
    """Return what the options say of the fields; raises `UsageError`."""
    kind = kind_named(kind_name)
    said: dict[str, str] = {}
    for option in ("system", "prompt", "answer", "rejected", "context"):
        if chosen[option] is None:
            continue
        if option not in kind.options:
            names = ", ".join(each.name for each in kind.fields)
            hint = f"its fields are {names}" if names else "its fields are set as --field en={english}"
            raise UsageError(f"--{option} is not for the format {kind.name}: {hint}.")
        said[kind.options[option]] = chosen[option]
    for flag in chosen["field_flags"]:
        name, equals, template = flag.partition("=")
        if not equals:
            raise UsageError(f"--field {name!r} must be NAME=TEMPLATE, such as tools='{{tools}}'.")
        said[name.strip()] = template
    if chosen["image"] and kind.name != "chat":
        raise UsageError(f"--image is for chat, not for {kind.name}.")
    return mapped(kind, said, chosen["messages"], chosen["image"], chosen["image_detail"])


def reading_settings(chosen: dict[str, Any], config: str | None) -> Settings:
    """Return settings in which only those of reading and the prices matter; raises `UsageError`."""
    # Nothing is sent, so a file that nobody named needs no trust.
    file = config_file(config, os.environ, here=True)
    wanted = (*READING, "prices")
    said, _ = gather({name: chosen.get(name) for name in wanted}, environ=os.environ, file=file)
    picked = {name: said[name] for name in wanted if name in said}
    return Settings(task="chat", model="any", output="any", **picked)


def given_limit(summary: Mapping[str, Any]) -> int | None:
    """Return the limit of an example's tokens that the user set; `None`: it was that of the model."""
    tokens = summary["tokens"]
    limit: int = tokens["limit"]
    return None if limit == most_tokens_of(tokens["model"]) else limit


def token_limit(chosen: dict[str, Any]) -> int:
    """Return the tokens at which an example is cut off, 0 for no limit."""
    given = chosen["max_example_tokens"]
    return most_tokens_of(chosen["model"]) if given is None else int(given)


def token_counter(model: str) -> TokenCounter:
    """Return the best way to count a model's tokens on this machine."""
    return token_counter_for(model, CHAT)


def example_tokens(counter: TokenCounter, model: str) -> Any:
    """Return what counts the tokens of examples."""
    return ExampleTokens(partial(count_in_stretches, count=counter.count), model)


def checked_files(
    named: str, validation: str | None, chosen: dict[str, Any], counter: TokenCounter
) -> Sequence[CheckedFile]:
    """Return what a training file and its validation file hold, and which rules they break.

    A prepared folder has both files, and the limit of an example that `prepare` was given.
    """
    place = place_of(named)
    training, other = files_of(place)
    if chosen["max_example_tokens"] is None and storage.exists(place / SUMMARY):
        chosen = {**chosen, "max_example_tokens": given_limit(read_summary(place))}
    options = check_options(chosen, counter)
    if validation is not None:
        other = place_of(validation)
    found = [check_file(training, options)]
    if other is not None:
        kind = options.kind or found[0].kind
        found.append(check_file(other, replace(options, kind=kind, least=1)))
        check_overlap(*found)
    elif found[0].kind is REINFORCEMENT_FORMAT:
        found[0].add("no_validation", "there is no validation file, which reinforcement needs")
    return found


def check_options(chosen: dict[str, Any], counter: TokenCounter) -> CheckOptions:
    """Return how files are checked."""
    name = chosen.get("format_name")
    return CheckOptions(
        SERVICES[chosen["service"]],
        example_tokens(counter, chosen["model"]),
        token_limit(chosen),
        None if name is None else kind_named(name),
    )


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job costs, and what was found in its files."""

    cost: TrainingCost
    files: Sequence[CheckedFile]
    counter: TokenCounter
    model: str

    @property
    def errors(self) -> int:
        """How many errors its files have."""
        return sum(each.errors for each in self.files)

    @property
    def is_fine(self) -> bool:
        """Whether the files have no errors, and no limit is exceeded."""
        return not self.errors and all(each.is_kept for each in self.cost.limits)


def estimate(
    data: str, validation: str | None, chosen: dict[str, Any], epochs: int | None, prices: Any
) -> Estimate:
    """Return what training on files would cost, after they were checked; `prices` is the user's list."""
    model, counter = chosen["model"], token_counter(chosen["model"])
    found = checked_files(data, validation, chosen, counter)
    other = found[1] if len(found) > 1 else None
    cost = training_cost(found[0], other, epochs, training_prices(prices, model), chosen["service"])
    return Estimate(cost, found, counter, model)
