"""The back-end side of a broker: sends to every subscriber, each within its limits.

Separate from `sockets.py`, which `peers.py` imports.
"""

from collections.abc import Sequence

import zmq

from opq_cloud.core.backend.admission import BackendAdmission
from opq_cloud.core.backend.peers import BackendPeers
from opq_cloud.core.backend.sockets import (
    MESSAGES_PER_TURN,
    Context,
    bind,
    open_socket,
    receive,
    send_past_full,
)
from opq_cloud.core.service import ServiceCounters
from opq_proto.kit.zmq_inbox import try_send
from opq_proto.wire.measurement_turns import turn_message, unpadded

QUEUE_PER_SUBSCRIBER = 100
"""Most messages per subscriber in libzmq, because a subscriber takes all at once and a flood would delay the
broker.
"""


class FanoutSocket:
    """The back-end side of a broker: sends to every subscriber, and counts when one could not follow.

    A PUB socket drops in silence at its high-water mark. An XPUB with NODROP returns `again` instead;
    then the message is sent without NODROP, so that one slow subscriber never delays the others.
    libzmq leaves that subscriber out until it has read half of its queue and reports nothing more, so
    `subscriber_full` counts how often that began, not how much was missed: sequences show that.
    """

    def __init__(
        self,
        context: Context,
        counters: ServiceCounters,
        queue_messages: int,
        admission: BackendAdmission | None = None,
        turns: bool = False,
    ) -> None:
        """`admission`: of `context`, where the address to bind has keys. turns: for `send_turn`."""
        self.socket = open_socket(
            context,
            zmq.XPUB,
            sndhwm=queue_messages,
            rcvhwm=QUEUE_PER_SUBSCRIBER,
            xpub_nodrop=1,
            xpub_verboser=1,
        )
        self._context, self._counters = context, counters
        self._admission, self._turns = admission, turns
        self._peers: BackendPeers | None = None

    def bind(self, endpoint: str, service: str, key: str) -> None:
        """Binds as `sockets.bind` does."""
        self._peers = BackendPeers(
            self._context, self.socket, key, self._counters, self._admission, self._turns
        )
        bind(self.socket, endpoint, service, key)

    def close(self) -> None:
        if self._peers is not None:
            self._peers.close()
        self.socket.close()

    def send(self, frames: Sequence[bytes]) -> None:
        """Sends to every subscriber; never waits."""
        if not try_send(self.socket, frames):
            self._counters.add("subscriber_full")
            send_past_full(self.socket, frames)

    def send_turn(self, messages: Sequence[Sequence[bytes]]) -> None:
        """Sends topics with their Measurements, in each subscriber's form."""
        if self._peers is None or not messages:
            return
        turns, single = self._peers.forms_wanted
        if turns:
            self.send([turn_message(messages)])
        if not single:
            return
        wanted = self._peers.unpadded_wanted
        for frames in messages:
            self.send(frames)
            if wanted:
                short = unpadded(frames[0])
                if any(short[:length] in wanted for length in range(1, len(short) + 1)):
                    self.send([short, *frames[1:]])

    def read_subscriptions(self) -> None:
        """Counts subscribers' messages, which would pile up; ends connections beyond a limit."""
        receipt = None if self._peers is None else self._peers.inflow
        for first, frames in receive(self.socket, MESSAGES_PER_TURN, receipt):
            self._counters.add("subscriptions" if frames[0][:1] == b"\x01" else "unsubscriptions")
            if self._peers is not None:
                self._peers.note_subscription(first, frames[0])
        self.check()

    def check(self) -> None:
        """Ends connections of revoked keys, also while nothing is read."""
        if self._peers is not None:
            self._peers.check()
