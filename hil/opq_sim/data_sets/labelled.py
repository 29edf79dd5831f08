"""One labelled recording: counts as a Box would read them, and the truth about them."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_sim.data_sets.draws import KeyedDraws
from opq_sim.data_sets.kinds import MAKERS, DrawnNumbers, draw_numbers
from opq_sim.data_sets.magnitudes import BACKGROUND
from opq_sim.mains.disturbance import MainsDisturbance, PlacedDisturbance
from opq_sim.mains.grid import Grid
from opq_sim.mains.phase_events import PhaseJumpEvent
from opq_sim.mains.profiles import FloatArray
from opq_sim.mains.rms_events import Level
from opq_sim.mains.voltage import Mains
from opq_sim.mains.wave import Harmonic, Wave

RATE_HZ = 12_000
NOMINAL_V = {50: 230.0, 60: 120.0}
FULL_SCALE = 5.0
"""Full scale over nominal peak: 1.75 of a swell and 1.0 of an impulse together (3.9) are not clipped."""
SHORTEST_S = 0.3
"""If neither of two disturbances has a length, the second begins within this time."""
START_NS = 1_735_689_600 * 10**9
"""The first recording begins with 2025."""
EVERY_NS = 200 * 10**9
"""Each further recording begins this much later: no two of a folder overlap in time."""
EDGE_LSB = 1e-9
"""Function libraries differ by less than 1e-10 of a count (kinds are closed forms of a few sines)."""
BOX_ID = "1"


@dataclass(frozen=True, slots=True)
class LabelledRecording:
    """`counts` (n,) int16; `facts` go into the .json, `truth` is a line of truth.jsonl."""

    counts: NDArray[np.int16]
    facts: dict[str, Any]
    truth: dict[str, Any]
    near_edges: int
    """Samples within EDGE_LSB of a rounding edge; another library might round them differently."""


def labelled_recording(
    kind: str, hz: int, index: int, seed: int, snr_db: float, number: int
) -> LabelledRecording:
    """Recording `index` of a class (parts joined by `+`, or none), independent of other recordings.

    Args:
        hz: 50 (230 V) or 60 (120 V).
        snr_db: how far white noise (rms) lies under the fundamental (rms).
        number: its place in the folder, from 1; determines its time.
    """
    draws = KeyedDraws("opq data set", seed, kind, hz, index)
    nominal_v = NOMINAL_V[hz]
    background = {one.name: draws.magnitude(one) for one in BACKGROUND if one.name != "phase of each"}
    phases = [draws.uniform(0.0, 360.0) for _ in range(3)]
    wave = Wave(
        nominal_v * background["voltage"] / 100,
        tuple(
            Harmonic(order, background[f"order {order}"], phase)
            for order, phase in zip((3, 5, 7), phases, strict=True)
        ),
    )
    grid = Grid(hz + background["frequency"], phase_cycles=background["phase at sample 0"] / 360)
    parts = [] if kind == "none" else kind.split("+")
    level = background["voltage"] / 100
    numbers = {part: draw_numbers(part, draws, hz, nominal_v, level) for part in parts}
    disturbances = _laid_out(
        [MAKERS[part](numbers[part]) for part in parts], background["before the disturbance"], draws
    )
    mains = Mains(rate_hz=RATE_HZ, grid=grid, wave=wave, disturbances=tuple(disturbances))
    ends_s = [one.stop_s + one.disturbance.tail_s() for one in mains.placed]
    seconds = max(ends_s, default=background["before the disturbance"]) + background["after it"]
    count = 200 * math.ceil(seconds * RATE_HZ / 200)
    counts, near_edges = _counts(mains, count, snr_db, nominal_v, draws)
    start_ns = START_NS + (number - 1) * EVERY_NS
    facts = {
        "rate_hz": RATE_HZ,
        "volts_per_lsb": FULL_SCALE * nominal_v / 32768,
        "nominal_volts": nominal_v,
        "nominal_hz": float(hz),
        "box_id": BOX_ID,
        "start_ns": start_ns,
        "samples": count,
    }
    return LabelledRecording(counts, facts, _truth(kind, mains, numbers, facts, number), near_edges)


def _laid_out(made: list[MainsDisturbance], start_s: float, draws: KeyedDraws) -> list[MainsDisturbance]:
    """Places the longest at `start_s`, others within the first half of it."""
    grid = Grid(60.0)
    lengths = [(lambda span: span.stop_s - span.start_s)(one.placed(grid).span) for one in made]
    longest = max(range(len(made)), key=lambda k: (lengths[k], -k), default=0)
    room_s = max([SHORTEST_S, *lengths]) / 2
    return [
        replace(one, start_s=start_s if k == longest else start_s + room_s * draws.uniform())
        for k, one in enumerate(made)
    ]


def _counts(
    mains: Mains, count: int, snr_db: float, nominal_v: float, draws: KeyedDraws
) -> tuple[NDArray[np.int16], int]:
    """The converter's counts, and how many samples lie on a rounding edge."""
    t_s: FloatArray = np.arange(count) / RATE_HZ
    volts = mains.clean_v(t_s)
    volts += mains.wave.fundamental_v * 10 ** (-snr_db / 20) * draws.noise(count, 0)
    for stream, one in enumerate(mains.placed, start=1):
        burst_v = one.disturbance.noise_v(mains.wave)
        if burst_v and (inside := one.during(t_s)) is not None:
            volts[inside] += burst_v * draws.noise(count, stream)[inside]
    exact = volts / (FULL_SCALE * nominal_v / 32768)
    near = int(np.count_nonzero(np.abs(exact - np.floor(exact) - 0.5) < EDGE_LSB))
    return np.clip(np.rint(exact), -32768, 32767).astype(np.int16), near


def _truth(
    kind: str, mains: Mains, numbers: dict[str, DrawnNumbers], facts: dict[str, Any], number: int
) -> dict[str, Any]:
    """The truth in the form of docs/reference/contracts.md, with the file, and the drawn numbers of each
    part."""
    start_ns = facts["start_ns"]
    parts: list[dict[str, Any]] = [
        {"class": one.kind, **_span(one, start_ns), "drawn": dict(numbers[one.kind].values)}
        for one in mains.placed
    ]
    truth: dict[str, Any] = {
        "id": number,
        "cause": "data_set" if parts else None,
        "class": kind,
        "scope": "local" if parts else None,
        "start_ns": min((part["start_ns"] for part in parts), default=None),
        "end_ns": max((part["end_ns"] for part in parts), default=None),
        "boxes": {},
    }
    if parts:
        truth["boxes"][BOX_ID] = {
            "class": kind,
            "residual_percent": _residual_percent(mains, facts["nominal_volts"]),
            "phase_jump_deg": sum(
                one.disturbance.degrees for one in mains.placed if isinstance(one.disturbance, PhaseJumpEvent)
            ),
            "arrival_ns": truth["start_ns"],
            "side": None,
        }
    return {**truth, "nominal_hz": facts["nominal_hz"], "parts": parts}


def _span(one: PlacedDisturbance, start_ns: int) -> dict[str, int]:
    return {"start_ns": start_ns + round(one.start_s * 1e9), "end_ns": start_ns + round(one.stop_s * 1e9)}


def _residual_percent(mains: Mains, nominal_v: float) -> float | None:
    """Residual relative to nominal while the level lasts; None if no part changes the rms by itself."""
    for one in mains.placed:
        if isinstance(one.disturbance, Level):
            return round(100 * one.disturbance.level() * mains.wave.rms_v / nominal_v, 4)
    return None
