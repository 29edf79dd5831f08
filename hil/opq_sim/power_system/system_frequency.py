"""The frequency of a power system: load noise, and the effect of losing a unit or a load.

Both parts are courses of `opq_sim.mains.grid.Grid`: phase, frequency and ROCOF are one function and its
derivatives, at any moment and in blocks of any size. The swing equation is linear: its responses add up.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from opq_sim.mains.grid import Grid
from opq_sim.mains.profiles import EDGE_S, FloatArray
from opq_sim.power_system.swing_model import SwingModel

NOISE_STEP_S = 0.5
"""Load noise is joined by straight lines: its density is white within 8 % up to 0.4 Hz, and falls above."""
NOISE_CHUNK = 4096
"""Steps integrated at once."""
CHUNKS_HELD = 8
NOISE_STREAM = 0x5357
PIECES_PER_TIME_CONSTANT = 8
MAX_RUNS = 64
"""Number of runs of samples, each in one piece, for which separate passes are worth their cost."""
SETTLED_TIME_CONSTANTS = 30
"""A response is over after this many of the slowest time constant: e ** -30."""


@dataclass(frozen=True, slots=True)
class PowerStep:
    """Generation lost at a moment; below 0: lost load."""

    at_s: float
    lost_mw: float


def system_frequency(model: SwingModel, seed: int = 1, steps: Iterable[PowerStep] = ()) -> Grid:
    """The fundamental of a whole power system, from `t_s` = 0 on.

    It starts at a random point of its noise, given by `seed`. Memory: eight chunks of 2048 s, 4 MB, and
    some 150 bytes for each earlier chunk; a month is integrated in some 2 s when its end is requested first.
    """
    noise = (LoadNoise(model, seed),) if model.noise_hz else ()
    answers = tuple(StepAnswer(model, step) for step in steps)
    return Grid(model.nominal_hz, profiles=(*noise, *answers))


class _Pieces:
    """Polynomials of fifth order between equidistant moments, exact in phase, frequency and ROCOF there."""

    def __init__(self, step_s: float, cycles: FloatArray, hz: FloatArray, rocof: FloatArray) -> None:
        self.step_s = h = step_s
        rise = cycles[1:] - cycles[:-1] - h * hz[:-1] - h**2 / 2 * rocof[:-1]
        speed = h * (hz[1:] - hz[:-1] - h * rocof[:-1])
        bend = h**2 * (rocof[1:] - rocof[:-1])
        powers = np.array(
            [
                cycles[:-1],
                hz[:-1],
                rocof[:-1] / 2,
                (10 * rise - 4 * speed + bend / 2) / h**3,
                (-15 * rise + 7 * speed - bend) / h**4,
                (6 * rise - 3 * speed + bend / 2) / h**5,
            ]
        )
        slopes = powers[1:] * np.arange(1.0, 6.0)[:, None]
        self._powers = (powers, slopes, slopes[1:] * np.arange(1.0, 5.0)[:, None])

    def value(self, since_s: FloatArray, derivative: int) -> FloatArray:
        """(n,) the phase in cycles or its first or second derivative, `since_s` after the first moment."""
        powers = self._powers[derivative]
        last = powers.shape[1] - 1
        place = since_s / self.step_s
        if int(place.min()) == int(place.max()):  # the usual case: a block within one piece
            number = min(int(place[0]), last)
            return _polynomial(powers[:, number].tolist(), since_s - number * self.step_s)
        piece = np.minimum(np.floor(place), last)
        borders = np.flatnonzero(piece[1:] != piece[:-1]) + 1
        if len(borders) > MAX_RUNS:
            each = powers[:, piece.astype(np.int64)]
            return _polynomial(list(each), since_s - piece * self.step_s)
        values = np.empty(len(since_s))
        for start, stop in pairwise((0, *borders.tolist(), len(since_s))):
            number = int(piece[start])
            into_s = since_s[start:stop] - number * self.step_s
            values[start:stop] = _polynomial(powers[:, number].tolist(), into_s)
        return values


def _polynomial(powers: Sequence[FloatArray] | Sequence[float], into_s: FloatArray) -> FloatArray:
    """Horner's scheme, with the same bits for one polynomial as for one each."""
    total = powers[-1] * into_s
    for power in powers[-2:0:-1]:
        total += power
        total *= into_s
    total += powers[0]
    return np.asarray(total)


class StepAnswer:
    """A `FrequencyProfile`: the swing equation's response to a power step, exact at equidistant moments."""

    def __init__(self, model: SwingModel, step: PowerStep) -> None:
        self._answer = _unit_answer(model)
        self._at_s, self._share = step.at_s, step.lost_mw / model.rating_mva

    def hz(self, t_s: FloatArray) -> FloatArray:
        return self._value(t_s, 1)

    def cycles(self, t_s: FloatArray) -> FloatArray:
        return self._value(t_s, 0)

    def rocof_hz_per_s(self, t_s: FloatArray) -> FloatArray:
        return self._value(t_s, 2)

    def _value(self, t_s: FloatArray, derivative: int) -> FloatArray:
        unit, since = self._answer, t_s - self._at_s
        if not len(since) or (high_s := since.max()) < -EDGE_S:
            return np.zeros(len(since))
        low_s = since.min()
        if low_s >= unit.late_s and high_s <= unit.over_s:
            return self._share * unit.late.value(since - unit.late_s, derivative)
        if low_s >= 0 and high_s < unit.late_s:
            return self._share * unit.early.value(since, derivative)
        inside = np.clip(since, 0.0, unit.over_s)
        late = inside >= unit.late_s
        answer = np.empty(len(since))
        answer[~late] = unit.early.value(inside[~late], derivative) if not late.all() else 0.0
        answer[late] = unit.late.value(inside[late] - unit.late_s, derivative) if late.any() else 0.0
        if derivative:
            answer[since > unit.over_s] = unit.held_hz if derivative == 1 else 0.0
        elif unit.held_hz:
            answer += unit.held_hz * np.maximum(since - unit.over_s, 0.0)
        answer[since < -EDGE_S] = 0.0
        return self._share * answer


@dataclass(frozen=True, slots=True)
class _UnitAnswer:
    """The response to the loss of the whole rating: small pieces while it swings, then large ones."""

    early: _Pieces
    late_s: float
    late: _Pieces
    over_s: float
    held_hz: float
    """The frequency from then on; 0 where secondary control takes it back to nominal."""


@lru_cache(maxsize=16)
def _unit_answer(model: SwingModel) -> _UnitAnswer:
    inertia = 2 * model.inertia_s
    matrix = np.array(
        [
            [-model.damping_pu / inertia, 1 / inertia, 1 / inertia],
            [-1 / (model.droop_pu * model.governor_s), -1 / model.governor_s, 0.0],
            [-model.secondary_per_s, 0.0, 0.0],
        ]
    )
    if not model.secondary_per_s:
        matrix = matrix[:2, :2]  # of frequency and governors alone
    rates, shapes = np.linalg.eig(matrix)
    lost = np.zeros(len(matrix))
    lost[0] = -model.nominal_hz / inertia
    sizes = shapes[0] * np.linalg.solve(shapes, lost)
    # secondary control takes the frequency back to nominal, so that nothing grows with time
    held_hz = 0.0 if model.secondary_per_s else -float((sizes / rates).sum().real)

    def pieces(start_s: float, step_s: float, count: int) -> _Pieces:
        since_s = start_s + step_s * np.arange(count + 1)
        growth = np.exp(np.outer(since_s, rates))
        cycles, hz = (((growth - 1) @ (sizes / rates**power)).real for power in (2, 1))
        if held_hz:
            cycles += held_hz * since_s
        return _Pieces(step_s, cycles, hz, (growth @ sizes).real)

    slowest, second = np.sort(-rates.real)[:2]
    step_s = float(1 / (PIECES_PER_TIME_CONSTANT * np.abs(rates).max()))
    count = math.ceil(SETTLED_TIME_CONSTANTS / second / step_s)
    late_step_s = float(1 / (PIECES_PER_TIME_CONSTANT * slowest))
    late_count = SETTLED_TIME_CONSTANTS * PIECES_PER_TIME_CONSTANT
    late_s = count * step_s
    late = pieces(late_s, late_step_s, late_count)
    over_s = late_s + late_count * late_step_s
    return _UnitAnswer(pieces(0.0, step_s, count), late_s, late, over_s, held_hz)


class LoadNoise:
    """A `FrequencyProfile`: the wander of the frequency under load noise, by seed, from t = 0 on.

    Integrated in chunks one after the other, each from the state at the end of the previous one; before t = 0
    the frequency is that of t = 0.
    """

    def __init__(self, model: SwingModel, seed: int) -> None:
        self._model, self._seed = model, seed
        self._step = _noise_step(model.noise_primary_per_s, model.noise_secondary_per_s2)
        self._size = model.noise_hz / self._step.unit_hz
        first = _normal(seed, -1)[:2] * model.noise_hz
        self._states = [np.array([first[0] / model.noise_secondary_per_s2**0.5, first[1]])]
        self._first = (float(self._states[0][0]), float(self._states[0][1]))
        self._held: OrderedDict[int, _Pieces] = OrderedDict()
        self._lock = threading.Lock()

    def hz(self, t_s: FloatArray) -> FloatArray:
        return self._value(t_s, 1)

    def cycles(self, t_s: FloatArray) -> FloatArray:
        gained = self._value(t_s, 0)
        gained -= self._first[0]
        early = t_s < 0
        return np.where(early, self._first[1] * t_s, gained) if early.any() else gained

    def rocof_hz_per_s(self, t_s: FloatArray) -> FloatArray:
        return np.where(t_s < 0, 0.0, self._value(t_s, 2))

    def _value(self, t_s: FloatArray, derivative: int) -> FloatArray:
        if not len(t_s):
            return np.zeros(0)
        since, span_s = np.maximum(t_s, 0.0), NOISE_CHUNK * NOISE_STEP_S
        first, last = int(since.min() / span_s), int(since.max() / span_s)
        if first == last:
            since -= first * span_s
            return self._pieces(first).value(since, derivative)
        chunks = (since / span_s).astype(np.int64)
        values = np.empty(len(t_s))
        for chunk in np.unique(chunks):
            here = chunks == chunk
            values[here] = self._pieces(int(chunk)).value(since[here] - chunk * span_s, derivative)
        return values

    def _pieces(self, chunk: int) -> _Pieces:
        with self._lock:
            while len(self._states) <= chunk + 1 and chunk not in self._held:
                self._integrate(len(self._states) - 1)
            if chunk not in self._held:
                self._integrate(chunk)
            self._held.move_to_end(chunk)
            return self._held[chunk]

    def _integrate(self, chunk: int) -> None:
        """Integrates a chunk from the state before it, by a prefix sum in which each doubling reaches
        twice as far back.
        """
        step = self._step
        forces = self._size * np.append(_normal(self._seed, chunk), _normal(self._seed, chunk + 1)[:1])
        cycles = np.concatenate(
            ([self._states[chunk][0]], step.now[0] * forces[:-1] + step.next[0] * forces[1:])
        )
        hz = np.concatenate(([self._states[chunk][1]], step.now[1] * forces[:-1] + step.next[1] * forces[1:]))
        reach, power = 1, step.matrix
        while reach < len(hz):
            (a, b), (c, d) = power.tolist()
            before_cycles, before_hz = cycles[:-reach].copy(), hz[:-reach].copy()
            cycles[reach:] += a * before_cycles + b * before_hz
            hz[reach:] += c * before_cycles + d * before_hz
            reach, power = 2 * reach, _product(power, power)
        rocof = forces - self._model.noise_primary_per_s * hz - self._model.noise_secondary_per_s2 * cycles
        if len(self._states) == chunk + 1:
            self._states.append(np.array([cycles[-1], hz[-1]]))
        self._held[chunk] = _Pieces(NOISE_STEP_S, cycles, hz, rocof)
        if len(self._held) > CHUNKS_HELD:
            self._held.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _NoiseStep:
    """One step of the state [cycles, Hz], while the force changes linearly from one value to the next."""

    matrix: FloatArray
    now: FloatArray
    next: FloatArray
    unit_hz: float
    """Standard deviation of the frequency under forces of unit variance."""


@lru_cache(maxsize=16)
def _noise_step(primary_per_s: float, secondary_per_s2: float) -> _NoiseStep:
    """The exact step: the matrix exponential, by its series, of the state with the force and its slope."""
    h = NOISE_STEP_S
    whole = np.zeros((4, 4))
    whole[0, 1] = h
    whole[1, :3] = -secondary_per_s2 * h, -primary_per_s * h, h
    whole[2, 3] = 1.0
    total, term = np.eye(4), np.eye(4)
    for order in range(1, 25):
        term = _product(term, whole) / order
        total = total + term
    matrix, following = total[:2, :2], total[:2, 3]
    now = total[:2, 2] - following
    variance, answer = following[1] ** 2, _product(matrix, following[:, None])[:, 0] + now
    while True:
        variance += answer[1] ** 2
        answer = _product(matrix, answer[:, None])[:, 0]
        if answer @ answer < 1e-12 * variance:
            return _NoiseStep(matrix, now, following, float(variance**0.5))


def _product(a: FloatArray, b: FloatArray) -> FloatArray:
    """A matrix product with a fixed order of summation: a library's last bit may depend on the processor."""
    total = a[:, :1] * b[:1, :]
    for k in range(1, a.shape[1]):
        total = total + a[:, k : k + 1] * b[k : k + 1, :]
    return np.asarray(total)


def _normal(seed: int, chunk: int) -> FloatArray:
    """(NOISE_CHUNK,) unit normal values of a chunk."""
    stream = np.random.SeedSequence((seed, NOISE_STREAM, chunk + 1))
    return np.random.Generator(np.random.PCG64(stream)).standard_normal(NOISE_CHUNK)
