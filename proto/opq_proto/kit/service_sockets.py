"""Unix sockets at which the services of one data folder meet, `D/sockets/NAME`.

A configuration that states no address has `ipc://NAME`, which is such a socket. Its folder is open to the
user of the services alone, so that no page, no other user and no confined plug-in reaches it. Programs
elsewhere, and those of the original, get an address `tcp://…` by configuration.
"""

import errno
import os
import socket
from pathlib import Path
from types import MappingProxyType

from opq_proto.kit.ports import endpoint as tcp_endpoint

FOLDER = "sockets"
"""Name of the folder in the data folder; mode 0700."""
SCHEME = "ipc://"
SOCKETS = MappingProxyType(
    {
        "measurements": "triggering_backend",
        "commands": "command_backend",
        "answers": "response_backend",
        "events": "events",
        "event-ids": "event_ids",
        "bus-in": "mauka_in",
        "bus-out": "mauka_out",
        "plugin-manager": "plugin_manager",
    }
)
"""Name -> that of the port (`ports.py`) which the same address has over TCP."""
LONGEST_PATH = 107
"""Bytes of a path in struct sockaddr_un."""
_opened: dict[Path, int] = {}
"""Folder -> a descriptor of it, by which its sockets have short paths; kept as long as the process."""


def in_data_dir(address: str, data_dir: Path) -> str:
    """Returns where `ipc://NAME` is in a data folder; every other address unchanged."""
    name = address.removeprefix(SCHEME)
    if not address.startswith(SCHEME) or name not in SOCKETS:
        return address
    return f"{SCHEME}{(data_dir / FOLDER / name).absolute()}"


def local_endpoint(name: str, data_dir: Path, port_offset: int = 0) -> str:
    """Returns the address of a service here: its socket in the data folder, or its default port on loopback
    where no program listens at it. `name`: of SOCKETS."""
    address = in_data_dir(f"{SCHEME}{name}", data_dir)
    return address if _listens(address) else tcp_endpoint(SOCKETS[name], port_offset)


def bindable(address: str) -> str:
    """Returns what to bind for an address; makes the folder of a Unix socket.

    Raises:
        OSError: EADDRINUSE if somebody listens there already, which libzmq would replace; or the folder
            cannot be made.
    """
    path = _path(address)
    if path is None:
        return address
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _listens(address):
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    return connectable_path(address)


def close_to_others(address: str) -> None:
    """Leaves a Unix socket that was just bound to its user, whatever the umask. Raises OSError."""
    path = _path(address)
    if path is not None:
        path.chmod(0o600)


def connectable_path(address: str) -> str:
    """Returns the address, with a shorter path to the same Unix socket where its own is too long."""
    path = _path(address)
    if path is None or len(os.fsencode(path)) <= LONGEST_PATH:
        return address
    try:
        there = path.parent.stat()
    except OSError:
        return address  # libzmq reports it
    number = _opened.get(path.parent)
    if number is None or not os.path.samestat(os.fstat(number), there):
        number = _opened[path.parent] = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return f"{SCHEME}/proc/self/fd/{number}/{path.name}"


def _listens(address: str) -> bool:
    """Whether a process has bound the Unix socket; its file stays when the process ends.

    A datagram socket may not connect to it, and the kernel says so (EPROTOTYPE), so that the process sees no
    connection.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(connectable_path(address).removeprefix(SCHEME))
        except OSError as error:
            return error.errno == errno.EPROTOTYPE
    return False


def _path(address: str) -> Path | None:
    """The path of a Unix socket; None for TCP, and for names that are not files."""
    text = address.removeprefix(SCHEME)
    return Path(text) if address.startswith(SCHEME) and not text.startswith("@") else None
