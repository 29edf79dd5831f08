"""What View reads of a whole fleet at once: whether a Box has changed, the last minutes of each."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from opq_cloud.store import CloudStore
from opq_cloud.store.box_record import BoxRecord, LocationRecord
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_proto.messages import Measurement, Metric

Another = Callable[[], CloudStore]
NOW_MS = 1_765_792_486_013


def measured(box_id: str, at_ms: int, sequence: int | None = None) -> Measurement:
    return Measurement(box_id, NOW_MS + at_ms, {"rms": Metric(118.5, 121.25, 120.125)}, sequence=sequence)


def test_other_processes_see_each_box_change(store: CloudStore, open_again: Another) -> None:
    other = open_again()
    seen = [other.boxes_revision()]
    changes: tuple[Callable[[], None], ...] = (
        lambda: store.put_box(BoxRecord("1", "kitchen", "oahu-1")),
        lambda: store.put_box(BoxRecord("1", "hall")),
        lambda: store.put_location(LocationRecord("oahu-1", 21.3, -157.8)),
        lambda: store.put_region("oahu", "oahu-1"),
        lambda: store.remove_location("oahu-1"),
    )
    for change in changes:
        change()
        seen.append(other.boxes_revision())
    assert len(set(seen)) == len(seen)
    assert [box.name for box in other.boxes()] == ["hall"] and other.locations() == {}


def test_an_unchanged_box_is_not_written(tmp_path: Path) -> None:
    with closing(EmbeddedStore(tmp_path / "opq.db")) as store:
        store.put_box(BoxRecord("1", "kitchen", "oahu-1"))
        before = store.boxes_revision()
        store.put_box(BoxRecord("1", "kitchen"))
        assert store.boxes_revision() == before
        (known,) = store.boxes()
        assert store.boxes()[0] is known  # nothing of it was read again


def test_the_last_minutes_end_with_the_newest(store: CloudStore) -> None:
    assert list(store.last_minutes(10_000, 3)) == []
    store.append_measurements([measured("1", at_ms, at_ms + 1) for at_ms in range(0, 30_000, 1000)])
    store.append_measurements([measured("2", at_ms) for at_ms in (0, 50, 10_050, 10_051)])
    store.append_measurements([measured("silent", -90_000_000)])
    found = {
        rows[0].box_id: [row.timestamp_ms - NOW_MS for row in rows] for rows in store.last_minutes(10_000, 3)
    }
    assert found == {"1": [27_000, 28_000, 29_000], "2": [10_050, 10_051], "silent": [-90_000_000]}


@pytest.fixture
def sealing(tmp_path: Path) -> Iterator[EmbeddedStore]:
    with closing(EmbeddedStore(tmp_path / "opq.db", seal_rows=10**6)) as store:
        yield store


def test_blocks_and_unsealed_rows_give_last_minutes(sealing: EmbeddedStore) -> None:
    chance = random.Random(7)
    rows: list[Measurement] = []
    for part in range(6):
        fresh = [
            measured(str(chance.randrange(5)), chance.randrange(60_000), part * 100 + n) for n in range(20)
        ]
        rows += fresh
        sealing.append_measurements(fresh)
        if part % 2:
            sealing.seal()
    for limit in (1, 4, 1000):
        for found in sealing.last_minutes(20_000, limit):
            own = sorted(
                (row for row in rows if row.box_id == found[0].box_id), key=lambda row: row.timestamp_ms
            )
            last_ms = max(own, key=lambda row: row.sequence or 0).timestamp_ms  # the one written last
            near = [row for row in own if last_ms - 20_000 <= row.timestamp_ms <= last_ms]
            assert [row.timestamp_ms for row in found] == [row.timestamp_ms for row in near[-limit:]]


def test_readers_see_each_row_once_while_sealing(sealing: EmbeddedStore, tmp_path: Path) -> None:
    """Another process's readers keep which rows are whose; a pass takes them away and ids begin again."""
    ended = threading.Event()
    wrong: list[object] = []

    def read(store: EmbeddedStore, box_id: str) -> None:
        count = 0
        while not ended.is_set():
            stored = [row.sequence for row in store.measurements(box_id, 0, 2**60)]
            if stored != list(range(1, len(stored) + 1)) or len(stored) < count:
                wrong.append((box_id, count, stored))
                return
            count = len(stored)

    with closing(EmbeddedStore(tmp_path / "opq.db")) as other:
        threads = [
            threading.Thread(target=read, args=(store, box_id))
            for store in (other, sealing)
            for box_id in ("1", "2")
        ]
        for each in threads:
            each.start()
        try:
            for number in range(1, 31):
                sealing.append_measurements([measured("1", number, number), measured("2", number, number)])
                if number % 5 == 0:
                    sealing.seal()
        finally:
            ended.set()
            for each in threads:
                each.join()
        assert wrong == []
        assert len(other.measurements("1", 0, 2**60)) == 30 == len(sealing.measurements("2", 0, 2**60))


def test_a_rolled_back_box_number_is_not_kept(sealing: EmbeddedStore) -> None:
    sealing.append_measurements([measured("1", 5)])
    assert len(sealing.measurements("1", 0, 2**60)) == 1

    def fails(connection: object) -> None:
        raise ValueError("undone")

    waiting = sealing._database.submit(fails)  # in one group with the next, or alone
    sealing.append_measurements([measured("1", 5), measured("2", 1), measured("1", 6)])
    assert isinstance(waiting.exception(30), ValueError)
    assert [len(sealing.measurements(box_id, 0, 2**60)) for box_id in ("1", "2")] == [2, 1]
