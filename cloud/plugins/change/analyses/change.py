"""change: what changed at a Box over weeks: steps, drift, the profile of the day, single hours.

In: History of a Box and its neighbours.  Out: Phenomenon.  State: none.
"""

from dataclasses import dataclass, replace

from opq_change.detection import ChangeLimits, changes_of, own_changes
from opq_change.phenomena import phenomenon_of, profile_phenomenon
from opq_change.series import HOUR_MS, LEAST_IN_HOUR, TEN_MINUTES_MS, hourly
from opq_proto.messages import History, HistoryRequest, Phenomenon

name = "change"
takes, gives = History, Phenomenon
DAYS = (15, 92)
"""Limits of `days`: a weekly profile needs more than two weeks."""
DC_LIMITS = {"least": 0.5, "least_own": 0.25}
"""Volts."""


@dataclass(frozen=True)
class Config:
    days: int = 30
    """Days that are analysed."""
    false_alarms: float = 0.2
    """False alarms of each kind that noise may give a Box and span."""

    def __post_init__(self) -> None:
        least, most = DAYS
        if not least <= self.days <= most:
            raise ValueError(f"days is {self.days}; want {least} to {most}")
        if not 0 < self.false_alarms <= 10:
            raise ValueError(f"false_alarms is {self.false_alarms:g}; want above 0, at most 10")


def reads(config: Config) -> HistoryRequest:
    """Once a day: the voltage by class A, and the direct voltage where a Box sends one."""
    return HistoryRequest(
        days=config.days,
        intervals=("rms_v",),
        interval_ms=TEN_MINUTES_MS,
        trends=("dc",),
        trend_ms=HOUR_MS,
        boxes="neighbours",
    )


def analyse(history: History, config: Config) -> list[Phenomenon]:
    """Every change of the first Box since it is where it is."""
    limits, since_ns = ChangeLimits(config.false_alarms), history.boxes[0].since_ns
    found: list[Phenomenon] = []
    for at, (quantity, least) in enumerate((("rms_v", LEAST_IN_HOUR), ("dc", 1))):
        used = limits if quantity == "rms_v" else replace(limits, **DC_LIMITS)
        series = [
            hourly(each.box_id, each.courses[at], least, 100 / each.nominal_v if quantity == "rms_v" else 1.0)
            for each in history.boxes
        ]
        series = [each.since(since_ns) for each in series]
        box, others = series[0], [each for each in series[1:] if each.known.any()]
        changes = changes_of(box, own_changes([box, *others], used), used)
        if changes is not None:
            profile = profile_phenomenon(box, changes, quantity)
            found += [phenomenon_of(each, quantity, box.box_id) for each in changes.changes]
            found += [] if profile is None else [profile]
    return found
