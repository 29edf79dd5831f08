"""The truth of a run on disk: DIR/truth.jsonl with one line per disturbance, and DIR/frequency.csv.

Lines are written completely and flushed as soon as a disturbance is solved, which is before the first Box has
sampled it. Numbers are rounded, so that one seed gives the same bytes on every machine.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TextIO

import numpy as np

from opq_measure.aggregation.unbalance import unbalance
from opq_sim.mains.profiles import FloatArray
from opq_sim.power_system.box_times import BoxOutage
from opq_sim.power_system.causes.catalogue import CauseValue
from opq_sim.power_system.disturbance_terms import SlipTerm
from opq_sim.power_system.outlet_truth import OutletTruth, frequency_deviations, outlet_truth
from opq_sim.power_system.power_system import GridDisturbance, PowerSystem

U2_PERCENT = 2.0
"""EN 50160:2010, 4.2.4."""
MIN_UNBALANCE_S = 3.0
TRUTH_FILE = "truth.jsonl"
FREQUENCY_FILE = "frequency.csv"
FREQUENCY_STEP_S = 0.1
TruthLine = dict[str, object]


def disturbance_line(found: GridDisturbance, start_ns: int) -> TruthLine:
    """One line of truth.jsonl: the keys of docs/reference/contracts.md, and the cause's `place` (with
    `latitude` and `longitude`), `words` and `values`.

    Args:
        start_ns: UTC of the run's moment 0.
    """
    solved = found.solved
    seen = outlet_truths(found)
    worst = max(seen.values(), key=_weight, default=None)
    return {
        "id": found.number,
        "cause": found.cause.name,
        "class": worst.kind if worst else "none",
        "scope": scope_of(found, tuple(seen)),
        "start_ns": start_ns + _ns(found.start_s),
        "end_ns": start_ns + _ns(solved.end_s),
        "boxes": {box_id: _box_line(truth, start_ns) for box_id, truth in seen.items()},
        "place": solved.place,
        **_on_map(found.system, solved.place),
        "words": solved.words,
        "values": _values(found),
    }


def outlet_truths(found: GridDisturbance) -> Mapping[str, OutletTruth]:
    """The effect of a disturbance by Box id, without Boxes that see nothing of it."""
    system, terms, place = found.system, found.solved.terms, found.solved.place
    hz = system.network.config.nominal_hz
    deviations = frequency_deviations(terms.slips, hz, partial(_hz_in, system))
    truths: dict[str, OutletTruth] = {}
    downstream = {bus: system.feeds(place, bus) for bus in {outlet.bus for outlet in system.outlets}}
    cycles = found.start_cycles + terms.delays_s * hz
    known: dict[tuple[object, ...], OutletTruth | None] = {}
    for index, outlet in enumerate(system.outlets):
        factor = round(outlet.harmonic_factor, 4)
        key = (outlet.bus, outlet.phase, outlet.nominal_v, factor)
        if key not in known:  # thousands of Boxes may share some hundred outlets
            before_v = complex(found.before_v[index]) * factor
            behind = downstream[outlet.bus]
            begun = float(cycles[index])
            known[key] = outlet_truth(terms, index, before_v, outlet.nominal_v, hz, behind, deviations, begun)
        seen = known[key]
        if seen is not None:
            truths[outlet.box_id] = seen
    for index, start_s in _unbalanced(found, truths):
        box_id, behind = system.outlets[index].box_id, downstream[system.outlets[index].bus]
        own = truths.get(box_id) or OutletTruth("", None, 0.0, start_s, behind)
        truths[box_id] = replace(own, kind="+".join(sorted({*own.kind.split("+"), "unbalance"} - {""})))
    return truths


def _hz_in(system: PowerSystem, slip: SlipTerm, t_s: FloatArray) -> FloatArray:
    """(n,) frequency in a part of the network; an island has its own in addition."""
    own = 0.0 if slip.whole_system else slip.profile.hz(t_s - slip.start_s)
    return system.hz(t_s) + own


def _unbalanced(found: GridDisturbance, truths: Mapping[str, OutletTruth]) -> Iterator[tuple[int, float]]:
    """Outlets on phase a of places whose three phases become unequal for long, and the time since when.

    The finding is at the Box on phase a (docs/mauka-cases.md, Unbalance). A place does not count if
    one of its phases dips or swells.
    """
    terms = [
        term
        for term in found.solved.terms.fundamental
        if term.profile.constant and term.end_s - term.start_s >= MIN_UNBALANCE_S
    ]
    if not terms:
        return
    after_v = found.before_v * np.prod([1 + term.changes for term in terms], axis=0)
    places: dict[str, dict[int, int]] = {}
    for index, outlet in enumerate(found.system.outlets):
        places.setdefault(outlet.bus, {}).setdefault(outlet.phase, index)
    for phases in places.values():
        three = [phases[phase] for phase in sorted(phases)]
        seen = (truths.get(found.system.outlets[index].box_id) for index in three)
        if len(three) < 3 or any(each is not None and each.residual_pu is not None for each in seen):
            continue
        if unbalance(after_v[three]).u2_percent > U2_PERCENT >= unbalance(found.before_v[three]).u2_percent:
            yield three[0], min(term.start_s for term in terms)


def scope_of(found: GridDisturbance, box_ids: tuple[str, ...]) -> str | None:
    """local: Boxes of one place; feeder: of one feeder; else region, which one network is; None: no Box.

    wide_area: the frequency of the whole system, which other networks share.
    """
    system = found.system
    if box_ids and any(slip.outlets.all() for slip in found.solved.terms.slips):
        return "wide_area"
    return _extent_of(system, {outlet.bus for outlet in system.outlets if outlet.box_id in box_ids})


def outage_line(outage: BoxOutage, system: PowerSystem, start_ns: int) -> TruthLine | None:
    """The line of Boxes without supply; None: none of them is on the network (a played recording)."""
    buses = {outlet.box_id: outlet.bus for outlet in system.outlets if outlet.box_id in outage.box_ids}
    if not buses:
        return None
    begin_ns = start_ns + _ns(outage.begin_s)
    seen = {
        "class": "outage",
        "residual_percent": None,
        "phase_jump_deg": 0.0,
        "arrival_ns": begin_ns,
        "side": "downstream",
    }
    first, *others = buses
    return {
        "id": f"outage {first} at {outage.begin_s:g} s",
        "cause": "supply_lost",
        "class": "outage",
        "scope": _extent_of(system, set(buses.values())),
        "start_ns": begin_ns,
        "end_ns": start_ns + _ns(outage.end_s),
        "boxes": dict.fromkeys(buses, seen),
        "place": buses[first],
        **_on_map(system, buses[first]),
        "words": f"Box {', '.join((first, *others))}: no supply",
        "values": {},
    }


def _on_map(system: PowerSystem, place: str) -> TruthLine:
    """`latitude` and `longitude` of a place, degrees; null where unknown."""
    at = None if system.places is None else system.places.coordinates(place)
    latitude, longitude = (None, None) if at is None else (round(at[0], 6), round(at[1], 6))
    return {"latitude": latitude, "longitude": longitude}


def _extent_of(system: PowerSystem, buses: set[str]) -> str | None:
    if len(buses) <= 1:
        return "local" if buses else None
    feeders = {system.feeder_of(bus) for bus in buses}
    return "feeder" if len(feeders) == 1 and None not in feeders else "region"


class TruthFiles:
    """Writes the truth of one system into a folder, from now on.

    Args:
        start_ns: UTC of the run's moment 0.
        outages: returns the Boxes without supply, by time; each becomes a line once the run has reached it.
        frequency_step_s: between two rows of frequency.csv.
    Raises:
        OSError: the folder cannot be made or written.
    """

    def __init__(
        self,
        folder: Path,
        system: PowerSystem,
        start_ns: int,
        outages: Callable[[], Sequence[BoxOutage]] = tuple,
        frequency_step_s: float = FREQUENCY_STEP_S,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._start_ns = start_ns
        self._system = system
        self._outages = outages
        self._written: set[BoxOutage] = set()
        self._steps, self._step_s = 0, frequency_step_s
        self._truth: TextIO = (folder / TRUTH_FILE).open("w", encoding="utf-8")
        self._frequency: TextIO = (folder / FREQUENCY_FILE).open("w", encoding="utf-8")
        self._frequency.write("t_ns,hz\n")
        system.listen(self.accept_disturbance, self.accept_time)

    def accept_disturbance(self, found: GridDisturbance) -> None:
        """Writes a disturbance."""
        self._write(disturbance_line(found, self._start_ns))

    def accept_time(self, reached_s: float) -> None:
        """Writes the outages that began by a moment, and the frequency up to it, in whole seconds."""
        steps = math.floor(math.floor(reached_s) / self._step_s + 1e-6)
        if steps <= self._steps:
            return
        for outage in self._outages():
            if outage.begin_s <= reached_s and outage not in self._written:
                self._written.add(outage)
                line = outage_line(outage, self._system, self._start_ns)
                if line is not None:
                    self._write(line)
        t_s: FloatArray = np.arange(self._steps, steps, dtype=np.float64) * self._step_s
        rows = zip(t_s.tolist(), self._system.hz(t_s).tolist(), strict=True)
        self._frequency.write("".join(f"{self._start_ns + _ns(at_s)},{hz:.6f}\n" for at_s, hz in rows))
        self._frequency.flush()
        self._steps = steps

    def _write(self, line: TruthLine) -> None:
        self._truth.write(json.dumps(line, allow_nan=False) + "\n")
        self._truth.flush()

    def close(self) -> None:
        """Closes both files; later calls write nothing."""
        self._system.listen(None, None)
        self._truth.close()
        self._frequency.close()


def _box_line(truth: OutletTruth, start_ns: int) -> TruthLine:
    return {
        "class": truth.kind,
        "residual_percent": None if truth.residual_pu is None else round(100 * truth.residual_pu, 3),
        "phase_jump_deg": round(truth.phase_jump_deg, 3) + 0.0,
        "arrival_ns": start_ns + _ns(truth.arrival_s),
        "side": "downstream" if truth.downstream else "upstream",
    }


def _values(found: GridDisturbance) -> dict[str, CauseValue]:
    names = (each.name for each in fields(found.cause))
    return {name: getattr(found.cause, name) for name in names if name != "at"}


def _weight(truth: OutletTruth) -> tuple[bool, float, str]:
    """Sort key: the residual furthest from nominal is worst; an outlet without residual counts less."""
    residual = truth.residual_pu
    return residual is not None, abs(1 - residual) if residual is not None else 0.0, truth.kind


def _ns(seconds: float) -> int:
    """Whole nanoseconds, exact to one over days: seconds and the fraction are rounded separately."""
    whole = math.floor(seconds)
    return whole * 10**9 + round((seconds - whole) * 1e9)
