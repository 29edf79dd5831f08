"""Whether the course of a level is one or two steps, a load switched on and perhaps off: no fluctuation."""

import numpy as np

from opq_measure.signal import FloatArray

ONE_STEP, TWO_STEPS = 0.5, 0.8
"""Shares of the power of a swing that steps explain. One step explains 0.15 of three periods of a sine, 0.18
of three square waves; two explain 0.58 and 0.73, and 0.9 of a load on and off."""
ROUNDS = 4
"""Times that one of two steps is placed beside the other."""
LEAST_POWER = 0.5
"""Of a step beside what is known: less is the same step again, by a value at an end."""
LEAST_VALUES = 8
ROUNDING = 1e-20
"""Of the level's power: a constant in doubles."""


def without_steps(level: FloatArray) -> tuple[FloatArray, int]:
    """`level` (n,) less mean and slope, and less the one or two steps that it mostly is; and their number.

    Steps, mean and slope are fitted together by least squares, one step after the other, in O(n).
    """
    count = len(level)
    if count < LEAST_VALUES:
        return np.zeros(count), 0
    at = np.linspace(-1.0, 1.0, count)
    line = [np.full(count, 1 / np.sqrt(count)), at / np.sqrt(float(at @ at))]
    plain = _less(level, line)
    whole = float(plain @ plain)
    if whole <= ROUNDING * float(level @ level):
        return plain, 0
    one = _step_after(_best_place(plain, line), line)
    alone = _less(plain, [one])
    for _ in range(ROUNDS):
        known = [*line, one]
        place = _best_place(_less(plain, known), known)
        rest = _less(plain, [*known, _step_after(place, known)])
        if float(rest @ rest) < (1 - TWO_STEPS) * whole:
            return rest, 2
        one = _step_after(place, line)
    return (alone, 1) if float(alone @ alone) < (1 - ONE_STEP) * whole else (plain, 0)


def _less(level: FloatArray, known: list[FloatArray]) -> FloatArray:
    """(n,) `level` without its parts along `known`, which are orthogonal and of power 1."""
    rest = level.copy()
    for each in known:
        rest -= float(rest @ each) * each
    return rest


def _best_place(rest: FloatArray, known: list[FloatArray]) -> int:
    """After which value the step is that, beside all of `known`, takes most of `rest`."""
    power = np.arange(len(rest) - 1, 0, -1.0)
    for each in known:
        power -= _behind(each) ** 2
    gain = np.where(power > LEAST_POWER, _behind(rest) ** 2 / np.maximum(power, LEAST_POWER), 0.0)
    return int(np.argmax(gain))


def _step_after(place: int, known: list[FloatArray]) -> FloatArray:
    """(n,) a step after value `place`, orthogonal to `known` and of power 1."""
    step = _less((np.arange(len(known[0])) > place).astype(np.float64), known)
    found: FloatArray = step / np.sqrt(float(step @ step))
    return found


def _behind(values: FloatArray) -> FloatArray:
    """(n - 1,) the sum of all that follows each value but the last."""
    found: FloatArray = np.cumsum(values[::-1])[-2::-1]
    return found
