"""Checksums of sealed Measurements."""

import sqlite3
from contextlib import closing
from pathlib import Path

from store_cases import measured, numbered

from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_cloud.store.embedded.schema import block_sum
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import TimeSource

SEALED = "SELECT block, start_ms, end_ms, rows, packed, sum FROM blocks ORDER BY block"


def test_a_blocks_checksum_covers_all_its_columns(tmp_path: Path) -> None:
    """A block has the checksum of all its columns however it is made."""
    with closing(EmbeddedStore(tmp_path / "opq.db")) as store:
        store.append_columns(numbered(1, 50))
        store.append_measurements([measured(number, "9") for number in range(5)])
        store.seal()
        minute = numbered(1000, 60)
        windows = minute.which, minute.start_ns, minute.end_ns, minute.metrics
        plain = Measurements.of_windows(minute.box_ids, minute.nominals, *windows, 900, TimeSource.GPS)
        store.append_columns(plain)
    with closing(sqlite3.connect(tmp_path / "opq.db")) as file:
        found = file.execute(SEALED).fetchall()
    assert len(found) == 4 + 3
    for *whole, stored in found:
        assert stored == block_sum(*whole)
        for place in range(4):
            other = [value + 1 if k == place else value for k, value in enumerate(whole)]
            assert stored != block_sum(*other)
