"""Logs of Measurements of older versions open with all that is in them, and are packed from then on."""

import json
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from log_before import DATA, held, put_back

from opq_cloud.store.embedded import packed_before
from opq_cloud.store.embedded.packed_before import block_before, parcel_before
from opq_cloud.store.embedded.schema import APPLICATION_ID, MIGRATIONS
from opq_cloud.store.embedded.store import EmbeddedStore
from opq_cloud.store.upkeep.checking import check_store
from opq_proto.kit.sqlite_file import SqliteFile
from opq_proto.measurement.packed import VERSION

BEFORE: dict[str, dict[str, Any]] = json.loads(DATA.read_text(encoding="utf-8"))


def made(path: Path, commit: str) -> None:
    """A file with the schema and the rows that this commit wrote."""
    before = MIGRATIONS[: BEFORE[commit]["schema"]]
    SqliteFile(path, before, application_id=APPLICATION_ID).close()
    put_back(path, BEFORE[commit]["tables"])


def written(path: Path) -> dict[str, set[int]]:
    """Table -> the versions of its blocks."""
    with closing(sqlite3.connect(path)) as file:
        return {
            table: {
                block[0] for (block,) in file.execute(f"SELECT {column} FROM {table}") if block is not None
            }
            for table, column in (("measurements", "packed"), ("blocks", "packed"), ("box_marks", "newest"))
        }


@pytest.mark.parametrize("commit", BEFORE)
def test_an_older_log_opens_complete(commit: str, tmp_path: Path) -> None:
    path, rows = tmp_path / "opq.db", held()
    made(path, commit)
    with closing(EmbeddedStore(path)) as store:
        found = {box_id: store.measurements(box_id, 0, 2**52) for box_id in rows}
        assert found == rows
        assert store.latest_measurements() == {box_id: mine[-1] for box_id, mine in rows.items()}
        assert {mine[-1].box_id: mine for mine in store.last_minutes(2**40, 10**6)} == rows
        assert check_store(store).problems == []
        assert store.counts()["measurements"] == sum(map(len, rows.values()))
        for mine in rows.values():
            assert store.append_measurements(mine) == 0, "each is known as stored"
        assert store.seal() == 40
        assert {box_id: store.measurements(box_id, 0, 2**52) for box_id in rows} == rows
    versions = written(path)
    assert versions["blocks"] == {0, 1, 2, 4, VERSION} and VERSION in versions["box_marks"]


@pytest.mark.parametrize("commit", BEFORE)
def test_older_appended_rows_are_packed_at_opening(commit: str, tmp_path: Path) -> None:
    path = tmp_path / "opq.db"
    made(path, commit)
    EmbeddedStore(path).close()
    assert written(path)["measurements"] == {VERSION}
    with closing(sqlite3.connect(path)) as file:
        rows = file.execute("SELECT id, box, timestamp_ms, sequence FROM measurements").fetchall()
    assert rows == [tuple(row[:4]) for row in BEFORE[commit]["tables"]["measurements"]]


def test_a_damaged_appended_row_keeps_no_store_closed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "opq.db"
    made(path, "6c3805e0")
    with closing(sqlite3.connect(path)) as file, file:
        ((fourth,),) = file.execute("SELECT id FROM measurements ORDER BY id LIMIT 1 OFFSET 3")
        file.execute("UPDATE measurements SET more = substr(more, 1, 9) WHERE id = ?", (fourth,))
    with closing(EmbeddedStore(path)) as store:
        rows = held()["5"]
        assert store.measurements("5", 0, 2**52) == [*rows[:13], *rows[14:]]
    assert "store.row_damaged" in capsys.readouterr().err


def test_a_block_of_columns_without_steps_is_read() -> None:
    """Form 3, which was written for some days between two forms that every fixture has."""
    blocks = [bytes.fromhex(row[4]["hex"]) for row in BEFORE["6c3805e0"]["tables"]["blocks"]]
    steps = next(block for block in blocks if block[0] == packed_before._STEPS)
    size, row = packed_before._HEAD.size, packed_before._CLOCKED_ROW
    columns = np.frombuffer(zlib.decompress(steps[size:], -12), np.uint8).reshape(row.itemsize, -1)
    rows = np.array(columns.T, order="C").view(row).reshape(-1)
    for name in ("offset_ms", "sequence", "back"):
        rows[name] = np.cumsum(rows[name])
    turned = np.ascontiguousarray(rows.view(np.uint8).reshape(len(rows), -1).T).tobytes()
    squeeze = zlib.compressobj(6, zlib.DEFLATED, -12)
    whole = b"\x03" + steps[1:size] + squeeze.compress(turned) + squeeze.flush()
    assert block_before(whole).measurements("3") == block_before(steps).measurements("3")


def test_a_parcel_without_its_boxes_is_read() -> None:
    """As schema 9 and before had it."""
    (parcel,) = BEFORE["6c3805e0"]["tables"]["parcels"]
    boxes, packed = (bytes.fromhex(each["hex"]) for each in parcel[5:7])
    whose, rows = parcel_before(boxes, packed)
    inner = np.frombuffer(zlib.decompressobj(-15).decompress(packed), np.uint8).reshape(-1, len(whose))
    turned = np.concatenate((whose.astype("<u4").view(np.uint8).reshape(-1, 4).T, inner))
    again, same = parcel_before(None, zlib.compress(turned.tobytes()))
    assert again.tolist() == whose.tolist() == [3] * 15 + [4] * 15
    assert same.measurements("3") == rows.measurements("3")


@pytest.mark.parametrize("version", [0, 1, 2, 4])
def test_a_torn_block_of_before_is_reported(version: int, tmp_path: Path) -> None:
    path = tmp_path / "opq.db"
    made(path, "6c3805e0")
    with closing(sqlite3.connect(path)) as file, file:
        blocks = file.execute("SELECT block, packed FROM blocks").fetchall()
        key, packed = next(each for each in blocks if each[1][0] == version)
        file.execute("UPDATE blocks SET packed = ?, sum = NULL WHERE block = ?", (packed[:-9], key))
    with closing(EmbeddedStore(path)) as store:
        (problem,) = check_store(store).problems
        assert "cannot be read" in problem or "other rows are stored there" in problem
