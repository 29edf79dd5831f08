"""Which system a data folder is, and what is meant to run there: the folder D/system.

    D/system/id           random, made once; each answer of a health address carries it, with the folder
    D/system/NAME.json    one for each service that is meant to run here, and where it answers

A service writes its file once it runs, `up` those of its services before they start, `service install` those
of its units. A file goes with Ctrl-C, with the end of `up`, with `service remove`, and when a service of
another deployment took its place. It stays when a service is killed or crashes, and after SIGTERM, by which
service managers end it. A back-up has none of this: a restored folder is another system.
"""

import hashlib
import hmac
import json
import os
import time
import uuid
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from opq_proto.errors import OpqError
from opq_proto.kit.whole_file import PRIVATE_MODE, private_folder, write_whole_file

FOLDER = "system"
RESTORING = ".restoring"
"""In a data folder while `opq-tools restore` works, and after it was killed: nothing may start there."""
RESTORED = ".restoring.ended"
"""The name of that folder once everything is in place, until it is removed."""
ID = "id"
ID_HEADER = "OPQ-System"
"""Header of a request about health: `SystemIdentity.digest` of the folder for which it asks."""
MAX_BYTES = 4096
TICK_NS = 10**9
"""Two changes of a folder within this time may have the same time stamp."""
CLOUD = "cloud"
"""`opq-cloud all`: every service of the cloud in one process."""
GATEWAY = "gateway"
HEALTH = "health"
RULES = "rules"
"""`opq-gateway rules`: the rule engine as its own process."""


class UnfinishedRestoreError(OpqError):
    """A data folder has a part of a back-up only."""


@dataclass(frozen=True, slots=True)
class SystemIdentity:
    """Which system answers: as `system` in the answers of its health addresses."""

    id: str
    """Empty where the folder could not be written; the folder alone says which system it is then."""
    data_dir: str

    def as_json(self) -> dict[str, str]:
        return asdict(self)

    @property
    def digest(self) -> str:
        """Shows who is asked that the asker knows the id, which a program in its place does not learn so."""
        return hashlib.sha256(self.id.encode()).hexdigest() if self.id else ""

    def shown_to(self, local: bool, header: str | None) -> dict[str, dict[str, str]]:
        """The part of an answer that says which system it is: for requests of this machine, and for those
        that know the id, which stands in the folder alone (a service may answer at no loopback address).

        `header`: the request's ID_HEADER.
        """
        knows_id = bool(self.id) and hmac.compare_digest((header or "").encode(), self.digest.encode())
        return {"system": self.as_json()} if local or knows_id else {}


@dataclass(frozen=True, slots=True)
class MeantService:
    """A service that is meant to run."""

    name: str
    """As in `opq-tools service install NAME`."""
    health: str
    """URL of its health."""
    port_offset: int = 0
    here: bool = True
    """Whether it is one of this data folder; those of other folders and machines are watched only."""
    left_out: tuple[str, ...] = ()
    """Of the cloud in one process: the services that run elsewhere or not at all."""


@dataclass(frozen=True, slots=True)
class SystemRecord:
    """What a data folder says."""

    identity: SystemIdentity
    services: tuple[MeantService, ...] = ()
    problem: str = ""
    """Why it cannot be read, or not all of it."""

    @property
    def port_offset(self) -> int | None:
        """The offset of its services' ports; None where none is meant."""
        return next((each.port_offset for each in self.services), None)


def refuse_unfinished(data_dir: Path) -> None:
    """Raises UnfinishedRestoreError where a restore was broken off."""
    try:
        is_unfinished = (data_dir / RESTORING).exists()
    except OSError:  # a folder of another user: what reads it says so
        return
    if is_unfinished:
        raise UnfinishedRestoreError(
            f"{data_dir}: a restore was not finished there; run the same `opq-tools restore` again, which "
            "begins from the start"
        )


def identity_of(data_dir: Path) -> SystemIdentity:
    """The identity of a data folder, which gets one where it has none and can be written."""
    file = data_dir / FOLDER / ID
    try:
        folder = private_folder(data_dir / FOLDER)
        if not file.exists():
            fresh = folder / f".{uuid.uuid4().hex}"
            write_whole_file(fresh, [f"{uuid.uuid4().hex}\n".encode()], PRIVATE_MODE)
            try:
                os.link(fresh, file)  # of services that start together the first one makes it
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
    except OSError:
        pass  # a full disk, or a folder of another user: the service says so where it writes its data
    return _identity(data_dir)


def _identity(data_dir: Path) -> SystemIdentity:
    found = ""
    with suppress(OSError, ValueError):
        found = (data_dir / FOLDER / ID).read_text(encoding="ascii").strip()[:64]
    return SystemIdentity(found if found.isalnum() else "", str(data_dir.absolute()))


def read_record(data_dir: Path) -> SystemRecord:
    """Reads what is meant to run; nothing is made."""
    services, problems = [], []
    try:
        files = sorted(each for each in (data_dir / FOLDER).iterdir() if each.suffix == ".json")
    except (FileNotFoundError, NotADirectoryError):
        files = []
    except OSError as error:
        return SystemRecord(_identity(data_dir), (), f"{data_dir / FOLDER}: {error.strerror}")
    for file in files:
        try:
            with file.open("rb") as opened:
                found = json.loads(opened.read(MAX_BYTES))
            health, port_offset = str(found["health"]), int(found["port_offset"])
            left_out = tuple(map(str, found.get("left_out", ())))
            services.append(MeantService(file.stem, health, port_offset, left_out=left_out))
        except FileNotFoundError:
            continue  # it went meanwhile
        except (OSError, ValueError, TypeError, KeyError) as error:
            problems.append(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}")
    return SystemRecord(_identity(data_dir), tuple(services), "; ".join(problems))


class RecordReader:
    """Reads a data folder's record again only after it changed, because Health needs it every two seconds."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._read: tuple[int, SystemRecord] | None = None
        """The folder's time stamp when it was read, and its record."""

    def read(self) -> SystemRecord:
        """As `read_record`. Files are replaced, so each change is one of their folder."""
        try:
            changed_ns = (self._data_dir / FOLDER).stat().st_mtime_ns
        except OSError:
            return read_record(self._data_dir)
        if self._read is not None and self._read[0] == changed_ns:
            return self._read[1]
        found = read_record(self._data_dir)
        is_settled = time.time_ns() > changed_ns + TICK_NS
        self._read = (changed_ns, found) if is_settled and not found.problem else None
        return found


def note_meant(data_dir: Path, services: Iterable[MeantService]) -> None:
    """Writes that these services are meant to run here. Raises OSError."""
    folder = private_folder(data_dir / FOLDER)
    for each in services:
        text = json.dumps({"health": each.health, "port_offset": each.port_offset, "left_out": each.left_out})
        write_whole_file(folder / f"{each.name}.json", [f"{text}\n".encode()], PRIVATE_MODE)


def forget_meant(data_dir: Path, names: Collection[str]) -> None:
    """Takes services out that are not meant to run here any more. Raises OSError."""
    for name in names:
        (data_dir / FOLDER / f"{name}.json").unlink(missing_ok=True)


def forget_after_ctrl_c(data_dir: Path, name: str) -> None:
    """Takes a service out that a person ended at the terminal; where that cannot be written it stays."""
    with suppress(OSError):
        forget_meant(data_dir, [name])


def file_of(data_dir: Path, name: str) -> Path:
    """The file that says that a service is meant to run."""
    return data_dir / FOLDER / f"{name}.json"


def is_of(document: Mapping[str, Any], own: SystemIdentity) -> bool:
    """Whether an answer is of this data folder: a copied folder has the same id at another place."""
    system = document.get("system")
    if not isinstance(system, Mapping):
        return False
    theirs, folder = str(system.get("id") or ""), str(system.get("data_dir") or "")
    if own.id and theirs != own.id:  # a program that states the folder alone need not be of it
        return False
    if folder == own.data_dir:
        return True
    try:
        same = Path(folder).samefile(own.data_dir)
    except OSError:  # of another machine or container, which has this folder under another name
        same = folder == own.data_dir or bool(theirs and theirs == own.id)
    return same
