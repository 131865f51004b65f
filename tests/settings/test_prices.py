"""Prices that the user wrote down: which of them counts, and what is wrong with a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchscore.errors import SettingsError, UsageError
from batchscore.settings.fields import Settings
from batchscore.settings.sources import resolve

GIVEN = {"task": "chat", "model": "gpt-4o-mini", "output": "o"}
TEXT = '[prices."gpt-4o-mini"]\nin = 0.15\nout = 0.6\n[prices.mine]\nin = 1\nout = 2\n'


def prices(settings: Settings) -> tuple[float | None, float | None]:
    return settings.price_in, settings.price_out


def test_prices_come_by_model_from_a_file_a_variable_or_the_settings_themselves() -> None:
    Path("p.toml").write_text(TEXT)
    tables = {"gpt-4o-mini": {"in": 0.15, "out": 0.6}}
    assert prices(resolve({**GIVEN, "prices": "p.toml"}, environ={})) == (0.15, 0.6)
    assert prices(resolve(GIVEN, environ={"BATCHSCORE_PRICES": "p.toml"})) == (0.15, 0.6)
    assert prices(resolve(GIVEN, environ={}, config={"prices": "p.toml"})) == (0.15, 0.6)
    assert prices(resolve(GIVEN, environ={}, config={"prices": tables})) == (0.15, 0.6)


def test_a_price_that_is_given_beats_the_file_and_a_deployment_may_have_its_own() -> None:
    Path("p.toml").write_text(TEXT)
    named = {**GIVEN, "prices": "p.toml"}
    assert prices(resolve({**named, "price_in": 9.0}, environ={})) == (9.0, 0.6)
    assert prices(resolve({**named, "deployment": "mine"}, environ={})) == (1.0, 2.0)
    assert prices(resolve({**named, "model": "another"}, environ={})) == (None, None)
    assert resolve({**named, "max_spend": 1.0}, environ={}).max_spend == 1.0
    with pytest.raises(UsageError, match="--max-spend needs"):
        resolve({**named, "model": "another", "max_spend": 1.0}, environ={})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a table for each model"),
        ("[other]\n", "a table for each model"),
        ("prices = 3", "a table for each model"),
        ("[prices.m]\nin = 'x'", "in is 'x'"),
        ("[prices.m]\nin = -1", "in is -1"),
        ("[prices.m]\nin = inf", "in is inf"),
        ("[prices.m]\ninput = 1", "holds in and out"),
        ("[prices", "not TOML"),
    ],
)
def test_what_is_wrong_with_a_price_file_is_said(text: str, said: str) -> None:
    Path("p.toml").write_text(text)
    with pytest.raises(SettingsError, match=said):
        resolve({**GIVEN, "prices": "p.toml"}, environ={})


def test_a_price_file_that_is_not_there_is_said() -> None:
    with pytest.raises(SettingsError, match=r"--prices none.toml cannot be read: No such file"):
        resolve({**GIVEN, "prices": "none.toml"}, environ={})
