"""CURVE key files in ZPL form, as pyzmq, libzmq and the original's tools write and read them.

The reader takes the first `public-key = "..."` and `secret-key = "..."` (white space on both sides of `=`)
and ignores the rest (docs/reference/opq-interop.md F.1). Private files have mode 0600 from their first byte
on; every file is written under another name and then renamed. Nothing here logs, and no error text contains a
key.
"""

import contextlib
import os
import re
import shlex
import stat
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.utils import z85

from opq_proto.errors import KeyFileError
from opq_proto.kit.whole_file import flush_to_disk, private_folder

_FileMark = tuple[int, int, int, int]
SURELY_PAST_NS = 2_000_000_000
"""Time stamps of files have steps of up to 2 s (FAT)."""
KEEPALIVE_IDLE_S = 60
KERNEL_BYTES = 256 * 1024
"""Limit of what the kernel keeps of a connection that is not read; Linux keeps up to 6 MB without it, and up
to twice this with it."""
MAX_FILE_BYTES = 65_536
"""A key file has about 300 bytes; a larger file than this is refused."""

_KEY = {
    name: re.compile(rb"(?:^|\s)" + name.encode() + rb'\s+=\s+"([^"\r\n]*)"', re.MULTILINE)
    for name in ("public-key", "secret-key")
}


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Z85 keys of 40 bytes each; `secret` is never printed, and None for a public key only."""

    public: bytes
    secret: bytes | None = field(default=None, repr=False)

    def secure(self, socket: "zmq.Socket[bytes]", server_key: bytes) -> None:
        """Lets a socket connect with this pair to a server that has `server_key`."""
        socket.curve_serverkey = server_key
        socket.curve_publickey = self.public
        socket.curve_secretkey = self.secret or b""

    def serve(self, socket: "zmq.Socket[bytes]", domain: str) -> None:
        """Makes a socket a CURVE server; a ZAP handler in its context has to admit its clients.

        Raises:
            KeyFileError: the pair has no secret key.
        """
        if self.secret is None:
            raise KeyFileError("the server's key pair has no secret key")
        socket.curve_server = 1
        socket.curve_publickey = self.public
        socket.curve_secretkey = self.secret
        socket.setsockopt_string(zmq.ZAP_DOMAIN, domain)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        socket.setsockopt(zmq.RCVBUF, KERNEL_BYTES)
        socket.setsockopt(zmq.TCP_KEEPALIVE, 1)  # a Box without power sends no FIN
        socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE_S)


def generate() -> KeyPair:
    """Returns a new pair."""
    public, secret = zmq.curve_keypair()
    return KeyPair(public, secret)


def read_key_file(path: Path | str) -> KeyPair:
    """Reads the keys of a ZPL file.

    Raises:
        KeyFileError: the file cannot be read, or has no valid public key; one line says what.
    """
    path = Path(path)
    try:
        # O_NONBLOCK: a FIFO under that name must not stop the reader
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise KeyFileError(f"key file {path} is not a regular file")
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise KeyFileError(f"key file {path} is missing; make it with opq-tools keygen") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise KeyFileError(f"key file {path} cannot be read: {reason}") from error
    if len(data) > MAX_FILE_BYTES:
        raise KeyFileError(f"key file {path} has more than {MAX_FILE_BYTES} bytes: this is not a key file")
    public = _find(path, data, "public-key")
    if public is None:
        raise KeyFileError(f'key file {path} has no line public-key = "..." with 40 characters of Z85')
    secret = _find(path, data, "secret-key")
    if secret is not None and zmq.curve_public(secret) != public:
        raise KeyFileError(f"key file {path}: its public-key does not belong to its secret-key")
    return KeyPair(public, secret)


def read_secret_file(path: Path | str) -> KeyPair:
    """Reads a file as `read_key_file` does; raises KeyFileError also where it has no secret key."""
    pair = read_key_file(path)
    if pair.secret is None:
        raise KeyFileError(f"key file {path} has no secret-key; want the private file of the pair")
    return pair


def read_server_key(path: Path | str) -> KeyPair:
    """Reads the copy of a cloud's public key that others have; a missing one is not made here.

    Raises:
        KeyFileError: the file is missing, too large, or not a key file.
    """
    if not os.path.lexists(path):
        raise KeyFileError(missing_server_key(path))
    return read_key_file(path)


def missing_server_key(path: Path | str) -> str:
    """The error of a gateway without its cloud's public key; with a pair of its own it would not connect."""
    return (
        f"key file {path} is missing; it is the cloud's public key: copy it from curve/public_keys of the "
        "cloud's machine, where opq-tools keygen --server made it"
    )


def _find(path: Path, data: bytes, name: str) -> bytes | None:
    match = _KEY[name].search(data)
    if match is None:
        return None
    if not _is_key(match.group(1)):
        raise KeyFileError(f"key file {path}: {name} is not a key; want 40 characters of Z85")
    return match.group(1)


def _is_key(key: bytes) -> bool:
    try:
        return len(key) == 40 and len(z85.decode(key)) == 32
    except (ValueError, KeyError, struct.error):  # length, alphabet, beyond 32 bits
        return False


def checked_public_key(text: str) -> bytes:
    """Returns a typed public key as bytes; raises KeyFileError where it is not a key."""
    key = text.encode("ascii", "replace")
    if not _is_key(key):
        raise KeyFileError("it is not a key; want 40 characters of Z85")
    return key


def public_key_in(text: str) -> bytes:
    """Returns the public key in a typed or sent text: the key alone, or the text of its public file.

    Raises:
        KeyFileError: there is no key, or it is a private file, which must stay with its Box.
    """
    if _is_key(text.strip().encode("ascii", "replace")):
        return text.strip().encode("ascii")
    data = text.encode("utf-8", "replace")
    if _KEY["secret-key"].search(data) is not None:
        raise KeyFileError("this is a private key file, which stays with its Box; want the public one")
    match = _KEY["public-key"].search(data)
    if match is None or not _is_key(match.group(1)):
        raise KeyFileError("it has no public key; want 40 characters of Z85, or a public key file")
    return match.group(1)


def key_text(pair: KeyPair, box_id: str | None = None, secret: bool = False) -> bytes:
    """Returns the bytes of a ZPL file, with `secret` of the private one."""
    kind = b"Secret" if secret else b"Public"
    owner = b"the server" if box_id is None else b"Box " + box_id.encode()
    if box_id is not None and not box_id.isdigit():
        owner = b"the services named " + box_id.encode()
    lines = [
        b"# ZeroMQ CURVE %s certificate of %s, made by opq-tools" % (kind, owner),
        b"metadata",
        *([] if box_id is None else [b"    id = " + box_id.encode()]),
        b"curve",
        b'    public-key = "' + pair.public + b'"',
    ]
    if secret:
        if pair.secret is None:
            raise KeyFileError("no secret key to write")
        lines.append(b'    secret-key = "' + pair.secret + b'"')
    return b"\n".join(lines) + b"\n"


def write_secret(path: Path, pair: KeyPair, box_id: str | None = None, replace: bool = True) -> bool:
    """Writes the private file, mode 0600, whole or not at all.

    With `replace=False` an existing file stays unchanged and the result is False.
    """
    return _write(Path(path), key_text(pair, box_id, secret=True), 0o600, replace)


def write_public(path: Path, pair: KeyPair, box_id: str | None = None, replace: bool = True) -> bool:
    """Writes the public file, mode 0644; otherwise like `write_secret`."""
    return _write(Path(path), key_text(pair, box_id), 0o644, replace)


def _write(path: Path, data: bytes, mode: int, replace: bool) -> bool:
    beside = path.with_name(f".{path.name}.{os.urandom(6).hex()}.part")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            if replace:
                beside.replace(path)
            else:
                path.hardlink_to(beside)  # unlike a rename it refuses an existing file
        finally:
            beside.unlink(missing_ok=True)
        flush_to_disk(path.parent)
    except FileExistsError:
        return False
    except OSError as error:
        raise KeyFileError(f"key file {path} cannot be written: {error.strerror or error}") from error
    return True


class KeyFolder:
    """The tree of key files under `root` (docs/reference/contracts.md, Keys): `D/curve` with its two
    folders."""

    owner = "Box"
    """The owner of a key, other than the server, in error texts."""
    prefix = "opqbox"
    made_with = "opq-tools keygen"
    another_key = "exchange its key with keys rotate {}"
    """What to do where an owner is to have another key."""
    shared_keys = False
    """Whether one key may be that of several Boxes, as some original Boxes have it."""
    id_pattern = r"\d+"
    """Pattern of an id in the name of a file, before `checked_id` checks it."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self._first_key = re.compile(rf"{self.prefix}({self.id_pattern})\.key", re.ASCII)
        self._incoming_key = re.compile(rf"{self.prefix}({self.id_pattern})\.next\.key", re.ASCII)
        self._parsed: dict[str, tuple[_FileMark, bytes]] = {}

    @property
    def private_keys(self) -> Path:
        return self.root / "private_keys"

    @property
    def public_keys(self) -> Path:
        return self.root / "public_keys"

    @property
    def server_secret(self) -> Path:
        return self.private_keys / "opqserver_secret"

    @property
    def server_public(self) -> Path:
        return self.public_keys / "opqserver.key"

    @property
    def administrator_secret(self) -> Path:
        """The private file of the administrator's pair (`keys.administrator`)."""
        return self.private_keys / "opqadministrator.pem"

    @property
    def administrator_public(self) -> Path:
        """The public file of the administrator's pair; a gateway has it beside the server's."""
        return self.public_keys / "opqadministrator.pub"

    def checked_id(self, box_id: str) -> str:
        """Returns the id; raises KeyFileError where it is not a valid one."""
        return checked_box_id(box_id)

    def box_secret(self, box_id: str) -> Path:
        return self.private_keys / f"{self.prefix}{self.checked_id(box_id)}_secret"

    def box_public(self, box_id: str) -> Path:
        return self.public_keys / f"{self.prefix}{self.checked_id(box_id)}.key"

    @property
    def revoked_keys(self) -> Path:
        return self.public_keys.parent / "revoked_keys"

    def box_incoming(self, box_id: str) -> Path:
        """Path of the Box's second key, admitted with its first until it is used (`KeyRegister.rotate`)."""
        return self.public_keys / f"{self.prefix}{self.checked_id(box_id)}.next.key"

    def box_revoked(self, box_id: str) -> Path:
        return self.revoked_keys / f"{self.prefix}{self.checked_id(box_id)}.key"

    def box_deleted(self, box_id: str) -> Path:
        """Path of the mark of a deleted Box: `ensure` makes no key of it, and `KeyRegister.add` ends it."""
        return self.revoked_keys / f"{self.prefix}{self.checked_id(box_id)}.deleted"

    def is_deleted(self, box_id: str) -> bool:
        """Whether a Box was deleted, and no command has added it since."""
        return self.box_deleted(box_id).exists() and not os.path.lexists(self.box_public(box_id))

    def create(self, server: bool, box_ids: Iterable[str], force: bool = False) -> list[Path]:
        """Makes new pairs, for the server and for each Box; returns the files written.

        Raises:
            KeyFileError: one of these files exists already and `force` is not set (the text names all,
                nothing is changed); a box id is not a whole number; a file cannot be written.
        """
        wanted = self._wanted(server, box_ids)
        there = [path for secret, public, _ in wanted for path in (secret, public) if os.path.lexists(path)]
        if there and not force:
            names = ", ".join(str(path) for path in there)
            raise KeyFileError(
                f"key files exist already, nothing was changed: {names}; use --force to replace"
            )
        self.make_folders()
        written = [path for entry in wanted for path in self._make_pair(*entry)]
        for _, _, box_id in wanted:
            if box_id is not None:
                self.box_deleted(box_id).unlink(missing_ok=True)
        return written

    def ensure(self, box_ids: Iterable[str]) -> list[Path]:
        """Makes the missing pairs, for the server and each Box; returns the files written.

        A Box of which only the public file is missing was revoked and stays so, and so does a deleted one;
        the server's public file is made again from its private one.

        Raises:
            KeyFileError: as in `create`, or a private file is unreadable, or a public file has no private one
                (replacing it would lock that Box out).
        """
        wanted = self._wanted(True, box_ids)
        self.make_folders()
        written: list[Path] = []
        for secret, public, box_id in wanted:
            if box_id is not None and self.is_deleted(box_id):
                continue
            if os.path.lexists(public) and not os.path.lexists(secret):
                which = "--server" if box_id is None else f"--boxes {box_id}"
                raise KeyFileError(
                    f"key file {secret} is missing but {public} is there; restore it, or make a new pair: "
                    f"opq-tools keygen --out {shlex.quote(str(self.root))} {which} --force"
                )
            made = not os.path.lexists(secret) and write_secret(secret, generate(), box_id, replace=False)
            if made:
                written.append(secret)
            pair = read_secret_file(secret)  # two processes may do this at once: the file decides
            wanted_public = (made or box_id is None) and not os.path.lexists(public)
            if wanted_public and write_public(public, pair, box_id, replace=False):
                written.append(public)
        return written

    def admitted(self) -> tuple[dict[bytes, str], list[str]]:
        """Returns public key -> box id of every `public_keys/opqbox<ID>.key`, and the problems of others.

        Raises nothing for bad files: each is one line in the second value.
        """
        owners, problems = self.owners()
        return {key: boxes[0] for key, boxes in owners.items()}, problems

    def owners(self) -> tuple[dict[bytes, tuple[str, ...]], list[str]]:
        """Returns the same as `admitted`, with all Boxes of each key: one, unless `shared_keys`."""
        return self._read_keys(lambda incoming: True)

    def incoming(self) -> dict[bytes, str]:
        """Returns those of `admitted` that are second keys, which replace a Box's first key once used."""
        return {key: boxes[0] for key, boxes in self._read_keys(bool)[0].items()}

    def box_files(self, folder: Path, incoming: bool = False) -> list[tuple[str, Path]]:
        """Returns box id (from the file's name) and path of each Box's key file; empty without the folder.

        Raises:
            OSError: `folder` is `public_keys` and cannot be read.
        """
        pattern = self._incoming_key if incoming else self._first_key
        if folder != self.public_keys and not folder.is_dir():
            return []
        matches = ((pattern.fullmatch(path.name), path) for path in sorted(folder.iterdir()))
        return [(match.group(1), path) for match, path in matches if match is not None]

    def listed_boxes(self) -> frozenset[str]:
        """Returns Boxes that have a file in `public_keys`, by the names alone; empty if it cannot be read."""
        try:
            names = os.listdir(self.public_keys)  # noqa: PTH208 - texts, as in _read_keys
        except OSError:
            return frozenset()
        found = (self._first_key.fullmatch(name) or self._incoming_key.fullmatch(name) for name in names)
        return frozenset(match.group(1) for match in found if match is not None)

    def revoked_boxes(self) -> set[str]:
        """Returns Boxes whose key was revoked, and that have no other one; empty where it cannot be read."""
        try:
            return {box_id for box_id, _ in self.box_files(self.revoked_keys)} - self.listed_boxes()
        except OSError:
            return set()

    def revoked_owners(self) -> dict[str, str]:
        """Returns public key (Z85) -> Box, of the keys that were revoked."""
        found: dict[str, str] = {}
        with contextlib.suppress(OSError):
            for box_id, path in self.box_files(self.revoked_keys):
                with contextlib.suppress(KeyFileError):
                    found[read_key_file(path).public.decode("ascii")] = box_id
        return found

    def known_boxes(self) -> set[str]:
        """Returns Boxes that have a file: admitted, being exchanged, revoked, or not a valid key."""
        try:
            found = [*self.box_files(self.public_keys), *self.box_files(self.public_keys, incoming=True)]
            found += self.box_files(self.revoked_keys)
        except OSError:
            return set()
        return {box_id for box_id, _ in found}

    def _read_keys(self, wanted: Callable[[bool], bool]) -> tuple[dict[bytes, tuple[str, ...]], list[str]]:
        """Reads the first keys, then the second ones, where `wanted(is_second)` is true."""
        keys: dict[bytes, tuple[str, ...]] = {}
        problems: list[str] = []
        try:
            folder = str(self.public_keys)
            names = sorted(os.listdir(folder))  # noqa: PTH208 - texts: 10,000 names, twice a second
        except OSError as error:
            return {}, [f"key folder {self.public_keys} cannot be read: {error.strerror or error}"]
        for incoming, pattern in enumerate((self._first_key, self._incoming_key)):
            for name in names if wanted(bool(incoming)) else ():
                match = pattern.fullmatch(name)
                if match is None:
                    continue
                try:
                    public = self._public_or_moved(folder, name, match.group(1) if incoming else None)
                    box_id = self.checked_id(match.group(1))
                except KeyFileError as error:
                    problems.append(str(error))
                    continue
                others = keys.setdefault(public, (box_id,))
                if box_id in others:
                    continue
                if self.shared_keys:
                    keys[public] = (*others, box_id)
                else:
                    path = self.public_keys / name
                    text = f"holds the key of {self.owner} {others[0]}; not admitted"
                    problems.append(f"key file {path} {text}")
        if len(self._parsed) > 2 * len(names):
            self._parsed = {name: self._parsed[name] for name in names if name in self._parsed}
        return keys, problems

    def _public_or_moved(self, folder: str, name: str, exchanged: str | None) -> bytes:
        """Reads a Box's key, also if its second key became its first since the folder was listed."""
        try:
            return self._public_of(folder, name)
        except KeyFileError:
            if exchanged is None or (self.public_keys / name).exists():
                raise
            return self._public_of(folder, self.box_public(exchanged).name)

    def _public_of(self, folder: str, name: str) -> bytes:
        """Reads a public key; an unchanged file is not read again (mostly one of 10,000 has changed)."""
        path = f"{folder}/{name}"
        try:
            status = os.stat(path)  # noqa: PTH116 - as above
        except OSError:
            return read_key_file(path).public  # its error says why
        mark = status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        parsed = self._parsed.get(name)
        if parsed is not None and parsed[0] == mark:
            return parsed[1]
        public = read_key_file(path).public
        # a file written just now may be written again without a new time stamp
        if time.time_ns() - status.st_ctime_ns > SURELY_PAST_NS:
            self._parsed[name] = (mark, public)
        return public

    def _wanted(self, server: bool, box_ids: Iterable[str]) -> list[tuple[Path, Path, str | None]]:
        wanted: list[tuple[Path, Path, str | None]] = []
        if server:
            wanted.append((self.server_secret, self.server_public, None))
        for box_id in dict.fromkeys(box_ids):
            wanted.append((self.box_secret(box_id), self.box_public(box_id), box_id))
        return wanted

    def make_folders(self) -> None:
        """Makes the folders. Raises KeyFileError where one cannot be made."""
        try:
            private_folder(self.root.parent, ours=False)
            self.root.mkdir(mode=0o755, exist_ok=True)
            self.private_keys.mkdir(mode=0o700, exist_ok=True)
            self.public_keys.mkdir(mode=0o755, exist_ok=True)
        except OSError as error:
            raise KeyFileError(f"key folder {self.root} cannot be made: {error.strerror or error}") from error

    def _make_pair(self, secret: Path, public: Path, box_id: str | None) -> list[Path]:
        pair = generate()
        write_secret(secret, pair, box_id)
        write_public(public, pair, box_id)
        return [secret, public]


def checked_box_id(box_id: str) -> str:
    """Returns the id; raises KeyFileError where it is not a whole number from 0 to 2**31 - 1, or padded."""
    if re.fullmatch(r"0|[1-9]\d{0,9}", box_id, re.ASCII) and int(box_id) < 2**31:
        return box_id
    raise KeyFileError(
        f"box id is {box_id!r}; want a whole number from 0 to {2**31 - 1}, without leading zeros"
    )
