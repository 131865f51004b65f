"""What is sent for a schema, and what becomes of answers that do not match it."""

from __future__ import annotations

from typing import Any

import pytest

from batchscore import ErrorCode, Scored, UsageError, score_rows
from simulated import Deployment
from tickets import SCHEMA, closed

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("endpoint")]

ROW = "My invoice is wrong: a billing problem."
WORDS = closed(category=SCHEMA["properties"]["category"], summary={"type": "string"})


def score(deployment: Deployment, rows: list[Any] | None = None, **settings: Any) -> list[Scored]:
    chosen: Any = {"task": "chat", "schema": WORDS, **settings}
    results = score_rows([ROW] if rows is None else rows, model=deployment.name, **chosen)
    return sorted(results, key=lambda one: one.row)


def sent(deployment: Deployment) -> list[dict[str, Any]]:
    return [each.body for each in deployment.requests()]


def test_an_answer_is_a_value(deployment: Deployment) -> None:
    (scored,) = score(deployment, schema=SCHEMA)
    assert scored.value["category"] == "billing"
    assert scored.value["order"]["items"]
    assert scored.finish_reason == "stop"
    (body,) = sent(deployment)
    assert body["response_format"]["json_schema"] == {
        "name": "Support_ticket",
        "strict": True,
        "schema": SCHEMA,
    }


@pytest.mark.parametrize(("mode", "form"), [("json_object", {"type": "json_object"}), ("prompt", None)])
def test_without_response_format_the_schema_is_in_the_system_message(
    deployment: Deployment, mode: str, form: Any
) -> None:
    (scored,) = score(deployment, schema_mode=mode, system="You read tickets.")
    assert scored.value["category"] == "billing"
    (body,) = sent(deployment)
    assert body.get("response_format") == form
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["messages"][0]["content"].endswith("You read tickets.")
    assert '"enum":["billing"' in body["messages"][0]["content"]


def refusal(kind: str) -> dict[str, Any]:
    return {
        "error": {
            "message": f"Invalid parameter: 'response_format' of type '{kind}' is not supported.",
            "type": "invalid_request_error",
            "param": "response_format",
            "code": None,
        }
    }


@pytest.mark.parametrize("refused", [1, 2, 3])
def test_auto_uses_the_first_form_that_the_service_accepts(deployment: Deployment, refused: int) -> None:
    deployment.will(status=400, body=refusal("json_schema"), times=refused)
    results = score(deployment, [ROW, f"{ROW} Twice."], max_concurrency=1)
    assert [one.value["category"] for one in results] == ["billing", "billing"]
    forms = [(body.get("response_format") or {"type": None})["type"] for body in sent(deployment)]
    assert len(forms) == refused + 2
    assert forms[-2:] == [["json_schema", "json_object", None][refused - 1]] * 2


def test_auto_understands_a_refusal_in_words(deployment: Deployment) -> None:
    words = {
        "error": {"message": "This response_format type is unavailable now", "type": "invalid_request_error"}
    }
    deployment.will(status=400, body=words, times=4)  # each form is confirmed by a test request
    (scored,) = score(deployment)
    assert scored.value["category"] == "billing"
    assert sent(deployment)[-1]["response_format"] == {"type": "json_object"}


def test_auto_leaves_a_form_that_the_service_ignores(deployment: Deployment) -> None:
    """Strict mode, then JSON mode, then the system message; all within the retries of the row."""
    deployment.will(shape="answer_not_json", times=6)
    (scored,) = score(deployment)
    assert scored.value["category"] == "billing"
    forms = [(body.get("response_format") or {"type": None})["type"] for body in sent(deployment)]
    assert forms == ["json_schema"] * 3 + ["json_object"] * 3 + [None]


def test_auto_keeps_its_form_once_an_answer_has_matched(deployment: Deployment) -> None:
    deployment.will(shape="answer_not_json", times=None, when_input_contains="always")
    results = score(deployment, [ROW, f"{ROW} always"], max_concurrency=1)
    assert [one.error is None for one in results] == [True, False]
    assert all("json_schema" in body["response_format"] for body in sent(deployment))


def test_a_chosen_form_is_the_only_one(deployment: Deployment) -> None:
    deployment.will(status=400, body=refusal("json_schema"), times=1)
    (scored,) = score(deployment, [ROW], schema_mode="json_schema")
    assert scored.error is not None
    assert scored.error.code is ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("answer_not_json", "The answer is not JSON."),
        ("answer_wrong_enum", "The answer does not match the schema: enum at /category."),
        ("answer_cut_off", "The answer is not JSON: it was cut off (finish_reason length)."),
    ],
)
def test_an_invalid_answer_is_requested_again_and_then_an_error(
    deployment: Deployment, shape: str, message: str
) -> None:
    deployment.will(shape=shape, times=2)
    (scored,) = score(deployment)
    assert scored.error is None
    assert scored.value["category"] == "billing"
    bodies = sent(deployment)
    assert len(bodies) == 3
    assert bodies[0] == bodies[2]
    deployment.will(shape=shape, times=3)
    (scored,) = score(deployment, max_retries=2)
    assert scored.error is not None
    assert (scored.error.code, scored.error.message) == (ErrorCode.INVALID_ANSWER, message)
    assert (scored.error.attempts, scored.error.status) == (3, 200)
    assert deployment.statistics().behaviours_left == 0


def test_an_answer_in_a_block_of_code_is_taken(deployment: Deployment) -> None:
    deployment.will(shape="answer_in_code")
    (scored,) = score(deployment)
    assert scored.value["category"] == "billing"
    assert len(sent(deployment)) == 1


def test_a_refusal_is_requested_again_and_then_has_its_own_finish_reason(deployment: Deployment) -> None:
    deployment.will(shape="refusal", times=1)
    (scored,) = score(deployment)
    assert scored.value["category"] == "billing"
    deployment.will(shape="refusal", times=3)
    (scored,) = score(deployment, max_retries=2, usage=True)
    assert (scored.value, scored.finish_reason, scored.error) == (None, "refusal", None)
    assert scored.usage is not None
    assert deployment.statistics().behaviours_left == 0


def test_a_filtered_answer_is_kept_without_a_value(deployment: Deployment) -> None:
    (scored,) = score(deployment, ["simulate-filtered-reply-partly"])
    assert (scored.value, scored.finish_reason) == (None, "content_filter")
    assert len(sent(deployment)) == 1


def test_feedback_sends_the_answer_back_with_the_reason(deployment: Deployment) -> None:
    deployment.will(shape="answer_wrong_enum", times=1)
    (scored,) = score(deployment, schema_feedback=True)
    assert scored.value["category"] == "billing"
    first, second = sent(deployment)
    assert second["messages"][: len(first["messages"])] == first["messages"]
    answer, complaint = second["messages"][len(first["messages"]) :]
    assert answer["role"] == "assistant"
    assert "simulated wrong value" in answer["content"]
    assert complaint["role"] == "user"
    assert "/category" in complaint["content"]


def test_of_several_answers_all_must_match(deployment: Deployment) -> None:
    deployment.will(shape="answer_wrong_enum", times=1)
    (scored,) = score(deployment, param={"n": 2})
    assert [value["category"] for value in scored.value] == ["billing", "billing"]
    assert scored.finish_reason == ["stop", "stop"]
    assert len(sent(deployment)) == 2


def test_invalid_answers_do_not_count_as_failures_of_the_service(deployment: Deployment) -> None:
    """No outage, and no waits: the service is well."""
    deployment.will(shape="answer_not_json", times=None)
    results = score(deployment, [f"{ROW} {number}" for number in range(30)], max_outage=0.5)
    assert {one.error.code for one in results if one.error} == {ErrorCode.INVALID_ANSWER}
    assert deployment.statistics().count == 30 * 7


def test_a_root_that_is_a_list_is_one_answer(deployment: Deployment) -> None:
    (scored,) = score(deployment, schema={"type": "array", "items": {"type": "string"}})
    assert isinstance(scored.value, list)
    assert scored.finish_reason == "stop"


def test_a_pydantic_model_is_a_schema(deployment: Deployment) -> None:
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Ticket", summary=(str, ...), amount=(float | None, None))
    (scored,) = score(deployment, schema=model)
    assert set(scored.value) == {"summary", "amount"}
    form = sent(deployment)[0]["response_format"]["json_schema"]
    assert (form["name"], form["strict"]) == ("Ticket", True)
    assert form["schema"]["required"] == ["summary", "amount"]


@pytest.mark.parametrize("mode", ["auto", "prompt"])
def test_the_responses_api_has_schemas_too(deployment: Deployment, mode: str) -> None:
    settings = {"task": "responses", "schema_mode": mode, "system": "You read tickets.", "max_retries": 0}
    (scored,) = score(deployment, **settings)
    (body,) = sent(deployment)
    if mode == "auto":
        assert scored.value["category"] == "billing"
        assert body["text"]["format"]["type"] == "json_schema"
        deployment.will(shape="refusal", times=2)
        (scored,) = score(deployment, task="responses", max_retries=1)
        assert (scored.value, scored.finish_reason) == (None, "refusal")
    else:
        assert body["instructions"].endswith("You read tickets.")
        assert "JSON Schema" in body["instructions"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schema": "nowhere.json"}, "schema nowhere.json cannot be read"),
        ({"schema": 5}, "schema is 5; it must be the name of a file, or what it would hold."),
        ({"schema": {"type": "x"}}, 'schema: at #, "x" is not a type of JSON'),
        ({"param": {"response_format": {}}}, "param response_format and schema set the same"),
        ({"schema": None, "schema_mode": "prompt"}, "give one with schema"),
        ({"task": "embeddings"}, "not embeddings."),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], message: str) -> None:
    chosen: Any = {"task": "chat", "model": "m", "schema": WORDS, **settings}
    with pytest.raises(UsageError) as error:
        list(score_rows(["a"], **chosen))
    assert message in str(error.value)
