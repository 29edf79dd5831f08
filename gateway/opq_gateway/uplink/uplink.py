"""Uplink: one thread, one ZeroMQ context, three sockets per Box, each Box with its own key.

    publish (measuring) -+                       +-> new: at once
    crossing (reader) ---+-> queue on disk ------+-> what was not acknowledged: in between, at a bounded rate
    acknowledge, respond (command handler) -> deleted from the queue; answers

One thread serves all Boxes, because it only moves frames, and a thread per Box would cost a wake-up and a
stack for each. Other threads hand items in through bounded channels; sockets never change threads. Items that
arrive within COMMIT_S of the last commit wait for the next one (PROMPT_COMMIT_S where a broker does not
acknowledge); a crossing does not wait.
"""

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import zmq

from opq_gateway.config import IdleSection
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.uplink.backlog import CloudAcknowledgement
from opq_gateway.uplink.box_uplink import BoxUplink, UplinkTimeouts, crossing_measurement
from opq_gateway.uplink.clock_ids import ClockIds
from opq_gateway.uplink.connection import Timing, UplinkPlaces, place_from_text
from opq_gateway.uplink.connections import UplinkConnections, UplinkPoller
from opq_gateway.uplink.idle import DeadBands
from opq_gateway.uplink.queue import Queue, QueueRows
from opq_proto.keys.key_files import KeyPair
from opq_proto.kit import log
from opq_proto.kit.own_thread import PeriodicCall
from opq_proto.link.messages import Crossing
from opq_proto.messages import Measurement

POLL_S = 0.2
TICK_S = 0.5
COMMIT_S = 0.05
PROMPT_COMMIT_S = 0.01
BACKFILL_S = 0.05
"""Period of sending again."""
INTERVALS_S = 1.0
INTERVALS_PER_S = 20
"""Most intervals and disturbances of all Boxes: 24 kB/s. Two weeks of one Box take four minutes."""
MEASUREMENTS_PER_TURN = 20
"""Most older Measurements of one Box in its turn, before the next Box."""
CHECKPOINT_S = 10.0
MAX_UNNUMBERED = 20_000
ANSWER_BYTES = 32_000_000
"""Most bytes of a Box's answers that wait for the uplink's thread or for the broker."""
ANSWER_RETRY_S = 0.005
"""Period of tries to send an answer that libzmq does not take yet."""


class Uplink:
    """`publish`, `crossing`, `acknowledge` and `respond` from any thread; `run` in the uplink's thread."""

    def __init__(
        self,
        places: UplinkPlaces,
        queue: Queue,
        queue_messages: int,
        on_command: Callable[[str, bytes], None],
        timing: Timing | None = None,
        patience: UplinkTimeouts | None = None,
        backfill_per_s: float = 500.0,
        idle: IdleSection | None = None,
        crossings: str = "auto",
        clock_ids: ClockIds | None = None,
    ) -> None:
        """The maker of `queue` closes it. `idle`: dead-bands of the idle mode; `crossings`: the option
        `uplink.crossings`; without `clock_ids` Measurements do not have their clock's id."""
        self._queue = queue
        self._queue_messages = queue_messages
        self._patience = patience or UplinkTimeouts()
        self._backfill_per_s = backfill_per_s
        self._idle = idle
        self._crossings, self._clock_ids = crossings, clock_ids
        self._waking = UplinkPoller()
        self._lines = UplinkConnections(places, queue_messages, timing or Timing(), self._waking, on_command)
        self._due: deque[str] = deque()  # Boxes with something in their channels
        self._slow = set[str]()
        """Boxes whose broker takes answers more slowly than they are made."""
        self._unnumbered: deque[tuple[str, Measurement]] = deque()
        self._urgent = self._behind = False
        self._commit_s = COMMIT_S
        self._taken: list[tuple[str, Measurement]] = []
        self._committed_s = self._ticked_s = self._sent_again_s = self._intervals_s = time.monotonic()
        self._not_on_disk = ""
        """Why the last checkpoint failed."""
        self._log = log.get(service="gateway")

    def add(self, box_id: str, pair: KeyPair, counters: BoxCounters, status: BoxStatus) -> None:
        """Adds a Box, before `run`."""
        self._lines.add(
            BoxUplink(
                box_id,
                pair,
                counters,
                status,
                self._queue,
                self._queue_messages,
                self._patience,
                None if self._idle is None else DeadBands(self._idle),
                self._crossings,
            )
        )

    def send_rows(self, box_id: str, rows: QueueRows) -> None:
        """Sends rows of a Box's ledger, too; call it before `run`."""
        self._lines[box_id].intervals = rows

    def publish(self, box_id: str, measurement: Measurement) -> None:
        """Hands in a Measurement, without numbers, from one thread; the oldest is dropped when too many
        wait."""
        line = self._lines[box_id]
        measurement = self._with_clock(line, measurement)
        out = [measurement] if line.dead_bands is None else line.dead_bands.accept_measurement(measurement)
        if not out:
            line.counters.add("measurements_idle")
            return
        self._offer(line, out)

    def crossing(self, box_id: str, crossing: Crossing) -> None:
        """Sends a crossing of the Box's rms at once, with its own sequence."""
        line = self._lines[box_id]
        hello = line.status.hello
        nominal = (None, None) if hello is None else (hello.nominal_v, hello.nominal_hz)
        found = crossing_measurement(crossing, box_id, line.status.rate_hz, *nominal)
        measurement = None if found is None else replace(found, start_id=line.status.start_id)
        if measurement is None:
            line.counters.add("crossings_unsent")
            return
        self.publish_at_once(box_id, measurement)

    def publish_at_once(self, box_id: str, measurement: Measurement) -> None:
        """Hands in a crossing Measurement, without numbers; it is sent at once or not at all. Any thread."""
        line = self._lines[box_id]
        if not line.sends_crossings:
            line.counters.add("crossings_withheld")
            return
        before = line.measurements.dropped
        line.measurements.offer(self._with_clock(line, measurement))
        line.counters.add("measurements_overflow", line.measurements.dropped - before)
        self._urgent = True
        self._wake(box_id)

    def acknowledge(self, box_id: str, acknowledgement: CloudAcknowledgement) -> None:
        """Hands in an acknowledgement of the cloud; only the newest is used."""
        self._lines[box_id].acknowledgement = acknowledgement
        self._wake(box_id)

    def move(self, box_id: str, text: str) -> Callable[[], None]:
        """Returns a function that lets a Box try the cloud of `place_to_text`, after the answers that were
        handed in before; from the command handler's thread. Raises FrameError."""
        place = place_from_text(text)

        def start() -> None:
            self._lines[box_id].wanted = place
            self._wake(box_id)

        return start

    def respond(self, box_id: str, frames: list[bytes]) -> None:
        """Hands in an answer, from the command handler's thread; refuses it when too many wait."""
        line = self._lines[box_id]
        size = sum(map(len, frames))
        waiting = line.offered_bytes - line.taken_bytes
        if (waiting and waiting + size > ANSWER_BYTES) or not line.answers.offer(frames):
            line.counters.add("responses_dropped")
            return
        line.offered_bytes += size
        self._wake(box_id)

    def _with_clock(self, line: BoxUplink, measurement: Measurement) -> Measurement:
        ids = self._clock_ids
        if ids is None:
            return measurement
        clock_id, gateway_id = ids.of(measurement, line.status), ids.gateway_of(measurement)
        if clock_id is None and gateway_id is None:
            return measurement
        return replace(measurement, clock_id=clock_id, gateway_id=gateway_id)

    def _offer(self, line: BoxUplink, measurements: list[Measurement]) -> None:
        before = line.measurements.dropped
        for measurement in measurements:
            line.measurements.offer(measurement)
        line.counters.add("measurements_overflow", line.measurements.dropped - before)
        self._wake(line.box_id)

    def _wake(self, box_id: str) -> None:
        self._due.append(box_id)
        self._waking.wake()

    def run(self, stop: threading.Event) -> None:
        """Serves all Boxes until `stop` (noticed within 0.2 s), then sends waiting items."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        context.set(zmq.MAX_SOCKETS, 1024 + 16 * len(self._lines))
        checkpoints = PeriodicCall("checkpoints", self._checkpoint, CHECKPOINT_S)
        checkpoints.start()
        try:
            self._lines.begin(context)
            while not stop.is_set():
                for box_id in self._waking.wait(self._wait_s()):
                    self._lines.serve(self._lines[box_id])
                self._run_once()
            self._end()
        finally:
            self._lines.end()
            context.term()
            checkpoints.close()

    def close(self) -> None:
        """Closes the uplink, after `run` has ended and `publish` is not called any more."""
        self._waking.close()

    def _run_once(self) -> None:
        now_s = time.monotonic()
        if now_s - self._ticked_s >= TICK_S:
            self._ticked_s = now_s
            self._lines.tick(now_s)
            self._queue.tick()
        self._receive()
        if self._taken and (self._urgent or now_s - self._committed_s >= self._commit_s):
            self._send_new(now_s)
        if now_s - self._sent_again_s >= BACKFILL_S:
            self._send_again(now_s)
        if now_s - self._intervals_s >= INTERVALS_S:
            self._send_intervals(now_s)

    def _wait_s(self) -> float:
        now_s = time.monotonic()
        if self._slow:
            return ANSWER_RETRY_S
        if self._taken:
            return max(0.0, self._committed_s + self._commit_s - now_s)
        if self._behind:
            return max(0.0, self._sent_again_s + BACKFILL_S - now_s)
        return POLL_S

    def _receive(self) -> None:
        """Receives the items that other threads handed in."""
        self._due += self._slow
        self._slow.clear()
        for _ in range(len(self._due)):
            line = self._lines[self._due.popleft()]
            wanted, line.wanted = (
                line.wanted,
                None,
            )  # read before the answers, which are sent first
            line.apply_acknowledgement(time.monotonic())
            if not line.acknowledging:
                self._commit_s = PROMPT_COMMIT_S
            self._taken += ((line.box_id, measurement) for measurement in line.measurements.take_all())
            if not line.send_answers(time.monotonic()):
                self._slow.add(line.box_id)
                line.wanted = line.wanted or wanted  # the other cloud waits for the answers, too
            elif wanted is not None:
                self._lines.move(line, wanted, time.monotonic())

    def _send_new(self, now_s: float) -> None:
        """Commits new Measurements, then sends them, crossings first where the cloud acknowledges."""
        self._urgent = False
        self._committed_s, self._commit_s = now_s, COMMIT_S
        if self._unnumbered and not self._queue.problem:
            self._taken[:0] = self._unnumbered
            self._unnumbered.clear()
        taken, self._taken = sorted(self._taken, key=self._turn_of), []
        for box_id in {box_id for box_id, _ in taken}:
            self._lines[box_id].remember()
        for queued in self._queue.store(taken):
            line = self._lines[queued.box_id]
            if not line.send(queued, now_s):
                self._add_unnumbered(line, queued.measurement)
        originals = [line for line in self._lines if not line.acknowledging]
        for line in originals:
            line.remember()
        if originals:
            self._queue.write()  # an original store would store them twice

    def _turn_of(self, each: tuple[str, Measurement]) -> int:
        return 0 if each[1].crossing and self._lines[each[0]].acknowledging else 1

    def _add_unnumbered(self, line: BoxUplink, measurement: Measurement) -> None:
        """Keeps a Measurement without a number, which was not received, until the disk allows numbers
        again."""
        if len(self._unnumbered) == MAX_UNNUMBERED:
            self._lines[self._unnumbered.popleft()[0]].counters.add("measurements_overflow")
        self._unnumbered.append((line.box_id, replace(measurement, backfilled=True)))

    def _send_again(self, now_s: float) -> None:
        """Sends older Measurements in turns, so that the Boxes share the rate and new ones get in between."""
        left = max(1, round(self._backfill_per_s * min(2 * BACKFILL_S, now_s - self._sent_again_s)))
        self._sent_again_s = now_s
        behind = deque(line for line in self._lines if line.allowed(1, now_s))
        self._behind = bool(behind)
        while behind and left > 0:
            line = behind.popleft()
            done = line.send_again(line.allowed(min(MEASUREMENTS_PER_TURN, left), now_s), now_s)
            left -= max(1, done)
            if done and line.allowed(1, now_s):
                behind.append(line)

    def _send_intervals(self, now_s: float) -> None:
        """Numbers and sends the next rows of the ledgers, the Boxes in turns, after new Measurements."""
        left = max(1, round(INTERVALS_PER_S * min(2 * INTERVALS_S, now_s - self._intervals_s)))
        self._intervals_s = now_s
        turns = deque(line for line in self._lines if line.takes_intervals)
        while turns and left > 0:
            line = turns.popleft()
            sent = line.send_rows(now_s)
            left -= max(1, sent)
            if sent and not line.behind:
                turns.append(line)

    def _end(self) -> None:
        for line in self._lines:
            if line.dead_bands is not None:
                self._offer(line, line.dead_bands.flush())
        self._receive()
        self._send_new(time.monotonic())
        for line in self._lines:
            line.drop_answers()
            line.remember()
        self._queue.write()

    def _checkpoint(self) -> None:
        """Moves the queue's log to the disk itself, in a separate thread, because the uplink must not wait
        for it."""
        problem = ""
        try:
            self._queue.checkpoint()
        except sqlite3.Error as error:
            problem = str(error)
        if problem and problem != self._not_on_disk:
            self._log.warning("queue.not_on_disk", reason=problem)
        self._not_on_disk = problem
