"""Mail of accounts: invitations and new passwords, sent in the background where an SMTP server is set.

A request is answered before its mail is sent, so that the time of the answer does not reveal who has an
account.
"""

import smtplib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage

import structlog

from opq_cloud.core.mail_server import MailServer
from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.view import MailSection
from opq_cloud.view.web.visitors import visitor_network
from opq_proto.kit.rate_limit import TokenBuckets

log = structlog.get_logger()
REMEMBERED = 100_000
"""Addresses and senders whose links are counted."""
MAILS_WAITING = 50
"""The number of mails that may wait: of links that strangers request, and of all others. More are dropped and
counted."""


class LinkLimits:
    """Limits how many links are mailed; any thread may call the methods.

    To one e-mail 3 at once, then one an hour, which is as long as a link is valid; for one sender 10, then
    one in five minutes. A device or network that signed in to the account before (`known_place`) counts
    alone, so that strangers do not use up its mails.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._receivers = TokenBuckets(3, 1 / 3600, REMEMBERED, monotonic_s)
        self._senders = TokenBuckets(10, 1 / 300, REMEMBERED, monotonic_s)

    def accepts_sender(self, address: str, known_place: str = "") -> bool:
        """Counts a request from this address for a link; False where there were too many."""
        with self._lock:
            return self._senders.spend((visitor_network(address) or address, known_place))

    def accepts_receiver(self, email: str, known_place: str = "") -> bool:
        """Counts a link to this e-mail; False where there were too many: the last ones are still valid."""
        with self._lock:
            return self._receivers.spend((email, known_place))


class Mailer:
    """Sends through the one server of the configuration; `send` may be called from any thread."""

    def __init__(self, config: MailSection, counters: ServiceCounters) -> None:
        """Raises ConfigError when the password's file cannot be read."""
        self._server = MailServer(config)
        self._address = config.server
        self._counters = counters
        self._slots, self._strangers_slots = (threading.BoundedSemaphore(MAILS_WAITING) for _ in range(2))
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="view.mail")

    @property
    def ready(self) -> bool:
        """Whether a server is set."""
        return self._server.ready

    def send(self, to: str, subject: str, text: str, of_stranger: bool = False) -> bool:
        """Queues a mail. Returns False where no server is set or too many mails wait."""
        if not self.ready:
            return False
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self._server.sender, to, subject
        message.set_content(text)
        slots = self._strangers_slots if of_stranger else self._slots
        if not slots.acquire(blocking=False):
            self._counters.add("mails_dropped")
            return False
        self._pool.submit(self._send, message).add_done_callback(lambda _: slots.release())
        return True

    def close(self) -> None:
        """Finishes the mail that is being sent; waiting mails are dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _send(self, message: EmailMessage) -> None:
        try:
            self._server.deliver(message)
            self._counters.add("mails_sent")
        except (OSError, smtplib.SMTPException, ValueError) as error:
            self._counters.add("mails_failed")
            log.warning("mail.failed", server=self._address, why=str(error)[:200])
