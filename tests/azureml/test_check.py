"""`batchscore check`: our own files pass, and each mistake is reported with its line."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner

from azureml_tree import copy_of_the_tree
from batch_runs import records, write_rows
from batchscore.azureml.check.check_files import check_files, own_findings
from batchscore.azureml.check.document import KINDS, Document, Finding, read_document
from batchscore.azureml.check.script import script_problem
from batchscore.azureml.check.sdk import LOADERS
from batchscore.cli.main import cli, main
from batchscore.errors import InputError
from batchscore.simulator import Running
from batchscore.task import TASKS
from evaluated import write_input, write_scores
from sampled import mostly_slow
from simulated import Project

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return copy_of_the_tree(tmp_path / "tree")


def replace(path: Path, before: str, after: str) -> Path:
    """Replace what a pattern matches in a file; return the file."""
    text, count = re.subn(before, after, path.read_text(), count=1, flags=re.MULTILINE)
    assert count == 1, f"{before} is not in {path.name}"
    path.write_text(text)
    return path


def changed(tree: Path, file: str, before: str, after: str) -> list[str]:
    """Replace what a pattern matches in a file; return the findings as `file:line: message`."""
    path = replace(tree / file, before, after)
    return findings(tree, path if path.parent == tree / "deployment" else tree / DEPLOYMENT)


def findings(tree: Path, path: Path) -> list[str]:
    """Check a file with those that it refers to, which takes less time than to check all."""
    files = {path, tree / "deployment" / "endpoint.yml", tree / "deployment" / "compute.yml"}
    return [str(finding).removeprefix(f"{tree}/") for finding in check_files(sorted(files)).findings]


def test_our_own_files_are_right() -> None:
    """With the scoring script and the package in their code folder."""
    files = sorted((ROOT / "deployment").glob("*.yml"))
    checked = check_files(files)
    assert checked.findings == ()
    assert sorted(checked.files) == files
    assert {"deployment-chat.yml", "endpoint.yml", "pipeline.yml", "schedule.yml"} <= {
        file.name for file in files
    }


@pytest.mark.process
@pytest.mark.slow
def test_the_command_of_the_batch_api_pipeline_submits_and_collects(
    simulator: Running, project: Project, tmp_path: Path
) -> None:
    step = read_document(ROOT / "deployment" / "batch-api.yml").values["jobs.submit_and_collect"]  # type: ignore[union-attr]
    Path("data").mkdir()
    write_rows(30, path="data/in.csv")
    places = {"inputs.data": "data", "outputs.score": "out"}
    command = re.sub(r"\$\{\{(.+?)\}\}", lambda found: places[found[1]], step["command"])
    changed = {"BATCHSCORE_AUTH": "key", "OPENAI_API_KEY": project.key, "BATCHSCORE_DEPLOYMENT": "my-batch"}
    changed |= {"AZURE_OPENAI_ENDPOINT": "", "OPENAI_BASE_URL": f"{simulator.endpoint}/openai/v1"}
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    environ = os.environ | step["environment_variables"] | changed
    environ["PATH"] = f"{python.parent}:{environ['PATH']}"
    project.set_rules(in_progress=None)
    for _ in range(2):
        subprocess.run(["sh", "-c", command], env=environ, check=True, timeout=60, capture_output=True)
        assert not records()
    project.set_rules(in_progress=0)
    for _ in range(2):
        subprocess.run(["sh", "-c", command], env=environ, check=True, timeout=60, capture_output=True)
    assert sorted(records()) == list(range(30))
    wrong = command.replace("data", "none")
    assert subprocess.run(["sh", "-c", wrong], env=environ, check=False, timeout=60).returncode == 1


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize(("right", "exit_code"), [(20, 0), (17, 6)])
def test_the_gate_of_the_evaluation_pipeline_fails_the_step(
    tmp_path: Path, right: int, exit_code: int
) -> None:
    step = read_document(ROOT / "deployment" / "pipeline-evaluate.yml").values["jobs.evaluate"]  # type: ignore[union-attr]
    source = write_input(tmp_path / "data" / "a.csv", [{"topic": "ab"[n % 2]} for n in range(20)])
    answers = ["ab"[n % 2] if n < right else "neither" for n in range(20)]
    write_scores(tmp_path / "scores", source, answers, keep=["topic"])
    places = {"inputs.data": "data", "inputs.score": "scores", "outputs.evaluation": "e"}
    command = re.sub(r"\$\{\{(.+?)\}\}", lambda found: str(tmp_path / places[found[1]]), step["command"])
    assert command.startswith("python ")
    command = command.replace("python", sys.executable, 1)
    done = subprocess.run(["sh", "-c", command], check=False, timeout=60, capture_output=True)
    assert done.returncode == exit_code
    assert (tmp_path / "e" / "evaluation.html").exists()


def test_our_own_scoring_script_has_what_the_host_calls() -> None:
    assert script_problem(ROOT / "src" / "batch_driver.py") is None


@pytest.mark.filterwarnings("ignore")  # the SDK's own, of marshmallow
@pytest.mark.parametrize("task", TASKS)
def test_the_scripts_changes_to_a_deployment_reach_the_request_body(tree: Path, task: str) -> None:
    """Through azure-ai-ml itself, as `az ml batch-deployment create --set` does it."""
    from azure.ai.ml.entities._load_functions import (  # noqa: PLC0415 - its import warns, too
        load_model_batch_deployment,
    )

    script = (tree / "deployment" / "deploy-and-run.sh").read_text()
    names = re.findall(r"--set ([a-zA-Z_.]+)=", script)
    names.remove("output_file_name")
    values = {name: "azureml:a@latest" if name in {"model", "compute"} else f"new-{name}" for name in names}
    deployment = load_model_batch_deployment(
        tree / "deployment" / f"deployment-{task}.yml",
        params_override=[{name: value} for name, value in values.items()],
    )
    wire = deployment._to_rest_object("westeurope").as_dict()["properties"]
    assert (wire["model"]["assetId"], wire["compute"]) == ("a@latest", "a@latest")
    variables = {name.rpartition(".")[2]: value for name, value in values.items() if "variables" in name}
    assert len(variables) == 3
    assert wire["environmentVariables"].items() >= variables.items()
    assert (wire["errorThreshold"], wire["outputAction"]) == (0, "SummaryOnly")
    assert wire["retrySettings"] == {"maxRetries": 3, "timeout": "PT6H"}


DEPLOYMENT = "deployment/deployment-chat.yml"
PIPELINE = "deployment/pipeline.yml"
CONDA = "environment/conda.yml"

#: File, pattern, replacement, and the finding.
WRONG = [
    # Mistakes that azure-ai-ml finds.
    (DEPLOYMENT, "summary_only", "append", r"chat.yml:\d+: .*output_action is 'append'; write summary_only"),
    (
        DEPLOYMENT,
        "mini_batch_size: 1",
        "mini_batch_size: one",
        r"chat.yml:\d+: .*mini_batch_size is 'one'; set 1",
    ),
    (DEPLOYMENT, "^description", "descripton", r"chat.yml:\d+: descripton: Unknown field"),
    (DEPLOYMENT, "conda.yml", "conds.yml", r"chat.yml:\d+: environment: No such file .*conds.yml"),
    (
        DEPLOYMENT,
        "azureml:batchscore-chat@latest",
        "batchscore-chat",
        r"chat.yml:\d+: model: .* not a reference",
    ),
    (PIPELINE, "type: uri_folder", "type: uri_fold", r"pipeline.yml:\d+: .*'uri_fold'"),
    (PIPELINE, "parent.inputs.data", "parent.inputs.dat", r"pipeline.yml:\d+: .*parent.inputs.dat"),
    ("deployment/schedule.yml", "pipeline.yml", "pipelin.yml", r"schedule.yml:\d+: .*No such file"),
    ("deployment/compute.yml", "^size", "sizes", r"compute.yml:\d+: sizes: Unknown field"),
    (DEPLOYMENT, r"\$schema: .*\n", "", r"chat.yml:1: \$schema is missing"),
    (
        "deployment/schedule.yml",
        "UTC",
        "Europe/Berlin",
        r"schedule.yml:\d+: .*Europe/Berlin'; write a Windows time zone",
    ),
    # Mistakes that it accepts.
    (DEPLOYMENT, "  mini_batch_size: 1\n", "", r"chat.yml:\d+: settings.mini_batch_size is not set"),
    (DEPLOYMENT, "    timeout: .*\n", "", r"chat.yml:\d+: .*timeout is not set; .*default is 30"),
    (DEPLOYMENT, "timeout: 21600", "timeout: 600", r"chat.yml:\d+: the host kills the process after 600 s"),
    (DEPLOYMENT, "    BATCHSCORE_DEADLINE: .*\n", "", r"chat.yml:\d+: BATCHSCORE_DEADLINE is not set"),
    (DEPLOYMENT, "DEADLINE: 5h45m", 'DEADLINE: "6:30"', r"chat.yml:\d+: BATCHSCORE_DEADLINE is a moment"),
    (
        DEPLOYMENT,
        "error_threshold: 0",
        "error_threshold: -1",
        r"chat.yml:\d+: settings.error_threshold is -1; set 0",
    ),
    (
        DEPLOYMENT,
        "^resources",
        "error_threshold: 0\nresources",
        r"chat.yml:\d+: error_threshold is 0; it is not read here",
    ),
    (
        DEPLOYMENT,
        "summary_only",
        "append_row",
        r"chat.yml:\d+: .*output_action is 'append_row'; write summary_only",
    ),
    (DEPLOYMENT, "^type: model\n", "", r"chat.yml:\d+: type is not set"),
    (DEPLOYMENT, '"120000"', "120000", r"chat.yml:\d+: BATCHSCORE_TPM is not text"),
    (DEPLOYMENT, '"120000"', '"many"', r"chat.yml:\d+: BATCHSCORE_TPM is not a number"),
    (DEPLOYMENT, "BATCHSCORE_TPM", "BATCHSCORE_TMP", r"chat.yml:\d+: BATCHSCORE_TMP: there is no such"),
    (
        DEPLOYMENT,
        "BATCHSCORE_TPM: .*",
        "BATCHSCORE_MODEL: gpt",
        r"chat.yml:\d+: BATCHSCORE_MODEL does not belong",
    ),
    (
        DEPLOYMENT,
        "BATCHSCORE_TPM: .*",
        "BATCHSCORE_CONFIG: own.toml",
        r"chat.yml:\d+: BATCHSCORE_CONFIG own.toml: there is no such file beside the scoring script",
    ),
    (DEPLOYMENT, "AUTH: entra", "AUTH: entr", r"chat.yml:\d+: BATCHSCORE_AUTH must be one of key"),
    (
        DEPLOYMENT,
        "BATCHSCORE_AUTH: entra",
        "AZURE_OPENAI_API_KEY: HUSH",
        r"AZURE_OPENAI_API_KEY is a secret",
    ),
    (DEPLOYMENT, "    BATCHSCORE_AUTH: entra\n", "", r"chat.yml:\d+: no way to sign in is set"),
    (
        DEPLOYMENT,
        "https://my.*",
        "$OPENAI_API_BASE",
        r"chat.yml:\d+: \$OPENAI_API_BASE is used literally",
    ),
    (DEPLOYMENT, "https://my-resource", "https://<resource>", r"chat.yml:\d+: <resource> is used literally"),
    (DEPLOYMENT, "    AZURE_OPENAI_ENDPOINT: .*\n", "", r"chat.yml:\d+: no endpoint is set"),
    (DEPLOYMENT, "code: ../src", "code: ../srcs", r"chat.yml:\d+: ../srcs: there is no such folder"),
    (DEPLOYMENT, "batch_driver.py$", "driver.py", r"chat.yml:\d+: driver.py: there is no such file"),
    (DEPLOYMENT, "^model: .*\n", "", r"chat.yml:\d+: model is not set"),
    (DEPLOYMENT, "^name: chat", "name: my_chat", r"chat.yml:\d+: name is 'my_chat'; a name has"),
    (DEPLOYMENT, "^name: chat", "name: chat\nname: talk", r"chat.yml:\d+: name occurs twice"),
    (
        DEPLOYMENT,
        "endpoint_name: batchscore",
        "endpoint_name: other",
        r"no file describes an endpoint named other",
    ),
    (
        DEPLOYMENT,
        "azureml:batch-cluster",
        "azureml:big",
        r"chat.yml:\d+: no file describes a cluster named big",
    ),
    (DEPLOYMENT, "  conda_file: .*\n", "", r"chat.yml:\d+: conda_file is missing"),
    (
        "deployment/endpoint.yml",
        "aad_token",
        "key",
        r"endpoint.yml:\d+: auth_mode is 'key'; .* only aad_token",
    ),
    (PIPELINE, "      timeout: .*\n", "", r"pipeline.yml:\d+: .*timeout is not set; .*default is 60"),
    (PIPELINE, "max_retries", "max_retrys", r"pipeline.yml:\d+: max_retrys: there is no such key"),
    (
        PIPELINE,
        "entry_script",
        "scoring_script",
        r"pipeline.yml:\d+: jobs.score.task.entry_script is not set",
    ),
    (
        PIPELINE,
        "error_threshold: 0",
        "error_threshold: 9",
        r"pipeline.yml:\d+: jobs.score.error_threshold is 9; set 0",
    ),
    (
        "deployment/schedule.yml",
        '"30 2 . . ."',
        '"30 2 1 * *"',
        r"schedule.yml:\d+: trigger.expression is '30 2 1 .*ignores days",
    ),
    ("deployment/schedule.yml", '"30 2 . . ."', '"at night"', r"schedule.yml:\d+: .*five fields"),
    (CONDA, "      - azureml-core.*\n", "", r"conda.yml:\d+: azureml-core is missing"),
    (CONDA, r"\[fuse\]", "", r"conda.yml:\d+: write azureml-dataset-runtime\[fuse\]"),
    (CONDA, "setuptools<81", "setuptools", r"conda.yml:\d+: pin setuptools<81"),
    (CONDA, "  - pip\n", "", r"conda.yml:\d+: pip is missing"),
    (CONDA, "python=3.11", "python=3.8", r"conda.yml:\d+: name a Python from 3.10"),
    (CONDA, "openai==.*", "openai", r"conda.yml:\d+: openai is not pinned"),
]


#: Mistakes that our own rules find, tested without the SDK, which takes longer than all of them.
OURS = [
    (
        DEPLOYMENT,
        "https://my-res",
        "my-res",
        r"chat.yml:\d+: .*end at once: AZURE_OPENAI_ENDPOINT has no scheme",
    ),
    (
        DEPLOYMENT,
        "BATCHSCORE_TPM: .*",
        "BATCHSCORE_VIA: batch",
        r"chat.yml:\d+: .*end at once: BATCHSCORE_VIA=batch is not for mini-batches.*batch-api.yml",
    ),
    (DEPLOYMENT, "https://my.*", "", r"chat.yml:\d+: AZURE_OPENAI_ENDPOINT has no value"),
    (DEPLOYMENT, "https://my.*", "https://west.api.cognitive.microsoft.com", r"chat.yml:\d+: .* of a region"),
    (
        DEPLOYMENT,
        "BATCHSCORE_TPM: .*",
        "AZUREML_BI_TEXT_COLUM: body",
        r"did you mean AZUREML_BI_TEXT_COLUMN\?",
    ),
    (DEPLOYMENT, "BATCHSCORE_TPM", "Batchscore_TPM", r"did you mean BATCHSCORE_TPM\?"),
    (
        DEPLOYMENT,
        "BATCHSCORE_TPM: .*",
        "SEARCH_API_KEY: HUSH",
        r"chat.yml:\d+: SEARCH_API_KEY is a secret",
    ),
    (
        DEPLOYMENT,
        "BATCHSCORE_TPM: .*",
        "AZUREML_MODEL_DIR: /m",
        r"chat.yml:\d+: AZUREML_MODEL_DIR does not belong",
    ),
    (DEPLOYMENT, "BATCHSCORE_TPM: .*", 'BATCHSCORE_PROMPT: "of {text"', r"BATCHSCORE_PROMPT: the brace at"),
    (
        DEPLOYMENT,
        "BATCHSCORE_TPM: .*",
        'BATCHSCORE_PROMPT: "{a}"\n    AZUREML_BI_TEXT_COLUMN: b',
        r"AZUREML_BI_TEXT_COLUMN and BATCHSCORE_PROMPT both define",
    ),
    (
        DEPLOYMENT,
        r"environment_variables:\n(    .*\n)+",
        "environment_variables:\n    - name: BATCHSCORE_AUTH\n      value: entra\n",
        r"chat.yml:\d+: environment_variables is not a mapping",
    ),
    (DEPLOYMENT, "timeout: 21600", 'timeout: "600"', r"chat.yml:\d+: the host kills the process after 600 s"),
    (DEPLOYMENT, "timeout: 21600", "timeout: 300000", r"chat.yml:\d+: timeout is 300000 s; .* at most"),
    (
        DEPLOYMENT,
        "mini_batch_size: 1",
        "mini_batch_size: 0",
        r"chat.yml:\d+: settings.mini_batch_size is 0; set 1",
    ),
    (
        DEPLOYMENT,
        "instance_count: 1",
        "instance_count: 9",
        r"chat.yml:\d+: instance_count is 9, .* at most 4 nodes",
    ),
    (
        DEPLOYMENT,
        "batch_driver.py$",
        "../src/batch_driver.py",
        r"chat.yml:\d+: .* outside of the code folder",
    ),
    (
        DEPLOYMENT,
        "-chat@latest",
        "-chat",
        r"chat.yml:\d+: model is 'azureml:batchscore-chat'; .* with a version",
    ),
    (DEPLOYMENT, "  image: .*\n", "", r"chat.yml:\d+: image is missing"),
    (
        DEPLOYMENT,
        "openmpi4.1.0-ubuntu22.04",
        "curated/sklearn",
        r"chat.yml:\d+: environment.image .*; curated images",
    ),
    ("deployment/compute.yml", "identity:\n  type: .*\n", "", r"compute.yml:1: identity is not set"),
    (
        "deployment/compute.yml",
        "max_instances: 4",
        "max_instances: 0",
        r"compute.yml:\d+: max_instances is 0",
    ),
    ("deployment/deployment-completions.yml", "name: completions", "name: chat", r"named chat, too"),
    (PIPELINE, " *--batchscore-model.*\n", "", r"pipeline.yml:\d+: --batchscore-model is missing"),
    (PIPELINE, "--batchscore-output", "--batchscore-out", r"--batchscore-out: .* no such argument"),
    (
        PIPELINE,
        r"output \$\{\{outputs.score",
        "output ${{outputs.s",
        r"\$\{\{outputs.s\}\}: the step has no such output",
    ),
    (
        PIPELINE,
        r"input_data: \$\{\{inputs.data",
        "input_data: ${{inputs.dat",
        r"pipeline.yml:\d+: .*no such input",
    ),
    (
        PIPELINE,
        "        --batchscore-model",
        "        --allowed_failed_percent 5\n        --batchscore-model",
        r"percent is not 0",
    ),
    (PIPELINE, "    identity:\n      type: managed\n", "", r"pipeline.yml:\d+: identity is not set"),
    (
        PIPELINE,
        'mini_batch_size: "1"',
        "mini_batch_size: 10kb",
        r"pipeline.yml:\d+: .*mini_batch_size is '10kb'",
    ),
    (
        PIPELINE,
        "entry_script: .*",
        "entry_script: batch_driver.py\n      append_row_to: ${{outputs.score}}",
        r"append_row_to",
    ),
    (
        PIPELINE,
        "    type: parallel\n",
        "",
        r"pipeline.yml:\d+: jobs.score.type is not set; write type: parallel",
    ),
    (
        "deployment/schedule.yml",
        '"30 2',
        '"30 25',
        r"schedule.yml:\d+: trigger.expression is '30 25 .*; write .*hour \(0-23\)",
    ),
    (CONDA, "      - httptools.*\n", "", r"conda.yml:\d+: httptools is missing; batchscore imports it"),
    (CONDA, "openai==.*", "openai==0.27.8", r"conda.yml:\d+: openai==0.27.8: batchscore needs openai>="),
    (
        CONDA,
        "openai==.*",
        "openai==3.54.0\n      - ../dist/b.whl",
        r"conda.yml:\d+: ../dist/b.whl: only this file is uploaded",
    ),
]


#: Our own files are read once: that takes longer than to check them.
read_once = cache(read_document)


def own_findings_in(*paths: Path) -> list[str]:
    """Return what our rules find in files; those of the repository are read once."""
    read = [(read_once if path.is_relative_to(ROOT) else read_document)(path) for path in paths]
    documents = [document for document in read if isinstance(document, Document)]
    assert len(documents) == len(paths)
    return sorted({str(finding) for finding in own_findings(documents)})


@pytest.mark.parametrize(("file", "before", "after", "said"), OURS)
def test_our_own_rules_find_each_mistake(tree: Path, file: str, before: str, after: str, said: str) -> None:
    replace(tree / file, before, after)
    changed = tree / (DEPLOYMENT if file == CONDA else file)
    needed = ("deployment-chat.yml", "endpoint.yml", "compute.yml")
    found = own_findings_in(changed, *(ROOT / "deployment" / name for name in needed if name != changed.name))
    assert any(re.search(said, line) for line in found), found
    assert all("\n" not in line and "HUSH" not in line for line in found)
    assert len(found) <= 3, found


@mostly_slow("file, before, after, said", WRONG, WRONG[::4])
def test_each_mistake_is_reported_with_its_line(
    tree: Path, file: str, before: str, after: str, said: str
) -> None:
    found = changed(tree, file, before, after)
    assert any(re.search(said, line) for line in found), found
    assert all("\n" not in line and "HUSH" not in line for line in found)
    assert not any("end at once" in line for line in found), "a mistake with a line is reported once"
    # A mistake is one thing to fix, not ten.
    assert len(found) <= 3, found


def test_arguments_of_a_step_may_be_written_in_every_way_that_the_host_reads(tree: Path) -> None:
    path = tree / PIPELINE
    replace(path, r"batchscore-model \$\{\{inputs.model\}\}", "batchscore-model=${{ inputs.model }}")
    replace(path, "https://my.*", "${{parent.inputs.address}}")
    assert own_findings_in(path) == []
    replace(path, "--batchscore-output", "--batchscore-base-dir --batchscore-output")
    replace(path, "inputs.model }}", 'inputs.model }} "')
    (finding,) = own_findings_in(path)
    assert "a quote is not closed" in finding


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("", None),
        ("rpm = 6", "rpm and tpm: with [[deployments]]"),
        ('model = "m"', "model in own.toml does not belong here"),
        ("colum = 1", "own.toml: colum is not a setting; did you mean column?"),
    ],
)
def test_a_settings_file_in_the_code_folder_is_read(tree: Path, toml: str, said: str | None) -> None:
    """Its endpoints, sign-in and deadline count as set."""
    tables = '[[deployments]]\nendpoint = "https://a.openai.azure.com"\nauth = "entra"\ntpm = 6\n'
    (tree / "src" / "own.toml").write_text(f'deadline = "5h"\n{toml}\n{tables}')
    path = tree / DEPLOYMENT
    text = re.sub(
        r"    (BATCHSCORE_DEADLINE|AZURE_OPENAI_ENDPOINT|BATCHSCORE_TPM): .*\n", "", path.read_text()
    )
    path.write_text(text.replace("BATCHSCORE_AUTH: entra", "BATCHSCORE_CONFIG: own.toml"))
    found = findings(tree, path)
    assert len(found) == (said is not None), found
    assert said is None or said in found[0]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("def run(mini_batch): ...\n", r"batch_driver.py: does not define init\(\)"),
        ("def init(): ...\nasync def run(mini_batch): ...\n", r"batch_driver.py:2: run\(\) is a coroutine"),
        ("def init(): ...\ndef run(): ...\n", r"batch_driver.py:2: run\(\) must take"),
        ("def init(:\n", r"batch_driver.py:1: is not Python"),
    ],
)
def test_a_script_that_the_host_cannot_call_is_reported(tree: Path, script: str, said: str) -> None:
    (tree / "src" / "batch_driver.py").write_text(script)
    found = findings(tree, tree / DEPLOYMENT)
    assert len(found) == 1, found
    assert re.search(said, found[0])


def test_a_script_may_import_what_the_host_calls_and_take_its_context(tree: Path) -> None:
    script = tree / "src" / "batch_driver.py"
    shutil.copy(ROOT / "src" / "batch_driver.py", script)
    assert script_problem(script) is None
    script.write_text("from batchscore.azureml import init, run\n")
    assert script_problem(script) is None
    script.write_text("def init(): ...\ndef run(files, context): ...\n")
    assert script_problem(script) is None
    script.write_text("def init(): ...\ndef run(files, context, more): ...\n")
    assert script_problem(script) == (2, "run() must take the mini-batch, and at most its context as well.")


def test_a_missing_package_is_reported(tree: Path) -> None:
    (tree / "src" / "batchscore" / "__init__.py").unlink()
    (tree / "src" / "batchscore").rmdir()
    found = findings(tree, tree / DEPLOYMENT)
    assert len(found) == 1
    assert "batchscore itself is missing" in found[0]


def test_a_file_of_another_kind_is_skipped_in_a_folder_and_reported_if_named(tree: Path) -> None:
    other = tree / "deployment" / "workflow.yml"
    other.write_text("on: push\n")
    for path in (tree / "deployment").glob("*-*.yml"):
        path.unlink()
    assert check_files([tree / "deployment"]).findings == ()
    (finding,) = check_files([other]).findings
    assert "$schema is missing" in finding.message
    other.write_text("$schema: https://json.schemastore.org/github-workflow.json\non: push\n")
    (finding,) = check_files([other]).findings
    assert "names none of what can be checked" in finding.message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: [1\nb: 2\n", "is not YAML"),
        (b"", "is empty"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a: \x01", "is not YAML"),
    ],
)
def test_a_file_that_is_not_yaml_is_reported(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "odd.yml"
    path.write_bytes(content)
    found = read_document(path)
    assert isinstance(found, Finding)
    assert said in found.message


def test_every_kind_has_its_loader() -> None:
    assert set(KINDS.values()) == set(LOADERS)


def test_nothing_to_check_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no YAML file of Azure ML"):
        check_files([tmp_path])
    (tmp_path / "loop").symlink_to("loop")
    for path, words in {
        tmp_path / "nowhere": "nowhere: there is no such file",
        tmp_path / "loop": "loop cannot be read: Too many levels",
        Path(os.devnull): "is neither a file nor a folder",
    }.items():
        with pytest.raises(InputError, match=words):
            check_files([path])


def test_the_command_says_it_and_ends_with_its_code(tree: Path) -> None:
    # In this process, which has loaded the SDK: that takes seconds.
    for path in (tree / "deployment").glob("*-*.yml"):
        path.unlink()
    files = list((tree / "deployment").glob("*.yml"))
    right = CliRunner().invoke(cli, ["check", str(tree / "deployment")])
    assert (right.exit_code, right.output) == (0, f"No errors in {len(files)} files.\n")
    path = tree / "deployment" / "endpoint.yml"
    path.write_text(path.read_text().replace("aad_token", "key"))
    wrong = CliRunner().invoke(cli, ["check", str(path), "--json"])
    assert wrong.exit_code == 1
    (finding,) = json.loads(wrong.stdout.splitlines()[-1])["findings"]
    assert finding["line"] == 4


def test_a_failure_is_an_object_of_json_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["batchscore", "check", "nothere", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (ended.value.code, said["event"], said["exit_code"]) == (1, "failed", 1)
    assert "nothere" in said["reason"]


@pytest.fixture
def without_the_sdk(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run Python code where azure-ai-ml is not installed."""

    def run(code: str) -> subprocess.CompletedProcess[str]:
        blocked = "import sys; sys.modules['azure.ai.ml'] = None; sys.modules['yaml'] = None; "
        return subprocess.run(
            [sys.executable, "-c", blocked + code], capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.slow
@pytest.mark.process
def test_without_the_extra_it_says_what_to_install(
    without_the_sdk: Callable[[str], subprocess.CompletedProcess[str]], tree: Path
) -> None:
    done = without_the_sdk(
        f"sys.argv = ['batchscore', 'check', {str(tree)!r}]; from batchscore.cli.main import main; main()"
    )
    assert done.returncode == 1
    assert "pip install '.[azureml]'" in done.stderr
    assert "Traceback" not in done.stderr
