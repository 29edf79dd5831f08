"""What a source of samples has in addition where its Box is connected to a network.

Any Box imports this. So it imports nothing: most Boxes have no network, and start in half the time.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from opq_sim.power_system.box_supply import BoxSupply
    from opq_sim.power_system.power_system import PowerSystem
    from opq_sim.power_system.timekeeping import Timekeeping


class NetworkSource:
    """Samples of a Box in a power system: `PowerSource`.

    Attributes:
        timekeeping: the basis of its stamps; None: the run's own clock.
        supply: gives the times in which it is silent; None: never.
    """

    system: "PowerSystem"
    timekeeping: "Timekeeping | None"
    supply: "BoxSupply | None"


class Sampled(Protocol):
    """A Box, reduced to the source of its samples."""

    @property
    def source(self) -> object: ...


def power_system_under(boxes: Iterable[Sampled]) -> "PowerSystem | None":
    """The network of the Boxes; None: they are on no network."""
    found = (box.source.system for box in boxes if isinstance(box.source, NetworkSource))
    return next(found, None)
