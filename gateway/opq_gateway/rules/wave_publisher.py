"""The pieces of samples for rules of other engines on this machine, by PUB."""

from collections.abc import Mapping

import zmq
from zmq.utils.monitor import parse_monitor_message

from opq_proto.errors import PortBusyError
from opq_proto.keys.backend_keys import backend_address
from opq_proto.kit.zmq_inbox import waiting_messages
from opq_rules.feeds.local_feed import LocalFeed
from opq_rules.feeds.wave_windows import WavePiece

PIECES_WAITING = 1000
ENDED = zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED


class WavePublisher:
    """Publishes the pieces by PUB, on an address of this machine."""

    def __init__(self, endpoint: str, waves: LocalFeed[WavePiece]) -> None:
        """Binds. Raises PortBusyError: the address cannot be used."""
        self._waves, self._channel = waves, waves.subscribe()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, PIECES_WAITING)
        events = zmq.EVENT_ACCEPTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | ENDED
        self._monitor = self._socket.get_monitor_socket(events)
        self._in_handshake: list[int] = []
        """Descriptors, in the order of their arrival."""
        self.refused = 0
        """Connections that ended before they had shown that they speak ZeroMQ 3."""
        try:
            backend_address(endpoint).bind(self._socket)
        except (zmq.ZMQError, OSError) as error:
            self._context.destroy(linger=0)
            raise PortBusyError(f"rules.windows_endpoint: {endpoint} cannot be used: {error}") from error

    def send(self) -> None:
        """Sends the waiting pieces; a slow subscriber loses samples, as with any PUB.

        It also notes which connections have come and gone.
        """
        for frames in waiting_messages(self._monitor):
            self._note(parse_monitor_message(frames))
        for piece in self._channel.take_all():
            self._socket.send_multipart(piece.frames())

    def _note(self, event: Mapping[str, object]) -> None:
        number = int(str(event["value"]))
        if event["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            del self._in_handshake[-1:]  # it names no descriptor; a program of ZeroMQ is done at once
            return
        if number in self._in_handshake:
            self._in_handshake.remove(number)
            self.refused += 1
        if event["event"] == zmq.EVENT_ACCEPTED:
            self._in_handshake.append(number)

    def close(self) -> None:
        self._waves.leave(self._channel)
        self._context.destroy(linger=0)
