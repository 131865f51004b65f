"""What do a model's tokens cost, according to the user's list of prices?

The prices are in a file, or as the same tables in batchscore.toml; batchscore ships none.

    [prices."gpt-4o-mini"]
    in = 0.15
    out = 0.60
    training = 3.00  # a million tokens, for `batchscore finetune plan`
    hosting = 1.70  # an hour of a deployment of the trained model
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from batchscore.errors import UsageError, setting_name
from batchscore.settings.config_file import read_toml
from batchscore.task import TASKS

#: Prices are per this many tokens.
PRICED_TOKENS = 1_000_000

#: The keys of a model's table, and the setting that each one gives.
KEYS: Mapping[str, str] = {"in": "price_in", "out": "price_out"}

#: Keys of a model's table that no setting has: a million tokens of training, an hour of a deployment.
TRAINING_KEYS = ("training", "hosting")

EXAMPLE = '[prices."gpt-4o-mini"] with in = 0.15 and out = 0.60'


def add_prices(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings, completed with the listed prices of their model; explicit prices win.

    Raises `UsageError` if the prices cannot be read.
    """
    settings = dict(given)
    listed = settings.get("prices")
    if listed is None:
        return settings
    tables = read_prices(listed) if isinstance(listed, str) else listed
    where = f"{setting_name('prices')} {listed}" if isinstance(listed, str) else "prices"
    by_model = {str(model): prices_of(table, f'{where}: prices."{model}"') for model, table in tables.items()}
    # A deployment may have its own price, if its name differs from the model's.
    for name in (settings.get("deployment"), settings.get("model")):
        if name in by_model:
            return {**by_model[name], **{key: value for key, value in settings.items() if value is not None}}
    return settings


def read_prices(path: str) -> Mapping[str, Any]:
    """Return the tables of a price file by model; raises `UsageError`."""
    where = f"{setting_name('prices')} {path}"
    content = read_toml(Path(path), where)
    tables = content.get("prices")
    if content.keys() != {"prices"} or not isinstance(tables, dict):
        raise UsageError(f"{where}: it must hold one table for each model, such as {EXAMPLE}.")
    return tables


def prices_of(table: Any, where: str) -> dict[str, float]:
    """Return a model's prices by the names of their settings; raises `UsageError`."""
    if not isinstance(table, dict) or not table or table.keys() - KEYS.keys() - set(TRAINING_KEYS):
        raise UsageError(f"{where}: a model's table holds in and out, as in {EXAMPLE}.")
    for key, price in table.items():
        number = isinstance(price, (int, float)) and not isinstance(price, bool)
        if not number or not 0 <= price < math.inf:
            what = "an hour of hosting" if key == "hosting" else "a million tokens"
            raise UsageError(f"{where}: {key} is {price!r}; it must be the price of {what}.")
    return {KEYS[key]: float(price) for key, price in table.items() if key in KEYS}


def training_prices(listed: str | Mapping[str, Any] | None, model: str) -> tuple[float | None, float | None]:
    """Return a model's prices of training and of hosting, `None` where the user's list has none."""
    if listed is None:
        return None, None
    table = (read_prices(listed) if isinstance(listed, str) else listed).get(model, {})
    if table:
        prices_of(table, f'{setting_name("prices")}: prices."{model}"')
    training, hosting = (None if table.get(key) is None else float(table[key]) for key in TRAINING_KEYS)
    return training, hosting


#: Tokens of prompts and of answers that a run through batches has sent live.
Live: TypeAlias = tuple[float, float]


def token_cost(
    task: str, price_in: float | None, price_out: float | None, prompt_tokens: float, completion_tokens: float
) -> float | None:
    """Return what tokens cost, in the currency of the prices; `None` if a price is not known."""
    if TASKS[task].answer == "vector":
        price_out = 0.0
    if price_in is None or price_out is None:
        return None
    cost = (prompt_tokens * price_in + completion_tokens * price_out) / PRICED_TOKENS
    # Without the last digits, which are noise: 5.6e-06 and not 5.600000000000001e-06.
    return float(f"{cost:.12g}")


def run_cost(
    task: str,
    prices: tuple[float | None, float | None],
    tokens: tuple[float, float],
    full_price: Live = (0, 0),
    factor: float = 1.0,
) -> float | None:
    """Return what the tokens of a run cost: all but those at the full price cost `factor` times as much.

    Prices and tokens are those of prompts and of answers.
    """
    reduced = token_cost(task, *prices, tokens[0] - full_price[0], tokens[1] - full_price[1])
    full = token_cost(task, *prices, *full_price)
    return None if reduced is None or full is None else reduced * factor + full
