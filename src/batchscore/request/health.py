"""Does a deployment answer, and since when does it not?

It knows the outcomes of requests, and neither sends any nor waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from batchscore.errors import ErrorCode
from batchscore.request.outcome_rules import Outcome

#: After this many failures in a row, the deployment gets probes instead of requests.
FAILURES_OF_AN_OUTAGE = 8

#: If nothing was ever answered, the user should know soon.
FAILURES_BEFORE_ANY_ANSWER = 3

#: If a probe was answered and requests fail, these rows may be the cause: they use up their retries.
FAILURES_AFTER_A_PROBE = 64

#: After this many outages that only a probe ended, answered probes do not end the time without answers.
OUTAGES_WITHOUT_AN_ANSWER = 3

#: Seconds before the first probe, doubling until a request is answered.
FIRST_PROBE_SECONDS = 0.5

#: 429s are ordinary; they are an outage only after this many seconds without any success.
LIMITED_SECONDS = 60.0


class State(Enum):
    """What may be sent to a deployment."""

    UP = "up"
    DOWN = "down"  # only a probe now and then
    STOPPED = "stopped"  # nothing more in this run


#: To read a member of an enum takes as long as a call.
UP, STOPPED = State.UP, State.STOPPED


@dataclass(slots=True)
class Health:
    """The state of one deployment, and the replies that led to it. Times are the monotonic clock's.

    A failure is one row's bad luck while other rows are answered, and an outage if none is. `sent_at` is when
    the latest of the answered requests was sent. `usable`: a probe was answered as it should be. `outages`
    counts those that began since `unanswered_since` and ended with a probe, though no request was answered;
    `excuses`: the failures of a request were forgotten because of the present one.
    """

    state: State = State.UP
    last_success: float | None = None
    sent_at: float = float("-inf")
    usable: bool = False
    failing_since: float | None = None
    lasting_since: float | None = None
    failures: int = 0
    reached: bool = False
    last_outcome: Outcome | None = None
    probe_wait: float = FIRST_PROBE_SECONDS
    probe_at: float = 0.0
    probe_answered: bool = False
    outages: int = 0
    unanswered_since: float = float("-inf")
    excuses: bool = False

    def note_success(self, now: float, seconds: float) -> None:
        """Note that a request was answered after this many seconds."""
        self.last_success = now
        if now - seconds > self.sent_at:
            self.sent_at = now - seconds
        self.reached = True
        if self.failing_since is not None:
            self.end_failures()
            self.probe_answered = False
            self.probe_wait = FIRST_PROBE_SECONDS

    def end_failures(self) -> None:
        """End a series of failures."""
        self.failures = 0
        self.failing_since = None

    def note_failure(self, outcome: Outcome, now: float, most_outage_seconds: float) -> bool:
        """Note that the service failed a request; return whether the deployment is down from now on."""
        self.failures += 1
        unproven = self.is_unproven and self.last_outcome is not None and self.last_outcome.needs_action
        if not (unproven and outcome.code is ErrorCode.TIMEOUT):  # a timeout makes no service of what is none
            self.last_outcome = outcome
        self.reached = self.reached or outcome.status is not None
        if self.failing_since is None:
            self.failing_since, self.lasting_since = now, None
        self.lasting_since = (self.lasting_since or now) if outcome.lasting else None
        enough = FAILURES_BEFORE_ANY_ANSWER if self.last_success is None else FAILURES_OF_AN_OUTAGE
        if self.probe_answered:
            enough = FAILURES_AFTER_A_PROBE
        if self.state is not State.UP or self.failures < enough:
            return False
        limited = outcome.code is ErrorCode.RATE_LIMITED
        return not limited or now - self.failing_since > min(LIMITED_SECONDS, most_outage_seconds)

    def end_outage(self, now: float) -> None:
        """Note that a probe was answered, which shows nothing about the requests."""
        if self.excuses:
            if not self.outages or self.answered_since(self.unanswered_since):
                self.outages, self.unanswered_since = 0, self.failing_since or now
            self.outages += 1
        self.excuses = False
        self.end_failures()

    def unanswered_seconds(self, now: float) -> float:
        """Return for how long only probes are answered; 0 if outages do not follow one another."""
        again = self.outages >= OUTAGES_WITHOUT_AN_ANSWER and not self.answered_since(self.unanswered_since)
        return now - self.unanswered_since if again else 0.0

    @property
    def is_unproven(self) -> bool:
        """Whether it has never sent a usable reply."""
        return self.last_success is None and not self.usable

    def answered_since(self, moment: float) -> bool:
        """Whether any request was answered after a moment."""
        return self.last_success is not None and self.last_success >= moment

    def answered_one_sent_since(self, moment: float) -> bool:
        """Whether a request that was sent after a moment was answered."""
        return self.sent_at >= moment
