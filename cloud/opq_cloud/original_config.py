"""The original's JSON files, key for key, as parts of our configuration (opq-interop C.1 - C.5).

An original file is known by its keys. Keys that we have no use for are ignored, as there. Several
files may be given (the original has one per service); a TOML file of ours may be among them.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opq_cloud.config import CloudConfig, port_of
from opq_proto import log
from opq_proto.config import build, read_document
from opq_proto.errors import ConfigError

Document = Mapping[str, object]
"""What an original file holds."""
Values = dict[str, Any]
"""Our sections and keys, nested, as `opq_proto.config.build` reads them."""

KNOWN_BY = {
    "triggering_broker": ("interface", "backend"),
    "acquisition_broker": ("box_pub", "box_pull", "backend_pull", "backend_pub"),
    "health": ("mongo_service_checker_addr", "services"),
    "makai": ("zmq_trigger_endpoint", "zmq_acquisition_endpoint", "zmq_data_endpoint"),
    "mauka": ("zmq.mauka.broker.sub.interface", "zmq.mauka.broker.pub.interface", "mongo.host"),
}
"""Kind of file -> keys of which each such file has at least one."""
ADDRESSES = {
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
        "zmq.incident_id_provider.rep.interface": "mauka.incident_id_endpoint",
        "zmq.mauka.broker.sub.interface": "mauka.bus_sub_endpoint",
        "zmq.mauka.broker.pub.interface": "mauka.bus_pub_endpoint",
    },
}
NAPALI_KEYS = (
    "alpha", "f_min", "f_max", "rms_min", "rms_max", "thd_max", "trans_max", "grace_time_ms",
    "trigger_local", "debug",
)  # fmt: skip
"""Of its entry among the plug-ins (C.3); they are those of our trigger."""
PULL_PORT, PUB_PORT = 9884, 9899
"""The acquisition broker's ports; the makai.config.json that the original ships has them swapped (H.21)."""


def read_config(
    paths: Sequence[Path], overrides: Document | None = None, embedded: Path | None = None
) -> CloudConfig:
    """The configuration of these files, later ones over earlier, and `overrides` over all.

    `embedded` names the folder of the embedded store and puts a configured MongoDB aside.
    Raises ConfigError with every problem.
    """
    merged: Values = {}
    for path in paths:
        document = read_document(path)
        kind = kind_of(document)
        _merge(merged, document if kind is None else from_original(kind, document, path.name))
    if embedded is not None:
        section = merged.get("store")
        merged["store"] = {**(section if isinstance(section, dict) else {}), "data_dir": str(embedded)}
        merged["store"].pop("mongo_uri", None)
    where = ", ".join(path.name for path in paths) or "configuration"
    return build(CloudConfig, merged, where, overrides)


def kind_of(document: Document) -> str | None:
    """Which original file this is; None for one of ours."""
    return next((kind for kind, keys in KNOWN_BY.items() if any(key in document for key in keys)), None)


def from_original(kind: str, document: Document, where: str) -> Values:
    """Our keys and values for an original file's.

    Raises ConfigError: an address is no text.
    """
    found: Values = {}
    problems = []
    if kind == "mauka":
        document = _with_environment(document, where)
    for key, ours in ADDRESSES.get(kind, {}).items():
        if key not in document:
            continue
        if not isinstance(document[key], str):
            problems.append(f"{key} is {document[key]!r}; want an address, e.g. tcp://*:9880")
        else:
            _put(found, ours, document[key])
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise ConfigError(f"{where}: {len(problems)} problems, nothing was started{lines}")
    _keys(document, found)
    _mongo(document, found)
    if kind == "health":
        _put(found, "health.services", _watched(document.get("services")))
        if isinstance(interval := document.get("interval"), int):
            _put(found, "health.interval_s", float(interval))
    if kind == "makai":
        _makai(document, found, where)
    if kind == "mauka":
        _mauka(document, found)
    return found


def _with_environment(document: Document, where: str) -> Values:
    """Mauka's "?NAME" is that environment variable, "!NAME" the same as a number (C.4).

    Raises:
        ConfigError: a variable that shall be a number is none.
    """
    found: Values = {}
    for key, value in document.items():
        if not isinstance(value, str) or value[:1] not in ("?", "!"):
            found[key] = value
            continue
        setting = os.environ.get(value[1:])
        if setting is None:
            log.get().warning("config.variable_missing", file=where, key=key, variable=value[1:])
        elif value[0] == "?":
            found[key] = setting
        elif setting.isascii() and setting.isdigit():
            found[key] = int(setting)
        else:
            raise ConfigError(
                f"{where}: {key}: {value[1:]} is {setting!r}; want a whole number, nothing was started"
            )
    return found


def _mauka(document: Document, found: Values) -> None:
    host, port = document.get("mongo.host", "localhost"), document.get("mongo.port", 27017)
    _put(found, "store.mongo_uri", f"mongodb://{host}:{port}/{document.get('mongo.db', 'opq')}")
    if "plugins.base.heartbeatIntervalS" in document:
        _put(found, "mauka.heartbeat_s", document["plugins.base.heartbeatIntervalS"])
    if "plugins.StatusPlugin.port" in document:  # a port names no address: it stays on loopback
        _put(found, "mauka.health_endpoint", f"127.0.0.1:{document['plugins.StatusPlugin.port']}")


def _keys(document: Document, found: Values) -> None:
    server = document.get("server_cert")
    if isinstance(server, str):
        _put(found, "keys.server_secret", server)
        folder = Path(server).parent
        if folder.name == "private_keys":
            _put(found, "keys.folder", str(folder.parent))
    if isinstance(document.get("client_certs"), str):
        _put(found, "keys.public_keys", document["client_certs"])


def _mongo(document: Document, found: Values) -> None:
    if isinstance(document.get("mongo_uri"), str):
        _put(found, "store.mongo_uri", document["mongo_uri"])
    elif "mongo_host" in document:
        port = document.get("mongo_port", 27017)
        _put(found, "store.mongo_uri", f"mongodb://{document['mongo_host']}:{port}")


def _makai(document: Document, found: Values, where: str) -> None:
    requests = found.get("triggering_service", {}).get("request_endpoint", "")
    answers = found.get("event_service", {}).get("answer_endpoint", "")
    if port_of(requests) == PUB_PORT and port_of(answers) == PULL_PORT:
        log.get().warning(
            "config.corrected",
            file=where,
            problem=f"zmq_acquisition_endpoint ({requests}) and zmq_data_endpoint ({answers}) are swapped; "
            f"commands go to {PULL_PORT}, answers come from {PUB_PORT}",
        )
        requests, answers = answers, requests
        _put(found, "triggering_service.request_endpoint", requests)
        _put(found, "event_service.answer_endpoint", answers)
    if requests:
        _put(found, "event_service.request_endpoint", requests)
    if isinstance(identity := document.get("identity"), str):
        _put(found, "triggering_service.identity", identity.replace("_", "-"))
    if isinstance(plugins := document.get("plugins"), list):
        _put(found, "triggering_service.plugins", _plugins(plugins, found, where))


def _plugins(entries: list[object], found: Values, where: str) -> list[Values]:
    """Ours for the original's shared libraries, by what their file names say."""
    ours: list[Values] = []
    for entry in entries:
        plugin = entry if isinstance(entry, Mapping) else {}
        path = str(plugin.get("path", ""))
        name = Path(path).stem.removeprefix("lib")
        if "threshold" in name:
            ours.append({"name": "threshold"})  # the original ignores the limits in this file too
        elif "napali" in name:
            settings = {key: value for key, value in plugin.items() if key in NAPALI_KEYS}
            ours.append({"name": "napali", "settings": settings})
        elif "health" in name and isinstance(plugin.get("address"), str):
            _put(found, "triggering_service.health_endpoint", plugin["address"])
        else:
            log.get().warning(
                "config.plugin_ignored", file=where, path=path, known=["threshold", "napali", "health"]
            )
    return ours


def _watched(services: object) -> list[object]:
    """The services to ask; the original's MongoDB checker is part of its own Health and not of ours."""
    listed = services if isinstance(services, list) else []
    return [each for each in listed if not (isinstance(each, Mapping) and each.get("name") == "mongo")]


def _put(found: Values, dotted: str, value: object) -> None:
    *folders, key = dotted.split(".")
    for folder in folders:
        found = found.setdefault(folder, {})
    found[key] = value


def _merge(below: Values, above: Document) -> None:
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(below.get(key), dict):
            _merge(below[key], value)
        else:
            below[key] = value
