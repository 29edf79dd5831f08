"""Unix sockets of a data folder: where they are, who may use them, long paths, ends of processes."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

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
