"""Mauka's services, made from the cloud's configuration; each runs in its own thread.

Built-in analyses are loaded by name and settings from this folder's `analyses/`.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from opq_cloud.config import CloudConfig, InstalledAnalysesSection, MaukaSection
from opq_cloud.mauka.bus import BusBroker, EventBridge
from opq_cloud.mauka.incident_ids import IncidentIds
from opq_cloud.mauka.installed_analyses import InstalledAnalyses
from opq_cloud.mauka.original_plugins import OriginalPlugins
from opq_cloud.mauka.original_settings import original_settings
from opq_cloud.mauka.payloads import MakaiEventPlugin
from opq_cloud.mauka.plugin import HEARTBEAT_KEY, PUB_KEY, SUB_KEY, PluginConfig
from opq_cloud.mauka.plugin_commands import PluginCommands
from opq_cloud.mauka.plugin_control import AnalysisPlugins, BusPlugins, PluginControl, PluginGroup
from opq_cloud.mauka.plugin_states import PluginStates
from opq_cloud.mauka.runner import AnalysisRunner
from opq_cloud.mauka.status import StatusPlugin
from opq_cloud.service import CloudContext, CloudService
from opq_plugins.package.built_in import available, load
from opq_plugins.policy import Policy, ProcessLimits
from opq_plugins.sdk.modules import Analysis
from opq_proto.config import default_data_dir
from opq_proto.errors import ConfigError

BUILT_IN = Path(__file__).parent / "analyses"
TRIAL_S = 300.0
"""So long after a replacement failures bring the old version back. Events are rare."""


def plugin_settings(mauka: MaukaSection) -> PluginConfig:
    """What a plug-in of the original form gets as its `config`."""
    return {
        PUB_KEY: mauka.bus_sub_endpoint,
        SUB_KEY: mauka.bus_pub_endpoint,
        HEARTBEAT_KEY: mauka.heartbeat_s,
    }


def policy_of(section: InstalledAnalysesSection) -> Policy:
    """Raises ConfigError: signatures cannot be checked here."""
    if section.keys and find_spec("cryptography") is None:
        raise ConfigError("mauka.plugins.keys needs cryptography; pip install 'opq-toolkit[signing]'")
    return Policy(
        require_signature=section.require_signature,
        keys=section.keys,
        trusted=frozenset(section.trusted),
        trial_s=TRIAL_S,
        limits=ProcessLimits(memory_bytes=section.memory_mb << 20, call_s=section.call_s),
    )


def rules_folder(config: CloudConfig) -> Path:
    """Where Makai's host keeps its plug-ins, unless the configuration says otherwise."""
    folder = config.mauka.plugins.data_dir or config.triggering_service.rules.data_dir or config.data_dir
    return (folder or default_data_dir()).absolute() / "rules"


def services(config: CloudConfig, context: CloudContext) -> list[CloudService]:
    """Bus, bridge, incident ids, installed analyses, runner, payloads, status, original plug-ins, commands.

    Raises PluginError for a wrong analysis, also for one that is not built in where nothing can have been
    installed; ConfigError.
    """
    mauka = config.mauka
    settings = plugin_settings(mauka)
    folder, own = rules_folder(config), built_in()
    entries = [(entry.name, entry.settings) for entry in mauka.analyses]
    others: dict[str, PluginConfig] = {}
    may_be_installed = config.triggering_service.rules.enabled or (folder / "plugins").is_dir()
    if mauka.plugins.enabled and may_be_installed:
        others = {name: settings for name, settings in entries if name not in own}
    analyses = load_analyses([entry for entry in entries if entry[0] not in others])
    installed = None
    if mauka.plugins.enabled:
        installed = InstalledAnalyses(folder, policy_of(mauka.plugins), others, own)
    runner = AnalysisRunner(settings, lambda: context.store, analyses, config.nominal, installed=installed)
    plugins: list[MakaiEventPlugin | AnalysisRunner] = [runner]
    if mauka.payloads:
        plugins.append(MakaiEventPlugin(settings, lambda: context.store))
    status = StatusPlugin(settings, expected=[plugin.name for plugin in plugins])
    own_folder = (config.data_dir or default_data_dir()).absolute() / "mauka"
    states = PluginStates(own_folder / "plugins.json")
    originals = None
    if mauka.plugins.enabled:
        flat = {**original_settings(config), **settings}
        originals = OriginalPlugins(own_folder, flat, policy_of(mauka.plugins), states)
    groups: list[PluginGroup] = [
        BusPlugins([status, *plugins], states),
        AnalysisPlugins(runner, installed, states),
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


def built_in() -> frozenset[str]:
    """Names of those of this folder."""
    return frozenset(available((BUILT_IN,)))


def load_analyses(
    entries: Sequence[tuple[str, PluginConfig]], folders: Sequence[Path] = (BUILT_IN,)
) -> list[Analysis]:
    """(name, settings) of each; no entries: all there are, with their defaults.

    Raises PluginError, with every problem of the first analysis that has one.
    """
    wanted = entries or [(name, {}) for name in available(folders)]
    loaded = []
    for name, settings in wanted:
        plugin = load("analysis", name, settings, folders)
        loaded.append(Analysis.of(plugin.module, plugin.config, settings))
    return loaded
