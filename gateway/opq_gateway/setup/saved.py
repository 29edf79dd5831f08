"""Saved: the few settings that the set-up page may change, stored with the data and applied over the file.

gateway.toml is not changed. D/gateway/setup.json has the settings of the page, in the original's names
(docs/reference/opq-interop.md G.1); they take effect at the next start.
"""

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from opq_gateway import config as gateway_config
from opq_gateway.config import MAX_CYCLES, MIN_CYCLES, Config, data_folder
from opq_gateway.counters import BoxCounters
from opq_proto.config import reading as configuration
from opq_proto.errors import ConfigError
from opq_proto.kit import log
from opq_proto.kit.watchdog import Notifier
from opq_proto.kit.whole_file import write_whole_file

NAMES = {
    "trg_push_ep": "trigger_endpoint",
    "cmd_sub_ep": "command_endpoint",
    "cmd_push_ep": "response_endpoint",
}
"""The original's names and ours, in [uplink]."""
CYCLES = "windows_per_measurements"
MAX_BYTES = 65_536
ANSWER_S = 1.0
"""Time for the page's answer to leave before the gateway restarts."""


def path_of(config: Config) -> Path:
    """D/gateway/setup.json."""
    return data_folder(config) / "setup.json"


def settings_of(config: Config) -> dict[str, str | int]:
    """The present values of the settings that the page may change."""
    uplink = config.uplink
    return {
        **{name: str(getattr(uplink, ours)) for name, ours in NAMES.items()},
        CYCLES: config.measurement_cycles,
    }


def load_saved(path: Path | None, data_dir: Path | None = None, port_offset: int = 0) -> Config:
    """As `config.load`, with the saved settings applied; a broken saved file is logged and ignored.

    Raises:
        ConfigError: as in `config.load`.
    """
    config = gateway_config.load(path, data_dir, port_offset)
    file = path_of(config)
    try:
        text = file.read_bytes()[:MAX_BYTES]
        return with_settings(config, json.loads(text))
    except FileNotFoundError:
        return config
    except (OSError, ValueError, ConfigError) as error:
        log.get(service="gateway").error("setup.saved_unusable", path=str(file), reason=str(error))
        return config


def save(config: Config, document: Mapping[str, Any]) -> dict[str, str | int]:
    """Saves the settings in `document`, all or none; returns what is now saved.

    Raises:
        ConfigError: something in it is wrong, or may not be changed here.
        OSError: the disk does not take it.
    """
    with_settings(config, document)  # raises if they are wrong by themselves
    file = path_of(config)
    merged = {**_held(config, file), **document}  # other settings stay as in gateway.toml
    now = settings_of(with_settings(config, merged))
    changed = {name: value for name, value in now.items() if name in merged}
    write_whole_file(file, [json.dumps(changed, indent=1).encode(), b"\n"], 0o600)
    return changed


def save_and_restart(
    config: Config, stop: threading.Event, counters: BoxCounters, settings: Mapping[str, Any]
) -> bool:
    """Saves as `save`; True: the service manager restarts the gateway with the settings."""
    changed = save(config, settings)
    counters.add("setup_saved")
    log.get(service="gateway").info("setup.saved", **changed)
    again = Notifier().listening
    if again:
        timer = threading.Timer(ANSWER_S, stop.set)
        timer.daemon = True
        timer.start()
    return again


def _held(config: Config, file: Path) -> dict[str, Any]:
    """The settings saved before; empty where they cannot be used."""
    try:
        document = json.loads(file.read_bytes()[:MAX_BYTES])
        with_settings(config, document)
    except (OSError, ValueError, ConfigError):
        return {}
    return dict(document)


def with_settings(config: Config, document: Mapping[str, Any]) -> Config:
    """`config` with these settings; raises ConfigError with every problem."""
    if not isinstance(document, Mapping):
        raise ConfigError("box_config: want a JSON object of settings")
    foreign = sorted(key for key in document if key not in NAMES and key != CYCLES)
    if foreign:
        raise ConfigError(
            f"{', '.join(map(str, foreign))}: cannot be set here; set it in the gateway's own file"
        )
    ours = {NAMES[key]: value for key, value in document.items() if key in NAMES}
    uplink = configuration.build(gateway_config.UplinkSection, ours, "box_config")
    cycles = document.get(CYCLES, config.measurement_cycles)
    if not isinstance(cycles, int) or isinstance(cycles, bool) or not MIN_CYCLES <= cycles <= MAX_CYCLES:
        raise ConfigError(
            f"box_config: {CYCLES} is {cycles!r}; want a whole number from {MIN_CYCLES} to {MAX_CYCLES}"
        )
    given = {name: value for name in ours if (value := getattr(uplink, name)) is not None}
    return replace(config, uplink=replace(config.uplink, **given), measurement_cycles=cycles)
