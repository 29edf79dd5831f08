"""What a configuration file is for, and everything that is wrong with it, as its service finds it.

Files of the toolkit and of the original are recognised by their keys, and loaded as their services load them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from opq_cloud.core.settings.endpoint_ports import OURS, open_ports, port_of, shared_addresses
from opq_gateway.config import Config as GatewayConfig
from opq_gateway.config import load as read_gateway
from opq_gateway.setup.setup_surroundings import Found, check
from opq_proto.config.fields import fields_of
from opq_proto.errors import ConfigError, problem_count

ORIGINAL_BOX = {
    "box_id": "box.id",
    "trg_push_ep": "uplink.trigger_endpoint",
    "cmd_sub_ep": "uplink.command_endpoint",
    "cmd_push_ep": "uplink.response_endpoint",
    "windows_per_measurements": "measurement_cycles",
    "windows_per_measurement": "measurement_cycles",
    "windows_in_storage_buffer": "ring_hours",
}
"""Keys of the original's triggering.json / opqbox_config.json (docs/reference/opq-interop.md G.1) -> ours."""
KEYS_ELSEWHERE = {
    "calibration": "counts per volt; here each Box reports its gain: opq-tools calibrate",
    "device_path": "a kernel device of the original's SPI line; here box.port, a serial port",
    "server_public_key": "a key in text; here a file: curve/public_keys/opqserver.key",
    "box_secret_key": "a key in text; here a file: curve/private_keys/opqbox<ID>_secret",
    "box_public_key": "a key in text; here a file: curve/public_keys/opqbox<ID>.key",
    "plugins": "shared libraries; here the features are the measurement core's",
    "updates_ep": "here firmware comes signed, over the uplink or by opq-tools flash",
    "sse_interface": "here [mqtt], and /measured on the health address",
}
UP_KIND = "up"
"""Kind of a file for `up --config`."""
UP_TABLES = frozenset({"gateway", "cloud"})
"""Tables that such a file may hold."""
MONGO_SCHEMES = ("mongodb://", "mongodb+srv://")
CYCLE_HOURS = 1 / 60 / 3600
"""The length of one window of the original: 200 samples."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Kind of a file and all findings; problems prevent a start, notes do not."""

    kind: str
    problems: tuple[Found, ...] = ()
    notes: tuple[Found, ...] = ()


def kind_of(document: Mapping[str, Any]) -> str:
    """Kind of a file: `gateway`, `cloud`, `rules`, `up`, `original Box`, or `original <service>`."""
    if document and all(key in UP_TABLES and isinstance(document[key], Mapping) for key in document):
        return UP_KIND
    if {"trg_push_ep", "cmd_sub_ep", "cmd_push_ep"} & document.keys():
        return "original Box"
    from opq_cloud.core.original import original_settings as original_config
    from opq_cloud.core.settings.config import CloudConfig
    from opq_rules.api.rules_config import Config as RulesConfig

    original = original_config.kind_of(document)
    if original is not None:
        return f"original {original.replace('_', ' ')}"
    classes = (("gateway", GatewayConfig), ("cloud", CloudConfig), ("rules", RulesConfig))
    scores = {name: _likeness(document, fields_of(cls)) for name, cls in classes}
    return max(scores, key=lambda name: scores[name])  # gateway where no key is like a known one


def _likeness(document: Mapping[str, Any], fields: Mapping[str, object]) -> tuple[int, int]:
    """Number of known keys, and of those that are known ones misspelt."""
    known = document.keys() & fields.keys()
    return len(known), sum(bool(get_close_matches(key, fields, 1)) for key in document.keys() - known)


def checked_file(path: Path, document: Mapping[str, Any], kind: str, data_dir: Path | None) -> Checked:
    """Loads the file as its service does, and checks keys, ports and folders.

    Raises:
        ConfigError: the file is wrong; the text has every problem.
    """
    if kind == "original Box":
        return _judged(kind, box_of_original(document))
    if kind == UP_KIND:
        return _up(path)
    if kind == "rules":
        from opq_rules.api.rules_config import load

        return Checked(kind, _open_ports(load(path, data_dir)))
    if kind != "gateway":
        return _cloud(path, kind, data_dir)
    loaded = read_gateway(path, data_dir)
    return _judged(kind, [*check(loaded), *_open_ports(loaded)])


def _judged(kind: str, found: Sequence[Found]) -> Checked:
    return Checked(
        kind, tuple(item for item in found if item.fatal), tuple(item for item in found if not item.fatal)
    )


def _open_ports(config: object, room: str = "") -> tuple[Found, ...]:
    return tuple(Found(key, text, True) for key, text in open_ports(config, room))


def is_mongo_address(uri: str) -> bool:
    """Whether pymongo reads it; of `mongodb+srv` it would ask the network."""
    from pymongo.errors import ConfigurationError
    from pymongo.uri_parser import parse_uri

    try:
        return uri.startswith(MONGO_SCHEMES) and ("+srv" in uri.partition("://")[0] or bool(parse_uri(uri)))
    except (ConfigurationError, ValueError):  # a port that is not a number
        return False


def _up(path: Path) -> Checked:
    """Has both rooms check their tables as `up --config` lays them over its own settings, with one Box.

    Raises:
        ConfigError: with all problems of both.
    """
    from opq_cloud.core.original.original_settings import ConfigNotice, read_config
    from opq_cloud.makai.judging.triggers_in_use import judged_triggers
    from opq_cloud.mauka.mauka_service import judged_analyses
    from opq_tools.up.config_problems import idle_sections, room_problems
    from opq_tools.up.plan import HardwareBox, UpPlan
    from opq_tools.up.plan import read_config as read_tables

    notices: list[ConfigNotice] = []
    idle: list[Found] = []
    with TemporaryDirectory() as folder:
        plan = UpPlan(Path(folder), 0, None, (HardwareBox("1", "/dev/ttyACM0"),), read_tables(path), False)
        plan.prepare()
        found = room_problems(Path(folder) / "config")
        if not found:
            idle = [Found(key, text, True) for key, text in idle_sections(Path(folder) / "config")]
            config = read_config([Path(folder) / "config" / "cloud.toml"], {}, notify=notices.append)
            judged_triggers(config.triggering_service)
            judged_analyses(config)
            idle += _open_ports(config, "cloud.")
            idle += [Found(f"cloud.{key}", text, True) for key, text in shared_addresses(config)]
            idle += _open_ports(read_gateway(Path(folder) / "config" / "gateway.toml"), "gateway.")
    lines = []
    for room, text in found.items():
        head, *rest = text.splitlines()
        lines += [f"  {room}.{line.strip()}" for line in rest] or [
            f"  {room}  {head.removeprefix(f'{room}.toml: ')}"
        ]
    if lines:
        raise ConfigError("\n".join([f"{path}: {problem_count(lines)}, nothing was started", *lines]))
    notes = [Found(f"cloud.{each.key}", each.text, False) for each in notices]
    return _judged(UP_KIND, [*idle, *notes])


def _cloud(path: Path, kind: str, data_dir: Path | None) -> Checked:
    """Checks a file as `opq-cloud` does at its start: corrected or ignored values, keys, plug-ins."""

    from opq_cloud.core.original.original_settings import MISSPELT, ConfigNotice, read_config
    from opq_cloud.core.original.places import broker_sources
    from opq_cloud.core.start_check import backend_findings, missing_keys, missing_secrets, without_effect
    from opq_cloud.makai.judging.triggers_in_use import judged_triggers
    from opq_cloud.mauka.mauka_service import judged_analyses

    notices: list[ConfigNotice] = []
    overrides = None if data_dir is None else {"data_dir": str(data_dir)}
    config = read_config([path], overrides, notify=notices.append, brokers=broker_sources([path]))
    judged_triggers(config.triggering_service)
    judged_analyses(config)
    backend_keys, findings = backend_findings(config)
    missing = [(each.key, each.text) for each in notices if each.event == MISSPELT]
    missing += [*missing_keys(config, data_dir is not None), *missing_secrets(config), *backend_keys]
    missing += [*without_effect(config), *open_ports(config), *shared_addresses(config)]
    if config.store.mongo_uri and not is_mongo_address(config.store.mongo_uri):
        missing.append(("store.mongo_uri", "is not an address; want mongodb://host:port/database"))
    notes = [*((each.key, each.text) for each in notices if each.event != MISSPELT), *findings]
    return Checked(
        kind,
        tuple(Found(key, text, True) for key, text in missing),
        tuple(Found(key, text, False) for key, text in notes),
    )


def addresses_that_stay(document: Mapping[str, Any], kind: str, path: str = "") -> tuple[Found, ...]:
    """Addresses with a port in a file that `--port-offset` does not move.

    The cloud moves the default ports of ours, wherever they stand; a gateway and the rule engine move only
    addresses that their file does not have.
    """
    found: list[Found] = []
    for key, value in document.items():
        name = f"{path}{key}"
        if isinstance(value, Mapping):
            room = key if kind == UP_KIND and not path else kind
            found += addresses_that_stay(value, room, f"{name}.")
        elif isinstance(value, list):
            for each in value:
                if isinstance(each, Mapping):
                    found += addresses_that_stay(each, kind, f"{name}.")
        elif isinstance(value, str) and (port := _port_in(key, value)) is not None:
            moves = (kind == "cloud" or kind.startswith("original ")) and key.endswith("_endpoint")
            if not (moves and port in OURS):
                found.append(Found(name, f"{value} stays at {port}: --port-offset does not move it", False))
    return tuple(found)


def _port_in(key: str, value: str) -> int | None:
    """The port of an address of ours, by the setting's name or the number; else None, as of a MongoDB."""
    port = port_of(value)
    return port if key.endswith("endpoint") or ("://" in value and port in OURS) else None


def box_of_original(document: Mapping[str, Any]) -> tuple[Found, ...]:
    """Where each setting of an original Box's file belongs in ours; no value of a secret key is shown."""
    from opq_cloud.core.original.original_settings import ALIKE

    notes = []
    for key, value in document.items():
        if key == "windows_in_storage_buffer" and isinstance(value, int | float):
            text = f"{value * CYCLE_HOURS:.3g} h would be the same; the default is 24 h"
            notes.append(Found(key, f"-> ring_hours: {text}", False))
        elif key in ORIGINAL_BOX:
            shown = f'"{value}"' if key == "box_id" else repr(value).replace("'", '"')
            notes.append(Found(key, f"-> {ORIGINAL_BOX[key]} = {shown}", False))
        elif key in KEYS_ELSEWHERE:
            notes.append(Found(key, KEYS_ELSEWHERE[key], False))
        else:
            absent = [each for each in (*ORIGINAL_BOX, *KEYS_ELSEWHERE) if each not in document]
            near = get_close_matches(key, absent, 1, ALIKE)
            hint = f'did you mean "{near[0]}"?' if near else "not needed here"
            notes.append(Found(key, f"not known, {hint}", bool(near)))
    return tuple(notes)
