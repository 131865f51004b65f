"""What will a training job cost, and is it within the limits that are known without a service?

Tokens of an example count up to the limit, times the epochs. Prices are the user's: batchscore ships none.
Limits are those of the guides and of Azure's quotas, seen 2026-11.
"""

from __future__ import annotations

from dataclasses import dataclass

from batchscore.finetune.examples.check_file import CheckedFile
from batchscore.finetune.examples.facts import TokenFacts, token_facts
from batchscore.finetune.examples.kinds import REINFORCEMENT_FORMAT
from batchscore.finetune.examples.rules import MOST_FILE_BYTES
from batchscore.finetune.prepared_folder import SUMMARY, file_of, read_summary
from batchscore.settings.prices import PRICED_TOKENS
from batchscore.stores import storage
from batchscore.stores.address import Place

#: Of one job on Azure OpenAI.
MOST_JOB_TOKENS = 2_000_000_000
#: Of all training files of a resource on Azure OpenAI.
MOST_RESOURCE_BYTES = 10**9

#: What `auto` may mean (OpenAI's cookbook on preparing chat data; the services publish no rule): three
#: epochs, more for few examples and less for many.
_USUAL_EPOCHS, _FEWEST, _MOST = 3, 100, 25_000
_MOST_AUTO = 25

HOURS = 24 * 30


@dataclass(frozen=True, slots=True)
class KnownLimit:
    """One limit with what this job has of it."""

    name: str
    value: int
    limit: int

    @property
    def is_kept(self) -> bool:
        """Whether the job is within the limit."""
        return self.value <= self.limit


@dataclass(frozen=True, slots=True)
class TrainingCost:
    """The estimate of one job: tokens of one epoch and of all, and costs in the currency of the prices.

    `by_tokens`: the cost is not by the hour, as that of reinforcement and of Azure ML's compute is.
    """

    tokens: TokenFacts
    epochs: int
    is_guess: bool
    trained_tokens: int
    cost: float | None
    hosting_hour: float | None
    limits: tuple[KnownLimit, ...]
    by_tokens: bool = True

    @property
    def price(self) -> float:
        """The price of a million trained tokens, 0 if it is not known."""
        return (self.cost or 0.0) * PRICED_TOKENS / max(1, self.trained_tokens)

    @property
    def hosting_month(self) -> float | None:
        """The cost of a deployment for 30 days, used or not."""
        return None if self.hosting_hour is None else self.hosting_hour * HOURS


def files_of(place: Place) -> tuple[Place, Place | None]:
    """Return the training and the validation file of a folder, or a file alone.

    Raises `InputError` if the folder has none to train on.
    """
    if not storage.is_folder(place):
        return place, None
    if storage.exists(place / SUMMARY) or not storage.exists(place / file_of("train")):
        read_summary(place)
    validation = place / file_of("validation")
    return place / file_of("train"), validation if storage.exists(validation) else None


def auto_epochs(examples: int) -> int:
    """Return how many epochs `auto` probably means."""
    if examples * _USUAL_EPOCHS < _FEWEST:
        return min(_MOST_AUTO, max(1, _FEWEST // max(1, examples)))
    if examples * _USUAL_EPOCHS > _MOST:
        return max(1, _MOST // examples)
    return _USUAL_EPOCHS


def training_cost(
    training: CheckedFile,
    validation: CheckedFile | None,
    epochs: int | None,
    prices: tuple[float | None, float | None],
    service: str = "any",
) -> TrainingCost:
    """Return what a job on this file needs. `prices`: a million trained tokens, an hour of hosting.

    `service` is one of `rules.SERVICES`.
    """
    facts = training.facts
    tokens = token_facts(facts)
    chosen = auto_epochs(training.examples) if epochs is None else epochs
    trained = tokens.billed * chosen
    longest, most_tokens = (round(facts.longest), facts.most_tokens) if facts else (0, 0)
    price, hosting = prices
    by_tokens = (
        training.kind is not None and training.kind.hosted and training.kind is not REINFORCEMENT_FORMAT
    )
    cost = None if price is None or not by_tokens else float(f"{trained * price / PRICED_TOKENS:.12g}")
    files = [file for file in (training, validation) if file is not None]
    limits: tuple[KnownLimit, ...] = (
        KnownLimit("bytes of the largest file", max(file.size for file in files), MOST_FILE_BYTES),
        KnownLimit(
            "bytes of files in an Azure resource", sum(file.size for file in files), MOST_RESOURCE_BYTES
        ),
        KnownLimit("tokens of the longest example", longest, most_tokens or longest),
        KnownLimit("trained tokens of an Azure job", trained, MOST_JOB_TOKENS),
    )
    if service == "openai":
        hosting = 0.0
        limits = tuple(each for each in limits if "Azure" not in each.name)
    if training.kind is not None and not training.kind.hosted:
        limits = ()
    return TrainingCost(tokens, chosen, epochs is None, trained, cost, hosting, limits, by_tokens)
