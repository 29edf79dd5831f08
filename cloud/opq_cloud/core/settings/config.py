"""Configuration of the cloud: one frozen section per service.

Read by `opq_proto.config.reading.load` from TOML (sections as below) or, key for key, from the
original's JSON (`opq_cloud/original`). Addresses are on loopback until a file says
otherwise; `endpoint_ports.py` checks and moves their ports.
"""

from pathlib import Path
from typing import Annotated, Literal

from opq_cloud.core.settings.makai_settings import (
    AcquisitionBrokerSection,
    EventServiceSection,
    TriggeringBrokerSection,
    TriggeringServiceSection,
)
from opq_cloud.core.settings.mauka import MaukaSection
from opq_cloud.core.settings.notifications import NotificationsSection
from opq_cloud.core.settings.reports import ReportsSection
from opq_cloud.core.settings.view import ViewSection
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_proto.config.reading import Field, Why, section
from opq_proto.decision import Nominal
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit.ports import WEB_ADDRESS


@section
class CloudKeysSection:
    """CURVE keys (docs/reference/contracts.md, "Keys")."""

    folder: Annotated[
        Path | None,
        Field(description="folder with private_keys/ and public_keys/; none: D/curve"),
        Why("Set it where the keys are not in the data folder, such as on an encrypted disk."),
    ] = None
    server_secret: Annotated[
        Path | None,
        Field(description="the server's private key file; none: private_keys/opqserver_secret"),
        Why("Set it to keep using the key file of an original installation."),
    ] = None
    public_keys: Annotated[
        Path | None,
        Field(description="folder with the public keys of admitted Boxes; none: public_keys/"),
        Why("Set it to keep using the keys of an original installation."),
    ] = None
    white_list: Annotated[
        bool,
        Field(description="also admit Boxes by public_key in the store's opq_boxes"),
        Why("Set it where the keys of Boxes are in the store, as in an original installation."),
    ] = False
    shared_keys: Annotated[
        Literal["refuse", "warn"],
        Field(description="if Boxes share a key: refuse all but the first, or admit all and warn"),
        Why("Set `warn` while Boxes that share a key get keys of their own."),
    ] = "refuse"


@section
class BackendKeysSection:
    """Keys of the addresses at which services meet (docs/backend-keys.md)."""

    enabled: Annotated[
        bool | None,
        Field(
            description="whether these addresses require CURVE keys; none: those beyond loopback do, with "
            "keys that are made at the start"
        ),
        Why("Set true where others use the machine, false for programs of the original elsewhere."),
    ] = None
    folder: Annotated[
        Path | None,
        Field(description="folder of `opq-tools keys add --backend`; none: backend in the data folder"),
        Why("Set it where these keys are not in the data folder."),
    ] = None
    name: Annotated[
        str,
        Field(
            pattern="^[a-z0-9][a-z0-9-]{0,31}$",
            examples=["cloud", "view-2"],
            description="name of the key with which services connect",
        ),
        Why("Change it where services have a key each, so that one can be revoked alone."),
    ] = "cloud"


@section
class StoreSection:
    """Where measurements, events and incidents are kept."""

    mongo_uri: Annotated[
        str | None,
        Field(description="mongodb://…; none: embedded in data_dir"),
        Why("Set it to use the MongoDB of an original installation, or one that other programs read."),
    ] = None
    data_dir: Annotated[
        Path | None,
        Field(description="folder of the embedded store; none: the global data_dir"),
        Why("Set it to put the store alone on another disk."),
    ] = None
    measurements_s: Annotated[
        int | None,
        Field(
            ge=1,
            le=2**31 - 1,
            description="TTL written into laha_config at each start; none: leave it unchanged",
        ),
        Why("Set it to keep Measurements for longer or shorter than the store's `laha_config` says."),
    ] = None
    minutes_days: Annotated[
        int,
        Field(
            ge=0,
            le=36_500,
            description="one-minute trends of the embedded store become hours after this time; 0: never",
        ),
        Why("Lower it to save disk with thousands of Boxes, and set 0 to keep all minutes."),
    ] = 90
    intervals_days: Annotated[
        int,
        Field(
            ge=0,
            le=36_500,
            description="class A intervals and disturbances are kept for this time, ten years; 0: for ever",
        ),
        Why("Change it where a contract or a law states how long values are kept."),
    ] = 3653


@section
class WatchedService:
    """One `[[health.services]]`."""

    name: Annotated[
        str,
        Field(description="name on the page and in the log"),
        Why("Choose a name that people know, because the page shows it."),
    ]
    url: Annotated[
        str,
        Field(
            pattern=WEB_ADDRESS,
            examples=["http://127.0.0.1:8911"],
            description="address whose answer has the form of the original's health",
        ),
        Why("Name a service of yours whose health belongs on the same page."),
    ]


@section
class HealthSection:
    http_endpoint: Annotated[
        str,
        Field(description="address of `opq-cloud health` when it runs alone"),
        Why("Change it where another program has the port, or monitoring is on another machine."),
    ] = "127.0.0.1:8912"
    whole_endpoint: Annotated[
        str,
        Field(description="address of the health of the whole system in `all`"),
        Why("Change it where another program has the port, or monitoring is on another machine."),
    ] = "127.0.0.1:8911"
    gateway_endpoint: Annotated[
        str | None,
        Field(
            description="a gateway that `opq-cloud health` asks too, e.g. 127.0.0.1:8913; none: no gateway"
        ),
        Why("Set it where a gateway runs on the machine of the cloud."),
    ] = None
    interval_s: Annotated[
        float,
        Field(ge=0.1, le=3600, description="interval at which services are asked"),
        Why("Raise it to ask less often, at the price of as late an alarm."),
    ] = 2.0
    ping_url: Annotated[
        str | None,
        Field(
            pattern=WEB_ADDRESS,
            examples=["https://monitor.example.org/ping/opq"],
            description="address of a monitoring service, requested each minute while health and "
            "notifications run; none: no request",
        ),
        Why("Set it so that somebody learns when the whole machine fails."),
    ] = None
    backups: Annotated[
        Path | None,
        Field(
            description="folder of the archives of `opq-tools backup`, whose age is checked; none: backups "
            "in the data folder, if it exists"
        ),
        Why("Set it where back-ups go elsewhere, so that an old one is reported."),
    ] = None
    services: Annotated[
        tuple[WatchedService, ...],
        Field(
            description="services that `health` asks, and no others; none: each of the cloud's; "
            "`all` asks them beside its own"
        ),
    ] = ()


@section
class UpdateSection:
    """Releases for gateways and Boxes, in D/updates (docs/updates.md)."""

    http_endpoint: Annotated[
        str,
        Field(description="address of the update server, e.g. 0.0.0.0:8151 for gateways elsewhere"),
        Why("Set an address beyond loopback, such as 0.0.0.0:8151, for gateways elsewhere."),
    ] = "127.0.0.1:8151"


@section
class CloudConfig:
    """Everything `opq-cloud` reads."""

    data_dir: Annotated[
        Path | None,
        Field(description="D, the data folder; none: ${XDG_DATA_HOME:-~/.local/share}/opq"),
        Why("Set it to put the store on a larger disk."),
    ] = None
    nominal_v: Annotated[
        float,
        Field(gt=0, le=1e6, description="nominal voltage of a Box that does not report one"),
        Why("Set 230 where the grid has 230 V, because thresholds are shares of it."),
    ] = DEFAULT_NOMINAL.volts
    nominal_hz: Annotated[
        float,
        Field(gt=0, le=1000, description="nominal frequency of a Box that does not report one"),
        Why("Set 50 where the grid has 50 Hz."),
    ] = DEFAULT_NOMINAL.hz
    keys: CloudKeysSection = Field(default_factory=CloudKeysSection)
    backend_keys: BackendKeysSection = Field(default_factory=BackendKeysSection)
    store: StoreSection = Field(default_factory=StoreSection)
    triggering_broker: TriggeringBrokerSection = Field(default_factory=TriggeringBrokerSection)
    acquisition_broker: AcquisitionBrokerSection = Field(default_factory=AcquisitionBrokerSection)
    triggering_service: TriggeringServiceSection = Field(default_factory=TriggeringServiceSection)
    event_service: EventServiceSection = Field(default_factory=EventServiceSection)
    mauka: MaukaSection = Field(default_factory=MaukaSection)
    view: ViewSection = Field(default_factory=ViewSection)
    notifications: NotificationsSection = Field(default_factory=NotificationsSection)
    reports: ReportsSection = Field(default_factory=ReportsSection)
    health: HealthSection = Field(default_factory=HealthSection)
    update: UpdateSection = Field(default_factory=UpdateSection)

    @property
    def nominal(self) -> Nominal:
        """Nominal values for a Box that does not send them."""
        return Nominal(self.nominal_v, self.nominal_hz)


class CloudKeys(KeyFolder):
    """docs/reference/contracts.md's key tree, with the server's file or the Boxes' folder elsewhere where
    configured."""

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
