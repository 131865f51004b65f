"""How long a reply asks us to wait: a matrix of what services send, and of malformed values."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchscore.request.outcome import wait_seconds

NOW = datetime(2026, 9, 1, 12, 0, 0, tzinfo=timezone.utc)

CASES: list[tuple[dict[str, str], float | None]] = [
    ({}, None),
    ({"retry-after-ms": "250"}, 0.25),
    ({"retry-after-ms": "0.5"}, 0.0005),
    ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
    ({"retry-after-ms": "-1", "retry-after": "9"}, 9),
    ({"retry-after-ms": "0", "retry-after": "9"}, 9),
    ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
    ({"retry-after": "1"}, 1),
    ({"retry-after": " 1 "}, 1),
    ({"retry-after": "0.2"}, 0.2),
    ({"retry-after": "86400"}, 86400),
    ({"retry-after": "0"}, None),
    ({"retry-after": "-1"}, None),
    ({"retry-after": ""}, None),
    ({"retry-after": "nan"}, None),
    ({"retry-after": "inf"}, None),
    ({"retry-after": "soon"}, None),
    ({"retry-after": "Tue, 01 Sep 2026 12:00:05 GMT"}, 5),
    ({"retry-after": "Tue, 01 Sep 2026 14:00:05 +0200"}, 5),
    ({"retry-after": "Tue Sep  1 12:00:05 2026"}, 5),
    ({"retry-after": "Tuesday, 01-Sep-26 12:00:05 GMT"}, 5),
    ({"retry-after": "Tue, 01 Sep 2026 12:00:00 GMT"}, None),
    ({"retry-after": "Tue, 01 Sep 2015 12:00:00 GMT"}, None),
    ({"retry-after": "Tue, 99 Sep 2026 12:00:00 GMT"}, None),
    ({"retry-after": "-1", "x-ratelimit-reset-requests": "2s"}, 2),
    ({"retry-after": "3", "x-ratelimit-reset-requests": "2s"}, 3),
    ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}, 360),
    ({"x-ratelimit-reset-tokens": "120ms"}, 0.12),
    ({"x-ratelimit-reset-tokens": "1h0m0s"}, 3600),
    ({"x-ratelimit-reset-tokens": "1h"}, 3600),
    ({"x-ratelimit-reset-tokens": "2m"}, 120),
    ({"x-ratelimit-reset-tokens": "7.66s"}, 7.66),
    ({"x-ratelimit-reset-tokens": "2m59.56s"}, 179.56),
    ({"x-ratelimit-reset-tokens": "1s500ms"}, 1.5),
    ({"x-ratelimit-reset-tokens": "12"}, 12),
    ({"X-RateLimit-Reset-Tokens": "12"}, 12),
    ({"x-ratelimit-reset-tokens": "0s"}, None),
    ({"x-ratelimit-reset-tokens": "-1"}, None),
    ({"x-ratelimit-reset-tokens": "0"}, None),
    ({"x-ratelimit-reset-tokens": ""}, None),
    ({"x-ratelimit-reset-tokens": "1d"}, None),
    ({"x-ratelimit-reset-tokens": "s"}, None),
    ({"x-ratelimit-remaining-tokens": "5"}, None),
]

LIKE_ONE = st.text("0123456789.-+hms ,:eE_GMTueSpinfa", max_size=30)
DATES = st.datetimes(timezones=st.just(timezone.utc)).map(lambda when: format_datetime(when, usegmt=True))
VALUES = st.one_of(st.text(max_size=20), LIKE_ONE, DATES, st.floats().map(str), st.integers().map(str))
NAMES = ["retry-after-ms", "retry-after", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens"]


@pytest.mark.parametrize(("headers", "seconds"), CASES, ids=lambda value: str(value)[:70])
def test_a_reply_says_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    found = wait_seconds(headers, limited=True, now=NOW.timestamp())
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_a_reset_of_a_quota_that_was_not_the_reason_is_ignored() -> None:
    said = {"x-ratelimit-reset-requests": "8m24s", "x-ratelimit-remaining-requests": "9999"}
    assert wait_seconds(said, limited=False, now=NOW.timestamp()) is None


def test_of_two_quotas_the_one_that_is_used_up_counts() -> None:
    said = {
        "x-ratelimit-reset-requests": "8m24s",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-reset-tokens": "6s",
        "X-RateLimit-Remaining-Tokens": "0",
    }
    assert wait_seconds(said, limited=True, now=NOW.timestamp()) == 6


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
@example({"retry-after-ms": "1e-323"})
@example({"x-ratelimit-reset-tokens": "9" * 400 + "h"})
@example({"x-ratelimit-reset-tokens": "9" * 5000})
@example({"retry-after": "Mon, 01 Jan 0001 00:00:00 +2359"})
@example({"retry-after": "Fri, 31 Dec 9999 23:59:59 -2359"})
@example({"retry-after": "Fri, 31 Dec 9999 23:59:59 -999999999999"})
def test_whatever_the_headers_the_wait_is_positive_and_finite_or_unknown(headers: dict[str, str]) -> None:
    found = wait_seconds(headers, limited=True, now=NOW.timestamp())
    assert found is None or (found > 0 and math.isfinite(found))
