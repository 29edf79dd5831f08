"""Configuration of the cloud: one frozen section per service, defaults = the original's addresses.

Read by `opq_proto.config.load` from TOML (sections as below) or, key for key, from the
original's JSON (`original_config.py`). Addresses are on loopback until a file says
otherwise; `endpoint_ports.py` checks and moves their ports.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from opq_cloud.mauka_settings import (
    AnalysisWorkersSection,
    InstalledAnalysesSection,
    MoreSamplesSection,
    OutageSection,
    SystemStatsSection,
)
from opq_cloud.notification_settings import NotificationsSection
from opq_cloud.view_settings import MailSection, OpenIdSection, RuleEngineEntry
from opq_plugins.policy_section import PluginRules
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_proto.config import Field, section
from opq_proto.decision import Nominal
from opq_proto.keys import KeyFolder


@section
class CloudKeysSection:
    """CURVE keys (contracts.md, "Keys")."""

    folder: Annotated[
        Path | None, Field(description="folder with private_keys/ and public_keys/; none: D/curve")
    ] = None
    server_secret: Annotated[
        Path | None, Field(description="the server's private key file; none: private_keys/opqserver_secret")
    ] = None
    public_keys: Annotated[
        Path | None, Field(description="folder with the public keys of admitted Boxes; none: public_keys/")
    ] = None
    white_list: Annotated[
        bool,
        Field(description="also admit Boxes by public_key in the store's opq_boxes"),
    ] = False
    shared_keys: Annotated[
        Literal["refuse", "warn"],
        Field(description="if Boxes share a key: refuse all but the first, or admit all and warn"),
    ] = "refuse"


@section
class BackendKeysSection:
    """Where services meet: 9881 to 9885, 9899, 9777, 10000, 10001, 12000 (docs/configuration.md)."""

    enabled: Annotated[
        bool, Field(description="these addresses require CURVE keys; false: in clear, as in the original")
    ] = False
    folder: Annotated[
        Path | None,
        Field(description="folder of `opq-tools keys backend add`; none: backend in the data folder"),
    ] = None
    name: Annotated[
        str,
        Field(pattern="^[a-z0-9][a-z0-9-]{0,31}$", description="name of the key with which services connect"),
    ] = "cloud"
    clear_ports: Annotated[
        tuple[Annotated[int, Field(ge=1, le=65535)], ...],
        Field(description="ports that stay in clear for an original program, e.g. 9881"),
    ] = ()


@section
class StoreSection:
    """Where measurements, events and incidents are kept."""

    mongo_uri: Annotated[str | None, Field(description="mongodb://…; none: embedded in data_dir")] = None
    data_dir: Annotated[
        Path | None, Field(description="folder of the embedded store; none: the global data_dir")
    ] = None
    measurements_s: Annotated[
        int | None,
        Field(
            ge=1,
            le=2**31 - 1,
            description="TTL written into laha_config at each start; none: leave it unchanged",
        ),
    ] = None
    shared: Annotated[
        bool,
        Field(description="several Makais use this store: one event service and one Mauka work at a time"),
    ] = False


@section
class TriggeringBrokerSection:
    box_endpoint: Annotated[str, Field(description="Boxes send measurements here (CURVE)")] = (
        "tcp://127.0.0.1:9880"
    )
    backend_endpoint: Annotated[str, Field(description="subscribers read measurements here")] = (
        "tcp://127.0.0.1:9881"
    )
    send_queue_messages: Annotated[
        int, Field(ge=1, le=10_000_000, description="longest queue for each subscriber")
    ] = 100_000
    receive_queue_bytes: Annotated[
        int,
        Field(
            ge=100_000,
            le=10**11,
            description="longest queue of all Boxes; with more, the oldest message is dropped",
        ),
    ] = 100_000_000
    box_messages_per_s: Annotated[
        int, Field(ge=10, le=10_000_000, description="limit for one Box; more is dropped")
    ] = 5_000
    box_bytes_per_s: Annotated[
        int, Field(ge=10_000, le=10**10, description="limit for one Box; more is dropped")
    ] = 4_000_000
    trace: Annotated[bool, Field(description="log a line per measurement (latency runs only)")] = False
    metrics_interval_s: Annotated[
        float, Field(ge=0, le=86_400, description="interval of the traffic figures in makai_metrics; 0: none")
    ] = 0.0
    health_endpoint: str = "127.0.0.1:8914"


@section
class AcquisitionBrokerSection:
    command_endpoint: Annotated[str, Field(description="Boxes read commands here (CURVE)")] = (
        "tcp://127.0.0.1:8194"
    )
    response_endpoint: Annotated[str, Field(description="Boxes answer here (CURVE)")] = "tcp://127.0.0.1:8196"
    request_endpoint: Annotated[str, Field(description="clients send commands here")] = "tcp://127.0.0.1:9884"
    answer_endpoint: Annotated[str, Field(description="clients read answers here")] = "tcp://127.0.0.1:9899"
    pending_s: Annotated[
        float, Field(ge=1, le=86_400, description="how long a command waits for its answer")
    ] = 120.0
    pending_commands: Annotated[
        int, Field(ge=1, le=10_000_000, description="most commands that wait for an answer")
    ] = 100_000
    metrics_interval_s: Annotated[
        float, Field(ge=0, le=86_400, description="interval of the traffic figures in makai_metrics; 0: none")
    ] = 0.0
    health_endpoint: str = "127.0.0.1:8915"


@section
class PluginEntry:
    """One `[[triggering_service.plugins]]`."""

    name: Annotated[str, Field(min_length=1, description="name of a file in makai/triggers, e.g. threshold")]
    settings: Annotated[dict[str, Any], Field(description="fields of the plug-in's Config")] = Field(
        default_factory=dict
    )


DEFAULT_TRIGGERS = (
    "threshold",
    "edge_rule",
    "rapid_change",
    "frequency",
    "transient",
    "steady_state",
    "flicker",
    "coincidence",
    "silence",
    "statistical",
    "baseline",
)
"""Built in and on: docs/makai.md. `napali` and `sql` are built in and run only where they are named."""


@section
class CloudRulesSection:
    """Stream rules over all Measurements, in the triggering service (extra "rules")."""

    enabled: Annotated[bool, Field(description="run stream rules, with REST for them")] = False
    http_endpoint: Annotated[
        str, Field(description="address of REST; beyond loopback it needs token_file")
    ] = "127.0.0.1:9081"
    token_file: Annotated[Path | None, Field(description="file with the SHA-256 of a token in each line")] = (
        None
    )
    data_dir: Annotated[
        Path | None, Field(description="folder that holds rules/; none: the global data_dir")
    ] = None
    queue_rows: Annotated[
        int, Field(ge=100, le=10_000_000, description="most measurements that wait for a stream's source")
    ] = 10_000
    plugins: PluginRules = Field(default_factory=PluginRules)


Budget = Annotated[int, Field(ge=100_000, le=10**12)]


@section
class AskingSection:
    """Which Boxes a decision asks, and for how much: `docs/makai.md`."""

    most_boxes: Annotated[
        int, Field(ge=1, le=1000, description="most Boxes requested by a decision, with the one that saw it")
    ] = 50
    most_witnesses: Annotated[int, Field(ge=0, le=1000, description="most of them elsewhere in the grid")] = (
        12
    )
    near_km: Annotated[
        float, Field(ge=0, le=1000, description="Boxes within this distance are neighbours")
    ] = 5.0
    most_boxes_of_event: Annotated[
        int,
        Field(
            ge=1, le=10_000, description="most Boxes of an event, with those that saw it and were added later"
        ),
    ] = 200
    most_joining_of_feeder: Annotated[
        int, Field(ge=0, le=10_000, description="most added Boxes on one feeder (else in one region)")
    ] = 10
    transient_ms: Annotated[
        int, Field(ge=100, le=10_000, description="span requested around a transient or phase jump")
    ] = 300
    harmonics_ms: Annotated[
        int, Field(ge=200, le=60_000, description="span requested for harmonics and flicker")
    ] = 3000
    frequency_ms: Annotated[
        int, Field(ge=200, le=60_000, description="span requested for changes of the frequency")
    ] = 10_000
    bytes_per_min: Annotated[Budget, Field(description="limit of samples requested from all Boxes")] = (
        300_000_000
    )
    bytes_per_min_of_box: Annotated[Budget, Field(description="limit of samples requested from one Box")] = (
        6_000_000
    )
    bytes_per_min_by_box: Annotated[
        Budget, Field(description="limit of samples requested from others because of one Box")
    ] = 60_000_000


@section
class TriggeringServiceSection:
    measurement_endpoint: str = "tcp://127.0.0.1:9881"
    request_endpoint: str = "tcp://127.0.0.1:9884"
    identity: Annotated[
        str | None, Field(pattern="^[^_]+$", description="name of this instance; none: random")
    ] = None
    share: Annotated[
        str | None,
        Field(
            pattern="^[1-9][0-9]?/[1-9][0-9]?$",
            description='NUMBER/OF if several services divide the Boxes, e.g. "2/5"; none: all Boxes',
        ),
    ] = None
    share_endpoint: Annotated[str, Field(description="address that share 1, or its replacement, binds")] = (
        "tcp://127.0.0.1:9885"
    )
    plugins: Annotated[
        tuple[PluginEntry, ...],
        Field(description="plug-ins in this order; the first one that decides names the event"),
    ] = tuple(PluginEntry(name=name) for name in DEFAULT_TRIGGERS)
    triggers: Annotated[
        dict[str, dict[str, Any]],
        Field(description="[triggering_service.triggers.NAME]: fields of its Config; enabled = false: off"),
    ] = Field(default_factory=dict)
    rules: CloudRulesSection = Field(default_factory=CloudRulesSection)
    plugin_folders: Annotated[
        tuple[Path, ...],
        Field(description="folders of own plug-ins, used instead of built-in ones of the same name"),
    ] = ()
    pre_ms: Annotated[int, Field(ge=0, le=600_000, description="span requested before the window")] = 1000
    post_ms: Annotated[int, Field(ge=0, le=600_000, description="span requested after the window")] = 1000
    see_again_s: Annotated[
        float,
        Field(ge=0, le=3600, description="age of stored measurements that triggers read again at a start"),
    ] = 120.0
    alive_s: Annotated[
        float, Field(gt=0, le=3600, description="only Boxes received within this time are asked")
    ] = 10.0
    asking: AskingSection = Field(default_factory=AskingSection)
    merge_events: Annotated[
        int, Field(ge=1, le=100_000, description="number of latest events into which a trigger may be merged")
    ] = 200
    ack_interval_s: Annotated[
        float, Field(ge=0.1, le=5, description="interval of acknowledgements to Boxes")
    ] = 2.0
    batch_ms: Annotated[
        int, Field(ge=1, le=10_000, description="interval at which measurements are stored")
    ] = 200
    batch_rows: Annotated[
        int, Field(ge=1, le=100_000, description="store measurements earlier when so many wait")
    ] = 1000
    queue_rows: Annotated[
        int, Field(ge=1, le=10_000_000, description="most measurements that wait for the store")
    ] = 100_000
    health_endpoint: str = "127.0.0.1:8080"


@section
class EventServiceSection:
    answer_endpoint: str = "tcp://127.0.0.1:9899"
    request_endpoint: str = "tcp://127.0.0.1:9884"
    event_endpoint: Annotated[str, Field(description="PUB: [instance, event id]")] = "tcp://127.0.0.1:10000"
    event_id_endpoint: Annotated[str, Field(description="REP: event ids")] = "tcp://127.0.0.1:10001"
    answer_timeout_s: Annotated[
        float, Field(gt=0, le=3600, description="time after which a Box that does not answer is missing")
    ] = 20.0
    grouping_s: Annotated[
        float,
        Field(
            ge=0,
            le=3600,
            description="time within which answers to a token of an original makai are one event",
        ),
    ] = 20.0
    ask_again_s: Annotated[
        float, Field(gt=0, le=3600, description="time until a Box is asked again after a restart or silence")
    ] = 5.0
    v_per_lsb_fallback: Annotated[
        float, Field(gt=0, description="gain of an original Box without calibration in the store")
    ] = 1 / 152.5  # opq-interop G.1: the sample configuration's counts per volt
    most_requested: Annotated[
        int, Field(ge=1, le=10_000, description="most requested events that wait for their Boxes")
    ] = 20
    noted_per_min: Annotated[
        int, Field(ge=1, le=100_000, description="most requested events without data for one Box")
    ] = 60
    health_endpoint: str = "127.0.0.1:8916"


@section
class MaukaSection:
    event_endpoint: Annotated[str, Field(description="PUB address of the event service")] = (
        "tcp://127.0.0.1:10000"
    )
    incident_id_endpoint: Annotated[
        str, Field(description="numbers for incidents of original plug-ins (REP)")
    ] = "tcp://127.0.0.1:9777"
    plugin_manager_endpoint: Annotated[
        str, Field(description="text commands for plug-ins (REP); everybody who reaches it can stop them")
    ] = "tcp://127.0.0.1:12000"
    bus_sub_endpoint: Annotated[str, Field(description="bus: plug-ins publish here")] = "tcp://127.0.0.1:9882"
    bus_pub_endpoint: Annotated[str, Field(description="bus: plug-ins subscribe here")] = (
        "tcp://127.0.0.1:9883"
    )
    measurement_endpoint: Annotated[
        str, Field(description="triggering broker (SUB), read while an analysis takes Measurements")
    ] = "tcp://127.0.0.1:9881"
    event_id_endpoint: Annotated[str, Field(description="event ids (REQ), for TriggerPlugin")] = (
        "tcp://127.0.0.1:10001"
    )
    request_endpoint: Annotated[str, Field(description="commands to Boxes (PUSH), for its plug-ins")] = (
        "tcp://127.0.0.1:9884"
    )
    answer_endpoint: Annotated[str, Field(description="Boxes' answers (SUB), for its plug-ins")] = (
        "tcp://127.0.0.1:9899"
    )
    heartbeat_s: Annotated[
        float, Field(gt=0, le=3600, description="interval of heartbeats of plug-ins; original: 60")
    ] = 10.0
    analyses: Annotated[
        tuple[PluginEntry, ...],
        Field(description="analyses with settings; without a built-in one all of them run"),
    ] = ()
    analysis_settings: Annotated[
        dict[str, dict[str, Any]],
        Field(description="settings of analyses by name; mauka.analyses has priority"),
    ] = Field(default_factory=dict)
    plugins: InstalledAnalysesSection = Field(default_factory=InstalledAnalysesSection)
    workers: AnalysisWorkersSection = Field(default_factory=AnalysisWorkersSection)
    outages: OutageSection = Field(default_factory=OutageSection)
    asking: MoreSamplesSection = Field(default_factory=MoreSamplesSection)
    stats: SystemStatsSection = Field(default_factory=SystemStatsSection)
    payloads: Annotated[
        bool, Field(description="put waveforms on the bus, for plug-ins of the original form")
    ] = True
    health_endpoint: str = "127.0.0.1:8911"


@section
class ViewSection:
    http_endpoint: str = "127.0.0.1:8888"
    measurement_endpoint: str = "tcp://127.0.0.1:9881"
    bus_endpoint: str = "tcp://127.0.0.1:9883"
    poll_s: Annotated[
        float, Field(gt=0, le=60, description="interval at which the store is read, in addition to the bus")
    ] = 1.0
    live_streams: Annotated[
        int, Field(ge=1, le=100_000, description="live feeds open at once; the next is refused with 503")
    ] = 600
    allowed_hosts: Annotated[
        tuple[str, ...], Field(description="allowed host names in addresses, besides loopback; * for all")
    ] = ()
    sign_in: Annotated[
        Literal["beyond_loopback", "always", "never"],
        Field(
            description="who must sign in: everybody once there is an account, before that users of "
            "another machine; always; or never, behind a proxy that checks itself"
        ),
    ] = "beyond_loopback"
    registration: Annotated[
        Literal["closed", "invitation", "open"], Field(description="who may make an account")
    ] = "invitation"
    public_url: Annotated[
        str | None,
        Field(
            pattern=r"^https?://[^\s/]+$",
            description="address for people, used in mails; with https, secure cookies",
        ),
    ] = None
    map_radius_km: Annotated[
        float,
        Field(ge=0.1, le=100, description="least distance of a public Box from its shown place"),
    ] = 2.0
    tile_url: Annotated[
        str | None,
        Field(
            pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]+)?/[^\s'\"<>;,]*$",
            description="map tiles, with {z}, {x} and {y}; none: outlines only",
        ),
    ] = None
    tile_attribution: Annotated[
        str, Field(max_length=200, description="credit of the tiles' owner, shown below the map")
    ] = ""
    embed_in: Annotated[
        tuple[Annotated[str, Field(pattern=r"^(\*|https?://(\*\.)?[A-Za-z0-9.-]+(:[0-9]+)?)$")], ...],
        Field(description="sites that may frame /embed/map, such as https://pq.example; * for all"),
    ] = ()
    languages: Annotated[
        Path | None, Field(description="folder of translations such as de.po; none: English only")
    ] = None
    mail: MailSection = Field(default_factory=MailSection)
    openid: OpenIdSection | None = None
    rule_engines: Annotated[
        tuple[RuleEngineEntry, ...],
        Field(description="rule engines on the pages of administration; none: Makai's, without token"),
    ] = ()


@section
class WatchedService:
    """One `[[health.services]]`."""

    name: str
    url: Annotated[
        str,
        Field(pattern="^https?://", description="address whose answer has the form of the original's health"),
    ]


@section
class HealthSection:
    http_endpoint: Annotated[str, Field(description="address of `opq-cloud health` when it runs alone")] = (
        "127.0.0.1:8912"
    )
    whole_endpoint: Annotated[
        str, Field(description="address of the health of the whole system in `all`")
    ] = "127.0.0.1:8911"
    gateway_endpoint: Annotated[
        str, Field(description="the gateway that `opq-cloud health` asks when it runs alone")
    ] = "127.0.0.1:8913"
    interval_s: Annotated[
        float, Field(ge=0.1, le=3600, description="interval at which services are asked")
    ] = 5.0
    services: Annotated[
        tuple[WatchedService, ...],
        Field(description="services that `health` asks; none: each at its own address"),
    ] = ()


@section
class FurtherBrokers:
    """One `[[further_brokers]]`: those of another Makai on this store (docs/makai.md)."""

    measurement_endpoint: Annotated[
        str, Field(description="address of its triggering broker, e.g. tcp://b:9881")
    ]
    request_endpoint: Annotated[
        str, Field(description="commands at its acquisition broker, e.g. tcp://b:9884")
    ]
    answer_endpoint: Annotated[str, Field(description="answers at its acquisition broker, e.g. tcp://b:9899")]


@section
class CloudConfig:
    """Everything `opq-cloud` reads."""

    data_dir: Annotated[
        Path | None, Field(description="D, the data folder; none: ${XDG_DATA_HOME:-~/.local/share}/opq")
    ] = None
    nominal_v: Annotated[
        float, Field(gt=0, le=1e6, description="nominal voltage of a Box that does not report one")
    ] = DEFAULT_NOMINAL.volts
    nominal_hz: Annotated[float, Field(gt=0, le=1000)] = DEFAULT_NOMINAL.hz
    keys: CloudKeysSection = Field(default_factory=CloudKeysSection)
    backend_keys: BackendKeysSection = Field(default_factory=BackendKeysSection)
    store: StoreSection = Field(default_factory=StoreSection)
    further_brokers: Annotated[
        tuple[FurtherBrokers, ...],
        Field(description="brokers of other Makais on the same store; needs store.shared"),
    ] = ()
    triggering_broker: TriggeringBrokerSection = Field(default_factory=TriggeringBrokerSection)
    acquisition_broker: AcquisitionBrokerSection = Field(default_factory=AcquisitionBrokerSection)
    triggering_service: TriggeringServiceSection = Field(default_factory=TriggeringServiceSection)
    event_service: EventServiceSection = Field(default_factory=EventServiceSection)
    mauka: MaukaSection = Field(default_factory=MaukaSection)
    view: ViewSection = Field(default_factory=ViewSection)
    notifications: NotificationsSection = Field(default_factory=NotificationsSection)
    health: HealthSection = Field(default_factory=HealthSection)

    @property
    def nominal(self) -> Nominal:
        """Nominal values for a Box that does not send them."""
        return Nominal(self.nominal_v, self.nominal_hz)


class CloudKeys(KeyFolder):
    """contracts.md's key tree, with the server's file or the Boxes' folder elsewhere where configured."""

    def __init__(self, config: CloudKeysSection, data_dir: Path) -> None:
        super().__init__(config.folder or data_dir / "curve")
        self._config = config
        self.shared_keys = config.shared_keys == "warn"

    @property
    def server_secret(self) -> Path:
        return self._config.server_secret or super().server_secret

    @property
    def public_keys(self) -> Path:
        return self._config.public_keys or super().public_keys
