"""Excursions: the limits that a Box has passed, since when, and whether that opens an event. Pure.

    passed  --> an onset: one Decision, unless this limit of this Box was passed again and again lately
    goes on --> nothing, for hours too; an onset again where it rises by the limit once more (`rises`)
    left    --> its end, once: the whole of a short one; of a longer one the windows around its end

After an onset the same limit has a pause; where it is passed again within `calm_s`, the next pause is twice
as long, up to `longest_s`. So a value that flaps at its limit makes about 24 events a day, and its first ones
come at once. Time is that of the Measurements."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from opq_measure.written_numbers import significant
from opq_proto.decision import Decision, Nominal, window_ns
from opq_proto.measurement.continuity import clock_moved_ns
from opq_proto.messages import Measurement, Metric

DIP_PU = 0.9
"""A lower rms is a dip: IEC 61000-4-30:2015, 5.4, as in the trigger `threshold`."""
SWELL_PU = 1.1
"""A higher rms is a swell, by the same clause."""
STEADY_PU = 0.02
"""A voltage that varies by this much at most is steady: the hysteresis."""
DEAD_PU = 0.1
"""Below this voltage it is unknown whether it is steady."""
SHORT_NS = 10 * 10**9
"""An excursion up to this length is requested whole; of a longer one only the end, its onset has an event."""
NEXT_WINDOW_NS = 1_500_000_000
"""An original Box's next window ends so much later at most: it has a second, and a clock of milliseconds."""
FORGOTTEN_NS = 3600 * 10**9
"""After a longer silence of the Box the end of its excursion is not known, and no gateway has it."""

Level = TypeVar("Level", float, NDArray[np.float64])
"""A value of one Measurement, or (n,) of a batch."""


@dataclass(frozen=True, slots=True)
class WatchedLimit(Generic[Level]):
    """A limit in the unit of its metric; it is left again at `leave`.

    With arrays it is the limit of each row of a batch, by which a trigger finds the rows to decide on.
    """

    trigger: str
    metric: str
    unit: str
    enter: Level
    leave: Level
    what: str = ""
    """Name in words, where it is not the metric itself that is compared."""

    @overload
    def passed(self: "WatchedLimit[float]", value: float) -> bool: ...
    @overload
    def passed(
        self: "WatchedLimit[NDArray[np.float64]]", value: NDArray[np.float64]
    ) -> NDArray[np.bool_]: ...
    def passed(self, value: float | NDArray[np.float64]) -> bool | NDArray[np.bool_]:
        """Whether a value is beyond it; NaN never is."""
        return value > self.enter

    def because(self: "WatchedLimit[float]", value: float) -> str:
        """Returns one sentence for an onset."""
        quantity = f"{self.trigger}: {self.what or self.metric} {significant(value, 4)} {self.unit}".rstrip()
        return f"{quantity} beyond {significant(self.enter, 4)}"


@dataclass(slots=True)
class Excursion:
    """A limit is passed, from the start of its first window to the end of its last."""

    since_ns: int
    last_ns: int
    until_ns: int
    worst: float
    reported: bool
    stamp: tuple[int, int] | None = None
    """A sample, and its time by the clock of these times."""
    start_id: int | None = None
    """The start of the Box in which its windows are; None where that is not known."""

    def is_of_other_start(self, measurement: Measurement) -> bool:
        """Whether its Box has started since: no event holds samples of both."""
        return None not in (self.start_id, measurement.start_id) and self.start_id != measurement.start_id

    def follow_clock(self, measurement: Measurement) -> None:
        """Where the Box's clock was set since, gives all times those of its present clock."""
        moved_ns = clock_moved_ns(self.stamp, measurement)
        if moved_ns:
            self.since_ns, self.last_ns = self.since_ns + moved_ns, self.last_ns + moved_ns
            self.until_ns += moved_ns
            self.stamp = stamp_of(measurement)


@dataclass(slots=True)
class OnsetPause:
    """Onsets before `until_ns` do not count."""

    until_ns: int
    length_ns: int


@dataclass(slots=True)
class Excursions:
    """The limits that are passed now, by Box and limit; each trigger has one of these in its state."""

    first_s: float = 10.0
    """The pause after a first onset; it doubles while onsets are less than `calm_s` apart."""
    longest_s: float = 3600.0
    calm_s: float = 600.0
    with_tail: bool = True
    """Whether the time between passing a limit and leaving it belongs to the span; otherwise it ends at
    the last window beyond the limit, so that a value that only fades is not requested a second time.
    """
    rises: bool = False
    """Whether a value that exceeds the worst before by the limit itself is an onset too: another load
    in addition to the one whose harmonics last.
    """
    active: dict[Hashable, Excursion] = field(default_factory=dict)
    """Limits that are passed now; read by the trigger, so that a quiet window costs one check."""
    pauses: dict[Hashable, OnsetPause] = field(default_factory=dict)
    held: int = 0
    """Onsets that did not count, because they came in a pause."""

    def begin(
        self,
        key: Hashable,
        measurement: Measurement,
        value: float,
        limit: WatchedLimit[float],
        pause_key: Hashable = None,
    ) -> Decision | None:
        """Begins an excursion: the limit was passed in this window and not before.

        `pause_key`: key of the pause, where one key stands for several quantities.
        """
        start_ns, end_ns = window_ns(measurement)
        reported = self._is_onset(key if pause_key is None else pause_key, start_ns)
        self.held += not reported
        stamp, start_id = stamp_of(measurement), measurement.start_id
        self.active[key] = Excursion(start_ns, start_ns, end_ns, value, reported, stamp, start_id)
        return Decision(limit.metric, value, limit.enter, limit.because(value)) if reported else None

    def go_on(self, key: Hashable, measurement: Measurement, value: float) -> None:
        """Continues an excursion: passed in this window too. `value`: further from the limit is larger.

        Where the Box has started meanwhile, it begins here once more, and its onset counts as reported.
        """
        excursion = self.active[key]
        start_ns, end_ns = window_ns(measurement)
        if excursion.is_of_other_start(measurement):
            stamp, start_id = stamp_of(measurement), measurement.start_id
            self.active[key] = Excursion(
                start_ns, start_ns, end_ns, value, excursion.reported, stamp, start_id
            )
            return
        excursion.follow_clock(measurement)
        if end_ns > excursion.until_ns:
            excursion.last_ns, excursion.until_ns = start_ns, end_ns
        excursion.worst = max(excursion.worst, value)

    def end(self, key: Hashable, measurement: Measurement, limit: WatchedLimit[float]) -> Decision | None:
        """Ends an excursion: returns its span, or the two windows around its end; None after a start."""
        excursion = self.active.pop(key)
        if excursion.is_of_other_start(measurement):
            return None
        excursion.follow_clock(measurement)
        start_ns, end_ns = window_ns(measurement)
        if not excursion.reported or not 0 <= start_ns - excursion.until_ns <= FORGOTTEN_NS:
            return None
        over_ns = start_ns if self.with_tail else excursion.until_ns
        lasted_ns = over_ns - excursion.since_ns
        short = lasted_ns <= SHORT_NS
        span_ns = (excursion.since_ns, over_ns) if short else (excursion.last_ns, end_ns)
        seconds = lasted_ns / 1e9
        because = (
            f"{limit.because(excursion.worst)} at worst, lasted at most {seconds:.1f} s"
            f"{'' if short else ', this is its end'}"
        )
        since_ns = None if short else excursion.since_ns
        return Decision(limit.metric, excursion.worst, limit.enter, because, span_ns, since_ns)

    def follow(
        self,
        key: Hashable,
        measurement: Measurement,
        value: float,
        limit: WatchedLimit[float],
        pause_key: Hashable = None,
    ) -> Decision | None:
        """Begins, continues or ends by the value alone; NaN is ignored."""
        if key in self.active:
            if value <= limit.leave:
                return self.end(key, measurement, limit)
            if self.rises and value >= self.active[key].worst + limit.enter:
                return self._rise(key, measurement, value, limit)
            if value > (limit.leave if self.with_tail else limit.enter):
                self.go_on(key, measurement, value)
            return None
        return self.begin(key, measurement, value, limit, pause_key) if limit.passed(value) else None

    def _rise(
        self, key: Hashable, measurement: Measurement, value: float, limit: WatchedLimit[float]
    ) -> Decision | None:
        """Works as `begin`, with a separate pause; a lasting excursion has its end as before."""
        excursion = self.active[key]
        because = f"{limit.because(value)}, and rose from {significant(excursion.worst, 4)}"
        self.go_on(key, measurement, value)
        if not self._is_onset((key, "rise"), window_ns(measurement)[0]):
            self.held += 1
            return None
        excursion.reported = True
        return Decision(limit.metric, value, limit.enter, because)

    def remove(self, key: Hashable) -> None:
        """Removes an excursion without a report: the value has become usual."""
        self.active.pop(key, None)

    def _is_onset(self, key: Hashable, start_ns: int) -> bool:
        pause = self.pauses.get(key)
        late_ns = 0 if pause is None else start_ns - pause.until_ns
        if (
            pause is None or late_ns > self.calm_s * 1e9 or late_ns < -2 * pause.length_ns
        ):  # a clock was set back
            first_ns = round(self.first_s * 1e9)
            self.pauses[key] = OnsetPause(start_ns + first_ns, first_ns)
            return True
        if late_ns < 0:
            return False
        pause.length_ns = min(2 * pause.length_ns, round(self.longest_s * 1e9))
        pause.until_ns = start_ns + pause.length_ns
        return True


def is_flagged(rms: Metric, nominal: Nominal) -> bool:
    """Returns True if a dip or a swell lies in the window.

    It is a separate event, and anything else in the window is its edges. A voltage that is beyond a limit,
    and steady, for the whole window has no edge in it, so other disturbances during minutes of overvoltage
    are seen.

    Source: IEC 61000-4-30:2015, 4.7 (flagging), 5.4; the steady voltage is ours.
    """
    if rms.min >= DIP_PU * nominal.volts and rms.max <= SWELL_PU * nominal.volts:
        return False
    stands = rms.min >= DEAD_PU * nominal.volts and rms.max - rms.min <= STEADY_PU * nominal.volts
    return not stands


@dataclass(slots=True)
class FlaggedWindows:
    """The windows with a dip or a swell, and what the next one of an original Box still shows of it.

    Its frequency and `trans` come every 7 cycles and are filtered, so the first values of a window cover up
    to 0.2 s before it; the rms does not.

    Source: docs/reference/opq-interop.md G.4.
    """

    ends_ns: dict[str, int] = field(default_factory=dict)
    """Stream of an original Box -> the end of its last window that is flagged."""

    def covers(self, key: str, measurement: Measurement, nominal: Nominal) -> bool:
        """Returns True if the figures of this window show a dip or a swell."""
        rms = measurement.metrics.get("rms")
        if rms is None:
            return False
        if is_flagged(rms, nominal):
            if measurement.start_ns is None:
                self.ends_ns[key] = window_ns(measurement)[1]
            return True
        if not self.ends_ns or (last_ns := self.ends_ns.get(key)) is None:
            return False
        if 0 < window_ns(measurement)[1] - last_ns <= NEXT_WINDOW_NS:
            return True
        del self.ends_ns[key]
        return False


def window_metric(measurement: Measurement, metric: str) -> Metric | None:
    """Returns a metric of a window; None where it is unknown, or where the Measurement is a crossing."""
    found = None if measurement.crossing else measurement.metrics.get(metric)
    return None if found is None or found.average != found.average else found


def stream_of(measurement: Measurement) -> str:
    """Returns the Box and whether it is live: Measurements sent again from its disk are from another time."""
    return backfilled_stream(measurement.box_id) if measurement.backfilled else measurement.box_id


def stamp_of(measurement: Measurement) -> tuple[int, int] | None:
    """Returns the index of its first sample, and that one's time; None where the Box does not send them."""
    if measurement.first_sample is None or measurement.start_ns is None:
        return None
    return measurement.first_sample, measurement.start_ns


def backfilled_stream(box_id: str) -> str:
    """Returns the key for Measurements that a Box sends later, or again."""
    return f"{box_id} backfilled"
