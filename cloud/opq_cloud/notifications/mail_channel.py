"""Mail: all waiting messages of one rule are one mail to the account's address."""

from opq_cloud.core.mail_server import MailServer
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.notifications.message_texts import mail_of
from opq_cloud.notifications.sending import Delivery, DeliveryRefusedError, SendingChannel
from opq_proto.kit.time_zone import zone_of


class MailChannel(SendingChannel):
    """Sends by the server of `[view.mail]`."""

    together = True

    def __init__(self, server: MailServer) -> None:
        self._server = server

    def deliver(self, delivery: Delivery) -> None:
        if not self._server.ready:
            raise DeliveryRefusedError("no mail server is set; an administrator sets it in [view.mail]")
        message = mail_of(
            list(zip(delivery.entries, delivery.links, strict=True)),
            delivery.account.email,
            self._server.sender,
            zone_of(delivery.account.time_zone),
            delivery.settings_url,
        )
        self._server.deliver(message)


def made_channel(config: CloudConfig) -> MailChannel:
    return MailChannel(MailServer(config.view.mail))
