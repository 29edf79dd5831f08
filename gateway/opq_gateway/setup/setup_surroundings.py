"""Surroundings: checks what a configuration needs on this machine, without starting anything."""

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from opq_gateway.config import Config, data_folder, key_folder
from opq_gateway.setup import saved
from opq_gateway.setup.adapters import equal_adapters
from opq_measure.events.limits import Limits
from opq_plugins.sandbox import landlock
from opq_proto.errors import ConfigError, KeyFileError, problem_count
from opq_proto.keys.key_files import read_secret_file, read_server_key
from opq_proto.kit import log
from opq_proto.measurement.fields import BY_KEY, HARMONICS, SENDABLE

WPA_LENGTHS = range(8, 64)
"""Lengths of a passphrase (IEEE 802.11, J.4.1): the set-up password is also that of the access point."""


@dataclass(frozen=True, slots=True)
class Found:
    """A finding about a key of the configuration; `fatal`: the gateway cannot start, or serves no Box."""

    key: str
    text: str
    fatal: bool


def check(config: Config) -> tuple[Found, ...]:
    """All problems around `config`; empty where everything is right."""
    return (
        *_keys(config),
        *_data(config),
        *_boxes(config),
        *_limits(config),
        *_files(config),
        *_addresses(config),
        *_setup(config),
        *_plugins(config),
        *without_effect(config),
        *_saved(config),
    )


def refuse(config: Config) -> None:
    """Runs before a start: logs warnings, and raises where the gateway would serve no Box.

    Key files and the data folder are left out: the gateway itself reports what to do about them.

    Raises:
        ConfigError: all problems in one text.
    """
    found = [*_boxes(config), *_limits(config), *_files(config), *_addresses(config)]
    found += [*_setup(config), *_plugins(config)]
    fatal = [item for item in found if item.fatal]
    if fatal:
        width = max(len(item.key) for item in fatal) + 2
        lines = [f"  {item.key.ljust(width)}{item.text}" for item in fatal]
        raise ConfigError("\n".join([f"configuration: {problem_count(fatal)}, nothing was started", *lines]))
    for item in found:
        log.get(service="gateway").warning("config.noted", key=item.key, reason=item.text)


def _limits(config: Config) -> Iterator[Found]:
    wanted = config.measuring
    try:
        Limits(
            wanted.dip_percent, wanted.swell_percent, wanted.interruption_percent, wanted.hysteresis_percent
        )
    except ValueError as error:
        yield Found("measuring", str(error), True)


def _plugins(config: Config) -> Iterator[Found]:
    if not config.rules.enabled:
        return
    if why := landlock.why_not():
        yield Found("rules.plugins", f"no unsigned plug-in starts here: {why}", False)


def without_effect(config: Config) -> Iterator[Found]:
    """Sections of a part that is off: what they state would not happen."""
    no_rules = "rules.enabled is not set; what rules of the cloud may do is triggering_service.rules.plugins"
    for key, section, is_on, why in (
        ("rules.plugins", config.rules.plugins, config.rules.enabled, no_rules),
        ("mqtt", config.mqtt, config.mqtt.host is not None, "mqtt.host is missing"),
        ("phasors", config.phasors, config.phasors.endpoint is not None, "phasors.endpoint is missing"),
    ):
        if not is_on and section != type(section)():
            yield Found(key, f"is without effect: {why}", True)


def _keys(config: Config) -> Iterator[Found]:
    keys = key_folder(config)
    wanted = [(keys.server_public, False), *((keys.box_secret(box.id), True) for box in config.box)]
    for path, secret in wanted:
        try:
            (read_secret_file if secret else read_server_key)(path)
        except KeyFileError as error:
            yield Found("keys.folder", str(error), True)
            continue
        if secret and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield Found("keys.folder", f"{path} can be read by others: chmod 600", False)


def _data(config: Config) -> Iterator[Found]:
    folder = data_folder(config)
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        yield Found("data_dir", f"{there} cannot be written by this user", True)


def _boxes(config: Config) -> Iterator[Found]:
    ids = {box.id for box in config.box}
    for index, box in enumerate(config.box):
        if "://" in box.port:
            continue
        if not Path(box.port).exists():
            yield Found(f"box[{index}].port", f"{box.port} is not there now; the gateway waits for it", False)
        elif not os.access(box.port, os.R_OK | os.W_OK):
            text = f"{box.port} cannot be opened by this user; is it in the group dialout?"
            yield Found(f"box[{index}].port", text, False)
        elif box.port.startswith(("/dev/ttyACM", "/dev/ttyUSB")):
            text = f"{box.port} changes when another is plugged in; /dev/serial/by-id/... does not"
            yield Found(f"box[{index}].port", text, False)
    for text in equal_adapters(box.port for box in config.box):
        yield Found("box", text, False)
    for index, group in enumerate(config.group):
        strangers = sorted(set(group.boxes) - ids)
        if strangers:
            yield Found(f"group[{index}].boxes", f"no [[box]] has the id {', '.join(strangers)}", True)
        if len(set(group.boxes)) < len(group.boxes):
            yield Found(f"group[{index}].boxes", "names a Box twice; want three different Boxes", True)
    unknown = sorted(set(config.uplink.send) - SENDABLE)
    if unknown:
        known = f"{', '.join(sorted(BY_KEY))}, {HARMONICS[0]} .. {HARMONICS[-1]}"
        text = f"{', '.join(unknown)}: no such metric; there are {known}"
        yield Found("uplink.send", text, True)


def _files(config: Config) -> Iterator[Found]:
    if config.mqtt.host is not None:
        for key, path in (
            ("mqtt.password_file", config.mqtt.password_file),
            ("mqtt.ca_file", config.mqtt.ca_file),
        ):
            if path is not None and not os.access(path, os.R_OK):
                yield Found(key, f"{path} cannot be read", True)
    fails = config.power.fail_input
    if fails is not None and not os.access(fails, os.R_OK):
        yield Found("power.fail_input", f"{fails} cannot be read now; until then power counts as good", False)


def _addresses(config: Config) -> Iterator[Found]:
    uplink = config.uplink
    named = {
        "health_endpoint": config.health_endpoint,
        "uplink.trigger_endpoint": uplink.trigger_endpoint,
        "uplink.command_endpoint": uplink.command_endpoint,
        "uplink.response_endpoint": uplink.response_endpoint,
        "phasors.endpoint": config.phasors.endpoint,
        "setup.endpoint": config.setup.endpoint,
    }
    for key, endpoint in named.items():
        if endpoint is None or endpoint.startswith("ipc://"):
            continue
        if int(endpoint.rpartition(":")[2]) > 65_535:
            yield Found(key, f"is {endpoint!r}; a port is 65535 at most", True)


def _saved(config: Config) -> Iterator[Found]:
    """Settings from the set-up page that override `config`, because they are easily overlooked."""
    file = saved.path_of(config)
    try:
        held = saved.with_settings(config, json.loads(file.read_bytes()))
    except FileNotFoundError:
        return
    except (OSError, ValueError, ConfigError) as error:
        yield Found("setup", f"{file} is broken and is not used: {error}", False)
        return
    own, other = saved.settings_of(config), saved.settings_of(held)
    for name, value in other.items():
        if own[name] != value:
            key = "measurement_cycles" if name == saved.CYCLES else f"uplink.{saved.NAMES[name]}"
            yield Found(key, f"{value!r} was set on the set-up page and overrides this; see {file}", False)


def _setup(config: Config) -> Iterator[Found]:
    setup = config.setup
    if setup.endpoint is None:
        if setup.wifi:
            yield Found("setup.wifi", "the access point needs setup.endpoint", True)
        return
    if setup.password_file is None:
        host = setup.endpoint.rpartition(":")[0]
        if setup.wifi or not host.startswith("127."):
            text = "missing: beyond loopback the page wants a password, and the access point a key"
            yield Found("setup.password_file", text, True)
        return
    try:
        password = read_password(setup.password_file)
    except OSError as error:
        yield Found("setup.password_file", f"{setup.password_file}: {error.strerror}", True)
        return
    if len(password.encode()) not in WPA_LENGTHS:
        yield Found(
            "setup.password_file", "want 8 to 63 characters, as it is the access point's key too", True
        )
    elif setup.password_file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Found("setup.password_file", f"{setup.password_file} can be read by others: chmod 600", False)


def read_password(path: Path) -> str:
    """The first line of a password file, without its end.

    Raises:
        OSError: it cannot be read.
    """
    text = path.read_bytes().decode("utf-8", "replace")
    return text.splitlines()[0] if text else ""
