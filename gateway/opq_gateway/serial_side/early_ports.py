"""Reads the ports while the gateway still starts, so that a restart after a kill does not lose samples.

A Box can send again what it sampled in the last 3.2 s or more (Hello.ring_samples). On a small machine the
imports of a gateway take longer than that. So a start first opens the ports and stores what they deliver, in
one thread.
As soon as the link's messages are imported, each Box gets a request for a hello, for all samples after the
newest in the gateway's ring, and later for samples that a bad line has lost. A Station then takes its port
over, with the bytes. No clock is used, because the earlier gateway may have been late, and a late emulator
runs faster than real time.

The imports at the top take no longer than a few milliseconds.
"""

import json
import os
import select
import threading
import time
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from opq_proto.kit.open_port import PortNotOpenedError, open_port

if TYPE_CHECKING:
    import serial

    from opq_proto.link.frames import Decoder
    from opq_proto.link.messages import LinkMessage, Samples

READ_BYTES = 4096
MAX_BYTES = 8 << 20
"""Most bytes of one port: five minutes. A longer start loses later bytes."""
POLL_MS = 20
REACH_SAMPLES = 120_000
"""10 s, at least as much as any Box holds; the Box sends the part that it has."""
AGAIN_S = 0.5
"""Period at which samples lost on the line are requested again."""
MAX_HOLES = 32
"""Most holes requested at once; the next round requests the others."""
COMMAND_ID = 0xFFFF
DEFAULT_BAUD = 921_600


class EarlyPort:
    """One open port and the bytes received from it so far."""

    def __init__(self, device: "serial.SerialBase", ring: Path | None) -> None:
        """`ring`: the folder of the Box's ring on disk; None where it is not known."""
        self.device = device
        self._ring = ring
        self.data = bytearray()
        self.dropped_bytes = 0
        self.requested_s: float | None = None
        """Monotonic time of the first request; None: not yet sent."""
        self.requested_first = self.requested_end = 0
        """First sample of that request, and the end of what the Box had sent by then."""
        self._read_to = 0
        self._decoder: Decoder | None = None
        self._live_sample = 0
        self._arrived: list[tuple[int, int]] = []
        """Spans [first, end) of received samples, without overlap."""
        self._coming: tuple[int, int] | None = None
        """The part of the first request that the Box still has to send."""
        self._requested_again_s = 0.0

    def request_samples(self) -> None:
        """Requests a hello, the samples before the first live block, and lost samples."""
        from opq_proto.link import frames as link
        from opq_proto.link.messages import FLAG_RESENT, Command, Operation, Resend, Samples

        if self._decoder is None:
            self._decoder = link.Decoder()
            self._write(link.encode(Command(COMMAND_ID, Operation.HELLO), 0))
        messages = self._decoder.feed(bytes(self.data[self._read_to :]))
        self._read_to = len(self.data)
        blocks = [message for _, message in messages if isinstance(message, Samples)]
        now_s = time.monotonic()
        if self.requested_s is None:
            live = next((block for block in blocks if not block.flags & FLAG_RESENT), None)
            if live is None:
                return
            self._live_sample = live.first_sample
            first = max(self._stored_to(live.first_sample), live.first_sample - REACH_SAMPLES)
            if first < live.first_sample:
                self._write(link.encode(Resend(first, live.first_sample - first), 1))
            self.requested_first = first
            self.requested_end = max(block.first_sample + len(block.counts) for block in blocks)
            self.requested_s = self._requested_again_s = now_s
        if blocks:
            self._arrive(blocks)
        if now_s - self._requested_again_s >= AGAIN_S:
            self._requested_again_s = now_s
            for sequence, (first, end) in enumerate(self._holes(), start=2):
                self._write(link.encode(Resend(first, end - first), sequence))

    def _arrive(self, blocks: "list[Samples]") -> None:
        spans = [(block.first_sample, block.first_sample + len(block.counts)) for block in blocks]
        apart: list[tuple[int, int]] = []
        for first, end in sorted(self._arrived + spans):
            if apart and first <= apart[-1][1]:
                apart[-1] = (apart[-1][0], max(end, apart[-1][1]))
            else:
                apart.append((first, end))
        self._arrived = apart

    def _holes(self) -> list[tuple[int, int]]:
        """Spans that the line lost, without the part that the Box is still sending in order."""
        requested, live, before = self.requested_first, self._live_sample, self._coming
        arrived = self._arrived
        if arrived[0][0] >= live:
            arrived = [(requested, requested), *arrived]
        holes = [
            (max(requested, end), first) for (_, end), (first, _) in pairwise(arrived) if first > requested
        ]
        self._coming = next((hole for hole in holes if hole[1] == live), None)
        return [hole for hole in holes if hole != self._coming or hole == before][:MAX_HOLES]

    def _stored_to(self, live_sample: int) -> int:
        """End of the ring; 0 where unknown, `live_sample` where the ring is empty."""
        from opq_gateway.ring.raw import SUFFIX, end_sample

        if self._ring is None:
            return 0
        try:
            newest = max(self._ring.glob(f"*{SUFFIX}"), default=None)
            if newest is None:
                return live_sample
            end = end_sample(newest)
        except OSError:
            return 0
        return end if end <= live_sample else 0  # otherwise the Box started again meanwhile

    def _write(self, frame: bytes) -> None:
        with suppress(OSError):  # on failure the intake requests it again
            os.write(self.device.fileno(), b"\0" + frame)


class EarlyPorts:
    """The ttys among the ports of a configuration; each may be taken over at any time."""

    def __init__(self, ports: Sequence[tuple[str, int, Path | None]]) -> None:
        """`ports`: (path, baud, folder of the Box's ring)."""
        self._wanted = [one for one in ports if one[0].startswith("/")]
        self._open: dict[str, EarlyPort] = {}
        self._lock = threading.Lock()
        self._may_request = False
        if self._wanted:
            threading.Thread(target=self._run, name="early ports", daemon=True).start()

    def allow_requests(self) -> None:
        """Allows requests to the Boxes; call it once the link's messages are imported."""
        self._may_request = True

    def take_port(self, path: str) -> EarlyPort | None:
        """Hands an open port and its bytes to the caller; None where it is not open here."""
        with self._lock:
            self._wanted = [one for one in self._wanted if one[0] != path]
            return self._open.pop(path, None)

    def _run(self) -> None:
        for wanted in list(self._wanted):
            path, baud, ring = wanted
            try:
                device = open_port(path, baud, timeout_s=0, write_timeout_s=1.0)
            except PortNotOpenedError:
                continue  # the Station opens the port, and logs a failure
            with self._lock:
                if wanted not in self._wanted:
                    device.close()
                    continue
                os.set_blocking(device.fileno(), False)
                self._open[path] = EarlyPort(device, ring)
            self._round(0)
        while self._round(POLL_MS):
            pass

    def _round(self, timeout_ms: int) -> bool:
        """Reads all ports once; False when no port is left."""
        poll = select.poll()
        with self._lock:
            open_now = {port.device.fileno(): path for path, port in self._open.items()}
        for fd in open_now:
            poll.register(fd, select.POLLIN)
        ready = poll.poll(timeout_ms)
        with self._lock:
            for fd, _ in ready:
                port = self._open.get(open_now[fd])
                if port is not None and not _read(port):
                    port.device.close()  # the port hung up: the Station opens it again
                    del self._open[open_now[fd]]
            if self._may_request:
                for port in self._open.values():
                    port.request_samples()
            return bool(self._open)


def _read(port: EarlyPort) -> bool:
    """Reads the waiting bytes of a port; False: the port has gone."""
    try:
        data = os.read(port.device.fileno(), READ_BYTES)
        came = bool(data)  # empty after poll reported data means a hang-up
        while data:
            if len(port.data) < MAX_BYTES:
                port.data += data
            else:
                port.dropped_bytes += len(data)
            data = os.read(port.device.fileno(), READ_BYTES) if len(data) == READ_BYTES else b""
    except BlockingIOError:
        return True
    except OSError:
        return False
    return came


def early_ports(config: Path, data_dir: Path | None = None) -> EarlyPorts:
    """Opens the ports of a configuration file, as far as it can be read; errors in it are reported later."""
    try:
        if not config.is_file():  # a pipe can be read only once
            return EarlyPorts(())
        text = config.read_bytes().decode("utf-8-sig")
        document = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
        place = data_dir or (Path(document["data_dir"]) if "data_dir" in document else None)
        ports = []
        for box in document.get("box", ()):
            ring = None if place is None else place / "gateway" / f"box{box['id']}" / "ring"
            ports.append((str(box["port"]), int(box.get("baud", DEFAULT_BAUD)), ring))
        return EarlyPorts(ports)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return EarlyPorts(())


def in_arrears(messages: Sequence[tuple[int, "LinkMessage"]]) -> list[tuple[int, "LinkMessage"]]:
    """The messages of an early port, prepared for an intake: the hello first, and all samples marked as sent
    again, since their arrival says nothing about their time.

    A hello after which the indices begin again stays in its place: it belongs to a new start of the Box.
    """
    from opq_proto.link.messages import FLAG_RESENT, Hello, Samples

    found = list(messages)
    newest = -1
    for at, (_, message) in enumerate(found):
        if isinstance(message, Samples):
            newest = max(newest, message.first_sample)
            message.flags |= FLAG_RESENT
        elif isinstance(message, Hello):
            behind = next((one for _, one in found[at + 1 :] if isinstance(one, Samples)), None)
            same = behind is None or bool(behind.flags & FLAG_RESENT) or behind.first_sample > newest
            if same and not any(isinstance(one, Hello) for _, one in found[:at]):
                found.insert(0, found.pop(at))
    return found
