"""A Box of the original on the brokers, whose clock is set and which sees dips."""

from typing import Final

from opq_proto.keys.key_files import KeyFolder
from opq_sim.foreign.generations import foreign_host
from opq_sim.foreign.leg_box import lowest_mean
from opq_sim.foreign.window_buffer import WINDOW
from opq_sim.mains.generator import Generator, MainsSignal
from opq_sim.mains.grid_events import GridEvent, not_before

NOISE_V: Final = MainsSignal().noise_v
DIP_WINDOWS: Final = 120
"""A dip is over within so many of its next windows."""
DIP_SHARE: Final = 0.9
MEAN_TOLERANCE: Final = 0.0005
"""What noise and a converter's steps change in a mean."""


class OriginalBox:
    """The Box for the `with` block."""

    def __init__(
        self, box_id: str, generation: str, keys: KeyFolder, offset: int, noise_v: float = NOISE_V
    ) -> None:
        """`offset`: of the brokers' ports."""
        self._box_id, self._of_means = box_id, generation == "leg"
        source = Generator(MainsSignal(noise_v=noise_v), seed=int(box_id))
        self._host = foreign_host(generation, {box_id: source}, keys, offset)
        self._source = source

    def __enter__(self) -> "OriginalBox":
        self._host.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._host.__exit__()

    def step_clock(self, by_s: float) -> None:
        """Sets its clock forward or back."""
        self._host.step_clock(by_s)

    def dip_in(self, after_s: float, dip: GridEvent) -> int:
        """Makes a dip so many seconds after what the Box has sampled; returns its true time, UTC, by a clock
        that was only set where all others were."""
        box = self._host.boxes[self._box_id]
        sampled_s = box.windows * WINDOW * 1000 / self._source.rate_millihz
        placed = self._host.add_event(
            self._box_id, not_before(dip, self._source.grid.cycles_at(sampled_s + after_s))
        )
        assert isinstance(placed, GridEvent)
        return self._host.clock.start_ns + round(placed.start_cycles / self._source.nominal_hz * 1e9)

    def add_dip(self, dip: GridEvent) -> bool:
        """Makes a dip as soon as possible; False if no figure that the Box sends falls below the limit."""
        self._host.add_event(self._box_id, dip)
        shares = self._host.coming_shares(self._box_id, DIP_WINDOWS)
        return not self._of_means or lowest_mean(*shares) <= DIP_SHARE - MEAN_TOLERANCE
