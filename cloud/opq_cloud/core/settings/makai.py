"""Sections of Makai: both brokers, the triggering service with its rules, the event service."""

from pathlib import Path
from typing import Annotated, Any

from opq_cloud.core.settings.plugin_entry import PluginEntry
from opq_plugins.policy_section import RuleEngineSection
from opq_proto.config.reading import Field, section


@section
class TriggeringBrokerSection:
    box_endpoint: Annotated[str, Field(description="Boxes send measurements here (CURVE)")] = (
        "tcp://127.0.0.1:9880"
    )
    backend_endpoint: Annotated[str, Field(description="subscribers read measurements here")] = (
        "tcp://127.0.0.1:9881"
    )
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
    health_endpoint: Annotated[str, Field(description="/health and /metrics of this service")] = (
        "127.0.0.1:8914"
    )


@section
class AcquisitionBrokerSection:
    command_endpoint: Annotated[str, Field(description="Boxes read commands here (CURVE)")] = (
        "tcp://127.0.0.1:8194"
    )
    response_endpoint: Annotated[str, Field(description="Boxes answer here (CURVE)")] = "tcp://127.0.0.1:8196"
    request_endpoint: Annotated[str, Field(description="clients send commands here")] = "tcp://127.0.0.1:9884"
    answer_endpoint: Annotated[str, Field(description="clients read answers here")] = "tcp://127.0.0.1:9899"
    metrics_interval_s: Annotated[
        float, Field(ge=0, le=86_400, description="interval of the traffic figures in makai_metrics; 0: none")
    ] = 0.0
    health_endpoint: Annotated[str, Field(description="/health and /metrics of this service")] = (
        "127.0.0.1:8915"
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
class CloudRulesSection(RuleEngineSection):
    """Stream rules over all Measurements, in the triggering service (extra "rules")."""

    enabled: Annotated[bool, Field(description="run stream rules, with REST for them")] = False
    http_endpoint: Annotated[
        str, Field(description="address of REST; beyond loopback it needs token_file")
    ] = "127.0.0.1:9081"
    queue_rows: Annotated[
        int, Field(ge=100, le=10_000_000, description="most measurements that wait for a stream's source")
    ] = 10_000


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
    measurement_endpoint: Annotated[str, Field(description="the broker's backend_endpoint")] = (
        "tcp://127.0.0.1:9881"
    )
    request_endpoint: Annotated[str, Field(description="the acquisition broker's address of this name")] = (
        "tcp://127.0.0.1:9884"
    )
    identity: Annotated[
        str | None, Field(pattern="^[^_]+$", description="name of this instance; none: random")
    ] = None
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
    alive_s: Annotated[
        float, Field(gt=0, le=3600, description="only Boxes received within this time are asked")
    ] = 10.0
    asking: AskingSection = Field(default_factory=AskingSection)
    ack_interval_s: Annotated[
        float, Field(ge=0.1, le=5, description="interval of acknowledgements to Boxes")
    ] = 2.0
    batch_ms: Annotated[
        int, Field(ge=1, le=10_000, description="interval at which measurements are stored")
    ] = 200
    queue_rows: Annotated[
        int, Field(ge=1, le=10_000_000, description="most measurements that wait for the store")
    ] = 100_000
    health_endpoint: Annotated[str, Field(description="/health and /metrics of this service")] = (
        "127.0.0.1:8080"
    )


@section
class EventServiceSection:
    answer_endpoint: Annotated[str, Field(description="the acquisition broker's address of this name")] = (
        "tcp://127.0.0.1:9899"
    )
    request_endpoint: Annotated[str, Field(description="the acquisition broker's address of this name")] = (
        "tcp://127.0.0.1:9884"
    )
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
        float | None,
        Field(
            gt=0,
            description="gain of an original Box without calibration in the store; none: unknown, not judged",
        ),
    ] = None
    noted_per_min: Annotated[
        int, Field(ge=1, le=100_000, description="most requested events without data for one Box")
    ] = 60
    health_endpoint: Annotated[str, Field(description="/health and /metrics of this service")] = (
        "127.0.0.1:8916"
    )
