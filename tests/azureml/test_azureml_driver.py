"""The scoring script in a batch host records each row once, despite double delivery and kills."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from batch_host import ROOT, BatchHost, chat_model, model_like, sample_model

import prefork
from batchscore import read_scores
from batchscore.errors import ExitCode
from batchscore.output.verify import verify_output
from batchscore.simulator import Running
from conftest import KEY
from simulated import Deployment

if TYPE_CHECKING:
    from cloud import Cloud
    from conftest import Cli, Direct, Files

pytestmark = pytest.mark.process

TEXT = {"AZUREML_BI_TEXT_COLUMN": "text"}

Hosts = Callable[..., BatchHost]


@pytest.fixture
def hosted(simulator: Running, imported: prefork.Server, tmp_path: Path) -> Hosts:
    """Return batch hosts whose variables name the simulator as an Azure OpenAI resource."""

    def build(model: Path, variables: dict[str, str], **more: Any) -> BatchHost:
        environ = {
            "AZURE_OPENAI_ENDPOINT": simulator.endpoint,
            "OPENAI_API_VERSION": "2024-10-21",
            "AZURE_OPENAI_API_KEY": KEY,
            **variables,
        }
        return BatchHost(imported, tmp_path / "host", model, environ, **more)

    return build


def whole(out: Path, task: str) -> dict[tuple[str, int], Any]:
    """Return each row's answer; every row has its record, and the output is correct."""
    verified = verify_output(out)
    assert verified.exit_code is ExitCode.DONE, verified
    scores = read_scores(out, task)
    found = {
        (file, row): answer
        for file, row, answer in zip(scores["file"], scores["row"], scores[task], strict=True)
    }
    assert len(found) == len(scores), "a row is recorded twice"
    return found


def bills(files: Files, count: int, rows: int) -> dict[str, list[str]]:
    """Write files as the old sample's data: text, summary and title, with quotes and newlines in cells."""
    texts = {
        f"billsum-{number}.csv": [f'bill "{number}", line {row}\nof the text' for row in range(rows)]
        for number in range(count)
    }
    for name, held in texts.items():
        files.csv(f"data/{name}", [{"text": text, "summary": "s", "title": "t"} for text in held])
    return texts


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.parametrize(("seed", "count", "rows", "kills"), [(1, 3, 50, 2), (2, 9, 600, 8), (3, 9, 600, 8)])
def test_the_old_sample_with_three_workers_double_delivery_and_kills(
    seed: int,
    count: int,
    rows: int,
    kills: int,
    files: Files,
    hosted: Hosts,
    deployment: Deployment,
    direct: Direct,
) -> None:
    texts = bills(files, count, rows)
    deployment.will_be_slow(0.1, times=None)
    variables = {
        "AZUREML_BI_TEXT_COLUMN": "text",
        "BATCHSCORE_ROWS_PER_PART": "25",
        "BATCHSCORE_BATCH_SIZE": "4",
        "BATCHSCORE_MAX_CONCURRENCY": "3",
    }
    host = hosted(
        sample_model(deployment),
        variables,
        processes=3,
        machines=2,
        twice=True,
        kills=kills,
        draw=random.Random(seed),
    )
    end = host.run(Path("data"), Path("out"))
    assert (end.status, end.failed_files, end.raised) == ("Completed", 0, []), end.words
    assert end.killed >= 1
    assert len(end.returned) == 2 * count
    found = whole(Path("out"), "embeddings")
    assert found.keys() == {(name, row) for name, held in texts.items() for row in range(len(held))}
    draw = random.Random(seed)
    for name, held in texts.items():
        sample = sorted(draw.sample(range(rows), 10))
        vectors = direct.vectors([held[row] for row in sample])
        for row, vector in zip(sample, vectors, strict=True):
            assert found[name, row] == pytest.approx(vector, rel=1e-6)
    # A resubmitted job on the same output asks for nothing.
    asked = deployment.statistics().count
    again = host.run(Path("data"), Path("out"))
    assert (again.status, deployment.statistics().count) == ("Completed", asked)
    assert KEY not in end.words


@pytest.mark.slow
@pytest.mark.parametrize("own_deadline", [True, False])
def test_a_file_that_takes_longer_than_all_tries_is_finished_by_the_next_job(
    own_deadline: bool,  # noqa: FBT001
    files: Files,
    hosted: Hosts,
    deployment: Deployment,
) -> None:
    """With its own deadline nothing is lost; a kill and another machine lose unpublished answers."""
    rows = 80
    files.texts("data/a.csv", [f"row {row}" for row in range(rows)])
    deployment.will_be_slow(0.06, times=None)
    variables = {**TEXT, "BATCHSCORE_MAX_CONCURRENCY": "2", "BATCHSCORE_ROWS_PER_PART": "5"}
    if not own_deadline:
        variables["BATCHSCORE_DEADLINE"] = "1h"
    host = hosted(chat_model(deployment), variables, timeout_s=1.2, max_retries=2)
    ends = [host.run(Path("data"), Path("out"))]
    assert (ends[0].status, ends[0].failed_files) == ("Failed", 1)
    while ends[-1].status == "Failed":
        assert len(ends) < 40  # on a slow machine each job scores few rows
        ends.append(host.run(Path("data"), Path("out")))
    assert whole(Path("out"), "chat").keys() == {("a.csv", row) for row in range(rows)}
    assert sum(end.killed for end in ends) == 0 if own_deadline else ends[0].killed == 2
    # In flight are two, and of a machine that is lost a part or two.
    most = 2 if own_deadline else 22
    assert deployment.statistics().count <= rows + most * sum(end.calls for end in ends)
    if own_deadline:
        assert not any(end.raised for end in ends)
        assert "the run must end by BATCHSCORE_DEADLINE" in ends[0].words
    else:
        assert "Set a shorter BATCHSCORE_DEADLINE" in ends[0].words


@pytest.mark.slow
def test_a_step_of_a_pipeline_gets_all_seven_formats_into_parquet(
    files: Files, hosted: Hosts, deployment: Deployment, direct: Direct
) -> None:
    rows = [{"text": f"text {row}", "title": "t"} for row in range(4)]
    table = pa.Table.from_pylist(rows)
    files.csv("data/a.csv", rows)
    files.csv("data/b.TSV", rows, delimiter="\t")
    files.parquet("data/deep/c.parquet", rows)
    files.json("data/d.json", rows)
    files.lines("data/e.jsonl", rows)
    pyarrow.feather.write_feather(table, Path("data/f.arrow"))
    files.text("data/deep/a.txt", "".join(f"{row['text']}\n" for row in rows))
    host = hosted(
        model_like("embeddings-3.17", deployment, "vectors", "embeddings"),
        {"AZUREML_BI_TEXT_COLUMN": "text", "BATCHSCORE_FORMAT": "parquet"},
        as_step=True,
        processes=2,
        mini_batch_size=3,
        program_arguments=["--batchscore-base-dir", "{input}"],
    )
    end = host.run(Path("data"), Path("out"))
    assert (end.status, end.raised) == ("Completed", []), end.words
    found = whole(Path("out"), "embeddings")
    names = {"a.csv", "b.TSV", "deep/c.parquet", "d.json", "e.jsonl", "f.arrow", "deep/a.txt"}
    assert found.keys() == {(name, row) for name in names for row in range(4)}
    vectors = direct.vectors([row["text"] for row in rows])
    for (_, row), vector in found.items():
        assert vector == pytest.approx(vectors[row], rel=1e-6)
    parts = [path for path in Path("out/embeddings").iterdir() if path.suffix == ".parquet"]
    assert sum(pq.read_metadata(part).num_rows for part in parts) == 28


@pytest.mark.slow
def test_a_file_beside_the_script_names_two_deployments_whose_quotas_add_up(
    files: Files, hosted: Hosts, simulator: Running, deployment: Deployment
) -> None:
    """The working folder of a process is a temporary one, and holds no such file."""
    other = Deployment(simulator.endpoint, deployment.name + "-west")
    files.texts("data/a.csv", [f"row {row}" for row in range(60)])
    files.bytes("code/batch_driver.py", (ROOT / "src" / "batch_driver.py").read_bytes())
    tables = "".join(
        f'[[deployments]]\ndeployment = "{one.name}"\nrpm = 600\n' for one in (deployment, other)
    )
    files.text("code/own.toml", f"max_tokens = 5\nparam = {{ seed = 3 }}\n{tables}")
    host = hosted(
        chat_model(deployment),
        {**TEXT, "BATCHSCORE_CONFIG": "own.toml", "BATCHSCORE_MAX_TOKENS": "7"},
        script=Path("code/batch_driver.py").absolute(),
    )
    end = host.run(Path("data"), Path("out"))
    assert (end.status, end.raised) == ("Completed", []), end.words
    assert len(whole(Path("out"), "chat")) == 60
    counts = [one.statistics().count for one in (deployment, other)]
    assert sum(counts) == 60
    assert min(counts) > 10
    asked = deployment.requests()[0].body
    assert (asked["seed"], asked["max_tokens"]) == (3, 7)


@pytest.mark.slow
def test_calls_of_one_process_sign_in_once(
    files: Files, hosted: Hosts, deployment: Deployment, cloud: Cloud
) -> None:
    for number in range(4):
        files.texts(f"data/{number}.csv", [f"one {number}", "two"])
    signed_in = {
        "AZURE_OPENAI_ENDPOINT": cloud.url,
        "BATCHSCORE_AUTH": "entra",
        "MSI_ENDPOINT": f"{cloud.url}/msi",
        "MSI_SECRET": "s3",
    }
    end = hosted(sample_model(deployment), {**TEXT, **signed_in}).run(Path("data"), Path("out"))
    assert (end.status, end.calls, cloud.rejected) == ("Completed", 4, 0), end.words
    assert cloud.answered >= 4
    assert len(cloud.tokens) == 1


@pytest.mark.slow
@pytest.mark.parametrize("task", ["chat", "responses"])
def test_a_model_that_we_saved_is_asked_with_its_template_and_parameters(
    files: Files, hosted: Hosts, deployment: Deployment, batchscore: Cli, task: str
) -> None:
    files.texts("data/a.csv", ["the tide", "a loaf"])
    command = ["model", "save", "own", "--task", task, "-m", "gpt", "--deployment", deployment.name]
    saved = batchscore(*command, "--prompt", "Of {text}?", "--param", "temperature=0.5")
    assert saved.exit_code == 0, saved
    variables = {"BATCHSCORE_PARAM": '{"user": "u"}', "BATCHSCORE_ID": "id"}
    end = hosted(Path("own").absolute(), variables).run(Path("data"), Path("out"))
    assert (end.status, end.raised) == ("Completed", []), end.words
    assert list(read_scores("out", task)["id"]) == ["000", "001"]
    for request in deployment.requests():
        said = request.body["messages"][0]["content"] if task == "chat" else request.body["input"]
        assert said in {"Of the tide?", "Of a loaf?"}
        assert (request.body["temperature"], request.body["user"]) == (0.5, "u")
        assert request.body.get("store") is (None if task == "chat" else False)


def test_only_files_that_are_settled_are_returned(
    files: Files, hosted: Hosts, deployment: Deployment
) -> None:
    """Including empty files and files that are not data, but no failed or unreadable ones."""
    files.texts("data/good.csv", ["a row", ""])
    files.texts("data/bad.csv", ["a row", "a refused row", "another refused row"])
    files.text("data/none.csv", "id,text\n")
    files.text("data/_SUCCESS", "")
    files.text("data/Thumbs.db", "")
    files.texts("data/_also.csv", ["a row"])
    files.text("data/.good.csv.crc", "x")
    files.text("data/book.ods", "x")
    files.bytes("data/torn.parquet", b"PAR1")
    files.csv("data/other.csv", [{"title": "no text"}])
    deployment.will(status=400, times=None, when_input_contains="refused")
    host = hosted(chat_model(deployment), TEXT, mini_batch_size=10, max_retries=2)
    end = host.run(Path("data"), Path("out"))
    assert (end.status, end.failed_files, end.raised) == ("Failed", 4, []), end.words
    returned = {Path(path).name for path in end.returned}
    assert returned == {"good.csv", "none.csv", "_also.csv", "_SUCCESS", "Thumbs.db", ".good.csv.crc"}
    assert set(read_scores("out", "chat")["file"]) == {"good.csv", "bad.csv", "_also.csv"}
    assert "bad.csv: 3 rows, 1 scored, 2 failed: more than BATCHSCORE_ERROR_THRESHOLD (0) allows" in end.words
    assert "torn.parquet cannot be scored" in end.words
    assert "other.csv cannot be scored: no column 'text' (AZUREML_BI_TEXT_COLUMN); its columns" in end.words
    assert "book.ods: suffix .ods is not one" in end.words
    asked = deployment.statistics().count
    (Path("data/book.ods")).unlink()
    (Path("data/torn.parquet")).unlink()
    (Path("data/other.csv")).unlink()
    lenient = hosted(host.model, {**TEXT, "BATCHSCORE_ERROR_THRESHOLD": "0.7"}, mini_batch_size=10)
    assert lenient.run(Path("data"), Path("out")).status == "Completed"
    assert deployment.statistics().count == asked


def test_a_service_that_refuses_raises_and_says_why(
    files: Files, hosted: Hosts, deployment: Deployment
) -> None:
    files.texts("data/a.csv", ["a row"])
    deployment.will(status=404, code="DeploymentNotFound", times=None)
    host = hosted(chat_model(deployment), TEXT, max_retries=2)
    end = host.run(Path("data"), Path("out"))
    assert (end.status, end.failed_files, len(end.raised)) == ("Failed", 1, 2)
    assert "404" in end.raised[0]
    assert not any(KEY in text for text in (*end.raised, end.words))


def test_a_column_must_be_named_if_several_hold_text(
    files: Files, hosted: Hosts, deployment: Deployment
) -> None:
    bills(files, 1, 3)
    end = hosted(sample_model(deployment), {}, max_retries=1).run(Path("data"), Path("out"))
    assert end.status == "Failed"
    assert "text, summary, title" in end.raised[0]
    assert "AZUREML_BI_TEXT_COLUMN" in end.raised[0]
    assert deployment.statistics().count == 0


def test_a_model_without_a_task_raises_at_init(files: Files, hosted: Hosts, deployment: Deployment) -> None:
    files.texts("data/a.csv", ["a row"])
    files.text("other/MLmodel", "flavors:\n  sklearn:\n    data: model.pkl\n")
    end = hosted(Path("other").absolute(), {}, max_retries=1).run(Path("data"), Path("out"))
    assert (end.status, end.calls) == ("Failed", 0)
    assert "without the openai flavour" in end.raised[0].replace("flavor", "flavour")
    empty = Path("empty").absolute()
    empty.mkdir()
    end = hosted(empty, {}, max_retries=1).run(Path("data"), Path("out"))
    assert "is not an MLflow model" in end.raised[0]
