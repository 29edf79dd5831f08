"""Damaged intervals do not stop the others: they are set aside, counted and named by their place.

Damage is written by another program's hand: over the driver, past `append`.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opq_cloud.core.service import CloudContext, Retention
from opq_cloud.store import CloudStore
from opq_cloud.store.driver import Documents, Fields, Table
from opq_cloud.store.records.intervals.interval_reading import DAY, MONTH, ROWS
from opq_cloud.store.records.tables import INTERVAL_BLOCKS, INTERVALS_DAMAGED, INTERVALS_DUE, INTERVALS_NEW
from opq_cloud.store.upkeep.checking import check_store
from opq_proto.errors import StoreError
from opq_proto.messages import Interval, Measurement

DAY_NS = 86_400 * 10**9
T0 = 20_484 * DAY_NS
"""2026-01-31."""
TEN_NS = 600 * 10**9
LATER_MS = (T0 + 400 * DAY_NS) // 10**6
DAMAGE = {
    "cut short": lambda body: body[: len(body) // 2],
    "empty": lambda body: b"",
    "not an interval": lambda body: b"\xc0",
    "an end beyond all times": lambda body: b"\x94\xcf" + b"\xff" * 8 + b"\xc2\xcb" + b"\0" * 8 + b"\x80",
    "values of three bytes": lambda body: (
        b"\x94\x01\xc2\xcb" + b"\0" * 8 + b"\x81\xa5rms_v\xc4\x03abc"  # {"rms_v": b"abc"}
    ),
}


def ten(at: int, sequence: int, box_id: str = "1", **values: float | tuple[float, ...]) -> Measurement:
    """The ten minutes number `at` after T0."""
    start_ns = T0 + at * TEN_NS
    interval = Interval(600_000, False, 1.0, {"rms_v": 100.0 + at, **values})
    end_ns = start_ns + TEN_NS
    return Measurement(
        box_id, end_ns // 10**6, {}, start_ns, end_ns, 1000, sequence=sequence, interval=interval
    )


def settle(store: CloudStore) -> None:
    for _ in range(50):
        if not store.intervals.settle(LATER_MS):
            return
    raise AssertionError("the same marks are due again and again")


def write_over(
    store: CloudStore, table: Table, field: str, damage: Callable[[bytes], bytes], **of: Any
) -> int:
    """Damages a field of all documents with these values; returns how many there are."""
    where = [(name, "=", value) for name, value in of.items()]

    def job(documents: Documents) -> int:
        found: list[Fields] = list(documents.find(table, where))
        for each in found:
            key = [(name, "=", each[name]) for name in table.key]
            documents.set_fields(table, key, {field: damage(bytes(each[field]))})
        return len(found)

    return store.driver.write(job)


def rms(store: CloudStore, box_id: str = "1") -> list[float]:
    found = store.intervals.read(box_id, 600_000, T0, T0 + 90 * DAY_NS, ["rms_v"])
    return [float(each) for each in found.values.get("rms_v", ())]


def left(store: CloudStore, table: Table) -> int:
    with store.driver.read() as documents:
        return documents.count(table, [("start_ms" if table is INTERVALS_DUE else "start_ns", ">=", 0)])


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_row_is_set_aside(store: CloudStore, damage: Callable[[bytes], bytes]) -> None:
    """It is passed over by readers and packing; its bytes are kept, and it is named."""
    store.intervals.append([ten(at, at + 1) for at in (0, 1, 2, 200)] + [ten(0, 9, "2")])
    assert write_over(store, INTERVALS_NEW, "body", damage, box_id="1", sequence=2) == 1
    with store.driver.read() as documents:
        (body,) = [each["body"] for each in documents.find(INTERVALS_NEW) if each["sequence"] == 2]
    assert rms(store) == [100, 102, 300], "a reader passes over it"
    assert sum(store.unreadable.values()) > 0
    settle(store)
    assert rms(store) == [100, 102, 300]
    assert rms(store, "2") == [100]
    assert left(store, INTERVALS_NEW) == left(store, INTERVALS_DUE) == 0
    assert store.intervals.summary("1", 600_000, T0, T0 + 90 * DAY_NS).intervals == 3
    with store.driver.read() as documents:
        (aside,) = documents.find(INTERVALS_DAMAGED)
    assert (aside["box_id"], aside["start_ns"], aside["part"]) == ("1", T0 + TEN_NS, "row 2")
    assert bytes(aside["body"]) == bytes(body)
    words = store.intervals.damaged_words()
    assert words is not None
    assert "1 rows or blocks" in words
    assert "row 2 of Box 1, 600000 ms, from 2026-01-31 00:10:00 UTC" in words
    assert store.intervals.append([ten(1, 2)]) == 0, "its number is known"


def test_a_damaged_block_is_set_aside(store: CloudStore) -> None:
    """A late row comes to a day whose block is damaged: the other days and the late row stay."""
    store.intervals.append([ten(at, at + 1) for at in (0, 1, 150, 300)])
    settle(store)
    damaged = write_over(
        store, INTERVAL_BLOCKS, "packed", lambda packed: packed[:-3], level=ROWS, start_ms=T0 // 10**6
    )
    assert damaged == 1
    with pytest.raises(StoreError, match="a block is damaged"):
        rms(store)
    store.intervals.append([ten(2, 99)])
    settle(store)
    assert rms(store) == [102, 250, 400]
    assert store.intervals.summary("1", 600_000, T0, T0 + 90 * DAY_NS).intervals == 3
    assert [each.summary.intervals for each in store.intervals.days("1", 600_000, T0, T0 + 3 * DAY_NS)] == [
        1,
        1,
        1,
    ]
    assert "block of Box 1" in str(store.intervals.damaged_words())


def test_a_damaged_hour_leaves_its_day(store: CloudStore) -> None:
    """Of 3 s, a block spans an hour, and a day's summary is made of all its hours."""
    rows = [
        replace(ten(at, at + 1), interval=Interval(3_000, False, 1.0, {"rms_v": 100.0 + at}))
        for at in range(0, 18, 6)
    ]
    store.intervals.append(rows)
    settle(store)
    hour_ms = T0 // 10**6 + 3_600_000
    write_over(store, INTERVAL_BLOCKS, "packed", lambda packed: b"", level=ROWS, start_ms=hour_ms)
    late = replace(ten(0, 99), interval=Interval(3_000, False, 1.0, {"rms_v": 7.0}))
    store.intervals.append([replace(late, start_ns=T0 + 10**9)])
    settle(store)
    found = store.intervals.read("1", 3_000, T0, T0 + DAY_NS)
    assert found.values["rms_v"].tolist() == [100, 7, 112]
    assert store.intervals.summary("1", 3_000, T0, T0 + DAY_NS).intervals == 3


@pytest.mark.parametrize("level", [DAY, MONTH])
def test_damaged_summaries_are_made_again(store: CloudStore, level: int) -> None:
    """Nothing is set aside: they say what the rows say."""
    store.intervals.append([ten(at, at + 1) for at in (0, 1, 150, 300)])
    settle(store)
    assert write_over(store, INTERVAL_BLOCKS, "packed", lambda packed: packed[:-1], level=level) > 0
    store.intervals.append([ten(149, 77), ten(2, 78)])  # of February and of January
    settle(store)
    whole = store.intervals.summary("1", 600_000, T0 - 30 * DAY_NS, T0 + 90 * DAY_NS)
    assert whole.intervals == 6
    assert len(store.intervals.days("1", 600_000, T0, T0 + 3 * DAY_NS)) == 3
    assert store.intervals.damaged_words() is None


def test_the_check_names_damaged_rows(store: CloudStore) -> None:
    store.intervals.append([ten(0, 1), ten(1, 2)])
    write_over(store, INTERVALS_NEW, "body", lambda body: b"", sequence=2)
    [before] = check_store(store).problems
    assert before.startswith(f"intervals_new {T0 + TEN_NS} 1 600000 2: cannot be read")
    settle(store)
    [after] = check_store(store).problems
    assert after.startswith(f"intervals_damaged {T0 + TEN_NS} 1 600000 row 2: cannot be read")
    assert "it is set aside: intervals of Box 1: a row is damaged" in after


def test_what_is_set_aside_expires(store: CloudStore) -> None:
    store.intervals.append([ten(0, 1)])
    write_over(store, INTERVALS_NEW, "body", lambda body: b"")
    settle(store)
    assert store.intervals.counts()["intervals_damaged"] == 1
    store.intervals.keep(10)
    while store.expire((T0 + 11 * DAY_NS) // 10**9):
        pass
    assert store.intervals.counts()["intervals_damaged"] == 0


def test_a_single_instant_does_not_stop_packing(store: CloudStore) -> None:
    """A gateway may send one of a name that others send many of, also where the other days have all."""
    many = tuple(float(at) for at in range(10))
    single = [ten(at, at, angles_deg=5.0) for at in (150, 151)]
    store.intervals.append([ten(0, 1, angles_deg=many), *single, ten(300, 3)])
    for _ in ("new", "settled"):
        found = store.intervals.read("1", 600_000, T0, T0 + 3 * DAY_NS)
        assert found.values["angles_deg"].shape == (4, 10)
        assert found.values["angles_deg"][1:3, 0].tolist() == [5, 5]
        assert np.isnan(found.values["angles_deg"][1:, 1:]).all()
        settle(store)


def test_retention_goes_on_and_notes_damage(tmp_path: Path) -> None:
    """The service that packs is well, and says what is set aside."""
    from opq_cloud.store import open_store

    context = CloudContext(lambda: open_store(None, tmp_path))
    context.store.intervals.append([ten(0, 1), ten(1, 2)])
    write_over(context.store, INTERVALS_NEW, "body", lambda body: b"", sequence=2)
    retention = Retention(context)
    stop = _StopsAfterOneRound()
    retention.run(stop)  # type: ignore[arg-type]
    [report] = retention.health()
    assert report.ok
    assert "row 2 of Box 1" in str(report.info)
    assert rms(context.store) == [100]
    context.close()


class _StopsAfterOneRound:
    """An event that is set at the first long wait."""

    def is_set(self) -> bool:
        return False

    def wait(self, timeout: float) -> bool:
        return timeout >= 1
