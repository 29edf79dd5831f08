"""Mail of accounts: invitations and new passwords, sent in the background where an SMTP server is set.

A request is answered before its mail is sent, so that the time of the answer does not reveal who has an
account.
"""

import smtplib
import threading
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage

import structlog

from opq_cloud.core.mail_server import MailServer
from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.view import MailSection

log = structlog.get_logger()
MAILS_WAITING = 100
"""The number of mails that may wait; more are dropped and counted."""


class Mailer:
    """Sends through the one server of the configuration; `send` may be called from any thread."""

    def __init__(self, config: MailSection, counters: ServiceCounters) -> None:
        """Raises ConfigError when the password's file cannot be read."""
        self._server = MailServer(config)
        self._address = config.server
        self._counters = counters
        self._slots = threading.BoundedSemaphore(MAILS_WAITING)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="view.mail")

    @property
    def ready(self) -> bool:
        """Whether a server is set."""
        return self._server.ready

    def send(self, to: str, subject: str, text: str) -> bool:
        """Queues a mail. Returns False where no server is set or too many mails wait."""
        if not self.ready:
            return False
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self._server.sender, to, subject
        message.set_content(text)
        if not self._slots.acquire(blocking=False):
            self._counters.add("mails_dropped")
            return False
        self._pool.submit(self._send, message)
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
        finally:
            self._slots.release()
