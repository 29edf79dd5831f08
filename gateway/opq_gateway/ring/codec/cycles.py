"""Cycles: samples of mains as what earlier cycles (`predictor.py`) do not tell of them.

    body = period u32 (1/65536 sample), parts u8 | DELAY_STEPS | GAIN_STEPS, delay_shift u8, gain_shift u8,
           classes u8 | order << 4, levels u8, then runs (`entropy.py`): opening, delays, delay slopes,
           gains, gain slopes, level of each stretch, residuals (`residuals.py`)       little endian

The opening, a cycle and a bit, is second differences. Delays and gains are as they are, or as differences
(the flags), for on wandering mains one is like the last.
"""

import math
import struct
from typing import Final

import numpy as np

from opq_gateway.ring.codec.entropy import decode as decode_runs
from opq_gateway.ring.codec.entropy import encode as encode_runs
from opq_gateway.ring.codec.period import period_samples
from opq_gateway.ring.codec.predictor import (
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
from opq_gateway.ring.codec.residuals import MOST_CLASSES, MOST_LEVELS, MOST_ORDER, Kinds, Residuals, laid_out

_HEAD: Final = struct.Struct("<IBBBBB")
_BEFORE_RESIDUALS: Final = 6
DELAY_STEPS, GAIN_STEPS = 0x10, 0x20
STEP: Final = 0.4
"""Of the noise: told delays and gains are this coarse. Half of it costs as much as it saves."""
FINE_BELOW: Final = 1.0
"""Counts of noise below which stretches are told in two parts, and residuals by class."""


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
    kinds, level_of, residuals = laid_out(values[at:], predicted, setup.stretch_samples, fine)
    flags = 0
    for run, flag in ((0, DELAY_STEPS), (2, GAIN_STEPS)):
        steps = _wrapped(np.diff(told[run], prepend=0))
        if np.abs(steps).sum() < np.abs(told[run]).sum():
            told[run], flags = steps, flags | flag
    opening = _wrapped(np.diff(values[:at], n=2, prepend=[0, 0]))
    head = _HEAD.pack(
        setup.period,
        setup.parts | flags,
        setup.delay_shift,
        setup.gain_shift,
        kinds.classes | kinds.order << 4,
        kinds.levels,
    )
    return head + encode_runs([opening, *told, level_of, *residuals], _centres(kinds))


def decode(body: bytes, samples: int, most: int | None = None) -> Integers:
    """The values of `encode`; with `most` only the first so many, which takes less time.

    Raises:
        ValueError: damaged.
    """
    if len(body) < _HEAD.size:
        raise ValueError("chunk is damaged: its head is torn")
    period, parts, delay_shift, gain_shift, classes, levels = _HEAD.unpack_from(body)
    parts, flags = parts & 15, parts & 0xF0
    kinds = Kinds(classes & 15, levels, classes >> 4)
    setup = Setup(period, parts, delay_shift, gain_shift)
    if not (
        LEAST_PERIOD <= period / 65536 <= MOST_PERIOD
        and parts in (1, 2)
        and max(delay_shift, gain_shift) <= 64
        and 1 <= kinds.classes <= MOST_CLASSES
        and 1 <= levels <= MOST_LEVELS
        and kinds.order <= MOST_ORDER
        and setup.opening_samples < samples
    ):
        raise ValueError("chunk is damaged: its head makes no sense")
    runs = decode_runs(body[_HEAD.size :], _centres(kinds), 2 * samples + 64)
    _check(runs, setup, samples, levels)
    opening, told, level_of = runs[0], runs[1:5], runs[5]
    for run, flag in ((0, DELAY_STEPS), (2, GAIN_STEPS)):
        if flags & flag:
            told[run] = _wrapped(np.cumsum(told[run]))
    predictor = Predictor(setup, samples)
    predictor.history[: len(opening)] = _wrapped(np.cumsum(np.cumsum(opening)))
    residuals = Residuals(runs[_BEFORE_RESIDUALS:], kinds)
    delays = _per_sample(told[0], told[1], setup, 2.0**-delay_shift)
    gains = _per_sample(told[2], told[3], setup, 2.0**-gain_shift)
    asked = told[0].reshape(-1, parts).sum(axis=1).tolist()
    for index, (level, delay) in enumerate(zip(level_of.tolist(), asked, strict=True)):
        at = setup.opening_samples + index * setup.stretch_samples
        if most is not None and at >= most:
            break
        size = min(setup.stretch_samples, samples - at)
        cycles = predictor.cycles(at, size)
        predicted = predictor.corrected(cycles, delays[index][:size], gains[index][:size])
        predictor.history[at : at + size] = residuals.added(predicted, level)
        predictor.steer(at, delay)
    return predictor.history[:most].astype(np.int64)


def _check(runs: list[Integers], setup: Setup, samples: int, levels: int) -> None:
    behind = samples - setup.opening_samples
    stretches = -(-behind // setup.stretch_samples)
    wanted = [setup.opening_samples, *4 * [stretches * setup.parts], stretches]
    if [len(run) for run in runs[:_BEFORE_RESIDUALS]] != wanted:
        raise ValueError("chunk is damaged: its runs do not fit its head")
    level_of, residuals = runs[5], runs[_BEFORE_RESIDUALS:]
    if not 0 <= int(level_of.min()) <= int(level_of.max()) < levels or sum(map(len, residuals)) != behind:
        raise ValueError("chunk is damaged: its residuals do not fit its head")


def _centres(kinds: Kinds) -> list[int]:
    return [0] * _BEFORE_RESIDUALS + kinds.centres()


def _told(values: Integers, setup: Setup) -> tuple[Floats, list[Integers]]:
    """Predictions behind the opening, Q12, and what has to be told: level and slope of delay and gain."""
    predictor = Predictor(setup, len(values))
    predictor.history[:] = values
    predicted = []
    told: list[list[Integers]] = [[], [], [], []]
    delay_scale, gain_scale = 2.0**-setup.delay_shift, 2.0**-setup.gain_shift
    scale = np.repeat([delay_scale, gain_scale], 2 * setup.parts)[:, None]
    ramp = ramps(setup.stretch_samples, setup.parts)
    for at in range(setup.opening_samples, len(values), setup.stretch_samples):
        wanted = values[at : at + setup.stretch_samples]
        cycles = predictor.cycles(at, len(wanted))
        told_by = ramp[:, : len(wanted)]
        basis = np.concatenate(((cycles[2:] - cycles[:-2]) * told_by, cycles[1:-1] * told_by)) * scale
        square = basis @ basis.T
        square[np.diag_indices_from(square)] += 1e-6 * np.trace(square) / len(square) + 1e-6
        found = np.linalg.solve(square, basis @ (wanted * UNIT - cycles[1:-1]))
        numbers = np.clip(np.rint(found), -32768, 32767)
        delay, gain = numbers[: 2 * setup.parts], numbers[2 * setup.parts :]
        predicted.append(
            predictor.corrected(cycles, delay @ told_by * delay_scale, gain @ told_by * gain_scale)
        )
        for run, part in zip(told, (delay[::2], delay[1::2], gain[::2], gain[1::2]), strict=True):
            run.append(part.astype(np.int64))
        predictor.steer(at, int(told[0][-1].sum()))
    return np.concatenate(predicted), [np.concatenate(run) for run in told]


def _per_sample(level: Integers, slope: Integers, setup: Setup, scale: float) -> Floats:
    """Told numbers spread over the samples, (stretches, samples); one exact product for all of them."""
    numbers = np.stack((level.reshape(-1, setup.parts), slope.reshape(-1, setup.parts)), axis=2)
    ramp = ramps(setup.stretch_samples, setup.parts) * scale
    return numbers.reshape(-1, 2 * setup.parts).astype(np.float64) @ ramp


def _noise(values: Integers) -> float:
    """Standard deviation by fourth differences, which a wave of up to 1 kHz hardly enters."""
    return float(np.median(np.abs(np.diff(values, n=4)))) / (0.6745 * math.sqrt(70))


def _shift(rms: float, noise: float) -> int:
    """So that a step of what is told moves the prediction by STEP of the noise."""
    return max(0, round(math.log2(max(1.0, RAMP * rms / (STEP * noise)))))


def _wrapped(values: Integers) -> Integers:
    """Modulo 2**16 into int16's range."""
    return values.astype(np.int16).astype(np.int64)
