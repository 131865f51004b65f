"""`batchscore model save`, and `score` with our models and others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_records import records

from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Files

#: Folders that `mlflow.openai.save_model` wrote.
FOREIGN = Path(__file__).parents[1] / "mlflow_model" / "foreign"


@pytest.mark.slow
def test_a_model_is_saved_and_scores_from_another_folder(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    saved = batchscore(
        *("model", "save", "models/mine", "--task", "chat", "--model", deployment.name),
        *("--prompt", "Sing of {text}", "--param", "temperature=0.3", "--max-tokens", "20"),
    )
    assert (saved.exit_code, saved.stderr) == (0, "")
    assert "batchscore score INPUT -o OUT --model ./models/mine\n" in saved.stdout
    files.csv("elsewhere/rows.csv", [{"title": "a", "text": "the tide"}, {"title": "b", "text": ""}])
    run = batchscore(
        *("score", "rows.csv", "-o", "out", "--model", "../models/mine", "--max-tokens", "5"), cwd="elsewhere"
    )
    assert run.exit_code == 0, run.said
    assert len(records(Path("elsewhere/out/chat"))) == 1
    (sent,) = deployment.requests()
    assert sent.body["messages"] == [{"role": "user", "content": "Sing of the tide"}]
    assert (sent.body["temperature"], sent.body["max_tokens"]) == (0.3, 5)


def test_a_model_of_the_old_sample_needs_a_column_if_several_hold_text(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.csv("bills.csv", [{"text": "A bill.", "summary": "Short.", "title": "An act"}])
    files.lines("one.jsonl", [{"body": "A bill.", "n": 1}])
    model = ("--model", FOREIGN / "sample-2.7", "--deployment", deployment.name)
    unnamed, named, only = batchscore.together(
        ("score", "bills.csv", "-o", "unnamed", *model),
        ("score", "bills.csv", "-o", "named", *model, "--column", "text"),
        ("score", "one.jsonl", "-o", "one", *model),
    )
    assert unnamed.exit_code == 1
    assert "several columns hold text: text, summary, title." in unnamed.said
    assert "--column" in unnamed.said
    assert (named.exit_code, only.exit_code) == (0, 0)
    assert len(records(Path("named/embeddings"))) == len(records(Path("one/embeddings"))) == 1


@pytest.mark.slow
def test_a_template_of_other_models_takes_the_named_column(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """The column with the field's name; the named one; the only text column; plain texts."""
    rows = [{"animal": "a cat", "body": "a dog"}]
    files.csv("both.csv", rows)
    files.csv("one.csv", [{"body": "a cow"}])
    files.text("bare.txt", "a hen\n")
    model = ("--model", FOREIGN / "messages-3.17", "--deployment", deployment.name, "--max-tokens", "200")
    runs = batchscore.together(
        ("score", "both.csv", "-o", "own", *model),
        ("score", "both.csv", "-o", "named", *model, "--column", "body"),
        ("score", "one.csv", "-o", "only", *model),
        ("score", "bare.txt", "-o", "bare", *model),
    )
    assert [run.exit_code for run in runs] == [0] * 4, [run.said for run in runs]
    for folder, animal in {"own": "a cat", "named": "a dog", "only": "a cow", "bare": "a hen"}.items():
        (record,) = records(Path(folder) / "chat").values()
        assert animal in record["chat"]


def test_a_model_with_another_column_is_another_output(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.csv("both.csv", [{"animal": "a cat", "body": "a dog"}])
    model = ("--model", FOREIGN / "messages-2.22", "--deployment", deployment.name)
    command = ("score", "both.csv", "-o", "out", *model)
    assert batchscore(*command).exit_code == 0
    again = batchscore(*command, "--column", "body")
    assert again.exit_code == 1
    assert "column" in again.said


def test_invalid_models_are_refused(batchscore: Cli, files: Files) -> None:
    files.csv("rows.csv", [{"text": "a"}])
    files.text("other/MLmodel", "flavors:\n  sklearn: {}\n")
    foreign, contradicted, nowhere, secret, full = batchscore.together(
        ("score", "rows.csv", "-o", "a", "--model", "./other"),
        ("score", "rows.csv", "-o", "b", "--model", FOREIGN / "sample-2.7", "--task", "chat"),
        ("score", "rows.csv", "-o", "c", "--model", "./nowhere"),
        ("model", "save", "m", "--task", "chat", "--model", "m", "--param", "api_key=s3cret"),
        ("model", "save", "other", "--task", "chat", "--model", "gpt-4o"),
    )
    assert (foreign.exit_code, "without the openai flavour (it has: sklearn)" in foreign.said) == (1, True)
    assert (contradicted.exit_code, "was saved for embeddings" in contradicted.said) == (2, True)
    assert (nowhere.exit_code, "is not an MLflow model" in nowhere.said) == (1, True)
    assert (secret.exit_code, "stores no secrets" in secret.said) == (2, True)
    assert "s3cret" not in secret.said
    assert (full.exit_code, "other is not empty" in full.said) == (1, True)


@pytest.mark.slow
def test_scoring_with_a_folder_does_not_load_mlflow(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """It takes seconds, and each worker would wait for it."""
    files.csv("rows.csv", [{"text": "a"}])
    model = ["--model", str(FOREIGN / "embeddings-3.17"), "--deployment", deployment.name]
    words = ["score", "rows.csv", "-o", "out", *model]
    code = (
        "import sys, atexit\n"
        f"sys.argv[1:] = {words!r}\n"
        "atexit.register(lambda: print('mlflow' in sys.modules, 'pandas' in sys.modules))\n"
        "from batchscore.__main__ import main\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **batchscore.environ},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "False False"
