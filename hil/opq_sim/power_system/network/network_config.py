"""The TOML format of a network: supply, buses, transformers, feeders, loads, capacitors, generation.

A place is a bus ("mv") or a point of a feeder ("feeder2/3.1km"); wherever a bus is expected, a place
is allowed. Units are those of the field: kV line to line, kVA of three phases, ohm per km and phase.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Literal

from opq_proto.config.problems import Path, Problem
from opq_proto.config.reading import Field, load, section
from opq_sim.power_system.places import Place, PlaceError

ID = r"^[A-Za-z][A-Za-z0-9_-]{0,31}$"
GROUP = r"^(YN|Y|D)(yn|y|d|zn|z)(0|1|2|4|5|6|7|8|10|11)$"
Phases = Literal["abc", "a", "b", "c", "ab", "bc", "ca"]
Connection = Literal["auto", "wye", "delta"]
Neutral = tuple[float, float]


@section
class SupplyConfig:
    """The grid above: an ideal voltage behind an impedance."""

    bus: str = Field(description="bus at which it feeds", examples=["hv"])
    short_circuit_mva: float = Field(
        default=500.0, gt=0.0, le=1e6, description="three-phase short-circuit power there"
    )
    x_r: float = Field(default=10.0, ge=0.0, le=1000.0, description="X/R of its impedance")
    zero_ratio: float = Field(
        default=1.0, gt=0.0, le=1000.0, description="zero-sequence impedance to the positive one"
    )
    earthed: bool = Field(default=True, description="false: no path for zero sequence")
    voltage_pu: float = Field(default=1.0, gt=0.1, le=1.5, description="its voltage, of the bus's nominal")


@section
class BusConfig:
    """A place where things meet."""

    id: str = Field(pattern=ID, description="its name", examples=["mv"])
    nominal_kv: float = Field(gt=0.05, le=1000.0, description="kV, line to line", examples=[20.0])


@section
class TransformerConfig:
    """Two windings."""

    id: str = Field(pattern=ID, description="its name", examples=["t1"])
    from_bus: str = Field(description="a place: the side of the supply", examples=["hv"])
    to_bus: str = Field(description="a bus: the side of the loads", examples=["mv"])
    rating_kva: float = Field(gt=0.0, le=2e6, description="of three phases", examples=[630.0])
    uk_percent: float = Field(default=4.0, gt=0.0, le=50.0, description="short-circuit voltage")
    x_r: float = Field(default=4.0, ge=0.0, le=200.0, description="X/R of its impedance")
    vector_group: str = Field(
        default="Dyn11",
        pattern=GROUP,
        examples=["Dyn11", "Yyn0"],
        description="such as Dyn11, YNd1, Yyn0, Dd0",
    )
    tap_pu: float = Field(
        default=1.0, ge=0.5, le=1.5, description="open-circuit voltage of to_bus, of nominal, at nominal"
    )
    zero_ratio: float | None = Field(
        default=None,
        gt=0.0,
        le=1000.0,
        description="zero-sequence impedance to the positive one; else 1, 10 (Yyn), 0.1 (zigzag)",
    )
    from_neutral_ohm: Neutral = Field(default=(0.0, 0.0), description="R, X in the neutral of from_bus")
    to_neutral_ohm: Neutral = Field(default=(0.0, 0.0), description="R, X in the neutral of to_bus")


@section
class FeederConfig:
    """A line or cable; what is not given is usual for its kind."""

    id: str = Field(pattern=ID, description="its name", examples=["feeder1"])
    from_bus: str = Field(description="a place: the side of the supply", examples=["mv"])
    to_bus: str = Field(default="", description="a bus; empty: it ends at the place id/<km>km")
    km: float = Field(gt=0.0, le=1000.0, description="its length", examples=[5.0])
    kind: Literal["overhead", "cable"] = Field(default="overhead", description="type of the line")
    r_ohm_per_km: float | None = Field(default=None, gt=0.0, le=100.0, description="positive sequence")
    x_ohm_per_km: float | None = Field(default=None, ge=0.0, le=10.0, description="positive sequence")
    r0_ohm_per_km: float | None = Field(default=None, gt=0.0, le=100.0, description="zero sequence")
    x0_ohm_per_km: float | None = Field(default=None, ge=0.0, le=50.0, description="zero sequence")
    c_nf_per_km: float | None = Field(default=None, ge=0.0, le=2000.0, description="positive sequence")
    c0_nf_per_km: float | None = Field(default=None, ge=0.0, le=2000.0, description="zero sequence")


@section
class NetworkLoadConfig:
    """A constant impedance that takes this power at nominal voltage."""

    bus: str = Field(description="a place", examples=["lv1", "feeder1/2.5km"])
    kw: float = Field(default=0.0, ge=0.0, le=1e6, description="of all its phases")
    kvar: float = Field(default=0.0, ge=-1e6, le=1e6, description="of all its phases; below 0: capacitive")
    phases: Phases = Field(default="abc", description="a: to neutral; ab: between the two")
    connection: Connection = Field(default="auto", description="auto: wye below 1 kV, else delta")


@section
class CapacitorConfig:
    """A capacitor bank that is always on."""

    bus: str = Field(description="a place", examples=["mv"])
    kvar: float = Field(gt=0.0, le=1e6, description="of three phases", examples=[600.0])
    connection: Connection = Field(default="auto", description="auto: wye below 1 kV, else delta")


@section
class GenerationConfig:
    """A voltage behind a reactance that gives this power before anything happens."""

    id: str = Field(pattern=ID, description="its name", examples=["diesel"])
    bus: str = Field(description="a place", examples=["lv1"])
    rating_kva: float = Field(gt=0.0, le=1e6, description="of three phases", examples=[250.0])
    kw: float = Field(default=0.0, ge=0.0, le=1e6, description="power that it feeds in")
    kvar: float = Field(default=0.0, ge=-1e6, le=1e6, description="power that it feeds in")
    x_pu: float = Field(default=0.2, gt=0.01, le=10.0, description="its reactance; 1 or so: an inverter")
    earthed: bool = Field(default=False, description="true: its star point is earthed")


@section
class NetworkConfig:
    """A whole network."""

    title: str = Field(default="", description="one line")
    nominal_hz: float = Field(default=50.0, ge=50.0, le=60.0, description="50 or 60")
    supply: SupplyConfig
    bus: tuple[BusConfig, ...] = Field(default=(), description="the buses")
    transformer: tuple[TransformerConfig, ...] = Field(default=(), description="the transformers")
    feeder: tuple[FeederConfig, ...] = Field(default=(), description="lines and cables")
    load: tuple[NetworkLoadConfig, ...] = Field(default=(), description="the loads")
    capacitor: tuple[CapacitorConfig, ...] = Field(default=(), description="capacitor banks")
    generation: tuple[GenerationConfig, ...] = Field(default=(), description="generators and inverters")


def load_network_config(path: FilePath | str) -> NetworkConfig:
    """Reads a network from a TOML file.

    Raises:
        ConfigError: it cannot be read, or every problem in it at once, with its key.
    """
    return load(NetworkConfig, path, cross_check=network_problems)


def network_problems(document: Mapping[str, object], path: Path = ()) -> list[Problem]:
    """Faults between the keys of a network: names, places, clock numbers, unconnected parts.

    Args:
        document: keys and values from the file; a value of the wrong type is reported by its field.
        path: their place in the file.
    """
    check = _CrossCheck(document)
    return [Problem((*path, *at), text) for at, text in check.problems]


class _CrossCheck:
    """Checks a document whose fields may be wrong as well."""

    def __init__(self, document: Mapping[str, object]) -> None:
        self.problems: list[tuple[Path, str]] = []
        self.buses = {str(row["id"]): row for row in _rows(document, "bus") if isinstance(row.get("id"), str)}
        self.feeders = {
            str(row["id"]): row for row in _rows(document, "feeder") if isinstance(row.get("id"), str)
        }
        self._same_names(document)
        self._places(document)
        self._vector_groups(document)
        self._generation(document)
        self._one_piece(document)

    def _same_names(self, document: Mapping[str, object]) -> None:
        first: dict[str, str] = {"supply": "the supply"}
        for kind in ("bus", "transformer", "feeder", "generation"):
            for index, row in enumerate(_rows(document, kind)):
                name = row.get("id")
                if isinstance(name, str) and name in first:
                    self.problems.append(((kind, index, "id"), f"is {name!r}, as is {first[name]}"))
                elif isinstance(name, str):
                    first[name] = f"{kind}[{index}]"

    def _places(self, document: Mapping[str, object]) -> None:
        supply = document.get("supply")
        if isinstance(supply, Mapping):
            self._bus(("supply", "bus"), supply.get("bus"))
        for kind in ("load", "capacitor", "generation"):
            for index, row in enumerate(_rows(document, kind)):
                self._place((kind, index, "bus"), row.get("bus"))
        for kind in ("transformer", "feeder"):
            for index, row in enumerate(_rows(document, kind)):
                self._place((kind, index, "from_bus"), row.get("from_bus"))
                if kind == "transformer" or row.get("to_bus"):
                    self._bus((kind, index, "to_bus"), row.get("to_bus"))

    def _bus(self, at: Path, name: object) -> None:
        if isinstance(name, str) and name not in self.buses:
            self.problems.append((at, f"is {name!r}; want a bus: {_list(self.buses)}"))

    def _place(self, at: Path, text: object) -> None:
        if not isinstance(text, str) or text in self.buses:
            return
        try:
            place = Place.parse(text)
        except PlaceError as error:
            self.problems.append((at, str(error)))
            return
        feeder = self.feeders.get(place.name)
        if place.km is None or feeder is None:
            names = [*self.buses, *(f"{name}/1.5km" for name in self.feeders)]
            self.problems.append((at, f"is {text!r}; want a place: {_list(names)}"))
        elif isinstance(km := feeder.get("km"), int | float) and place.km > km:
            self.problems.append((at, f"is {text!r}; {place.name} is {km:g} km long"))

    def _vector_groups(self, document: Mapping[str, object]) -> None:
        for index, row in enumerate(_rows(document, "transformer")):
            match = re.fullmatch(GROUP, str(row.get("vector_group", "")))
            if match is not None:
                windings = (match[1] + match[2]).upper().replace("N", "")
                odd = windings in ("YD", "DY", "YZ")
                if int(match[3]) % 2 != odd:
                    want = "odd (1, 5, 7, 11)" if odd else "even (0, 2, 4, 6, 8, 10)"
                    text = f"is {match[0]!r}; its clock number must be {want}"
                    self.problems.append((("transformer", index, "vector_group"), text))

    def _generation(self, document: Mapping[str, object]) -> None:
        for index, row in enumerate(_rows(document, "generation")):
            kw, rating_kva = row.get("kw"), row.get("rating_kva")
            if isinstance(kw, int | float) and isinstance(rating_kva, int | float) and kw > rating_kva > 0:
                text = f"is {kw:g}; its rating_kva is {rating_kva:g}"
                self.problems.append((("generation", index, "kw"), text))

    def _one_piece(self, document: Mapping[str, object]) -> None:
        """Checks that every bus has a way to the supply, and a feeder joins buses of one voltage."""
        supply = document.get("supply")
        reached = {_name(supply.get("bus"))} if isinstance(supply, Mapping) else set()
        branches = [*_rows(document, "transformer"), *_rows(document, "feeder")]
        ends = [(self._root(row.get("from_bus")), _name(row.get("to_bus"))) for row in branches]
        for _ in branches:
            reached |= {b for a, b in ends if a in reached} | {a for a, b in ends if b in reached}
        names_are_known = not self.problems
        for index, row in enumerate(_rows(document, "bus")):
            name = row.get("id")
            if names_are_known and isinstance(name, str) and name not in reached:
                self.problems.append((("bus", index, "id"), f"is {name!r}; nothing joins it to the supply"))
        for index, row in enumerate(_rows(document, "feeder")):
            if names_are_known and self._root(row.get("from_bus")) not in self.buses:
                text = "is fed by itself; want a way to the supply"
                self.problems.append((("feeder", index, "from_bus"), text))
            kv = [self.buses[name].get("nominal_kv") for name in self._ends(row) if name in self.buses]
            if len(kv) == 2 and kv[0] != kv[1]:
                text = f"has {kv[1]} kV; from_bus has {kv[0]} kV"
                self.problems.append((("feeder", index, "to_bus"), text))

    def _ends(self, row: Mapping[str, object]) -> tuple[str, str]:
        return self._root(row.get("from_bus")), _name(row.get("to_bus"))

    def _root(self, place: object) -> str:
        """The bus at which the feeders that lead to a place begin."""
        text = _name(place)
        for _ in range(len(self.feeders) + 1):
            if text in self.buses or "/" not in text:
                break
            text = _name(self.feeders.get(text.split("/")[0], {}).get("from_bus"))
        return text


def _rows(document: Mapping[str, object], kind: str) -> list[Mapping[str, object]]:
    rows = document.get(kind)
    listed = rows if isinstance(rows, Sequence) and not isinstance(rows, str) else ()
    return [row if isinstance(row, Mapping) else {} for row in listed]


def _name(value: object) -> str:
    """A name from the file; empty if there is something else."""
    return value if isinstance(value, str) else ""


def _list(names: object) -> str:
    known = [str(name) for name in names] if isinstance(names, Sequence | Mapping) else []
    return ", ".join(known[:12]) + (", ..." if len(known) > 12 else "") if known else "none is defined"
