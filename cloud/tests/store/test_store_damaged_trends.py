"""Damaged trends in SQLite stop neither the roll-up nor a chart; MongoDB's: test_store_unreadable.py."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_proto.measurement.intervals import TEN_MINUTES_MS
from opq_proto.messages import TREND_MS, Trend
from opq_proto.time_units import DAY_MS, HOUR_MS
from opq_proto.trend_histogram import TrendHistogram

T_MS = 1_767_225_600_000
"""2026-01-01."""


def minute(box_id: str, at: int, volts: float = 120.0) -> Trend:
    values = (volts - 1, volts + 1, volts)
    return Trend(box_id, T_MS + at * TREND_MS, {"rms": values, "x": values})


def roll_up(store: EmbeddedStore) -> None:
    for _ in range(200):
        if not store.roll_up(T_MS + 3 * DAY_MS):
            return
    raise AssertionError("the same rows are due again and again")


def run(path: Path, statement: str, values: tuple[object, ...] = ()) -> int:
    with closing(sqlite3.connect(path)) as file, file:
        return file.execute(statement, values).rowcount


@pytest.mark.parametrize("other", ["{", '{"x": [1, 2]}', "7"])
def test_a_damaged_minute_is_passed_over(tmp_path: Path, other: str) -> None:
    path = tmp_path / "opq.db"
    with closing(EmbeddedStore(path)) as store:
        store.put_trends([minute(box_id, at) for box_id in ("1", "2") for at in range(120)])
    damage = "UPDATE trends_new SET other = ? WHERE box_id = '1' AND start_ms = ?"
    assert run(path, damage, (other, T_MS + 3 * TREND_MS)) == 1
    with closing(EmbeddedStore(path)) as store:
        roll_up(store)
        hours = {box: store.trend_rows(box, T_MS, T_MS + 2 * HOUR_MS, HOUR_MS) for box in ("1", "2")}
        assert [row.covered_ms for row in hours["1"]] == [59 * TREND_MS, HOUR_MS]
        assert [row.covered_ms for row in hours["2"]] == [HOUR_MS, HOUR_MS]
        assert len(store.trends("1", T_MS, T_MS + HOUR_MS)) == 59
        assert store.unreadable["trends"] > 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed[:20],
        lambda packed: b"",
        lambda packed: packed[:-1],
        lambda packed: packed + b"\x81",
    ],
    ids=["cut short", "empty", "half of a histogram", "too long"],
)
def test_a_damaged_level_is_passed_over(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    """A late minute has its hour made again, of the ten minutes that can be read."""
    path = tmp_path / "opq.db"
    with closing(EmbeddedStore(path)) as store:
        store.put_trends([minute("1", at) for at in range(60) if at != 55])
        roll_up(store)
    where = "box_id = '1' AND length_ms = ? AND start_ms = ?"
    place = (TEN_MINUTES_MS, T_MS + TEN_MINUTES_MS)
    with closing(sqlite3.connect(path)) as file:
        (packed,) = file.execute(f"SELECT packed FROM rollups WHERE {where}", place).fetchone()
    assert run(path, f"UPDATE rollups SET packed = ? WHERE {where}", (damage(packed), *place)) == 1
    with closing(EmbeddedStore(path)) as store:
        store.put_trends([minute("1", 55)])
        roll_up(store)
        (hour,) = store.trend_rows("1", T_MS, T_MS + HOUR_MS, HOUR_MS)
        assert hour.covered_ms == HOUR_MS - TEN_MINUTES_MS
        assert len(store.trend_rows("1", T_MS, T_MS + HOUR_MS, TEN_MINUTES_MS)) == 5
        assert store.unreadable["rollups"] > 0


def test_the_damaged_end_of_a_histogram_is_nothing() -> None:
    whole = TrendHistogram.of({-300: 1, 5: 200, 900: 3})
    for end in (b"", b"\x80"):
        assert TrendHistogram(whole.packed[:-1] + end).bins() == {-300: 1, 5: 200}
