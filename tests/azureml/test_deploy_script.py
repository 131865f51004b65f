"""deploy-and-run.sh against a stand-in for `az`: first run, second run, an error at every step."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from azureml_tree import copy_of_the_tree
from batchscore.simulator import Running
from conftest import KEY

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]

#: Each thing that the script asks of az in a first run, in order, by the words that tell it from others.
STEPS = (
    "cognitiveservices account show id",
    "cognitiveservices account deployment show",
    "cognitiveservices account deployment create",
    "ml compute show none",
    "ml compute create",
    "role list",
    "role create",
    "ml model create",
    "ml batch-endpoint show",
    "ml batch-endpoint create",
    "ml batch-deployment create",
    "ml batch-endpoint invoke",
    "ml job show",
    "ml job download",
    "ml batch-endpoint delete",
)

#: Saves time: the files are checked by tests of their own, and what is deployed here is a copy.
BATCHSCORE = """#!/bin/sh
case "$1" in
  check) exit 0 ;;
  model) mkdir -p "$3" && echo "$*" > "$3/MLmodel" ;;
  *) exec {python} -m batchscore "$@" ;;
esac
"""


class Azure:
    """The stand-in, the copy of the files, and what was asked."""

    def __init__(self, folder: Path, scores: Path) -> None:
        self.folder = folder
        self.state = folder / "azure"
        self.state.mkdir()
        shutil.copytree(scores, self.state / "scores")
        programs = folder / "bin"
        programs.mkdir()
        shutil.copy(ROOT / "tests" / "azureml" / "az", programs / "az")
        (programs / "batchscore").write_text(BATCHSCORE.format(python=sys.executable))
        (programs / "batchscore").chmod(0o755)
        self.tree = copy_of_the_tree(folder / "tree")
        (folder / "input").mkdir()
        self.environ = {
            **os.environ,
            "PATH": f"{programs}:{Path(sys.executable).parent}:/usr/bin:/bin",
            "AZ_STATE": str(self.state),
            "SUBSCRIPTION": "s",
            "RESOURCE_GROUP": "g",
            "WORKSPACE": "w",
            "OPENAI_RESOURCE": "aoai",
            "INPUT": "input",
            "POLL_SECONDS": "0.01",
        }

    def run(self, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.tree / "deployment" / "deploy-and-run.sh"],
            cwd=cwd or self.folder,
            env={**self.environ, **more},
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def calls(self) -> list[list[str]]:
        file = self.state / "calls.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def count(self, words: str) -> int:
        return sum(all(word in call for word in words.split()) for call in self.calls)


@pytest.fixture(scope="module")
def scores(simulator: Running, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real scores, such as a job leaves them."""
    folder = tmp_path_factory.mktemp("scores")
    (folder / "billsum-0.csv").write_text("text,title\none,a\ntwo,b\nthree,c\n")
    words = "score billsum-0.csv -o out --task embeddings -m m --column text --quiet"
    subprocess.run(
        [sys.executable, "-m", "batchscore", *words.split()],
        cwd=folder,
        env={**os.environ, "OPENAI_BASE_URL": f"{simulator.endpoint}/v1", "OPENAI_API_KEY": KEY},
        check=True,
    )
    return folder / "out"


@pytest.fixture
def azure(tmp_path: Path, scores: Path) -> Azure:
    return Azure(tmp_path, scores)


@pytest.mark.slow
def test_from_nothing_to_one_file(azure: Azure) -> None:
    done = azure.run()
    assert done.returncode == 0, done.stderr
    frame = pd.read_json(azure.folder / "results" / "embeddings.jsonl", lines=True)
    assert list(frame["row"]) == [0, 1, 2]
    assert (azure.folder / "results" / "named-outputs" / "score" / "report.html").is_file()
    assert [azure.count(step) for step in STEPS if step != "ml job show"] == [1] * (len(STEPS) - 1)
    deploy = next(call for call in azure.calls if call[1:3] == ["batch-deployment", "create"])
    assert "settings.environment_variables.AZURE_OPENAI_ENDPOINT=https://aoai.openai.azure.com/" in deploy
    assert "settings.environment_variables.BATCHSCORE_TPM=120000" in deploy
    assert "settings.environment_variables.AZUREML_BI_TEXT_COLUMN=text" in deploy
    role = next(call for call in azure.calls if call[:3] == ["role", "assignment", "create"])
    assert role[role.index("--role") + 1] == "Cognitive Services OpenAI User"
    assert role[role.index("--scope") + 1].endswith("/accounts/aoai")
    assert azure.calls[-1][1:3] == ["batch-endpoint", "delete"]


@pytest.mark.slow
def test_a_second_run_creates_nothing_twice_and_scores_into_the_same_place(azure: Azure) -> None:
    assert azure.run(KEEP_ENDPOINT="yes").returncode == 0
    assert azure.run(KEEP_ENDPOINT="yes").returncode == 0
    for once in ("ml compute create", "role create", "ml batch-endpoint create", "account deployment create"):
        assert azure.count(once) == 1, once
    first, second = (call for call in azure.calls if "invoke" in call)
    assert first[first.index("--output-path") + 1] == second[second.index("--output-path") + 1]
    assert "output_file_name=predictions-2.csv" in second
    assert azure.count("delete") == 0


@pytest.mark.slow
def test_an_error_at_any_step_stops_it_and_the_same_command_continues(azure: Azure) -> None:
    """One world, in which each run gets a step further than the one before."""
    for step in STEPS:
        (azure.state / "fail").write_text(step)
        stopped = azure.run()
        assert stopped.returncode == 1, stopped.stdout
        assert "bad day" in stopped.stderr
        assert "deploy-and-run:" in stopped.stderr
        assert all(word in azure.calls[-1] for word in step.split())
    (azure.state / "fail").unlink()
    done = azure.run()
    assert done.returncode == 0, done.stderr
    # Once in vain, once for good: what a step before the error created or started is not created again.
    creating = [step for step in STEPS if step.endswith((" create", " invoke"))]
    again = {"ml model create", "ml batch-deployment create"}
    assert {step: azure.count(step) for step in creating if step not in again} == dict.fromkeys(
        [step for step in creating if step not in again], 2
    )
    assert (azure.folder / "results" / "embeddings.jsonl").exists()


@pytest.mark.slow
def test_a_job_that_failed_downloads_nothing_and_is_continued(azure: Azure) -> None:
    (azure.state / "jobs").write_text("Running Failed")
    stopped = azure.run()
    assert stopped.returncode == 1
    assert "the job is Failed" in stopped.stderr
    assert azure.count("download") + azure.count("delete") == 0
    (azure.state / "jobs").write_text("Completed")
    assert azure.run().returncode == 0
    first, second = (call for call in azure.calls if "invoke" in call)
    assert first[first.index("--output-path") + 1] == second[second.index("--output-path") + 1]


@pytest.mark.slow
def test_a_template_is_the_models_own_and_no_column_is_named_beside_it(azure: Azure) -> None:
    done = azure.run(PROMPT="Is {text} long? It's a question.")
    assert done.returncode == 0, done.stderr
    saved = (azure.folder / "results" / "embeddings.model" / "MLmodel").read_text()
    assert "--prompt Is {text} long? It's a question." in saved
    assert "--column" not in saved
    assert not any("AZUREML_BI_TEXT_COLUMN" in word for call in azure.calls for word in call)
    deploy = next(call for call in azure.calls if call[1:3] == ["batch-deployment", "create"])
    file = azure.tree / "deployment" / deploy[deploy.index("--file") + 1]
    variables = yaml.safe_load(file.read_text())["settings"]["environment_variables"]
    assert not variables.keys() & {"AZUREML_BI_TEXT_COLUMN", "BATCHSCORE_COLUMN"}


def test_an_embeddings_model_for_another_task_is_reported_before_any_call(azure: Azure) -> None:
    done = azure.run(TASK="chat", MODEL="text-embedding-3-small")
    assert done.returncode == 1
    assert "MODEL is text-embedding-3-small, an embeddings model, but TASK is chat." in done.stderr
    assert not azure.calls


@pytest.mark.slow
def test_each_task_has_a_default_model_of_its_own(azure: Azure) -> None:
    azure.run(TASK="chat")
    deployed = next(call for call in azure.calls if "--model-name" in call)
    assert deployed[deployed.index("--model-name") + 1].startswith("gpt-")


@pytest.mark.slow
def test_a_job_that_no_longer_exists_is_started_again(azure: Azure) -> None:
    """As after a move to another workspace, with the results in the same folder."""
    (azure.folder / "results").mkdir()
    (azure.folder / "results" / "embeddings.jobs").write_text("of-another-workspace\n")
    done = azure.run()
    assert done.returncode == 0, done.stderr
    assert azure.count("ml batch-endpoint invoke") == 1


@pytest.mark.slow
def test_an_input_is_found_from_where_one_is(azure: Azure) -> None:
    """Also one that is called as the folder beside the script is from there."""
    (azure.folder / "data").mkdir()
    (azure.folder / "here").mkdir()
    done = azure.run(INPUT="../data", cwd=azure.folder / "here")
    assert done.returncode == 0, done.stderr
    invoke = next(call for call in azure.calls if "invoke" in call)
    assert Path(invoke[invoke.index("--input") + 1]).samefile(azure.folder / "data")


@pytest.mark.slow
def test_a_resource_without_an_address_of_its_own_is_reported_at_once(azure: Azure) -> None:
    (azure.state / "world.json").write_text(
        json.dumps({"address": "https://westeurope.api.cognitive.microsoft.com/"})
    )
    done = azure.run()
    assert done.returncode == 1
    assert "--custom-domain aoai" in done.stderr
    assert azure.count("create") == 0


@pytest.mark.slow
def test_a_cluster_without_an_identity_gets_one(azure: Azure) -> None:
    (azure.state / "world.json").write_text(json.dumps({"compute/batch-cluster": {"vm": 1}}))
    assert azure.run().returncode == 0
    assert azure.count("ml compute create") == 0
    assert azure.count("ml compute update system_assigned") == 1


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"WORKSPACE": "", "ENDPOINT": "e"}, "WORKSPACE is empty"),
        ({"TASK": "images"}, "TASK is images"),
        ({"ENDPOINT": "my_endpoint"}, "ENDPOINT is my_endpoint"),
        ({"INPUT": "nowhere"}, "there is no such folder or file"),
    ],
)
def test_a_variable_that_cannot_be_meant_is_reported_before_any_call(
    azure: Azure, variables: dict[str, str], said: str
) -> None:
    done = azure.run(**variables)
    assert done.returncode == 1
    assert said in done.stderr
    assert not azure.calls


def test_the_script_passes_shellcheck() -> None:
    script = ROOT / "deployment" / "deploy-and-run.sh"
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
