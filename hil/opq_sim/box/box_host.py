"""Hosts Boxes on ptys: one thread for all of them, paced by the monotonic clock.

A Box's block is sent when its last sample would have been taken. So the rate is that of the clock, and
errors do not add up.
"""

import select
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from opq_proto.kit import log
from opq_sim.box.box import Box
from opq_sim.box.port import PtyPort
from opq_sim.box.source import RunClock
from opq_sim.box.wire_faults import LineFaults, for_box
from opq_sim.mains.disturbance import MainsDisturbance, PlacedDisturbance
from opq_sim.mains.grid_events import GridEvent

LONGEST_WAIT_S = 0.1
PIECE_WAIT_S = 0.0002
"""Wait between pieces of a faulty wire: 64 bytes take 0.7 ms at 921,600 baud."""


class BoxHost:
    """Boxes that are online as long as the `with` block, or the call of `run`, lasts.

        with BoxHost(boxes=[Box("1")], faults=HARDWARE) as host:
            open(host.ports["1"], "rb")

    Args:
        boxes: any `Box`; ids must differ.
        faults: of each Box's wire; None is a perfect wire.
        ports_dir: folder for symbolic links `box<ID>` to the ptys; None makes none.
    """

    def __init__(
        self, boxes: Sequence[Box], faults: LineFaults | None = None, ports_dir: Path | str | None = None
    ) -> None:
        ids = [box.box_id for box in boxes]
        if len(set(ids)) != len(ids):
            raise ValueError(f"boxes {', '.join(ids)}: two have the same id")
        self.boxes = {box.box_id: box for box in boxes}
        self.on_open: Callable[[], object] | None = None
        """Called once, when all ports are open."""
        self.clock = RunClock.now()
        """The run's clock; read again when the ports open."""
        self._faults = faults
        self._ports_dir = Path(ports_dir) if ports_dir is not None else None
        self._ports: dict[str, PtyPort] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._log = log.get(service="boxes")

    @property
    def ports(self) -> dict[str, str]:
        """The device to open, by Box id."""
        return {box_id: port.path for box_id, port in self._ports.items()}

    def lost_bytes(self, box_id: str) -> int:
        """Bytes that the Box lost because no program read them."""
        return self._ports[box_id].lost_bytes

    def add_event(self, box_id: str, event: GridEvent | MainsDisturbance) -> GridEvent | PlacedDisturbance:
        """Puts a disturbance into one Box's signal, as soon as possible; any thread may call it.

        Raises:
            KeyError: no such Box.
            ValueError: it replays a recording.
        """
        with self._lock:
            return self.boxes[box_id].add_event(event)

    def __enter__(self) -> "BoxHost":
        self._open()
        self._thread = threading.Thread(target=self._serve, args=(self._stop,), name="boxes", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._close()

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        """Is online until `stop`; for a process that does nothing else."""
        self._open()
        try:
            if ready is not None:
                ready.set()
            self._serve(stop)
        finally:
            self._close()

    def _open(self) -> None:
        self.clock = clock = RunClock.now()
        for number, (box_id, box) in enumerate(self.boxes.items()):
            port = PtyPort(for_box(self._faults, number) if self._faults else None)
            self._ports[box_id] = port
            box.start(port, clock)
            if self._ports_dir is not None:
                port.link_as(self._ports_dir / f"box{box_id}")
            self._log.info("box.started", box_id=box_id, port=port.path)
        if self.on_open is not None:
            self.on_open()

    def _close(self) -> None:
        for port in self._ports.values():
            port.close()
        self._ports.clear()

    def _serve(self, stop: threading.Event) -> None:
        poll = select.poll()
        by_fd = {port.fileno(): (self.boxes[box_id], port) for box_id, port in self._ports.items()}
        for fd in by_fd:
            poll.register(fd, select.POLLIN)
        while not stop.is_set():
            due_ns = self._tick()
            paced = any(port.paced for port in self._ports.values())
            wait_s = min(LONGEST_WAIT_S, max(0.0, (due_ns - time.monotonic_ns()) / 1e9))
            if paced:
                time.sleep(min(PIECE_WAIT_S, wait_s))
                wait_s = 0.0
            for fd, port in ((fd, port) for fd, (_, port) in by_fd.items()):
                poll.modify(fd, select.POLLIN | (select.POLLOUT if port.blocked else 0))
            for fd, events in poll.poll(wait_s * 1000):
                if events & select.POLLIN:
                    box, port = by_fd[fd]
                    with self._lock:
                        box.receive(port.receive())

    def _tick(self) -> int:
        """Lets every Box do what is due and returns the monotonic time of the next block."""
        now_ns = time.monotonic_ns()
        due_ns = now_ns + 10**9
        with self._lock:
            for box_id, box in self.boxes.items():
                box.tick(now_ns)
                self._ports[box_id].flush(now_ns)
                due_ns = min(due_ns, box.due_ns())
        return due_ns
