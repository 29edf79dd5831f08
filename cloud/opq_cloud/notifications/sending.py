"""The interface of a channel for the outbox, and the channels of a configuration."""

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from opq_cloud.core.notification_channels import CHANNELS
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.store.records.accounts.account_records import Account
from opq_cloud.store.records.accounts.notifications import NotificationEntry, NotificationRule
from opq_proto.errors import OpqError


class DeliveryRefusedError(OpqError):
    """The notification cannot be delivered; another try would fail too."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Notifications of one rule that are sent together."""

    entries: Sequence[NotificationEntry]
    links: Sequence[str]
    """Of each entry: the page of its incident or Box, or ""."""
    account: Account
    rule: NotificationRule
    settings_url: str
    """The page where the rules are changed."""


class SendingChannel:
    """One way to send; used from any thread."""

    together = False
    """Whether several entries are one message; otherwise each is claimed and delivered alone."""

    def deliver(self, delivery: Delivery) -> None:
        """Returns when the receiver has accepted it.

        Raises:
            DeliveryRefusedError: the receiver refuses it for good, or nothing is configured.
            OSError, SMTPException, ValueError: another try may succeed.
        """
        raise NotImplementedError

    def announce(self, rules: Iterable[NotificationRule]) -> None:
        """Is called every few seconds with the rules that send by it. Raises OSError: it is tried later."""

    def close(self) -> None:
        """Ends its connections."""


class _ChannelModule(Protocol):
    def made_channel(self, config: CloudConfig) -> SendingChannel: ...


def made_channels(config: CloudConfig) -> Mapping[str, SendingChannel]:
    """Makes all channels, each by the `made_channel` of its module. Raises ConfigError."""
    made: dict[str, SendingChannel] = {}
    for name in CHANNELS:
        module: _ChannelModule = importlib.import_module(f"opq_cloud.notifications.{name}_channel")
        made[name] = module.made_channel(config)
    return made
