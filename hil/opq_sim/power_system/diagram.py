"""A one-line diagram of a network in plain ASCII.

    (~) supply  100 MVA
    === mv  20 kV
     +---- feeder1  overhead, 4 km
     |   o 2.5 km
     |   |  +--> load  300 kW
     |   o 4 km
     |      +-(())- t1  Dyn11, 630 kVA, 4 %
     |          === lv  0.4 kV
     |           +--> load  5 kW on a
     |           +--[] Box 1001

Supply (~), bus ===, line ----, point of a line o, transformer (()), load -->, capacitor -||-, generation (G).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from opq_sim.power_system.network.network import PowerNetwork
from opq_sim.power_system.network.network_config import FeederConfig, TransformerConfig
from opq_sim.power_system.network.topology import FeederSegment


@dataclass(slots=True)
class _Entry:
    """A line of the diagram and the entries connected to it."""

    joint: str
    """The symbol that joins it to its parent's line."""
    text: str
    below: list["_Entry"] = field(default_factory=list)
    indent: str = ""
    """Indentation of its children, so that they stand below the symbol."""


def one_line_diagram(network: PowerNetwork, marks: Mapping[str, Sequence[str]] | None = None) -> str:
    """The diagram of a network, one line for each of its parts.

    Args:
        marks: by place, other things there, such as Boxes.
    Returns:
        lines of ASCII, joined, with a new line at the end.
    Raises:
        PlaceError: a mark at a place that the network does not have.
    """
    marks = marks or {}
    drawing = _Drawing(network.with_places(marks), marks)
    supply = network.config.supply
    lines = [f"(~) supply  {supply.short_circuit_mva:g} MVA"]
    lines += drawing.lines(drawing.bus(network.node(supply.bus)), "", "")
    return "\n".join(lines) + "\n"


class _Drawing:
    def __init__(self, network: PowerNetwork, marks: Mapping[str, Sequence[str]]) -> None:
        self._network, self._topology = network, network.topology
        self._marks = [(network.node(place), text) for place, texts in marks.items() for text in texts]
        self._drawn: set[str] = set()

    def bus(self, node: str) -> _Entry:
        again = node in self._drawn
        self._drawn.add(node)
        nominal_kv = self._topology.nominal_v[node] * 3**0.5 / 1000
        entry = _Entry("===", f" {node}  {'see above' if again else f'{nominal_kv:.4g} kV'}", indent=" ")
        if not again:
            entry.below = list(self._at(node))
        return entry

    def lines(self, entry: _Entry, before: str, after: str) -> Iterable[str]:
        """The lines of an entry, after the text `before`, and of its children, after the text `after`."""
        yield f"{before}{entry.joint}{entry.text}".rstrip()
        for index, child in enumerate(entry.below):
            last = index == len(entry.below) - 1
            rail = after + entry.indent
            following = rail if child.joint == "===" else rail + ("   " if last else "|  ")
            yield from self.lines(child, rail, following)

    def _at(self, node: str) -> Iterable[_Entry]:
        """The entries at a node: loads and the like first, then branches away from the supply."""
        config = self._network.config
        for load in config.load:
            if self._network.node(load.bus) == node:
                on = "" if load.phases == "abc" else f" on {load.phases}"
                kvar = f", {load.kvar:g} kvar" if load.kvar else ""
                yield _Entry("+-->", f" load  {load.kw:g} kW{kvar}{on}")
        for capacitor in config.capacitor:
            if self._network.node(capacitor.bus) == node:
                yield _Entry("+-||-", f" capacitor  {capacitor.kvar:g} kvar")
        for each in config.generation:
            if self._network.node(each.bus) == node:
                yield _Entry("+-(G)", f" {each.id}  {each.rating_kva:g} kVA, gives {each.kw:g} kW")
        for place, text in self._marks:
            if place == node:
                yield _Entry("+--[]", f" {text}")
        for transformer, a, b in self._topology.transformers:
            if a == node:
                yield self._transformer(transformer, b)
        for feeder in config.feeder:
            if self._network.node(feeder.from_bus) == node:
                yield self._feeder(feeder)

    def _transformer(self, transformer: TransformerConfig, to_node: str) -> _Entry:
        figures = f"{transformer.vector_group}, {transformer.rating_kva:g} kVA, {transformer.uk_percent:g} %"
        return _Entry("+-(())-", f" {transformer.id}  {figures}", [self.bus(to_node)], "    ")

    def _feeder(self, feeder: FeederConfig) -> _Entry:
        entry = _Entry("+----", f" {feeder.id}  {feeder.kind}, {feeder.km:g} km", indent=" ")
        for segment in self._topology.segments:
            if segment.feeder.id == feeder.id:
                entry.below.append(self._point(segment))
        return entry

    def _point(self, segment: FeederSegment) -> _Entry:
        at_km = segment.start_km + segment.km
        if segment.feeder.to_bus and abs(at_km - segment.feeder.km) < 1e-6:
            return self.bus(segment.to_node)
        return _Entry("o", f" {at_km:g} km", list(self._at(segment.to_node)))
