"""How does a token stay valid for a whole process, for all its threads and event loops?

It knows no headers, requests or ways to sign in, and never shows a token. One thread at a time fetches, for
all; a caller that needs the result waits for a `Future`, in any loop.

Facts of the field: a token's end is given in whole seconds, rounded down. So a token that is fetched just
ahead of the previous one's end expires up to a second sooner than one fetched at that end: with lives of L
seconds one is fetched every L - 1 seconds. That is nothing for the hour or the day that tokens live, but a
quarter more tokens for lives of 5 s, so those are used to their ends.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock, Thread

#: A token is renewed this long before its end, or in the last twelfth of a life shorter than an hour.
AHEAD_SECONDS = 300.0
AHEAD_SHARE = 1 / 12
#: A token with a shorter life is used to its end. In its last twentieth, at most this many seconds, requests
#: wait for the next token: requests in flight must arrive before the end.
SHORT_LIFE_SECONDS = 60.0
HOLD_SHARE = 1 / 20
MOST_HOLD_SECONDS = 0.5
#: Otherwise a wrong clock would make every request fetch a token.
LEAST_LIFE_SECONDS = 1.0
#: After a failed renewal the next one waits this long, while the old token is still valid.
AGAIN_SECONDS = 30.0
#: A forced renewal also covers the 401s that arrive this long after it, or in a quarter of a shorter life:
#: those requests were in flight before it.
FORCED_COVERS_SECONDS = 10.0
FORCED_COVERS_SHARE = 1 / 4


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, or a key, and when it expires (seconds since 1970). Its repr hides it."""

    text: str = field(repr=False)
    expires_at: float


#: Returns a new token, blocking; raises ServiceRefused or SettingsError.
Fetch = Callable[[], Token]


@dataclass(frozen=True, slots=True)
class CachedToken:
    """A token's text, and the moments of its renewal (seconds since 1970). Its repr hides the text.

    At `renew_at` a renewal begins, which fetches at `fetch_at`; from `wait_at` on, requests wait for it.
    """

    text: str = field(repr=False)
    renew_at: float
    fetch_at: float
    wait_at: float


NO_TOKEN = CachedToken("", 0.0, 0.0, 0.0)


def schedule_renewal(token: Token, now: float) -> CachedToken:
    """Return a token that arrived at `now`, with the moments of its renewal."""
    life = max(token.expires_at - now, LEAST_LIFE_SECONDS)
    end = now + life
    if life < SHORT_LIFE_SECONDS:
        hold = end - min(MOST_HOLD_SECONDS, life * HOLD_SHARE)
        return CachedToken(token.text, renew_at=hold, fetch_at=end, wait_at=hold)
    renew_at = end - min(AHEAD_SECONDS, life * AHEAD_SHARE)
    return CachedToken(token.text, renew_at=renew_at, fetch_at=renew_at, wait_at=end)


def reschedule(old: CachedToken, now: float) -> CachedToken:
    """Return a token whose renewal failed at `now`, with the moment of the next one."""
    again = min(old.wait_at, now + min(AGAIN_SECONDS, (old.wait_at - now) / 4))
    return CachedToken(old.text, renew_at=again, fetch_at=again, wait_at=old.wait_at)


class TokenCache:
    """A token that one thread renews before or at its end, for all holders of this object.

    Safe on any thread; no lock is taken while a token is valid. `clock` gives seconds since 1970.
    """

    def __init__(self, fetch: Fetch, clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = Lock()
        self._renewal: Future[None] | None = None
        self._covers_401s_until = float("-inf")
        self.current = NO_TOKEN

    def due_renewal(self) -> Future[None] | None:
        """Return the renewal that a request sent now must wait for, `None` if it need not wait.

        Starts a renewal that is due. The future fails with the errors of `fetch`.
        """
        now = self._clock()
        if now < self.current.renew_at:
            return None
        with self._lock:
            # Another thread may have renewed it in the meantime.
            current = self.current
            if now < current.renew_at:
                return None
            under_way = self._start(current.fetch_at, forced=False)
        return under_way if now >= current.wait_at else None

    def renew(self, rejected: str) -> Future[None] | None:
        """Return the renewal after a 401 for the token `rejected`; `None` if no new one is needed.

        None is needed if the token has changed since, or if a 401 has caused a renewal a moment ago: a token
        service with its own cache may return the same token again, and gets no call for every 401.
        """
        with self._lock:
            now = self._clock()
            if rejected != self.current.text or now < self._covers_401s_until:
                return None
            return self._start(now, forced=True)

    def _start(self, fetch_at: float, *, forced: bool) -> Future[None]:
        """Return the renewal under way, or start one; the caller holds the lock."""
        under_way = self._renewal
        if under_way is None or under_way.done():
            under_way = self._renewal = Future()
            # From here on a caller that stops waiting cannot cancel it for the others.
            under_way.set_running_or_notify_cancel()
            work = (under_way, fetch_at, forced)
            try:
                Thread(target=self._renew, args=work, name="batchscore sign-in", daemon=True).start()
            except RuntimeError as error:
                # The system has no thread left; waiting callers must learn of it.
                under_way.set_exception(error)
        return under_way

    def _renew(self, done: Future[None], fetch_at: float, forced: bool) -> None:  # noqa: FBT001
        old = self.current
        try:
            while (early := fetch_at - self._clock()) > 0:
                time.sleep(min(early, MOST_HOLD_SECONDS))
            token = self._fetch()
        except BaseException as error:
            self.current = reschedule(old, self._clock())
            done.set_exception(error)
            return
        now = self._clock()
        self.current = schedule_renewal(token, now)
        if forced:
            life = self.current.wait_at - now
            self._covers_401s_until = now + min(FORCED_COVERS_SECONDS, life * FORCED_COVERS_SHARE)
        done.set_result(None)


_caches: dict[Hashable, TokenCache] = {}
_lock = Lock()


def shared_token_cache(key: Hashable, fetch: Fetch, clock: Callable[[], float]) -> TokenCache:
    """Return the token cache of this key, the same object for every caller in this process.

    `key` holds everything that decides which token `fetch` gets. Memory: some hundred bytes per key, never
    freed.
    """
    with _lock:
        cache = _caches.get(key)
        if cache is None:
            cache = _caches[key] = TokenCache(fetch, clock)
        return cache


def forget_tokens() -> None:
    """Drop all caches, so that every later request fetches a new token."""
    global _lock  # noqa: PLW0603
    _lock = Lock()
    _caches.clear()


# A forked process has neither the thread of a running renewal nor the holder of a lock, and may have another
# identity.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_tokens)
