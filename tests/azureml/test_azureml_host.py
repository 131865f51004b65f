"""What the host says becomes settings; its functions work on any thread and any number of times."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from batch_host import FOREIGN, ROOT, chat_model, sample_model
from hypothesis import given
from hypothesis import strategies as st

from batchscore import read_scores
from batchscore.azureml import driver as azureml
from batchscore.azureml.host import SAMPLES_COLUMN, Host, call_deadline, host_of, name_variables, settings_of
from batchscore.errors import InputError, OutputError, SettingsError, UsageError, setting_name
from batchscore.settings.deadline import parse_deadline
from batchscore.simulator import Running
from conftest import KEY
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Files

SAID = {"AZUREML_MODEL_DIR": "/m", "AZUREML_BI_OUTPUT_PATH": "/o"}

#: What the host's own program is given.
OWN = [
    *("--run_invocation_timeout", "600", "--output", "/host"),
    *("--logging_level", "INFO", "-h", "--help", "--"),
]

HOST = Host(str(FOREIGN / "sample-2.7"), "/o", None, 1, None)


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        ([], SAID, Host("/m", "/o", None, 1, None)),
        (OWN, SAID, Host("/m", "/o", None, 1, 600.0)),
        (
            ["--batchscore-model", "/a b/m", "--batchscore-output=/p", "--batchscore-base-dir", "/in", *OWN],
            {"AZUREML_NODE_COUNT": "4"},
            Host("/a b/m", "/p", "/in", 4, 600.0),
        ),
        (["--batchscore-model", "/n"], SAID, Host("/n", "/o", None, 1, None)),
        (
            ["--batchscore", "/x", "--batchscore-model", "--batchscore-output"],
            SAID,
            Host("/m", "/o", None, 1, None),
        ),
        (["--run_invocation_timeout"], SAID, Host("/m", "/o", None, 1, None)),
        (
            ["--run_invocation_timeout", "-1"],
            {**SAID, "AZUREML_NODE_COUNT": "many"},
            Host("/m", "/o", None, 1, None),
        ),
        ([], {**SAID, "AZUREML_NODE_COUNT": "0"}, Host("/m", "/o", None, 1, None)),
    ],
)
def test_what_the_host_says(arguments: list[str], environ: dict[str, str], expected: Host) -> None:
    assert host_of(arguments, environ) == expected


def test_relative_folders_of_the_host_become_absolute(tmp_path: Path) -> None:
    """Its processes change their folder between calls."""
    host = host_of(["--batchscore-base-dir", "in"], {"AZUREML_MODEL_DIR": "m", "AZUREML_BI_OUTPUT_PATH": "o"})
    assert (host.model, host.output, host.base_dir) == tuple(
        str(tmp_path / name) for name in ("m", "o", "in")
    )


@pytest.mark.usefixtures("called")
@pytest.mark.parametrize(("deadline", "warned"), [("20m", True), ("9m", False)])
def test_a_deadline_after_the_hosts_timeout_is_logged(
    deadline: str,
    warned: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("BATCHSCORE_DEADLINE", deadline)
    azureml.init()
    assert ("the host kills the process after 600 s" in caplog.text) == warned


@pytest.mark.parametrize("missing", list(SAID))
def test_what_the_host_must_say(missing: str) -> None:
    with pytest.raises(SettingsError, match=missing):
        host_of([], {**SAID, missing: " "})


@given(
    st.lists(st.text(max_size=20), max_size=6),
    st.dictionaries(st.sampled_from(["AZUREML_NODE_COUNT"]), st.text()),
)
def test_no_argument_ends_the_process(arguments: list[str], environ: dict[str, str]) -> None:
    assert host_of(arguments, {**SAID, **environ}).machines >= 1


@given(st.floats(min_value=1, max_value=259_200))
def test_a_call_ends_before_the_host_ends_it(timeout_seconds: float) -> None:
    deadline = parse_deadline(call_deadline(timeout_seconds))
    assert isinstance(deadline, timedelta)
    assert 0.8 * timeout_seconds <= deadline.total_seconds() < timeout_seconds


@pytest.mark.parametrize(
    ("host", "environ", "expected"),
    [
        (
            HOST,
            {},
            {
                "shared_output": True,
                "quota_share": 1.0,
                "deadline": None,
                "task": "embeddings",
                "output": "/o",
            },
        ),
        (
            Host(HOST.model, "/o", "/in", 4, 3600),
            {},
            {"quota_share": 0.25, "deadline": "3300s", "base_dir": "/in"},
        ),
        (
            Host(HOST.model, "/o", "/in", 4, 3600),
            {"BATCHSCORE_QUOTA_SHARE": "0.5", "BATCHSCORE_DEADLINE": "10m", "BATCHSCORE_BASE_DIR": "/mine"},
            {"quota_share": 0.5, "deadline": "10m", "base_dir": "/mine"},
        ),
        (
            HOST,
            {SAMPLES_COLUMN: "body", "BATCHSCORE_FORMAT": "parquet"},
            {"column": "body", "format": "parquet"},
        ),
        (HOST, {SAMPLES_COLUMN: "body", "BATCHSCORE_COLUMN": "text"}, {"column": "text"}),
        (HOST, {SAMPLES_COLUMN: " "}, {"column": None}),
        (
            HOST,
            {"BATCHSCORE_MODEL": "other", "BATCHSCORE_OUTPUT": "/p"},
            {"model": "text-embedding-ada-002", "output": "/o"},
        ),
    ],
)
def test_settings_of_every_call(host: Host, environ: dict[str, str], expected: dict[str, object]) -> None:
    found = settings_of(host, environ).settings
    assert {name: getattr(found, name) for name in expected} == expected


def test_a_file_that_a_variable_names_is_beneath_the_variables_and_above_the_model(files: Files) -> None:
    path = files.text("own.toml", 'deadline = "1h"\nquota_share = 0.3\ncolumn = "body"\nformat = "parquet"\n')
    host = Host(HOST.model, "/o", None, 4, 600)
    environ = {"BATCHSCORE_CONFIG": str(path.absolute()), "BATCHSCORE_FORMAT": "jsonl"}
    chosen = settings_of(host, environ)
    found = chosen.settings
    assert (found.deadline, found.quota_share, found.column, found.format) == ("1h", 0.3, "body", "jsonl")
    assert chosen.sources["quota_share"] == environ["BATCHSCORE_CONFIG"]
    assert chosen.sources["format"] == "BATCHSCORE_FORMAT"
    assert settings_of(host, {**environ, SAMPLES_COLUMN: "text"}).settings.column == "text"
    with pytest.raises(SettingsError, match=r"BATCHSCORE_CONFIG no\.toml: there is no such file beside the"):
        settings_of(host, {"BATCHSCORE_CONFIG": "no.toml"})


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {SAMPLES_COLUMN: "text", "BATCHSCORE_PROMPT": "Of {text}"},
            f"{SAMPLES_COLUMN} and BATCHSCORE_PROMPT both",
        ),
        ({"BATCHSCORE_ERROR_THRESHOLD": "1.5"}, "BATCHSCORE_ERROR_THRESHOLD is 1.5"),
        ({"BATCHSCORE_TASK": "chat"}, "BATCHSCORE_TASK chat: the model"),
        ({"BATCHSCORE_INCREMENTAL": "true"}, "BATCHSCORE_INCREMENTAL"),
        ({"BATCHSCORE_VIA": "batch"}, "BATCHSCORE_VIA=batch is not for mini-batches.*batch-api.yml"),
    ],
)
def test_wrong_settings_are_named_by_their_variables(environ: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        settings_of(HOST, environ)


def test_settings_without_a_variable_are_named_as_flags() -> None:
    text = f"{setting_name('max_tokens')}, {setting_name('overwrite')}"
    assert name_variables(text, {}) == "BATCHSCORE_MAX_TOKENS, --overwrite"


@pytest.fixture
def called(
    simulator: Running, deployment: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What a host says to this process, by variables."""
    variables = {
        "AZUREML_MODEL_DIR": str(chat_model(deployment)),
        "AZUREML_BI_OUTPUT_PATH": str(tmp_path / "out"),
        SAMPLES_COLUMN: "text",
        "OPENAI_BASE_URL": f"{simulator.endpoint}/v1",
        "OPENAI_API_KEY": KEY,
        "TMPDIR": str(tmp_path),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["amlbi_main.py", *OWN])


def batches(files: Files, count: int) -> list[str]:
    return [
        str(files.texts(f"data/{number}.csv", ["the tide", "a loaf"]).absolute()) for number in range(count)
    ]


@pytest.mark.usefixtures("called")
def test_calls_work_on_any_thread_and_leave_signals_alone(
    files: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    paths = batches(files, 6)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    azureml.init()
    assert azureml.run([paths[0]]) == [paths[0]]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    async def in_a_loop() -> list[str]:
        return azureml.run([paths[1]])

    assert asyncio.run(in_a_loop()) == [paths[1]]
    azureml.init()
    azureml.init()
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda path: azureml.run((path,)), paths[2:5])) == [
            [path] for path in paths[2:5]
        ]
    azureml.shutdown()
    azureml.shutdown()
    assert azureml.run([paths[5], paths[5]]) == [paths[5], paths[5]]
    assert azureml.run([]) == []
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert len(read_scores(str(tmp_path / "out"), "chat")) == 12


@pytest.mark.usefixtures("called")
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("OPENAI_BASE_URL", "", "AZURE_OPENAI_ENDPOINT"),
        ("OPENAI_BASE_URL", "my-resource.openai.azure.com", "OPENAI_BASE_URL has no scheme"),
        ("BATCHSCORE_PROMPT", "no field", "BATCHSCORE_PROMPT uses no"),
    ],
)
def test_unusable_settings_raise_at_init_before_any_file(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.delenv(SAMPLES_COLUMN)
    with pytest.raises((SettingsError, UsageError), match=message):
        azureml.init()


@pytest.mark.usefixtures("called")
def test_a_mini_batch_must_be_a_list_of_files() -> None:
    azureml.init()
    for mini_batch in (pd.DataFrame({"text": ["a"]}), "a.csv"):
        with pytest.raises(UsageError, match="uri_folder"):
            azureml.run(mini_batch)


@pytest.mark.usefixtures("called")
def test_files_of_several_folders_need_a_base_dir(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise two files could have the same name, and one of them would be lost."""
    paths = [str(files.texts(f"data/{folder}/x.csv", [folder]).absolute()) for folder in "ab"]
    azureml.init()
    with pytest.raises(InputError, match="--batchscore-base-dir"):
        azureml.run(paths)
    monkeypatch.setenv("BATCHSCORE_BASE_DIR", str(Path("data").absolute()))
    azureml.init()
    assert azureml.run(paths) == paths
    assert set(read_scores("out", "chat")["file"]) == {"a/x.csv", "b/x.csv"}


@pytest.mark.usefixtures("called")
@pytest.mark.parametrize("other", ["the same", "another", "the same\n1,and more"])
def test_a_second_file_of_the_same_name_is_refused(files: Files, other: str) -> None:
    """Delivered one by one: the second is refused, whatever it holds."""
    paths = [str(files.text(f"data/{folder}/x.csv", "id,text\n0,the same\n").absolute()) for folder in "ab"]
    files.text("data/b/x.csv", f"id,text\n0,{other}\n")
    azureml.init()
    assert azureml.run(paths[:1]) == paths[:1]
    with pytest.raises(OutputError, match="BATCHSCORE_BASE_DIR") as caught:
        azureml.run(paths[1:])
    assert paths[0] in str(caught.value)
    assert len(read_scores("out", "chat")) == 1
    # The next job mounts the same files somewhere else.
    Path("mounted").symlink_to("data")
    again = str(Path("mounted/a/x.csv").absolute())
    assert azureml.run([again]) == [again]
    Path("data/a").rename("data/moved")
    moved = str(Path("data/moved/x.csv").absolute())
    assert azureml.run([moved]) == [moved]


@pytest.mark.slow
@pytest.mark.usefixtures("called")
def test_a_call_resumes_if_another_worker_overwrote_records(
    files: Files, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That worker replaced a part, and was killed before it could write the manifest."""
    path = str(files.texts("data/a.csv", [*("early",) * 4, *("late",) * 4]).absolute())
    monkeypatch.setenv("BATCHSCORE_ROWS_PER_PART", "4")
    monkeypatch.setenv("BATCHSCORE_MAX_RETRIES", "0")
    deployment.will(status=500, times=None, when_input_contains="late")
    azureml.init()
    assert azureml.run([path]) == []
    part = min(Path("out/chat").iterdir())
    right = part.read_bytes()
    deployment.reset()
    asked = deployment.statistics().count
    deployment.will_be_slow(4.0, times=4)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(azureml.run, [path])
        deployment.wait_for(asked + 1)
        part.write_bytes(right.replace(b"row", b"own"))
        assert call.result() == [path]
    assert part.read_bytes() == right
    assert len(read_scores("out", "chat")) == 8
    # The four that were left, and the four that were overwritten.
    assert deployment.statistics().count == asked + 8


@pytest.mark.slow
def test_the_script_finds_the_package_beside_it(deployment: Deployment, tmp_path: Path) -> None:
    """Whatever else is installed, and wherever the process is."""
    code = tmp_path / "code"
    shutil.copytree(ROOT / "src", code, ignore=shutil.ignore_patterns("__pycache__"))
    load = (
        "import sys; from importlib.util import spec_from_file_location as at, module_from_spec as new; "
        f"spec = at('driver', {str(code / 'batch_driver.py')!r}); script = new(spec); "
        "spec.loader.exec_module(script); script.init(); print(sys.modules['batchscore'].__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", load],
        env={
            "AZUREML_MODEL_DIR": str(sample_model(deployment)),
            "AZUREML_BI_OUTPUT_PATH": "out",
            "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
        },
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == str(code / "batchscore" / "__init__.py"), done.stderr
    assert not (tmp_path / "out").exists()
