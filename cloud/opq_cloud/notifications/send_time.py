"""When a notification is sent: at once, at the end of the quiet hours, or with the next digest. Pure.

Times are wall times of the account's time zone. A time that a clock change skips is later by the skipped
span; of a time that comes twice, the next one counts."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from opq_cloud.store.records.accounts.notifications import NotificationRule, wall_time


def send_time_ms(
    rule: NotificationRule, zone: ZoneInfo, now_ms: int, severity: float | None = None
) -> tuple[int, str]:
    """Returns the time to send, in ms since 1970, and why not at once ("" where at once)."""
    loud = rule.loud_severity is not None and severity is not None and severity >= rule.loud_severity
    if loud:
        return now_ms, ""
    due, why = _digest_time(rule, zone, now_ms)
    if rule.quiet_from and rule.quiet_to and in_quiet_hours(rule, zone, due):
        return next_wall_time(wall_time(rule.quiet_to), zone, due), "quiet hours"
    return due, why


def in_quiet_hours(rule: NotificationRule, zone: ZoneInfo, at_ms: int) -> bool:
    """Whether a time is in the quiet hours [from, to).

    They span midnight where `from` is later than `to`; they are empty where both are equal.
    """
    begin, end = wall_time(rule.quiet_from), wall_time(rule.quiet_to)
    now = datetime.fromtimestamp(at_ms / 1000, zone).time()
    return begin <= now < end if begin <= end else now >= begin or now < end


def next_wall_time(at: time, zone: ZoneInfo, after_ms: int) -> int:
    """Returns the first moment (ms) after `after_ms` at which clocks of the zone show `at`."""
    after = datetime.fromtimestamp(after_ms / 1000, zone)
    for days in range(-1, 3):
        # In the second pass of a repeated hour (`fold`) the first pass is over.
        local = datetime.combine(after.date() + timedelta(days=days), at.replace(fold=after.fold), zone)
        found_ms = round(local.astimezone(UTC).timestamp() * 1000)
        if found_ms > after_ms:
            return found_ms
    raise AssertionError("a wall time comes every day")


def _digest_time(rule: NotificationRule, zone: ZoneInfo, now_ms: int) -> tuple[int, str]:
    if rule.digest == "hourly":
        local = datetime.fromtimestamp(now_ms / 1000, zone)
        past_ms = (local.minute * 60 + local.second) * 1000 + now_ms % 1000
        return now_ms - past_ms + 3_600_000, "hourly digest"
    if rule.digest == "daily":
        return next_wall_time(wall_time(rule.digest_at), zone, now_ms), "daily digest"
    return now_ms, ""
