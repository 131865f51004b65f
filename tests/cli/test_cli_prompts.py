"""Prompts: columns, templates, messages, parameters; and the other fields of a record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from cli_records import codes, whole

from batchscore.simulator import Running
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Cli, Direct, Files


def bodies(deployment: Deployment) -> list[dict[str, Any]]:
    """Return the bodies of the requests, without the model's name."""
    return [{k: v for k, v in one.body.items() if k != "model"} for one in deployment.requests()]


def in_order(asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(asked, key=lambda one: json.dumps(one, sort_keys=True))


def test_a_template_takes_cells_and_literal_braces(
    batchscore: Cli, files: Files, deployment: Deployment, simulator: Running
) -> None:
    files.csv("a.csv", [{"who": "Ada", "what": "tides"}, {"who": "Bo {what}", "what": ""}])
    with_system = Deployment(simulator.endpoint, deployment.name + "-chat")
    shared = ["score", "a.csv", "--prompt", 'Answer {{"q": "{who} on { what }"}}']
    completions, chat = batchscore.together(
        [*shared, "-o", "completions", "--task", "completions", "-m", deployment.name],
        [*shared, "-o", "chat", "--task", "chat", "-m", with_system.name, "--system", "About {what}."],
    )
    assert (completions.exit_code, chat.exit_code) == (0, 0), chat
    texts = ['Answer {"q": "Ada on tides"}', 'Answer {"q": "Bo {what} on "}']
    assert bodies(deployment) == [{"prompt": text} for text in texts]
    assert in_order(bodies(with_system)) == [
        {"messages": [{"role": "system", "content": f"About {what}."}, {"role": "user", "content": text}]}
        for what, text in zip(("", "tides"), reversed(texts), strict=True)
    ]


def test_a_bad_template_is_found_before_the_first_request(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", ["one"])
    words = {
        "{text": "does not enclose a column",
        "text}": "has no opening brace",
        "Hello": "uses no {column}",
    }
    command = ["score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name, "--prompt"]
    for run, expected in zip(
        batchscore.together(*([*command, template] for template in words)), words.values(), strict=True
    ):
        assert run.exit_code == 2
        assert "--prompt" in run.said
        assert expected in run.said
    assert deployment.statistics().count == 0
    assert not Path("out").exists()


def test_messages_come_from_a_file_of_templates(
    batchscore: Cli, files: Files, direct: Direct, deployment: Deployment
) -> None:
    files.texts("a.csv", ["The tide turns twice a day.", ""])
    image = {"type": "image_url", "image_url": {"url": "https://example.test/{id}.png"}}
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "Sum up: {text}"}, image]},
    ]
    files.json("messages.json", messages)
    run = batchscore(
        *("score", "a.csv", "-o", "out", "--task", "chat", "-m", deployment.name),
        *("--messages", "messages.json", "--usage", "--raw"),
    )
    assert run.exit_code == 0, run
    first = bodies(deployment)[0]["messages"]
    assert first[1]["content"][0]["text"] == "Sum up: The tide turns twice a day."
    assert first[1]["content"][1]["image_url"]["url"] == "https://example.test/000.png"
    scores, errors = whole("out", "chat")
    # Row 1 has an id, so it is not wholly empty and is asked.
    assert not errors
    record = scores["a.csv", 0]
    assert record["chat"] == direct.chat(*first) == record["raw"]["choices"][0]["message"]["content"]
    assert record["usage"] == record["raw"]["usage"]
    assert record["usage"]["completion_tokens"] > 1


def test_a_ready_messages_column_in_every_kind_of_file(
    batchscore: Cli, files: Files, direct: Direct, deployment: Deployment
) -> None:
    """JSON text in csv, lists in jsonl, structs in parquet; `--system` is added if it is missing."""
    said = [[{"role": "user", "content": f"What of number {number}?"}] for number in range(3)]
    said[1].insert(0, {"role": "system", "content": "Mine."})
    said[2].append({"role": "assistant", "content": "Well, ", "name": "me"})
    files.csv("in/a.csv", [{"messages": json.dumps(one), "n": 1} for one in said])
    files.lines(
        "in/b.jsonl", [*({"messages": one} for one in said), {"messages": "no list"}, {"messages": []}]
    )
    files.parquet("in/c.parquet", [{"messages": one} for one in said])
    command = ["score", "in", "-o", "out", "--task", "chat", "-m", deployment.name]
    run = batchscore(*command, "--system", "Be short.", env={"BATCHSCORE_DROP_LAST_ASSISTANT": "false"})
    assert run.exit_code == 3
    scores, errors = whole("out", "chat")
    assert codes(errors) == {("b.jsonl", 3): "invalid_messages", ("b.jsonl", 4): "invalid_messages"}
    opening = {"role": "system", "content": "Be short."}
    whole_talks = [talk if talk[0]["role"] == "system" else [opening, *talk] for talk in said]
    for file in ("a.csv", "b.jsonl", "c.parquet"):
        for row, talk in enumerate(whole_talks):
            assert scores[file, row]["chat"] == direct.chat(*talk), (file, row)
    assert in_order(bodies(deployment)) == in_order([{"messages": talk} for talk in whole_talks * 3])


def test_ids_and_kept_columns_are_in_scores_and_errors(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    rows = [
        {"id": "007", "text": "one", "lang": "NA", "n": "1e5"},
        {"id": "007", "text": "", "lang": "", "n": "2"},
    ]
    files.csv("in/a.csv", rows)
    files.lines("in/b.jsonl", [{"id": 8, "text": "three", "lang": ["en"], "n": None}])
    command = ["score", "--task", "chat", "-m", deployment.name, "--column", "text", "--id", "id"]
    named, everything, loose = batchscore.together(
        [*command, "in", "-o", "named", "--keep", "lang", "--keep", "n"],
        [*command, "in/a.csv", "-o", "everything", "--keep", "*", "--format", "parquet"],
        [*command, "in", "-o", "loose", "--keep", "*", "--format", "parquet"],
    )
    assert [run.exit_code for run in (named, everything, loose)] == [0, 0, 2], named
    assert "b.jsonl may differ in their columns" in loose.said
    assert (
        "  1 row has the id of an earlier row: a.csv, row 1 (the first row of a file is row 0)"
        in named.stdout
    )
    for later in ([*command, "in", "-o", "named", "--keep", "lang", "--keep", "n"], ["verify", "named"]):
        run = batchscore(*later)
        assert "1 row has the id of an earlier row: a.csv, row 1 (the first row of a file" in run.stdout
    scores, errors = whole("named", "chat")
    record = scores["a.csv", 0]
    assert list(record) == ["file", "row", "id", "lang", "n", "chat", "finish_reason"]
    assert (record["id"], record["lang"], record["n"]) == ("007", "NA", "1e5")
    assert (scores["b.jsonl", 0]["id"], scores["b.jsonl", 0]["lang"]) == ("8", ["en"])
    assert list(errors["a.csv", 1]) == ["file", "row", "id", "lang", "n", "error"]
    assert errors["a.csv", 1]["id"] == "007"
    (kept,) = pq.read_table("everything/chat").to_pylist()
    assert list(kept) == ["file", "row", "id", "text", "lang", "n", "chat", "finish_reason"]
    assert (kept["id"], kept["lang"], kept["n"]) == ("007", "NA", "1e5")


def test_usage_and_raw_replies_of_embeddings_need_one_row_a_request(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    files.texts("a.csv", ["one", "two words"])
    command = ["score", "a.csv", "--task", "embeddings", "--column", "text", "-m", deployment.name]
    command += ["--usage", "--raw"]
    many, one = batchscore.together([*command, "-o", "many"], [*command, "-o", "one", "--batch-size", "1"])
    assert (many.exit_code, one.exit_code) == (2, 0)
    assert "--batch-size 1" in many.said
    assert not Path("many").exists()
    for record in whole("one", "embeddings")[0].values():
        assert record["usage"]["prompt_tokens"] >= 1
        assert record["raw"]["model"] == f"simulator:{deployment.name}"


def test_max_tokens_has_the_name_that_the_model_accepts(
    batchscore: Cli, files: Files, deployment: Deployment, simulator: Running
) -> None:
    """The model's name decides, else the service's 400: then one request is lost, not one per row."""
    files.texts("a.csv", [f"Long row {number} about the harbour and the tide." for number in range(8)])
    # The simulator goes by the deployment's name, we by the model's.
    hidden = Deployment(simulator.endpoint, f"o3-{deployment.name}")
    shown = Deployment(simulator.endpoint, f"o4-{deployment.name}")
    command = ["score", "a.csv", "--task", "chat", "--column", "text", "--max-tokens", "80"]
    runs = batchscore.together(
        [*command, "-o", "shown", "-m", "o4-mini", "--deployment", shown.name],
        [*command, "-o", "hidden", "-m", "our-thinker", "--deployment", hidden.name],
    )
    assert [run.exit_code for run in runs] == [0, 0], runs
    assert {body.get("max_completion_tokens") for body in bodies(shown)} == {80}
    assert not any("max_tokens" in body for body in bodies(shown))
    statuses = [one.status for one in hidden.requests()]
    assert statuses == [400] + [200] * 8
    # 64 of the 80 tokens go into thought, so these answers break off, and say so.
    assert "8 length" in runs[0].stdout
    assert {record["finish_reason"] for record in whole("shown", "chat")[0].values()} == {"length"}


def test_parameters_are_sent_unchanged(
    batchscore: Cli, files: Files, deployment: Deployment, simulator: Running
) -> None:
    files.texts("a.csv", ["Boats lie in the harbour. Trams run at night. Bees dance."])
    form = {
        "type": "json_schema",
        "json_schema": {"name": "x", "schema": {"type": "object", "properties": {}}},
    }
    files.json("form.json", form)
    stopping = Deployment(simulator.endpoint, deployment.name + "-2")
    command = ["score", "a.csv", "--task", "chat", "--column", "text"]
    given = [
        *(
            "--param",
            "temperature=0.25",
            "--param",
            "seed=7",
            "--param",
            'user="1"',
            "--param",
            "metadata={}",
        ),
        *("--param", "response_format=@form.json", "--param", "store=false", "--param", "service_tier=auto"),
        *("--max-tokens", "80"),
    ]
    params, answers = batchscore.together(
        [*command, "-o", "params", "-m", deployment.name, *given],
        [*command, "-o", "answers", "-m", stopping.name, "--param", "n=2", "--param", 'stop=["zzz"]'],
    )
    assert [run.exit_code for run in (params, answers)] == [0, 0], answers
    sent = bodies(deployment)[0]
    del sent["messages"]
    assert sent == {
        "temperature": 0.25,
        "seed": 7,
        "user": "1",
        "metadata": {},
        "response_format": form,
        "store": False,
        "service_tier": "auto",
        "max_tokens": 80,
    }
    record = whole("answers", "chat")[0]["a.csv", 0]
    assert len(record["chat"]) == 2
    assert record["chat"][0].startswith("Boats")
    assert record["chat"][1].startswith("Trams")
    assert record["finish_reason"] == ["stop", "stop"]


@pytest.mark.slow
def test_a_run_of_responses_is_planned_resumed_merged_and_verified(
    batchscore: Cli, files: Files, deployment: Deployment
) -> None:
    long = "the tide turns twice in our harbour and nobody is surprised by it at all"
    rows = [{"text": f"On day {number} {long}.", "tone": "kind"} for number in range(6)]
    files.csv("a.csv", [*rows, {"text": "", "tone": ""}])
    deployment.will(shape="failed_prompt", when_input_contains="day 5")
    command = ["a.csv", "-o", "out", "--task", "responses", "-m", deployment.name, "--column", "text"]
    command += ["--system", "Be {tone}.", "--max-tokens", "16", "--format", "parquet", "--usage"]
    planned = batchscore("plan", *command, "--json")
    assert json.loads(planned.stdout)["answer_tokens"] == 16 * 6
    assert batchscore("score", *command, "--limit", "2").exit_code == 0
    run = batchscore("score", *command)
    assert run.exit_code == 3, run
    assert deployment.statistics().count == 6
    fixed = {"instructions": "Be kind.", "max_output_tokens": 16, "store": False}
    assert in_order(bodies(deployment)) == [{"input": row["text"], **fixed} for row in rows]
    merged, verified, reported = batchscore.together(
        ["merge", "out", "all.jsonl"], ["verify", "out"], ["report", "out"]
    )
    assert [merged.exit_code, verified.exit_code, reported.exit_code] == [0, 0, 0], merged
    records = [json.loads(line) for line in Path("all.jsonl").read_text().splitlines()]
    assert [(one["row"], one["finish_reason"]) for one in records] == [(row, "length") for row in range(5)]
    assert all(one["responses"] and one["usage"]["output_tokens"] == 16 for one in records)
    (part,) = Path("out/errors/responses").iterdir()
    errors = pq.read_table(part).to_pylist()
    assert [(one["row"], one["error"]["code"]) for one in errors] == [
        (5, "content_filter"),
        (6, "empty_input"),
    ]
    assert "length" in Path("out/report.html").read_text()
