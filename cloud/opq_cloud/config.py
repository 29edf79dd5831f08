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
        Path | None, Field(description="holds private_keys/ and public_keys/; none: D/curve")
    ] = None
    server_secret: Annotated[Path | None, Field(description="none: private_keys/opqserver_secret")] = None
    public_keys: Annotated[Path | None, Field(description="who is admitted; none: public_keys/")] = None
    white_list: Annotated[
        bool,
        Field(description="public_key in the store's opq_boxes admits a Box that has no file there, too"),
    ] = False
    shared_keys: Annotated[
        Literal["refuse", "warn"],
        Field(description="several Boxes with one key: only the first is admitted, or all, with a warning"),
    ] = "refuse"


@section
class BackendKeysSection:
    """Where services meet: 9881 to 9885, 9899, 9777, 10000, 10001, 12000 (docs/configuration.md)."""

    enabled: Annotated[
        bool, Field(description="these addresses want keys (CURVE); false: in clear, as the original's")
    ] = False
    folder: Annotated[
        Path | None, Field(description="of `opq-tools keys backend add`; none: backend in the data folder")
    ] = None
    name: Annotated[
        str, Field(pattern="^[a-z0-9][a-z0-9-]{0,31}$", description="whose key services connect with")
    ] = "cloud"
    clear_ports: Annotated[
        tuple[Annotated[int, Field(ge=1, le=65535)], ...],
        Field(description="stay in clear all the same, for an original program, e.g. 9881"),
    ] = ()


@section
class StoreSection:
    """Where measurements, events and incidents are kept."""

    mongo_uri: Annotated[str | None, Field(description="mongodb://…; none: embedded in data_dir")] = None
    data_dir: Annotated[
        Path | None, Field(description="of the embedded store; none: the global data_dir")
    ] = None
    measurements_s: Annotated[
        int | None,
        Field(ge=1, le=2**31 - 1, description="put into laha_config at each start; none: as it says"),
    ] = None
    shared: Annotated[
        bool,
        Field(
            description="by several Makais: one event service and one Mauka work at a time, others stand by"
        ),
    ] = False


@section
class TriggeringBrokerSection:
    box_endpoint: Annotated[str, Field(description="Boxes send measurements here (CURVE)")] = (
        "tcp://127.0.0.1:9880"
    )
    backend_endpoint: Annotated[str, Field(description="subscribers read them here")] = "tcp://127.0.0.1:9881"
    send_queue_messages: Annotated[int, Field(ge=1, le=10_000_000, description="per subscriber")] = 100_000
    receive_queue_bytes: Annotated[
        int, Field(ge=100_000, le=10**11, description="of all Boxes; beyond, the oldest is dropped")
    ] = 100_000_000
    box_messages_per_s: Annotated[
        int, Field(ge=10, le=10_000_000, description="of one Box; more is dropped")
    ] = 5_000
    box_bytes_per_s: Annotated[int, Field(ge=10_000, le=10**10, description="of one Box, the same")] = (
        4_000_000
    )
    trace: Annotated[bool, Field(description="log a line per measurement (latency runs only)")] = False
    metrics_interval_s: Annotated[
        float, Field(ge=0, le=86_400, description="traffic goes into makai_metrics so often; 0: never")
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
    pending_s: Annotated[float, Field(ge=1, le=86_400, description="a command waits that long")] = 120.0
    pending_commands: Annotated[int, Field(ge=1, le=10_000_000, description="kept at most")] = 100_000
    metrics_interval_s: Annotated[
        float, Field(ge=0, le=86_400, description="traffic goes into makai_metrics so often; 0: never")
    ] = 0.0
    health_endpoint: str = "127.0.0.1:8915"


@section
class PluginEntry:
    """One `[[triggering_service.plugins]]`."""

    name: Annotated[str, Field(min_length=1, description="file name in makai/triggers, e.g. threshold")]
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

    enabled: Annotated[bool, Field(description="rules, and REST for them")] = False
    http_endpoint: Annotated[str, Field(description="REST; beyond loopback it needs token_file")] = (
        "127.0.0.1:9081"
    )
    token_file: Annotated[Path | None, Field(description="SHA-256 of a token in each line")] = None
    data_dir: Annotated[Path | None, Field(description="rules/ is below it; none: the global data_dir")] = (
        None
    )
    queue_rows: Annotated[
        int, Field(ge=100, le=10_000_000, description="measurements that wait for a stream's source at most")
    ] = 10_000
    plugins: PluginRules = Field(default_factory=PluginRules)


Budget = Annotated[int, Field(ge=100_000, le=10**12)]


@section
class AskingSection:
    """Which Boxes a decision asks, and for how much: `docs/makai.md`."""

    most_boxes: Annotated[
        int, Field(ge=1, le=1000, description="of a decision, with the Box that saw it")
    ] = 50
    most_witnesses: Annotated[int, Field(ge=0, le=1000, description="of them elsewhere in the grid")] = 12
    near_km: Annotated[float, Field(ge=0, le=1000, description="Boxes within this are neighbours")] = 5.0
    most_boxes_of_event: Annotated[
        int, Field(ge=1, le=10_000, description="with those that saw the same and were not asked at first")
    ] = 200
    most_joining_of_feeder: Annotated[
        int, Field(ge=0, le=10_000, description="of those, on one feeder (else in one region)")
    ] = 10
    transient_ms: Annotated[int, Field(ge=100, le=10_000, description="around what a detector found")] = 300
    harmonics_ms: Annotated[int, Field(ge=200, le=60_000, description="of harmonics and flicker")] = 3000
    frequency_ms: Annotated[int, Field(ge=200, le=60_000, description="of the frequency")] = 10_000
    bytes_per_min: Annotated[Budget, Field(description="of samples, asked of all Boxes")] = 300_000_000
    bytes_per_min_of_box: Annotated[Budget, Field(description="asked of one Box")] = 6_000_000
    bytes_per_min_by_box: Annotated[
        Budget, Field(description="asked of others for what one Box sees; then of itself alone")
    ] = 60_000_000


@section
class TriggeringServiceSection:
    measurement_endpoint: str = "tcp://127.0.0.1:9881"
    request_endpoint: str = "tcp://127.0.0.1:9884"
    identity: Annotated[str | None, Field(pattern="^[^_]+$", description="instance; none: random")] = None
    share: Annotated[
        str | None,
        Field(
            pattern="^[1-9][0-9]?/[1-9][0-9]?$",
            description='NUMBER/OF of several services that divide the Boxes, e.g. "2/5"; none: all Boxes',
        ),
    ] = None
    share_endpoint: Annotated[str, Field(description="share 1 binds it, or who takes its place")] = (
        "tcp://127.0.0.1:9885"
    )
    plugins: Annotated[
        tuple[PluginEntry, ...], Field(description="in this order; the first that decides names the event")
    ] = tuple(PluginEntry(name=name) for name in DEFAULT_TRIGGERS)
    triggers: Annotated[
        dict[str, dict[str, Any]],
        Field(
            description="[triggering_service.triggers.NAME]: fields of its Config; enabled = false: without"
        ),
    ] = Field(default_factory=dict)
    rules: CloudRulesSection = Field(default_factory=CloudRulesSection)
    plugin_folders: Annotated[
        tuple[Path, ...], Field(description="your own plug-ins; they win over built-in ones of the same name")
    ] = ()
    pre_ms: Annotated[int, Field(ge=0, le=600_000, description="asked for before the window")] = 1000
    post_ms: Annotated[int, Field(ge=0, le=600_000, description="asked for after the window")] = 1000
    see_again_s: Annotated[
        float, Field(ge=0, le=3600, description="stored measurements that plug-ins see again at a start")
    ] = 120.0
    alive_s: Annotated[float, Field(gt=0, le=3600, description="Boxes heard within this may be asked")] = 10.0
    asking: AskingSection = Field(default_factory=AskingSection)
    merge_events: Annotated[
        int, Field(ge=1, le=100_000, description="a trigger inside one of the last … events is merged")
    ] = 200
    ack_interval_s: Annotated[float, Field(ge=0.1, le=5, description="acknowledgements to Boxes")] = 2.0
    batch_ms: Annotated[int, Field(ge=1, le=10_000, description="measurements are stored every")] = 200
    batch_rows: Annotated[int, Field(ge=1, le=100_000, description="or when so many wait")] = 1000
    queue_rows: Annotated[int, Field(ge=1, le=10_000_000, description="waiting for the store at most")] = (
        100_000
    )
    health_endpoint: str = "127.0.0.1:8080"


@section
class EventServiceSection:
    answer_endpoint: str = "tcp://127.0.0.1:9899"
    request_endpoint: str = "tcp://127.0.0.1:9884"
    event_endpoint: Annotated[str, Field(description="PUB: [instance, event id]")] = "tcp://127.0.0.1:10000"
    event_id_endpoint: Annotated[str, Field(description="REP: event ids")] = "tcp://127.0.0.1:10001"
    answer_timeout_s: Annotated[float, Field(gt=0, le=3600, description="then a Box is missing")] = 20.0
    grouping_s: Annotated[
        float, Field(ge=0, le=3600, description="answers to an original makai's token that are one event")
    ] = 20.0
    ask_again_s: Annotated[float, Field(gt=0, le=3600, description="after a restart or silence")] = 5.0
    v_per_lsb_fallback: Annotated[
        float, Field(gt=0, description="of an original Box without calibration in the store")
    ] = 1 / 152.5  # opq-interop G.1: the sample configuration's counts per volt
    most_requested: Annotated[
        int, Field(ge=1, le=10_000, description="events by RequestEventMessage that wait for their Boxes")
    ] = 20
    noted_per_min: Annotated[
        int, Field(ge=1, le=100_000, description="events without data of one Box by RequestEventMessage")
    ] = 60
    health_endpoint: str = "127.0.0.1:8916"


@section
class MaukaSection:
    event_endpoint: Annotated[str, Field(description="the event service's PUB")] = "tcp://127.0.0.1:10000"
    incident_id_endpoint: Annotated[
        str, Field(description="numbers for incidents of original plug-ins (REP)")
    ] = "tcp://127.0.0.1:9777"
    plugin_manager_endpoint: Annotated[
        str, Field(description="text commands for plug-ins (REP); whoever reaches it may stop them")
    ] = "tcp://127.0.0.1:12000"
    bus_sub_endpoint: Annotated[str, Field(description="broker, plug-ins publish here")] = (
        "tcp://127.0.0.1:9882"
    )
    bus_pub_endpoint: Annotated[str, Field(description="broker, plug-ins listen here")] = (
        "tcp://127.0.0.1:9883"
    )
    event_id_endpoint: Annotated[str, Field(description="event ids (REQ), for TriggerPlugin")] = (
        "tcp://127.0.0.1:10001"
    )
    request_endpoint: Annotated[str, Field(description="commands to Boxes (PUSH), for its plug-ins")] = (
        "tcp://127.0.0.1:9884"
    )
    answer_endpoint: Annotated[str, Field(description="Boxes' answers (SUB), for its plug-ins")] = (
        "tcp://127.0.0.1:9899"
    )
    heartbeat_s: Annotated[float, Field(gt=0, le=3600, description="of its plug-ins; original: 60")] = 10.0
    analyses: Annotated[
        tuple[PluginEntry, ...],
        Field(description="no built-in one among them: all built-in ones; installed ones always run"),
    ] = ()
    analysis_settings: Annotated[
        dict[str, dict[str, Any]],
        Field(description="fields of analyses' Config by their names; an entry of mauka.analyses wins"),
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
    poll_s: Annotated[float, Field(gt=0, le=60, description="of the store, beside the bus")] = 1.0
    live_streams: Annotated[
        int, Field(ge=1, le=100_000, description="live feeds open at once; the next is refused with 503")
    ] = 600
    allowed_hosts: Annotated[
        tuple[str, ...], Field(description="names in a browser's address line, beside loopback's; * for all")
    ] = ()
    sign_in: Annotated[
        Literal["beyond_loopback", "always", "never"],
        Field(
            description="who must sign in: once there is an account everybody, before that who comes from "
            "another machine; always; or never, behind a proxy that asks itself"
        ),
    ] = "beyond_loopback"
    registration: Annotated[
        Literal["closed", "invitation", "open"], Field(description="who may make an account")
    ] = "invitation"
    public_url: Annotated[
        str | None,
        Field(
            pattern=r"^https?://[^\s/]+$",
            description="where people reach it, for links in mails; https: safe cookies",
        ),
    ] = None
    map_radius_km: Annotated[
        float,
        Field(ge=0.1, le=100, description="a public Box is shown at least so far off"),
    ] = 2.0
    tile_url: Annotated[
        str | None,
        Field(
            pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]+)?/[^\s'\"<>;,]*$",
            description="images under the map, with {z}, {x} and {y}; none: outlines alone",
        ),
    ] = None
    tile_attribution: Annotated[
        str, Field(max_length=200, description="what the tiles' owner wants said below the map")
    ] = ""
    embed_in: Annotated[
        tuple[Annotated[str, Field(pattern=r"^(\*|https?://(\*\.)?[A-Za-z0-9.-]+(:[0-9]+)?)$")], ...],
        Field(description="sites that may frame /embed/map, such as https://pq.example; * for all"),
    ] = ()
    languages: Annotated[
        Path | None, Field(description="folder of translations such as de.po; none: English alone")
    ] = None
    mail: MailSection = Field(default_factory=MailSection)
    openid: OpenIdSection | None = None
    rule_engines: Annotated[
        tuple[RuleEngineEntry, ...],
        Field(description="asked by the pages of administration; none: Makai's, without a token"),
    ] = ()


@section
class WatchedService:
    """One `[[health.services]]`."""

    name: str
    url: Annotated[str, Field(pattern="^https?://", description="answers in the original's contract")]


@section
class HealthSection:
    http_endpoint: Annotated[str, Field(description="`opq-cloud health`, alone")] = "127.0.0.1:8912"
    whole_endpoint: Annotated[str, Field(description="the whole system, in `all`")] = "127.0.0.1:8911"
    gateway_endpoint: Annotated[str, Field(description="asked by `health`, alone")] = "127.0.0.1:8913"
    interval_s: Annotated[float, Field(ge=0.1, le=3600, description="others are asked every")] = 5.0
    services: Annotated[
        tuple[WatchedService, ...],
        Field(description="asked by `health`; none: each service at its own address"),
    ] = ()


@section
class FurtherBrokers:
    """One `[[further_brokers]]`: those of another Makai on this store (docs/makai.md)."""

    measurement_endpoint: Annotated[str, Field(description="its triggering broker's, e.g. tcp://b:9881")]
    request_endpoint: Annotated[str, Field(description="its acquisition broker's, e.g. tcp://b:9884")]
    answer_endpoint: Annotated[str, Field(description="the same one's, e.g. tcp://b:9899")]


@section
class CloudConfig:
    """Everything `opq-cloud` reads."""

    data_dir: Annotated[Path | None, Field(description="none: ${XDG_DATA_HOME:-~/.local/share}/opq")] = None
    nominal_v: Annotated[float, Field(gt=0, le=1e6, description="of a Box that tells none")] = (
        DEFAULT_NOMINAL.volts
    )
    nominal_hz: Annotated[float, Field(gt=0, le=1000)] = DEFAULT_NOMINAL.hz
    keys: CloudKeysSection = Field(default_factory=CloudKeysSection)
    backend_keys: BackendKeysSection = Field(default_factory=BackendKeysSection)
    store: StoreSection = Field(default_factory=StoreSection)
    further_brokers: Annotated[
        tuple[FurtherBrokers, ...],
        Field(description="of other Makais on the same store, beside our own; wants store.shared"),
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
