"""The original's JSON files, key for key, as parts of our configuration (docs/reference/opq-interop.md C.1 -
C.5).

An original file is recognised by its keys, the text of an environment variable by its name. Several may be
given (the original has one per service); a TOML file of ours may be among them. Every key that is
corrected, or has no effect, is logged at the start and shown by `opq-tools config check`.
"""

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from opq_cloud.core.backend.addresses import BOUND
from opq_cloud.core.original.analyses import NUMBER_KEYS, analysis_settings
from opq_cloud.core.original.keys import (
    ADDRESSES,
    IDENTIFYING_KEYS,
    KNOWN_PLUGINS,
    LIMITS_ELSEWHERE,
    NAPALI_KEYS,
    NEEDED,
    NUMBERS,
    OBEYED,
    PLUGINS_WITHOUT_EFFECT,
    is_obeyed,
    why_without_effect,
)
from opq_cloud.core.original.ports import BrokerPorts, MakaiAddresses, broker_ports, corrected
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.core.settings.endpoint_ports import address_problems
from opq_cloud.core.settings.makai_settings import DEFAULT_TRIGGERS
from opq_cloud.store.passed_over import without_password
from opq_proto.config.reading import build, read_document
from opq_proto.errors import ConfigError, problem_count
from opq_proto.kit import log
from opq_proto.kit.ports import endpoint
from opq_proto.kit.service_sockets import SCHEME, SOCKETS
from opq_proto.kit.system_place import UNITS_DATA_DIR

Document = Mapping[str, object]
"""The content of an original file."""
Values = dict[str, Any]
"""Our sections and keys, nested, as `opq_proto.config.reading.build` reads them."""

UNITS_CONFIG = Path("/etc/opq/cloud.toml")
TREND_S = 60
MISSPELT = "config.misspelt_key"
"""Event of a notice about an unknown key that is a known one but for a letter or two."""
ALIKE = 0.85
"""Least likeness of two such keys, as `difflib` measures it."""
BROKER_PORTS = BrokerPorts()


@dataclass(frozen=True, slots=True)
class ConfigNotice:
    """A notice for the operator about one key of a file; it does not stop the start."""

    event: str
    file: str
    key: str
    text: str
    facts: Mapping[str, object] = field(default_factory=dict)


Notify = Callable[[ConfigNotice], None]


@dataclass(frozen=True, slots=True)
class ConfigSource:
    """A document and its origin; `kind`: that of an original one, where its name shows it."""

    name: str
    document: Document
    kind: str | None = None


def log_notice(notice: ConfigNotice) -> None:
    log.get().warning(
        notice.event, file=notice.file, key=notice.key, problem=notice.text, **dict(notice.facts)
    )


def system_file(data_dir: Path) -> Path | None:
    """The configuration of the system in a data folder, which commands read that are given no file.

    It is that which `up` or a container writes into the folder, or that of the units.
    """
    of_units = [UNITS_CONFIG] if data_dir == UNITS_DATA_DIR else []
    return next((each for each in (data_dir / "config" / "cloud.toml", *of_units) if each.is_file()), None)


def read_config(
    paths: Sequence[Path],
    overrides: Document | None = None,
    embedded: Path | None = None,
    sources: Sequence[ConfigSource] = (),
    notify: Notify = log_notice,
    brokers: Sequence[ConfigSource] = (),
) -> CloudConfig:
    """Builds the configuration: later paths over earlier ones, files over `sources`, `overrides` over all.

    `embedded` is the folder of the embedded store and replaces a configured MongoDB. `brokers`: files of
    brokers that run apart; only their ports are used, to check an original makai.conf.
    Raises ConfigError with every problem.
    """
    merged: Values = {}
    every = [*sources, *(ConfigSource(path.name, read_document(path)) for path in paths)]
    ports = broker_ports(source.document for source in (*brokers, *every))
    for source in every:
        kind = kind_of(source.document) or source.kind
        part: Document = source.document
        if kind is not None:
            part = from_original(kind, source.document, source.name, notify, ports)
        named, known = _mongo_of(part), _mongo_of(merged)
        if None not in (named, known) and named != known:
            text = (
                f"{without_password(named or '')}, where another file has {without_password(known or '')}: "
                "a system has one store; this one is used"
            )
            notify(ConfigNotice("config.store_differs", source.name, "mongo", text))
        _merge(merged, part)
    if any(kind_of(source.document) or source.kind for source in every):
        _put_for_original(merged)
    if embedded is not None:
        section = merged.get("store")
        merged["store"] = {**(section if isinstance(section, dict) else {}), "data_dir": str(embedded)}
        merged["store"].pop("mongo_uri", None)
    where = ", ".join(source.name for source in every) or "configuration"
    return build(CloudConfig, merged, where, overrides, partial(address_problems, CloudConfig))


def _put_for_original(merged: Values) -> None:
    """Puts the original's port for each address between services that no file states, and no keys: its
    programs know neither sockets of a data folder nor keys there."""
    keys = merged.setdefault("backend_keys", {})
    if isinstance(keys, dict):
        keys.setdefault("enabled", False)
    defaults = CloudConfig()
    for name, keys in BOUND.items():
        stated = merged.get(name, {})
        for key in keys if isinstance(stated, dict) else ():
            usual = getattr(getattr(defaults, name), key)
            if usual.startswith(SCHEME) and key not in stated:
                _put(merged, f"{name}.{key}", endpoint(SOCKETS[usual.removeprefix(SCHEME)]))


def kind_of(document: Document) -> str | None:
    """Returns the kind of the original file; None for one of ours."""
    return next(
        (kind for kind, keys in IDENTIFYING_KEYS.items() if any(key in document for key in keys)), None
    )


def from_original(
    kind: str,
    document: Document,
    where: str,
    notify: Notify = log_notice,
    ports: BrokerPorts = BROKER_PORTS,
) -> Values:
    """Translates the keys and values of an original file into ours.

    Raises ConfigError: an address is not a text, or a number is not a number.
    """
    found: Values = {}
    problems = []
    if kind == "mauka":
        document = _with_environment(document, where, notify)
    for key, ours in ADDRESSES.get(kind, {}).items():
        if key not in document:
            continue
        if not isinstance(document[key], str):
            problems.append(f"{key} is {document[key]!r}; want an address, e.g. tcp://*:9880")
        else:
            _put(found, ours, document[key])
    for key, ours in NUMBERS.get(kind, {}).items():
        if _number(document, key, problems) is not None:
            _put(found, ours, float(document[key]))  # type: ignore[arg-type]
    kept_s = _number(document, "mongo_measurement_expiration_seconds", problems)
    if kept_s is not None and kept_s < 1:
        problems.append("mongo_measurement_expiration_seconds is 0; want 1 or more")
    elif kept_s is not None:
        _put(found, "store.measurements_s", int(kept_s))
    _number(document, "mongo_trends_update_interval_seconds", problems)
    for key in NUMBER_KEYS if kind == "mauka" else ():
        _number(document, key, problems, "0 or more")
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise ConfigError(f"{where}: {problem_count(problems)}, nothing was started{lines}")
    _notices(kind, document, where, notify)
    _keys(document, found, where, notify)
    _mongo(document, found)
    if kind == "health":
        _put(found, "health.services", _watched(document.get("services")))
    if kind == "makai":
        _makai(document, found, where, notify, ports)
    if kind == "mauka":
        _mauka(document, found)
    return found


def _number(
    document: Document, key: str, problems: list[str], want: str = "of seconds, 0 or more"
) -> float | None:
    value = document.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        problems.append(f"{key} is {value!r}; want a number {want}")
        return None
    return float(value)


def _notices(kind: str, document: Document, where: str, notify: Notify) -> None:
    """Yields a notice for each key that is missing, unknown or without effect."""
    for key in NEEDED.get(kind, ()):
        if key not in document:
            text = "missing; the original does not start without it, here the default is used"
            notify(ConfigNotice("config.missing", where, key, text))
    known = [*ADDRESSES.get(kind, {}), *NUMBERS.get(kind, {}), *OBEYED]
    absent = [key for key in known if key not in document]
    for key in document:
        why = why_without_effect(kind, key)
        if why is not None:
            notify(ConfigNotice("config.without_effect", where, key, f"without effect: {why}"))
        elif not is_obeyed(kind, key):
            near = difflib.get_close_matches(key, known, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            event = MISSPELT if difflib.get_close_matches(key, absent, 1, ALIKE) else "config.unknown_key"
            notify(ConfigNotice(event, where, key, f"without effect: not known{hint}"))


def _with_environment(document: Document, where: str, notify: Notify) -> Values:
    """Returns the document with environment variables inserted: "?NAME" as a text, "!NAME" as a number (C.4).

    Raises:
        ConfigError: the variable of a "!NAME" is not a whole number.
    """
    found: Values = {}
    for key, value in document.items():
        if not isinstance(value, str) or value[:1] not in ("?", "!"):
            found[key] = value
            continue
        name = value[1:]
        setting = os.environ.get(name)
        if setting is None:
            text = f"the environment has no {name}; the default is used"
            notify(ConfigNotice("config.variable_missing", where, key, text, {"variable": name}))
        elif value[0] == "?":
            found[key] = setting
        elif setting.isascii() and setting.isdigit():
            found[key] = int(setting)
        else:
            raise ConfigError(
                f"{where}: {key}: {name} is {setting!r}; want a whole number, nothing was started"
            )
    return found


def _mauka(document: Document, found: Values) -> None:
    host, port = document.get("mongo.host", "localhost"), document.get("mongo.port", 27017)
    _put(found, "store.mongo_uri", f"mongodb://{host}:{port}/{document.get('mongo.db', 'opq')}")
    if settings := analysis_settings(document):
        _put(found, "mauka.analysis_settings", settings)
    if "plugins.StatusPlugin.port" in document:  # a port alone means loopback
        _put(found, "mauka.health_endpoint", f"127.0.0.1:{document['plugins.StatusPlugin.port']}")


def _keys(document: Document, found: Values, where: str, notify: Notify) -> None:
    server = document.get("server_cert")
    if isinstance(server, str):
        _put(found, "keys.server_secret", server)
        folder = Path(server).parent
        if folder.name == "private_keys":
            _put(found, "keys.folder", str(folder.parent))
    if isinstance(document.get("client_certs"), str):
        _put(found, "keys.public_keys", document["client_certs"])
    if document.get("white_list") is True:
        _put(found, "keys.white_list", True)
    elif "white_list" in document:
        text = "without effect: false would admit every key; here one has to be in the folder of public keys"
        notify(ConfigNotice("config.without_effect", where, "white_list", text))


def _mongo(document: Document, found: Values) -> None:
    if isinstance(document.get("mongo_uri"), str):
        _put(found, "store.mongo_uri", document["mongo_uri"])
    elif "mongo_host" in document:
        port = document.get("mongo_port", 27017)
        _put(found, "store.mongo_uri", f"mongodb://{document['mongo_host']}:{port}")


def _mongo_of(part: Document) -> str | None:
    """Returns the store's address without the name of the default database, to compare two of them."""
    section = part.get("store")
    uri = section.get("mongo_uri") if isinstance(section, Mapping) else None
    return uri.removesuffix("/").removesuffix("/opq") if isinstance(uri, str) else None


def _makai(document: Document, found: Values, where: str, notify: Notify, ports: BrokerPorts) -> None:
    requests = _broker_addresses(found, where, notify, ports)
    if requests:
        _put(found, "event_service.request_endpoint", requests)
    trend_s = document.get("mongo_trends_update_interval_seconds", TREND_S)
    if trend_s != TREND_S:
        text = f"without effect: {trend_s} s; here a trend is one minute long"
        notify(ConfigNotice("config.without_effect", where, "mongo_trends_update_interval_seconds", text))
    if isinstance(identity := document.get("identity"), str):
        _put(found, "triggering_service.identity", identity.replace("_", "-"))
    if isinstance(plugins := document.get("plugins"), list):
        _put(found, "triggering_service.plugins", _plugins(plugins, found, where, notify))


def _broker_addresses(found: Values, where: str, notify: Notify, ports: BrokerPorts) -> str:
    """Corrects the addresses of the brokers; returns the one for commands."""
    service, events = found.get("triggering_service", {}), found.get("event_service", {})
    given = MakaiAddresses(
        str(service.get("measurement_endpoint", "")),
        str(service.get("request_endpoint", "")),
        str(events.get("answer_endpoint", "")),
    )
    used, differences, problem = corrected(given, ports)
    if problem is not None:
        event = "config.wrong_address" if used.commands == given.commands else "config.corrected"
        notify(ConfigNotice(event, where, "zmq_acquisition_endpoint", problem))
    for key, text in differences.items():
        notify(ConfigNotice("config.broker_differs", where, key, text))
    if used.commands:
        _put(found, "triggering_service.request_endpoint", used.commands)
    if used.answers:
        _put(found, "event_service.answer_endpoint", used.answers)
    return used.commands


def _plugins(entries: list[object], found: Values, where: str, notify: Notify) -> list[Values]:
    """Returns our plug-ins for the original's shared libraries, by their file names."""
    ours: list[Values] = []
    triggers_lost = False
    for place, entry in enumerate(entries):
        plugin = entry if isinstance(entry, Mapping) else {}
        path = str(plugin.get("path", ""))
        name = Path(path).stem.removeprefix("lib")
        key = f"plugins[{place}]"
        instead = next((text for part, text in PLUGINS_WITHOUT_EFFECT.items() if part in name), None)
        if "threshold" in name:
            ours.append({"name": "threshold"})
            if ignored := [each for each in LIMITS_ELSEWHERE if each in plugin]:
                text = f"{', '.join(ignored)}: without effect, as in the original; makai_config in the store"
                text += " has the limits, else [triggering_service.triggers.threshold]"
                notify(ConfigNotice("config.without_effect", where, key, text))
        elif "napali" in name:
            settings = {each: value for each, value in plugin.items() if each in NAPALI_KEYS}
            ours.append({"name": "napali", "settings": settings})
        elif str(plugin.get("script_path", "")).endswith(".lua"):
            ours.append({"name": "lua", "settings": _script(plugin)})
        elif "health" in name and isinstance(plugin.get("address"), str):
            _put(found, "triggering_service.health_endpoint", plugin["address"])
        else:
            triggers_lost |= "print" not in name and "health" not in name
            text = f"{path or entry!r}: " + (
                f"without effect: {instead}"
                if instead
                else f"there is no such plug-in; there are {', '.join(KNOWN_PLUGINS)}"
            )
            facts = {"path": path, "known": list(KNOWN_PLUGINS)}
            notify(ConfigNotice("config.plugin_ignored", where, key, text, facts))
    if not ours and triggers_lost:
        text = "their triggers do not run here, and no event would ever be opened: all built-in triggers run"
        notify(ConfigNotice("config.no_trigger", where, "plugins", text))
        return [{"name": name} for name in DEFAULT_TRIGGERS]
    if not ours:
        notify(ConfigNotice("config.no_trigger", where, "plugins", "no trigger: no event is ever opened"))
    return ours


def _script(plugin: Document) -> Values:
    """Returns the settings of a script in Lua: its path, and the other keys of its entry."""
    settings = {key: value for key, value in plugin.items() if key not in ("path", "script_path")}
    return {"script_path": plugin["script_path"], **({"settings": settings} if settings else {})}


def _watched(services: object) -> list[object]:
    """The services to check; the original's MongoDB checker is part of its own Health and not of ours."""
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
