"""The signs of an incident: numbers from its witnesses, from which a cause can be judged. Pure.

A witness is a Box with its worst finding; its figures are those of `onset_figures`. A sign of several Boxes
is their median over those that show it most, so that one odd Box decides nothing.
"""

import cmath
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from opq_cloud.mauka.measuring.sightings import HIGH_FAMILY, LOW_FAMILY, family
from opq_cloud.store.box_place import phase_letter
from opq_cloud.store.incidents.witness import IncidentWitness
from opq_measure.causes.dip_types import DipType, dip_type_of
from opq_measure.classification.jump_levels import what_happened

SIGNS_SHOWN = 4
CLEAR_MOVE = 0.05
"""Share of the voltage before: a phasor has to move at least this far to show when the fault was cleared."""
OPPOSITE_PERCENT = 4.0
"""One phase of a place rises and another falls by at least this share of the voltage before."""
DEEP_PERCENT = 30.0
SECOND_PERCENT = 0.8
"""Second harmonic of an inrush, percent of the fundamental."""
JUMP_DEGREES = 8.0
"""A phase jump turns a phasor by at least this angle."""
TAP_DEGREES = 1.5
"""A tap change turns a phasor by less than this angle."""
APART_HZ = 0.1
IMPULSE_PU = 0.08
ODD_PERCENT = 1.5
LEAK_HZ = 0.1
"""Where the frequency changes by more, part of the fundamental is mistaken for a second harmonic."""
BAND_KINDS = frozenset({"sag", "undervoltage", "swell", "overvoltage", "rapid_voltage_change"})
"""Names that a step gets where it takes the voltage across 90 or 110 %."""
CAME_BACK_PERCENT = 30.0
"""No switching raises a voltage this much into its band: it was this much too low before."""
FELL_PERCENT = (DEEP_PERCENT / 2, 85.0)
"""A dip before the voltage is lost: a smaller one may be the load that goes with it."""
DEAD_PERCENT = 10.0
"""Percent of nominal below which there is no supply (IEEE 1159-2019, table 2)."""
LASTING_S = 3.0
"""A change that lasts longer stays; a cleared short circuit is over before."""
STANDS_PERCENT = 110.0
"""Percent of nominal. A swell that is above this at its start had begun before."""


@dataclass(frozen=True, slots=True)
class FeederTrip:
    """A feeder whose Boxes all stayed without voltage."""

    feeder: str
    lasting_s: float
    """The shortest time without voltage of its Boxes."""
    fell_percent: float | None = None
    """By how much the voltage of a Box fell before it was lost; None: all lost it at once."""
    others: bool = False
    """Whether other feeders had a dip that ended."""

    @property
    def after_dip(self) -> bool:
        return self.others or self.fell_percent is not None


@dataclass(frozen=True, slots=True)
class IncidentSigns:
    """None: no witness shows it. Percents, degrees and per unit of the voltage before; see `OnsetTraits`."""

    kinds: frozenset[str]
    several: bool
    """More than one Box."""
    scope: str | None
    low: bool
    high: bool
    deepest_percent: float | None
    """Residual of the worst rms finding."""
    change_percent: float | None = None
    change_degrees: float | None = None
    lasting_s: float | None = None
    clearing_s: float | None = None
    """The lower quartile of the Boxes that saw it well."""
    recovery_cycles: float | None = None
    fading_percent: float | None = None
    after_percent: float | None = None
    second_percent: float | None = None
    second_later_percent: float | None = None
    odd_percent: float | None = None
    hz_change: float | None = None
    hz_apart: float | None = None
    """How far the Box that is furthest off differs from the others of its event."""
    hz_apart_before: float | None = None
    """The same, before the onset."""
    deviation_hz: float | None = None
    impulse_pu: float | None = None
    impulse_boxes: int = 0
    ringing_pu: float | None = None
    ringing_hz: float | None = None
    opposite: tuple[float, float] | None = None
    """By how many percent at one place one phase fell and another rose."""
    all_small: bool = False
    """Whether no Box changed by more than a tap change."""
    dip_type: DipType | None = None
    trip: FeederTrip | None = None
    uneven: Mapping[str, float] = field(default_factory=dict)
    """Figures of an unbalance; empty if the incident has no unbalance."""

    @property
    def stays(self) -> bool:
        """Returns True if the change lasts to the end of the waveform, or for more than three seconds."""
        fades = self.fading_percent
        held = self.lasting_s is None and fades is not None and fades > 90
        return held or (self.lasting_s or 0.0) > LASTING_S

    @property
    def came_back(self) -> bool:
        """Returns True if its onset is the end of a deep dip, after which the voltage is in its band."""
        return (self.change_percent or 0.0) >= CAME_BACK_PERCENT and not self.high

    @property
    def turned(self) -> bool:
        """Returns True if a phasor turned at one place alone and stays so, as no load and no tap turns it."""
        return (
            self.scope == "local"
            and self.stays
            and abs(self.change_degrees or 0.0) >= JUMP_DEGREES
            and not (self.came_back or self.is_apart or self.was_apart)
        )

    @property
    def is_bare_step(self) -> bool:
        """Returns True for a step that stays, at several places, without a phase jump or anything else."""
        fades, deepest = self.fading_percent, self.deepest_percent
        return (
            self.kinds <= BAND_KINDS
            and (deepest is None or abs(deepest - 100) < DEEP_PERCENT)
            and self.scope in ("feeder", "region")
            and fades is not None
            and 80 < fades < 120
            and self.lasting_s is None
            and abs(self.change_degrees or 0.0) < TAP_DEGREES
            and (self.odd_percent or 0.0) < ODD_PERCENT
            and self.ringing_pu is None
            and not (self.has_impulse or self.is_inrush or self.is_apart)
        )

    @property
    def is_inrush(self) -> bool:
        """Returns True if a second harmonic came, as when a transformer is energised."""
        leaks = abs(self.hz_change or 0.0) >= LEAK_HZ
        return not leaks and (self.second_percent or 0.0) >= SECOND_PERCENT

    @property
    def is_apart(self) -> bool:
        """Returns True if a Box has another frequency than the others since the onset."""
        return self.hz_apart is not None and abs(self.hz_apart) >= APART_HZ

    @property
    def was_apart(self) -> bool:
        """Returns True if an island ends here: frequencies were apart before and are not since."""
        return (
            self.hz_apart_before is not None
            and abs(self.hz_apart_before) >= APART_HZ
            and self.hz_apart is not None
            and not self.is_apart
        )

    @property
    def has_impulse(self) -> bool:
        """Returns True if an impulse to one side came."""
        return "impulsive_transient" in self.kinds or (self.impulse_pu or 0.0) >= IMPULSE_PU


def signs_of(kinds: frozenset[str], scope: str | None, witnesses: Sequence[IncidentWitness]) -> IncidentSigns:
    """Returns the signs of an incident with at least one witness."""
    figures = [dict(each.figures) for each in witnesses]
    seen = _onsets(witnesses)
    strongest = sorted(seen, key=_moved, reverse=True)[:SIGNS_SHOWN]
    residuals = [each.residual_percent for each in witnesses if each.residual_percent is not None]
    ringing = max(figures, key=lambda each: each.get("ringing_pu", 0.0), default={})
    impulses = [each["impulse_pu"] for each in figures if "impulse_pu" in each]
    apart = [each["hz_apart"] for each in figures if "hz_apart" in each]
    families = {family(what_happened(kind)) for kind in kinds}
    return IncidentSigns(
        kinds=kinds,
        several=len(witnesses) > 1,
        scope=scope,
        low=LOW_FAMILY in families,
        high=HIGH_FAMILY in families,
        deepest_percent=max(residuals, key=lambda each: abs(each - 100), default=None),
        change_percent=_middle(strongest, "onset_change_percent"),
        change_degrees=_middle(strongest, "onset_change_degrees"),
        lasting_s=_middle(strongest, "onset_lasting_s"),
        clearing_s=_clearing_s(seen),
        recovery_cycles=_middle(strongest, "onset_recovery_cycles"),
        fading_percent=_middle(strongest, "onset_fading_percent"),
        after_percent=_middle(strongest, "onset_after_percent"),
        second_percent=_middle(strongest, "onset_second_percent"),
        second_later_percent=_middle(strongest, "onset_second_later_percent"),
        odd_percent=_middle(strongest, "onset_odd_percent"),
        hz_change=max(
            (each["onset_hz_change"] for each in seen if "onset_hz_change" in each), key=abs, default=None
        ),
        hz_apart=max(apart, key=abs, default=None),
        hz_apart_before=max(
            (each["hz_apart_before"] for each in figures if "hz_apart_before" in each), key=abs, default=None
        ),
        deviation_hz=max(
            (each["deviation_hz"] for each in figures if "deviation_hz" in each), key=abs, default=None
        ),
        impulse_pu=max(impulses, default=None),
        impulse_boxes=len(impulses),
        ringing_pu=ringing.get("ringing_pu"),
        ringing_hz=ringing.get("ringing_hz"),
        opposite=_opposite(witnesses),
        all_small=bool(seen) and all(abs(each["onset_change_percent"]) <= 3.0 for each in seen),
        dip_type=_dip_type(witnesses),
        trip=_trip(witnesses),
        uneven=next((each for each in figures if "u2_percent" in each), {}),
    )


def _trip(witnesses: Sequence[IncidentWitness]) -> FeederTrip | None:
    """Returns the feeder whose breaker opened, by the feeders that people stated; None where none shows it.

    All its Boxes are without voltage for long. Boxes of others had a dip that ended, or none saw anything.
    """
    seconds = {each.box_id: (each.end_ns - each.start_ns) / 1e9 for each in witnesses}
    low = [
        each for each in witnesses if family(what_happened(each.kind)) == LOW_FAMILY or each.kind == "outage"
    ]
    dead = [
        each
        for each in low
        if (each.residual_percent or 0.0) < DEAD_PERCENT and seconds[each.box_id] > LASTING_S
    ]
    feeders = {each.feeder for each in dead}
    if len(feeders) != 1 or (feeder := feeders.pop()) is None:
        return None
    others = [each for each in low if each not in dead]
    lasting_s = min(seconds[each.box_id] for each in dead)
    if not others:
        alone = len(dead) == len(witnesses) > 1
        return FeederTrip(feeder, lasting_s, _fell_percent(dead)) if alone else None
    if any(each.feeder in (None, feeder) for each in others):
        return None
    if any(seconds[each.box_id] > LASTING_S for each in others):
        return None
    return FeederTrip(feeder, lasting_s, others=True)


def _fell_percent(dead: Sequence[IncidentWitness]) -> float | None:
    """The deepest dip of a Box that lost its voltage some cycles later; None without any."""
    known = [dict(each.figures) for each in dead]
    fell = [
        -each["onset_change_percent"]
        for each in known
        if FELL_PERCENT[0] <= -each.get("onset_change_percent", 0.0) <= FELL_PERCENT[1]
        and each.get("onset_after_percent", 0.0) <= DEAD_PERCENT - 100
    ]
    return max(fell, default=None)


def shows_onset(kind: str, residual_percent: float | None, figures: Mapping[str, float]) -> bool:
    """Returns True if a finding's onset figures describe the disturbance's own beginning.

    A short disturbance within minutes of overvoltage cuts them in two. The second part is found as a separate
    overvoltage, often the Box's worst; its onset is the recovery and says nothing about the cause.
    """
    change = figures.get("onset_change_percent")
    if change is None:
        return False
    if family(what_happened(kind)) != HIGH_FAMILY or residual_percent is None:
        return True
    return residual_percent <= STANDS_PERCENT * (1 + change / 100)


def _onsets(witnesses: Sequence[IncidentWitness]) -> list[dict[str, float]]:
    """Figures of the witnesses that show the onset; where none does, of those that have onset figures."""
    known = [(each, dict(each.figures)) for each in witnesses]
    shown = [figures for each, figures in known if shows_onset(each.kind, each.residual_percent, figures)]
    return shown or [figures for _, figures in known if "onset_change_percent" in figures]


def phasor_of(witness: IncidentWitness) -> complex | None:
    """Returns the fundamental after the onset divided by that before."""
    figures = dict(witness.figures)
    if "onset_change_percent" not in figures:
        return None
    size = 1 + figures["onset_change_percent"] / 100
    return cmath.rect(size, math.radians(figures.get("onset_change_degrees", 0.0)))


def _moved(figures: Mapping[str, float]) -> float:
    """Returns how far the phasor moved, per unit of the voltage before."""
    size = 1 + figures["onset_change_percent"] / 100
    return abs(cmath.rect(size, math.radians(figures.get("onset_change_degrees", 0.0))) - 1)


def _middle(figures: Sequence[Mapping[str, float]], name: str) -> float | None:
    known = [each[name] for each in figures if name in each]
    return median(known) if known else None


def _by_place(witnesses: Sequence[IncidentWitness]) -> dict[str, list[IncidentWitness]]:
    found: dict[str, list[IncidentWitness]] = {}
    for each in witnesses:
        if each.place:
            found.setdefault(each.place, []).append(each)
    return found


def _opposite(witnesses: Sequence[IncidentWitness]) -> tuple[float, float] | None:
    for _, there in sorted(_by_place(witnesses).items()):
        off = [moved for each in there if (moved := _moved_percent(each)) is not None]
        if len(off) >= 2 and min(off) <= -OPPOSITE_PERCENT and max(off) >= OPPOSITE_PERCENT:
            return min(off), max(off)
    return None


def _moved_percent(witness: IncidentWitness) -> float | None:
    """Change in percent of the voltage before; where that is not known, of nominal."""
    change = dict(witness.figures).get("onset_change_percent")
    if change is None and witness.residual_percent is not None:
        return witness.residual_percent - 100
    return change


def _clearing_s(seen: Sequence[Mapping[str, float]]) -> float | None:
    """Returns seconds from the onset until the fault was cleared; None where no Box saw it clearly.

    A Box that the opened breaker feeds stays low for longer than the fault, so the lower quartile counts.
    """
    clear = [
        each["onset_lasting_s"] for each in seen if "onset_lasting_s" in each and _moved(each) >= CLEAR_MOVE
    ]
    return sorted(clear)[len(clear) // 4] if clear else None


def _dip_type(witnesses: Sequence[IncidentWitness]) -> DipType | None:
    """Returns the dip's type at the place with the most phases; among several, where the voltage moved most.

    None: no place has enough phases.
    """
    found: list[tuple[int, float, str, DipType]] = []
    for place, there in _by_place(witnesses).items():
        phasors: dict[str, complex] = {}
        for each in there:
            phase, phasor = phase_letter(each.phase), phasor_of(each)
            if phase is not None and phasor is not None:
                phasors.setdefault(phase, phasor)
        kind = dip_type_of(phasors)
        if kind is not None:
            moved = max(abs(each - 1) for each in phasors.values())
            found.append((len(phasors), moved, place, kind))
    return max(found, key=lambda each: each[:3])[3] if found else None
