"""Intervals and disturbances, and what was lost of them, as the messages in fields 1010, 1011 and 1014 of a
Measurement.

The gateway's quantities (`measurement.intervals`) are one name each on the wire, with average, least and
most: `rms_v`, `rms_min_v` and `rms_max_v` are one. An order of harmonics has a short name, `h1`. Numbers are
single precision, so that a value of the ledger in double precision arrives rounded to the nearest.
"""

import math
from collections.abc import Mapping

from opq_proto.measurement.fields import LIMITS as METRIC_LIMITS
from opq_proto.measurement.fields import interval_limits
from opq_proto.measurement.invariants import DISTURBANCE, INTERVAL, MAX_NAME, Refusals, is_name
from opq_proto.messages import AT_INSTANTS, UNKNOWN_UNCERTAINTY_NS, Disturbance, Interval, LostValues
from opq_proto.wire.opqbox3_pb2 import Disturbance as WireDisturbance
from opq_proto.wire.opqbox3_pb2 import Interval as WireInterval
from opq_proto.wire.opqbox3_pb2 import LostValues as WireLostValues
from opq_proto.wire.opqbox3_pb2 import Measurement as WireMeasurement

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
MOST_COVERAGE = 1.01
"""Share of its time; a window at an edge may count in both."""
MOST_LOST = 2**53
"""Rows that are read of one loss; each whole number up to it has a place in JSON."""
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


def read_interval(message: WireInterval, box_id: str, refused: Refusals | None = None) -> Interval:
    """Returns the content of a message, up to MAX_NAMES names; its length may be unknown to the store.

    A value that is not finite is unknown. One that cannot be true, or has an impossible name, is left out
    and counted in `refused`. An order is left out with the orders above it.
    """
    read = _IntervalValues()
    names = message.names[:MAX_NAMES]
    averages, least, most = message.averages, message.least, message.most
    orders: dict[str, dict[int, float]] = {}
    for at, (name, average) in enumerate(zip(names, averages, strict=False)):
        if name[:1] in _LETTERS and name[1:].isdecimal():
            quantity = _LETTERS[name[:1]][0]
            if (value := read.possible(quantity, average)) is not None:
                orders.setdefault(name[:1], {})[int(name[1:4])] = value
            continue
        if not is_name(name):
            read.wrong += 1
            continue
        read.add(name, average)
        below, above = LIMITS.get(name, (f"{name}_min", f"{name}_max"))
        if at < len(least) and below:
            read.add(below, least[at], name)
        if at < len(most) and above:
            read.add(above, most[at], name)
    for letter, found in orders.items():
        quantity, first = _LETTERS[letter]
        row: list[float] = []
        while (order := first + len(row)) in found:
            row.append(found[order])
        if row:
            read.values[quantity] = tuple(row)
    for name in AT_INSTANTS:
        at_instants = [read.possible(name, each) for each in getattr(message, name)[:MAX_INSTANTS]]
        found_at = tuple(math.nan if each is None else each for each in at_instants)
        if not all(map(math.isnan, found_at)):
            read.values[name] = found_at
    coverage: float | None = message.coverage
    if not 0 <= message.coverage <= MOST_COVERAGE:
        read.wrong += not math.isnan(message.coverage)
        coverage = None
    place = message.place[:MAX_NAME]
    if not place.isprintable():
        read.wrong += 1
        place = ""
    if read.wrong and refused is not None:
        refused[box_id, INTERVAL] += read.wrong
    return Interval(message.length_ms, message.flagged, coverage, read.values, place)


class _IntervalValues:
    """Values of an interval that can be true, and how many cannot."""

    def __init__(self) -> None:
        self.values: dict[str, float | tuple[float, ...]] = {}
        self.wrong = 0

    def possible(self, name: str, value: float) -> float | None:
        """Returns a value; None where it is not known, or cannot be true, which is counted."""
        least, most = METRIC_LIMITS.get(name) or interval_limits(name)
        if least <= value <= most:
            return value
        self.wrong += not math.isnan(value)
        return None

    def add(self, name: str, value: float, of: str = "") -> None:
        """Adds a value; `of`: the quantity whose limits it has, where that is another name."""
        if (possible := self.possible(of or name, value)) is not None:
            self.values[name] = possible


def write_disturbance(message: WireDisturbance, disturbance: Disturbance) -> None:
    """Fills a message."""
    setattr(message, "class", disturbance.kind)
    message.closed = disturbance.end_ns is not None
    message.residual_v = disturbance.residual_v
    message.polyphase_group = disturbance.polyphase_group


def read_disturbance(message: WireMeasurement, refused: Refusals | None = None) -> Disturbance:
    """Returns the disturbance of a Measurement; its class may be unknown to the store.

    A residual voltage that cannot be true is unknown, and counted in `refused`.
    """
    content, box_id = message.disturbance, str(message.box_id)
    kind = str(getattr(content, "class"))[:MAX_NAME]
    end_ns = message.end_ns if content.closed else None
    uncertainty_ns = message.uncertainty_ns if message.HasField("uncertainty_ns") else UNKNOWN_UNCERTAINTY_NS
    residual_v = content.residual_v
    least, most = interval_limits("residual_v")
    if not least <= residual_v <= most:
        if refused is not None and not math.isnan(residual_v):
            refused[box_id, DISTURBANCE] += 1
        residual_v = math.nan
    group = content.polyphase_group if content.polyphase_group < 2**63 else 0
    return Disturbance(box_id, kind, message.start_ns, end_ns, uncertainty_ns, residual_v, group)


def write_lost(message: WireLostValues, lost: LostValues) -> None:
    """Fills a message."""
    message.kind, message.rows, message.place = lost.kind, lost.rows, lost.place


def read_lost(message: WireLostValues) -> LostValues:
    """Returns the content of a message; names that a page cannot show are left out."""
    kind, place = (name[:MAX_NAME] if name.isprintable() else "" for name in (message.kind, message.place))
    return LostValues(kind, min(message.rows, MOST_LOST), place)
