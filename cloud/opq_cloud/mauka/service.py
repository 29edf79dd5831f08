"""Mauka's services, made from the cloud's configuration; each runs in its own thread."""

from collections.abc import Mapping
from typing import Any

from opq_cloud.config import CloudConfig, Mauka
from opq_cloud.mauka.bridge import BridgeConfig, EventBridge
from opq_cloud.mauka.bus import BusBroker, BusConfig
from opq_cloud.mauka.loading import load_analyses
from opq_cloud.mauka.payloads import MakaiEventPlugin
from opq_cloud.mauka.plugin import HEARTBEAT_KEY, PUB_KEY, SUB_KEY
from opq_cloud.mauka.runner import AnalysisRunner
from opq_cloud.mauka.status import StatusPlugin
from opq_cloud.service import CloudContext, Service
from opq_rules.plugins.analysis import Nominal


def plugin_settings(mauka: Mauka) -> Mapping[str, Any]:
    """What a plug-in of the original form gets as its `config`."""
    return {
        PUB_KEY: mauka.bus_sub_endpoint,
        SUB_KEY: mauka.bus_pub_endpoint,
        HEARTBEAT_KEY: mauka.heartbeat_s,
    }


def services(config: CloudConfig, context: CloudContext) -> list[Service]:
    """Bus, bridge, analyses, payloads, status. Raises PluginError for a wrong analysis."""
    mauka = config.mauka
    settings = plugin_settings(mauka)
    analyses = load_analyses([(entry.name, entry.settings) for entry in mauka.analyses])
    nominal = Nominal(config.nominal_v, config.nominal_hz)
    runner = AnalysisRunner(settings, lambda: context.store, analyses, nominal)
    plugins: list[MakaiEventPlugin | AnalysisRunner] = [runner]
    if mauka.payloads:
        plugins.append(MakaiEventPlugin(settings, lambda: context.store))
    return [
        BusBroker(BusConfig(mauka.bus_sub_endpoint, mauka.bus_pub_endpoint)),
        EventBridge(BridgeConfig(mauka.event_endpoint, mauka.bus_sub_endpoint)),
        StatusPlugin(settings, expected=[plugin.name for plugin in plugins]),
        *plugins,
    ]
