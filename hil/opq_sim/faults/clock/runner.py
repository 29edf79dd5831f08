"""Clocks that are set as a kind of world that plays schedules of faults by seed."""

from typing import Final

from opq_sim.faults.clock.schedule import COUNTED, draw_clocks
from opq_sim.faults.gateway.runner import SeededWorld

CLOCK: Final = SeededWorld(
    "Clocks that are set by seed, 8 schedules side by side: each dip one incident, nothing false.",
    "opq_sim.faults.clock",
    lambda seed: draw_clocks(seed).document(),
    1,  # eight gateways, nine Boxes and a cloud take half a core
    COUNTED,
    "{dips_found} + {dips_not_sampled} + {dips_not_shown} of {dips} dips found + not sampled + not shown, "
    "{outages_found} of {outages} outages, {false} false, {schedules_played} schedules",
)
