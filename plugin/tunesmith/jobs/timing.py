"""When a schedule's turns are: cron or an interval, in a time zone, around quiet hours. Triggers are APScheduler's."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from tunesmith.errors import BadInput

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_UNITS = {"m": 60, "h": 3600, "d": 86400}
_MINIMUM_S = 300
_CRON_HINT = 'Five fields: minute, hour, day of the month, month, day of the week; "0 2 * * *" is every night at two.'
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class QuietHours:
    """`start` to `end` (HH:MM, local time, end excluded; over midnight when start is later). No turn falls into it."""

    start: str
    end: str

    def end_after(self, moment: datetime) -> datetime | None:
        """The end of the quiet window that the local `moment` falls into, or None."""
        start, end, now = time.fromisoformat(self.start), time.fromisoformat(self.end), moment.time()
        inside = start <= now < end if start < end else now >= start or now < end
        if not inside:
            return None
        day = moment.date() + timedelta(days=1 if now >= end else 0)
        return datetime.combine(day, end, moment.tzinfo)


@dataclass(frozen=True)
class Timing:
    """Exactly one of `cron` and `every`. `anchor`: seconds since the epoch that an interval is counted from."""

    cron: str | None
    every: str | None
    timezone: str
    quiet: QuietHours | None
    anchor: float

    @classmethod
    def of(
        cls, *, cron: str | None, every: str | None, timezone: str, quiet: dict[str, str] | None, anchor: float
    ) -> Self:
        """Raises BadInput naming what is wrong and how it is written."""
        if (cron is None) == (every is None):
            raise BadInput("A schedule has either cron or every.", code="bad_schedule", hint=_CRON_HINT, param="cron")
        quiet_hours = _quiet(quiet) if quiet else None
        timing = cls(cron, every, _zone(timezone).key, quiet_hours, anchor)
        if every is not None:
            seconds_of(every)
        if timing.next_after(anchor) is None:
            raise BadInput(f"{cron!r} never comes.", code="bad_cron", hint=_CRON_HINT, param="cron")
        return timing

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        return cls(**{**data, "quiet": QuietHours(**data["quiet"]) if data["quiet"] else None})

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def next_after(self, after: float) -> float | None:
        """The first turn later than `after` (seconds since the epoch); one that falls into quiet hours comes at their
        end. None when there is none.
        """
        turn = self._trigger_after(datetime.fromtimestamp(after, UTC) + _TICK)
        if turn is None:
            return None
        return self.not_quiet(turn.timestamp())

    def not_quiet(self, moment: float) -> float:
        """`moment`, or the end of the quiet hours that it falls into."""
        end = self.quiet.end_after(datetime.fromtimestamp(moment, ZoneInfo(self.timezone))) if self.quiet else None
        return end.timestamp() if end else moment

    def next_times(self, now: float, count: int = 3) -> list[float]:
        """The next turns after `now`; those that quiet hours push together are one."""
        times: list[float] = []
        while len(times) < count and (turn := self.next_after(times[-1] if times else now)) is not None:
            times.append(turn)
        return times

    def _trigger_after(self, moment: datetime) -> datetime | None:
        if self.every is not None:
            anchor = datetime.fromtimestamp(self.anchor, UTC)
            trigger = IntervalTrigger(seconds=seconds_of(self.every), start_date=anchor, timezone=UTC)
            turn: datetime | None = trigger.get_next_fire_time(None, max(moment, anchor + _TICK))
            return turn
        assert self.cron is not None
        zone = ZoneInfo(self.timezone)
        turns = [_first(trigger, moment, zone, self.cron) for trigger in _triggers(self.cron, zone)]
        return min((turn for turn in turns if turn is not None), default=None)


def seconds_of(every: str) -> int:
    """`30m`, `6h`, `1d` in seconds. Raises BadInput."""
    match = re.fullmatch(r"(\d{1,4})([mhd])", every)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if seconds < _MINIMUM_S:
        raise BadInput(
            f"{every!r} is not an interval of five minutes or more.",
            code="bad_interval",
            hint="Write 30m, 6h or 1d.",
            param="every",
        )
    return seconds


def _triggers(cron: str, zone: ZoneInfo) -> Sequence[CronTrigger]:
    """One trigger, or two: as in cron, a day of the month and a day of the week that are both given mean either."""
    fields = cron.lower().split()
    try:
        if len(fields) != 5:
            raise ValueError(f"{len(fields)} fields instead of five")
        minute, hour, day, month, weekday = fields
        common = {"minute": minute, "hour": hour, "month": month, "timezone": zone}
        names = _weekdays(weekday)
        if day.startswith("*") or weekday.startswith("*"):
            return [CronTrigger(day=day, day_of_week=names, **common)]
        return [CronTrigger(day=day, **common), CronTrigger(day_of_week=names, **common)]
    except (ValueError, TypeError) as error:
        raise BadInput(f"{cron!r} is not cron: {error}.", code="bad_cron", hint=_CRON_HINT, param="cron") from error


def _weekdays(field: str) -> str:
    """Cron counts from Sunday (0 or 7), APScheduler from Monday: so days are given to it by their names."""
    days: set[int] = set()
    for part in field.split(","):
        match = re.fullmatch(r"(?:\*|(\w+)(?:-(\w+))?)(?:/(\d+))?", part)
        if not match:
            raise ValueError(f"{part!r} is no day of the week")
        first, last, step = match.groups()
        begin = 0 if first is None else _weekday(first)
        finish = _weekday(last) if last else 6 if first is None or step else begin
        if first and last and finish == 0:
            finish = 7  # fri-sun
        if finish < begin or step == "0":
            raise ValueError(f"{part!r} is no range of days")
        days.update(day % 7 for day in range(begin, finish + 1, int(step or 1)))
    return ",".join(_DAYS[day] for day in sorted(days))


def _weekday(name: str) -> int:
    if name.isdigit() and int(name) <= 7:
        return int(name)
    return _DAYS.index(name)


def _first(trigger: CronTrigger, moment: datetime, zone: ZoneInfo, cron: str) -> datetime | None:
    """The trigger's first turn from `moment` on. A clock time that comes twice in the night when clocks go back counts
    once, unless the hour is left open: then real hours pass.
    """
    turn: datetime | None = trigger.get_next_fire_time(None, moment.astimezone(zone))
    while turn is not None and turn.fold and not cron.split()[1].startswith("*"):
        turn = trigger.get_next_fire_time(None, (turn.astimezone(UTC) + _TICK).astimezone(zone))
    return turn


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadInput(
            f"There is no time zone {name!r}.",
            code="unknown_timezone",
            hint="Use a name like Europe/Berlin or UTC.",
            param="timezone",
        ) from error


def _quiet(given: dict[str, str]) -> QuietHours:
    try:
        start, end = (time.fromisoformat(given[key]).strftime("%H:%M") for key in ("from", "to"))
    except (KeyError, ValueError) as error:
        start = end = ""
        reason = f"{error}"
    else:
        reason = "from and to are the same"
    if start == end:
        raise BadInput(
            f"These are no quiet hours: {reason}.",
            code="bad_quiet_hours",
            hint='Write {"from": "22:00", "to": "06:00"}.',
            param="quiet_hours",
        )
    return QuietHours(start, end)
