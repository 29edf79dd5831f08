"""Silence: a Box that had no supply is back; the time before its supply was lost is requested.

In: Measurement.  Out: at most one Decision, a span that is over.  State: none. The gateway reports with the
first Measurement after a gap why samples are missing, and for how long (`measurement.continuity`). Only
`missing_dark_s` counts here: samples that were lost on the way, a gateway that stood still, a network that
was away and a clock that was set are not a loss of supply. A Box of the original reports nothing of this, so
its silence is not followed up here.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from opq_cloud.makai.judging.batch_rows import none_of
from opq_proto.decision import Decision, Nominal, window_ns
from opq_proto.measurement.batch import Measurements
from opq_proto.measurement.continuity import CLOCK_SET, dark_s
from opq_proto.messages import Measurement

name = "silence"
kind = "trigger"


@dataclass(frozen=True, slots=True)
class Config:
    """The silences that count."""

    silence_s: float = field(
        default=10.0, metadata={"minimum": 1, "maximum": 86_400, "help": "shortest loss of supply"}
    )
    longest_h: float = field(
        default=24.0,
        metadata={
            "minimum": 0.01,
            "maximum": 1000,
            "help": "longest loss of supply after which samples are requested",
        },
    )
    before_s: float = field(
        default=5.0,
        metadata={"minimum": 0.1, "maximum": 100, "help": "span before the loss that is requested"},
    )


def begin(config: Config) -> None:
    """Begins without a state."""


def enters(batch: Measurements, config: Config, state: None) -> NDArray[np.bool_]:
    """Returns (n,) which may state a loss of supply: those that say more than the usual."""
    return none_of(batch) if batch.backfilled else batch.irregular


def decide(
    measurement: Measurement, nominal: Nominal, config: Config, state: None
) -> tuple[Decision | None, None]:
    """Decides at the first window after a loss of supply, with the span before the loss.

    A window that corrects the duration after the clock was set comes again, and is left out: its times before
    the loss are those of another clock.
    """
    silent_s = None if measurement.backfilled else dark_s(measurement.metrics)
    if silent_s is None or CLOCK_SET in measurement.metrics:
        return None, None
    if not config.silence_s <= silent_s <= config.longest_h * 3600:
        return None, None
    before_ns = window_ns(measurement)[0] - round(silent_s * 1e9)
    span_ns = max(0, before_ns - round(config.before_s * 1e9)), max(0, before_ns)
    because = f"{name}: the Box had no supply for {silent_s:.1f} s; this came before"
    return Decision(name, silent_s, config.silence_s, because, span_ns), None
