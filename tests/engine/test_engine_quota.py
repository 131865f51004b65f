"""The engine against a service that accounts a quota exactly, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchscore.errors import ErrorCode
from batchscore.request.quota.windows import WINDOW_SECONDS
from batchscore.rows import Attempt, Prompt, Reply, RowError, Settled
from hypothesis_profiles import examples
from scripted import Service, collected, deployment_of, engine_over, has_its_own_vector, prompts, reply
from scripted import vectors as vectors_of
from virtual_time import loop_time, run_virtual


class Bucketed:
    """A service with a bucket of one second of its quota, which starts empty.

    `tokens` gives what a text costs; a request that does not fit is refused with the time until it does.
    """

    def __init__(self, tpm: float, tokens_a_text: float, *, headers: bool = False) -> None:
        self.rate = tpm / 60
        self.tokens_a_text = tokens_a_text
        self.headers = {"x-ratelimit-limit-tokens": str(int(tpm))} if headers else {}
        self.level = 0.0
        self.at: float | None = None
        self.charged: list[tuple[float, float]] = []
        self.refused = 0

    async def answer(self, texts: list[str], number: int) -> Reply:
        now = loop_time()
        self.level = min(self.rate, self.level + (now - (self.at or now)) * self.rate)
        self.at = now
        cost = len(texts) * self.tokens_a_text
        if cost > self.level and number:
            self.refused += 1
            wait = (cost - self.level) / self.rate
            return reply(429, {}, **self.headers, retry_after_ms=f"{wait * 1000 + 1:.0f}")
        self.level -= cost
        self.charged.append((now, cost))
        await asyncio.sleep(0.05)
        answered = vectors_of(texts)
        body = answered.body.replace(b'"prompt_tokens":%d' % len(texts), b'"prompt_tokens":%d' % cost)
        return Reply(200, self.headers, body, 0.05)

    @property
    def used(self) -> float:
        """The part of the quota that was used between the first and the last request."""
        seconds = self.charged[-1][0] - self.charged[0][0]
        return sum(cost for _, cost in self.charged) / (self.rate * seconds)


def long_prompts(rows: int, size: int) -> Iterator[Prompt]:
    for row in range(rows):
        yield Prompt("file.csv", row, b'"%s text:%d"' % (b"x" * size, row))


@pytest.mark.parametrize("given", [True, False], ids=["limits given", "limits from headers"])
def test_a_strict_quota_is_used_up_and_never_overdrawn(given: bool) -> None:  # noqa: FBT001
    service = Bucketed(600_000, 200, headers=True)

    async def main() -> list[Settled]:
        member = deployment_of(Service(service.answer), concurrency=64, tpm=600_000 if given else None)
        return await collected(engine_over([member], long_prompts(3000, 600), rows_a_request=64))

    settled, _ = run_virtual(main())
    assert sorted(row.row for row in settled) == list(range(3000))
    assert all(has_its_own_vector(row) for row in settled)
    assert service.used > 0.98
    assert service.refused <= 1


@pytest.mark.parametrize("real", [0.2, 0.6])
def test_an_unknown_tokenizer_is_learned_from_usage(real: float) -> None:
    service = Bucketed(600_000, int(real * 600))

    async def main() -> list[Settled]:
        member = deployment_of(Service(service.answer), concurrency=64, tpm=600_000)
        return await collected(engine_over([member], long_prompts(3000, 600), rows_a_request=64))

    settled, _ = run_virtual(main())
    assert len(settled) == 3000
    assert service.used > 0.95
    assert service.refused <= 3


def test_an_unknown_quota_is_found() -> None:
    service = Bucketed(600_000, 200)

    async def main() -> list[Settled]:
        member = deployment_of(Service(service.answer), concurrency=64)
        return await collected(engine_over([member], long_prompts(3000, 600), rows_a_request=8))

    settled, _ = run_virtual(main())
    assert len(settled) == 3000
    assert not [row for row in settled if isinstance(row.result, RowError)]
    assert service.used > 0.8
    assert service.refused < 0.1 * len(service.charged)


@settings(max_examples=examples(30))
@given(
    seed=st.integers(0, 10_000),
    rpm=st.none() | st.floats(60, 6000),
    tpm=st.floats(20_000, 500_000),
    largest=st.integers(50, 9000),
)
def test_no_window_is_charged_more_than_its_rate_and_one_request(
    seed: int, rpm: float | None, tpm: float, largest: int
) -> None:
    chance = random.Random(seed)
    sent: list[tuple[float, float]] = []

    async def answer(texts: list[str], number: int) -> Reply:
        del number
        sent.append((loop_time(), sum(len(text) + 2 for text in texts) / 3 + 1))
        await asyncio.sleep(chance.random() * 0.3)
        return Reply(200, {}, vectors_of(texts).body.replace(b'"prompt_tokens"', b'"other_tokens"'), 0.1)

    def source() -> Iterator[Prompt]:
        for row in range(150):
            yield Prompt("file.csv", row, b'"%s text:%d"' % (b"x" * chance.randint(1, largest), row))

    async def main() -> list[Settled]:
        member = deployment_of(Service(answer), concurrency=32, rpm=rpm, tpm=tpm)
        return await collected(engine_over([member], source(), rows_a_request=4))

    settled, _ = run_virtual(main())
    assert sorted(row.row for row in settled) == list(range(150))
    for window in WINDOW_SECONDS:
        for position, (start, _) in enumerate(sent):
            within = [tokens for at, tokens in sent[position:] if at - start < window - 0.01]
            # A timer may be late by what the clock of the test takes, so windows are a hair shorter.
            assert sum(within) - max(within) <= tpm / 60 * window * 1.001 + 1
            if rpm is not None:
                assert len(within) - 1 <= rpm / 60 * window * 1.001 + 1


def test_a_row_larger_than_a_minutes_quota_is_an_error_at_once_and_the_others_are_scored() -> None:
    service = Bucketed(60_000, 10)

    def source() -> Iterator[Prompt]:
        yield from prompts(5)
        yield Prompt("file.csv", 5, b'"%s text:5"' % (b"x" * 400_000))
        yield Prompt("file.csv", 6, b'"text:6"')

    attempts: list[Attempt] = []

    async def main() -> list[Settled]:
        member = deployment_of(Service(service.answer), tpm=60_000)
        return await collected(engine_over([member], source(), attempts=attempts))

    settled, seconds = run_virtual(main())
    (failed,) = [row for row in settled if isinstance(row.result, RowError)]
    assert (failed.row, failed.result.code, failed.result.attempts) == (5, ErrorCode.OVER_QUOTA, 0)  # type: ignore[union-attr]
    assert "60,000 tokens a minute" in failed.result.message  # type: ignore[union-attr]
    assert len(settled) == 7
    assert seconds < 10


def test_a_large_request_waits_its_time_among_small_ones() -> None:
    finished: dict[int, float] = {}

    async def answer(texts: list[str], number: int) -> Reply:
        del number
        await asyncio.sleep(0.05)
        for text in texts:
            finished[int(text.rsplit(":", maxsplit=1)[-1])] = loop_time()
        return Reply(200, {}, vectors_of(texts).body.replace(b'"prompt_tokens"', b'"other_tokens"'), 0.1)

    def source() -> Iterator[Prompt]:
        for row in range(400):
            yield Prompt("file.csv", row, b'"%s text:%d"' % (b"x" * (24_000 if row == 40 else 1500), row))

    async def main() -> list[Settled]:
        member = deployment_of(Service(answer), concurrency=64, tpm=600_000)
        return await collected(engine_over([member], source(), rows_a_request=1))

    settled, _ = run_virtual(main())
    assert len(settled) == 400
    assert finished[40] < finished[60]
