"""Unix sockets of a data folder: where they are, who may use them, ends of processes; what a port refuses."""

import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from waiting import wait_for

from opq_proto.keys.backend_keys import BackendAddress
from opq_proto.kit import ports
from opq_proto.kit.service_sockets import LONGEST_PATH, SCHEME, SOCKETS, in_data_dir, local_endpoint

Context = zmq.Context["zmq.Socket[bytes]"]


@pytest.fixture
def context() -> Iterator[Context]:
    made: Context = zmq.Context()
    yield made
    made.destroy(linger=0)


def test_names_are_places_in_the_data_folder() -> None:
    assert in_data_dir("ipc://commands", Path("/d")) == "ipc:///d/sockets/commands"
    for other in ("ipc:///run/commands", "ipc://@commands", "ipc://unknown", "tcp://*:9884"):
        assert in_data_dir(other, Path("/d")) == other
    assert set(SOCKETS.values()) < set(ports.PORTS)


@pytest.mark.parametrize("deeper", ["D", "D" + "/long" * 30], ids=["short", "long"])
def test_a_message_passes_by_any_path(tmp_path: Path, context: Context, deeper: str) -> None:
    """A socket's path has at most 107 bytes; a data folder may be deeper."""
    address = BackendAddress(in_data_dir("ipc://commands", tmp_path / deeper))
    assert (len(address.endpoint) - len(SCHEME) > LONGEST_PATH) == (deeper != "D")
    pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    address.bind(pull)
    address.connect(push)
    push.send(b"news")
    assert pull.poll(240_000) and pull.recv() == b"news"


def test_a_socket_is_for_its_user_alone(tmp_path: Path, context: Context) -> None:
    """Another user could otherwise command the Boxes."""
    address = BackendAddress(in_data_dir("ipc://commands", tmp_path / "D"))
    address.bind(context.socket(zmq.PULL))
    path = tmp_path / "D" / "sockets"
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((path / "commands").stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", [zmq.PULL, zmq.SUB], ids=["PULL", "SUB"])
def test_a_pages_request_is_no_message(context: Context, kind: int) -> None:
    """At a port, its first bytes would be the name of a peer of ZMTP 1, and the others frames."""
    own, honest = context.socket(kind), context.socket(zmq.PUSH if kind == zmq.PULL else zmq.PUB)
    if kind == zmq.SUB:
        own.subscribe(b"")
    BackendAddress("tcp://127.0.0.1:*").bind(own)
    endpoint = own.getsockopt_string(zmq.LAST_ENDPOINT)
    place = ("127.0.0.1", int(endpoint.rpartition(":")[2]))
    with socket.create_connection(place) as page:
        page.sendall(b"POST / HTTP/1.1\r\n".ljust(1 + ord("P")) + b"\x06\x00order")
        page.settimeout(0.02)

        def is_ended() -> bool:
            try:
                return page.recv(100) == b""
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        wait_for(lambda: is_ended() or own.poll(0), 240.0)
    assert not own.poll(0)
    honest.connect(endpoint)
    wait_for(lambda: honest.send(b"news") or own.poll(20), 240.0)
    assert own.recv() == b"news"


def test_a_second_bind_does_not_replace_the_first(tmp_path: Path, context: Context) -> None:
    """libzmq would remove the file of the first and bind another."""
    address = BackendAddress(in_data_dir("ipc://commands", tmp_path))
    first, second, push = (context.socket(kind) for kind in (zmq.PULL, zmq.PULL, zmq.PUSH))
    address.bind(first)
    with pytest.raises(OSError, match="in use"):
        address.bind(second)
    address.connect(push)
    push.send(b"news")
    assert first.poll(240_000)


def test_a_file_without_a_process_is_no_service(tmp_path: Path, context: Context) -> None:
    """The file stays when a process ends; the address is then the port, and can be bound again."""
    assert local_endpoint("commands", tmp_path, 100) == "tcp://127.0.0.1:9984"
    address = BackendAddress(in_data_dir("ipc://commands", tmp_path))
    first: Context = zmq.Context()
    bound = first.socket(zmq.PULL)  # held: one that is collected is closed
    address.bind(bound)
    assert local_endpoint("commands", tmp_path, 100) == address.endpoint
    first.destroy(linger=0)
    assert (tmp_path / "sockets" / "commands").exists()
    assert local_endpoint("commands", tmp_path, 100) == "tcp://127.0.0.1:9984"
    address.bind(context.socket(zmq.PULL))
