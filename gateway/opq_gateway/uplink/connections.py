"""UplinkConnections: makes, renews, serves and ends the connections of all Boxes, in the uplink's thread."""

import os
import resource
import select
import threading
import time
from collections.abc import Callable, Iterator

import zmq

from opq_gateway.uplink.box_uplink import BoxUplink, UplinkTrial
from opq_gateway.uplink.connection import TRIAL_S, Timing, UplinkConnection, UplinkPlace, UplinkPlaces
from opq_proto.kit import log


class UplinkPoller:
    """Waits for descriptors; `wake` from any thread, the rest from the waiting thread."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.epoll()
        self._poll.register(self._read, select.EPOLLIN)
        self._names: dict[int, str] = {}
        self._awake = False
        self._lock = threading.Lock()

    def wake(self) -> None:
        """Ends the current or next wait; cheap when a wake-up is already pending."""
        with self._lock:
            if self._awake:
                return
            self._awake = True
            os.write(self._write, b"\0")

    def watch(self, name: str, files: list[int]) -> None:
        """Watches these descriptors; `wait` returns `name` when one is readable."""
        for file in files:
            self._names[file] = name
            self._poll.register(file, select.EPOLLIN)

    def unwatch(self, files: list[int]) -> None:
        """Stops watching these descriptors; call it before they are closed."""
        for file in files:
            del self._names[file]
            self._poll.unregister(file)

    def wait(self, timeout_s: float) -> set[str]:
        """Names whose descriptors are readable; empty when woken or after the time-out.

        After a wake-up the caller handles everything that other threads handed in before it waits again.
        """
        found = {file for file, _ in self._poll.poll(timeout_s)}
        if self._read in found:
            with self._lock:
                self._awake = False
                os.read(self._read, 64)
        return {self._names[file] for file in found if file in self._names}

    def close(self) -> None:
        """Closes the poller, when `wake` is not called any more."""
        self._poll.close()
        os.close(self._read)
        os.close(self._write)


SWEEP_S = 5.0
"""Every socket is also read at this period, in case a descriptor did not signal."""
FILES_PER_BOX = 16
"""libzmq has twelve descriptors for the three sockets of a Box, their monitors and connections."""
SPARE_FILES = 256
"""Descriptors for everything else."""
WAITING_S = 10.0
"""An uplink that is down for longer is logged once, because a broker that is off and a wrong server key look
the same."""


LEFT_OUT_S = 60.0
"""A key counts as refused for this long after it was last seen that the broker does not admit it."""


class UplinkConnections:
    """The connections of all Boxes, by id."""

    def __init__(
        self,
        places: UplinkPlaces,
        queue_messages: int,
        timing: Timing,
        waking: UplinkPoller,
        on_command: Callable[[str, bytes], None],
    ) -> None:
        self._places = places
        self._queue_messages = queue_messages
        self._timing = timing
        self._waking = waking
        self._on_command = on_command
        self._lines: dict[str, BoxUplink] = {}
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._swept_s = 0.0
        self._log = log.get(service="gateway")

    def __iter__(self) -> Iterator[BoxUplink]:
        return iter(self._lines.values())

    def __getitem__(self, box_id: str) -> BoxUplink:
        return self._lines[box_id]

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, line: BoxUplink) -> None:
        """Adds a Box, before `begin`."""
        self._lines[line.box_id] = line
        line.place = self._places.of(line.box_id)

    def begin(self, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        """Connects all Boxes."""
        self._context = context
        _allow_files(SPARE_FILES + FILES_PER_BOX * len(self))
        now_s = time.monotonic()
        for line in self:
            line.down_since_s = now_s
        self.tick(now_s)

    def end(self) -> None:
        """Disconnects all Boxes; sent messages have half a second to leave."""
        for line in self:
            self._disconnect(line)
            line.status.connected = False

    def tick(self, now_s: float) -> None:
        """Does what is due."""
        sweep = now_s - self._swept_s >= SWEEP_S
        self._swept_s = now_s if sweep else self._swept_s
        for line in self:
            if line.trial is not None and now_s >= line.trial.until_s:
                self._go_back(line)
            if line.connection is None and now_s >= line.retry_s:
                self._connect(line)
            elif sweep:
                self.serve(line)
            if sweep:
                self._note_left_out(line, now_s)
            line.tick(now_s)
            self._log_waiting(line, now_s)

    def _connect(self, line: BoxUplink) -> None:
        assert self._context is not None
        line.connection = UplinkConnection(
            self._context,
            line.box_id,
            line.pair,
            line.place or self._places.configured,
            self._queue_messages,
            self._timing,
        )
        self._waking.watch(line.box_id, line.connection.files())

    def move(self, line: BoxUplink, place: UplinkPlace, now_s: float) -> None:
        """Tries another cloud for a Box; a Box that is not admitted there in time goes back."""
        former = line.trial.former if line.trial is not None else line.place
        assert former is not None
        self._log.info("uplink.moving", box_id=line.box_id, endpoint=place.endpoints.trigger)
        line.trial = UplinkTrial(former, now_s + TRIAL_S)
        self._reconnect(line, place)

    def _go_back(self, line: BoxUplink) -> None:
        assert line.trial is not None and line.place is not None
        former, line.trial = line.trial.former, None
        self._log.error(
            "uplink.not_moved",
            box_id=line.box_id,
            endpoint=line.place.endpoints.trigger,
            reason=f"not admitted there within {TRIAL_S:g} s; it stays at {former.endpoints.trigger}",
        )
        self._reconnect(line, former)

    def _reconnect(self, line: BoxUplink, place: UplinkPlace) -> None:
        self._disconnect(line)
        line.disconnected()
        line.status.connected = line.status.refused = False
        line.left_out_s = None
        line.place, line.retry_s, line.down_since_s = place, 0.0, time.monotonic()
        line.refusals.record_success()
        self._connect(line)

    def _admitted(self, line: BoxUplink) -> bool:
        """Ends a successful trial; False: the place cannot be stored, so the Box goes back."""
        assert line.trial is not None and line.place is not None
        try:
            self._places.keep(line.box_id, line.place)
        except OSError as error:
            self._log.error("uplink.place_not_kept", box_id=line.box_id, reason=str(error))
            self._go_back(line)
            return False
        line.trial = None
        line.leave_stores()
        self._log.info("uplink.moved", box_id=line.box_id, endpoint=line.place.endpoints.trigger)
        return True

    def _disconnect(self, line: BoxUplink) -> None:
        if line.connection is not None:
            self._waking.unwatch(line.connection.files())
            line.connection.close()
            line.connection = None

    def serve(self, line: BoxUplink) -> None:
        """Handles what arrived on a Box's connection, and changes of its state."""
        connection = line.connection
        if connection is None:
            return

        def command(data: bytes) -> None:
            line.counters.add("commands")
            self._log.debug("command.received", box_id=line.box_id)
            self._on_command(line.box_id, data)

        connection.service(command, lambda: line.counters.add("commands_malformed"))
        if connection.stands != line.status.connected:
            line.status.connected = connection.stands
            if connection.stands:
                if line.trial is not None and not self._admitted(line):
                    return
                self._stands(line)
            else:
                line.disconnected()
                line.down_since_s = time.monotonic()
                line.counters.add("uplink_lost")
                self._log.warning("uplink.disconnected", box_id=line.box_id)
        if connection.refused:
            self._refused(line)

    def _stands(self, line: BoxUplink) -> None:
        line.connected(time.monotonic())
        line.refusals.record_success()
        line.status.refused, line.down_since_s, line.left_out_s = False, None, None
        line.counters.add("uplink_connected")
        self._log.info("uplink.connected", box_id=line.box_id, endpoint=self._endpoint(line))

    def _endpoint(self, line: BoxUplink) -> str:
        return (line.place or self._places.configured).endpoints.trigger

    def _log_waiting(self, line: BoxUplink, now_s: float) -> None:
        if line.down_since_s is None or now_s - line.down_since_s < WAITING_S:
            return
        line.down_since_s = None
        if not line.status.refused:
            self._log.warning(
                "uplink.waiting",
                box_id=line.box_id,
                endpoint=self._endpoint(line),
                reason="the broker is absent, its key is not the one in public_keys/opqserver.key, or "
                "it does not admit this Box's key",
            )

    def _note_left_out(self, line: BoxUplink, now_s: float) -> None:
        """Counts and reports a broker of ours that leaves the handshake of a key that it does not admit."""
        if line.connection is not None and line.connection.is_left_out(now_s):
            line.left_out_s = now_s
            self._count_refused(line)
        elif line.left_out_s is not None and now_s - line.left_out_s >= LEFT_OUT_S:
            line.left_out_s, line.status.refused = None, False

    def _count_refused(self, line: BoxUplink) -> None:
        line.counters.add("uplink_refused")
        if not line.status.refused:
            self._log.error(
                "uplink.refused",
                box_id=line.box_id,
                endpoint=self._endpoint(line),
                reason="the broker does not admit this Box's key; is its public key there, and "
                "the broker's in public_keys/opqserver.key here?",
            )
        line.status.refused = True

    def _refused(self, line: BoxUplink) -> None:
        self._count_refused(line)
        line.refused(time.monotonic())
        line.disconnected()
        self._disconnect(line)
        line.status.connected = False


def _allow_files(wanted: int) -> None:
    """Raises the limit of open files as far as the system allows; the usual 1024 are enough for 60 Boxes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
