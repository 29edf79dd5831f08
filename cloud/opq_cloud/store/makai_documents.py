"""Makai's two collections as the original's documents and back (opq-interop, D.7): limits, and traffic.

`makai_config`: one document with the limits of all Boxes and, in `triggering_overrides`, of single ones;
`triggers` beside them, with settings of Makai's triggers, is ours and no original reader's.
`makai_metrics`: what a broker passed on; `timestamp_ms`, `interval_ms` and `expire_at` are ours, the original
writes neither time nor end. Both stores use these functions.
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
_MOST = {"ref_hz": 1000.0, "ref_v": 1e6, "percent_hz_high": 1000.0, "percent_v_high": 1000.0}
_MOST_PERCENT = 100.0
IDENTITY = "store_identity"
"""Counter of both stores that says which store this is."""
MAKAI_CONFIG_KEYS = ("triggering", "triggers")
"""What of the document is ours to write."""
SettingValue = float | int | bool | str | None
"""A value of a trigger's Config; None turns a limit off."""


@dataclass(frozen=True, slots=True)
class TriggeringLimits:
    """What a Box is meant to measure, and how far from it, in percent, is worth an event."""

    ref_hz: float = 60.0
    ref_v: float = 120.0
    percent_hz_low: float = 0.5
    percent_hz_high: float = 0.5
    percent_v_low: float = 2.5
    percent_v_high: float = 2.5
    percent_thd_high: float = 3.0
    """A limit of THD in percent of the fundamental, not a distance from nominal."""


@dataclass(frozen=True, slots=True)
class MakaiConfig:
    """`makai_config` as it stands."""

    default: TriggeringLimits
    overrides: Mapping[str, TriggeringLimits] = field(default_factory=dict)
    """By Box; instead of the default."""
    problems: tuple[str, ...] = ()
    """What of the document is none of it, in words; the default holds there."""
    triggers: Mapping[str, Mapping[str, SettingValue]] = field(default_factory=dict)
    """Trigger -> field of its Config -> value, over what Makai's own configuration says."""
    limited: bool = True
    """False: there are no limits, settings of triggers alone; `default` and `overrides` hold nothing."""

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing: as good as none."""
        return not self.limited and not any(self.triggers.values())


@dataclass(frozen=True, slots=True)
class BrokerTraffic:
    """What one broker (`tb`, `ab`) passed on in the `interval_ms` up to `timestamp_ms`."""

    name: str
    timestamp_ms: int
    interval_ms: int
    counts: Mapping[str, int]
    """`bytes` of tb; `sent` and `recv`, in bytes too, of ab."""


def makai_config_from_document(document: Mapping[str, Any] | None) -> MakaiConfig | None:
    """None: there is none. Nothing in it raises: it is written by other programs and by hand."""
    if document is None:
        return None
    problems: list[str] = []
    triggers = _triggers(document.get("triggers"), problems)
    triggering = document.get("triggering")
    if triggering is None and triggers:
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


def makai_config_document(config: MakaiConfig) -> dict[str, Any]:
    """As the original's threshold plug-in and its Mauka read it, with `triggers` where there are any."""
    triggers = {name: dict(settings) for name, settings in config.triggers.items() if settings}
    own = {"triggers": triggers} if triggers else {}
    if not config.limited:
        return own
    overrides = limits_documents(config, config.overrides)
    default = {text: float(getattr(config.default, name)) for name, text in _DEFAULT_NAMES.items()}
    return {"triggering": {**default, "triggering_overrides": overrides}, **own}


def limits_documents(config: MakaiConfig | None, box_ids: Iterable[str]) -> list[dict[str, Any]]:
    """The limits of each of these Boxes, its own or those of all, as `triggering_overrides` has them."""
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
        "name": row.name, **row.counts, "timestamp_ms": row.timestamp_ms, "interval_ms": row.interval_ms,
    }  # fmt: skip


def traffic_from_document(document: Mapping[str, Any]) -> BrokerTraffic:
    """Also an original's, which has no times: 0."""
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
    """What is a table of tables; whether a trigger has such a field is known to who loads it."""
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
        problems.extend(f"triggers: {name}: {key} is no number, text or yes and no" for key in wrong)
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
        most = _MOST.get(name, _MOST_PERCENT)
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
