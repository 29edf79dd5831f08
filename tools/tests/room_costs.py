"""What the tests of each room cost, and whether a room has outgrown its share of the whole run.

A share is a part of the whole run's CPU time, children included. Wall times would not do: on a busy
machine they grow at random, while the CPU times of one run grow together.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class _Cost:
    tests: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0


@dataclass
class RoomCosts:
    """Costs by room; `shares` has the largest share of each room in percent, by the beginning of a path."""

    shares: Mapping[str, float]
    _costs: dict[str, _Cost] = field(default_factory=dict)
    _files: dict[str, _Cost] = field(default_factory=dict)

    def add(self, nodeid: str, cpu_s: float, wall_s: float, counts: bool) -> None:
        file = nodeid.split("::")[0]
        for cost in (
            self._costs.setdefault(self.room_of(nodeid), _Cost()),
            self._files.setdefault(file, _Cost()),
        ):
            cost.tests += counts
            cost.cpu_s += cpu_s
            cost.wall_s += wall_s

    def room_of(self, nodeid: str) -> str:
        """The longest beginning of a path in the table that `nodeid` has, else its folder at the top."""
        return max(
            (room for room in self.shares if nodeid.startswith(room)), key=len, default=nodeid.split("/")[0]
        )

    def share(self, room: str) -> float:
        """Percent of the whole run's CPU time."""
        whole_s = sum(cost.cpu_s for cost in self._costs.values())
        return 100 * self._costs[room].cpu_s / whole_s if whole_s else 0.0

    def lines(self) -> list[str]:
        """A table for people: the dearest room first."""
        rooms = sorted(self._costs, key=lambda room: -self._costs[room].cpu_s)
        width = max(map(len, rooms), default=0)
        return [
            f"{room:{width}}  {cost.tests:5} tests  CPU {cost.cpu_s:6.0f} s = {self.share(room):4.1f} %"
            f" of at most {self.shares.get(room, 0.0):g} %  wall {cost.wall_s:6.0f} s"
            for room in rooms
            for cost in (self._costs[room],)
        ]

    def dearest_files(self, count: int) -> list[str]:
        """The files that take the most CPU time: where it is worth while to look."""
        files = sorted(self._files, key=lambda file: -self._files[file].cpu_s)[:count]
        return [
            f"CPU {cost.cpu_s:6.0f} s  wall {cost.wall_s:6.0f} s  {cost.tests:4} tests  {file}"
            for file in files
            for cost in (self._files[file],)
        ]

    def excesses(self) -> list[str]:
        """One line for each room above its share, or without one."""
        return [
            f"{room}: its tests take {self.share(room):.1f} % of the CPU time, at most {limit:g} % are"
            " allowed; make them cheaper, mark the long ones slow, or change [tool.opq.test-shares]"
            " in pyproject.toml"
            for room in self._costs
            for limit in (self.shares.get(room, 0.0),)
            if self.share(room) > limit
        ]


def read_shares(pyproject: Path) -> dict[str, float]:
    """The table [tool.opq.test-shares]."""
    return dict(tomllib.loads(pyproject.read_text())["tool"]["opq"]["test-shares"])
