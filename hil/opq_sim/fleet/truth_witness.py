"""TruthWitness: writes the truth of all Boxes of a fleet, since each of its processes knows only its own
share.

A fleet's parent process and a history use it.
"""

from collections.abc import Sequence
from pathlib import Path

from opq_proto.errors import ConfigError
from opq_sim.fleet.outlets import scenario_of
from opq_sim.fleet.steady_truth import SteadyTruth
from opq_sim.power_system.box_times import BoxTimes, outages_of, write_box_times
from opq_sim.power_system.disturbance_truth import FREQUENCY_STEP_S, TruthFiles
from opq_sim.power_system.power_scenario import load_power_scenario, power_system_of

MONTHS_STEP_S = 10.0


class TruthWitness:
    """Reads the network as the fleet's Boxes do, from the run's start on; one thread."""

    def __init__(
        self,
        scenario: Path | None,
        box_ids: Sequence[str],
        seed: int,
        folder: Path,
        start_ns: int,
        months: bool = False,
    ) -> None:
        """
        Args:
            start_ns: UTC of the run's start.
            months: writes the frequency every 10 s, and when each outlet is steady (`SteadyTruth`).
        Raises:
            ConfigError: there is no scenario, so nothing happens; or the folder cannot be written.
        """
        if scenario is None:
            raise ConfigError("an undisturbed grid has no truth to write; give a scenario with a network")
        placed = scenario_of(load_power_scenario(scenario), box_ids)
        self._system = power_system_of(placed, seed)
        try:
            times = {box.id: BoxTimes(box.clock, box.supply) for box in placed.box}
            write_box_times(folder, times, start_ns)
            lost = outages_of(times)
            step_s = MONTHS_STEP_S if months else FREQUENCY_STEP_S
            self._files = TruthFiles(folder, self._system, start_ns, lambda: lost, step_s)
            self._steady = SteadyTruth(folder, self._system, start_ns) if months else None
        except OSError as error:
            raise ConfigError(f"truth: {folder} cannot be written: {error.strerror}") from error

    def advance(self, until_s: float) -> None:
        """Writes the disturbances that began by then, in seconds after the run's start."""
        self._system.before(until_s)
        if self._steady is not None:
            self._steady.advance(until_s)

    def close(self) -> None:
        """Ends the writing."""
        if self._steady is not None:
            self._steady.close()
        self._files.close()
