"""Delivery: Measurements of many Boxes on their way to the cloud: new ones at once, unacknowledged ones
again.

    deliver --> HeldLog --> standing connection? --> sent
                                    no --> due, sent later with backfilled=true
    connected again: all unacknowledged are due; an acknowledgement names holes: those are due

The rules are those of the gateway's BoxUplink, with its ResendPace; one array has the state of all Boxes.
The due Measurements of a Box are one span; what lies between the holes of its newest acknowledgement is left
out.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from opq_gateway.uplink.backlog import IN_FLIGHT_S, CloudAcknowledgement
from opq_gateway.uplink.resend_pace import ResendPace
from opq_gateway.uplink.store_acknowledgements import FORGOTTEN_S, StoreAcknowledgements
from opq_proto.kit import log
from opq_proto.measurement.wire import sequence_tail
from opq_proto.wire.frames import topic
from opq_sim.fleet.connections import FleetConnections
from opq_sim.fleet.held_log import FlagArray, HeldLog, HeldRow
from opq_sim.mains.profiles import IndexArray

MARK_S = 1.0
UNACKNOWLEDGED_S = 60.0
"""Without an acknowledgement for this long, the broker is an original one (docs/reference/contracts.md,
Acknowledgement) or far late. The Box's Measurements are still held, as long as its log has room.
"""
BACKFILL_PER_S = 3000.0
"""Limit of resent Measurements a second for one process; the gateway of one Box sends 500."""
MAX_AT_ONCE = 200
SWEEP_S = 0.5
"""Interval at which all Boxes are checked for Measurements to send again."""


@dataclass(slots=True)
class DeliveryCounts:
    """Counts of Measurements and acknowledgements of all Boxes, since the start."""

    made: int = 0
    sent: int = 0
    unheard: int = 0
    """Measurements that no standing connection took when they were made; they are sent later."""
    backfilled: int = 0
    acknowledgements: int = 0
    acknowledgements_ahead: int = 0


class Delivery:
    """Sends the Measurements of all Boxes, by the Box's index; one thread. Times are monotonic."""

    def __init__(
        self,
        box_ids: Sequence[str],
        held: HeldLog,
        lines: FleetConnections,
        in_flight_s: float = IN_FLIGHT_S,
        store_forgotten_s: float = FORGOTTEN_S,
    ) -> None:
        self.counts = DeliveryCounts()
        self._held, self._lines, self._in_flight_s = held, lines, in_flight_s
        self._topics = [topic(box_id) for box_id in box_ids]
        boxes = len(box_ids)
        self._due_first, self._due_last = held.floor.copy(), held.next - 1  # left by an earlier run
        self._stood = np.zeros(boxes, np.bool_)
        self.acknowledging = np.zeros(boxes, np.bool_)
        self._acknowledged_s = np.full(boxes, time.monotonic())
        self._marks: deque[tuple[float, IndexArray]] = deque()
        self._flown_last = held.floor - 1
        """The highest sequence that a Box sent again ..."""
        self._flown_until = held.floor.copy()
        """... and the first new sequence that is sent after it: once the cloud stores that one, earlier sent
        ones are no longer under way.
        """
        self._again_s = time.monotonic()
        self._again: Iterator[list[HeldRow]] | None = None
        self._rows: deque[HeldRow] = deque()
        self._swept: tuple[FlagArray, IndexArray] | None = None
        """The Boxes of this sweep, and the last sequence of each."""
        self._stores = [StoreAcknowledgements(store_forgotten_s) for _ in box_ids]
        self.paces = [ResendPace() for _ in box_ids]
        self._swept_s = 0.0
        self._acknowledged: dict[int, CloudAcknowledgement] = {}
        """The newest acknowledgement with holes, by Box."""
        self._left_out: set[int] = set()
        """Boxes that lost their connection in this sweep, or have more to send; the next one handles them."""

    @property
    def due(self) -> int:
        """Number of Measurements to send again, or later."""
        return int(np.maximum(0, self._due_last - np.maximum(self._due_first, self._held.floor) + 1).sum())

    def deliver(self, which: IndexArray, bodies: Sequence[bytes]) -> None:
        """Stores new Measurements of different Boxes on disk, then sends them."""
        sequences = self._held.append(which, bodies)
        oldest = np.minimum(self._held.floor[which], sequences)
        numbers = zip(sequences.tolist(), oldest.tolist(), strict=True)
        tails = [sequence_tail(*each, False) for each in numbers]
        publish, topics, sent = self._lines.publish, self._topics, 0
        for box, body, tail in zip(which.tolist(), bodies, tails, strict=True):
            if publish(box, topics[box], body + tail):
                sent += 1
            else:
                self._add_due(box, int(self._held.next[box]) - 1, int(self._held.next[box]) - 1)
        self.counts.made += len(bodies)
        self.counts.sent += sent
        self.counts.unheard += len(bodies) - sent

    def acknowledge(self, box: int, acknowledgement: CloudAcknowledgement, now_s: float) -> None:
        """Handles the cloud's report of what it has stored of a Box."""
        if acknowledgement.upto < self._held.next[box]:
            acknowledgement = self._stores[box].combine(acknowledgement, now_s)
        if not self._held.acknowledge(box, acknowledgement.upto):
            if not self.counts.acknowledgements_ahead:
                log.get(service="boxes").warning(
                    "fleet.acknowledged_ahead", acknowledged=acknowledgement.upto
                )
            self.counts.acknowledgements_ahead += 1
            return
        self.counts.acknowledgements += 1
        self.acknowledging[box] = True
        self._acknowledged_s[box] = now_s
        if acknowledgement.missing and not self._stores[box].others:  # one store may lack what another has
            self._acknowledged[box] = acknowledgement
        else:
            self._acknowledged.pop(box, None)
        flown_s, flown = (self._marks[0][0], int(self._marks[0][1][box])) if self._marks else (None, 0)
        waits = acknowledgement.highest is not None and acknowledgement.highest < self._flown_until[box]
        under_way = int(self._flown_last[box]) if waits else -1
        lost = 0
        due_first, due_last = int(self._due_first[box]), int(self._due_last[box])
        for first, last in acknowledgement.missing:
            first, last = max(first, under_way + 1), min(last, flown - 1)
            if first <= last:
                lost += last - first + 1 - max(0, min(last, due_last) - max(first, due_first) + 1)
                self._add_due(box, first, last)
        self.paces[box].note_acknowledged(lost, now_s, flown_s)

    def tick(self, now_s: float) -> None:
        """Notes which connections came back and which Boxes are no longer acknowledged; call it regularly."""
        stands = self._lines.stands
        back = stands & ~self._stood
        for box in np.flatnonzero(back & self.acknowledging).tolist():
            self.paces[box].note_connected(now_s)
            self._add_due(box, int(self._held.floor[box]), int(self._held.next[box]) - 1)
        self._acknowledged_s[back] = now_s
        self._flown_until[back] = 0  # on a new connection nothing is under way
        self._stood = stands.copy()
        silent = self.acknowledging & stands & (now_s - self._acknowledged_s > UNACKNOWLEDGED_S)
        self.acknowledging[silent & (self._held.floor < self._held.next)] = False
        if not self._marks or now_s - self._marks[-1][0] >= MARK_S:
            self._marks.append((now_s, self._held.next.copy()))
            while len(self._marks) > 1 and now_s - self._marks[1][0] >= self._in_flight_s:
                self._marks.popleft()

    def send_again(self, now_s: float) -> None:
        """Sends the due Measurements in the order in which they were made, at a bounded rate."""
        left = round(min(MAX_AT_ONCE, BACKFILL_PER_S * (now_s - self._again_s)))
        if left <= 0:
            return
        self._again_s = now_s
        while left > 0:
            if not self._rows and not self._read_rows(now_s):
                return
            row = self._rows.popleft()
            box = row.box
            if box in self._left_out or not self._due_first[box] <= row.sequence <= self._due_last[box]:
                continue
            if _is_stored(self._acknowledged.get(box), row.sequence):
                self._due_first[box] = row.sequence + 1
                continue
            tail = sequence_tail(row.sequence, min(row.sequence, int(self._held.floor[box])), True)
            if not self._lines.publish(box, self._topics[box], row.body + tail):
                self._left_out.add(box)
                continue
            self._due_first[box] = row.sequence + 1
            self._flown_last[box] = max(row.sequence, self._flown_last[box])
            self._flown_until[box] = self._held.next[box]
            self.paces[box].note_sent(1)
            self.counts.backfilled += 1
            left -= 1

    def _read_rows(self, now_s: float) -> bool:
        """Reads the next rows of this sweep, or of a new one; False if nothing due can be sent."""
        if self._again is None and not self._begin_sweep(now_s):
            return False
        assert self._again is not None
        try:
            for rows in self._again:
                if rows:
                    self._rows.extend(rows)
                    return True
        except OSError as error:
            log.get(service="boxes").error("fleet.log_unreadable", reason=str(error))
        self._end_sweep()
        return False

    def _begin_sweep(self, now_s: float) -> bool:
        if now_s - self._swept_s < SWEEP_S:
            return False
        self._swept_s = now_s
        self._due_first = np.maximum(self._due_first, self._held.floor)
        ready = self._lines.stands & (self._due_last >= self._due_first)
        last = self._due_last.copy()
        for box in np.flatnonzero(ready).tolist():
            first = self._first_hole(box)
            most = self.paces[box].allowed(int(last[box]) - first + 1, now_s)
            ready[box], last[box] = most > 0, first + most - 1
        if not ready.any():
            return False
        self._swept = ready, last
        self._left_out.clear()
        self._again = self._held.rows(self._due_first.copy(), last, ready)
        return True

    def _first_hole(self, box: int) -> int:
        """The lowest sequence that is due and, as far as known, not stored."""
        first = int(self._due_first[box])
        if (acknowledgement := self._acknowledged.get(box)) is not None:
            first = next((max(first, hole[0]) for hole in acknowledgement.missing if hole[1] >= first), first)
            first = min(first, int(self._due_last[box]))
            self._due_first[box] = first
        return first

    def _end_sweep(self) -> None:
        """Ends the sweep; Measurements that were due but are not on disk no longer exist."""
        self._again = None
        if self._swept is not None:
            ready, last = self._swept
            ready[list(self._left_out)] = False
            self._due_first[ready] = np.maximum(self._due_first[ready], last[ready] + 1)

    def _add_due(self, box: int, first: int, last: int) -> None:
        if last < first:
            return
        if first < self._due_first[box]:
            self._left_out.add(box)
        if self._due_last[box] < self._due_first[box]:
            self._due_first[box], self._due_last[box] = first, last
        else:
            self._due_first[box] = min(self._due_first[box], first)
            self._due_last[box] = max(self._due_last[box], last)


def _is_stored(acknowledgement: CloudAcknowledgement | None, sequence: int) -> bool:
    """True if the acknowledgement reports the sequence as stored: everything between two of its holes is."""
    if acknowledgement is None or sequence > acknowledgement.missing[-1][1]:
        return False
    return not any(first <= sequence <= last for first, last in acknowledgement.missing)
