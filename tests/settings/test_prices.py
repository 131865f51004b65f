"""The user's list of prices: which price applies, and what is wrong with a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchscore.errors import SettingsError, UsageError
from batchscore.mlflow_model.resolve import resolve_settings
from batchscore.settings.config_file import ConfigFile
from batchscore.settings.fields import Settings
from batchscore.settings.prices import token_cost

TEXT = '[prices."gpt-4o-mini"]\nin = 0.15\nout = 0.6\n[prices.mine]\nin = 1\nout = 2\n'


def settings(environ: dict[str, str] | None = None, config: Any = None, **given: Any) -> Settings:
    flags = {"task": "chat", "model": "gpt-4o-mini", "output": "o", **given}
    return resolve_settings(flags, environ=environ or {}, config=ConfigFile(settings=config or {})).settings


def prices(**given: Any) -> tuple[float | None, float | None]:
    found = settings(**given)
    return found.price_in, found.price_out


def test_prices_come_by_model_from_a_file_a_variable_or_the_settings() -> None:
    Path("p.toml").write_text(TEXT)
    tables = {"gpt-4o-mini": {"in": 0.15, "out": 0.6}}
    assert prices(prices="p.toml") == (0.15, 0.6)
    assert prices(environ={"BATCHSCORE_PRICES": "p.toml"}) == (0.15, 0.6)
    assert prices(config={"prices": "p.toml"}) == (0.15, 0.6)
    assert prices(config={"prices": tables}) == (0.15, 0.6)


def test_an_explicit_price_beats_the_file_and_a_deployment_may_have_its_own() -> None:
    Path("p.toml").write_text(TEXT)
    assert prices(prices="p.toml", price_in=9.0) == (9.0, 0.6)
    assert prices(prices="p.toml", deployment="mine") == (1.0, 2.0)
    assert prices(prices="p.toml", model="another") == (None, None)
    assert settings(prices="p.toml", max_spend=1.0).max_spend == 1.0
    with pytest.raises(UsageError, match="max_spend needs price_in and price_out: the price of a million"):
        settings(prices="p.toml", model="another", max_spend=1.0)


def test_a_cost_has_no_noise_in_its_last_digits() -> None:
    assert token_cost("embeddings", 0.1, None, 56, 0) == 5.6e-06
    assert token_cost("chat", 0.15, 0.6, 1, 2) == 1.35e-06
    assert token_cost("chat", 0.15, 0.6, 123_456_789, 0) == 18.51851835


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "one table for each model"),
        ("[other]\n", "one table for each model"),
        ("prices = 3", "one table for each model"),
        ("[prices.m]\nin = 'x'", "in is 'x'"),
        ("[prices.m]\nin = -1", "in is -1"),
        ("[prices.m]\nin = inf", "in is inf"),
        ("[prices.m]\ninput = 1", "holds in and out"),
        ("[prices.m]\nin = 1\nhosting = true", "it must be the price of an hour of hosting"),
        ("[prices", "prices p.toml is not TOML"),
    ],
)
def test_an_invalid_price_file_is_refused(text: str, message: str) -> None:
    Path("p.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        settings(prices="p.toml")


def test_a_missing_price_file_is_reported() -> None:
    with pytest.raises(SettingsError, match=r"prices none.toml: there is no such file"):
        settings(prices="none.toml")
