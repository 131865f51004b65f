"""Secrets: the input's text appears only in records that keep it, and the key nowhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from cli_records import codes, whole

from batchscore.simulator import Running
from batchscore.simulator.script import Behaviour
from batchscore.simulator.words import CONTENT_FILTER_TRIGGER
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Files

MARKER = "m4rk3r-0f-a-cell"


def test_neither_the_input_nor_the_key_appears_anywhere_else(
    batchscore: Cli, files: Files, deployment: Deployment, simulator: Running
) -> None:
    """Not in error records, manifests, the run's record or any output stream, nor in echoed messages."""
    texts = [f"{word} {MARKER}" for word in ("one", "BROKEN", "REFUSED", CONTENT_FILTER_TRIGGER)]
    files.lines("in/a.jsonl", [*({"text": text} for text in texts), {"other": MARKER}])
    files.text("in/b.jsonl", f'{{"text": "{MARKER}"}}\n{{"text": "{MARKER}\n')
    files.text("in/c.csv", f'text,n\n{MARKER},1\n{MARKER},"2"x,{MARKER}\n"{MARKER}')
    files.text("in/d.json", f'[{{"text": "{MARKER}"}}, {{"text": "{MARKER}')
    files.text("in/e.parquet", f"PAR1{MARKER}")
    files.lines("in/f.jsonl", [{"text": [MARKER]}, {"text": {"a": MARKER}}])
    echo = f"Failed on {MARKER} with key {simulator.key}"
    deployment.will(
        Behaviour(
            status=500,
            latency=0.5,
            code=MARKER + " x",
            message=echo,
            when_input_contains="BROKEN",
            times=None,
        ),
        Behaviour(status=400, text=f"<html>{echo}</html>", when_input_contains="REFUSED", times=None),
    )
    command = [
        "score",
        "in",
        "--task",
        "chat",
        "--column",
        "text",
        "-m",
        deployment.name,
        "--max-retries",
        "0",
    ]
    other_model = ["no-such-model" if word == deployment.name else word for word in command]
    out, wrong = batchscore.each(
        ([*command, "-o", "out"], {}),
        ([*other_model, "-o", "wrong"], {"OPENAI_API_KEY": f"{simulator.key}2"}),
    )
    assert (out.exit_code, wrong.exit_code) == (1, 1)
    found = codes(whole("out", "chat")[1])
    assert {"server_error", "content_filter", "invalid_request", "missing_column", "unreadable_row"} == set(
        found.values()
    )
    for path in sorted(
        path for folder in ("out", "wrong") for path in Path(folder).rglob("*") if path.is_file()
    ):
        content = path.read_bytes()
        assert simulator.key.encode() not in content, path
        if path.parent != Path("out/chat"):
            assert MARKER.encode() not in content, path
    for run in (out, wrong):
        assert simulator.key not in run.said
        assert MARKER not in run.said
    (record,) = Path("out/runs").iterdir()
    run_record = json.loads(record.read_bytes())
    assert run_record["endpoints"][0] == {
        "name": f"{deployment.name} at {simulator.endpoint.removeprefix('http://')}",
        "url": f"{simulator.endpoint}/v1/chat/completions",
        "auth": "key",
        "from": {
            "endpoint": "OPENAI_BASE_URL",
            "deployment": "model",
            "key": "OPENAI_API_KEY",
            "auth": "OPENAI_API_KEY",
        },
        "rpm": None,
        "tpm": None,
    }
    assert run_record["exit_code"] == 1
    assert run_record["rows"] == run_record["ok"] + run_record["errors"]


def test_a_key_in_an_address_and_tokens_in_texts_are_shown_nowhere(
    batchscore: Cli, files: Files, simulator: Running
) -> None:
    """Not in messages, the closing command, the records, the report or an event, whatever the flag is."""
    files.lines("in.jsonl", [{"text": "one"}])
    keys = [f"M4rk3r{name}" for name in ("path8Zk1", "Header", "Query")] + [f"ghp_{'M4rk3r' * 6}"]
    endpoint = f"{simulator.endpoint}/{keys[0]}/v1"
    command = ["score", "in.jsonl", "--task", "chat", "-m", "m", "--endpoint", endpoint]
    command += ["--header", f"X-Team={keys[1]}", f"--query=team={keys[2]}", "--max-outage", "1"]
    command += ["--system", f"Token {keys[3]}", "--prompt", f"{keys[3]} {{text}}"]
    schema = {"type": "object", "description": keys[3], "properties": {"a": {"enum": ["sig=M4rk3r", "b"]}}}
    command += ["--schema", json.dumps(schema), "--sheet", "pwd=M4rk3rSheet"]
    environ = {"BATCHSCORE_API_KEY": "s3cr3t-of-a-header"}
    runs = batchscore.each(
        ([*command, "-o", "out", "--verbose"], environ), ([*command, "-o", "json", "--json"], environ)
    )
    assert [run.exit_code for run in runs] == [1, 1], runs[0].said
    assert f"{simulator.endpoint}/***/v1" in runs[0].said
    paths = [path for folder in ("out", "json") for path in Path(folder).rglob("*") if path.is_file()]
    assert any(path.name == "report.html" for path in paths)
    for text in [*(run.said for run in runs), *(path.read_text("utf-8", "replace") for path in paths)]:
        assert "M4rk3r" not in text
        assert "s3cr3t" not in text


def test_a_secret_in_what_is_said_of_a_file_is_shown_nowhere(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    """Names of columns may be anything; what is said of them goes to manifests, records and events."""
    key = "sig=M4rk3r4567890123"
    files.lines("in/a.jsonl", [{"text": "one"}])
    files.lines("in/b.jsonl", [{key: "one"}])
    files.lines("in/c.jsonl", [{key: "one", "text": "two"}, {"x": f"https://u:M4rk3r@h/?{key}"}])
    files.lines("d.jsonl", [{key: "one", "n": 1}])
    common = ["--task", "chat", "-m", deployment.name]
    columns = ["in", "--column", "text", *common]
    runs = batchscore.each(
        (["score", *columns, "-o", "out", "--json"], {}),
        (["plan", *columns, "--json"], {}),
        (["verify", "out"], {}),
        (["score", "d.jsonl", "-o", "other", "--json", *common], {}),
    )
    assert "no column 'text'" in runs[0].said
    assert "sig=***" in runs[0].said
    assert "sig=***" in runs[3].said
    paths = [path for path in [*Path("out").rglob("*"), *Path("other/runs").glob("*")] if path.is_file()]
    assert any(path.name == "report.html" for path in paths)
    for text in [*(run.said for run in runs), *(path.read_text("utf-8", "replace") for path in paths)]:
        assert "M4rk3r" not in text


def test_another_prompt_is_not_resumed_if_it_differs_in_what_is_hidden(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", ["one", "two"])
    ids = "1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms", "2CyjNWt1YSB6oGNeLwCeCAkhnVVrqumct85PhwF3vqnt"
    common = ["score", "a.csv", "-o", "out", "-m", deployment.name, "--task", "chat"]
    first, again, other = (
        batchscore(*common, "--prompt", f"Compare with https://docs.example/document/d/{each} : {{text}}")
        for each in (ids[0], ids[0], ids[1])
    )
    assert [each.exit_code for each in (first, again, other)] == [0, 0, 1], other
    assert "(the part of prompt that is hidden as *** has changed, or was not recorded)" in other.said
    assert deployment.statistics().count == 2


def test_a_secret_parameter_is_shown_nowhere(batchscore: Cli, files: Files, deployment: Deployment) -> None:
    """Not in the closing command, the records, the report or an event; the command says where it belongs."""
    files.lines("in.jsonl", [{"text": "one"}, {"other": "two"}])
    search = [{"parameters": {"authentication": {"type": "connection_string", "connection_string": MARKER}}}]
    command = ["score", "in.jsonl", "--task", "chat", "--column", "text", "-m", deployment.name]
    params = ["--param", f"pwd={MARKER}", f"--param=data_sources={json.dumps(search)}", "--param", "seed=7"]
    plain, events = batchscore.together(
        [*command, *params, "-o", "out", "--error-threshold", "0", "--verbose"],
        [*command, *params, "-o", "json", "--json"],
    )
    assert (plain.exit_code, events.exit_code) == (1, 1), "the service knows no such parameters"
    assert "(put the secret in the place of ***)" in plain.said
    assert "--param 'pwd=***'" in plain.said
    assert "--param seed=7" in plain.said
    assert MARKER not in plain.said + events.said
    for path in [path for folder in ("out", "json") for path in Path(folder).rglob("*") if path.is_file()]:
        assert MARKER.encode() not in path.read_bytes(), path
