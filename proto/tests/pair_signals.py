"""Two disturbances at once, drawn at random by the equations of the integral model: 25 pairs.

The equations and ranges are those of `foreign_signals.py`, but for two: the impulse falls to half in 50 us
(IEC 60060-1: 1.2/50), and a notch is a share of the voltage, because a commutation short-circuits two phases
(IEEE 519). `standard_label` says which signals are set apart.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
from foreign_signals import ForeignSignal, Parts, finished

LEVELS = ("sag", "swell", "interruption")
PAIRS = tuple(
    pair
    for pair in combinations((*LEVELS, "harmonics", "flicker", "notch", "spike", "ringing"), 2)
    if not set(pair) <= set(LEVELS)
)
RATES_HZ = (3200.0, 6400.0, 10_000.0, 12_800.0, 25_600.0)
CYCLES = (10, 20)
NOISE_DB = 30.0
LEAST_CYCLES = 3
"""Fewest cycles beside an interruption that show harmonics or notches, which are periodic."""
IMPULSE_DECAY_S = 50e-6 / math.log(2)
LEVEL_SIZES = {"sag": (-0.9, -0.1), "swell": (0.1, 0.8), "interruption": (-1.0, -0.9)}


def pair_signals(seed: int) -> Iterator[ForeignSignal]:
    """Two signals of 50 Hz of every pair, rate and length."""
    for pair in PAIRS:
        for rate_hz in RATES_HZ:
            for cycles in CYCLES:
                for index in range(2):
                    yield pair_signal(pair, rate_hz, cycles, index, seed)


def pair_signal(pair: tuple[str, str], rate_hz: float, cycles: int, index: int, seed: int) -> ForeignSignal:
    """One signal of a pair."""
    key = [PAIRS.index(pair), round(rate_hz), cycles, index, seed]
    rng = np.random.default_rng([519, *key])
    hz, cycle = 50, rate_hz / 50
    count = round(cycles * cycle)
    at_s = np.arange(count) / rate_hz
    turns = hz * at_s + rng.uniform()
    level, swing, others, notches = np.zeros((4, count))
    thd_percent = swing_hz = spike_pu = 0.0
    half_waves, is_turned = math.inf, False
    wave = np.sin(2 * np.pi * turns)
    for part in pair:
        if part in LEVELS:
            length = round(rng.uniform(1, cycles - 1) * cycle)
            first = int(rng.integers(0, count - length + 1))
            level[first : first + length] = rng.uniform(*LEVEL_SIZES[part])
        elif part == "harmonics":
            shares = rng.uniform(0.05, 0.15, 3)
            for order, share in zip((3, 5, 7), shares, strict=True):
                wave = wave + share * np.sin(2 * np.pi * (order * turns + rng.uniform()))
            thd_percent = 100 * math.hypot(*shares)
        elif part == "flicker":
            swing_hz = rng.uniform(8, 25)
            swing = rng.uniform(0.05, 0.1) * np.sin(2 * np.pi * (swing_hz * at_s + rng.uniform()))
        elif part == "notch":
            per_cycle = int(rng.choice([2, 4, 6]))  # one in each cycle is also a direct voltage
            width, depth = rng.uniform(0.01, 0.05), rng.uniform(0.1, 0.4)
            inside = np.mod(turns - rng.uniform(0, 1 / per_cycle - width), 1 / per_cycle) < width
            sign = np.sign(np.sin(2 * np.pi * turns))
            notches = -depth * sign * inside
            is_turned = bool(np.any(inside[1:] & inside[:-1] & (sign[1:] != sign[:-1])))
        elif part == "spike":
            first = round(rng.uniform(1, cycles - 1) * cycle)
            spike_pu = rng.uniform(0.222, 1.11)
            others[first:] += (
                rng.choice([-1, 1]) * spike_pu * np.exp((at_s[first] - at_s[first:]) / IMPULSE_DECAY_S)
            )
        elif part == "ringing":
            length = round(rng.uniform(0.5, cycles / 3.33) * cycle)
            first = int(rng.integers(0, count - length + 1))
            after_s = at_s[first : first + length] - at_s[first]
            size, decay_s, ring_hz = rng.uniform(0.1, 0.8), rng.uniform(0.008, 0.04), rng.uniform(300, 900)
            ring = np.exp(-after_s / decay_s) * np.sin(2 * np.pi * (ring_hz * after_s + rng.uniform()))
            half_waves = 2 * ring_hz * min(length / rate_hz, decay_s * math.log(5))
            others[first : first + length] += size * ring
    clean = (wave + notches) * (1 + level) * (1 + swing) + others
    parts = Parts(clean, level != 0, thd_percent, spike_pu, swing_hz, half_waves, is_turned)
    made = finished("+".join(pair), pair, parts, rng, rate_hz, hz, NOISE_DB)
    supplied_cycles = np.count_nonzero(level > LEVEL_SIZES["interruption"][1]) / cycle
    if supplied_cycles < LEAST_CYCLES and {"harmonics", "notch"} & set(pair):
        return replace(
            made, apart="fewer than three cycles beside an interruption (61000-4-7: windows of ten)"
        )
    return made
