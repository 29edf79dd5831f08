"""BoxSupply: when a Box loses its own supply, how long its battery lasts, and when the Box is silent."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from opq_proto.config.reading import Field, build, section

SUPPLY_V = 5.0
"""Voltage of the supply in the Health message."""
BATTERY_FULL_V = 4.1
"""Voltage of a full lithium cell."""
BATTERY_EMPTY_V = 3.3
"""Voltage of an empty lithium cell."""


@section
class BoxSupplyConfig:
    """A Box's own supply."""

    lost: tuple[tuple[float, float], ...] = Field(
        min_length=1, description="[at_s, for_s] of each loss, rising, without overlap"
    )
    battery_s: float = Field(
        default=0.0, ge=0.0, le=1e6, description="time that the battery carries it; 0: no battery"
    )
    outlet_dead: bool = Field(default=False, description="the measured mains is lost too")


def supply_problems(config: BoxSupplyConfig) -> list[str]:
    """Faults between the fields."""
    ended_s, found = 0.0, []
    for at_s, for_s in config.lost:
        if not (at_s >= ended_s and for_s > 0):
            found.append(f"lost: [{at_s:g}, {for_s:g}]; want times that rise and do not overlap")
        ended_s = at_s + for_s
    return found


@dataclass(frozen=True, slots=True)
class BoxSupply:
    """The supply and battery of one Box; true seconds after the run's start."""

    config: BoxSupplyConfig

    @classmethod
    def lost(cls, at_s: float, for_s: float, own: Mapping[str, object]) -> "BoxSupply":
        """A supply that is lost once.

        Args:
            own: `battery_s` and `outlet_dead`.
        Raises:
            ConfigError: values that are not allowed.
        """
        return cls(build(BoxSupplyConfig, {**own, "lost": [[at_s, for_s]]}, "supply_lost"))

    @property
    def silent_s(self) -> tuple[tuple[float, float], ...]:
        """[from, to) of each time without supply and battery: nothing is sampled."""
        battery_s = self.config.battery_s
        return tuple(
            (at_s + battery_s, at_s + for_s) for at_s, for_s in self.config.lost if battery_s < for_s
        )

    @property
    def dead_s(self) -> tuple[tuple[float, float], ...]:
        """[from, to) of each time without a voltage at its outlet."""
        return tuple((at_s, at_s + for_s) for at_s, for_s in self.config.lost if self.config.outlet_dead)

    def losing(self, at_s: float, for_s: float) -> "BoxSupply":
        """The same supply with one more loss.

        Raises:
            ValueError: it overlaps another loss.
        """
        if any(at_s < begin_s + lasts_s and begin_s < at_s + for_s for begin_s, lasts_s in self.config.lost):
            raise ValueError(f"its supply is lost already between now and {for_s:g} s from now")
        lost = tuple(sorted((*self.config.lost, (at_s, for_s))))
        return BoxSupply(replace(self.config, lost=lost))

    @property
    def words(self) -> str:
        """A text that names the battery, and the state of the outlet."""
        battery_s = self.config.battery_s
        carried = f"a battery of {battery_s:g} s" if battery_s else "no battery"
        return carried + (", its outlet is dead, too" if self.config.outlet_dead else "")

    @property
    def outages_s(self) -> tuple[tuple[float, float], ...]:
        """[from, to) of each outage: a dead outlet, or silence. No outage if the Box on its battery reported
        a good voltage: then only its adaptor is out (docs/mauka-cases.md, "Outages").
        """
        return self.dead_s or (() if self.config.battery_s else self.silent_s)

    def silent_until_s(self, t_s: float) -> float | None:
        """The end of the silence that contains a moment; None: the Box is not silent then."""
        return next((end for begin, end in self.silent_s if begin <= t_s < end), None)

    def volts(self, t_s: float) -> tuple[float, float | None]:
        """Volts of the supply and of the battery as in the Health message; None: there is no battery."""
        battery_s = self.config.battery_s
        lost = next((each for each in self.config.lost if each[0] <= t_s < sum(each)), None)
        if not battery_s:
            return (0.0 if lost else SUPPLY_V), None
        used = 0.0 if lost is None else min(1.0, (t_s - lost[0]) / battery_s)
        return (0.0 if lost else SUPPLY_V), BATTERY_FULL_V - used * (BATTERY_FULL_V - BATTERY_EMPTY_V)
