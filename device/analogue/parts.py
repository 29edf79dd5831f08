"""The parts list and the netlist, as files of values: nothing here knows what they are for."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCALE = {"p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6}
VALUE = re.compile(r"(\d+(?:\.\d+)?)([pnumkM]?)")


@dataclass(frozen=True, slots=True)
class Part:
    """A row of the parts list, for one reference; `figures` are of the maker's data sheet, in SI units."""

    ref: str
    words: str
    part: str
    maker: str
    side: str
    figures: Mapping[str, float]
    sheet: str
    compared: str

    @property
    def value(self) -> float:
        """Ohms or farads."""
        found = VALUE.fullmatch(self.words)
        if found is None:
            raise ValueError(f"{self.ref}: {self.words!r} is not a value such as 8.66k or 470p")
        return float(found[1]) * SCALE[found[2]]

    def __getitem__(self, figure: str) -> float:
        if figure not in self.figures:
            raise ValueError(f"{self.ref} ({self.part}): the parts list has no figure {figure!r}")
        return self.figures[figure]


@dataclass(frozen=True, slots=True)
class Net:
    """Pins, as (reference, pin), that one piece of copper connects."""

    name: str
    side: str
    pins: tuple[tuple[str, str], ...]


def read_bom(path: Path = HERE / "bom.csv") -> dict[str, Part]:
    """Every part by its reference; a row may name several.

    Raises:
        ValueError: a reference is there twice, or a figure is not `name=number`.
    """
    parts: dict[str, Part] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            pairs = [entry.split("=") for entry in row["figures"].split(";") if entry]
            figures = {name: float(number) for name, number in pairs}
            for ref in row["ref"].split():
                if ref in parts:
                    raise ValueError(f"{ref} is there twice in {path.name}")
                parts[ref] = Part(
                    ref,
                    row["value"],
                    row["part"],
                    row["maker"],
                    row["side"],
                    figures,
                    row["sheet"],
                    row["compared"],
                )
    return parts


def read_netlist(path: Path = HERE / "netlist.csv") -> list[Net]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    nets = []
    for row in rows:
        pins = tuple((pin.split(".", 1)[0], pin.split(".", 1)[1]) for pin in row["pins"].split())
        nets.append(Net(row["net"], row["side"], pins))
    return nets
