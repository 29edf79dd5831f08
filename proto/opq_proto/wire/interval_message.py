"""Intervals and disturbances as the messages in fields 1010 and 1011 of a Measurement.

The gateway's quantities (`measurement.intervals`) are one name each on the wire, with average, least and
most: `rms_v`, `rms_min_v` and `rms_max_v` are one. An order of harmonics has a short name, `h1`. Numbers are
single precision, so that a value of the ledger in double precision arrives rounded to the nearest.
"""

import math
from collections.abc import Mapping

from opq_proto.messages import AT_INSTANTS, Disturbance, Interval
from opq_proto.wire.opqbox3_pb2 import Disturbance as WireDisturbance
from opq_proto.wire.opqbox3_pb2 import Interval as WireInterval

LIMITS = {
    "rms_v": ("rms_min_v", "rms_max_v"),
    "urms_v": ("urms_min_v", "urms_max_v"),
    "f_hz": ("f_min_hz", "f_max_hz"),
    "thd_ratio": ("", "thd_max_ratio"),
}
"""Name on the wire -> names of its least and most in the gateway; its average has its own."""
ORDERS = {"harmonics_v": ("h", 1), "interharmonics_v": ("i", 0)}
"""Quantity with a value for each order -> letter on the wire, first order."""
_OF_LIMITS = {name for pair in LIMITS.values() for name in pair}
_LETTERS = {letter: (name, first) for name, (letter, first) in ORDERS.items()}
MAX_NAMES = 500
MAX_NAME = 40
"""Letters of a name that is read."""
MAX_INSTANTS = 100
"""Values of one of AT_INSTANTS that are read."""


def write_interval(message: WireInterval, interval: Interval) -> None:
    """Fills a message."""
    message.length_ms, message.flagged = interval.length_ms, interval.flagged
    message.coverage = math.nan if interval.coverage is None else interval.coverage
    message.place = interval.place
    values = interval.values
    rows: list[tuple[str, float, float, float]] = []
    for name, (least, most) in LIMITS.items():
        row = (name, _number(values, name), _number(values, least), _number(values, most))
        if not all(map(math.isnan, row[1:])):
            rows.append(row)
    count = len(rows)
    for name, value in values.items():
        if isinstance(value, tuple):
            if name in AT_INSTANTS:
                getattr(message, name).extend(value)
            elif name in ORDERS:
                letter, first = ORDERS[name]
                rows += ((f"{letter}{first + at}", each, 0.0, 0.0) for at, each in enumerate(value))
        elif name not in LIMITS and name not in _OF_LIMITS:
            rows.append((name, value, 0.0, 0.0))
    message.names.extend(row[0] for row in rows)
    message.averages.extend(row[1] for row in rows)
    message.least.extend(row[2] for row in rows[:count])
    message.most.extend(row[3] for row in rows[:count])


def _number(values: Mapping[str, float | tuple[float, ...]], name: str) -> float:
    value = values.get(name, math.nan)
    return math.nan if isinstance(value, tuple) else value


def read_interval(message: WireInterval) -> Interval:
    """Returns the content of a message, up to MAX_NAMES names; its length may be unknown to the store.

    A value that is not finite is unknown. An order is left out with the orders above it.
    """
    coverage = message.coverage
    names = message.names[:MAX_NAMES]
    averages, least, most = message.averages, message.least, message.most
    values: dict[str, float | tuple[float, ...]] = {}
    orders: dict[str, dict[int, float]] = {}
    count = len(least), len(most)
    for at, (name, average) in enumerate(zip(names, averages, strict=False)):
        if name[:1] in _LETTERS and name[1:].isdecimal():
            if math.isfinite(average):
                orders.setdefault(name[:1], {})[int(name[1:4])] = average
            continue
        if not name or len(name) > MAX_NAME:
            continue
        if math.isfinite(average):
            values[name] = average
        if at < max(count):
            below, above = LIMITS.get(name, (f"{name}_min", f"{name}_max"))
            if at < count[0] and below and math.isfinite(least[at]):
                values[below] = least[at]
            if at < count[1] and above and math.isfinite(most[at]):
                values[above] = most[at]
    for letter, found in orders.items():
        quantity, first = _LETTERS[letter]
        row: list[float] = []
        while (order := first + len(row)) in found:
            row.append(found[order])
        if row:
            values[quantity] = tuple(row)
    for name in AT_INSTANTS:
        found_at = tuple(
            each if math.isfinite(each) else math.nan for each in getattr(message, name)[:MAX_INSTANTS]
        )
        if not all(map(math.isnan, found_at)):
            values[name] = found_at
    known = coverage if math.isfinite(coverage) else None
    return Interval(message.length_ms, message.flagged, known, values, message.place[:MAX_NAME])


def write_disturbance(message: WireDisturbance, disturbance: Disturbance) -> None:
    """Fills a message."""
    setattr(message, "class", disturbance.kind)
    message.closed = disturbance.end_ns is not None
    message.residual_v = disturbance.residual_v
    message.polyphase_group = disturbance.polyphase_group


def read_disturbance(
    message: WireDisturbance, box_id: str, start_ns: int, end_ns: int, uncertainty_ns: int
) -> Disturbance:
    """Returns the content of a message; its class may be unknown to the store."""
    kind = str(getattr(message, "class"))[:MAX_NAME]
    end = end_ns if message.closed else None
    residual_v = message.residual_v
    group = message.polyphase_group if message.polyphase_group < 2**63 else 0
    return Disturbance(box_id, kind, start_ns, end, uncertainty_ns, residual_v, group)
