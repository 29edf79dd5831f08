"""Flicker: the rms swings within each second, for some seconds, and is not a step.

In: Measurement.  Out: at most one Decision.  State: per Box, how many windows in a row. Pst is known only
after ten minutes (trigger `steady_state` judges it where it is sent); this sees the swing at once.
Measurements shorter than a second show only a part of a slow swing. Source: IEC 61000-4-15:2010, table 5
(230 V, 50 Hz): 39 to 1620 changes a minute of 0.9 to 0.4 % are Pst 1.
"""

from dataclasses import dataclass, field

from opq_cloud.makai.judging.batch_rows import Found, in_any, look_closely, swings_by, windows_with
from opq_cloud.makai.judging.excursions import Excursions, WatchedLimit, stream_of
from opq_proto.decision import Decision, Nominal
from opq_proto.messages import Measurement
from opq_proto.wire.measurement_columns import MeasurementColumns

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


def judge(columns: MeasurementColumns, config: Config, state: FlickerState) -> Found:
    """Decides at the window that makes the row long enough, and at the end of the row."""
    swings = swings_by(columns, config.swing_percent) | in_any(columns, state.in_a_row)
    if not swings.any():
        return []
    close = swings & windows_with(columns, "rms")
    return look_closely(columns, close, lambda row, nominal: _decide(row, nominal, config, state))


def _decide(
    measurement: Measurement, nominal: Nominal, config: Config, state: FlickerState
) -> Decision | None:
    rms, key = measurement.metrics["rms"], stream_of(measurement)
    swing_v = rms.max - rms.min
    enter_v = nominal.volts * config.swing_percent / 100
    row = state.in_a_row.pop(key, 0)
    limit = WatchedLimit(name, name, "V", enter_v, enter_v, f"swings in {config.windows} windows, by")
    is_active = key in state.excursions.active
    if not enter_v < swing_v <= nominal.volts * config.most_percent / 100:
        return state.excursions.end(key, measurement, limit) if is_active else None
    state.in_a_row[key] = row + 1
    if is_active:
        state.excursions.go_on(key, measurement, swing_v)
    elif row + 1 >= config.windows:
        return state.excursions.begin(key, measurement, swing_v, limit)
    return None
