"""Webhooks: a signed POST per notification (docs/reference/contracts.md).

Opq-Signature: t=<Unix s>,v1=<hexadecimal HMAC-SHA256 of "t.body" with the rule's secret> A retry has the
same `id`, so that a receiver can recognise it and answer 2xx. Redirects are not followed.
"""

import hashlib
import hmac
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from urllib.parse import urlsplit

from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.core.webhook_address import checked_url
from opq_cloud.notifications.sending import Delivery, DeliveryRefusedError, SendingChannel
from opq_cloud.store.records.accounts.notifications import NotificationEntry
from opq_proto.kit.address_guard import AddressGuard, AddressRefusedError

CONNECT_S = 10.0
WHOLE_S = 20.0
"""Time limit of one request with its answer, also for a peer that answers byte by byte."""
RETRY_FROM_STATUS = 500
RETRY_STATUSES = frozenset({408, 425, 429})
"""Answers after which the request is tried again, in addition to those from RETRY_FROM_STATUS on."""
SIGNATURE = "Opq-Signature"
ALLOW_HINT = "; an administrator may allow it by name in [notifications] private_hosts"


def signature(secret: str, at_s: int, body: bytes) -> str:
    """Returns the value of the header Opq-Signature."""
    made = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={made}"


def webhook_body(entry: NotificationEntry, sent_ms: int, url: str) -> bytes:
    """Returns the body (docs/reference/contracts.md, Webhook); other kinds have `health`, `row` or no
    `incident`."""
    fixed = {"version": 1, "id": entry.entry_id, "sent_ms": sent_ms, "kind": entry.kind}
    return json.dumps({**fixed, **json.loads(entry.content), "url": url}).encode()


class WebhookChannel(SendingChannel):
    """Posts to the address of the rule."""

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard

    def deliver(self, delivery: Delivery) -> None:
        now_s, rule = time.time(), delivery.rule
        body = webhook_body(delivery.entries[0], int(now_s * 1000), delivery.links[0])
        post_body(self._guard, rule.url, body, {SIGNATURE: signature(rule.secret, int(now_s), body)})


def made_channel(config: CloudConfig) -> WebhookChannel:
    return WebhookChannel(guard_of(config))


def guard_of(config: CloudConfig) -> AddressGuard:
    """Returns what refuses private addresses that the configuration does not allow."""
    return AddressGuard(config.notifications.private_hosts, advice=ALLOW_HINT)


def post_body(guard: AddressGuard, url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Posts JSON; returns when the receiver has accepted it.

    Raises:
        DeliveryRefusedError: the receiver refuses it for good, or its address is not allowed.
        OSError: the receiver is out of reach, or its answer allows another try.
    """
    usual = {"Content-Type": "application/json", "User-Agent": "opq-notifications", "Connection": "close"}
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with closing(opened(guard, url, CONNECT_S)) as connection:
        cut = threading.Timer(WHOLE_S, _cut, (connection.sock,))
        cut.daemon = True
        cut.start()
        try:
            connection.request("POST", target, body, {**usual, **headers})
            status = connection.getresponse().status
        except http.client.HTTPException as error:
            raise ConnectionError(f"the answer is not HTTP: {type(error).__name__}") from error
        finally:
            cut.cancel()
    if status in RETRY_STATUSES or status >= RETRY_FROM_STATUS:
        raise ConnectionError(f"answered {status}")
    if not 200 <= status < 300:
        raise DeliveryRefusedError(f"answered {status}")


def opened(guard: AddressGuard, url: str, timeout_s: float) -> http.client.HTTPConnection:
    """Returns an open connection for one request; for https, the certificate is checked for the name.

    Raises:
        DeliveryRefusedError: the URL is invalid, or leads only to addresses that are not allowed.
        OSError: the name cannot be resolved, or no address accepts the connection.
    """
    try:
        parts = checked_url(url)
    except ValueError as error:
        raise DeliveryRefusedError(str(error)) from error
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    made = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        plain = guard.connected(host, port, timeout_s)
    except AddressRefusedError as error:
        raise DeliveryRefusedError(str(error)) from error
    try:
        made.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host) if secure else plain
    except BaseException:
        plain.close()
        raise
    return made


def _cut(peer: socket.socket) -> None:
    with suppress(OSError):
        peer.shutdown(socket.SHUT_RDWR)
