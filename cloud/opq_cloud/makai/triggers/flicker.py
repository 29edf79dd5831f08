"""Flicker: the rms swings within each second, for some seconds, and is not a step.

In: Measurement.  Out: at most one Decision.  State: per Box, how many windows in a row. Pst is known only
after ten minutes (trigger `steady_state` judges it where it is sent); this sees the swing at once.
Measurements shorter than a second show only a part of a slow swing. Source: IEC 61000-4-15:2010, table 5
(230 V, 50 Hz): 39 to 1620 changes a minute of 0.9 to 0.4 % are Pst 1.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from opq_cloud.makai.judging.batch_rows import in_any, values_of, windows_with
from opq_cloud.makai.judging.excursions import Excursions, Level, WatchedLimit, stream_of, window_metric
from opq_proto.decision import Decision, Nominal
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import Measurement

name = "flicker"
kind = "trigger"


@dataclass(frozen=True, slots=True)
class Config:
    """The swing, and the number of windows in a row that have to show it."""

    swing_percent: float = field(
        default=0.9, metadata={"minimum": 0.05, "maximum": 20, "help": "peak to peak, of nominal"}
    )
    most_percent: float = field(
        default=20.0, metadata={"minimum": 1, "maximum": 100, "help": "more is a dip or a swell"}
    )
    windows: int = field(default=3, metadata={"minimum": 2, "maximum": 60, "help": "in a row"})


@dataclass(slots=True)
class FlickerState:
    """The trigger's memory of all Boxes."""

    in_a_row: dict[str, int] = field(default_factory=dict)
    """Streams whose last window swung, with the number of windows in a row."""
    excursions: Excursions = field(default_factory=lambda: Excursions(first_s=60.0))


def begin(config: Config) -> FlickerState:
    """Begins without swings."""
    return FlickerState()


def enters(batch: Measurements, config: Config, state: FlickerState) -> NDArray[np.bool_]:
    """Returns (n,) the windows that swing, and those after one that did."""
    least_v, most_v, _ = values_of(batch, "rms")
    swings = _limit(batch.nominal_values[0], config).passed(most_v - least_v) | in_any(batch, state.in_a_row)
    return swings & windows_with(batch, "rms") if swings.any() else swings


def decide(
    measurement: Measurement, nominal: Nominal, config: Config, state: FlickerState
) -> tuple[Decision | None, FlickerState]:
    """Decides at the window that makes the row long enough, and at the end of the row."""
    rms, key = window_metric(measurement, "rms"), stream_of(measurement)
    if rms is None:
        return None, state
    swing_v, limit = rms.max - rms.min, _limit(nominal.volts, config)
    row = state.in_a_row.pop(key, 0)
    is_active = key in state.excursions.active
    if not limit.passed(swing_v) or swing_v > nominal.volts * config.most_percent / 100:
        return (state.excursions.end(key, measurement, limit) if is_active else None), state
    state.in_a_row[key] = row + 1
    if is_active:
        state.excursions.go_on(key, measurement, swing_v)
    elif row + 1 >= config.windows:
        return state.excursions.begin(key, measurement, swing_v, limit), state
    return None, state


def _limit(volts: Level, config: Config) -> WatchedLimit[Level]:
    """Returns the limit of the swing, for these nominal volts."""
    enter_v = volts * config.swing_percent / 100
    return WatchedLimit(name, name, "V", enter_v, enter_v, f"swings in {config.windows} windows, by")
