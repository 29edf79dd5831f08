"""The first share of the Boxes: it manages the list of present shares, and opens events for all of them.

It is the share that has the port: share 1 as a rule, and another where that is away (`further_share.py`).
Further shares report every half second that they are here. One that is silent for LEASE_S has gone, and its
Boxes are divided among the others; its results are in the store. Each onset that it has handed over is
handled once.
"""

import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

import zmq

from opq_cloud.backend_admission import backend_context
from opq_cloud.backend_peers import BackendPeers
from opq_cloud.makai.boxes import BoxRegister
from opq_cloud.makai.judging.triggers_in_use import TriggersInUse
from opq_cloud.makai.openings.openings import EventOpenings
from opq_cloud.makai.shares.box_shares import MAX_SHARES, Share
from opq_cloud.makai.shares.share_messages import (
    HandedEnd,
    HandedOnset,
    ShareBeat,
    SharesHere,
    read_message,
    settled_frames,
    shares_frames,
)
from opq_cloud.service import HealthReport, ServiceCounters
from opq_cloud.sockets import BURST, Context, Socket, bind, open_socket
from opq_proto import log
from opq_proto.errors import FrameError
from opq_proto.messages import Measurement
from opq_proto.rate_limit import RateLimitedLog
from opq_proto.zmq_inbox import try_send

LEASE_S = 3.0
"""A share that was silent for this long is gone."""
START_S = 2.0
"""After a start it waits this long for the others, whose Boxes are still judged."""
STOOD_S = 1.0
"""After a longer standstill of its own it cannot judge that others were silent."""
KNOWN = 100_000
"""Handed over lately, so that none is handled twice."""
QUEUE = 20_000
KEY = "triggering_service.share_endpoint"
Handed = tuple[bytes, int]
"""The peer that handed it over, and its number there."""


@dataclass(slots=True)
class PresentShare:
    """A further share that is here."""

    peer: bytes
    received_s: float


class FirstShare:
    """Belongs to the triggering service's loop."""

    def __init__(
        self,
        share: Share,
        openings: EventOpenings,
        boxes: BoxRegister,
        triggers: TriggersInUse,
        counters: ServiceCounters,
    ) -> None:
        self._share, self._openings, self._boxes, self._triggers = share, openings, boxes, triggers
        self._counters = counters
        self._log = log.get(service="triggering-service")
        self._limited = RateLimitedLog(self._log)
        self._present: dict[int, PresentShare] = {}
        self._gone: dict[int, float] = {}
        """Shares that were here, and when they went."""
        self._taken: OrderedDict[Handed, bool] = OrderedDict()
        """Whether each is settled."""
        self._opening: dict[int, tuple[Measurement, Handed]] = {}
        """By the Measurement's id: its event is not on disk yet."""
        self._settled: dict[bytes, list[int]] = defaultdict(list)
        self.shares: tuple[int, ...] = ()
        """Present shares; empty before START_S, unless all are present."""

    @contextmanager
    def opened(self, context: Context, endpoint: str) -> Iterator[Socket]:
        """Yields its socket, to be polled. Raises as `sockets.bind`."""
        with ExitStack() as opened:
            backend = opened.enter_context(backend_context(context, [endpoint], self._counters))
            socket = open_socket(backend.context, zmq.ROUTER, sndhwm=QUEUE, rcvhwm=QUEUE, router_handover=1)
            opened.enter_context(closing(socket))
            peers = BackendPeers(backend.context, socket, KEY, self._counters, None, backend.admission)
            opened.enter_context(closing(peers))
            bind(socket, endpoint, "triggering-service", KEY)
            self._socket, self._peers = socket, peers
            self._present, self._taken, self._opening = {}, OrderedDict(), {}
            self._settled.clear()
            self.shares = ()
            self._began_s = self._advanced_s = time.monotonic()
            self._openings.lose = self._lose
            yield socket

    def open_left(
        self, left: Iterable[HandedOnset | HandedEnd], store: Callable[[Measurement], object]
    ) -> None:
        """Opens events held before this share took the place; `store` takes Measurements without an event."""
        for message in left:
            if isinstance(message, HandedEnd):
                self._openings.note_end(message.box_id, message.decision, time.monotonic())
            elif not self._open(message, time.monotonic()):
                store(message.measurement)

    def accept(self, measurement: Measurement) -> bool:
        """Settles a Measurement whose event is on disk. True: it is another share's, which stores it."""
        opening = self._opening.pop(id(measurement), None)
        if opening is None:
            return False
        self._confirm(opening[1])
        return True

    def advance(self, now_s: float) -> None:
        """Reads the messages of the others; sends them changes."""
        self._peers.check()
        for frames in self._peers.messages(BURST):
            if len(frames) > 1:
                self._read(frames[0], frames[1:], now_s)
        if now_s - self._advanced_s > STOOD_S:
            for present in self._present.values():
                present.received_s = now_s
        self._advanced_s = now_s
        for number, present in list(self._present.items()):
            if now_s > present.received_s + LEASE_S:
                self._leave(number, now_s, "silent")
        self._use_present(now_s)
        for peer, numbers in self._settled.items():
            try_send(self._socket, [peer, *settled_frames(numbers)])  # a lost one is requested again
        self._settled.clear()

    def health(self) -> HealthReport:
        """Reports as not well while one of the configured shares is not here; the others have its Boxes."""
        here = f"{self._share}; shares here: {', '.join(map(str, self.shares)) or 'not known yet'}"
        missing = sorted((set(range(1, self._share.of + 1)) | self._gone.keys()) - set(self.shares))
        if not missing or not self.shares:
            return HealthReport("share", True, info=here)
        now_s = time.monotonic()
        since = {number: f" for {now_s - at_s:.0f} s" for number, at_s in self._gone.items()}
        away = ", ".join(f"{number}{since.get(number, '')}" for number in missing)
        return HealthReport("share", False, info=f"{here}; not here: {away}; their Boxes are shared out")

    def _read(self, peer: bytes, frames: list[bytes], now_s: float) -> None:
        try:
            message = read_message(frames)
        except FrameError as error:
            self._counters.add("malformed")
            self._limited.warning("share.malformed", error=str(error))
            return
        if isinstance(message, ShareBeat):
            self._boxes.note_received_elsewhere(message.received)
            problem = self._accept_beat(peer, message, now_s)
            try_send(self._socket, [peer, *shares_frames(SharesHere(self.shares, problem))])
        elif isinstance(message, (HandedOnset, HandedEnd)):
            self._accept_handed(peer, message, now_s)
        elif message is None:
            for number, present in list(self._present.items()):
                if present.peer == peer:
                    self._leave(number, now_s, "left")

    def _accept_beat(self, peer: bytes, beat: ShareBeat, now_s: float) -> str:
        """Returns what is wrong with the share, or an empty text."""
        if beat.number == self._share.number:
            return f"another service is share {beat.number} already"
        if not 1 <= beat.number <= MAX_SHARES:
            return f"share {beat.number} cannot be; want 1 to {MAX_SHARES}"
        present = self._present.get(beat.number)
        if present is not None and present.peer != peer:
            return f"another service is share {beat.number} already"
        if present is None:
            self._gone.pop(beat.number, None)
            self._log.info("share.here", share=beat.number)
            self._counters.add("shares_joined")
        self._present[beat.number] = PresentShare(peer, now_s)
        return ""

    def _leave(self, number: int, now_s: float, why: str) -> None:
        del self._present[number]
        if number <= self._share.of:
            self._gone[number] = now_s
        self._log.warning("share.gone", share=number, why=why)
        self._counters.add("shares_gone", label=why)

    def _use_present(self, now_s: float) -> None:
        shares = tuple(sorted({self._share.number, *self._present}))
        waits = not self.shares and now_s < self._began_s + START_S
        if shares == self.shares or (waits and len(shares) < self._share.of):
            return
        self.shares = shares
        self._log.info("shares.changed", share=str(self._share), here=list(shares))
        self._counters.set("shares_here_now", len(shares))
        for present in self._present.values():
            try_send(self._socket, [present.peer, *shares_frames(SharesHere(shares, ""))])

    def _accept_handed(self, peer: bytes, message: HandedOnset | HandedEnd, now_s: float) -> None:
        key = peer, message.number
        known = self._taken.get(key)
        if known is None:
            self._taken[key] = False
            if len(self._taken) > KNOWN:
                self._taken.popitem(last=False)
            if isinstance(message, HandedOnset):
                self._accept_onset(key, message, now_s)
                return
            self._openings.note_end(message.box_id, message.decision, now_s)
        if known is not False:
            self._confirm(key)

    def _accept_onset(self, key: Handed, message: HandedOnset, now_s: float) -> None:
        self._opening[id(message.measurement)] = message.measurement, key
        if not self._open(message, now_s):
            self.accept(message.measurement)

    def _open(self, message: HandedOnset, now_s: float) -> bool:
        measurement, onset = message.measurement, message.decision
        if message.began_with is not None:
            self._boxes.starts.note_began(measurement.box_id, message.began_with)
        if message.compare:
            nominal = self._boxes.nominal_of(measurement)
            for plugin in self._triggers.all:
                decision = plugin.decide(measurement, nominal) if plugin.compares else None
                if decision is not None and decision.span_ns is not None:
                    self._openings.note_end(measurement.box_id, decision, now_s)
                elif onset is None:
                    onset = decision
        return onset is not None and self._openings.open_at_onset(measurement, onset, stored=True)

    def _lose(self, measurement: Measurement) -> None:
        """Forgets a Measurement whose event could not be opened for too long; its share may send it again."""
        opening = self._opening.pop(id(measurement), None)
        if opening is not None:
            self._taken.pop(opening[1], None)

    def _confirm(self, key: Handed) -> None:
        peer, number = key
        if key in self._taken:
            self._taken[key] = True
        self._settled[peer].append(number)
