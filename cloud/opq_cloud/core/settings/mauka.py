"""Sections of Mauka: `[mauka]`, and below it installed analyses, processes, outages, asking, statistics."""

from pathlib import Path
from typing import Annotated, Any

from opq_cloud.core.settings.plugin_entry import PluginEntry
from opq_plugins.policy_section import PluginProcesses
from opq_proto.config.reading import Field, Why, section


@section
class InstalledAnalysesSection(PluginProcesses):
    """Analyses installed at Makai's rules (POST /plugins/analyses), and plug-ins of the original."""

    enabled: Annotated[
        bool,
        Field(description="run installed and deployed analyses, also new ones"),
        Why("Turn it off where only built-in analyses may run."),
    ] = True
    data_dir: Annotated[
        Path | None,
        Field(description="folder that holds rules/plugins/; none: that of triggering_service.rules"),
        Why("Set it where plug-ins are on another disk."),
    ] = None
    memory_mb: Annotated[
        int,
        Field(ge=64, le=65_536, description="memory of the process of one plug-in, with all that it maps"),
        Why("Raise it for a plug-in with a large model, as SciPy and statsmodels alone map 500 MB."),
    ] = 1024
    call_s: Annotated[
        float,
        Field(gt=0, le=600, description="longest analysis of one event, after which its process is ended"),
        Why("Raise it for an analysis that computes for long."),
    ] = 30.0


@section
class AnalysisWorkersSection:
    """Processes for the built-in analyses of Mauka (docs/mauka-running.md, "Several at a time")."""

    count: Annotated[
        int,
        Field(ge=1, le=64, description="events analysed at a time"),
        Why("Raise it where events wait and the machine has free cores."),
    ] = 1
    memory_mb: Annotated[
        int,
        Field(ge=256, le=65_536, description="memory of one process"),
        Why("Raise it for events of hundreds of Boxes."),
    ] = 1024
    call_s: Annotated[
        float,
        Field(ge=1, le=3600, description="longest analyses of one event, plus the length of its waveforms"),
        Why("Raise it on a slow machine."),
    ] = 60.0


@section
class OutageSection:
    """Silent Boxes: whether they lost their supply or only their network: docs/mauka-cases.md, "Outages"."""

    enabled: Annotated[
        bool, Field(description="look for outages"), Why("Turn it off where Boxes are often unplugged.")
    ] = True
    silence_s: Annotated[
        float,
        Field(ge=2, le=86_400, description="shortest silence that counts"),
        Why("Raise it where connections often fail for some seconds."),
    ] = 10.0
    least_probability: Annotated[
        float,
        Field(ge=0.5, lt=1, description="least probability of a lost supply for a stored outage"),
        Why("Raise it to store fewer outages that are only likely, and lower it to store more."),
    ] = 0.8
    longest_h: Annotated[
        float,
        Field(gt=0, le=1000, description="longest outage that is judged"),
        Why("Raise it where outages last for days."),
    ] = 24.0
    compat: Annotated[
        bool,
        Field(description="like the original's OutagePlugin: every silence of 60 s is an outage"),
        Why("Set it where a program expects the original's outages."),
    ] = False


@section
class SystemStatsSection:
    """The documents in `laha_stats`, for the original's readers: docs/mauka-running.md."""

    enabled: Annotated[
        bool,
        Field(description="write a document of laha_stats"),
        Why("Turn it off where no program reads `laha_stats`."),
    ] = True
    interval_s: Annotated[
        float,
        Field(ge=1, le=86_400, description="interval of documents"),
        Why("Raise it to write fewer documents."),
    ] = 60.0
    sample_s: Annotated[
        float,
        Field(ge=0.1, le=3600, description="interval of samples of the machine"),
        Why("Lower it to see short peaks of load."),
    ] = 5.0


@section
class MoreSamplesSection:
    """Requests of analyses to Makai for samples beyond an event; Makai's budgets apply too."""

    enabled: Annotated[
        bool,
        Field(description="analyses may request more samples of an event"),
        Why("Turn it off on metered connections."),
    ] = True
    rounds: Annotated[
        int,
        Field(ge=1, le=5, description="how often an event may grow by requests of analyses"),
        Why("Raise it for disturbances that begin long before they are noticed."),
    ] = 2
    longest_s: Annotated[
        float,
        Field(
            gt=0, le=600, description="longest time before and after an event's span that may be requested"
        ),
        Why("Raise it where an analysis needs more of what came before."),
    ] = 30.0


@section
class MaukaSection:
    event_endpoint: Annotated[
        str,
        Field(description="PUB address of the event service"),
        Why("Change it where the event service has another address."),
    ] = "ipc://events"
    incident_id_endpoint: Annotated[
        str,
        Field(
            description="numbers for incidents (REP): given here, or by the original's service that is there"
        ),
        Why("Set the address of the original's service where that is on another machine."),
    ] = "tcp://127.0.0.1:9777"
    plugin_manager_endpoint: Annotated[
        str,
        Field(description="text commands for plug-ins (REP); everybody who reaches it can stop them"),
        Why("Set tcp://127.0.0.1:12000 for the original's prompt."),
    ] = "ipc://plugin-manager"
    bus_sub_endpoint: Annotated[
        str,
        Field(description="bus: plug-ins publish here"),
        Why("Set tcp://127.0.0.1:9882 for plug-ins of other users, tcp://*:9882 for other machines."),
    ] = "ipc://bus-in"
    bus_pub_endpoint: Annotated[
        str,
        Field(description="bus: plug-ins subscribe here"),
        Why("Set tcp://127.0.0.1:9883 for plug-ins of other users, tcp://*:9883 for other machines."),
    ] = "ipc://bus-out"
    measurement_endpoint: Annotated[
        str,
        Field(description="triggering broker (SUB), read while an analysis takes Measurements"),
        Why("Change it where the broker has another address."),
    ] = "ipc://measurements"
    event_id_endpoint: Annotated[
        str,
        Field(description="event ids (REQ), for TriggerPlugin"),
        Why("Change it where the event service has another address."),
    ] = "ipc://event-ids"
    request_endpoint: Annotated[
        str,
        Field(description="commands to Boxes (PUSH), for its plug-ins"),
        Why("Change it where the broker has another address."),
    ] = "ipc://commands"
    answer_endpoint: Annotated[
        str,
        Field(description="Boxes' answers (SUB), for its plug-ins"),
        Why("Change it where the broker has another address."),
    ] = "ipc://answers"
    heartbeat_s: Annotated[
        float,
        Field(gt=0, le=3600, description="interval of heartbeats of plug-ins; original: 60"),
        Why("Set 60 where a program expects the original's rhythm."),
    ] = 10.0
    analyses: Annotated[
        tuple[PluginEntry, ...],
        Field(description="analyses with settings; without a built-in one all of them run"),
        Why("Change it to run an analysis of your own, or to leave one out."),
    ] = ()
    analysis_settings: Annotated[
        dict[str, dict[str, Any]],
        Field(description="settings of analyses by name; mauka.analyses has priority"),
        Why("Change a threshold of an analysis without naming all analyses."),
    ] = Field(default_factory=dict)
    plugins: InstalledAnalysesSection = Field(default_factory=InstalledAnalysesSection)
    workers: AnalysisWorkersSection = Field(default_factory=AnalysisWorkersSection)
    outages: OutageSection = Field(default_factory=OutageSection)
    asking: MoreSamplesSection = Field(default_factory=MoreSamplesSection)
    stats: SystemStatsSection = Field(default_factory=SystemStatsSection)
    payloads: Annotated[
        bool,
        Field(description="put waveforms on the bus, for plug-ins of the original form"),
        Why("Turn it off where no plug-in of the original form runs, to save copying waveforms."),
    ] = True
    health_endpoint: Annotated[
        str,
        Field(description="/health and /metrics of this service"),
        Why("Change it where another program has the port, or monitoring is on another machine."),
    ] = "127.0.0.1:8911"
