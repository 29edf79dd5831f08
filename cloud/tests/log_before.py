"""Logs of Measurements that older versions wrote: the rows of their tables, as JSON.

`store/data/log_before.json` has one of each of the commits 34c8c576, dc1b2a16 and 6c3805e0. Each was made in
a checkout of that commit, by a copy of this file with that commit's class for `minute`:
`python log_before.py FOLDER`.
"""

import json
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from opq_cloud.store.embedded.store import EmbeddedStore
from opq_proto.decision import Nominal
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import Measurement, Metric, TimeSource

DATA = Path(__file__).parent / "store" / "data" / "log_before.json"
MS = 1_790_000_000_000
S = 10**9
TABLES = ("measurements", "parcels", "blocks", "segments", "box_marks", "counters")


def numbered(box_id: str, number: int, **changes: Any) -> Measurement:
    at_ms = MS + 1000 * number
    metrics = {
        name: Metric(middle - 0.5, middle + 0.25 * (number % 5), middle)
        for name, middle in (("rms", 120.125), ("f", 60.0), ("thd", 0.625), ("trans", 1.5))
    }
    row = Measurement(
        box_id,
        at_ms,
        metrics,
        at_ms * 10**6 - S + 17,
        at_ms * 10**6 + 333 * number,
        1500,
        TimeSource.NTP,
        number,
        number // 2,
        clock_id=2**61 + int(box_id),
    )
    return replace(row, **changes)


def odd(box_id: str, first: int) -> list[Measurement]:
    """A double, a remark, a part of the metrics, no times, no number, sent again, a crossing."""
    usual = numbered(box_id, 1).metrics
    changes: list[dict[str, Any]] = [
        {"metrics": {"rms": Metric(0.1, 0.3, 0.2)}},
        {"metrics": {**usual, "flagged": Metric(1.0, 1.0, 1.0)}},
        {"metrics": {"thd": usual["thd"]}},
        {"start_ns": None, "end_ns": None, "uncertainty_ns": None},
        {"sequence": None, "oldest_sequence": None},
        {"backfilled": True},
        {"crossing": True},
        {"clock_id": None},
        {"oldest_sequence": None},
        {},
    ]
    return [numbered(box_id, first + at, **each) for at, each in enumerate(changes)]


def minute(first: int) -> Measurements:
    """Columns without numbers, of Boxes 1 and 2, which are blocks at once."""
    which = np.tile(np.arange(2), 40)
    end_ns = (MS + 1000 * (first + np.arange(80) // 2)) * 10**6 + 17
    metrics = (100 + np.arange(80 * 12).reshape(80, 4, 3) / 8).astype(np.float32)
    nominals = (Nominal(120.0, 60.0),) * 2
    return Measurements.of_windows(
        ("1", "2"), nominals, which, end_ns - S, end_ns, metrics, 100, TimeSource.GPS
    )


PARCEL = [numbered(box_id, number) for number in range(200, 215) for box_id in ("3", "300")]
ALONE = [numbered("4", number) for number in range(100, 110)]
LATER = [numbered(box_id, number) for number in range(215, 230) for box_id in ("3", "300")]


def held() -> dict[str, list[Measurement]]:
    """Returns what each Box has in the store, in time order."""
    plain = [replace(row, nominal_v=None, nominal_hz=None) for row in minute(0).rows()]
    found: dict[str, list[Measurement]] = {}
    for row in [*plain, *PARCEL, *ALONE, *odd("5", 100), *LATER, *odd("5", 300)]:
        found.setdefault(row.box_id, []).append(row)
    return found


def fill(path: Path) -> None:
    """Makes a store with blocks of each form, a parcel, and rows of the append table."""
    with closing(EmbeddedStore(path)) as store:
        store.append_columns(minute(0))
        store.append_measurements(PARCEL)
        store.append_measurements(ALONE)
        store.append_measurements(odd("5", 100))
        store.seal()
        store.append_measurements(LATER)
        store.append_measurements(odd("5", 300))


def dumped(path: Path) -> dict[str, list[list[Any]]]:
    """Returns the rows of TABLES; bytes are {"hex": ...}."""
    with closing(sqlite3.connect(path)) as file:
        return {
            table: [
                [{"hex": value.hex()} if isinstance(value, bytes) else value for value in row]
                for row in file.execute(f"SELECT * FROM {table}")
            ]
            for table in TABLES
        }


def put_back(path: Path, tables: Mapping[str, list[list[Any]]]) -> None:
    """Writes the rows into a file that has the tables, of the same schema."""
    with closing(sqlite3.connect(path)) as file, file:
        for table, rows in tables.items():
            file.execute(f"DELETE FROM {table}")
            for row in rows:
                values = [bytes.fromhex(each["hex"]) if isinstance(each, dict) else each for each in row]
                file.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", values)


def main(folder: Path) -> None:
    fill(folder / "opq.db")
    with closing(sqlite3.connect(folder / "opq.db")) as file:
        (schema,) = file.execute("PRAGMA user_version").fetchone()
    print(json.dumps({"schema": schema, "tables": dumped(folder / "opq.db")}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
