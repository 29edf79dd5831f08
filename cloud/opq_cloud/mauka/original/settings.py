"""`config` of a plug-in of the original: the flat keys of mauka.config.json, each with its default.

Addresses are those of this Mauka. Source: docs/reference/opq-interop.md C.4 (keys and values of the
original's file).
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opq_cloud.core.settings.config import CloudConfig
from opq_proto.errors import ConfigError

LARGEST_FILE = 1 << 20
INCIDENT_ID_KEY = "zmq.incident_id_provider.req.interface"
DEFAULTS: Mapping[str, Any] = {
    "mauka.debug": True,
    "mauka.debug.plugins": ["MakaiEventPlugin", "StatusPlugin"],
    "zmq.event.interface": "tcp://localhost:10000",
    "zmq.event_id.interface": "tcp://localhost:10001",
    "zmq.trigger.interface": "tcp://localhost:9884",
    "zmq.data.interface": "tcp://localhost:9899",
    INCIDENT_ID_KEY: "tcp://localhost:9777",
    "mongo.host": "localhost",
    "mongo.port": 27017,
    "mongo.db": "opq",
    "plugins.IticPlugin.segment.threshold.rms": 0.1,
    "plugins.FrequencyVariationPlugin.frequency.ref": 60.0,
    "plugins.FrequencyVariationPlugin.frequency.variation.threshold.low": 59.75,
    "plugins.FrequencyVariationPlugin.frequency.variation.threshold.high": 60.25,
    "plugins.FrequencyVariationPlugin.min_incident_len_c": 2,
    "plugins.FrequencyVariationPlugin.frequency.interruption": 58.0,
    "plugins.FrequencyVariationPlugin.max.lull.windows": 3,
    "plugins.TransientPlugin.noise.floor": 6.0,
    "plugins.TransientPlugin.oscillatory.min.cycles": 3,
    "plugins.TransientPlugin.oscillatory.low.freq.max.hz": 5000.0,
    "plugins.TransientPlugin.oscillatory.med.freq.max.hz": 500000.0,
    "plugins.TransientPlugin.oscillatory.high.freq.max.hz": 5000000.0,
    "plugins.TransientPlugin.arcing.zero.crossing.threshold": 10,
    "plugins.TransientPlugin.max.lull.ms": 4.0,
    "plugins.TransientPlugin.max.periodic.notching.std.dev": 2.0,
    "plugins.TransientPlugin.auto.corr.thresh.periodicity": 0.4,
    "plugins.MakaiEventPlugin.getDataAfterS": 10.0,
    "plugins.MakaiEventPlugin.filterOrder": 4,
    "plugins.MakaiEventPlugin.cutoffFrequency": 500.0,
    "plugins.MakaiEventPlugin.frequencyWindowCycles": 1,
    "plugins.MakaiEventPlugin.frequencyDownSampleRate": 2,
    "plugins.ThdPlugin.threshold.percent": 5.0,
    "plugins.ThdPlugin.window.size.ms": 200,
    "plugins.StatusPlugin.port": 8911,
    "plugins.SystemStatsPlugin.intervalS": 60,
    "plugins.SystemStatsPlugin.systemStatsIntervalS": 5,
}


def original_settings(config: CloudConfig) -> dict[str, Any]:
    """Returns DEFAULTS, with the addresses of this configuration."""
    return {
        **DEFAULTS,
        "zmq.event.interface": config.mauka.event_endpoint,
        "zmq.event_id.interface": config.mauka.event_id_endpoint,
        "zmq.trigger.interface": config.mauka.request_endpoint,
        "zmq.data.interface": config.mauka.answer_endpoint,
        INCIDENT_ID_KEY: config.mauka.incident_id_endpoint,
        "plugins.StatusPlugin.port": int(config.mauka.health_endpoint.rpartition(":")[2]),
    }


def network_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns what each plug-in needs of the network (policy.NETWORK): the service that numbers incidents."""
    found = re.match(r"tcp://[^/?]*:(\d+)", str(settings.get(INCIDENT_ID_KEY, "")))
    return () if found is None else (f"tcp:{int(found.group(1))}",)


def read_settings(path: Path) -> dict[str, Any]:
    """Returns the keys of a mauka.config.json; "?NAME" and "!NAME" are read from the environment.

    Raises ConfigError: it cannot be read, or is not an object of JSON.
    """
    try:
        if not path.is_file():  # a device or a pipe could be read endlessly
            raise ConfigError(f"{path}: no file")
        if path.stat().st_size > LARGEST_FILE:
            raise ConfigError(f"{path}: more than {LARGEST_FILE >> 20} MiB")
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(
            f"{path}: want an object of JSON with keys such as plugins.ThdPlugin.threshold.percent"
        )
    return {key: value for key, each in found.items() if (value := _with_environment(key, each)) is not None}


def _with_environment(key: str, value: Any) -> Any:
    if not isinstance(value, str) or value[:1] not in ("?", "!"):
        return value
    text = os.environ.get(value[1:])
    if text is None or value[0] == "?":
        return text
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{key}: {value[1:]} in the environment is not a whole number") from None
