"""Every key of the original's JSON files: the setting of ours that it sets, or why it has no effect.

Source: docs/reference/opq-interop.md C.1 to C.4; "guide" is the published guide of the C++ generation.
"""

from collections.abc import Mapping

from opq_cloud.core.original.analyses import NUMBER_KEYS

IDENTIFYING_KEYS = {
    "triggering_broker": ("interface", "backend"),
    "acquisition_broker": ("box_pub", "box_pull", "backend_pull", "backend_pub"),
    "health": ("mongo_service_checker_addr", "services"),
    "makai": ("zmq_trigger_endpoint", "zmq_acquisition_endpoint", "zmq_data_endpoint"),
    "mauka": ("zmq.mauka.broker.sub.interface", "zmq.mauka.broker.pub.interface", "mongo.host"),
}
"""Kind of file -> keys of which each such file has at least one."""
ADDRESSES: Mapping[str, Mapping[str, str]] = {
    "triggering_broker": {
        "interface": "triggering_broker.box_endpoint",
        "backend": "triggering_broker.backend_endpoint",
    },
    "acquisition_broker": {
        "box_pub": "acquisition_broker.command_endpoint",
        "box_pull": "acquisition_broker.response_endpoint",
        "backend_pull": "acquisition_broker.request_endpoint",
        "backend_pub": "acquisition_broker.answer_endpoint",
    },
    "makai": {
        "zmq_trigger_endpoint": "triggering_service.measurement_endpoint",
        "zmq_acquisition_endpoint": "triggering_service.request_endpoint",
        "zmq_data_endpoint": "event_service.answer_endpoint",
        "zmq_event_endpoint": "event_service.event_endpoint",
        "zmq_event_id_endpoint": "event_service.event_id_endpoint",
    },
    "mauka": {
        "zmq.event.interface": "mauka.event_endpoint",
        "zmq.event_id.interface": "mauka.event_id_endpoint",
        "zmq.trigger.interface": "mauka.request_endpoint",
        "zmq.data.interface": "mauka.answer_endpoint",
        "zmq.incident_id_provider.rep.interface": "mauka.incident_id_endpoint",
        "zmq.mauka.plugin.management.rep.interface": "mauka.plugin_manager_endpoint",
        "zmq.mauka.broker.sub.interface": "mauka.bus_sub_endpoint",
        "zmq.mauka.broker.pub.interface": "mauka.bus_pub_endpoint",
    },
}
NUMBERS: Mapping[str, Mapping[str, str]] = {
    "triggering_broker": {"metric_update_sec": "triggering_broker.metrics_interval_s"},
    "acquisition_broker": {"metric_update_sec": "acquisition_broker.metrics_interval_s"},
    "health": {"interval": "health.interval_s"},
    "mauka": {
        "plugins.base.heartbeatIntervalS": "mauka.heartbeat_s",
        "plugins.SystemStatsPlugin.intervalS": "mauka.stats.interval_s",
        "plugins.SystemStatsPlugin.systemStatsIntervalS": "mauka.stats.sample_s",
    },
}
"""Keys with numbers that are used unchanged."""
NEEDED: Mapping[str, tuple[str, ...]] = {
    "triggering_broker": ("server_cert", "interface", "backend"),
    "acquisition_broker": ("server_cert", "box_pub", "box_pull", "backend_pull", "backend_pub"),
    "makai": (
        "zmq_trigger_endpoint",
        "zmq_acquisition_endpoint",
        "zmq_data_endpoint",
        "zmq_event_endpoint",
        "zmq_event_id_endpoint",
    ),
    "mauka": ("zmq.event.interface", *IDENTIFYING_KEYS["mauka"]),
}
"""Keys without which the original does not start."""
OBEYED = (
    "mongo_uri",
    "mongo_host",
    "mongo_port",
    "server_cert",
    "client_certs",
    "white_list",
    "identity",
    "plugins",
    "services",
    "mongo.host",
    "mongo.port",
    "mongo.db",
    "plugins.StatusPlugin.port",
    "mongo_trends_update_interval_seconds",
    "mongo_measurement_expiration_seconds",
)
"""Keys that `original_config` reads one by one."""
_BROKER = {
    "pub_key": "the keys come from server_cert, as in the original",
    "sec_key": "the keys come from server_cert, as in the original",
}
WITHOUT_EFFECT: Mapping[str, Mapping[str, str]] = {
    "triggering_broker": _BROKER,
    "acquisition_broker": _BROKER,
    "makai": {
        "event_request_expiration_window_ms": "as in the original; see event_service.answer_timeout_s",
        "ttl_cache_ttl": "the store itself reads how long data are kept",
    },
    "health": {"mongo_service_checker_addr": "each service reports on its own store"},
    "mauka": {
        "mauka.debug": "every service logs at the same level",
        "mauka.debug.plugins": "every service logs at the same level",
        "mauka.startEventBroker": "opq-cloud mauka is the bus, the bridge and the analyses",
        "mauka.startPubSubBroker": "opq-cloud mauka is the bus, the bridge and the analyses",
        "mauka.startPlugins": "opq-cloud mauka is the bus, the bridge and the analyses",
        "zmq.mauka.plugin.pub.interface": "analyses do not use the bus; others connect to its address",
        "zmq.mauka.plugin.sub.interface": "analyses do not use the bus; others connect to its address",
        "zmq.incident_id_provider.req.interface": "numbers come from the address of rep.interface",
        "laha.config.default": "the store's laha_config says how long data are kept",
    },
}
"""Kind -> key -> why it has no effect; `plugins.…` and `zmq.mauka.plugin.management.req…` of Mauka
are in ORIGINAL_ANALYSES.
"""
ORIGINAL_ANALYSES = "a setting of the original's own plug-ins; ours are in mauka.analyses"
_UNUSED_REASON = "as in the original, which never uses it"
COMPARABLE: Mapping[str, str] = {
    "plugins.FrequencyVariationPlugin.frequency.interruption": _UNUSED_REASON,
    "plugins.FrequencyVariationPlugin.max.lull.windows": _UNUSED_REASON,
    "plugins.IticPlugin.segment.threshold.rms": _UNUSED_REASON,
    "plugins.TransientPlugin.oscillatory.low.freq.max.hz": _UNUSED_REASON,
    "plugins.TransientPlugin.oscillatory.med.freq.max.hz": _UNUSED_REASON,
    "plugins.TransientPlugin.oscillatory.high.freq.max.hz": _UNUSED_REASON,
    "plugins.TransientPlugin.arcing.zero.crossing.threshold": "always 10, as in the original",
    "plugins.MakaiEventPlugin.getDataAfterS": "an event of ours is read when it is complete",
    "plugins.MakaiEventPlugin.frequencyWindowCycles": _UNUSED_REASON,
    "plugins.MakaiEventPlugin.frequencyDownSampleRate": _UNUSED_REASON,
    "plugins.ThdPlugin.window.size.ms": "as in the original, whose window is one cycle",
    "zmq.mauka.plugin.management.req.interface": "opq-tools mauka has an option for the manager's address",
}
"""Key of the original's plug-ins -> the corresponding setting here, or why no setting corresponds."""
PLUGINS_WITHOUT_EFFECT = {
    "print": "opq-tools status and the log show the messages",
    "ketos": "a script in Scheme; a script_path that ends in .lua runs, else write a rule or a plug-in in "
    "Python or C: docs/plugins.md",
}
"""Part of a shared library's name -> what to use instead."""
KNOWN_PLUGINS = ("threshold", "napali", "health")
NAPALI_KEYS = (
    "alpha",
    "f_min",
    "f_max",
    "rms_min",
    "rms_max",
    "thd_max",
    "trans_max",
    "grace_time_ms",
    "trigger_local",
    "debug",
)
"""The keys of its entry among the plug-ins (C.3), which our trigger has too."""
LIMITS_ELSEWHERE = (
    "reference_frequency",
    "frequency_threshold_percent_low",
    "frequency_threshold_percent_high",
    "reference_voltage",
    "voltage_threshold_percent_low",
    "voltage_threshold_percent_high",
    "thd_threshold_high",
)
"""Keys of the threshold plug-in's entry: the original ignores them too, and reads makai_config."""


def why_without_effect(kind: str, key: str) -> str | None:
    """Returns why a key of such a file has no effect; None: it has one, or is unknown."""
    if is_obeyed(kind, key):
        return None
    if kind == "mauka" and key.startswith(
        ("plugins.", "zmq.mauka.plugin.management.req", "zmq.triggering", "zmq.makai")
    ):
        return COMPARABLE.get(key, ORIGINAL_ANALYSES)
    return WITHOUT_EFFECT.get(kind, {}).get(key)


def is_obeyed(kind: str, key: str) -> bool:
    """Returns True if a key of such a file sets something here."""
    of_analyses = kind == "mauka" and key in NUMBER_KEYS
    return of_analyses or key in ADDRESSES.get(kind, {}) or key in NUMBERS.get(kind, {}) or key in OBEYED
