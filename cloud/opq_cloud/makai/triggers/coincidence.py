"""Wide-area coincidence: small changes of the voltage at several Boxes at one moment.

In: Measurement.  Out: at most one Decision.  State: the small changes of the last seconds.
Each alone is below every other limit. They are of one moment when their windows meet, within both
time stamps' uncertainties and the travel time between the Boxes at 290,000 km/s; a trigger does not know the
Boxes' places, so the distance is `distance_km`. A Box whose uncertainty is unknown takes no part.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from opq_cloud.makai.judging.batch_rows import none_of, values_of
from opq_cloud.makai.judging.excursions import Excursions, Level, WatchedLimit, window_metric
from opq_proto.decision import Decision, Nominal, window_ns
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Measurement

name = "coincidence"
kind = "trigger"

KM_PER_S = 290_000.0
CHANGES_KEPT = 2000
DECIDED_KEPT = 20
LONGEST_WINDOW_NS = 5 * 10**9
"""A longer Measurement does not show the time well enough."""
WHOLE = "all Boxes"


@dataclass(frozen=True, slots=True)
class Config:
    """The size of a small change, and the number of Boxes."""

    change_percent: float = field(
        default=1.0,
        metadata={"minimum": 0.05, "maximum": 50, "help": "range of the rms in a window, of nominal"},
    )
    boxes: int = field(default=3, metadata={"minimum": 2, "maximum": 10_000, "help": "least number of Boxes"})
    distance_km: float = field(
        default=1000.0, metadata={"minimum": 0, "maximum": 20_000, "help": "from Box to Box at most"}
    )


@dataclass(frozen=True, slots=True)
class SmallChange:
    """A small change of the rms that one Box saw, and the uncertainty of its time."""

    box_id: str
    start_ns: int
    end_ns: int
    uncertainty_ns: int


@dataclass(slots=True)
class CoincidenceState:
    """The newest small changes of all Boxes, and the coincidence that goes on."""

    changes: deque[SmallChange] = field(default_factory=lambda: deque(maxlen=CHANGES_KEPT))
    excursions: Excursions = field(default_factory=Excursions)
    decided_ns: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=DECIDED_KEPT))
    """The spans of the coincidences that were decided: small changes near one belong to it."""


def begin(config: Config) -> CoincidenceState:
    """Begins without changes."""
    return CoincidenceState()


def enters(batch: Measurements, config: Config, state: CoincidenceState) -> NDArray[np.bool_]:
    """Returns (n,) the windows with a small change."""
    if batch.backfilled:
        return none_of(batch)
    least_v, most_v, _ = values_of(batch, "rms")
    return _small(batch.nominal_values[0], config).passed(most_v - least_v) & batch.stated & ~batch.crossing


def decide(
    measurement: Measurement, nominal: Nominal, config: Config, state: CoincidenceState
) -> tuple[Decision | None, CoincidenceState]:
    """Decides at the Box that completes the number, its own or that of a change near it."""
    rms = None if measurement.backfilled else window_metric(measurement, "rms")
    if rms is None or not _small(nominal.volts, config).passed(rms.max - rms.min):
        return None, state
    return _decision(measurement, config, state), state


def _small(volts: Level, config: Config) -> WatchedLimit[Level]:
    """Returns the limit of a small change, for these nominal volts."""
    enter_v = volts * config.change_percent / 100
    return WatchedLimit(name, "rms", "V", enter_v, enter_v)


def _decision(measurement: Measurement, config: Config, state: CoincidenceState) -> Decision | None:
    start_ns, end_ns = window_ns(measurement)
    uncertainty_ns = measurement.uncertainty_ns
    if uncertainty_ns is None or uncertainty_ns >= UNKNOWN_UNCERTAINTY_NS:
        return None
    if end_ns - start_ns > LONGEST_WINDOW_NS:
        return None
    own = SmallChange(measurement.box_id, start_ns, end_ns, uncertainty_ns)
    way_ns = round(config.distance_km / KM_PER_S * 1e9)
    near = [each for each in state.changes if _can_coincide(own, each, way_ns)]
    state.changes.append(own)
    count = len({own.box_id, *(each.box_id for each in near)})
    if count < config.boxes and near:  # sorted by time, so that the change in the middle is not the last
        count = max(_together(each, state.changes, way_ns) for each in near)
    if count < config.boxes:
        return None
    least = float(config.boxes)
    limit = WatchedLimit(name, "rms", "Boxes", least, least, "the rms changed at")
    if _goes_on(state, start_ns, end_ns) and WHOLE in state.excursions.active:
        state.excursions.go_on(WHOLE, measurement, float(count))
        return None
    state.excursions.remove(WHOLE)
    return state.excursions.begin(WHOLE, measurement, float(count), limit)


def _together(one: SmallChange, changes: Iterable[SmallChange], way_ns: int) -> int:
    return len({each.box_id for each in changes if _can_coincide(one, each, way_ns)})


def _goes_on(state: CoincidenceState, start_ns: int, end_ns: int) -> bool:
    """Returns True if the span belongs to a coincidence that was decided, which it widens."""
    for at, (first_ns, last_ns) in enumerate(state.decided_ns):
        if start_ns <= last_ns + LONGEST_WINDOW_NS and first_ns <= end_ns + LONGEST_WINDOW_NS:
            state.decided_ns[at] = min(first_ns, start_ns), max(last_ns, end_ns)
            return True
    state.decided_ns.append((start_ns, end_ns))
    return False


def _can_coincide(one: SmallChange, other: SmallChange, way_ns: int) -> bool:
    room_ns = one.uncertainty_ns + other.uncertainty_ns + way_ns
    return one.start_ns <= other.end_ns + room_ns and other.start_ns <= one.end_ns + room_ns
