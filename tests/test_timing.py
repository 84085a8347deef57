"""When turns are: cron as cron means it, time zones when clocks change, quiet hours."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tunesmith.errors import BadInput
from tunesmith.jobs.timing import Timing


def timing(**given: Any) -> Timing:
    return Timing.of(
        **{"cron": None, "every": None, "timezone": "Europe/Berlin", "quiet": None, "anchor": 0.0, **given}
    )


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def shown(turns: list[float]) -> list[str]:
    return [datetime.fromtimestamp(turn, UTC).strftime("%m-%dT%H:%M") for turn in turns]


def test_a_clock_time_that_does_not_exist_comes_once() -> None:
    nightly = timing(cron="30 2 * * *")  # on 28 March 2027 clocks go from 2 to 3
    assert shown(nightly.next_times(at("2027-03-27T12:00+01:00"))) == ["03-28T01:30", "03-29T00:30", "03-30T00:30"]


def test_a_clock_time_that_exists_twice_comes_once() -> None:
    nightly = timing(cron="30 2 * * *")  # on 25 October 2026 clocks go from 3 to 2
    assert shown(nightly.next_times(at("2026-10-24T12:00+02:00"))) == ["10-25T00:30", "10-26T01:30", "10-27T01:30"]


def test_every_hour_stays_every_hour_when_clocks_change() -> None:
    hourly = timing(cron="0 * * * *")
    assert shown(hourly.next_times(at("2026-10-25T01:30+02:00"))) == ["10-25T00:00", "10-25T01:00", "10-25T02:00"]
    six = timing(every="6h", anchor=at("2026-10-24T20:00+02:00"))
    assert shown(six.next_times(at("2026-10-24T20:00+02:00"))) == ["10-25T00:00", "10-25T06:00", "10-25T12:00"]


@pytest.mark.parametrize(
    ("cron", "days"),
    [
        ("0 2 * * 0", ["Sun", "Sun", "Sun"]),
        ("0 2 * * 7", ["Sun", "Sun", "Sun"]),
        ("0 2 * * 1-3", ["Wed", "Mon", "Tue"]),
        ("0 2 * * 5-7", ["Fri", "Sat", "Sun"]),
        ("0 2 * * FRI-SUN", ["Fri", "Sat", "Sun"]),
        ("0 2 * * sat,2", ["Sat", "Tue", "Sat"]),
        ("0 2 * * */3", ["Wed", "Sat", "Sun"]),
        ("0 2 26 * 5", ["Thu", "Fri", "Fri"]),
    ],
)
def test_days_of_the_week_are_those_of_cron(cron: str, days: list[str]) -> None:
    """APScheduler counts from Monday, and takes a day of the month and of the week together; cron does neither."""
    turns = timing(cron=cron).next_times(at("2026-11-24T12:00+01:00"))  # a Tuesday
    assert [datetime.fromtimestamp(turn, UTC).strftime("%a") for turn in turns] == days


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"cron": "0 2 * *"}, "bad_cron"),
        ({"cron": "61 2 * * *"}, "bad_cron"),
        ({"cron": "0 2 * * 8"}, "bad_cron"),
        ({"cron": "0 2 * * 4-2"}, "bad_cron"),
        ({"cron": "0 2 30 2 *"}, "bad_cron"),
        ({"cron": "@daily"}, "bad_cron"),
        ({"cron": "0 2 * * *", "timezone": "Europe/Berlim"}, "unknown_timezone"),
        ({"cron": "0 2 * * *", "timezone": "../../etc/passwd"}, "unknown_timezone"),
        ({"every": "5"}, "bad_interval"),
        ({"every": "1m"}, "bad_interval"),
        ({}, "bad_schedule"),
        ({"cron": "0 2 * * *", "every": "6h"}, "bad_schedule"),
        ({"every": "6h", "quiet": {"from": "22:00", "to": "22:00"}}, "bad_quiet_hours"),
        ({"every": "6h", "quiet": {"from": "22", "to": "25:00"}}, "bad_quiet_hours"),
    ],
)
def test_what_is_no_schedule(given: dict[str, Any], code: str) -> None:
    with pytest.raises(BadInput) as error:
        timing(**given)
    assert error.value.error_code == code
    assert error.value.hint


def test_quiet_hours_move_a_turn_to_their_end() -> None:
    quiet = timing(cron="0 */3 * * *", timezone="UTC", quiet={"from": "22:00", "to": "06:30"})
    turns = quiet.next_times(at("2026-11-24T20:00+00:00"))
    assert shown(turns) == ["11-24T21:00", "11-25T06:30", "11-25T09:00"]
    by_day = timing(cron="0 12 * * *", timezone="UTC", quiet={"from": "08:00", "to": "18:00"})
    assert shown(by_day.next_times(at("2026-11-24T00:00+00:00"), 1)) == ["11-24T18:00"]
