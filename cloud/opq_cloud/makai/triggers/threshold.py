"""Threshold: a metric's minimum or maximum passes a limit; fires on the onset only.

In: Measurement.  Out: at most one Decision.  State: per Box, which limits are passed now.
Source: IEC 61000-4-30:2015, 5.4 (dip and swell thresholds, hysteresis 2 % of nominal).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from opq_cloud.makai.decision import Decision, Nominal
from opq_proto.messages import Measurement

name = "threshold"
kind = "trigger"

NOMINALS_KEPT = 1000


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


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit in the unit of its metric; it is left again at `leave`."""

    metric: str
    unit: str
    above: bool
    enter: float
    leave: float


class State:
    """Limits per nominal (computed once), and which a Box has passed; owned by the runner."""

    def __init__(self) -> None:
        self.limits: dict[Nominal, tuple[Limit, ...]] = {}
        self.passed: dict[tuple[str, bool], set[int]] = {}
        """(box id, backfilled) -> positions in its limits. What a Box sends again from its disk
        is of another time than its live stream and must not end or start a disturbance in it."""


def begin(config: Config) -> State:
    """No Box has passed any limit."""
    return State()


def decide(
    measurement: Measurement, nominal: Nominal, config: Config, state: State
) -> tuple[Decision | None, State]:
    """The first limit that was passed in this window and not in the one before."""
    limits = state.limits.get(nominal)
    if limits is None:
        if len(state.limits) >= NOMINALS_KEPT:  # a Box that says something else each time
            state.limits.clear()
        limits = state.limits[nominal] = tuple(_limits(nominal, config))
    key = (measurement.box_id, measurement.backfilled)
    passed = state.passed.get(key)
    decision = None
    for position, limit in enumerate(limits):
        metric = measurement.metrics.get(limit.metric)
        if metric is None:
            continue
        value = metric.max if limit.above else metric.min
        if value != value:  # NaN: unknown, neither passed nor left
            continue
        if passed is not None and position in passed:
            if value <= limit.leave if limit.above else value >= limit.leave:
                passed.discard(position)
        elif value > limit.enter if limit.above else value < limit.enter:
            if passed is None:
                passed = state.passed[key] = set()
            passed.add(position)
            decision = decision or _decision(limit, value)
    return decision, state


def _limits(nominal: Nominal, config: Config) -> Iterator[Limit]:
    step_v = nominal.volts * config.hysteresis_percent / 100
    if config.dip_percent is not None:
        enter_v = nominal.volts * config.dip_percent / 100
        yield Limit("rms", "V", False, enter_v, enter_v + step_v)
    if config.swell_percent is not None:
        enter_v = nominal.volts * config.swell_percent / 100
        yield Limit("rms", "V", True, enter_v, enter_v - step_v)
    if config.low_hz is not None:
        yield Limit("f", "Hz", False, config.low_hz, config.low_hz + config.hysteresis_hz)
    if config.high_hz is not None:
        yield Limit("f", "Hz", True, config.high_hz, config.high_hz - config.hysteresis_hz)
    if config.thd_ratio is not None:
        yield Limit("thd", "", True, config.thd_ratio, config.thd_ratio - config.hysteresis_ratio)
    if config.trans_v is not None:
        yield Limit("trans", "V", True, config.trans_v, config.trans_v)


def _decision(limit: Limit, value: float) -> Decision:
    side = "above" if limit.above else "below"
    because = f"{name}: {limit.metric} {value:.4g} {limit.unit}".rstrip() + f" {side} {limit.enter:.4g}"
    return Decision(limit.metric, value, limit.enter, because)
