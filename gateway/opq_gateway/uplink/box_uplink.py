"""BoxUplink: one Box's uplink; new Measurements are sent at once, unacknowledged ones again.

Owned by the uplink's thread, except for the two channels. With a cloud that acknowledges, everything since
the last acknowledgement is sent again after a reconnect, and so are numbers that the cloud reports as
missing. The store takes each sequence once. An original broker never acknowledges and would store repeats
twice, so it later receives only Measurements that were not handed to an open connection.

An original triggering service requests a disturbance from the last good Measurement before it to the first
good one after it, by its own clock, so that Measurements which arrive late or out of order are cut off. So a
broker that does not acknowledge, or about which this is not known yet, receives Measurements at once and in
order, and no crossings.
"""

import time
from collections import deque
from dataclasses import dataclass, field

from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import Acknowledging, BoxStatus
from opq_gateway.uplink.backlog import CloudAcknowledgement, ResendBacklog
from opq_gateway.uplink.connection import UplinkConnection, UplinkPlace
from opq_gateway.uplink.idle import DeadBands
from opq_gateway.uplink.queue import Queue, QueueRows
from opq_gateway.uplink.resend_pace import ResendPace
from opq_gateway.uplink.sequence_numbers import Queued, numbered_frames
from opq_gateway.uplink.store_acknowledgements import StoreAcknowledgements
from opq_proto.keys.key_files import KeyPair
from opq_proto.kit import log
from opq_proto.kit.backoff import Backoff
from opq_proto.kit.channel import Channel
from opq_proto.link.messages import Crossing
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Measurement, Metric

ANSWERS_WAITING = 64
ANSWER_WAIT_S = 5.0
"""How long an answer waits for a broker that is absent or reads too slowly. After that, the broker may have
started again and not know the command any more."""
REFUSED_RETRY_S = (1.0, 2.0, 6.0)
"""Waits before a refused key is tried again, each shortened by up to a third: a Box may be admitted at any
time."""
LONGEST_ASK_S = 3600.0
"""Longest time until a cloud that has stopped to acknowledge gets the oldest Measurement again."""
MOST_DOUBLINGS = 12
"""That time begins with `resend_s` and doubles so often at most."""


@dataclass(frozen=True, slots=True)
class UplinkTimeouts:
    """How long the uplink waits for the cloud; seconds."""

    unacknowledged_s: float = 60.0
    """Without an acknowledgement for this long, the broker counts as an original one
    (docs/reference/contracts.md, Acknowledgement)."""
    resend_s: float = 30.0
    """Measurements without an acknowledgement for this long, while no new ones come, are sent once more."""
    in_flight_s: float = 10.0
    """A Measurement sent more recently does not count as missing, because the cloud acknowledges at least
    every 5 s. An older one is missing once a Measurement sent after it is stored."""
    in_order: int = 2500
    """Where the order is kept, a new Measurement waits for at most this many older ones."""


@dataclass(frozen=True, slots=True)
class UplinkTrial:
    """A cloud that the Box tries: the place to return to, and when (monotonic)."""

    former: UplinkPlace
    until_s: float


@dataclass(slots=True)
class BoxUplink:
    """The uplink of one Box; times are monotonic and handed in."""

    box_id: str
    pair: KeyPair
    counters: BoxCounters
    status: BoxStatus
    queue: Queue
    queue_messages: int
    """Most Measurements that wait for the uplink's thread."""
    patience: UplinkTimeouts
    dead_bands: DeadBands | None = None
    crossings: str = "auto"
    """The option `uplink.crossings`."""
    intervals: QueueRows | None = None
    offered_bytes: int = 0
    """Bytes of answers handed in; written by the command handler."""
    taken_bytes: int = 0
    """Bytes of answers that were sent or dropped; written by the uplink."""
    unsent: deque[tuple[float, list[bytes]]] = field(default_factory=deque)
    """Answers that libzmq did not take yet, each with the end of its wait."""
    acknowledgement: CloudAcknowledgement | None = None
    """The newest acknowledgement not yet applied; the command handler sets it, the uplink takes it."""
    connection: UplinkConnection | None = None
    down_since_s: float | None = None
    """Start of the outage; None while connected, or once the outage was logged."""
    left_out_s: float | None = None
    """When it was last seen that the broker leaves the key out; None: it does not."""
    refusals: Backoff = field(default_factory=lambda: Backoff(REFUSED_RETRY_S, jitter=1 / 3))
    retry_s: float = 0.0
    place: UplinkPlace | None = None
    """The cloud of this uplink; None: the configured cloud."""
    trial: UplinkTrial | None = None
    """Set while another cloud is tried."""
    wanted: UplinkPlace | None = None
    """A place to try; the command handler sets it, the uplink takes it."""
    left: frozenset[str] = frozenset()
    """Names of the former cloud's stores, whose acknowledgements are not waited for."""
    acknowledging: bool = False
    measurements: Channel[Measurement] = field(init=False)
    answers: Channel[list[bytes]] = field(init=False)
    backlog: ResendBacklog = field(init=False)
    stores: StoreAcknowledgements = field(default_factory=StoreAcknowledgements)
    pace: ResendPace = field(default_factory=ResendPace)
    _waits_since_s: float | None = None
    """Since when a sent Measurement waits for its acknowledgement."""
    _logged_ahead: bool = False
    _withdrew: bool = False
    """Whether, on this connection, intervals were withdrawn for a cloud that does not take them."""
    _again: bool = False
    """Whether the unacknowledged part was sent once more without an acknowledgement since."""
    _acknowledged: bool = False
    """Whether this cloud has ever acknowledged, as far as is known."""
    _connected_s: float | None = None
    _asked: int = 0
    """How often the oldest Measurement was sent again without an acknowledgement since."""

    def __post_init__(self) -> None:
        self.measurements = Channel(f"measurements {self.box_id}", self.queue_messages, "drop_oldest")
        self.answers = Channel(f"answers {self.box_id}", ANSWERS_WAITING, "refuse")
        self.backlog = ResendBacklog(self.patience.in_flight_s)
        row, held = self.queue.sending(self.box_id), self.queue.held(self.box_id)
        self._acknowledged = row is not None and row.acknowledging is not Acknowledging.NEVER
        self._set_acknowledging(row is not None and row.acknowledging is Acknowledging.NOW)
        if row is None or held is None:
            return
        self.backlog.restore(row.unsent)
        self.stores.restore(row.stores, time.monotonic())
        self.backlog.add(max(row.settled, held[0]), held[1] - 1)

    @property
    def sends_crossings(self) -> bool:
        """Whether crossings are sent at all; from any thread."""
        return self.crossings == "always" or (self.crossings == "auto" and self.acknowledging)

    @property
    def behind(self) -> bool:
        """Whether older Measurements have to be sent and can be sent."""
        stands = self.connection is not None and self.connection.stands
        return bool(self.backlog) and stands and not self.queue.holds_back

    @property
    def takes_intervals(self) -> bool:
        """Whether rows of the ledger can be numbered and sent: the cloud acknowledges and has stated that it
        takes them, and the disk works."""
        stands = self.connection is not None and self.connection.stands
        takes = self.acknowledging and self.stores.take_intervals
        return self.intervals is not None and takes and stands and not self.queue.problem

    def send_rows(self, now_s: float) -> int:
        """Numbers and sends the rows of the ledger's next record; returns how many."""
        queued, record = self.queue.store_withdrawn(self.box_id), None
        if not queued:
            record = None if self.intervals is None else self.intervals.take()
            if record is not None:
                queued = self.queue.store_rows(self.box_id, record.rows, record.places)
        if not queued or self.queue.problem or queued[0].sequence is None:
            if self.intervals is not None and record is not None:
                self.intervals.put_back(record)
            return 0
        self.remember()
        for each in queued:
            self.send(each, now_s)
        self.counters.add("intervals_queued", len(queued))
        return len(queued)

    def send_answers(self, now_s: float) -> bool:
        """Sends what other threads handed in; False where the broker does not take all of it yet."""
        while True:
            if not self.unsent:
                self.unsent.extend((now_s + ANSWER_WAIT_S, frames) for frames in self.answers.take_all())
            if not self.unsent:
                return True
            until_s, frames = self.unsent[0]
            sent = self.connection is not None and self.connection.respond(frames)
            if not sent and now_s < until_s:
                return False
            self.unsent.popleft()
            self.taken_bytes += sum(map(len, frames))
            self.counters.add("responses_sent" if sent else "responses_dropped")
            log.get(service="gateway").debug(
                "answer.handed_on", box_id=self.box_id, frames=len(frames), sent=sent
            )

    def drop_answers(self) -> None:
        """Drops the answers that the broker did not take before the uplink ends."""
        left = [*(frames for _, frames in self.unsent), *self.answers.take_all()]
        self.unsent.clear()
        self.taken_bytes += sum(sum(map(len, frames)) for frames in left)
        self.counters.add("responses_dropped", len(left))

    def allowed(self, most: int, now_s: float) -> int:
        """How many of `most` older Measurements may be sent now."""
        if not self.behind:
            return 0
        return self.pace.allowed(most, now_s) if self.acknowledging else most

    def remember(self) -> None:
        """Hands the state of sending to the queue, which writes it with the next transaction."""
        settled = self.queue.next(self.box_id)
        if settled is not None:
            unsent, stores = self.backlog.text(), self.stores.text()
            self.queue.remember(self.box_id, self._answers_now, settled, unsent, stores)

    @property
    def _answers_now(self) -> Acknowledging:
        if self.acknowledging:
            return Acknowledging.NOW
        return Acknowledging.BEFORE if self._acknowledged else Acknowledging.NEVER

    def send(self, queued: Queued, now_s: float) -> bool:
        """Sends a new Measurement at once; one that cannot be sent now is sent later. False: it has no number
        and was not sent; the caller has to keep it."""
        crossing = queued.measurement.crossing  # it is not in the ring, so a restart cannot measure it again
        held_back = (self.queue.holds_back and not crossing) or self._in_turn(queued)
        outcome = "delayed" if held_back else self._publish(queued.body, queued.sequence, False)
        self.counters.add(f"measurements_{outcome}")
        sent = outcome == "sent"
        self.counters.add("crossings_sent", sent and crossing)
        if queued.sequence is None:
            return sent
        if sent:
            self._left(queued.sequence, queued.sequence, now_s)
        else:
            self.backlog.add(queued.sequence, queued.sequence)
        return True

    def _in_turn(self, queued: Queued) -> bool:
        """Whether it waits for older Measurements: only for a broker that does not acknowledge, and only if
        few wait."""
        if queued.sequence is None or self.acknowledging or not self.behind:
            return False
        return self.backlog.count <= self.patience.in_order

    def send_again(self, most: int, now_s: float) -> int:
        """Sends up to `most` older Measurements, the lowest first, and returns how many were sent."""
        first, last = self.backlog.first
        rows = self.queue.read(self.box_id, first, last, most)
        done, reached = 0, last if len(rows) < most else rows[-1][0]
        for sequence, body in rows:
            if self._publish(body, sequence, True) != "sent":
                reached = sequence - 1
                break
            done += 1
        if self.queue.problem and not done:
            return 0  # the disk returned nothing; it is read again later
        if reached >= first:
            self._left(first, reached, now_s)
        self.counters.add("measurements_backfilled", done)
        self.pace.note_sent(done)
        return done

    def connected(self, now_s: float) -> None:
        """All connections are up again."""
        self._waits_since_s, self._asked, self._connected_s = None, 0, now_s
        self.pace.note_connected(now_s)
        held = self.queue.held(self.box_id)
        if self.acknowledging and held is not None:
            self.backlog.add(held[0], held[1] - 1)

    def disconnected(self) -> None:
        self.stores.disconnected()
        self._withhold_losses()
        self._withdrew = False
        self._waits_since_s = None
        self.backlog.lost()

    def _withhold_losses(self) -> None:
        if self.intervals is not None:
            self.intervals.withhold_losses(not self.stores.take_losses)

    def apply_acknowledgement(self, now_s: float) -> None:
        """Applies the newest acknowledgement, if there is one."""
        acknowledgement, self.acknowledgement = self.acknowledgement, None
        if acknowledgement is None or acknowledgement.store in self.left:
            return
        following = self.queue.next(self.box_id)
        if following is not None and acknowledgement.upto >= following:
            self._ahead(acknowledgement.upto, following)
            return  # this gateway holds none of these numbers
        acknowledgement = self.stores.combine(acknowledgement, now_s)
        self._withhold_losses()
        if not self.acknowledging:
            log.get(service="gateway").info(
                "uplink.acknowledges", box_id=self.box_id, upto=acknowledgement.upto
            )
        self._set_acknowledging(True)
        self._again, self._asked = False, 0
        if not self.stores.take_intervals and not self._withdrew:
            self._withdrew = True
            self.counters.add("intervals_withdrawn", self.queue.withdraw_intervals(self.box_id))
        self.queue.acknowledged(self.box_id, acknowledgement.upto)
        self.backlog.acknowledged(acknowledgement.upto)
        held = self.queue.held(self.box_id)
        self._waits_since_s = None if held is None else now_s
        lost = 0
        if held is not None:
            least, most = held[0], held[1] - 1
            holes = [(max(first, least), min(last, most)) for first, last in acknowledgement.missing]
            holes = [hole for hole in holes if hole[0] <= hole[1]]
            lost = self.backlog.missed(holes, acknowledgement.upto, acknowledgement.highest, now_s)
        self.pace.note_acknowledged(lost, now_s, self.backlog.lost_s)

    def leave_stores(self) -> None:
        """Forgets the acknowledgements of the former cloud."""
        self.left = self.stores.names
        self.stores = StoreAcknowledgements()
        self._acknowledged = False

    def tick(self, now_s: float) -> None:
        """Publishes the state, sends again what is due, and detects a broker that does not acknowledge."""
        self.status.held_sequences = self.queue.held(self.box_id)
        self.status.queue_problem = self.queue.problem
        waits_s, sent_s = self._waits_since_s, self.backlog.sent_s
        held = self.queue.held(self.box_id)
        if held is None:
            return
        if not self.acknowledging:
            last_s = max((each for each in (sent_s, self._connected_s) if each is not None), default=None)
            if last_s is not None:
                self._ask_again(held[0], now_s - last_s)
        elif waits_s is None or sent_s is None:
            return
        elif now_s - waits_s > self.patience.unacknowledged_s:
            self._set_acknowledging(False)
            log.get(service="gateway").warning(
                "uplink.unacknowledged", box_id=self.box_id, seconds=round(now_s - waits_s)
            )
        elif not self._again and not self.backlog and now_s - max(waits_s, sent_s) > self.patience.resend_s:
            self._again = True
            self.backlog.add(held[0], held[1] - 1)

    def _ask_again(self, oldest: int, silent_s: float) -> None:
        """Sends the oldest held Measurement again to a cloud that acknowledged before, so that it answers:
        while a Box sends nothing new, nothing else would make it acknowledge."""
        wait_s = min(LONGEST_ASK_S, self.patience.resend_s * 2 ** min(self._asked, MOST_DOUBLINGS))
        if self._acknowledged and not self.backlog and silent_s > wait_s:
            self._asked += 1
            self.backlog.add(oldest, oldest)

    def _set_acknowledging(self, acknowledging: bool) -> None:
        self.acknowledging = self.status.acknowledging = acknowledging
        self._acknowledged = self._acknowledged or acknowledging
        self.status.prompt = not acknowledging

    def refused(self, now_s: float) -> None:
        """The broker refused the key; schedules the next try."""
        self.retry_s = now_s + self.refusals.record_failure()

    def _publish(self, body: bytes, sequence: int | None, backfilled: bool) -> str:
        if self.connection is None:
            return "unheard"
        held = self.queue.held(self.box_id)
        return self.connection.publish(numbered_frames(self.box_id, body, sequence, held, backfilled))

    def _left(self, first: int, last: int, now_s: float) -> None:
        self.backlog.sent(first, last, now_s)
        if self._waits_since_s is None:
            self._waits_since_s = now_s

    def _ahead(self, upto: int, following: int) -> None:
        self.counters.add("acknowledgements_ahead")
        if self.queue.skip(self.box_id, upto + 1):  # the file was lost, and the clock was not right
            log.get(service="gateway").warning("uplink.numbers_skipped", box_id=self.box_id, to=upto + 1)
            return
        if self._logged_ahead:
            return
        self._logged_ahead = True
        log.get(service="gateway").warning(
            "uplink.acknowledged_ahead",
            box_id=self.box_id,
            acknowledged=upto,
            next=following,
            reason="does another gateway send with this Box's key?",
        )


def crossing_measurement(
    crossing: Crossing, box_id: str, rate_hz: float, nominal_v: float | None, nominal_hz: float | None
) -> Measurement | None:
    """The Measurement of the cycle that begins at the crossing; None where the Box does not report the rms.

    `crossing.t_ns` is UTC, as the serial side stamps it.
    """
    if crossing.rms_v is None:
        return None
    cycle_s = 1 / (nominal_hz or 50.0)
    end_ns = crossing.t_ns + round(1e9 * cycle_s)
    return Measurement(
        box_id=box_id,
        timestamp_ms=(end_ns + 500_000) // 1_000_000,
        metrics={"rms": Metric(crossing.rms_v, crossing.rms_v, crossing.rms_v)},
        start_ns=crossing.t_ns,
        end_ns=end_ns,
        uncertainty_ns=min(crossing.uncertainty_ns, UNKNOWN_UNCERTAINTY_NS),
        source=crossing.source,
        crossing=True,
        nominal_v=nominal_v,
        nominal_hz=nominal_hz,
        first_sample=crossing.sample,
        samples=round(rate_hz * cycle_s),
    )
