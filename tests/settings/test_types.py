"""A value of a wrong type, which only Python can give, is refused with a sentence before anything happens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import Field, fields
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchscore.errors import UsageError, name_settings, setting_name
from batchscore.mlflow_model.resolve import resolve_settings
from batchscore.settings.config_file import ConfigFile, parse_toml
from batchscore.settings.declare import kind_of
from batchscore.settings.fields import Settings
from batchscore.settings.sources import PATHS, gather, parse_param_flags
from batchscore.task import CHAT, RESPONSES
from hypothesis_profiles import examples

VALID: Mapping[str, Any] = {"task": "chat", "model": "any", "output": "out"}


def test_common_parameters_are_settings_and_are_sent_as_the_parameter_would_be() -> None:
    """The same JSON, so that an output that was begun with --param is resumed with the flags."""
    chosen = Settings(
        **VALID, temperature=1.0, top_p=0.5, seed=7, reasoning_effort="low", stop=("\n", "END"), max_tokens=5
    )
    sent = {"temperature": 1, "top_p": 0.5, "seed": 7, "reasoning_effort": "low", "stop": ["\n", "END"]}
    assert chosen.api_params == {"max_tokens": 5} | sent
    assert orjson.dumps(chosen.params) == orjson.dumps(Settings(**VALID, param=sent).params)
    assert Settings(**VALID, stop=("x",)).api_params == {"stop": "x"}
    responses = Settings(**VALID | {"task": "responses"}, reasoning_effort="low", temperature=0.5)
    assert responses.params == {"temperature": 0.5, "reasoning": {"effort": "low"}}
    in_file = gather({}, environ={}, file=ConfigFile("a.toml", {"stop": ["\n\n"]}))[0]
    assert in_file["stop"] == ("\n\n",)
    for wrong, words in (
        ({"temperature": 0.5, "param": {"temperature": 1}}, "param temperature and temperature set the same"),
        ({"stop": ("x",), "param": {"stop": "x"}}, "param stop and stop set the same"),
        ({"task": "embeddings", "seed": 1}, "seed is for completions and chat"),
        ({"task": "embeddings", "stop": ("x",)}, "stop is for completions and chat"),
        ({"task": "responses", "stop": ("x",)}, "the Responses API has no such parameter"),
        (
            {"task": "responses", "reasoning_effort": "low", "param": {"reasoning": {"effort": "low"}}},
            "param reasoning and reasoning_effort set the same",
        ),
        ({"top_p": 1.5}, "top_p is 1.5; it must be at most 1"),
        ({"temperature": -1.0}, "temperature is -1.0; it must be at least 0"),
        ({"temperature": 9.0}, "temperature is 9.0; it must be at most 2"),
    ):
        with pytest.raises(UsageError) as refused:
            Settings(**{**VALID, **wrong})
        assert words in str(refused.value)


DECLARED = {declared.name: declared for declared in fields(Settings)}

NUMBERS = st.integers() | st.floats() | st.sampled_from([10**5000, -(10**400)])
TEXTS = st.text() | st.sampled_from(["false", "no", "yes", "true", "0", "1", ""])
OTHERS = (
    st.binary()
    | st.complex_numbers()
    | st.builds(object)
    | st.just(dict)
    | st.sets(st.integers(), min_size=1)
)
LISTS = st.lists(NUMBERS | st.none() | st.lists(TEXTS), min_size=1)
TABLES = st.dictionaries(st.integers(), TEXTS, min_size=1)
NOT_JSON = st.dictionaries(st.text("abc", min_size=1), st.builds(object), min_size=1)

#: For each kind of setting, values that are not of its type.
WRONG: Mapping[str, st.SearchStrategy[Any]] = {
    "text": st.booleans() | NUMBERS | OTHERS | LISTS | st.lists(TEXTS) | TABLES,
    "choice": st.booleans() | NUMBERS | OTHERS | LISTS | st.lists(TEXTS) | TABLES | st.just("other"),
    "flag": NUMBERS | TEXTS | OTHERS | LISTS | st.lists(TEXTS) | TABLES,
    "int": st.booleans()
    | st.just(10**5000)
    | TEXTS
    | OTHERS
    | LISTS
    | st.lists(TEXTS)
    | TABLES
    | st.just(0.5),
    "float": st.booleans()
    | st.just(10**400)
    | TEXTS
    | OTHERS
    | LISTS
    | st.lists(TEXTS)
    | TABLES
    | st.just(float("nan")),
    "many": st.booleans() | NUMBERS | OTHERS | LISTS | TABLES,
    "params": st.booleans() | NUMBERS | TEXTS | OTHERS | LISTS | TABLES | NOT_JSON,
    "pairs": st.booleans()
    | NUMBERS
    | TEXTS
    | OTHERS
    | LISTS
    | st.dictionaries(st.text(min_size=1), NUMBERS, min_size=1),
    "tables": st.booleans() | NUMBERS | TEXTS.filter(bool) | OTHERS | LISTS | TABLES,
    "file_or_table": st.booleans() | NUMBERS | OTHERS | LISTS,
}


# Settings of one kind share their code: together they have hundreds of examples.
@pytest.mark.parametrize("declared", DECLARED.values(), ids=DECLARED)
@settings(max_examples=examples(6))
@given(data=st.data())
def test_a_value_of_another_type_is_refused_for_every_setting(
    declared: Field[Any], data: st.DataObject
) -> None:
    value = data.draw(WRONG[kind_of(declared)])
    arguments = {**VALID, declared.name: value}
    for construct in (lambda: Settings(**arguments), lambda: resolve_settings(arguments, environ={})):
        with pytest.raises(UsageError) as raised:
            construct()
        assert raised.value.text.startswith(setting_name(declared.name)), raised.value.text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seed": -(2**63) - 1}, "seed is -9223372036854775809; it must be a whole number below 2**63."),
        ({"limit": 10**30}, f"limit is {10**30}; it must be a whole number below 2**63."),
        ({"overwrite": "false"}, "overwrite is a str; it must be true or false."),
        ({"retry_errors": 0}, "retry_errors is 0; it must be true or false."),
        ({"column": ["text"]}, "column is a list; it must be text."),
        ({"deadline": 60}, "deadline is 60; it must be text."),
        ({"output": Path}, "output is a type; it must be text."),
        ({"id": object()}, "id is an object; it must be text."),
        ({"task": ["chat"]}, "task is a list; it must be one of embeddings, completions, chat, responses."),
        ({"keep": [1]}, "keep is a list; it must be a list of names, which are text."),
        (
            {"param": ["a=1"]},
            'param is a list; it must be a mapping of parameters, such as {"temperature": 0.2}.',
        ),
        ({"param": '{"api_key": "x"}'}, "param is a str; it must be a mapping of parameters, such as "),
        ({"param": {"a": {1}}}, "param a cannot be sent as JSON: at #, a value of the type set is not JSON."),
        (
            {"param": {"a": date(2024, 1, 1)}},
            "param a cannot be sent as JSON: at #, a value of the type date",
        ),
        (
            {"param": {"a": [math.nan]}},
            "param a cannot be sent as JSON: at #/0, nan is not a number of JSON.",
        ),
        (
            {"param": {"a": 10**30}},
            "param a cannot be sent as JSON: at #, the integer does not fit into 64 bits.",
        ),
        ({"encoding": "n\udcff"}, "encoding is not UTF-8; check the encoding of your terminal."),
        ({"encoding": "a\0b"}, "encoding is 'a\\x00b'; it must be an encoding that Python knows"),
        ({"stop": ["n\udcff"]}, "stop is not UTF-8; check the encoding of your terminal."),
        ({"reasoning_effort": "\udcff"}, "reasoning_effort is not UTF-8; check"),
        ({"sheet": "\udcff"}, "sheet is not UTF-8; check"),
        ({"scratch_dir": "a\0b"}, "scratch_dir holds a NUL character, which no path has."),
        ({"base_dir": "\ud800"}, "base_dir is not UTF-8; check the encoding of your terminal."),
        ({"param": {"n": -1}}, "param n is -1; it must be a whole number of at least 1."),
        ({"param": {"n": "2"}}, "param n is '2'; it must be a whole number of at least 1."),
        ({"param": {"n": True}}, "param n is True; it must be a whole number of at least 1."),
        ({"deployments": [{"name": "a", "rpm": 10**30}]}, "[[deployments]] number 1: rpm is "),
        ({"prices": 5}, "prices is 5; it must be the name of a file, or what it would hold."),
        ({"deployments": [{5: "a"}]}, "[[deployments]] number 1: 5 is not one of name, "),
    ],
)
def test_the_message_names_setting_value_and_type(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        resolve_settings({**VALID, **wrong}, environ={})
    assert name_settings(raised.value.text).startswith(message)


def test_what_is_nested_too_deeply_is_refused_at_each_door() -> None:
    deep = "[" * 100_000
    for give in (
        lambda: parse_param_flags([f"a={deep}"]),
        lambda: parse_toml(f"a = {deep}".encode(), "a.toml"),
        lambda: resolve_settings(VALID, environ={"BATCHSCORE_PARAM": deep}),
        lambda: resolve_settings(VALID, environ={"BATCHSCORE_KEEP": deep}),
        lambda: resolve_settings(
            {**VALID, "param": parse_param_flags(["a=" + "[" * 200 + "]" * 200])}, environ={}
        ),
    ):
        with pytest.raises(UsageError):
            give()


RANGES = [each for each in DECLARED.values() if each.metadata["lowest"] is not None]


@pytest.mark.parametrize("declared", RANGES, ids=lambda declared: declared.name)
def test_a_number_out_of_its_range_is_refused_with_the_range(declared: Field[Any]) -> None:
    """The stages, such as readers, rely on it and check no number again."""
    lowest, highest = declared.metadata["lowest"], declared.metadata["highest"]
    for number in [lowest - 1, *([] if highest is None else [highest + 1])]:
        with pytest.raises(UsageError) as raised:
            resolve_settings({**VALID, declared.name: number}, environ={})
        assert name_settings(raised.value.text).startswith(f"{declared.name} is {number}; it must be "), (
            declared
        )


def test_a_single_name_is_a_list_with_one_name() -> None:
    assert gather({"keep": "id"}, environ={})[0] == {"keep": ("id",)}
    assert gather({"keep": {"id": 0, "lang": 0}.keys()}, environ={})[0] == {"keep": ("id", "lang")}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"param": {"n": 2}}, "param n is not for responses: a request has one answer, and task chat"),
        ({"param": {"instructions": "x"}}, "set system instead"),
        ({"param": {"max_tokens": 5}}, "set max_tokens instead"),
        ({"param": {"max_completion_tokens": 5}}, "set max_tokens instead"),
        ({"param": {"response_format": 1}}, """set param text='{"format": {"type": "json_object"}}'"""),
        ({"param": {"reasoning_effort": "low"}}, """set reasoning_effort instead"""),
        ({"param": {"background": True}}, "batchscore waits for each answer"),
        ({"param": {"input": "x"}}, "batchscore sets this field"),
        ({"param": {"max_output_tokens": 5}, "max_tokens": 5}, "max_output_tokens and max_tokens set"),
        ({"system": "x", "messages": "[]"}, "put the system message into the messages file"),
        ({"dimensions": 5}, "dimensions is for task embeddings"),
    ],
)  # fmt: skip
def test_what_responses_cannot_take_is_refused_with_what_to_do(more: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        Settings(**{**VALID, "task": "responses", **more})
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("value", "meant"),
    [("lo", "low"), ("Low", "low"), ("lwo", "low"), ("hi", "high"), ("med", "medium"), ("medum", "medium"),
     ("mini", "minimal"), ("xhi", "xhigh"), ("non", "none"),
     *((value, "") for value in ("low", "none", "xlow", "ultra", "maximum", "extra_high", "auto", "off"))],
)  # fmt: skip
def test_an_effort_that_is_nearly_a_known_one_is_refused_and_a_new_one_is_sent(
    value: str, meant: str
) -> None:
    if not meant:
        assert Settings(**VALID, reasoning_effort=value).params == {"reasoning_effort": value}
        return
    with pytest.raises(UsageError) as caught:
        Settings(**VALID, reasoning_effort=value)
    assert f"reasoning_effort is {value!r}; did you mean {meant}? (param sends any" in str(caught.value)
    assert Settings(**VALID, param={"reasoning_effort": value}).params == {"reasoning_effort": value}


def test_each_api_has_its_own_place_for_the_form_of_answers() -> None:
    form = {"name": "n", "schema": {}, "strict": True}
    assert CHAT.answer_format("json_object") == {"response_format": {"type": "json_object"}}
    assert CHAT.answer_format("json_schema", form) == {
        "response_format": {"type": "json_schema", "json_schema": form}
    }
    params = {"text": {"verbosity": "low"}, "store": False}
    assert RESPONSES.answer_format("json_object", params=params) == {
        "text": {"verbosity": "low", "format": {"type": "json_object"}}
    }
    assert RESPONSES.answer_format("json_schema", form) == {
        "text": {"format": {"type": "json_schema", **form}}
    }


def test_the_parameters_of_responses_have_its_own_names() -> None:
    own = {**VALID, "task": "responses", "model": "gpt-5"}
    chosen = Settings(**own, max_tokens=500, param={"prompt": {"id": "pmpt_1"}, "background": False})
    assert chosen.api_params == {
        "store": False,
        "max_output_tokens": 500,
        "prompt": {"id": "pmpt_1"},
        "background": False,
    }
    assert (chosen.answer_tokens, chosen.charged_answer_tokens) == (500, 500)
    assert "store" not in Settings(**own, param={"store": None}).api_params
    kept = Settings(**own, param={"store": True, "max_output_tokens": 20})
    assert (kept.api_params["store"], kept.answer_tokens) == (True, 20)


def test_a_path_may_be_an_object_and_a_whole_number_a_fraction() -> None:
    paths = {name: Path("a", name) for name in PATHS}
    assert gather(paths, environ={})[0] == {name: str(path) for name, path in paths.items()}
    limit = gather({"limit": 5.0}, environ={})[0]["limit"]
    assert (limit, type(limit)) == (5, int)


def test_an_empty_list_counts_as_not_given() -> None:
    assert gather({"keep": (), "param": {}, "deployments": [], "column": None}, environ={})[0] == {}


def test_a_leading_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    given, _ = gather(
        {"output": "~/out", "messages": "[~]", "prices": {"m": {}}},
        environ={"BATCHSCORE_SCRATCH_DIR": "~/x", "BATCHSCORE_BASE_DIR": "./~"},
    )
    assert given == {
        "output": f"{tmp_path}/out",
        "scratch_dir": f"{tmp_path}/x",
        "base_dir": "./~",
        "messages": "[~]",
        "prices": {"m": {}},
    }
