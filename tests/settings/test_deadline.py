"""Deadlines as people write them: every form is read, nothing else is, and the moment is never past."""

from __future__ import annotations

import time as system_time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, time, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.errors import UsageError
from batchscore.settings.deadline import moment_of, parse_deadline

#: One that moves its clocks, so that an hour comes twice, and another not at all.
ZONE = "Europe/Berlin"

moments = st.datetimes(datetime(2001, 1, 1), datetime(2090, 1, 1), timezones=st.just(timezone.utc))  # noqa: DTZ001
UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


@pytest.fixture(autouse=True, scope="module")
def in_a_zone_with_summer_time() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", ZONE)
        system_time.tzset()
        yield
    system_time.tzset()


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("2h", timedelta(hours=2)),
        ("90m", timedelta(minutes=90)),
        ("45s", timedelta(seconds=45)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        ("1d", timedelta(days=1)),
        (" 2h ", timedelta(hours=2)),
        ("6:30", time(6, 30)),
        ("06:30", time(6, 30)),
        ("23:59:59", time(23, 59, 59)),
        ("0:00", time(0)),
        ("2026-11-22T06:30", datetime(2026, 11, 22, 6, 30)),  # noqa: DTZ001 - the machine's time
        ("2026-11-22 06:30:15", datetime(2026, 11, 22, 6, 30, 15)),  # noqa: DTZ001
        ("2026-11-22T06:30Z", datetime(2026, 11, 22, 6, 30, tzinfo=timezone.utc)),
        ("2026-11-22T06:30+01:00", datetime(2026, 11, 22, 6, 30, tzinfo=timezone(timedelta(hours=1)))),
    ],
)
def test_valid_deadlines(text: str, meaning: object) -> None:
    assert parse_deadline(text) == meaning


@pytest.mark.parametrize(
    "text",
    [
        *("", "h", "2", "2 h", "0h", "-2h", "h2", "30m1h", "2h2h", "1e3s", "nan", "infs", "٢h", "tomorrow"),
        *("25:00", "6:60", "6.30", "6:3", "630", "1:2:3", "9999999999d", "9999-99-99T99:99"),
        *("2026-11-22", "2026-02-30T06:30", "2026-11-22T25:00", "22.11.2026 06:30", "2026-11-22T06:30 CET"),
    ],
)
def test_an_invalid_deadline_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match=r"give a duration such as 2h, 90m, 45s"):
        parse_deadline(text)


@given(st.text(alphabet=st.characters() | st.sampled_from("0123456789:.dhmsTZ-+ ")), moments)
def test_any_text_gives_a_later_moment_or_a_usage_error(text: str, now: datetime) -> None:
    with suppress(UsageError):
        assert moment_of(text, now) > now


@given(
    st.dictionaries(st.sampled_from(list(UNITS)), st.integers(0, 10_000), min_size=1).filter(
        lambda parts: any(parts.values())
    ),
    moments,
)
def test_a_duration_is_the_sum_of_its_parts_from_now_on(parts: dict[str, int], now: datetime) -> None:
    text = "".join(f"{parts[unit]}{unit}" for unit in UNITS if unit in parts)
    lasts = timedelta(**{UNITS[unit]: number for unit, number in parts.items()})
    assert moment_of(text, now) == now + lasts


@given(st.times(), moments)
def test_a_time_is_the_next_such_time_on_this_machines_clock(wanted: time, now: datetime) -> None:
    wanted = wanted.replace(microsecond=0)
    found = moment_of(f"{wanted:%H:%M:%S}", now)
    assert now < found <= now + timedelta(hours=25)
    shown = found.astimezone()
    skipped = (datetime.combine(shown.date(), wanted).astimezone()).replace(tzinfo=None).time() != wanted
    assert shown.time() == wanted or skipped


@given(moments, moments)
def test_a_date_means_itself_and_is_refused_once_it_has_passed(wanted: datetime, now: datetime) -> None:
    wanted = wanted.replace(microsecond=0)
    for text in (f"{wanted:%Y-%m-%dT%H:%M:%S}Z", wanted.isoformat()):
        if wanted > now:
            assert moment_of(text, now) == wanted
        else:
            with pytest.raises(UsageError, match="has passed; give a later one"):
                moment_of(text, now)


def test_a_moment_beyond_the_calendar_is_refused() -> None:
    with pytest.raises(UsageError, match="deadline is beyond the calendar"):
        moment_of("999999999d", datetime.now(timezone.utc))


def test_the_current_time_of_day_means_tomorrow() -> None:
    now = datetime(2026, 11, 21, 6, 30).astimezone()
    assert moment_of("6:30", now) - now == timedelta(days=1)
    assert moment_of("6:31", now) - now == timedelta(minutes=1)
