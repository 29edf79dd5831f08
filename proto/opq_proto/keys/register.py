"""The admitted keys in a live key folder: keys are added, revoked and exchanged while brokers watch it.

`public_keys/opqbox<ID>.key` admits a Box. While its key is exchanged, `opqbox<ID>.next.key` beside it admits
the new key too; the first broker to which the Box connects with the new key moves it over the old one, which
ends the old one's connections. A revoked key is in `revoked_keys`. Every step is one rename of a whole file.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from opq_proto.errors import KeyFileError
from opq_proto.keys.key_files import KeyFolder, KeyPair, generate, read_key_file, write_public, write_secret

KeyState = Literal["admitted", "revoked", "rotating"]


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One Box's key (Z85); while it is exchanged, `public_key` is the old one, which is still valid."""

    box_id: str
    public_key: str
    state: KeyState
    since_ms: int
    """When its file was written or moved; for `rotating` the new key's file."""
    next_public_key: str | None = None


def key_fingerprint(public_key: str) -> str:
    """Returns 128 bits of the SHA-256 of a public key (Z85, 40 characters), in groups of four digits."""
    digits = hashlib.sha256(public_key.encode()).hexdigest()[:32]
    return " ".join(digits[k : k + 4] for k in range(0, 32, 4))


class KeyRegister:
    """The keys of Boxes in one folder; several processes may use it at once."""

    def __init__(self, folder: KeyFolder) -> None:
        self._folder = folder

    def entries(self) -> tuple[list[KeyEntry], list[str]]:
        """Returns the keys of all Boxes, sorted by number, and the problems of files that are not keys.

        Raises:
            KeyFileError: the folder cannot be read.
        """
        problems: list[str] = []
        found: dict[str, KeyEntry] = {}
        folder = self._folder
        try:
            for box_id, path in folder.box_files(folder.revoked_keys):
                self._read(found, problems, box_id, path, "revoked")
            for box_id, path in folder.box_files(folder.public_keys):
                self._read(found, problems, box_id, path, "admitted")
            for box_id, path in folder.box_files(folder.public_keys, incoming=True):
                self._read(found, problems, box_id, path, "rotating")
        except OSError as error:
            raise KeyFileError(
                f"key folder {folder.public_keys} cannot be read: {error.strerror or error}; "
                f"make it with {folder.made_with}, or name it with --keys"
            ) from error
        return sorted(found.values(), key=lambda entry: (len(entry.box_id), entry.box_id)), problems

    def _read(
        self, found: dict[str, KeyEntry], problems: list[str], box_id: str, path: Path, state: KeyState
    ) -> None:
        try:
            public = read_key_file(path).public.decode("ascii")
            since_ms = path.stat().st_ctime_ns // 1_000_000
        except (KeyFileError, OSError) as error:
            problems.append(str(error))
            return
        before = found.get(box_id)
        if state != "rotating" or before is None or before.state != "admitted":
            state = "admitted" if state == "rotating" else state  # without a first key it is the key
            found[box_id] = KeyEntry(box_id, public, state, since_ms)
        else:
            found[box_id] = KeyEntry(box_id, before.public_key, state, since_ms, public)

    def add(self, box_id: str, public: bytes | None = None) -> list[Path]:
        """Admits a Box by the key it made itself, or by a new pair; returns the files written.

        Raises:
            KeyFileError: it is admitted already, or another Box has this key.
        """
        folder = self._folder
        if os.path.lexists(folder.box_public(box_id)):
            raise KeyFileError(
                f"{folder.owner} {box_id} is admitted already; {folder.another_key.format(box_id)}"
            )
        self._refuse_a_key_twice(box_id, public)
        if public is not None and self.revoked_key(box_id) == public:
            folder.box_revoked(box_id).unlink(missing_ok=True)
        folder.make_folders()
        written = []
        pair = KeyPair(public) if public is not None else generate()
        if public is None and write_secret(folder.box_secret(box_id), pair, box_id):
            written.append(folder.box_secret(box_id))
        if not write_public(folder.box_public(box_id), pair, box_id, replace=False):
            raise KeyFileError(f"{folder.owner} {box_id} was admitted by another program at the same time")
        folder.box_deleted(box_id).unlink(missing_ok=True)
        return [*written, folder.box_public(box_id)]

    def revoked_key(self, box_id: str) -> bytes | None:
        """Returns the key of a Box that was revoked, whether it has another one since or not; else None."""
        try:
            return read_key_file(self._folder.box_revoked(box_id)).public
        except KeyFileError:
            return None

    def revoked_ms(self, box_id: str) -> int | None:
        """Returns when the key of a Box was revoked; None where it has no revoked key."""
        try:
            return self._folder.box_revoked(box_id).stat().st_ctime_ns // 1_000_000
        except (OSError, KeyFileError):
            return None

    def admit_again(self, box_id: str) -> list[Path]:
        """Admits the key that was revoked, which its gateway may still have; returns the file.

        Raises:
            KeyFileError: it has none, it is admitted with another one, or another Box has this key.
        """
        public = self.revoked_key(box_id)
        if public is None:
            raise KeyFileError(
                f"{self._folder.owner} {box_id} has no revoked key that could be admitted again"
            )
        return self.add(box_id, public)

    def revoke(self, box_id: str) -> bool:
        """Revokes a Box's keys; False where it had none. Its connections end within a second."""
        folder = self._folder
        folder.box_incoming(box_id).unlink(missing_ok=True)
        public, revoked = folder.box_public(box_id), folder.box_revoked(box_id)
        if not os.path.lexists(public):
            return False
        try:
            revoked.parent.mkdir(mode=0o755, exist_ok=True)
            public.replace(revoked)
        except OSError as error:
            raise KeyFileError(f"key file {public} cannot be moved: {error.strerror or error}") from error
        return True

    def forget(self, box_id: str) -> None:
        """Deletes all files of a deleted Box's keys, the revoked and the private one too, and leaves a mark.

        Raises:
            KeyFileError: one cannot be deleted, or the mark cannot be made.
        """
        folder = self._folder
        mark = folder.box_deleted(box_id)
        try:
            if folder.root.is_dir():  # else there are no keys here
                mark.parent.mkdir(mode=0o755, exist_ok=True)
                mark.touch(mode=0o644)
        except OSError as error:
            raise KeyFileError(f"{mark} cannot be made: {error.strerror or error}") from error
        files = folder.box_incoming, folder.box_public, folder.box_revoked, folder.box_secret
        for path in [each(box_id) for each in files]:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise KeyFileError(f"key file {path} cannot be deleted: {error.strerror or error}") from error

    def rotate(self, box_id: str, public: bytes | None = None, force: bool = False) -> list[Path]:
        """Admits a second key of a Box in addition to its first; returns the files written.

        Without `public` a new pair is made, and its private file replaces the old one's.

        Raises:
            KeyFileError: the Box has no key, another Box has this one, or an exchange is under way and
                `force` is not set: the key of that exchange would not be admitted any more.
        """
        folder = self._folder
        if not os.path.lexists(folder.box_public(box_id)):
            raise KeyFileError(
                f"{folder.owner} {box_id} has no key to exchange; admit it with keys add {box_id}"
            )
        incoming = folder.box_incoming(box_id)
        if os.path.lexists(incoming) and not force:
            raise KeyFileError(
                f"{folder.owner} {box_id} has not yet connected with the key of its last exchange "
                f"({incoming}); "
                "--force makes another one and revokes that one"
            )
        self._refuse_a_key_twice(box_id, public)
        pair = KeyPair(public) if public is not None else generate()
        write_public(incoming, pair, box_id)
        if public is not None:
            return [incoming]
        folder.make_folders()
        write_secret(folder.box_secret(box_id), pair, box_id)  # last: its reader is already admitted
        return [incoming, folder.box_secret(box_id)]

    def complete_rotation(self, box_id: str, public: bytes) -> bool:
        """Makes the new key, with which the Box has connected, its key; False without such an exchange.

        Raises:
            KeyFileError: the folder cannot be written; both keys stay admitted.
        """
        incoming = self._folder.box_incoming(box_id)
        try:
            if read_key_file(incoming).public != public:
                return False
        except KeyFileError:
            return False
        try:
            incoming.replace(self._folder.box_public(box_id))
        except FileNotFoundError:
            return False  # another broker was first, or the Box was revoked
        except OSError as error:
            raise KeyFileError(f"key file {incoming} cannot be moved: {error.strerror or error}") from error
        return True

    def _refuse_a_key_twice(self, box_id: str, public: bytes | None) -> None:
        if public is None:
            return
        other = self._folder.admitted()[0].get(public)
        if other is not None:
            owner = self._folder.owner
            whose = "its own already" if other == box_id else f"that of {owner} {other}"
            raise KeyFileError(f"{owner} {box_id}: this key is {whose}; each {owner} has its own key")
