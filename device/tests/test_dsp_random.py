"""Random disturbances: the Box reports the crossings that opq_measure's Urms(1/2) has, within half a cycle.

A tenth in CI; all with -m soak.
"""

from typing import Any

import numpy as np
import pytest
from dsp_on_pc import features

from opq_measure.events.spans import Span, spans_above, spans_below
from opq_measure.rms import half_cycle_rms_v
from opq_measure.timebase.cycles import half_cycle_edges

RATE_HZ = 12_000
KINDS = {1: (0.9, 0.92, spans_below), 2: (1.1, 1.08, spans_above), 3: (0.1, 0.12, spans_below)}
CLEAR = 0.015  # of nominal: closer to a limit, and the two may differ


def signal(seed: int) -> tuple[Any, float]:
    """Eight seconds of mains with disturbances, phase jumps, harmonics, noise and DC; its nominal Hz."""
    random = np.random.default_rng(seed)
    nominal_hz = float(random.choice([50.0, 60.0]))
    samples = 8 * RATE_HZ
    hz = nominal_hz + random.normal(0, 0.1) + np.cumsum(random.normal(0, 2e-4, samples // 200)).repeat(200)
    phase = 2 * np.pi * np.cumsum(hz) / RATE_HZ + random.uniform(0, 6)
    scale = np.ones(samples)
    at = 1.0
    while at < 7.0:
        length = float(random.choice([0.02, 0.05, 0.1, 0.3, 1.0]) * random.uniform(0.8, 1.3))
        begin, end = round(at * RATE_HZ), round(min(at + length, 7.3) * RATE_HZ)
        scale[begin:end] *= random.choice([0.0, 0.4, 0.7, 0.82, 1.2, 1.3])
        phase[begin:] += random.uniform(-0.5, 0.5)
        at += length + random.uniform(0.25, 3.0)
    wave = np.sin(phase)
    for order, share in ((3, 0.02), (5, 0.03), (7, 0.01)):
        wave += share * random.uniform(0, 1) * np.sin(order * phase + random.uniform(0, 6))
    counts = 120 * np.sqrt(2) / 0.01 * wave * scale + random.uniform(-50, 50) + random.normal(0, 15, samples)
    return np.rint(counts).astype(np.int16), nominal_hz


def wanted(counts: Any, nominal_hz: float) -> list[tuple[int, bool, float, bool]]:
    """(kind, entering, sample, sure) in order of time; what began before the signal does is left out."""
    edges = half_cycle_edges(counts, RATE_HZ, nominal_hz)
    share = half_cycle_rms_v(counts, edges) * 0.01 / 120
    found = []
    for kind, (enter, leave, spans) in KINDS.items():
        for span in spans(share, enter, leave):
            found.append((kind, True, float(edges[span.start]), is_sure(share, span, kind)))
            if span.closed:
                found.append((kind, False, float(edges[span.stop]), is_sure(share, span, kind)))
    return sorted(found, key=lambda crossing: crossing[2])


def is_sure(share: Any, span: Span, kind: int) -> bool:
    """The deepest value is clear of the limit, and nothing between it and hysteresis can split the span."""
    enter, leave, _ = KINDS[kind]
    inside = share[span.start : span.stop]
    beyond = enter - inside.min() if kind != 2 else inside.max() - enter
    around = share[max(0, span.start - 4) : span.stop + 4]
    low, high = sorted((enter, leave))
    near = np.abs(around - enter) < CLEAR
    doubtful = (
        np.count_nonzero((around > low - CLEAR) & (around < high + CLEAR)) > 4 or np.count_nonzero(near) > 2
    )
    return bool(beyond > 2 * CLEAR) and not doubtful


def compare(seed: int) -> int:
    """How many sure crossings the Box reported as they are wanted."""
    counts, nominal_hz = signal(seed)
    reported = [(c.kind, c.entering, c.sample) for c in features(counts, nominal_hz=nominal_hz).crossings]
    all_wanted = wanted(counts, nominal_hz)
    half = RATE_HZ / nominal_hz / 2
    sure = [crossing for crossing in all_wanted if crossing[3]]
    for kind, entering, sample, _ in sure:
        near = [c for c in reported if c[0] == kind and c[1] == entering and abs(c[2] - sample) <= 1.2 * half]
        assert near, (
            f"seed {seed}: no {kind} {entering} at {sample:.0f}; reported {reported}, wanted {all_wanted}"
        )
    for kind, entering, sample in reported:
        near_by = [
            c for c in all_wanted if c[0] == kind and c[1] == entering and abs(c[2] - sample) <= 4 * half
        ]
        near_limit = not near_by
        if near_limit:  # reported, but not in opq_measure's: only where it came near to the limit
            edges = half_cycle_edges(counts, RATE_HZ, nominal_hz)
            share = half_cycle_rms_v(counts, edges) * 0.01 / 120
            close = share[np.abs(edges[:-2] - sample) <= 3 * half]
            enter, leave, _ = KINDS[kind]
            limit = enter if entering else leave
            assert np.abs(close - limit).min() < 0.05, (
                f"seed {seed}: {kind} {entering} at {sample} is not there"
            )
    return len(sure)


def test_random_disturbances_give_the_crossings_of_opq_measure() -> None:
    assert sum(compare(seed) for seed in range(40)) > 150


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_random_disturbances_equal_opq_measures() -> None:
    assert sum(compare(seed) for seed in range(1000, 1400)) > 1500
