"""Admission to the CURVE sockets of one service: ZAP, the allow-list, and who is connected.

One REP loop on `inproc://zeromq.zap.01` in the service's own thread and context: a handshake
costs it 0.02 ms (limits.md, 1). A stranger is answered 300, not 400: libzmq gives up for good
after 400, and a Box whose key comes a minute later must get in without a restart. Its
connection is left hanging (no storm of retries) and ended when a key is admitted.
Source: ZeroMQ RFC 27 (ZAP 1.0).
"""

import zmq
from zmq.utils import z85

from opq_cloud.makai.allow_list import AllowList
from opq_cloud.makai.peers import Peers, answered, sent_marks
from opq_cloud.once_per import OncePer
from opq_cloud.service import Counters
from opq_cloud.sockets import ZAP_DOMAIN, Context, Socket, bind, curve_server, open_socket
from opq_proto.errors import OpqError
from opq_proto.keys import KeyFolder, read_secret_file
from opq_proto.log import Log

ZAP_ENDPOINT = "inproc://zeromq.zap.01"
CREDENTIALS_AT = 6  # version, request id, domain, address, identity, mechanism, then the key


class Doorkeeper:
    """Admits Boxes to the sockets it opened; used by one thread, between poll and poll."""

    def __init__(self, context: Context, folder: KeyFolder, counters: Counters, log: Log) -> None:
        self.peers: list[Peers] = []
        self._context = context
        self._pair = read_secret_file(folder.server_secret)
        self._counters = counters
        self._log = log
        self._lines = OncePer(10.0)
        self._sockets: list[Socket] = []
        self._failed = 0
        self._zap = open_socket(context, zmq.REP)
        self._zap.bind(ZAP_ENDPOINT)
        self._allowed = AllowList(folder, counters, log)
        self._allowed.start()

    def open(self, kind: int, endpoint: str, service: str, key: str, **options: int) -> tuple[Socket, Peers]:
        """A bound CURVE socket that only admitted Boxes get through, and its peers."""
        socket = open_socket(self._context, kind, **options)
        self._sockets.append(socket)
        curve_server(socket, self._pair)
        peers = Peers(self._context, socket, key)
        self.peers.append(peers)
        bind(socket, endpoint, service, key)
        return socket, peers

    def register(self, poller: zmq.Poller) -> None:
        poller.register(self._zap, zmq.POLLIN)
        for peers in self.peers:
            poller.register(peers.monitor, zmq.POLLIN)

    def close(self) -> None:
        self._allowed.close()
        for peers in self.peers:
            peers.close()
        for socket in self._sockets:
            socket.close()
        self._zap.close()

    def tend(self) -> None:
        """Answer handshakes, note who came and went, follow the key folder."""
        for peers in self.peers:
            peers.drain()
        self._handshakes()
        change = self._allowed.changes()
        if change is not None:
            for key, box_id in change.revoked.items():
                ended = sum(peers.cut(key) for peers in self.peers)
                self._counters.add("revoked")
                self._log.info("peer.revoked", public_key=key, box_id=box_id, connections_ended=ended)
            for key, box_id in change.admitted.items():
                self._log.info("peer.admitted", public_key=key, box_id=box_id)
            if change.admitted:
                for peers in self.peers:
                    peers.nudge_refused()
        self._counters.set("connections_now", sum(map(len, self.peers)))
        failed = sum(peers.failed for peers in self.peers)
        if failed > self._failed:
            self._counters.add("handshakes_failed", failed - self._failed)
            self._failed = failed
            if self._lines.take("handshake"):
                self._log.warning(
                    "peer.handshake_failed", reason="ended without a CURVE handshake", total=failed
                )
        if not self._allowed.alive:
            raise OpqError("the watcher of the key folder has ended; nobody could be revoked")

    def sender(self, frame: zmq.Frame, peers: Peers) -> str | None:
        """The Box whose key sent this frame; None when that key is not admitted any more (counted)."""
        try:
            key = str(frame.get("User-Id"))
        except zmq.ZMQError:
            key = ""
        if peers.unknown:
            self._learn(frame, peers, key)
        box_id = self._allowed.boxes.get(key)
        if box_id is None:
            self._learn(frame, peers, key)
            peers.cut(key)
            self.refuse(key, "key is not admitted any more")
        return box_id

    def refuse(self, key: str, reason: str) -> None:
        """Count by key; a line at most every 10 s per key, with the number since the last one."""
        self._counters.add("refused", label=key)
        count = self._lines.take((key, reason))
        if count:
            self._log.warning("peer.refused", public_key=key, reason=reason, count=count)

    def _learn(self, frame: zmq.Frame, peers: Peers, key: str) -> None:
        try:
            if peers.learn(int(frame.get(zmq.SRCFD)), key):
                self._twice(key)
        except (zmq.ZMQError, ValueError, TypeError):
            self._counters.add("peers_without_descriptor")

    def _twice(self, key: str) -> None:
        """Two connections with one key: two gateways, or the old one of a Box whose line was cut."""
        self._counters.add("connected_twice", label=self._allowed.boxes.get(key, key))
        if count := self._lines.take((key, "twice")):
            self._log.warning(
                "peer.connected_twice", box_id=self._allowed.boxes.get(key), public_key=key, count=count
            )

    def _handshakes(self) -> None:
        while True:
            try:
                request = self._zap.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._counters.add("handshakes")
            key, box_id, reason = self._verdict(request)
            for peers in self.peers:
                peers.drain()
            candidates = [(peers, number) for peers in self.peers for number in peers.asking()]
            marks = sent_marks(candidates) if len(candidates) > 1 else []
            request_id = request[1] if len(request) > 1 else b""
            if box_id is None:
                self._zap.send_multipart([b"1.0", request_id, b"300", reason.encode(), b"", b""])
                self.refuse(key, reason)
            else:
                self._zap.send_multipart([b"1.0", request_id, b"200", b"OK", key.encode(), b""])
            found = candidates[0] if len(candidates) == 1 else None
            if len(candidates) > 1 and box_id is not None:
                found = answered(candidates, marks)
            if found is not None and found[0].settle(found[1], key if box_id is not None else None):
                self._twice(key)

    def _verdict(self, request: list[bytes]) -> tuple[str, str | None, str]:
        """The key in Z85, the Box it admits, or None and why not."""
        if len(request) <= CREDENTIALS_AT or request[5] != b"CURVE" or len(request[6]) != 32:
            return "", None, "no CURVE key"
        key = z85.encode(request[CREDENTIALS_AT]).decode("ascii")
        if request[2] != ZAP_DOMAIN.encode():
            return key, None, "wrong domain"
        box_id = self._allowed.boxes.get(key)
        return key, box_id, "" if box_id else "key is not in public_keys"
