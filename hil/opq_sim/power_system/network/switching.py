"""Differences from the network's file: open switches, taps, broken neutrals, sources that are off."""

from collections.abc import Mapping
from dataclasses import dataclass

from opq_sim.power_system.network.network_config import NetworkConfig
from opq_sim.power_system.places import Place, PlaceError


@dataclass(frozen=True, slots=True)
class OpenNeutral:
    """A neutral that is broken at a place: the star points of all loads downstream float together.

    Voltages downstream are relative to that floating neutral. `earth_ohm` is its remaining earthing there.
    """

    at: str
    earth_ohm: float | None = None

    def __post_init__(self) -> None:
        if self.earth_ohm is not None and not self.earth_ohm > 0:
            raise ValueError(f"earth_ohm of the open neutral at {self.at} is {self.earth_ohm}; want above 0")


@dataclass(frozen=True, slots=True)
class Switching:
    """A state of switches, taps and neutrals; the default is that of the file."""

    open_at: frozenset[str] = frozenset()
    """Ids of feeders and transformers, "supply", ids of generation, or points of feeders.

    The part beyond, seen from the beginning of the feeder, is cut off there.
    """
    taps_pu: tuple[tuple[str, float], ...] = ()
    """(id of a transformer, open-circuit voltage of its `to_bus` relative to nominal)."""
    open_neutrals: tuple[OpenNeutral, ...] = ()

    @property
    def places(self) -> tuple[str, ...]:
        """The points of feeders and the buses that it names."""
        points = (text for text in self.open_at if "/" in text)
        return (*sorted(points), *(neutral.at for neutral in self.open_neutrals))

    def taps(self) -> Mapping[str, float]:
        """Taps that differ from the file, by id of the transformer."""
        return dict(self.taps_pu)

    def opened(self, config: NetworkConfig) -> tuple[frozenset[str], tuple[tuple[str, float], ...]]:
        """The open parts: ids, and (feeder, km) of points.

        Raises:
            PlaceError: the network has no such switch or transformer.
            ValueError: a tap outside 0.5 to 1.5 of nominal.
        """
        transformers = [each.id for each in config.transformer]
        feeders = [each.id for each in config.feeder]
        switches = ["supply", *transformers, *feeders, *(each.id for each in config.generation)]
        places = [Place.parse(text) for text in sorted(self.open_at)]
        for place in places:
            if place.name not in (switches if place.km is None else feeders):
                known = ", ".join(switches)
                raise PlaceError(f"{place} cannot be opened; want one of {known}, or a point of a feeder")
        for name, tap in self.taps_pu:
            if name not in transformers:
                known = ", ".join(transformers) or "none is defined"
                raise PlaceError(f"{name!r} is not a transformer of the network; want one of {known}")
            if not 0.5 <= tap <= 1.5:
                raise ValueError(f"the tap of {name} is {tap}; want 0.5 to 1.5 of nominal")
        names = frozenset(place.name for place in places if not place.km)
        return names, tuple((place.name, place.km) for place in places if place.km)


AS_CONFIGURED = Switching()
