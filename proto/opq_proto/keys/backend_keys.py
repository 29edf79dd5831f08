"""Keys of the services themselves, and addresses that name them.

A service connects with the key of a name (`private_keys/opqpeer_<NAME>_secret`) to the peer that has the
server's key (`public_keys/opqserver.key`), which admits it where it has `public_keys/opqpeer_<NAME>.key`. The
address names folder and key, `tcp://127.0.0.1:9881?curve=/etc/opq/backend&name=cloud`, so that every place
that takes an address can use keys: a service, a plug-in's settings, a command's option. Without `?curve=` the
connection is in clear.

Every address that is bound has a ZAP domain, because libzmq then refuses ZMTP 1 and 2: in ZMTP 1 the bytes of
an HTTP request are a peer's name and those of its body are messages, so that a page in a browser could send
commands. Programs of libzmq 4 speak ZMTP 3.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote

import zmq

from opq_proto.errors import ConfigError, KeyFileError
from opq_proto.keys.key_files import KeyFolder, KeyPair, read_key_file, read_secret_file
from opq_proto.kit.service_sockets import bindable, close_to_others, connectable_path
from opq_proto.kit.zmq_addresses import bind_endpoint, connect_endpoint

DEFAULT_NAME = "cloud"
HANDSHAKE_MS = 5000
"""A connection without a finished handshake is ended after this time, also one without an admitted key; its
program tries again."""
KEYS_DOMAIN = "opq-backend"
CLEAR_DOMAIN = "opq-clear"
"""A ZAP handler in the socket's context admits everyone to it; without one libzmq does so itself."""
FOLDER = "backend"
"""Name of the key folder in the data folder."""
_NAME = r"[a-z0-9][a-z0-9-]{0,31}"


class BackendKeyFolder(KeyFolder):
    """A key folder as that of Boxes, with names in place of numbers."""

    owner = "peer"
    prefix = "opqpeer_"
    made_with = "opq-tools keys add --backend"
    another_key = "revoke its key first, or add another name"
    id_pattern = _NAME

    def checked_id(self, box_id: str) -> str:
        """Returns the name; raises KeyFileError where it is not a valid one."""
        if re.fullmatch(_NAME, box_id, re.ASCII):
            return box_id
        raise KeyFileError(
            f"the name is {box_id!r}; want up to 32 small letters, digits and dashes, such as {DEFAULT_NAME}"
        )


@dataclass(frozen=True, slots=True)
class BackendAddress:
    """Where to bind or connect, and with which keys; in clear where `folder` is None."""

    endpoint: str
    folder: Path | None = None
    name: str = DEFAULT_NAME

    @property
    def keys(self) -> BackendKeyFolder | None:
        return None if self.folder is None else BackendKeyFolder(self.folder)

    def __str__(self) -> str:
        if self.folder is None:
            return self.endpoint
        return f"{self.endpoint}?curve={quote(str(self.folder))}&name={self.name}"

    def client_keys(self) -> tuple[bytes, KeyPair]:
        """Returns the server's public key, and the pair to connect with.

        Raises:
            KeyFileError: one of both is missing, or not a key.
        """
        keys = self.keys
        if keys is None:
            raise KeyFileError(f"{self.endpoint} is in clear, and has no keys")
        return _read(keys.server_public).public, _read(keys.box_secret(self.name), True)

    def server_keys(self) -> KeyPair:
        """Returns the server's pair; raises KeyFileError."""
        keys = self.keys
        if keys is None:
            raise KeyFileError(f"{self.endpoint} is in clear, and has no keys")
        return _read(keys.server_secret, True)

    def bind(self, socket: "zmq.Socket[bytes]") -> None:
        """Binds. With keys, a ZAP handler in the socket's context has to admit its clients.

        Raises:
            KeyFileError: as in `server_keys`.
            zmq.ZMQError: the endpoint is not a valid address, or is in use.
            OSError: the same of a Unix socket.
        """
        if socket.getsockopt(zmq.MECHANISM) == zmq.NULL:  # that of Boxes has its keys already
            if self.folder is not None:
                self.server_keys().serve(socket, KEYS_DOMAIN)
            else:
                socket.setsockopt_string(zmq.ZAP_DOMAIN, CLEAR_DOMAIN)
        socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        bind_endpoint(socket, bindable(self.endpoint))
        close_to_others(self.endpoint)

    def connect(self, socket: "zmq.Socket[bytes]") -> None:
        """Connects, with keys where the address has some.

        Raises:
            KeyFileError: as in `client_keys`.
            zmq.ZMQError: the endpoint is not a valid address.
        """
        if self.folder is not None:
            server, own = self.client_keys()
            own.secure(socket, server)
        connect_endpoint(socket, connectable_path(self.endpoint))


def _read(path: Path, secret: bool = False) -> KeyPair:
    """Reads a back-end key; the KeyFileError of a missing one names the command that makes it."""
    if not path.exists():
        raise KeyFileError(
            f"key file {path} is missing; make it with opq-tools keys add --backend, or bring it from "
            "the machine where it was made"
        )
    return read_secret_file(path) if secret else read_key_file(path)


def backend_address(text: str) -> BackendAddress:
    """Reads an address with or without keys.

    Raises:
        ConfigError: what follows the `?` is not a folder of keys and a valid name.
    """
    endpoint, mark, query = text.partition("?")
    if not mark:
        return BackendAddress(text)
    found = dict(parse_qsl(query, keep_blank_values=True))
    folder, name = found.pop("curve", ""), found.pop("name", DEFAULT_NAME)
    if not folder or found or not re.fullmatch(_NAME, name, re.ASCII):
        raise ConfigError(
            f"{text!r} is not an address; want tcp://HOST:PORT?curve=FOLDER&name={DEFAULT_NAME}"
        )
    return BackendAddress(endpoint, Path(folder), name)
