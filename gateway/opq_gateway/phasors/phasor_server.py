"""The stream's TCP side: any number of PMU clients, which cannot delay the feed or each other.

A client that orders data gets every data frame from then on. A client that reads so slowly that more than
`MAX_WAITING_BYTES` wait for it, or that sends what is not a frame (a web page's request), is disconnected and
counted. So is one that orders nothing in `FIRST_ORDER_S`, because there are few places; one address gets half
of them. One thread: it waits for the feed, and checks its sockets at least every `POLL_S`, which bounds the
delay of an order.
"""

import contextlib
import math
import selectors
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from opq_gateway.counters import BoxCounters
from opq_gateway.measuring.feed import DisturbanceNotice, Item, MeasuredFeed, PhasorReport
from opq_gateway.phasors.phasor_frames import FrameReader, Order, order_of
from opq_gateway.phasors.stream import PhasorStream
from opq_proto.errors import PortBusyError
from opq_proto.kit import log
from opq_proto.kit.http_server import address_of
from opq_proto.kit.rate_limit import RateLimitedLog

POLL_S = 0.05
MAX_CLIENTS = 16
ACCEPTED_A_ROUND = 64
"""Connections that are accepted or refused in one round: a flood leaves the backlog to others, and the frames
are late by the 3 ms that this takes."""
FIRST_ORDER_S = 10.0
"""A client has nothing to wait for: it is sent only what it orders."""
MAX_WAITING_BYTES = 1 << 18
"""A second of 120 reports a second from 100 Boxes."""
KERNEL_BYTES = 1 << 16
"""Bytes that the kernel may hold for a client in addition; few, because old phasors are useless."""
KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
"""A client whose machine has gone frees its place after a minute and a half instead of two hours."""
MAX_ORDER_BYTES = 1024
READ_BYTES = 4096
CHANNEL_ITEMS = 20_000


@dataclass(slots=True)
class _Client:
    name: str
    host: str
    until_s: float
    """When it is disconnected unless an order came before; on the clock of `time.monotonic`."""
    reader: FrameReader = field(default_factory=lambda: FrameReader(MAX_ORDER_BYTES))
    out: bytearray = field(default_factory=bytearray)
    wants_data: bool = False


class PhasorServer:
    """Serves one `PhasorStream`; `run` until its stop event is set."""

    def __init__(
        self,
        endpoint: str,
        stream: PhasorStream,
        feed: MeasuredFeed,
        counters: BoxCounters,
        most_clients: int = MAX_CLIENTS,
    ) -> None:
        """Bind.

        Raises:
            PortBusyError: the address cannot be used.
        """
        self._stream = stream
        self._counters = counters
        self._most_clients = most_clients
        self._most_of_one = max(1, most_clients // 2)
        self._clients: dict[socket.socket, _Client] = {}
        self._log = log.get(service="gateway")
        self._visits = RateLimitedLog(self._log)
        host, port = address_of(endpoint, "phasors.endpoint")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._listener = socket.create_server(
                (host, port), family=family, dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6()
            )
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise PortBusyError(
                f"gateway: phasor stream's address {endpoint} cannot be used: {reason}; set phasors.endpoint"
            ) from error
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._channel = feed.subscribe("phasors", (PhasorReport, DisturbanceNotice), CHANNEL_ITEMS)
        self._missed = 0

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        port: int = self._listener.getsockname()[1]
        return port

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop`."""
        self._log.info("phasors.listening", port=self.port, id_code=self._stream.stream.id_code)
        while not stop.is_set():
            now_s = time.monotonic()
            due_s = self._stream.next_s()
            wait_s = POLL_S if due_s is None else min(POLL_S, max(0.0, due_s - now_s))
            self.run_once(self._channel.take_all(timeout_s=wait_s), time.monotonic())

    def run_once(self, items: Sequence[Item], now_s: float) -> None:
        """One round: sends new frames of the feed and answers clients' requests; never blocks."""
        missed = self._channel.dropped
        if missed > self._missed:
            self._counters.add("phasors_missed", missed - self._missed)
            self._missed = missed
        for frame in self._stream.accept_items(items, now_s):
            self._counters.add("phasor_frames")
            for client in list(self._clients):
                if self._clients[client].wants_data:
                    self._send(client, frame)
        for key, _ in self._selector.select(0):
            if key.fileobj is self._listener:
                self._accept_waiting(now_s)
            elif isinstance(key.fileobj, socket.socket):
                self._serve(key.fileobj)
        for client in [each for each, state in self._clients.items() if now_s > state.until_s]:
            self._counters.add("phasor_clients_silent")
            self._end(client, "ordered nothing")

    def close(self) -> None:
        """Ends all connections and frees the address."""
        for client in list(self._clients):
            self._end(client, "gateway ends")
        self._selector.close()
        self._listener.close()

    def _accept_waiting(self, now_s: float) -> None:
        for _ in range(ACCEPTED_A_ROUND):
            try:
                client, address = self._listener.accept()
            except OSError:  # none waits, the client left, or no descriptor is free; tried again in POLL_S
                return
            self._admit(client, address, now_s)

    def _admit(self, client: socket.socket, address: tuple[str, int], now_s: float) -> None:
        of_one = sum(each.host == address[0] for each in self._clients.values())
        if len(self._clients) >= self._most_clients or of_one >= self._most_of_one:
            self._counters.add("phasor_clients_refused")
            client.close()
            return
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            client.setsockopt(socket.IPPROTO_TCP, option, value)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
        name = f"{address[0]}:{address[1]}"
        self._clients[client] = _Client(name, address[0], now_s + FIRST_ORDER_S)
        self._selector.register(client, selectors.EVENT_READ)
        self._counters.add("phasor_clients")
        self._visits.info("phasor_client.connected", key=address[0], client=name)

    def _serve(self, client: socket.socket) -> None:
        """Reads orders, and sends waiting frames."""
        if client not in self._clients:
            return
        try:
            received = client.recv(READ_BYTES)
        except BlockingIOError:
            received = None
        except OSError as error:
            self._end(client, error.strerror or "failed")
            return
        if received == b"":
            self._end(client, "client closed")
            return
        if received:
            self._execute(client, received)
        if client in self._clients:
            self._flush(client)

    def _execute(self, client: socket.socket, received: bytes) -> None:
        state = self._clients[client]
        frames = state.reader.feed(received)
        if state.reader.bad:  # what looks like an order behind it is not one either
            self._counters.add("phasor_orders_malformed")
            self._end(client, "sent what is not a C37.118 frame")
            return
        for frame in frames:
            order = order_of(frame) if frame.id_code == self._stream.stream.id_code else None
            answer = None
            if order is not None:
                state.until_s, answer = math.inf, self._stream.answer(order)
            if order in (Order.DATA_ON, Order.DATA_OFF):
                state.wants_data = order == Order.DATA_ON
            elif answer is None:
                self._counters.add("phasor_orders_ignored")
            else:
                self._send(client, answer)
                if client not in self._clients:
                    return

    def _send(self, client: socket.socket, frame: bytes) -> None:
        state = self._clients[client]
        state.out += frame
        self._flush(client)
        if client in self._clients and len(state.out) > MAX_WAITING_BYTES:
            self._counters.add("phasor_clients_too_slow")
            self._end(client, "read too slowly")

    def _flush(self, client: socket.socket) -> None:
        state = self._clients[client]
        try:
            while state.out:
                del state.out[: client.send(state.out)]
        except BlockingIOError:
            wanted = selectors.EVENT_READ | selectors.EVENT_WRITE
        except OSError as error:
            self._end(client, error.strerror or "failed")
            return
        else:
            wanted = selectors.EVENT_READ
        if self._selector.get_key(client).events != wanted:
            self._selector.modify(client, wanted)

    def _end(self, client: socket.socket, why: str) -> None:
        state = self._clients.pop(client)
        self._selector.unregister(client)
        with contextlib.suppress(OSError):
            client.close()
        self._visits.info("phasor_client.gone", key=state.host, client=state.name, reason=why)
