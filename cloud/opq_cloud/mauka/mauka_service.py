"""Mauka's services, made from the cloud's configuration; each runs in its own thread.

Built-in analyses are loaded by name and settings from this folder's `analyses/`.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

from opq_cloud.core.service import CloudContext, CloudService
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.core.settings.mauka import InstalledAnalysesSection, MaukaSection
from opq_cloud.mauka.bus.broker import BusBroker, EventBridge
from opq_cloud.mauka.bus_plugins.box_commands import BoxOptimizationPlugin
from opq_cloud.mauka.bus_plugins.laha_gc import LahaGcPlugin
from opq_cloud.mauka.bus_plugins.other_mauka import OtherMauka
from opq_cloud.mauka.bus_plugins.payloads import MakaiEventPlugin
from opq_cloud.mauka.bus_plugins.plugin_heartbeats import StatusPlugin
from opq_cloud.mauka.bus_plugins.printing import PrintPlugin
from opq_cloud.mauka.bus_plugins.system_stats import SystemStatsPlugin
from opq_cloud.mauka.bus_plugins.threshold_optimization import ThresholdOptimizationPlugin
from opq_cloud.mauka.bus_plugins.trigger_requests import TriggerRequestPlugin
from opq_cloud.mauka.flow.flow_runner import AnalysisRunner
from opq_cloud.mauka.flow.stream_runner import StreamRunner
from opq_cloud.mauka.operating.plugin_commands import PluginCommands
from opq_cloud.mauka.operating.plugin_control import AnalysisPlugins, BusPlugins, PluginControl, PluginGroup
from opq_cloud.mauka.original.incident_ids import IncidentIds
from opq_cloud.mauka.original.original_plugins import OriginalPlugins
from opq_cloud.mauka.original.settings import original_settings
from opq_cloud.mauka.outages.outage_plugin import OutagePlugin
from opq_cloud.mauka.plugin import HEARTBEAT_KEY, PUB_KEY, SUB_KEY, PluginConfig
from opq_cloud.mauka.running.calls.analysis_tasks import AnalysisSetup
from opq_cloud.mauka.running.calls.executor import WorkerProcesses
from opq_cloud.mauka.running.events.event_jobs import EventJobs
from opq_cloud.mauka.running.installed.installed_analyses import InstalledAnalyses
from opq_cloud.mauka.running.known.analysis_entries import analysis_entries
from opq_cloud.mauka.running.known.built_in_analyses import built_in, load_analyses
from opq_cloud.mauka.running.known.plugin_states import PluginStates
from opq_plugins.policy import Policy, ProcessLimits, network_setting
from opq_proto.errors import ConfigError, PluginError
from opq_proto.kit.system_place import default_data_dir

BusPlugin = (
    AnalysisRunner
    | BoxOptimizationPlugin
    | LahaGcPlugin
    | MakaiEventPlugin
    | OutagePlugin
    | PrintPlugin
    | StreamRunner
    | SystemStatsPlugin
    | ThresholdOptimizationPlugin
    | TriggerRequestPlugin
)
Settings: TypeAlias = dict[str, PluginConfig]
"""Analysis -> its settings."""
TRIAL_S = 300.0
"""For this long after a replacement, failures bring the old version back. Events are rare."""


def plugin_settings(mauka: MaukaSection) -> PluginConfig:
    """Returns the `config` of a plug-in of the original form."""
    return {
        PUB_KEY: mauka.bus_sub_endpoint,
        SUB_KEY: mauka.bus_pub_endpoint,
        HEARTBEAT_KEY: mauka.heartbeat_s,
    }


def policy_of(section: InstalledAnalysesSection, config_files: Sequence[Path] = ()) -> Policy:
    """Makes the policy for plug-ins; `config_files` are named in errors.

    Raises ConfigError: signatures cannot be checked here.
    """
    if section.keys and find_spec("cryptography") is None:
        raise ConfigError("mauka.plugins.keys needs cryptography; pip install 'opq-toolkit[signing]'")
    return Policy(
        require_signature=section.require_signature,
        keys=section.keys,
        trusted=frozenset(section.trusted),
        readable=section.readable,
        writable=section.writable,
        network=section.network,
        network_place=network_setting("mauka.plugins", config_files),
        trial_s=TRIAL_S,
        limits=ProcessLimits(memory_bytes=section.memory_mb << 20, call_s=section.call_s),
    )


def rules_folder(config: CloudConfig) -> Path:
    """Returns the folder of Makai's host for its plug-ins, unless the configuration sets another one."""
    folder = config.mauka.plugins.data_dir or config.triggering_service.rules.data_dir or config.data_dir
    return (folder or default_data_dir()).absolute() / "rules"


def _chosen_analyses(config: CloudConfig) -> tuple[list[tuple[str, dict[str, object]]], Settings]:
    """Returns the entries of built-in analyses, and the settings of those that may be installed."""
    mauka, own = config.mauka, built_in()
    entries = analysis_entries(mauka, own)
    others: Settings = {}
    may_be_installed = config.triggering_service.rules.enabled or (rules_folder(config) / "plugins").is_dir()
    if mauka.plugins.enabled and may_be_installed:
        others = {name: settings for name, settings in entries if name not in own}
    return [(name, dict(values)) for name, values in entries if name not in others], others


def judged_analyses(config: CloudConfig) -> None:
    """Checks names and settings of the analyses as a start does. Raises ConfigError."""
    try:
        load_analyses(_chosen_analyses(config)[0])
    except PluginError as error:
        raise ConfigError(str(error)) from None


def services(config: CloudConfig, context: CloudContext) -> list[CloudService]:
    """Makes bus, bridge, incident ids, installed analyses, runner, payloads, status, originals, commands.

    Raises PluginError for a wrong analysis, also for one that is not built in where nothing can have been
    installed; ConfigError.
    """
    mauka = config.mauka
    settings = plugin_settings(mauka)
    folder, own = rules_folder(config), built_in()
    chosen, others = _chosen_analyses(config)
    installed = None
    if mauka.plugins.enabled:
        installed = InstalledAnalyses(folder, policy_of(mauka.plugins, context.config_files), others, own)
    processes = WorkerProcesses(mauka.workers.count, mauka.workers.memory_mb << 20)
    runner = AnalysisRunner(
        settings,
        lambda: context.store,
        load_analyses(chosen),
        config.nominal,
        installed=installed,
        asking=mauka.asking,
        jobs=EventJobs(processes, AnalysisSetup.of(chosen), mauka.workers.call_s),
    )
    streams = StreamRunner(
        settings, lambda: context.store, installed, mauka.measurement_endpoint, config.nominal
    )
    flat = {**original_settings(config), **settings}
    other = OtherMauka()
    plugins: list[BusPlugin] = [runner, streams]
    if mauka.outages.enabled:
        plugins.append(OutagePlugin(settings, lambda: context.store, mauka.outages, config.nominal))
    if mauka.payloads:
        plugins.append(MakaiEventPlugin(settings, lambda: context.store, other))
    plugins.append(ThresholdOptimizationPlugin(settings, lambda: context.store))
    plugins.append(LahaGcPlugin(settings, lambda: context.store))
    gain = config.event_service.v_per_lsb_fallback
    plugins += [TriggerRequestPlugin(flat, lambda: context.store, gain), BoxOptimizationPlugin(flat)]
    if mauka.stats.enabled:
        disk = config.store.data_dir or config.data_dir or default_data_dir()
        plugins.append(SystemStatsPlugin(settings, lambda: context.store, mauka.stats, disk))
    status = StatusPlugin(settings, [plugin.name for plugin in plugins], other=other)
    plugins.append(PrintPlugin(settings))  # after `expected`: it is off until an operator starts it
    own_folder = (config.data_dir or default_data_dir()).absolute() / "mauka"
    states = PluginStates(own_folder / "plugins.json")
    originals = None
    if mauka.plugins.enabled:
        reserved = {*own, *(plugin.name for plugin in (status, *plugins))}
        rights = policy_of(mauka.plugins, context.config_files)
        originals = OriginalPlugins(own_folder, flat, rights, states, reserved)
    groups: list[PluginGroup] = [
        BusPlugins([status, *plugins], states),
        AnalysisPlugins([runner, streams], installed, states),
    ]
    return [
        BusBroker(mauka),
        EventBridge(mauka),
        IncidentIds(mauka, context),
        status,
        *([installed] if installed is not None else []),
        *plugins,
        *([originals] if originals is not None else []),
        PluginCommands(mauka, PluginControl(groups, originals, states)),
    ]
