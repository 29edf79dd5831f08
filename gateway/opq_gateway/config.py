"""Configuration of the gateway: TOML or JSON into frozen sections, all problems told at once."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from opq_proto import config as configuration
from opq_proto import ports
from opq_proto.errors import ConfigError
from opq_proto.keys import KeyFolder


@configuration.section
class Uplink:
    """Where Makai listens; without a value: the original's port on loopback, plus --port-offset."""

    trigger_endpoint: Annotated[
        str | None, Field(description="triggering broker, e.g. tcp://makai:9880", pattern="^(tcp|ipc)://")
    ] = None
    command_endpoint: Annotated[
        str | None, Field(description="acquisition broker, commands", pattern="^(tcp|ipc)://")
    ] = None
    response_endpoint: Annotated[
        str | None, Field(description="acquisition broker, answers", pattern="^(tcp|ipc)://")
    ] = None
    queue_messages: Annotated[
        int, Field(ge=10, le=1_000_000, description="measurements per Box that wait for a slow broker")
    ] = 1000


@configuration.section
class Keys:
    """CURVE key files (contracts.md, Keys)."""

    folder: Annotated[
        Path | None, Field(description="holds private_keys/ and public_keys/; without a value: D/curve")
    ] = None


@configuration.section
class BoxPort:
    """One Box and the serial port it is on."""

    id: Annotated[str, Field(description="number of the Box", pattern="^(0|[1-9][0-9]{0,9})$")]
    port: Annotated[
        str,
        Field(description="e.g. /dev/serial/by-id/usb-OPQ_Box_3-if00 or socket://host:port", min_length=1),
    ]
    baud: Annotated[int, Field(ge=9600, le=12_000_000, description="speed of a real serial line")] = 921_600


@configuration.section
class Config:
    """All of it."""

    box: Annotated[tuple[BoxPort, ...], Field(description="one [[box]] table per Box")]
    data_dir: Annotated[
        Path | None, Field(description="D: ring, sequences, keys; without a value: ~/.local/share/opq")
    ] = None
    ring_hours: Annotated[
        float, Field(gt=0, le=8784, description="raw samples kept; 97 MB per Box and hour")
    ] = 1.0
    measurement_cycles: Annotated[int, Field(ge=1, le=600, description="cycles per Measurement")] = 60
    longest_request_s: Annotated[
        float, Field(gt=0, le=3600, description="a data request is answered with so much at most")
    ] = 120.0
    health_endpoint: Annotated[
        str | None, Field(description="host:port; without a value: 127.0.0.1:8913", pattern=r"^[^/]+:\d+$")
    ] = None
    uplink: Uplink = Uplink()
    keys: Keys = Keys()


def load(path: Path | None, data_dir: Path | None = None, port_offset: int = 0) -> Config:
    """The configuration with every default filled in.

    Raises:
        ConfigError: not readable, or wrong somewhere: all problems in one text.
    """
    overrides = {} if data_dir is None else {"data_dir": str(data_dir)}
    config = configuration.load(Config, path, overrides)
    if not config.box:
        raise ConfigError(
            f"{path or 'configuration'}: box: want at least one [[box]] table, nothing was started"
        )
    ids = [box.id for box in config.box]
    devices = [box.port for box in config.box]
    for what, values in (("id", ids), ("port", devices)):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            where = "configuration" if path is None else path.name
            raise ConfigError(
                f"{where}: box.{what} {', '.join(twice)} stands there twice, nothing was started"
            )
    try:
        return _filled(config, port_offset)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _filled(config: Config, port_offset: int) -> Config:
    folder = config.data_dir or configuration.default_data_dir()
    uplink = config.uplink
    return replace(
        config,
        data_dir=folder,
        keys=replace(config.keys, folder=config.keys.folder or folder / "curve"),
        health_endpoint=config.health_endpoint
        or f"127.0.0.1:{ports.with_offset('gateway_health', port_offset)}",
        uplink=replace(
            uplink,
            trigger_endpoint=uplink.trigger_endpoint or ports.endpoint("triggering_box", port_offset),
            command_endpoint=uplink.command_endpoint or ports.endpoint("command_box", port_offset),
            response_endpoint=uplink.response_endpoint or ports.endpoint("response_box", port_offset),
        ),
    )


def box_folder(config: Config, box_id: str) -> Path:
    """D/gateway/box<ID>: the ring and the sequence of a Box."""
    return data_folder(config) / f"box{box_id}"


def data_folder(config: Config) -> Path:
    """D/gateway."""
    assert config.data_dir is not None
    return config.data_dir / "gateway"


def key_folder(config: Config) -> KeyFolder:
    """The key files."""
    assert config.keys.folder is not None
    return KeyFolder(config.keys.folder)
