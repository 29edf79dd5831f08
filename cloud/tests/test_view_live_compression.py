"""The compressed live feed of pages: what a browser reads is what an uncompressed stream says."""

import random
import re
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import demo
import pytest
from waiting import wait_for

from opq_cloud.view.live import compression as live_compression
from opq_cloud.view.live.compression import GZIP_HEAD, SharedFrames, accepts_gzip
from opq_proto.messages import Measurement, Metric, TimeSource


def test_a_text_compressed_once_fits_every_stream() -> None:
    """One text is packed once and fits into every stream at any place."""
    frames = SharedFrames()
    texts = [
        f"event: measurement\ndata: {random.Random(each).random()}\n\n".encode() * 50 for each in range(4)
    ]
    packed = [frames.of(each) for each in texts]
    assert frames.of(bytes(bytearray(texts[1]))) is packed[1]
    for order in ((0, 1, 2, 3), (3, 3, 0), (2,)):
        reader = zlib.decompressobj(16 + zlib.MAX_WBITS)
        got = reader.decompress(GZIP_HEAD) + b"".join(reader.decompress(packed[each]) for each in order)
        assert got == b"".join(texts[each] for each in order)  # each is whole as soon as it is there


def test_what_is_kept_of_texts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_compression, "KEPT_BYTES", 10_000)
    frames = SharedFrames()
    first = frames.of(b"first")
    for each in range(100):
        frames.of(random.Random(each).randbytes(1000))
    assert frames.of(b"first") == first and frames.of(b"first") is not first
    assert sum(len(text) + len(made) for text, made in frames._made.items()) == frames._bytes <= 10_000


@pytest.mark.parametrize(
    ("header", "packed"),
    [
        ("gzip, deflate, br", True),
        ("br;q=1.0, GZIP ; q=0.5", True),
        ("gzip;q=0", False),
        ("", False),
        ("identity", False),
        ("x-gzip-no", False),
    ],
)
def test_without_gzip_the_text_is_plain(header: str, packed: bool) -> None:
    """A client that does not accept gzip gets plain text."""
    assert accepts_gzip(header) is packed


def test_pages_share_their_compressed_seconds(scene: demo.Scene) -> None:
    """Pages get the same compressed seconds and read what others read."""
    wait_for(lambda: _heard(scene))
    with _stream(scene, "gzip") as first, _stream(scene, "gzip") as second, _stream(scene, "") as plain:
        wait_for(lambda: scene.view.counters.of("clients_now", "") == 3)
        for sequence in range(1, 4):
            at_ms = time.time_ns() // 1_000_000
            metrics = {"rms": Metric(119.0, 121.0, 120.0 + sequence / 8), "f": Metric(59.9, 60.1, 60.0)}
            scene.publish(*(_measured(box, at_ms, metrics, sequence) for box in ("1", "2", "3")))
            wanted = f'"rms_v": {120 + sequence / 8}'.encode()
            for each in (first, second, plain):
                wait_for(lambda each=each, wanted=wanted: each.text().count(wanted) == 2)
        assert b"content-encoding: gzip" in first.head and b"content-encoding" not in plain.head
        assert b"vary: Accept-Encoding" in plain.head
        seen = rb'"box_id": "(\d)", "timestamp_ms": (\d+)'
        rows = [re.findall(seen, each.text()) for each in (first, second, plain)]
        assert rows[0] == rows[1] == rows[2] and len(rows[0]) == 6


def _heard(scene: demo.Scene) -> bool:
    """Whether View has its connection to the feed by now; of a Box that no page shows."""
    scene.publish(_measured("9", time.time_ns() // 1_000_000, {"rms": Metric(119.0, 121.0, 120.0)}, 1))
    return scene.view.counters.total("measurements") > 0


def _measured(box: str, at_ms: int, metrics: dict[str, Metric], sequence: int) -> Measurement:
    span_ns = (at_ms - 1000) * 1_000_000, at_ms * 1_000_000
    return Measurement(box, at_ms, metrics, *span_ns, 1000, TimeSource.NTP, sequence, 1)


class _Stream:
    """A page's stream, read as far as it has come."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._data = b""
        self.head = b""

    def text(self) -> bytes:
        """Bodies of its chunks (RFC 9112, 7.1), unpacked."""
        while True:
            try:
                self._data += self._connection.recv(65_536)
            except BlockingIOError:
                break
        self.head, _, rest = self._data.partition(b"\r\n\r\n")
        body = b""
        while (parts := rest.partition(b"\r\n"))[1] and len(parts[2]) >= int(parts[0], 16) + 2:
            body += parts[2][: int(parts[0], 16)]
            rest = parts[2][int(parts[0], 16) + 2 :]
        packed = b"content-encoding: gzip" in self.head
        return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(body) if packed else body


@contextmanager
def _stream(scene: demo.Scene, encoding: str) -> Iterator[_Stream]:
    parts = urlsplit(scene.url)
    head = f"GET /live?values=1,2 HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: {encoding}\r\n\r\n"
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=240) as connection:
        connection.sendall(head.encode())
        connection.setblocking(False)
        yield _Stream(connection)
