"""The truth of a run on disk: DIR/truth.jsonl, a disturbance a line, and DIR/frequency.csv.

Lines are written whole and flushed as soon as a disturbance is solved, which is before the first Box has
sampled it. Numbers are rounded, so that one seed gives the same bytes on every machine.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TextIO

import numpy as np

from opq_hil.mains.courses import FloatArray
from opq_hil.power_system.causes.catalogue import CauseValue
from opq_hil.power_system.outlet_truth import OutletTruth, outlet_truth
from opq_hil.power_system.power_system import GridDisturbance, PowerSystem

TRUTH, FREQUENCY = "truth.jsonl", "frequency.csv"
FREQUENCY_STEP_S = 0.1
TruthLine = dict[str, object]


def disturbance_line(found: GridDisturbance, start_ns: int) -> TruthLine:
    """One line of truth.jsonl: contracts' keys, and `place`, `words`, `values` of the cause.

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
        "words": solved.words,
        "values": _values(found),
    }


def outlet_truths(found: GridDisturbance) -> Mapping[str, OutletTruth]:
    """What each Box sees of a disturbance, by Box id; Boxes that see nothing are not in it."""
    system, terms, place = found.system, found.solved.terms, found.solved.place
    hz = system.network.config.nominal_hz
    truths: dict[str, OutletTruth] = {}
    downstream = {bus: system.feeds(place, bus) for bus in {outlet.bus for outlet in system.outlets}}
    known: dict[tuple[object, ...], OutletTruth | None] = {}
    for index, outlet in enumerate(system.outlets):
        factor = round(outlet.harmonic_factor, 4)
        key = (outlet.bus, outlet.phase, outlet.nominal_v, factor)
        if key not in known:  # thousands of Boxes may share some hundred outlets
            before_v = abs(complex(found.before_v[index])) * factor
            behind = downstream[outlet.bus]
            known[key] = outlet_truth(terms, index, before_v, outlet.nominal_v, hz, behind)
        seen = known[key]
        if seen is not None:
            truths[outlet.box_id] = seen
    return truths


def scope_of(found: GridDisturbance, box_ids: tuple[str, ...]) -> str | None:
    """local: Boxes of one place; feeder: of one feeder; else region, which one network is; None: no Box.

    wide_area: the frequency of the whole system, which other networks share.
    """
    system = found.system
    if box_ids and any(slip.outlets.all() for slip in found.solved.terms.slips):
        return "wide_area"
    outlets = [outlet for outlet in system.outlets if outlet.box_id in box_ids]
    if not outlets:
        return None
    if len({outlet.bus for outlet in outlets}) == 1:
        return "local"
    feeders = {system.feeder_of(outlet.bus) for outlet in outlets}
    return "feeder" if len(feeders) == 1 and None not in feeders else "region"


class TruthFiles:
    """Writes the truth of one system into a folder, from the moment it is made.

    Args:
        start_ns: UTC of the run's moment 0.
    Raises:
        OSError: the folder cannot be made or written.
    """

    def __init__(self, folder: Path, system: PowerSystem, start_ns: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._start_ns = start_ns
        self._system = system
        self._steps = 0
        self._truth: TextIO = (folder / TRUTH).open("w", encoding="utf-8")
        self._frequency: TextIO = (folder / FREQUENCY).open("w", encoding="utf-8")
        self._frequency.write("t_ns,hz\n")
        system.listen(self.accept_disturbance, self.accept_time)

    def accept_disturbance(self, found: GridDisturbance) -> None:
        """Write a disturbance."""
        line = json.dumps(disturbance_line(found, self._start_ns), allow_nan=False)
        self._truth.write(line + "\n")
        self._truth.flush()

    def accept_time(self, reached_s: float) -> None:
        """Write the frequency up to a moment, whole seconds of it."""
        steps = round(math.floor(reached_s) / FREQUENCY_STEP_S)
        if steps <= self._steps:
            return
        t_s: FloatArray = np.arange(self._steps, steps, dtype=np.float64) * FREQUENCY_STEP_S
        rows = zip(t_s.tolist(), self._system.hz(t_s).tolist(), strict=True)
        self._frequency.write("".join(f"{self._start_ns + _ns(at_s)},{hz:.6f}\n" for at_s, hz in rows))
        self._frequency.flush()
        self._steps = steps

    def close(self) -> None:
        """Close both files; nothing is written any more."""
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
    """Furthest from nominal is worst; what has no residual is less."""
    residual = truth.residual_pu
    return residual is not None, abs(1 - residual) if residual is not None else 0.0, truth.kind


def _ns(seconds: float) -> int:
    """Whole nanoseconds, exact to one over days: seconds and the rest apart."""
    whole = math.floor(seconds)
    return whole * 10**9 + round((seconds - whole) * 1e9)
