"""Compares dips with the peer: depth, start, duration of rectangular dips of any depth, length and phase."""

import numpy as np

from bench.peer import MeasuredDip
from bench.peer import dip as peer_dip
from bench.result import BenchCase, case
from opq_measure.events.disturbances import find_disturbances
from opq_sim.mains import MIX_3_PERCENT, mains
from opq_sim.mains.rms_events import Sag
from opq_sim.mains.truth import Truth

RATE_HZ = 12_000.0
NOMINAL_HZ = 60.0
NOMINAL_V = 120.0
DIPS = 60
"""Dips of a run."""
QUICK_DIPS = 10
"""Dips of a quick run."""
ENTER_PU = 0.9
"""A lower share of nominal begins a dip: 61000-4-30:2015, 5.4."""
HYSTERESIS_PU = 0.02
"""A dip ends this much above it."""
ROWS = (
    ("dip: residual, largest error", "% of Udin", 0.1),
    ("dip: start, largest error", "ms", 1.0),
    ("dip: duration, largest error", "cycles", 0.5),
)


Errors = tuple[float, float, float]
"""Absolute errors, in the order of ROWS."""


def cases(quick: bool) -> list[BenchCase]:
    """A row for each figure, and the number of dips that were not seen."""
    both = [_errors(seed) for seed in range(QUICK_DIPS if quick else DIPS)]
    ours, theirs = [mine for mine, _ in both], [peers for _, peers in both]
    found = []
    for column, (name, unit, limit) in enumerate(ROWS):
        mine = [row[column] for row in ours if row]
        peers = [row[column] for row in theirs if row]
        found.append(case(name, unit, mine, max(mine), limit=limit, peer=max(peers)))
    missed = [float(sum(row is None for row in rows)) for rows in (ours, theirs)]
    return [*found, case("dips not seen", "", missed[:1], limit=0.0, peer=missed[1])]


def _errors(seed: int) -> tuple[Errors | None, Errors | None]:
    """Our errors and the peer's for one dip; None where it was not seen, or not as one dip."""
    draw = np.random.default_rng((seed, 0xD1))
    depth, cycles, start_s, frequency_hz = draw.uniform((0.15, 1.5, 2.5, 59.5), (0.95, 30.0, 2.6, 60.5))
    volts, truth = mains(
        5.0,
        RATE_HZ,
        frequency_hz=float(frequency_hz),
        harmonics=MIX_3_PERCENT,
        noise_db=60.0,
        disturbances=[Sag(depth=float(depth), start_s=float(start_s), cycles=float(cycles))],
        random_phases=True,
        seed=seed,
    )
    seen = find_disturbances(volts, RATE_HZ, NOMINAL_V, NOMINAL_HZ)
    mine = [MeasuredDip(one.start_sample, one.end_sample, one.residual_v) for one in seen]
    peer = peer_dip(volts, RATE_HZ, NOMINAL_HZ, ENTER_PU * NOMINAL_V, HYSTERESIS_PU * NOMINAL_V)
    return _error(mine[0], truth) if len(mine) == 1 else None, _error(peer, truth) if peer else None


def _error(found: MeasuredDip, truth: Truth) -> Errors:
    start, stop = truth.span_samples()
    late = found.start - start
    longer = (found.stop - found.start) - (stop - start)
    return (
        abs(found.residual_v - truth.residual_v()) / NOMINAL_V * 100,
        abs(late) / RATE_HZ * 1e3,
        abs(longer) / RATE_HZ * NOMINAL_HZ,
    )
