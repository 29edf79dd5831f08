"""Mauka's services, made from the cloud's configuration; each runs in its own thread."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from opq_cloud.config import CloudConfig, InstalledAnalyses, Mauka
from opq_cloud.mauka.bridge import BridgeConfig, EventBridge
from opq_cloud.mauka.bus import BusBroker, BusConfig
from opq_cloud.mauka.follower import Follower
from opq_cloud.mauka.loading import built_in, load_analyses
from opq_cloud.mauka.payloads import MakaiEventPlugin
from opq_cloud.mauka.plugin import HEARTBEAT_KEY, PUB_KEY, SUB_KEY
from opq_cloud.mauka.runner import AnalysisRunner
from opq_cloud.mauka.status import StatusPlugin
from opq_cloud.service import CloudContext, Service
from opq_plugins.policy import Limits, Policy
from opq_proto.config import default_data_dir
from opq_proto.decision import Nominal
from opq_proto.errors import ConfigError

TRIAL_S = 300.0
"""So long after a replacement failures bring the old version back. Events are rare."""


def plugin_settings(mauka: Mauka) -> Mapping[str, Any]:
    """What a plug-in of the original form gets as its `config`."""
    return {
        PUB_KEY: mauka.bus_sub_endpoint,
        SUB_KEY: mauka.bus_pub_endpoint,
        HEARTBEAT_KEY: mauka.heartbeat_s,
    }


def policy_of(told: InstalledAnalyses) -> Policy:
    """Raises ConfigError: signatures cannot be checked here."""
    if told.keys and find_spec("cryptography") is None:
        raise ConfigError("mauka.plugins.keys  wants cryptography; pip install 'opq-toolkit[signing]'")
    return Policy(
        require_signature=told.require_signature,
        keys=told.keys,
        trusted=frozenset(told.trusted),
        trial_s=TRIAL_S,
        limits=Limits(memory_bytes=told.memory_mb << 20, call_s=told.call_s),
    )


def rules_folder(config: CloudConfig) -> Path:
    """Where Makai's host keeps its plug-ins, unless told otherwise."""
    told = config.mauka.plugins.data_dir or config.triggering_service.rules.data_dir or config.data_dir
    return (told or default_data_dir()).absolute() / "rules"


def services(config: CloudConfig, context: CloudContext) -> list[Service]:
    """Bus, bridge, follower, analyses, payloads, status.

    Raises PluginError for a wrong analysis, also for one that is not built in where nothing can have been
    installed; ConfigError.
    """
    mauka = config.mauka
    settings = plugin_settings(mauka)
    folder, own = rules_folder(config), built_in()
    entries = [(entry.name, entry.settings) for entry in mauka.analyses]
    others: dict[str, Mapping[str, Any]] = {}
    may_be_installed = config.triggering_service.rules.enabled or (folder / "plugins").is_dir()
    if mauka.plugins.enabled and may_be_installed:
        others = {name: told for name, told in entries if name not in own}
    analyses = load_analyses([entry for entry in entries if entry[0] not in others])
    follower = Follower(folder, policy_of(mauka.plugins), others, own) if mauka.plugins.enabled else None
    nominal = Nominal(config.nominal_v, config.nominal_hz)
    runner = AnalysisRunner(settings, lambda: context.store, analyses, nominal, installed=follower)
    plugins: list[MakaiEventPlugin | AnalysisRunner] = [runner]
    if mauka.payloads:
        plugins.append(MakaiEventPlugin(settings, lambda: context.store))
    return [
        BusBroker(BusConfig(mauka.bus_sub_endpoint, mauka.bus_pub_endpoint)),
        EventBridge(BridgeConfig(mauka.event_endpoint, mauka.bus_sub_endpoint)),
        StatusPlugin(settings, expected=[plugin.name for plugin in plugins]),
        *([follower] if follower is not None else []),
        *plugins,
    ]
