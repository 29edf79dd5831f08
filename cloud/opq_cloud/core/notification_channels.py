"""The channels by which a notification can be sent: what View offers, and which module sends it.

A channel is a line here and a module `opq_cloud/notifications/<name>_channel.py` (docs/add-a-channel.md).
"""

from collections.abc import Callable
from dataclasses import dataclass

from opq_cloud.core.settings.config import CloudConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationChannel:
    """One way to send, as a rule names it."""

    name: str
    words: str
    takes_url: bool = False
    """Whether a rule has an address for it, which is checked like that of a webhook."""
    signed: bool = False
    """Whether a rule has a secret for it, which its page shows."""
    is_set: Callable[[CloudConfig], bool] = lambda config: True
    """Whether the cloud's configuration has what it needs."""
    unset_words: str = ""
    """The text about the missing setting."""
    section: str = ""
    """Section of the configuration that sets it."""


CHANNELS = {
    each.name: each
    for each in (
        NotificationChannel(
            name="mail",
            words="Mail",
            is_set=lambda config: bool(config.view.mail.server),
            unset_words="no mail server is set here yet",
            section="[view.mail]",
        ),
        NotificationChannel(name="webhook", words="Webhook", takes_url=True, signed=True),
        NotificationChannel(
            name="mqtt",
            words="MQTT",
            is_set=lambda config: bool(config.notifications.mqtt.host),
            unset_words="no broker is set here yet",
            section="[notifications.mqtt]",
        ),
        NotificationChannel(name="ntfy", words="ntfy (telephone)", takes_url=True),
    )
}
