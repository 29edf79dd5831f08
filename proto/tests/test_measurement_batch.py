"""A batch gives back each Measurement that was put in, whatever is done with the batch."""

from dataclasses import fields, replace
from math import nan

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_proto.decision import Nominal, window_ns
from opq_proto.measurement.batch import ARRAYS, Measurements, joined
from opq_proto.measurement.fields import METRIC_NAMES
from opq_proto.measurement.wire import batches_of
from opq_proto.messages import NOMINAL_HZ, NOMINAL_V, Measurement, Metric, TimeSource

NOMINALS = {str(box): Nominal(100.0 + box, 50.0) for box in range(1, 5)}
numbers = st.integers(0, 2**63 - 1)
times_ns = st.integers(0, 2**62 - 1)
values = st.floats(allow_nan=True, width=64)
metrics = st.builds(Metric, values, values, values)
usual = st.fixed_dictionaries(dict.fromkeys(METRIC_NAMES, metrics))
others = st.dictionaries(st.sampled_from([*METRIC_NAMES, "h3", "pst", "rule_x", "missing_dark_s"]), metrics)


def optional(*strategies: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.none() | st.one_of(*strategies)


rows = st.builds(
    Measurement,
    st.sampled_from(sorted(NOMINALS)),
    st.integers(0, 2**42),
    usual | others,
    optional(times_ns),
    optional(times_ns),
    optional(st.integers(0, 2**32 - 1)),
    st.sampled_from(TimeSource),
    optional(numbers),
    optional(numbers),
    st.booleans(),
    st.booleans(),
    optional(st.floats(*NOMINAL_V)),
    optional(st.floats(*NOMINAL_HZ)),
    optional(st.integers(1, 2**63 - 1)),
    optional(st.integers(1, 2**63 - 1)),
    optional(numbers),
    optional(st.integers(0, 2**32 - 1)),
    optional(st.integers(1, 2**63 - 1)),
)


def made(given_rows: list[Measurement]) -> list[Measurements]:
    return batches_of(given_rows, lambda box_id, *_: NOMINALS[box_id])


def text(row: Measurement) -> str:
    """In which NaN equals NaN, and metrics have one order."""
    return repr(replace(row, metrics=dict(sorted(row.metrics.items()))))


def by_box(given_rows: list[Measurement]) -> dict[str, list[str]]:
    return {box_id: [text(row) for row in given_rows if row.box_id == box_id] for box_id in NOMINALS}


def test_arrays_are_those_of_the_table() -> None:
    of_class = [each.name for each in fields(Measurements)]
    beside = ["box_ids", "nominals", "which", "metrics", "backfilled", "extra"]
    assert sorted(of_class) == sorted([*beside, *ARRAYS])


@settings(max_examples=50, deadline=None)
@given(put=st.lists(rows, max_size=5))
def test_each_row_is_the_measurement_put_in(put: list[Measurement]) -> None:
    batches = made(put)
    found = [batch.row(at) for batch in batches for at in range(len(batch))]
    assert by_box(found) == by_box(put)
    assert [text(row) for batch in batches for row in batch.rows()] == list(map(text, found))
    for batch in batches:
        assert batch.once and {row.backfilled for row in batch.rows()} == {batch.backfilled}
        for at, row in enumerate(batch.rows()):
            assert (int(batch.start_ns[at]), int(batch.end_ns[at])) == window_ns(row)
            assert bool(batch.crossing[at]) == row.crossing
            assert bool(batch.irregular[at]) == (at in batch.extra)
            assert batch.nominal(at) == NOMINALS[row.box_id] and batch.ids[at] == row.box_id
            for place, name in enumerate(METRIC_NAMES):
                metric = row.metrics.get(name, Metric(nan, nan, nan))
                assert repr(Metric(*batch.values[place, :, at].tolist())) == repr(metric)


@settings(max_examples=30, deadline=None)
@given(put=st.lists(rows, min_size=1, max_size=5), data=st.data())
def test_parts_joined_again_have_the_same_rows(put: list[Measurement], data: st.DataObject) -> None:
    batches = made(put)
    parts = []
    for batch in batches:
        mask = np.array([data.draw(st.booleans()) for _ in range(len(batch))], np.bool_)
        own = [batch.part(mask), batch.part(np.flatnonzero(~mask))]
        assert [text(row) for part in own for row in part.rows()] == [
            text(batch.row(at)) for at in [*np.flatnonzero(mask), *np.flatnonzero(~mask)]
        ]
        parts += [part for part in own if len(part)]
    whole = joined(parts)
    assert by_box([row for each in whole for row in each.rows()]) == by_box(put)
    for each in whole:
        rounds = each.rounds()
        assert all(part.once for part in rounds)
        assert by_box([row for part in rounds for row in part.rows()]) == by_box(each.rows())


def test_windows_state_time_and_nominal_values() -> None:
    which, end_ns = np.array([1, 0, 1]), np.array([5_000_000_000, 5_000_600_000, 6_000_000_000])
    values = np.arange(36, dtype=np.float32).reshape(3, 4, 3)
    nominals = Nominal(120.0, 60.0), Nominal(15_000.0, 16.7)
    batch = Measurements.of_windows(
        ("1", "20"), nominals, which, end_ns - 10**9, end_ns, values, 100, TimeSource.GPS
    )
    metrics = {name: Metric(*values[1, at].tolist()) for at, name in enumerate(METRIC_NAMES)}
    own = Measurement("1", 5001, metrics, 4_000_600_000, 5_000_600_000, 100, TimeSource.GPS)
    assert batch.row(1) == replace(own, nominal_v=120.0, nominal_hz=60.0)
    assert (batch.row(2).nominal_hz, batch.nominal(2), batch.once) == (16.7, nominals[1], False)
    assert batch.row(2) is batch.row(2), "a row is made once"
