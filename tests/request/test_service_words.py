"""Which words of a service are shown."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from batchscore.request.service_words import MOST_CHARACTERS, probe_words


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"error": {"message": "no such\nparameter"}}, "no such parameter"),
        ({"error": "in short"}, "in short"),
        ({"message": "at the top"}, "at the top"),
        ({"detail": "FastAPI"}, "FastAPI"),
        ({"detail": [{"loc": ["body", "n"], "msg": "too many"}]}, "body.n: too many"),
        ([{"error": {"message": "in a list"}}], "in a list"),
        ({"message": ["n must be small"], "error": "Bad Request"}, "n must be small: Bad Request"),
        ({"message": {"error": "in a message"}}, "in a message"),
        ({"title": "problem details", "status": 400}, "problem details"),
        ({"message": "Not valid", "errors": [{"message": "n is large"}]}, "Not valid: n is large"),
        ({"message": "once", "errors": [{"message": "once"}]}, "once"),
        ({"error": {"message": "key sk-abcdefghij123 is wrong"}}, "key *** is wrong"),
        ({"error": {"message": "key abcd****wxyz is wrong"}}, "key *** is wrong"),
        ({"error": {"message": "esc \x1b[31m"}}, "esc [31m"),
        ({"error": None}, ""),
        ({}, ""),
        (7, ""),
    ],
)
def test_the_message_of_an_error_is_shown_without_secrets(document: Any, words: str) -> None:
    assert probe_words(orjson.dumps(document)) == words


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (
            "<html><head><title>The plain HTTP request was sent</title></head><p>x</html>",
            "The plain HTTP request was sent",
        ),
        ("<html><style>p {}</style><p>400</p> <b>Bad</b></html>", "400 Bad"),
        ("upstream error", "upstream error"),
        ("", ""),
    ],
)
def test_a_page_is_shown_by_its_title_or_text(page: str, words: str) -> None:
    assert probe_words(page.encode()) == words


def test_secrets_of_the_run_are_not_shown() -> None:
    assert probe_words(b'{"error": "cannot use s3cret"}', ["s3cret"]) == "cannot use ***"


def test_long_words_are_cut() -> None:
    assert len(probe_words(orjson.dumps({"error": "x " * 1000}))) <= MOST_CHARACTERS


def test_a_long_word_takes_no_long_time() -> None:
    begun = time.process_time()
    assert probe_words(orjson.dumps({"message": "a." * 32_000 + " key-abc***xyz"})).startswith("a.a.")
    assert time.process_time() - begun < 2
