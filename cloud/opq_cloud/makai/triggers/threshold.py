"""Threshold: a metric's minimum or maximum passes a limit; fires on the onset, never on the recovery.

In: Measurement.  Out: at most one Decision.  State: per Box, which limits are passed, since when.
It also reports the whole span of a dip or swell, once, when it is over; of one that lasted longer than
`max_event_s` only the end. The service requests that only when no event has it.

A Box sends a crossing at once, so it overtakes the window that it lies in and the one before: a window
that is older than the known state of its Box is ignored (otherwise a dip soon after another would have no
onset).

Source: IEC 61000-4-30:2015, 5.4 (dip and swell thresholds, hysteresis 2 % of nominal).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Generic, overload

import numpy as np
from numpy.typing import NDArray

from opq_cloud.makai.judging.batch_rows import in_any, values_of
from opq_cloud.makai.judging.excursions import FORGOTTEN_NS, Level, stamp_of, stream_of
from opq_measure.written_numbers import significant
from opq_proto.decision import Decision, Nominal, window_ns
from opq_proto.measurement.batch import Measurements
from opq_proto.measurement.continuity import clock_moved_ns
from opq_proto.messages import Measurement

name = "threshold"
kind = "trigger"

NOMINALS_KEPT = 1000
BOX_LIMITS = ("dip_v", "swell_v", "low_hz", "high_hz", "thd_ratio", "nominal_v", "nominal_hz")
"""The keys of one Box in `Config.boxes`; a limit that is not there is off."""
OTHERS = "*"
LIMITS = (("rms", False), ("rms", True), ("f", False), ("f", True), ("thd", True), ("trans", True))
"""The metrics of a Box's limits, by position, and whether its maximum counts, not its minimum."""
END_NS = 10**9
"""The end of a long disturbance is requested from this long before it."""
LATE_NS = 2 * 10**9
"""A window arrives at most this long after its end; after a clock was set back further, time begins again."""


@dataclass(frozen=True, slots=True)
class Config:
    """Limits; a limit that is None is off."""

    dip_percent: float | None = field(
        default=90.0, metadata={"minimum": 1, "maximum": 100, "help": "of nominal, on the window's minimum"}
    )
    swell_percent: float | None = field(
        default=110.0, metadata={"minimum": 100, "maximum": 1000, "help": "of nominal, on its maximum"}
    )
    hysteresis_percent: float = field(
        default=2.0, metadata={"minimum": 0, "maximum": 20, "help": "of nominal"}
    )
    low_hz: float | None = field(default=None, metadata={"minimum": 0, "maximum": 1000})
    high_hz: float | None = field(default=None, metadata={"minimum": 0, "maximum": 1000})
    hysteresis_hz: float = field(default=0.01, metadata={"minimum": 0, "maximum": 10})
    thd_ratio: float | None = field(default=None, metadata={"minimum": 0, "maximum": 10})
    hysteresis_ratio: float = field(default=0.005, metadata={"minimum": 0, "maximum": 1})
    trans_v: float | None = field(default=None, metadata={"minimum": 0, "maximum": 1e6})
    max_event_s: float = field(
        default=10.0,
        metadata={
            "minimum": 1,
            "maximum": 110,
            "help": "of a longer dip or swell only the two ends are requested",
        },
    )  # a gateway answers up to 120 s
    boxes: dict[str, dict[str, float]] = field(
        default_factory=dict,
        metadata={"help": 'limits by Box, "*" the others: dip_v, swell_v, low_hz, high_hz, thd_ratio'},
    )
    """Used instead of those above, in full; `makai_config` of the store is put here while Makai runs."""

    def __post_init__(self) -> None:
        """Raises ValueError: `boxes` holds a key that is not one of BOX_LIMITS."""
        wrong = sorted({key for limits in self.boxes.values() for key in limits} - set(BOX_LIMITS))
        if wrong:
            raise ValueError(f"boxes  {', '.join(wrong)}: unknown; want {', '.join(BOX_LIMITS)}")


@dataclass(frozen=True, slots=True)
class ThresholdLimit(Generic[Level]):
    """One limit in the unit of its metric; it is left again at `leave`.

    With arrays it is the limit of each row of a batch.
    """

    metric: str
    unit: str
    above: bool
    enter: Level
    leave: Level

    @overload
    def passed(self: "ThresholdLimit[float]", least: float, most: float) -> bool: ...
    @overload
    def passed(
        self: "ThresholdLimit[NDArray[np.float64]]", least: NDArray[np.float64], most: NDArray[np.float64]
    ) -> NDArray[np.bool_]: ...
    def passed(
        self, least: float | NDArray[np.float64], most: float | NDArray[np.float64]
    ) -> bool | NDArray[np.bool_]:
        """Whether a window with this minimum and maximum is beyond it; NaN never is."""
        return most > self.enter if self.above else least < self.enter


@dataclass(slots=True)
class LimitExcursion:
    """A limit is passed: since the start of its first window, in every one up to `until_ns`."""

    since_ns: int
    until_ns: int
    worst: float
    stamp: tuple[int, int] | None = None
    """A sample, and its time by the clock of these times."""
    start_id: int | None = None
    """The start of the Box in which its windows are; None where that is not known."""

    def is_of_other_start(self, measurement: Measurement) -> bool:
        """Whether its Box has started since: no event holds samples of both."""
        return None not in (self.start_id, measurement.start_id) and self.start_id != measurement.start_id

    def follow_clock(self, measurement: Measurement) -> None:
        """Where the Box's clock was set since, gives both times those of its present clock."""
        moved_ns = clock_moved_ns(self.stamp, measurement)
        if moved_ns:
            self.since_ns, self.until_ns = self.since_ns + moved_ns, self.until_ns + moved_ns
            self.stamp = stamp_of(measurement)


class ThresholdState:
    """Limits per nominal (computed once), and which a Box has passed; owned by the runner."""

    def __init__(self) -> None:
        self.limits: dict[tuple[Nominal, str], dict[int, ThresholdLimit[float]]] = {}
        """By nominal values and Box; "" for a Box without limits of its own."""
        self.config: Config | None = None
        """The Config that these limits are from."""
        self.passed: dict[str, dict[int, LimitExcursion]] = {}
        """Stream -> by position in its limits. Measurements that a Box sends again from its
        disk are from another time than its live stream and must not end or start a disturbance in it.
        """
        self.recovered: dict[str, dict[int, int]] = {}
        """box id -> by position in its limits, when its crossing showed that the limit was left again."""


def begin(config: Config) -> ThresholdState:
    """Begins with no limit passed."""
    return ThresholdState()


def enters(batch: Measurements, config: Config, state: ThresholdState) -> NDArray[np.bool_]:
    """Returns (n,) which pass a limit, and those whose Box has passed one."""
    close = in_any(batch, state.passed)
    for limit in _limits_of_rows(batch, config, state):
        if limit is not None:
            least, most, _ = values_of(batch, limit.metric)
            close = close | limit.passed(least, most)
    return close


def decide(
    measurement: Measurement, nominal: Nominal, config: Config, state: ThresholdState
) -> tuple[Decision | None, ThresholdState]:
    """Decides on the first limit passed in this window and not in the one before; otherwise on an end."""
    return _decide(measurement, nominal, config, state), state


def _decide(
    measurement: Measurement, nominal: Nominal, config: Config, state: ThresholdState
) -> Decision | None:
    limits = _limits_of(measurement.box_id, nominal, config, state)
    key = stream_of(measurement)
    passed = state.passed.get(key)
    if passed and any(each.is_of_other_start(measurement) for each in passed.values()):
        passed = None  # its end is unknown, so a limit that is passed now counts as passed again
        del state.passed[key]
    if passed is not None and not passed.keys() <= limits.keys():  # the limit was turned off meanwhile
        passed = state.passed[key] = {at: passed[at] for at in passed if at in limits}
    for excursion in () if passed is None else passed.values():
        excursion.follow_clock(measurement)
    onset = None
    left: list[int] = []
    for position, limit in limits.items():
        metric = measurement.metrics.get(limit.metric)
        if metric is None:
            continue
        value = metric.max if limit.above else metric.min
        if value != value:  # NaN: unknown, neither passed nor left
            continue
        if passed is not None and position in passed:
            if value <= limit.leave if limit.above else value >= limit.leave:
                if not _from_before(measurement, passed[position].since_ns):
                    left.append(position)
            else:
                excursion = passed[position]
                excursion.until_ns = max(excursion.until_ns, window_ns(measurement)[1])
                excursion.worst = (max if limit.above else min)(excursion.worst, value)
        elif limit.passed(metric.min, metric.max):
            if _from_before(measurement, state.recovered.get(measurement.box_id, {}).get(position)):
                continue
            if passed is None:
                passed = state.passed[key] = {}
            stamp, start_id = stamp_of(measurement), measurement.start_id
            passed[position] = LimitExcursion(*window_ns(measurement), value, stamp, start_id)
            onset = onset or _decision(limit, value)
    if not passed or onset is not None:  # an end in this window is still there in the next one
        return onset
    whole = _whole(measurement, limits, passed, left, round(config.max_event_s * 1e9))
    for position in left:
        del passed[position]
        if measurement.crossing and not measurement.backfilled:
            state.recovered.setdefault(measurement.box_id, {})[position] = window_ns(measurement)[0]
    if not passed:
        del state.passed[key]
    return whole


def _limits_of_rows(
    batch: Measurements, config: Config, state: ThresholdState
) -> Iterable[ThresholdLimit[NDArray[np.float64]] | None]:
    """Returns the six limits, each of all rows; NaN where it is off for one."""
    if not config.boxes:
        return _limits(batch.nominal_values[0], config)
    limits = [_limits_of(box_id, batch.nominal(at), config, state) for at, box_id in enumerate(batch.ids)]
    return (_of_rows(at, limits) for at in range(len(LIMITS)))


def _of_rows(at: int, limits: list[dict[int, ThresholdLimit[float]]]) -> ThresholdLimit[NDArray[np.float64]]:
    metric, above = LIMITS[at]
    enter = np.array([limit.enter if (limit := each.get(at)) else np.nan for each in limits])
    return ThresholdLimit(metric, "", above, enter, enter)


def _limits_of(
    box_id: str, nominal: Nominal, config: Config, state: ThresholdState
) -> dict[int, ThresholdLimit[float]]:
    """The limits, each at its own position whatever the Config, so that passed ones survive its exchange."""
    if config is not state.config:
        state.limits.clear()
        state.config = config
    own = "" if not config.boxes else box_id if box_id in config.boxes else OTHERS
    limits = state.limits.get((nominal, own))
    if limits is None:
        if len(state.limits) >= NOMINALS_KEPT:  # a Box may state other values each time
            state.limits.clear()
        found = config.boxes.get(own)
        made = _limits(nominal.volts, config) if found is None else _box_limits(found, nominal, config)
        limits = state.limits[nominal, own] = {
            position: limit for position, limit in enumerate(made) if limit is not None
        }
    return limits


def _from_before(measurement: Measurement, known_ns: int | None) -> bool:
    """Returns True if a live window begins before a later crossing, which is never late, of the same Box."""
    if known_ns is None or measurement.crossing or measurement.backfilled:
        return False
    start_ns, end_ns = window_ns(measurement)
    return start_ns < known_ns <= end_ns + LATE_NS


def _whole(
    measurement: Measurement,
    limits: dict[int, ThresholdLimit[float]],
    passed: dict[int, LimitExcursion],
    left: list[int],
    longest_ns: int,
) -> Decision | None:
    """The common span of the dips and swells that are over; of one above `longest_ns` only its end."""
    spans: list[tuple[int, int]] = []
    decision = None
    now_ns = window_ns(measurement)[0]
    since_ns = now_ns
    for position in left:
        excursion, limit = passed[position], limits[position]
        if limit.metric != "rms" or now_ns - excursion.until_ns > FORGOTTEN_NS:
            continue
        end_ns = max(excursion.until_ns, now_ns)  # windows may be lost: it ended somewhere before this one
        if end_ns <= excursion.since_ns:
            continue
        long = end_ns - excursion.since_ns > longest_ns
        begin_ns = excursion.since_ns
        if long:
            begin_ns = max(begin_ns, excursion.until_ns - END_NS, end_ns - longest_ns)
        spans.append((begin_ns, end_ns))
        since_ns = min(since_ns, excursion.since_ns)
        decision = decision or _over(limit, excursion, end_ns, long)
    if decision is None:
        return None
    begin_ns, end_ns = min(start for start, _ in spans), max(end for _, end in spans)
    return replace(decision, span_ns=(begin_ns, end_ns), since_ns=since_ns if since_ns < begin_ns else None)


def _limits(volts: Level, config: Config) -> Iterator[ThresholdLimit[Level] | None]:
    """Yields dip, swell, frequency low and high, THD, transient; None: off."""
    step_v, same = volts * config.hysteresis_percent / 100, volts * 0
    yield _limit("rms", "V", False, _share(volts, config.dip_percent), step_v)
    yield _limit("rms", "V", True, _share(volts, config.swell_percent), step_v)
    for metric, unit, above, enter, step in (
        ("f", "Hz", False, config.low_hz, config.hysteresis_hz),
        ("f", "Hz", True, config.high_hz, config.hysteresis_hz),
        ("thd", "", True, config.thd_ratio, config.hysteresis_ratio),
        ("trans", "V", True, config.trans_v, 0.0),
    ):
        yield _limit(metric, unit, above, None if enter is None else same + enter, step)


def _box_limits(
    found: dict[str, float], nominal: Nominal, config: Config
) -> Iterator[ThresholdLimit[float] | None]:
    """Yields the same for one Box: narrow limits keep half of the way back to nominal."""
    volts, hz = found.get("nominal_v", nominal.volts), found.get("nominal_hz", nominal.hz)
    step_v = volts * config.hysteresis_percent / 100
    for key, metric, unit, above, middle, step in (
        ("dip_v", "rms", "V", False, volts, step_v),
        ("swell_v", "rms", "V", True, volts, step_v),
        ("low_hz", "f", "Hz", False, hz, config.hysteresis_hz),
        ("high_hz", "f", "Hz", True, hz, config.hysteresis_hz),
        ("thd_ratio", "thd", "", True, 0.0, config.hysteresis_ratio),
    ):
        enter = found.get(key)
        yield _limit(metric, unit, above, enter, 0.0 if enter is None else min(step, abs(middle - enter) / 2))
    yield _limit("trans", "V", True, config.trans_v, 0.0)


def _share(volts: Level, percent: float | None) -> Level | None:
    return None if percent is None else volts * percent / 100


def _limit(
    metric: str, unit: str, above: bool, enter: Level | None, step: Level | float
) -> ThresholdLimit[Level] | None:
    if enter is None:
        return None
    return ThresholdLimit(metric, unit, above, enter, enter - step if above else enter + step)


def _decision(limit: ThresholdLimit[float], value: float) -> Decision:
    side = "above" if limit.above else "below"
    because = (
        f"{name}: {limit.metric} {significant(value, 4)} {limit.unit}".rstrip()
        + f" {side} {significant(limit.enter, 4)}"
    )
    return Decision(limit.metric, value, limit.enter, because)


def _over(limit: ThresholdLimit[float], excursion: LimitExcursion, end_ns: int, long: bool) -> Decision:
    side = "above" if limit.above else "below"
    seconds = (end_ns - excursion.since_ns) / 1e9
    because = f"lasted at most {seconds:.1f} s{', this is its end' if long else ''}"
    because = f"{because}; {name}: {limit.metric} {side} {significant(limit.enter, 4)} {limit.unit}"
    return Decision(limit.metric, excursion.worst, limit.enter, because)
