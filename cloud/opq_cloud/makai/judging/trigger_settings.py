"""Every setting of the built-in triggers, read from the `Config` of each: for a command, a page, a check.

Pure except for loading the triggers' files. Tables in the docs are printed from it, and a test checks them.
"""

import importlib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from opq_cloud.core.settings.makai_settings import DEFAULT_TRIGGERS
from opq_cloud.makai.judging.trigger_plugins import BUILT_IN
from opq_cloud.store.documents.makai_documents import SettingValue
from opq_plugins.package.built_in import available
from opq_proto.config.settings import checked_config
from opq_proto.errors import PluginError

NOT_LIVE = {
    "sql": "its statement is in the configuration; to change one live use opq-tools rules",
    "lua": "its script is in the configuration; to change one live use opq-tools plugin",
}
"""Triggers that have no settings to change while they run, and why."""
SCALARS = (bool, int, float, str)
OFF = "none"
"""Text for a limit that is off."""


@dataclass(frozen=True, slots=True)
class TriggerSetting:
    """One field of a trigger's Config that is a number, a text, or yes and no."""

    trigger: str
    name: str
    kind: type
    default: SettingValue
    """None: off."""
    may_be_off: bool
    minimum: float | None
    maximum: float | None
    help: str

    @property
    def span(self) -> str:
        """The allowed range in words."""
        if self.kind is bool:
            return "true or false"
        ends = [
            f"{word} {end:g}"
            for word, end in (("from", self.minimum), ("to", self.maximum))
            if end is not None
        ]
        return " ".join(ends) or ("text" if self.kind is str else "any number")

    @property
    def allowed(self) -> str:
        """The allowed range for people, including whether it may be off."""
        return self.span + (f", {OFF}" if self.may_be_off else "")


def built_in_triggers() -> list[str]:
    """Returns those that run by default first, in their order; without NOT_LIVE."""
    there = available([BUILT_IN]).keys() - NOT_LIVE.keys()
    return [*DEFAULT_TRIGGERS, *sorted(there - set(DEFAULT_TRIGGERS))]


def trigger_settings(trigger: str) -> list[TriggerSetting]:
    """Returns what an operator can set of one built-in trigger, in the order of its Config.

    Raises:
        PluginError: there is no such trigger.
    """
    config_class = _config_class(trigger)
    hints = get_type_hints(config_class)
    found = []
    for each in fields(config_class):
        hint = hints[each.name]
        alternatives = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        kinds = [kind for kind in alternatives if kind in SCALARS]
        if not each.init or not kinds:
            continue
        meta = each.metadata
        found.append(
            TriggerSetting(
                trigger=trigger,
                name=each.name,
                kind=kinds[0],
                default=None if each.default is MISSING else each.default,
                may_be_off=type(None) in alternatives,
                minimum=meta.get("minimum"),
                maximum=meta.get("maximum"),
                help=str(meta.get("help", "")),
            )
        )
    return found


def setting_from_text(text: str) -> SettingValue:
    """Parses typed text: `none`, `true`, `false`, a number, or the text itself."""
    words: Mapping[str, SettingValue] = {OFF: None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def setting_problems(trigger: str, settings: Mapping[str, SettingValue]) -> list[str]:
    """Returns what is wrong with settings of a built-in trigger; those not named keep their defaults.

    `enabled` (true or false) switches the trigger itself.

    Raises:
        PluginError: there is no such trigger.
    """
    table = dict(settings)
    on = table.pop("enabled", True)
    wrong = [] if isinstance(on, bool) else [f"enabled  is {on!r:.40}; want true or false"]
    return wrong + checked_config(_config_class(trigger), table)[1]


def shown_setting(value: SettingValue) -> str:
    """Returns a value as it is typed."""
    if value is None:
        return OFF
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _config_class(trigger: str) -> Any:
    known = built_in_triggers()
    if trigger not in known:
        why = NOT_LIVE.get(trigger, f"there is no such trigger; built in: {', '.join(known)}")
        raise PluginError(f"trigger {trigger!r}: {why}")
    return importlib.import_module(f"opq_cloud.makai.triggers.{trigger}").Config
