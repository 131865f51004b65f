"""What do a model's tokens cost, by the prices that the user wrote down?

A file, or the same tables in batchscore.toml; no price is known otherwise. It knows numbers and names, not
what is spent.

    [prices."gpt-4o-mini"]
    in = 0.15
    out = 0.60
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batchscore.errors import SettingsError
from batchscore.task import EMBEDDINGS

#: Prices are per this many tokens.
PRICED_TOKENS = 1_000_000

#: What a model's table may hold, and the setting that it stands for.
KEYS: Mapping[str, str] = {"in": "price_in", "out": "price_out"}

EXAMPLE = '[prices."gpt-4o-mini"] with in = 0.15 and out = 0.60'


def priced(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the prices of their model, as far as these were not given one by one.

    Raises `SettingsError` where the prices cannot be read.
    """
    settings = dict(given)
    named = settings.get("prices")
    if named is None:
        return settings
    tables = read_prices(named) if isinstance(named, str) else named
    where = f"--prices {named}" if isinstance(named, str) else "prices"
    checked = {str(model): prices_of(table, f'{where}: prices."{model}"') for model, table in tables.items()}
    # A deployment may be priced by its own name, where it is not called as its model.
    for name in (settings.get("deployment"), settings.get("model")):
        if name in checked:
            return {**checked[name], **{key: value for key, value in settings.items() if value is not None}}
    return settings


def read_prices(path: str) -> Mapping[str, Any]:
    """Return the tables of a price file by model; raises `SettingsError`."""
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415 - few runs have prices in a file
    else:
        import tomli as tomllib  # noqa: PLC0415

    try:
        found = tomllib.loads(Path(path).read_text("utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"--prices {path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise SettingsError(f"--prices {path} is not TOML: {error}.") from None
    tables = found.get("prices")
    if found.keys() != {"prices"} or not isinstance(tables, dict):
        raise SettingsError(f"--prices {path}: it holds a table for each model, such as {EXAMPLE}.")
    return tables


def prices_of(table: Any, where: str) -> dict[str, float]:
    """Return a model's prices by the settings that they stand for; raises `SettingsError`."""
    if not isinstance(table, dict) or not table or table.keys() - KEYS.keys():
        raise SettingsError(f"{where}: a model's table holds in and out, as in {EXAMPLE}.")
    for key, price in table.items():
        number = isinstance(price, (int, float)) and not isinstance(price, bool)
        if not number or not 0 <= price < math.inf:
            raise SettingsError(f"{where}: {key} is {price!r}; it must be what a million tokens cost.")
    return {KEYS[key]: float(price) for key, price in table.items()}


def token_cost(
    task: str, price_in: float | None, price_out: float | None, prompt_tokens: float, completion_tokens: float
) -> float | None:
    """Return what tokens cost, in the currency of the prices; `None` if a price is not known."""
    if task == EMBEDDINGS.name:
        price_out = 0.0
    if price_in is None or price_out is None:
        return None
    return (prompt_tokens * price_in + completion_tokens * price_out) / PRICED_TOKENS
