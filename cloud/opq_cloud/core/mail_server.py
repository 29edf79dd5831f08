"""Passes mails to the SMTP server of `[view.mail]`: those of accounts, and notifications."""

import smtplib
import ssl
from email.message import EmailMessage

from opq_cloud.core.settings.view import MailSection
from opq_proto.errors import ConfigError
from opq_proto.kit.port_owner import check_port_owner

SERVER_S = 20.0


class MailServer:
    """One server; a connection per mail, from any thread."""

    def __init__(self, config: MailSection) -> None:
        """Raises ConfigError when the password's file cannot be read."""
        self._config = config
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
        """Whether a server is configured."""
        return bool(self._config.server)

    @property
    def sender(self) -> str:
        return self._config.sender

    def deliver(self, message: EmailMessage) -> None:
        """Returns when the server has accepted the mail. Raises OSError, SMTPException or ValueError."""
        host, _, port = (self._config.server or "").rpartition(":")
        if self._config.security == "tls":
            trusted = ssl.create_default_context()
            with smtplib.SMTP_SSL(host, int(port), timeout=SERVER_S, context=trusted) as server:
                self._hand_over(server, message)
            return
        with smtplib.SMTP(host, int(port), timeout=SERVER_S) as server:
            if self._config.security == "starttls":
                server.starttls(context=ssl.create_default_context())
            elif self._config.user:
                check_port_owner(host, int(port))
            self._hand_over(server, message)

    def _hand_over(self, server: smtplib.SMTP, message: EmailMessage) -> None:
        if self._config.user:
            server.login(self._config.user, self._password)
        server.send_message(message)
