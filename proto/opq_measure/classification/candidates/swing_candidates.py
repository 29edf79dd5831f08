"""Flicker, and a rapid voltage change without a steady second on both sides: what the rms course shows.

flickermeter, from 5 s on ----------------+
lines of the envelope, from 1 s on -------+--> flicker      mean of three cycles off the one before --> change
one sine in a piece, in a shorter record -+
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain

from opq_measure.analysis.lasting_conditions import PST_SIGMA
from opq_measure.analysis.occurrence import Occurrence, confidence_of
from opq_measure.analysis.short_flicker import is_hidden_by_noise, short_flicker_in
from opq_measure.classification.alike_cycles import AlikeCycles
from opq_measure.classification.by_chance import ODDS_ALONE, posterior
from opq_measure.classification.class_limits import ClassLimits
from opq_measure.classification.envelope_flicker import envelope_flicker, pst_of_swing
from opq_measure.classification.measured_signal import MeasuredSignal
from opq_measure.classification.pieces import Pieces
from opq_measure.classification.short_change import EARLY_CYCLES, begun_at_step, short_change_in
from opq_measure.timebase.cycles import WINDOW_S

ENVELOPE_MARGIN = 1.15
"""Pst of a second or two counts from this multiple of its limit on, because it is accurate to a tenth."""
LONGEST_ENVELOPE_S = 5.0
"""From this length on the flickermeter of 61000-4-15 has settled and is used instead of the envelope."""
LONGEST_SWING_S = 1.5
"""A longer record shows lines of the envelope."""


def _lies_in(each: Occurrence, one: Occurrence) -> bool:
    slack = WINDOW_S * each.rate_hz
    return one.start_sample - slack <= each.start_sample and each.end_sample <= one.end_sample + slack


def flicker_of(
    signal: MeasuredSignal, cycles: AlikeCycles, limits: ClassLimits, changes: Sequence[Occurrence]
) -> Iterable[Occurrence]:
    """Flicker by the flickermeter where it has settled, else by the envelope.

    A change makes the envelope swing, too; the meter starts again after it. The envelope is not used where
    there are notches, because their samples move it. The meter also responds to noise, over all frequencies;
    a line that this hides may stand out in the envelope.
    """
    analysis = signal.analysis
    notching = [each for each in analysis.occurrences if each.kind == "periodic_notching"]
    flickers: list[Occurrence] = []
    is_long = analysis.duration_s >= LONGEST_ENVELOPE_S
    if is_long:
        at = [each.start_sample for each in changes] + [each.end_sample for each in changes]
        every = chain(analysis.occurrences, short_flicker_in(signal.volts, analysis, limits.pst, at))
        flickers = [each for each in every if each.kind == "flicker"]
        flickers = [each for each in flickers if not any(_lies_in(each, one) for one in notching)]
    if notching or changes or (is_long and not is_hidden_by_noise(analysis, limits.pst)) or cycles.notching:
        yield from flickers
        return
    clear = signal.clear_of(analysis.half_starts)
    noise_v = analysis.noise_v if math.isfinite(analysis.noise_v) else 0.0
    found = envelope_flicker(
        analysis.half_rms_v,
        clear,
        analysis.nominal_v,
        analysis.nominal_hz,
        noise_v,
        analysis.rate_hz,
        ENVELOPE_MARGIN * limits.pst,
    )
    if flickers:  # noise may hide a line between harmonics; the beat frequency identifies it
        yield from (replace(each, figures={**each.figures, "modulation_hz": found.hz}) for each in flickers)
    if flickers or not found.pst > ENVELOPE_MARGIN * limits.pst:
        return
    whole = signal.throughout(
        "flicker",
        confidence_of(found.pst, limits.pst, 4 * PST_SIGMA * found.pst)
        * posterior(found.sigmas, found.by_chance, ODDS_ALONE),
        f"the rms swings with {found.hz:.1f} Hz, Pst {found.pst:.2f} if it goes on for ten minutes",
        {
            "pst_of_seen": found.pst,
            "modulation_hz": found.hz,
            "sigmas": found.sigmas,
            "by_chance": found.by_chance,
        },
    )
    starts, stretch = analysis.half_starts, found.stretch
    yield replace(
        whole,
        start_sample=float(starts[stretch.start]) if found.begins else whole.start_sample,
        end_sample=float(starts[stretch.stop]) if found.ends else whole.end_sample,
        open_at_start=not found.begins,
        open=not found.ends,
    )


def change_of(signal: MeasuredSignal, limits: ClassLimits) -> Iterable[Occurrence]:
    """A rapid voltage change that has no steady second on both sides."""
    analysis = signal.analysis
    if any(each.kind == "rapid_voltage_change" for each in analysis.occurrences):
        return
    found = short_change_in(
        analysis.half_rms_v,
        signal.clear_of(analysis.half_starts),
        analysis.nominal_v,
        analysis.nominal_hz,
        limits.change_percent,
    )
    if found is None:
        return
    change = Occurrence(
        kind="rapid_voltage_change",
        start_sample=float(analysis.half_starts[found.start]),
        end_sample=float(analysis.half_starts[found.stop]),
        rate_hz=analysis.rate_hz,
        nominal_hz=analysis.nominal_hz,
        confidence=confidence_of(
            abs(found.largest_percent), limits.change_percent, max(found.scatter_percent / 2, 0.1)
        ),
        because=(
            f"Urms(1/2) left its mean by {found.largest_percent:+.2f} % of nominal and was "
            f"{found.steady_percent:+.2f} % from it at the end; less than a steady second was seen"
        ),
        figures={
            "steady_change_percent": found.steady_percent,
            "largest_change_percent": found.largest_percent,
        },
        open=not found.back,
    )
    yield begun_at_step(change, signal, -EARLY_CYCLES)


def swing_of(signal: MeasuredSignal, pieces: Pieces, limits: ClassLimits) -> Iterable[Occurrence]:
    """Flicker in a record too short for lines of the envelope: the sine that explains a piece's amplitude."""
    analysis = signal.analysis
    if analysis.duration_s > LONGEST_SWING_S:
        return
    seen = [each for each in pieces.swings if each is not None]
    if not seen:
        return
    swing = max(seen, key=lambda each: each.swings)
    pst = abs(swing.size) * pst_of_swing(swing.hz, analysis.nominal_v, analysis.nominal_hz)
    if not pst > ENVELOPE_MARGIN * limits.pst:
        return
    sigma = pst * math.hypot(4 * PST_SIGMA, math.sqrt(1 - swing.explained))
    yield signal.throughout(
        "flicker",
        confidence_of(pst, limits.pst, sigma),
        f"the voltage swings by {100 * abs(swing.size):.1f} % with {swing.hz:.1f} Hz, {swing.swings:.1f} "
        f"times in a stretch without a level, Pst {pst:.2f} if it goes on for ten minutes",
        {"pst_of_seen": pst, "modulation_hz": swing.hz, "swings": swing.swings},
    )
