"""Cycles: samples of mains as what earlier cycles (`predictor.py`) do not tell of them.

    body = period u32 (1/65536 sample), parts u8, delay_shift u8, gain_shift u8, classes u8, levels u8,
           then runs (`entropy.py`): opening, delays, delay slopes, gains, gain slopes, level of each
           stretch, residuals by level and class                                      little endian

The opening, a cycle and a bit, is second differences. Residuals lie in a run by the level of their stretch
(quiet to loud; a dip would widen the table of all others) and by class: how far the prediction lies from a
whole number. Where the noise is below a count that says nearly everything; a prediction of 7.1 hardly ever
meets a 6. One that lies below its whole number has its residual's sign turned, which halves the classes.
"""

import math
import struct
from typing import Final

import numpy as np

from opq_gateway.ring.entropy import decode as decode_runs
from opq_gateway.ring.entropy import encode as encode_runs
from opq_gateway.ring.period import period_samples
from opq_gateway.ring.predictor import (
    LEAST_PERIOD,
    MOST_PERIOD,
    RAMP,
    UNIT,
    Floats,
    Integers,
    Predictor,
    Setup,
    ramps,
)

_HEAD: Final = struct.Struct("<IBBBBB")
_BEFORE_RESIDUALS: Final = 6
MOST_CLASSES, MOST_LEVELS = 5, 3
STEP: Final = 0.25
"""Of the noise: told delays and gains are this coarse. Half of it costs as much as it saves."""
FINE_BELOW: Final = 1.0
"""Counts of noise below which stretches are told in two parts, and residuals by class."""
_LEVELS_FROM_BIT: Final = 0.02


def encode(values: Integers) -> bytes | None:
    """(n,) whole numbers in the range of int16; None where no period is found or n is below three."""
    period = period_samples(values, LEAST_PERIOD, MOST_PERIOD)
    if period is None or len(values) < 3 * period:
        return None
    noise = max(0.3, _noise(values))
    fine = noise < FINE_BELOW
    setup = Setup(
        period=round(period * 65536),
        parts=2 if fine else 1,
        delay_shift=_shift(float(np.sqrt(np.mean((values[2:] - values[:-2]) ** 2.0))), noise),
        gain_shift=_shift(float(np.sqrt(np.mean(values**2.0))), noise),
    )
    predicted, told = _told(values, setup)
    at = setup.opening_samples
    whole, turned, classes = _split(predicted, MOST_CLASSES if fine else 1)
    residuals = _wrapped((values[at:] - whole) * turned)
    levels = _levels(residuals, setup.stretch_samples)
    keys = np.repeat(levels, setup.stretch_samples)[: len(residuals)] * MOST_CLASSES + classes
    runs = [_wrapped(np.diff(values[:at], n=2, prepend=[0, 0])), *told, levels]
    most_levels, most_classes = int(levels.max()) + 1, MOST_CLASSES if fine else 1
    for level in range(most_levels):
        runs += [residuals[keys == level * MOST_CLASSES + kind] for kind in range(most_classes)]
    head = _HEAD.pack(
        setup.period, setup.parts, setup.delay_shift, setup.gain_shift, most_classes, most_levels
    )
    return head + encode_runs(runs)


def decode(body: bytes, samples: int) -> Integers:
    """The values of `encode`.

    Raises:
        ValueError: damaged.
    """
    if len(body) < _HEAD.size:
        raise ValueError("chunk is damaged: its head is torn")
    period, parts, delay_shift, gain_shift, classes, levels = _HEAD.unpack_from(body)
    setup = Setup(period, parts, delay_shift, gain_shift)
    if not (
        LEAST_PERIOD <= period / 65536 <= MOST_PERIOD
        and parts in (1, 2)
        and max(delay_shift, gain_shift) <= 64
        and 1 <= classes <= MOST_CLASSES
        and 1 <= levels <= MOST_LEVELS
        and setup.opening_samples < samples
    ):
        raise ValueError("chunk is damaged: its head makes no sense")
    runs = decode_runs(body[_HEAD.size :], 2 * samples + 64)
    opening, told, level_of = runs[0], runs[1:5], runs[5] if len(runs) > 5 else np.zeros(0, np.int64)
    stretches = -(-(samples - setup.opening_samples) // setup.stretch_samples)
    if (
        len(runs) != _BEFORE_RESIDUALS + classes * levels
        or len(opening) != setup.opening_samples
        or any(len(run) != stretches * parts for run in told)
        or len(level_of) != stretches
        or not 0 <= int(level_of.min()) <= int(level_of.max()) < levels
        or sum(len(run) for run in runs[_BEFORE_RESIDUALS:]) != samples - setup.opening_samples
    ):
        raise ValueError("chunk is damaged: its runs do not fit its head")
    predictor = Predictor(setup, samples)
    predictor.history[: len(opening)] = _wrapped(np.cumsum(np.cumsum(opening)))
    residuals = Residuals(runs[_BEFORE_RESIDUALS:], classes)
    delays, gains = _per_sample(told[0], told[1], setup), _per_sample(told[2], told[3], setup)
    for index, level in enumerate(level_of.tolist()):
        at = setup.opening_samples + index * setup.stretch_samples
        size = min(setup.stretch_samples, samples - at)
        cycles = predictor.cycles(at, size)
        if size < setup.stretch_samples:
            delays[index, :size], gains[index, :size] = (
                _last(told[k], told[k + 1], setup, size) for k in (0, 2)
            )
        predicted = predictor.corrected(cycles, delays[index, :size], gains[index, :size])
        predictor.history[at : at + size] = residuals.added(predicted, level)
        predictor.steer(at, told[0][index * parts : (index + 1) * parts])
    return predictor.history.astype(np.int64)


class Residuals:
    """The runs of residuals, each read from its front."""

    def __init__(self, runs: list[Integers], classes: int) -> None:
        self._runs = runs
        self._classes = classes
        self._at = [0] * len(runs)

    def added(self, predicted: Floats, level: int) -> Integers:
        """The values of a stretch.

        Raises:
            ValueError: a run ends early.
        """
        whole, turned, classes = _split(predicted, self._classes)
        first = level * self._classes
        if self._classes == 1:
            found = self._taken(first, len(whole))
        else:
            found = np.empty(len(whole), np.int64)
            sizes = np.bincount(classes, minlength=self._classes).tolist()
            order = classes.astype(np.uint8).argsort(kind="stable")
            found[order] = np.concatenate([self._taken(first + k, size) for k, size in enumerate(sizes)])
        return _wrapped(whole + turned * found)

    def _taken(self, run: int, size: int) -> Integers:
        at = self._at[run]
        self._at[run] = at + size
        taken = self._runs[run][at : at + size]
        if len(taken) < size:
            raise ValueError("chunk is damaged: a run of residuals ends early")
        return taken


def _split(predicted: Floats, classes: int) -> tuple[Integers, Integers, Integers]:
    """Whole number nearest to each Q12 prediction, -1 where the prediction is below it, and the class."""
    rounded = predicted.astype(np.int64) + UNIT // 2
    whole = rounded >> 12
    off = (rounded & (UNIT - 1)) - UNIT // 2
    return whole, np.where(off < 0, -1, 1), np.abs(off) * classes // (UNIT // 2 + 1)


def _told(values: Integers, setup: Setup) -> tuple[Floats, list[Integers]]:
    """Predictions behind the opening, Q12, and what has to be told: level and slope of delay and gain."""
    predictor = Predictor(setup, len(values))
    predictor.history[:] = values
    predicted = []
    told: list[list[Integers]] = [[], [], [], []]
    scale = np.repeat([2.0**-setup.delay_shift, 2.0**-setup.gain_shift], 2 * setup.parts)
    for at in range(setup.opening_samples, len(values), setup.stretch_samples):
        wanted = values[at : at + setup.stretch_samples]
        cycles = predictor.cycles(at, len(wanted))
        ramp = ramps(len(wanted), setup.parts)
        basis = np.concatenate(((cycles[2:] - cycles[:-2]) * ramp, cycles[1:-1] * ramp)) * scale[:, None]
        square = basis @ basis.T
        square[np.diag_indices_from(square)] += 1e-6 * np.trace(square) / len(square) + 1e-6
        found = np.linalg.solve(square, basis @ (wanted * UNIT - cycles[1:-1]))
        numbers = np.clip(np.rint(found), -32768, 32767)
        delay, gain = numbers[: 2 * setup.parts], numbers[2 * setup.parts :]
        predicted.append(predictor.corrected(cycles, delay @ ramp, gain @ ramp))
        for run, part in zip(told, (delay[::2], delay[1::2], gain[::2], gain[1::2]), strict=True):
            run.append(part.astype(np.int64))
        predictor.steer(at, told[0][-1])
    return np.concatenate(predicted), [np.concatenate(run) for run in told]


def _per_sample(level: Integers, slope: Integers, setup: Setup) -> Floats:
    """Told numbers of full stretches spread over their samples, (stretches, samples): one exact product."""
    numbers = np.stack((level.reshape(-1, setup.parts), slope.reshape(-1, setup.parts)), axis=2)
    return numbers.reshape(-1, 2 * setup.parts).astype(np.float64) @ ramps(setup.stretch_samples, setup.parts)


def _last(level: Integers, slope: Integers, setup: Setup, samples: int) -> Floats:
    """The same of the last stretch, which is shorter."""
    numbers = np.stack((level[-setup.parts :], slope[-setup.parts :]), axis=1).reshape(-1)
    return numbers.astype(np.float64) @ ramps(samples, setup.parts)


def _levels(residuals: Integers, stretch: int) -> Integers:
    """0 .. 2 of each stretch by its size; all 0 where the sizes are of one kind."""
    starts = np.arange(0, len(residuals), stretch)
    sizes = np.diff(np.append(starts, len(residuals)))
    power = np.add.reduceat(residuals.astype(np.float64) ** 2, starts) / sizes + 0.02
    gain_bits = 0.5 * (np.log2(np.average(power, weights=sizes)) - np.average(np.log2(power), weights=sizes))
    if gain_bits < _LEVELS_FROM_BIT:
        return np.zeros(len(power), np.int64)
    return np.digitize(power, np.quantile(power, [0.5, 0.85])).astype(np.int64)


def _noise(values: Integers) -> float:
    """Standard deviation by fourth differences, which a wave of up to 1 kHz hardly enters."""
    return float(np.median(np.abs(np.diff(values, n=4)))) / (0.6745 * math.sqrt(70))


def _shift(rms: float, noise: float) -> int:
    """So that a step of what is told moves the prediction by STEP of the noise."""
    return max(0, round(math.log2(max(1.0, RAMP * rms / (STEP * noise)))))


def _wrapped(values: Integers) -> Integers:
    """Modulo 2**16 into int16's range, so that every residual fits whatever was predicted."""
    return ((values + 32768) & 65535) - 32768
