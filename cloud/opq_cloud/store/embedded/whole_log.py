"""All Measurements of the embedded store, or those of one Box, block by block, for copies and checks.

What is damaged is named and passed over.
"""

import sqlite3
import struct
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter

from opq_cloud.store.documents.readable import READ_ERRORS
from opq_cloud.store.embedded.block_rows import by_time, unpack_blocks
from opq_cloud.store.embedded.parcel_slots import LIVE
from opq_cloud.store.embedded.parcels import rows_by_box
from opq_cloud.store.embedded.schema import BOXES_PER_SEGMENT, block_sum
from opq_proto.errors import StoreError
from opq_proto.messages import Measurement

SLICE_BLOCKS = 200
DECODE_ERRORS = (*READ_ERRORS, StoreError, zlib.error, struct.error)
Damaged = Callable[[str], None]
_COLUMNS = "SELECT block, blocks.start_ms, blocks.end_ms, blocks.rows, packed, sum FROM"
_OF_ALL = (
    f"{_COLUMNS} blocks WHERE block > ? AND block / {BOXES_PER_SEGMENT} IN (SELECT segment FROM segments) "
    "ORDER BY block LIMIT ?"
)
_OF_BOX = (
    f"{_COLUMNS} segments CROSS JOIN blocks ON block = segment * {BOXES_PER_SEGMENT} + ? WHERE block > ? "
    "ORDER BY segment LIMIT ?"
)


def whole_log(
    read: Callable[[], AbstractContextManager[sqlite3.Connection]],
    damaged: Damaged,
    after: int = 0,
    box_id: str | None = None,
) -> Iterator[tuple[int, list[Measurement]]]:
    """Yields Measurements of one Box each, with the number of the last block that was read.

    Unsealed rows come last. Those that are sealed meanwhile are in a block with a higher number.

    Args:
        read: opens the file for reading, once for each slice.
        damaged: is called with a line for what cannot be read.
        box_id: the only Box that is read; None: all.
    """
    while True:
        with read() as connection:
            names: dict[int, str] = dict(connection.execute("SELECT box, box_id FROM box_marks").fetchall())
            chosen = [number for number, name in names.items() if name == box_id]
            if box_id is not None and not chosen:
                return
            query = _OF_BOX if chosen else _OF_ALL
            found = connection.execute(query, (*chosen, after, SLICE_BLOCKS)).fetchall()
            tail = [] if found else list(_unsealed(connection, names, damaged, chosen))
        for block, *rest in found:
            after = block
            yield block, _sealed(block, names.get(block % BOXES_PER_SEGMENT), damaged, *rest)
        if not found:
            yield from ((after, rows) for rows in tail)
            return


def _sealed(
    block: int,
    box_id: str | None,
    damaged: Damaged,
    start_ms: int,
    end_ms: int,
    rows: int,
    packed: bytes,
    summed: int,
) -> list[Measurement]:
    whose = "a Box whose name is lost" if box_id is None else f"Box {box_id}"
    what = f"{rows} Measurements of {whose} {span_text(start_ms, end_ms)}"
    if summed != block_sum(block, start_ms, end_ms, rows, packed):
        damaged(f"{what}: their checksum differs")
    elif box_id is None:
        damaged(f"{what}: cannot be read without it")
    else:
        try:
            return unpack_blocks([packed]).measurements(box_id)
        except DECODE_ERRORS as error:
            damaged(f"{what}: cannot be read ({type(error).__name__})")
    return []


def _unsealed(
    connection: sqlite3.Connection, names: dict[int, str], damaged: Damaged, chosen: Collection[int]
) -> Iterator[list[Measurement]]:
    """`chosen`: the numbers of the Boxes that are read; empty: all."""
    where = "WHERE box = ?" if chosen else ""
    single = connection.execute(f"SELECT box, packed FROM measurements {where} ORDER BY box, id", (*chosen,))
    for box, group in groupby(single, key=itemgetter(0)):
        found = []
        for _, packed in group:
            try:
                found += unpack_blocks([packed]).measurements(names[box])
            except DECODE_ERRORS as error:
                damaged(f"a Measurement that is not sealed: cannot be read ({type(error).__name__})")
        yield found
    parcels = connection.execute(f"SELECT parcel, boxes, packed FROM parcels WHERE {LIVE} ORDER BY parcel")
    for parcel, boxes, packed in parcels.fetchall():
        try:
            of_boxes = rows_by_box([(boxes, packed)])
            wanted = [(box, rows) for box, rows in of_boxes.items() if not chosen or box in chosen]
            found_rows = [by_time(rows).measurements(names[box]) for box, rows in wanted]
        except DECODE_ERRORS as error:
            damaged(f"parcel {parcel}, which is not sealed: cannot be read ({type(error).__name__})")
        else:
            yield from found_rows


def span_text(start_ms: int, end_ms: int) -> str:
    return f"from {_time(start_ms)} to {_time(end_ms)}"


def _time(at_ms: int) -> str:
    try:
        return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        return f"{at_ms} ms"
