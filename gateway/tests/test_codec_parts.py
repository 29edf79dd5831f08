"""The codec's parts: prediction is exact, runs cost their entropy, periods are found."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opq_gateway.ring.codec import entropy, shapes, tuples
from opq_gateway.ring.codec.predictor import (
    GROUP_STRETCHES,
    Predictor,
    PredictorSetup,
    PredictorState,
    corrected,
    groups,
    period_samples,
    ramps,
    taps,
)

RNG = np.random.default_rng(11)
Integers = NDArray[np.int64]


def by_hand(history: list[int], setup: PredictorSetup, at: int, samples: int, ahead: int) -> list[int]:
    """What `Predictor.cycles` says it gives, in Python's whole numbers."""
    lags = min(12, ((at - 2) << 16) // setup.period - ahead)
    shares = [[int(tap) for tap in row] for row in taps(lags)]
    out = []
    for k in range(samples + 2):
        total = 0
        for lag in range(lags):
            back = ((at - 2) << 16) - (ahead + lag + 1) * setup.period
            row = shares[lag * 256 + ((back >> 8) & 255)]
            total += sum(tap * history[(back >> 16) + k + point] for point, tap in enumerate(row))
        out.append(total // 2**12)  # Q24 to Q12
    return out


@settings(max_examples=40, deadline=None)
@given(
    period=st.integers(40 << 16, 60 << 16),
    cycles=st.integers(1, 14),
    numbers=st.lists(st.integers(-32_768, 32_767), min_size=8, max_size=8),
    shifts=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    extreme=st.booleans(),
    beside=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_a_prediction_is_the_one_of_whole_numbers(
    period: int,
    cycles: int,
    numbers: list[int],
    shifts: tuple[int, int],
    extreme: bool,
    beside: bool,
    seed: int,
) -> None:
    setup = PredictorSetup(period, 2, *shifts)
    state = PredictorState(setup)
    for _ in range(cycles - 1):
        state.advance(0)
    ahead = state.ahead
    samples = setup.opening_samples + cycles * setup.stretch_samples
    chance = np.random.default_rng(seed)
    counts = (
        chance.choice([-32_768, 32_767], samples) if extreme else chance.integers(-32_768, 32_768, samples)
    )
    other = PredictorSetup(period - (3 << 16), 1, 3, 3)  # beside it, of another period and length
    predictor = Predictor([setup, other] if beside else [setup], cycles)
    at = samples - setup.stretch_samples
    known = at - ahead * setup.stretch_samples
    predictor.history[0, :known] = counts[:known]
    periods, lags = np.array([[period, other.period]]), np.array([[state.lags[-1]] * 2])
    chunks = len(predictor.history)
    found = predictor.cycles(cycles - 1, periods[:, :chunks], lags[:, :chunks], ahead)[0, 0]
    unknown = [10**6] * (samples - known)
    wanted = by_hand([*counts[:known].tolist(), *unknown], setup, at, setup.stretch_samples, ahead)
    assert found.tolist() == wanted

    ramp = ramps(setup.stretch_samples, 2)
    told = np.array(numbers, dtype=np.float64).reshape(2, 4)
    delay, gain = (numbers_of @ (ramp * 2.0**-shift) for numbers_of, shift in zip(told, shifts, strict=True))
    whole = [
        [
            sum(number * int(row[k]) for number, row in zip(numbers_of, ramp, strict=True))
            for k in range(ramp.shape[1])
        ]
        for numbers_of in (numbers[:4], numbers[4:])
    ]
    by_fractions = [
        wanted[k + 1]
        + floor(Fraction((wanted[k + 2] - wanted[k]) * whole[0][k], 1 << shifts[0]))
        + floor(Fraction(wanted[k + 1] * whole[1][k], 1 << shifts[1]))
        for k in range(ramp.shape[1])
    ]
    assert corrected(found, delay, gain).tolist() == by_fractions


@pytest.mark.parametrize("period", [32 << 16, (200 << 16) + 65_535])
@pytest.mark.parametrize("push", [-32_768, 0, 32_767])
def test_a_steered_period_reads_only_decoded_samples(period: int, push: int) -> None:
    setup = PredictorSetup(period, 1, 4, 4)
    stretches = 40
    predictor = Predictor([setup], stretches)
    state = PredictorState(setup)
    for _ in range(stretches - 1):
        state.advance(push)
    periods, lags = np.array(state.periods)[:, None], np.array(state.lags)[:, None]
    assert (lags >= 1).all()
    for first, end in groups(stretches):
        known = setup.opening_samples + first * setup.stretch_samples
        predictor.history[0, :known], predictor.history[0, known:] = 1.0, np.inf
        found = predictor.cycles(first, periods[first:end], lags[first:end])
        assert found.shape == (end - first, 1, setup.stretch_samples + 2)
        assert np.isfinite(found).all()


@given(st.integers(0, 400))
def test_groups_hold_every_stretch_once(stretches: int) -> None:
    found = groups(stretches)
    assert [index for first, end in found for index in range(first, end)] == list(range(stretches))
    assert all(end - first <= min(first + 1, GROUP_STRETCHES) for first, end in found)


def test_a_course_counts_stretches_as_groups_do() -> None:
    state = PredictorState(PredictorSetup(200 << 16, 1, 4, 4))
    for first, end in groups(50):
        for index in range(first, end):
            assert state.ahead == index - first
            state.advance(0)


def decoded(data: bytes, centres: list[int], most: int) -> list[Integers]:
    return entropy.decode_runs([entropy.CodedRuns(data, centres, most)])[0]


def entropy_bits(run: Integers) -> float:
    counts = np.unique(run, return_counts=True)[1]
    return float(-np.sum(counts * np.log2(counts / len(run))))


@pytest.mark.parametrize("sigma", [0.15, 0.5, 2.0, 30.0])
def test_a_normal_run_costs_its_entropy(sigma: float) -> None:
    told = np.rint(RNG.normal(0, 20, 500)).astype(np.int64)  # its low bits fill the lanes
    runs = [told, np.rint(RNG.normal(0, sigma, 40_000)).astype(np.int64)]
    data = entropy.encode_runs(runs, [0, 0])
    for one, two in zip(decoded(data, [0, 0], 40_500), runs, strict=True):
        np.testing.assert_array_equal(one, two)
    bits = 500 * np.log2(20 * np.sqrt(2 * np.pi * np.e)) + entropy_bits(runs[1])
    assert (8 * len(data) - bits) / 40_500 < 0.07


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 6000), st.floats(0, 30_000), st.integers(-64, 64), st.booleans()),
        max_size=6,
    ),
    st.integers(0, 1000),
)
def test_any_runs_come_back(kinds: list[tuple[int, float, int, bool]], seed: int) -> None:
    chance = np.random.default_rng(seed)
    runs = []
    for length, sigma, _, heavy in kinds:
        values = chance.standard_cauchy(length) if heavy else chance.normal(0, 1, length)
        runs.append(np.clip(np.rint(sigma * values), -32_768, 32_767).astype(np.int64))
    centres = [centre for _, _, centre, _ in kinds]
    coded = entropy.CodedRuns(entropy.encode_runs(runs, centres), centres, sum(map(len, runs)))
    others = [run[::2] for run in runs]
    other = entropy.CodedRuns(entropy.encode_runs(others, centres), centres, sum(map(len, others)))
    for back in (*entropy.decode_runs([coded]), entropy.decode_runs([other, coded])[1]):
        assert len(back) == len(runs)
        for one, two in zip(back, runs, strict=True):
            np.testing.assert_array_equal(one, two)


@settings(max_examples=100, deadline=None)
@given(
    shape=st.integers(0, 191),
    centre=st.integers(-64, 64),
    length=st.integers(1, 300),
    far=st.integers(0, 5),
    seed=st.integers(0, 1000),
)
def test_tuples_round_trip_or_report_failure(
    shape: int, centre: int, length: int, far: int, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    run = np.rint(chance.normal(centre / 64, shapes.sigma_64(shape) / 64, length)).astype(np.int64)
    run[chance.integers(0, length, far)] = 30_000
    laid = tuples.tuple_layout(shape, centre)
    symbols = tuples.joined(run, shape, centre)
    assert (
        len(symbols) == -(-length // laid.size)
        and (tuples.tuple_frequencies(shape, centre)[symbols] > 0).all()
    )
    escaped = tuples.escaped(symbols, laid, length)
    found = tuples.parted(symbols, laid, length) << shapes.low_bits(shape)
    wanted = run >> shapes.low_bits(shape) << shapes.low_bits(shape)
    plain = np.delete(np.arange(length), escaped)
    np.testing.assert_array_equal(found[plain], wanted[plain])
    assert set(np.flatnonzero(run == 30_000)) <= set(escaped) or shapes.low_bits(shape)
    assert len(escaped) <= laid.size * max(far, len(run) // 20 + 4)


def test_nearly_constant_values_go_four_at_once() -> None:
    assert [tuples.tuple_layout(shape, 0).size for shape in (0, 8, 12, 16, 30)] == [4, 4, 3, 2, 1]


def test_excess_values_are_refused_early() -> None:
    data = entropy.encode_runs([np.zeros(5000, np.int64)], [0])
    with pytest.raises(ValueError, match="more than 4999"):
        decoded(data, [0], 4999)


@pytest.mark.parametrize("centre", [-64, 0, 5, 64])
def test_every_table_is_whole(centre: int) -> None:
    for shape in range(256):
        if shapes.COARSE <= shape < shapes.COARSE + shapes.COARSE_FROM:
            continue
        for table in (shapes.frequencies(shape, centre), tuples.tuple_frequencies(shape, centre)):
            assert table.sum() == shapes.TOTAL and table.min() >= 0 and table[shapes.ESCAPE] >= 1


@pytest.mark.parametrize("hz", [49.7, 50.0, 59.97, 60.0, 400.0])
def test_the_period_of_mains_is_found(hz: float) -> None:
    at = np.arange(24_000) / 12_000
    wave = 20_000 * np.sin(2 * np.pi * hz * at) + 900 * np.sin(2 * np.pi * 3 * hz * at)
    found = period_samples(np.rint(wave + RNG.normal(0, 20, len(at))).astype(np.int64), 20.0, 2000.0)
    assert found == pytest.approx(12_000 / hz, abs=0.02)


@pytest.mark.parametrize(
    "values", [np.zeros(5000), np.arange(5000), RNG.normal(0, 100, 5000), np.zeros(10), np.zeros(0)]
)
def test_without_a_period_none_is_found(values: NDArray[np.float64]) -> None:
    assert period_samples(values.astype(np.int64), 32.0, 2000.0) is None
