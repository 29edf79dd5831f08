"""What Measurements show of a Box before its loss of supply, also to a watch that begins after it."""

from opq_cloud.store.stated_starts import of_their_starts
from opq_cloud.store.store import CloudStore
from opq_proto.decision import NS_PER_MS, Nominal, window_ns
from opq_proto.messages import Measurement
from opq_proto.wire.continuity import dark_s

S = 10**9
BACK_NS = 60 * S
"""The Boxes of a house whose cloud has the same supply may be back so long before the watch begins."""
AROUND_NS = 2 * S
ROWS = 1000


def row_before(store: CloudStore, box_id: str, at_ns: int) -> Measurement | None:
    """Returns the last whole Measurement that began before a moment, at most ten seconds before."""
    at_ms = at_ns // NS_PER_MS
    rows = store.measurements(box_id, at_ms - 10_000, at_ms + 2_000, ROWS)
    before = [each for each in rows if window_ns(each)[0] < at_ns and not each.crossing]
    return before[-1] if before else None


def row_before_dark(store: CloudStore, newest: Measurement) -> Measurement | None:
    """Returns a Box's last Measurement before the loss of supply that one of its last minute's reports.

    None: none reports one, or its outage is stored already.
    """
    end_ns = window_ns(newest)[1]
    rows = store.measurements(newest.box_id, (end_ns - BACK_NS) // NS_PER_MS, end_ns // NS_PER_MS + 2, ROWS)
    for each in rows:
        lasted_s = dark_s(each.metrics)
        if each.crossing or not lasted_s:
            continue
        began_ns = window_ns(each)[0] - round(lasted_s * S)
        near = store.findings_of_boxes((newest.box_id,), began_ns - AROUND_NS, began_ns + AROUND_NS)
        if not any(one.finding.kind == "outage" for one in near):
            return row_before(store, newest.box_id, began_ns)
    return None


def lowest_percent(
    store: CloudStore, box_id: str, start_ns: int, end_ns: int, default: Nominal
) -> float | None:
    """Returns a Box's lowest voltage in a span, each row's in percent of what its start stated.

    Rows whose start is not known are in percent of what the Box states now.
    """
    rows = store.measurements(box_id, start_ns // NS_PER_MS, end_ns // NS_PER_MS + 2, 50)
    box = store.box(box_id)
    now_v = (box and box.nominal_v) or default.volts
    shown = [row for row in of_their_starts(box.starts if box else (), rows) if "rms" in row.metrics]
    return min((100 * row.metrics["rms"].min / (row.nominal_v or now_v) for row in shown), default=None)
