"""Notifications by MQTT to the broker of the configuration, with Home Assistant's discovery.

A rule is an event entity (https://www.home-assistant.io/integrations/event.mqtt/). Its discovery message is
retained and sent as soon as the rule exists. Its notifications go to `<topic>/<account>/<rule>`, QoS 1, not
retained, with the notification's `id`. The connection is made when it is needed.
"""

import json
import threading
from collections.abc import Iterable, Mapping

import paho.mqtt.client as paho

from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.core.settings.notifications import NotificationMqttSection
from opq_cloud.notifications.sending import Delivery, DeliveryRefusedError, SendingChannel
from opq_cloud.store.records.accounts.notifications import NotificationRule
from opq_proto.config.mqtt_login import mqtt_client

KEEPALIVE_S = 30
TIMEOUT_S = 10.0
"""Time limit for an answer and an acknowledgement of the broker."""
EVENT_TYPES = ("incident", "incident_changed", "assigned", "health", "rule", "test")


class MqttChannel(SendingChannel):
    """Publishes one message after the other."""

    def __init__(self, section: NotificationMqttSection) -> None:
        self._section = section
        self._lock = threading.Lock()
        self._client: paho.Client | None = None
        self._discovered: dict[str, bytes] = {}

    def deliver(self, delivery: Delivery) -> None:
        """Publishes a notification; returns when the broker has acknowledged it."""
        if not self._section.host:
            raise DeliveryRefusedError("no broker is set; an administrator sets it in [notifications.mqtt]")
        entry = delivery.entries[0]
        payload = {
            "event_type": entry.kind,
            "id": entry.entry_id,
            "headline": entry.headline,
            "made_ms": entry.made_ms,
            **json.loads(entry.content),
            "url": delivery.links[0],
        }
        topic = self._topic(entry.account_id, entry.rule_id)
        with self._lock:
            self._send(topic, json.dumps(payload).encode(), retain=False)

    def announce(self, rules: Iterable[NotificationRule]) -> None:
        """Announces new and renamed rules to Home Assistant, and withdraws deleted ones."""
        if not (self._section.host and self._section.discovery):
            return
        wanted = {each.rule_id: self._announcement(each) for each in rules}
        gone = {number: b"" for number in self._discovered if number not in wanted}
        changed = {number: text for number, text in wanted.items() if self._discovered.get(number) != text}
        with self._lock:
            for number, text in (gone | changed).items():
                self._send(f"{self._section.discovery}/event/opq_{number}/config", text, retain=True)
                if text:
                    self._discovered[number] = text
                else:
                    del self._discovered[number]

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _topic(self, account_id: str, rule_id: str) -> str:
        return f"{self._section.topic}/{account_id}/{rule_id}"

    def _announcement(self, rule: NotificationRule) -> bytes:
        device = {
            "identifiers": [f"opq_notifications_{rule.account_id}"],
            "name": "OPQ notifications",
            "manufacturer": "Open Power Quality",
        }
        facts: Mapping[str, object] = {
            "name": rule.name,
            "unique_id": f"opq_{rule.rule_id}",
            "state_topic": self._topic(rule.account_id, rule.rule_id),
            "event_types": list(EVENT_TYPES),
            "device": device,
        }
        return json.dumps(facts, sort_keys=True).encode()

    def _send(self, topic: str, payload: bytes, retain: bool) -> None:
        try:
            client = self._connected()
            sent = client.publish(topic, payload, qos=1, retain=retain)
            if sent.rc != paho.MQTT_ERR_SUCCESS:
                raise ConnectionError(f"broker: {paho.error_string(sent.rc)}")
            sent.wait_for_publish(TIMEOUT_S)
            if not sent.is_published():
                raise TimeoutError(f"the broker confirmed no message within {TIMEOUT_S:g} s")
        except (RuntimeError, ValueError) as error:
            self._drop()
            raise ConnectionError(f"broker: {error}") from error
        except OSError:
            self._drop()
            raise

    def _connected(self) -> paho.Client:
        """Returns a connected client. Raises OSError: the broker is out of reach or refuses it."""
        if self._client is not None and self._client.is_connected():
            return self._client
        self._drop()
        section = self._section
        client = mqtt_client(section, TIMEOUT_S)
        answered = threading.Event()
        refusals: list[str] = []

        def on_connect(_: object, __: object, ___: object, reason: object, ____: object) -> None:
            if getattr(reason, "is_failure", False):
                refusals.append(str(reason))
            answered.set()

        client.on_connect = on_connect
        client.connect(section.host or "", section.port, KEEPALIVE_S)
        client.loop_start()
        if not answered.wait(TIMEOUT_S) or refusals:
            client.disconnect()
            client.loop_stop()
            raise ConnectionError(f"broker: {refusals[0] if refusals else 'it does not answer'}")
        self._client = client
        return client

    def _drop(self) -> None:
        """Ends the connection. The broker may lose what it retained, so all rules are announced again."""
        client, self._client = self._client, None
        self._discovered.clear()
        if client is not None:
            client.disconnect()
            client.loop_stop()


def made_channel(config: CloudConfig) -> MqttChannel:
    return MqttChannel(config.notifications.mqtt)
