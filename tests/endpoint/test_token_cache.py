"""When a token is renewed, in virtual time, and how many are fetched."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from batchscore.endpoint.credentials import TokenCredentials
from batchscore.endpoint.token_cache import Token, TokenCache, schedule_renewal
from batchscore.errors import ServiceRefused


def run(scene: Callable[[], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        return await scene()

    return asyncio.run(main())


def test_a_renewal_outlives_the_loop_that_began_it() -> None:
    clock = Clock()
    fetch = Fetch(clock)
    credentials = TokenCredentials(TokenCache(fetch, clock))
    run(credentials.headers)
    clock.now += 3599
    assert run(credentials.headers) in ({"Authorization": "Bearer t1"}, {"Authorization": "Bearer t2"})
    clock.now += 2
    assert run(credentials.headers) == {"Authorization": "Bearer t2"}
    assert fetch.count == 2


@pytest.mark.process
def test_a_forked_process_fetches_a_token_of_its_own() -> None:
    """In a separate interpreter; the lock is held at the fork, as another thread may hold it."""
    code = """
import os
from batchscore.endpoint import token_cache

first = token_cache.shared_token_cache("key", None, None)
assert token_cache.shared_token_cache("key", None, None) is first
token_cache._lock.acquire()
pid = os.fork()
if not pid:
    os._exit(7 if token_cache.shared_token_cache("key", None, None) is not first else 8)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)


@pytest.mark.parametrize(
    ("life", "renewed_after", "waited_for_after", "fetched_after"),
    [
        (86_400, 86_100, 86_400, 86_100),
        (3600, 3300, 3600, 3300),
        (600, 550, 600, 550),
        (60, 55, 60, 55),
        (40, 39.5, 39.5, 40),
        (5, 4.75, 4.75, 5),
        (0.5, 0.95, 0.95, 1),
        (-7200, 0.95, 0.95, 1),
    ],
)
def test_when_a_token_is_renewed(
    life: float, renewed_after: float, waited_for_after: float, fetched_after: float
) -> None:
    """Before its end, while it is valid; one that lives seconds at its end, with a short wait before."""
    now = 1_000_000.0
    moments = schedule_renewal(Token("t", now + life), now)
    found = (moments.renew_at - now, moments.wait_at - now, moments.fetch_at - now)
    assert found == pytest.approx((renewed_after, waited_for_after, fetched_after))


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Fetch:
    """A scripted source of tokens: each lives an hour, or is an error."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.count, self.fails, self.same = clock, 0, False, False

    def __call__(self) -> Token:
        self.count += 1
        if self.fails:
            raise ServiceRefused("no token")
        return Token("t" if self.same else f"t{self.count}", self.clock.now + 3600)


async def settled(cache: TokenCache) -> None:
    assert cache._renewal is not None
    await asyncio.wait([asyncio.wrap_future(cache._renewal)])


def test_a_token_is_renewed_five_minutes_ahead_and_a_failure_waits_half_a_minute() -> None:
    clock = Clock()
    fetch = Fetch(clock)
    cache = TokenCache(fetch, clock)
    credentials = TokenCredentials(cache)

    async def scene() -> None:
        first = await credentials.headers()
        clock.now += 3299
        assert await credentials.headers() is first
        assert fetch.count == 1
        fetch.fails = True
        clock.now += 2
        assert await credentials.headers() is first
        await settled(cache)
        assert await credentials.headers() is first
        assert fetch.count == 2
        clock.now += 31
        assert await credentials.headers() is first
        await settled(cache)
        assert fetch.count == 3
        clock.now += 300
        with pytest.raises(ServiceRefused):
            await credentials.headers()
        fetch.fails = False
        assert await credentials.headers() == {"Authorization": "Bearer t5"}

    run(scene)


def test_a_source_that_returns_the_same_token_is_not_called_for_every_401() -> None:
    clock = Clock()
    fetch = Fetch(clock)
    fetch.same = True
    credentials = TokenCredentials(TokenCache(fetch, clock))

    async def scene() -> None:
        old = await credentials.headers()
        assert [await credentials.refresh(old) for _ in range(5)] == [False] * 5
        assert fetch.count == 2

    run(scene)


def test_a_clock_that_is_a_second_behind_does_not_end_a_run_with_short_tokens() -> None:
    """Each token is refused before its end as this machine sees it."""
    clock = Clock()
    tokens = iter(Token(f"t{number}", 0.0) for number in range(9))
    credentials = TokenCredentials(TokenCache(lambda: Token(next(tokens).text, clock.now + 5), clock))

    async def scene() -> None:
        for _ in range(4):
            old = await credentials.headers()
            clock.now += 4
            assert await credentials.refresh(old)

    run(scene)


def test_a_clock_that_is_wrong_does_not_make_every_request_fetch() -> None:
    clock = Clock()
    fetch = Fetch(Clock())
    credentials = TokenCredentials(TokenCache(fetch, clock))
    clock.now += 7200

    async def scene() -> None:
        for _ in range(50):
            await credentials.headers()
        assert fetch.count == 1

    run(scene)


def test_the_repr_of_a_token_hides_it() -> None:
    assert "SECRET" not in repr(Token("SECRET", 1.0))


def test_a_key_may_be_in_two_headers_and_is_renewed_in_both() -> None:
    clock = Clock()
    credentials = TokenCredentials(
        TokenCache(Fetch(clock), clock), {"api-key": "", "Authorization": "Bearer "}
    )

    async def scene() -> None:
        old = await credentials.headers()
        assert old == {"api-key": "t1", "Authorization": "Bearer t1"}
        assert await credentials.refresh(old)
        assert await credentials.headers() == {"api-key": "t2", "Authorization": "Bearer t2"}

    run(scene)
