"""When a rule runs: cron and duration, ranges of time. Pure: from a time to the next change.

`cron` (5 fields, 6 with seconds first, or a name such as @daily) starts the rule, `duration` later it stops.
`cronDatetimeRange`, alone or with cron, gives the spans in which it may run at all. Times are local.

Source: docs/reference/rules.md, C.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cronsim import CronSim, CronSimError

from opq_proto.config.settings import milliseconds

NEVER_MS = 1 << 62
NAMED_SCHEDULES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FORMS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M")


@dataclass(frozen=True, slots=True)
class RuleSchedule:
    """`ranges`: (begin, end) in Unix ms, half open, rising; none: always."""

    cron: str = ""
    duration_ms: int = 0
    ranges: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, cron: object, duration: object, ranges: object) -> "RuleSchedule | None":
        """The schedule, or None where nothing is scheduled. Raises ValueError that names the option."""
        read = cls(_cron(cron or ""), _duration(duration), _ranges(ranges))
        if read.cron and not read.duration_ms:
            raise ValueError('duration  missing: how long the rule runs after each start by cron, e.g. "30m"')
        if read.duration_ms and not read.cron:
            raise ValueError('cron  missing: when the rule starts for its duration, e.g. "0 8 * * *"')
        return read if read.cron or read.ranges else None

    def runs_at(self, now_ms: int) -> bool:
        """Whether the rule runs at this time."""
        if self.ranges and not any(begin <= now_ms < end for begin, end in self.ranges):
            return False
        if not self.cron:
            return True
        return self._start_after(now_ms - self.duration_ms) <= now_ms

    def next_change_ms(self, now_ms: int) -> int:
        """The first time after `now_ms` when `runs_at` may change; NEVER_MS where it never changes again."""
        times = [edge for span in self.ranges for edge in span if edge > now_ms]
        if self.cron:
            start_ms = self._start_after(now_ms)
            running_since_ms = self._start_after(now_ms - self.duration_ms)
            times += [start_ms] if start_ms < NEVER_MS else []
            if running_since_ms <= now_ms:
                times.append(running_since_ms + self.duration_ms)
        return min((each for each in times if each > now_ms), default=NEVER_MS)

    def next_start_ms(self, now_ms: int) -> int | None:
        """The next start, for the status; None where it does not start again."""
        at_ms = now_ms
        for _ in range(1000):
            at_ms = self.next_change_ms(at_ms)
            if at_ms >= NEVER_MS:
                return None
            if self.runs_at(at_ms):
                return at_ms
        return None

    def _start_after(self, ms: int) -> int:
        try:
            after = datetime.fromtimestamp(ms / 1000).astimezone()
            return round(next(CronSim(self.cron, after)).timestamp() * 1000)
        except (StopIteration, OverflowError, ValueError, OSError):
            return NEVER_MS


def _cron(text: object) -> str:
    if not isinstance(text, str):
        raise ValueError(f"cron  is {text!r}; want text")
    fields = NAMED_SCHEDULES.get(text.strip().lower(), text)
    if fields.lstrip().startswith("@"):
        raise ValueError(
            f"cron  is {text!r}; want 5 fields, e.g. '*/15 * * * *', or {', '.join(NAMED_SCHEDULES)}"
        )
    if fields:
        try:
            CronSim(fields, datetime(2026, 1, 1))
        except CronSimError as error:
            raise ValueError(f"cron  is {text!r}: {error}; want 5 fields, e.g. '*/15 * * * *'") from error
    return fields


def _duration(value: object) -> int:
    if value in (None, ""):
        return 0
    try:
        return milliseconds(value)
    except ValueError as error:
        raise ValueError(f"duration  {error}") from error


def _ranges(given: object) -> tuple[tuple[int, int], ...]:
    if given is None:
        return ()
    wanted = 'cronDatetimeRange  want a list of {"begin", "end"}: "2026-11-20 08:00:00" or ms, rising'
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise ValueError(wanted)
    spans: list[tuple[int, int]] = []
    for each in given:
        if not isinstance(each, dict):
            raise ValueError(wanted)
        begin = _stamp(each.get("begin", each.get("beginTimestamp")), wanted)
        end = _stamp(each.get("end", each.get("endTimestamp")), wanted)
        if begin >= end:
            raise ValueError(wanted)
        spans.append((begin, end))
    return tuple(sorted(spans))


def _stamp(value: object, wanted: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    for form in _FORMS:
        try:
            return round(datetime.strptime(str(value), form).timestamp() * 1000)
        except ValueError:
            continue
    raise ValueError(wanted)
