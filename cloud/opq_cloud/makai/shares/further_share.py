"""A further share of the Boxes: its onsets go to the first share, which opens events for all.

    onset --> numbered, to the first share --> its event is on disk, or another has it --> "settled"
          the Measurement waits here meanwhile, and is stored (and acknowledged) after that

The report that a Box is heard here is sent before, so that it is asked too. Onsets that are not settled
are sent again, also to a first share that was restarted: an event has it then, and it is merged. Where too
much waits, the oldest is dropped, unstored: its Box sends it again. Budgets, coincidences of several Boxes
and requests of analyses are handled by the first share alone.

Where the first share is silent, and its port is free because its process has ended, the lowest of the others
takes its place: the share that binds the port opens the events, so that there can never be two at once.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

import numpy as np
import zmq

from opq_cloud.makai.boxes import BoxRegister
from opq_cloud.makai.shares.box_shares import Share
from opq_cloud.makai.shares.share_messages import (
    BYE,
    HandedEnd,
    HandedOnset,
    SharesHere,
    beat_frames,
    end_frames,
    onset_frames,
    read_message,
)
from opq_cloud.own_keys import OwnKeys
from opq_cloud.service import HealthReport, ServiceCounters
from opq_cloud.sockets import BURST, Context, Socket, can_bind, open_socket
from opq_proto import log
from opq_proto.decision import Decision
from opq_proto.errors import FrameError
from opq_proto.measurement_columns import NumberedColumns
from opq_proto.messages import Measurement
from opq_proto.rate_limit import RateLimitedLog
from opq_proto.zmq_inbox import try_send, waiting_messages

BEAT_S = 0.5
AGAIN_S = 2.0
AGAIN_AT_ONCE = 500
MAX_PENDING = 10_000
"""Onsets and ends that wait for the first share, each some 1 kB."""
QUEUE = 20_000
SILENT_S = 3.0
"""After this silence the first share counts as away."""
TURN_S = 1.0
"""Delay for each share with a lower number; also the interval of each share's tries."""


@dataclass(slots=True)
class HandedOver:
    """One that the first share has not settled; `measurement`: stored when it has."""

    frames: list[bytes]
    measurement: Measurement | None
    sent_s: float


class FurtherShare:
    """Takes the place of `EventOpenings` for the judge; belongs to the triggering service's loop."""

    def __init__(
        self,
        share: Share,
        instance: str,
        boxes: BoxRegister,
        counters: ServiceCounters,
    ) -> None:
        self._share, self._instance, self._boxes, self._counters = share, instance, boxes, counters
        self._log = log.get(service="triggering-service")
        self._limited = RateLimitedLog(self._log)
        self._waiting: OrderedDict[int, HandedOver] = OrderedDict()
        self._held: set[tuple[str, int]] = set()
        """Box and sequence of those Measurements."""
        self._number = 0
        self._beat_s = -SILENT_S
        self._reported = 0
        """`BoxRegister.appeared` at that beat."""
        self._began_s = self._answered_s = time.monotonic()
        self._problem = ""
        self._try_s = 0.0
        self.shares: tuple[int, ...] = ()
        """Present shares, from the first share's last message."""

    @contextmanager
    def opened(self, context: Context, endpoint: str) -> Iterator[Socket]:
        """Yields its socket, to be polled. Raises ConfigError, KeyFileError."""
        with closing(open_socket(context, zmq.DEALER, sndhwm=QUEUE, rcvhwm=QUEUE, immediate=1)) as socket:
            socket.setsockopt(zmq.ROUTING_ID, self._instance.encode()[:200])
            self._keys = OwnKeys()
            self._keys.connect(socket, endpoint, "triggering_service.share_endpoint")
            self._socket, self._endpoint = socket, endpoint
            self._answered_s, self._problem, self.shares = time.monotonic(), "", ()
            yield socket
            try_send(socket, [BYE])

    def begin(self, accept: Callable[[Measurement], object]) -> None:
        """Begins; `accept` takes a Measurement whose event is on disk."""
        self._accept = accept

    def open_at_onset(self, measurement: Measurement, decision: Decision | None, *, stored: bool) -> bool:
        """Hands an onset over; it is accepted when the first share has settled it."""
        return self._hand_onset(measurement, decision, False)

    def compare(self, measurement: Measurement, decision: Decision | None) -> bool:
        """Hands a Measurement over that is to be compared with other Boxes'."""
        return self._hand_onset(measurement, decision, True)

    def note_end(self, box_id: str, decision: Decision, now_s: float) -> None:
        """Hands over that a disturbance is over."""
        self._number += 1
        self._hand_over(end_frames(HandedEnd(self._number, box_id, decision)), None)

    def holds(self, measurement: Measurement) -> bool:
        """Returns True if it was handed over and is not settled: its Box has sent it again."""
        return (measurement.box_id, measurement.sequence) in self._held

    def without_held(self, columns: NumberedColumns) -> NumberedColumns:
        """Returns the columns without the rows that were handed over and are not settled."""
        if not self._held:
            return columns
        ids, held = columns.boxes.ids, self._held
        rows = zip(columns.which.tolist(), columns.sequence.tolist(), strict=True)
        left = np.array([(ids[box], sequence) not in held for box, sequence in rows], np.bool_)
        return columns if left.all() else columns.part(left)

    def advance(self, now_s: float) -> None:
        """Reads the first share's messages; sends again what is not settled."""
        self._keys.follow()
        for frames in waiting_messages(self._socket, BURST):
            try:
                message = read_message(frames)
            except FrameError as error:
                self._counters.add("malformed")
                self._limited.warning("share.malformed", error=str(error))
                continue
            if isinstance(message, SharesHere):
                self._use(message, now_s)
            elif isinstance(message, list):
                self._release(message)
        if now_s < self._answered_s + SILENT_S:
            self._send_again(now_s)

    def beat(self, now_s: float) -> None:
        """Reports that this share is here and which Boxes it hears, at intervals, for a new Box at once."""
        if now_s < self._beat_s + BEAT_S and self._reported == self._boxes.appeared:
            return
        self._counters.set("onsets_waiting_now", len(self._waiting))
        if not int(self._socket.get(zmq.EVENTS)) & zmq.POLLOUT:
            return  # no other share is there
        received = self._boxes.received_since(self._beat_s)
        self._beat_s, self._reported = now_s, self._boxes.appeared
        try_send(self._socket, beat_frames(self._share.number, self._share.of, received))

    def may_be_first(self, now_s: float) -> bool:
        """Returns True if the first share is away, and it is this one's turn to take its place."""
        before = sum(number < self._share.number for number in self.shares or range(1, self._share.number))
        if now_s < max(self._try_s, self._answered_s + SILENT_S + TURN_S * before):
            return False
        self._try_s = now_s + TURN_S
        return can_bind(self._endpoint)

    def give_left(self) -> list[HandedOnset | HandedEnd]:
        """Removes and returns everything that is not settled, the oldest first."""
        left: list[HandedOnset | HandedEnd] = []
        for handed in self._waiting.values():
            message = read_message(handed.frames)
            if isinstance(message, HandedOnset) and handed.measurement is not None:
                left.append(replace(message, measurement=handed.measurement))
            elif isinstance(message, HandedEnd):
                left.append(message)
        self._waiting.clear()
        self._held.clear()
        return left

    def health(self) -> HealthReport:
        """Reports as not well while the first share is away, or has another of the same number."""
        name, silent_s = "share", time.monotonic() - self._answered_s
        waiting = f"; {len(self._waiting)} wait for their events" if self._waiting else ""
        if silent_s > SILENT_S:
            info = f"{self._share}: who opens events does not answer for {silent_s:.0f} s{waiting}"
            return HealthReport(name, False, info=info)
        if self._problem:
            return HealthReport(name, False, info=f"{self._share}: {self._problem}")
        here = ", ".join(map(str, self.shares))
        return HealthReport(
            name, True, info=f"{self._share}; shares here: {here or 'not known yet'}{waiting}"
        )

    def _hand_onset(self, measurement: Measurement, decision: Decision | None, compare: bool) -> bool:
        self._number += 1
        try:
            began_with = self._boxes.starts.began_with(measurement.box_id)
            frames = onset_frames(HandedOnset(self._number, measurement, decision, compare, began_with))
        except FrameError as error:  # it came from the wire
            self._limited.warning("onset.not_handed", error=str(error))
            return False
        self._hand_over(frames, measurement)
        return True

    def _hand_over(self, frames: list[bytes], measurement: Measurement | None) -> None:
        self._counters.add("onsets_handed" if measurement is not None else "ends_handed")
        now_s = time.monotonic()
        self.beat(now_s)
        sent = try_send(self._socket, frames)
        self._waiting[self._number] = HandedOver(frames, measurement, now_s if sent else now_s - AGAIN_S)
        if measurement is not None and measurement.sequence is not None:
            self._held.add((measurement.box_id, measurement.sequence))
        if len(self._waiting) > MAX_PENDING:
            self._let_go(self._waiting.popitem(last=False)[1])
            self._counters.add("onsets_let_go")

    def _let_go(self, handed: HandedOver) -> Measurement | None:
        row = handed.measurement
        if row is not None and row.sequence is not None:
            self._held.discard((row.box_id, row.sequence))
        return row

    def _use(self, message: SharesHere, now_s: float) -> None:
        self._answered_s = now_s
        if message.problem != self._problem:
            self._log.warning("share.problem", share=str(self._share), problem=message.problem or "over")
        self._problem = message.problem
        shares = () if message.problem else message.shares or self.shares  # another one may have its Boxes
        if shares != self.shares:
            self._log.info("shares.changed", share=str(self._share), here=list(shares))
            self.shares = shares

    def _release(self, numbers: list[int]) -> None:
        for number in numbers:
            handed = self._waiting.pop(number, None)
            if handed is not None and (row := self._let_go(handed)) is not None:
                self._accept(row)

    def _send_again(self, now_s: float) -> None:
        sent = 0
        for handed in self._waiting.values():
            if sent == AGAIN_AT_ONCE:
                break
            if now_s >= handed.sent_s + AGAIN_S:
                if not try_send(self._socket, handed.frames):
                    break
                handed.sent_s = now_s
                sent += 1
        if sent:
            self._counters.add("onsets_handed_again", sent)
