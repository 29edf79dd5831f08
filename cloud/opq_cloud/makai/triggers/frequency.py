"""Frequency: its deviation from nominal and its rate of change. A phase jump shows as a rate of change too.

In: Measurement.  Out: at most one Decision.  State: per Box, the mean of its last Measurement.
The rate of change is the widest difference between the 10/12-cycle windows of a Measurement and the mean
before, over their time: every gateway sends these. Where one sends ROCOF too (`opq_measure.frequency.rocof`,
over half a second), the larger counts.
A window with a dip or a swell is not judged. A phase jump is a rate of change in two or three windows (its
mean moves that of the next): only a rate that lasts longer is requested again when it is over.
Source: EN 50160:2010, 4.2.1 (1 % of nominal, 99.5 % of a year); IEC 61000-4-30:2015, 5.1 (per 10 s, not
during dips). The rate has no limit there: ours, seven times the change by an island's load noise in a second.
"""

from dataclasses import dataclass, field
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from opq_cloud.makai.judging.batch_rows import (
    in_any,
    may_show_dip,
    streams_of,
    unflagged,
    values_of,
)
from opq_cloud.makai.judging.excursions import Excursions, FlaggedWindows, Level, WatchedLimit, stream_of
from opq_cloud.makai.openings.brief_onsets import RATE_METRIC
from opq_proto.decision import Decision, Nominal, window_ns
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import Measurement

name = "frequency"
kind = "trigger"

LONGEST_STEP_NS = 5 * 10**9
"""An older mean is not used: it does not show how fast the frequency changed."""
SHORTEST_S = 1.0
"""Least time in seconds over which a change counts: shorter windows scatter more."""
JUMP_WINDOWS = 3.5
"""A rate that is over after fewer windows may be a phase jump."""


@dataclass(frozen=True, slots=True)
class Config:
    """Limits in hertz where given, otherwise in shares of nominal."""

    deviation_percent: float = field(
        default=1.0, metadata={"minimum": 0.01, "maximum": 50, "help": "of nominal, to both sides"}
    )
    low_hz: float | None = field(
        default=None, metadata={"minimum": 0, "maximum": 1000, "help": "instead of the share"}
    )
    high_hz: float | None = field(
        default=None, metadata={"minimum": 0, "maximum": 1000, "help": "instead of the share"}
    )
    hysteresis_hz: float = field(default=0.05, metadata={"minimum": 0, "maximum": 10})
    rocof_hz_per_s: float = field(default=0.075, metadata={"minimum": 0.001, "maximum": 100})


@dataclass(slots=True)
class FrequencyState:
    """The trigger's memory of all Boxes."""

    last: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Stream -> mean of its last Measurement, hertz, and its end."""
    deviations: Excursions = field(default_factory=Excursions)
    rates: Excursions = field(default_factory=lambda: Excursions(first_s=2.0, with_tail=False))
    flagged: FlaggedWindows = field(default_factory=FlaggedWindows)


def begin(config: Config) -> FrequencyState:
    """Begins without memory."""
    return FrequencyState()


def enters(batch: Measurements, config: Config, state: FrequencyState) -> NDArray[np.bool_]:
    """Returns (n,) which are beyond a limit, change fast, or may have a rate; the others' means are kept."""
    least_hz, most_hz, mean_hz = values_of(batch, "f")
    streams, known = streams_of(batch), state.last
    rows = zip(map(known.get, streams), mean_hz.tolist(), batch.end_ns.tolist(), strict=True)
    before_hz = [_before_hz(last, own_hz, end_ns) for last, own_hz, end_ns in rows]
    most_hz, least_hz = np.maximum(most_hz, before_hz), np.minimum(least_hz, before_hz)
    low_hz, high_hz = _limits_hz(batch.nominal_values[1], config)
    close: NDArray[np.bool_] = most_hz - least_hz > config.rocof_hz_per_s * SHORTEST_S
    close |= (low_hz > least_hz) | (most_hz > high_hz) | batch.irregular
    close |= in_any(batch, state.deviations.active, state.rates.active)
    close |= may_show_dip(batch, state.flagged.ends_ns) | ~unflagged(batch)
    there = ~np.isnan(mean_hz)
    means = zip(streams, zip(mean_hz.tolist(), batch.end_ns.tolist(), strict=True), strict=True)
    quiet = there & ~close
    known.update(means if quiet.all() else compress(means, quiet.tolist()))
    close &= there
    return close


def decide(
    measurement: Measurement, nominal: Nominal, config: Config, state: FrequencyState
) -> tuple[Decision | None, FrequencyState]:
    """Decides where the frequency is beyond its limits or changes fast; the former first, as one event."""
    return _decision(measurement, nominal, config, state), state


def _decision(
    measurement: Measurement, nominal: Nominal, config: Config, state: FrequencyState
) -> Decision | None:
    f, key = measurement.metrics.get("f"), stream_of(measurement)
    if f is None or f.average != f.average:
        return None
    last, end_ns = state.last.get(key), window_ns(measurement)[1]
    state.last[key] = f.average, end_ns
    if state.flagged.covers(key, measurement, nominal):
        del state.last[key]  # the window after it begins again
        return None
    before_hz = _before_hz(last, f.average, end_ns)
    span_hz = max(f.max, before_hz) - min(f.min, before_hz)
    low_hz, high_hz = _limits_hz(nominal.hz, config)
    rate_hz_s = span_hz / max(SHORTEST_S, _length_s(measurement, last))
    if (sent := measurement.metrics.get(RATE_METRIC)) is not None:
        rate_hz_s = max(rate_hz_s, sent.max, -sent.min)
    beyond_hz = max(low_hz - f.min, f.max - high_hz)
    deviation = WatchedLimit(name, "f", "Hz", 0.0, -config.hysteresis_hz, "f is beyond its limits by")
    rate = WatchedLimit(
        name, RATE_METRIC, "Hz/s", config.rocof_hz_per_s, config.rocof_hz_per_s / 2, "rate of change"
    )
    decided = state.deviations.follow(key, measurement, beyond_hz, deviation)
    changed = state.rates.follow(key, measurement, rate_hz_s, rate)
    if changed is not None and changed.span_ns is not None and _is_jump(measurement, changed.span_ns):
        changed = None
    if decided is not None and decided.span_ns is None:
        below = low_hz - f.min > f.max - high_hz
        value_hz, limit_hz = (f.min, low_hz) if below else (f.max, high_hz)
        because = f"{name}: {value_hz:.4f} Hz, {'below' if below else 'above'} {limit_hz:.4f}"
        return Decision("f", value_hz, limit_hz, because)
    return changed if changed is not None and changed.span_ns is None else decided or changed


def _before_hz(last: tuple[float, int] | None, own_hz: float, end_ns: int) -> float:
    """Returns the mean of the Measurement before; this one's where that is too old."""
    return last[0] if last and end_ns - last[1] < LONGEST_STEP_NS else own_hz


def _limits_hz(hz: Level, config: Config) -> tuple[Level | float, Level | float]:
    """Returns the lower and the upper limit for these nominal values."""
    off_hz = hz * config.deviation_percent / 100
    return (
        hz - off_hz if config.low_hz is None else config.low_hz,
        hz + off_hz if config.high_hz is None else config.high_hz,
    )


def _is_jump(measurement: Measurement, span_ns: tuple[int, int]) -> bool:
    """Returns True if a rate of this duration may be a phase jump."""
    start_ns, end_ns = window_ns(measurement)
    return span_ns[1] - span_ns[0] < JUMP_WINDOWS * max(end_ns - start_ns, SHORTEST_S * 1e9)


def _length_s(measurement: Measurement, last: tuple[float, int] | None) -> float:
    """Returns the time from the end of the Measurement before, where there is one, to the end of this."""
    start_ns, end_ns = window_ns(measurement)
    if last is not None and 0 <= end_ns - last[1] < LONGEST_STEP_NS:
        start_ns = min(start_ns, last[1])
    return (end_ns - start_ns) / 1e9
