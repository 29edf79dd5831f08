"""The nodes of a network, their connections and distances, and which node feeds which.

Nodes are the buses and those points of feeders that have something connected; a feeder with such points is
several segments in a row.
"""

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from opq_sim.power_system.network.network_config import FeederConfig, NetworkConfig
from opq_sim.power_system.places import Place, PlaceError

SQRT3 = math.sqrt(3)
SAME_KM = 1e-6
"""A millimetre: points closer than this are one."""


@dataclass(frozen=True, slots=True)
class FeederSegment:
    """A piece of a feeder between two nodes."""

    feeder: FeederConfig
    from_node: str
    to_node: str
    start_km: float
    km: float


class Topology:
    """Nodes and segments of a network, with `places` among the nodes."""

    def __init__(self, config: NetworkConfig, places: Iterable[str] = ()) -> None:
        self.config = config
        self._feeders = {feeder.id: feeder for feeder in config.feeder}
        self._bus_v = {bus.id: bus.nominal_kv * 1000 / SQRT3 for bus in config.bus}
        self.nominal_v: dict[str, float] = {}
        """Volts, phase to neutral, by node."""
        bus_ids = [bus.id for bus in config.bus]
        for transformer in config.transformer:
            bus_ids += [transformer.from_bus, transformer.to_bus]
        for feeder in config.feeder:
            bus_ids += [feeder.from_bus, feeder.to_bus or str(Place(feeder.id, feeder.km))]
        bus_ids += [load.bus for load in config.load]
        bus_ids += [capacitor.bus for capacitor in config.capacitor]
        bus_ids += [generation.bus for generation in config.generation]
        on_feeder: dict[str, set[float]] = {feeder.id: {0.0, feeder.km} for feeder in config.feeder}
        for text in (*bus_ids, *places):
            node = Place.parse(self.node(text))
            self.nominal_v[str(node)] = self._bus_v[self._root(node)]
            if node.km is not None:
                on_feeder[node.name].add(node.km)
        self.segments = tuple(
            FeederSegment(self._feeders[name], self._at(name, a), self._at(name, b), a, b - a)
            for name, points in on_feeder.items()
            for a, b in pairwise(sorted(points))
        )
        self.transformers = tuple(
            (each, self.node(each.from_bus), self.node(each.to_bus)) for each in config.transformer
        )
        self._joined: dict[str, list[tuple[str, float]]] = {node: [] for node in self.nominal_v}
        joints = [(segment.from_node, segment.to_node, segment.km) for segment in self.segments]
        joints += [(a, b, 0.0) for _, a, b in self.transformers]
        for a, b, km in joints:
            self._joined[a].append((b, km))
            self._joined[b].append((a, km))
        self._parents = self._tree()

    def node(self, text: str) -> str:
        """The name of a place as this network writes it: "feeder2/3.1km" for "feeder2/3.10 km".

        Raises:
            PlaceError: no such bus or feeder, or a point beyond a feeder's end.
        """
        return str(self._resolved(Place.parse(text), 0))

    def _at(self, feeder: str, km: float) -> str:
        return self.node(str(Place(feeder, km)))

    def distance_km(self, a: str, b: str) -> float:
        """Kilometres of line between two nodes, the shortest way; transformers are 0 km."""
        far = {self.node(a): 0.0}
        target, waiting = self.node(b), [(0.0, self.node(a))]
        while waiting:
            km, node = heapq.heappop(waiting)
            if node == target:
                return km
            for other, more in self._joined[node]:
                if km + more < far.get(other, math.inf):
                    far[other] = km + more
                    heapq.heappush(waiting, (km + more, other))
        raise PlaceError(f"nothing joins {a} and {b}")

    def upstream(self, a: str, b: str) -> bool:
        """True if `a` lies on the way from the supply to `b`, and is not `b`."""
        return self.node(a) in self.way_from_supply(b)[:-1]

    def way_from_supply(self, place: str) -> tuple[str, ...]:
        """The nodes from the supply to `place`, both included."""
        way = [self.node(place)]
        while (parent := self._parents.get(way[-1])) is not None:
            way.append(parent)
        return tuple(reversed(way))

    def first_feeder(self, place: str) -> str | None:
        """The id of the first feeder on the way from the supply; None: there is none."""
        way = self.way_from_supply(place)
        steps = {frozenset(pair) for pair in pairwise(way)}
        on_it = {
            each.from_node: each.feeder.id
            for each in self.segments
            if {each.from_node, each.to_node} in steps
        }
        return next((on_it[node] for node in way if node in on_it), None)

    def behind(self, place: str) -> frozenset[str]:
        """`place` and all nodes of its voltage that it feeds without a transformer between."""
        found, waiting = set(), [self.node(place)]
        while waiting:
            node = waiting.pop()
            found.add(node)
            ends = [(segment.from_node, segment.to_node) for segment in self.segments]
            waiting += [
                b for pair in ends for a, b in (pair, pair[::-1]) if a == node and self._parents.get(b) == a
            ]
        return frozenset(found)

    def _resolved(self, place: Place, depth: int) -> Place:
        if place.km is None:
            if place.name not in self._bus_v:
                if (line := self._feeders.get(place.name)) is not None:
                    point = f"{place.name}/{round(line.km / 2, 1):g}km"
                    raise PlaceError(
                        f"{place.name!r} is a feeder of {line.km:g} km; want a point of it, such as {point}"
                    )
                known = ", ".join([*self._bus_v, *(f"{name}/1.5km" for name in self._feeders)][:12])
                raise PlaceError(f"{place.name!r} is not a bus of the network; want one of {known}")
            return place
        feeder = self._feeders.get(place.name)
        if feeder is None:
            known = ", ".join(self._feeders) or "none is defined"
            raise PlaceError(f"{place.name!r} in {place} is not a feeder of the network; want one of {known}")
        if place.km > feeder.km + SAME_KM:
            raise PlaceError(f"{place} lies beyond the end; {feeder.id} is {feeder.km:g} km long")
        if place.km < SAME_KM:
            if depth > len(self._feeders):
                raise PlaceError(f"{feeder.id} is fed by itself; want a way to the supply")
            return self._resolved(Place.parse(feeder.from_bus), depth + 1)
        if place.km > feeder.km - SAME_KM:
            return Place(feeder.to_bus) if feeder.to_bus else Place(feeder.id, feeder.km)
        return place

    def _root(self, node: Place) -> str:
        """The bus at which the feeder of a node begins."""
        for _ in range(len(self._feeders) + 1):
            if node.km is None:
                return node.name
            node = self._resolved(Place.parse(self._feeders[node.name].from_bus), 0)
        raise PlaceError(f"{node} is fed by itself; want a way to the supply")

    def _tree(self) -> dict[str, str | None]:
        """The node before each one on the way from the supply, fewest branches first."""
        start = self.node(self.config.supply.bus)
        parents: dict[str, str | None] = {start: None}
        waiting = [start]
        for node in waiting:
            for other, _ in self._joined[node]:
                if other not in parents:
                    parents[other] = node
                    waiting.append(other)
        lost = sorted(set(self.nominal_v) - set(parents))
        if lost:
            raise PlaceError(f"nothing joins {', '.join(lost)} to the supply")
        return parents
