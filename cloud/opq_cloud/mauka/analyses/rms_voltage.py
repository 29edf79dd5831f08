"""Sags, swells, interruptions, under- and overvoltages: Urms(1/2) leaves its limits.

In: Event.  Out: Finding, in time order.  State: none.
All five come out of one state machine over one measuring pass (a sag that deepens becomes an
interruption, one that lasts an undervoltage), so they are one analysis and not five files.
Source: IEC 61000-4-30:2015, 5.4 (threshold, hysteresis); IEEE 1159-2019, table 2 (names by
duration); ITIC curve of 2000 and SEMI F47-0706 as in contracts.md.
"""

from dataclasses import dataclass

from opq_cloud.mauka.measured import NominalConfig, measured_runs, with_onset
from opq_measure.analysis.occurrence import Occurrence
from opq_measure.events.disturbances import Disturbance, Limits
from opq_proto.messages import Event, Finding, Waveform

name = "rms_voltage"
takes, gives = Event, Finding


@dataclass(frozen=True, slots=True)
class Config(NominalConfig):
    """Limits in percent of nominal; raises ValueError when they cannot all hold."""

    sag_percent: float = 90.0
    swell_percent: float = 110.0
    interruption_percent: float = 10.0
    hysteresis_percent: float = 2.0  # less, and noise splits one sag in many

    def __post_init__(self) -> None:
        self.limits()

    def limits(self) -> Limits:
        return Limits(
            self.sag_percent, self.swell_percent, self.interruption_percent, self.hysteresis_percent
        )


def analyse(event: Event, config: Config) -> tuple[Finding, ...]:
    """Every disturbance that any Box saw; one still open where its waveform ends has `closed=False`.

    A gap ends a piece of waveform: what lasts over it is found on both sides. In a piece shorter
    than two cycles nothing can be found. Raises ValueError when a waveform cannot be measured.
    """
    found = []
    pieces = measured_runs(event, config, config.limits())
    for piece in pieces:
        with_them = zip(piece.analysis.disturbances, piece.analysis.details, strict=True)
        found += [
            with_onset(_finding(disturbance, details, piece.run), piece, disturbance, pieces)
            for disturbance, details in with_them
        ]
    return tuple(sorted(found, key=lambda finding: finding.start_ns))


def _finding(disturbance: Disturbance, details: tuple[Occurrence, ...], run: Waveform) -> Finding:
    return Finding(
        kind=disturbance.kind,
        box_id=run.box_id,
        start_ns=run.time_ns(disturbance.start_sample),
        end_ns=run.end_ns if disturbance.open else run.time_ns(disturbance.end_sample),
        uncertainty_ns=run.uncertainty_ns,
        closed=not disturbance.open,
        residual_v=disturbance.residual_v,
        residual_percent=disturbance.residual_percent,
        duration_cycles=disturbance.duration_cycles,
        ieee1159=disturbance.ieee1159,
        itic=disturbance.itic,
        semi_f47=disturbance.semi_f47,
        confidence=disturbance.confidence,
        because=_because(disturbance, details),
    )


def _because(disturbance: Disturbance, details: tuple[Occurrence, ...]) -> str:
    facts = [disturbance.because, f"ITIC {disturbance.itic}", f"SEMI F47 {disturbance.semi_f47}"]
    jumps = [each.figures["phase_jump_degrees"] for each in details if each.kind == "phase_jump"]
    if jumps:
        facts.append(f"phase jump {jumps[0]:+.1f} degrees")
    if disturbance.open_at_start:
        facts.append("it had begun before this waveform")
    return "; ".join(facts).replace("_", " ")
