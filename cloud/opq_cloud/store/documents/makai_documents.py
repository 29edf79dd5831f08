"""Converts Makai's limits and traffic to the original's documents and back (docs/reference/opq-interop.md,
D.7).

`makai_config`: one document with the limits of all Boxes and, in `triggering_overrides`, of single ones; the
added field `triggers` has settings of Makai's triggers. `makai_metrics`: what a broker passed on;
`timestamp_ms`, `interval_ms` and `expire_at` are added fields. Both stores use these functions.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

_DEFAULT_NAMES = {
    "ref_hz": "default_ref_f",
    "ref_v": "default_ref_v",
    "percent_hz_low": "default_threshold_percent_f_low",
    "percent_hz_high": "default_threshold_percent_f_high",
    "percent_v_low": "default_threshold_percent_v_low",
    "percent_v_high": "default_threshold_percent_v_high",
    "percent_thd_high": "default_threshold_percent_thd_high",
}
_MAX_VALUES = {"ref_hz": 1000.0, "ref_v": 1e6, "percent_hz_high": 1000.0, "percent_v_high": 1000.0}
_MAX_PERCENT = 100.0
IDENTITY = "store_identity"
"""Name of a counter in both stores whose value identifies the store."""
MAKAI_CONFIG_KEYS = ("triggering", "triggers", "limited")
"""Fields of the document that this project writes."""
LIMITED = "limited"
"""False in a document whose limits are only there for the original, which ends without them."""
SettingValue = float | int | bool | str | None
"""A value of a trigger's Config; None turns a limit off."""


@dataclass(frozen=True, slots=True)
class TriggeringLimits:
    """Nominal values of a Box, and the deviations from them, in percent, beyond which an event is made."""

    ref_hz: float = 60.0
    ref_v: float = 120.0
    percent_hz_low: float = 0.5
    percent_hz_high: float = 0.5
    percent_v_low: float = 2.5
    percent_v_high: float = 2.5
    percent_thd_high: float = 3.0
    """Limit of the THD in percent of the fundamental, not a deviation from nominal."""


@dataclass(frozen=True, slots=True)
class MakaiConfig:
    """The contents of `makai_config`."""

    default: TriggeringLimits
    overrides: Mapping[str, TriggeringLimits] = field(default_factory=dict)
    """Box -> limits, in place of the default."""
    problems: tuple[str, ...] = ()
    """What is wrong in the document, in words; the default holds for these values."""
    triggers: Mapping[str, Mapping[str, SettingValue]] = field(default_factory=dict)
    """Trigger -> field of its Config -> value, which overrides Makai's own configuration."""
    limited: bool = True
    """False where there are only settings of triggers; `default` and `overrides` are then without meaning."""

    @property
    def is_empty(self) -> bool:
        """Whether it has neither limits nor settings, so that it equals no document."""
        return not self.limited and not any(self.triggers.values())


@dataclass(frozen=True, slots=True)
class BrokerTraffic:
    """Traffic of one broker (`tb`, `ab`) in the `interval_ms` up to `timestamp_ms`."""

    name: str
    timestamp_ms: int
    interval_ms: int
    counts: Mapping[str, int]
    """`bytes` for tb; `sent` and `recv`, also in bytes, for ab."""


def makai_config_from_document(
    document: Mapping[str, Any] | None, settings: Mapping[str, Any] | None = None
) -> MakaiConfig | None:
    """Reads the document `makai_config`; returns None if the store has neither limits nor settings.

    Other programs and people write it, so wrong values raise nothing; they are listed in `problems`.

    Args:
        settings: the document of the triggers' settings, where the store keeps them apart.
    """
    if document is None and settings is None:
        return None
    document = document or {LIMITED: False}
    problems: list[str] = []
    triggers = _triggers((settings or document).get("triggers"), problems)
    triggering = document.get("triggering")
    if document.get(LIMITED) is False and not triggers and not problems:
        return None
    if document.get(LIMITED) is False or (triggering is None and triggers):
        return MakaiConfig(TriggeringLimits(), {}, tuple(problems), triggers, limited=False)
    if not isinstance(triggering, Mapping):
        triggering = {}
        problems.append("triggering is missing")
    default = _limits(triggering, _DEFAULT_NAMES, TriggeringLimits(), "triggering", problems)
    listed = triggering.get("triggering_overrides", [])
    if not isinstance(listed, list):
        problems.append(f"triggering_overrides is {listed!r:.40}; want a list")
        listed = []
    overrides = {}
    for place, entry in enumerate(listed):
        box_id = entry.get("box_id") if isinstance(entry, Mapping) else None
        if not isinstance(box_id, str | int) or isinstance(box_id, bool) or str(box_id) == "":
            problems.append(f"triggering_overrides[{place}] names no Box")
            continue
        names = {name: text.removeprefix("default_") for name, text in _DEFAULT_NAMES.items()}
        overrides[str(box_id)] = _limits(entry, names, default, f"override of Box {box_id}", problems)
    return MakaiConfig(default, overrides, tuple(problems), triggers)


def limits_document(config: MakaiConfig | None) -> dict[str, Any]:
    """Returns the document that the original's threshold plug-in and Mauka read; they end without one.

    Where no limits are stated, it has the default ones, and `limited` says so. The original's optimiser
    writes the document again without that field: its limits are stated.
    """
    if config is None or not config.limited:
        return {**limits_document(MakaiConfig(TriggeringLimits())), LIMITED: False}
    overrides = limits_documents(config, config.overrides)
    default = {text: float(getattr(config.default, name)) for name, text in _DEFAULT_NAMES.items()}
    return {"triggering": {**default, "triggering_overrides": overrides}}


def settings_document(config: MakaiConfig | None) -> dict[str, Any]:
    """Returns the triggers' settings; without any, an empty document."""
    found = {} if config is None else config.triggers
    triggers = {name: dict(settings) for name, settings in found.items() if settings}
    return {"triggers": triggers} if triggers else {}


def limits_documents(config: MakaiConfig | None, box_ids: Iterable[str]) -> list[dict[str, Any]]:
    """Returns each Box's limits, its own or the default, in the form of `triggering_overrides`."""
    if config is None or not config.limited:
        return []
    found = []
    for box_id in box_ids:
        limits = config.overrides.get(box_id, config.default)
        names = _DEFAULT_NAMES.items()
        own = {text.removeprefix("default_"): float(getattr(limits, name)) for name, text in names}
        found.append({"box_id": box_id, **own})
    return found


def traffic_document(row: BrokerTraffic) -> dict[str, Any]:
    return {
        "name": row.name,
        **row.counts,
        "timestamp_ms": row.timestamp_ms,
        "interval_ms": row.interval_ms,
    }


def traffic_from_document(document: Mapping[str, Any]) -> BrokerTraffic:
    """Reads traffic; one that the original wrote has no times, which become 0."""
    counts = {
        key: int(value)
        for key, value in document.items()
        if key not in ("timestamp_ms", "interval_ms", "expire_at") and isinstance(value, int)
    }
    return BrokerTraffic(
        str(document.get("name", "")),
        int(document.get("timestamp_ms", 0)),
        int(document.get("interval_ms", 0)),
        counts,
    )


def _triggers(found: object, problems: list[str]) -> dict[str, dict[str, SettingValue]]:
    """Reads the settings of triggers; only their form is checked, not whether a trigger has such a field."""
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        problems.append(f"triggers is {found!r:.40}; want a table of triggers")
        return {}
    triggers: dict[str, dict[str, SettingValue]] = {}
    for name, settings in found.items():
        if not isinstance(settings, Mapping):
            problems.append(f"triggers: {name} is {settings!r:.40}; want a table of its settings")
            continue
        triggers[str(name)] = {
            str(key): value
            for key, value in settings.items()
            if value is None or isinstance(value, bool | int | float | str)
        }
        wrong = [str(key) for key in settings if str(key) not in triggers[str(name)]]
        problems.extend(f"triggers: {name}: {key} is not a number, text or yes and no" for key in wrong)
    return triggers


def _limits(
    found: Mapping[str, Any],
    names: Mapping[str, str],
    default: TriggeringLimits,
    where: str,
    problems: list[str],
) -> TriggeringLimits:
    values: dict[str, float] = {}
    for each in fields(TriggeringLimits):
        name = each.name
        values[name] = getattr(default, name)
        value = found.get(names[name])
        most = _MAX_VALUES.get(name, _MAX_PERCENT)
        if value is None:
            continue
        if isinstance(value, int | float) and not isinstance(value, bool) and _fits(value, most):
            values[name] = float(value)
        else:
            problems.append(
                f"{where}: {names[name]} is {value!r:.40}; want a number above 0, {most:g} at most"
            )
    return TriggeringLimits(**values)


def _fits(value: float, most: float) -> bool:
    return math.isfinite(value) and 0 < value <= most
