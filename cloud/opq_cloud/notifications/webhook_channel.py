"""Webhooks: a signed POST per notification (contracts.md).

    Opq-Signature: t=<Unix s>,v1=<hexadecimal HMAC-SHA256 of "t.body" with the rule's secret>

A retry has the same `id`: who has seen it answers 2xx and does nothing. Redirects are not followed.
"""

import hashlib
import hmac
import http.client
import json
import socket
import threading
import time
from contextlib import closing, suppress
from urllib.parse import urlsplit

from opq_cloud.notifications.address_guard import AddressGuard, DeliveryRefusedError
from opq_cloud.store.notification_records import NotificationEntry

CONNECT_S = 10.0
WHOLE_S = 20.0
"""Seconds of one request with its answer: a peer that answers byte by byte occupies a thread no longer."""
LEAST_AGAIN = 500
AGAIN = frozenset({408, 425, 429})
"""Answers, beside those from LEAST_AGAIN on, after which it is tried again."""
SIGNATURE = "Opq-Signature"


def signature(secret: str, at_s: int, body: bytes) -> str:
    """The header's value."""
    made = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={made}"


def webhook_body(entry: NotificationEntry, sent_ms: int, url: str) -> bytes:
    """contracts.md, Webhook; `health`, `row` or nothing in the place of `incident` for other kinds."""
    fixed = {"version": 1, "id": entry.entry_id, "sent_ms": sent_ms, "kind": entry.kind}
    return json.dumps({**fixed, **json.loads(entry.content), "url": url}).encode()


class WebhookChannel:
    """Posts one notification; from any thread."""

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard

    def post(self, entry: NotificationEntry, to: str, secret: str, link: str) -> None:
        """Returns when the receiver has taken it.

        Raises:
            DeliveryRefusedError: it will not take it, or may not be asked.
            OSError: out of reach, or it says that it may be tried again.
        """
        now_s = time.time()
        body = webhook_body(entry, int(now_s * 1000), link)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "opq-notifications",
            "Connection": "close",
            SIGNATURE: signature(secret, int(now_s), body),
        }
        parts = urlsplit(to)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        with closing(self._guard.connection(to, CONNECT_S)) as connection:
            cut = threading.Timer(WHOLE_S, _cut, (connection.sock,))
            cut.daemon = True
            cut.start()
            try:
                connection.request("POST", target, body, headers)
                status = connection.getresponse().status
            except http.client.HTTPException as error:
                raise ConnectionError(f"no answer that is HTTP: {type(error).__name__}") from error
            finally:
                cut.cancel()
        if status in AGAIN or status >= LEAST_AGAIN:
            raise ConnectionError(f"answered {status}")
        if not 200 <= status < 300:
            raise DeliveryRefusedError(f"answered {status}")


def _cut(peer: socket.socket) -> None:
    with suppress(OSError):
        peer.shutdown(socket.SHUT_RDWR)
