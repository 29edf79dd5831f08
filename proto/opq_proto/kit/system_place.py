"""Where a system is on this machine: its data folder and its port offset.

`opq-tools up` notes its own, and the commands find it by the note. A note is a small file in
`${XDG_STATE_HOME:-~/.local/state}/opq/running`, one for each data folder. It is gone when the system ends.
One that a killed system left is recognised by the process: its number, when it was started, and since which
start of the machine. A system of systemd units notes nothing in anybody's home; its process is looked for.
"""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from opq_proto.errors import ConfigError, OpqError
from opq_proto.kit.system_record import read_record
from opq_proto.kit.whole_file import private_folder, write_whole_file

UNITS = Path("/etc/systemd/system")
UNITS_DATA_DIR = Path("/var/lib/opq")
"""Where `opq-tools service install` puts units, and the data folder that they name."""
PROGRAMS = {b"opq-cloud", b"opq-gateway"}
BOOT = Path("/proc/sys/kernel/random/boot_id")
MAX_BYTES = 4096
START_FIELD = 19
"""Field 22 of /proc/PID/stat, counted after the name in brackets."""


class WhichSystemError(OpqError):
    """Several systems run here, and the command could mean any of them."""


@dataclass(frozen=True, slots=True)
class RunningSystem:
    """`started`: when the process was started, as its machine says it; no other process has both."""

    data_dir: str
    port_offset: int
    pid: int
    started: str


def default_data_dir() -> Path:
    """Returns `$XDG_DATA_HOME/opq`, by default `~/.local/share/opq`; ignores a relative XDG_DATA_HOME."""
    value = os.environ.get("XDG_DATA_HOME", "")
    if value and Path(value).is_absolute():
        return Path(value) / "opq"
    try:
        return Path.home() / ".local" / "share" / "opq"
    except RuntimeError as error:
        raise ConfigError("no home folder is known; give --data-dir") from error


def notes_folder() -> Path:
    """Where the notes are. Raises RuntimeError: no home folder is known."""
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state"
    return base / "opq" / "running"


@contextmanager
def noted(data_dir: Path, port_offset: int) -> Iterator[str]:
    """Notes a system of this process until the end; yields why it could not be noted, else nothing."""
    why, note = "", None
    try:
        name = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
        note = private_folder(notes_folder()) / f"{name}.json"
        system = RunningSystem(str(data_dir), port_offset, os.getpid(), start_of(os.getpid()))
        write_whole_file(note, [json.dumps(asdict(system)).encode()], 0o600)
    except (OSError, RuntimeError) as error:
        why, note = str(error), None
    try:
        yield why
    finally:
        if note is not None:
            note.unlink(missing_ok=True)


def _usual_data_dir() -> Path:
    """The default folder of this user, or that of the units where only they have one."""
    usual = default_data_dir()
    return UNITS_DATA_DIR if not usual.exists() and any(UNITS.glob("opq-*.service")) else usual


def _system_of_units() -> list[RunningSystem]:
    if not any(UNITS.glob("opq-*.service")):
        return []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended
        programs = {os.path.basename(word) for word in words[:2]}  # noqa: PTH119 - bytes
        if programs & PROGRAMS and os.fsencode(UNITS_DATA_DIR) in words:
            pid = int(path.parent.name)
            return [RunningSystem(str(UNITS_DATA_DIR), 0, pid, start_of(pid))]
    return []


def running_systems() -> list[RunningSystem]:
    """The systems that run now, by their port offsets; notes that cannot be read are left out."""
    found = _system_of_units()
    try:
        notes = sorted(notes_folder().glob("*.json"))
    except (OSError, RuntimeError):
        return found
    for note in notes:
        try:
            with note.open("rb") as file:
                system = RunningSystem(**json.loads(file.read(MAX_BYTES)))
            if system.started and start_of(int(system.pid)) == system.started:
                found.append(system)
        except (OSError, ValueError, TypeError):
            continue
    return sorted(found, key=lambda system: system.port_offset)


def find_system(data_dir: Path | None, port_offset: int | None) -> tuple[Path, int]:
    """Data folder and port offset of the system that a command is for, by what it was given.

    Given is what --data-dir and --port-offset say. What they leave open is that of the running system which
    has the rest; without one it is the default, and the offset of the services that are meant to run there.

    Raises:
        WhichSystemError: several run, none in the default folder, and nothing says which one.
    """
    if data_dir is not None and port_offset is not None:
        return data_dir, port_offset
    running = running_systems()
    if data_dir is not None:
        own = (each for each in running if Path(each.data_dir).resolve() == data_dir.resolve())
        return data_dir, next((each.port_offset for each in own), _noted_offset(data_dir))
    if port_offset is not None:
        there = (Path(each.data_dir) for each in running if each.port_offset == port_offset)
        return next(there, None) or _usual_data_dir(), port_offset
    if not running:
        usual_folder = _usual_data_dir()
        return usual_folder, _noted_offset(usual_folder)
    if len(running) > 1:
        usual = [each for each in running if Path(each.data_dir) == default_data_dir()]
        if not usual:
            named = " or ".join(f"--data-dir {each.data_dir}" for each in running)
            raise WhichSystemError(f"{len(running)} systems run here; give {named}")
        running = usual
    return Path(running[0].data_dir), running[0].port_offset


def _noted_offset(data_dir: Path) -> int:
    return read_record(data_dir).port_offset or 0


def own_namespace(kind: str) -> str:
    """Names the start of this machine and this process' namespace of a kind (`pid`, `net`).

    Two processes with the same name see the same processes, or the same loopback. Empty where it is unknown.
    """
    try:
        return f"{BOOT.read_text().strip()} {Path(f'/proc/self/ns/{kind}').readlink()}"
    except OSError:
        return ""


def start_of(pid: int) -> str:
    """When a process was started, together with its machine's own start; empty where there is none."""
    try:
        boot = BOOT.read_text().strip()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return f"{boot} {fields[START_FIELD]}" if fields[0] != "Z" else ""
    except FileNotFoundError:
        if BOOT.exists():
            return ""
    except (OSError, IndexError):
        return ""
    asked = ["ps", "-o", "lstart=", "-p", str(pid)]  # a system without /proc
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=False, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
