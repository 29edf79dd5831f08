"""Configuration of the gateway: TOML or JSON into frozen sections, all problems reported at once."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from opq_plugins.policy_section import RuleEngineSection
from opq_proto.config import reading as configuration
from opq_proto.config.mqtt_section import MqttBrokerSection
from opq_proto.config.reading import Why
from opq_proto.errors import ConfigError
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit import ports
from opq_proto.kit.port_trouble import address_problem
from opq_proto.kit.system_place import default_data_dir
from opq_proto.kit.zmq_addresses import BOUND, CONNECTED
from opq_proto.link.messages import LINK_BAUD
from opq_proto.measurement.fields import BY_KEY, HARMONICS, USUAL

LISTENED: dict[str, Any] = {"pattern": ports.HOST_PORT, "examples": ["127.0.0.1:8888"]}
MAKAI_ENDPOINT: dict[str, Any] = {
    "pattern": CONNECTED,
    "examples": ["tcp://makai.example:9880"],
}
"""libzmq cannot connect to other values, and the uplink would end without a visible reason."""
MIN_CYCLES = 1
"""Fewest mains cycles of a Measurement."""
MAX_CYCLES = 600
"""Most mains cycles of a Measurement: 10 s at 60 Hz."""
MAX_ID = 2**31 - 1
"""A Box's number is an int32 on the original's wire."""


@configuration.section
class UplinkSection:
    """Where Makai listens; without a value: the original's port on loopback, plus --port-offset."""

    trigger_endpoint: Annotated[
        str | None,
        Field(description="address of the triggering broker, e.g. tcp://makai:9880", **MAKAI_ENDPOINT),
        Why("Set it where Makai runs on another machine."),
    ] = None
    command_endpoint: Annotated[
        str | None,
        Field(description="address for commands of the acquisition broker", **MAKAI_ENDPOINT),
        Why("Set it where Makai runs on another machine."),
    ] = None
    response_endpoint: Annotated[
        str | None,
        Field(description="address for answers to the acquisition broker", **MAKAI_ENDPOINT),
        Why("Set it where Makai runs on another machine."),
    ] = None
    queue_messages: Annotated[
        int,
        Field(ge=10, le=1_000_000, description="most measurements per Box that wait for disk and broker"),
        Why("Raise it where the disk pauses for long, such as an SD card under load."),
    ] = 1000
    queue_hours: Annotated[
        float,
        Field(gt=0, le=8784, description="age up to which unacknowledged measurements are kept on disk"),
        Why("Raise it where the connection can fail for longer than a week."),
    ] = 168.0
    queue_mb: Annotated[
        int,
        Field(
            ge=1, le=1_000_000, description="their size on disk for all Boxes; the oldest are deleted first"
        ),
        Why("Raise it for many Boxes and long failures of the connection, and lower it on a small disk."),
    ] = 1000
    backfill_per_s: Annotated[
        float,
        Field(
            ge=1, le=10_000, description="most measurements sent again for all Boxes; new ones have priority"
        ),
        Why("Lower it where the connection is slow and new values must not wait."),
    ] = 500.0
    unacknowledged_s: Annotated[
        float,
        Field(
            gt=0,
            le=3600,
            description="time without acknowledgement after which a broker counts as an original one",
        ),
        Why("Raise it where a broker of ours may be away for longer while its host restarts."),
    ] = 60.0
    resend_s: Annotated[
        float,
        Field(gt=0, le=3600, description="time until unacknowledged measurements are sent again"),
        Why("Raise it on a connection whose acknowledgements take long, such as satellite."),
    ] = 30.0
    in_flight_s: Annotated[
        float,
        Field(ge=0, le=60, description="measurements sent within this time do not count as missing"),
        Why("Raise it on a connection with a delay of seconds, so that nothing is sent twice."),
    ] = 10.0
    heartbeat_s: Annotated[
        float | None,
        Field(gt=0, le=3600, description="ZeroMQ heartbeat; without a value 5 s, in the idle mode 60 s"),
        Why(
            "Raise it where each byte costs money, and lower it where a router forgets idle connections soon."
        ),
    ] = None
    send: Annotated[
        tuple[str, ...],
        Field(
            description=f"metrics of a Measurement: {' '.join(USUAL)}, and {HARMONICS[0]} .. {HARMONICS[-1]}"
            + "".join(f", {key}" for key in BY_KEY if key not in USUAL)
        ),
        Why("Add metrics that rules or pages need, or leave out some where each byte counts."),
    ] = USUAL
    crossings: Annotated[
        str,
        Field(
            description="extra Measurements at once: always, never, auto (to a broker that acknowledges)",
            pattern="^(auto|always|never)$",
        ),
        Why("Set `never` to save messages, or `always` for a broker that shows them without acknowledging."),
    ] = "auto"
    idle: Annotated[
        bool,
        Field(description="send a Measurement only if a value leaves its dead-band, and heartbeats"),
        Why("Set it on a metered connection, because most Measurements are then not sent."),
    ] = False


@configuration.section
class IdleSection:
    """Dead-bands of the idle mode: a change beyond any of them is sent at once."""

    heartbeat_s: Annotated[
        float,
        Field(ge=1, le=3600, description="interval of a Measurement without changes"),
        Why("Raise it to save data, and lower it so that a silent Box is noticed sooner."),
    ] = 60.0
    rms_percent: Annotated[
        float,
        Field(ge=0, le=100, description="change of the rms, of nominal voltage"),
        Why("Raise it where the voltage varies all the time and sends too much."),
    ] = 0.5
    f_hz: Annotated[
        float,
        Field(ge=0, le=10, description="change of the frequency, hertz"),
        Why("Raise it on an island grid whose frequency varies all the time."),
    ] = 0.02
    thd_percent: Annotated[
        float,
        Field(ge=0, le=100, description="change of the THD, percentage points"),
        Why("Raise it near loads that change the distortion all the time."),
    ] = 0.5
    trans_percent: Annotated[
        float,
        Field(ge=0, le=1000, description="change of the largest transient, of nominal voltage"),
        Why("Raise it near machines that switch often."),
    ] = 5.0


@configuration.section
class RingSection:
    """The rings of raw samples; how long is `ring_hours`."""

    most_bytes: Annotated[
        int | None,
        Field(
            ge=10_000_000,
            description="size per Box; the oldest are deleted first. Without a value only ring_hours counts",
        ),
        Why("Set it where the disk is smaller than ring_hours needs."),
    ] = None
    compress: Annotated[
        bool,
        Field(description="sealed segments are compressed in the background, losslessly"),
        Why("Turn it off on a processor that is too slow for it, with a disk of about twice the size."),
    ] = True
    sync_s: Annotated[
        float,
        Field(ge=0.1, le=60, description="interval of writing to disk: the most that a power cut can lose"),
        Why("Raise it to spare an SD card, and lower it where power fails often."),
    ] = 1.0


@configuration.section
class MeasuringSection:
    """What is measured beside the Measurements that go up, and how long it is kept here."""

    flicker: Annotated[
        bool,
        Field(description="measure Pst and Plt of each Box"),
        Why(
            "Turn it off on a slow processor with many Boxes, because it is the dearest of the measurements."
        ),
    ] = True
    detectors: Annotated[
        bool,
        Field(description="find transients, notches, phase jumps, rapid changes, telegrams"),
        Why("Turn it off on a slow processor, where only class A values are needed."),
    ] = True
    signalling_hz: Annotated[
        float,
        Field(ge=0, le=500, description="carrier of the mains signalling whose voltage is measured; 0: none"),
        Why(
            "Set it where a ripple control signals on the mains, such as 175 or 316.667, so that reports "
            "judge its voltage."
        ),
    ] = 0.0
    intervals: Annotated[
        tuple[str, ...],
        Field(
            description="what goes up beside Measurements, to a cloud that acknowledges: 3s, 10s, 10min, 2h, "
            "disturbances; 3s costs 400 B/s per Box, 10s 12, the others 3 together"
        ),
        Why("Add 3s or 10s for finer reports, and remove what no report needs on a metered connection."),
    ] = ("10min", "2h", "disturbances")
    values_days: Annotated[
        float,
        Field(gt=0, le=3660, description="how long values of 3 s, 10 s, 10 min and 2 h are kept"),
        Why("Raise it where reports are made from the gateway itself."),
    ] = 30.0
    windows_hours: Annotated[
        float,
        Field(ge=0, le=8784, description="how long 10/12-cycle values are kept"),
        Why("Raise it to look at details of an older event, and lower it on a small disk."),
    ] = 24.0
    half_cycles_mb: Annotated[
        int,
        Field(
            ge=0,
            le=100_000,
            description="size of Urms(1/2) of dips and swells per Box, kept for values_days at most",
        ),
        Why("Raise it where dips last for hours, such as on a weak grid."),
    ] = 64
    dip_percent: Annotated[
        float,
        Field(gt=0, le=100, description="threshold in percent of nominal, on Urms(1/2)"),
        Why("Change it where a contract or a national standard has another threshold."),
    ] = 90.0
    swell_percent: Annotated[
        float,
        Field(ge=100, le=1000, description="of nominal"),
        Why("Change it where a contract or a national standard has another threshold."),
    ] = 110.0
    interruption_percent: Annotated[
        float,
        Field(gt=0, le=100, description="of nominal"),
        Why("Change it where a contract or a national standard has another threshold, such as 5."),
    ] = 10.0
    hysteresis_percent: Annotated[
        float,
        Field(ge=0, le=50, description="of nominal"),
        Why("Raise it where a noisy voltage near a threshold makes many short dips of one."),
    ] = 2.0


@configuration.section
class GroupSection:
    """Three Boxes on the three phases of one place: unbalance is measured of them."""

    name: Annotated[
        str,
        Field(description="name of the place", pattern="^[A-Za-z0-9_-]{1,32}$", examples=["north"]),
        Why("Choose a name that people know, because pages and topics show it."),
    ]
    boxes: Annotated[
        tuple[str, str, str],
        Field(description="ids of the Boxes on L1, L2, L3"),
        Why("Put them in the order of the phases, because the sign of the unbalance depends on it."),
    ]


@configuration.section
class PhasorsSection:
    """A C37.118.2 stream for PMU clients; off without an endpoint."""

    endpoint: Annotated[
        str | None,
        Field(description="host:port to listen on, e.g. 127.0.0.1:4712", **LISTENED),
        Why("Set it where a phasor data concentrator reads this gateway."),
    ] = None
    reports_per_s: Annotated[
        int,
        Field(ge=1, le=120, description="reports a second"),
        Why("Set the rate that the concentrator expects."),
    ] = 10
    pmu_class: Annotated[
        str,
        Field(description="P (fast) or M (accurate)", pattern="^[PM]$"),
        Why(
            "Choose P for protection and fast events, and M where interference between harmonics "
            "matters more."
        ),
    ] = "P"
    id_code: Annotated[
        int,
        Field(ge=1, le=65534, description="id code of the stream; a Box has its id"),
        Why("Change it where another PMU of the concentrator has this number."),
    ] = 7734
    wait_s: Annotated[
        float,
        Field(ge=0, le=10, description="longest time that a frame waits for a late Box"),
        Why("Raise it where frames lack Boxes that are late, and lower it where the delay matters more."),
    ] = 1.0


@configuration.section
class MqttSection(MqttBrokerSection):
    """Measured values to an MQTT broker, with Home Assistant's discovery; off without a host."""

    topic: Annotated[
        str,
        Field(description="prefix of all topics", pattern="^[^#+\\s]+$", examples=["opq"]),
        Why("Change it where several systems share a broker."),
    ] = "opq"
    every_s: Annotated[
        float,
        Field(ge=1, le=3600, description="interval at which values of a Box are published"),
        Why("Lower it for livelier values, at the price of as many more messages."),
    ] = 10.0
    name: Annotated[
        str | None,
        Field(
            description="name of this gateway in topics, unique at the broker; by default the name of the "
            "host, with letters of the machine",
            pattern="^[A-Za-z0-9_-]{1,64}$",
            examples=["gateway-north"],
        ),
        Why("Set it where two gateways have the same host name."),
    ] = None


@configuration.section
class SetupSection:
    """The set-up page (Wi-Fi, Boxes); off without an endpoint."""

    endpoint: Annotated[
        str | None,
        Field(description="host:port, e.g. 0.0.0.0:8888 on a Raspberry Pi", **LISTENED),
        Why("Set it to set up Wi-Fi and Boxes from a browser."),
    ] = None
    password_file: Annotated[
        Path | None,
        Field(description="password file, needed beyond loopback and the access point; user opq"),
        Why("Set it before the page is reachable from other machines."),
    ] = None
    wifi: Annotated[
        bool,
        Field(description="manage Wi-Fi, with an access point when there is no network"),
        Why("Set it on a gateway that is carried to a place whose network is not known."),
    ] = False
    ssid: Annotated[
        str,
        Field(description="name of the access point", min_length=1, max_length=32),
        Why("Change it where several gateways are set up side by side."),
    ] = "OPQ"


@configuration.section
class RulesSection(RuleEngineSection):
    """Stream rules at the edge, with REST for them (extra "rules"); `data_dir` is D/gateway by default."""

    enabled: Annotated[
        bool,
        Field(description="run rules in the gateway's process"),
        Why("Set it to act at the place itself, also without a connection to the cloud."),
    ] = False
    endpoint: Annotated[
        str | None,
        Field(
            description="host:port of REST; without a value: 127.0.0.1:9081. Beyond loopback: token_file",
            **LISTENED,
        ),
        Why("Set it beyond loopback where rules are managed from another machine."),
    ] = None
    windows_endpoint: Annotated[
        str | None,
        Field(
            description="raw samples for other rule engines, in clear, e.g. tcp://127.0.0.1:9886",
            pattern=BOUND,
            examples=["tcp://127.0.0.1:9886"],
        ),
        Why("Set it where another program reads raw samples, such as eKuiper."),
    ] = None


@configuration.section
class PowerSection:
    """Orderly end when the supply fails."""

    fail_input: Annotated[
        Path | None,
        Field(description="a file that reads 1 when power fails, e.g. a GPIO's value"),
        Why("Set it where a UPS or a capacitor reports that the supply failed."),
    ] = None
    wait_s: Annotated[
        float,
        Field(ge=0, le=3600, description="shortest failure that counts"),
        Why("Raise it where the energy lasts for longer failures, so that short ones end nothing."),
    ] = 2.0
    command: Annotated[
        tuple[str, ...],
        Field(description="command to run at the end, e.g. systemctl poweroff; empty: none"),
        Why("Set it so that the machine also ends before its energy does."),
    ] = ()


@configuration.section
class UpdateSection:
    """Updates of the gateway itself and of its Boxes' firmware (docs/updates.md); off without a url."""

    url: Annotated[
        str | None,
        Field(
            description="address of the repository, e.g. http://makai.example:8151",
            pattern=ports.WEB_ADDRESS,
            examples=["http://makai.example:8151"],
        ),
        Why("Set it so that gateway and firmware are updated from your repository."),
    ] = None
    group: Annotated[
        str,
        Field(
            description="group of this gateway in roll-outs",
            pattern="^[A-Za-z0-9_-]{0,32}$",
            examples=["early"],
        ),
        Why("Set it to try updates at some gateways before the others get them."),
    ] = ""


@configuration.section
class KeysSection:
    """CURVE key files (docs/reference/contracts.md, Keys)."""

    folder: Annotated[
        Path | None,
        Field(description="folder with private_keys/ and public_keys/; without a value D/curve"),
        Why("Set it where the keys are on another disk, or are shared with a cloud on this machine."),
    ] = None


@configuration.section
class BoxSection:
    """One Box and the serial port it is on."""

    id: Annotated[
        str,
        Field(description="number of the Box", pattern="^(0|[1-9][0-9]{0,9})$", examples=["1"]),
        Why("Use the number that the Box has in the cloud, because its key and its history belong to it."),
    ]
    port: Annotated[
        str,
        Field(
            description="e.g. /dev/serial/by-id/usb-OPQ_Box_3-if00, socket://host:port or rfc2217://host:port",
            min_length=1,
        ),
        Why(
            "Name the link below /dev/serial/by-id, because it stays the same when another device "
            "is plugged in."
        ),
    ]
    baud: Annotated[
        int,
        Field(ge=9600, le=12_000_000, description="speed of a real serial line"),
        Why("Change it with a firmware that has another speed, or behind a converter that is slower."),
    ] = LINK_BAUD


@configuration.section
class Config:
    """Configuration of the gateway; `opq-tools config check FILE` says what is wrong with one."""

    box: Annotated[tuple[BoxSection, ...], Field(description="one [[box]] table per Box")]
    data_dir: Annotated[
        Path | None,
        Field(description="D: ring, sequences, keys; without a value: ~/.local/share/opq"),
        Why("Set it to put the ring on a larger disk, or one that bears constant writing."),
    ] = None
    ring_hours: Annotated[
        float,
        Field(gt=0, le=8784, description="how long raw samples are kept; 93 MB per Box and hour"),
        Why("Raise it where the cloud requests waveforms of yesterday, and lower it on a small disk."),
    ] = 24.0
    measurement_cycles: Annotated[
        int,
        Field(ge=MIN_CYCLES, le=MAX_CYCLES, description="cycles per Measurement"),
        Why("Lower it for values every few cycles, at the price of as many more messages."),
    ] = 60
    longest_request_s: Annotated[
        float,
        Field(gt=0, le=3600, description="longest span with which a data request is answered"),
        Why("Raise it for longer waveforms in one request, which take memory while they are sent."),
    ] = 120.0
    health_endpoint: Annotated[
        str | None,
        Field(description="host:port; without a value: 127.0.0.1:8913", **LISTENED),
        Why("Set an address beyond loopback where a monitoring system elsewhere reads the health."),
    ] = None
    uplink: UplinkSection = UplinkSection()
    idle: IdleSection = IdleSection()
    keys: KeysSection = KeysSection()
    ring: RingSection = RingSection()
    measuring: MeasuringSection = MeasuringSection()
    group: Annotated[tuple[GroupSection, ...], Field(description="one [[group]] table per place")] = ()
    phasors: PhasorsSection = PhasorsSection()
    mqtt: MqttSection = MqttSection()
    setup: SetupSection = SetupSection()
    rules: RulesSection = RulesSection()
    power: PowerSection = PowerSection()
    update: UpdateSection = UpdateSection()


def load(path: Path | None, data_dir: Path | None = None, port_offset: int = 0) -> Config:
    """The configuration with every default filled in.

    Raises:
        ConfigError: not readable or wrong; the text lists all problems.
    """
    overrides = {} if data_dir is None else {"data_dir": str(data_dir)}
    config = configuration.load(Config, path, overrides)
    if not config.box:
        raise ConfigError(
            f"{path or 'configuration'}: box: want at least one [[box]] table, nothing was started"
        )
    if wrong := [
        f"{port!r}: {text}" for port in (box.port for box in config.box) if (text := address_problem(port))
    ]:
        where = "configuration" if path is None else path.name
        raise ConfigError(f"{where}: box.port is {'; '.join(wrong)}; nothing was started")
    ids = [box.id for box in config.box]
    devices = [box.port for box in config.box]
    if large := [box_id for box_id in ids if int(box_id) > MAX_ID]:
        where = "configuration" if path is None else path.name
        raise ConfigError(f"{where}: box.id {', '.join(large)}: above {MAX_ID}, nothing was started")
    for what, values in (("id", ids), ("port", devices)):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            where = "configuration" if path is None else path.name
            raise ConfigError(f"{where}: box.{what} {', '.join(twice)} is given twice, nothing was started")
    try:
        return _filled(config, port_offset)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _filled(config: Config, port_offset: int) -> Config:
    folder = config.data_dir or default_data_dir()
    uplink = config.uplink
    return replace(
        config,
        data_dir=folder,
        keys=replace(config.keys, folder=config.keys.folder or folder / "curve"),
        health_endpoint=config.health_endpoint
        or f"127.0.0.1:{ports.with_offset('gateway_health', port_offset)}",
        rules=replace(
            config.rules,
            endpoint=config.rules.endpoint or f"127.0.0.1:{ports.with_offset('rules', port_offset)}",
        ),
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
