"""Injection: publish a message, or a stored event again, into a running Mauka.

Re-injection is harmless: findings and incidents are stored once (opq-interop E.5, H.32).
"""

from collections.abc import Iterable
from typing import Any

import zmq

from opq_cloud.mauka.messages import BRIDGE_SOURCE, MAKAI_EVENT, makai_event
from opq_cloud.mauka.publisher import Publisher
from opq_cloud.service import Counters
from opq_proto.errors import OpqError

DEFAULT_ENDPOINT = "tcp://127.0.0.1:9882"


class NobodyListensError(OpqError):
    """There is no bus at the address."""


def inject(
    messages: Iterable[tuple[str, bytes]], endpoint: str = DEFAULT_ENDPOINT, wait_s: float = 3.0
) -> int:
    """Publish (topic, body) pairs; returns how many.

    Waits until the bus has subscribed, so that the first message is not lost. Raises
    NobodyListensError after `wait_s`.
    """
    context: zmq.Context[Any] = zmq.Context()
    counters = Counters()
    out = Publisher(context, hwm=100_000, counters=counters)
    try:
        out.connect(endpoint)
        if not out.wait_heard(wait_s):
            raise NobodyListensError(
                f"nobody listens at {endpoint} (waited {wait_s:g} s): start `opq-cloud mauka` or "
                "`opq-tools up`, or give its address or --port-offset"
            )
        for topic, body in messages:
            out.send([topic.encode(), body])
    finally:
        out.close()
        context.term()  # waits, at most LINGER_MS, until it is on the wire
    if counters.total("dropped"):
        raise NobodyListensError(
            f"the bus at {endpoint} did not take {counters.total('dropped'):.0f} messages"
        )
    return int(counters.total("published"))


def event_message(event_id: int, topic: str = MAKAI_EVENT) -> tuple[str, bytes]:
    """What tells Mauka of a stored event, as the bridge does it."""
    return topic, makai_event(event_id, BRIDGE_SOURCE).SerializeToString()
