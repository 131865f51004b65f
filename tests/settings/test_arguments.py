"""Every setting is an argument of the Python functions, for type checkers, notebooks and completion."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import get_type_hints

import pytest

import batchscore
from batchscore.settings.arguments import FileSettings, RowSettings, StoredSettings
from batchscore.settings.checks import PATHS
from batchscore.settings.fields import Settings

#: Settings with a parameter of their own.
EXPLICIT = {"task", "model", "output"}
#: Arguments that accept more than the settings: any sequence, a single name, or a path as an object.
CONVENIENT = {"keep", "image", "stop", "deployments", *PATHS}


def test_the_arguments_are_the_settings_with_the_same_types() -> None:
    settings, arguments = get_type_hints(Settings), get_type_hints(FileSettings)
    assert arguments.keys() == {one.name for one in fields(Settings)} - EXPLICIT
    for name in arguments.keys() - CONVENIENT:
        assert arguments[name] == settings[name], name


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("score_files", FileSettings),
        ("score_rows", RowSettings),
        ("stream_rows", RowSettings),
        ("save_model", StoredSettings),
        ("log_model", StoredSettings),
    ],
)
def test_a_signature_shows_every_setting_with_its_default(name: str, kind: type) -> None:
    parameters = inspect.signature(getattr(batchscore, name)).parameters
    assert kind.__annotations__.keys() <= parameters.keys()
    assert not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    assert parameters["max_retries"].default == 6
    assert parameters["max_tokens"].annotation == "int | None"


def test_completion_shows_all_public_names_before_they_are_loaded() -> None:
    assert set(batchscore.__all__) == set(dir(batchscore))
    names: dict[str, object] = {}
    exec("from batchscore import *", names)
    assert set(batchscore.__all__) <= names.keys()
