"""Opening: one try to open a port, in a thread of its own.

It may take seconds (a TCP peer that does not answer) or for ever (a driver that hangs), and holds
up nobody: the reader looks whether it is done.
"""

import threading
from pathlib import Path

import serial

from opq_gateway.config import BoxPort
from opq_gateway.serial_side.port import Port
from opq_proto.port_trouble import why_not_opened


class Opening:
    """A try that is under way; `result` until it is not None.

    Attributes:
        absent: there is no such path; no driver was asked.
    """

    def __init__(self, box: BoxPort) -> None:
        self._box = box
        self._lock = threading.Lock()
        self._given_up = False
        self._result: Port | str | None = None
        # the usual case of a plug that is out needs no thread
        self.absent = box.port.startswith("/") and not Path(box.port).exists()
        if self.absent:
            self._result = why_not_opened(FileNotFoundError(2, "no such file"))
            return
        threading.Thread(target=self._open, name=f"open box {box.id}", daemon=True).start()

    def result(self) -> Port | str | None:
        """The open port, or why there is none; None: not yet."""
        with self._lock:
            return self._result

    def give_up(self) -> None:
        """Nobody waits any more: a port that opens now is closed at once."""
        with self._lock:
            self._given_up = True
            port, self._result = self._result, None
        if isinstance(port, Port):
            close_aside(port)

    def _open(self) -> None:
        found: Port | str
        try:
            device = serial.serial_for_url(
                self._box.port, baudrate=self._box.baud, timeout=0, write_timeout=1.0, exclusive=True
            )
            found = Port(device)
        except (serial.SerialException, OSError, ValueError) as error:
            found = why_not_opened(error)
        except Exception as error:  # whatever a driver's URL handler throws: it is this port's trouble alone
            found = f"{type(error).__name__}: {error}"
        with self._lock:
            self._result = found
            given_up = self._given_up
        if given_up and isinstance(found, Port):
            found.close()


def close_aside(port: Port) -> None:
    """Close in a thread of its own: a driver may drain for seconds."""
    threading.Thread(target=port.close, name="close port", daemon=True).start()
