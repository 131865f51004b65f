"""Our models in MLflow: saved, loaded, called, logged and registered."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import yaml

from batchscore import (
    BatchscoreError,
    InputError,
    SettingsError,
    UsageError,
    log_model,
    read_scores,
    save_model,
    score_files,
)
from batchscore.errors import OutputError, RowFailed
from batchscore.mlflow_model.resolve import resolve_settings
from batchscore.version import VERSION
from pictures import KINDS, as_url
from simulated import Deployment
from tickets import SCHEMA

if TYPE_CHECKING:
    from conftest import Cli

pytestmark = [
    pytest.mark.process,
    pytest.mark.usefixtures("endpoint"),
    pytest.mark.filterwarnings("ignore:::mlflow"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def load_mlflow() -> None:
    """Load MLflow for the first of these tests, and not to find them: that takes each process a second."""
    global mlflow, get_model_info  # noqa: PLW0603
    with warnings.catch_warnings():
        # What MLflow warns of while it is loaded is its own.
        warnings.simplefilter("ignore")
        import mlflow.openai  # noqa: PLC0415
        import mlflow.pyfunc  # noqa: PLC0415
        from mlflow.models import get_model_info  # noqa: PLC0415


@pytest.fixture(autouse=True)
def own_store() -> Iterator[None]:
    """Whatever a test sets in MLflow's globals is gone after it."""
    yield
    mlflow.end_run()


def loaded(path: str, **config: Any) -> Any:
    return mlflow.pyfunc.load_model(path, model_config=config or None)


@pytest.mark.slow
def test_a_saved_model_has_both_flavours(deployment: Deployment) -> None:
    save_model(
        "m", task="chat", model=deployment.name, prompt="Sing of {text}", system="Be brief", max_tokens=9
    )
    info = get_model_info("m")
    assert mlflow.openai.FLAVOR_NAME in info.flavors
    assert "python_function" in info.flavors
    assert mlflow.openai.load_model("m") == {
        "model": deployment.name,
        "task": "chat.completions",
        "max_tokens": 9,
        "messages": [
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": "Sing of {text}"},
        ],
    }
    assert info.signature.inputs.input_names() == ["text"]
    assert {spec.name: spec.default for spec in info.signature.params if spec.default is not None} == {
        "max_tokens": 9
    }
    assert info.signature.outputs.input_names() == ["chat", "finish_reason", "error", "error_message"]


def test_predict_returns_each_row_and_an_error_for_the_bad_one(deployment: Deployment) -> None:
    save_model("m", task="embeddings", model=deployment.name, dimensions=4, param={"user": "u"})
    frame = pd.DataFrame({"text": ["tide", "", None, "bread"], "n": 1}, index=[4, 5, 6, 7])
    found = loaded("m").predict(frame)
    assert list(found.index) == [4, 5, 6, 7]
    assert list(found["error"]) == ["", "empty_input", "empty_input", ""]
    vectors = np.stack(found[found["error"] == ""]["embeddings"])
    assert (vectors.shape, vectors.dtype) == ((2, 4), np.float32)
    assert list(found["embeddings"].isna()) == [False, True, True, False]
    (sent,) = deployment.requests()
    assert (sent.body["dimensions"], sent.body["user"]) == (4, "u")


def test_params_of_a_call_beat_those_of_the_model(deployment: Deployment) -> None:
    save_model(
        "m", task="chat", model=deployment.name, param={"temperature": 0.3, "stop": ["x"]}, max_tokens=20
    )
    model = loaded("m")
    model.predict(pd.DataFrame({"text": ["one"]}))
    model.predict(pd.DataFrame({"text": ["two"]}), params={"temperature": 0.9, "max_tokens": 5, "seed": 3})
    first, second = (sent.body for sent in deployment.requests())
    assert (first["temperature"], first["stop"], first["max_tokens"]) == (0.3, ["x"], 20)
    assert (second["temperature"], second["stop"], second["max_tokens"], second["seed"]) == (0.9, ["x"], 5, 3)
    assert "top_p" not in first


def test_a_whole_number_that_is_stored_may_be_a_fraction_in_a_call(deployment: Deployment) -> None:
    save_model("m", task="chat", model=deployment.name, param={"temperature": 0, "seed": 1})
    model = loaded("m")
    model.predict(pd.DataFrame({"text": ["one"]}), params={"temperature": 0.7})
    model.predict(pd.DataFrame({"text": ["two"]}))
    assert [sent.body["temperature"] for sent in deployment.requests()] == [0.7, 0]


def test_a_system_message_may_take_a_column_beside_the_text(deployment: Deployment) -> None:
    save_model("m", task="chat", model=deployment.name, column="body", system="Be {tone}")
    assert get_model_info("m").signature.inputs.input_names() == ["body", "tone"]
    loaded("m").predict(pd.DataFrame({"body": ["one"], "tone": ["kind"], "text": ["no"]}))
    (sent,) = deployment.requests()
    assert [said["content"] for said in sent.body["messages"]] == ["Be kind", "one"]


@pytest.mark.parametrize(("task", "name"), [("chat", "max_tokens"), ("responses", "max_output_tokens")])
def test_without_params_variables_apply(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, task: str, name: str
) -> None:
    save_model("m", task=task, model=deployment.name, max_tokens=20)
    monkeypatch.setenv("BATCHSCORE_MAX_TOKENS", "17")
    loaded("m").predict(pd.DataFrame({"text": ["one"]}))
    assert [sent.body[name] for sent in deployment.requests()] == [17]


def test_a_model_of_responses_is_saved_called_and_scored(deployment: Deployment) -> None:
    param = {"reasoning": {"summary": "auto"}, "metadata": {"a": "b"}}
    save_model(
        "m", task="responses", model=deployment.name, prompt="Sing of {text}", system="Be brief", param=param
    )
    assert mlflow.openai.load_model("m") == {
        "model": deployment.name,
        "task": "responses",
        "store": False,
        **param,
        "messages": [
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": "Sing of {text}"},
        ],
    }
    params = get_model_info("m").signature.params
    assert {"max_tokens", "temperature"} < {spec.name for spec in params} > {"top_p"}
    assert "seed" not in {spec.name for spec in params}
    found = loaded("m").predict(pd.DataFrame({"text": ["tides"]}), params={"max_tokens": 16})
    assert list(found["finish_reason"]) == ["stop"]
    assert list(found["responses"]) == ["Sing of tides. Key words: sing, tides."]
    (sent,) = deployment.requests()
    assert sent.body == {
        "model": deployment.name,
        "input": "Sing of tides",
        "instructions": "Be brief",
        "max_output_tokens": 16,
        "store": False,
        **param,
    }
    Path("a.csv").write_text("text\ntides\n")
    assert score_files("a.csv", output="out", model="./m").exit_code == 0
    assert list(read_scores("out")["responses"]) == list(found["responses"])


def test_a_refused_row_is_recorded_or_raised_as_requested(deployment: Deployment) -> None:
    save_model("m", task="chat", model=deployment.name)
    frame = pd.DataFrame({"text": ["good", "bad", ""]})
    deployment.will(times=20, status=400, when_input_contains="bad")
    found = loaded("m").predict(frame)
    assert list(found["error"]) == ["", "invalid_request", "empty_input"]
    assert list(found["chat"].ne("")) == [True, False, False]
    with pytest.raises(RowFailed, match="row 1: invalid_request"):
        loaded("m").predict(frame, params={"on_error": "raise"})
    with pytest.raises(RowFailed):
        loaded("m", on_error="raise").predict(frame)
    assert loaded("m", returns="values").predict(frame)[1:] == [None, None]
    with pytest.raises(UsageError, match="on_error is 'ignore'"):
        loaded("m").predict(frame, params={"on_error": "ignore"})


def test_saved_values_can_be_overridden_at_load_time(deployment: Deployment) -> None:
    save_model("m", task="chat", model="none", deployment="none", prompt="Sing of {text}")
    model = loaded("m", deployment=deployment.name, prompt="Tell of {text}", rpm=600)
    model.predict(pd.DataFrame({"text": ["one"]}))
    (sent,) = deployment.requests()
    assert sent.body["messages"] == [{"role": "user", "content": "Tell of one"}]


def test_several_answers_a_row_are_a_list(deployment: Deployment) -> None:
    save_model("m", task="chat", model=deployment.name, param={"n": 2})
    found = loaded("m").predict(pd.DataFrame({"text": ["one", None]}))
    assert [len(cell) for cell in found["chat"]] == [2, 0]
    assert [len(cell) for cell in found["finish_reason"]] == [2, 0]


def test_a_model_keeps_its_schema_and_gives_json(deployment: Deployment) -> None:
    """In the order of the properties: a model writes them in that order."""
    save_model("m", task="chat", model=deployment.name, schema=SCHEMA, schema_mode="prompt")
    found = loaded("m").predict(pd.DataFrame({"text": ["A billing problem", None]}))
    answer = json.loads(found["chat"][0])
    assert list(answer) == list(SCHEMA["properties"])
    assert (answer["category"], found["chat"][1]) == ("billing", "")
    settings = resolve_settings({"model": "./m", "output": "out"}, environ={}).settings
    assert settings.schema == SCHEMA
    form = {"param": {"response_format": {"type": "json_object"}}}
    replaced = resolve_settings({"model": "./m", "output": "out", **form}, environ={}).settings
    assert replaced.schema is None


def test_a_model_keeps_its_images_and_reads_no_file_of_its_host(deployment: Deployment) -> None:
    picture = KINDS["png"]
    Path("a.png").write_bytes(picture)
    chosen: dict[str, Any] = {"task": "chat", "model": deployment.name, "image": "photo"}
    with pytest.raises(UsageError, match="image: say with prompt what to do with images"):
        save_model("m", **chosen)
    save_model("m", **chosen, prompt="Describe {title}", image_detail="low")
    url = "https://pictures.example/b.png"
    cells = [picture, url, as_url(picture), [picture, url], "a.png", None]
    frame = pd.DataFrame({"title": [f"t{row}" for row in range(6)], "photo": cells})
    found = loaded("m").predict(frame)
    assert list(found["error"]) == ["", "", "", "", "unreadable_image", "empty_input"]
    sent = {}
    for one in deployment.requests():
        text, *parts = one.body["messages"][-1]["content"]
        assert {part["image_url"]["detail"] for part in parts} == {"low"}
        sent[text["text"]] = [part["image_url"]["url"] for part in parts]
    own = as_url(picture)
    assert sent == {
        "Describe t0": [own],
        "Describe t1": [url],
        "Describe t2": [own],
        "Describe t3": [own, url],
    }
    settings = resolve_settings({"model": "./m", "output": "out"}, environ={}).settings
    assert (settings.image, settings.image_detail) == (("photo",), "low")
    save_model("n", **chosen, system="Describe the picture.")
    (described,) = loaded("n").predict(frame[["photo"]].iloc[:1])["error"]
    assert described == ""


@pytest.mark.parametrize(
    "data",
    [
        {"text": ["one", "two"]},
        [{"text": "one"}, {"text": "two"}],
        pd.DataFrame({"text": ["one", "two"], "more": [1, 2]}),
    ],
    ids=["lists", "records", "frame"],
)
def test_rows_may_come_in_several_shapes(data: Any, deployment: Deployment) -> None:
    save_model("m", task="completions", model=deployment.name)
    assert len(loaded("m").predict(data)) == 2
    assert [sent.body["prompt"] for sent in deployment.requests()] in (["one", "two"], ["two", "one"])


def test_an_empty_frame_sends_nothing(deployment: Deployment) -> None:
    save_model("m", task="embeddings", model=deployment.name)
    found = loaded("m").predict(pd.DataFrame({"text": pd.Series([], dtype=object)}))
    assert list(found.columns) == ["embeddings", "error", "error_message"]
    assert not len(found)
    assert deployment.statistics().count == 0


def test_a_conversation_in_a_column_is_sent_unchanged(deployment: Deployment) -> None:
    save_model("m", task="chat", model=deployment.name, column="messages")
    said = [{"role": "user", "content": "hello"}]
    # What pandas reads from Parquet is an array.
    read = np.array(said, dtype=object)
    model = loaded("m")
    for frame in ({"messages": [said, None]}, {"messages": [read, None]}):
        found = model.get_raw_model().predict(pd.DataFrame(frame))
        assert list(found["error"]) == ["", "empty_input"]
    assert [sent.body["messages"] for sent in deployment.requests()] == [said, said]
    assert list(model.predict(pd.DataFrame({"messages": [said]}))["error"]) == [""]


def test_predict_works_inside_a_running_loop(deployment: Deployment) -> None:
    save_model("m", task="embeddings", model=deployment.name)

    async def notebook() -> Any:
        return loaded("m").predict(pd.DataFrame({"text": ["one"]}))

    assert list(asyncio.run(notebook())["error"]) == [""]


def test_a_template_may_use_several_columns_which_are_required(deployment: Deployment) -> None:
    save_model("m", task="chat", model=deployment.name, prompt="{title}: {text}")
    assert get_model_info("m").signature.inputs.input_names() == ["title", "text"]
    with pytest.raises(mlflow.MlflowException, match="title"):
        loaded("m").predict(pd.DataFrame({"text": ["one"]}))
    # MLflow checks what it can; the model itself says the rest.
    with pytest.raises(InputError, match="'title'"):
        loaded("m").get_raw_model().predict(pd.DataFrame({"text": ["one"]}))


@pytest.mark.slow
@pytest.mark.parametrize("store", ["file://{}/mlruns", "sqlite:///{}/mlflow.db"], ids=["files", "sqlite"])
def test_a_logged_model_can_be_registered_and_used_by_any_address(
    store: str, deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batchscore: Cli
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.format(tmp_path))
    with mlflow.start_run() as kept:
        info = log_model(
            "singer",
            registered_model_name="sings",
            task="chat",
            model=deployment.name,
            prompt="Sing of {text}",
        )
    found = mlflow.pyfunc.load_model("models:/sings/1").predict({"text": ["tide"]})
    assert found["error"].tolist() == [""]
    for address in (info.model_uri, "models:/sings/1", f"runs:/{kept.info.run_id}/singer"):
        found = resolve_settings({"model": address, "output": "out"}, environ={})
        assert (found.settings.model, found.settings.prompt) == (deployment.name, "Sing of {text}")
    Path("rows.csv").write_text("body\ntide\nbread\n")
    run = batchscore("score", "rows.csv", "-o", "out", "-m", "models:/sings/1")
    assert run.exit_code == 0, run.said
    assert run.stdout.startswith("chat: 2 rows of 1 file: 2 scored")
    with pytest.raises(SettingsError, match=r"models:/nobody/1 cannot be downloaded: .*MLFLOW_TRACKING_URI"):
        resolve_settings({"model": "models:/nobody/1", "output": "out"}, environ={})


@pytest.mark.slow
def test_a_model_is_loaded_in_another_process_and_folder(deployment: Deployment, tmp_path: Path) -> None:
    save_model("m", task="embeddings", model=deployment.name)
    (tmp_path / "elsewhere").mkdir()
    code = (
        "import mlflow.pyfunc, pandas as pd\n"
        "found = mlflow.pyfunc.load_model('../m').predict(pd.DataFrame({'text': ['tide']}))\n"
        "print(found.embeddings[0].shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "elsewhere", capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["(16,)"]


def test_saving_refuses_secrets_other_settings_and_a_full_folder(deployment: Deployment) -> None:
    for name in ("api_key", "azure_ad_token", "extra_headers", "Authorization"):
        with pytest.raises(UsageError, match=f"param {name}: a model stores no secrets"):
            save_model("m", task="chat", model="m", param={name: "s3cret"})
    search = {"type": "azure_search", "parameters": {"authentication": {"type": "api_key", "key": "s3cret"}}}
    with pytest.raises(
        UsageError, match=r"param data_sources\.parameters\.authentication\.key: a model"
    ) as told:
        save_model("m", task="chat", model="m", param={"data_sources": [search]})
    assert "s3cret" not in str(told.value)
    with pytest.raises(UsageError, match="endpoint is not a setting of this function"):
        save_model("m", task="chat", model="m", endpoint="https://user:pw@host")
    with pytest.raises(UsageError, match="task is missing"):
        save_model("m", model="m")
    wrong: dict[str, Any] = {"overwrite": "no", "dedup": "no", "column": ["text"], "path": None}
    for name, value in wrong.items():
        with pytest.raises(UsageError, match=f"^{name} is "):
            save_model(**{"path": "m", "task": "chat", "model": "m", name: value})
    assert not Path("m").exists()
    save_model("m", task="chat", model="m")
    with pytest.raises(OutputError, match="m is not empty"):
        save_model("m", task="chat", model="m")
    save_model("m", task="embeddings", model="other", overwrite=True)
    assert yaml.safe_load(Path("m/model.yaml").read_text()) == {"model": "other", "task": "embeddings"}
    Path("file").write_text("")
    with pytest.raises(BatchscoreError, match="file cannot be written: it is a file"):
        save_model("file", task="chat", model="gpt-4o")


def test_nothing_but_a_model_is_overwritten_and_a_link_stays_one(deployment: Deployment) -> None:
    save_model("m", task="chat", model="old")
    Path("m/thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match=r"m holds other files than a model: thesis\.txt"):
        save_model("m", task="chat", model="new", overwrite=True)
    assert Path("m/thesis.txt").exists()
    assert yaml.safe_load(Path("m/model.yaml").read_text())["model"] == "old"
    Path("m/thesis.txt").unlink()
    Path("link").symlink_to("m")
    save_model("link", task="chat", model="new", overwrite=True)
    assert Path("link").is_symlink()
    assert yaml.safe_load(Path("m/model.yaml").read_text())["model"] == "new"


def test_the_model_lists_its_requirements(deployment: Deployment) -> None:
    save_model("m", task="chat", model="m", metadata={"team": "harbour"})
    assert f"batchscore=={VERSION}" in Path("m/requirements.txt").read_text().split()
    assert get_model_info("m").metadata == {"team": "harbour"}
    save_model("m", task="chat", model="m", pip_requirements=["./own.whl", "mlflow"], overwrite=True)
    assert Path("m/requirements.txt").read_text().split() == ["./own.whl", "mlflow"]
    conda = yaml.safe_load(Path("m/conda.yaml").read_text())
    assert conda["dependencies"][-1] == {"pip": ["./own.whl", "mlflow"]}


@pytest.mark.parametrize("requirements", ["mlflow", [" "]])
def test_requirements_that_pip_could_not_read_are_refused(requirements: Any) -> None:
    with pytest.raises(UsageError, match="requirement"):
        save_model("m", task="chat", model="m", pip_requirements=requirements)
    assert not Path("m").exists()


@pytest.mark.parametrize("variable", ["BATCHSCORE_ID", "BATCHSCORE_USAGE", "BATCHSCORE_KEEP"])
def test_variables_of_other_runs_do_not_matter(
    variable: str, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "true")
    save_model("m", task="embeddings", model=deployment.name)
    assert list(loaded("m").predict(pd.DataFrame({"text": ["one"]}))["error"]) == [""]


def test_the_batch_api_is_refused_for_frames(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHSCORE_VIA", "batch")
    save_model("m", task="embeddings", model=deployment.name)
    with pytest.raises(UsageError, match='via="batch" is for files'):
        loaded("m").predict(pd.DataFrame({"text": ["one"]}))


@pytest.mark.slow
def test_a_model_of_mlflow_can_be_saved_again(deployment: Deployment) -> None:
    mlflow.openai.save_model(
        model=deployment.name,
        task="chat.completions",
        path="theirs",
        messages=[{"role": "user", "content": "Joke about {animal}"}],
        temperature=0.3,
        pip_requirements=["mlflow"],
    )
    save_model("ours", model="theirs/", rpm=600)
    loaded("ours").predict(pd.DataFrame({"animal": ["cat"]}))
    (sent,) = deployment.requests()
    assert sent.body["temperature"] == 0.3
    assert sent.body["messages"] == [{"role": "user", "content": "Joke about cat"}]


def test_a_model_that_an_earlier_version_saved_is_read(tmp_path: Path) -> None:
    """It names another loader module and has earlier names of settings."""
    save_model(
        tmp_path / "m", task="chat", model="gpt-4o-mini", column="text", max_retries=3, quota_share=0.5
    )
    mlmodel = tmp_path / "m" / "MLmodel"
    text = mlmodel.read_text().replace("batchscore.api.mlflow_function", "batchscore.model.python_function")
    for now, earlier in (
        ("quota_share", "share"),
        ("max_retries", "retries"),
        ("max_concurrency", "concurrency"),
    ):
        assert now in text
        text = text.replace(now, earlier)
    mlmodel.write_text(text)
    settings = resolve_settings({"model": str(tmp_path / "m"), "output": "out"}, environ={}).settings
    assert (settings.column, settings.max_retries, settings.quota_share) == ("text", 3, 0.5)
