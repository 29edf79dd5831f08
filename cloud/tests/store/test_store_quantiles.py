"""95 and 99 % of any span are within 0.05 % of nominal of a naive recount: days, months and their parts."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_cloud.store.intervals.distribution import (
    IntervalSummary,
    pack_summary,
    summary_of,
    summed,
    unpack_summary,
)
from opq_proto.errors import StoreError
from opq_proto.measurement.intervals import IntervalColumns
from opq_proto.messages import Interval, Measurement

SHARES = (0.05, 0.5, 0.95, 0.99)
DAY_NS = 86_400 * 10**9
T0 = 20_470 * DAY_NS
"""2026-01-17: 80 days from here have two whole months."""
DAYS = 80
STEP_NS = 4 * 3_600 * 10**9
ROWS = DAYS * DAY_NS // STEP_NS
NOMINAL = {"rms_v": 100.0, "f_hz": 50.0, "thd_ratio": 1.0}
"""The least in use of each; a THD is of the fundamental."""
NUMBERS = np.random.default_rng(61)
VALUES = {
    "rms_v": (100 + 3 * NUMBERS.standard_t(3, ROWS)).astype(np.float32),
    "f_hz": (50 + 0.02 * NUMBERS.standard_normal(ROWS)).astype(np.float32),
    "thd_ratio": (0.02 + 0.01 * NUMBERS.random(ROWS)).astype(np.float32),
}
STARTS_NS = T0 + STEP_NS * np.arange(ROWS)


def nearest_rank(values: Sequence[float], share: float) -> float:
    """The least value that `share` of the values do not exceed."""
    ranked = sorted(values)
    return ranked[max(0, int(np.ceil(share * len(ranked) - 1e-9)) - 1)]


def agrees(summary: IntervalSummary, name: str, values: Sequence[float], nominal: float) -> None:
    part = summary.distribution(name)
    assert part.count == len(values)
    for share in SHARES if values else ():
        held = part.quantile(share)
        assert held is not None and abs(held - nearest_rank(values, share)) <= 0.0005 * nominal


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    opened = EmbeddedStore(tmp_path_factory.mktemp("quantiles") / "opq.db")
    rows = [
        Measurement(
            "1",
            (start_ns + 600 * 10**9) // 10**6,
            {},
            start_ns=start_ns,
            end_ns=start_ns + 600 * 10**9,
            sequence=at,
            interval=Interval(600_000, False, 1.0, {name: float(each[at]) for name, each in VALUES.items()}),
        )
        for at, start_ns in enumerate(STARTS_NS.tolist())
    ]
    opened.intervals.append(rows[: -ROWS // 10])
    while opened.intervals.settle((T0 + DAYS * DAY_NS) // 10**6):
        pass
    opened.intervals.append(rows[-ROWS // 10 :])  # the last days are rows
    yield opened
    opened.close()


@settings(deadline=None)
@given(first=st.integers(0, ROWS - 1), count=st.integers(0, ROWS), shift=st.integers(-1, 1))
def test_quantiles_of_any_span_equal_its_rows(
    store: EmbeddedStore, first: int, count: int, shift: int
) -> None:
    start_ns = int(STARTS_NS[first]) + shift
    end_ns = start_ns + count * STEP_NS
    chosen = (start_ns <= STARTS_NS) & (end_ns > STARTS_NS)
    summary = store.intervals.summary("1", 600_000, start_ns, end_ns)
    for name, nominal in NOMINAL.items():
        agrees(summary, name, VALUES[name][chosen].tolist(), nominal)


@given(
    nominal=st.sampled_from([100.0, 120.0, 230.0, 400.0]),
    parts=st.lists(st.lists(st.floats(-0.25, 1.5, width=32), max_size=12), min_size=1, max_size=6),
)
def test_any_parts_add_up_to_the_whole(nominal: float, parts: list[list[float]]) -> None:
    volts = [np.array([nominal * each for each in part], np.float32) for part in parts]
    summaries = [unpack_summary(pack_summary(summary_of(columns(each)))) for each in volts]
    agrees(summed(summaries), "rms_v", np.concatenate(volts).tolist(), nominal)


def columns(volts: NDArray[np.float32]) -> IntervalColumns:
    starts = np.arange(len(volts), dtype=np.int64)
    flagged = np.zeros(len(volts), np.bool_)
    return IntervalColumns(
        "1", 600_000, starts, starts + 1, flagged, np.ones(len(volts), np.float32), {"rms_v": volts}
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**40), st.integers(0, 70_000), st.one_of(st.floats(0, 1e9, width=32), st.just(0.1)))
def test_counts_are_read_without_the_rest(intervals: int, flagged: int, covered: float) -> None:
    summary = replace(
        summary_of(columns(np.array([230.0, 231.0], np.float32))),
        intervals=intervals,
        flagged=flagged,
        covered=covered,
    )
    packed = pack_summary(summary)
    whole, counts = unpack_summary(packed), unpack_summary(packed, ())
    assert (counts.intervals, counts.flagged, counts.covered) == (intervals, flagged, covered)
    assert (whole.intervals, whole.flagged, whole.covered) == (
        intervals,
        flagged,
        covered,
    ) and not counts.parts
    with pytest.raises(StoreError):
        unpack_summary(packed[:4] + packed[5:], ())
