"""Voltages of ten minutes in a store, for tests of what reads weeks."""

from collections.abc import Sequence

import numpy as np

from opq_cloud.store import CloudStore
from opq_cloud.store.box_record import BoxRecord
from opq_proto.messages import Interval, Measurement

TEN_NS = 600 * 10**9


def put_tenths(store: CloudStore, box: BoxRecord, start_ns: int, percents: Sequence[float]) -> None:
    """Stores a Box, and its voltage in percent of its nominal one from `start_ns` on; NaN: flagged."""
    store.put_box(box)
    rows = []
    for tenth, percent in enumerate(percents):
        begin_ns = start_ns + tenth * TEN_NS
        flagged = bool(np.isnan(percent))
        volts = 0.0 if flagged else float(percent) / 100 * (box.nominal_v or 120.0)
        rows.append(
            Measurement(
                box.box_id,
                (begin_ns + TEN_NS) // 10**6,
                {},
                start_ns=begin_ns,
                end_ns=begin_ns + TEN_NS,
                sequence=tenth + 1,
                interval=Interval(600_000, flagged, 1.0, {"rms_v": volts}),
            )
        )
    store.intervals.append(rows)
