"""Models of any writer become settings, and which settings beat them."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from batchscore.errors import SettingsError, UsageError
from batchscore.mlflow_model.read import folder_of, parameters, read_saved
from batchscore.mlflow_model.resolve import ResolvedSettings, resolve_settings
from batchscore.settings.config_file import ConfigFile
from batchscore.task import CHAT

#: Folders that `mlflow.openai.save_model` wrote, each named for the version; `sample` is the way of 2023.
FOREIGN = Path(__file__).with_name("foreign")


def written(name: str, data: Any, mlmodel: Any | None = None) -> Path:
    folder = Path(name)
    folder.mkdir(parents=True)
    flavors = {"openai": {"data": "model.yaml"}, "python_function": {"loader_module": "mlflow.openai"}}
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": flavors} if mlmodel is None else mlmodel))
    (folder / "model.yaml").write_text(yaml.safe_dump(data))
    return folder


def chosen(model: str | Path, environ: dict[str, str] | None = None, **flags: Any) -> ResolvedSettings:
    return resolve_settings({"model": str(model), "output": "out", **flags}, environ=environ or {})


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        (
            "sample-2.7",
            {
                "task": "embeddings",
                "model": "text-embedding-ada-002",
                "deployment": "text-embedding-ada-002-1",
            },
        ),
        ("embeddings-2.22", {"task": "embeddings", "model": "text-embedding-3-small", "dimensions": 8}),
        ("embeddings-3.17", {"task": "embeddings", "model": "text-embedding-3-small", "dimensions": 8}),
        ("completions-2.22", {"task": "completions", "prompt": "Complete: {body}", "text_field": "body"}),
        ("completions-3.17", {"task": "completions", "prompt": "Complete: {body}", "text_field": "body"}),
        ("messages-2.22", {"task": "chat", "param": {"temperature": 0.3}, "max_tokens": 20}),
        ("messages-3.17", {"task": "chat", "param": {"temperature": 0.3}, "text_field": "animal"}),
        ("chat-2.7", {"task": "chat", "deployment": "gpt-35-turbo-1", "text_field": "content"}),
    ],
)
def test_a_model_that_mlflow_wrote_is_read(name: str, settings: dict[str, Any]) -> None:
    found = chosen(FOREIGN / name).settings
    assert {setting: getattr(found, setting) for setting in settings} == settings


def test_messages_without_a_field_get_the_text_after_them() -> None:
    messages = json.loads(read_saved(FOREIGN / "chat-2.7").settings["messages"])
    assert [one["role"] for one in messages] == ["system", "user"]
    assert messages[1]["content"] == "{content}"


def test_a_column_that_the_signature_names_is_preferred() -> None:
    signature = {"inputs": '[{"name": "body", "type": "string"}]', "params": None}
    flavors = {"openai": {"data": "model.yaml"}}
    folder = written("m", {"model": "e", "task": "embeddings"}, {"flavors": flavors, "signature": signature})
    assert read_saved(folder).settings["text_field"] == "body"


def test_defaults_of_the_signatures_params_are_sent_and_the_file_beats_them() -> None:
    params = (
        '[{"name": "seed", "default": 7}, {"name": "user", "default": null}, {"name": "top_p", "default": 1}]'
    )
    mlmodel = {"flavors": {"openai": {}}, "signature": {"params": params}}
    folder = written("m", {"model": "e", "task": "chat.completions", "top_p": 0.5}, mlmodel)
    assert read_saved(folder).settings["param"] == {"seed": 7, "top_p": 0.5}


def test_client_settings_of_a_model_are_never_sent() -> None:
    data = {
        "model": "e",
        "task": "embeddings",
        "api_version": date(2023, 5, 15),
        "api_key": "k",
        "api_base": "https://elsewhere",
        "batch_size": 16,
        "gateway_token": "t",
        "prompt_cache_key": "p",
    }
    assert read_saved(written("m", data)).settings["param"] == {"prompt_cache_key": "p"}


@pytest.mark.parametrize(
    ("data", "mlmodel", "says"),
    [
        ({"task": "images", "model": "d"}, None, "task 'images'"),
        ({"task": "embeddings"}, None, "does not name a model"),
        (["no"], None, "is not a mapping"),
        ({"task": "embeddings", "model": "e"}, {"flavors": {"sklearn": {}}}, "it has: sklearn"),
        ({"task": "embeddings", "model": "e"}, {"flavors": None}, "it has: none"),
        ({"task": "completions", "model": "e", "prompt": ["a"]}, None, "its prompt is not a text"),
        ({"task": "completions", "model": "e", "prompt": "a } b"}, None, "its template"),
        ({"task": "chat.completions", "model": "e", "messages": "hi"}, None, "not a list of messages"),
        ({"task": "embeddings", "model": "e", 1: "x"}, None, "its parameter 1 cannot be sent"),
        ({"task": "embeddings", "model": "e", "top_p": float("inf")}, None, "top_p .*float"),
        ({"task": "embeddings", "model": "e", "seed": date(2024, 1, 1)}, None, "seed .*date.*in quotes"),
    ],
)
def test_an_unusable_model_says_why(data: Any, mlmodel: Any, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        read_saved(written("m", data, mlmodel))


def test_a_model_may_be_one_folder_down() -> None:
    written("registered/model", {"model": "e", "task": "embeddings"})
    assert folder_of(Path("registered")) == Path("registered/model")
    assert chosen("registered/", column="text").settings.model == "e"
    shutil.copytree("registered/model", "registered/another")
    assert folder_of(Path("registered")) is None
    with pytest.raises(SettingsError, match="registered/ holds several MLflow models: another, model"):
        chosen("registered/")


def test_a_value_is_a_name_unless_a_model_is_there() -> None:
    Path("gpt-4o").mkdir()
    for name in ("gpt-4o", "BAAI/bge-small", "a" * 5000, "m:x"):
        assert chosen(name, task="chat").settings.model == name
    assert chosen("gpt-4o", task="chat").warnings == ()


@pytest.mark.parametrize("name", ["gpt-4o", "org/gpt-4o"])
def test_a_planted_folder_with_the_name_of_a_model_changes_nothing(name: str) -> None:
    """A prompt and parameters are set only by a model that is meant, also in an environment."""
    data = {"model": "other", "task": "chat.completions", "messages": [{"role": "user", "content": "{t}"}]}
    written(name, data | {"temperature": 2})
    found = chosen(name, task="chat")
    assert (found.settings.model, found.settings.messages, found.settings.param) == (name, None, {})
    assert found.warnings == (
        f"{name} is taken as the model's name. To mean the MLflow model in that folder, write ./{name}.",
    )
    with pytest.raises(UsageError, match=rf"write \./{name}\."):
        chosen(name)
    by_variable = {"BATCHSCORE_MODEL": name, "BATCHSCORE_TASK": "chat"}
    assert resolve_settings({"output": "out"}, environ=by_variable).settings.param == {}
    for path in (f"./{name}", f"{name}/", str(Path(name).absolute())):
        assert chosen(path).settings.model == "other"


def test_a_contradiction_names_where_each_setting_is() -> None:
    """Nobody finds a flag that was not given."""
    flags = {"model": "m", "output": "out", "task": "chat", "simulate": True}
    with pytest.raises(UsageError, match="simulate and BATCHSCORE_ENDPOINT contradict each other"):
        resolve_settings(flags, environ={"BATCHSCORE_ENDPOINT": "http://localhost:1/"})
    file = ConfigFile("b.toml", {"max_spend": 1.0}, "digest")
    with pytest.raises(UsageError, match=r"max_spend in b\.toml needs"):
        resolve_settings(flags, environ={}, config=file)


def test_a_path_without_a_model_is_a_name_only_beside_a_task() -> None:
    """Servers name models by paths, on their own machine or on this one; a saved model has a task."""
    Path("gpt-4o").mkdir()
    written("m", {"model": "e", "task": "embeddings"})
    for path in (
        "./gpt-4o",
        "gpt-4o/",
        "./" + "a" * 5000,
        "~nobody-of-this-name/",
        "/models/llama",
        "../x.gguf",
    ):
        found = chosen(path, task="chat")
        assert found.settings.model == path
        assert found.warnings == (f"{path} holds no MLflow model, so it is sent as the model's name.",)
        with pytest.raises(SettingsError, match=r"is not an MLflow model .* set task, too"):
            chosen(path)
    found = chosen("./m", task="embeddings", column="text")
    assert (found.settings.model, found.warnings) == ("e", ())


def test_given_settings_beat_the_model() -> None:
    """Parameters one by one; a template as a whole; its text by --column."""
    model = FOREIGN / "messages-3.17"
    flags = {"param": {"seed": 1, "temperature": None}, "column": "body"}
    found = chosen(model, environ={"BATCHSCORE_MAX_TOKENS": "5"}, **flags)
    assert found.settings.api_params == {"seed": 1, "max_tokens": 5}
    assert (found.settings.text_field, found.settings.column) == ("animal", "body")
    assert found.sources["model"] == str(model)
    assert found.sources["max_tokens"] == "BATCHSCORE_MAX_TOKENS"
    by_flags = chosen(model, temperature=1.5, stop="\n").settings
    assert by_flags.api_params == {"temperature": 1.5, "stop": "\n", "max_tokens": 40} | {
        name: value for name, value in chosen(model).settings.api_params.items() if name != "temperature"
    }
    anew = chosen(model, prompt="Sing: {a} {b}").settings
    assert (anew.prompt, anew.messages, anew.text_field) == ("Sing: {a} {b}", None, None)
    assert chosen(model, param={"max_completion_tokens": 9}).settings.api_params == {
        "temperature": 0.3,
        "max_completion_tokens": 9,
    }
    named = {"OPENAI_DEPLOYMENT_NAME": "mine"}
    assert chosen(FOREIGN / "sample-2.7", environ=named).settings.deployment is None


def test_settings_that_contradict_a_model_are_refused() -> None:
    with pytest.raises(UsageError, match=r"task chat: the model .* was saved for embeddings"):
        chosen(FOREIGN / "sample-2.7", task="chat")
    with pytest.raises(UsageError, match=r"system: .* has its own messages"):
        chosen(FOREIGN / "messages-3.17", system="Be brief")
    written("two", {"model": "e", "task": "completions", "prompt": "{a} and {b}"})
    with pytest.raises(UsageError, match=r"column: the template of \./two uses several columns"):
        chosen("./two", column="text")


@given(
    st.dictionaries(
        st.text(max_size=12), st.none() | st.integers() | st.booleans() | st.text(max_size=5), max_size=6
    )
)
def test_parameters_of_any_file_have_no_nulls(said: dict[str, Any]) -> None:
    settings = parameters(said, CHAT)
    assert None not in settings["param"].values()
    assert not settings["param"].keys() & {"model", "task", "api_key", "messages", "stream"}
