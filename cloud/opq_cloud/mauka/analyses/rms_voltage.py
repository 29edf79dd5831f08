"""Sags, swells, interruptions, under- and overvoltages: Urms(1/2) leaves its limits.

In: Event.  Out: Finding, in time order.  State: none.
All five come from one state machine over one measuring pass (a sag that deepens becomes an interruption, a
sag that lasts becomes an undervoltage), so they are one analysis and not five files.

Source: IEC 61000-4-30:2015, 5.4 (threshold, hysteresis); IEEE 1159-2019, table 2 (names by
duration); ITIC curve of 2000 and SEMI F47-0706 as in docs/reference/contracts.md.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from opq_cloud.mauka.measuring.box_requests import together
from opq_cloud.mauka.measuring.compat_findings import original_voltages
from opq_cloud.mauka.measuring.results import (
    EVENT_LIMITS,
    RESULTS,
    ClassificationError,
    MeasuredRun,
    NominalConfig,
    measured_runs,
    shows_onset,
    with_onset,
)
from opq_measure.analysis.occurrence import Occurrence
from opq_measure.classification.classified_parts import ClassifiedPart
from opq_measure.classification.jump_levels import JUMP, LEVELS, made_by_jump
from opq_measure.events.disturbances import Disturbance, Limits
from opq_proto.messages import Event, Finding, SampleRequest, Waveform

name = "rms_voltage"
takes, gives = Event, Finding

DIPS = frozenset({"sag", "interruption", "undervoltage"})
MIN_LONGER_NS = 2 * 10**9
"""A disturbance that lasts to the end of its waveform requests the waveform's length again, at least this."""
MAX_LONGER_NS = 10 * 10**9
"""The same, at most this."""
AT_END_NS = 50_000_000
"""The last rms value of a waveform is at most this far from its end."""
BORDER_SHARE = 2 / 3
"""Where at least this share of the Boxes that answered saw a dip, its extent is not known yet."""
BORDER_BOXES = 4
"""Number of Boxes with the shallowest dips, furthest from its place: their neighbours are requested."""
MAX_NEIGHBOURS = 6
"""Most Boxes that are asked for their samples."""


@dataclass(frozen=True, slots=True)
class Config(NominalConfig):
    """Limits in percent of nominal; raises ValueError when they contradict each other."""

    sag_percent: float = 90.0
    swell_percent: float = 110.0
    interruption_percent: float = 10.0
    hysteresis_percent: float = 2.0  # a smaller hysteresis lets noise split one sag into many
    compat: bool = False  # as the original's plug-ins: their curves, at 120 V, without these limits

    def __post_init__(self) -> None:
        self.limits()

    def limits(self) -> Limits:
        return Limits(
            self.sag_percent, self.swell_percent, self.interruption_percent, self.hysteresis_percent
        )


def analyse(event: Event, config: Config) -> tuple[Finding, ...]:
    """Returns every disturbance that any Box saw; one open at the end of its waveform has `closed=False`.

    A gap ends a piece of waveform: a disturbance that lasts over the gap is found on both sides. Nothing can
    be found in a piece shorter than two cycles. What `classify` takes for the effect of noise is not a
    finding; a dip or swell that a phase jump makes is one that names the jump too, because reports and
    indices count it. Where `classify` cannot decide, every dip and swell is one. Raises ValueError when a
    waveform cannot be measured.
    """
    if config.compat:
        return original_voltages(event)
    found = []
    pieces = measured_runs(event, config, config.limits())
    limits = replace(EVENT_LIMITS, rms=config.limits())
    for piece in pieces:
        if not piece.analysis.disturbances:
            continue
        parts: tuple[ClassifiedPart, ...] = ()
        shown: set[float] | None = None
        with suppress(ClassificationError):  # the analyses of the other classes report it
            parts = RESULTS.parts_of(piece, limits)
            shown = {part.found.start_sample for part in parts if isinstance(part.found, Disturbance)}
        for disturbance, details in zip(piece.analysis.disturbances, piece.analysis.details, strict=True):
            finding = _finding(disturbance, details, piece)
            if shown is None or disturbance.start_sample in shown:
                found.append(with_onset(finding, piece, disturbance, pieces))
            elif jump := _jump_that_made(disturbance, piece, parts):
                found.append(with_onset(_with_jump(finding, jump), piece, jump, pieces))
    return tuple(sorted(found, key=lambda finding: finding.start_ns))


def _jump_that_made(
    level: Disturbance, piece: MeasuredRun, parts: Sequence[ClassifiedPart]
) -> Occurrence | None:
    """Returns the phase jump of which a dip or swell that has ended is the effect, by `classify`."""
    if level.kind not in LEVELS or level.open:
        return None
    cycle = piece.analysis.rate_hz / piece.analysis.nominal_hz
    jumps = [part.found for part in parts if isinstance(part.found, Occurrence) and part.kind == JUMP]
    return next(
        (
            each
            for each in jumps
            if level.start_sample - cycle <= each.start_sample <= level.end_sample + cycle
        ),
        None,
    )


def _with_jump(finding: Finding, jump: Occurrence) -> Finding:
    degrees = jump.figures["phase_jump_degrees"]
    return replace(
        finding,
        kind=made_by_jump(finding.kind),
        figures=(("phase_jump_degrees", degrees),),
        because=f"{finding.because}; the effect of a phase jump of {degrees:+.1f} degrees",
    )


def wants(event: Event, findings: Sequence[Finding], config: Config) -> tuple[SampleRequest, ...]:
    """Requests the rest of disturbances that last to the end of a waveform.

    Where most Boxes saw a dip, it also requests neighbours.
    """
    waves = {wave.box_id: wave for wave in event.waveforms}
    lasting = {
        each.box_id: each for each in findings if not each.closed and _runs_out(waves[each.box_id], each)
    }
    longer = together(_longer(waves[box_id], each) for box_id, each in lasting.items())
    depths: dict[str, float] = {}
    for each in findings:
        if each.kind in DIPS and each.residual_percent is not None:
            depths[each.box_id] = min(each.residual_percent, depths.get(each.box_id, 100.0))
    if len(depths) < 2 or len(depths) < BORDER_SHARE * len(waves):
        return longer
    shallow = sorted(depths, key=lambda box_id: (-depths[box_id], len(box_id), box_id))
    because = f"{len(depths)} of {len(waves)} Boxes saw the dip, so its border is not seen"
    return (
        *longer,
        SampleRequest(beside=tuple(shallow[:BORDER_BOXES]), most_boxes=MAX_NEIGHBOURS, because=because),
    )


def _runs_out(wave: Waveform, finding: Finding) -> bool:
    """Returns True if the disturbance began in this waveform and lasts to its end."""
    return finding.start_ns > wave.start_ns and wave.end_ns - finding.end_ns <= AT_END_NS


def _longer(wave: Waveform, finding: Finding) -> SampleRequest:
    length_ns = min(max(wave.end_ns - wave.start_ns, MIN_LONGER_NS), MAX_LONGER_NS)
    return SampleRequest(
        box_ids=(wave.box_id,),
        start_ns=wave.start_ns,
        end_ns=wave.end_ns + length_ns,
        because=f"the {finding.kind.replace('_', ' ')} at Box {wave.box_id} lasts to the end of its waveform",
    )


def _finding(disturbance: Disturbance, details: tuple[Occurrence, ...], piece: MeasuredRun) -> Finding:
    run = piece.run
    return Finding(
        kind=disturbance.kind,
        box_id=run.box_id,
        start_ns=run.time_ns(disturbance.start_sample),
        end_ns=run.end_ns if disturbance.open else run.time_ns(disturbance.end_sample),
        uncertainty_ns=run.uncertainty_ns,
        closed=not disturbance.open,
        onset_seen=shows_onset(disturbance, run, piece.analysis.nominal_hz),
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
