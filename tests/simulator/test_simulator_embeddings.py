from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import openai
import pytest

from batchscore.simulator.embeddings import Vectors
from batchscore.simulator.words import CONTENT_FILTER_TRIGGER, count_tokens
from simulated import Deployment

Refused = Callable[..., dict[str, Any]]
SUGAR = "The Senate passed a bill that taxes drinks with sugar."
TAXES = "A bill on taxes on sugar in drinks went through the Senate."
CATS = "Two cats slept on a warm carpet near the oven."


def test_texts_on_the_same_subject_are_closer(azure: openai.AzureOpenAI) -> None:
    reply = azure.embeddings.create(model="emb", input=[SUGAR, TAXES, CATS], dimensions=512)
    sugar, taxes, cats = (np.array(one.embedding) for one in reply.data)
    assert np.linalg.norm(sugar) == pytest.approx(1, abs=1e-6)
    assert sugar @ taxes > 0.4
    assert abs(sugar @ cats) < 0.2
    assert abs(taxes @ cats) < 0.2


def test_a_word_is_near_its_plural_and_capitals_do_not_matter() -> None:
    vectors = Vectors(512)
    car, cars, other = (
        vectors.embed(text, 512) for text in ("CAR INSURANCE", "cars insurances", "blue moon")
    )
    assert car @ cars > 0.3 > abs(car @ other)


def test_the_same_text_has_the_same_vector_in_any_request(plain: openai.OpenAI) -> None:
    alone = plain.embeddings.create(model="emb", input=SUGAR).data[0].embedding
    among = plain.embeddings.create(model="other", input=[CATS, SUGAR]).data[1].embedding
    assert alone == among


def test_a_short_vector_is_the_beginning_of_a_long_one() -> None:
    vectors = Vectors(8)
    short, long = vectors.embed(SUGAR, 8), vectors.embed(SUGAR, 64)
    assert np.allclose(short, long[:8] / np.linalg.norm(long[:8]), atol=1e-6)
    vectors.embed(CATS, 3072)
    assert np.array_equal(vectors.embed(SUGAR, 64), long)


@pytest.mark.parametrize("text", ["!!!", " ", "\n", "日本語の文章です", "🎉", "a" * 5000])
def test_every_text_has_a_vector_of_unit_length(text: str) -> None:
    assert np.linalg.norm(Vectors(16).embed(text, 16)) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_the_cache_of_words_is_bounded_and_clearing_it_changes_nothing() -> None:
    vectors = Vectors(4)
    before = vectors.embed(SUGAR, 4)
    for start in range(0, 12_000, 4000):
        vectors.embed(" ".join(f"word{number}" for number in range(start, start + 4000)), 4)
    assert len(vectors._slots) <= 8192
    assert np.array_equal(before, vectors.embed(SUGAR, 4))


def test_floats_and_base64_carry_the_same_float32(azure: openai.AzureOpenAI) -> None:
    raw = azure.embeddings.with_raw_response
    as_text = json.loads(raw.create(model="emb", input=[SUGAR, CATS], encoding_format="float").text)
    as_bytes = json.loads(raw.create(model="emb", input=[SUGAR, CATS], encoding_format="base64").text)
    assert [one["index"] for one in as_text["data"]] == [0, 1]
    for floats, packed in zip(as_text["data"], as_bytes["data"], strict=True):
        unpacked = np.frombuffer(base64.b64decode(packed["embedding"]), "<f4")
        assert np.array_equal(np.array(floats["embedding"], "f4"), unpacked)


def test_a_reply_is_marked_as_simulated_and_counts_tokens(azure: openai.AzureOpenAI) -> None:
    reply = azure.embeddings.with_raw_response.create(model="emb-1", input=[SUGAR, CATS])
    parsed = reply.parse()
    assert parsed.model == "simulator:emb-1"
    assert parsed.object == "list"
    assert reply.headers["x-simulator"] == "batchscore"
    assert parsed.usage.prompt_tokens == parsed.usage.total_tokens == count_tokens(SUGAR) + count_tokens(CATS)


def test_token_arrays_are_inputs_too(plain: openai.OpenAI) -> None:
    assert len(plain.embeddings.create(model="emb", input=[1, 2, 3]).data) == 1
    reply = plain.embeddings.create(model="emb", input=[[1, 2, 3], [4]])
    assert (len(reply.data), reply.usage.prompt_tokens) == (2, 4)


def test_2048_inputs_come_back_in_one_reply(plain: openai.OpenAI) -> None:
    reply = plain.embeddings.create(model="emb", input=[f"text {n}" for n in range(2048)])
    assert [one.index for one in reply.data] == list(range(2048))


@pytest.mark.parametrize("wrong", ["", [""], ["good", ""], [], [None], ["good", 3], None, 7, {"a": 1}])
def test_one_invalid_input_fails_the_whole_request_without_saying_which(
    plain: openai.OpenAI, refused: Refused, wrong: Any
) -> None:
    error = refused(plain.embeddings.create, model="emb", input=wrong, encoding_format="base64")
    assert error["message"].startswith("'$.input' is invalid")
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, None)


def test_too_many_inputs_are_refused_in_each_surfaces_words(
    azure: openai.AzureOpenAI, plain: openai.OpenAI, refused: Refused
) -> None:
    assert (
        "max number of inputs is 2048"
        in refused(azure.embeddings.create, model="emb", input=["a"] * 2049)["message"]
    )
    assert (
        refused(plain.embeddings.create, model="emb", input=["a"] * 2049)["code"] == "array_above_max_length"
    )


def test_an_input_beyond_the_context_is_refused(plain: openai.OpenAI, refused: Refused) -> None:
    error = refused(plain.embeddings.create, model="emb", input=["fine", "long " * 8192])
    assert error["message"] == "Invalid 'input[1]': maximum input length is 8192 tokens."


def test_a_request_beyond_300000_tokens_is_refused(plain: openai.OpenAI, refused: Refused) -> None:
    error = refused(plain.embeddings.create, model="emb", input=["x" * 32_000] * 40)
    assert error["message"] == "Requested 320000 tokens, max 300000 tokens per request"


def test_dimensions_are_refused_by_ada_and_outside_their_bounds(
    plain: openai.OpenAI, refused: Refused
) -> None:
    create = plain.embeddings.create
    ada = refused(create, model="text-embedding-ada-002", input="a", dimensions=8)
    assert ada["message"] == "This model does not support specifying dimensions."
    assert "dimensions" in refused(create, model="emb", input="a", dimensions=5000)["message"]
    assert refused(create, model="emb", input="a", extra_body={"dimensions": "8"})["param"] == "dimensions"
    assert len(create(model="emb", input="a", dimensions=3072).data[0].embedding) == 3072


def test_an_unknown_parameter_is_named(plain: openai.OpenAI, refused: Refused) -> None:
    error = refused(plain.embeddings.create, model="emb", input="a", extra_body={"colour": "red"})
    assert error["message"] == "Unrecognized request argument supplied: colour"


def test_filtered_content_is_refused_as_azure_does(azure: openai.AzureOpenAI, refused: Refused) -> None:
    error = refused(azure.embeddings.create, model="emb", input=["good", f"x {CONTENT_FILTER_TRIGGER}"])
    assert error["code"] == "content_filter"
    assert error["innererror"]["code"] == "ResponsibleAIPolicyViolation"
    assert error["innererror"]["content_filter_result"]["violence"]["filtered"] is True


def _data(client: openai.AzureOpenAI, name: str, count: int = 5) -> list[dict[str, Any]]:
    raw = client.embeddings.with_raw_response.create(
        model=name, input=[f"text {n}" for n in range(count)], encoding_format="base64"
    )
    found: list[dict[str, Any]] = json.loads(raw.text)["data"]
    return found


def test_shuffled_vectors_keep_their_indices(azure: openai.AzureOpenAI, deployment: Deployment) -> None:
    right = _data(azure, deployment.name)
    deployment.will_spoil_vectors("shuffled")
    shuffled = _data(azure, deployment.name)
    assert shuffled != right
    assert sorted(shuffled, key=lambda one: one["index"]) == right
    assert _data(azure, deployment.name) == right


def test_vector_faults_are_applied_as_scripted(azure: openai.AzureOpenAI, deployment: Deployment) -> None:
    for fault in ("missing", "duplicated", "wrong_dimension", "floats", "not_finite"):
        deployment.will_spoil_vectors(fault)
    assert [one["index"] for one in _data(azure, deployment.name)] == [0, 1, 2, 3]
    assert [one["index"] for one in _data(azure, deployment.name)] == [0, 1, 2, 3, 0]
    sizes = [len(base64.b64decode(one["embedding"])) for one in _data(azure, deployment.name)]
    assert sizes == [128, 128, 128, 128, 124]
    assert all(len(one["embedding"]) == 32 for one in _data(azure, deployment.name))
    last = np.frombuffer(base64.b64decode(_data(azure, deployment.name)[-1]["embedding"]), "<f4")
    assert np.isnan(last[0])
