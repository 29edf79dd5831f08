"""Rapid voltage changes: from one steady rms to another by 5 % of nominal or more, without a dip or swell.

In: Event.  Out: Finding, in time order.  State: none.
Threshold and hysteresis are those of `opq_measure.events.rapid_change`: a change needs a steady second
before and after it.
Source: IEC 61000-4-30:2015, 5.11; EN 50160:2010, 4.2.3.1."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from opq_cloud.mauka.measuring.box_requests import together
from opq_cloud.mauka.measuring.results import (
    EVENT_LIMITS,
    RESULTS,
    MeasuredRun,
    NominalConfig,
    findings_of,
    measured_runs,
)
from opq_measure.classification.short_change import short_change_in
from opq_proto.messages import Event, Finding, SampleRequest

name = "rapid_voltage_change"
takes, gives = Event, Finding

STEADY_NS = 1_200_000_000
"""Taken before and after a change: the steady second and some cycles more."""


@dataclass(frozen=True, slots=True)
class Config(NominalConfig):
    """Changes below 5 % are not measured."""

    least_percent: float = field(
        default=5.0, metadata={"minimum": 5.0, "maximum": 100.0, "help": "of nominal, the largest change"}
    )


def analyse(event: Event, config: Config) -> tuple[Finding, ...]:
    """Returns every change that any Box saw."""
    return findings_of(
        event, config, (name,), replace(EVENT_LIMITS, change_percent=config.least_percent), "VOLTAGE"
    )


def wants(event: Event, findings: Sequence[Finding], config: Config) -> tuple[SampleRequest, ...]:
    """Requests the steady second where a waveform begins too late or ends too early to hold it."""
    found = {each.box_id for each in findings}
    requests = (
        _steady_second(RESULTS.against_before(piece), config)
        for piece in measured_runs(event, config, EVENT_LIMITS.rms)
        if piece.run.box_id not in found
    )
    return together(each for each in requests if each is not None)


def _steady_second(piece: MeasuredRun, config: Config) -> SampleRequest | None:
    run, analysis = piece.run, piece.analysis
    if analysis.disturbances:
        return None
    known = np.isfinite(analysis.half_rms_v)
    change = short_change_in(
        analysis.half_rms_v, known, analysis.nominal_v, config.nominal_hz, config.least_percent, together=1
    )
    if change is None:
        return None
    first, last = analysis.half_starts[change.start], analysis.half_starts[change.stop]
    start_ns = min(run.start_ns, run.time_ns(float(first)) - STEADY_NS)
    end_ns = max(run.end_ns, run.time_ns(float(last)) + STEADY_NS)
    if (start_ns, end_ns) == (run.start_ns, run.end_ns):
        return None
    because = f"the voltage at Box {run.box_id} is not steady for a second beside its change"
    return SampleRequest(box_ids=(run.box_id,), start_ns=start_ns, end_ns=end_ns, because=because)
