"""The evidence for and against each cause of an incident. Pure.

Each cause is judged alone. A sign has a weight: the natural logarithm of how much likelier it makes the
cause. The weights are ours; docs/mauka.md, "Why", states on what data they were set and how well they do.

Source of the signs: Bollen, "Understanding Power Quality Problems", 2000, chapter 4; Bollen and Gu, "Signal
Processing of Power Quality Disturbances", 2006, chapter 6; IEEE 1159-2019, 4.4.
"""

from collections.abc import Callable, Mapping, Sequence

from opq_cloud.mauka.causes.signs import (
    APART_HZ,
    DEEP_PERCENT,
    JUMP_DEGREES,
    ODD_PERCENT,
    TAP_DEGREES,
    IncidentSigns,
)
from opq_measure.causes.dip_types import WORDS as DIP_WORDS
from opq_measure.written_numbers import significant
from opq_proto.messages import CauseEvidence

SHARP_CYCLES = 2.3
"""A short circuit is over within this time."""
SLOW_CYCLES = 3.3
"""A motor start or an inrush takes at least this time."""
MIDDLING_PERCENT = 12.0
FADED_SHARE = 0.75
"""The largest share of an inrush's second harmonic that is left after twelve cycles."""
RINGING_HZ = (150.0, 2500.0)
TAP_PERCENT = (0.4, 2.8)
LOST_NEUTRAL_LEAST_S = 0.5
"""A lost neutral lasts longer than this."""
FAULT_LEAST_S = 0.012
"""A cleared short circuit lasts longer than this."""
LOAD_PERCENT = (-12.0, -0.8)
SURE_TYPE = 0.5
HELD_PERCENT = 95.0
"""A motor start holds the voltage down to this share of its first depth, at least."""
RECOVERY_BEGUN = (0.1, 0.93)
"""The share of the depth that is left when a motor's voltage has begun to come back."""
LOST_PHASE_PERCENT = 8.0
"""u2 that loads hardly cause."""
NEUTRAL_SHARE = 3.0
"""u0 over u2 of a floating star point, which moves u0 alone."""

Signs = Sequence[CauseEvidence | None]


def _sign(
    holds: bool, weight: float, name: str, words: str, value: float | None = None, unit: str = ""
) -> CauseEvidence | None:
    return CauseEvidence(name, words, value, unit, weight) if holds else None


def _fault(signs: IncidentSigns) -> Signs:
    cycles, lasting_s, change = signs.recovery_cycles, signs.clearing_s, signs.change_percent
    depth = max(
        abs(change or 0.0),
        100 - signs.deepest_percent if signs.low and signs.deepest_percent is not None else 0.0,
    )
    deep = 1.5 if depth >= DEEP_PERCENT else 0.8 if depth >= MIDDLING_PERCENT else 0.0
    kind = signs.dip_type
    moved = signs.low or "phase_jump" in signs.kinds
    return (
        _sign(
            signs.came_back,
            3.0,
            "cleared",
            f"the voltage came back by {change or 0:.0f} %, as when a short circuit is cleared",
            change,
            "%",
        ),
        _sign(not moved, -4.0, "no_dip", "no Box saw a dip or a jump of its phase"),
        _sign(signs.low, 0.5, "dip", f"the voltage fell at {_boxes(signs)}"),
        _sign(deep > 0, deep, "deep", f"the voltage changed by {depth:.0f} %", depth, "%"),
        _sign(
            cycles is not None and cycles <= SHARP_CYCLES,
            1.5,
            "sharp_end",
            f"the voltage came back within {cycles or 0:.1f} cycles",
            cycles,
            "cycles",
        ),
        _sign(
            cycles is not None and cycles >= SLOW_CYCLES,
            -3.0,
            "slow_end",
            f"the voltage took {cycles or 0:.1f} cycles to come back",
            cycles,
            "cycles",
        ),
        _sign(
            lasting_s is not None and FAULT_LEAST_S < lasting_s < 3.0,
            0.5,
            "clearing_time",
            f"it lasted {1000 * (lasting_s or 0):.0f} ms",
            lasting_s,
            "s",
        ),
        _sign(
            signs.fading_percent is not None and signs.fading_percent < 75,
            -1.5,
            "fades",
            "the change fades from the first cycles on",
            signs.fading_percent,
            "%",
        ),
        _sign(
            abs(signs.change_degrees or 0.0) >= JUMP_DEGREES,
            0.8,
            "phase_jump",
            f"the phase jumped by {signs.change_degrees or 0:+.0f}°".replace("-", "\N{MINUS SIGN}"),
            signs.change_degrees,
            "deg",
        ),
        _sign(
            kind is not None and kind.probability >= SURE_TYPE,
            0.5,
            "dip_type",
            ""
            if kind is None
            else f"the phases of one place show a dip of type {kind.letter}, {DIP_WORDS[kind.letter]}",
            None if kind is None else kind.probability,
        ),
        _sign(signs.scope in ("feeder", "region", "wide_area"), 0.5, "wide", "several places saw it"),
        _tripped(signs)
        or _sign(
            signs.stays and not signs.came_back,
            -3.0,
            "stays",
            "the change stays for more than a second",
            lasting_s,
            "s",
        ),
        _second_came(signs, -2.0),
        _left_others(signs, -3.0),
        _sign(signs.has_impulse, -2.0, "impulse", "an impulse came first", signs.impulse_pu, "pu"),
    )


def _motor_start(signs: IncidentSigns) -> Signs:
    cycles, change = signs.recovery_cycles, signs.change_percent
    fell = change is not None and -40 <= change <= -1.5
    return (
        _sign(not fell, -4.0, "no_fall", "the voltage did not fall by 2 to 40 %", change, "%"),
        _sign(fell, 0.5, "fall", f"the voltage fell by {abs(change or 0):.1f} % at once", change, "%"),
        _sign(
            cycles is not None and cycles >= SLOW_CYCLES,
            3.0,
            "slow_end",
            f"it took {cycles or 0:.1f} cycles to come back, slowly",
            cycles,
            "cycles",
        ),
        _sign(
            cycles is not None and cycles <= SHARP_CYCLES,
            -3.0,
            "sharp_end",
            f"it came back within {cycles or 0:.1f} cycles",
            cycles,
            "cycles",
        ),
        _sign(cycles is None, -1.0, "no_end", "nothing shows how it came back"),
        _coming_back(signs, 2.5),
        _sign(
            signs.lasting_s is not None and signs.lasting_s >= 0.1,
            0.5,
            "run_up",
            f"it lasted {significant(signs.lasting_s or 0, 2)} s, as a run-up does",
            signs.lasting_s,
            "s",
        ),
        _sign(
            signs.fading_percent is not None and signs.fading_percent >= 80,
            0.7,
            "held",
            "it stayed as deep for twelve cycles",
            signs.fading_percent,
            "%",
        ),
        _sign(
            abs(signs.change_degrees or 0.0) < JUMP_DEGREES,
            0.5,
            "no_jump",
            "the phase hardly moved",
            signs.change_degrees,
            "deg",
        ),
        _second_came(signs, -3.0),
        _sign(signs.high or signs.opposite is not None, -3.0, "rise", "a phase rose"),
        _sign(
            signs.has_impulse or signs.ringing_pu is not None, -1.5, "transient", "a transient came with it"
        ),
        _left_others(signs, -2.0),
    )


def _transformer_energising(signs: IncidentSigns) -> Signs:
    second, later = signs.second_percent or 0.0, signs.second_later_percent or 0.0
    shown = signs.is_inrush
    return (
        _sign(not shown, -3.0, "no_second_harmonic", "no second harmonic came", signs.second_percent, "%"),
        _sign(shown, 3.5, "second_harmonic", f"a second harmonic of {second:.1f} % came", second, "%"),
        _sign(
            shown and later < FADED_SHARE * second,
            1.5,
            "fading_harmonic",
            f"it fades: {later:.1f} % after twelve cycles",
            later,
            "%",
        ),
        _sign(
            signs.fading_percent is not None and signs.fading_percent < 90,
            0.7,
            "fades",
            "the dip fades with it",
            signs.fading_percent,
            "%",
        ),
        _sign(signs.impulse_pu is not None, -1.0, "impulse", "an impulse came first", signs.impulse_pu, "pu"),
    )


def _capacitor_switching(signs: IncidentSigns) -> Signs:
    rings = "oscillatory_transient" in signs.kinds or signs.ringing_pu is not None
    hz, after = signs.ringing_hz, signs.after_percent
    return (
        _sign(not rings, -4.0, "no_ringing", "nothing rang"),
        _sign(
            rings, 2.0, "ringing", f"it rang with {hz:.0f} Hz" if hz else "it rang", signs.ringing_pu, "pu"
        ),
        _sign(
            hz is not None and RINGING_HZ[0] <= hz <= RINGING_HZ[1],
            1.0,
            "ringing_hz",
            "banks ring with 150 to 2500 Hz",
            hz,
            "Hz",
        ),
        _sign(
            after is not None and after > 0.08,
            2.0,
            "step_up",
            f"the voltage is {after or 0:.2f} % higher since",
            after,
            "%",
        ),
        _sign(signs.low, -1.5, "dip", "the voltage fell"),
        _sign(signs.has_impulse, -1.0, "impulse", "an impulse came with it", signs.impulse_pu, "pu"),
    )


def _lightning(signs: IncidentSigns) -> Signs:
    struck = signs.has_impulse
    rings = signs.ringing_pu is not None and signs.ringing_pu > (signs.impulse_pu or 0.0)
    return (
        _sign(not struck, -4.0, "no_impulse", "no impulse was seen"),
        _sign(
            struck,
            2.5,
            "impulse",
            f"an impulse of {100 * (signs.impulse_pu or 0):.0f} % of the peak, to one side",
            signs.impulse_pu,
            "pu",
        ),
        _sign(
            struck and signs.impulse_boxes >= 3,
            1.5,
            "impulse_everywhere",
            f"{signs.impulse_boxes} Boxes saw it at once",
            float(signs.impulse_boxes),
        ),
        _sign(
            struck and signs.low,
            1.0,
            "flashover",
            "a dip begins with it, as by a flashover",
            signs.change_percent,
            "%",
        ),
        _sign(rings, -2.5, "ringing", "it rang", signs.ringing_hz, "Hz"),
    )


def _tap_change(signs: IncidentSigns) -> Signs:
    change = signs.change_percent
    step = change is not None and TAP_PERCENT[0] <= abs(change) <= TAP_PERCENT[1] and signs.all_small
    crossed = step and signs.kinds != {"rapid_voltage_change"} and signs.is_bare_step
    return (
        _sign(not step, -4.0, "no_step", "no step of a tap's size", change, "%"),
        _sign(
            not (signs.kinds <= {"rapid_voltage_change"} or crossed),
            -2.5,
            "more",
            "it is more than a step of the voltage",
        ),
        _sign(
            crossed,
            0.5,
            "crossed",
            "nothing but a step took the voltage out of its band",
            signs.deepest_percent,
            "%",
        ),
        _sign(step, 2.5, "step", f"the voltage stepped by {change or 0:+.1f} %, a tap's size", change, "%"),
        _sign(
            signs.fading_percent is not None and signs.fading_percent > 80,
            1.0,
            "stays",
            "it stays",
            signs.fading_percent,
            "%",
        ),
        _sign(
            abs(signs.change_degrees or 0.0) < TAP_DEGREES,
            0.5,
            "no_jump",
            "the phase stayed",
            signs.change_degrees,
            "deg",
        ),
        _sign(signs.scope in ("feeder", "region"), 1.0, "wide", "several places saw the same step"),
        _sign(signs.scope == "local", -0.5, "local", "one place alone saw it"),
    )


def _lost_neutral(signs: IncidentSigns) -> Signs:
    found = signs.opposite
    words = (
        ""
        if found is None
        else f"at one place a phase fell by {-found[0]:.0f} %, another rose by {found[1]:.0f} %"
    )
    short = signs.lasting_s is not None and signs.lasting_s < LOST_NEUTRAL_LEAST_S
    turned = found is None and signs.turned
    u2, u0, _ = _uneven(signs)
    floats = u2 > 0 and u0 >= NEUTRAL_SHARE * u2
    return (
        _sign(floats, 3.5, "star_point", f"u0 is {u0:.1f} % beside a u2 of {u2:.1f} %", u0, "%"),
        _sign(
            turned,
            2.5,
            "turned",
            f"at one place the phase turned by {signs.change_degrees or 0:+.0f}°, and stays so".replace(
                "-", "\N{MINUS SIGN}"
            ),
            signs.change_degrees,
            "deg",
        ),
        _sign(
            found is None and not (turned or floats),
            -4.0,
            "no_opposite",
            "no two phases of a place went opposite ways",
        ),
        _sign(found is not None, 3.5, "opposite", words, None if found is None else found[1] - found[0], "%"),
        _sign(found is not None and short, -3.5, "short", "it was over soon", signs.lasting_s, "s"),
        _sign(found is not None and not short, 1.0, "stays", "it stayed", signs.lasting_s, "s"),
        _sign(signs.scope == "local", 0.7, "local", "one place alone saw it"),
        _sign(signs.scope in ("region", "wide_area"), -1.5, "wide", "several feeders saw it"),
    )


def _islanding(signs: IncidentSigns) -> Signs:
    apart, was_apart = signs.is_apart, signs.was_apart
    return (
        _sign(
            not (apart or was_apart),
            -4.0,
            "not_apart",
            "no frequency left that of the others",
            signs.hz_apart,
            "Hz",
        ),
        _sign(
            apart,
            4.0,
            "hz_apart",
            f"the frequency went {signs.hz_apart or 0:+.2f} Hz away from that of other Boxes",
            signs.hz_apart,
            "Hz",
        ),
        _sign(
            apart and abs(signs.hz_change or 0.0) >= 0.7 * APART_HZ,
            1.0,
            "hz_change",
            "it did so from this moment on",
            signs.hz_change,
            "Hz",
        ),
        _sign(
            was_apart,
            4.5,
            "hz_apart_before",
            f"until now the frequency was {signs.hz_apart_before or 0:+.2f} Hz away from that of other Boxes",
            signs.hz_apart_before,
            "Hz",
        ),
        _sign("phase_jump" in signs.kinds and (apart or was_apart), 0.3, "phase_jump", "the phase jumped"),
    )


def _unit_trip(signs: IncidentSigns) -> Signs:
    off = "frequency_deviation" in signs.kinds
    hz = signs.deviation_hz
    return (
        _sign(not off, -5.0, "frequency_held", "the frequency stayed near nominal"),
        _sign(off, 2.5, "frequency", f"the frequency went {hz or 0:+.2f} Hz off", hz, "Hz"),
        _sign(signs.is_apart, -4.0, "hz_apart", "other Boxes have another frequency", signs.hz_apart, "Hz"),
        _sign(
            off and signs.hz_apart is not None and not signs.is_apart,
            1.5,
            "everywhere",
            "all Boxes have the same frequency",
            signs.hz_apart,
            "Hz",
        ),
        _sign(off and signs.scope in ("region", "wide_area"), 1.0, "wide", "several feeders saw it"),
        _sign(off and signs.low, -1.0, "dip", "the voltage fell too"),
    )


def _converter_load(signs: IncidentSigns) -> Signs:
    steady = bool(signs.kinds & {"harmonics", "periodic_notching"})
    odd = 0.0 if signs.came_back else signs.odd_percent or 0.0  # of the little that was there before
    return (
        _sign(not steady and odd < ODD_PERCENT, -4.0, "no_harmonics", "no harmonics came", odd, "%"),
        _sign(steady, 4.0, "harmonics", "harmonics are up for as long as it lasts, as converters make them"),
        _sign(odd >= ODD_PERCENT, 2.0, "odd_harmonics", f"third and fifth rose by {odd:.1f} %", odd, "%"),
        _sign(signs.low or signs.high, -2.0, "dip", "the voltage left its band"),
    )


def _arc_furnace(signs: IncidentSigns) -> Signs:
    flickers = "flicker" in signs.kinds
    return (
        _sign(not flickers, -5.0, "no_flicker", "the voltage does not flicker"),
        _sign(flickers, 3.5, "flicker", "the voltage wanders without a rest, so that lamps flicker"),
    )


def _ripple_control(signs: IncidentSigns) -> Signs:
    signals = "mains_signalling" in signs.kinds
    return (
        _sign(not signals, -5.0, "no_signal", "no tone is keyed"),
        _sign(signals, 4.5, "signal", "a tone between the harmonics is switched on and off"),
    )


def _load(signs: IncidentSigns) -> Signs:
    change = signs.change_percent
    step = change is not None and LOAD_PERCENT[0] <= change <= LOAD_PERCENT[1]
    stays = signs.fading_percent is not None and signs.fading_percent > 85 and signs.lasting_s is None
    return (
        _sign(not (step and stays), -4.0, "no_step", "no step down that stays", change, "%"),
        _sign(step and stays, 2.5, "step", f"the voltage is {change or 0:+.1f} % since", change, "%"),
        _sign(signs.scope == "local", 0.5, "local", "one place alone saw it"),
        _sign(
            signs.has_impulse or signs.ringing_pu is not None, -1.5, "transient", "a transient came with it"
        ),
        _sign(
            signs.is_apart, -2.0, "hz_apart", "the frequency left that of other Boxes", signs.hz_apart, "Hz"
        ),
        _sign(signs.opposite is not None, -2.0, "opposite", "another phase rose"),
        _sign(
            abs(signs.change_degrees or 0.0) >= JUMP_DEGREES,
            -2.0,
            "phase_jump",
            "the phase jumped",
            signs.change_degrees,
            "deg",
        ),
    )


def _supply_lost(signs: IncidentSigns) -> Signs:
    silent = "outage" in signs.kinds
    trip = signs.trip
    dead = trip is not None and not trip.after_dip
    words = "" if trip is None else f"all its Boxes had no voltage for {trip.lasting_s:.0f} s"
    return (
        _sign(not (silent or dead), -4.0, "all_heard", "no Box fell silent"),
        _sign(dead and not silent, 4.0, "dead", words, None if trip is None else trip.lasting_s, "s"),
        _sign(silent, 4.0, "silent", f"{_boxes(signs)} lost the supply"),
        _sign(
            silent and signs.low and not signs.kinds <= {"outage", "interruption"},
            -2.5,
            "dip",
            "a dip came with it",
        ),
    )


def _uneven_load(signs: IncidentSigns) -> Signs:
    u2, u0, before = _uneven(signs)
    known = u2 > 0
    makes = "a load between two phases makes it" if u0 < u2 / 4 else "loads to neutral make it"
    return (
        _sign("unbalance" not in signs.kinds, -5.0, "even", "no three phases of a place are uneven"),
        _sign("unbalance" in signs.kinds, 2.5, "uneven", "the three phases of one place are uneven"),
        _sign(
            known and u0 < NEUTRAL_SHARE * u2,
            0.5,
            "sequences",
            f"u0 is {u0:.1f} % beside a u2 of {u2:.1f} %, as {makes}",
            u0,
            "%",
        ),
        _sign(
            known and before is not None and before < u2 / 2,
            1.0,
            "stepped",
            f"it came at once: u2 was {before or 0:.1f} % just before",
            before,
            "%",
        ),
        _sign(u0 >= NEUTRAL_SHARE * u2 > 0, -3.0, "star_point", "u0 is much more than u2", u0, "%"),
        _sign(u2 >= LOST_PHASE_PERCENT, -2.5, "much", f"u2 of {u2:.1f} % is more than loads make", u2, "%"),
    )


def _lost_phase(signs: IncidentSigns) -> Signs:
    u2 = _uneven(signs)[0]
    words = f"u2 is {u2:.1f} %, as with one phase open and motors that feed it"
    return (
        _sign(u2 < LOST_PHASE_PERCENT, -4.0, "little", "no u2 of 8 % and more", u2, "%"),
        _sign(u2 >= LOST_PHASE_PERCENT, 3.5, "much", words, u2, "%"),
    )


def _uneven(signs: IncidentSigns) -> tuple[float, float, float | None]:
    """Returns u2 and u0 of an uneven place in percent, and u2 just before; (0, 0, None) where not known."""
    found = signs.uneven
    return found.get("u2_percent", 0.0), found.get("u0_percent", 0.0), found.get("u2_before_percent")


def _coming_back(signs: IncidentSigns, weight: float) -> CauseEvidence | None:
    """Evidence where a change was held for twelve cycles and is smaller at the end of the waveform."""
    change, after, held = signs.change_percent, signs.after_percent, signs.fading_percent
    if not change or after is None or held is None or signs.recovery_cycles is not None:
        return None
    begun = held >= HELD_PERCENT and RECOVERY_BEGUN[0] < after / change < RECOVERY_BEGUN[1]
    return _sign(begun, weight, "coming_back", "it has begun to come back, slowly", after, "%")


def _left_others(signs: IncidentSigns, weight: float) -> CauseEvidence | None:
    if signs.was_apart:
        words = "the frequency came back to that of other Boxes"
        return _sign(True, weight, "hz_apart_before", words, signs.hz_apart_before, "Hz")
    words = "the frequency left that of other Boxes"
    return _sign(signs.is_apart, weight, "hz_apart", words, signs.hz_apart, "Hz")


def _tripped(signs: IncidentSigns) -> CauseEvidence | None:
    """Evidence where a feeder is without voltage after a dip: its breaker opened."""
    trip = signs.trip
    if trip is None or not trip.after_dip:
        return None
    before = (
        "other feeders had a dip that ended"
        if trip.fell_percent is None
        else f"before that the voltage had fallen by {trip.fell_percent:.0f} %"
    )
    dead = f"feeder {trip.feeder} then had no voltage for {trip.lasting_s:.0f} s"
    words = f"{dead}, as when its breaker opens; {before}"
    return _sign(True, 2.5, "feeder_trip", words, trip.lasting_s, "s")


def _second_came(signs: IncidentSigns, weight: float) -> CauseEvidence | None:
    words = "a second harmonic came with it"
    return _sign(signs.is_inrush, weight, "second_harmonic", words, signs.second_percent, "%")


def _boxes(signs: IncidentSigns) -> str:
    return "several Boxes" if signs.several else "one Box"


JUDGES: Mapping[str, Callable[[IncidentSigns], Signs]] = {
    "fault": _fault,
    "motor_start": _motor_start,
    "transformer_energising": _transformer_energising,
    "capacitor_switching": _capacitor_switching,
    "lightning": _lightning,
    "tap_change": _tap_change,
    "lost_neutral": _lost_neutral,
    "islanding": _islanding,
    "unit_trip": _unit_trip,
    "converter_load": _converter_load,
    "arc_furnace": _arc_furnace,
    "ripple_control": _ripple_control,
    "load": _load,
    "supply_lost": _supply_lost,
    "uneven_load": _uneven_load,
    "lost_phase": _lost_phase,
}
