"""ntfy: a message on a telephone, by https://ntfy.sh or your own server.

A rule's address is that of a topic, `https://ntfy.example.org/opq`; whoever knows it may read the topic. The
message is published as JSON to the server's root, because headers cannot carry all characters (ntfy's
documentation, "Publish as JSON").
"""

import json
from urllib.parse import urlsplit, urlunsplit

from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.notifications.sending import Delivery, DeliveryRefusedError, SendingChannel
from opq_cloud.notifications.webhook_channel import guard_of, post_body
from opq_proto.kit.address_guard import AddressGuard

PRIORITIES = 3, 4, 5
"""ntfy's default, high and urgent, by the level of a notification's severity."""


class NtfyChannel(SendingChannel):
    """Posts to the topic of the rule; its address is checked like that of a webhook."""

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard

    def deliver(self, delivery: Delivery) -> None:
        entry, url = delivery.entries[0], urlsplit(delivery.rule.url)
        root, _, topic = url.path.rpartition("/")
        if not topic:
            raise DeliveryRefusedError("the address has no topic; write one such as https://ntfy.sh/opq")
        message = {
            "topic": topic,
            "title": delivery.rule.name,
            "message": entry.headline,
            "priority": PRIORITIES[min(entry.level, len(PRIORITIES) - 1)],
            **({"click": delivery.links[0]} if delivery.links[0] else {}),
        }
        where = urlunsplit((url.scheme, url.netloc, root + "/", url.query, ""))
        post_body(self._guard, where, json.dumps(message).encode(), {})


def made_channel(config: CloudConfig) -> NtfyChannel:
    return NtfyChannel(guard_of(config))
