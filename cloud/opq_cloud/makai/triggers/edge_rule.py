"""Edge: a rule or a detector of a gateway found a span.

A rule's crossing has a metric `rule_<id>`, that of a detector `edge_<class>` (impulse, ringing, notches,
phase jump, telegram: classes that a Measurement of a second does not show).

In: Measurement.  Out: at most one Decision.  State: none.
Readers of the original skip an unknown metric.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_measure.written_numbers import significant
from opq_proto.decision import Decision, Nominal
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import Measurement

name = "edge_rule"
kind = "trigger"

WHO = {"rule_": "rule", "edge_": "detector"}
UNITS = {
    "edge_impulsive_transient": " V",
    "edge_oscillatory_transient": " V",
    "edge_phase_jump": " degrees",
    "edge_periodic_notching": " % of the peak",
    "edge_rapid_voltage_change": " % of nominal",
    "edge_mains_signalling": " % of the fundamental",
}
"""Units of the gateway's detectors; a rule's value has the unit that its SQL gave it."""


@dataclass(frozen=True, slots=True)
class Config:
    """No settings."""


def begin(config: Config) -> None:
    """Returns None: there is no state."""


def enters(batch: Measurements, config: Config, state: None) -> NDArray[np.bool_]:
    """Returns (n,) the crossings."""
    return batch.crossing


def decide(
    measurement: Measurement, nominal: Nominal, config: Config, state: None
) -> tuple[Decision | None, None]:
    """Decides on the first metric of a rule or detector, also late: a gateway has the samples."""
    for key, metric in measurement.metrics.items() if measurement.crossing else ():
        if (who := WHO.get(key[:5])) is not None:
            named = key[5:] if who == "rule" else key[5:].replace("_", " ")
            because = f"{who} {named} at the gateway: {significant(metric.average)}{UNITS.get(key, '')}"
            return Decision(key, metric.average, 0.0, because), None
    return None, None
