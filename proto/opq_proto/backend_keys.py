"""Keys of the services themselves, and the addresses that are spoken to with them.

A service connects with the key of a name (`private_keys/opqpeer_<NAME>_secret`) to whoever has the server's
(`public_keys/opqserver.key`), and is admitted where `public_keys/opqpeer_<NAME>.key` lies. An address says so
itself, `tcp://127.0.0.1:9881?curve=/etc/opq/backend&name=cloud`, so that whatever takes an address can be
given such a one: a service, a plug-in's settings, a command's option. Without `?curve=` it is in clear.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote

import zmq

from opq_proto.backend_rights import BackendRights, read_rights
from opq_proto.errors import ConfigError, KeyFileError
from opq_proto.keys import KeyFolder, KeyPair, read_key_file, read_secret_file

DEFAULT_NAME = "cloud"
FOLDER = "backend"
"""Name of the key folder in the data folder."""
_NAME = r"[a-z0-9][a-z0-9-]{0,31}"


class BackendKeyFolder(KeyFolder):
    """As a key folder of Boxes, with names in place of numbers."""

    owner = "peer"
    prefix = "opqpeer_"
    made_with = "opq-tools keys backend add"
    command = "keys backend"
    id_pattern = _NAME

    def checked_id(self, box_id: str) -> str:
        """The name itself; KeyFileError when it is none."""
        if re.fullmatch(_NAME, box_id, re.ASCII):
            return box_id
        raise KeyFileError(
            f"the name is {box_id!r}; want up to 32 small letters, digits and dashes, such as {DEFAULT_NAME}"
        )

    def rights_file(self, name: str) -> Path:
        return self.public_keys / f"{self.prefix}{self.checked_id(name)}.rights"

    def rights(self, name: str) -> BackendRights | None:
        """What the name's key may do; None: everything.

        Raises:
            KeyFileError: its file cannot be read, or says something else.
        """
        path = self.rights_file(name)
        try:
            return read_rights(path.read_text())
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise KeyFileError(f"{path} cannot be read: {error}") from error
        except KeyFileError as error:
            raise KeyFileError(f"{path}: {error}") from error


@dataclass(frozen=True, slots=True)
class BackendAddress:
    """Where to bind or connect, and with which keys; `folder` None: in clear."""

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
        """The server's public key, and the pair to connect with.

        Raises:
            KeyFileError: one of both is not there, or no key.
        """
        keys = self.keys
        if keys is None:
            raise KeyFileError(f"{self.endpoint} is in clear, and has no keys")
        return _read(keys.server_public).public, _read(keys.box_secret(self.name), True)

    def server_keys(self) -> KeyPair:
        """The server's pair; raises KeyFileError."""
        keys = self.keys
        if keys is None:
            raise KeyFileError(f"{self.endpoint} is in clear, and has no keys")
        return _read(keys.server_secret, True)

    def connect(self, socket: "zmq.Socket[bytes]") -> None:
        """Connect, with the keys where the address has some.

        Raises:
            KeyFileError: as `client_keys`.
            zmq.ZMQError: it is no address.
        """
        if self.folder is not None:
            self.use_keys(socket, *self.client_keys())
        socket.connect(self.endpoint)

    def use_keys(self, socket: "zmq.Socket[bytes]", server: bytes, own: KeyPair) -> None:
        """Have connections that `socket` makes from now on speak with these keys."""
        socket.setsockopt(zmq.CURVE_SERVERKEY, server)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, own.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, own.secret or b"")


def _read(path: Path, secret: bool = False) -> KeyPair:
    """A back-end key; KeyFileError that names the command which makes it."""
    if not path.exists():
        raise KeyFileError(
            f"key file {path} is missing; make it with opq-tools keys backend add, or bring it from "
            "the machine where it was made"
        )
    return read_secret_file(path) if secret else read_key_file(path)


def backend_address(text: str) -> BackendAddress:
    """What an address says of its keys.

    Raises:
        ConfigError: there is a `?` after it, and no folder of keys.
    """
    endpoint, mark, query = text.partition("?")
    if not mark:
        return BackendAddress(text)
    found = dict(parse_qsl(query, keep_blank_values=True))
    folder, name = found.pop("curve", ""), found.pop("name", DEFAULT_NAME)
    if not folder or found or not re.fullmatch(_NAME, name, re.ASCII):
        raise ConfigError(f"{text!r} is no address; want tcp://HOST:PORT?curve=FOLDER&name={DEFAULT_NAME}")
    return BackendAddress(endpoint, Path(folder), name)
