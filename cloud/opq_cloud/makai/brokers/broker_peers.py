"""Finds which connection of a bound socket belongs to which key, so that a single one can be ended.

libzmq has no call that ends one peer. A frame names its connection (`SRCFD`) and, by ZAP, its
key; a peer that never sent one is found by the socket monitor: of the connections accepted from the address
in ZAP's request it is the one that gets READY after the answer. Bytes are counted by the kernel (TCP_INFO).

Source: ZMTP 3.1 and CurveZMQ (RFC 23, 26).
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice

import zmq

from opq_cloud.core.backend.inflow import BEFORE_READY_BYTES, Inflow, MessageLimits
from opq_cloud.core.backend.sockets import Context, Socket, open_monitor
from opq_cloud.core.backend.tcp_connections import (
    BYTES_RECEIVED_AT,
    bytes_at,
    bytes_sent,
    remote_address,
    sent_ago_s,
    shut_down,
    tcp_info,
)
from opq_cloud.core.descriptors import box_connections
from opq_cloud.core.service import ServiceCounters
from opq_proto.kit import log
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.kit.zmq_inbox import MONITORED, waiting_messages

FAILURES = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
_FAILURES = int(FAILURES)
"""As int, like the next one: an Enum would double the cost."""
_ACCEPTED = int(zmq.EVENT_ACCEPTED)
EVENTS = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED | FAILURES
BEFORE_INITIATE_BYTES = 64 + 202
"""Greeting and HELLO; INITIATE has 257 and more (RFC 26)."""
HANDSHAKES_EXAMINED = 64
"""Handshakes from one address at once that are examined; beyond it a connection stays unknown until its
first frame, because each handshake would examine all of them at 3 us each."""
CANDIDATES_THAT_SEND = 8
"""The same for a socket that sends to its peers."""
WATCH_S = 0.02
"""Longest wait for READY after ZAP's answer."""
READY_S = 0.0005
"""First wait for READY; each further one is twice as long."""
SETTLE_PERIOD_S = 1.0
MOST_PER_KEY = 8
"""Limit of the connections of one Box to one address: one, and those that ended without TCP noticing."""
SILENT_EXAMINED = 16
"""Of so many of the oldest, the first that sent no INITIATE is ended."""
EXAMINED_AT_ONCE = 256
"""Connections that one turn examines, 3 us each: thousands at once would delay a revoked key."""
READY_BEFORE_S = 0.1
"""READY goes out after ZAP's answer; the kernel's clock for it ticks in steps of up to 10 ms."""
SUSPECTED_S = 0.3
"""A handshake that is under way when a key is admitted has its answer by then."""
READY_WITHIN_S = 5.0
"""The longest wait for that answer, on a machine that pauses."""


class Peers:
    """Connections of one bound TCP socket, by file descriptor; used by one thread."""

    def __init__(
        self,
        context: Context,
        socket: Socket,
        name: str,
        counters: ServiceCounters,
        limits: MessageLimits,
        candidates: int = HANDSHAKES_EXAMINED,
        boxes_of: Callable[[str], Sequence[str]] = lambda key: (key,),
    ) -> None:
        """`boxes_of`: the Boxes of a key, or the key; from any thread."""
        self.unknown: set[int] = set()
        """Accepted connections with an unknown key: still in handshake, or one of several at once."""
        self.unplaced: dict[int, float] = {}
        """Connections after their handshake with an unknown key: when it ended, monotonic seconds."""
        self.refused: set[int] = set()
        self._suspected: dict[int, float] = {}
        """Perhaps refused, or in the middle of a handshake: since when, monotonic seconds."""
        self.failed = 0
        """Connections that ended within the handshake: in clear, no ZeroMQ at all, or refused and gone."""
        self._keys: dict[int, str] = {}
        self._per_key: Counter[str] = Counter()
        self._address: dict[int, object] = {}
        self._unknown_from: dict[str | None, dict[int, None]] = {}
        """Those of `unknown` by the address that they come from, the oldest first."""
        self._candidates = min(candidates, HANDSHAKES_EXAMINED)
        self._unclear_s: float | None = None
        """When an answer went to a connection that was not found: the next READY may be that one's."""
        self._settle_s = 0.0
        self._examined_s = -1.0
        """When the present examination began."""
        self._examined: Iterator[int] = iter(())
        """Connections that it has not reached yet."""
        self._name, self._counters, self._boxes_of = name, counters, boxes_of
        self._log = RateLimitedLog(log.get())
        self._most = box_connections()
        self.inflow = Inflow(name, counters, limits, self._sender_of, curve=True)
        self._watched = socket
        self.monitor = open_monitor(context, socket, name, EVENTS)

    def __len__(self) -> int:
        return len(self._address)

    def close(self) -> None:
        self.inflow.close()
        self._watched.disable_monitor()
        self.monitor.close()

    def drain(self) -> None:
        """Reads the monitor's events: new and ended connections."""
        for frames in waiting_messages(self.monitor):
            event, number = MONITORED.unpack(frames[0])
            if event & _FAILURES:
                self.failed += 1  # its value is a reason, not a descriptor
                continue
            self._remove(number)
            if event == _ACCEPTED:
                address = remote_address(number)
                if address is not None:
                    self._address[number] = address
                    self.inflow.open(number, address)
                    self.unknown.add(number)
                    self._unknown_from.setdefault(_host(address), {})[number] = None
                    self._end_too_many(number)

    def note_key(self, number: int, key: str) -> bool:
        """Notes that a frame with that key came by this connection; True once: another one has it too."""
        self._discard_unknown(number)
        self.unplaced.pop(number, None)
        if number not in self._address:
            self._address[number] = remote_address(number)
        return self._assign(number, key)

    def in_handshake(self, address: str) -> list[int]:
        """Connections that ZAP's request from there can be about; empty if too many.

        INITIATE has come, and the key is unknown.
        """
        unknown = self._unknown_from.get(address, ())
        if len(unknown) > self._candidates:
            return []
        return [number for number in unknown if _has_initiated(number)]

    def admitted_connection(self, address: str) -> int | None:
        """Returns the connection that ZAP has just admitted; None when unclear, and not within WATCH_S."""
        unknown = self._unknown_from.get(address, {})
        if len(unknown) == 1 and self._candidates:
            return next(iter(self.in_handshake(address)), None)
        until_s, wait_s = time.monotonic() + WATCH_S, READY_S
        while len(unknown) <= self._candidates and self._unclear_s is None and time.monotonic() < until_s:
            time.sleep(wait_s)
            wait_s *= 2
            ready = [number for number in unknown if (bytes_sent(tcp_info(number)) or 0) > BEFORE_READY_BYTES]
            if len(ready) == 1:
                return ready[0]
            if ready:
                break
        self._unclear_s = time.monotonic()
        return None

    def per_key(self) -> dict[str, int]:
        """Returns the number of connections by key, where it is known; from any thread."""
        return dict(self._per_key)

    def remove_finished(self) -> None:
        """Removes, once a second after an unclear answer, the connections that have finished their handshake.

        Each call examines EXAMINED_AT_ONCE of them. ZAP's next request can be about any of the rest.
        """
        now_s = time.monotonic()
        if self._unclear_s is None or now_s < self._settle_s:
            return
        if self._examined_s < self._settle_s:
            self._examined_s, self._examined = now_s, iter(list(self.unknown))
        examined = list(islice(self._examined, EXAMINED_AT_ONCE))
        self._set_aside_finished(examined, now_s)
        if len(examined) < EXAMINED_AT_ONCE:
            self._settle_s = now_s + SETTLE_PERIOD_S
            if self._examined_s > self._unclear_s + SUSPECTED_S:
                self._unclear_s = None

    def _set_aside_finished(self, numbers: Iterable[int], now_s: float) -> None:
        for number in numbers:
            if number in self.unknown and (bytes_sent(tcp_info(number)) or 0) > BEFORE_READY_BYTES:
                self._discard_unknown(number)
                self.unplaced[number] = now_s - sent_ago_s(tcp_info(number))

    def end_unplaced(self, address: str, answered_s: float) -> int:
        """Ends connections from `address` whose handshake ended at about that time and that sent nothing."""
        self.drain()
        self._set_aside_finished(list(self._unknown_from.get(address, ())), time.monotonic())
        return sum(
            self._shut_down(number)
            for number, ready_s in list(self.unplaced.items())
            if answered_s - READY_BEFORE_S <= ready_s <= answered_s + READY_WITHIN_S
            and _host(self._address.get(number)) == address
        )

    def note_verdict(self, number: int, key: str | None) -> bool:
        """Notes ZAP's answer about this connection: its key, or None when refused; returns as `note_key`."""
        self._discard_unknown(number)
        if key is None:
            self.refused.add(number)
            return False
        return self._assign(number, key)

    def _assign(self, number: int, key: str) -> bool:
        before = self._keys.get(number)
        if before == key:
            return False
        if before is not None:
            self._per_key[before] -= 1
        self._keys[number] = key
        self._per_key[key] += 1
        if self._per_key[key] > MOST_PER_KEY * len(self._boxes_of(key)):
            self._end_one(next(each for each, owner in self._keys.items() if owner == key), "of one key")
        return self._per_key[key] > 1

    def end_connections(self, key: str) -> int:
        """Ends every connection of that key; returns how many."""
        self.drain()
        return sum(self._shut_down(number) for number, owner in list(self._keys.items()) if owner == key)

    def end_refused(self) -> None:
        """Ends the connections of refused peers: libzmq connects again, and may be admitted now.

        Several handshakes at once may not have been distinguished: a refused one shows by having received
        nothing after its INITIATE. One that is under way looks the same: `end_suspected` waits for that. A
        peer that is cut there loses its subscriptions until its program uses the socket again.
        """
        self.drain()
        now_s = time.monotonic()
        for number in list(self.refused):
            self._shut_down(number)
        for number in self.unknown:
            if _is_without_answer(number):
                self._suspected.setdefault(number, now_s)

    def end_suspected(self) -> None:
        """Ends those that `end_refused` suspected, and that still have no answer `SUSPECTED_S` later."""
        if not self._suspected:
            return
        self.drain()
        until_s = time.monotonic() - SUSPECTED_S
        for number in [number for number, since_s in self._suspected.items() if since_s <= until_s]:
            del self._suspected[number]
            if number in self.unknown and _is_without_answer(number):
                self._shut_down(number)

    def _sender_of(self, number: int) -> str | None:
        key = self._keys.get(number)
        return None if key is None else ", ".join(self._boxes_of(key)[:3])

    def _end_too_many(self, newest: int) -> None:
        """Ends a connection where there are too many: without a handshake, or in all."""
        if len(self.unknown) > self._most // 2:
            # of the address that has most, so that others get in
            crowd = max(self._unknown_from.values(), key=len)
            oldest = list(islice(crowd, SILENT_EXAMINED))
            self._end_one(
                next((each for each in oldest if not _has_initiated(each)), oldest[0]), "in handshake"
            )
        if len(self._address) > self._most:
            self._end_one(next(chain(self.unplaced, self.unknown, (newest,))), "in all")

    def _end_one(self, number: int, reason: str) -> None:
        host, sender = _host(self._address.get(number)), self._sender_of(number)
        self._shut_down(number)
        self._counters.add("connections_ended", label=f"{self._name} {reason}")
        facts = {"address": self._name, "reason": f"too many {reason}", "peer": host, "sender": sender}
        self._log.warning("connection.ended", key=(self._name, reason, host), **facts, most=self._most)

    def _shut_down(self, number: int) -> bool:
        address = self._address.get(number)
        self._remove(number)
        return shut_down(number, address)

    def _discard_unknown(self, number: int) -> None:
        if number not in self.unknown:
            return
        self.unknown.discard(number)
        host = _host(self._address.get(number))
        self._unknown_from[host].pop(number, None)
        if not self._unknown_from[host]:
            del self._unknown_from[host]

    def _remove(self, number: int) -> None:
        self.inflow.remove(number)
        self._discard_unknown(number)
        self.unplaced.pop(number, None)
        self.refused.discard(number)
        self._suspected.pop(number, None)
        key = self._keys.pop(number, None)
        if key is not None:
            self._per_key[key] -= 1
            if not self._per_key[key]:
                del self._per_key[key]
        self._address.pop(number, None)


def _is_without_answer(number: int) -> bool:
    """Returns True if INITIATE has come, and neither READY nor ERROR has been sent."""
    sent = bytes_sent(tcp_info(number))
    return sent is not None and sent <= BEFORE_READY_BYTES and _has_initiated(number)


def _has_initiated(number: int) -> bool:
    received = bytes_at(tcp_info(number), BYTES_RECEIVED_AT)
    return received is not None and received > BEFORE_INITIATE_BYTES


def _host(address: object) -> str | None:
    return str(address[0]) if isinstance(address, tuple) and address else None
