"""likeness: which Boxes' voltages move alike, and how likely it is that they are on one phase.

In: History of all Boxes.  Out: Phenomenon.  State: none.
"""

from dataclasses import dataclass

import numpy as np

from opq_change.likeness import LEAST_LIKELY, likenesses, most_likely
from opq_change.phenomena import likeness_phenomenon
from opq_change.series import TEN_MINUTES_MS, Values
from opq_proto.messages import Course, History, HistoryRequest, Phenomenon

name = "likeness"
takes, gives = History, Phenomenon


@dataclass(frozen=True)
class Config:
    days: int = 30
    """Days that are compared."""
    least_likely: float = LEAST_LIKELY
    """Least likelihood that two Boxes are on one phase."""

    def __post_init__(self) -> None:
        if not 4 <= self.days <= 92:
            raise ValueError(f"days is {self.days}; want 4 to 92")
        if not 0.5 <= self.least_likely < 1:
            raise ValueError(f"least_likely is {self.least_likely:g}; want 0.5 to below 1")


def reads(config: Config) -> HistoryRequest:
    """Once a day: the voltage by class A of all Boxes."""
    return HistoryRequest(days=config.days, intervals=("rms_v",), interval_ms=TEN_MINUTES_MS, boxes="all")


def analyse(history: History, config: Config) -> list[Phenomenon]:
    """Every two Boxes that are likely on one phase; each pair once, with the Box that comes first."""
    values = {each.box_id: _good(each.courses[0]) for each in history.boxes}
    known = {box_id: each for box_id, each in values.items() if not np.isnan(each).all()}
    pairs = most_likely(likenesses(known), config.least_likely)
    since_ns = {each.box_id: max(history.start_ns, each.since_ns) for each in history.boxes}
    return [
        likeness_phenomenon(each, max(since_ns[box_id] for box_id in each.box_ids), history.end_ns)
        for each in pairs
    ]


def _good(course: Course) -> Values:
    return np.where(course.flagged, np.nan, course.values)
