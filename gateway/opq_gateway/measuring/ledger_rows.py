"""LedgerRows: what a Box's ledger holds for the cloud: intervals and disturbances that were not numbered yet.

    ledger -> LedgerRows (a thread reads some ahead) -> queue, with its place in one transaction -> sent

The ledger keeps rows for weeks, and a queue of Measurements is bounded. So a row stays in the ledger until a
cloud acknowledges again; only then it gets a number. Its place in the ledger is written with it, so that a
kill loses none and numbers none twice.
"""

import threading
from collections.abc import Mapping, Sequence

from opq_gateway.config import Config, box_folder
from opq_gateway.counters import BoxCounters
from opq_gateway.measuring.feed import DISTURBANCES, Values
from opq_gateway.measuring.ledger import Ledger
from opq_gateway.uplink.queue import LedgerRecord, Queue
from opq_proto.errors import ConfigError, OpqError
from opq_proto.kit import log
from opq_proto.kit.channel import Channel
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.messages import Disturbance, Interval, Measurement

LENGTHS_MS = {"3s": 3_000, "10s": 10_000, "10min": 600_000, "2h": 7_200_000}
"""Kind of the ledger -> length of the interval."""
SENDABLE = (*LENGTHS_MS, "disturbances")
AHEAD = 50
"""Records of a Box that are read ahead."""
EVERY_S = 1.0
COVERAGE, CLOSED, RESIDUAL = "coverage_ratio", "closed_ratio", "residual_v"


def kinds_of(intervals: Sequence[str]) -> frozenset[str]:
    """Returns the kinds of the ledger that the option `measuring.intervals` names.

    Raises:
        ConfigError: it names something else.
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
    """The rows of one Box; `read_ahead` in one thread, `take` in the uplink's."""

    def __init__(self, ledger: Ledger, kinds: frozenset[str], places: Mapping[int, int]) -> None:
        """`places`: file -> place up to which rows are in the queue."""
        self._ledger, self._kinds, self._places = ledger, kinds, dict(places)
        self._waiting: Channel[LedgerRecord] = Channel("ledger rows", 2 * AHEAD, "refuse")
        self._back: LedgerRecord | None = None

    def take(self) -> LedgerRecord | None:
        """The next record; None: none waits."""
        back, self._back = self._back, None
        return self._waiting.take_item() if back is None else back

    def put_back(self, record: LedgerRecord) -> None:
        """Takes a record back that could not be stored; it is the next one again."""
        self._back = record

    def read_ahead(self) -> None:
        """Reads until AHEAD records wait.

        Raises:
            OSError: the ledger cannot be read.
        """
        if len(self._waiting) >= AHEAD:
            return
        places = self._places
        held = set(self._ledger.file_numbers())
        gone = {number: -1 for number in places if number not in held}
        for number in gone:
            del places[number]
        for number, place, values in self._ledger.records_after(places, self._kinds):
            places[number] = place
            rows = [measurement_of(each) for each in values]
            self._waiting.offer(LedgerRecord(rows, {**gone, number: place}))
            gone = {}
            if len(self._waiting) >= AHEAD:
                return


def measurement_of(values: Values) -> Measurement:
    """Returns the Measurement without metrics that carries a row of the ledger."""
    interval = disturbance = None
    if values.kind in DISTURBANCES:
        residual_v, closed = values.values.get(RESIDUAL), values.values.get(CLOSED)
        disturbance = Disturbance(
            values.box_id,
            values.kind,
            values.start_ns,
            values.end_ns if closed else None,
            values.uncertainty_ns,
            residual_v if isinstance(residual_v, float) else float("nan"),
        )
    else:
        coverage = values.values.get(COVERAGE)
        interval = Interval(
            LENGTHS_MS[values.kind],
            values.flagged,
            coverage if isinstance(coverage, float) else None,
            {name: value for name, value in values.values.items() if name != COVERAGE},
        )
    return Measurement(
        values.box_id,
        (values.end_ns + 500_000) // 1_000_000,
        {},
        values.start_ns,
        values.end_ns,
        values.uncertainty_ns,
        values.source,
        interval=interval,
        disturbance=disturbance,
    )


class LedgerReader:
    """Reads the ledgers of all Boxes ahead, in a thread of its own, since the uplink must not wait for a
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


def ledger_reader_of(config: Config, queue: Queue, counters: Mapping[str, BoxCounters]) -> LedgerReader:
    """What reads the rows of the Boxes' ledgers that go up.

    Raises:
        ConfigError: an interval that does not exist.
        OpqError: a ledger's folder cannot be made.
    """
    wanted = config.measuring
    kinds = kinds_of(wanted.intervals)
    rows = {}
    try:
        for box_id in counters if kinds else ():
            folder = box_folder(config, box_id) / "ledger"
            ledger = Ledger(folder, box_id, wanted.windows_hours, wanted.values_days)
            rows[box_id] = LedgerRows(ledger, kinds, queue.ledger_places(box_id))
    except OSError as error:
        raise OpqError(f"gateway: {error.filename} cannot be used: {error.strerror or error}") from error
    return LedgerReader(rows, counters)
