"""Foreign Boxes on their own CURVE connections to brokers, in one thread, at the samples' own pace.

source --200 counts--> CurBox | LegBox --PUB--> 9880
                            ^------SUB-- 8194      --PUSH--> 8196
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import zmq
from numpy.typing import NDArray

from opq_proto.keys.key_files import KeyPair
from opq_proto.kit import log
from opq_proto.kit.zmq_inbox import try_send, waiting_messages
from opq_sim.box.source import RunClock, SampleSource
from opq_sim.foreign.peer import FRAME_LATENCY_NS, ForeignBoxError, ForeignPeer
from opq_sim.foreign.window_buffer import WINDOW
from opq_sim.mains.disturbance import MainsDisturbance, PlacedDisturbance
from opq_sim.mains.generator import Generator
from opq_sim.mains.grid_events import GridEvent
from opq_sim.own_processor import have_own_processor

RATE_MILLIHZ = 12_000_000
"""The original's converter has no other rate (docs/reference/opq-interop.md G.3)."""
COUNTS_PER_VOLT = 152.5
"""Counts per volt of the original's sample configuration (docs/reference/opq-interop.md G.1): clipped at
214.9 V peak."""
COMMANDS_AT_ONCE = 10
WINDOWS_AT_ONCE = 60
"""Limit of windows of one Box in a row, after a standstill of the process."""
LONGEST_WAIT_MS = 100


@dataclass(frozen=True, slots=True)
class ForeignEndpoints:
    """Addresses of the brokers for Boxes, and their public key."""

    measurements: str
    commands: str
    answers: str
    server_key: bytes


@dataclass(slots=True, eq=False)
class ConnectedBox:
    """A Box, its samples and its keys; its sockets while the host runs."""

    peer: ForeignPeer
    source: SampleSource
    pair: KeyPair
    calibration: float = COUNTS_PER_VOLT
    """Counts per volt of its converter; the source's counts are scaled to it and clipped at int16."""
    windows: int = 0
    """Number of windows read so far."""
    silent_since_s: float = 0.0
    silences: int = 0
    pub: "zmq.Socket[bytes] | None" = field(default=None, repr=False)
    sub: "zmq.Socket[bytes] | None" = field(default=None, repr=False)
    push: "zmq.Socket[bytes] | None" = field(default=None, repr=False)

    def next_window(self) -> NDArray[np.int16]:
        """(200,) counts of its own converter."""
        read = self.source.counts(self.windows * WINDOW, WINDOW)
        self.windows += 1
        scaled = np.rint(read * (self.source.v_per_lsb * self.calibration))
        return np.asarray(np.clip(scaled, -32768, 32767), dtype=np.int16)


class ForeignHost:
    """Boxes that are online while the `with` block, or the call of `run`, lasts.

        box = ConnectedBox(CurBox("1", COUNTS_PER_VOLT, pair.public), source, pair)
        with ForeignHost(endpoints, [box]) as host:
            ...

    Raises:
        ForeignBoxError: two Boxes have one id, a source has not 12,000 samples/s, a pair no secret key.
    """

    def __init__(self, endpoints: ForeignEndpoints, boxes: Sequence[ConnectedBox]) -> None:
        self.boxes = {str(box.peer.box_id): box for box in boxes}
        if len(self.boxes) != len(boxes):
            raise ForeignBoxError("two foreign Boxes have the same id; give each its own")
        for box_id, box in self.boxes.items():
            if box.source.rate_millihz != RATE_MILLIHZ:
                rate = box.source.rate_millihz / 1000
                raise ForeignBoxError(f"Box {box_id}: {rate:g} samples/s; an original Box has 12000")
            if box.pair.secret is None:
                raise ForeignBoxError(f"Box {box_id}: its key pair has no secret key")
        self.on_open: Callable[[], object] | None = None
        """Called once, when every Box has its sockets."""
        self.clock = RunClock.now()
        """The run's clock; `run` begins a new one."""
        self._endpoints = endpoints
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._log = log.get(service="foreign-boxes")

    @property
    def ports(self) -> dict[str, str]:
        """The endpoint to which each Box sends its measurements, by id."""
        return dict.fromkeys(self.boxes, self._endpoints.measurements)

    def add_event(self, box_id: str, event: GridEvent | MainsDisturbance) -> GridEvent | PlacedDisturbance:
        """Puts a disturbance into one Box's signal, as soon as possible; any thread may call it.

        Raises:
            KeyError: no such Box.
            ValueError: its samples are not made here.
        """
        source = self.boxes[box_id].source
        if not isinstance(source, Generator):
            raise ValueError(f"box {box_id} replays a recording; events go to simulated Boxes")
        with self._lock:
            return source.add(event)

    def coming_shares(self, box_id: str, windows: int) -> tuple[int, NDArray[np.float64]]:
        """Returns a Box's next window, counted from 0, and the rms of so many from it on, of the steady
        voltage.

        Raises:
            KeyError: no such Box.
            ValueError: its samples are not made here.
        """
        box = self.boxes[box_id]
        if not isinstance(box.source, Generator):
            raise ValueError(f"box {box_id} replays a recording; its voltage is not known beforehand")
        with self._lock:
            share = box.source.truth(box.windows * WINDOW, windows * WINDOW).share.reshape(windows, WINDOW)
            return box.windows, np.sqrt(np.mean(np.square(share), axis=1))

    def step_clock(self, by_s: float) -> None:
        """Sets the Boxes' own clock, which their samples go on through; any thread may call it."""
        self.clock = replace(self.clock, start_ns=self.clock.start_ns + round(by_s * 1e9))

    def __enter__(self) -> "ForeignHost":
        opened = threading.Event()
        self._thread = threading.Thread(
            target=self.run, args=(self._stop, opened), name="foreign-boxes", daemon=True
        )
        self._thread.start()
        opened.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        """Is online until `stop`."""
        have_own_processor()
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        context.set(zmq.MAX_SOCKETS, 4 * len(self.boxes) + 16)
        try:
            poller = zmq.Poller()
            for box in self.boxes.values():
                box.pub = self._connect(context, zmq.PUB, self._endpoints.measurements, box)
                self._open_commands(context, box, poller)
                box.push = self._connect(context, zmq.PUSH, self._endpoints.answers, box)
            self.clock = RunClock.now()
            if self.on_open is not None:
                self.on_open()
            if ready is not None:
                ready.set()
            while not stop.is_set():
                due_ns = self._read_windows(self.clock)
                wait_ms = max(0.0, (due_ns - time.monotonic_ns()) / 1e6)
                awake = dict(poller.poll(min(LONGEST_WAIT_MS, math.ceil(wait_ms))))
                for box in self.boxes.values():
                    self._read_commands(context, self.clock, box, poller, box.sub in awake)
        finally:
            if ready is not None:
                ready.set()
            context.destroy(linger=0)

    def _connect(
        self, context: "zmq.Context[zmq.Socket[bytes]]", kind: int, endpoint: str, box: ConnectedBox
    ) -> "zmq.Socket[bytes]":
        socket = context.socket(kind)
        socket.linger = 0
        box.pair.secure(socket, self._endpoints.server_key)
        if box.peer.sockets.identity is not None:  # LEG: its id on the trigger socket, its domain on all
            socket.setsockopt(zmq.ZAP_DOMAIN, b"global")
            if kind == zmq.PUB:
                socket.setsockopt(zmq.IDENTITY, box.peer.sockets.identity)
        if kind == zmq.SUB:
            socket.setsockopt(zmq.SUBSCRIBE, box.peer.sockets.subscription)
        socket.connect(endpoint)
        return socket

    def _open_commands(
        self, context: "zmq.Context[zmq.Socket[bytes]]", box: ConnectedBox, poller: zmq.Poller
    ) -> None:
        if box.sub is not None and not box.sub.closed:
            poller.unregister(box.sub)
            box.sub.close(0)
        box.sub = self._connect(context, zmq.SUB, self._endpoints.commands, box)
        poller.register(box.sub, zmq.POLLIN)
        box.silent_since_s, box.silences = time.monotonic(), 0

    def _read_windows(self, clock: RunClock) -> int:
        """Reads all windows that are due; returns the monotonic time of the next one."""
        now_ns = time.monotonic_ns()
        next_ns = now_ns + 10**9
        with self._lock:
            for box in self.boxes.values():
                for _ in range(WINDOWS_AT_ONCE):
                    end = (box.windows + 1) * WINDOW
                    if clock.due_ns(end, RATE_MILLIHZ) > now_ns:
                        break
                    read_ns = clock.t_ns(end, RATE_MILLIHZ) + FRAME_LATENCY_NS
                    message = box.peer.accept_window(box.next_window(), read_ns)
                    if message is not None and box.pub is not None:
                        try_send(box.pub, message)  # PUB drops without a subscriber, as the original does
                next_ns = min(next_ns, clock.due_ns((box.windows + 1) * WINDOW, RATE_MILLIHZ))
        return next_ns

    def _read_commands(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        clock: RunClock,
        box: ConnectedBox,
        poller: zmq.Poller,
        awake: bool,
    ) -> None:
        assert box.sub is not None and box.push is not None
        now_s = time.monotonic()
        if awake:
            for frames in waiting_messages(box.sub, COMMANDS_AT_ONCE):
                now_ns = clock.start_ns + time.monotonic_ns() - clock.monotonic_ns
                answer = box.peer.accept_command(frames, now_ns)
                if answer is not None and not try_send(box.push, answer):
                    box.peer.counts.answers_dropped += 1
            box.silent_since_s = now_s
            if not box.peer.sockets.silences_add_up:
                box.silences = 0
        elif now_s - box.silent_since_s >= box.peer.sockets.silence_s:
            box.silent_since_s, box.silences = now_s, box.silences + 1
            if box.silences >= box.peer.sockets.silences:
                self._rebuild(context, box, poller)

    def _rebuild(
        self, context: "zmq.Context[zmq.Socket[bytes]]", box: ConnectedBox, poller: zmq.Poller
    ) -> None:
        """Makes the command sockets again; a command on its way is lost, as in the original (H.41)."""
        self._open_commands(context, box, poller)
        if box.peer.sockets.rebuilds_push and box.push is not None:
            box.push.close(0)
            box.push = self._connect(context, zmq.PUSH, self._endpoints.answers, box)
        box.peer.counts.rebuilt += 1
        self._log.info("sockets.rebuilt", box_id=box.peer.box_id)
