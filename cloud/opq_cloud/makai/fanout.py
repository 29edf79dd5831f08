"""The back-end side of a broker: to every subscriber, and a count of when one could not follow.

A PUB socket drops in silence at its high-water mark. An XPUB with NODROP says `again` instead;
then the message goes out the dropping way, so that one slow subscriber never holds the others.
libzmq leaves that subscriber out until it has read half of its queue and says nothing more, so
`subscriber_full` counts how often that began, not how much was missed: sequences tell that.
"""

from collections.abc import Sequence

import zmq

from opq_cloud.service import Counters
from opq_cloud.sockets import Context, bind, open_socket


class Fanout:
    """A bound, clear XPUB socket."""

    def __init__(self, context: Context, counters: Counters, queue_messages: int) -> None:
        self.socket = open_socket(context, zmq.XPUB, sndhwm=queue_messages, xpub_nodrop=1)
        self._counters = counters

    def bind(self, endpoint: str, service: str, key: str) -> None:
        bind(self.socket, endpoint, service, key)

    def close(self) -> None:
        self.socket.close()

    def send(self, frames: Sequence[bytes]) -> None:
        """To everyone who subscribed; never waits."""
        try:
            self.socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            self._counters.add("subscriber_full")
            self.socket.setsockopt(zmq.XPUB_NODROP, 0)
            try:
                self.socket.send_multipart(frames, zmq.NOBLOCK)
            finally:
                self.socket.setsockopt(zmq.XPUB_NODROP, 1)

    def drain(self) -> None:
        """Take subscriptions off the socket; they are counted, nothing else."""
        while True:
            try:
                frame = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._counters.add("subscriptions" if frame[:1] == b"\x01" else "unsubscriptions")
