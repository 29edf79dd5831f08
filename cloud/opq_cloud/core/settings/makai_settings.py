"""Sections of Makai: both brokers, the triggering service with its rules, the event service."""

from pathlib import Path
from typing import Annotated, Any

from opq_cloud.core.settings.plugin_entry import PluginEntry
from opq_plugins.policy_section import RuleEngineSection
from opq_proto.config.reading import Field, Why, section


@section
class TriggeringBrokerSection:
    box_endpoint: Annotated[
        str,
        Field(description="Boxes send measurements here (CURVE)"),
        Why("Set an address beyond loopback, such as tcp://*:9880, for Boxes elsewhere."),
    ] = "tcp://127.0.0.1:9880"
    backend_endpoint: Annotated[
        str,
        Field(description="subscribers read measurements here"),
        Why("Set tcp://127.0.0.1:9881 for programs of other users, tcp://*:9881 for other machines."),
    ] = "ipc://measurements"
    receive_queue_bytes: Annotated[
        int,
        Field(
            ge=100_000,
            le=10**11,
            description="longest queue of all Boxes; with more, the oldest message is dropped",
        ),
        Why("Raise it for more Boxes, or where the machine pauses for seconds."),
    ] = 100_000_000
    box_messages_per_s: Annotated[
        int,
        Field(ge=10, le=10_000_000, description="limit for one Box; more is dropped"),
        Why("Raise it for Boxes that send more often than every cycle."),
    ] = 5_000
    box_bytes_per_s: Annotated[
        int,
        Field(ge=10_000, le=10**10, description="limit for one Box; more is dropped"),
        Why("Raise it for Boxes that send many metrics very often."),
    ] = 4_000_000
    trace: Annotated[
        bool,
        Field(description="log a line per measurement (latency runs only)"),
        Why("Set it to measure delays message by message."),
    ] = False
    metrics_interval_s: Annotated[
        float,
        Field(ge=0, le=86_400, description="interval of the traffic figures in makai_metrics; 0: none"),
        Why("Set it where a program reads the original's `makai_metrics`."),
    ] = 0.0
    health_endpoint: Annotated[
        str,
        Field(description="/health and /metrics of this service"),
        Why("Change it where another program has the port, or monitoring is on another machine."),
    ] = "127.0.0.1:8914"


@section
class AcquisitionBrokerSection:
    command_endpoint: Annotated[
        str,
        Field(description="Boxes read commands here (CURVE)"),
        Why("Set an address beyond loopback, such as tcp://*:8194, for Boxes elsewhere."),
    ] = "tcp://127.0.0.1:8194"
    response_endpoint: Annotated[
        str,
        Field(description="Boxes answer here (CURVE)"),
        Why("Set an address beyond loopback, such as tcp://*:8196, for Boxes elsewhere."),
    ] = "tcp://127.0.0.1:8196"
    request_endpoint: Annotated[
        str,
        Field(description="clients send commands here"),
        Why("Set tcp://127.0.0.1:9884 for programs of other users, tcp://*:9884 for other machines."),
    ] = "ipc://commands"
    answer_endpoint: Annotated[
        str,
        Field(description="clients read answers here"),
        Why("Set tcp://127.0.0.1:9899 for programs of other users, tcp://*:9899 for other machines."),
    ] = "ipc://answers"
    metrics_interval_s: Annotated[
        float,
        Field(ge=0, le=86_400, description="interval of the traffic figures in makai_metrics; 0: none"),
        Why("Set it where a program reads the original's `makai_metrics`."),
    ] = 0.0
    health_endpoint: Annotated[
        str,
        Field(description="/health and /metrics of this service"),
        Why("Change it where another program has the port, or monitoring is on another machine."),
    ] = "127.0.0.1:8915"


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

    enabled: Annotated[
        bool,
        Field(description="run stream rules, with REST for them"),
        Why("Set it to run SQL rules over the Measurements of all Boxes."),
    ] = False
    http_endpoint: Annotated[
        str,
        Field(description="address of REST; beyond loopback it needs token_file"),
        Why("Set it beyond loopback where rules are managed from another machine."),
    ] = "127.0.0.1:9081"
    queue_rows: Annotated[
        int,
        Field(ge=100, le=10_000_000, description="most measurements that wait for a stream's source"),
        Why("Raise it for many Boxes, where a rule may be slow for seconds."),
    ] = 10_000


Budget = Annotated[int, Field(ge=100_000, le=10**12)]


@section
class AskingSection:
    """Which Boxes a decision asks, and for how much: `docs/makai.md`."""

    most_boxes: Annotated[
        int,
        Field(ge=1, le=1000, description="most Boxes requested by a decision, with the one that saw it"),
        Why("Lower it to save data, and raise it where an event must be seen at every Box."),
    ] = 50
    most_witnesses: Annotated[
        int,
        Field(ge=0, le=1000, description="most of them elsewhere in the grid"),
        Why("Raise it to see better how far an event reached."),
    ] = 12
    near_km: Annotated[
        float,
        Field(ge=0, le=1000, description="Boxes within this distance are neighbours"),
        Why("Change it to the distance at which Boxes share a substation."),
    ] = 5.0
    most_boxes_of_event: Annotated[
        int,
        Field(
            ge=1, le=10_000, description="most Boxes of an event, with those that saw it and were added later"
        ),
        Why("Raise it where a disturbance of the whole grid must be kept of more Boxes."),
    ] = 200
    transient_ms: Annotated[
        int,
        Field(ge=100, le=10_000, description="span requested around a transient or phase jump"),
        Why("Raise it to see what follows a transient."),
    ] = 300
    harmonics_ms: Annotated[
        int,
        Field(ge=200, le=60_000, description="span requested for harmonics and flicker"),
        Why("Raise it for a finer spectrum."),
    ] = 3000
    frequency_ms: Annotated[
        int,
        Field(ge=200, le=60_000, description="span requested for changes of the frequency"),
        Why("Raise it where the frequency of the grid changes slowly."),
    ] = 10_000
    bytes_per_min: Annotated[
        Budget,
        Field(description="limit of samples requested from all Boxes"),
        Why("Lower it on a metered connection of the cloud, and raise it for thousands of Boxes."),
    ] = 300_000_000
    bytes_per_min_of_box: Annotated[
        Budget,
        Field(description="limit of samples requested from one Box"),
        Why("Lower it where Boxes are on metered connections."),
    ] = 6_000_000
    bytes_per_min_by_box: Annotated[
        Budget,
        Field(description="limit of samples requested from others because of one Box"),
        Why("Lower it where one faulty Box would request too much of others."),
    ] = 60_000_000


@section
class TriggeringServiceSection:
    measurement_endpoint: Annotated[
        str,
        Field(description="the broker's backend_endpoint"),
        Why("Change it where the broker has another address."),
    ] = "ipc://measurements"
    request_endpoint: Annotated[
        str,
        Field(description="the acquisition broker's address of this name"),
        Why("Change it where the broker has another address."),
    ] = "ipc://commands"
    identity: Annotated[
        str | None,
        Field(pattern="^[^_]+$", examples=["north"], description="name of this instance; none: random"),
        Why("Set it where several triggering services share a broker, so that logs name them."),
    ] = None
    plugins: Annotated[
        tuple[PluginEntry, ...],
        Field(description="plug-ins in this order; the first one that decides names the event"),
        Why("Change it to run a trigger of your own, or to change which one names an event."),
    ] = tuple(PluginEntry(name=name) for name in DEFAULT_TRIGGERS)
    triggers: Annotated[
        dict[str, dict[str, Any]],
        Field(description="[triggering_service.triggers.NAME]: fields of its Config; enabled = false: off"),
        Why("Change a threshold of a built-in trigger, or turn one off."),
    ] = Field(default_factory=dict)
    rules: CloudRulesSection = Field(default_factory=CloudRulesSection)
    plugin_folders: Annotated[
        tuple[Path, ...],
        Field(description="folders of own plug-ins, used instead of built-in ones of the same name"),
        Why("Name the folder of triggers that you wrote."),
    ] = ()
    pre_ms: Annotated[
        int,
        Field(ge=0, le=600_000, description="span requested before the window"),
        Why("Raise it to see more of what came before an event."),
    ] = 1000
    post_ms: Annotated[
        int,
        Field(ge=0, le=600_000, description="span requested after the window"),
        Why("Raise it to see more of what came after an event."),
    ] = 1000
    alive_s: Annotated[
        float,
        Field(gt=0, le=3600, description="only Boxes received within this time are asked"),
        Why("Raise it for Boxes in the idle mode, which send once a minute."),
    ] = 10.0
    asking: AskingSection = Field(default_factory=AskingSection)
    ack_interval_s: Annotated[
        float,
        Field(ge=0.1, le=5, description="interval of acknowledgements to Boxes"),
        Why("Raise it for very many Boxes, and lower it so that gateways free their queues sooner."),
    ] = 2.0
    batch_ms: Annotated[
        int,
        Field(ge=1, le=10_000, description="interval at which measurements are stored"),
        Why("Raise it on a slow disk, at the price of as late a display of history."),
    ] = 200
    queue_rows: Annotated[
        int,
        Field(ge=1, le=10_000_000, description="most measurements that wait for the store"),
        Why("Raise it for many Boxes, where the store may be away for a while."),
    ] = 100_000
    health_endpoint: Annotated[
        str,
        Field(description="/health and /metrics of this service"),
        Why("Change it where another program has the port, or monitoring is on another machine."),
    ] = "127.0.0.1:8080"


@section
class EventServiceSection:
    answer_endpoint: Annotated[
        str,
        Field(description="the acquisition broker's address of this name"),
        Why("Change it where the broker has another address."),
    ] = "ipc://answers"
    request_endpoint: Annotated[
        str,
        Field(description="the acquisition broker's address of this name"),
        Why("Change it where the broker has another address."),
    ] = "ipc://commands"
    event_endpoint: Annotated[
        str,
        Field(description="PUB: [instance, event id]"),
        Why("Set tcp://127.0.0.1:10000 for programs of other users, tcp://*:10000 for other machines."),
    ] = "ipc://events"
    event_id_endpoint: Annotated[
        str,
        Field(description="REP: event ids"),
        Why("Set tcp://127.0.0.1:10001 for programs of other users, tcp://*:10001 for other machines."),
    ] = "ipc://event-ids"
    answer_timeout_s: Annotated[
        float,
        Field(gt=0, le=3600, description="time after which a Box that does not answer is missing"),
        Why("Raise it where Boxes answer over slow connections."),
    ] = 20.0
    grouping_s: Annotated[
        float,
        Field(
            ge=0,
            le=3600,
            description="time within which answers to a token of an original makai are one event",
        ),
        Why("Raise it where original Boxes answer over slow connections."),
    ] = 20.0
    ask_again_s: Annotated[
        float,
        Field(gt=0, le=3600, description="time until a Box is asked again after a restart or silence"),
        Why("Raise it where a gateway takes longer to be ready after a restart."),
    ] = 5.0
    v_per_lsb_fallback: Annotated[
        float | None,
        Field(
            gt=0,
            description="gain of an original Box without calibration in the store; none: unknown, not judged",
        ),
        Why("Set it where all original Boxes without calibration have the same hardware."),
    ] = None
    noted_per_min: Annotated[
        int,
        Field(ge=1, le=100_000, description="most requested events without data for one Box"),
        Why("Raise it where a Box without data is requested often and each request must be recorded."),
    ] = 60
    health_endpoint: Annotated[
        str,
        Field(description="/health and /metrics of this service"),
        Why("Change it where another program has the port, or monitoring is on another machine."),
    ] = "127.0.0.1:8916"
