"""Pure: Makai's triggers as its health names them, and the switches of them in `makai_config`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from opq_cloud.store.makai_documents import MakaiConfig, TriggeringLimits
from opq_cloud.view.administration.health_client import ServiceState

TRIGGER_PART = "plugin "
"""So Makai's health names each trigger; and what of `makai_config` it does not follow."""
CONFIG_PART = "makai_config "
OFF = "off"
"""What it says of one that does not run."""


@dataclass(frozen=True, slots=True)
class ShownTrigger:
    """One trigger of Makai, as its health says it and `makai_config` wants it."""

    name: str
    ok: bool
    info: str
    runs: bool
    wanted: bool | None
    """By `makai_config`; None: it says nothing."""
    installed: bool
    """It came as a package: it is deleted, not switched."""
    trouble: str
    """Why Makai does not follow."""

    @property
    def words(self) -> str:
        if self.wanted is not None and self.wanted != self.runs:
            return "is being switched on" if self.wanted else "is being switched off"
        return "off" if not self.runs else "runs" if self.ok else "not well"


def shown_triggers(
    states: Sequence[ServiceState], config: MakaiConfig | None, packed: Collection[str]
) -> list[ShownTrigger]:
    """Makai's triggers, of its health; those that run first. `packed`: those that packages brought."""
    tables = {} if config is None else config.triggers
    wanted = {name: table.get("enabled") for name, table in tables.items()}
    troubles = {each.name.removeprefix(CONFIG_PART): each.info for each in states if not each.ok}
    found = []
    for each in states:
        if each.name.startswith(TRIGGER_PART):
            name = each.name.removeprefix(TRIGGER_PART)
            want = wanted.get(name)
            found.append(
                ShownTrigger(
                    name,
                    each.ok,
                    "" if each.info == OFF else each.info,
                    each.info != OFF,
                    want if isinstance(want, bool) else None,
                    name in packed,
                    troubles.get(name, ""),
                )
            )
    return sorted(found, key=lambda each: not each.runs)


def switched(config: MakaiConfig | None, name: str, on: bool) -> MakaiConfig:
    """What else it says stays."""
    before = config or MakaiConfig(TriggeringLimits(), limited=False)
    table = {**before.triggers.get(name, {}), "enabled": on}
    return replace(before, triggers={**before.triggers, name: table})
