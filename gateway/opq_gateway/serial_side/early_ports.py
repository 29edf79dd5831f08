"""Ports that are read while the gateway still starts, so that a kill costs no sample.

A Box sends again what it sampled in the last 3.2 s (Hello.ring_samples). On a small machine a gateway needs
longer than that to import what it is made of. So a start first opens the ports and keeps what comes, in one
thread. As soon as the link's messages are imported, each Box is asked who it is and for all that it holds;
what the gateway's ring has of it is left out later. A Station takes its port over, with the bytes.

Nothing is imported here at the top that takes longer than a few milliseconds.
"""

import json
import os
import select
import threading
import time
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import serial

if TYPE_CHECKING:
    from opq_proto.link import Decoder
    from opq_proto.link_messages import LinkMessage

READ_BYTES = 4096
MOST_BYTES = 8 << 20
"""Of one port: five minutes. A start that takes longer loses what comes then."""
POLL_MS = 20
REACH_SAMPLES = 120_000
"""10 s: what any Box holds; it sends what of it is there."""
COMMAND_ID = 0xFFFF
DEFAULT_BAUD = 921_600


class EarlyPort:
    """One open port and what came from it so far."""

    def __init__(self, device: serial.SerialBase) -> None:
        self.device = device
        self.data = bytearray()
        self.asked_s: float | None = None
        """Monotonic; None: not yet."""
        self._read_to = 0
        self._decoder: Decoder | None = None

    def ask(self) -> None:
        """Ask for a hello, and after the first block that comes for all that was sampled before it."""
        from opq_proto import link
        from opq_proto.link_messages import Command, Operation, Resend, Samples

        if self._decoder is None:
            self._decoder = link.Decoder()
            self._write(link.encode(Command(COMMAND_ID, Operation.HELLO), 0))
        messages = self._decoder.feed(bytes(self.data[self._read_to :]))
        self._read_to = len(self.data)
        blocks = [message for _, message in messages if isinstance(message, Samples)]
        if blocks:
            first = max(0, blocks[0].first_sample - REACH_SAMPLES)
            self._write(link.encode(Resend(first, blocks[0].first_sample - first), 1))
            self.asked_s = time.monotonic()

    def _write(self, frame: bytes) -> None:
        with suppress(OSError):  # what the line does not take the intake asks for again
            os.write(self.device.fileno(), b"\0" + frame)


class EarlyPorts:
    """The ttys among the ports of a configuration; any of them may be taken over at any time."""

    def __init__(self, ports: Sequence[tuple[str, int]]) -> None:
        """`ports`: (path, baud)."""
        self._wanted = [(path, baud) for path, baud in ports if path.startswith("/")]
        self._open: dict[str, EarlyPort] = {}
        self._lock = threading.Lock()
        self._may_ask = False
        if self._wanted:
            threading.Thread(target=self._run, name="early ports", daemon=True).start()

    def ask(self) -> None:
        """From now on the Boxes may be asked: the link's messages are imported."""
        self._may_ask = True

    def take(self, path: str) -> EarlyPort | None:
        """An open port with what came from it, now the caller's; None: it is not open here."""
        with self._lock:
            self._wanted = [one for one in self._wanted if one[0] != path]
            return self._open.pop(path, None)

    def _run(self) -> None:
        for path, baud in list(self._wanted):
            try:
                device = serial.Serial(path, baudrate=baud, timeout=0, write_timeout=1.0, exclusive=True)
            except (serial.SerialException, OSError, ValueError):
                continue  # the Station opens it, and says why it cannot
            with self._lock:
                if (path, baud) not in self._wanted:
                    device.close()
                    continue
                os.set_blocking(device.fileno(), False)
                self._open[path] = EarlyPort(device)
            self._round(0)
        while self._round(POLL_MS):
            pass

    def _round(self, timeout_ms: int) -> bool:
        """Read what came; False: nobody is left to read for."""
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
                    port.device.close()  # it hung up: the Station opens it again
                    del self._open[open_now[fd]]
            if self._may_ask:
                for port in self._open.values():
                    if port.asked_s is None:
                        port.ask()
            return bool(self._open)


def _read(port: EarlyPort) -> bool:
    """False: the port went away."""
    try:
        data = os.read(port.device.fileno(), READ_BYTES)
    except BlockingIOError:
        return True
    except OSError:
        return False
    if len(port.data) < MOST_BYTES:
        port.data += data
    return bool(data)


def early_ports(config: Path) -> EarlyPorts:
    """The ports of a configuration file, as far as it can be read; what is wrong with it is said later."""
    try:
        if not config.is_file():  # a pipe can be read once
            return EarlyPorts(())
        text = config.read_bytes().decode("utf-8-sig")
        document = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
        boxes = document.get("box", ())
        return EarlyPorts([(str(box["port"]), int(box.get("baud", DEFAULT_BAUD))) for box in boxes])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return EarlyPorts(())


def in_arrears(messages: Sequence[tuple[int, "LinkMessage"]]) -> list[tuple[int, "LinkMessage"]]:
    """What an early port brought, for an intake: the hello first; no block's arrival says when it was sent.

    A hello after which the indices begin again is a new start of the Box; it stays in its place.
    """
    from opq_proto.link_messages import FLAG_RESENT, Hello, Samples

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
