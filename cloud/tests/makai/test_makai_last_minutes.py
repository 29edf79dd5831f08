"""What triggers see again when they begin: the last minutes of each Box, read from the store in one pass."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from judged_triggers import batch

from opq_cloud.makai.measurements.box_nominals import BoxNominals
from opq_cloud.makai.measurements.last_minutes import LastMinutes
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_proto.decision import Nominal
from opq_proto.messages import Measurement, Metric, TimeSource

S_MS = 1000
NOW_MS = 1_700_000_000_000


def measured(box_id: str, at_s: int, backfilled: bool = False) -> Measurement:
    end_ms = NOW_MS + at_s * S_MS
    metrics = {name: Metric(1.0, 2.0, 1.5) for name in ("f", "rms", "thd", "trans")}
    end_ns = end_ms * 10**6
    return Measurement(
        box_id,
        end_ms,
        metrics,
        end_ns - 10**9,
        end_ns,
        1000,
        TimeSource.GPS,
        end_ms,
        end_ms,
        backfilled,
        False,
        120.0,
        60.0,
    )


def test_each_box_is_read_once_from_both_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each Box is seen once from the store and from what waits."""
    with closing(EmbeddedStore(tmp_path / "opq.db")) as store:
        store.append_measurements([measured("1", at_s) for at_s in range(0, 200, 10)])
        store.append_measurements([measured("2", at_s) for at_s in range(0, 50, 10)])
        monkeypatch.setattr(EmbeddedStore, "measurements", None)  # a query for each Box takes too long
        minutes = LastMinutes(60.0)
        for at_s in (180, 190, 200):  # the first two are stored by now
            minutes.add(batch(measured("1", at_s)))
        minutes.add(batch(measured("2", 20, backfilled=True)))
        minutes.add(batch(measured("3", 7)))
        batches = minutes.batches(store, lambda *_: Nominal(120.0, 60.0))
        rows = [row for columns in batches for row in columns.rows()]
        seen = [(row.box_id, (row.timestamp_ms - NOW_MS) // S_MS) for row in rows]
        ones = [("1", at_s) for at_s in range(140, 201, 10)]
        twos = [("2", at_s) for at_s in range(0, 50, 10)]
        assert sorted(seen) == sorted([*ones, *twos, ("3", 7)])


def test_old_measurements_are_judged_by_old_nominals(
    tmp_path: Path,
) -> None:
    """120 V, then 230 V: 120 V of then would be a sag of 230 V, whose end is the first row at 230 V."""
    with closing(EmbeddedStore(tmp_path / "opq.db")) as store:
        nominals = BoxNominals(store)
        for at_s in range(0, 50, 10):
            volts, hz = (120.0, 60.0) if at_s < 30 else (230.0, 50.0)
            start_id = 1 if at_s < 30 else 2
            row = replace(measured("1", at_s), nominal_v=volts, nominal_hz=hz, start_id=start_id)
            store.append_measurements([row])
            nominals.read(batch(row))
        batches = LastMinutes(60.0).batches(store, lambda *_: Nominal(230.0, 50.0))
        rows = [row for columns in batches for row in columns.rows()]
        assert [(row.start_id, row.nominal_v) for row in rows] == [*[(1, 120.0)] * 3, *[(2, 230.0)] * 2]


def test_a_deleted_box_is_not_shown(tmp_path: Path) -> None:
    with closing(EmbeddedStore(tmp_path / "opq.db")) as store:
        minutes = LastMinutes(60.0)
        for box_id in ("1", "3"):
            minutes.add(batch(measured(box_id, 180)))
        minutes.forget({"1"})
        batches = minutes.batches(store, lambda *_: Nominal(120.0, 60.0))
        assert [row.box_id for columns in batches for row in columns.rows()] == ["3"]
