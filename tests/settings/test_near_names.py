"""A name that is not a setting is answered with the setting that it most likely means."""

from __future__ import annotations

from dataclasses import fields

import pytest

from batchscore import UsageError, score_rows
from batchscore.settings.fields import Settings
from batchscore.settings.near_names import NAMES_OF_OTHERS, near_name

KNOWN = frozenset(declared.name for declared in fields(Settings))


def test_names_of_others_mean_settings_and_are_none_themselves() -> None:
    assert NAMES_OF_OTHERS.keys().isdisjoint(KNOWN)
    assert KNOWN.issuperset(NAMES_OF_OTHERS.values())


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("budget-cost", "max_spend"),
        ("cost", "max_spend"),
        ("limit_rows", "limit"),
        ("workers", "max_concurrency"),
        ("base_url", "endpoint"),
        ("seeed", "seed"),
        ("top_k", None),
        ("zebra", None),
    ],
)
def test_a_name_means_the_nearest_setting(name: str, meant: str | None) -> None:
    assert near_name(name, KNOWN) == meant


def test_a_function_offers_the_settings_that_it_has_and_param_for_the_others() -> None:
    for given, said in (
        ({"workers": 2}, "did you mean max_concurrency?"),
        ({"top_k": 2}, "a parameter of the model is set by param={'top_k': VALUE}."),
        ({"budget": 2}, "the settings are api_key_from, "),
    ):
        with pytest.raises(UsageError) as refused:
            score_rows(["a"], task="chat", model="m", simulate=True, **given)  # type: ignore[arg-type]
        assert said in str(refused.value)
