"""Figures of a finding's onset, which show its cause in the waveform. Pure.

In: a measured piece and a moment.  Out: (name, value) pairs: the traits of `opq_measure.causes.onset_traits`,
how finely the waveform shows the moment, the transients within a cycle and a half, and how far the frequency
is from that of the event's other Boxes.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Protocol

import numpy as np

from opq_measure.analysis.analysed import SignalAnalysis
from opq_measure.analysis.occurrence import Occurrence
from opq_measure.causes.onset_traits import onset_traits
from opq_measure.waveform.hidden_onset import hidden_onset_s
from opq_proto.messages import Waveform

BESIDE_CYCLES = 1.5
"""A transient at most this far from the onset belongs to it."""
BEFORE_WINDOWS = 8
HZ_FROM_S = 0.2
"""Frequencies of Boxes are compared from this time after the onset."""
HZ_TO_S = 2.0
"""They are compared up to this time."""
HZ_BEFORE_S = (-2.0, -0.22)
"""Windows that begin in this time are over before the onset: 10/12 cycles are 0.2 s."""
MAX_COMPARED = 8
"""A frequency is compared with so many other Boxes of the event, or up to twice as many."""
WITHIN_MS = "onset_within_ms"
"""Figure: the time by which the moment may be off, as the waveform shows it."""
COMPARED = ("hz_compared", "hz_compared_before")
Figures = tuple[tuple[str, float], ...]


class MeasuredPiece(Protocol):
    """The interface of `results.MeasuredRun` that is needed here."""

    @property
    def run(self) -> Waveform: ...

    @property
    def analysis(self) -> SignalAnalysis: ...


def onset_figures(piece: MeasuredPiece, start_sample: float) -> Figures:
    """Returns traits and transients at a moment of one piece; traits need a known wave before it."""
    run, analysis = piece.run, piece.analysis
    hz = _hz_before(analysis, start_sample)
    if hz is None:
        return _transients(analysis, start_sample)
    traits = onset_traits(run.counts, run.rate_hz, hz, start_sample)
    found = () if traits is None else traits.figures()
    hidden_s = hidden_onset_s(run.counts, run.rate_hz, hz, start_sample)
    within: Figures = () if hidden_s is None else ((WITHIN_MS, 1e3 * hidden_s),)
    return (*found, *within, *_transients(analysis, start_sample))


def hz_apart(own: MeasuredPiece, start_ns: int, others: Sequence[MeasuredPiece]) -> Figures:
    """Returns the difference of the frequency after a moment from the median of the others, and their number.

    The same figures for the time before it show the end of an island.
    """
    return (
        *_apart(own, start_ns, others, (HZ_FROM_S, HZ_TO_S), ("hz_apart", COMPARED[0])),
        *_apart(own, start_ns, others, HZ_BEFORE_S, ("hz_apart_before", COMPARED[1])),
    )


def _apart(
    own: MeasuredPiece,
    start_ns: int,
    others: Iterable[MeasuredPiece],
    span_s: tuple[float, float],
    names: tuple[str, str],
) -> Figures:
    here = _hz_within(own, start_ns, *span_s)
    if here is None:
        return ()
    elsewhere = [each for each in others if each.run.box_id != own.run.box_id]
    step = max(1, len(elsewhere) // MAX_COMPARED)  # the first ones may all be of the same island
    there = [hz for each in elsewhere[::step] if (hz := _hz_within(each, start_ns, *span_s)) is not None]
    if not there:
        return ()
    return (names[0], here - float(np.median(there))), (names[1], float(len(there)))


def _hz_before(analysis: SignalAnalysis, start_sample: float) -> float | None:
    """Returns the median frequency in Hz of the last cycles before a sample; None: none has a frequency."""
    before = (analysis.cycle_starts[: len(analysis.frequency_hz)] < start_sample) & np.isfinite(
        analysis.frequency_hz
    )
    known = analysis.frequency_hz[before][-BEFORE_WINDOWS:]
    return float(np.median(known)) if len(known) else None


def _hz_within(piece: MeasuredPiece, start_ns: int, from_s: float, to_s: float) -> float | None:
    """Returns the median frequency of windows that begin in this time; None: fewer than two."""
    rate_hz = piece.run.rate_hz
    moment_s = (start_ns - piece.run.start_ns) / 1e9
    starts_s = piece.analysis.window_starts / rate_hz
    low, high = np.searchsorted(starts_s, (moment_s + from_s, moment_s + to_s)).tolist()
    known = piece.analysis.window_hz[low:high]
    known = known[np.isfinite(known)]
    return float(np.median(known)) if len(known) >= 2 else None


def _transients(analysis: SignalAnalysis, start_sample: float) -> Figures:
    """Returns the largest impulse and ringing near a moment, per unit of the fundamental's peak."""
    beside = BESIDE_CYCLES * analysis.rate_hz / analysis.nominal_hz
    near = [
        each
        for each in chain(analysis.occurrences, *analysis.details)
        if each.kind in ("impulsive_transient", "oscillatory_transient")
        and abs(each.start_sample - start_sample) <= beside
    ]
    return tuple(
        chain(
            _largest(near, "impulsive_transient", "impulse"),
            _largest(near, "oscillatory_transient", "ringing"),
        )
    )


def _largest(near: Sequence[Occurrence], kind: str, name: str) -> Figures:
    figures = [dict(each.figures) for each in near if each.kind == kind]
    if not figures:
        return ()
    largest = max(figures, key=lambda each: abs(each.get("peak_pu", 0.0)))
    hz = largest.get("principal_frequency_hz", math.nan)
    found: Figures = ((f"{name}_pu", abs(float(largest.get("peak_pu", 0.0)))),)
    return (*found, (f"{name}_hz", float(hz))) if math.isfinite(hz) else found
