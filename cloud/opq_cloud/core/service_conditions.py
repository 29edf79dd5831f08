"""Judges whether a subject is ill, by one table of conditions. Pure.

A reading becomes an alert where it is at its condition's limit for long enough, and a recovery where it is at
the lower limit of recovery for long enough; in between nothing changes, so that a figure that goes up and
down gives one alert. A consequence of another illness (a Box cannot be heard while the broker is down) is not
judged until that is well again.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from opq_cloud.core.service import STALE_S

FIRST_S = 60.0
"""A subject that was never well is ill after this time at the earliest, because it may still start."""
LONGEST_TURN_S = 10.0
"""After a longer pause of the machine, the time of the pause does not count as ill."""
FORGOTTEN_S = 3600.0
"""A subject without a reading for this time was removed and has no verdict."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A row of the table: ill at `limit` or above for `for_s`, well at `recovery` or below for `well_s`."""

    limit: float
    recovery: float
    for_s: float
    well_s: float
    source: str
    """What the reading is, and where it comes from."""
    helps: str
    """What to do."""


DISK_SHARE = 0.95
LATE_S = 180.0
"""Data of a connected Box that are older than this are not well, whatever the reason."""
CONDITIONS: Mapping[str, Condition] = {
    "service": Condition(
        *(1, 0, 10, 15, "1 where a service, part or plug-in does not answer, or not `ok`"),
        "do what it says; its log has more; start it again if it has ended",
    ),
    "hang": Condition(
        *(1, 0, 15, 15, "1 where a service does not answer in time, and may have much to do"),
        "start it again if it stays so; its log says what it did last",
    ),
    "silence": Condition(
        *(STALE_S, 0, 0, 10, "s since a Box was heard, where it should have been"),
        "look at the Box, its gateway and the line between gateway and cloud; a Box that is gone for good: "
        "opq-tools boxes retire",
    ),
    "late": Condition(
        *(LATE_S, 60, 30, 15, "s between a Measurement's own time and its arrival, of a Box that sends"),
        "compare the clock of the Box's gateway with UTC (timedatectl); after an outage it goes by itself",
    ),
    "box_at_gateway": Condition(
        *(1, 0, 60, 15, "1 where its gateway reports a Box as not `ok`"),
        "do what it says at the gateway; opq-tools status and logs there have more",
    ),
    "availability": Condition(
        *(0.1, 0.05, 60, 60, "share of the last hour that a Box did not measure"),
        "look for the cause at its gateway: opq-tools logs; it is well an hour after the last gap",
    ),
    "queue": Condition(
        *(1, 0.3, 15, 15, "length of a queue, as a share of its limit in QUEUES"),
        "find what does not read it: a service that is slow or gone, a store or a line that is full",
    ),
    "descriptors": Condition(
        *(0.8, 0.7, 10, 30, "share of the descriptors that a process has open"),
        "raise its limit (LimitNOFILE of its unit), or end what connects too often",
    ),
    "inflow": Condition(
        *(3, 0, 0, 0, "connections and messages beyond a limit that a service ended within a minute"),
        "connection.ended and message.too_large of opq-tools logs name the peer and its Box: end that "
        "program, or opq-tools keys revoke",
    ),
    "disk": Condition(
        *(DISK_SHARE, 0.93, 5, 15, "used share of the disk of the data folder"),
        "delete what is not needed, or keep less: [store] of the cloud, ring_hours of the gateway",
    ),
    "clock": Condition(
        *(3, 2, 10, 15, "s that a clock is off: gateways, GPS, Boxes, time daemon"),
        "set the clock (timedatectl), and let a daemon keep it: chrony",
    ),
    "version": Condition(
        *(1, 0, 60, 0, "1 where a gateway or service has another version (0.1, 0.2)"),
        "install the same version on both (docs/updates.md)",
    ),
    "keys": Condition(
        *(1095, 1094, 0, 0, "days since the server's key was made"),
        "opq-tools keys rotate --server",
    ),
    "certificate": Condition(
        *(-14, -15, 0, 0, "days since the end of the page's certificate"),
        "renew it, where the page's TLS ends",
    ),
    "backup": Condition(
        *(8, 7.5, 0, 0, "days since the newest archive in the folder backups"),
        "opq-tools backup, each day (docs/operating.md, Copies)",
    ),
}
QUEUES: Mapping[str, float] = {
    "waiting_bytes_now": 100_000,  # Measurements from the broker to its subscribers
    "answers_waiting_now": 50,  # waveforms that the event service has not stored
    "notifications_overdue_now": 5,
    "measurements_held": 10,  # of a Box, in its gateway, that the cloud has not acknowledged
}
"""Limits of queues, by the name in a service's `levels`."""
ENDED: Mapping[str, str] = {
    "connections_ended": "ended connections",
    "message_too_large": "too large messages",
}
"""What a service ended since its start because it was beyond a limit: name in its `levels` -> words."""
UPSTREAM = ("triggering-broker", "triggering-service", "makai", "retention")
"""Services without which no Box is heard and no Measurement is stored."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One figure of one subject, at one time."""

    condition: str
    name: str
    """The thing, unique over all conditions: a Box's id, `mauka`, `disk of the cloud`."""
    value: float | None
    """None: it could not be read, which changes nothing."""
    info: str = ""
    waits_for: Collection[str] = ()
    """Things because of which this one may be ill: while one of them is, this one is not judged."""
    report: Mapping[str, int] = field(default_factory=dict)
    """Of a Box: `timestamp` and `received` (s), as in health."""
    note: str = ""
    """What somebody should know though it is well."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state of a subject."""

    reading: Reading
    ill: bool | None
    """None while it is not known: it is beyond its limit, but not for long enough."""
    since_s: float
    """When it became so, by `HealthJudge.now_s`."""
    turning_s: float | None = None
    """Since when it has been beyond the limit of the other state; None: it is not."""
    read_s: float = 0.0


class HealthJudge:
    """The verdicts of all things. Has no clock and is not thread-safe."""

    def __init__(self) -> None:
        self._verdicts: dict[str, Verdict] = {}
        self._clock_s, self._read_s = 0.0, 0.0

    @property
    def now_s(self) -> float:
        """Its time for durations of illness; it stops while nothing is read."""
        return self._clock_s

    @property
    def verdicts(self) -> list[Verdict]:
        return list(self._verdicts.values())

    def accept(self, readings: Iterable[Reading], now_s: float) -> list[Verdict]:
        """Judges readings in their order; returns the verdicts that changed to ill or back to well.

        A reading comes after those of the things that it waits for.
        """
        self._clock_s += min(max(0.0, now_s - self._read_s), LONGEST_TURN_S)
        self._read_s = now_s
        now_s, changed = self._clock_s, []
        for reading in readings:
            known = self._verdicts.get(reading.name)
            after = self._judged(reading, known, now_s)
            self._verdicts[reading.name] = after
            if after.ill is not None and after.ill != (known is not None and bool(known.ill)):
                changed.append(after)
        forgotten = [name for name, each in self._verdicts.items() if now_s - each.read_s > FORGOTTEN_S]
        for name in forgotten:
            del self._verdicts[name]
        return changed

    def is_ill(self, name: str) -> bool:
        """Whether a thing is ill, or is beyond its limit and may be soon."""
        verdict = self._verdicts.get(name)
        return verdict is not None and (bool(verdict.ill) or verdict.turning_s is not None)

    def _judged(self, reading: Reading, known: Verdict | None, now_s: float) -> Verdict:
        ill = None if known is None else known.ill
        since_s = now_s if known is None else known.since_s
        if reading.value is None or any(map(self.is_ill, reading.waits_for)):
            return Verdict(reading, ill, since_s, None, now_s)
        condition = CONDITIONS[reading.condition]
        turns = reading.value <= condition.recovery if ill else reading.value >= condition.limit
        if not turns:
            return Verdict(reading, bool(ill), since_s, None, now_s)
        turning_s = now_s if known is None or known.turning_s is None else known.turning_s
        for_s = max(condition.for_s, FIRST_S) if ill is None else condition.for_s
        if now_s - turning_s < (condition.well_s if ill else for_s):
            return Verdict(reading, ill, since_s, turning_s, now_s)
        return Verdict(reading, not ill, turning_s, None, now_s)
