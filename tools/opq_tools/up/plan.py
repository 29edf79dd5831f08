"""Plan of a run of `opq-tools up`: the Boxes, their keys, two configurations, three processes."""

import importlib.util
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import tomli_w

from opq_gateway.config import UplinkSection
from opq_proto.config.reading import read_document
from opq_proto.errors import ConfigError, problem_count
from opq_proto.keys.administrator import ensure_administrator
from opq_proto.keys.backend_keys import DEFAULT_NAME, BackendKeyFolder
from opq_proto.keys.backend_keys import FOLDER as BACKEND
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit.http_server import url_of
from opq_proto.kit.ports import GATEWAY_HEALTH, MAUKA_HEALTH
from opq_proto.kit.system_record import CLOUD, GATEWAY, MeantService
from opq_proto.kit.whole_file import PRIVATE_MODE, private_folder, write_whole_file
from opq_sim.box.run_boxes import Fleet
from opq_sim.box.simulated_places import three_phase_places
from opq_tools.keys.keygen import box_ids
from opq_tools.up.config_problems import idle_sections, room_problems

ROOMS = ("gateway", "cloud")
"""Tables that a file of --config may hold: the configuration of each room."""


RULE_MODULES = ("cronsim", "jinja2", "msgspec", "starlette", "uvicorn")
"""Modules that the rule engine needs; without the extra `rules` Makai runs without the engine."""
EMULATORS = ("qemu", "renode")
"""A Box given as qemu:ID or renode:ID runs its firmware in an emulator."""


@dataclass(frozen=True, slots=True)
class HardwareBox:
    """A Box and its serial port."""

    box_id: str
    port: str
    emulator: str = ""
    """One of EMULATORS; `port` is then a link to the emulator's pty, made when it runs."""

    @property
    def emulated(self) -> bool:
        """Whether the Box's firmware runs in an emulator."""
        return bool(self.emulator)


@dataclass(frozen=True, slots=True)
class UpPlan:
    """Everything decided before anything starts."""

    data_dir: Path
    port_offset: int
    fleet: Fleet | None
    """The simulated and replayed Boxes of this run."""
    hardware: tuple[HardwareBox, ...]
    config: Mapping[str, Any]
    trace: bool
    """Whether each Measurement's arrival is logged, to measure latencies."""
    flash: Path | None = None
    """The chip's flash of emulated Boxes; None when there are none."""

    @property
    def boxes(self) -> tuple[HardwareBox, ...]:
        """All Boxes, each with its serial port; without deleted ones."""
        ids = self.fleet.box_ids if self.fleet else ()
        simulated = tuple(HardwareBox(box_id, str(self._link(box_id))) for box_id in ids)
        simulated = tuple(box for box in simulated if not self.keys.is_deleted(box.box_id))
        real = (replace(box, port=str(self._link(box.box_id))) if box.emulated else box for box in self.real)
        return (*simulated, *real)

    @property
    def real(self) -> tuple[HardwareBox, ...]:
        """The Boxes with firmware, real or emulated; without deleted ones."""
        return tuple(box for box in self.hardware if not self.keys.is_deleted(box.box_id))

    def add_again(self, box_ids: str) -> str:
        """The command that takes deleted Boxes in again."""
        return f"opq-tools keys add {box_ids} --data-dir {shlex.quote(str(self.data_dir))}"

    @property
    def deleted(self) -> tuple[str, ...]:
        """Boxes that this run would have, and that were deleted and not added since."""
        named = [*(self.fleet.box_ids if self.fleet else ()), *(box.box_id for box in self.hardware)]
        return tuple(box_id for box_id in named if self.keys.is_deleted(box_id))

    @property
    def ports_dir(self) -> Path:
        return self.data_dir / "ports"

    @property
    def keys(self) -> KeyFolder:
        return KeyFolder(self.data_dir / "curve")

    @property
    def revoked(self) -> tuple[Path, ...]:
        """Missing public key files of this run's Boxes: their keys were revoked."""
        files = (self.keys.box_public(box.box_id) for box in self.boxes)
        return tuple(path for path in files if not path.exists())

    @property
    def groups(self) -> dict[str, tuple[str, str, str]]:
        """Group of the gateway, and site, -> its simulated Boxes on three phases."""
        places = {} if self.fleet is None else three_phase_places(self.fleet)
        there = {box.box_id for box in self.boxes}
        return {name[:32]: ids for name, ids in places.items() if there.issuperset(ids)}

    def prepare(self) -> None:
        """Makes missing keys and writes both configurations; existing keys are left unchanged.

        Raises:
            ConfigError: each Box of this run was deleted.
        """
        if self.deleted and not self.boxes:
            again = ",".join(self.deleted)
            raise ConfigError(f"Box {again} was deleted, and there is no other; {self.add_again(again)}")
        self.keys.ensure([box.box_id for box in self.boxes])
        ensure_administrator(self.keys)
        backend = self.config.get("cloud", {}).get("backend_keys", {})
        if isinstance(backend, Mapping) and backend.get("enabled") is True and not backend.get("folder"):
            BackendKeyFolder(self.data_dir / BACKEND).ensure([str(backend.get("name", DEFAULT_NAME))])
        gateway: dict[str, Any] = {
            "data_dir": str(self.data_dir),
            "box": [{"id": box.box_id, "port": box.port} for box in self.boxes],
        }
        if not self.hardware:
            gateway["ring_hours"] = 1.0  # simulated samples need not fill a laptop's disk for a day
        if self.groups:
            gateway["group"] = [{"name": name, "boxes": list(ids)} for name, ids in self.groups.items()]
            gateway["uplink"] = {"send": [*UplinkSection().send, "unbalance"]}
        cloud: dict[str, Any] = {
            "data_dir": str(self.data_dir),
            "health": {"gateway_endpoint": self._gateway_health()},
            "triggering_broker": {"trace": self.trace},
            "triggering_service": {"rules": {"enabled": all(map(importlib.util.find_spec, RULE_MODULES))}},
        }
        folder = self.data_dir / "config"
        private_folder(folder)
        for name, ours in (("gateway", gateway), ("cloud", cloud)):
            text = tomli_w.dumps(merged(ours, self.config.get(name, {})))
            write_whole_file(folder / f"{name}.toml", [text.encode()], PRIVATE_MODE)

    def _gateway_health(self) -> str:
        """Where the gateway of this run reports its health."""
        own = self.config.get("gateway", {}).get("health_endpoint")
        return own if isinstance(own, str) else f"127.0.0.1:{GATEWAY_HEALTH + self.port_offset}"

    def meant(self) -> tuple[MeantService, ...]:
        """What `prepare` wrote configurations for, as the record of the data folder names it."""
        whole = self.config.get("cloud", {}).get("health", {}).get("whole_endpoint")
        cloud = whole if isinstance(whole, str) else f"127.0.0.1:{MAUKA_HEALTH + self.port_offset}"
        places = {CLOUD: cloud, GATEWAY: self._gateway_health()}
        return tuple(MeantService(name, url_of(at), self.port_offset) for name, at in places.items())

    def check(self) -> None:
        """Has both rooms check the files that `prepare` wrote, before anything starts.

        Raises:
            ConfigError: with all problems of both, and the sections of a part that is off.
        """
        folder = self.data_dir / "config"
        problems = [
            text.replace(f"{room}.toml:", f"[{room}] of --config:", 1)
            for room, text in room_problems(folder).items()
        ]
        if not problems and (idle := idle_sections(folder)):
            lines = [f"  {key}  {text}" for key, text in idle]
            problems = ["\n".join([f"--config: {problem_count(idle)}, nothing was started", *lines])]
        if problems:
            raise ConfigError("\n".join(problems))

    def commands(self) -> dict[str, list[str]]:
        """Process name -> its command."""
        offset = ["--port-offset", str(self.port_offset)]
        config = self.data_dir / "config"
        python = [sys.executable, "-m"]
        found = {
            "cloud": [*python, "opq_cloud", "all", "--config", str(config / "cloud.toml"), *offset],
            "gateway": [*python, "opq_gateway", "run", "--config", str(config / "gateway.toml"), *offset],
        }
        if self.fleet:
            found["boxes"] = [
                *python,
                "opq_sim.box",
                "--ports-dir",
                str(self.ports_dir),
                *self.fleet.arguments(),
            ]
        for box in self.real:
            if box.emulated:
                found[f"box{box.box_id}"] = self._emulator(box)
        return found

    def links(self, process: str) -> tuple[Path, ...]:
        """The links to serial ports that a process of `commands` makes."""
        if process == "boxes" and self.fleet:
            return tuple(self._link(box_id) for box_id in self.fleet.box_ids)
        return tuple(
            self._link(box.box_id) for box in self.hardware if box.emulated and process == f"box{box.box_id}"
        )

    def _emulator(self, box: HardwareBox) -> list[str]:
        folder = self.data_dir / "emulated" / f"box{box.box_id}"
        options = {
            "backend": box.emulator,
            "box-id": box.box_id,
            "flash": self.flash,
            "port": self._link(box.box_id),
            "folder": folder,
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        return [sys.executable, "-m", "opq_hil.backends.emulated", *words]

    def _link(self, box_id: str) -> Path:
        return self.ports_dir / f"box{box_id}"


def merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """`theirs` laid over `ours`, table by table."""
    found = dict(ours)
    for key, value in theirs.items():
        mine = found.get(key)
        both = isinstance(mine, Mapping) and isinstance(value, Mapping)
        found[key] = merged(mine, value) if both else value  # type: ignore[arg-type]
    return found


def read_config(path: Path | None) -> dict[str, Any]:
    """Reads the tables `[gateway]` and `[cloud]` of a file; the rooms check their content.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    if path is None:
        return {}
    found = read_document(path)
    wrong = [key for key, value in found.items() if key not in ROOMS or not isinstance(value, dict)]
    if wrong:
        raise ConfigError(f"{path}: {', '.join(wrong)}: want the tables [gateway] and [cloud], nothing else")
    return found


def _is_box_id(name: str) -> bool:
    try:
        return name.isascii() and name.isdigit() and len(box_ids(name)) == 1
    except click.BadParameter:
        return False


def free_id(used: Sequence[str]) -> str:
    """The smallest Box id that is not used."""
    return next(str(number) for number in range(1, len(used) + 2) if str(number) not in used)


def hardware(urls: Sequence[str], taken: Sequence[str]) -> tuple[HardwareBox, ...]:
    """Boxes of --box `[ID=]URL`; those without an id get the next free one.

    Raises:
        ConfigError: an id is not a whole number or is used twice, or a kind of URL is not supported.
    """
    used = list(taken)
    found = []
    for text in urls:
        name, equals, url = text.partition("=")
        if not equals or "/" in name or ":" in name:
            name, url = "", text
        kind, colon, box_id = url.partition(":")
        emulator = kind if colon and kind in EMULATORS else ""
        if emulator:
            if name:
                raise ConfigError(
                    f"--box {text}: write the id of an emulated Box after the colon: {emulator}:{name}"
                )
            name = box_id
        if not url:
            raise ConfigError(
                f"--box {text!r}: want [ID=]URL, e.g. 7=/dev/serial/by-id/usb-OPQ_Box or socket://host:4001"
            )
        if name or emulator:
            if not _is_box_id(name):
                raise ConfigError(f"--box {text}: {name!r} is not a Box id; want a whole number from 1")
        else:
            name = free_id(used)
        if name in used:
            other = f"{emulator}:{free_id(used)}" if emulator else f"{free_id(used)}={url}"
            raise ConfigError(f"--box {text}: Box {name} exists already; give another id, e.g. --box {other}")
        used.append(name)
        found.append(HardwareBox(name, url, emulator))
    return tuple(found)
