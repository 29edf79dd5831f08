"""LedgerRows: the intervals and disturbances of a Box's ledger that are for the cloud and have no number yet,
and what was lost of them.

    ledger -> LedgerRows (a thread reads some ahead) -> queue, with its place in one transaction -> sent

The ledger keeps rows for weeks, and a queue of Measurements is bounded. So a row stays in the ledger, without
a number, until a cloud acknowledges again. Its place in the ledger is written with its number, so that a kill
neither loses a row nor numbers it twice.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence

from opq_gateway.config import Config, GroupSection, box_folder, data_folder
from opq_gateway.counters import BoxCounters
from opq_gateway.measuring.feed import DISTURBANCES, KINDS, LOST, Values
from opq_gateway.measuring.ledger import Ledger
from opq_gateway.measuring.polyphase import NUMBER
from opq_gateway.uplink.queue import LedgerRecord, Queue
from opq_proto.errors import ConfigError, OpqError
from opq_proto.kit import log
from opq_proto.kit.channel import Channel
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.measurement.intervals import LENGTH_NAMES
from opq_proto.messages import Disturbance, Interval, LostValues, Measurement

SENDABLE = (*LENGTH_NAMES, "disturbances")
READ_AHEAD_ROWS = 50
"""Records of a Box that are read ahead."""
EVERY_S = 1.0
COVERAGE = "coverage_ratio"
"""Name among the values of an interval."""
CLOSED = "closed_ratio"
"""Name among the values of a disturbance."""
RESIDUAL = "residual_v"
"""Name among the values of a disturbance."""


def kinds_of(intervals: Sequence[str]) -> frozenset[str]:
    """Returns the kinds of the ledger that the option `measuring.intervals` names.

    Raises:
        ConfigError: it names another kind.
    """
    unknown = sorted(set(intervals) - set(SENDABLE))
    if unknown:
        raise ConfigError(
            f"measuring.intervals: {', '.join(unknown)}: not known; there are {' '.join(SENDABLE)}, "
            "nothing was started"
        )
    kinds = set(intervals) - {"disturbances"}
    return frozenset(kinds | (set(DISTURBANCES) if "disturbances" in intervals else set()))


class LedgerRows:
    """The rows of one Box and of the group that is sent with it; `read_ahead` runs in one thread, `take` in
    the uplink's."""

    def __init__(
        self, ledger: Ledger, kinds: frozenset[str], places: Mapping[int, int], group: Ledger | None = None
    ) -> None:
        """`places`: file -> place up to which rows are in the queue; file n of the group is -n - 1."""
        self._ledger, self._kinds, self._places = ledger, kinds, dict(places)
        self._group = group
        self._waiting: Channel[LedgerRecord] = Channel("ledger rows", 2 * READ_AHEAD_ROWS, "refuse")
        self._back: LedgerRecord | None = None
        self.withhold_losses(True)

    def withhold_losses(self, withheld: bool) -> None:
        """Lets lost spans wait on disk, or have a record that goes up to a cloud that takes them."""
        for ledger in (self._ledger, self._group):
            if ledger is not None:
                ledger.withholds_losses = withheld

    def take(self) -> LedgerRecord | None:
        """The next record; None where no record waits."""
        back, self._back = self._back, None
        return self._waiting.take_item() if back is None else back

    def put_back(self, record: LedgerRecord) -> None:
        """Puts back a record that could not be stored, as the next one."""
        self._back = record

    def read_ahead(self) -> None:
        """Reads until AHEAD records wait.

        Raises:
            OSError: the ledger cannot be read.
        """
        if len(self._waiting) >= READ_AHEAD_ROWS:
            return
        held = set(self._ledger.file_numbers())
        if self._group is not None:
            held |= {~number for number in self._group.file_numbers()}
        gone = {number: -1 for number in self._places if number not in held}
        for number in gone:
            del self._places[number]
        for number, place, rows in self._records():
            self._places[number] = place
            gone[number] = place
            if not rows:  # losses of kinds that are not for the cloud; the place goes with the next record
                continue
            self._waiting.offer(LedgerRecord(rows, gone))
            gone = {}
            if len(self._waiting) >= READ_AHEAD_ROWS:
                return

    def _records(self) -> Iterator[tuple[int, int, list[Measurement]]]:
        """The records after the places: file, place after it, rows."""
        kinds = self._kinds | {LOST}
        for number, place, values in self._ledger.records_after(self._places, kinds):
            yield number, place, [measurement_of(each) for each in values if self._is_sent(each)]
        if self._group is not None:
            places = {~number: place for number, place in self._places.items() if number < 0}
            for number, place, values in self._group.records_after(places, kinds):
                sent = (each for each in values if self._is_sent(each))
                yield ~number, place, [measurement_of(each, self._ledger.box_id) for each in sent]

    def _is_sent(self, values: Values) -> bool:
        return (_kind_lost(values) if values.kind == LOST else values.kind) in self._kinds


def measurement_of(values: Values, sender: str | None = None) -> Measurement:
    """Returns the Measurement that carries a row of the ledger, without metrics; `sender` is the Box that
    carries the row of a group."""
    interval = disturbance = lost = None
    place = "" if sender is None else values.box_id
    if values.kind == LOST:
        rows = values.values["rows"]
        lost = LostValues(_kind_lost(values), int(rows) if isinstance(rows, float) else 1, place)
    elif values.kind in DISTURBANCES:
        residual_v, closed = values.values.get(RESIDUAL), values.values.get(CLOSED)
        number = values.values.get(NUMBER)
        disturbance = Disturbance(
            values.box_id,
            values.kind,
            values.start_ns,
            values.end_ns if closed else None,
            values.uncertainty_ns,
            residual_v if isinstance(residual_v, float) else float("nan"),
            int(number) if isinstance(number, float) else 0,
        )
    else:
        coverage = values.values.get(COVERAGE)
        interval = Interval(
            LENGTH_NAMES[values.kind],
            values.flagged,
            coverage if isinstance(coverage, float) else None,
            {name: value for name, value in values.values.items() if name != COVERAGE},
            place,
        )
    return Measurement(
        sender or values.box_id,
        (values.end_ns + 500_000) // 1_000_000,
        {},
        values.start_ns,
        values.end_ns,
        values.uncertainty_ns,
        values.source,
        interval=interval,
        disturbance=disturbance,
        lost=lost,
    )


def _kind_lost(values: Values) -> str:
    """The kind of the rows that a record of lost ones is about."""
    number = values.values["kind"]
    return KINDS[int(number)] if isinstance(number, float) else ""


class LedgerReader:
    """Reads the ledgers of all Boxes ahead in a separate thread, because the uplink must not wait for a
    disk."""

    def __init__(self, rows: Mapping[str, LedgerRows], counters: Mapping[str, BoxCounters]) -> None:
        self.rows = rows
        self._counters = counters
        self._lines = RateLimitedLog(log.get(service="gateway"))

    def run(self, stop: threading.Event) -> None:
        """Reads once a second until `stop`."""
        while not stop.wait(EVERY_S):
            for box_id, rows in self.rows.items():
                try:
                    rows.read_ahead()
                except OSError as error:
                    self._counters[box_id].add("ledger_unreadable")
                    reason = error.strerror or str(error)
                    self._lines.error("ledger.unreadable", key=box_id, box_id=box_id, reason=reason)


def _senders(groups: Sequence[GroupSection]) -> dict[str, str]:
    """Returns Box -> the group that is sent with it: the first Box of each group that does not carry another
    group.

    Raises:
        ConfigError: every Box of a group already carries another group.
    """
    found: dict[str, str] = {}
    for group in groups:
        free = [box_id for box_id in group.boxes if box_id not in found]
        if not free:
            raise ConfigError(
                f"group {group.name}: each of its Boxes stands for another group already; "
                "want a Box that is in no other group, nothing was started"
            )
        found[free[0]] = group.name
    return found


def ledger_reader_of(config: Config, queue: Queue, counters: Mapping[str, BoxCounters]) -> LedgerReader:
    """The reader of the ledger rows that are sent to the cloud.

    Raises:
        ConfigError: an interval that does not exist, or groups that no Box can carry.
        OpqError: a ledger's folder cannot be made.
    """
    kinds = kinds_of(config.measuring.intervals)
    keep = config.measuring.windows_hours, config.measuring.values_days
    with_group = _senders(config.group)
    rows = {}
    try:
        for box_id in counters if kinds else ():
            ledger = Ledger(box_folder(config, box_id) / "ledger", box_id, *keep)
            name = with_group.get(box_id)
            group = None if name is None else Ledger(data_folder(config) / f"group-{name}", name, *keep)
            rows[box_id] = LedgerRows(ledger, kinds, queue.ledger_places(box_id), group)
    except OSError as error:
        raise OpqError(f"gateway: {error.filename} cannot be used: {error.strerror or error}") from error
    return LedgerReader(rows, counters)
