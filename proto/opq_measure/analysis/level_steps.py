"""Steps in a level: one or two, from a load that is switched on and perhaps off; four, six or eight, from a
distant fault that comes back each time its line is closed again, three times at most.

Steps are not a fluctuation, but the level between them may fluctuate. A rectangular fluctuation has more
steps than that, or they follow each other faster.
"""

import numpy as np

from opq_measure.signal import FloatArray

ONE_STEP_SHARE = 0.5
"""Least share of a swing's power that one step explains. For three periods of a sine one explains 0.15; for
three square waves 0.18."""
TWO_STEPS_SHARE = 0.8
"""The same for two steps. They explain 0.9 of a load on and off, 0.58 of three periods of a sine and 0.73 of
three square waves."""
FOUR_STEPS_SHARE = 0.88
"""The same for four steps. They explain 0.98 of two dips of a quarter of a second within two or three
seconds, 0.69 of three periods of a sine and 0.82 of three square waves."""
MORE_STEPS_SHARE = 0.95
"""The same for more than four steps."""
STEP_COUNTS = 6, 8
"""Numbers of steps that are tried after four."""
FOUR_OF_MORE_SHARE = 0.35
"""More than four steps are tried if four explain this share: at least 0.40 of three or four dips, 0.05 of
noise."""
MORE_APART_S = 0.4
"""Least mean time between the steps if there are more than four; 1.25 Hz is slower than lines of flicker."""
FURTHER_STEP_SHARE = 0.5
"""Further steps count if they leave less than this share of what the first one leaves."""
PLACING_ROUNDS = 4
"""Rounds in which one of two steps is placed again while the other is kept."""
MIN_POWER = 0.5
"""Least power of a unit step without the known parts; a step with less repeats a known step or the line."""
MIN_VALUES = 8
ROUNDING_POWER = 1e-20
"""Share of the level's power below which a swing is only the rounding of doubles."""


def step_places(level: FloatArray, per_s: float) -> tuple[int, ...]:
    """Indices, rising, of the first values after the steps that explain `level`: (n,), `per_s` each second.

    They are one, two, four, six or eight; empty where steps explain too little. Steps, mean and slope are
    fitted together by least squares, one step after the other, in O(n).
    """
    count = len(level)
    if count < MIN_VALUES:
        return ()
    at = np.linspace(-1.0, 1.0, count)
    line = [np.full(count, 1 / np.sqrt(count)), at / np.sqrt(float(at @ at))]
    plain = _less(level, line)
    whole = _power(plain)
    nothing = ROUNDING_POWER * _power(level)
    if whole <= nothing:
        return ()
    first = _best_place(plain, line)
    one = _step_after(first, line)
    beside_one = _power(_less(plain, [one]))
    place = first
    for _ in range(PLACING_ROUNDS):
        known = [*line, one]
        other = _best_place(_less(plain, known), known)
        beside_two = _power(_less(plain, [*known, _step_after(other, known)]))
        is_less = beside_one > nothing and beside_two < FURTHER_STEP_SHARE * beside_one
        if is_less and beside_two < (1 - TWO_STEPS_SHARE) * whole:
            return tuple(sorted((place + 1, other + 1)))
        place, one = other, _step_after(other, line)
    places, beside_four = _places(4, plain, line)
    is_less = beside_one > nothing and beside_four < FURTHER_STEP_SHARE * beside_one
    if is_less and beside_four < (1 - FOUR_STEPS_SHARE) * whole:
        return tuple(each + 1 for each in places)
    for steps in STEP_COUNTS if beside_four < (1 - FOUR_OF_MORE_SHARE) * whole else ():
        least = (steps - 1) * MORE_APART_S * per_s
        if count <= least:
            break
        places, left = _places(steps, plain, line)
        if places[-1] - places[0] >= least and left < (1 - MORE_STEPS_SHARE) * whole:
            return tuple(each + 1 for each in places)
    return (first + 1,) if beside_one < (1 - ONE_STEP_SHARE) * whole else ()


def _places(steps: int, plain: FloatArray, line: list[FloatArray]) -> tuple[list[int], float]:
    """Returns the places of so many steps that explain most, and the power that they leave."""
    places = list[int]()
    for turn in range(steps * (1 + PLACING_ROUNDS)):
        kept = places[1:] if turn >= steps else places  # the oldest step is placed again
        known = list(line)
        for place in kept:
            known.append(_step_after(place, known))
        rest = _less(plain, known)
        best = _best_place(rest, known)
        places = [*kept, best]
    left = _power(_less(rest, [_step_after(best, known)]))
    return sorted(places), left


def _less(level: FloatArray, known: list[FloatArray]) -> FloatArray:
    """(n,) `level` without its parts along `known`, which are orthogonal and of power 1."""
    rest = level.copy()
    for each in known:
        rest -= float(rest @ each) * each
    return rest


def _best_place(rest: FloatArray, known: list[FloatArray]) -> int:
    """Index of the value after which a step, with all of `known` removed, explains most of `rest`."""
    power = np.arange(len(rest) - 1, 0, -1.0)
    for each in known:
        power -= _behind(each) ** 2
    gain = np.where(power > MIN_POWER, _behind(rest) ** 2 / np.maximum(power, MIN_POWER), 0.0)
    return int(np.argmax(gain))


def _step_after(place: int, known: list[FloatArray]) -> FloatArray:
    """(n,) a step after value `place`, orthogonal to `known` and of power 1; 0 where `known` holds it."""
    step = _less((np.arange(len(known[0])) > place).astype(np.float64), known)
    power = _power(step)
    found: FloatArray = step / np.sqrt(power) if power > MIN_POWER else np.zeros(len(step))
    return found


def _power(level: FloatArray) -> float:
    return float(level @ level)


def _behind(values: FloatArray) -> FloatArray:
    """(n - 1,) the sum of all values after each one but the last."""
    found: FloatArray = np.cumsum(values[::-1])[-2::-1]
    return found
