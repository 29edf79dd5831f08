"""Steady states: harmonics, interharmonics, unbalance, direct voltage, flicker's Pst above planning levels.

In: Measurement.  Out: at most one Decision.  State: per Box and quantity, since when.
`thd` comes with every Measurement. The others are judged where a gateway sends them ([measuring] send):
`h2` ..., `ihd`, `unbalance`, `dc`, `pst`. One that lasts is an event when it begins, when it rises by its
limit once more, and when it ends.
The mean over the Measurement counts; a window with a dip or a swell is not judged.
Source: THD 5 %: IEEE 519-2022, table 1 (1 kV to 69 kV), as the original's ThdPlugin; single orders: EN
50160:2010, table 1; unbalance 2 %: EN 50160:2010, 4.2.4; Pst 1: IEC 61000-3-3:2013, clause 5. Interharmonics
and direct voltage have none there ("under consideration"): ours, half of the weakest that
docs/sim-data-sets.md draws.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from opq_cloud.makai.judging.batch_rows import in_any, values_of
from opq_cloud.makai.judging.excursions import Excursions, WatchedLimit, is_flagged, stream_of
from opq_proto.decision import Decision, Nominal
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import Measurement

name = "steady_state"
kind = "trigger"

DEFAULT_HARMONICS_PERCENT = {
    2: 2.0,
    3: 5.0,
    4: 1.0,
    5: 6.0,
    6: 0.5,
    7: 5.0,
    8: 0.5,
    9: 1.5,
    10: 0.5,
    11: 3.5,
    12: 0.5,
    13: 3.0,
    14: 0.5,
    15: 0.5,
    16: 0.5,
    17: 2.0,
    18: 0.5,
    19: 1.5,
    20: 0.5,
    21: 0.5,
    22: 0.5,
    23: 1.5,
    24: 0.5,
    25: 1.5,
}
"""EN 50160:2010, table 1, of the fundamental; higher orders are not given there."""
LEAVE_SHARE = 0.9
"""Share of the limit at which it is left: the hysteresis."""


@dataclass(frozen=True, slots=True)
class Config:
    """Limits; None turns one off."""

    thd_percent: float | None = field(default=5.0, metadata={"minimum": 0.1, "maximum": 1000})
    harmonics: bool = field(
        default=True, metadata={"help": "single orders by EN 50160, where a gateway sends h2, h3, ..."}
    )
    interharmonics_percent: float | None = field(
        default=0.75, metadata={"minimum": 0.01, "maximum": 1000, "help": "all of them, of the fundamental"}
    )
    unbalance_percent: float | None = field(default=2.0, metadata={"minimum": 0.1, "maximum": 100})
    dc_percent: float | None = field(
        default=0.5, metadata={"minimum": 0.01, "maximum": 100, "help": "direct voltage, of nominal"}
    )
    pst: float | None = field(default=1.0, metadata={"minimum": 0.1, "maximum": 100})


@dataclass(slots=True)
class SteadyStates:
    """The trigger's memory of all Boxes."""

    config: Config
    """The Config that the limits below are made from."""
    limits: dict[str, WatchedLimit[float]]
    excursions: Excursions = field(default_factory=lambda: Excursions(rises=True))
    busy: set[str] = field(default_factory=set)
    """Streams with a passed limit."""


def begin(config: Config) -> SteadyStates:
    """Begins with no limit passed."""
    return SteadyStates(config, dict(_limits(config)))


def enters(batch: Measurements, config: Config, state: SteadyStates) -> NDArray[np.bool_]:
    """Returns (n,) which have too much THD, a limit that is passed, or other quantities."""
    _use(config, state)
    close = in_any(batch, state.busy) | batch.irregular
    thd = state.limits.get("thd")
    return close if thd is None else close | (values_of(batch, "thd")[2] > thd.enter)


def decide(
    measurement: Measurement, nominal: Nominal, config: Config, state: SteadyStates
) -> tuple[Decision | None, SteadyStates]:
    """Decides on the first quantity that passes its limit; otherwise on one that is over."""
    _use(config, state)
    rms = measurement.metrics.get("rms")
    flagged = rms is not None and is_flagged(rms, nominal)
    return None if flagged else _decision(measurement, nominal, state), state


def _use(config: Config, state: SteadyStates) -> None:
    """Applies other settings; passed limits stay passed."""
    if state.config is not config:
        state.config, state.limits = config, dict(_limits(config))


def _decision(measurement: Measurement, nominal: Nominal, state: SteadyStates) -> Decision | None:
    stream, metrics = stream_of(measurement), measurement.metrics
    onset: Decision | None = None
    over: Decision | None = None
    for metric, found in metrics.items():
        limit = _dc_limit(nominal, state) if metric == "dc" else state.limits.get(metric)
        if limit is None:
            continue
        value = abs(found.average)
        decision = state.excursions.follow((stream, metric), measurement, value, limit)
        if decision is not None and decision.span_ns is None:
            onset = onset or decision
        else:
            over = over or decision
    active = state.excursions.active
    is_busy = any((stream, each) in active for each in (*state.limits, "dc"))
    (state.busy.add if is_busy else state.busy.discard)(stream)
    return onset or over


def _dc_limit(nominal: Nominal, state: SteadyStates) -> WatchedLimit[float] | None:
    if state.config.dc_percent is None:
        return None
    enter_v = state.config.dc_percent / 100 * nominal.volts
    return WatchedLimit(name, "dc", "V", enter_v, enter_v * LEAVE_SHARE, "direct voltage")


def _limits(config: Config) -> list[tuple[str, WatchedLimit[float]]]:
    percents = {"thd": config.thd_percent, "ihd": config.interharmonics_percent}
    percents["unbalance"] = config.unbalance_percent
    if config.harmonics:
        percents |= {f"h{order}": each for order, each in DEFAULT_HARMONICS_PERCENT.items()}
    found = [
        (metric, WatchedLimit(name, metric, "", percent / 100, percent / 100 * LEAVE_SHARE))
        for metric, percent in percents.items()
        if percent is not None
    ]
    if config.pst is not None:
        found.append(("pst", WatchedLimit(name, "pst", "", config.pst, config.pst * LEAVE_SHARE)))
    return found
