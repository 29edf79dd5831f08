"""Mail of accounts: invitations and new passwords, sent in the background where an SMTP server is set.

What is asked for is answered before it is sent, so that the answer's time says nothing of who has an account.
"""

import smtplib
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage

import structlog

from opq_cloud.config import MailSection
from opq_cloud.service import ServiceCounters
from opq_proto.errors import ConfigError

log = structlog.get_logger()
WAITING = 100
"""Mails that may wait; more are dropped and counted."""
SERVER_S = 20.0


class Mailer:
    """Sends through the one server of the configuration; `send` may be called from any thread."""

    def __init__(self, config: MailSection, counters: ServiceCounters) -> None:
        """Raises ConfigError when the password's file cannot be read."""
        self._config = config
        self._counters = counters
        self._slots = threading.BoundedSemaphore(WAITING)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="view.mail")
        self._password = ""
        if config.password_file is not None:
            try:
                self._password = config.password_file.read_text(encoding="utf-8").strip()
            except OSError as error:
                raise ConfigError(
                    f"view.mail.password_file {config.password_file}: {error.strerror}"
                ) from error

    @property
    def ready(self) -> bool:
        """Whether a server is set."""
        return bool(self._config.server)

    def send(self, to: str, subject: str, text: str) -> bool:
        """Queue it; False where no server is set or too many wait."""
        if not self.ready:
            return False
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self._config.sender, to, subject
        message.set_content(text)
        if not self._slots.acquire(blocking=False):
            self._counters.add("mails_dropped")
            return False
        self._pool.submit(self._send, message)
        return True

    def close(self) -> None:
        """Ends with the mail that is being sent; what waits is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _send(self, message: EmailMessage) -> None:
        try:
            self._deliver(message)
            self._counters.add("mails_sent")
        except (OSError, smtplib.SMTPException, ValueError) as error:
            self._counters.add("mails_failed")
            log.warning("mail.failed", server=self._config.server, why=str(error)[:200])
        finally:
            self._slots.release()

    def _deliver(self, message: EmailMessage) -> None:
        host, _, port = (self._config.server or "").rpartition(":")
        if self._config.security == "tls":
            trusted = ssl.create_default_context()
            with smtplib.SMTP_SSL(host, int(port), timeout=SERVER_S, context=trusted) as server:
                self._hand_over(server, message)
            return
        with smtplib.SMTP(host, int(port), timeout=SERVER_S) as server:
            if self._config.security == "starttls":
                server.starttls(context=ssl.create_default_context())
            self._hand_over(server, message)

    def _hand_over(self, server: smtplib.SMTP, message: EmailMessage) -> None:
        if self._config.user:
            server.login(self._config.user, self._password)
        server.send_message(message)
