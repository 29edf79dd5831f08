"""Recursive filters of block 3 and 4, in NumPy: a cascade of second-order sections, run by blocks.

In the recursion each sample depends on the one before it. A block of samples avoids that: its output is one
matrix times its samples, plus another times the few numbers of the filter's state. The states of all blocks
are computed in log2(blocks) steps. `scipy.signal` has the same filters, and tests compare with them; it takes
143 MB on disk, 63 MB of memory and 0.7 s CPU to import, and nothing else needs it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from opq_measure.signal import FloatArray

Section = tuple[float, float, float, float, float]
"""b0, b1, b2, a1, a2; a0 is 1."""


@dataclass(frozen=True, slots=True)
class _AtOnce:
    """The filter over one block, as matrices for rows of numbers; the state has d numbers."""

    from_samples: FloatArray
    """(block, block): samples to output."""
    from_state: FloatArray
    """(d, block): state to output."""
    to_state: FloatArray
    """(block, d): samples to the state after them."""
    onward: FloatArray
    """(d, d): state to what is left of it a block later."""


class Recursive:
    """One cascade and its state; at rest when created.

    The state is that of direct form II transposed, section by section.
    """

    def __init__(self, sections: Sequence[Section], block: int) -> None:
        """`block` samples are computed at once: `run` takes whole blocks, except in the last call."""
        self._block = block
        self._at_once = _at_once(tuple(sections), block)
        self._state = np.zeros(2 * len(sections))

    def set_steady(self, level: float) -> None:
        """Sets the state after an endless constant `level`; not for a filter that never settles."""
        gained = self._at_once.to_state.sum(axis=0) * level
        self._state = np.linalg.solve(np.eye(len(gained)) - self._at_once.onward.T, gained)

    def run(self, samples: FloatArray) -> FloatArray:
        """(n,) filtered samples, from (n,); `n` is a multiple of `block`, except in the last call."""
        padding = -len(samples) % self._block
        if padding:
            samples = np.concatenate((samples, np.zeros(padding)))
        blocks = samples.reshape(-1, self._block)
        by = self._at_once
        states = np.concatenate((self._state[None], blocks @ by.to_state))
        onward, step = by.onward, 1
        while step < len(states):  # after each turn a row holds the effect of the last 2 * step blocks
            states[step:] = states[step:] + states[:-step] @ onward
            onward, step = onward @ onward, 2 * step
        self._state = states[-1].copy()
        found: FloatArray = (blocks @ by.from_samples + states[:-1] @ by.from_state).reshape(-1)
        return found[: len(found) - padding]


@lru_cache(maxsize=32)
def _at_once(sections: tuple[Section, ...], block: int) -> _AtOnce:
    """The matrices, the same for all Boxes of one rate. The cascade runs over one block, sample by sample:
    from each number of the state alone, and from an impulse."""
    places = 2 * len(sections)
    states = np.zeros((places + 1, places))
    states[:places] = np.eye(places)
    out = np.zeros((places + 1, block))
    left = np.zeros((block, places))
    for k in range(block):
        sample = np.zeros(places + 1)
        sample[places] = k == 0
        for n, (b0, b1, b2, a1, a2) in enumerate(sections):
            first, second = states[:, 2 * n].copy(), states[:, 2 * n + 1].copy()
            given = b0 * sample + first
            states[:, 2 * n] = b1 * sample - a1 * given + second
            states[:, 2 * n + 1] = b2 * sample - a2 * given
            sample = given
        out[:, k] = sample
        left[k] = states[places]
    later = np.arange(block)[None, :] - np.arange(block)[:, None]
    from_samples = np.where(later >= 0, out[places][later], 0.0)
    return _AtOnce(from_samples, out[:places].copy(), left[::-1].copy(), states[:places].copy())


def low_pass_sections(order: int, corner_hz: float, rate_hz: float) -> list[Section]:
    """A Butterworth low pass of order 1 or an even order; bilinear, exact at its corner."""
    k = math.tan(math.pi * corner_hz / rate_hz)
    if order == 1:
        return [(k / (1 + k), k / (1 + k), 0.0, (k - 1) / (k + 1), 0.0)]
    sections = []
    for pair in range(order // 2):
        damping = 2 * math.sin(math.pi * (2 * pair + 1) / (2 * order))
        whole = 1 + damping * k + k * k
        gain = k * k / whole
        sections.append((gain, 2 * gain, gain, 2 * (k * k - 1) / whole, (1 - damping * k + k * k) / whole))
    return sections


def high_pass_sections(corner_hz: float, rate_hz: float) -> list[Section]:
    """A high pass of first order; bilinear, exact at its corner."""
    k = math.tan(math.pi * corner_hz / rate_hz)
    return [(1 / (1 + k), -1 / (1 + k), 0.0, (k - 1) / (k + 1), 0.0)]


def bilinear(
    zeros: Sequence[complex], poles: Sequence[complex], gain: float, hz: float, rate_hz: float
) -> list[Section]:
    """The sections of an analogue filter in rad/s, exact at `hz`. Poles and zeros come in pairs with a real
    polynomial; the number of poles is even, and there are as many zeros or fewer."""
    stretch = 2 * math.pi * hz / math.tan(math.pi * hz / rate_hz)
    there = [(stretch + zero) / (stretch - zero) for zero in zeros]
    there += [-1.0 + 0j] * (len(poles) - len(zeros))  # those at infinity
    gained = np.prod([stretch - zero for zero in zeros]) / np.prod([stretch - pole for pole in poles]) * gain
    sections = []
    for n in range(0, len(poles), 2):
        above = np.poly(there[n : n + 2]).real * (gained.real if n == 0 else 1.0)
        below = np.poly([(stretch + pole) / (stretch - pole) for pole in poles[n : n + 2]]).real
        sections.append((*map(float, above), *map(float, below[1:])))
    return [(b0, b1, b2, a1, a2) for b0, b1, b2, a1, a2 in sections]
