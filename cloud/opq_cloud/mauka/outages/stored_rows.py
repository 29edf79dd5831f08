"""What the stored Measurements of a Box show of a silence, in the order in which they were made."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from opq_cloud.store.stated_starts import of_their_starts
from opq_cloud.store.store import CloudStore
from opq_proto.decision import Nominal, window_ns
from opq_proto.measurement.continuity import dark_s
from opq_proto.messages import Measurement
from opq_proto.time_units import NS_PER_MS, NS_PER_S

BACK_NS = 60 * NS_PER_S
"""The Boxes of a house whose cloud has the same supply may be back so long before the watch begins."""
LONGEST_BACK_NS = 2 * 3600 * NS_PER_S
AROUND_NS = 2 * NS_PER_S
NEXT_NS = 2 * NS_PER_S
"""The last Measurement before a loss of supply ends at most this long before: the next never came."""
ROWS_PER_READ = 1000
"""Measurements read at once."""


def row_end_ns(row: Measurement) -> int:
    """Returns when a Measurement's window ends, ns."""
    return window_ns(row)[1]


def row_before(store: CloudStore, box_id: str, at_ns: int) -> Measurement | None:
    """Returns the last whole Measurement that began before a moment, at most ten seconds before."""
    at_ms = at_ns // NS_PER_MS
    rows = store.measurements(box_id, at_ms - 10_000, at_ms + 2_000, ROWS_PER_READ)
    before = [each for each in rows if window_ns(each)[0] < at_ns and not each.crossing]
    return before[-1] if before else None


@dataclass(frozen=True, slots=True)
class ReportedLoss:
    """A loss of supply that a Measurement reports: since when, and the last Measurement before it."""

    began_ns: int
    before: Measurement | None
    """None: it is not stored."""

    @property
    def is_whole(self) -> bool:
        """Whether no Measurement of before the loss is still to come."""
        return self.before is not None and self.began_ns - row_end_ns(self.before) <= NEXT_NS


def reported_loss(store: CloudStore, newest: Measurement) -> ReportedLoss | None:
    """Returns the loss of supply that a Measurement of a Box's last minute reports.

    None: none reports one, or its outage is stored already.
    """
    until_ns = row_end_ns(newest)
    for each in store.measurements(
        newest.box_id, (until_ns - BACK_NS) // NS_PER_MS, after_ms(until_ns), ROWS_PER_READ
    ):
        lasted_s = dark_s(each.metrics)
        if each.crossing or not lasted_s:
            continue
        began_ns = window_ns(each)[0] - round(lasted_s * NS_PER_S)
        near = store.findings_of_boxes((newest.box_id,), began_ns - AROUND_NS, began_ns + AROUND_NS)
        if not any(one.finding.kind == "outage" for one in near):
            return ReportedLoss(began_ns, row_before(store, newest.box_id, began_ns))
    return None


def row_before_missing(store: CloudStore, newest: Measurement) -> Measurement | None:
    """Returns a Box's last whole Measurement before the numbers that its gateway holds and has not sent yet.

    None: none is missing, or what is stored before is more than two hours old.
    """
    number, oldest = newest.sequence, newest.oldest_sequence
    if number is None or oldest is None:
        return None
    until_ns, back_ns = row_end_ns(newest), BACK_NS
    while back_ns <= LONGEST_BACK_NS:
        since_ms = max(0, until_ns - back_ns) // NS_PER_MS
        rows = {row.sequence: row for row in store.measurements(newest.box_id, since_ms, after_ms(until_ns))}
        while number in rows:
            number -= 1
        if number < oldest:
            return None
        before = [
            each for each, row in rows.items() if each is not None and each < number and not row.crossing
        ]
        if before:
            return rows[max(before)]
        back_ns *= 2
    return None


def rows_since(
    store: CloudStore, first: Measurement, last: Measurement, longest_h: float
) -> Sequence[Measurement]:
    """Returns a Box's Measurements from one to another, in the order of their numbers.

    Where the clock was set back between them, also what came up to `longest_h` hours after the first.
    """
    length_ns = max(1, row_end_ns(last) - window_ns(last)[0])
    count = 2 if last.sequence is None or first.sequence is None else last.sequence - first.sequence
    since_ns = max(0, row_end_ns(last) - min(ROWS_PER_READ, count + 1) * length_ns)
    passed_ns = row_end_ns(last) - row_end_ns(first)
    found = list(rows_until(store, first, row_end_ns(last))) if passed_ns > 0 else [first]
    numbered = None not in (first.sequence, last.sequence)
    if passed_ns <= 0 or (numbered and passed_ns < (count - 0.5) * length_ns):
        # the clock was set back between them: the next ones may end before the first
        rows = store.measurements(
            last.box_id, since_ns // NS_PER_MS, after_ms(row_end_ns(last)), ROWS_PER_READ
        )
        if passed_ns <= 0 and last.sequence is not None:  # and what came before it was set
            longest_ns = round(longest_h * 3600 * NS_PER_S)
            from_ms, until_ms = row_end_ns(first) // NS_PER_MS, after_ms(row_end_ns(first) + longest_ns)
            rows = [*rows, *store.measurements(last.box_id, from_ms, until_ms, ROWS_PER_READ)]
        found += [row for row in rows if row != first]
    since, until = first.sequence, last.sequence
    if since is None or until is None:
        return found
    numbers = [(row.sequence, row) for row in found if row.sequence is not None]
    within = {number: row for number, row in numbers if since <= number <= until}
    return [within[number] for number in sorted(within)]


def rows_until(store: CloudStore, first: Measurement, until_ns: int) -> Iterator[Measurement]:
    """Yields a Box's Measurements from one to a time, in time order."""
    yield first
    reached_ns = row_end_ns(first)
    while True:
        rows = store.measurements(first.box_id, reached_ns // NS_PER_MS, after_ms(until_ns), ROWS_PER_READ)
        later = [row for row in rows if row_end_ns(row) > reached_ns]
        yield from later
        if not later or len(rows) < ROWS_PER_READ:
            return
        reached_ns = row_end_ns(later[-1])


def rows_between(store: CloudStore, box_id: str, start_ns: int, until_ns: int) -> Sequence[Measurement]:
    """Returns a Box's whole Measurements with a voltage, at most ROWS_PER_READ."""
    rows = store.measurements(box_id, max(0, start_ns) // NS_PER_MS, after_ms(until_ns), ROWS_PER_READ)
    return [each for each in rows if not each.crossing and "rms" in each.metrics]


def after_ms(until_ns: int) -> int:
    """Returns a bound that no row ending at `until_ns` reaches: the milliseconds of a row are rounded."""
    return until_ns // NS_PER_MS + 2


def lowest_percent(
    store: CloudStore, box_id: str, start_ns: int, end_ns: int, default: Nominal
) -> float | None:
    """Returns a Box's lowest voltage in a span, each row's in percent of what its start stated.

    Rows whose start is not known are in percent of what is stated of the Box for then.
    """
    rows = store.measurements(box_id, start_ns // NS_PER_MS, end_ns // NS_PER_MS + 2, 50)
    box = store.box(box_id)
    then_v = (box and box.at(start_ns).nominal_v) or default.volts
    shown = [row for row in of_their_starts(box.starts if box else (), rows) if "rms" in row.metrics]
    return min((100 * row.metrics["rms"].min / (row.nominal_v or then_v) for row in shown), default=None)
