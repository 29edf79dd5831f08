"""DIR/boxes.jsonl of a run's truth: when each Box loses its GPS or its supply, and when it is silent
because of that.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from opq_sim.power_system.box_supply import BoxSupply, BoxSupplyConfig
from opq_sim.power_system.timekeeping import TimekeepingConfig

FILE_NAME = "boxes.jsonl"
OUTAGE_S = 10.0
"""A silence this long for want of supply is an outage; the trigger `silence` has the same default."""


@dataclass(frozen=True, slots=True)
class BoxTimes:
    """The clock and supply that a scenario sets for one Box; None: not set."""

    clock: TimekeepingConfig | None
    supply: BoxSupplyConfig | None

    def lines(self, box_id: str, start_ns: int) -> Iterator[dict[str, object]]:
        """Rows {"box", "what": "gps_lost", "supply_lost" or "silent", "start_ns", "end_ns"}, by what and
        time.
        """
        lost = self.clock.gps_lost if self.clock is not None else ()
        spans = [("gps_lost", at_s, at_s + for_s) for at_s, for_s in lost]
        if self.supply is not None:
            spans += [("supply_lost", at_s, at_s + for_s) for at_s, for_s in self.supply.lost]
            spans += [("silent", begin_s, end_s) for begin_s, end_s in BoxSupply(self.supply).silent_s]
        for what, begin_s, end_s in spans:
            begin_ns, end_ns = (start_ns + round(at_s * 1e9) for at_s in (begin_s, end_s))
            yield {"box": box_id, "what": what, "start_ns": begin_ns, "end_ns": end_ns}


@dataclass(frozen=True, slots=True)
class BoxOutage:
    """Boxes that are silent together for want of supply; seconds after the run's start."""

    begin_s: float
    end_s: float
    box_ids: tuple[str, ...]


def outages_of(boxes: Mapping[str, BoxTimes]) -> tuple[BoxOutage, ...]:
    """Supply losses of OUTAGE_S and more, by time; Boxes that stop and come back together share one."""
    together: dict[tuple[float, float], list[str]] = {}
    for box_id, times in boxes.items():
        supply = None if times.supply is None else BoxSupply(times.supply)
        for begin_s, end_s in () if supply is None else supply.outages_s:
            if end_s - begin_s >= OUTAGE_S:
                together.setdefault((begin_s, end_s), []).append(box_id)
    return tuple(BoxOutage(*span, tuple(together[span])) for span in sorted(together))


def write_box_times(folder: Path, boxes: Mapping[str, BoxTimes], start_ns: int) -> None:
    """Writes the whole file, again after a supply loss on demand. Writes no file if there are no rows.

    Raises:
        OSError: the folder cannot be made or written.
    """
    lines = [line for box_id, times in boxes.items() for line in times.lines(box_id, start_ns)]
    if lines:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE_NAME).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
