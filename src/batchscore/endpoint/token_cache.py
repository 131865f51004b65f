"""How is a token kept fresh for a whole process, whichever threads and event loops ask for it?

It knows no headers, requests or ways to sign in, and never shows a token. One thread at a time fetches, for
everybody; who needs the outcome waits for a `Future`, from any loop.

Facts of the field: a token's end is told in whole seconds, rounded down. So a token that is fetched ahead of
the end of the one before, by however little, ends up to a second sooner than one fetched at that end: with
lives of L seconds one is fetched every L - 1 seconds. That is nothing for the hour or the day that tokens
live, and a quarter more tokens for lives of 5 s; so those are served to their ends.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock, Thread

#: A token is renewed this long before its end, or for the last twelfth of a life shorter than an hour.
AHEAD_SECONDS = 300.0
AHEAD_SHARE = 1 / 12
#: A life shorter than this is served to its end; for the last twentieth of it, at most so many seconds,
#: requests wait for the next token: what is under way then must arrive before the end.
SHORT_LIFE_SECONDS = 60.0
HOLD_SHARE = 1 / 20
MOST_HOLD_SECONDS = 0.5
#: With a clock that is wrong every request would fetch a token.
LEAST_LIFE_SECONDS = 1.0
#: After a failed renewal the next one waits this long, while the old token still serves.
AGAIN_SECONDS = 30.0
#: A forced renewal also answers the 401s that come in this long after it, or for a quarter of a shorter life:
#: they were under way before.
FORCED_COVERS_SECONDS = 10.0
FORCED_COVERS_SHARE = 1 / 4


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, or a key, and when it expires (seconds since 1970). Its repr hides it."""

    text: str
    expires_at: float

    def __repr__(self) -> str:
        return f"Token(***, expires_at={self.expires_at})"


#: Gets a new token, blocking; raises ServiceRefused or SettingsError.
Fetch = Callable[[], Token]


@dataclass(frozen=True, slots=True)
class Kept:
    """A token's text, and its moments (seconds since 1970). Its repr hides the text.

    From `renew_at` a renewal is under way, which fetches at `fetch_at`; from `wait_at` requests wait for it.
    """

    text: str
    renew_at: float
    fetch_at: float
    wait_at: float

    def __repr__(self) -> str:
        return f"Kept(***, renew_at={self.renew_at}, fetch_at={self.fetch_at}, wait_at={self.wait_at})"


NOTHING = Kept("", 0.0, 0.0, 0.0)


def kept(token: Token, now: float) -> Kept:
    """Return when a token that came at `now` is renewed."""
    life = max(token.expires_at - now, LEAST_LIFE_SECONDS)
    end = now + life
    if life < SHORT_LIFE_SECONDS:
        hold = end - min(MOST_HOLD_SECONDS, life * HOLD_SHARE)
        return Kept(token.text, renew_at=hold, fetch_at=end, wait_at=hold)
    renew_at = end - min(AHEAD_SECONDS, life * AHEAD_SHARE)
    return Kept(token.text, renew_at=renew_at, fetch_at=renew_at, wait_at=end)


def put_off(old: Kept, now: float) -> Kept:
    """Return when a token whose renewal failed at `now` is renewed."""
    again = min(old.wait_at, now + min(AGAIN_SECONDS, (old.wait_at - now) / 4))
    return Kept(old.text, renew_at=again, fetch_at=again, wait_at=old.wait_at)


class Renewed:
    """A token that one thread renews before or at its end, for all who hold this object.

    Safe on any thread; no lock is taken while a token is fresh.
    """

    def __init__(self, fetch: Fetch, *, clock: Callable[[], float] = time.time) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = Lock()
        self._renewal: Future[None] | None = None
        self._answered_until = float("-inf")
        self.current = NOTHING

    def renewal(self) -> Future[None] | None:
        """Return the renewal that a request which is sent now must wait for, `None` where it need not.

        It fails with what `fetch` raises. A renewal whose time has come begins.
        """
        now = self._clock()
        if now < self.current.renew_at:
            return None
        with self._lock:
            # Another thread may have got one meanwhile.
            current = self.current
            if now < current.renew_at:
                return None
            under_way = self._begin(current.fetch_at, forced=False)
        return under_way if now >= current.wait_at else None

    def renew(self, rejected: str) -> Future[None] | None:
        """Return the renewal that answers a 401 for the text `rejected`; `None` where it has been answered.

        That is where another token has come since, or where a 401 has had its renewal just now: a token
        service with a cache of its own may give the same token again, and is not asked for every 401.
        """
        with self._lock:
            now = self._clock()
            if rejected != self.current.text or now < self._answered_until:
                return None
            return self._begin(now, forced=True)

    def _begin(self, fetch_at: float, *, forced: bool) -> Future[None]:
        """Return the renewal under way, or begin one; the lock is held."""
        under_way = self._renewal
        if under_way is None or under_way.done():
            under_way = self._renewal = Future()
            # From here on nobody who gives up waiting can cancel it for the others.
            under_way.set_running_or_notify_cancel()
            work = (under_way, fetch_at, forced)
            try:
                Thread(target=self._renew, args=work, name="batchscore sign-in", daemon=True).start()
            except RuntimeError as error:
                # The system has no thread left: whoever waits must hear of it.
                under_way.set_exception(error)
        return under_way

    def _renew(self, done: Future[None], fetch_at: float, forced: bool) -> None:  # noqa: FBT001
        old = self.current
        try:
            while (early := fetch_at - self._clock()) > 0:
                time.sleep(min(early, MOST_HOLD_SECONDS))
            token = self._fetch()
        except BaseException as error:
            self.current = put_off(old, self._clock())
            done.set_exception(error)
            return
        now = self._clock()
        self.current = kept(token, now)
        if forced:
            life = self.current.wait_at - now
            self._answered_until = now + min(FORCED_COVERS_SECONDS, life * FORCED_COVERS_SHARE)
        done.set_result(None)


_of_process: dict[Hashable, Renewed] = {}
_lock = Lock()


def renewed_for_process(key: Hashable, fetch: Fetch) -> Renewed:
    """Return what renews the token of this key, the same object for every caller of this process.

    `key` holds all that decides which token `fetch` gets. Memory: some hundred bytes a key, never freed.
    """
    with _lock:
        found = _of_process.get(key)
        if found is None:
            found = _of_process[key] = Renewed(fetch)
        return found


def forget_tokens() -> None:
    """Let whoever asks from now on fetch anew."""
    global _lock  # noqa: PLW0603
    _lock = Lock()
    _of_process.clear()


# A forked process has neither the thread of a renewal that was under way nor who would give a lock back, and
# may be another identity.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_tokens)
