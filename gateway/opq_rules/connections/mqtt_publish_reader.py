"""PublishReader: paho's client, whose PUBLISH packets are read many at a time.

paho keeps the connection: CONNECT, TLS, SUBSCRIBE, keep-alive, QoS 2. For a PUBLISH of QoS 0 or 1 it reads
byte by byte, makes an object and calls back, which costs more than all the rest of a message's way. Here what
the socket has is read at once. Complete PUBLISH packets at its head are taken out and handed on as one batch,
with one write for all their acknowledgements; every other byte goes to paho, which sees no difference.

What is not MQTT ends the connection, which paho then makes again, because paho's thread would end instead.

Of paho's own names it uses `_sock_recv`, `_packet_queue` and `_loop_rc_handle`.
Source: MQTT 3.1.1 and 5.0, 2.1 to 2.2 and 3.3.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode

from opq_proto.kit import log
from opq_proto.kit.rate_limit import RateLimitedLog

READ_BYTES = 1 << 16
_PUBLISH = 0x30
"""First byte of a packet, without flags (MQTT 3.1.1, 2.2.1)."""
_PUBACK = 0x40

_NOT_MQTT = (ConnectionError, ValueError, IndexError, struct.error)
"""What paho or this file raises for bytes that are not MQTT; paho 2.2 handles its own."""

Published = Callable[[Sequence[str], Sequence[bytes], Sequence[int]], None]
"""Called with the topics, payloads and packet ids (QoS 0: 0) of messages in order, on paho's thread. What it
raises is logged; the messages count as taken."""


class PublishReader(paho.Client):
    def __init__(self, published: Published, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._published = published
        self._lines = RateLimitedLog(log.get(service="rules"))
        self._rest = b""
        self._of_paho = 0
        """Bytes at the head of `_rest`, or not yet received, that belong to a packet for paho."""
        self._has_properties = named.get("protocol") == paho.MQTTv5
        self.on_message = lambda _, __, message: self._hand_on(
            [message.topic], [bytes(message.payload)], [message.mid]
        )

    def reconnect(self) -> MQTTErrorCode:
        self._rest, self._of_paho = b"", 0
        return super().reconnect()

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """As paho's, which is called when the socket has data; also reads what came with it."""
        try:
            return self._read_packets(max_packets)
        except _NOT_MQTT:
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_PROTOCOL)

    def _read_packets(self, max_packets: int) -> MQTTErrorCode:
        answer = super().loop_read(max_packets)
        while answer == MQTTErrorCode.MQTT_ERR_SUCCESS and self._rest:
            if not self._of_paho:
                self._take_published()
            if not self._of_paho:
                break
            answer = super().loop_read(max_packets)
        return answer

    def _sock_recv(self, bufsize: int) -> bytes:
        if not self._rest:
            self._rest = super()._sock_recv(READ_BYTES)
            if not self._rest:
                return b""
        elif not self._of_paho:  # the beginning of a packet, or of its head
            more = super()._sock_recv(READ_BYTES)
            if not more:
                return b""
            self._rest += more
        if not self._of_paho:
            self._take_published()
        if not self._of_paho:
            raise BlockingIOError
        given = self._rest[: min(bufsize, self._of_paho)]
        self._rest = self._rest[len(given) :]
        self._of_paho -= len(given)
        return given

    def _hand_on(self, topics: Sequence[str], payloads: Sequence[bytes], ids: Sequence[int]) -> None:
        try:
            self._published(topics, payloads, ids)
        except Exception as error:  # no fault of the broker: the connection stays
            self._lines.error("mqtt.messages_failed", messages=len(payloads), reason=repr(error))

    def _take_published(self) -> None:
        """Hands on the PUBLISH packets at the head; sets `_of_paho` where another packet follows them.

        Raises ConnectionError: a packet is shorter than its topic, or its length has more than four bytes.
        """
        data, at, end = self._rest, 0, len(self._rest)
        topics: list[str] = []
        payloads: list[bytes] = []
        ids: list[int] = []
        wrong: ConnectionError | None = None
        while at < end:
            try:
                head = _head(data, at, end)
                if head is None:
                    break
                body, after = head
                command = data[at]
                if command & 0xF0 != _PUBLISH or command & 0x06 > 0x02:
                    self._of_paho = after - at
                    break
                if after > end:
                    break
                topic, number, begin = _published_at(data, body, after, command)
                if self._has_properties:
                    found = _varint(data, begin, after)
                    begin = after if found is None else found[1] + found[0]
            except ConnectionError as error:  # what came before it is handed on
                wrong = error
                break
            topics.append(topic)
            ids.append(number)
            payloads.append(data[begin:after])
            at = after
        self._rest = data[at:]
        if payloads:
            self._hand_on(topics, payloads, ids)
        if acknowledged := [number for number in ids if number]:
            packet = b"".join([b"\x40\x02" + number.to_bytes(2, "big") for number in acknowledged])
            self._packet_queue(_PUBACK, packet, acknowledged[-1], 1)
        if wrong is not None:
            raise wrong


def _head(data: bytes, at: int, end: int) -> tuple[int, int] | None:
    """Where a packet's body begins and where the packet ends; None: its head is not there yet."""
    found = _varint(data, at + 1, end)
    return None if found is None else (found[1], found[1] + found[0])


def _published_at(data: bytes, body: int, after: int, command: int) -> tuple[str, int, int]:
    """A PUBLISH packet's topic, its id (QoS 0: 0), and where the rest begins. Raises ConnectionError."""
    begin = body + 2 + (data[body] << 8 | data[body + 1]) if after - body >= 2 else after + 1
    rest = begin + 2 if command & 0x06 else begin
    if rest > after:
        raise ConnectionError("a PUBLISH packet is shorter than its topic and its id")
    number = data[begin] << 8 | data[begin + 1] if command & 0x06 else 0
    return data[body + 2 : begin].decode("utf-8", "replace"), number, rest


def _varint(data: bytes, at: int, end: int) -> tuple[int, int] | None:
    """A variable byte integer and the place after it. Raises ConnectionError: it has more than four bytes."""
    value = 0
    for k in range(4):
        if at + k >= end:
            return None
        byte = data[at + k]
        value |= (byte & 0x7F) << (7 * k)
        if byte < 0x80:
            return value, at + k + 1
    raise ConnectionError("a packet's length has more than four bytes")
