"""Causes of incidents: what their witnesses show together, and what is concluded from it."""

import cmath
import math
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from opq_cloud.mauka.analyses import phase_jump, rapid_voltage_change, rms_voltage
from opq_cloud.mauka.causes.cause_evidence import JUDGES
from opq_cloud.mauka.causes.hypotheses import hypotheses_for
from opq_cloud.mauka.causes.sides import sides_of
from opq_cloud.mauka.causes.signs import IncidentSigns, signs_of
from opq_cloud.mauka.joining.incident_facts import facts_of
from opq_cloud.mauka.measuring.sightings import kept, whole
from opq_cloud.store.box_place import BoxPlace, phase_letter
from opq_cloud.store.incidents.as_json import incident_json
from opq_cloud.store.incidents.cause_words import CAUSE_WORDS, UNKNOWN, cause_sentence, evidence_lines
from opq_cloud.store.incidents.join_plan import IncidentFacts, KnownFinding, incident_of
from opq_cloud.store.incidents.witness import WITNESSES_KEPT, IncidentWitness, heaviest
from opq_proto.messages import Event, Finding, TimeSource, Waveform

RATE_HZ = 12_000


def witness(
    box_id: str = "1", kind: str = "sag", residual: float | None = 70.0, **figures: float
) -> IncidentWitness:
    weight = (30.0 if residual is None else abs(residual - 100), 10**8, -int(box_id), kind)
    named = tuple(
        (name if "_pu" in name or "hz" in name else f"onset_{name}", value) for name, value in figures.items()
    )
    return IncidentWitness(box_id, kind, 0, 10**8, weight, residual, "barn", "f1", "a", 0, named)


def uneven(**figures: float) -> IncidentWitness:
    return replace(witness(kind="unbalance", residual=None), figures=tuple(figures.items()))


def judged(*witnesses: IncidentWitness, scope: str | None = "local") -> dict[str, float]:
    kinds = frozenset(each.kind for each in witnesses)
    found = hypotheses_for(signs_of(kinds, scope, witnesses))
    assert [each.probability for each in found] == sorted((each.probability for each in found), reverse=True)
    assert "barn" not in str(found), "who sees the Boxes need not see where they stand"
    return {each.cause: each.probability for each in found}


DIP = {"change_percent": -30.0, "change_degrees": -15.0, "lasting_s": 0.12, "recovery_cycles": 0.7}
STEP = {"change_percent": 1.5, "change_degrees": 0.1, "fading_percent": 100.0, "after_percent": 1.5}
CASES: dict[str, tuple[IncidentWitness, ...]] = {
    "fault": (witness(**DIP), witness("2", **DIP)),
    "motor_start": (
        witness(
            kind="rapid_voltage_change",
            residual=None,
            change_percent=-8.0,
            change_degrees=-0.3,
            lasting_s=0.8,
            recovery_cycles=5.0,
            fading_percent=99.0,
            after_percent=-0.3,
        ),
    ),
    "transformer_energising": (
        witness(
            change_percent=-11.0,
            change_degrees=-1.0,
            fading_percent=45.0,
            second_percent=3.0,
            second_later_percent=1.0,
        ),
    ),
    "capacitor_switching": (
        witness(
            kind="oscillatory_transient",
            residual=None,
            change_percent=1.0,
            after_percent=0.9,
            ringing_pu=0.8,
            ringing_hz=530.0,
        ),
    ),
    "lightning": tuple(
        witness(str(n), "impulsive_transient", None, change_percent=0.0, impulse_pu=0.6) for n in (1, 2, 3)
    ),
    "tap_change": tuple(witness(str(n), "rapid_voltage_change", None, **STEP) for n in (1, 2)),
    "lost_neutral": (
        witness(change_percent=-29.0, change_degrees=7.0, fading_percent=100.0),
        witness("2", "swell", 111.0, change_percent=11.0, change_degrees=-16.0, fading_percent=100.0),
    ),
    "islanding": (
        witness(kind="frequency_deviation", residual=None, change_percent=-1.0, hz_apart=0.6, hz_change=0.5),
    ),
    "unit_trip": tuple(
        witness(str(n), "frequency_deviation", None, change_percent=0.0, hz_apart=0.001, deviation_hz=-0.7)
        for n in (1, 2)
    ),
    "converter_load": (witness(kind="harmonics", residual=None),),
    "arc_furnace": (witness(kind="flicker", residual=None),),
    "ripple_control": (witness(kind="mains_signalling", residual=None),),
    "uneven_load": (uneven(u2_percent=2.9, u0_percent=0.1, u2_before_percent=0.2),),
    "lost_phase": (uneven(u2_percent=17.0, u0_percent=3.0),),
    "load": (
        witness(
            kind="rapid_voltage_change",
            residual=None,
            change_percent=-6.0,
            change_degrees=-0.5,
            fading_percent=100.0,
            after_percent=-6.0,
        ),
    ),
}


@pytest.mark.parametrize("cause", sorted(CASES))
def test_each_cause_is_first_by_its_signs(cause: str) -> None:
    wide = cause in ("tap_change", "unit_trip", "lightning")
    found = judged(*CASES[cause], scope="region" if wide else "local")
    assert next(iter(found)) == cause and found[cause] >= 0.6
    assert sum(found.values()) <= 1.001


@pytest.mark.parametrize("kind", ["swell", "overvoltage", "sag", "undervoltage"])
def test_a_step_at_several_places_is_a_tap(kind: str) -> None:
    up = kind in ("swell", "overvoltage")
    step = STEP if up else {**STEP, "change_percent": -1.5, "after_percent": -1.5}
    two = tuple(witness(str(n), kind, 110.8 if up else 89.3, **step) for n in (1, 2))
    found = hypotheses_for(signs_of(frozenset({kind}), "region", two))[0]
    assert found.cause == "tap_change" and found.probability >= 0.9
    assert any("out of its band" in line for line in evidence_lines(found))


@pytest.mark.parametrize(
    "beside",
    [
        {"change_degrees": -3.0},  # the phase moved
        {"fading_percent": 140.0},  # it goes on
        {"lasting_s": 1.2},  # it did not stay
        {"odd_percent": 2.5},  # harmonics came
        {"ringing_pu": 0.2, "ringing_hz": 400.0},  # it rang
        {"second_percent": 1.5},  # an inrush
        {"hz_apart": 0.3},  # an island
    ],
)
def test_a_larger_step_is_hardly_a_tap(
    beside: dict[str, float],
) -> None:
    """It leaves the band, but is larger than one tap."""
    plain = judged(*(witness(str(n), "swell", 110.8, **STEP) for n in (1, 2)), scope="region")
    found = judged(*(witness(str(n), "swell", 110.8, **{**STEP, **beside}) for n in (1, 2)), scope="region")
    assert found.get("tap_change", 0.0) < plain["tap_change"] - 0.15


def test_the_end_of_a_dip_names_its_fault() -> None:
    """Harmonics are measured against what the dip left of the voltage."""
    back = {"change_percent": 127.0, "change_degrees": 22.9, "fading_percent": 100.0, "odd_percent": 4.0}
    found = judged(*(witness(str(n), "phase_jump", None, **back) for n in (1, 2, 3)), scope="region")
    assert next(iter(found)) == "fault" and found["fault"] > 0.9


def test_an_unbalance_is_a_load_or_a_neutral() -> None:
    """It is a load, unless u0 shows a neutral or the onset is unknown."""
    assert judged(uneven(u2_percent=2.1, u0_percent=9.0))["lost_neutral"] > 0.8
    came, stands = (
        judged(uneven(u2_percent=2.5, u0_percent=2.0, u2_before_percent=before)) for before in (0.1, 2.4)
    )
    assert came["uneven_load"] > 0.9 > stands["uneven_load"] > 0.8 > 0.2 > stands[UNKNOWN] > came[UNKNOWN]


def test_an_interruption_on_battery_is_lost_supply() -> None:
    """A dip beside it is not."""
    dark = (witness(kind="outage", residual=None), witness("2", "interruption", 0.0))
    assert judged(*dark)["supply_lost"] > 0.8 > judged(*dark, witness("3", "sag", 40.0))["supply_lost"]


def test_a_neutral_that_is_back_is_no_load() -> None:
    back = {"change_percent": -9.7, "change_degrees": -12.8, "fading_percent": 100.0}
    found = judged(witness(kind="phase_jump", residual=None, **back))
    assert next(iter(found)) == "lost_neutral"
    assert next(iter(judged(witness(kind="phase_jump", residual=None, **back), scope="region"))) == UNKNOWN
    load = judged(witness(kind="rapid_voltage_change", residual=None, **{**back, "change_degrees": -1.5}))
    assert next(iter(load)) == "load"


def test_step_before_a_dip_is_hardly_a_tap() -> None:
    """The voltage fell deep after the step."""
    step = {**STEP, "change_percent": -1.5, "after_percent": -1.5}
    found = judged(*(witness(str(n), "sag", 42.0, **step) for n in (1, 2)), scope="region")
    assert found.get("tap_change", 0.0) < 0.5


def test_a_step_at_one_place_is_uncertain() -> None:
    """A small step out of the band at one place is not surely a tap."""
    found = judged(*(witness(str(n), "swell", 110.8, **STEP) for n in (1, 2)), scope="local")
    assert found["tap_change"] < 0.5


def test_a_dip_without_onset_has_no_cause() -> None:
    """A dip of which no waveform shows the onset has no known cause."""
    assert next(iter(judged(witness(kind="interruption", residual=0.0)))) != "motor_start"
    found = judged(witness(kind="sag", residual=88.0))
    assert next(iter(found)) == UNKNOWN and found[UNKNOWN] > 0.5
    assert next(iter(judged(witness(kind="noise", residual=None)))) == UNKNOWN


def test_a_flashover_is_lightning_first() -> None:
    """A flashover is lightning first and a short circuit second."""
    struck = [witness(str(n), **{**DIP, "impulse_pu": 1.2}) for n in (1, 2, 3)]
    assert list(judged(*struck, scope="region"))[:2] == ["lightning", "fault"]


def test_the_phases_show_the_dips_type() -> None:
    """Type D with half of the voltage left: by hand, phase a 0.5, phases b and c 0.9014 and 13.9 degrees."""
    seen = (
        replace(witness(**{**DIP, "change_percent": -50.0, "change_degrees": 0.0}), phase="L1"),
        replace(witness("2", **{**DIP, "change_percent": -9.86, "change_degrees": 13.9}), phase="L2"),
        replace(witness("3", **{**DIP, "change_percent": -9.86, "change_degrees": -13.9}), phase="L3"),
    )
    first = hypotheses_for(signs_of(frozenset({"sag"}), "local", seen))[0]
    assert (first.cause, dict(first.details)["dip_type"]) == ("fault", "D")
    assert dict(first.details)["clearing_ms"] == 120.0
    sentence = cause_sentence(first)
    share = f"{100 * first.probability:.0f} %"
    assert sentence.startswith(
        f"Very likely a short circuit ({share}; dip of type D, cleared after 120 ms): "
    )
    assert all(line[0] in "+\N{MINUS SIGN}" for line in evidence_lines(first))
    assert "barn" not in str(first)


@pytest.mark.parametrize(
    ("name", "letter"),
    [("a", "a"), ("L1", "a"), (" l2", "b"), ("3", "c"), ("T", "c"), ("ab", None), (None, None)],
)
def test_names_of_phases_that_people_use(name: str | None, letter: str | None) -> None:
    assert phase_letter(name) == letter


def test_a_jump_at_reconnection_belongs_to_the_island() -> None:
    """Its frequency was that of an island until then, and is that of the others since."""
    jump = {"change_percent": -1.0, "change_degrees": 12.0}
    back = [witness(str(n), "phase_jump", None, hz_apart_before=0.9, hz_apart=0.003, **jump) for n in (1, 2)]
    found = hypotheses_for(signs_of(frozenset({"phase_jump"}), "local", back))[0]
    assert found.cause == "islanding" and found.probability >= 0.8
    assert any("until now" in line for line in evidence_lines(found))
    still = [
        witness(str(n), "phase_jump", None, hz_apart_before=0.003, hz_apart=0.003, **jump) for n in (1, 2)
    ]
    assert "islanding" not in judged(*still)


def beating(box_id: str, before_hz: float, at_s: float = 1.5) -> Waveform:
    """50 Hz, but for another frequency until a moment at which it jumps back into phase."""
    t = np.arange(3 * RATE_HZ) / RATE_HZ
    volts = 325 * np.sin(2 * np.pi * np.where(t < at_s, before_hz, 50.0) * t + np.where(t < at_s, 0.0, 0.3))
    counts = np.round(volts * 50).astype(np.int16)
    return Waveform(box_id, 0, 1000, TimeSource.GPS, RATE_HZ * 1000, 0.02, 0, counts)


def test_an_islands_end_has_its_frequency_difference() -> None:
    """How far its frequency was from that of the others."""
    event = Event(1, 0, 3 * 10**9, (beating("1", 50.4), beating("2", 50.0), beating("3", 50.0)))
    found = [each for each in phase_jump.analyse(event, phase_jump.Config(230.0, 50.0)) if each.box_id == "1"]
    figures = dict(found[0].figures)
    assert figures["hz_apart_before"] == pytest.approx(0.4, abs=0.02)
    assert figures["hz_apart"] == pytest.approx(0.0, abs=0.02)
    assert figures["hz_compared_before"] == 2.0


def test_an_island_is_compared_with_boxes_outside() -> None:
    """Its own five Boxes come first in one event, and are alone in the longer other one."""
    island = [beating(str(number), 50.4) for number in range(1, 6)]
    others = [beating(str(number), 50.0) for number in range(6, 16)]
    config = phase_jump.Config(230.0, 50.0)

    def found(*waves: Waveform) -> Finding:
        (one, *_) = phase_jump.analyse(Event(1, 0, 3 * 10**9, waves), config)
        return one

    wide, alone = found(*island, *others), found(*island)
    assert dict(wide.figures)["hz_apart_before"] == pytest.approx(0.4, abs=0.02)
    assert dict(alone.figures)["hz_apart_before"] == pytest.approx(0.0, abs=0.02)
    longer = replace(alone, start_ns=wide.start_ns - 10**6, end_ns=wide.end_ns + 10**9)
    for seen in ((wide, longer), (longer, wide)):
        one = whole(kept(kept(seen[:1]) + seen[1:]))
        assert one.end_ns == longer.end_ns
        assert dict(one.figures)["hz_apart_before"] == pytest.approx(0.4, abs=0.02)


def test_an_overvoltage_is_compared_with_the_voltage_before() -> None:
    """117 % throughout, but 110.5 % for 0.6 s from 1.5 s on: a rapid change, with its shape."""
    t = np.arange(5 * RATE_HZ) / RATE_HZ
    size = np.where((t >= 1.5) & (t < 2.1), 1.105, 1.17) * 325.27
    counts = np.round(size * np.sin(2 * np.pi * 50 * t) * 50).astype(np.int16)
    wave = Waveform("1", 0, 1000, TimeSource.GPS, RATE_HZ * 1000, 0.02, 0, counts)
    event = Event(1, 0, 5 * 10**9, (wave,))
    config = rapid_voltage_change.Config(230.0, 50.0)
    found = rapid_voltage_change.analyse(event, config)
    assert [each.kind for each in found] == ["rapid_voltage_change"]
    assert found[0].start_ns == pytest.approx(1.5e9, abs=2e7)
    assert dict(found[0].figures)["largest_change_percent"] == pytest.approx(-100 * 0.065 / 1.17, abs=0.2)
    assert dict(found[0].figures)["onset_change_percent"] == pytest.approx(-100 * 0.065 / 1.17, abs=0.2)
    (stands,) = rms_voltage.analyse(event, rms_voltage.Config(230.0, 50.0))
    assert (stands.kind, stands.closed) == ("swell", False)  # of nominal, as ever


def test_every_cause_has_words() -> None:
    """The unknown one too."""
    assert set(JUDGES) | {UNKNOWN} <= set(CAUSE_WORDS)
    nothing = IncidentSigns(frozenset(), False, None, False, False, None)
    assert hypotheses_for(nothing)[0].cause == UNKNOWN


def at(box_id: str, feeder: str | None, percent: float, phase: str | None = "a") -> IncidentWitness:
    return replace(
        witness(box_id, change_percent=percent, change_degrees=0.0),
        place=f"p{box_id}",
        feeder=feeder,
        phase=phase,
    )


def test_the_deepest_places_are_behind_the_fault() -> None:
    """By hand: busbar at 80 %, 60 % half way, nothing left at the fault and behind it."""
    network = (
        at("1", "f1", -20),
        at("2", "f2", -20),
        at("3", "f3", -40),
        at("4", "f3", -100),
        at("5", "f3", -99),
    )
    assert {each.box_id: (each.side, each.probability >= 0.7) for each in sides_of(network)} == {
        "1": ("upstream", True),
        "2": ("upstream", True),
        "3": ("upstream", True),
        "4": ("downstream", True),
        "5": ("downstream", True),
    }


def turned(one: IncidentWitness, phasor: complex) -> IncidentWitness:
    percent, degrees = 100 * (abs(phasor) - 1), math.degrees(cmath.phase(phasor))
    return replace(one, figures=(("onset_change_percent", percent), ("onset_change_degrees", degrees)))


def test_a_place_off_the_line_is_downstream() -> None:
    """By hand: busbar 0.5-0.3j, deepest 0.2-0.3j. Half way between them is before it; aside is behind."""
    phasors = {"1": 0.5 - 0.3j, "2": 0.5 - 0.3j, "3": 0.35 - 0.3j, "4": 0.2 - 0.3j, "5": 0.3 - 0.24j}
    network = tuple(
        turned(at(box_id, {"1": "f1", "2": "f2"}.get(box_id, "f3"), 0), phasor)
        for box_id, phasor in phasors.items()
    )
    assert {each.box_id: each.side for each in sides_of(network)} == {
        "1": "upstream",
        "2": "upstream",
        "3": "upstream",
        "4": "downstream",
        "5": "downstream",
    }


def side_by_box(*network: tuple[str, str, complex, str]) -> dict[str, str]:
    """(Box, feeder, phasor, phase) -> Box: side; each Box's place is named by the Box's first digit."""
    there = [
        replace(turned(at(box_id, feeder, 0, phase), phasor), place=f"p{box_id[0]}")
        for box_id, feeder, phasor, phase in network
    ]
    return {each.box_id: each.side for each in sides_of(there)}


def polar(size: float, degrees: float) -> complex:
    return cmath.rect(size, math.radians(degrees))


def test_a_power_station_behind_the_fault_is_downstream() -> None:
    """Phases b and a of a Sim's two-phase fault; elsewhere phase a moved too little to be a witness."""
    found = side_by_box(
        ("1", "f1", polar(0.5161, -19.9), "b"),
        ("2", "f3", polar(0.3439, -19.9), "b"),
        ("3", "f3", polar(0.0861, -19.8), "b"),
        ("32", "f3", polar(0.7182, -26.1), "a"),
        ("4", "f3", polar(0.0013, -36.6), "b"),
        ("42", "f3", polar(0.6887, -28.7), "a"),
        ("5", "f3", polar(0.0886, -8.7), "b"),
        ("52", "f3", polar(0.7129, -25.5), "a"),
    )
    before, behind = ("1", "2", "3", "32"), ("4", "42", "5", "52")
    assert found == dict.fromkeys(before, "upstream") | dict.fromkeys(behind, "downstream")


def test_the_line_begins_at_the_deepest_other_feeder() -> None:
    """The line begins at the deepest other feeder as further ones are of another busbar."""
    elsewhere = [(box_id, "f9", 0.95 - 0.02j, "a") for box_id in ("6", "7", "8")]
    found = side_by_box(
        ("1", "f1", 0.5 - 0.3j, "a"), ("3", "f3", 0.35 - 0.3j, "a"), ("4", "f3", 0.2 - 0.3j, "a"), *elsewhere
    )
    assert found == dict.fromkeys(("1", "3", "6", "7", "8"), "upstream") | {"4": "downstream"}


def test_a_drifting_phase_has_no_side() -> None:
    """It drifts with the frequency."""
    network = (turned(at("1", "f1", 0), 0.99 + 0.02j), turned(at("2", "f2", 0), 0.95 + 0.3j))
    assert sides_of(network)
    assert sides_of(tuple(replace(each, kind="frequency_deviation") for each in network)) == ()


@pytest.mark.parametrize(
    ("last", "side"), [(0.02 - 0.03j, "upstream"), (0.001 - 0.001j, "downstream"), (0.03 + 0j, "downstream")]
)
def test_a_remaining_voltage_is_before_the_fault(last: complex, side: str) -> None:
    """A rest of the busbar's voltage at its angle lies before a short circuit without resistance."""
    network = (
        turned(at("1", "f1", 0), 0.2 - 0.3j),
        turned(at("2", "f3", 0), (0.2 - 0.3j + last) / 2),
        turned(at("3", "f3", 0), last),
    )
    found = {each.box_id: each.side for each in sides_of(network)}
    assert found == {"1": "upstream", "2": "upstream", "3": side}


@pytest.mark.parametrize(
    "network",
    [
        (at("1", "f1", -50), at("2", "f2", -50)),  # at the busbar, or above it
        (at("1", "f1", -50), at("2", "f1", -90)),  # one feeder
        (at("1", "f1", -50), at("2", None, -90)),  # its feeder is unknown
        (at("1", "f1", -50, "a"), at("2", "f2", -90, "b")),  # phases cannot be compared
        (at("1", "f1", -1), at("2", "f2", -3)),  # hardly a dip
        (),
    ],
)
def test_unclear_depths_give_no_side(network: tuple[IncidentWitness, ...]) -> None:
    assert sides_of(network) == ()


def known(number: int, finding: Finding) -> KnownFinding:
    return KnownFinding(number, 1, (1,), finding)


def tripped(
    *others: tuple[str | None, float], feeder: str | None = "f1", fell: float = -100.0
) -> tuple[IncidentWitness, ...]:
    """Four Boxes without voltage for 200 s, and others with a dip: (feeder, seconds) of each.

    `fell`: percent by which the voltage of the last of the four fell before it was lost.
    """
    steps = (-100.0, -100.0, -100.0, fell)
    dead = [
        replace(
            witness(
                str(k),
                "interruption",
                0.0,
                change_percent=step,
                fading_percent=-10_000 / step,
                after_percent=-100.0,
            ),
            end_ns=200 * 10**9,
            feeder=feeder,
        )
        for k, step in enumerate(steps)
    ]
    dips = [
        replace(witness(str(9 + k), **DIP), end_ns=round(seconds * 1e9), feeder=name)
        for k, (name, seconds) in enumerate(others)
    ]
    return (*dead, *dips)


@pytest.mark.parametrize(
    ("witnesses", "is_trip"),
    [
        (tripped(("f2", 0.15)), True),
        (tripped(("f2", 0.15), ("f3", 0.4)), True),
        (tripped(fell=-32.0), True),  # its Boxes are all there are: one had a dip before
        (tripped(fell=-32.0)[3:], False),  # one Box shows no feeder
        (tripped(fell=-32.0, feeder=None), False),
        (tripped(fell=-3.0), False),  # the load that goes with it
        (tripped(("f1", 0.15)), False),  # the feeder was not switched off as a whole
        (tripped((None, 0.15)), False),
        (tripped(("f2", 0.15), feeder=None), False),
        (tripped(("f2", 20.0)), False),  # a dip that a cleared short circuit does not make
    ],
)
def test_a_breaker_that_opens_is_a_trip(witnesses: tuple[IncidentWitness, ...], is_trip: bool) -> None:
    """A feeder that is dead after a dip of the others was switched off after a short circuit."""
    kinds = frozenset(each.kind for each in witnesses)
    first = hypotheses_for(signs_of(kinds, "region", witnesses))[0]
    said = cause_sentence(first)
    assert ("after which feeder f1 was switched off" in said) is is_trip, said
    assert not is_trip or (first.cause == "fault" and first.probability > 0.9)


def test_causes_take_a_jumps_dip_as_jump() -> None:
    """It does not count as a dip of a short circuit, nor as one beside a feeder that was switched off."""
    one = replace(witness("20", **DIP | {"kind": "phase_jump+sag"}), feeder="f1")
    signs = signs_of(frozenset({one.kind}), None, [one])
    assert (signs.low, signs.high) == (False, False)
    dead = (*tripped(("f2", 0.15)), one)
    assert signs_of(frozenset({"interruption", one.kind}), "region", dead).trip is not None


def test_a_whole_dead_feeder_lost_its_supply() -> None:
    """Nothing shows what came before, nor whether other feeders had a dip."""
    first = hypotheses_for(signs_of(frozenset({"interruption"}), "feeder", tripped()))[0]
    assert first.cause == "supply_lost" and first.probability > 0.8
    assert cause_sentence(first).startswith("Very likely a lost supply of feeder f1 (")
    for unknown in (tripped(feeder=None), tripped()[:1]):
        first = hypotheses_for(signs_of(frozenset({"interruption"}), "feeder", unknown))[0]
        assert cause_sentence(first).endswith(" %): nothing points clearly to one.")


def test_an_incident_keeps_few_witnesses() -> None:
    findings = [
        known(n + 1, Finding("sag", str(n % 20), n, n + 10**8, 0, residual_percent=float(20 + n)))
        for n in range(40)
    ]
    one = facts_of(1, findings, lambda box_id, _t_ns: BoxPlace())
    other = facts_of(1, findings[::-1], lambda box_id, _t_ns: BoxPlace())
    assert one == other and len(one.witnesses) == WITNESSES_KEPT
    assert [each.residual_percent for each in one.witnesses] == [float(20 + n) for n in range(WITNESSES_KEPT)]
    assert heaviest(one.witnesses) == one.witnesses
    again = IncidentFacts.of_document(one.as_document())
    assert again == one
    told = incident_json(incident_of(findings, one))
    assert told["cause"]["name"] == one.hypotheses[0].cause  # type: ignore[index]
    assert told["hypotheses"][0]["probability"] == one.hypotheses[0].probability  # type: ignore[index]


def test_many_boxes_at_one_place_leave_room() -> None:
    """Nine Boxes lie on one deep phase before the fault; others of the feeder are kept too."""
    outlets = [
        ("dairy", "f2", "b", 70),
        ("church", "f1", "b", 60),
        ("mill", "f2", "b", 40),
        ("mill", "f2", "a", 20),
    ]
    every = [
        IncidentWitness(
            f"{number}{phase}{place}",
            "sag",
            0,
            10**8,
            (float(off), 10**8, 0, "sag"),
            100.0 - off,
            place,
            feeder,
            phase,
        )
        for place, feeder, phase, off in outlets
        for number in range(9)
    ]
    found = heaviest(every)
    assert len(found) == WITNESSES_KEPT and list(found) == sorted(
        found, key=lambda each: each.weight, reverse=True
    )
    assert Counter((each.place, each.phase) for each in found) == {
        (place, phase): 3 for place, _, phase, _ in outlets
    }
    chance = random.Random(3)
    for _ in range(20):
        chance.shuffle(every)
        cut = chance.randrange(len(every))
        assert heaviest((*heaviest(every[:cut]), *heaviest(every[cut:]))) == found


STARTED = {
    "onset_change_percent": -5.6,
    "onset_change_degrees": -0.5,
    "onset_lasting_s": 0.8,
    "onset_recovery_cycles": 5.0,
    "onset_fading_percent": 99.0,
}


def seen_by(box_id: str, kind: str, start_s: float, residual: float | None, **figures: float) -> Finding:
    start_ns = round(start_s * 1e9)
    found = tuple(figures.items())
    return Finding(kind, box_id, start_ns, start_ns + 90 * 10**9, 0, residual_percent=residual, figures=found)


@pytest.mark.parametrize("renewed", [{}, {"onset_change_percent": 0.6, "onset_after_percent": 1.1}])
def test_a_resumed_overvoltage_shows_no_cause(
    renewed: dict[str, float],
) -> None:
    """A motor starts at 117 % of nominal: the overvoltage of each Box is over, and begins again."""
    findings = [
        known(1, seen_by("1", "rapid_voltage_change", 10.0, None, **STARTED)),
        *(known(n, seen_by(str(n - 1), "overvoltage", 10.2, 117.0, **renewed)) for n in range(2, 9)),
    ]
    facts = facts_of(1, findings, lambda box_id, _t_ns: BoxPlace(place=f"p{box_id}", feeder="f1"))
    assert facts == facts_of(
        1, findings[::-1], lambda box_id, _t_ns: BoxPlace(place=f"p{box_id}", feeder="f1")
    )
    assert (facts.kind, facts.residual_percent) == ("overvoltage", 117.0)  # its class stays that of the worst
    assert facts.witnesses[0].kind == "rapid_voltage_change"
    assert sorted(each.box_id for each in facts.witnesses[1:]) == ["2", "3", "4", "5", "6", "7"]
    assert facts.hypotheses[0].cause == "motor_start"


def test_a_swell_with_onset_stays_the_witness() -> None:
    """It begins within the limits."""
    findings = [
        known(1, seen_by("1", "swell", 10.0, 117.0, onset_change_percent=12.0)),
        known(2, seen_by("1", "rapid_voltage_change", 10.3, None, onset_change_percent=-5.6)),
    ]
    assert facts_of(1, findings, lambda box_id, _t_ns: BoxPlace()).witnesses[0].kind == "swell"


def test_lasting_swells_still_count_as_witnesses() -> None:
    """Every Box was above the limit throughout; what they have still counts."""
    findings = [known(1, seen_by("1", "overvoltage", 10.0, 117.0, onset_change_percent=1.4))]
    facts = facts_of(1, findings, lambda box_id, _t_ns: BoxPlace())
    assert signs_of(frozenset(facts.kinds), None, facts.witnesses).change_percent == 1.4


def test_a_dip_brings_its_onset_traits() -> None:
    t = np.arange(2 * RATE_HZ) / RATE_HZ
    volts = 170 * np.sin(2 * np.pi * 60 * t) * np.where((t >= 1) & (t < 1.1), 0.5, 1.0)
    counts = np.round(volts * 100).astype(np.int16)
    wave = Waveform("1", 0, 1000, TimeSource.GPS, RATE_HZ * 1000, 0.01, 0, counts)
    (found,) = rms_voltage.analyse(Event(1, 0, 2 * 10**9, (wave,)), rms_voltage.Config())
    figures = dict(found.figures)
    assert figures["onset_change_percent"] == pytest.approx(-50, abs=1)
    assert figures["onset_lasting_s"] == pytest.approx(0.1, abs=0.003)
    facts = facts_of(1, [known(1, found)], lambda box_id, _t_ns: BoxPlace())
    assert facts.hypotheses[0].cause == "fault"
