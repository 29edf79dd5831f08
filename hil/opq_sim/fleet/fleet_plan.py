"""FleetPlan: the settings of one process of a fleet."""

from dataclasses import dataclass
from pathlib import Path

from opq_gateway.uplink.backlog import IN_FLIGHT_S
from opq_gateway.uplink.connection import Endpoints, UplinkPlace, UplinkPlaces
from opq_gateway.uplink.store_acknowledgements import FORGOTTEN_S
from opq_sim.fleet.connections import MAX_RECONNECT_MS


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """The settings of one process of a fleet."""

    endpoints: Endpoints
    server_key: bytes
    folder: Path
    """Folder of the held Measurements."""
    cycles: int = 60
    """Cycles per Measurement, until a command changes it."""
    spread: bool = True
    """True: Boxes begin at different moments of the first Measurement; False: all at the first cycle."""
    seed: int = 1
    queue_bytes: int = 1_000_000_000
    in_flight_s: float = IN_FLIGHT_S
    """Measurements sent less long ago are not sent again; shorter where the clock is scaled."""
    store_forgotten_s: float = FORGOTTEN_S
    """A store of the cloud that is silent this long while another acknowledges is no longer waited for."""
    reconnect_most_ms: int = MAX_RECONNECT_MS
    """Longest pause between two attempts to connect."""

    @property
    def places(self) -> UplinkPlaces:
        """Where the uplinks of sampled Boxes go."""
        return UplinkPlaces(UplinkPlace(self.endpoints, self.server_key))
