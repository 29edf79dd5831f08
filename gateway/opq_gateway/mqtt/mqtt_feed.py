"""MQTT: measured values to a broker of the house, with Home Assistant's discovery.

It runs in its own thread, in addition to paho's. The broker may be absent, slow or wrong. The feed's channel
and the topics are bounded, and drop and count the oldest. The rest of the gateway does not wait for it. Waits
between attempts to connect grow, with jitter.
"""

import math
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from opq_gateway.config import MqttSection as Section
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measured_shares import MeasuredShares
from opq_gateway.measuring.feed import DisturbanceNotice, MeasuredFeed, Values
from opq_gateway.mqtt.board import OFFLINE, ONLINE, MqttMessage, MqttTopics, place
from opq_gateway.mqtt.discovery import Discovery
from opq_gateway.mqtt.gateway_name import gateway_name
from opq_gateway.mqtt.retained import RetainedTopics
from opq_proto.config.mqtt_login import mqtt_client
from opq_proto.kit import log
from opq_proto.kit.backoff import Backoff, doubling

POLL_S = 0.2
CHANNEL_ITEMS = 5000
KEEPALIVE_S = 30
AT_ONCE = 10
TAKEN_OVER_S = 60.0
"""A connection that ends sooner may have been taken over by a client of the same name."""
TAKEN_OVER_TIMES = 2
"""After this many such connections in a row a client of the same name is reported."""
OFFLINE_S = 0.5
"""Time for publishing `offline` at the end; otherwise the broker publishes the will."""


class ConnectionLostError(ConnectionError):
    """The broker or the network ended an open connection."""


class MqttPublisher:
    """Publishes until `run` is stopped."""

    def __init__(
        self,
        section: Section,
        boxes: Mapping[str, BoxStatus],
        groups: Sequence[str],
        feed: MeasuredFeed,
        counters: BoxCounters,
        shares: MeasuredShares,
        *,
        topics_file: Path | None = None,
        waits_s: tuple[float, float] = (1.0, 60.0),
        timeout_s: float = 10.0,
    ) -> None:
        """
        Args:
            topics_file: where published topics are noted (`retained.py`); None: nowhere.
            waits_s: wait before the first attempt to connect, and the longest before a later one. timeout_s:
            time in which the broker must confirm a message.
        """
        self._section = section
        self._counters = counters
        self._waits = Backoff(doubling(*waits_s), steady_s=waits_s[1], jitter=0.5)
        self._timeout_s = timeout_s
        self.name = section.name or gateway_name(section.topic, topics_file)
        base = f"{section.topic}/{self.name}"
        self._board = MqttTopics(base, boxes, section.every_s, shares)
        self._discovery = Discovery(section.discovery, self.name, base, boxes, groups)
        self._retained = RetainedTopics(topics_file, f"{section.host}:{section.port}")
        places = (*(place(each, True) for each in boxes), *(place(each, False) for each in groups))
        self._own = (f"{base}/status", *(f"{base}/{each}/" for each in places))
        """The status, and beginnings of all other topics that may be published."""
        self._channel = feed.subscribe("mqtt", (Values, DisturbanceNotice), CHANNEL_ITEMS)
        self._dropped = 0
        self._connected = False
        self._connected_s = -math.inf
        self._ended_early = 0
        self._problem = ""
        self._log = log.get(service="gateway")

    def run(self, stop: threading.Event) -> None:
        """Publishes until `stop`."""
        while not stop.is_set():
            began_s = time.monotonic()
            try:
                self._session(stop)
            except (OSError, ValueError) as error:
                self._lost(self._because(error))
                until_s = time.monotonic() + self._waits.record_failure(time.monotonic() - began_s)
                while not stop.is_set() and time.monotonic() < until_s:
                    self._gather()
                    stop.wait(min(POLL_S, max(0.0, until_s - time.monotonic())))

    def _gather(self) -> None:
        self._board.accept_items(self._channel.take_all(), self._connected)
        dropped = self._channel.dropped + self._board.dropped
        if dropped > self._dropped:
            self._counters.add("mqtt_dropped", dropped - self._dropped)
            self._dropped = dropped

    def _client(self) -> paho.Client:
        """
        Raises:
            OSError: the password or the certificates cannot be read.
        """
        # The name is the same each time, so that the broker ends an earlier connection before this one
        # begins. Its will cannot say "offline" after this one said "online".
        client = mqtt_client(self._section, self._timeout_s, f"opq-gateway-{self.name}")
        client.will_set(f"{self._board.base}/status", OFFLINE, qos=1, retain=True)
        return client

    def _session(self, stop: threading.Event) -> None:
        """Serves one connection from its beginning to its end. Raises OSError: it failed or was lost."""
        section = self._section
        self._connected_s = -math.inf
        broker = _Broker(self._client(), section.host or "", section.port)
        try:
            until_s = time.monotonic() + self._timeout_s
            while not broker.is_connected() and not stop.wait(0.02):
                self._gather()
                if time.monotonic() > until_s:
                    raise TimeoutError(f"the broker did not answer within {self._timeout_s:g} s")
            if stop.is_set():
                return
            self._connected, self._connected_s = True, time.monotonic()
            self._counters.add("mqtt_connected")
            self._log.info("mqtt.connected", host=section.host, port=section.port)
            self._board.repeat_all()
            self._discovery.repeat_all()
            if section.discovery:
                broker.subscribe(f"{section.discovery}/status")
            self._publish(broker, stop)
            self._publish_offline(broker)
        finally:
            self._connected = False
            broker.close()

    def _publish(self, broker: "_Broker", stop: threading.Event) -> None:
        self._send(broker, [MqttMessage(f"{self._board.base}/status", ONLINE)], stop, counted=False)
        self._delete_gone(broker, stop)
        while not stop.wait(POLL_S):
            self._gather()
            broker.is_connected()
            if broker.came_online():  # Home Assistant has started and needs its devices again
                self._discovery.repeat_all()
            self._send(broker, self._discovery.due(), stop)
            self._send(broker, self._board.due(time.monotonic()), stop)

    def _delete_gone(self, broker: "_Broker", stop: threading.Event) -> None:
        """Deletes retained messages of Boxes, groups, names and discovery that are not configured any
        more."""
        entities = self._discovery.topics()
        gone = self._retained.gone(lambda topic: topic in entities or topic.startswith(self._own))
        if not gone:
            return
        gone.sort(key=lambda topic: not topic.endswith("/config"))  # first the entities, then their values
        self._send(broker, [MqttMessage(topic, b"") for topic in gone], stop, counted=False)
        if not stop.is_set():
            self._retained.forget(gone)
            self._log.info("mqtt.retained_deleted", topics=len(gone), first=gone[0])

    def _send(
        self, broker: "_Broker", messages: Sequence[MqttMessage], stop: threading.Event, counted: bool = True
    ) -> None:
        """Sends messages in order, several at once, because a distant broker answers each after a round
        trip."""
        self._retained.note(message.topic for message in messages)
        for at in range(0, len(messages), AT_ONCE):
            batch = messages[at : at + AT_ONCE]
            sent = [broker.publish(each) for each in batch]
            until_s = time.monotonic() + self._timeout_s
            for each in sent:
                while not broker.has_taken(each):
                    self._gather()
                    if stop.is_set():
                        return
                    if time.monotonic() > until_s:
                        raise TimeoutError(f"the broker confirmed no message within {self._timeout_s:g} s")
            if counted:
                for message in batch:
                    self._board.published(message, time.monotonic())
                self._counters.add("mqtt_published", len(batch))

    def _publish_offline(self, broker: "_Broker") -> None:
        try:
            broker.has_taken(broker.publish(MqttMessage(f"{self._board.base}/status", OFFLINE)), OFFLINE_S)
        except OSError as error:
            self._log.warning("mqtt.no_goodbye", reason=str(error))

    def _because(self, error: Exception) -> str:
        """The reason of a failure; a broker does not report that another client took the connection over."""
        early = isinstance(error, ConnectionLostError) and time.monotonic() - self._connected_s < TAKEN_OVER_S
        self._ended_early = self._ended_early + 1 if early else 0
        if not early:
            self._problem = self._problem if self._connected_s == -math.inf else ""
        if self._ended_early < TAKEN_OVER_TIMES:
            return str(error)
        return (
            f"{error}; it looks as if another client has the name opq-gateway-{self.name}: give this gateway "
            "its own name, [mqtt] name"
        )

    def _lost(self, reason: str) -> None:
        """Counts a failure, and logs it when the reason is new."""
        self._counters.add("mqtt_failed")
        if reason != self._problem:
            self._problem = reason
            self._log.warning("mqtt.not_connected", host=self._section.host, reason=self._problem)


class _Broker:
    """One connection, made by a separate thread, because name look-up and connecting may take long and the
    gateway must end within 2 s."""

    def __init__(self, client: paho.Client, host: str, port: int) -> None:
        self._client = client
        self._connected = threading.Event()
        self._problem: Exception | None = None
        self._online = threading.Event()
        self._lock, self._closed = threading.Lock(), False
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message

        def connect() -> None:
            try:
                client.connect(host, port, KEEPALIVE_S)
                with self._lock:  # it may have been closed while it connected, and nothing would end its loop
                    if self._closed:
                        client.disconnect()
                    else:
                        client.loop_start()
            except (OSError, ValueError) as error:
                self._problem = error

        threading.Thread(target=connect, name="mqtt connect", daemon=True).start()

    def is_connected(self) -> bool:
        """Whether the connection is up. Raises OSError or ValueError: it failed, or was lost."""
        if self._problem is not None:
            raise self._problem
        return self._connected.is_set()

    def came_online(self) -> bool:
        """Whether an ONLINE message has come since the last call."""
        if not self._online.is_set():
            return False
        self._online.clear()
        return True

    def subscribe(self, topic: str) -> None:
        self._client.subscribe(topic, qos=1)

    def publish(self, message: MqttMessage) -> paho.MQTTMessageInfo:
        """Sends a message. Raises ConnectionError: the connection has ended."""
        sent = self._client.publish(message.topic, message.payload, message.qos, retain=True)
        if sent.rc != paho.MQTT_ERR_SUCCESS:
            raise ConnectionError(paho.error_string(sent.rc))
        return sent

    def has_taken(self, sent: paho.MQTTMessageInfo, wait_s: float = 0.05) -> bool:
        """Waits up to `wait_s` until the broker confirms a message. Raises OSError: the connection was
        lost."""
        try:
            sent.wait_for_publish(wait_s)
        except RuntimeError as error:
            raise ConnectionError(str(error)) from error
        return sent.is_published() or not self.is_connected()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._client.disconnect()

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        if message.payload == ONLINE:
            self._online.set()

    def _on_connect(
        self,
        client: paho.Client,
        data: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._problem = ConnectionError(str(reason))
        else:
            self._connected.set()

    def _on_disconnect(
        self,
        client: paho.Client,
        data: object,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._problem = self._problem or ConnectionLostError(f"the connection was lost: {reason}")
