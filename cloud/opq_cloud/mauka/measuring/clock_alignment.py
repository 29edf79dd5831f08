"""Measures how far the clocks of two Boxes differ, by the waveforms of a disturbance that both saw. Pure.

The Box with the best clock is the reference. A Box is compared with it if its clock is less certain than such
a comparison: `opq_measure.waveform.alignment.lag_between` finds the lag between the two waveforms around the
first sudden change in each. A pair has no result if the Boxes are on different phases, if the waveforms do
not show which cycle is which, or if the lag is more than their clocks allow. If the registry does not know
the phases, the angle between the Boxes may have any value, and the uncertainty of the result says so.

Cost: 19 ms of CPU for a pair of 1.3 s at 12 kS/s; an event has at most `MAX_PAIRS`.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from hashlib import blake2b

from opq_cloud.store.incidents.box_events import is_steady
from opq_measure.waveform.alignment import SITES_DEGREES, Lag, lag_between
from opq_proto.decision import Nominal
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Event, Finding, Waveform, WaveformAlignment

MAX_PAIRS = 6
"""Pairs of one event; Boxes with the worst clocks come first."""
BEFORE_NS = 500_000_000
"""The part of a waveform that is used before its first sudden change: more adds little but CPU."""
AFTER_NS = 800_000_000
"""The part after it."""
MIN_MARGIN = 0.05
"""Least margin of the correlation over that of the next choice of a cycle."""
STAMPS_EXCLUDE = 4.0
"""Two clocks are not further apart than this multiple of their own uncertainties, where both are known."""
RATES_APART = 1e-4
"""Largest difference between the rates of two converters: half a sample between middle and ends of a second.
"""
SUDDEN = frozenset(
    {"sag", "swell", "interruption", "undervoltage", "overvoltage", "phase_jump", "rapid_voltage_change"}
)
Alignments = Mapping[str, WaveformAlignment]


def clock_alignments(
    event: Event,
    findings: Iterable[Finding],
    phase_of: Callable[[str], str | None],
    nominal_of: Callable[[Waveform], Nominal],
) -> Alignments:
    """Returns for each Box how far its clock is from the reference's.

    The reference is included, with an offset of 0, where its own clock's uncertainty is not known.

    Args:
        phase_of: a Box's phase from the registry; None or empty: not known.
    """
    first = _first_onsets(findings)
    waves = {wave.box_id: wave for wave in event.waveforms if wave.box_id in first}
    order = sorted(waves, key=lambda box_id: (first[box_id].uncertainty_ns, len(box_id), box_id))
    if len(order) < 2:
        return {}
    reference, others = order[0], order[:0:-1]
    hz = nominal_of(waves[reference]).hz
    found: dict[str, WaveformAlignment] = {}
    tried = 0
    for box_id in others:
        floor_ns = _floor_ns(phase_of(reference), phase_of(box_id), hz)
        if floor_ns is None or first[box_id].uncertainty_ns <= floor_ns or nominal_of(waves[box_id]).hz != hz:
            continue
        tried += 1
        if tried > MAX_PAIRS:
            break
        pair = first[reference], first[box_id]
        alignment = _aligned(pair, (waves[reference], waves[box_id]), hz, floor_ns)
        if alignment is not None and alignment.uncertainty_ns < first[box_id].uncertainty_ns:
            found[box_id] = alignment
    if found and first[reference].uncertainty_ns >= UNKNOWN_UNCERTAINTY_NS:
        one = next(iter(found.values()))
        found[reference] = replace(
            one, offset_ns=0, uncertainty_ns=0, because="the others are compared with it"
        )
    return found


def stamped(findings: Iterable[Finding], alignments: Alignments) -> list[Finding]:
    """The findings with the alignment of their Boxes' clocks; steady states have no onset and get none."""
    return [
        one
        if is_steady(one.kind) or one.box_id not in alignments
        else replace(one, alignment=alignments[one.box_id])
        for one in findings
    ]


def _first_onsets(findings: Iterable[Finding]) -> dict[str, Finding]:
    """Returns for each Box the first of its sudden findings."""
    first: dict[str, Finding] = {}
    for one in findings:
        if not SUDDEN.isdisjoint(one.kind.split("+")):
            known = first.get(one.box_id)
            if known is None or (one.start_ns, one.kind) < (known.start_ns, known.kind):
                first[one.box_id] = one
    return first


def _floor_ns(reference: str | None, other: str | None, hz: float) -> float | None:
    """Uncertainty of the best alignment due to the angle between the two; None: they are not comparable."""
    cycle_ns = 1e9 / hz
    if not (reference and other):
        return cycle_ns / 2 / math.sqrt(3)  # any angle: uniformly distributed over a cycle
    return None if reference != other else SITES_DEGREES / 360 * cycle_ns


def _aligned(
    first: tuple[Finding, Finding], waves: tuple[Waveform, Waveform], hz: float, floor_ns: float
) -> WaveformAlignment | None:
    """Returns None where the two do not show which cycle it is."""
    parts = [_around(wave, one.start_ns) for wave, one in zip(waves, first, strict=True)]
    if parts[0] is None or parts[1] is None:
        return None
    reference, other = parts[0], parts[1]
    rate_hz = reference.rate_hz
    if abs(other.rate_hz / rate_hz - 1) > RATES_APART:
        return None
    try:
        lag = lag_between(reference.counts, other.counts, rate_hz, hz)
    except ValueError:
        return None
    if lag.similarity - lag.next_best < MIN_MARGIN:
        return None
    at = (first[1].start_ns - other.start_ns) / 1e9 * other.rate_hz
    offset_ns = reference.time_ns(at + lag.samples) - other.time_ns(at)
    stamps_ns = first[0].uncertainty_ns + first[1].uncertainty_ns
    if stamps_ns < UNKNOWN_UNCERTAINTY_NS and abs(offset_ns) > STAMPS_EXCLUDE * stamps_ns:
        return None  # similar, but another disturbance or another cycle
    uncertainty_ns = max(floor_ns, lag.uncertainty_samples / rate_hz * 1e9)
    box_id = waves[0].box_id
    return WaveformAlignment(
        box_id=box_id,
        offset_ns=offset_ns,
        uncertainty_ns=math.ceil(uncertainty_ns),
        reference_ns=first[0].uncertainty_ns,
        common_id=_common_id(box_id),
        because=_because(box_id, offset_ns, uncertainty_ns, lag, floor_ns > 1e9 / hz / 8),
    )


def _around(wave: Waveform, at_ns: int) -> Waveform | None:
    """Returns the piece without gaps that holds a moment, cut around it."""
    for run in wave.runs():
        if run.start_ns <= at_ns < run.end_ns:
            begin = max(0, round((at_ns - BEFORE_NS - run.start_ns) / 1e9 * run.rate_hz))
            end = min(len(run.counts), round((at_ns + AFTER_NS - run.start_ns) / 1e9 * run.rate_hz))
            return replace(
                run,
                start_ns=run.time_ns(begin),
                first_sample=run.first_sample + begin,
                counts=run.counts[begin:end],
            )
    return None


def _common_id(box_id: str) -> int:
    """An id that is the same for all Boxes compared with this one, whichever event showed it: a disturbance
    has several. Only onsets within a fifth of a second join by it.
    """
    digest = blake2b(box_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1 | 1


def _because(box_id: str, offset_ns: int, uncertainty_ns: float, lag: Lag, any_angle: bool) -> str:
    side = "behind" if offset_ns > 0 else "ahead of"
    reason = (
        f"its clock is {abs(offset_ns) / 1e6:.3f} ms {side} that of Box {box_id}, by their waveforms, "
        f"within {uncertainty_ns / 1e6:.3f} ms (correlation {lag.similarity:.2f}, of the next cycle "
        f"{lag.next_best:.2f})"
    )
    return f"{reason}; their phases are not known" if any_angle else reason
