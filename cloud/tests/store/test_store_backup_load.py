"""A back-up of a system under load becomes a system again, with either kind of store.

The short forms are tools/tests/test_backup.py and test_store_copy.py.
"""

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from house_under_test import House, house, processes_with, until

from opq_cloud.store import CloudStore, open_store
from opq_cloud.store.upkeep.copying import read_store
from opq_proto.messages import Measurement
from opq_tools.keep.backup import back_up
from opq_tools.keep.restore import restore

BOXES = 60
LOST_S = 10.0
FAR_MS = 2**43
Rows = Mapping[str, dict[int, Measurement]]


def stored(store: CloudStore) -> Rows:
    """Box -> number -> Measurement; fails where one is there twice."""
    found = {each.box_id: store.measurements(each.box_id, 0, FAR_MS) for each in store.boxes()}
    by_number = {box_id: {row.sequence or 0: row for row in rows} for box_id, rows in found.items()}
    for box_id, rows in found.items():
        times = {row.timestamp_ms for row in rows}
        assert len(rows) == len(by_number[box_id]) == len(times), f"Box {box_id} has one twice"
    return by_number


def is_loaded(folder: Path) -> bool:
    """Whether the embedded store of a running system has Measurements of all Boxes, some 20 of each."""
    if not (folder / "opq.db").exists():
        return False
    with closing(open_store(None, folder)) as store:
        counted = store.counts()["measurements"]
        return counted >= 20 * BOXES and len(store.latest_measurements()) == BOXES


def kill(up: House) -> None:
    """kill -9 of all its processes."""
    for process in processes_with(str(up.data_dir)):
        os.kill(process, signal.SIGKILL)
    up.process.wait()


@pytest.mark.slow
def test_a_backup_under_load_restores_in_either_store(tmp_path: Path, mongo_uri: str) -> None:
    """A back up under load is a system again with either kind of store."""
    data, archive = tmp_path / "D", tmp_path / "copy.tar"
    with house(data, "--sim", str(BOXES)) as up:
        until(lambda: is_loaded(data), 120, f"Measurements of {BOXES} Boxes")
        begun_s = time.monotonic()
        back_up(data, archive)
        took_s = time.monotonic() - begun_s
        kill(up)
    with closing(open_store(None, data)) as store:
        before = stored(store)
    shutil.rmtree(data)

    places: dict[str, tuple[Path, str | None]] = {
        "embedded": (tmp_path / "embedded", None),
        "mongo": (tmp_path / "mongo", mongo_uri),
    }
    sums = {}
    for kind, (folder, uri) in places.items():
        restore(archive, folder, uri)
        with closing(open_store(uri, folder)) as store:
            copied = read_store(store).copied
        del copied["laha_config"]  # a MongoDB has the default
        sums[kind] = {name: (each.count, each.sum) for name, each in copied.items()}
    assert sums["embedded"]["measurements"][0] >= 20 * BOXES
    assert sums["embedded"] == sums["mongo"]

    counted = sum(map(len, before.values()))
    after = sent_again(places["embedded"][0])
    lost_s = 0.0
    for box_id, rows in before.items():
        now = after[box_id]
        last_ms = max(row.timestamp_ms for number, row in now.items() if number in rows)
        lost = [row for number, row in rows.items() if number not in now]
        assert all(row.timestamp_ms > last_ms for row in lost), f"Box {box_id} has a hole"
        lost_s = max(lost_s, max(row.timestamp_ms - last_ms for row in rows.values()) / 1000)
    print(f"back-up of {counted} Measurements in {took_s:.1f} s; at most {lost_s:.1f} s of a Box are lost")
    assert lost_s <= LOST_S

    # a whole system with 60 Boxes is too much for FerretDB, which sorts without indexes
    everything = [row for rows in before.values() for row in rows.values()]
    with closing(open_store(mongo_uri, places["mongo"][0])) as store:
        assert store.append_measurements(everything) == counted - sums["mongo"]["measurements"][0]
        assert stored(store).keys() == before.keys()


def sent_again(folder: Path) -> Rows:
    """Runs the restored system until what its gateway held, and newer ones of all Boxes, are stored."""
    with closing(sqlite3.connect(folder / "gateway/queue.sqlite")) as queue:
        newest = "SELECT box_id, max(sequence) FROM measurements JOIN boxes USING (box) GROUP BY box_id"
        held = dict(queue.execute(newest))
    with closing(open_store(None, folder)) as store:
        restored = {str(1 + box): store.highest_sequence(str(1 + box)) or 0 for box in range(BOXES)}

    def all_there(store: CloudStore) -> bool:
        time.sleep(1)  # a question about each is work for the store too
        return all(
            (store.highest_sequence(box_id) or 0) > max(number, held.get(box_id, 0))
            and (box_id not in held or store.sequences(box_id, held[box_id], held[box_id]))
            for box_id, number in restored.items()
        )

    with house(folder, "--sim", str(BOXES)), closing(open_store(None, folder)) as store:
        until(lambda: all_there(store), 120, "what was held, and newer Measurements of all Boxes")
    with closing(open_store(None, folder)) as store:
        return stored(store)
