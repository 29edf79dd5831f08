"""MQTT: measured values to a broker of the house, with Home Assistant's discovery.

An event loop in a thread of its own. The broker may be absent, slow or wrong: the feed's channel and the
board are bounded and drop what is oldest, counted; nothing else of the gateway waits for it. It is looked
for again with growing waits and jitter.
"""

import asyncio
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import aiomqtt

from opq_gateway.config import MqttSection as Section
from opq_gateway.counters import BoxCounters
from opq_gateway.measuring.feed import DisturbanceNotice, MeasuredFeed, Values
from opq_gateway.mqtt.board import OFFLINE, ONLINE, MqttMessage, MqttTopics
from opq_gateway.mqtt.discovery import Discovery
from opq_gateway.status import BoxStatus
from opq_proto import log
from opq_proto.backoff import Backoff, doubling

LOOK_S = 0.2
CHANNEL_ITEMS = 5000
KEEPALIVE_S = 30
AT_ONCE = 10
GOODBYE_S, END_S = 0.5, 1.0
"""To say that we go, and to end the connection; else the broker's will says it for us."""


class MqttPublisher:
    """Publishes until `run` is told to stop."""

    def __init__(
        self,
        section: Section,
        boxes: Mapping[str, BoxStatus],
        groups: Sequence[str],
        feed: MeasuredFeed,
        counters: BoxCounters,
        *,
        waits_s: tuple[float, float] = (1.0, 60.0),
        timeout_s: float = 10.0,
    ) -> None:
        """
        Args:
            waits_s: before the first and, at the most, before a later attempt to connect.
            timeout_s: for the broker to take a message.
        """
        self._section = section
        self._counters = counters
        self._waits = Backoff(doubling(*waits_s), steady_s=waits_s[1], jitter=0.5)
        self._timeout_s = timeout_s
        self.name = section.name or _level(socket.gethostname())
        base = f"{section.topic}/{self.name}"
        self._board = MqttTopics(base, boxes, section.every_s)
        self._discovery = Discovery(section.discovery, self.name, base, boxes, groups)
        self._channel = feed.subscribe("mqtt", (Values, DisturbanceNotice), CHANNEL_ITEMS)
        self._dropped = 0
        self._connected = False
        self._problem = ""
        self._log = log.get(service="gateway")

    def run(self, stop: threading.Event) -> None:
        """Publish until `stop`."""
        with asyncio.Runner() as runner:
            runner.get_loop().set_default_executor(_Daemons())
            runner.run(self._until(stop))

    async def _until(self, stop: threading.Event) -> None:
        publishing = asyncio.create_task(self._publish_forever())
        while not stop.is_set() and not publishing.done():
            self._gather()
            await asyncio.sleep(LOOK_S)
        publishing.cancel()
        await asyncio.wait((publishing,), timeout=END_S)
        if publishing.done() and not publishing.cancelled():
            publishing.result()  # what it threw goes to the runner, which counts it and starts anew

    def _gather(self) -> None:
        self._board.take(self._channel.take_all(), self._connected)
        dropped = self._channel.dropped + self._board.dropped
        if dropped > self._dropped:
            self._counters.add("mqtt_dropped", dropped - self._dropped)
            self._dropped = dropped

    async def _publish_forever(self) -> None:
        while True:
            began_s = time.monotonic()
            try:
                async with self._client() as client:
                    await self._session(client)
            except (aiomqtt.MqttError, OSError, ValueError) as error:
                self._lost(error)
            await asyncio.sleep(self._waits.record_failure(ran_s=time.monotonic() - began_s))

    def _client(self) -> aiomqtt.Client:
        """
        Raises:
            OSError: the password or the certificates cannot be read.
        """
        section = self._section
        password = None
        if section.password_file is not None:
            password = section.password_file.read_text(encoding="utf-8").rstrip("\r\n")
        cafile = None if section.ca_file is None else str(section.ca_file)
        return aiomqtt.Client(
            section.host or "",
            section.port,
            # The same name each time: the broker then ends what is left of an earlier connection before this
            # one begins, so that its will cannot say "offline" after we said "online".
            identifier=f"opq-gateway-{self.name}",
            username=section.user,
            password=password,
            tls_context=ssl.create_default_context(cafile=cafile) if section.tls else None,
            will=aiomqtt.Will(f"{self._board.base}/status", OFFLINE, qos=1, retain=True),
            keepalive=KEEPALIVE_S,
            timeout=self._timeout_s,
        )

    async def _session(self, client: aiomqtt.Client) -> None:
        """From one connection to its end."""
        self._connected = True
        self._problem = ""
        self._counters.add("mqtt_connected")
        self._log.info("mqtt.connected", host=self._section.host, port=self._section.port)
        self._board.again()
        self._discovery.again()
        listening = asyncio.create_task(self._listen(client))
        publishing = asyncio.create_task(self._publish(client))
        try:
            done, _ = await asyncio.wait((listening, publishing), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # raises what ended it
        except asyncio.CancelledError:
            publishing.cancel()
            await self._goodbye(client)
            raise
        finally:
            self._connected = False
            for task in (listening, publishing):
                task.cancel()
            await asyncio.gather(listening, publishing, return_exceptions=True)

    async def _publish(self, client: aiomqtt.Client) -> None:
        await client.publish(f"{self._board.base}/status", ONLINE, qos=1, retain=True)
        while True:
            await self._send(client, self._discovery.due())
            await self._send(client, self._board.due(time.monotonic()))
            await asyncio.sleep(LOOK_S)

    async def _send(self, client: aiomqtt.Client, messages: Sequence[MqttMessage]) -> None:
        """In order, several on their way at once: a far broker answers each only a round trip later."""
        for at in range(0, len(messages), AT_ONCE):
            batch = messages[at : at + AT_ONCE]
            await asyncio.gather(
                *(client.publish(each.topic, each.payload, qos=each.qos, retain=True) for each in batch)
            )
            for message in batch:
                self._board.published(message, time.monotonic())
            self._counters.add("mqtt_published", len(batch))

    async def _listen(self, client: aiomqtt.Client) -> None:
        """Ends with the connection; a Home Assistant that starts is told of its devices again."""
        if self._section.discovery:
            await client.subscribe(f"{self._section.discovery}/status", qos=1)
        async for message in client.messages:
            if message.payload == ONLINE:
                self._discovery.again()

    async def _goodbye(self, client: aiomqtt.Client) -> None:
        try:
            await client.publish(f"{self._board.base}/status", OFFLINE, qos=1, retain=True, timeout=GOODBYE_S)
        except aiomqtt.MqttError as error:
            self._log.warning("mqtt.no_goodbye", reason=str(error))

    def _lost(self, error: Exception) -> None:
        """Count and, when the reason is new, tell."""
        self._counters.add("mqtt_failed")
        if str(error) != self._problem:
            self._problem = str(error)
            self._log.warning("mqtt.not_connected", host=self._section.host, reason=self._problem)


class _Daemons(ThreadPoolExecutor):
    """Threads that nobody waits for at the end: looking up a name and connecting take as long as the
    network likes, and the gateway ends within 2 s."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=work, name="mqtt connect", daemon=True).start()
        return future


def _level(name: str) -> str:
    """A host's name as one level of a topic and part of an id."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name) or "gateway"
