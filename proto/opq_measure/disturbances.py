"""Dips, swells and interruptions: events of Urms(1/2) beyond a share of nominal.

A dip begins when Urms(1/2) falls below its threshold and ends when it is back at the threshold plus the
hysteresis. It is one event for its whole length and named by its deepest value: below the
interruption threshold an interruption (IEC 61000-4-30:2015, 5.5: every voltage interruption of a
single-phase system is at the same time a dip), otherwise a sag; longer than 60 s an undervoltage.

Which events there are and how deep, Urms(1/2) alone decides; when they start and end is looked up finer, by
`opq_measure.ends`.

Source: IEC 61000-4-30:2015, 5.4 and 5.5; names IEEE 1159-2019.
"""

import math
from dataclasses import dataclass

import numpy as np

from opq_measure.curves import (
    LINE_PERCENT,
    TEMPORARY_S,
    IticVerdict,
    SemiF47Verdict,
    below,
    ieee1159,
    itic,
    semi_f47,
)
from opq_measure.cycles import Track, track
from opq_measure.ends import Ends
from opq_measure.rms import half_cycle_rms_v
from opq_measure.signal import FloatArray, SignalArray
from opq_measure.spans import Span, spans_above, spans_below

RMS_SIGMA_PERCENT = 0.1
"""Standard uncertainty of Urms(1/2): class A has 0.2 % of Udin (4-30:2015, 5.4.5.1), taken as 2 sigma."""

RESOLUTION_SAMPLES = 3.0
"""A measured duration may be longer than the true one by so much; a dip on a line of time is inside."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds on Urms(1/2), in percent of nominal.

    Raises:
        ValueError: they cannot all hold, e.g. a dip threshold above the swell threshold.
    """

    sag_percent: float = 90.0
    swell_percent: float = 110.0
    interruption_percent: float = 10.0
    hysteresis_percent: float = 2.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}, want a finite number")
        if not 0 < self.interruption_percent < self.sag_percent < self.swell_percent:
            raise ValueError(
                "thresholds must rise, 0 < interruption < dip < swell; they are "
                f"{self.interruption_percent:g}, {self.sag_percent:g} and {self.swell_percent:g} %"
            )
        room = (self.swell_percent - self.sag_percent) / 2
        if not 0 <= self.hysteresis_percent < room:
            raise ValueError(
                f"the hysteresis is {self.hysteresis_percent:g} %, want from 0 to below {room:g} %, half of "
                "the way from the dip to the swell threshold"
            )


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One rms event. Positions are fractional samples of the signal, times count from its sample 0.

    `residual_*` is the lowest Urms(1/2) of a dip, the highest of a swell. While `open` at the end of the
    signal, `end_s` is None and durations are those seen so far. `open_at_start`: it had begun
    before the first cycle, so that its true start is not known.
    """

    kind: str
    ieee1159: str | None
    start_sample: float
    end_sample: float
    start_s: float
    end_s: float | None
    open: bool
    open_at_start: bool
    duration_s: float
    duration_cycles: float
    residual_v: float
    residual_percent: float
    itic: IticVerdict
    semi_f47: SemiF47Verdict
    confidence: float
    """0.5 .. 1: the probability that the residual is truly beyond the threshold, at class A uncertainty."""
    because: str

    def entry(self) -> dict[str, object]:
        """The JSON object of the analyze contract's `events`, and a little more."""
        return {
            "class": self.kind,
            "ieee1159": self.ieee1159,
            "start_s": self.start_s,
            "end_s": self.end_s,
            "open": self.open,
            "open_at_start": self.open_at_start,
            "duration_s": self.duration_s,
            "duration_cycles": self.duration_cycles,
            "residual_v": self.residual_v,
            "residual_percent": self.residual_percent,
            "itic": self.itic,
            "semi_f47": self.semi_f47,
            "confidence": self.confidence,
            "because": self.because,
        }


def find_disturbances(
    volts: SignalArray,
    rate_hz: float,
    nominal_v: float = 120.0,
    nominal_hz: float = 60.0,
    limits: Limits | None = None,
) -> tuple[Disturbance, ...]:
    """Every dip, swell and interruption of a signal, in time order.

    Args:
        volts: (n,) volts; DC may stay in.
        nominal_v: Udin, the declared voltage to which `limits` refer.
    Returns:
        Empty when there is none, also for a signal shorter than two cycles.
    Raises:
        ValueError: see `signal.check_signal`; `nominal_v` is not positive.

    Error: for a rectangular dip 0.03 % of nominal and half a cycle (test_measure_disturbances.py).
    """
    tracked = track(volts, rate_hz, nominal_hz)
    half_edges = tracked.edges(2)
    return disturbances_in(
        volts, tracked, half_edges, half_cycle_rms_v(volts, half_edges), nominal_v, limits or Limits()
    )


def disturbances_in(
    volts: SignalArray,
    tracked: Track,
    half_edges: FloatArray,
    half_rms_v: FloatArray,
    nominal_v: float,
    limits: Limits,
    v_per_lsb: float = 1.0,
) -> tuple[Disturbance, ...]:
    """`find_disturbances` for a caller who already has the signal's track, half-cycle edges and Urms(1/2).

    `volts` and `half_rms_v` may be in counts of `v_per_lsb` volts.
    """
    if not (math.isfinite(nominal_v) and nominal_v > 0):
        raise ValueError(f"nominal_v is {nominal_v}, want a positive number")
    percent = half_rms_v * (100.0 * v_per_lsb / nominal_v)
    hysteresis = limits.hysteresis_percent
    sag, swell = limits.sag_percent - LINE_PERCENT, limits.swell_percent + LINE_PERCENT  # on a line is inside
    low = spans_below(percent, sag, sag + hysteresis)
    high = spans_above(percent, swell, swell - hysteresis)
    found = []
    for span, sign in sorted(
        [(span, -1) for span in low] + [(span, 1) for span in high], key=lambda s: s[0].start
    ):
        threshold = limits.sag_percent if sign < 0 else limits.swell_percent
        enter, leave = (
            nominal_v / 100 / v_per_lsb * level for level in (threshold, threshold - sign * hysteresis)
        )
        ends = Ends(volts, half_edges, sign)
        start = ends.start(span, enter)
        end = ends.end(span, leave) if span.closed else float(half_edges[-1])
        if end <= start:  # an impulse: too short to have two ends, so the standard's coarse ones
            start, end = float(half_edges[span.start]), float(half_edges[span.stop])
        inside = percent[span.start : span.stop]
        residual = float(inside.min() if sign < 0 else inside.max())
        found.append(
            _describe(tracked, half_edges, span, start, end, residual, sign, threshold, nominal_v, limits)
        )
    return tuple(found)


def _describe(
    tracked: Track,
    half_edges: FloatArray,
    span: Span,
    start: float,
    end: float,
    residual_percent: float,
    sign: int,
    threshold: float,
    nominal_v: float,
    limits: Limits,
) -> Disturbance:
    duration_s = (end - start) / tracked.rate_hz
    cycles = float(np.diff(np.interp((start, end), half_edges, np.arange(len(half_edges)) / 2))[0])
    judged_s = max(0.0, duration_s - RESOLUTION_SAMPLES / tracked.rate_hz)
    long = judged_s > TEMPORARY_S
    if sign > 0:
        kind = "overvoltage" if long else "swell"
    elif below(residual_percent, limits.interruption_percent):
        kind = "interruption"
    else:
        kind = "undervoltage" if long else "sag"
    side = "below" if sign < 0 else "above"
    beyond = sign * (residual_percent - threshold) / RMS_SIGMA_PERCENT
    return Disturbance(
        kind=kind,
        ieee1159=ieee1159(residual_percent, judged_s, tracked.nominal_hz),
        start_sample=start,
        end_sample=end,
        start_s=start / tracked.rate_hz,
        end_s=end / tracked.rate_hz if span.closed else None,
        open=not span.closed,
        open_at_start=span.start == 0,
        duration_s=duration_s,
        duration_cycles=cycles,
        residual_v=residual_percent * nominal_v / 100,
        residual_percent=residual_percent,
        itic=itic(residual_percent, judged_s),
        semi_f47="not_applicable" if sign > 0 else semi_f47(residual_percent, judged_s),
        confidence=0.5 * (1 + math.erf(beyond / math.sqrt(2))),
        because=(
            f"Urms(1/2) {side} {threshold:g} % of {nominal_v:g} V "
            f"for {cycles:{'.3g' if cycles < 1000 else '.0f'}} cycles, "
            f"{'lowest' if sign < 0 else 'highest'} {residual_percent:.2f} %"
            f"{'' if span.closed else ', still open'}"
        ),
    )
