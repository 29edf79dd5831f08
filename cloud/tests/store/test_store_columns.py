"""Measurements as columns are stored as their objects would be, by both stores."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opq_cloud.store import CloudStore
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_proto.decision import Nominal
from opq_proto.measurement.batch import OF_ROWS, Measurements, joined
from opq_proto.messages import Measurement, Metric, TimeSource

START_NS = 1_765_792_486_013_456_789
S = 10**9
BOXES = ("1", "20", "3")
NOMINALS = (Nominal(120.0, 60.0), Nominal(230.0, 50.0), Nominal(120.0, 60.0))


def columns(
    first: int = 0, seconds: int = 40, boxes: tuple[int, ...] = (0, 1, 2), ids: tuple[str, ...] = BOXES
) -> Measurements:
    """One Measurement a second of each Box, second by second."""
    which = np.tile(np.array(boxes, np.int64), seconds)
    second = np.arange(first, first + seconds, dtype=np.int64).repeat(len(boxes))
    start_ns = START_NS + second * S + 1_234_567 * which
    draw = np.random.default_rng(first)
    metrics = draw.uniform(0.01, 240, (len(which), 4, 3)).astype(np.float32)
    nominals = NOMINALS * (len(ids) // len(NOMINALS) + 1)
    return Measurements.of_windows(
        ids, nominals[: len(ids)], which, start_ns, start_ns + S + 17 * which, metrics, 100, TimeSource.GPS
    )


def timed(plain: Measurements, start_ns: np.ndarray, end_ns: np.ndarray) -> Measurements:
    """The same at other times."""
    timestamp_ms = (end_ns + 500_000) // 1_000_000
    return replace(plain, start_ns=start_ns, end_ns=end_ns, timestamp_ms=timestamp_ms)


def stored(store: CloudStore) -> list[list[Measurement]]:
    return [store.measurements(box_id, 0, 2**42) for box_id in BOXES]


def wanted(*parts: Measurements) -> list[list[Measurement]]:
    """As the store gives them back: without nominal values, which are their Box's."""
    rows = [replace(row, nominal_v=None, nominal_hz=None) for part in parts for row in part.rows()]
    return [sorted((row for row in rows if row.box_id == each), key=_time) for each in BOXES]


def _time(row: Measurement) -> int:
    return row.timestamp_ms


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EmbeddedStore]:
    store = EmbeddedStore(tmp_path / "opq.db")
    yield store
    store.close()


def segments(store: EmbeddedStore) -> int:
    with store._database.read() as connection:
        (count,) = connection.execute("SELECT count(*) FROM segments").fetchone()
    return int(count)


def test_columns_come_back_as_their_measurements_and_once(store: CloudStore) -> None:
    whole = columns(0, 4)
    first = replace(whole, **{name: getattr(whole, name)[:9] for name in OF_ROWS})
    assert store.append_columns(first) == 9
    assert store.append_columns(whole) == 3
    assert stored(store) == wanted(whole)
    assert store.counts()["measurements"] == 12


def test_columns_of_a_minute_are_blocks_at_once(embedded: EmbeddedStore) -> None:
    both = columns(0), columns(40)
    assert [embedded.append_columns(each) for each in both] == [120, 120]
    assert segments(embedded) == 2
    assert embedded.append_columns(both[0]) == 0
    assert stored(embedded) == wanted(*both)
    assert embedded.latest_measurements() == {rows[-1].box_id: rows[-1] for rows in wanted(both[1])}
    assert embedded.counts()["measurements"] == 240


def test_overlapping_columns_add_what_is_new(embedded: EmbeddedStore) -> None:
    embedded.append_measurements(columns(0, 45).rows())
    assert embedded.append_columns(columns(40, 40)) == 120 - 15
    assert embedded.append_columns(columns(10, 70)) == 0
    assert [len(rows) for rows in stored(embedded)] == [80, 80, 80]


@pytest.mark.parametrize("what", ["backwards", "not finite", "twice"])
def test_irregular_columns_are_stored_row_by_row(embedded: EmbeddedStore, what: str) -> None:
    """Columns that are not a plain block are stored row by row."""
    told = columns(0, 40, (1,))
    if what == "backwards":
        told = timed(told, told.start_ns[::-1], told.end_ns[::-1])
    if what == "not finite":
        told.metrics[7, 2, 1] = np.inf
    if what == "twice":
        (told,) = joined([told, told])
    assert embedded.append_columns(told) == 40
    assert segments(embedded) == 0
    assert stored(embedded) == wanted(columns(0, 40, (1,)) if what == "twice" else told)


def test_a_block_may_span_months(embedded: EmbeddedStore) -> None:
    told = columns(0, 40, (1,))
    days = np.arange(40) * 2 * 86_400 * S
    told = timed(told, told.start_ns + days, told.end_ns + days)
    assert embedded.append_columns(told) == 40
    assert segments(embedded) == 1
    assert stored(embedded) == wanted(told)


def test_columns_and_rows_sealed_together_are_complete(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "opq.db", seal_rows=30)
    for number in range(0, 400, 80):
        store.append_columns(columns(number, 40))
        store.append_measurements(columns(number + 40, 40).rows())
    store.seal()
    assert [len(rows) for rows in stored(store)] == [400] * 3
    store.close()
    again = EmbeddedStore(tmp_path / "opq.db")
    assert again.append_measurements(columns(0, 40).rows()) == 0
    assert again.append_columns(columns(400, 40)) == 120
    assert again.latest_measurements()["3"].timestamp_ms == int(columns(439, 1).timestamp_ms[2])
    again.close()


def test_another_process_knows_what_came_as_columns(embedded: EmbeddedStore, tmp_path: Path) -> None:
    other = EmbeddedStore(tmp_path / "opq.db")
    other.append_measurements(columns(0, 5).rows())
    assert embedded.append_columns(columns(5, 40)) == 120
    assert segments(embedded) == 1
    assert other.append_measurements(columns(0, 50).rows()) == 15
    assert other.append_columns(columns(50, 40)) == 120
    assert embedded.append_columns(columns(50, 40)) == 0
    other.close()


def test_a_late_sequence_number_stays_the_newest(embedded: EmbeddedStore) -> None:
    live = Measurement("1", 2**41, {"rms": Metric(1.0, 2.0, 1.5)}, sequence=5)
    embedded.append_measurements([live])
    embedded.seal()
    embedded.append_columns(columns())
    assert embedded.latest_measurements()["1"] == live
    assert embedded.highest_sequence("1") == 5
    assert embedded.append_measurements([live]) == 0


def test_blocks_of_columns_expire_after_a_day(embedded: EmbeddedStore) -> None:
    embedded.append_columns(columns())
    with embedded._database.read() as connection:
        (expire_at,) = connection.execute("SELECT expire_at FROM segments").fetchone()
    assert embedded.expire(expire_at - 1) == 0
    assert embedded.expire(expire_at) == 120
    assert stored(embedded) == [[], [], []]


def numbered(
    first: int = 0, seconds: int = 40, boxes: tuple[int, ...] = (0, 1, 2), ids: tuple[str, ...] = BOXES
) -> Measurements:
    """As `columns`, with the seconds as sequence numbers and what else comes from the wire."""
    plain = columns(first, seconds, boxes, ids)
    sequence = np.arange(first, first + seconds, dtype=np.int64).repeat(len(boxes))
    none = np.zeros(len(plain), np.float32)
    return replace(
        plain,
        sequence=sequence,
        oldest_sequence=np.where(plain.which > 0, sequence // 2, -1),
        uncertainty_ns=1000 * plain.which,
        source=plain.which + 1,
        clock_id=np.where(sequence % 7 > 3, 9_000_000_000 + plain.which, 0),
        nominal_v=none,
        nominal_hz=none,
    )


def test_parcels_are_sealed_with_waiting_rows(embedded: EmbeddedStore, tmp_path: Path) -> None:
    """Parcels are sealed into blocks with what waits beside them."""
    both = numbered(0, 20), numbered(30, 20)
    between = numbered(20, 10)
    assert embedded.append_measurements((), [both[0]]) == 60
    assert embedded.append_measurements(between.rows(), [both[1]]) == 90
    everything = wanted(both[0], between, both[1])
    assert stored(embedded) == everything
    assert embedded.seal() == 150 and embedded.seal() == 0
    assert segments(embedded) == 1
    assert stored(embedded) == everything
    assert embedded.append_measurements((), [both[1]]) == 0, "sealed is stored"
    assert embedded.append_measurements((), [numbered(45, 10)]) == 15
    other = EmbeddedStore(tmp_path / "opq.db")
    assert other.append_measurements((), [numbered(45, 10)]) == 0, "what another process stored is known"
    assert other.append_measurements((), [numbered(55, 1)]) == 3
    assert other.seal() == 18
    assert embedded.append_measurements((), [numbered(55, 2)]) == 3
    assert embedded.sequences("1", 0, 100) == other.sequences("1", 0, 100) == list(range(57))
    assert embedded.latest_measurements() == {rows[-1].box_id: rows[-1] for rows in wanted(numbered(55, 2))}
    other.close()


def test_rows_outside_parcels_are_stored(embedded: EmbeddedStore) -> None:
    one = numbered(0, 4)
    one.sequence[0], one.timestamp_ms[1], one.oldest_sequence[4] = -1, 5, 3
    assert embedded.append_measurements((), [one]) == 12
    assert embedded.append_measurements((), [one]) == 0
    assert stored(embedded) == wanted(one)
    assert embedded.seal() == 12
    assert stored(embedded) == wanted(one)
    assert embedded.append_columns(one) == 0


MANY = tuple(map(str, range(1, 1001)))


def second_of(number: int, boxes: tuple[int, ...]) -> Measurements:
    """One Measurement of each of these of MANY."""
    made = numbered(number, 1, boxes, MANY)
    return replace(made, source=made.which % 3 + 1)


def of_box(box_id: str, *parts: Measurements) -> list[Measurement]:
    rows = [replace(row, nominal_v=None, nominal_hz=None) for part in parts for row in part.rows()]
    return sorted((row for row in rows if row.box_id == box_id), key=_time)


def test_a_box_is_found_in_long_parcels(embedded: EmbeddedStore) -> None:
    """Rows of Box 100 lie at the end of one stretch and at the beginning of the next; 700 is far behind."""
    parts = [second_of(number, (*range(199), 199)) for number in range(2)]
    parts.append(second_of(2, (0, 99, 699, 999)))
    assert embedded.append_measurements((), parts) == 404
    later = second_of(3, (5, 600))
    assert embedded.append_measurements((), [later]) == 2
    for box_id in ("1", "6", "100", "200", "601", "700", "1000", "500"):
        assert embedded.measurements(box_id, 0, 2**42) == of_box(box_id, *parts, later), box_id
    assert embedded.sequences("100", 0, 9) == [0, 1, 2]
    newest = embedded.latest_measurements()
    assert newest["6"] == of_box("6", later)[0] and newest["700"] == of_box("700", parts[2])[0]
    assert embedded.seal() == 406
    for box_id in ("1", "6", "100", "200", "601", "700", "1000", "500"):
        assert embedded.measurements(box_id, 0, 2**42) == of_box(box_id, *parts, later), box_id


def test_sealed_data_are_not_overwritten_on_disk(embedded: EmbeddedStore) -> None:
    """Debian's SQLite would write each page of a parcel once more, as zeros."""
    mode = embedded._database.write(lambda connection: connection.execute("PRAGMA secure_delete").fetchone())
    assert mode == (2,), "FAST"


def places(store: EmbeddedStore) -> list[tuple[int, int]]:
    with store._database.read() as connection:
        return connection.execute("SELECT slot, parcel FROM parcels ORDER BY slot").fetchall()


def test_parcels_take_the_places_of_sealed_ones(embedded: EmbeddedStore, tmp_path: Path) -> None:
    """Also those of two processes that know of the same free places."""
    first = [numbered(number, 10) for number in range(0, 60, 10)]
    for each in first:
        embedded.append_measurements((), [each])
    assert places(embedded) == [(slot, slot) for slot in range(1, 7)]
    other = EmbeddedStore(tmp_path / "opq.db")
    assert embedded.seal() == 180
    assert embedded.counts()["measurements"] == 180
    second = [numbered(number, 10) for number in range(60, 140, 10)]
    for store, each in zip((embedded, other) * 4, second, strict=True):
        assert store.append_measurements((), [each]) == 30
        assert store.append_measurements((), [each]) == 0
    assert [slot for slot, _ in places(embedded)] == list(range(1, 9)), "six again, and two new ones"
    assert sorted(parcel for _, parcel in places(embedded)) == list(range(7, 15))
    for store in (embedded, other):
        assert stored(store) == wanted(*first, *second)
        assert store.counts()["measurements"] == 420
        assert store.sequences("3", 0, 200) == list(range(140))
    assert other.seal() == 240
    assert other.append_measurements((), [numbered(140, 10)]) == 30
    assert embedded.seal() == 30 and len(places(embedded)) == 1, "an unused place is given back"
    assert stored(embedded) == stored(other) == wanted(*first, *second, numbered(140, 10))
    other.close()


def test_a_large_place_waits_for_a_longer_parcel(embedded: EmbeddedStore) -> None:
    """A place that is much too long is left for a longer parcel."""
    embedded.append_measurements((), [numbered(0, 200)])
    assert embedded.seal() == 600
    embedded.append_measurements((), [numbered(200, 7)])
    embedded.append_measurements((), [numbered(207, 192)])
    assert places(embedded) == [(1, 3), (2, 2)]
    assert stored(embedded) == wanted(numbered(0, 200), numbered(200, 7), numbered(207, 192))


def odd_rows(count: int) -> list[Measurement]:
    """What comes one by one: whole and in parts, sent again, of a crossing, without a number, as doubles."""
    rows = [replace(row, nominal_v=None, nominal_hz=None) for row in numbered(0, count, (1,)).rows()]
    two = {"rms": Metric(118.5, 121.25, 120.125), "thd": Metric(0.25, 0.5, 0.375)}
    changes: tuple[dict[str, Any], ...] = (
        {},
        {"metrics": two},
        {"backfilled": True},
        {"crossing": True},
        {"clock_id": 2**64 - 1},
        {"sequence": None, "oldest_sequence": None},
        {"metrics": {"rms": Metric(0.1, 0.3, 0.2)}},
        {"start_ns": None, "end_ns": None},
        {"uncertainty_ns": None},
        {"oldest_sequence": None},
        {"metrics": {"odd": Metric(1.0, 2.0, 1.5)}},
    )
    return [replace(row, **changes[at % len(changes)]) for at, row in enumerate(rows)]


def test_enough_single_rows_become_parcels(embedded: EmbeddedStore, tmp_path: Path) -> None:
    rows = odd_rows(66)
    assert embedded.append_measurements(rows[:10]) == 10
    assert places(embedded) == []
    assert embedded.append_measurements(rows[5:50]) == 40
    assert embedded.append_measurements(rows[50:], [numbered(0, 3, (0, 2))]) == 16 + 6
    assert len(places(embedded)) == 2
    with embedded._database.read() as connection:
        (single,) = connection.execute("SELECT count(*) FROM measurements").fetchone()
    assert single == 10 + sum(at % 11 == 5 for at in range(10, 66)), "those without a number"
    other = EmbeddedStore(tmp_path / "opq.db")
    for store in (embedded, other):
        assert store.measurements("20", 0, 2**42) == rows
        assert store.append_measurements(rows) == 0
    assert embedded.seal() == 72
    assert embedded.measurements("20", 0, 2**42) == other.measurements("20", 0, 2**42) == rows
    assert other.append_measurements(rows) == 0
    other.close()
