"""Configurations of the toolkit and of the original, known by their keys, and loaded as their services do."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opq_gateway.local.surroundings import Found
from opq_proto.config_fields import fields_of

ORIGINAL_BOX = {
    "box_id": "box.id",
    "trg_push_ep": "uplink.trigger_endpoint",
    "cmd_sub_ep": "uplink.command_endpoint",
    "cmd_push_ep": "uplink.response_endpoint",
    "windows_per_measurements": "measurement_cycles",
    "windows_per_measurement": "measurement_cycles",
    "windows_in_storage_buffer": "ring_hours",
}
"""Keys of the original's triggering.json / opqbox_config.json (opq-interop G.1) -> ours."""
ELSEWHERE = {
    "calibration": "counts per volt; here each Box tells its gain: opq-tools calibrate",
    "device_path": "a kernel device of the original's SPI line; here box.port, a serial port",
    "server_public_key": "a key in text; here a file: curve/public_keys/opqserver.key",
    "box_secret_key": "a key in text; here a file: curve/private_keys/opqbox<ID>_secret",
    "box_public_key": "a key in text; here a file: curve/public_keys/opqbox<ID>.key",
    "plugins": "shared libraries; here the features are the measurement core's",
    "updates_ep": "here firmware comes signed, over the uplink or by opq-tools flash",
    "sse_interface": "here [mqtt], and /measured on the health address",
}
CYCLE_HOURS = 1 / 60 / 3600
"""Of a window of the original: 200 samples."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a file is, and everything found: problems end a start, notes do not."""

    kind: str
    problems: tuple[Found, ...] = ()
    notes: tuple[Found, ...] = ()


def kind_of(document: Mapping[str, Any]) -> str:
    """`gateway`, `cloud`, `rules`, `original Box`, or `original <service>`."""
    if {"trg_push_ep", "cmd_sub_ep", "cmd_push_ep"} & document.keys():
        return "original Box"
    from opq_cloud import original_config
    from opq_cloud.config import CloudConfig
    from opq_gateway.config import Config
    from opq_rules.api.config import Config as RulesConfig

    original = original_config.kind_of(document)
    if original is not None:
        return f"original {original.replace('_', ' ')}"
    scores = {
        name: len(document.keys() & fields_of(cls).keys())
        for name, cls in (("gateway", Config), ("cloud", CloudConfig), ("rules", RulesConfig))
    }
    return max(scores, key=lambda name: scores[name])  # the gateway where none is known


def check(path: Path, document: Mapping[str, Any], kind: str, data_dir: Path | None) -> Checked:
    """Load it as its service does, and look around.

    Raises:
        ConfigError: it is wrong; the text has every problem.
    """
    if kind == "original Box":
        return Checked(kind, notes=box_of_original(document))
    if kind == "rules":
        from opq_rules.api.config import load

        load(path, data_dir)
        return Checked(kind)
    if kind != "gateway":
        from opq_cloud.original_config import read_config

        read_config([path], None if data_dir is None else {"data_dir": str(data_dir)})
        return Checked(kind)
    from opq_gateway import config
    from opq_gateway.local.surroundings import look

    found = look(config.load(path, data_dir))
    return Checked(
        kind, tuple(item for item in found if item.fatal), tuple(item for item in found if not item.fatal)
    )


def box_of_original(document: Mapping[str, Any]) -> tuple[Found, ...]:
    """What of an original Box's file has a place in `gateway.toml`; no value of a key is shown."""
    notes = []
    for key, value in document.items():
        if key == "windows_in_storage_buffer" and isinstance(value, int | float):
            text = f"{value * CYCLE_HOURS:.3g} h would be the same; the default is 24 h"
            notes.append(Found(key, f"-> ring_hours: {text}", False))
        elif key in ORIGINAL_BOX:
            shown = f'"{value}"' if key == "box_id" else repr(value).replace("'", '"')
            notes.append(Found(key, f"-> {ORIGINAL_BOX[key]} = {shown}", False))
        elif key in ELSEWHERE:
            notes.append(Found(key, ELSEWHERE[key], False))
        else:
            notes.append(Found(key, "not known, and not needed here", False))
    return tuple(notes)
