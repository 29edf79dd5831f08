"""One disturbance of one Box as several waveforms saw it, and the finding made of them all: pure.

A sighting is a finding of one event. A dip that outlasts its waveform is seen open by one event
and whole by a later one; the one that covers all gives every figure. Where none does, the
figures are those of the pieces together. Both are functions of the set of sightings, so neither
order nor repetition matters.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from opq_cloud.mauka.measuring.lines import LINES, TELEGRAM_KIND, as_telegram, line_hz, same_line
from opq_cloud.mauka.measuring.onset_figures import COMPARED
from opq_cloud.store.incidents.box_events import is_steady
from opq_measure.analysis.lasting_conditions import THD_BEFORE
from opq_measure.classification.jump_levels import made_by_jump, what_happened
from opq_measure.events.curves import TEMPORARY_S, ieee1159, itic, semi_f47
from opq_proto.messages import END_WITHIN_S, UNKNOWN_UNCERTAINTY_NS, Finding

SAME_CLOCK_LIMIT_NS = 20_000_000
"""One Box has one clock, whose error is common to its findings: at most a cycle of 50 Hz
counts, otherwise separate sags of a Box with a free-running clock (uncertainty 4.3 s) would be joined.
"""

LATE_STEADY_NS = 300_000_000
"""A steady state is found in windows of 10/12 cycles: one that begins in the first of a waveform looks as if
it had been there before. Where another waveform shows a start so much later at most, that is the start.
"""
UNSEEN_NS = 30_000_000_000
"""Longest time that a steady state may last between two waveforms that show it. With a longer time a new one
at the same place would be joined: notching and flicker are reported for a waveform as a whole.
"""
PAUSE_NS = 3_000_000_000
"""Shorter pauses do not count: steady states are judged by values of 3 s (IEC 61000-4-30:2015, 4.5)."""
TELEGRAM_PAUSE_NS = 10_000_000_000
"""A mains signal is recorded through its pauses (IEC 61000-4-30:2015, 5.10, up to 120 s after the first
pulse); in a telegram of pulses of a second they are some seconds long.
"""

LOW_FAMILY = "low voltage"
HIGH_FAMILY = "high voltage"
_FAMILY = {
    "sag": LOW_FAMILY,
    "interruption": LOW_FAMILY,
    "undervoltage": LOW_FAMILY,
    "swell": HIGH_FAMILY,
    "overvoltage": HIGH_FAMILY,
    made_by_jump("sag"): LOW_FAMILY,
    made_by_jump("swell"): HIGH_FAMILY,
    **dict.fromkeys(LINES, "line"),
}


def family(kind: str) -> str:
    """The family: the classes of a disturbance while it deepens and lasts (IEEE 1159-2019, table 2), and
    those of a line by what a waveform shows of it (`lines.py`)."""
    return _FAMILY.get(kind, kind)


def goes_on(earlier: Finding, later: Finding) -> bool:
    """Returns True if two parts of one Box and family, lines of one frequency, are one steady state.

    One that lasts to the end of its waveform continues at the beginning of a later waveform: no data exist
    between them. One that pauses for a moment, as a telegram does between its pulses, continues too,
    also where no waveform showed enough pulses to name it. A part that rises on top of it is another one.
    """
    if any(name == THD_BEFORE for name, _ in later.figures):
        return False
    gap_ns = later.start_ns - earlier.end_ns
    is_line = line_hz(later) is not None and same_line(earlier, later)
    pulses = TELEGRAM_KIND in (earlier.kind, later.kind) or is_line
    if gap_ns <= (TELEGRAM_PAUSE_NS if pulses else PAUSE_NS):
        return True
    return not earlier.closed and not later.onset_seen and gap_ns <= UNSEEN_NS


def kept(sightings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Returns the sightings that no other one covers, in time order: usually one.

    The greatest of a partial order (start, end, closed, start seen, uncertainty, clock, compared Boxes; equal
    ones by their figures), so `kept(kept(a) + b) == kept(a + b)`.
    """
    given = tuple(sightings)
    if len(given) == 1:
        return given
    every = set(given)
    return tuple(
        sorted(
            (one for one in every if not any(_covers(other, one) for other in every if other != one)),
            key=lambda one: (one.start_ns, one.end_ns, _order(one)),
        )
    )


def reach(sightings: Iterable[Finding]) -> Finding:
    """Returns a finding with the span of all and the worst clock, to find others near the disturbance."""
    every = tuple(sightings)
    if len(every) == 1:
        return every[0]
    return replace(
        every[0],
        start_ns=min(one.start_ns for one in every),
        end_ns=max(one.end_ns for one in every),
        uncertainty_ns=max(one.uncertainty_ns for one in every),
    )


def whole(sightings: Iterable[Finding]) -> Finding:
    """Returns the disturbance: the closed, longest sighting that covers all, or else the pieces together.

    A cycle at either end is ignored: stamps of two answers differ by that much at most, and a
    waveform that ends within a cycle after the recovery shows none. A waveform that begins shortly before
    the disturbance does not show its start; one that does decides it.
    """
    every = tuple(sightings)
    if len(every) == 1:
        return every[0]
    found = _whole(every)
    return as_telegram(found) if any(one.kind == TELEGRAM_KIND for one in every) else found


def _whole(every: tuple[Finding, ...]) -> Finding:
    span = reach(every)
    shown = _shown_starts(every, span.start_ns)
    span = replace(span, start_ns=min(shown, default=span.start_ns))
    covering = [
        one
        for one in every
        if (one.onset_seen or one.start_ns >= span.start_ns)
        and one.start_ns <= span.start_ns + SAME_CLOCK_LIMIT_NS
        and one.end_ns >= span.end_ns - SAME_CLOCK_LIMIT_NS
    ]
    if covering:
        best = max(
            covering, key=lambda one: (one.closed, _names_jump(one), one.end_ns - one.start_ns, _order(one))
        )
        if shown and not best.onset_seen:
            best = replace(best, start_ns=min(shown), onset_seen=True)
        found = replace(best, uncertainty_ns=span.uncertainty_ns)
    else:
        found = _together(every, span)
    return _with_end(_with_clock(_compared_best(found, every), every), every)


def _with_end(finding: Finding, every: Sequence[Finding]) -> Finding:
    """Returns the finding closed where another sighting shows that it ended there, with that end's doubt."""
    ends = [one for one in every if one.closed and one.end_ns >= finding.end_ns - SAME_CLOCK_LIMIT_NS]
    if not ends:
        return finding
    best = min(ends, key=lambda one: (dict(one.figures).get(END_WITHIN_S, 0.0), _order(one)))
    figures = [each for each in finding.figures if each[0] != END_WITHIN_S]
    figures += [each for each in best.figures if each[0] == END_WITHIN_S]
    because = finding.because if finding.closed else best.because
    return replace(finding, closed=True, figures=tuple(figures), because=because)


def _shown_starts(every: Sequence[Finding], earliest_ns: int) -> list[int]:
    """Returns the starts near the earliest one that a waveform shows."""
    late_ns = LATE_STEADY_NS if is_steady(every[0].kind) else SAME_CLOCK_LIMIT_NS
    return [one.start_ns for one in every if one.onset_seen and one.start_ns <= earliest_ns + late_ns]


def _compared_best(finding: Finding, every: Iterable[Finding]) -> Finding:
    """Returns the finding with the frequency figures of the sighting that was compared with most Boxes.

    The longest waveforms of a disturbance are often those of its own Boxes alone. Within an island, these
    have one frequency; the Boxes outside are in another event.
    """
    best = max(every, key=lambda one: (_compared(one), _order(one)))
    if _compared(best) <= _compared(finding):
        return finding
    names = {*(name for name, _ in best.figures if name.startswith("hz_"))}
    own = tuple(each for each in finding.figures if each[0] not in names)
    return replace(finding, figures=(*own, *(each for each in best.figures if each[0] in names)))


def _with_clock(finding: Finding, every: Sequence[Finding]) -> Finding:
    """Returns the finding with what any of the sightings shows of the Box's clock.

    A Box has one clock. The event that is compared with other Boxes is often not the one that covers all of
    the disturbance: without this the Box would leave their incident when the longer event comes.
    """
    shown = [one for one in every if one.clock_id is not None or one.alignment is not None]
    if not shown:
        return finding
    best = max(shown, key=lambda one: (one.clock_id is not None, _certainty(one), _order(one)))
    known_ns = [one.uncertainty_ns for one in shown if one.uncertainty_ns < UNKNOWN_UNCERTAINTY_NS]
    uncertainty_ns = finding.uncertainty_ns
    if uncertainty_ns >= UNKNOWN_UNCERTAINTY_NS and best.alignment is not None and known_ns:
        uncertainty_ns = max(known_ns)
    return replace(finding, clock_id=best.clock_id, alignment=best.alignment, uncertainty_ns=uncertainty_ns)


def _certainty(finding: Finding) -> float:
    """Returns a larger number for a clock that was compared more exactly."""
    return -math.inf if finding.alignment is None else -float(finding.alignment.uncertainty_ns)


def _compared(finding: Finding) -> float:
    """Returns how many other Boxes the frequency at the onset was compared with."""
    return sum(value for name, value in finding.figures if name in COMPARED)


def _together(pieces: tuple[Finding, ...], span: Finding) -> Finding:
    """Computes each figure for the pieces' common span, which they cover without a hole: they overlap."""
    late = [one for one in pieces if one.end_ns >= span.end_ns - SAME_CLOCK_LIMIT_NS]
    last = max(late, key=lambda one: (one.closed, one.end_ns))
    worst = max(pieces, key=_order)
    longest = max(pieces, key=lambda one: (one.end_ns - one.start_ns, _order(one)))
    duration_s = (last.end_ns - span.start_ns) / 1e9
    hz = _cycles_per_s(longest)
    finding = replace(
        worst,
        kind=_kind({one.kind for one in pieces}, duration_s),
        start_ns=span.start_ns,
        end_ns=last.end_ns,
        closed=last.closed,
        onset_seen=any(
            one.onset_seen for one in pieces if one.start_ns <= span.start_ns + SAME_CLOCK_LIMIT_NS
        ),
        uncertainty_ns=span.uncertainty_ns,
        duration_cycles=None if hz is None else duration_s * hz,
        because=f"put together from {len(pieces)} overlapping waveforms, the longest: {longest.because}",
        beside=tuple(sorted({*worst.beside, *longest.beside})),
    )
    percent = worst.residual_percent
    if (
        family(worst.kind) not in (LOW_FAMILY, HIGH_FAMILY)
        or percent is None
        or not 0 <= percent < float("inf")
    ):
        return finding
    return replace(
        finding,
        ieee1159=None if hz is None else ieee1159(percent, duration_s, hz),
        itic=itic(percent, duration_s),
        semi_f47="not_applicable" if family(worst.kind) == HIGH_FAMILY else semi_f47(percent, duration_s),
    )


def _kind(kinds: set[str], duration_s: float) -> str:
    """Returns the class as docs/reference/contracts.md names it; an interruption in any sighting makes it
    one, and a phase jump in one names what a jump can make."""
    long = duration_s > TEMPORARY_S
    match family(min(kinds)):
        case "low voltage" if "interruption" in kinds:
            return "interruption"
        case "low voltage":
            level, lasting = "sag", "undervoltage"
        case "high voltage":
            level, lasting = "swell", "overvoltage"
        case _:
            return min(kinds)
    if long:
        return lasting
    return made_by_jump(level) if made_by_jump(level) in kinds else level


def _cycles_per_s(finding: Finding) -> float | None:
    length_ns = finding.end_ns - finding.start_ns
    if not finding.duration_cycles or length_ns <= 0:
        return None
    return finding.duration_cycles * 1e9 / length_ns


def _covers(one: Finding, other: Finding) -> bool:
    mine, its = _ranks(one), _ranks(other)
    if mine == its:
        return _order(one) > _order(other)
    return all(more >= less for more, less in zip(mine, its, strict=True))


def _ranks(one: Finding) -> tuple[float, ...]:
    """Returns what a sighting has to show at least as well as another one to cover it."""
    clock = one.clock_id is not None, _certainty(one)
    shown = one.closed, one.onset_seen, one.kind == TELEGRAM_KIND, _names_jump(one)
    return -one.start_ns, one.end_ns, *shown, one.uncertainty_ns, *clock, _compared(one)


def _names_jump(one: Finding) -> bool:
    """Whether it names the phase jump that makes it, which a waveform that ends soon after does not show."""
    return what_happened(one.kind) != one.kind


def _order(finding: Finding) -> tuple[float, float, float, int, str]:
    """Returns a key for a total order with the worse finding last: further from 100 %, a dip before a swell.

    Two may differ only in what waveforms showed of the clock: then the one with the better known clock is
    last, then the one that has more figures, as the first analysis compares no Boxes.
    """
    percent = finding.residual_percent
    off = -1.0 if percent is None else abs(percent - 100.0)
    return (
        off,
        -(percent or 0.0),
        _certainty(finding),
        len(finding.figures),
        repr(finding),
    )
