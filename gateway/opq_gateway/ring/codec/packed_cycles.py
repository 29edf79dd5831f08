"""Cycles: codes samples of mains as their differences from a prediction by earlier cycles (`predictor.py`).

    body = period u32 (1/65536 sample), parts u8 | DELAY_STEPS | GAIN_STEPS, delay_shift u8, gain_shift u8,
           classes u8 | order << 4, levels u8, then runs (`entropy.py`): opening, delays, delay slopes,
           gains, gain slopes, level of each stretch, residuals (`residuals.py`)       little endian

The opening, a little more than a cycle, is stored as second differences. Delays and gains are stored as they
are, or as differences (see the flags), because they change little from stretch to stretch.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from opq_gateway.ring.codec.entropy import CodedRuns as RunsCoded
from opq_gateway.ring.codec.entropy import decode_runs, encode_runs
from opq_gateway.ring.codec.predictor import (
    MAX_PERIOD,
    MIN_PERIOD,
    RAMP_SAMPLES,
    UNIT,
    Floats,
    Integers,
    Predictor,
    PredictorSetup,
    PredictorState,
    corrected,
    groups,
    period_samples,
    ramps,
)
from opq_gateway.ring.codec.residuals import (
    MAX_CLASSES,
    MAX_LEVELS,
    MAX_ORDER,
    Classified,
    Kinds,
    Residuals,
    laid_out,
    nearest_counts,
)

_HEAD: Final = struct.Struct("<IBBBBB")
_BEFORE_RESIDUALS: Final = 6
DELAY_STEPS = 0x10
"""Flag: delays are stored as differences."""
GAIN_STEPS = 0x20
"""Flag: gains are stored as differences."""
RESOLUTION_SHARE: Final = 0.4
"""Resolution of coded delays and gains, as a share of the noise. A finer one costs as much as it saves."""
FINE_BELOW: Final = 1.0
"""Noise in counts below which stretches are coded in two parts, and residuals by class."""


def encode_cycles(values: Integers) -> bytes | None:
    """Encodes (n,) whole numbers in the range of int16; None where no period is found or n is below three."""
    period = period_samples(values, MIN_PERIOD, MAX_PERIOD)
    if period is None or len(values) < 3 * period:
        return None
    noise = max(0.3, _noise(values))
    fine = noise < FINE_BELOW
    setup = PredictorSetup(
        period=round(period * 65536),
        parts=2 if fine else 1,
        delay_shift=_shift(float(np.sqrt(np.mean((values[2:] - values[:-2]) ** 2.0))), noise),
        gain_shift=_shift(float(np.sqrt(np.mean(values**2.0))), noise),
    )
    predicted, coefficients = _fit_predictor(values, setup)
    at = setup.opening_samples
    kinds, level_of, residuals = laid_out(values[at:], predicted, setup.stretch_samples, fine)
    flags = 0
    for run, flag in ((0, DELAY_STEPS), (2, GAIN_STEPS)):
        steps = _wrapped(np.diff(coefficients[run], prepend=0))
        if np.abs(steps).sum() < np.abs(coefficients[run]).sum():
            coefficients[run], flags = steps, flags | flag
    opening = _wrapped(np.diff(values[:at], n=2, prepend=[0, 0]))
    head = _HEAD.pack(
        setup.period,
        setup.parts | flags,
        setup.delay_shift,
        setup.gain_shift,
        kinds.classes | kinds.order << 4,
        kinds.levels,
    )
    return head + encode_runs([opening, *coefficients, level_of, *residuals], _centres(kinds))


@dataclass(frozen=True, slots=True)
class CodedCycles:
    """Result of `encode_cycles` and its number of samples; only the first `most` samples are wanted."""

    body: bytes
    samples: int
    most: int


def decode_cycles(coded: Sequence[CodedCycles]) -> list[Integers]:
    """The values of each `encode_cycles`, unpacked together, so that six take four times as long as one.

    Raises:
        ValueError: one is damaged.
    """
    read = [_ChunkReader(one) for one in coded]
    for one, runs in zip(read, decode_runs([one.runs for one in read]), strict=True):
        one.take_runs(runs)
    for classes in {one.kinds.classes for one in read}:
        alike = [one for one in read if one.kinds.classes == classes]
        _walk(sorted(alike, key=lambda one: -one.stretches), classes)
    return [one.values for one in read]


class _ChunkReader:
    """One chunk during unpacking."""

    def __init__(self, coded: CodedCycles) -> None:
        """Reads the head."""
        if len(coded.body) < _HEAD.size:
            raise ValueError("chunk is damaged: its head is torn")
        period, parts, delay_shift, gain_shift, classes, levels = _HEAD.unpack_from(coded.body)
        self._flags = parts & 0xF0
        self.kinds = Kinds(classes & 15, levels, classes >> 4)
        self.setup = setup = PredictorSetup(period, parts & 15, delay_shift, gain_shift)
        self.samples = samples = coded.samples
        if not (
            MIN_PERIOD <= period / 65536 <= MAX_PERIOD
            and setup.parts in (1, 2)
            and max(delay_shift, gain_shift) <= 64
            and 1 <= self.kinds.classes <= MAX_CLASSES
            and 1 <= levels <= MAX_LEVELS
            and self.kinds.order <= MAX_ORDER
            and setup.opening_samples < samples
        ):
            raise ValueError("chunk is damaged: its head makes no sense")
        self.most = min(samples, coded.most)
        self.stretches = setup.stretches(self.most)
        """Number of stretches to decode."""
        self.runs = RunsCoded(coded.body[_HEAD.size :], _centres(self.kinds), 2 * samples + 64)
        self.values: Integers = np.zeros(0, np.int64)

    def take_runs(self, runs: list[Integers]) -> None:
        """Takes the decoded runs."""
        _check(runs, self.setup, self.samples, self.kinds.levels)
        coefficients = runs[1:5]
        for run, flag in ((0, DELAY_STEPS), (2, GAIN_STEPS)):
            if self._flags & flag:
                coefficients[run] = _wrapped(np.cumsum(coefficients[run]))
        self.opening = _wrapped(np.cumsum(np.cumsum(runs[0])))
        self.residuals = Residuals(runs[_BEFORE_RESIDUALS:], runs[5], self.kinds)
        self._coefficients = [run.reshape(-1, self.setup.parts)[: self.stretches] for run in coefficients]

    @property
    def coded_delays(self) -> list[int]:
        """The delay that each stretch codes, for steering the period."""
        found: list[int] = self._coefficients[0].sum(axis=1).tolist()
        return found

    def spread(self, delays: Floats, gains: Floats) -> None:
        """Spreads coded numbers over the samples of stretches, (stretches, samples), by exact products."""
        setup = self.setup
        ramp = ramps(setup.stretch_samples, setup.parts)
        for out, run, shift in ((delays, 0, setup.delay_shift), (gains, 2, setup.gain_shift)):
            numbers = np.stack(self._coefficients[run : run + 2], axis=2).reshape(-1, 2 * setup.parts)
            np.matmul(numbers.astype(np.float64), ramp * 2.0**-shift, out=out)


def _walk(chunks: list[_ChunkReader], classes: int) -> None:
    """Fills in the values of chunks with this number of classes, those with the most stretches first."""
    count = chunks[0].stretches
    predictor = Predictor([one.setup for one in chunks], count)
    history = predictor.history
    for row, one in enumerate(chunks):
        history[row, : len(one.opening)] = one.opening
    delays, gains = np.zeros((2, count, len(chunks), max(one.setup.stretch_samples for one in chunks)))
    for row, one in enumerate(chunks):
        own = np.s_[: one.stretches, row, : one.setup.stretch_samples]
        one.spread(delays[own], gains[own])
    periods, lags = _periods_and_lags(chunks)
    if classes == 1:
        plain = _stacked([_in_rows(one.residuals.in_order(one.setup.stretch_samples), one) for one in chunks])
    else:
        classified = Classified([one.residuals for one in chunks], classes, _sizes(chunks))
    for first, end in groups(count):
        going = sum(one.stretches > first for one in chunks)
        group = np.s_[first:end, :going]
        cycles = predictor.cycles(first, periods[group], lags[group])
        predicted = corrected(cycles, delays[group], gains[group])
        if classes == 1:
            values = nearest_counts(predicted)
            values += plain[group]
        else:
            values = classified.added(predicted, first)
        for row, one in enumerate(chunks[:going]):
            size = one.setup.stretch_samples
            at = one.setup.opening_samples + first * size
            history[row, at : at + (end - first) * size] = values[:, row, :size].reshape(-1)
    if classes > 1:
        classified.check()
    for row, one in enumerate(chunks):
        one.values = history[row, : one.most].astype(np.int64)


def _periods_and_lags(chunks: Sequence[_ChunkReader]) -> tuple[Integers, Integers]:
    """Periods and lags of all stretches, (stretches, chunks); the first chunk has the most."""
    periods, lags = np.zeros((2, chunks[0].stretches, len(chunks)), np.int64)
    for row, one in enumerate(chunks):
        if one.stretches:
            state = PredictorState(one.setup)
            for delay in one.coded_delays[:-1]:
                state.advance(delay)
            periods[: one.stretches, row], lags[: one.stretches, row] = state.periods, state.lags
    return periods, lags


def _sizes(chunks: Sequence[_ChunkReader]) -> Integers:
    """Samples of each stretch, (stretches, chunks); 0 for stretches that are not wanted."""
    most = np.array([one.setup.stretch_samples for one in chunks])
    behind = np.array([one.samples - one.setup.opening_samples for one in chunks])
    behind = np.minimum(behind, [one.stretches * one.setup.stretch_samples for one in chunks])
    before = np.arange(chunks[0].stretches)[:, None] * most
    return np.asarray(np.clip(behind - before, 0, most), np.int64)


def _in_rows(values: NDArray[np.int16], chunk: _ChunkReader) -> NDArray[np.int16]:
    """The values as (stretches, samples), the last stretch filled up with zeros."""
    size = chunk.setup.stretch_samples
    rows = np.zeros(-(-len(values) // size) * size, np.int16)
    rows[: len(values)] = values
    return rows.reshape(-1, size)


def _stacked(tables: list[NDArray[Any]]) -> NDArray[Any]:
    """Tables of rows and columns as (rows, tables, columns), filled up with zeros."""
    if len(tables) == 1:
        return tables[0][:, None]
    shape = max(len(one) for one in tables), len(tables), max(one.shape[1] for one in tables)
    stack = np.zeros(shape, tables[0].dtype)
    for at, one in enumerate(tables):
        stack[: len(one), at, : one.shape[1]] = one
    return stack


def _check(runs: list[Integers], setup: PredictorSetup, samples: int, levels: int) -> None:
    behind = samples - setup.opening_samples
    stretches = setup.stretches(samples)
    wanted = [setup.opening_samples, *4 * [stretches * setup.parts], stretches]
    if [len(run) for run in runs[:_BEFORE_RESIDUALS]] != wanted:
        raise ValueError("chunk is damaged: its runs do not fit its head")
    level_of, residuals = runs[5], runs[_BEFORE_RESIDUALS:]
    if not 0 <= int(level_of.min()) <= int(level_of.max()) < levels or sum(map(len, residuals)) != behind:
        raise ValueError("chunk is damaged: its residuals do not fit its head")


def _centres(kinds: Kinds) -> list[int]:
    return [0] * _BEFORE_RESIDUALS + kinds.centres()


def _fit_predictor(values: Integers, setup: PredictorSetup) -> tuple[Floats, list[Integers]]:
    """Predictions after the opening, in Q12, and the numbers to code: level and slope of delay and gain."""
    predictor = Predictor([setup], setup.stretches(len(values)))
    predictor.history[0, : len(values)] = values
    predicted = []
    coefficients: list[list[Integers]] = [[], [], [], []]
    delay_scale, gain_scale = 2.0**-setup.delay_shift, 2.0**-setup.gain_shift
    scale = np.repeat([delay_scale, gain_scale], 2 * setup.parts)[:, None]
    ramp = ramps(setup.stretch_samples, setup.parts)
    state = PredictorState(setup)
    for index, at in enumerate(range(setup.opening_samples, len(values), setup.stretch_samples)):
        wanted = values[at : at + setup.stretch_samples]
        period, lags = np.array([[state.periods[-1]]]), np.array([[state.lags[-1]]])
        cycles = predictor.cycles(index, period, lags, state.ahead)[0, 0, : len(wanted) + 2]
        ramp_part = ramp[:, : len(wanted)]
        basis = np.concatenate(((cycles[2:] - cycles[:-2]) * ramp_part, cycles[1:-1] * ramp_part)) * scale
        square = basis @ basis.T
        square[np.diag_indices_from(square)] += 1e-6 * np.trace(square) / len(square) + 1e-6
        found = np.linalg.solve(square, basis @ (wanted * UNIT - cycles[1:-1]))
        numbers = np.clip(np.rint(found), -32768, 32767)
        delay, gain = numbers[: 2 * setup.parts], numbers[2 * setup.parts :]
        predicted.append(corrected(cycles, delay @ ramp_part * delay_scale, gain @ ramp_part * gain_scale))
        for run, part in zip(coefficients, (delay[::2], delay[1::2], gain[::2], gain[1::2]), strict=True):
            run.append(part.astype(np.int64))
        state.advance(int(coefficients[0][-1].sum()))
    return np.concatenate(predicted), [np.concatenate(run) for run in coefficients]


def _noise(values: Integers) -> float:
    """Standard deviation of the noise, from fourth differences, because a wave of up to 1 kHz hardly affects
    them."""
    return float(np.median(np.abs(np.diff(values, n=4)))) / (0.6745 * math.sqrt(70))


def _shift(rms: float, noise: float) -> int:
    """Shift with which a step of a coded number moves the prediction by RESOLUTION_SHARE of the noise."""
    return max(0, round(math.log2(max(1.0, RAMP_SAMPLES * rms / (RESOLUTION_SHARE * noise)))))


def _wrapped(values: Integers) -> Integers:
    """Wraps modulo 2**16 into int16's range."""
    return values.astype(np.int16).astype(np.int64)
