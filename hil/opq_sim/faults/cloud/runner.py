"""The cloud as a world that plays schedules of faults by seed."""

from typing import Final

from opq_sim.faults.cloud.schedule import draw_cloud
from opq_sim.faults.gateway.runner import SeededWorld

CLOUD: Final = SeededWorld(
    "Faults by seed at a real cloud: each Measurement stored or held, each dip one incident.",
    "opq_sim.faults.cloud",
    lambda seed: draw_cloud(seed).document(),
    4,  # a world takes a third of a core: it waits for its faults most of the time
    ("made", "stored", "held", "backfilled", "dips", "dips_found", "dips_excused", "events", "incidents",
     "hostile_frames", "ended_by_themselves"),
    "{stored} + {held} of {made} Measurements stored + held, "
    "{dips_found} + {dips_excused} of {dips} dips found + excused",
)  # fmt: skip
