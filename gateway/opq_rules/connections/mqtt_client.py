"""An MQTT client that the mqtt source and sink share: login, TLS, and errors as OSErrors.

paho-mqtt reconnects by itself with a growing pause; this class only wraps its calls.
"""

import ssl
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal
from urllib.parse import urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from opq_proto.kit.port_owner import checked_before_login
from opq_rules.connections.mqtt_publish_reader import Published, PublishReader

_VERSIONS = {"3.1": paho.MQTTv31, "3.1.1": paho.MQTTv311, "5": paho.MQTTv5}
_SECURE = ("ssl", "tls", "mqtts")


@dataclass(frozen=True, slots=True)
class Login:
    """Address of a broker, with the credentials; names as in eKuiper."""

    server: str = "tcp://127.0.0.1:1883"
    username: str = ""
    password: str = ""
    clientid: str = ""
    protocolVersion: Literal["3.1", "3.1.1", "5"] = "3.1.1"
    rootCaPath: str = ""
    certificationPath: str = ""
    privateKeyPath: str = ""
    insecureSkipVerify: bool = False

    def __post_init__(self) -> None:
        try:
            address = urlsplit(_with_scheme(self.server))
            good = address.hostname and address.scheme in ("tcp", "mqtt", *_SECURE) and address.port != 0
        except ValueError:  # `tcp://[`, and ports above 65535
            good = False
        if not good:
            raise ValueError(f"server is {self.server!r}; want tcp://host:1883 or ssl://host:8883")


class Client:
    """`published` (PublishReader) and `on_link(up, why)` are called on paho's thread.

    With `subscribe` the link is up when the broker has confirmed the subscription.
    """

    def __init__(
        self,
        login: Login,
        published: Published | None = None,
        on_link: Callable[[bool, str], None] | None = None,
        subscribe: tuple[str, int] | None = None,
    ) -> None:
        address = urlsplit(_with_scheme(login.server))
        secure = address.scheme in _SECURE
        self._host, self._port = address.hostname or "", address.port or (8883 if secure else 1883)
        self._server = f"{address.scheme}://{self._host}:{self._port}"  # for errors, without a password
        self._client: paho.Client = (paho.Client if published is None else partial(PublishReader, published))(
            CallbackAPIVersion.VERSION2,
            client_id=login.clientid or f"opq-{uuid.uuid4().hex[:16]}",
            protocol=_VERSIONS[login.protocolVersion],
        )
        if login.username:
            self._client.username_pw_set(login.username, login.password or None)
        if secure:
            self._client.tls_set(
                login.rootCaPath or None,
                login.certificationPath or None,
                login.privateKeyPath or None,
                cert_reqs=ssl.CERT_NONE if login.insecureSkipVerify else ssl.CERT_REQUIRED,
            )
            self._client.tls_insecure_set(login.insecureSkipVerify)
        if login.username and (login.insecureSkipVerify or not secure):
            self._client.on_socket_open = checked_before_login(self._host, self._port)
        self._client.reconnect_delay_set(1, 30)
        self._client.max_queued_messages_set(1)  # the pipeline stores what cannot be sent; paho should not
        self._on_link, self._subscribe = on_link or (lambda up, why: None), subscribe
        self._answered, self._refusal = threading.Event(), ""
        self._client.on_connect = self._connected
        self._client.on_subscribe = self._subscribed
        self._client.on_connect_fail = lambda *_: self._on_link(False, f"{login.server} cannot be reached")
        self._client.on_disconnect = lambda *facts: self._refused(str(facts[3]))

    def start(self, timeout_s: float) -> None:
        """Connects. Raises ConnectionError if the broker cannot be reached or refuses the login."""
        self._client.connect_timeout = timeout_s
        try:
            self._client.connect(self._host, self._port, keepalive=30)
        except OSError as error:
            raise ConnectionError(f"{self._server}: {error.strerror or error}") from error
        self._client.loop_start()
        if not self._answered.wait(timeout_s):
            self._refusal = f"it did not answer within {timeout_s:g} s"
        if why := self._refusal:  # before `stop`, which also counts as a disconnection
            self.stop()
            raise ConnectionError(f"{self._server}: {why}")

    def start_later(self) -> None:
        """Connects in the background, and tries again until it succeeds."""
        self._client.connect_async(self._host, self._port, keepalive=30)
        self._client.loop_start()

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool, timeout_s: float) -> None:
        """Raises ConnectionError or TimeoutError if the message may have to be sent again."""
        if not self._client.is_connected():
            raise ConnectionError(f"no connection to {self._server}")
        sent = self._client.publish(topic, payload, qos, retain)
        if sent.rc == paho.MQTT_ERR_QUEUE_SIZE:
            raise ConnectionError(f"{self._server} has not confirmed the previous message")
        if sent.rc not in (paho.MQTT_ERR_SUCCESS, paho.MQTT_ERR_NO_CONN):
            raise ConnectionError(f"{self._server}: {paho.error_string(sent.rc)}")
        try:
            sent.wait_for_publish(timeout_s)
        except (RuntimeError, ValueError) as error:
            raise ConnectionError(str(error)) from error
        if not sent.is_published():
            raise TimeoutError(f"{self._server} did not confirm within {timeout_s:g} s")

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._refused(str(reason))
            return
        self._answered.set()
        if self._subscribe is None:
            self._on_link(True, "")
        else:
            client.subscribe(*self._subscribe)

    def _subscribed(self, client: Any, data: Any, number: Any, reasons: Any, properties: Any) -> None:
        """Only now what others publish comes here."""
        refused = next((str(each) for each in reasons if each.is_failure), "")
        why = f"{self._server} refuses the subscription: {refused}" if refused else ""
        self._on_link(not refused, why)

    def _refused(self, why: str) -> None:
        if not self._answered.is_set():
            self._refusal = why
            self._answered.set()
        self._on_link(False, why)


def _with_scheme(server: str) -> str:
    return server if "//" in server else f"tcp://{server}"
