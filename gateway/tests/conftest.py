"""What the gateway's tests share: keys in a folder, and a plain pyzmq peer that plays Makai."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq
import zmq.auth.thread
from free_ports import free_port
from patient_ends import end_patiently

from opq_proto.keys.key_files import KeyFolder, read_secret_file
from opq_proto.measurement.wire import measurement_from_wire
from opq_proto.messages import Measurement


class Makai:
    """Brokers of three sockets, CURVE server, as an original's: no list of keys unless given.

    Everything that arrives is kept by its own thread: `measurements` (topic, body), `answers`
    (frames), `arrived_ns` (UTC of each Measurement). `command` sends to a topic, once a Box subscribed to it.
    """

    def __init__(self, server_key_file: Path, admit: Callable[[bytes], bool] | None = None) -> None:
        self._server = read_secret_file(server_key_file)
        self._admit = admit or (lambda key: True)
        self.measurements: list[tuple[bytes, bytes]] = []
        self.arrived_ns: list[int] = []
        self.answers: list[list[bytes]] = []
        self.asked_keys: list[bytes] = []
        self._commands: list[tuple[list[bytes], bool]] = []
        # below the range of outgoing connections, so that no other process takes them while it is stopped
        self._ports = (free_port(), free_port(), free_port())
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def endpoints(self) -> dict[str, str]:
        names = ("trigger_endpoint", "command_endpoint", "response_endpoint")
        return {name: f"tcp://127.0.0.1:{port}" for name, port in zip(names, self._ports, strict=True)}

    def start(self) -> "Makai":
        """Bind; a second start takes the same ports again."""
        bound = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(bound,), daemon=True)
        self._thread.start()
        assert bound.wait(240)
        return self

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(240)
            assert not self._thread.is_alive()

    def command(self, topic: bytes, body: bytes, is_awaited: bool = True) -> None:
        """With `is_awaited` it goes out once a Box has subscribed to exactly this topic, else in its turn."""
        self._commands.append(([topic, body], is_awaited))

    def decoded(self) -> list[Measurement]:
        return [measurement_from_wire(body) for _, body in list(self.measurements)]

    def _run(self, bound: threading.Event) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        zap = context.socket(zmq.REP)
        zap.bind("inproc://zeromq.zap.01")
        sockets = []
        for kind, port in zip((zmq.SUB, zmq.XPUB, zmq.PULL), self._ports, strict=True):
            socket = context.socket(kind)
            socket.linger = 0
            socket.curve_server = True
            socket.curve_secretkey = self._server.secret or b""
            socket.zap_domain = b"test"
            if kind == zmq.SUB:
                socket.subscribe(b"")
            socket.bind(f"tcp://127.0.0.1:{port}")
            sockets.append(socket)
        measurements, commands, answers = sockets
        poller = zmq.Poller()
        for socket in (zap, *sockets):
            poller.register(socket, zmq.POLLIN)
        bound.set()
        topics: set[bytes] = set()
        while not self._stop.is_set():
            ready = dict(poller.poll(20))
            if zap in ready:
                self._answer_zap(zap)
            came = [(topic, body) for topic, body in _drain(measurements)]
            self.arrived_ns += [time.time_ns()] * len(came)
            self.measurements += came
            for (body,) in _drain(commands):
                (topics.add if body[:1] == b"\1" else topics.discard)(body[1:])
            self.answers += _drain(answers)
            # a Box's three connections come one after the other; before the second one a command is lost
            while self._commands and (self._commands[0][0][0] in topics or not self._commands[0][1]):
                commands.send_multipart(self._commands.pop(0)[0])
        for socket in (zap, *sockets):
            socket.close(0)
        context.term()

    def _answer_zap(self, zap: "zmq.Socket[bytes]") -> None:
        frames = zap.recv_multipart()
        key = zmq.utils.z85.encode(frames[6])
        self.asked_keys.append(key)
        code, text = (b"200", b"OK") if self._admit(key) else (b"400", b"no")
        zap.send_multipart([frames[0], frames[1], code, text, key, b""])


def _drain(socket: "zmq.Socket[bytes]") -> list[list[bytes]]:
    """All that is there: a socket may be told readable and have nothing (a message in parts)."""
    found = []
    while True:
        try:
            found.append(socket.recv_multipart(zmq.NOBLOCK))
        except zmq.Again:
            return found


@pytest.fixture(autouse=True)
def patient_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stops for two seconds leaves no thread behind."""
    end_patiently(monkeypatch.setattr)


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    """Keys of the server and of Boxes 1, 2 and 10."""
    folder = KeyFolder(tmp_path / "curve")
    folder.create(True, ["1", "2", "10"])
    return folder


@pytest.fixture
def peer(keys: KeyFolder) -> Iterator[Callable[..., Makai]]:
    """Starts peers; `admit` says which keys may enter."""
    peers: list[Makai] = []

    def start(admit: Callable[[bytes], bool] | None = None) -> Makai:
        peers.append(Makai(keys.server_secret, admit).start())
        return peers[-1]

    yield start
    for each in peers:
        each.stop()


@pytest.fixture
def makai(peer: Callable[..., Makai]) -> Makai:
    """A running peer that admits everybody."""
    return peer()
