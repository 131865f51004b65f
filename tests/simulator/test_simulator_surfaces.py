from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import openai
import pytest

from batchscore.simulator import Running, start
from simulated import Deployment
from tuning_jobs import create

pytestmark = pytest.mark.process

BODY = {"model": "emb", "input": "text"}


def send(
    simulator: Running,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
) -> tuple[int, Any]:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    shown = {"api-key": simulator.key} if headers is None else headers
    request = Request(
        simulator.endpoint + path, data=sent if method == "POST" else None, headers=dict(shown), method=method
    )
    try:
        with urlopen(request) as reply:
            return reply.status, json.loads(reply.read())
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_azures_surface_needs_an_api_version(simulator: Running) -> None:
    path = "/openai/deployments/emb/embeddings"
    not_found = {"error": {"code": "404", "message": "Resource not found"}}
    assert send(simulator, path, BODY) == (404, not_found)
    assert send(simulator, path + "?api-version=2024-02-01", BODY)[0] == 200
    assert send(simulator, "/openai/deployments/emb/images?api-version=1", BODY) == (404, not_found)


def test_the_v1_surfaces_need_a_model(simulator: Running) -> None:
    for path in ("/v1/embeddings", "/openai/v1/embeddings"):
        status, body = send(simulator, path, {"input": "text"})
        assert (status, body["error"]["message"]) == (400, "you must provide a model parameter")
        assert send(simulator, path, BODY)[0] == 200


def test_a_body_that_is_not_json_is_refused(simulator: Running) -> None:
    for path in ("/v1/embeddings", "/openai/deployments/emb/chat/completions?api-version=1"):
        status, body = send(simulator, path, b'{"input": ')
        assert status == 400
        assert body["error"]["message"].startswith("We could not parse the JSON body")
    assert send(simulator, "/v1/embeddings", [])[0] == 400


def test_key_and_tokens_open_every_surface(simulator: Running) -> None:
    for path in (
        "/v1/embeddings",
        "/openai/v1/embeddings",
        "/openai/deployments/emb/embeddings?api-version=1",
    ):
        for headers in (
            {"api-key": "simulator"},
            {"Authorization": "Bearer simulator"},
            {"Authorization": "bearer entra-token"},
        ):
            assert send(simulator, path, BODY, headers)[0] == 200
        for headers in (
            {"api-key": "entra-token"},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic simulator"},
            {},
        ):
            assert send(simulator, path, BODY, headers)[0] == 401


def test_a_wrong_key_is_refused_in_each_surfaces_words(simulator: Running) -> None:
    wrong = {"api-key": "wrong"}
    azure = send(simulator, "/openai/deployments/emb/embeddings?api-version=1", BODY, wrong)[1]["error"]
    assert azure["code"] == "401"
    assert azure["message"].startswith("Access denied due to invalid subscription key")
    bearer = {"Authorization": "Bearer wrong"}
    token = send(simulator, "/openai/v1/embeddings", BODY, bearer)[1]["error"]
    assert token["code"] == "Unauthorized"
    plain = send(simulator, "/v1/embeddings", BODY, bearer)[1]["error"]
    assert plain["code"] == "invalid_api_key"


def test_the_sdk_sees_the_error_classes_it_knows(
    simulator: Running, azure: openai.AzureOpenAI, plain: openai.OpenAI
) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        azure.embeddings.create(model="no-such-deployment", input="a")
    assert caught.value.code == "DeploymentNotFound"
    with pytest.raises(openai.NotFoundError) as caught:
        plain.embeddings.create(model="no-such-model", input="a")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError):
        plain.with_options(api_key="wrong").embeddings.create(model="emb", input="a")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
def test_a_scripted_status_reaches_the_sdk_as_its_class(
    azure: openai.AzureOpenAI,
    plain: openai.OpenAI,
    deployment: Deployment,
    status: int,
    kind: type[openai.APIStatusError],
) -> None:
    deployment.will(status=status, times=2)
    for client in (azure, plain):
        with pytest.raises(kind) as caught:
            client.embeddings.create(model=deployment.name, input="a")
        assert caught.value.response.json()["error"]["message"]
    assert deployment.statistics().statuses == {str(status): 2}


def test_a_429_has_each_surfaces_code_and_says_when_to_retry(
    azure: openai.AzureOpenAI, plain: openai.OpenAI, deployment: Deployment
) -> None:
    deployment.will(status=429, retry_after=0.2, times=2)
    with pytest.raises(openai.RateLimitError) as caught:
        azure.embeddings.create(model=deployment.name, input="a")
    assert caught.value.code == "429"
    assert caught.value.response.headers["retry-after-ms"] == "200"
    assert caught.value.response.headers["retry-after"] == "1"
    with pytest.raises(openai.RateLimitError) as caught:
        plain.embeddings.create(model=deployment.name, input="a")
    assert caught.value.code == "rate_limit_exceeded"


def test_the_azure_v1_surface_serves_and_refuses_in_azures_words(azure_v1: openai.OpenAI) -> None:
    assert azure_v1.embeddings.create(model="emb", input="a").model == "simulator:emb"
    with pytest.raises(openai.NotFoundError) as caught:
        azure_v1.embeddings.create(model="no-such-model", input="a")
    assert caught.value.code == "DeploymentNotFound"


def test_a_deployment_name_may_hold_any_character(simulator: Running) -> None:
    with openai.AzureOpenAI(
        azure_endpoint=simulator.endpoint, api_key=simulator.key, api_version="1"
    ) as client:
        assert client.embeddings.create(model="größe 3.5%", input="a").model == "simulator:größe 3.5%"
    assert Deployment(simulator.endpoint, "größe 3.5%").statistics().count == 1


def test_models_are_listed_and_only_configured_ones_served() -> None:
    with (
        start(deployments=("one", "two"), dimensions=4, finetune_seconds=0) as running,
        openai.OpenAI(base_url=running.endpoint + "/v1", api_key=running.key, max_retries=0) as client,
    ):
        assert [model.id for model in client.models.list()] == ["one", "two"]
        assert client.embeddings.create(model="two", input="a").data
        with pytest.raises(openai.NotFoundError):
            client.embeddings.create(model="three", input="a")
        model = client.fine_tuning.jobs.retrieve(create(client).id).fine_tuned_model
        assert model is not None
        assert (
            client.completions.create(model=model, prompt="My parcel is late.").choices[0].text == "delivery"
        )
        assert model in [each.id for each in client.models.list()]
        client.models.delete(model)
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve(model)


def test_an_unknown_url_is_not_found(simulator: Running) -> None:
    assert send(simulator, "/v2/embeddings", BODY)[0] == 404
    status, body = send(simulator, "/v1/images", BODY)
    assert (status, body["error"]["message"]) == (404, "Invalid URL (POST /v1/images)")


def test_the_control_surface_is_closed_to_web_pages(simulator: Running) -> None:
    path = "/_simulator/deployments/any"
    assert send(simulator, path, headers={}, method="GET")[0] == 200
    assert send(simulator, path, headers={"Origin": "http://evil.example"}, method="GET")[0] == 403
    assert send(simulator, path, headers={"Host": "evil.example"}, method="GET")[0] == 403
