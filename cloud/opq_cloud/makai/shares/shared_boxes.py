"""One triggering service's share of the Boxes: the present shares, which Boxes it takes over, and releases.

For a Box that is taken over, triggers see its last stored minutes, as after a restart, then its later
messages. Belongs to the triggering service's loop.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from opq_cloud.makai.boxes import BoxRegister
from opq_cloud.makai.broker_links import MeasurementLinks
from opq_cloud.makai.measurements.measurement_writer import MeasurementWriter
from opq_cloud.makai.shares.box_shares import Share
from opq_cloud.makai.shares.first_share import FirstShare
from opq_cloud.makai.shares.further_share import FurtherShare
from opq_cloud.makai.shares.own_boxes import Frames, OwnBoxes
from opq_cloud.service import HealthReport, ServiceCounters
from opq_cloud.sockets import Context, Socket
from opq_cloud.store.store import CloudStore
from opq_proto import log
from opq_proto.errors import FrameError, StoreError
from opq_proto.messages import Measurement
from opq_proto.own_thread import PeriodicCall
from opq_proto.rate_limit import RateLimitedLog
from opq_proto.wire import measurement_from_wire

STORE_PAUSE_S = 1.0
READ_S = 0.5
"""How often the store is read where the shares have changed, or a reading has failed."""

SeeAgain = Callable[[Iterable[Measurement]], None]
Judge = Callable[[Measurement], None]
"""Judges one that came live."""


class SharedBoxes:
    """The part of one share."""

    def __init__(
        self,
        share: Share,
        role: FirstShare | FurtherShare,
        boxes: BoxRegister,
        counters: ServiceCounters,
        back_s: float,
    ) -> None:
        """`back_s`: length of the stored Measurements that triggers see for a Box that is taken over."""
        self._share, self._boxes, self._counters = share, boxes, counters
        self.role = role
        self._back_ms = round(back_s * 1000)
        self._limited = RateLimitedLog(log.get(service="triggering-service"))
        self._own = OwnBoxes(share.number)
        self._stored_ms: dict[str, int] = {}
        """Boxes of the store -> their last Measurement there, when the shares changed last."""
        self._found: deque[dict[str, int]] = deque()
        """Results of the reading thread."""
        self._read_for: tuple[int, ...] = ()
        self._reading = PeriodicCall("stored-boxes", self._read_stored, READ_S)
        self._again_s = 0.0

    @contextmanager
    def opened(self, context: Context, endpoint: str) -> Iterator[Socket]:
        """Yields the socket to be polled with the Measurements; raises as the role's `opened`."""
        self._own, self._stored_ms, self._again_s = OwnBoxes(self._share.number), {}, 0.0
        self._found.clear()
        self._read_for = ()
        with self.role.opened(context, endpoint) as socket:
            try:
                yield socket
            finally:
                self._reading.close()

    def begin(
        self,
        measurements: MeasurementLinks,
        store: CloudStore,
        writer: MeasurementWriter,
        see_again: SeeAgain,
        judge: Judge,
    ) -> None:
        """Begins; called at each start of the service. `measurements` is subscribed to nothing."""
        self._measurements, self._store, self._writer = measurements, store, writer
        self._see_again, self._judge = see_again, judge
        self._reading.start()

    def accept(self, measurement: Measurement) -> None:
        """Accepts a Measurement whose event is on disk: the owner of the Box stores it."""
        if not (isinstance(self.role, FirstShare) and self.role.accept(measurement)):
            self._writer.accept_measurement(measurement)

    def has(self, box_id: str) -> bool:
        """Returns True if the Box is judged here."""
        return self._own.has(box_id)

    def sort(self, messages: Sequence[Frames]) -> list[Frames]:
        """Returns the messages of Boxes that are judged here."""
        return self._own.sort(messages)

    def advance(self, now_s: float) -> None:
        """Updates the shares, takes and releases Boxes; called once a turn, before judging its messages."""
        self.role.advance(now_s)
        own = self._own
        if self.role.shares != own.shares:
            for beginning in own.use_shares(self.role.shares, now_s):
                self._measurements.subscribe(beginning)
        if self._found:
            self._stored_ms = self._found.popleft()
            own.know(self._stored_ms)
        if own.begins and now_s >= self._again_s:
            self._take_some(now_s)
        over, released = own.released(now_s)
        for beginning in over:
            self._measurements.unsubscribe(beginning)
        if released:
            self._counters.add("boxes_released", len(released))
            self._writer.release_boxes(released)
            if isinstance(self.role, FurtherShare):
                self._boxes.remove_boxes(released)
        self._counters.set("boxes_of_share_now", len(own))
        self._counters.set("boxes_not_begun_dropped", own.dropped)

    def health(self) -> HealthReport:
        return self.role.health()

    def _read_stored(self) -> None:
        """Reads the stored Boxes, in a thread: it may take seconds, and others wait for a beat."""
        shares = self._own.shares
        if not shares or shares == self._read_for:
            return
        try:
            newest = self._store.latest_measurements()
        except StoreError as error:
            self._store_failed(error)
            return
        self._read_for = shares
        self._found.append({box_id: row.timestamp_ms for box_id, row in newest.items()})

    def _take_some(self, now_s: float) -> None:
        gained = self._own.next_gained()
        came = {box_id: self._read(messages) for box_id, messages in gained.items()}
        try:
            stored = {box_id: self._last_minutes(box_id, rows) for box_id, rows in came.items()}
        except StoreError as error:
            self._again_s = now_s + STORE_PAUSE_S
            self._store_failed(error)
            return
        self._own.begin(gained)
        self._writer.take_boxes({box_id: rows[-1].timestamp_ms for box_id, rows in stored.items() if rows})
        self._counters.add("boxes_taken", len(gained))
        for box_id, rows in came.items():
            self._see_again(stored[box_id])
            there = {_identity(row) for row in stored[box_id]}
            for row in rows:
                if _identity(row) not in there:
                    self._judge(row)

    def _read(self, messages: Iterable[Frames]) -> list[Measurement]:
        rows = []
        for frames in messages:
            try:
                rows.append(measurement_from_wire(frames[-1]))
            except FrameError:
                self._counters.add("malformed")
        return rows

    def _last_minutes(self, box_id: str, came: Iterable[Measurement]) -> Sequence[Measurement]:
        """Returns the Box's stored Measurements of the last minutes. Raises StoreError."""
        live_ms = [row.timestamp_ms for row in came if not row.backfilled]
        newest_ms = max([*live_ms, self._stored_ms.get(box_id, 0)])
        if not newest_ms:
            return ()
        return self._store.measurements(box_id, newest_ms - self._back_ms, newest_ms + 1)

    def _store_failed(self, error: StoreError) -> None:
        self._counters.add("store_errors")
        self._limited.warning("boxes.not_taken", error=str(error))


def _identity(row: Measurement) -> tuple[int, int | None, int | None, bool]:
    return row.timestamp_ms, row.start_ns, row.sequence, row.crossing
